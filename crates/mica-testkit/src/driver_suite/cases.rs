//! The table. Each line is a way in which a layered file system is known to go wrong.

use mica_sys::Errno;

use super::Case;
use super::Step::{
    Append, Chmod, Chown, Exchange, Link, MkDir, Move, Open, Refused, Remove, RemoveAll, RemoveXattr, Rename, SetTime,
    SetXattr, Symlink, Truncate, Write, WriteAt,
};

/// Every case.
pub(super) fn all() -> Vec<Case> {
    [content(), deletions(), renames(), attributes(), stacks()].into_iter().flatten().collect()
}

fn content() -> Vec<Case> {
    vec![
        Case {
            name: "moby_21555_update_in_upper",
            because: "https://github.com/moby/moby/issues/21555: a file rewritten in the same second kept its old content",
            lowers: vec![
                tree! { "etc/hosts" = "10.0.0.2" mtime 50; "etc/profile" = "same" mode 0o666; "root/.rc" = "" },
                tree! { "etc/" mode 0o700; "etc/hosts" = "10.0.0.1" mtime 50; "etc/profile" = "same" },
            ],
            steps: vec![Write("etc/hosts", "10.0.0.3"), SetTime("etc/hosts", 50)],
            shows: tree! { "etc/hosts" = "10.0.0.3" mtime 50; "etc/profile" = "same" mode 0o666; "root/.rc" = "" },
        },
        Case {
            name: "an_append_keeps_what_is_below",
            because: "copy-up comes before the write",
            lowers: vec![tree! { "a/b/log" = "one\n" mode 0o640 uid 7 gid 8 xattr "user.k" = "v" }],
            steps: vec![Append("a/b/log", "two\n"), WriteAt("a/b/log", 0, "O")],
            shows: tree! { "a/b/log" = "One\ntwo\n" mode 0o640 uid 7 gid 8 xattr "user.k" = "v" },
        },
        Case {
            name: "truncation_reaches_the_copy_alone",
            because: "O_TRUNC on a lower file, and ftruncate both ways",
            lowers: vec![tree! { "a" = "12345"; "b" = "12345"; "c" = "12345"; "d" = "12345" }],
            steps: vec![Write("a", ""), Truncate("b", 2), Truncate("c", 7), Open("d")],
            shows: tree! { "a" = ""; "b" = "12"; "c" = "12345\0\0"; "d" = "12345" },
        },
        Case {
            name: "a_lower_larger_than_a_copy_buffer_comes_up_whole",
            because: "copy-up in several pieces",
            lowers: vec![tree! { "big" = (vec![b'x'; 3 << 20]) }],
            steps: vec![WriteAt("big", (3 << 20) - 1, "y")],
            shows: {
                let mut content = vec![b'x'; 3 << 20];
                content[(3 << 20) - 1] = b'y';
                tree! { "big" = (content) }
            },
        },
        Case {
            name: "a_link_to_a_lower_file_shares_its_content",
            because: "link(2) on a lower file copies it up first, under both names",
            lowers: vec![tree! { "dir/file" = "a" uid 3 }],
            steps: vec![Link("dir/file", "dir/link"), Append("dir/link", "b")],
            shows: tree! { "dir/file" = "ab" uid 3; "dir/link" hard "dir/file" },
        },
        Case {
            name: "names_that_only_look_like_marks_are_names",
            because: "layer tars spell whiteouts so; directories do not",
            lowers: vec![tree! { ".wh.a" = "1"; "a" = "2"; "dir/.wh..wh..opq" = ""; "dir/b" = "3" }],
            steps: vec![Write(".wh.b", "4"), Remove("dir/.wh..wh..opq")],
            shows: tree! { ".wh.a" = "1"; "a" = "2"; ".wh.b" = "4"; "dir/b" = "3" },
        },
    ]
}

