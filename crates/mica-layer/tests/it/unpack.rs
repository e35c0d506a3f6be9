//! What a layer tar means (DESIGN, "Layer tar: what apply and diff must get right"), each line a test.

use mica_core::{Kind, Layer, LayerEntry, Rdev, Timestamp};
use mica_layer::{Marks, Unpack};
use mica_testkit::{Tree, needs, tree};

use crate::build::{Made, device, dir, file, global, hard, other, symlink, tar};
use crate::support::path;
use crate::unpacked::{refusal, unpacked, unpacked_bytes, unpacked_with, user_marks};

/// Unpacks and compares `diff/` whole.
#[track_caller]
pub(crate) fn becomes(entries: &[Made], expected: &Tree) {
    expected.assert_is(&unpacked(entries).diff(), "diff");
}

#[test]
fn an_empty_layer_is_an_empty_directory() {
    needs!(root);
    for bytes in [&[][..], &[0; 512], &[0; 1024], &[0; 10240]] {
        let layer = unpacked_bytes(bytes);
        assert_eq!((layer.said.entries, layer.said.implicit), (1, 0));
        tree! {}.assert_is(&layer.diff(), "diff");
    }
}

#[test]
fn a_tar_without_an_end_and_one_with_more_behind_it_are_whole() {
    needs!(root);
    let open = file("a", "x").bytes();
    let trailing = [&tar(&[file("a", "x")])[..], b"not a tar any more", &[0; 3000]].concat();
    for bytes in [open, trailing] {
        tree! { "a" = "x" }.assert_is(&unpacked_bytes(&bytes).diff(), "diff");
    }
}

#[test]
fn padding_may_be_missing_at_the_very_end_and_nothing_else_may() {
    needs!(root);
    let whole = [dir("d").bytes(), file("d/a", [b'x'; 700]).bytes()].concat();
    let content_ends = 512 * 2 + 700;
    for length in content_ends..=whole.len() {
        // `unpacked_bytes` proves that the very bytes come back.
        let layer = unpacked_bytes(&whole[..length]);
        tree! { "d/"; "d/a" = [b'x'; 700] }.assert_is(&layer.diff(), &format!("diff of {length} bytes"));
    }
    for length in [content_ends - 1, 512 * 2 + 512, 512 * 2 + 1, 512 * 2 - 1] {
        let said = mica_layer::unpack(&mut &whole[..length], &mica_testkit::Scratch::new().dir(), &Unpack::default());
        assert!(said.is_err(), "{length} bytes");
    }
}

#[test]
fn a_whiteout_hides_lower_layers_only_in_any_order() {
    needs!(root);
    for entries in [
        &[
            other(".wh.file", b'0'),
            file("file", "new"),
            other(".wh.dir", b'0'),
            file("dir/x", "x"),
            other(".wh.gone", b'0'),
        ],
        &[
            file("file", "new"),
            other(".wh.gone", b'0'),
            other(".wh.file", b'0'),
            file("dir/x", "x"),
            other(".wh.dir", b'0'),
        ],
    ] {
        becomes(entries, &tree! { "file" = "new"; "dir/" opaque; "dir/x" = "x"; "gone" whiteout });
    }
}

#[test]
fn a_deleted_and_recreated_directory_hides_the_old_grandchildren() {
    needs!(root);
    let layer = unpacked(&[other("a/.wh.b", b'0'), dir("a/b/"), file("a/b/c/d", "")]);
    tree! { "a/"; "a/b/" opaque; "a/b/c/"; "a/b/c/d" = "" }.assert_is(&layer.diff(), "diff");
    assert_eq!(layer.node("a/b").kind, Kind::Directory { opaque: true, implicit: false });
}

#[test]
fn an_opaque_marker_counts_wherever_it_stands() {
    needs!(root);
    let marker = || other("d/.wh..wh..opq", b'0');
    let expected = tree! { "d/" opaque mode 0o700; "d/x" = "x" };
    for entries in [
        [marker(), dir("d").mode(0o700), file("d/x", "x")],
        [dir("d").mode(0o700), marker(), file("d/x", "x")],
        [file("d/x", "x"), dir("d").mode(0o700), marker()],
    ] {
        becomes(&entries, &expected);
    }
    becomes(&[marker()], &tree! { "d/" opaque });
    let root = unpacked(&[other(".wh..wh..opq", b'0'), file("a", "")]);
    assert_eq!(root.node("").kind, Kind::Directory { opaque: true, implicit: true });
}

