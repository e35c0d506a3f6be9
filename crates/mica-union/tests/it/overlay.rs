//! What overlayfs does where it is not what every driver does.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use mica_layer::Marks;
use mica_sys::Errno;
use mica_testkit::driver_suite::Step;
use mica_testkit::{LoopFs, Scratch, Snapshot, Tree, needs, tree};
use mica_union::overlay::is_upper_in_use;
use mica_union::{Driver, Overlay, UnionDirs, UnionError, UpperDirs};

fn upper_in(place: &std::path::Path) -> UpperDirs {
    let made = |name: &str| {
        let path = place.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    UpperDirs { upper: made("upper"), work: made("work"), volatile: false }
}

#[test]
fn a_full_disk_fails_the_copy_up_and_changes_nothing() {
    needs!(root, overlay, loop_devices);
    let (scratch, disk) = (Scratch::new(), LoopFs::ext4(8 << 20));
    let lower = scratch.make("lower");
    let layer = tree! { "big" = (vec![b'x'; 4 << 20]); "dir/small" = "y" };
    layer.write_layer(&lower, Marks::Trusted);
    let before = Snapshot::of(&lower);
    let dirs = UnionDirs {
        lowers: vec![lower.clone()],
        upper: Some(upper_in(&disk.path())),
        marks: Marks::Trusted,
        ..UnionDirs::default()
    };
    let merged = Overlay::new().mount(&dirs).unwrap().dir().unwrap();
    disk.fill(1 << 20);
    Step::Refused(Box::new(Step::Append("big", "more")), Errno::NOSPC).take(&merged);
    layer.assert_is(&Tree::read_dir(&merged), "the union on a full disk");
    assert_eq!(Tree::read(&disk.path().join("upper")).iter().count(), 1, "half a file was left");
    before.assert_unchanged(&lower, "a failed copy-up");

    std::fs::remove_file(disk.path().join("filler")).unwrap();
    Step::Append("big", "more").take(&merged);
    before.assert_unchanged(&lower, "a copy-up");
}

/// What an engine lays under an image and a store over it comes beside the 500 of the image.
#[test]
fn two_more_than_the_kernel_takes_are_shown_and_three_are_refused() {
    needs!(root, overlay);
    let scratch = Scratch::new();
    // Topmost first. The lowest three change what is below them, on both sides of where the lowest are laid together.
    let lowers: Vec<std::path::PathBuf> = (0..503)
        .map(|number| {
            let place = scratch.make(format!("lower{number}"));
            let layer = match number {
                498 => tree! { "gone" whiteout; "dir/new" = "" },
                500 => tree! { "hidden" whiteout; "all" = "500"; "dir/" opaque; "dir/x" = "" },
                501 => tree! { "gone" = "x"; "hidden" = "x"; "all" = "501"; "dir/old" = "" },
                _ => tree! {},
            };
            layer.write_layer(&place, Marks::Trusted);
            place
        })
        .collect();
    let dirs = |count| UnionDirs {
        lowers: lowers.iter().take(count).cloned().collect(),
        upper: Some(upper_in(scratch.path())),
        marks: Marks::Trusted,
        ..UnionDirs::default()
    };
    let merged = Overlay::new().mount(&dirs(502)).unwrap().dir().unwrap();
    tree! { "all" = "500"; "dir/"; "dir/x" = ""; "dir/new" = "" }.assert_is(&Tree::read_dir(&merged), "502 lowers");
    let refused = Overlay::new().mount(&dirs(503)).unwrap_err();
    assert!(matches!(refused, UnionError::TooManyLowers { count: 503, limit: 500, .. }), "{refused:?}");
}

#[test]
fn files_keep_their_numbers_over_copy_up_on_two_file_systems() {
    needs!(root, overlay, loop_devices);
    let (low, high) = (LoopFs::ext4(4 << 20), LoopFs::ext4(4 << 20));
    tree! { "dir/file" = "x"; "other" = "y" }.write_layer(&low.path(), Marks::Trusted);
    let dirs = UnionDirs {
        lowers: vec![low.path()],
        upper: Some(upper_in(&high.path())),
        marks: Marks::Trusted,
        ..UnionDirs::default()
    };
    let merged = Overlay::new().mount(&dirs).unwrap().dir().unwrap();
    let numbers = || {
        let dir = merged.open_dir(b"dir").unwrap();
        let (file, other) = (dir.stat(b"file").unwrap(), merged.stat(b"other").unwrap());
        let root = merged.metadata().unwrap();
        assert_eq!((file.dev, other.dev), (root.dev, root.dev), "a union is one device, as find -xdev sees it");
        (file.dev, file.ino, dir.metadata().unwrap().ino)
    };
    let before = numbers();
    Step::Append("dir/file", "+").take(&merged);
    assert_eq!(numbers(), before);
}

#[test]
fn a_write_through_a_shared_mapping_reaches_the_copy_alone() {
    needs!(root, overlay, program "python3");
    let scratch = Scratch::new();
    let (lower, place) = (scratch.make("lower"), scratch.make("merged"));
    tree! { "file" = "0123456789" }.write_layer(&lower, Marks::Trusted);
    let before = Snapshot::of(&lower);
    let dirs = UnionDirs {
        lowers: vec![lower.clone()],
        upper: Some(upper_in(scratch.path())),
        marks: Marks::Trusted,
        ..UnionDirs::default()
    };
    Overlay::new().mount(&dirs).unwrap().attach(&place).unwrap();
    let script = "import mmap,sys; f=open(sys.argv[1],'r+b'); m=mmap.mmap(f.fileno(),0); m[0:2]=b'xy'; m.flush()";
    let mapped = Command::new("python3").args(["-c", script]).arg(place.join("file")).status().unwrap();
    assert!(mapped.success());
    assert_eq!(std::fs::read(place.join("file")).unwrap(), b"xy23456789");
    before.assert_unchanged(&lower, "a write through a mapping");
}

#[test]
fn links_of_a_lower_file_part_at_the_first_write() {
    // Without an index overlayfs copies the one name that is written to. The rest of the world should know by this test
    // when that changes; our own drivers keep such names together.
    needs!(root, overlay);
    let scratch = Scratch::new();
    let lower = scratch.make("lower");
    tree! { "a" = "x"; "b" hard "a" }.write_layer(&lower, Marks::Trusted);
    let before = Snapshot::of(&lower);
    let dirs = UnionDirs {
        lowers: vec![lower.clone()],
        upper: Some(upper_in(scratch.path())),
        marks: Marks::Trusted,
        ..UnionDirs::default()
    };
    let merged = Overlay::new().mount(&dirs).unwrap().dir().unwrap();
    tree! { "a" = "x"; "b" hard "a" }.assert_is(&Tree::read_dir(&merged), "before");
    Step::Append("b", "y").take(&merged);
    assert_eq!(merged.read(b"a", 10).unwrap(), b"x");
    assert_eq!(merged.read(b"b", 10).unwrap(), b"xy");
    before.assert_unchanged(&lower, "the write");
}

#[test]
fn an_upper_that_is_mounted_anywhere_is_known_to_be() {
    needs!(root, overlay, userxattr);
    for marks in [Marks::Trusted, Marks::User] {
        let scratch = Scratch::new();
        let lower = scratch.make("lower");
        let upper = upper_in(scratch.path());
        let asked = upper.upper.clone();
        let free = |when: &str| {
            let before = Snapshot::of(&asked);
            assert!(!is_upper_in_use(&asked, marks).unwrap(), "{when}");
            before.assert_unchanged(&asked, "asking");
        };
        free("before");
        let dirs = UnionDirs { lowers: vec![lower], upper: Some(upper), marks, ..UnionDirs::default() };
        let mounted = Overlay::new().mount(&dirs).unwrap();
        assert!(is_upper_in_use(&asked, marks).unwrap(), "detached");
        drop(mounted);
        free("after");
        // Seen from outside of the namespace that it is mounted in.
        let (ready, readied) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let place = scratch.make("place");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                mica_testkit::in_mount_namespace(move || {
                    Overlay::new().mount(&dirs).unwrap().attach(&place).unwrap();
                    ready.send(()).unwrap();
                    assert!(wait.recv().is_err());
                });
            });
            readied.recv().unwrap();
            let in_use = is_upper_in_use(&asked, marks);
            drop(go);
            assert!(in_use.unwrap(), "elsewhere");
        });
        // A thread is joined before the kernel has taken its namespace down.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while is_upper_in_use(&asked, marks).unwrap() {
            assert!(std::time::Instant::now() < until, "the namespace is gone");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

