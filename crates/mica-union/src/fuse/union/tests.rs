//! The union over real directories, without a mount: what it shows is held against a plain directory to which the same is done.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mica_core::plan::{How, Op};
use mica_core::{Kind, Rdev};
use mica_layer::{Ability, Marks, Unpack, unpack};
use mica_sys::{Access, Dir};
use mica_testkit::{Scratch, Snapshot, Tree as Literal, needs, tree};

use super::bring::Need;
use super::rename::Move;
use super::*;
use crate::fuse::carry::{Cut, New};
use crate::fuse::tree::tests::read;
use crate::{UnionDirs, UpperDirs};

/// A union, and a plain directory that showed the same at the beginning.
struct Both {
    scratch: Scratch,
    dirs: UnionDirs,
    union: Option<Union>,
    plain: PathBuf,
    lowers: Vec<(PathBuf, Snapshot)>,
    features: Features,
}

impl Both {
    fn new(lowers: &[Literal], features: Features, indexed: bool) -> Self {
        let scratch = Scratch::in_memory();
        let (mut paths, mut indexes) = (Vec::new(), BTreeMap::new());
        for (number, lower) in lowers.iter().enumerate() {
            let layer = scratch.make(format!("lower{number}"));
            if indexed {
                let into = Dir::open(&layer).unwrap();
                unpack(&mut &*lower.to_layer_tar(), &into, &Unpack::default()).unwrap();
                indexes.insert(layer.join("diff"), layer.join("index"));
                paths.push(layer.join("diff"));
            } else {
                lower.write_layer(&layer, Marks::Trusted);
                paths.push(layer);
            }
        }
        let plain = scratch.make("plain");
        Literal::of_stack(lowers).write_to(&plain);
        let upper = UpperDirs { upper: scratch.make("upper"), work: scratch.make("work"), volatile: true };
        let snapshots = paths.iter().map(|path| (path.clone(), Snapshot::of(path))).collect();
        let dirs = UnionDirs { lowers: paths, upper: Some(upper), indexes, ..UnionDirs::default() };
        let mut both = Self { scratch, dirs, union: None, plain, lowers: snapshots, features };
        both.reopen();
        both
    }

    /// A new mount of the same directories.
    fn reopen(&mut self) {
        self.union = None;
        self.union = Some(Union::open(&self.dirs, false, Ability::native(), self.features, false).unwrap());
    }

    fn union(&self) -> &Union {
        self.union.as_ref().unwrap()
    }

