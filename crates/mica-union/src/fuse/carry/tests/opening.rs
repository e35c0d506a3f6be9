//! Which directories can be an upper, whose they are, and what is left of before.

use std::path::Path;

use mica_layer::Marks;
use mica_sys::mount::{MountFlags, UnmountFlags, mount, unmount};
use mica_testkit::{Scratch, in_mount_namespace, needs};

use super::disk::Disk;
use super::named::{kernel_options, left, mount_kernel, on, upper};
use super::seen::{read, read_plain};
use crate::fuse::carry::{Carrier, Opening};
use crate::{Role, UnionError};

#[test]
fn an_upper_serves_one_mount() {
    needs!(root, overlay);
    in_mount_namespace(|| {
        let scratch = Scratch::in_memory();
        let disk = Disk::new(&scratch, Marks::Trusted);
        let carrier = disk.open();
        let other_work = Disk { work: scratch.make("work2"), ..Disk::new(&scratch, Marks::Trusted) };
        assert!(matches!(refused(&other_work), UnionError::InUse { role: Role::Upper, .. }));
        let other_upper = Disk { upper: scratch.make("upper2"), ..Disk::new(&scratch, Marks::Trusted) };
        assert!(matches!(refused(&other_upper), UnionError::InUse { role: Role::Work, .. }));
        drop(carrier);
        drop(disk.open());
        let at = scratch.make("merged");
        mount_kernel(&disk, &at);
        assert!(matches!(refused(&disk), UnionError::InUse { role: Role::Upper, .. }));
        unmount(&at, UnmountFlags::empty()).unwrap();
        drop(disk.open());
    });
}

fn refused(disk: &Disk) -> UnionError {
    let dirs = disk.dirs();
    let opening = disk.opening(&dirs);
    let error = Carrier::open(opening).unwrap_err();
    assert!(error.hint().is_some() || matches!(error, UnionError::NotApart { .. }), "{error}");
    error
}

#[test]
fn directories_that_cannot_be_an_upper_are_refused_by_name() {
    needs!(root);
    in_mount_namespace(|| {
        let scratch = Scratch::in_memory();
        let disk = Disk::new(&scratch, Marks::Trusted);
        let same = Disk { work: disk.upper.clone(), ..Disk::new(&scratch, Marks::Trusted) };
        assert!(matches!(refused(&same), UnionError::NotApart { .. }));
        let inside = Disk { work: scratch.make("upper/in"), ..Disk::new(&scratch, Marks::Trusted) };
        assert!(matches!(refused(&inside), UnionError::NotApart { .. }));
        std::fs::remove_dir(disk.upper.join("in")).unwrap();
        let elsewhere = Disk { work: scratch.tmpfs("tmpfs", "size=1m"), ..Disk::new(&scratch, Marks::Trusted) };
        assert!(matches!(refused(&elsewhere), UnionError::WorkElsewhere { .. }));
        // A file system that is mounted twice lets nothing be renamed between the two.
        let bound = scratch.make("bound");
        mount(&disk.work, &bound, "", MountFlags::BIND, "").unwrap();
        let twice = Disk { work: bound, ..Disk::new(&scratch, Marks::Trusted) };
        assert!(matches!(refused(&twice), UnionError::WorkElsewhere { .. }));
        let ramfs = scratch.make("ramfs");
        mount(Path::new("ramfs"), &ramfs, "ramfs", MountFlags::empty(), "").unwrap();
        let error = refused(&on(&ramfs, Marks::Trusted));
        assert!(error.to_string().ends_with("its file system keeps no trusted.overlay.* attributes"), "{error}");
        assert_eq!(upper(&disk).read_dir().unwrap(), []);
    });
}

#[test]
fn a_volatile_upper_is_not_mounted_again_by_anybody() {
    needs!(root, overlay);
    in_mount_namespace(|| {
        let scratch = Scratch::in_memory();
        let disk = Disk::new(&scratch, Marks::Trusted);
        let mut dirs = disk.dirs();
        dirs.volatile = true;
        let open = || {
            let opening = disk.opening(&dirs);
            Carrier::open(opening).unwrap()
        };
        // Who looks whether it can be mounted, as whoever starts a server does, changes nothing.
        drop(open());
        open().begin().unwrap();
        assert!(matches!(refused(&disk), UnionError::WasVolatile { .. }));
        let at = scratch.make("merged");
        let options = kernel_options(&disk);
        let mounted = mount(Path::new("overlay"), &at, "overlay", MountFlags::empty(), &options);
        assert!(mounted.is_err(), "overlayfs took it");
    });
}

