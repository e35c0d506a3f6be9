//! The union in user space over whatever its directories stand on: other file systems, overlayfs, another union of ours.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use mica_layer::Marks;
use mica_sys::mount::{MountFlags, UnmountFlags, mount, unmount};
use mica_sys::{Access, Dir, FileKind, SetXattr, Subject};
use mica_testkit::{LoopFs, Scratch, Snapshot, Tree, in_mount_namespace, needs};
use mica_union::fuse::Fuse;
use mica_union::{Driver, Mounted, UnionDirs, UnionError, UpperDirs};

fn lower() -> Tree {
    let mut tree = Tree::new();
    tree.name("d/in/f").content("f").end();
    tree.name("d/g").content("g").end();
    tree.name("large").content(vec![b'l'; 200_000]).mode(0o640).end();
    tree.name("small").content("small").end();
    tree.name("linked").hard("small").end();
    tree.name("gone/a").content("a").end();
    tree.name("gone/b/c").content("c").end();
    tree.name("link").symlink("d/g").end();
    tree.name("pipe").fifo().end();
    tree
}

/// Some of everything that writes marks, and some that looks like marks.
fn story(root: &Dir) {
    let sub = |path: &[u8]| root.open_dir(path).unwrap();
    root.chmod(b"large", 0o600).unwrap();
    root.rename(b"large", &sub(b"d"), b"larger").unwrap();
    Subject::Name(&sub(b"d"), b"larger").open(Access::ReadWrite).unwrap().write_at(b"start", 0).unwrap();
    root.rename(b"d", root, b"moved").unwrap();
    root.mkdir(b"d", 0o755).unwrap();
    drop(sub(b"d").create_file(b"new", 0o644).unwrap());
    Subject::Name(root, b"linked").open(Access::ReadWrite).unwrap().set_len(2).unwrap();
    sub(b"gone").unlink(b"a").unwrap();
    sub(b"gone/b").unlink(b"c").unwrap();
    sub(b"gone").rmdir(b"b").unwrap();
    root.rmdir(b"gone").unwrap();
    root.mkdir(b"gone", 0o700).unwrap();
    root.exchange(b"link", root, b"pipe").unwrap();
    root.mknod(b"zero", FileKind::CharDevice, 0o600, 0, 0).unwrap();
    root.rename_leaving_whiteout(b"small", &sub(b"moved"), b"small").unwrap();
    for name in [&b".wh.d"[..], b".wh..wh..opq", b".wh."] {
        drop(sub(b"moved").create_file(name, 0o644).unwrap());
    }
    for (name, value) in [
        ("trusted.overlay.opaque", "y"),
        ("trusted.overlay.redirect", "/nowhere"),
        ("trusted.overlay.whiteout", "y"),
        ("user.overlay.opaque", "y"),
        ("user.fuseoverlayfs.opaque", "y"),
        ("trusted.overlay.overlay.opaque", "x"),
    ] {
        Subject::Name(root, b"moved").set_xattr(name.as_bytes(), value.as_bytes(), SetXattr::Create).unwrap();
        Subject::Name(&sub(b"d"), b"new").set_xattr(name.as_bytes(), value.as_bytes(), SetXattr::Create).unwrap();
    }
}

