//! Hard links and symlinks of a layer tar: what shares a file with what, and where a path leads.

use mica_core::Kind;
use mica_testkit::{needs, tree};

use crate::build::{device, dir, file, hard, other, symlink};
use crate::support::path;
use crate::unpack::becomes;
use crate::unpacked::{refusal, unpacked};

#[test]
fn a_hard_link_may_come_before_its_target_and_share_any_kind_of_file() {
    needs!(root);
    let entries = [
        hard("a", "z"),
        hard("a2", "a"),
        hard("s2", "./s"),
        hard("c2", "/c"),
        hard("p2", "p"),
        symlink("s", "gone"),
        device("c", b'3', 1, 7),
        other("p", b'6'),
        file("z", "last").mode(0o600),
    ];
    let layer = unpacked(&entries);
    let expected = tree! {
        "a" = "last" mode 0o600; "a2" hard "a"; "z" hard "a";
        "c" char (1, 7); "c2" hard "c"; "p" fifo; "p2" hard "p"; "s" -> "gone"; "s2" hard "s";
    };
    expected.assert_is(&layer.diff(), "diff");
    let groups = ["a", "c", "p", "s"].map(|name| layer.node(name).link_group);
    assert_eq!(groups, [Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(layer.said.content_size, 4);
}

#[test]
fn a_hard_link_keeps_the_file_that_had_the_name() {
    needs!(root);
    let entries = [file("f", "first"), hard("g", "f"), file("f", "second"), hard("h", "f"), hard("g", "g")];
    let layer = unpacked(&entries);
    tree! { "f" = "second"; "g" = "first"; "h" hard "f" }.assert_is(&layer.diff(), "diff");
    assert_eq!(layer.said.content_size, 11);
    let replaced = unpacked(&[file("f", "first"), file("f", "second")]);
    assert_eq!(replaced.said.content_size, 6);
}

#[test]
fn a_hard_link_to_a_file_of_a_lower_layer_needs_the_parent() {
    needs!(root);
    let entries = [
        hard("bin/a", "usr/bin/b"),
        hard("chained", "bin/a"),
        symlink("lib", "usr/lib"),
        hard("cleaned", "lib/../lib64/x"),
        symlink("roundabout", "gone/../../opt"),
        hard("through", "roundabout/x"),
        other(".wh.moved", b'0'),
        hard("new-name", "moved"),
    ];
    let layer = unpacked(&entries);
    assert_eq!(layer.said.needs_parent, 5);
    tree! { "bin/"; "lib" -> "usr/lib"; "moved" whiteout; "roundabout" -> "gone/../../opt" }
        .assert_is(&layer.diff(), "diff");
    for (link, target) in [
        ("bin/a", "usr/bin/b"),
        ("chained", "usr/bin/b"),
        ("cleaned", "lib64/x"),
        ("through", "opt/x"),
        ("new-name", "moved"),
    ] {
        assert_eq!(layer.node(link).kind, Kind::LinkToParent { target: path(target) }, "{link}");
    }
}

#[test]
fn hard_links_that_cannot_be_are_errors() {
    needs!(root);
    for (entries, error) in [
        (&[dir("d"), hard("a", "d")][..], "entry 2: path \"a\" is a hard link to the directory \"d\""),
        (&[hard("a", "d"), dir("d")], "entry 1: path \"a\" is a hard link to the directory \"d\""),
        (&[hard("a", ".")], "entry 1: path \"a\" is a hard link to the directory \".\""),
        (&[hard("a", "../x")], "entry 1: path \"../x\" leaves the layer root"),
        (&[hard("a", "")], "entry 1: path \"a\" is a link with an unusable target"),
        (&[hard("a", "a")], "entry 1: path \"a\" is a hard link that leads back to itself through \"a\""),
        (
            &[hard("a", "b"), hard("b", "a")],
            "entry 1: path \"a\" is a hard link that leads back to itself through \"a\"",
        ),
        (&[file("f", ""), hard("a", "f/x")], "entry 2: path \"f/x\" is below \"f\", which is no directory"),
        (&[hard("a", "b"), file("a/x", "")], "entry 2: path \"a/x\" is below \"a\", which is no directory"),
    ] {
        assert_eq!(refusal(entries), error);
    }
}

#[test]
fn the_body_of_a_hard_link_is_passed_over() {
    needs!(root);
    let expected = tree! { "f" = "content"; "g" hard "f"; "h" = "" };
    let with_pax = hard("g", "f").pax(&[("mtime", b"1")]).body("content");
    becomes(&[file("f", "content"), with_pax, file("h", "")], &expected);
    becomes(&[file("f", "content"), hard("g", "f").body("content"), file("h", "")], &expected);
    // PAX sizes bind, also where the body looks like an entry.
    let smuggler = hard("g", "f").pax(&[("mtime", b"1")]).body(file("smuggled", "").bytes());
    becomes(&[file("f", "content"), smuggler, file("h", "")], &expected);
    // Old writers state the file's size and have no body.
    becomes(&[file("f", "content"), hard("g", "f").size(7), file("h", "")], &expected);
    becomes(&[file("f", "content"), file("h", ""), hard("g", "f").size(7)], &expected);
}

#[test]
fn a_parent_through_a_symlink_lands_where_it_points_inside_the_root() {
    needs!(root);
    let entries = [
        dir("usr/lib"),
        symlink("lib", "usr/lib"),
        file("lib/a", "a"),
        symlink("abs", "/usr/lib"),
        file("abs/b", "b"),
        symlink("out", "../../../../tmp"),
        file("out/c", "c"),
        symlink("usr/up", "../var2/./"),
        file("usr/up/d", "d"),
        symlink("usr/abs", "/usr/lib"),
        file("usr/abs/f", "f"),
        other("lib/.wh.gone", b'0'),
        symlink("dangling", "var/new"),
        file("dangling/e", "e"),
    ];
    becomes(
        &entries,
        &tree! {
            "usr/"; "usr/lib/"; "lib" -> "usr/lib"; "usr/lib/a" = "a"; "abs" -> "/usr/lib"; "usr/lib/b" = "b";
            "out" -> "../../../../tmp"; "tmp/"; "tmp/c" = "c"; "usr/up" -> "../var2/./"; "var2/"; "var2/d" = "d";
            "usr/abs" -> "/usr/lib"; "usr/lib/f" = "f";
            "usr/lib/gone" whiteout; "dangling" -> "var/new"; "var/"; "var/new/"; "var/new/e" = "e";
        },
    );
    assert_eq!(
        refusal(&[symlink("a", "b"), symlink("b", "a"), file("a/x", "")]),
        "entry 3: path \"a/x\" runs through too many symbolic links"
    );
}