#[test]
fn whiteouts_in_an_opaque_directory_are_not_made() {
    needs!(root);
    let entries = [
        other("d/.wh.a", b'0'),
        other("d/e/.wh.b", b'0'),
        other("d/.wh..wh..opq", b'0'),
        other(".wh.f", b'0'),
        other("f/.wh.c", b'0'),
        dir("f/g"),
        other("f/g/.wh.c", b'0'),
    ];
    becomes(&entries, &tree! { "d/" opaque; "d/e/"; "f/" opaque; "f/g/" });
}

#[test]
fn whiteouts_that_name_nothing_are_errors() {
    needs!(root);
    for name in [".wh.", ".wh..", ".wh...", ".wh..wh.plnk", "d/.wh..wh.x", ".wh..wh.aufs/x", ".wh.d/x"] {
        let error = refusal(&[file("a", ""), file(name, "")]);
        assert_eq!(error, format!("entry 2: path {name:?} is no whiteout that has a meaning"));
    }
}

#[test]
fn the_last_of_several_entries_counts() {
    needs!(root);
    let kinds =
        || [file("x", "content"), symlink("x", "elsewhere"), dir("x"), device("x", b'3', 1, 3), other("x", b'6')];
    let trees = [
        tree! { "x" = "content" },
        tree! { "x" -> "elsewhere" },
        tree! { "x/" },
        tree! { "x" char (1, 3) },
        tree! { "x" fifo },
    ];
    for first in kinds() {
        for (second, expected) in kinds().into_iter().zip(&trees) {
            becomes(&[first.clone(), second], expected);
        }
    }
}

#[test]
fn a_file_over_a_full_directory_takes_all_of_it_away() {
    needs!(root);
    let entries = [
        file("d/a", "one"),
        file("d/e/f", "two"),
        other("d/.wh.w", b'0'),
        hard("kept", "d/e/f"),
        hard("d/late", "nowhere"),
        file("d", "a file now"),
        dir("d"),
        file("d/a", "again"),
    ];
    becomes(&entries, &tree! { "d/"; "d/a" = "again"; "kept" = "two" });
}

#[test]
fn a_directory_over_a_directory_changes_its_attributes_alone() {
    needs!(root);
    becomes(
        &[dir("d"), file("d/a", "a"), dir("d").mode(0o1777).owner(1, 2).mtime(7)],
        &tree! { "d/" mode 0o1777 uid 1 gid 2 mtime 7; "d/a" = "a" },
    );
}

#[test]
fn names_are_taken_inside_the_root_or_refused() {
    needs!(root);
    becomes(
        &[
            file("/abs", ""),
            file("./dot", ""),
            file("a//b/./c", ""),
            file("x/../y", ""),
            dir("d/"),
            other("old/", b'0'),
        ],
        &tree! { "abs" = ""; "dot" = ""; "a/"; "a/b/"; "a/b/c" = ""; "y" = ""; "d/"; "old/" mode 0o644 },
    );
    for name in ["..", "../x", "a/../../etc/passwd", "/../x", "./.."] {
        assert_eq!(refusal(&[file("a", ""), file(name, "")]), format!("entry 2: path {name:?} leaves the layer root"));
    }
    let nul = file("x", "").pax(&[("path", b"a\0b")]);
    assert_eq!(refusal(&[nul]), "entry 1: path \"a\\0b\" has a NUL byte");
    let below = [file("f", ""), file("f/x", "")];
    assert_eq!(refusal(&below), "entry 2: path \"f/x\" is below \"f\", which is no directory");
    for root in [file("./", "").mode(0), symlink(".", "x"), hard("/", "x"), file(".", "")] {
        let said = refusal(&[file("x", ""), root, file("..", "")]);
        assert!(said.contains("is the layer root") || said.starts_with("entry 3"), "{said}");
    }
}

