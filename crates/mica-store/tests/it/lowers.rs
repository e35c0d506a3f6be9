//! What a chain needs to be shown by the kernel's overlayfs, and that its fix shows just that.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use mica_core::DiffId;
use mica_store::Store;
use mica_sys::Dir;

use crate::common::{self, Image, Place, tar};

fn loaded(layers: Vec<tar::Builder>) -> (Place, Store, Image) {
    let place = Place::new();
    let store = place.open();
    let image = Image::new(layers.into_iter().map(tar::Builder::finish).collect(), "");
    common::load(&store, &image, None);
    (place, store, image)
}

fn diff(place: &Place, layer: &DiffId) -> PathBuf {
    place.root().join("layers/sha256").join(layer.hex()).join("diff")
}

fn names(dir: &Path) -> BTreeSet<String> {
    common::listing(dir)
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_chain_whose_layers_say_everything_needs_no_fix() {
    let base = tar::Builder::new().dir("./", 0o755).dir("etc/", 0o750).file("etc/a", "a");
    let top = tar::Builder::new().dir("etc/", 0o750).file("etc/b", "b");
    let (place, store, image) = loaded(vec![base, top]);
    let ids = image.diff_ids();
    let lowers = store.lowers(&ids).unwrap();
    assert_eq!(lowers.dirs, [diff(&place, &ids[1]), diff(&place, &ids[0])]);
    assert_eq!((lowers.root.mode, lowers.root.mtime.secs), (0o755, 1_700_000_000));
    assert_eq!(store.lowers(&ids).unwrap(), lowers, "remembered otherwise than found out");
}

#[test]
fn a_layer_that_stands_twice_is_one_lower() {
    let a = || tar::Builder::new().dir("d/", 0o755).file("d/a", "a");
    let b = tar::Builder::new().dir("d/", 0o755).file("d/b", "b");
    let (place, store, image) = loaded(vec![a(), b, a()]);
    let ids = image.diff_ids();
    assert_eq!(store.lowers(&ids).unwrap().dirs, [diff(&place, &ids[2]), diff(&place, &ids[1])]);
}

#[test]
fn no_layers_are_no_lowers() {
    let place = Place::new();
    let lowers = place.open().lowers(&[]).unwrap();
    assert!(lowers.dirs.is_empty());
    assert_eq!(lowers.root.mode, 0o755);
}

#[test]
fn a_missing_layer_is_named() {
    let place = Place::new();
    let missing = DiffId::of(b"missing");
    let error = place.open().lowers(&[missing]).unwrap_err();
    assert!(error.to_string().contains(&missing.hex()), "{error}");
}

#[test]
fn implied_directories_get_the_attributes_of_the_topmost_that_states_them() {
    let base = tar::Builder::new()
        .owner(5, 6)
        .dir("a/", 0o700)
        .xattr("user.note", "deep")
        .dir("a/b/", 0o2755)
        .file("a/b/old", "old")
        .dir("other/", 0o711);
    let middle = tar::Builder::new().dir("a/", 0o1777);
    let top = tar::Builder::new().file("a/b/new", "new").file("fresh/x", "x").file("other/.wh.gone", "");
    let (place, store, image) = loaded(vec![base, middle, top]);
    let ids = image.diff_ids();
    let lowers = store.lowers(&ids).unwrap();
    let fix = &lowers.dirs[0];
    assert_eq!(lowers.dirs[1..], [diff(&place, &ids[2]), diff(&place, &ids[1]), diff(&place, &ids[0])]);
    // `fresh` is nobody's statement, and so is right as it stands.
    assert_eq!(names(fix), set(&["a", "a/b", "other"]));
    let metadata = |path: &str| std::fs::metadata(fix.join(path)).unwrap();
    let attrs = |path: &str| (metadata(path).mode() & 0o7777, metadata(path).uid(), metadata(path).gid());
    assert_eq!(attrs("a"), (0o1777, 0, 0));
    assert_eq!(attrs("a/b"), (0o2755, 5, 6));
    assert_eq!(attrs("other"), (0o711, 5, 6));
    assert_eq!(metadata("a/b").mtime(), 1_700_000_000);
    let b = Dir::open(&fix.join("a/b")).unwrap();
    assert_eq!(b.get_own_xattr(b"user.note").unwrap().as_deref(), Some(&b"deep"[..]));
    assert_eq!(store.lowers(&ids).unwrap(), lowers);
    // The chain below has its own answer.
    assert_eq!(store.lowers(&ids[..2]).unwrap().dirs.len(), 2);
}

#[test]
fn a_fix_brings_nothing_back_that_is_gone() {
    let base = tar::Builder::new().dir("a/", 0o700).dir("a/gone/", 0o700).dir("a/cut/", 0o700).file("a/cut/x", "x");
    let middle = tar::Builder::new().file("a/gone/file", "f").file("a/cut/y", "y");
    let top =
        tar::Builder::new().dir("a/", 0o711).file("a/.wh.gone", "").dir("a/cut/", 0o755).file("a/cut/.wh..wh..opq", "");
    let (_place, store, image) = loaded(vec![base, middle, top]);
    assert_eq!(store.lowers(&image.diff_ids()).unwrap().dirs.len(), 3, "a fix was made where nothing is wrong");
}

#[test]
fn an_opaque_directory_does_not_make_the_fix_opaque() {
    let base = tar::Builder::new().dir("a/", 0o700).file("a/x", "x");
    let middle = tar::Builder::new().dir("a/", 0o705).file("a/.wh..wh..opq", "").file("a/y", "y");
    let top = tar::Builder::new().file("a/z", "z");
    let (_place, store, image) = loaded(vec![base, middle, top]);
    let lowers = store.lowers(&image.diff_ids()).unwrap();
    assert_eq!(names(&lowers.dirs[0]), set(&["a"]));
    let a = Dir::open(&lowers.dirs[0].join("a")).unwrap();
    assert_eq!(a.metadata().unwrap().mode, 0o705);
    assert_eq!(a.list_own_xattrs().unwrap(), Vec::<Vec<u8>>::new());
}

#[test]
fn a_link_to_a_lower_file_is_that_file_under_all_its_names() {
    let base = tar::Builder::new()
        .owner(9, 9)
        .dir("a/", 0o700)
        .xattr("user.note", "kept")
        .file("a/one", "content")
        .link("a/two", "a/one")
        .symlink("a/soft", "nowhere");
    let top =
        tar::Builder::new().dir("b/", 0o755).link("b/three", "a/one").link("b/s", "a/soft").link("b/lost", "a/missing");
    let (_place, store, image) = loaded(vec![base, top]);
    let lowers = store.lowers(&image.diff_ids()).unwrap();
    let fix = &lowers.dirs[0];
    let all = set(&["a", "a/one", "a/two", "a/soft -> nowhere", "b", "b/three", "b/s -> nowhere", "b/lost"]);
    assert_eq!(names(fix), all);
    let three = std::fs::metadata(fix.join("b/three")).unwrap();
    for name in ["a/one", "a/two"] {
        assert_eq!(std::fs::metadata(fix.join(name)).unwrap().ino(), three.ino(), "{name}");
    }
    assert_eq!((three.nlink(), three.uid(), three.mtime()), (3, 9, 1_700_000_000));
    assert_eq!(std::fs::read_to_string(fix.join("b/three")).unwrap(), "content");
    let b = Dir::open(&fix.join("b")).unwrap();
    assert_eq!(b.get_xattr(b"three", b"user.note").unwrap().as_deref(), Some(&b"kept"[..]));
    assert_eq!(std::fs::symlink_metadata(fix.join("b/s")).unwrap().uid(), 9);
    let lost = std::fs::symlink_metadata(fix.join("b/lost")).unwrap();
    assert!(lost.file_type().is_char_device() && lost.rdev() == 0, "a link to nothing must show nothing");
    assert_eq!(std::fs::metadata(fix.join("a")).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn a_hidden_link_needs_no_fix() {
    let base = tar::Builder::new().dir("a/", 0o755).file("a/one", "content");
    let middle = tar::Builder::new().dir("a/", 0o755).link("a/two", "a/one");
    let top = tar::Builder::new().dir("a/", 0o755).file("a/two", "mine");
    let (_place, store, image) = loaded(vec![base, middle, top]);
    assert_eq!(store.lowers(&image.diff_ids()).unwrap().dirs.len(), 3);
}

#[test]
fn what_is_known_of_a_chain_may_be_deleted_or_torn() {
    let base = tar::Builder::new().dir("a/", 0o700);
    let top = tar::Builder::new().file("a/x", "x");
    let (place, store, image) = loaded(vec![base, top]);
    let lowers = store.lowers(&image.diff_ids()).unwrap();
    let chain = lowers.dirs[0].parent().unwrap();
    std::fs::write(chain.join("chain.json"), "").unwrap();
    assert_eq!(store.lowers(&image.diff_ids()).unwrap(), lowers);
    std::fs::rename(chain.join("fix"), place.path().join("away")).unwrap();
    assert_eq!(store.lowers(&image.diff_ids()).unwrap(), lowers);
    assert!(lowers.dirs[0].join("a").is_dir());
}
