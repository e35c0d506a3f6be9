use mica_core::{Attrs, Rdev, Timestamp};

use super::*;

fn node(kind: Kind, mtime: i64) -> Node {
    let mtime = Timestamp { secs: mtime, nanos: 0 };
    Node { kind, attrs: Attrs { mode: 0o644, mtime, ..Attrs::default() }, link_group: None }
}

fn file(size: u64, mtime: i64) -> Node {
    node(Kind::File { size, content: None }, mtime)
}

fn directory(opaque: bool) -> Node {
    node(Kind::Directory { opaque, implicit: false }, 0)
}

fn linked(node: Node) -> Node {
    Node { link_group: Some(1), ..node }
}

#[test]
fn copy_ups_are_told_by_the_mark_or_where_there_can_be_none_by_what_they_are() {
    let symlink = |target: &str| node(Kind::Symlink { target: target.into() }, 0);
    let device = |minor| node(Kind::CharDevice(Rdev { major: 1, minor }), 5);
    let fifo = || node(Kind::Fifo, 0);
    use Marks::{Trusted, User};
    for (number, (found, has_origin, below, marks, wanted)) in [
        (directory(false), true, directory(false), User, true),
        (directory(false), false, directory(false), User, false),
        // Deleted and made again.
        (directory(true), true, directory(false), User, false),
        (directory(false), true, file(0, 0), User, false),
        (file(1, 1), true, file(2, 2), User, true),
        (file(1, 1), false, file(1, 1), User, false),
        (file(1, 1), true, directory(false), User, false),
        (file(1, 1), false, linked(file(1, 1)), User, true),
        (file(1, 2), false, linked(file(1, 1)), User, false),
        (file(2, 1), false, linked(file(1, 1)), User, false),
        (file(0, 9), true, device(3), User, true),
        (file(0, 9), false, device(3), User, false),
        (file(3, 9), true, device(3), User, false),
        (file(0, 5), false, linked(device(3)), User, true),
        (file(0, 9), false, linked(device(3)), User, false),
        (device(3), false, device(3), User, true),
        (device(4), false, device(3), User, false),
        (symlink("a"), false, symlink("a"), User, true),
        (symlink("b"), false, symlink("a"), User, false),
        (symlink("a"), false, symlink("a"), Trusted, false),
        (symlink("a"), true, symlink("a"), Trusted, true),
        (symlink("a"), false, linked(symlink("a")), Trusted, true),
        (fifo(), false, fifo(), User, true),
        (fifo(), false, file(0, 0), User, false),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            is_copy_up(&found, has_origin, &below, Some(marks)),
            wanted,
            "case {number}: {found:?} over {below:?}"
        );
    }
}