#[test]
fn the_root_has_the_attributes_that_the_tar_states() {
    needs!(root);
    let layer = unpacked(&[dir("./").mode(0o1770).owner(3, 4).mtime(99).pax(&[("SCHILY.xattr.user.r", b"1")])]);
    let root = layer.node("");
    assert_eq!(root.kind, Kind::Directory { opaque: false, implicit: false });
    assert_eq!((root.attrs.mode, root.attrs.uid, root.attrs.gid, root.attrs.mtime.secs), (0o1770, 3, 4, 99));
    assert_eq!(unpacked(&[file("a", "")]).node("").kind, Kind::Directory { opaque: false, implicit: true });
}

#[test]
fn parents_that_the_tar_omits_are_implicit() {
    needs!(root);
    let layer = unpacked(&[file("a/b/c", ""), dir("a/b").mode(0o700), file("d/e", "")]);
    assert_eq!((layer.said.implicit, layer.said.entries), (2, 6));
    for (at, implicit) in [("a", true), ("a/b", false), ("d", true)] {
        assert_eq!(layer.node(at).kind, Kind::Directory { opaque: false, implicit }, "{at}");
    }
    tree! { "a/" mtime 0; "a/b/" mode 0o700; "a/b/c" = ""; "d/" mtime 0; "d/e" = "" }.assert_is(&layer.diff(), "diff");
}

#[test]
fn owner_comes_before_mode_and_capabilities() {
    needs!(root);
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let acl = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x04\0\xff\xff\xff\xff \0\x04\0\xff\xff\xff\xff";
    let entries = [
        file("ping", "x").mode(0o6755).owner(1000, 1000).pax(&[("SCHILY.xattr.security.capability", capability)]),
        file("acl", "").mode(0o644).pax(&[("SCHILY.xattr.system.posix_acl_access", acl)]),
        dir("d").mode(0o2755).pax(&[("SCHILY.xattr.system.posix_acl_default", acl)]),
        file("d/plain", "").mode(0o666),
    ];
    let layer = unpacked(&entries);
    let ping = layer.diff().get(&path("ping")).unwrap().clone();
    assert_eq!((ping.mode, ping.uid, ping.gid), (0o6755, 1000, 1000));
    assert_eq!(ping.xattrs[&b"security.capability"[..]], capability);
    let diff = layer.diff();
    assert_eq!(diff.get(&path("acl")).unwrap().xattrs[&b"system.posix_acl_access"[..]], acl);
    assert_eq!(diff.get(&path("d")).unwrap().mode, 0o2755);
    // A default list is for what is made later, not for what the layer has in it.
    assert!(diff.get(&path("d/plain")).unwrap().xattrs.is_empty());
}

// A machine's policy labels the files of an upper too; kept here, a copied-up directory would look changed.
#[test]
fn the_label_of_another_machine_is_in_recon_alone() {
    let layer =
        unpacked(&[file("f", "x").pax(&[("RHT.security.selinux", b"u:object_r:t:s0"), ("SCHILY.xattr.user.a", b"1")])]);
    let names: Vec<_> = layer.node("f").attrs.xattrs.into_keys().collect();
    assert_eq!(names, [b"user.a".to_vec()]);
}

#[test]
fn large_owners_and_times_of_all_kinds_are_kept() {
    needs!(root);
    let layer = unpacked(&[
        file("u21", "").owner(1 << 21, (1 << 21) + 1).mtime(-1),
        file("u31", "").owner(1 << 31, 4_294_967_294).mtime(8_000_000_000),
        file("pax", "").pax(&[("uid", b"3000000000"), ("gid", b"2097152"), ("mtime", b"-1.25")]),
        file("far", "").mtime(1 << 40),
        dir("d").pax(&[("mtime", b"1600000000.123456789")]),
        file("d/later", ""),
    ]);
    let expected = tree! {
        "u21" = "" uid 2_097_152 gid 2_097_153;
        "u31" = "" uid 2_147_483_648 gid 4_294_967_294 mtime 8_000_000_000;
        "pax" = "" uid 3_000_000_000 gid 2_097_152;
        "far" = ""; "d/"; "d/later" = "";
    };
    expected.assert_is(&layer.diff(), "diff");
    assert_eq!(layer.node("u21").attrs.mtime, Timestamp { secs: -1, nanos: 0 });
    assert_eq!(layer.node("far").attrs.mtime.secs, 1 << 40);
    assert_eq!(layer.node("pax").attrs.mtime, Timestamp { secs: -2, nanos: 750_000_000 });
    let found = layer.diff().get(&path("d")).unwrap().mtime;
    assert_eq!(found, Some(Timestamp { secs: 1_600_000_000, nanos: 123_456_789 }));
}