fn deletions() -> Vec<Case> {
    vec![
        Case {
            name: "whiteouts_hide_every_copy_below",
            because: "a file, a directory, a symlink; one and two layers down",
            lowers: vec![
                tree! { "gone-file" whiteout; "gone-dir" whiteout; "gone-link" whiteout },
                tree! { "gone-file" = "1"; "gone-dir/x" = "1"; "kept" = "1" },
                tree! { "gone-file" = "0"; "gone-dir/y" = "0"; "gone-link" -> "kept" },
            ],
            steps: vec![Remove("kept")],
            shows: tree! {},
        },
        Case {
            name: "moby_25244_a_directory_made_again_is_empty",
            because: "https://github.com/moby/moby/issues/25244: hidden files came back",
            lowers: vec![
                tree! { "lib/a" = "2" },
                tree! { "lib/" opaque; "lib/b" = "1" },
                tree! { "lib/hidden/x" = "0" },
            ],
            steps: vec![RemoveAll("lib"), MkDir("lib"), Write("lib/c", "3")],
            shows: tree! { "lib/c" = "3" },
        },
        Case {
            name: "a_deleted_and_made_again_directory_hides_grandchildren",
            because: "opaque at each level: a/b of the lower must not show in a new a with a new b",
            lowers: vec![tree! { "a/b/c/old" = "0"; "a/b/old" = "0" }],
            steps: vec![RemoveAll("a"), MkDir("a"), MkDir("a/b"), Write("a/b/new", "1")],
            shows: tree! { "a/b/new" = "1" },
        },
        Case {
            name: "kinds_replace_each_other",
            because: "a directory over a file over a symlink, through the layers and in the upper",
            lowers: vec![
                tree! { "file-then-dir/in" = "1"; "dir-then-file" = "1"; "link-then-dir/in" = "1" },
                tree! { "file-then-dir" = "0"; "dir-then-file/in" = "0"; "link-then-dir" -> "elsewhere"; "elsewhere/x" = "" },
            ],
            steps: vec![
                Refused(Box::new(Write("dir-then-file/in", "")), Errno::NOTDIR),
                RemoveAll("file-then-dir"),
                Write("file-then-dir", "2"),
                Remove("dir-then-file"),
                MkDir("dir-then-file"),
                RemoveAll("link-then-dir"),
                Symlink("elsewhere", "link-then-dir"),
                Refused(Box::new(Remove("elsewhere")), Errno::ISDIR),
            ],
            shows: tree! {
                "file-then-dir" = "2"; "dir-then-file/"; "link-then-dir" -> "elsewhere"; "elsewhere/x" = "";
            },
        },
        Case {
            name: "what_is_made_in_the_upper_goes_without_a_trace",
            because: "no whiteout where nothing is below",
            lowers: vec![tree! { "dir/" }],
            steps: vec![
                Write("new", ""),
                Remove("new"),
                MkDir("dir/a"),
                Write("dir/a/b", ""),
                RemoveAll("dir/a"),
                Refused(Box::new(Remove("never")), Errno::NOENT),
            ],
            shows: tree! { "dir/" },
        },
        Case {
            name: "moby_27298_directories_keep_their_owners_through_layers",
            because: "https://github.com/moby/moby/issues/27298: a directory made again had the old owner",
            lowers: vec![
                tree! { "again/" opaque uid 1 gid 1; "new" whiteout },
                tree! { "changed/" mode 0o700; "given/" mode 0o700 uid 1 gid 1; "given/f" = "x" uid 1 gid 1 },
                tree! {
                    "again/" mode 0o700; "again/f" = "x"; "changed/" mode 0o700 uid 1 gid 1; "given/" mode 0o700;
                    "given/f" = "x"; "new/" mode 0o700;
                },
            ],
            steps: vec![MkDir("new"), Chown("new", 2, 2)],
            shows: tree! {
                "again/" uid 1 gid 1; "changed/" mode 0o700; "given/" mode 0o700 uid 1 gid 1;
                "given/f" = "x" uid 1 gid 1; "new/" uid 2 gid 2;
            },
        },
    ]
}

fn renames() -> Vec<Case> {
    vec![
        Case {
            name: "moby_25409_renames_over_and_away",
            because: "https://github.com/moby/moby/issues/25409: a renamed lower directory could not be seen",
            lowers: vec![tree! { "dir1/in" = "0" mode 0o600; "files/f1" = "first"; "files/f2" = "second" uid 9 }],
            steps: vec![
                Move("dir1", "dir2"),
                Write("files/over", "new"),
                Rename("files/over", "files/f1"),
                Rename("files/f2", "files/f3"),
            ],
            shows: tree! { "dir2/in" = "0" mode 0o600; "files/f1" = "new"; "files/f3" = "second" uid 9 },
        },
        Case {
            name: "a_name_given_away_and_taken_again",
            because: "a whiteout stands where a file was renamed from, and a new file replaces it",
            lowers: vec![tree! { "a" = "0"; "b" = "1" }],
            steps: vec![Rename("a", "c"), Write("a", "2"), Exchange("b", "c")],
            shows: tree! { "a" = "2"; "b" = "0"; "c" = "1" },
        },
        Case {
            name: "a_new_directory_takes_the_name_of_a_deleted_one",
            because: "rename onto a whiteout makes the directory opaque",
            lowers: vec![tree! { "dir/old" = "0" }],
            steps: vec![MkDir("fresh"), Write("fresh/new", "1"), RemoveAll("dir"), Rename("fresh", "dir")],
            shows: tree! { "dir/new" = "1" },
        },
        Case {
            name: "a_lower_directory_is_not_overwritten_while_it_is_full",
            because: "rmdir and rename see through the layers",
            lowers: vec![tree! { "full/x" = "" }, tree! { "full/y" = ""; "empty/" }],
            steps: vec![
                MkDir("new"),
                Refused(Box::new(Rename("new", "full")), Errno::NOTEMPTY),
                Rename("new", "empty"),
                Remove("full/x"),
                Refused(Box::new(Rename("empty", "full")), Errno::NOTEMPTY),
                Remove("full/y"),
                Rename("empty", "full"),
            ],
            shows: tree! { "full/" },
        },
    ]
}

