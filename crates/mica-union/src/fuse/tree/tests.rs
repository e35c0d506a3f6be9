//! The tree over real directories, without a mount.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mica_core::{Name, Rdev, RelPath, Timestamp};
use mica_layer::Marks;
use mica_sys::Access;
use mica_testkit::{Entry, Scratch, Tree as Literal, What as Said, needs, tree};

use super::*;
use crate::UpperDirs;

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
        Tree::open(&self.dirs, false, false).unwrap()
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
    let metadata = tree.attributes(node).unwrap().metadata;
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
    wanted.assert_is(&read(&Tree::open(&stack.dirs, true, false).unwrap()), "the union, read-only");
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
    let shown = |stack: &Stack| read(&Tree::open(&stack.dirs, false, true).unwrap());
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
