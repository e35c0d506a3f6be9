//! One promise each.

use std::path::Path;

use mica_core::plan::{Features, How, XattrChange, plan};
use mica_core::{Kind, Rdev};
use mica_layer::{Marks, make_whiteout};
use mica_sys::mount::{MountFlags, UnmountFlags, mount, unmount};
use mica_sys::process::FsIds;
use mica_sys::{Dir, Errno, FileKind, Metadata, SetTime, Time};
use mica_testkit::{LoopFs, Scratch, Snapshot, in_mount_namespace, needs};

use super::act::{Act, ByPath};
use super::disk::{Disk, Raw, rel};
use super::seen::{read, read_plain};
use crate::fuse::carry::{Carrier, CarryError, Cut, New, Source};

/// An access control list that lets user 5 do all, with a mask of all.
const ACL: &[u8] = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x07\0\x05\0\0\0\x04\0\x05\0\xff\xff\xff\xff\x10\0\x07\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
/// `cap_net_raw=ep`.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn run(disk: &Disk, carrier: &Carrier, act: &Act) -> Result<(), CarryError> {
    run_with(disk, carrier, act, Features::Full)
}

fn run_with(disk: &Disk, carrier: &Carrier, act: &Act, features: Features) -> Result<(), CarryError> {
    let layers = disk.layers();
    let facts = act.op(&layers, &read(&layers));
    let steps = plan(facts, features).unwrap_or_else(|refusal| panic!("{act:?}: {refusal}"));
    carrier.carry(&steps, &mut ByPath::new(&layers, act)).map(drop)
}

fn time(secs: i64, nanos: u32) -> SetTime {
    SetTime::To(Time { secs, nanos })
}

fn lower(disk: &Disk) -> Dir {
    Dir::open(&disk.lowers[0]).unwrap()
}

pub(super) fn upper(disk: &Disk) -> Dir {
    Dir::open(&disk.upper).unwrap()
}

/// What is left in the work directory.
pub(super) fn left(disk: &Disk) -> usize {
    let left = Dir::open(&disk.work.join("fuse")).unwrap().read_dir().unwrap();
    left.iter().filter(|entry| entry.name != crate::fuse::carry::shift::SHARED).count()
}

/// All that a copy keeps.
fn kept(dir: &Dir, name: &[u8]) -> (Source, Vec<u32>) {
    let found: Metadata = dir.stat(name).unwrap();
    let source = Source::read(dir, name, Marks::Trusted, crate::Records::None).unwrap();
    (source, vec![found.mode, found.uid, found.gid, found.rdev_major, found.rdev_minor])
}

