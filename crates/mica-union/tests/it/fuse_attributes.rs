//! Attributes set through a mount, held against a plain directory in which the same is done by the same user.

use std::os::fd::AsFd;

use mica_layer::Marks;
use mica_sys::process::FsIds;
use mica_sys::{Access, Dir, Errno, FileKind, Metadata, SetTime, SetXattr, Subject, SysError, Time};
use mica_testkit::{Scratch, Snapshot, Tree, needs};
use mica_union::fuse::{Fuse, Options, Passthrough};
use mica_union::{Driver, Mounted, Records, UnionDirs, UpperDirs};

/// Lets user 5 do all, with a mask of all.
const ACL: &[u8] = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x07\0\x05\0\0\0\x04\0\x05\0\xff\xff\xff\xff\x10\0\x07\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
/// `cap_net_raw=ep`.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

fn lower() -> Tree {
    let mut tree = Tree::new();
    tree.name("small").content("small").mode(0o6755).uid(1000).gid(1000).xattr("user.a", "1").end();
    tree.name("linked").hard("small").end();
    tree.name("dir/").mode(0o755).uid(1000).gid(1000).end();
    tree.name("dir/in").content("in").mode(0o600).end();
    tree.name("link").symlink("dir/in").uid(1000).end();
    tree.name("sgid/").mode(0o2777).gid(77).end();
    tree.name("large").content(vec![b'l'; 100_000]).uid(1000).gid(1001).xattr("trusted.t", "t").end();
    tree.name("pipe").fifo().mode(0o640).end();
    tree.name("null").char(1, 3).mode(0o666).end();
    tree.name("marks").content("").xattr("trusted.overlay.opaque", "y").end();
    tree
}

/// Where owners and modes may be.
const KEPT: [Records; 3] = [Records::None, Records::User, Records::Security];

/// Gives what is in a directory records, and on disk owners and modes that are none of its own.
fn record(dir: &Dir, name: &[u8], records: Records) {
    let found = if name == b"." { dir.metadata().unwrap() } else { dir.stat(name).unwrap() };
    let can = matches!(found.kind, FileKind::File | FileKind::Directory);
    let attribute: &[u8] = match records {
        Records::User if can => b"user.containers.override_stat",
        Records::Security => b"security.fuseoverlayfs.override_stat",
        _ => return,
    };
    let subject = if name == b"." { Subject::dir(dir) } else { Subject::Name(dir, name) };
    // Of two names of a file the first has done it.
    if subject.xattr(attribute).is_err() {
        let value = format!("{}:{}:0{:o}", found.uid, found.gid, found.mode);
        subject.set_xattr(attribute, value.as_bytes(), SetXattr::Any).unwrap();
        subject.set_owner(Some(4), Some(4)).unwrap();
        if found.kind != FileKind::Symlink {
            subject.set_mode(0o700).unwrap();
        }
        subject.set_times(SetTime::To(found.atime), SetTime::To(found.mtime)).unwrap();
    }
    if found.kind == FileKind::Directory {
        let inner = dir.open_dir(name).unwrap();
        for entry in inner.read_dir().unwrap() {
            record(&inner, &entry.name, records);
        }
    }
}

/// A union over a lower, mounted, and a plain directory that shows the same.
struct Both {
    scratch: Scratch,
    dirs: UnionDirs,
    driver: Fuse,
    mounted: Option<Mounted>,
    lower: Snapshot,
}

impl Both {
    fn new() -> Self {
        Self::with(Fuse::in_process())
    }

    fn with(driver: Fuse) -> Self {
        Self::recorded(driver, Records::None)
    }

    /// With owners and modes of the lower in records.
    fn recorded(driver: Fuse, records: Records) -> Self {
        let scratch = Scratch::in_memory();
        let [at, upper, work, plain] = ["lower", "upper", "work", "plain"].map(|name| scratch.make(name));
        lower().write_layer(&at, Marks::Trusted);
        lower().write_to(&plain);
        record(&Dir::open(&at).unwrap(), b".", records);
        let upper = UpperDirs { upper, work, volatile: false };
        let dirs = UnionDirs { lowers: vec![at.clone()], upper: Some(upper), records, ..UnionDirs::default() };
        let lower = Snapshot::of(&at);
        let mut both = Self { scratch, dirs, driver, mounted: None, lower };
        both.mount();
        both
    }