#[test]
fn names_are_bytes_and_may_be_long() {
    needs!(root);
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(250));
    let entries = [
        file(b"caf\xe9", "latin"),
        file("gnu", "1").long(b'L', long.as_bytes()),
        file("pax", "2").pax(&[("path", b"p/\xff\n=x")]),
        symlink("link", "short").long(b'K', "t".repeat(300).as_bytes()),
        symlink("link2", "short").pax(&[("linkpath", "u".repeat(300).as_bytes())]),
        hard("h", "short").long(b'K', long.as_bytes()),
        file(".wh.x", "").pax(&[("path", b".wh.\xfe")]),
    ];
    let layer = unpacked(&entries);
    for (name, said) in [
        (&b"caf\xe9"[..], "file"),
        (long.as_bytes(), "file"),
        (b"p/\xff\n=x", "file"),
        (b"h", "file"),
        (b"\xfe", "whiteout"),
    ] {
        let path = mica_core::RelPath::parse(name).unwrap();
        let found = match layer.index.entry(&path).unwrap() {
            Some(LayerEntry::Whiteout) => "whiteout",
            Some(LayerEntry::Node(node)) if matches!(node.kind, Kind::File { .. }) => "file",
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(found, said, "{path}");
    }
    assert_eq!(layer.node("link").kind, Kind::Symlink { target: vec![b't'; 300] });
    assert_eq!(layer.node("link2").kind, Kind::Symlink { target: vec![b'u'; 300] });
}

#[test]
fn paths_longer_than_the_kernel_takes_are_reached() {
    needs!(root);
    let deep = vec!["d".repeat(100); 60].join("/");
    let entries = [
        file("x", "deep").pax(&[("path", format!("{deep}/f").as_bytes())]),
        hard("y", "z").pax(&[("linkpath", format!("{deep}/f").as_bytes())]),
        dir("x").mode(0o700).pax(&[("path", deep.as_bytes())]),
    ];
    let scratch = mica_testkit::Scratch::new();
    let bytes = tar(&entries);
    mica_layer::unpack(&mut &bytes[..], &scratch.dir(), &Unpack::default()).unwrap();
    let mut again = Vec::new();
    mica_layer::rebuild(&scratch.dir(), &mut again).unwrap();
    assert!(again == bytes);
}

#[test]
fn ustar_prefixes_v7_and_gnu_headers_are_read() {
    needs!(root);
    let mut prefixed = file("name", "1").bytes();
    prefixed[345..351].copy_from_slice(b"prefix");
    crate::build::seal(&mut prefixed[..512]);
    // GNU keeps times where ustar has its prefix.
    let mut gnu = file("gnu", "2").magic(b"ustar  \0").bytes();
    gnu[345..356].copy_from_slice(b"01234567012");
    crate::build::seal(&mut gnu[..512]);
    let v7 = file("v7", "3").magic(&[0; 8]).bytes();
    let directory = other("v7dir/", 0).magic(&[0; 8]).bytes();
    let bytes = [prefixed, gnu, v7, directory, other("7", b'7').body("4").bytes()].concat();
    let layer = unpacked_bytes(&bytes);
    tree! { "prefix/"; "prefix/name" = "1"; "gnu" = "2"; "v7" = "3"; "v7dir/" mode 0o644; "7" = "4" }
        .assert_is(&layer.diff(), "diff");
}

