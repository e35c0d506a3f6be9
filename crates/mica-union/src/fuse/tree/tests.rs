//! The tree over real directories, without a mount.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mica_core::{Attrs, Kind, LayerEntry, Name, Rdev, RelPath, Timestamp};
use mica_layer::index::IndexWriter;
use mica_layer::{Ability, Marks};
use mica_sys::Access;
use mica_testkit::{Entry, Scratch, Tree as Literal, What as Said, needs, tree};

use super::*;
use crate::UpperDirs;

mod memory;

/// Changesets on disk, topmost first.
struct Stack {
    scratch: Scratch,
    dirs: UnionDirs,
}

impl Stack {
    fn new(upper: Option<&Literal>, lowers: &[Literal]) -> Self {
        let scratch = Scratch::new();
        let put = |literal: &Literal, name: String| -> PathBuf {
            let path = scratch.make(name);
            literal.write_layer(&path, Marks::Trusted);
            path
        };
        let upper = upper.map(|upper| UpperDirs {
            upper: put(upper, "upper".to_owned()),
            work: scratch.make("work"),
            volatile: false,
        });
        let lowers = lowers.iter().enumerate().map(|(number, lower)| put(lower, format!("lower{number}"))).collect();
        let dirs = UnionDirs { lowers, upper, ..UnionDirs::default() };
        Self { scratch, dirs }
    }

    fn tree(&self) -> Tree {
        Tree::open(&self.dirs, false, false, &Ability::native()).unwrap()
    }
}

/// Everything that shows, read through the tree alone.
pub(crate) fn read(tree: &Tree) -> Literal {
    let mut shown = Literal::new();
    let mut first = BTreeMap::new();
    read_into(tree, &tree.root().unwrap(), &RelPath::root(), &mut shown, &mut first);
    shown
}

fn read_into(tree: &Tree, node: &Arc<Node>, path: &RelPath, shown: &mut Literal, first: &mut BTreeMap<u64, RelPath>) {
    let metadata = tree.attributes(node).unwrap();
    assert_eq!(metadata.kind, node.kind);
    let rdev = Rdev { major: metadata.rdev_major, minor: metadata.rdev_minor };
    let mut what = match metadata.kind {
        FileKind::Directory => Said::Dir { opaque: false },
        FileKind::File => {
            let backing = tree.open_content(node, Access::Read).unwrap();
            let mut file = backing.file;
            let mut content = file.read_all(1 << 20).unwrap();
            content.resize(usize::try_from(metadata.size).unwrap(), 0);
            Said::File(content)
        }
        FileKind::Symlink => Said::Symlink(tree.read_link(node).unwrap()),
        FileKind::CharDevice => Said::Char(rdev),
        FileKind::BlockDevice => Said::Block(rdev),
        FileKind::Fifo => Said::Fifo,
        FileKind::Socket => Said::Socket,
    };
    if !node.is_directory() {
        let known = first.entry(node.id).or_insert_with(|| path.clone());
        if known != path {
            what = Said::Hard(known.clone());
        }
    }
    let mtime = Timestamp { secs: metadata.mtime.secs, nanos: metadata.mtime.nanos };
    let mut entry = Entry { mtime: Some(mtime), ..Entry::new(what) };
    (entry.mode, entry.uid, entry.gid) = (metadata.mode, metadata.uid, metadata.gid);
    shown.put(path.clone(), entry);
    if !node.is_directory() {
        return;
    }
    let mut listed = Vec::new();
    tree.list(node, 0, false, &mut |entry| {
        listed.push((entry.name.to_vec(), entry.ino, entry.kind));
        true
    })
    .unwrap();
    listed.retain(|(name, ..)| name != b"." && name != b"..");
    listed.sort_by(|one, other| one.0.cmp(&other.0));
    for (name, ino, kind) in listed {
        let child = tree.lookup(node, &name).unwrap().expect("what is listed shows");
        assert_eq!((ino, kind), (child.ino, child.kind), "{path}: {:?}", String::from_utf8_lossy(&name));
        read_into(tree, &child, &path.join(&Name::new(&name).unwrap()), shown, first);
    }
}