#[test]
fn a_copy_has_all_that_the_lower_file_has() {
    needs!(root, loop_devices);
    let ext4 = LoopFs::ext4(16 << 20);
    let scratch = Scratch::new();
    let disk = Disk { lowers: vec![scratch.make("lower")], ..on(&ext4.path(), Marks::Trusted) };
    let below = lower(&disk);
    let file = below.create_file(b"file", 0o600).unwrap();
    file.write_at(b"start", 0).unwrap();
    file.write_at(b"end", 3 << 20).unwrap();
    below.symlink(b"to", b"link").unwrap();
    below.mknod(b"null", FileKind::CharDevice, 0o600, 1, 3).unwrap();
    below.mknod(b"pipe", FileKind::Fifo, 0o600, 0, 0).unwrap();
    below.mknod(b"socket", FileKind::Socket, 0o600, 0, 0).unwrap();
    below.mkdir(b"dir", 0o700).unwrap();
    below.set_xattr(b"file", b"security.capability", CAPABILITY).unwrap();
    below.set_xattr(b"dir", b"system.posix_acl_default", ACL).unwrap();
    let names: [&[u8]; 6] = [b"file", b"link", b"null", b"pipe", b"socket", b"dir"];
    for name in names {
        below.chown(name, 12, 34).unwrap();
        below.set_xattr(name, b"trusted.t", b"\0\xff").unwrap();
        // A mark of a union inside of the union, as it stands.
        below.set_xattr(name, b"trusted.overlay.overlay.opaque", b"y").unwrap();
        if name != b"link" {
            below.set_xattr(name, b"system.posix_acl_access", ACL).unwrap();
            below.chmod(name, 0o6771).unwrap();
        }
        if matches!(name, b"file" | b"dir") {
            below.set_xattr(name, b"user.u", b"u").unwrap();
        }
    }
    // A chown takes the capability.
    below.set_xattr(b"file", b"security.capability", CAPABILITY).unwrap();
    let layers = disk.layers();
    let tree = read(&layers);
    // The first steps of a change bring up; the last makes the change.
    let plans = names.map(|name| {
        let act = Act::Touch(String::from_utf8(name.to_vec()).unwrap());
        (plan(act.op(&layers, &tree), Features::Basic).unwrap(), act)
    });
    // All that has been read has new times of access.
    for (number, name) in (0..).zip(names) {
        below.set_times(name, time(number, 5), time(-number, 999_999_999)).unwrap();
    }
    let wanted: Vec<_> = names.iter().map(|name| kept(&below, name)).collect();
    let before = upper(&disk).metadata().unwrap();
    let carrier = disk.open();
    for ((name, wanted), (steps, act)) in names.iter().zip(&wanted).zip(&plans) {
        carrier.carry(&steps[..steps.len() - 1], &mut ByPath::new(&layers, act)).unwrap();
        // Reading where a symlink leads moves its access time.
        let (mut found, numbers) = kept(&upper(&disk), name);
        if *name == b"link" {
            found.atime = wanted.0.atime;
        }
        assert_eq!((&found, &numbers), (&wanted.0, &wanted.1), "{}", name.escape_ascii());
    }
    let after = upper(&disk).metadata().unwrap();
    assert_eq!((before.mtime, before.atime), (after.mtime, after.atime), "bringing up shows in a directory's times");
    let copied = upper(&disk).stat(b"file").unwrap();
    assert!(copied.bytes_on_disk() < 1 << 20, "the hole was filled: {copied:?}");
    assert_eq!(std::fs::read(disk.upper.join("file")).unwrap(), std::fs::read(disk.lowers[0].join("file")).unwrap());
}