#[test]
fn an_upper_holds_no_mark_that_ties_it_to_its_lowers() {
    needs!(root, overlay);
    let scratch = Scratch::new();
    let lower = scratch.make("lower");
    tree! { "dir/file" = "x"; "other" = "y"; "linked" = "z"; "too" hard "linked"; "kept" = "k" }
        .write_layer(&lower, Marks::Trusted);
    let upper = upper_in(scratch.path());
    let dirs =
        UnionDirs { lowers: vec![lower], upper: Some(upper.clone()), marks: Marks::Trusted, ..UnionDirs::default() };
    let merged = Overlay::new().mount(&dirs).unwrap().dir().unwrap();
    Step::Refused(Box::new(Step::Rename("dir", "moved")), Errno::XDEV).take(&merged);
    for step in [
        Step::Chmod("dir/file", 0o600),
        Step::Chmod("kept", 0o600),
        Step::Rename("other", "renamed"),
        Step::Link("linked", "third"),
        Step::RemoveAll("dir"),
        Step::MkDir("dir"),
    ] {
        step.take(&merged);
    }
    for (path, entry) in Tree::read(&upper.upper).iter() {
        for key in entry.xattrs.keys() {
            let key = String::from_utf8_lossy(key);
            let harmless = ["opaque", "origin", "impure", "uuid"].map(|mark| format!("trusted.overlay.{mark}"));
            assert!(harmless.contains(&key.clone().into_owned()), "{path} has {key}");
        }
    }
    assert_eq!(std::fs::read(upper.upper.join("kept")).unwrap(), b"k", "the data came up with the mode");
    assert_eq!(std::fs::metadata(upper.upper.join("third")).unwrap().nlink(), 2, "linked and third");
    assert!(!upper.work.join("index").exists());
}