    fn mount(&mut self) {
        self.mounted = None;
        self.mounted = Some(self.mounted_again());
    }

    /// The server of the mount before needs a moment to end.
    fn mounted_again(&self) -> Mounted {
        for _ in 0..500 {
            match self.driver.mount(&self.dirs) {
                Ok(mounted) => return mounted,
                Err(mica_union::UnionError::InUse { .. }) => std::thread::sleep(std::time::Duration::from_millis(10)),
                Err(error) => panic!("{error:?}"),
            }
        }
        panic!("the upper stays in use");
    }

    fn union(&self) -> Dir {
        self.mounted.as_ref().unwrap().dir().unwrap()
    }

    fn plain(&self) -> Dir {
        Dir::open(&self.scratch.path().join("plain")).unwrap()
    }

    /// Does the same in both, as somebody; the answers must be the same. Says them.
    fn both<T: PartialEq + std::fmt::Debug>(
        &self,
        (uid, gid): (u32, u32),
        what: &str,
        act: impl Fn(&Dir) -> Result<T, SysError>,
    ) -> Result<T, Errno> {
        let roots = [self.plain(), self.union()];
        let _ids = FsIds::take(uid, gid).unwrap();
        let [plain, union] = roots.map(|root| act(&root).map_err(|error| error.errno()));
        assert_eq!(plain, union, "{what} as {uid}: a plain directory says the first, the union the second");
        union
    }

    /// The same where a refusal is as good an answer.
    fn ask<T: PartialEq + std::fmt::Debug>(
        &self,
        who: (u32, u32),
        what: &str,
        act: impl Fn(&Dir) -> Result<T, SysError>,
    ) {
        match self.both(who, what, act) {
            // ignored: they have been compared.
            Ok(_) | Err(_) => {}
        }
    }

    /// Both trees are the same, now and after the next mount.
    fn agree(&mut self, after: &str) {
        for _ in 0..2 {
            let wanted = Tree::read_dir(&self.plain()).without_times();
            wanted.assert_is(&Tree::read_dir(&self.union()).without_times(), after);
            self.mount();
        }
        self.lower.assert_unchanged(&self.dirs.lowers[0], after);
    }
}

const ROOT: (u32, u32) = (0, 0);
const OWNER: (u32, u32) = (1000, 1000);
const OTHER: (u32, u32) = (2000, 2000);
const NAMES: [&[u8]; 9] = [b"small", b"large", b"dir", b"sgid", b"link", b"pipe", b"null", b"marks", b"linked"];