/// A disk whose upper and work directory are in a directory.
pub(super) fn on(path: &Path, marks: Marks) -> Disk {
    let make = |name: &str| {
        let path = path.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    Disk { upper: make("upper"), work: make("work"), lowers: vec![make("lower")], marks }
}

#[test]
fn what_the_upper_cannot_keep_is_an_error_and_leaves_nothing() {
    needs!(root, loop_devices);
    let ext4 = LoopFs::ext4(8 << 20);
    let scratch = Scratch::in_memory();
    let disk = Disk { lowers: vec![scratch.make("lower")], ..on(&ext4.path(), Marks::Trusted) };
    std::fs::write(disk.lowers[0].join("much"), "m").unwrap();
    lower(&disk).set_xattr(b"much", b"trusted.much", &[7; 20_000]).unwrap();
    std::fs::write(disk.lowers[0].join("large"), vec![1; 30 << 20]).unwrap();
    let carrier = disk.open();
    for name in ["much", "large"] {
        let error = run(&disk, &carrier, &Act::Append(name.to_owned())).unwrap_err();
        assert_eq!(error.errno(), Errno::NOSPC, "{error}");
        assert_eq!(upper(&disk).stat_if_there(name.as_bytes()).unwrap(), None);
        assert_eq!(left(&disk), 0);
    }
    // The metadata of a large file needs no room.
    run(&disk, &carrier, &Act::Chmod("large".to_owned())).unwrap();
    assert!(run(&disk, &carrier, &Act::Append("large".to_owned())).is_err());
    let shown = read(&disk.layers());
    assert!(
        shown[&rel("large")].content.iter().all(|byte| *byte == 1),
        "what could not be filled shows the lower's content"
    );
}

#[test]
fn filling_keeps_times_and_the_rights_that_writing_takes() {
    needs!(root);
    let scratch = Scratch::in_memory();
    let disk = Disk::new(&scratch, Marks::Trusted);
    std::fs::write(disk.lowers[0].join("large"), vec![b'x'; 100_000]).unwrap();
    let below = lower(&disk);
    below.chmod(b"large", 0o4755).unwrap();
    below.set_xattr(b"large", b"security.capability", CAPABILITY).unwrap();
    below.set_times(b"large", time(5, 6), time(7, 8)).unwrap();
    let carrier = disk.open();
    run(&disk, &carrier, &Act::Xattr("large".to_owned(), XattrChange::Set)).unwrap();
    let metacopy = upper(&disk).get_xattr(b"large", Marks::Trusted.metacopy()).unwrap();
    assert_eq!(metacopy.as_deref(), Some(&b""[..]));
    assert_eq!(upper(&disk).stat(b"large").unwrap().blocks, 0, "content was copied for an attribute");
    let before = kept(&upper(&disk), b"large");
    let layers = disk.layers();
    let act = Act::Append("large".to_owned());
    let steps = plan(act.op(&layers, &read(&layers)), Features::Full).unwrap();
    carrier.carry(&steps[..steps.len() - 1], &mut ByPath::new(&layers, &act)).unwrap();
    assert_eq!(kept(&upper(&disk), b"large"), before);
    for mark in [Marks::Trusted.metacopy(), Marks::Trusted.redirect()] {
        assert_eq!(upper(&disk).get_xattr(b"large", mark).unwrap(), None);
    }
    assert_eq!(std::fs::read(disk.upper.join("large")).unwrap(), vec![b'x'; 100_000]);
}

#[test]
fn a_file_that_is_cut_loses_the_rights_that_the_caller_may_not_keep() {
    let cut = |clears_rights| Cut { size: 0, clears_rights };
    assert_eq!(cut(false).mode(0o6777), 0o6777);
    assert_eq!(cut(true).mode(0o6777), 0o777);
    assert_eq!(cut(true).mode(0o6767), 0o2767, "without the group's right to execute it is no set-group-ID");
}

/// A context that makes one file.
#[derive(Debug)]
struct Maker<'a> {
    by_path: ByPath<'a>,
    new: New,
}

impl crate::fuse::carry::Context for Maker<'_> {
    type Spot = mica_core::RelPath;

    fn spot(&mut self, at: mica_core::plan::At) -> Result<Self::Spot, mica_sys::SysError> {
        self.by_path.spot(at)
    }
    fn missing_above(&mut self, spot: &Self::Spot) -> Result<Vec<Self::Spot>, mica_sys::SysError> {
        self.by_path.missing_above(spot)
    }
    fn stand(&mut self, spot: &Self::Spot) -> Result<crate::fuse::carry::Stand, mica_sys::SysError> {
        self.by_path.stand(spot)
    }
    fn source(&mut self, spot: &Self::Spot) -> Result<Source, mica_sys::SysError> {
        self.by_path.source(spot)
    }
    fn content(&mut self, spot: &Self::Spot) -> Result<mica_sys::File, mica_sys::SysError> {
        self.by_path.content(spot)
    }
    fn lower_path(&mut self, spot: &Self::Spot) -> Result<mica_core::RelPath, mica_sys::SysError> {
        self.by_path.lower_path(spot)
    }
    fn joins(&mut self, spot: &Self::Spot) -> Result<crate::fuse::carry::Joins<Self::Spot>, mica_sys::SysError> {
        self.by_path.joins(spot)
    }
    fn new_file(&mut self) -> Result<New, mica_sys::SysError> {
        Ok(self.new.clone())
    }
    fn came_up(&mut self, _: &Self::Spot) {}
}

