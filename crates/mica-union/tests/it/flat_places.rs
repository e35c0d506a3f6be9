//! The flat driver on file systems that share blocks, on those that do not, and on one that is full.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mica_layer::Marks;
use mica_testkit::driver_suite::Step;
use mica_testkit::{LoopFs, Scratch, Snapshot, Tree, needs, tree};
use mica_union::{Driver, Flat, Support, UnionDirs, UnionError, UpperDirs};

const MIB: u64 = 1 << 20;

fn dirs(place: &Path) -> UnionDirs {
    for name in ["lower", "upper", "work"] {
        std::fs::create_dir(place.join(name)).unwrap();
    }
    let upper = UpperDirs { upper: place.join("upper"), work: place.join("work"), volatile: false };
    UnionDirs { lowers: vec![place.join("lower")], upper: Some(upper), marks: Marks::Trusted, ..UnionDirs::default() }
}

/// Shows a lower of 16 MiB, changes a byte of it, settles; gives the bytes that the copy and the upper took.
fn cost(disk: &LoopFs) -> (u64, u64) {
    let dirs = dirs(&disk.path());
    let noise: Vec<u8> = (0..16 * MIB).map(|at| at.wrapping_mul(0x9e37_79b9).to_le_bytes()[2]).collect();
    std::fs::write(dirs.lowers[0].join("big"), &noise).unwrap();
    let before = disk.used();
    let merged = Flat::new().mount(&dirs).unwrap().dir().unwrap();
    let copied = disk.used();
    Step::WriteAt("big", 5, "!").take(&merged);
    Flat::new().settle(&dirs).unwrap();
    let settled = disk.used();
    let mut expected = noise;
    expected[5] = b'!';
    assert!(std::fs::read(disk.path().join("upper/big")).unwrap() == expected, "the upper has what was written");
    (copied.saturating_sub(before), settled.saturating_sub(copied))
}

#[test]
fn a_view_becomes_read_only_when_the_last_writer_is_gone() {
    needs!(root);
    let scratch = Scratch::new();
    let dirs = dirs(scratch.path());
    std::fs::write(dirs.lowers[0].join("file"), "x").unwrap();
    let mounted = Flat::new().mount(&dirs).unwrap();
    let writer = mounted.dir().unwrap().create_file(b"new", 0o644).unwrap();
    let leaves = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(30));
        drop(writer);
    });
    let view = mounted.read_only().unwrap();
    leaves.join().unwrap();
    let dir = view.dir().unwrap();
    assert!(dir.unlink(b"new").unwrap_err().is_read_only());

    let mounted = Flat::new().mount(&dirs).unwrap();
    let _writer = mounted.dir().unwrap().create_file(b"another", 0o644).unwrap();
    let error = mounted.read_only().unwrap_err();
    assert!(matches!(&error, UnionError::Use(call) if call.errno() == mica_sys::Errno::BUSY), "{error:?}");
}

#[test]
fn a_copy_shares_its_blocks_where_the_file_system_can() {
    needs!(loop_devices, program "mkfs.xfs", program "mkfs.btrfs");
    for disk in [LoopFs::xfs(true), LoopFs::btrfs()] {
        let (copied, settled) = cost(&disk);
        assert!(copied < 2 * MIB, "the copy took {copied} bytes");
        assert!(settled < 4 * MIB, "settling took {settled} bytes");
    }
}

#[test]
fn a_copy_is_whole_where_blocks_are_not_shared() {
    needs!(loop_devices, program "mkfs.xfs");
    for disk in [LoopFs::xfs(false), LoopFs::ext4(64 * MIB)] {
        let (copied, settled) = cost(&disk);
        assert!(copied > 15 * MIB && settled > 15 * MIB, "{copied} and {settled} bytes, for 16 MiB each");
    }
}

#[test]
fn the_probe_is_positive_on_every_file_system_with_attributes() {
    needs!(loop_devices, program "mkfs.xfs", program "mkfs.btrfs");
    for disk in [LoopFs::xfs(true), LoopFs::xfs(false), LoopFs::btrfs(), LoopFs::ext4(16 * MIB)] {
        for marks in [Marks::Trusted, Marks::User] {
            match Flat::new().probing(marks).probe(&disk.path()) {
                Support::Yes => {}
                Support::No { why } => panic!("{}: {why:?}", disk.path().display()),
            }
        }
        assert_eq!(std::fs::read_dir(disk.path()).unwrap().filter(is_probe).count(), 0);
    }
}

fn is_probe(entry: &std::io::Result<std::fs::DirEntry>) -> bool {
    entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".probe")
}

