//! A folder that is gone after one run, made where temporary files stand.

use mica_sys::Dir;

/// The folder and a way to work in it. A machine without a place for files cannot fuzz, so it panics.
pub(crate) fn scratch() -> (tempfile::TempDir, Dir) {
    let place = tempfile::tempdir().expect("a temporary folder can be made");
    let dir = Dir::open(place.path()).expect("a new folder can be opened");
    (place, dir)
}