#[test]
fn a_pax_path_wins_over_a_long_name_and_a_star_header_keeps_its_times_to_itself() {
    needs!(root);
    let both = file("short", "1").long(b'L', b"gnu").long(b'K', b"gnu-link").pax(&[("path", b"pax")]);
    let mut star = file("name", "2").bytes();
    star[345..351].copy_from_slice(b"prefix");
    star[476..500].copy_from_slice(b"00000000007 00000000007 ");
    star[508..512].copy_from_slice(b"tar\0");
    crate::build::seal(&mut star[..512]);
    let long_prefix = {
        let mut bytes = star.clone();
        bytes[345..476].fill(b'p');
        crate::build::seal(&mut bytes[..512]);
        bytes
    };
    let layer = unpacked_bytes(&[both.bytes(), star, long_prefix].concat());
    let mut expected = tree! { "pax" = "1"; "prefix/"; "prefix/name" = "2" };
    let long = path(&format!("{}/name", "p".repeat(131)));
    for at in [long.parent().unwrap(), long] {
        expected.put(
            at.clone(),
            expected.get(&path(if at.depth() == 1 { "prefix" } else { "prefix/name" })).unwrap().clone(),
        );
    }
    expected.assert_is(&layer.diff(), "diff");
}

#[test]
fn what_is_no_file_has_no_body_but_gnus_directory_listing() {
    needs!(root);
    let entries = [dir("d").size(700), symlink("s", "t").size(5), other("p", b'6').size(5), file("f", "x")];
    becomes(&entries, &tree! { "d/"; "s" -> "t"; "p" fifo; "f" = "x" });
    becomes(&[other("d/", b'D').body(b"Yf\0\0"), file("d/f", "x")], &tree! { "d/" mode 0o644; "d/f" = "x" });
}