fn each(what: &str, who: &[(u32, u32)], act: impl Fn(&Subject<'_>) -> Result<(), SysError>) {
    for records in KEPT {
        each_where(records, what, who, &act);
    }
}

fn each_where(records: Records, what: &str, who: &[(u32, u32)], act: impl Fn(&Subject<'_>) -> Result<(), SysError>) {
    let mut both = Both::recorded(Fuse::in_process(), records);
    let what = &format!("{what}, {records:?}");
    for who in who {
        for name in NAMES {
            let what = format!("{what} of {}", name.escape_ascii());
            both.ask(*who, &what, |root| act(&Subject::Name(root, name)));
        }
        both.ask(*who, what, |root| act(&Subject::dir(root)));
    }
    both.agree(what);
}

#[test]
fn modes_are_set_on_all_that_has_one() {
    needs!(root, fuse);
    each("chmod", &[ROOT, OTHER], |subject| subject.set_mode(0o2751));
    each("chmod", &[OWNER], |subject| subject.set_mode(0o6777));
}

#[test]
fn a_new_owner_takes_the_rights_of_the_old_one_away() {
    needs!(root, fuse);
    each("chown", &[ROOT, OTHER], |subject| subject.set_owner(Some(5), Some(6)));
    each("chgrp", &[OWNER, ROOT], |subject| subject.set_owner(None, Some(1000)));
    each("chown to nobody", &[OWNER, ROOT], |subject| subject.set_owner(None, None));
    each("chown after setcap", &[ROOT], |subject| {
        subject.set_xattr(b"security.capability", CAPABILITY, SetXattr::Any)?;
        subject.set_owner(Some(7), None)
    });
}

#[test]
fn times_are_set_one_by_one() {
    needs!(root, fuse);
    let mut both = Both::new();
    let time = Time { secs: -5, nanos: 999_999_999 };
    let shown = |found: Metadata| (found.atime, found.mtime);
    for name in NAMES {
        let set = |access, modification| {
            let what = format!("utimens of {}", name.escape_ascii());
            both.both(ROOT, &what, |root| root.set_times(name, access, modification)).unwrap();
            both.both(ROOT, &what, |root| root.stat(name).map(shown)).unwrap()
        };
        assert_eq!(set(SetTime::To(time), SetTime::To(Time { secs: 9, nanos: 1 })).0, time);
        assert_eq!(set(SetTime::Keep, SetTime::To(time)), (time, time));
    }
    let now = |root: &Dir| root.set_times(b"small", SetTime::Now, SetTime::Keep);
    both.both(ROOT, "touch", now).unwrap();
    let found = both.union().stat(b"small").unwrap();
    assert!(found.atime.secs > 1_700_000_000 && found.mtime == time, "{found:?}");
    let denied = both.both(OTHER, "touch", |root| root.set_times(b"small", SetTime::To(time), SetTime::Keep));
    assert_eq!(denied, Err(Errno::PERM));
    both.agree("times");
}

#[test]
fn sizes_are_set_by_name_and_by_handle() {
    needs!(root, fuse);
    for (size, records) in [0, 3, 70_000, 300_000].into_iter().flat_map(|size| KEPT.map(|records| (size, records))) {
        for who in [ROOT, OWNER, OTHER] {
            let mut both = Both::recorded(Fuse::in_process(), records);
            for name in [&b"small"[..], b"large", b"marks", b"dir/in"] {
                let (dir, name) = match name.strip_prefix(b"dir/") {
                    Some(name) => (&b"dir"[..], name),
                    None => (&b""[..], name),
                };
                let what = format!("{} cut to {size}", name.escape_ascii());
                both.ask(who, &what, |root| {
                    let file = Subject::Name(&root.open_dir(dir)?, name).open(Access::ReadWrite)?;
                    file.set_len(size)?;
                    file.metadata().map(|found| (found.size, found.mode))
                });
            }
            both.agree(&format!("{size}, {records:?}"));
        }
    }
}

#[test]
fn a_file_without_a_name_is_changed_by_its_handle() {
    needs!(root, fuse);
    let names = [
        (&b"small"[..], Access::ReadWrite),
        (b"dir/in", Access::Read),
        (b"large", Access::Read),
        (b"pipe", Access::Read),
    ];
    for (records, (name, access)) in KEPT.into_iter().flat_map(|records| names.map(|name| (records, name))) {
        let both = Both::recorded(Fuse::in_process(), records);
        let what = format!("{}, removed", name.escape_ascii());
        both.both(ROOT, &what, |root| {
            let (root, name) = match name.strip_prefix(b"dir/") {
                Some(name) => (&root.open_dir(b"dir")?, name),
                None => (root, name),
            };
            let file = Subject::Name(root, name).open(access)?;
            // Of the first it is one of two names.
            root.unlink(name)?;
            let subject = Subject::Handle(file.as_fd(), name);
            subject.set_mode(0o611)?;
            subject.set_owner(Some(3), Some(4))?;
            subject.set_xattr(b"trusted.late", b"1", SetXattr::Create)?;
            subject.set_times(SetTime::Keep, SetTime::To(Time { secs: 5, nanos: 0 }))?;
            let found = subject.metadata()?;
            Ok((found.mode, found.uid, found.mtime, subject.xattr(b"trusted.late")?, subject.xattrs()?))
        })
        .unwrap();
    }
}

#[test]
fn attributes_are_set_read_listed_and_removed_on_every_kind() {
    needs!(root, fuse);
    for (attribute, value) in [
        (&b"user.a"[..], &b"x"[..]),
        (b"user.new", b""),
        (b"trusted.t", b"\0\xff"),
        (b"security.any", b"s"),
        (b"security.capability", CAPABILITY),
        (b"trusted.overlay.redirect", b"/somewhere"),
        (b"trusted.overlay.opaque", b"x"),
        (b"trusted.overlay.overlay.metacopy", b""),
        (ACCESS, ACL),
        (DEFAULT, ACL),
        (ACCESS, b"no list"),
        (b"nonsense", b""),
        (b"user.", b""),
    ] {
        let name = attribute.escape_ascii().to_string();
        // A list speaks of owners, and is kept where they are.
        let is_list = attribute == ACCESS || attribute == DEFAULT;
        let each = |what: &str, who: &[(u32, u32)], act: &dyn Fn(&Subject<'_>) -> Result<(), SysError>| {
            each_where(Records::None, what, who, act);
            if !is_list {
                each_where(Records::User, what, who, act);
            }
        };
        for how in [SetXattr::Any, SetXattr::Create, SetXattr::Replace] {
            each(&format!("{how:?} {name}"), &[ROOT], &|subject| subject.set_xattr(attribute, value, how));
        }
        each(&format!("remove {name}"), &[ROOT], &|subject| subject.remove_xattr(attribute));
        each(&format!("set, get and remove {name}"), &[ROOT], &|subject| {
            subject.set_xattr(attribute, value, SetXattr::Any)?;
            let mut names = subject.xattrs()?;
            names.sort();
            assert!(names.contains(&attribute.to_vec()), "{name} is not listed");
            subject.xattr(attribute).map(drop)?;
            subject.remove_xattr(attribute)
        });
    }
}

/// That a file was made without a capability is kept in memory: only until it is given one.
#[test]
fn a_file_that_was_just_made_takes_a_capability_and_loses_it_when_it_is_written() {
    needs!(root, fuse);
    KEPT.into_iter().for_each(made_with_a_capability);
}

fn made_with_a_capability(records: Records) {
    let mut both = Both::recorded(Fuse::in_process(), records);
    let none = |root: &Dir| root.get_xattr(b"made", b"security.capability");
    both.both(ROOT, "make", |root| root.create_file(b"made", 0o755).map(drop)).unwrap();
    assert_eq!(both.both(ROOT, "getcap of what was made", none), Ok(None));
    both.both(ROOT, "setcap", |root| root.set_xattr(b"made", b"security.capability", CAPABILITY)).unwrap();
    assert_eq!(both.both(ROOT, "getcap", none), Ok(Some(CAPABILITY.to_vec())));
    let write = |root: &Dir| root.open_file_for(b"made", Access::Write)?.write_at(b"x", 0);
    both.both(ROOT, "write", write).unwrap();
    assert_eq!(both.both(ROOT, "getcap of what was written", none), Ok(None));
    both.agree("a capability");
}

#[test]
fn values_are_as_long_as_the_file_system_keeps_them() {
    needs!(root, fuse);
    let both = Both::new();
    for length in [0, 1, 255, 256, 257, 4096, 65_536] {
        let value = vec![b'v'; length];
        let set = |root: &Dir| {
            root.set_xattr(b"large", b"user.long", &value)?;
            root.get_xattr(b"large", b"user.long")
        };
        assert_eq!(both.both(ROOT, "long", set).unwrap().as_ref(), Some(&value), "{length}");
    }
    let too_long = |root: &Dir| root.set_xattr(b"large", b"user.long", &[0; 65_537]);
    assert_eq!(both.both(ROOT, "too long", too_long), Err(Errno::TOOBIG));
    let name = [b"user.", &[b'n'; 251][..]].concat();
    assert_eq!(both.both(ROOT, "long name", |root| root.set_xattr(b"large", &name, b"")), Err(Errno::RANGE));
}

#[test]
fn a_mode_and_a_list_follow_each_other() {
    needs!(root, fuse);
    let mut both = Both::new();
    for name in [&b"small"[..], b"large", b"dir"] {
        let mode_and_list = |root: &Dir| Ok((root.stat(name)?.mode, root.get_xattr(name, ACCESS)?));
        both.both(ROOT, "an ACL", |root| root.set_xattr(name, ACCESS, ACL)).unwrap();
        let (mode, _) = both.both(ROOT, "an ACL", mode_and_list).unwrap();
        assert_eq!(mode & 0o777, 0o670, "the mode has the list's mask");
        both.both(ROOT, "chmod", |root| root.chmod(name, 0o711)).unwrap();
        both.both(ROOT, "chmod", mode_and_list).unwrap();
        // Only user 5 is let in by the list.
        both.both(ROOT, "an ACL", |root| root.set_xattr(name, ACCESS, ACL)).unwrap();
        for who in [(5, 5), (6, 6)] {
            both.ask(who, "reading", |root| Subject::Name(root, name).open(Access::Read).map(drop));
        }
    }
    both.agree("lists");
}

/// A member of another group sets a list on a file of setgid: the bit goes.
#[test]
fn a_list_set_by_somebody_of_another_group_takes_setgid() {
    needs!(root, fuse);
    let mut both = Both::new();
    both.both(ROOT, "chmod", |root| root.chown(b"large", 1000, 77).and_then(|()| root.chmod(b"large", 0o2775)))
        .unwrap();
    let wanted = both.both(OWNER, "an ACL", |root| {
        root.set_xattr(b"large", ACCESS, ACL)?;
        root.stat(b"large").map(|found| found.mode)
    });
    assert_eq!(wanted, Ok(0o670));
    both.agree("setgid");
}

#[test]
fn without_lists_setting_one_is_not_supported() {
    needs!(root, fuse);
    let options = Options { acls: false, ..Options::new(UnionDirs::default()) };
    let both = Both::with(Fuse::in_process().with_options(options));
    let set = both.union().set_xattr(b"small", ACCESS, ACL).unwrap_err();
    assert_eq!(set.errno(), Errno::OPNOTSUPP);
    both.union().set_xattr(b"small", b"user.a", b"2").unwrap();
    let options = Options { xattrs: false, static_links: true, ..Options::new(UnionDirs::default()) };
    let both = Both::with(Fuse::in_process().with_options(options));
    assert_eq!(both.union().set_xattr(b"small", b"user.a", b"2").unwrap_err().errno(), Errno::OPNOTSUPP);
    assert_eq!(both.union().list_xattrs(b"small").unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(both.union().stat(b"dir").unwrap().nlink, 1);
}

/// Links of a lower file are one file, and what is set on one shows at the other.
#[test]
fn what_is_set_on_one_name_shows_at_all() {
    needs!(root, fuse);
    KEPT.into_iter().for_each(set_on_one_name);
}

fn set_on_one_name(records: Records) {
    let mut both = Both::recorded(Fuse::in_process(), records);
    both.both(ROOT, "chmod", |root| root.chmod(b"linked", 0o604)).unwrap();
    let found = both.both(ROOT, "stat", |root| root.stat(b"small").map(|found| (found.mode, found.nlink))).unwrap();
    assert_eq!(found, (0o604, 2));
    let numbers = [&b"small"[..], b"linked"].map(|name| both.union().stat(name).unwrap().ino);
    assert_eq!(numbers[0], numbers[1]);
    both.agree("links");
    assert_eq!(both.union().stat(b"linked").unwrap().ino, numbers[0], "the number changed with the mount");
}

/// What a directory gives to what is made in it: its group, setgid, and its default list, which counts instead of the mask.
#[test]
fn a_directory_gives_what_it_gives_on_a_plain_file_system() {
    needs!(root, fuse);
    KEPT.into_iter().for_each(made_in_directories);
}

fn made_in_directories(records: Records) {
    let mut both = Both::recorded(Fuse::in_process(), records);
    // The owner may look into what is made.
    let mut default = ACL.to_vec();
    default[6] = 7;
    for (dir, mode, list) in [(&b"dir"[..], 0o777, true), (b"sgid", 0o2777, false)] {
        let list = list && records == Records::None;
        both.both(ROOT, "chmod", |root| root.chmod(dir, mode)).unwrap();
        if list {
            both.both(ROOT, "a default list", |root| root.set_xattr(dir, DEFAULT, &default)).unwrap();
        }
        for (number, who) in [ROOT, OTHER].into_iter().enumerate() {
            let name = |what: &str| format!("{what}{number}").into_bytes();
            both.both(who, "making", |root| {
                let dir = root.open_dir(dir)?;
                drop(dir.create_file(&name("file"), 0o666)?);
                drop(dir.create_file(&name("private"), 0o600)?);
                drop(dir.create_file(&name("setgid"), 0o2775)?);
                dir.mkdir(&name("dir"), 0o777)?;
                dir.mknod(&name("pipe"), FileKind::Fifo, 0o666, 0, 0)?;
                dir.symlink(b"to", &name("link"))?;
                dir.mkdir(&name("inner"), 0o755)?;
                dir.open_dir(&name("inner"))?.mkdir(b"deeper", 0o777)?;
                let unnamed = dir.create_unnamed(0o666)?;
                // By /proc, which is root's.
                if who == ROOT { dir.name_file(&unnamed, &name("unnamed")) } else { Ok(()) }
            })
            .unwrap();
        }
        // Over what was there: a whiteout stands at the name.
        for name in [&b"in"[..], b"file0"] {
            both.both(ROOT, "making again", |root| {
                let dir = root.open_dir(dir)?;
                if dir.stat_if_there(name)?.is_some() {
                    dir.unlink(name)?;
                }
                dir.create_file(name, 0o666).map(drop)
            })
            .unwrap();
        }
    }
    both.agree("what a directory gives");
}

/// Opens a file for reading first, so that the kernel is handed no file: what is mapped comes back by requests.
fn write_mapped(root: &Dir, name: &[u8]) -> Result<(), SysError> {
    let reader = root.open_file(name)?;
    let writer = root.open_file_for(name, Access::ReadWrite)?;
    mica_sys::mmap::write_shared(&writer, 0, b"map")?;
    drop(reader);
    Ok(())
}

#[test]
fn what_is_written_by_a_mapping_takes_no_rights_and_what_is_written_by_a_call_does() {
    needs!(root, fuse);
    let ways = [(Passthrough::Auto, false), (Passthrough::Off, false), (Passthrough::Off, true)];
    for (records, (passthrough, writeback)) in KEPT.into_iter().flat_map(|records| ways.map(|way| (records, way))) {
        let options = Options { passthrough, writeback, ..Options::new(UnionDirs::default()) };
        let mut both = Both::recorded(Fuse::in_process().with_options(options), records);
        for name in [&b"small"[..], b"large"] {
            both.both(ROOT, "setcap", |root| {
                root.chmod(name, 0o6777)?;
                root.set_xattr(name, b"security.capability", CAPABILITY)
            })
            .unwrap();
            let rights = |root: &Dir| Ok((root.stat(name)?.mode, root.get_xattr(name, b"security.capability")?));
            let all = (0o6777, Some(CAPABILITY.to_vec()));
            both.both(OTHER, "a mapping", |root| write_mapped(root, name)).unwrap();
            assert_eq!(both.both(ROOT, "rights after a mapping", rights).unwrap(), all);
            both.agree("a mapping");
            both.both(OTHER, "pwrite", |root| root.open_file_for(name, Access::Write)?.write_at(b"w", 0)).unwrap();
            assert_eq!(both.both(ROOT, "rights after a call", rights).unwrap(), (0o777, None));
            both.agree("pwrite");
        }
    }
}

/// What an overlay whose upper is in ours asks for: the device that is left is made as every other file of the directory.
#[test]
fn the_device_that_a_rename_leaves_has_what_its_directory_gives() {
    needs!(root, fuse);
    let mut both = Both::new();
    both.both(ROOT, "a default list", |root| {
        root.set_xattr(b"dir", DEFAULT, ACL)?;
        drop(root.open_dir(b"sgid")?.create_file(b"in", 0o600)?);
        root.set_xattr(b"sgid", DEFAULT, ACL)
    })
    .unwrap();
    for (dir, who) in [(&b"dir"[..], ROOT), (b"sgid", ROOT), (b".", ROOT)] {
        let leaves = |root: &Dir| {
            let dir = if dir == b"." { root.try_clone()? } else { root.open_dir(dir)? };
            let name: &[u8] = if dir.stat_if_there(b"in")?.is_some() { b"in" } else { b"small" };
            dir.rename_leaving_whiteout(name, &dir, b"moved")?;
            Ok((dir.stat(name)?.mode, dir.stat(name)?.gid, dir.get_xattr(name, ACCESS)?))
        };
        both.both(who, "RENAME_WHITEOUT", leaves).unwrap();
    }
    both.agree("RENAME_WHITEOUT");
}

/// Who could write a record would be whom they like: programs see none and write none, and on disk everything is the server's alone.
#[test]
fn a_record_is_nobodys_to_read_or_to_write() {
    needs!(root, fuse);
    const WRITTEN: &[u8] = b"user.containers.override_stat";
    let mut both = Both::recorded(Fuse::in_process(), Records::User);
    for name in [WRITTEN, b"user.fuseoverlayfs.override_stat"] {
        let union = both.union();
        for who in [ROOT, OWNER] {
            let _ids = FsIds::take(who.0, who.1).unwrap();
            let subject = Subject::Name(&union, b"large");
            assert_eq!(subject.set_xattr(name, b"0:0:4755", SetXattr::Any).unwrap_err().errno(), Errno::PERM);
            assert_eq!(subject.remove_xattr(name).unwrap_err().errno(), Errno::PERM);
            assert_eq!(subject.xattr(name).unwrap_err().errno(), Errno::NODATA);
            assert!(!subject.xattrs().unwrap().contains(&name.to_vec()));
        }
    }
    both.both(OWNER, "making", |root| {
        drop(root.open_dir(b"dir")?.create_file(b"mine", 0o4751)?);
        root.chmod(b"large", 0o4700)
    })
    .unwrap();
    both.both(ROOT, "giving", |root| root.chown(b"small", 77, 78)).unwrap();
    both.agree("records");
    let upper = Dir::open(&both.dirs.upper.as_ref().unwrap().upper).unwrap();
    let dir = upper.open_dir(b"dir").unwrap();
    for (dir, name, said) in [
        (&upper, &b"large"[..], "1000:1001:4700"),
        (&upper, b"linked", "77:78:0755"),
        (&dir, b"mine", "1000:1000:4751"),
        (&upper, b"dir", "1000:1000:0755"),
    ] {
        let found = dir.stat(name).unwrap();
        let mode = if found.kind == FileKind::Directory { 0o700 } else { 0o600 };
        assert_eq!((found.uid, found.gid, found.mode), (0, 0, mode), "{} on disk", name.escape_ascii());
        assert_eq!(dir.get_xattr(name, WRITTEN).unwrap().unwrap(), said.as_bytes(), "{}", name.escape_ascii());
    }
}

/// fuse-overlayfs knew two names of the attribute, and changed one.
#[test]
fn of_two_records_the_one_that_fuse_overlayfs_changed_counts_until_one_is_written() {
    needs!(root, fuse);
    let mut both = Both::recorded(Fuse::in_process(), Records::User);
    both.mounted = None;
    let upper = Dir::open(&both.dirs.upper.as_ref().unwrap().upper).unwrap();
    drop(upper.create_file(b"theirs", 0o755).unwrap());
    upper.set_xattr(b"theirs", b"user.containers.override_stat", b"1:1:0644").unwrap();
    upper.set_xattr(b"theirs", b"user.fuseoverlayfs.override_stat", b"3:4:100640").unwrap();
    both.mount();
    let found = both.union().stat(b"theirs").unwrap();
    assert_eq!((found.uid, found.gid, found.mode), (3, 4, 0o640));
    both.union().chmod(b"theirs", 0o600).unwrap();
    both.mount();
    let found = both.union().stat(b"theirs").unwrap();
    assert_eq!((found.uid, found.gid, found.mode), (3, 4, 0o600));
    assert_eq!(upper.get_xattr(b"theirs", b"user.fuseoverlayfs.override_stat").unwrap(), None);
}
