use mica_core::RelPath;
use mica_layer::Marks;

use crate::{Scratch, Snapshot, Tree};

fn sample() -> Tree {
    tree! {
        "/" mode 0o750;
        "dir/" mode 0o1777 mtime 77;
        "dir/file" = "content" mode 0o4711 uid 12 gid 34 mtime 1234567890;
        "dir/same" hard "dir/file";
        "link" -> "dir/file" uid 5;
        "pipe" fifo;
        "null" char (1, 3) mode 0o666;
        "disk" block (7, 9);
        b"not \xff utf-8" = b"\0\xff" xattr "user.key" = "value";
    }
}

#[test]
fn what_is_written_is_what_is_read() {
    crate::needs!(root);
    let scratch = Scratch::new();
    let (plain, layer) = (scratch.make("plain"), scratch.make("layer"));
    sample().write_to(&plain);
    sample().assert_is(&Tree::read(&plain), "the plain tree");

    for marks in [Marks::Trusted, Marks::User] {
        let marked = tree! {
            "opaque/" opaque xattr "user.a" = "b";
            "gone" whiteout;
            "zero" char (0, 0);
            "nested" = "" xattr (marks.opaque()) = "y";
        };
        let at = layer.join(format!("{marks:?}"));
        std::fs::create_dir(&at).unwrap();
        marked.write_layer(&at, marks);
        marked.assert_is(&Tree::read_layer(&at, marks), "the layer");
        let raw = Tree::read(&at);
        assert!(raw.get(&RelPath::parse(b"opaque").unwrap()).unwrap().xattrs.contains_key(marks.opaque()));
    }
}

#[test]
fn every_difference_is_told() {
    let base = sample();
    let changes: [(&str, Tree); 7] = [
        ("content", tree! { "f" = "b" }),
        ("mode", tree! { "f" = "a" mode 0o600 }),
        ("owner", tree! { "f" = "a" uid 1 }),
        ("group", tree! { "f" = "a" gid 1 }),
        ("time", tree! { "f" = "a" mtime 6 }),
        ("attribute", tree! { "f" = "a" xattr "user.x" = "" }),
        ("kind", tree! { "f/" }),
    ];
    let one = tree! { "f" = "a" mtime 5 };
    for (what, other) in changes {
        assert_eq!(one.differences(&other).len(), 1, "{what}");
    }
    assert_eq!(one.differences(&tree! { "f" = "a" }), Vec::<String>::new(), "a time that is not said agrees with any");
    assert_eq!(one.differences(&tree! { "f" = "a"; "g" = "" }).len(), 1);
    assert_eq!(one.differences(&tree! {}).len(), 1);
    assert!(base.differences(&base).is_empty());
}

#[test]
fn a_snapshot_sees_what_a_tree_does_not() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path().join("file"), "a").unwrap();
    let before = Snapshot::of(scratch.path());
    before.assert_unchanged(scratch.path(), "nothing");
    // A new file with the same content, name and times is another inode.
    std::fs::copy(scratch.path().join("file"), scratch.path().join("copy")).unwrap();
    std::fs::rename(scratch.path().join("copy"), scratch.path().join("file")).unwrap();
    assert_ne!(before, Snapshot::of(scratch.path()));
}

#[test]
fn a_stack_of_literals_shows_what_the_rules_say() {
    let top = tree! { "a/" opaque; "a/new" = "1"; "b" whiteout; "c/" mode 0o700; "d" = "file" };
    let low = tree! { "a/old" = "0"; "b/x" = "0"; "c/kept" = "0"; "d/x" = "0"; "e" = "0" };
    let shown = tree! { "a/new" = "1"; "c/" mode 0o700; "c/kept" = "0"; "d" = "file"; "e" = "0" };
    shown.assert_is(&Tree::of_stack(&[top, low]), "the stack");
}

#[test]
fn a_layer_tar_is_the_same_each_time_and_spells_whiteouts() {
    crate::needs!(root, program "tar");
    let layer = tree! { "etc/hosts" = "a" mode 0o600; "gone" whiteout; "opaque/" opaque };
    let tar = layer.to_layer_tar();
    assert_eq!(tar, layer.to_layer_tar());
    let scratch = Scratch::new();
    let file = scratch.path().join("layer.tar");
    std::fs::write(&file, tar).unwrap();
    let listed = std::process::Command::new("tar").arg("-tf").arg(file).output().unwrap().stdout;
    let mut names: Vec<&str> = std::str::from_utf8(&listed).unwrap().lines().collect();
    names.sort_unstable();
    assert_eq!(names, [".wh.gone", "etc/", "etc/hosts", "opaque/", "opaque/.wh..wh..opq"]);
}
