//! A trial union: what it must be able to do, done once.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mica_core::{Layer as _, LayerEntry, RelPath};
use mica_layer::{DirLayer, Marks};
use mica_sys::{Dir, SysError};

use crate::{Driver, Support, UnionDirs, UnionError, UpperDirs};

/// Shows, in a new directory of `scratch`, an upper over a lower; writes, deletes and makes an opaque directory through
/// it; looks at the marks in the upper. Removes what it made.
pub(crate) fn probe(driver: &dyn Driver, marks: Marks, scratch: &Path, volatile: bool) -> Support {
    match try_in(driver, marks, scratch, volatile) {
        Ok(()) => Support::Yes,
        Err(why) => Support::No { why },
    }
}

fn try_in(driver: &dyn Driver, marks: Marks, scratch: &Path, volatile: bool) -> Result<(), UnionError> {
    let refused = |source| UnionError::Scratch { driver: driver.name(), scratch: scratch.to_owned(), source };
    let root = Dir::open(scratch).map_err(refused)?;
    let name = make_own(&root).map_err(refused)?;
    let tried = attempt(driver, (marks, volatile), scratch, (&root, &name));
    let removed = root.remove_tree(&name).map_err(refused);
    tried.and(removed)
}

/// A directory that no other probe uses; its name.
fn make_own(scratch: &Dir) -> Result<Vec<u8>, SysError> {
    let mut number = 0_u32;
    loop {
        let name = format!(".probe.{}.{number}", std::process::id()).into_bytes();
        match scratch.mkdir(&name, 0o700) {
            Err(error) if error.is_exists() => number += 1,
            made => return made.map(|()| name),
        }
    }
}

fn attempt(
    driver: &dyn Driver,
    (marks, volatile): (Marks, bool),
    scratch: &Path,
    (root, name): (&Dir, &[u8]),
) -> Result<(), UnionError> {
    let refused = |source| UnionError::Scratch { driver: driver.name(), scratch: scratch.to_owned(), source };
    make_layers(&root.open_dir(name).map_err(refused)?).map_err(refused)?;
    let at = scratch.join(std::ffi::OsStr::from_bytes(name));
    let dirs = UnionDirs {
        lowers: vec![at.join("lower")],
        upper: Some(UpperDirs { upper: at.join("upper"), work: at.join("work"), volatile }),
        marks,
        ..UnionDirs::default()
    };
    let mounted = driver.mount(&dirs)?;
    let merged = mounted.dir()?;
    change(&merged).map_err(refused)?;
    driver.settle(&dirs)?;
    let upper = root.open_dir(name).and_then(|made| made.open_dir(b"upper")).map_err(refused)?;
    let layer = DirLayer::new(upper.try_clone().map_err(refused)?, marks);
    let gone = RelPath::parse(b"gone").map(|gone| layer.entry(&gone));
    let whiteout = matches!(gone, Ok(Ok(Some(LayerEntry::Whiteout))));
    match missing(&merged, &upper, marks, whiteout).map_err(refused)? {
        Some(what) => Err(UnionError::Wrong { driver: driver.name(), scratch: scratch.to_owned(), what }),
        None => Ok(()),
    }
}

fn make_layers(made: &Dir) -> Result<(), SysError> {
    for layer in [b"lower".as_slice(), b"upper", b"work"] {
        made.mkdir(layer, 0o755)?;
    }
    let lower = made.open_dir(b"lower")?;
    lower.create_file(b"gone", 0o644)?;
    lower.create_file(b"kept", 0o644)?;
    lower.mkdir(b"again", 0o755)?;
    lower.open_dir(b"again")?.create_file(b"inside", 0o644)?;
    Ok(())
}

fn change(merged: &Dir) -> Result<(), SysError> {
    merged.unlink(b"gone")?;
    merged.chmod(b"kept", 0o600)?;
    merged.remove_tree(b"again")?;
    merged.mkdir(b"again", 0o755)
}

/// The first thing that is not as it should be.
fn missing(merged: &Dir, upper: &Dir, marks: Marks, whiteout: bool) -> Result<Option<&'static str>, SysError> {
    let checks = [
        (!whiteout, "no whiteout of a deleted file"),
        (merged.stat_if_there(b"gone")?.is_some(), "a deleted file"),
        (upper.stat_if_there(b"kept")?.is_none_or(|found| found.mode != 0o600), "no copy of a changed file"),
        (
            upper.get_xattr(b"again", marks.opaque())?.as_deref() != Some(b"y"),
            "no opaque mark of a directory made again",
        ),
        (!merged.open_dir(b"again")?.read_dir()?.is_empty(), "the content of a deleted directory"),
    ];
    Ok(checks.into_iter().find_map(|(wrong, what)| wrong.then_some(what)))
}
