//! The union over real directories, without a mount: what it shows is held against a plain directory to which the same is done.
//!
//! * [`both`]: the union and the plain directory, and an operation done in each.
//! * [`random`]: random operations.
//! * [`unlisted`]: names that cannot be listed.
//! * Here: one promise each.

mod both;
mod random;
mod unlisted;

use mica_core::Kind;
use mica_core::plan::How;
use mica_layer::{Ability, Marks};
use mica_sys::Dir;
use mica_testkit::{Scratch, Snapshot, Tree as Literal, needs, tree};

use super::bring::Need;
use super::rename::Move;
use super::*;
use crate::fuse::carry::New;
use crate::fuse::tree::tests::read;
use crate::{UnionDirs, UpperDirs};
use both::{Act, Both};

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
        assert_eq!(both.union().tree.attributes(&node).unwrap().nlink, 3);
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
            assert!(union.tree.attributes(&node).unwrap().nlink > 0, "{name}");
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
        assert_eq!(both.union().tree.attributes(&one).unwrap().nlink, 3);
        both.assert_same("one file");
    });
}

/// The names of a file of several are counted from the first that goes, whoever has forgotten it since.
#[test]
fn a_file_that_is_found_again_has_the_names_that_are_left() {
    needs!(root);
    let lower = tree! { "a" = "linked"; "b" hard "a"; "c" hard "a"; "e" = "e" };
    let mut both = Both::new(&[lower], Features::Full, false);
    let links = |both: &Both| {
        let node = both.node("b").unwrap();
        both.union().tree.attributes(&node).unwrap().nlink
    };
    assert_eq!(links(&both), 3);
    let union = both.union();
    let root = union.tree.root().unwrap();
    union.unlink(&root, b"a").unwrap();
    let over = Move { from: &root, name: b"e", to: &root, new_name: b"c", how: How::Replace, owner: (0, 0) };
    union.rename(&over).unwrap();
    assert_eq!(links(&both), 1);
    let id = |both: &Both| both.node("b").unwrap().id;
    let before = id(&both);
    union.tree.drop_all_idle();
    assert_eq!(links(&both), 1);
    assert_ne!(id(&both), before, "it was forgotten");
    both.reopen();
    assert_eq!(links(&both), 1);
    both.assert_lowers_unchanged();
}