fn attributes() -> Vec<Case> {
    vec![
        Case {
            name: "moby_20240_chown_keeps_content",
            because: "https://github.com/moby/moby/issues/20240, 24913 and 28391: chown through three drivers",
            lowers: vec![tree! { "opt/a/b/file" = "hello" mode 0o600 mtime 10; "opt/a/link" -> "b" }],
            steps: vec![
                Chown("opt", 1, 1),
                Chown("opt/a", 1, 1),
                Chown("opt/a/b", 1, 1),
                Chown("opt/a/b/file", 1, 1),
                Chown("opt/a/link", 2, 2),
            ],
            shows: tree! {
                "opt/" uid 1 gid 1; "opt/a/" uid 1 gid 1; "opt/a/b/" uid 1 gid 1;
                "opt/a/b/file" = "hello" mode 0o600 uid 1 gid 1 mtime 10; "opt/a/link" -> "b" uid 2 gid 2;
            },
        },
        Case {
            name: "chmod_keeps_content_time_and_special_bits",
            because: "https://github.com/docker/machine/issues/3327",
            lowers: vec![tree! { "f" = "x" mtime 10; "s" = "x" mode 0o4755; "d/" mode 0o1777; "d/in" = "x" }],
            steps: vec![Chmod("f", 0o2600), Chmod("d", 0o3770), SetTime("s", -5)],
            shows: tree! { "f" = "x" mode 0o2600 mtime 10; "s" = "x" mode 0o4755 mtime (-5); "d/" mode 0o3770; "d/in" = "x" },
        },
        Case {
            name: "chown_clears_setuid_as_on_any_file_system",
            because: "chown(2): only the copy loses the bits",
            lowers: vec![tree! { "s" = "x" mode 0o6755 }],
            steps: vec![Chown("s", 1, 1)],
            shows: tree! { "s" = "x" mode 0o755 uid 1 gid 1 },
        },
        Case {
            name: "attributes_are_added_and_taken_away_on_the_copy",
            because: "setxattr and removexattr copy up first",
            lowers: vec![tree! { "f" = "x" xattr "user.a" = "1" xattr "user.b" = "2"; "d/" xattr "user.c" = "3" }],
            steps: vec![SetXattr("f", "user.new", "n"), RemoveXattr("f", "user.a"), RemoveXattr("d", "user.c")],
            shows: tree! { "f" = "x" xattr "user.b" = "2" xattr "user.new" = "n"; "d/" },
        },
        Case {
            name: "the_root_is_a_directory_like_any_other",
            because: "its attributes are the topmost layer's, and it can be changed",
            lowers: vec![tree! { "/" mode 0o711 uid 4 }, tree! { "/" mode 0o700; "x" = "" }],
            steps: vec![Chmod(".", 0o751), Chown(".", 5, 5)],
            shows: tree! { "/" mode 0o751 uid 5 gid 5; "x" = "" },
        },
    ]
}

fn stacks() -> Vec<Case> {
    vec![
        Case {
            name: "the_topmost_directory_gives_the_attributes",
            because: "a merged directory shows one layer's mode, owner and attributes, and all layers' names",
            lowers: vec![
                tree! { "d/" mode 0o700 uid 1 xattr "user.top" = "1"; "d/1" = "" },
                tree! { "d/" mode 0o755 uid 2 xattr "user.low" = "1"; "d/2" = "" },
                tree! { "d/" mode 0o777 uid 3; "d/3" = "" },
            ],
            steps: vec![Write("d/0", "")],
            shows: tree! {
                "d/" mode 0o700 uid 1 xattr "user.top" = "1"; "d/0" = ""; "d/1" = ""; "d/2" = ""; "d/3" = "";
            },
        },
        Case {
            name: "an_opaque_directory_in_the_middle_hides_what_is_below_it_alone",
            because: "layers above an opaque directory still merge with it",
            lowers: vec![tree! { "d/top" = "" }, tree! { "d/" opaque; "d/mid" = "" }, tree! { "d/low" = ""; "e" = "" }],
            steps: vec![Remove("d/mid")],
            shows: tree! { "d/top" = ""; "e" = "" },
        },
        Case {
            name: "a_file_in_the_middle_ends_the_merge",
            because: "a directory below a file below a directory does not show",
            lowers: vec![tree! { "d/top" = "" }, tree! { "d" = "file" }, tree! { "d/low" = "" }],
            steps: vec![Write("d/new", "")],
            shows: tree! { "d/new" = ""; "d/top" = "" },
        },
        Case {
            name: "every_kind_of_file_shows_and_goes",
            because: "devices, pipes, symlinks, names that are not UTF-8",
            lowers: vec![tree! {
                "null" char (1, 3) mode 0o666; "loop" block (7, 1); "pipe" fifo uid 1; "dangling" -> "/nowhere";
                b"\xff\n \\," = "odd"; "space here/tab\there" = "odd";
            }],
            steps: vec![
                Chmod("null", 0o600),
                Chown("pipe", 2, 2),
                Remove("loop"),
                Rename("dangling", "still-dangling"),
            ],
            shows: tree! {
                "null" char (1, 3) mode 0o600; "pipe" fifo uid 2 gid 2; "still-dangling" -> "/nowhere";
                b"\xff\n \\," = "odd"; "space here/tab\there" = "odd";
            },
        },
    ]
}