/// What is listed is remembered of each layer, and what a layer does not speak of is not looked for there: whiteouts are spoken of.
#[test]
fn a_listed_directory_of_many_layers_shows_what_it_showed_before() {
    needs!(root);
    let lowers = [
        tree! { "a/" ; "a/top" = "0"; "b/" ; "d/" ; },
        tree! { "b" whiteout; "c/" ; "c/one" = "1"; "d/" opaque; },
        tree! { "a/" ; "a/low" = "2"; "b/" ; "b/hidden" = "2"; "c/" ; "c/two" = "2"; "d/" ; "d/hidden" = "2"; },
    ];
    let stack = Stack::new(None, &lowers);
    let named = |listed: bool| {
        let tree = stack.tree();
        let root = tree.root().unwrap();
        if listed {
            tree.list(&root, 0, false, &mut |_| true).unwrap();
        }
        ["a/top", "a/low", "b/hidden", "c/one", "c/two", "d/hidden", "none/x"].map(|path| {
            let (dir, name) = path.split_once('/').unwrap();
            let dir = tree.lookup(&root, dir.as_bytes()).unwrap();
            dir.is_some_and(|dir| tree.lookup(&dir, name.as_bytes()).unwrap().is_some())
        })
    };
    assert_eq!(named(false), [true, true, false, true, true, false, false]);
    assert_eq!(named(true), named(false));
}

/// The mark of its directory says that there are some: they are found when it is read, below the root and in it.
#[test]
fn whiteouts_that_are_attributes_are_no_names_of_a_listed_directory() {
    needs!(root);
    let lowers = [tree! { "gone" = ""; "d/gone" = ""; "d/empty" = ""; }, tree! { "gone" = "1"; "d/gone" = "1"; }];
    let stack = Stack::new(None, &lowers);
    let root = Dir::open(&stack.dirs.lowers[0]).unwrap();
    let marks = Marks::Trusted;
    for dir in [&root, &root.open_dir(b"d").unwrap()] {
        dir.set_own_xattr(marks.opaque(), b"x").unwrap();
        dir.set_xattr(b"gone", marks.whiteout(), b"y").unwrap();
    }
    let tree = stack.tree();
    let root = tree.root().unwrap();
    let d = tree.lookup(&root, b"d").unwrap().unwrap();
    for (dir, wanted) in [(&root, &b"d"[..]), (&d, b"empty")] {
        let directory = dir.directory().unwrap();
        tree.complete(dir, directory).unwrap();
        assert_eq!(directory.read().shown().map(|(_, name)| name.to_vec()).collect::<Vec<_>>(), [wanted]);
    }
}