#[test]
fn a_sparse_map_in_a_global_header_is_nobodys() {
    needs!(root);
    let map: &[(&str, &[u8])] = &[("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"5"), ("GNU.sparse.name", b"n")];
    becomes(&[global(map), file("f", "x")], &tree! { "f" = "x" });
}

#[test]
fn a_header_longer_than_a_block_of_recon_comes_back() {
    needs!(root);
    let comment = vec![b'c'; 3_000_000];
    becomes(&[file("f", "x").pax(&[("comment", &comment)])], &tree! { "f" = "x" });
}

#[test]
fn global_headers_hold_until_the_next_and_local_ones_for_one_entry() {
    needs!(root);
    let entries = [
        global(&[("comment", b"a commit"), ("uid", b"7"), ("mtime", b"5")]),
        file("a", ""),
        file("b", "").pax(&[("uid", b"8")]),
        global(&[("uid", b"")]),
        file("c", ""),
    ];
    becomes(&entries, &tree! { "a" = "" uid 7 mtime 5; "b" = "" uid 8 mtime 5; "c" = "" mtime 5 });
}

#[test]
fn sparse_files_of_all_forms_keep_their_holes() {
    needs!(root);
    let runs = [(0u64, 5u64), (1_000_000, 3), (2_000_000, 0)];
    let data = b"startmid";
    let number = |value: u64| value.to_string().into_bytes();
    let map = runs.iter().flat_map(|(offset, length)| [offset, length]).map(u64::to_string).collect::<Vec<_>>();
    let pairs: Vec<(&str, Vec<u8>)> = runs
        .iter()
        .flat_map(|(offset, length)| [("GNU.sparse.offset", number(*offset)), ("GNU.sparse.numbytes", number(*length))])
        .collect();
    let mut records: Vec<(&str, &[u8])> = vec![("GNU.sparse.size", b"2000000"), ("GNU.sparse.numblocks", b"3")];
    records.extend(pairs.iter().map(|(key, value)| (*key, &value[..])));
    let form_0_0 = file("sparse", data).pax(&records);
    let joined = map.join(",");
    let form_0_1 = file("other", data).pax(&[
        ("GNU.sparse.size", b"2000000"),
        ("GNU.sparse.map", joined.as_bytes()),
        ("GNU.sparse.name", b"sparse"),
    ]);
    let mut body = format!("3\n{}\n", map.join("\n")).into_bytes();
    body.resize(512, 0);
    body.extend_from_slice(data);
    let form_1_0 = file("GNUSparseFile.1/sparse", body).pax(&[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.realsize", b"2000000"),
    ]);
    let mut old = other("sparse", b'S').magic(b"ustar  \0").body(data).bytes();
    for (number, (offset, length)) in runs.iter().enumerate() {
        let text = format!("{offset:011o}\0{length:011o}\0");
        old[386 + 24 * number..][..24].copy_from_slice(text.as_bytes());
    }
    old[483..495].copy_from_slice(format!("{:011o}\0", 2_000_000).as_bytes());
    crate::build::seal(&mut old[..512]);
    for bytes in [tar(&[form_0_0]), tar(&[form_0_1]), tar(&[form_1_0]), old] {
        let layer = unpacked_bytes(&bytes);
        let mut content = vec![0; 2_000_000];
        content[..5].copy_from_slice(b"start");
        content[1_000_000..1_000_003].copy_from_slice(b"mid");
        assert!(std::fs::read(layer.diff_path().join("sparse")).unwrap() == content);
        let blocks = layer.scratch.dir().open_dir(b"diff").unwrap().stat(b"sparse").unwrap().blocks;
        assert!(blocks < 100, "{blocks} blocks are on disk");
        assert_eq!(layer.said.content_size, 8);
    }
}

#[test]
fn devices_fifos_and_a_real_device_zero_are_kept_apart() {
    needs!(root);
    let entries = [
        device("null", b'3', 1, 3).mode(0o666),
        device("sda", b'4', 8, 0),
        device("huge", b'4', 4095, 1_048_575),
        other("pipe", b'6').mode(0o600),
        device("zero", b'3', 0, 0).mode(0o640).owner(1, 2),
        other(".wh.gone", b'0'),
    ];
    for how in [Unpack::default(), user_marks()] {
        let layer = unpacked_with(&tar(&entries), how).unwrap();
        assert_eq!(layer.node("zero").kind, Kind::CharDevice(Rdev { major: 0, minor: 0 }));
        let expected = tree! {
            "null" char (1, 3) mode 0o666; "sda" block (8, 0); "huge" block (4095, 1_048_575); "pipe" fifo mode 0o600;
            "zero" char (0, 0) mode 0o640 uid 1 gid 2; "gone" whiteout;
        };
        let found = layer.diff();
        expected.assert_is(&found, "diff");
    }
}

#[test]
fn marks_in_a_tar_are_attributes_and_not_marks() {
    needs!(root);
    let entries = [dir("d").pax(&[
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.a", b"=\0\n"),
        ("SCHILY.xattr.user.empty", b""),
    ])];
    for how in [Unpack::default(), user_marks()] {
        let marks = how.marks;
        let layer = unpacked_with(&tar(&entries), how).unwrap();
        let node = layer.node("d");
        assert_eq!(node.kind, Kind::Directory { opaque: false, implicit: false });
        assert_eq!(node.attrs.xattrs.len(), 4);
        let raw = Tree::read(&layer.diff_path()).get(&path("d")).unwrap().xattrs.clone();
        assert_eq!(raw[&b"user.a"[..]], b"=\0\n");
        assert_eq!(raw[&b"user.empty"[..]], b"");
        let escaped =
            if marks == Marks::Trusted { "trusted.overlay.overlay.opaque" } else { "user.overlay.overlay.opaque" };
        assert_eq!(raw[escaped.as_bytes()], b"y");
        assert!(!raw.contains_key(marks.opaque()));
    }
}

#[test]
fn labels_make_nothing_and_unknown_types_are_refused() {
    needs!(root);
    becomes(&[other("volume one", b'V'), file("a", "x"), other("", b'V').body("b")], &tree! { "a" = "x" });
    for typeflag in [b's', b'M', b'A', b'\xff', b'8'] {
        let error = refusal(&[other("odd", typeflag)]);
        let shown = char::from(typeflag);
        assert_eq!(error, format!("entry 1: path \"odd\" has the unsupported type {shown:?}"));
    }
    assert_eq!(refusal(&[symlink("s", "")]), "entry 1: path \"s\" is a link with an unusable target");
}