    fn node(&self, path: &str) -> Result<Arc<Node>, Errno> {
        let mut at = self.union().tree.root()?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = self.union().tree.lookup(&at, name.as_bytes())?.ok_or(Errno::NOENT)?;
        }
        Ok(at)
    }

    /// The directory of a path and the name in it.
    fn place<'a>(&self, path: &'a str) -> Result<(Arc<Node>, &'a [u8]), Errno> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = self.node(parent)?;
        if !dir.is_directory() {
            return Err(Errno::NOTDIR);
        }
        Ok((dir, name.as_bytes()))
    }

    fn plain_place<'a>(&self, path: &'a str) -> Result<(Dir, &'a [u8]), Errno> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = Dir::open(&self.plain).unwrap().open_dir(parent.as_bytes()).map_err(errno)?;
        Ok((dir, name.as_bytes()))
    }

    fn act(&self, act: &Act) -> Result<(), Errno> {
        let union = self.union();
        let new = |kind, mode| New { kind, mode, umask: 0o022, uid: 0, gid: 0 };
        let file = Kind::File { size: 0, content: None };
        match act {
            Act::Make(path, kind) => {
                let (dir, name) = self.place(path)?;
                let (kind, mode) = match kind {
                    Sort::File => (file, 0o666),
                    Sort::Directory => (Kind::Directory { opaque: false, implicit: false }, 0o777),
                    Sort::Symlink => (Kind::Symlink { target: b"a".to_vec() }, 0o777),
                    Sort::Fifo => (Kind::Fifo, 0o600),
                    Sort::Zero => (Kind::CharDevice(Rdev::default()), 0o640),
                };
                union.make(&dir, name, &new(kind, mode)).map(|_| ())
            }
            Act::Unlink(path) => self.place(path).and_then(|(dir, name)| union.unlink(&dir, name)),
            Act::Rmdir(path) => self.place(path).and_then(|(dir, name)| union.remove_directory(&dir, name)),
            Act::Link(old, path) => {
                let ((from, old), (dir, name)) = (self.place(old)?, self.place(path)?);
                let node = union.tree.lookup(&from, old)?.ok_or(Errno::NOENT)?;
                union.link(&node, &dir, name)
            }
            Act::Rename(old, path, how) => {
                let ((from, name), (to, new_name)) = (self.place(old)?, self.place(path)?);
                union.rename(&Move { from: &from, name, to: &to, new_name, how: *how, owner: (0, 0) })
            }
            Act::Chmod(path, mode) => {
                let node = self.node(path)?;
                if node.kind == mica_sys::FileKind::Symlink {
                    return Err(Errno::OPNOTSUPP);
                }
                union.change(&node, &Op::Attributes, None, &mut |target| match target {
                    Target::Named(stand) => stand.dir.chmod(stand.name.as_bytes(), *mode),
                    Target::Root(root) => root.chmod_self(*mode),
                    Target::Unnamed(_) => panic!("it has a name"),
                })
            }
            Act::Append(path, text) => {
                let node = self.node(path)?;
                if node.is_directory() {
                    return Err(Errno::ISDIR);
                }
                if node.kind != mica_sys::FileKind::File {
                    return Err(Errno::NXIO);
                }
                union.bring_up(&node, Need::Content)?;
                let file = union.tree.open_content(&node, Access::ReadWrite)?.file;
                let end = file.metadata().unwrap().size;
                file.write_part_at(text.as_bytes(), end).map_err(errno)?;
                union.tree.stale(&node);
                Ok(())
            }
            Act::Truncate(path, size) => {
                let node = self.node(path)?;
                if node.is_directory() {
                    return Err(Errno::ISDIR);
                }
                if node.kind != mica_sys::FileKind::File {
                    return Err(Errno::NXIO);
                }
                let cut = Cut { size: *size, clears_rights: false };
                let op = |old| Op::Truncate { old, to_nothing: *size == 0 };
                union.change(&node, &op, Some(cut), &mut |target| match target {
                    Target::Named(stand) => stand.dir.open_file_to_write(stand.name.as_bytes())?.set_len(*size),
                    _ => panic!("it has a name"),
                })
            }
        }
    }

    fn act_plainly(&self, act: &Act) -> Result<(), Errno> {
        let root = Dir::open(&self.plain).unwrap();
        let looked = |path: &str| {
            let (dir, name) = self.plain_place(path)?;
            dir.stat(name).map(|found| (dir, name.to_vec(), found.kind)).map_err(errno)
        };
        match act {
            Act::Make(path, kind) => {
                let (dir, name) = self.plain_place(path)?;
                match kind {
                    Sort::File => dir.create_file(name, 0o644).map(drop),
                    Sort::Directory => dir.mkdir(name, 0o755),
                    Sort::Symlink => dir.symlink(b"a", name),
                    Sort::Fifo => dir.mknod(name, mica_sys::FileKind::Fifo, 0o600, 0, 0),
                    Sort::Zero => dir.mknod(name, mica_sys::FileKind::CharDevice, 0o640, 0, 0),
                }
                .map_err(errno)
            }
            Act::Unlink(path) => self.plain_place(path).and_then(|(dir, name)| dir.unlink(name).map_err(errno)),
            Act::Rmdir(path) => self.plain_place(path).and_then(|(dir, name)| dir.rmdir(name).map_err(errno)),
            Act::Link(old, path) => {
                let ((from, name), (to, new)) = (self.plain_place(old)?, self.plain_place(path)?);
                from.link(name, &to, new).map_err(errno)
            }
            Act::Rename(old, path, how) => {
                let ((from, name), (to, new)) = (self.plain_place(old)?, self.plain_place(path)?);
                match how {
                    How::Replace => from.rename(name, &to, new),
                    How::NoReplace => from.rename_noreplace(name, &to, new),
                    How::Exchange => from.exchange(name, &to, new),
                    _ => from.rename_leaving_whiteout(name, &to, new),
                }
                .map_err(errno)
            }
            Act::Chmod(path, mode) => {
                if path.is_empty() {
                    return root.chmod_self(*mode).map_err(errno);
                }
                let (dir, name, _) = looked(path)?;
                dir.chmod(&name, *mode).map_err(errno)
            }
            Act::Append(path, _) | Act::Truncate(path, _) => {
                let (dir, name, kind) = looked(path)?;
                match kind {
                    mica_sys::FileKind::Directory => return Err(Errno::ISDIR),
                    mica_sys::FileKind::File => {}
                    _ => return Err(Errno::NXIO),
                }
                let file = dir.open_file_to_write(&name).map_err(errno)?;
                match act {
                    Act::Truncate(_, size) => file.set_len(*size).map_err(errno),
                    Act::Append(_, text) => {
                        let end = file.metadata().unwrap().size;
                        file.write_part_at(text.as_bytes(), end).map(drop).map_err(errno)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn assert_same(&self, after: &str) {
        let wanted = Literal::read(&self.plain).without_times();
        wanted.assert_is(&read(&self.union().tree).without_times(), after);
    }

    fn assert_lowers_unchanged(&self) {
        for (path, before) in &self.lowers {
            before.assert_unchanged(path, "operations on the union");
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sort {
    File,
    Directory,
    Symlink,
    Fifo,
    Zero,
}

#[derive(Debug, Clone)]
enum Act {
    Make(String, Sort),
    Unlink(String),
    Rmdir(String),
    Link(String, String),
    Rename(String, String, How),
    Chmod(String, u32),
    Append(String, &'static str),
    Truncate(String, u64),
}

/// xorshift: the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    fn path(&mut self) -> String {
        let names: Vec<&str> = (0..=self.below(3)).map(|_| ["a", "b", "c", "d"][self.below(4)]).collect();
        names.join("/")
    }

    /// Mostly a path that is there.
    fn there(&mut self, paths: &[String]) -> String {
        if paths.is_empty() || self.below(8) == 0 { self.path() } else { paths[self.below(paths.len())].clone() }
    }

    fn act(&mut self, paths: &[String]) -> Act {
        match self.below(20) {
            0 | 1 => Act::Make(self.path(), Sort::File),
            2 | 3 => Act::Make(self.path(), Sort::Directory),
            4 => Act::Make(self.path(), [Sort::Symlink, Sort::Fifo, Sort::Zero][self.below(3)]),
            5 | 6 => Act::Unlink(self.there(paths)),
            7 => Act::Rmdir(self.there(paths)),
            8 | 9 => Act::Link(self.there(paths), self.path()),
            10..=12 => Act::Rename(self.there(paths), self.path(), How::Replace),
            13 => Act::Rename(self.there(paths), self.there(paths), How::Replace),
            14 => Act::Rename(self.there(paths), self.path(), How::NoReplace),
            15 => Act::Rename(self.there(paths), self.there(paths), How::Exchange),
            16 => Act::Rename(self.there(paths), self.path(), How::Whiteout),
            17 => Act::Chmod(self.there(paths), [0o600, 0o755, 0o711][self.below(3)]),
            18 => Act::Append(self.there(paths), "more"),
            _ => Act::Truncate(self.there(paths), [0, 2, 70_000][self.below(3)]),
        }
    }
}

fn lowers() -> Vec<Literal> {
    let big = vec![b'x'; 100_000];
    let top = tree! {
        "a/" mode 0o711;
        "a/a" = "top";
        "a/b/" ;
        "a/b/c" = (&big) mode 0o640;
        "b/a" whiteout;
        "c/" opaque;
        "c/d" = "d";
        "d" hard "a/a";
    };
    let base = tree! {
        "a/" ;
        "a/b/" ;
        "a/b/a" = "deep";
        "a/d/" ;
        "a/d/d" -> "x";
        "b/" mode 0o750;
        "b/a" = "hidden";
        "b/b/" ;
        "b/b/b" = "linked";
        "b/c" hard "b/b/b";
        "b/d" hard "b/b/b";
        "c/c" = "hidden";
        "a/c" char (0, 0);
    };
    vec![top, base]
}

fn go(seed: u64, features: Features, indexed: bool, rounds: usize) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut both = Both::new(&lowers(), features, indexed);
    both.assert_same("the beginning");
    let mut history: Vec<Act> = Vec::new();
    for round in 0..rounds {
        let paths: Vec<String> = Literal::read(&both.plain)
            .iter()
            .filter(|(path, _)| !path.is_root())
            .map(|(path, _)| String::from_utf8_lossy(path.as_bytes()).into_owned())
            .collect();
        let act = random.act(&paths);
        history.push(act.clone());
        let told = || format!("seed {seed}: {:?}", history.iter().rev().take(12).rev().collect::<Vec<_>>());
        let done = both.act(&act);
        if done == Err(Errno::XDEV) && features == Features::Basic {
            continue;
        }
        // Without a mount nobody follows symlinks.
        let wanted = both.act_plainly(&act).map_err(|error| if error == Errno::LOOP { Errno::NOTDIR } else { error });
        assert_eq!(done, wanted, "{}", told());
        both.assert_same(&told());
        if round % 5 == 4 {
            both.reopen();
            both.assert_same(&format!("reopened, {}", told()));
        }
    }
    both.assert_lowers_unchanged();
    assert!(both.scratch.path().exists());
}

#[test]
fn random_operations_show_what_a_plain_directory_shows() {
    needs!(root);
    mica_testkit::in_mount_namespace(|| {
        for seed in 1..60 {
            go(seed, if seed % 4 == 0 { Features::Basic } else { Features::Full }, seed % 3 == 0, 40);
        }
    });
}

/// Threads do what they like to one small tree; nobody waits for ever, and what is in memory in the end is what is on disk.
#[test]
fn many_threads_at_once_leave_what_the_disk_says() {
    needs!(root);
    mica_testkit::in_mount_namespace(|| {
        for seed in 1..6u64 {
            let mut both = Both::new(&lowers(), Features::Full, seed % 2 == 0);
            std::thread::scope(|scope| {
                for thread in 0..8u64 {
                    let both = &both;
                    scope.spawn(move || {
                        let mut random = Random((seed * 8 + thread).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
                        for _ in 0..400 {
                            let act = random.act(&[]);
                            // Never the errors of a server that has lost its way.
                            if let Err(error @ (Errno::IO | Errno::AGAIN)) = both.act(&act) {
                                panic!("{act:?}: {error}");
                            }
                        }
                    });
                }
            });
            let shown = read(&both.union().tree);
            both.reopen();
            read(&both.union().tree).assert_is(&shown, "a new mount");
            both.assert_lowers_unchanged();
        }
    });
}

/// As a crash leaves it: the file has come up at one of its names, and is not linked at the others.
#[test]
fn what_a_crash_left_half_linked_is_one_file_at_the_next_mount() {
    needs!(root);
    mica_testkit::in_mount_namespace(|| {
        let mut both = Both::new(&lowers(), Features::Full, false);
        both.union = None;
        let upper = Dir::open(&both.dirs.upper.as_ref().unwrap().upper).unwrap();
        upper.set_own_xattr(Marks::Trusted.joins(), b"").unwrap();
        upper.mkdir(b"b", 0o755).unwrap();
        let b = upper.open_dir(b"b").unwrap();
        b.create_file(b"c", 0o644).unwrap().write_part_at(b"linked", 0).unwrap();
        b.set_xattr(b"c", Marks::Trusted.joining(), b"/b/b/b").unwrap();
        both.reopen();
        // A name that was not linked is asked first.
        let node = both.node("b/b/b").unwrap();
        for name in ["b/c", "b/d"] {
            assert_eq!(both.node(name).unwrap().id, node.id, "{name}");
        }
        assert_eq!(both.union().tree.attributes(&node).unwrap().metadata.nlink, 3);
        assert_eq!(b.stat(b"c").unwrap().nlink, 3);
        assert_eq!(b.get_xattr(b"d", Marks::Trusted.joining()).unwrap(), None);
        both.assert_same("the names are linked");
        both.reopen();
        both.assert_same("a new mount");
        both.assert_lowers_unchanged();
    });
}

#[test]
fn a_full_upper_leaves_the_tree_as_it_was() {
    needs!(root);
    mica_testkit::in_mount_namespace(|| {
        let scratch = Scratch::in_memory();
        let lower = scratch.make("lower");
        let big = vec![b'x'; 300_000];
        let literal = tree! {
            "a/" ; "a/big" = (&big); "a/small" = "s"; "a/one" = (&big); "a/two" hard "a/one"; "d/" ; "d/x" = "x";
        };
        literal.write_layer(&lower, Marks::Trusted);
        let disk = scratch.tmpfs("disk", "size=256k");
        let upper = UpperDirs { upper: disk.join("upper"), work: disk.join("work"), volatile: false };
        std::fs::create_dir(&upper.upper).unwrap();
        std::fs::create_dir(&upper.work).unwrap();
        let dirs = UnionDirs { lowers: vec![lower.clone()], upper: Some(upper), ..UnionDirs::default() };
        let before = Snapshot::of(&lower);
        let open = || Union::open(&dirs, false, Ability::native(), Features::Full, false).unwrap();
        let union = open();
        let node =
            |path: &str| union.tree.look_at(&mica_core::RelPath::parse(path.as_bytes()).unwrap()).unwrap().unwrap();
        let shown = read(&union.tree);
        for path in ["a/big", "a/one", "a/two"] {
            assert_eq!(union.bring_up(&node(path), Need::Content), Err(Errno::NOSPC), "{path}");
            read(&union.tree).without_times().assert_is(&shown.clone().without_times(), path);
        }
        // What needs no room goes on: a file without its content, a removal.
        union.bring_up(&node("a/one"), Need::Metadata).unwrap();
        assert_eq!(union.bring_up(&node("a/one"), Need::Content), Err(Errno::NOSPC));
        read(&union.tree).without_times().assert_is(&shown.without_times(), "without content");
        union.unlink(&node("a"), b"big").unwrap();
        let shown = read(&union.tree);
        drop(union);
        read(&open().tree).assert_is(&shown, "a new mount");
        before.assert_unchanged(&lower, "a full upper");
    });
}

/// Paths longer than any call takes, above and below.
#[test]
fn two_thousand_directories_deep_names_are_found_made_and_moved() {
    needs!(root);
    mica_testkit::in_mount_namespace(|| {
        const DEPTH: usize = 2_000;
        let mut both = Both::new(&[tree! { "d/" ; "e/" ; }], Features::Full, false);
        let lower = both.dirs.lowers[0].clone();
        let mut at = Dir::open(&lower).unwrap();
        for _ in 0..DEPTH {
            at = at.ensure_dir(b"d", 0o755).unwrap();
        }
        drop(at.create_file(b"file", 0o644).unwrap());
        both.reopen();
        let deepest = |both: &Both| {
            let mut at = both.union().tree.root().unwrap();
            for _ in 0..DEPTH {
                at = both.union().tree.lookup(&at, b"d").unwrap().unwrap();
            }
            at
        };
        let dir = deepest(&both);
        let new = New { kind: Kind::File { size: 0, content: None }, mode: 0o600, umask: 0, uid: 0, gid: 0 };
        both.union().make(&dir, b"made", &new).unwrap();
        let (root, e) = (both.node("").unwrap(), both.node("e").unwrap());
        both.union()
            .rename(&Move { from: &root, name: b"d", to: &e, new_name: b"f", how: How::Replace, owner: (0, 0) })
            .unwrap();
        assert!(both.union().tree.lookup(&dir, b"file").unwrap().is_some());
        both.union().unlink(&dir, b"file").unwrap();
        both.reopen();
        let mut at = both.node("e/f").unwrap();
        for _ in 1..DEPTH {
            at = both.union().tree.lookup(&at, b"d").unwrap().unwrap();
        }
        let mut names = Vec::new();
        both.union()
            .tree
            .list(&at, 2, true, &mut |listed| {
                names.push(listed.name.to_vec());
                true
            })
            .unwrap();
        assert_eq!(names, [b"made".to_vec()]);
    });
}

/// Renames of a directory in its own one, while files that have a name in it come up by their other name.
#[test]
fn a_file_has_all_its_names_while_a_directory_above_one_gets_another() {
    needs!(root);
    mica_testkit::in_mount_namespace(|| {
        const FILES: usize = 600;
        let mut lower = tree! { "p/"; "p/d/"; "x/"; };
        for number in 0..FILES {
            let one = format!("p/d/f{number}");
            lower.name(&one).content("low").end();
            lower.name(format!("x/h{number}")).hard(&one).end();
        }
        let mut both = Both::new(&[lower], Features::Full, false);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    both.act(&Act::Rename("p/d".into(), "p/e".into(), How::Replace)).unwrap();
                    both.act(&Act::Rename("p/e".into(), "p/d".into(), How::Replace)).unwrap();
                }
            });
            for number in 0..FILES {
                both.act(&Act::Append(format!("x/h{number}"), "new")).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        both.reopen();
        for number in 0..FILES {
            let (one, other) = (format!("p/d/f{number}"), format!("x/h{number}"));
            assert_eq!(both.node(&one).unwrap().id, both.node(&other).unwrap().id, "{one}");
        }
    });
}

/// An operation that fails after it brought something up: what stands is what stood.
#[test]
fn what_came_up_is_known_when_the_operation_fails_after_that() {
    needs!(root);
    mica_testkit::in_mount_namespace(|| {
        let both = Both::new(&[tree! { "a/"; "s" -> "x"; "f" = "content"; "p" fifo; }], Features::Full, false);
        let union = both.union();
        let root = union.tree.root().unwrap();
        for name in ["a", "s", "f", "p"] {
            let node = both.node(name).unwrap();
            union.bring_up(&node, Need::Metadata).unwrap();
            let upper = union.tree.upper_dir(&root).unwrap();
            union.tree.find_out(&root, &mut root.directory().unwrap().write(), &upper, name.as_bytes());
            assert_eq!(both.node(name).unwrap().id, node.id, "{name}");
            assert!(union.tree.attributes(&node).unwrap().metadata.nlink > 0, "{name}");
        }
    });
}

/// Numbers are kept over copy-up, rename and a new mount, also of what can carry no mark that says them.
#[test]
fn numbers_stay_over_copy_up_and_a_new_mount() {
    needs!(root);
    mica_testkit::in_mount_namespace(|| {
        for marks in [Marks::Trusted, Marks::User] {
            let scratch = Scratch::in_memory();
            let lower = scratch.make("lower");
            let literal = tree! { "d/" ; "d/f" = "f"; "d/s" -> "f"; "d/p" fifo; "e/" ; "h" = "h"; "i" hard "h"; };
            literal.write_layer(&lower, marks);
            let upper = UpperDirs { upper: scratch.make("upper"), work: scratch.make("work"), volatile: false };
            let dirs = UnionDirs { lowers: vec![lower], upper: Some(upper), marks, ..UnionDirs::default() };
            let open = || Union::open(&dirs, false, Ability::native(), Features::Full, false).unwrap();
            let path = |text: &str| mica_core::RelPath::parse(text.as_bytes()).unwrap();
            let ino = |union: &Union, text: &str| union.tree.look_at(&path(text)).unwrap().unwrap().ino;
            let union = open();
            let names = ["d", "d/f", "d/s", "d/p", "h", "i"];
            let before = names.map(|name| ino(&union, name));
            assert_eq!(before[4], before[5]);
            for name in names {
                union.bring_up(&union.tree.look_at(&path(name)).unwrap().unwrap(), Need::Content).ok();
                union.bring_up(&union.tree.look_at(&path(name)).unwrap().unwrap(), Need::Metadata).unwrap();
            }
            assert_eq!(names.map(|name| ino(&union, name)), before, "brought up");
            drop(union);
            let union = open();
            assert_eq!(names.map(|name| ino(&union, name)), before, "a new mount, {marks:?}");
            let (root, e) = (union.tree.root().unwrap(), union.tree.look_at(&path("e")).unwrap().unwrap());
            let how = How::Replace;
            union.rename(&Move { from: &root, name: b"d", to: &e, new_name: b"x", how, owner: (0, 0) }).unwrap();
            union.rename(&Move { from: &root, name: b"h", to: &e, new_name: b"y", how, owner: (0, 0) }).unwrap();
            drop(union);
            let union = open();
            let moved = ["e/x", "e/x/f", "e/x/s", "e/x/p", "e/y", "i"];
            assert_eq!(moved.map(|name| ino(&union, name)), before, "moved, {marks:?}");
        }
    });
}

/// Names that nobody has looked up, in directories that were moved, are linked all the same.
#[test]
fn a_file_comes_up_at_names_that_nobody_asked_for() {
    needs!(root);
    mica_testkit::in_mount_namespace(|| {
        let literal = tree! { "a/one" = "x"; "b/d/two" hard "a/one"; "b/three" hard "a/one"; "e/" ; };
        let mut both = Both::new(&[literal], Features::Full, false);
        for act in
            [Act::Rename("b/d".into(), "e/f".into(), How::Replace), Act::Rename("b".into(), "c".into(), How::Replace)]
        {
            assert_eq!((both.act(&act), both.act_plainly(&act)), (Ok(()), Ok(())));
        }
        both.reopen();
        let act = Act::Append("a/one".into(), "more");
        assert_eq!((both.act(&act), both.act_plainly(&act)), (Ok(()), Ok(())));
        both.reopen();
        let one = both.node("a/one").unwrap();
        for name in ["c/three", "e/f/two"] {
            assert_eq!(both.node(name).unwrap().id, one.id, "{name}");
        }
        assert_eq!(both.union().tree.attributes(&one).unwrap().metadata.nlink, 3);
        both.assert_same("one file");
    });
}
