//! What cannot be mounted says why, and what would help.

use std::error::Error;
use std::path::Path;

use mica_layer::Marks;
use mica_sys::mount::MountAttrFlags;
use mica_testkit::{Scratch, Tree, in_mount_namespace, needs, tree};
use mica_union::overlay::Cause;
use mica_union::{Driver, Overlay, Support, UnionDirs, UnionError, UpperDirs};

fn dirs(scratch: &Scratch) -> UnionDirs {
    let upper = UpperDirs { upper: scratch.make("upper"), work: scratch.make("work"), volatile: false };
    UnionDirs { lowers: vec![scratch.make("lower")], upper: Some(upper), marks: Marks::Trusted, ..UnionDirs::default() }
}

#[track_caller]
fn cause_of(dirs: &UnionDirs) -> Option<Cause> {
    let refused = Overlay::new().mount(dirs).unwrap_err();
    let (UnionError::Mount { cause, .. } | UnionError::Kernel { cause, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(refused.to_string().starts_with("overlay: cannot mount"), "{refused}");
    assert_eq!(refused.hint(), cause.map(Cause::hint));
    assert!(refused.source().is_some());
    cause
}

#[test]
fn a_layer_inside_another_is_named_as_such() {
    needs!(root, overlay);
    let scratch = Scratch::new();
    let mut dirs = dirs(&scratch);
    dirs.lowers.push(scratch.make("lower/inner"));
    assert_eq!(cause_of(&dirs), Some(Cause::LayersOverlap));
}

#[test]
fn upper_and_work_belong_together() {
    needs!(root, overlay);
    let scratch = Scratch::new();
    let good = dirs(&scratch);
    let with = |work| {
        let upper = good.upper.clone().map(|upper| UpperDirs { work, ..upper });
        UnionDirs { upper, ..good.clone() }
    };
    assert_eq!(cause_of(&with(scratch.make("upper/work"))), Some(Cause::WorkOverlaps));
    assert_eq!(cause_of(&with(scratch.make("upper"))), Some(Cause::WorkOverlaps));
    assert_eq!(cause_of(&with(scratch.tmpfs("elsewhere", "size=1m"))), Some(Cause::WorkElsewhere));
}

#[test]
fn an_upper_on_overlayfs_is_refused_with_a_hint_and_the_probe_says_so() {
    needs!(root, overlay);
    let (outer, inner) = (Scratch::new(), Scratch::new());
    let place = outer.make("merged");
    Overlay::new().mount(&dirs(&outer)).unwrap().attach(&place).unwrap();
    std::fs::create_dir(place.join("upper")).unwrap();
    std::fs::create_dir(place.join("work")).unwrap();
    let upper = UpperDirs { upper: place.join("upper"), work: place.join("work"), volatile: false };
    let nested = UnionDirs { upper: Some(upper), ..dirs(&inner) };
    assert_eq!(cause_of(&nested), Some(Cause::UpperOnOverlay));

    let Support::No { why } = Overlay::new().probe(&place) else { panic!("overlay on overlay is no place for uppers") };
    assert_eq!(why.hint(), Some(Cause::UpperOnOverlay.hint()));
    let left: Vec<_> = std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the probe left {left:?}");

    // As a lower it is fine.
    std::fs::write(place.join("file"), "x").unwrap();
    let lower = UnionDirs { lowers: vec![place], ..dirs(&inner) };
    let mounted = Overlay::new().mount(&lower).unwrap();
    assert!(mounted.dir().unwrap().stat_if_there(b"file").unwrap().is_some());
}

#[test]
fn an_upper_on_a_read_only_file_system_is_said() {
    needs!(root, overlay);
    let scratch = Scratch::new();
    let upper = scratch.tmpfs("ro", "size=1m");
    for name in ["upper", "work"] {
        std::fs::create_dir(upper.join(name)).unwrap();
    }
    let change = mica_sys::mount::SetAttrs { set: MountAttrFlags::MOUNT_ATTR_RDONLY, ..Default::default() };
    mica_sys::mount::set_attrs(&upper, &change, mica_sys::mount::Reach::One).unwrap();
    let upper = UpperDirs { upper: upper.join("upper"), work: upper.join("work"), volatile: false };
    assert_eq!(cause_of(&UnionDirs { upper: Some(upper), ..dirs(&scratch) }), Some(Cause::UpperReadOnly));
}

#[test]
fn a_volatile_upper_is_mounted_once() {
    needs!(root, overlay);
    let scratch = Scratch::new();
    let good = dirs(&scratch);
    let volatile =
        UnionDirs { upper: good.upper.clone().map(|upper| UpperDirs { volatile: true, ..upper }), ..good.clone() };
    drop(Overlay::new().mount(&volatile).unwrap());
    assert_eq!(cause_of(&good), Some(Cause::WasVolatile));
}

#[test]
fn a_work_directory_left_by_a_crash_is_cleaned() {
    needs!(root, overlay);
    let scratch = Scratch::new();
    let dirs = dirs(&scratch);
    // overlayfs leaves its temporary files so when the machine stops in the middle of a copy-up.
    tree! { "work/#1" = "half a copy"; "work/#2/" ; "work/#3" whiteout }
        .write_layer(&scratch.make("work"), Marks::Trusted);
    let mounted = Overlay::new().mount(&dirs).unwrap();
    mounted.dir().unwrap().mkdir(b"new", 0o755).unwrap();
    let left = Tree::read(&scratch.path().join("work/work"));
    assert_eq!(left.iter().count(), 1, "{left:?}");
}

#[test]
fn a_union_may_hold_its_own_upper_below_a_lower() {
    needs!(root, overlay);
    // `try` shows `/`, in which the store stands.
    let scratch = Scratch::new();
    std::fs::write(scratch.path().join("file"), "x").unwrap();
    let dirs = UnionDirs { lowers: vec![scratch.path().to_owned()], ..dirs(&scratch) };
    let mounted = Overlay::new().mount(&dirs).unwrap();
    mounted.dir().unwrap().unlink(b"file").unwrap();
    assert!(scratch.path().join("file").exists());
}

#[test]
fn options_do_not_depend_on_the_machine() {
    needs!(root, overlay);
    let scratch = Scratch::new();
    let place = scratch.make("merged");
    Overlay::new().mount(&dirs(&scratch)).unwrap().attach(&place).unwrap();
    let table = mica_sys::mount::mounts().unwrap();
    let found = table.iter().find(|mount| mount.target == place).unwrap();
    assert_eq!((found.fstype.as_str(), found.source.to_str()), ("overlay", Some("mica")));
    let options = String::from_utf8(found.super_options.clone()).unwrap();
    // The kernel lists an option where it differs from what this machine defaults to.
    let odd = options.split(',').filter(|option| {
        ["redirect_dir=on", "metacopy=on", "index=on", "nfs_export=on", "volatile", "userxattr"].contains(option)
    });
    assert_eq!(odd.count(), 0, "{options}");
    assert!(options.contains("redirect_dir=nofollow"), "{options}");
    assert!(options.contains(scratch.path().join("lower").to_str().unwrap()), "{options}");
}

#[test]
fn a_mount_may_be_handed_to_another_namespace() {
    needs!(root, overlay);
    let scratch = Scratch::new();
    std::fs::write(scratch.make("lower").join("file"), "x").unwrap();
    let mounted = Overlay::new().mount(&dirs(&scratch)).unwrap().read_only().unwrap();
    let fd = mounted.into_fd();
    let seen = in_mount_namespace(move || {
        let mount = mica_sys::mount::Mount::from(fd);
        mount.attach(Path::new("/mnt")).unwrap();
        (std::fs::read("/mnt/file").unwrap(), std::fs::write("/mnt/file", "y").is_err())
    });
    assert_eq!(seen, (b"x".to_vec(), true));
    assert!(!Path::new("/mnt/file").exists(), "nobody else sees it");
}

#[test]
fn overlays_are_stacked_on_overlays_only_so_deep() {
    needs!(root, overlay);
    let scratches = [Scratch::new(), Scratch::new(), Scratch::new()];
    let mut lower = scratches[0].make("bottom");
    for (level, scratch) in scratches.iter().enumerate() {
        let stack = UnionDirs { lowers: vec![lower.clone()], ..dirs(scratch) };
        if level == 2 {
            assert_eq!(cause_of(&stack), Some(Cause::TooDeep));
            break;
        }
        lower = scratch.make("merged");
        Overlay::new().mount(&stack).unwrap().attach(&lower).unwrap();
    }
}

#[test]
fn a_file_system_that_cannot_be_a_layer_is_named() {
    needs!(root, overlay);
    let scratch = Scratch::new();
    let proc = UnionDirs { lowers: vec!["/proc".into()], ..dirs(&scratch) };
    assert_eq!(cause_of(&proc), Some(Cause::LowerUnsuitable));
}