#[test]
fn a_directory_that_got_the_number_of_the_deleted_one_is_another() {
    needs!(loop_devices);
    // ext4 gives the lowest free number, often the one that was just freed.
    let disk = LoopFs::ext4(16 * MIB);
    let dirs = dirs(&disk.path());
    tree! { "d/hidden" = "x"; "f" = "x" }.write_layer(&dirs.lowers[0], Marks::Trusted);
    let merged = Flat::new().mount(&dirs).unwrap().dir().unwrap();
    let was = merged.stat(b"d").unwrap().ino;
    Step::RemoveAll("d").take(&merged);
    let tries = (0..100).find(|_| {
        Step::MkDir("d").take(&merged);
        let again = merged.stat(b"d").unwrap().ino == was;
        if !again {
            Step::RemoveAll("d").take(&merged);
        }
        again
    });
    assert!(tries.is_some(), "the number was not given again");
    Flat::new().settle(&dirs).unwrap();
    let upper = Tree::read_layer(&disk.path().join("upper"), Marks::Trusted);
    let made = upper.get(&mica_core::RelPath::parse(b"d").unwrap()).unwrap();
    assert_eq!(made.what, mica_testkit::What::Dir { opaque: true });
}

#[test]
fn holes_are_kept() {
    needs!(root);
    let scratch = Scratch::new();
    let dirs = dirs(scratch.path());
    let sparse = std::fs::File::create(dirs.lowers[0].join("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"in the middle", 512 * MIB).unwrap();
    let merged = Flat::new().mount(&dirs).unwrap().dir().unwrap();
    Step::WriteAt("sparse", 700 * MIB, "and here").take(&merged);
    Flat::new().settle(&dirs).unwrap();
    for place in ["work/flat/tree/sparse", "upper/sparse"] {
        let found = std::fs::metadata(scratch.path().join(place)).unwrap();
        assert_eq!(found.len(), 1 << 30);
        assert!(found.blocks() * 512 < MIB, "{place} takes {} bytes", found.blocks() * 512);
    }
}

#[test]
fn a_disk_that_fills_while_copying_leaves_the_upper_and_nothing_else() {
    needs!(loop_devices);
    let disk = LoopFs::ext4(16 * MIB);
    let dirs = dirs(&disk.path());
    tree! { "before" = "written" }.write_layer(&disk.path().join("upper"), Marks::Trusted);
    std::fs::write(dirs.lowers[0].join("big"), vec![b'x'; 9 << 20]).unwrap();
    let upper = Snapshot::of(&disk.path().join("upper"));
    let used = disk.used();
    let refused = Flat::new().mount(&dirs).unwrap_err();
    let UnionError::Copy { path, source, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!((path.as_bytes(), source.is_no_space()), (b"big".as_slice(), true), "{refused:?}");
    assert!(refused.hint().unwrap().contains("another one does not"));
    upper.assert_unchanged(&disk.path().join("upper"), "a copy that failed");
    assert!(std::fs::read_dir(disk.path().join("work")).unwrap().next().is_none(), "the half is gone");
    assert!(disk.used() <= used + 64 * 1024, "and so is what it took");
}

#[test]
fn a_disk_that_fills_while_settling_loses_nothing() {
    needs!(loop_devices);
    let disk = LoopFs::ext4(32 * MIB);
    let dirs = dirs(&disk.path());
    let merged = Flat::new().mount(&dirs).unwrap().dir().unwrap();
    Step::Write("first", "1").take(&merged);
    Flat::new().settle(&dirs).unwrap();
    Step::Write("second", "2").take(&merged);
    std::fs::write(disk.path().join("work/flat/tree/big"), vec![b'x'; 8 << 20]).unwrap();
    disk.fill(4 * MIB);
    let upper = Snapshot::of(&disk.path().join("upper"));
    let refused = Flat::new().settle(&dirs).unwrap_err();
    let UnionError::Settle { path, source, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!((path.as_bytes(), source.is_no_space()), (b"big".as_slice(), true), "{refused:?}");
    upper.assert_unchanged(&disk.path().join("upper"), "a settling that failed");
    assert!(!disk.path().join("work/flat.new").exists());

    std::fs::remove_file(disk.path().join("filler")).unwrap();
    Flat::new().settle(&dirs).unwrap();
    let mut expected = tree! { "first" = "1"; "second" = "2"; "big" = (vec![b'x'; 8 << 20]) };
    expected.put(mica_core::RelPath::root(), Tree::read_dir(&merged).get(&mica_core::RelPath::root()).unwrap().clone());
    expected.assert_is(&Tree::read_layer(&disk.path().join("upper"), Marks::Trusted), "all of it");
}