/// A new file is what the kernel would have made of it, whether it is made in its place or over a whiteout.
#[test]
fn a_new_file_gets_from_its_directory_what_the_kernel_would_give_it() {
    needs!(root);
    let scratch = Scratch::in_memory();
    let disk = Disk::new(&scratch, Marks::Trusted);
    let plain = Dir::open(&scratch.make("plain")).unwrap();
    let up = upper(&disk);
    for dir in [&plain, &up] {
        for (name, mode, has_acl) in
            [(&b"open"[..], 0o777, false), (b"group", 0o2777, false), (b"acl", 0o777, true), (b"both", 0o2777, true)]
        {
            dir.mkdir(name, 0o700).unwrap();
            dir.chown(name, 0, 77).unwrap();
            dir.chmod(name, mode).unwrap();
            if has_acl {
                dir.set_xattr(name, b"system.posix_acl_default", ACL).unwrap();
            }
        }
    }
    let rdev = Rdev { major: 1, minor: 3 };
    let kinds = [
        Kind::File { size: 0, content: None },
        Kind::Directory { opaque: false, implicit: false },
        Kind::Symlink { target: b"t".to_vec() },
        Kind::Fifo,
        Kind::CharDevice(rdev),
    ];
    let carrier = disk.open();
    let mut number = 0;
    for (kind, mode) in kinds.iter().flat_map(|kind| [0o666, 0o751, 0o600].map(|mode| (kind, mode))) {
        for (uid, gid) in [(0, 0), (1000, 1001)] {
            for directory in ["open", "group", "acl", "both"] {
                number += 1;
                let name = format!("{number}");
                let to = plain.open_dir(directory.as_bytes()).unwrap();
                make_as((uid, gid), &to, name.as_bytes(), kind, mode);
                let wanted = kept(&to, name.as_bytes());
                for over_whiteout in [false, true] {
                    let to = up.open_dir(directory.as_bytes()).unwrap();
                    if over_whiteout {
                        make_whiteout(&to, name.as_bytes(), Marks::Trusted).unwrap();
                    }
                    let layers = disk.layers();
                    let path = format!("{directory}/{name}");
                    let is_directory = kind.is_directory();
                    let act = if is_directory { Act::MakeDirectory(path) } else { Act::Make(path) };
                    let steps = plan(act.op(&layers, &read(&layers)), Features::Full).unwrap();
                    let umask = if directory == "acl" || directory == "both" { 0o077 } else { 0o022 };
                    let new = New { kind: kind.clone(), mode, umask, uid, gid };
                    let mut maker = Maker { by_path: ByPath::new(&layers, &act), new };
                    let carried = carrier.carry(&steps, &mut maker).unwrap();
                    assert_eq!(carried.file.is_some(), matches!(kind, Kind::File { .. }));
                    let (mut found, numbers) = kept(&to, name.as_bytes());
                    found.atime = wanted.0.atime;
                    found.node.attrs.mtime = wanted.0.node.attrs.mtime;
                    let what = format!("{kind:?} {mode:o} of {uid} in {directory}, over a whiteout: {over_whiteout}");
                    assert_eq!((&found, &numbers), (&wanted.0, &wanted.1), "{what}");
                    if is_directory { to.rmdir(name.as_bytes()) } else { to.unlink(name.as_bytes()) }.unwrap();
                }
            }
        }
    }
    assert_eq!(left(&disk), 0);
}