fn mounted(dirs: &UnionDirs) -> Mounted {
    for _ in 0..500 {
        match Fuse::in_process().mount(dirs) {
            Ok(mounted) => return mounted,
            // The server of the mount before ends a moment after it.
            Err(UnionError::InUse { .. }) => std::thread::sleep(std::time::Duration::from_millis(10)),
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("the upper stays in use");
}

/// Tells the story on a union whose upper is in `store`, and in a plain directory.
fn tell(store: &Path, lowers: Vec<PathBuf>, marks: Marks, what: &str) {
    let scratch = Scratch::in_memory();
    let plain = scratch.make("plain");
    lower().write_to(&plain);
    story(&Dir::open(&plain).unwrap());
    let wanted = Tree::read(&plain).without_times();
    let upper = UpperDirs { upper: store.join("upper"), work: store.join("work"), volatile: false };
    for dir in [&upper.upper, &upper.work] {
        fs::create_dir_all(dir).unwrap();
    }
    let dirs = UnionDirs { lowers, upper: Some(upper), marks, ..UnionDirs::default() };
    let first = mounted(&dirs);
    story(&first.dir().unwrap());
    wanted.assert_is(&Tree::read_dir(&first.dir().unwrap()).without_times(), what);
    drop(first);
    let again = mounted(&dirs);
    wanted.assert_is(&Tree::read_dir(&again.dir().unwrap()).without_times(), &format!("{what}, mounted again"));
}

fn plain_lower(scratch: &Scratch, marks: Marks) -> PathBuf {
    let path = scratch.make("lower");
    lower().write_layer(&path, marks);
    path
}

fn on(fs: &LoopFs, what: &str) {
    let scratch = Scratch::in_memory();
    tell(&fs.path(), vec![plain_lower(&scratch, Marks::Trusted)], Marks::Trusted, what);
    // The layers on one file system share blocks, where it can.
    let below = fs.path().join("below");
    fs::create_dir(&below).unwrap();
    lower().write_layer(&below, Marks::Trusted);
    let before = Snapshot::of(&below);
    tell(&fs.path().join("second"), vec![below.clone()], Marks::Trusted, &format!("{what} alone"));
    before.assert_unchanged(&below, what);
}

#[test]
fn the_upper_is_on_a_tmpfs() {
    needs!(root, fuse);
    for marks in [Marks::Trusted, Marks::User] {
        let scratch = Scratch::in_memory();
        let lower = plain_lower(&scratch, marks);
        let before = Snapshot::of(&lower);
        tell(&scratch.make("store"), vec![lower.clone()], marks, &format!("{marks:?} on tmpfs"));
        before.assert_unchanged(&lower, "the story");
    }
}

#[test]
fn the_upper_is_on_ext4() {
    needs!(root, fuse, loop_devices);
    on(&LoopFs::ext4(32 << 20), "ext4");
}

#[test]
fn the_upper_is_on_xfs_that_shares_blocks() {
    needs!(root, fuse, loop_devices, program "mkfs.xfs");
    on(&LoopFs::xfs(true), "xfs");
}

#[test]
fn the_upper_is_on_btrfs() {
    needs!(root, fuse, loop_devices, program "mkfs.btrfs");
    on(&LoopFs::btrfs(), "btrfs");
}

/// A mounted overlayfs over directories of `scratch`.
fn overlay(scratch: &Scratch, below: &Path) -> PathBuf {
    let [at, upper, work] = ["overlay", "overlay-upper", "overlay-work"].map(|name| scratch.make(name));
    let options = format!("lowerdir={},upperdir={},workdir={}", below.display(), upper.display(), work.display());
    mount(Path::new("overlay"), &at, "overlay", MountFlags::empty(), &options).unwrap();
    at
}

#[test]
fn the_lower_and_the_upper_are_on_overlayfs() {
    needs!(root, fuse, overlay);
    in_mount_namespace(|| {
        let scratch = Scratch::in_memory();
        let below = plain_lower(&scratch, Marks::Trusted);
        let at = overlay(&scratch, &below);
        tell(&scratch.make("store"), vec![at.clone()], Marks::Trusted, "over overlayfs");
        let empty = scratch.make("empty");
        drop(empty);
        tell(&at.join("store"), vec![below], Marks::Trusted, "the upper on overlayfs");
        unmount(&at, UnmountFlags::DETACH).unwrap();
    });
}

/// Inside of a union of ours the marks of another are kept as what they are in the inner one: devices 0:0 and attributes.
#[test]
fn the_lower_and_the_upper_are_in_a_union_of_ours() {
    needs!(root, fuse);
    let scratch = Scratch::in_memory();
    let below = plain_lower(&scratch, Marks::Trusted);
    let upper = UpperDirs { upper: scratch.make("upper"), work: scratch.make("work"), volatile: false };
    let inner =
        UnionDirs { lowers: vec![below.clone()], upper: Some(upper), marks: Marks::Trusted, ..UnionDirs::default() };
    let inner = mounted(&inner);
    let root = inner.dir().unwrap();
    let at = PathBuf::from(format!("/proc/self/fd/{}", root.as_fd().as_raw_fd()));
    fs::create_dir(at.join("layer")).unwrap();
    lower().write_layer(&at.join("layer"), Marks::Trusted);
    tell(&at.join("store"), vec![at.join("layer")], Marks::Trusted, "in a union");
    tell(&at.join("second"), vec![below], Marks::Trusted, "the upper in a union");
}