#[test]
fn what_a_crash_left_in_work_is_gone() {
    needs!(root);
    let scratch = Scratch::in_memory();
    let disk = Disk::new(&scratch, Marks::Trusted);
    drop(disk.open());
    std::fs::create_dir_all(disk.work.join("fuse/7/deep")).unwrap();
    std::fs::write(disk.work.join("fuse/0"), "half").unwrap();
    std::fs::write(disk.work.join("other"), "somebody's").unwrap();
    drop(disk.open());
    assert_eq!(left(&disk), 0);
    assert!(disk.work.join("other").exists(), "what is not the driver's was removed");
}

/// What an upper says in the words of fuse-overlayfs is said by marks after, once.
#[test]
fn an_upper_of_fuse_overlayfs_is_taken_over_once() {
    needs!(root);
    for marks in [Marks::Trusted, Marks::User] {
        let scratch = Scratch::in_memory();
        let disk = Disk::new(&scratch, marks);
        for name in ["gone", "again/hidden", "file", "opaque/hidden", "named/hidden", "kernel/hidden", "stays/shown"] {
            let path = disk.lowers[0].join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "below").unwrap();
        }
        let up = upper(&disk);
        for name in ["again", "opaque", "named", "kernel", "stays"] {
            up.mkdir(name.as_bytes(), 0o755).unwrap();
        }
        for name in [&b".wh.gone"[..], b".wh.again", b".wh.file", b"file", b".wh..wh.plnk"] {
            drop(up.create_file(name, 0o644).unwrap());
        }
        drop(up.open_dir(b"named").unwrap().create_file(b".wh..wh..opq", 0).unwrap());
        up.set_xattr(b"opaque", b"user.fuseoverlayfs.opaque", b"y").unwrap();
        up.set_xattr(b"kernel", b"trusted.overlay.opaque", b"y").unwrap();
        let open = || {
            let dirs = disk.dirs();
            let opening = Opening { foreign: true, ..disk.opening(&dirs) };
            drop(Carrier::open(opening).unwrap());
        };
        open();
        let names = |disk: &Disk| -> Vec<String> {
            read(&disk.layers()).keys().map(|path| String::from_utf8(path.as_bytes().to_vec()).unwrap()).collect()
        };
        let shown = ["", ".wh..wh.plnk", "again", "file", "kernel", "named", "opaque", "stays", "stays/shown"];
        assert_eq!(names(&disk), shown, "{marks:?}");
        // From here on it is a name.
        drop(up.create_file(b".wh.stays", 0o644).unwrap());
        open();
        assert_eq!(names(&disk).len(), shown.len() + 1);
    }
}

/// The same from the program itself: what it showed is shown.
#[test]
fn what_fuse_overlayfs_wrote_shows_as_it_showed_it() {
    needs!(root, fuse, program "fuse-overlayfs");
    in_mount_namespace(|| {
        let scratch = Scratch::in_memory();
        let disk = Disk::new(&scratch, Marks::Trusted);
        for name in ["a", "d/b", "d/c", "e/f", "g/h"] {
            let path = disk.lowers[0].join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        let at = scratch.make("merged");
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            disk.lowers[0].display(),
            disk.upper.display(),
            disk.work.display()
        );
        let status = std::process::Command::new("fuse-overlayfs").args(["-o", &options]).arg(&at).status().unwrap();
        assert!(status.success());
        std::fs::remove_file(at.join("a")).unwrap();
        std::fs::remove_file(at.join("d/b")).unwrap();
        std::fs::write(at.join("d/c"), "changed").unwrap();
        std::fs::remove_file(at.join("e/f")).unwrap();
        std::fs::remove_dir(at.join("e")).unwrap();
        std::fs::create_dir(at.join("e")).unwrap();
        std::fs::write(at.join("e/new"), "new").unwrap();
        let shown: Vec<_> = read_plain(&at).into_iter().map(|(path, seen)| (path, seen.content, seen.mode)).collect();
        unmount(&at, UnmountFlags::empty()).unwrap();
        let dirs = disk.dirs();
        let opening = Opening { foreign: true, ..disk.opening(&dirs) };
        drop(Carrier::open(opening).unwrap());
        let now: Vec<_> =
            read(&disk.layers()).into_iter().map(|(path, seen)| (path, seen.content, seen.mode)).collect();
        assert_eq!(now, shown);
    });
}