/// Makes it with the mask 022, that of the test's process.
fn make_as((uid, gid): (u32, u32), dir: &Dir, name: &[u8], kind: &Kind, mode: u32) {
    let _ids = FsIds::take(uid, gid).unwrap();
    match kind {
        Kind::File { .. } => drop(dir.create_file(name, mode).unwrap()),
        Kind::Directory { .. } => dir.mkdir(name, mode).unwrap(),
        Kind::Symlink { target } => dir.symlink(target, name).unwrap(),
        Kind::Fifo => dir.mknod(name, FileKind::Fifo, mode, 0, 0).unwrap(),
        _ => {
            // Only root makes devices; for others it was the kernel that looked.
            drop(_ids);
            dir.mknod(name, FileKind::CharDevice, mode, 1, 3).unwrap();
            let group = if dir.metadata().unwrap().mode & 0o2000 != 0 { 77 } else { gid };
            dir.chown(name, uid, group).unwrap();
        }
    }
}

#[test]
fn a_redirect_that_is_too_long_is_told_from_a_full_disk() {
    needs!(root, loop_devices);
    let ext4 = LoopFs::ext4(8 << 20);
    let disk = on(&ext4.path(), Marks::Trusted);
    let mut path = String::new();
    for _ in 0..16 {
        path = format!("{path}{}/", "n".repeat(253));
    }
    let mut at = lower(&disk);
    for part in path.trim_end_matches('/').split('/') {
        at.mkdir(part.as_bytes(), 0o755).unwrap();
        at = at.open_dir(part.as_bytes()).unwrap();
    }
    at.mkdir(b"d", 0o755).unwrap();
    at.create_file(b"f", 0o644).unwrap().write_whole(&[1; 70_000]).unwrap();
    let carrier = disk.open();
    let act = Act::Rename(format!("{path}d"), "new".to_owned(), How::Replace);
    let error = run(&disk, &carrier, &act).unwrap_err();
    assert!(matches!(error, CarryError::RedirectTooLong(_)), "{error:?}");
    assert_eq!(error.errno(), Errno::XDEV);
    let file = Act::Chmod(format!("{path}f"));
    let error = run(&disk, &carrier, &file).unwrap_err();
    assert!(matches!(error, CarryError::RedirectTooLong(_)), "{error:?}");
    assert_eq!(left(&disk), 0);
    run_with(&disk, &carrier, &file, Features::Basic).unwrap();
    let shown = read(&disk.layers());
    assert!(shown[&rel(&format!("{path}f"))].content == [1; 70_000] && !shown.contains_key(&rel("new")));
}

pub(super) fn kernel_options(disk: &Disk) -> String {
    format!(
        "upperdir={},workdir={},lowerdir={},redirect_dir=on,metacopy=on,index=off",
        disk.upper.display(),
        disk.work.display(),
        disk.lowers[0].display()
    )
}

pub(super) fn mount_kernel(disk: &Disk, at: &Path) {
    mount(Path::new("overlay"), at, "overlay", MountFlags::empty(), &kernel_options(disk)).unwrap();
}