/// Each reads by the handle that its walk has kept, and no two by one.
#[test]
fn a_directory_that_many_list_at_once_is_whole_for_each() {
    needs!(root);
    let mut lowers = [Literal::new(), Literal::new()];
    for (number, lower) in lowers.iter_mut().enumerate() {
        for name in 0..600 {
            lower.name(format!("d/{number}.{name}")).content("").end();
        }
    }
    let stack = Stack::new(None, &lowers);
    for _ in 0..20 {
        let tree = stack.tree();
        let d = tree.lookup(&tree.root().unwrap(), b"d").unwrap().unwrap();
        let parts = &d.directory().unwrap().parts;
        let begin = std::sync::Barrier::new(8);
        let read = || {
            begin.wait();
            let read = |part| tree.lowers.read(part, &tree.handles).unwrap().1.len();
            [0; 4].map(|_| parts.iter().map(read).sum::<usize>())
        };
        let found = std::thread::scope(|scope| {
            let threads = [(); 8].map(|()| scope.spawn(read));
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(found, [[1200; 4]; 8]);
    }
}

fn literals() -> [Literal; 3] {
    let upper = tree! {
        "/" mode 0o700;
        "a/" mode 0o711;
        "a/new" = "new";
        "a/gone" whiteout;
        "opaque/" opaque mode 0o750;
        "opaque/mine" = "mine";
        "was-dir" = "file now";
        "was-file/" ;
        "was-file/x" -> "y";
        "gone-dir" whiteout;
    };
    let top = tree! {
        "a/" mode 0o770 mtime 5;
        "a/gone" = "1";
        "a/top" = "top" uid 7 gid 8;
        "opaque/theirs" = "hidden";
        "hidden-below" whiteout;
        "dev" char (1, 3);
        "zero" char (0, 0);
        "pipe" fifo;
        "was-file" = "f";
        "links/one" = "linked" mode 0o600;
        "links/two" hard "links/one";
        "other" hard "links/one";
    };
    let base = tree! {
        "a/base" = "base";
        "a/top" = "covered";
        "hidden-below/" ;
        "hidden-below/x" = "x";
        "was-dir/" ;
        "was-dir/x" = "x";
        "gone-dir/" ;
        "gone-dir/deep/" ;
        "big/" mode 0o555;
        "big/link" -> "../a/base";
    };
    [upper, top, base]
}

#[test]
fn a_stack_shows_what_the_rules_say() {
    needs!(root);
    let [upper, top, base] = literals();
    let stack = Stack::new(Some(&upper), &[top.clone(), base.clone()]);
    let wanted = Literal::of_stack(&[upper.clone(), top.clone(), base.clone()]);
    wanted.assert_is(&read(&stack.tree()), "the union");
    // Read-only, the upper is one more lower.
    wanted.assert_is(&read(&Tree::open(&stack.dirs, true, false, &Ability::native()).unwrap()), "the union, read-only");
    let stack = Stack::new(None, &[upper, top, base]);
    wanted.assert_is(&read(&stack.tree()), "the union without an upper");
    assert!(stack.scratch.path().exists());
}

/// What containers/storage unpacks for a mount program, and what fuse-overlayfs leaves in an upper that becomes a lower.
#[test]
fn files_of_a_name_are_whiteouts_where_that_is_said() {
    needs!(root);
    let top = tree! {
        ".wh.gone" = "";
        ".wh.gone-dir" = "";
        ".wh.again" = "";
        ".wh..wh.plnk" = "";
        ".wh." = "";
        "again/mine" = "mine";
        "opaque/.wh..wh..opq" = "";
        "opaque/mine" = "mine";
        "other/.wh..opq" = "";
        "a/.wh.x" = "";
        "a/.wh.never" = "";
        "file" = "file";
        ".wh.file" = "";
        ".wh.dir-of-whiteouts/" ;
        "marked" whiteout;
    };
    let base = tree! {
        "gone" = "1";
        "gone-dir/x" = "1";
        "again/theirs" = "1";
        "opaque/theirs" = "1";
        "other/theirs" = "1";
        "a/x" = "1";
        "a/y" = "y";
        "file/under" = "1";
        "marked" = "1";
        "dir-of-whiteouts" = "stays";
    };
    let wanted = tree! {
        "again/mine" = "mine";
        "opaque/mine" = "mine";
        "other/" ;
        "a/y" = "y";
        "file" = "file";
        "dir-of-whiteouts" = "stays";
    };
    let shown = |stack: &Stack| read(&Tree::open(&stack.dirs, false, true, &Ability::native()).unwrap());
    let stack = Stack::new(None, &[top.clone(), base.clone()]);
    wanted.assert_is(&shown(&stack), "the union");
    // In the upper such a name is as any other.
    let upper = tree! { ".wh.a" = "mine"; "a/.wh.y" = "mine"; };
    let stack = Stack::new(Some(&upper), &[top, base]);
    let names: Vec<String> = shown(&stack).iter().map(|(path, _)| path.to_string()).collect();
    for name in ["/.wh.a", "/a/.wh.y", "/a/y"] {
        assert!(names.iter().any(|path| path == name), "{name}: {names:?}");
    }
}

/// A layer on disk with an index that says this of it.
fn write_index(scratch: &Scratch, name: &str, entries: &[(&str, Kind, u32, Option<u64>)]) {
    let file = scratch.dir().create_file(name.as_bytes(), 0o600).unwrap();
    let mut writer = IndexWriter::new(file, u32::try_from(entries.len()).unwrap()).unwrap();
    for (path, kind, mode, link_group) in entries {
        let attrs = Attrs { mode: *mode, ..Attrs::default() };
        let node = mica_core::Node { kind: kind.clone(), attrs, link_group: *link_group };
        writer.add(&RelPath::parse(path.as_bytes()).unwrap(), &LayerEntry::Node(node)).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn an_index_says_more_than_its_directory() {
    needs!(root);
    let stack = Stack::new(None, &[tree! { "etc/mine" = "mine"; }, tree! { "etc/theirs" = "theirs"; "b" = "b"; }]);
    let (said, implied) =
        (Kind::Directory { opaque: false, implicit: false }, Kind::Directory { opaque: false, implicit: true });
    let file = |size| Kind::File { size, content: None };
    let link = Kind::LinkToParent { target: RelPath::parse(b"etc/theirs").unwrap() };
    let top = [
        ("", implied.clone(), 0o755, None),
        ("etc", implied, 0o755, None),
        ("etc/linked", link, 0, None),
        ("etc/mine", file(4), 0o600, None),
    ];
    write_index(&stack.scratch, "top", &top);
    let base = [
        ("", said.clone(), 0o700, None),
        ("b", file(1), 0o640, None),
        ("etc", said, 0o711, None),
        ("etc/theirs", file(6), 0o604, None),
    ];
    write_index(&stack.scratch, "base", &base);
    let mut dirs = stack.dirs.clone();
    for (lower, name) in stack.dirs.lowers.iter().zip(["top", "base"]) {
        dirs.indexes.insert(lower.clone(), stack.scratch.path().join(name));
    }
    let tree = Tree::open(&dirs, false, false, &Ability::native()).unwrap();
    let wanted = tree! {
        "/" mode 0o700;
        "b" = "b" mode 0o640;
        "etc/" mode 0o711;
        "etc/linked" = "theirs" mode 0o604;
        "etc/mine" = "mine" mode 0o600;
        "etc/theirs" hard "etc/linked";
    };
    wanted.assert_is(&read(&tree).without_times(), "the union");
    let linked = tree.look_at(&RelPath::parse(b"etc/theirs").unwrap()).unwrap().unwrap();
    assert_eq!(tree.attributes(&linked).unwrap().nlink, 2);
    // A layer on top changes no number.
    let alone = UnionDirs { lowers: dirs.lowers.split_off(1), ..dirs };
    let below = Tree::open(&alone, false, false, &Ability::native()).unwrap();
    let same = below.look_at(&RelPath::parse(b"etc/theirs").unwrap()).unwrap().unwrap();
    assert_eq!((same.ino, below.attributes(&same).unwrap().nlink), (linked.ino, 1));
}

/// A store of a user has stand-ins on its disk, and nobody there could change what is shown as the owner's whom the user has no number for.
#[test]
fn of_an_owner_that_the_disk_cannot_have_an_index_says_what_stands_there() {
    let stack = Stack::new(None, &[Literal::new()]);
    let path = stack.scratch.path().join("index");
    let file = stack.scratch.dir().create_file(b"index", 0o600).unwrap();
    let mut writer = IndexWriter::new(file, 4).unwrap();
    let xattrs = [(b"trusted.a".to_vec(), b"a".to_vec()), (b"user.a".to_vec(), b"a".to_vec())].into();
    let mut put = |at: &str, kind, uid, gid, mode| {
        let attrs = Attrs { mode, uid, gid, xattrs: std::collections::BTreeMap::clone(&xattrs), ..Attrs::default() };
        let node = mica_core::Node { kind, attrs, link_group: None };
        writer.add(&RelPath::parse(at.as_bytes()).unwrap(), &LayerEntry::Node(node)).unwrap();
    };
    let said = Kind::Directory { opaque: false, implicit: false };
    put("", said, 0, 0, 0o755);
    put("device", Kind::CharDevice(Rdev { major: 1, minor: 3 }), 70_000, 5, 0o666);
    put("mine", Kind::File { size: 0, content: None }, 33, 65535, 0o6755);
    put("theirs", Kind::File { size: 0, content: None }, 70_000, 65536, 0o6755);
    writer.finish().unwrap();
    let dirs = UnionDirs { indexes: [(stack.dirs.lowers[0].clone(), path)].into(), ..stack.dirs.clone() };
    let ids = || mica_layer::Ids::Mapped(vec![(0, 65536)]);
    let seen = |ability: &Ability, name: &[u8]| {
        let tree = Tree::open(&dirs, false, false, ability).unwrap();
        let node = tree.lookup(&tree.root().unwrap(), name).unwrap().unwrap();
        let found = tree.attributes(&node).unwrap();
        let attrs = tree.said(&node).unwrap().unwrap().attrs;
        assert_eq!((attrs.uid, attrs.gid, attrs.mode), (found.uid, found.gid, found.mode), "what a copy has");
        (found.kind, found.rdev_minor, found.uid, found.gid, found.mode, attrs.xattrs.len())
    };
    let user = Ability::namespaced(ids(), ids());
    assert_eq!(seen(&user, b"theirs"), (FileKind::File, 0, 0, 0, 0o755, 1));
    assert_eq!(seen(&user, b"mine"), (FileKind::File, 0, 33, 65535, 0o6755, 1));
    assert_eq!(seen(&user, b"device"), (FileKind::CharDevice, 3, 0, 5, 0o666, 0));
    assert_eq!(seen(&Ability::native(), b"theirs"), (FileKind::File, 0, 70_000, 65536, 0o6755, 2));
}

/// The number of a removed file that is not held open is free for another file on disk.
#[test]
fn a_file_that_lost_its_names_and_is_not_held_is_not_found_by_its_number() {
    needs!(root);
    for most in [0, 16] {
        let stack = Stack::new(Some(&tree! { "a" = "1"; "b" hard "a"; }), &[tree! {}]);
        let mut tree = stack.tree();
        tree.most_orphans = most;
        let root = tree.root().unwrap();
        let node = tree.lookup(&root, b"a").unwrap().unwrap();
        assert_eq!(tree.lookup(&root, b"b").unwrap().unwrap().id, node.id);
        assert!(node.remember());
        let upper = tree.upper_dir(&root).unwrap();
        let key = (UPPER, upper.stat(b"a").unwrap().ino);
        for name in [b"a", b"b"] {
            assert_eq!(tree.links.get(key), Some(node.id));
            let cookie = root.directory().unwrap().read().find(name).unwrap().cookie();
            tree.keep(&node, &root, Some(&*upper), name).unwrap();
            upper.unlink(name).unwrap();
            tree.lost(&node, &root, cookie);
        }
        assert_eq!(tree.links.get(key), (most > 0).then_some(node.id), "{most} may be held");
    }
}

/// A look-up and a sweep may meet at the same node.
#[test]
fn a_node_that_has_left_the_table_counts_no_look_up() {
    let stack = Stack::new(None, &[tree! { "a" = "1" }]);
    let tree = stack.tree();
    let node = tree.look_at(&RelPath::parse(b"a").unwrap()).unwrap().unwrap();
    assert!(node.remember() && !node.leave(), "it is looked up");
    assert!(node.forget(1) && node.leave() && !node.leave());
    assert!(!node.remember() && node.has_left());
    assert!(!node.forget(1) && node.lookups() == 0);
}

/// A lower may be a whole machine, and its C library have two names: a program that is run waits for no walk through all of it.
#[test]
fn no_layer_is_walked_for_a_number_that_its_disk_knows() {
    let lower = tree! { "a" = "linked"; "dir/" ; "dir/b" hard "a"; "c" hard "a" };
    let has = |tree: &Tree, path: &str| {
        let node = tree.look_at(&RelPath::parse(path.as_bytes()).unwrap()).unwrap().unwrap();
        (tree.attributes(&node).unwrap().nlink, tree.wholes.was_walked(0))
    };
    let one = Stack::new(None, std::slice::from_ref(&lower));
    assert_eq!(has(&one.tree(), "a"), (3, false));
    needs!(root);
    let fresh = Stack::new(Some(&Literal::new()), std::slice::from_ref(&lower));
    assert_eq!(has(&fresh.tree(), "dir/b"), (3, false));
    let hidden = Stack::new(Some(&tree! { "a" whiteout }), &[lower]);
    assert_eq!(has(&hidden.tree(), "dir/b"), (2, true));
}
