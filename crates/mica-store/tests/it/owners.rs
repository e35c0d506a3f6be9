//! A store whose owner cannot put everything on its disk: what stands in is checked, shown and given back.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use mica_layer::Marks;
use mica_store::{Depth, IdRow, Owners, Problem, Repair, Store, StoreOptions};
use mica_sys::Dir;

use crate::common::{self, Image, Place, tar};

/// One ID is mapped. Root can do all that such a user can.
fn single(place: &Place) -> StoreOptions {
    let row = vec![IdRow { container: 0, host: 0, size: 1 }];
    StoreOptions { marks: Marks::User, owners: Owners::Single, idmap: row.clone(), gidmap: row, ..place.options() }
}

fn image() -> Image {
    let base = tar::Builder::new()
        .owner(1000, 100)
        .dir("./", 0o750)
        .xattr("trusted.a", "1")
        .dir("home/", 0o711)
        .xattr("trusted.b", "2")
        .entry("home/su", b'0', 0o4711, "", b"set-uid")
        .entry("home/closed", b'0', 0, "", b"nobody reads this")
        .entry("home/null", b'3', 0o666, "", b"")
        .link("home/nothing", "home/null")
        .dir("home/dark/", 0)
        .file("home/dark/inside", "inside")
        .xattr("user.c", "3")
        .symlink("home/link", "su");
    // Implies home/, and links to a file below.
    let top = tar::Builder::new().file("home/new", "new").link("home/device", "home/null").link("home/same", "home/su");
    Image::new(vec![base.finish(), top.finish()], "")
}

struct Loaded {
    place: Place,
    store: Store,
    image: Image,
}

fn loaded() -> Loaded {
    let place = Place::new();
    let store = Store::open(&single(&place)).unwrap();
    let image = image();
    common::load(&store, &image, None);
    Loaded { place, store, image }
}

impl Loaded {
    fn diff(&self, path: &str) -> PathBuf {
        self.place.root().join("layers/sha256").join(self.image.diff_ids()[0].hex()).join("diff").join(path)
    }
}

#[test]
fn a_layer_that_is_not_all_on_the_disk_is_whole_and_comes_back() {
    let loaded = loaded();
    common::assert_clean(&loaded.store);
    for (layer, tar) in loaded.image.diff_ids().iter().zip(&loaded.image.layers) {
        let mut back = Vec::new();
        loaded.store.require_layer(layer).unwrap().rebuild(&mut back).unwrap();
        assert!(back == *tar);
    }
    let stat = |path| std::fs::symlink_metadata(loaded.diff(path)).unwrap();
    for path in ["", "home", "home/su", "home/null", "home/link"] {
        assert_eq!((stat(path).uid(), stat(path).gid()), (0, 0), "{path}");
    }
    assert_eq!(stat("home/su").mode() & 0o7777, 0o711);
    let null = stat("home/null");
    assert!(null.is_file() && !null.file_type().is_char_device() && null.len() == 0);
    assert_eq!((null.mode() & 0o7777, null.nlink()), (0o666, 2));
}

#[test]
fn a_stand_in_that_was_touched_is_damage() {
    type Touch = fn(&Loaded);
    let touches: [(&str, Touch); 6] = [
        ("another mode", |it| {
            std::fs::set_permissions(it.diff("home/su"), std::fs::Permissions::from_mode(0o4711)).unwrap();
        }),
        ("another owner", |it| std::os::unix::fs::lchown(it.diff("home/link"), Some(1000), Some(100)).unwrap()),
        ("another owner", |it| std::os::unix::fs::chown(it.diff("home/dark"), Some(0), Some(1)).unwrap()),
        ("type, size or target", |it| {
            let dir = Dir::open(&it.diff("home")).unwrap();
            dir.remove_xattr(b"null", Marks::User.device()).unwrap();
        }),
        ("type, size or target", |it| {
            let dir = Dir::open(&it.diff("home")).unwrap();
            dir.set_xattr(b"null", Marks::User.device(), b"c 1:5").unwrap();
        }),
        ("extended attribute", |it| {
            Dir::open(&it.diff("home")).unwrap().set_own_xattr(b"trusted.b", b"2").unwrap();
        }),
    ];
    for (number, (wanted, touch)) in touches.into_iter().enumerate() {
        let loaded = loaded();
        touch(&loaded);
        let checked = loaded.store.check(Depth::Content, Repair::Report).unwrap();
        let [finding] = &checked.findings.iter().filter(|finding| finding.problem.is_damage()).collect::<Vec<_>>()[..]
        else {
            panic!("touch {number}: {:?}", checked.findings)
        };
        let Problem::Damaged { why } = &finding.problem else { panic!("{finding:?}") };
        assert!(why.contains(wanted), "touch {number}: {why}");
    }
}

#[test]
fn a_chains_fix_and_an_upper_have_the_stand_ins_too() {
    let loaded = loaded();
    let lowers = loaded.store.lowers(&loaded.image.diff_ids()).unwrap();
    assert_eq!((lowers.root.uid, lowers.root.gid, lowers.root.xattrs.len()), (1000, 100, 0));
    assert_eq!(lowers.dirs.len(), 3, "it has a fix");
    let home = lowers.dirs[0].join("home");
    let stat = |path: PathBuf| std::fs::symlink_metadata(path).unwrap();
    let own = stat(home.clone());
    assert_eq!((own.uid(), own.gid(), own.mode() & 0o7777, own.mtime()), (0, 0, 0o711, 1_700_000_000));
    assert_eq!((stat(home.join("same")).mode() & 0o7777, stat(home.join("same")).uid()), (0o711, 0));
    assert!(stat(home.join("device")).is_file());
    let dir = Dir::open(&home).unwrap();
    assert_eq!(dir.get_xattr(b"device", Marks::User.device()).unwrap().as_deref(), Some(&b"c 1:3"[..]));
    common::create(&loaded.store, &loaded.image, "box", 'a').unwrap();
    let upper = loaded.place.root().join("containers").join("a".repeat(64)).join("upper");
    let upper = stat(upper);
    assert_eq!((upper.uid(), upper.gid(), upper.mode() & 0o7777), (0, 0, 0o750));
    common::assert_clean(&loaded.store);
}