/// One upper is written by overlayfs and by us in turn.
#[test]
fn an_upper_is_carried_on_by_whoever_mounts_it_next() {
    needs!(root, overlay);
    in_mount_namespace(|| {
        let scratch = Scratch::in_memory();
        let disk = Disk::new(&scratch, Marks::Trusted);
        let below = |path: &str, content: &[u8]| {
            let path = disk.lowers[0].join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        below("d/in/f", b"f");
        below("large", &[b'l'; 100_000]);
        below("other", &[b'o'; 100_000]);
        below("e/gone", b"g");
        let lowers = Snapshot::of(&disk.lowers[0]);
        let at = scratch.make("merged");

        mount_kernel(&disk, &at);
        std::fs::rename(at.join("d"), at.join("moved")).unwrap();
        std::fs::write(at.join("moved/new"), "n").unwrap();
        Dir::open(&at).unwrap().chmod(b"large", 0o640).unwrap();
        std::fs::remove_file(at.join("e/gone")).unwrap();
        let shown = read_plain(&at);
        unmount(&at, UnmountFlags::empty()).unwrap();
        let metacopy = upper(&disk).get_xattr(b"large", Marks::Trusted.metacopy()).unwrap();
        assert!(metacopy.is_some(), "overlayfs wrote no metacopy");
        assert_eq!(read(&disk.layers()), shown);

        let carrier = disk.open();
        let act = |act: Act| run(&disk, &carrier, &act).unwrap_or_else(|error| panic!("{act:?}: {error}"));
        act(Act::Rename("moved".to_owned(), "e/again".to_owned(), How::Replace));
        act(Act::Append("large".to_owned()));
        act(Act::Chown("other".to_owned()));
        act(Act::Rename("other".to_owned(), "e/gone".to_owned(), How::Replace));
        act(Act::Chmod("e/again/in/f".to_owned()));
        act(Act::MakeDirectory("d".to_owned()));
        drop(carrier);
        let shown = read(&disk.layers());

        mount_kernel(&disk, &at);
        let kernel = read_plain(&at);
        assert_eq!(kernel, shown);
        std::fs::write(at.join("e/gone"), "written").unwrap();
        std::fs::write(at.join("e/again/in/f"), "written").unwrap();
        std::fs::remove_dir(at.join("d")).unwrap();
        std::fs::rename(at.join("e/again/in"), at.join("in")).unwrap();
        let shown = read_plain(&at);
        unmount(&at, UnmountFlags::empty()).unwrap();
        assert_eq!(read(&disk.layers()), shown);
        lowers.assert_unchanged(&disk.lowers[0], "both");
    });
}

/// Where the upper is on overlayfs no device is a whiteout.
#[test]
fn whiteouts_are_files_where_devices_cannot_be() {
    needs!(root, overlay);
    in_mount_namespace(|| {
        let scratch = Scratch::in_memory();
        let store = Disk::new(&scratch, Marks::Trusted);
        let at = scratch.make("merged");
        mount_kernel(&store, &at);
        let disk = Disk { lowers: vec![scratch.make("lower2")], ..on(&at, Marks::Trusted) };
        for name in ["a", "b", "d/c", "e/f", "g/h"] {
            let path = disk.lowers[0].join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        let carrier = disk.open();
        let act = |act: Act| run(&disk, &carrier, &act).unwrap_or_else(|error| panic!("{act:?}: {error}"));
        act(Act::Unlink("a".to_owned()));
        act(Act::Rename("b".to_owned(), "d/c".to_owned(), How::Replace));
        act(Act::Rename("d".to_owned(), "x".to_owned(), How::Replace));
        act(Act::Unlink("e/f".to_owned()));
        act(Act::RemoveDirectory("e".to_owned()));
        act(Act::MakeDirectory("e".to_owned()));
        act(Act::Make("a".to_owned()));
        act(Act::Unlink("a".to_owned()));
        act(Act::Rename("g/h".to_owned(), "e/h".to_owned(), How::Replace));
        act(Act::RemoveDirectory("g".to_owned()));
        let names: Vec<String> =
            read(&disk.layers()).keys().map(|path| String::from_utf8(path.as_bytes().to_vec()).unwrap()).collect();
        assert_eq!(names, ["", "e", "e/h", "x", "x/c"]);
        assert_eq!(left(&disk), 0);
        let gone = Raw::new(&disk.upper, None).root.stat(b"a").unwrap();
        assert_eq!((gone.kind, gone.size), (FileKind::File, 0), "the whiteout is no file");
        drop(carrier);
        unmount(&at, UnmountFlags::DETACH).unwrap();
    });
}

/// What is made in work has its group then.
#[test]
fn a_copy_has_its_owner_where_the_work_directory_gives_a_group() {
    needs!(root);
    let scratch = Scratch::in_memory();
    let disk = Disk::new(&scratch, Marks::Trusted);
    let work = Dir::open(&disk.work).unwrap();
    work.chown_self(0, 77).unwrap();
    work.chmod_self(0o2755).unwrap();
    for (name, gid) in [("root", 0), ("given", 77), ("other", 5)] {
        std::fs::write(disk.lowers[0].join(name), "content").unwrap();
        lower(&disk).chown(name.as_bytes(), 0, gid).unwrap();
        lower(&disk).mkdir(format!("{name}-dir").as_bytes(), 0o755).unwrap();
        lower(&disk).chown(format!("{name}-dir").as_bytes(), 0, gid).unwrap();
    }
    let carrier = disk.open();
    for (name, gid) in [("root", 0), ("given", 77), ("other", 5)] {
        for name in [name.to_owned(), format!("{name}-dir")] {
            run(&disk, &carrier, &Act::Touch(name.clone())).unwrap();
            assert_eq!(upper(&disk).stat(name.as_bytes()).unwrap().gid, gid, "{name}");
        }
    }
}

/// They are links of one device; when that has all that the file system gives one, 65,000 on ext4, there is another.
#[test]
fn whiteouts_are_one_file_and_never_too_many() {
    needs!(root, loop_devices);
    let ext4 = LoopFs::ext4(64 << 20);
    let scratch = Scratch::new();
    let disk = Disk { lowers: vec![scratch.make("lower")], ..on(&ext4.path(), Marks::Trusted) };
    for name in ["a", "b", "c"] {
        std::fs::write(disk.lowers[0].join(name), name).unwrap();
    }
    let carrier = disk.open();
    let act = |act: Act| run(&disk, &carrier, &act).unwrap_or_else(|error| panic!("{act:?}: {error}"));
    act(Act::Unlink("a".to_owned()));
    // This one takes the place of a file.
    act(Act::Append("b".to_owned()));
    act(Act::Unlink("b".to_owned()));
    let upper = upper(&disk);
    let gone = |name: &[u8]| {
        let found = upper.stat(name).unwrap();
        assert!(found.is_whiteout_device(), "{found:?}");
        found.ino
    };
    assert_eq!(gone(b"a"), gone(b"b"));
    upper.mkdir(b"many", 0o700).unwrap();
    let many = upper.open_dir(b"many").unwrap();
    for number in 0..65_000 {
        carrier.make_whiteout(&many, format!("{number}").as_bytes()).unwrap();
    }
    act(Act::Unlink("c".to_owned()));
    assert_ne!(gone(b"a"), gone(b"c"));
    carrier.make_whiteout(&upper, b"d").unwrap();
    assert_eq!(gone(b"c"), gone(b"d"), "the other is shared, too");
    assert_eq!(left(&disk), 0);
    let again = carrier.make_whiteout(&upper, b"a").unwrap_err();
    assert_eq!(again.errno(), Errno::EXIST);
}

#[test]
fn many_threads_have_plans_carried_out_at_once() {
    needs!(root);
    let scratch = Scratch::in_memory();
    let disk = Disk::new(&scratch, Marks::Trusted);
    for thread in 0..4 {
        for number in 0..10 {
            let path = disk.lowers[0].join(format!("d{thread}/{number}"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "below").unwrap();
        }
    }
    let carrier = disk.open();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (carrier, disk) = (&carrier, &disk);
            scope.spawn(move || {
                for number in 0..10 {
                    let path = format!("d{thread}/{number}");
                    let act = if number % 2 == 0 { Act::Unlink(path) } else { Act::Append(path) };
                    let layers = disk.layers();
                    let place = super::act::place(&layers, act.old().unwrap());
                    let op = match act {
                        Act::Unlink(_) => mica_core::plan::Op::Unlink(place),
                        _ => mica_core::plan::Op::Write(place),
                    };
                    let steps = plan(op, Features::Full).unwrap();
                    carrier.carry(&steps, &mut ByPath::new(&layers, &act)).unwrap();
                }
            });
        }
    });
    let shown = read(&disk.layers());
    assert_eq!(shown.len(), 1 + 4 + 4 * 5);
    assert_eq!(left(&disk), 0);
}
