//! An upper becomes a layer tar.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mica_core::{Attrs, DiffId, Stack};
use mica_layer::tar::EntryKind;
use mica_layer::{Ability, DirLayer, LayerError, Marks, Over, Pack, PackError, Reach, TreeError, Unpack, pack, unpack};
use mica_sys::Dir;
use mica_testkit::{Entry, Scratch, Tree, What, needs, tree};

use crate::support::{entries, names, packed, path, set_time, upper};

fn refused(upper: &Path) -> LayerError {
    pack(&Dir::open(upper).unwrap(), &Pack::default(), &mut io::sink()).unwrap_err()
}

/// One of everything, with a time of its own each.
fn changes() -> Tree {
    let mut tree = tree! {
        "etc/" mode 0o750 uid 1 gid 2 mtime 11 xattr "user.dir" = "d";
        "etc/gone" whiteout;
        "etc/hosts" = "127.0.0.1 localhost\n" mode 0o4711 uid 3_000_000 gid 7 mtime 12 xattr "user.a" = "1";
        "etc/hosts.d/" opaque mtime 13;
        "etc/hosts.d/one" = "one" mtime 14;
        "etc-other" = "" mtime 15;
        "dev/null" char (1, 3) mode 0o666 mtime 16;
        "dev/sda" block (8, 0) mode 0o660 mtime 17;
        "dev/pipe" fifo mtime 18;
        "dev/" mtime 19;
        "link" -> "etc/hosts" mtime 20;
        "z-hard" hard "etc/hosts";
    };
    set_time(&mut tree, "etc/hosts.d/one", -5, 999_999_999);
    tree
}

#[test]
fn a_changeset_comes_out_sorted_with_whiteouts_as_the_specification_says() {
    needs!(root);
    let scratch = Scratch::new();
    let (packed, tar) = packed(&upper(&scratch, "upper", &changes()));
    assert_eq!(
        names(&tar),
        [
            "dev/",
            "dev/null",
            "dev/pipe",
            "dev/sda",
            "etc/",
            "etc/.wh.gone",
            "etc/hosts",
            "etc/hosts.d/",
            "etc/hosts.d/.wh..wh..opq",
            "etc/hosts.d/one",
            "etc-other",
            "link",
            "z-hard",
        ]
    );
    assert_eq!((packed.entries, packed.tar_size), (13, tar.len() as u64));
    assert_eq!(packed.diff_id, DiffId::of(&tar));
    assert!(packed.skipped.is_empty());

    let found = entries(&tar);
    let entry = |name: &str| &found.iter().find(|(entry, _)| entry.path == name.as_bytes()).unwrap().0;
    let hosts = entry("etc/hosts");
    assert_eq!((hosts.mode, hosts.uid, hosts.gid, hosts.mtime.secs), (0o4711, 3_000_000, 7, 12));
    assert_eq!(hosts.xattrs.get(&b"user.a"[..]).map(Vec::as_slice), Some(&b"1"[..]));
    let hard = entry("z-hard");
    assert_eq!((hard.kind, &hard.link[..]), (EntryKind::Link, &b"etc/hosts"[..]));
    let mark = entry("etc/.wh.gone");
    assert_eq!((mark.kind, mark.size, mark.mode, mark.mtime.secs), (EntryKind::File, 0, 0, 0));
    let one = entry("etc/hosts.d/one").mtime;
    assert_eq!((one.secs, one.nanos), (-5, 999_999_999));
}

/// The digest is part of what people rely on: a rebuild of the same tree must give the same layer in every version.
#[test]
fn the_same_tree_gives_the_same_bytes_wherever_it_stands() {
    needs!(root);
    let scratch = Scratch::new();
    let first = upper(&scratch, "first", &changes());
    // Another file system, with other inode numbers, another order of names, and directories that were larger once.
    let second = scratch.tmpfs("tmpfs", "size=4m").join("second");
    std::fs::create_dir(&second).unwrap();
    for number in 0..200 {
        std::fs::write(second.join(format!("{number}")), b"").unwrap();
    }
    for number in 0..200 {
        std::fs::remove_file(second.join(format!("{number}"))).unwrap();
    }
    changes().write_layer(&second, Marks::Trusted);
    let one = packed(&first);
    assert!(one == packed(&second), "two places give two tars");
    std::fs::read(first.join("etc/hosts")).unwrap();
    assert!(one == packed(&first), "reading changed the tar");
    assert_eq!(one.0.diff_id.to_string(), "sha256:1620583f240710ae4083852f6696308c1644185bf4b87c4871fd29716b927f9f");
}

#[test]
fn an_upper_without_a_change_is_an_empty_tar() {
    let scratch = Scratch::new();
    let (packed, tar) = packed(&scratch.make("upper"));
    assert_eq!((packed.entries, packed.tar_size), (0, 1024));
    assert!(tar == [0; 1024]);
}

#[test]
fn marks_of_the_overlay_are_not_packed_and_escaped_ones_are_what_they_were() {
    needs!(root);
    for marks in [Marks::Trusted, Marks::User] {
        let scratch = Scratch::new();
        let place = scratch.make("upper");
        let dir = Dir::open(&place).unwrap();
        dir.mkdir(b"d", 0o755).unwrap();
        dir.create_file(b"f", 0o644).unwrap();
        let mark = |name: &str| [marks.prefix(), name.as_bytes()].concat();
        for own in ["origin", "impure", "uuid", "nlink", "upper", "protattr", "unheard-of"] {
            dir.set_xattr(b"f", &mark(own), b"y").unwrap();
        }
        dir.set_xattr(b"d", &mark("opaque"), b"y").unwrap();
        dir.set_xattr(b"f", &mark("overlay.opaque"), b"nested").unwrap();
        dir.set_xattr(b"f", &mark("overlay.overlay.x"), b"twice").unwrap();
        dir.set_xattr(b"f", b"user.own", b"1").unwrap();
        // The host's label, which each host with a policy gives to every file.
        dir.set_xattr(b"f", b"security.selinux", b"system_u:object_r:tmp_t:s0").unwrap();
        let mut tar = Vec::new();
        pack(&dir, &Pack { marks: Some(marks), ..Pack::default() }, &mut tar).unwrap();
        assert_eq!(names(&tar), ["d/", "d/.wh..wh..opq", "f"]);
        let found = entries(&tar);
        assert!(found[0].0.xattrs.is_empty() && found[1].0.xattrs.is_empty());
        let expected = [
            (mark("opaque"), b"nested".to_vec()),
            (mark("overlay.x"), b"twice".to_vec()),
            (b"user.own".to_vec(), b"1".to_vec()),
        ];
        assert_eq!(found[2].0.xattrs, expected.into());
    }
}

#[test]
fn a_tree_has_no_marks_whatever_stands_in_it() {
    needs!(root);
    let scratch = Scratch::new();
    let dir = scratch.dir();
    dir.mkdir(b"d", 0o755).unwrap();
    dir.mknod(b"zero", mica_sys::FileKind::CharDevice, 0o600, 0, 0).unwrap();
    dir.create_file(b"f", 0o644).unwrap();
    let own = ["opaque", "whiteout", "redirect", "metacopy", "overlay.opaque", "mica.device-zero"];
    let own = own.map(|name| [Marks::Trusted.prefix(), name.as_bytes()].concat());
    for (name, attribute) in [b"d", b"f"].iter().flat_map(|name| own.iter().map(move |own| (*name, own))) {
        dir.set_xattr(name, attribute, b"y").unwrap();
    }
    let mut tar = Vec::new();
    pack(&dir, &Pack { marks: None, ..Pack::default() }, &mut tar).unwrap();
    assert_eq!(names(&tar), ["d/", "f", "zero"]);
    let found = entries(&tar);
    assert_eq!((found[1].0.kind, found[2].0.kind), (EntryKind::File, EntryKind::CharDevice));
    for (entry, _) in &found[..2] {
        assert!(entry.xattrs.keys().eq(own.iter().collect::<std::collections::BTreeSet<_>>()), "{entry:?}");
    }
}

/// overlayfs calls directories opaque that hide nothing; a driver that does not packs the same layer.
#[test]
fn only_what_hides_a_directory_is_said_to_be_opaque() {
    needs!(root);
    let scratch = Scratch::new();
    let lower = upper(&scratch, "lower", &tree! { "full/x"; "file"; "outer/inner/x"; "merged/inner/x" });
    let changes = tree! {
        "new/" opaque;
        "new/deeper/" opaque;
        "full/" opaque;
        "file/" opaque;
        "outer/" opaque;
        "outer/inner/" opaque;
        "merged/inner/" opaque;
        "merged/inner/new/" opaque;
    };
    let place = upper(&scratch, "upper", &changes);
    let below = Stack::new(vec![DirLayer::new(Dir::open(&lower).unwrap(), Marks::Trusted)]);
    let ability = Ability::native();
    let opaque_over = |over| {
        let mut tar = Vec::new();
        let how = Pack { marks: Some(Marks::Trusted), root: None, over, others: None };
        pack(&Dir::open(&place).unwrap(), &how, &mut tar).unwrap();
        names(&tar).into_iter().filter_map(|name| name.strip_suffix("/.wh..wh..opq").map(str::to_owned)).collect()
    };
    let known: Vec<String> = opaque_over(Some(Over { below: &below, ability: &ability, reach: Reach::CopiedUp }));
    assert_eq!(known, ["full", "merged/inner", "outer"]);
    assert_eq!(opaque_over(None).len(), 8, "where nothing is known of the stack, all may hide something");
}

/// Whiteouts as attributes are how Linux 6.7 keeps those of an overlay inside an overlay.
#[test]
fn a_whiteout_that_is_an_attribute_is_one() {
    needs!(root);
    let scratch = Scratch::new();
    let dir = scratch.dir();
    dir.mkdir(b"d", 0o755).unwrap();
    dir.set_xattr(b"d", b"trusted.overlay.opaque", b"x").unwrap();
    dir.open_dir(b"d").unwrap().create_file(b"gone", 0o644).unwrap();
    dir.open_dir(b"d").unwrap().set_xattr(b"gone", b"trusted.overlay.whiteout", b"").unwrap();
    assert_eq!(names(&packed(scratch.path()).1), ["d/", "d/.wh.gone"]);
}

#[test]
fn a_real_device_0_0_is_packed_as_the_device() {
    needs!(root);
    let scratch = Scratch::new();
    let (_, tar) = packed(&upper(&scratch, "upper", &tree! { "zero" char (0, 0) mode 0o600 }));
    let found = entries(&tar);
    assert_eq!((found[0].0.kind, &found[0].0.path[..]), (EntryKind::CharDevice, &b"zero"[..]));
    assert!(found[0].0.xattrs.is_empty());
}

#[test]
fn what_stands_in_another_layer_is_refused_by_name() {
    needs!(root);
    let scratch = Scratch::new();
    let moved = upper(&scratch, "moved", &tree! { "a/b/" });
    Dir::open(&moved.join("a")).unwrap().set_xattr(b"b", b"trusted.overlay.redirect", b"/old").unwrap();
    let bare = upper(&scratch, "bare", &tree! { "f" = "" });
    Dir::open(&bare).unwrap().set_xattr(b"f", b"trusted.overlay.metacopy", b"").unwrap();
    let redirect = refused(&moved);
    assert!(
        matches!(&redirect, LayerError::Tree(TreeError::Redirect { path: at }) if *at == path("a/b")),
        "{redirect:?}"
    );
    assert!(redirect.to_string().starts_with("/a/b was renamed with redirect_dir"), "{redirect}");
    let metacopy = refused(&bare);
    assert!(
        matches!(&metacopy, LayerError::Tree(TreeError::Metacopy { path: at }) if *at == path("f")),
        "{metacopy:?}"
    );
}

#[test]
fn a_file_whose_name_means_a_whiteout_cannot_be_packed_and_says_so() {
    needs!(root);
    for literal in [tree! { "d/.wh.x" = "" }, tree! { "d/.wh.x/y" }, tree! { "d/.wh.x" whiteout }, tree! { "d/.wh." }] {
        let scratch = Scratch::new();
        let error = refused(&upper(&scratch, "upper", &literal));
        assert!(matches!(&error, LayerError::Pack(PackError::WhiteoutName { .. })), "{error:?}");
        assert!(error.to_string().starts_with("/d/.wh."), "{error}");
    }
    let scratch = Scratch::new();
    assert_eq!(names(&packed(&upper(&scratch, "upper", &tree! { ".wh"; "a.wh.b" })).1), [".wh", "a.wh.b"]);
}

#[test]
fn sockets_are_left_out_and_listed() {
    needs!(root);
    let scratch = Scratch::new();
    let mut tree = tree! { "run/file" = "x" };
    tree.put(path("run/socket"), Entry::new(What::Socket));
    let (packed, tar) = packed(&upper(&scratch, "upper", &tree));
    assert_eq!(names(&tar), ["run/", "run/file"]);
    assert_eq!(packed.skipped, [path("run/socket")]);
}

#[test]
fn hard_links_are_kept_among_what_is_packed() {
    needs!(root);
    let scratch = Scratch::new();
    let place = upper(
        &scratch,
        "upper",
        &tree! { "m" -> "target"; "z" hard "m"; "a" hard "m"; "p" fifo; "q" hard "p"; "lone" = "x" },
    );
    std::fs::hard_link(place.join("lone"), scratch.path().join("outside")).unwrap();
    let (_, tar) = packed(&place);
    let links: Vec<_> = entries(&tar)
        .into_iter()
        .map(|(entry, _)| (String::from_utf8(entry.path).unwrap(), entry.kind, String::from_utf8(entry.link).unwrap()))
        .collect();
    let link = |name: &str, kind, link: &str| (name.to_owned(), kind, link.to_owned());
    assert_eq!(
        links,
        [
            link("a", EntryKind::Symlink, "target"),
            link("lone", EntryKind::File, ""),
            link("m", EntryKind::Link, "a"),
            link("p", EntryKind::Fifo, ""),
            link("q", EntryKind::Link, "p"),
            link("z", EntryKind::Link, "a"),
        ]
    );
}

#[test]
fn the_root_is_packed_when_it_was_changed_and_only_then() {
    needs!(root);
    let scratch = Scratch::new();
    let dir = scratch.dir();
    dir.create_file(b"f", 0o644).unwrap();
    dir.chmod_self(0o755).unwrap();
    let below = Attrs { mode: 0o755, ..Attrs::default() };
    let names_over = |root: Option<&Attrs>| {
        let mut tar = Vec::new();
        pack(&dir, &Pack { root: root.cloned(), ..Pack::default() }, &mut tar).unwrap();
        names(&tar)
    };
    // Its time has moved with the file; that alone is no change.
    assert_eq!(names_over(Some(&below)), ["f"]);
    assert_eq!(names_over(None), ["f"]);
    for other in [
        Attrs { mode: 0o700, ..below.clone() },
        Attrs { uid: 1, ..below.clone() },
        Attrs { gid: 1, ..below.clone() },
        Attrs { xattrs: [(b"user.a".to_vec(), Vec::new())].into(), ..below.clone() },
    ] {
        assert_eq!(names_over(Some(&other)), ["./", "f"], "{other:?}");
    }
    dir.set_own_xattr(b"trusted.overlay.opaque", b"y").unwrap();
    assert_eq!(names_over(Some(&below)), [".wh..wh..opq", "f"]);
}

#[test]
fn a_file_with_some_holes_is_packed_whole() {
    let scratch = Scratch::new();
    let file = scratch.dir().create_file(b"sparse", 0o644).unwrap();
    file.set_len(3 << 20).unwrap();
    file.set_mtime(mica_sys::Time::default()).unwrap();
    let (packed, tar) = packed(scratch.path());
    assert_eq!(packed.tar_size, 512 + (3 << 20) + 1024);
    assert!(entries(&tar)[0].1 == vec![0; 3 << 20]);
}

/// A file of `size` with `content` at these places.
fn hollow(place: &Path, size: u64, content: &[(u64, &[u8])]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(place).unwrap();
    file.set_len(size).unwrap();
    content.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
}

#[test]
fn a_terabyte_of_holes_is_packed_as_what_is_in_it_and_comes_back_with_them() {
    needs!(root);
    const TIB: u64 = 1 << 40;
    let scratch = Scratch::new();
    let place = scratch.make("upper");
    let content: [(u64, &[u8]); 3] = [(0, b"first"), (5 << 20, b"amid"), (TIB - 4, b"last")];
    hollow(&place.join("big"), TIB, &content);
    std::fs::create_dir(place.join("dir")).unwrap();
    // One that ends in a hole, and has a name that takes an extended header anyway.
    let empty = format!("dir/{}", "e".repeat(120));
    hollow(&place.join(&empty), TIB, &[]);
    let (first, tar) = packed(&place);
    assert_eq!(first.tar_size, tar.len() as u64);
    assert!(tar.len() < 4 << 20, "{} bytes", tar.len());
    assert_eq!(names(&tar), ["big", "dir/", &empty]);
    let big = &entries(&tar)[0].0;
    let runs: Vec<_> = big.sparse.iter().flatten().map(|run| (run.offset, run.length)).collect();
    assert_eq!((big.size, runs), (TIB, vec![(0, 1 << 20), (5 << 20, 1 << 20), (TIB - (1 << 20), 1 << 20)]));

    let layer = scratch.make("layer");
    mica_layer::unpack(&mut &tar[..], &Dir::open(&layer).unwrap(), &mica_layer::Unpack::default()).unwrap();
    let made = std::fs::File::open(layer.join("diff/big")).unwrap();
    for (at, bytes) in content {
        use std::os::unix::fs::FileExt;
        let mut found = vec![0; bytes.len()];
        made.read_exact_at(&mut found, at).unwrap();
        assert_eq!(found, bytes);
    }
    assert_eq!(packed(&layer.join("diff")).1, tar, "what came back is packed as another");
}

/// Does something to the file while it is packed: when its first bytes come out.
struct Meddler<F: FnMut(&Path)> {
    file: PathBuf,
    how: F,
}

impl<F: FnMut(&Path)> Write for Meddler<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.how)(&self.file);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_changes_while_it_is_packed_is_an_error() {
    let grow = |file: &Path| OpenOptions::new().append(true).open(file).unwrap().write_all(b"more").unwrap();
    let shrink = |file: &Path| OpenOptions::new().write(true).open(file).unwrap().set_len(10).unwrap();
    let rewrite = |file: &Path| OpenOptions::new().write(true).open(file).unwrap().write_all(b"x").unwrap();
    let meddlings: [&dyn Fn(&Path); 3] = [&grow, &shrink, &rewrite];
    for (number, meddling) in meddlings.into_iter().enumerate() {
        let scratch = Scratch::new();
        let file = scratch.path().join("big");
        std::fs::write(&file, vec![b'b'; 2 << 20]).unwrap();
        // Long ago, so that no clock is too coarse to tell the change.
        OpenOptions::new().write(true).open(&file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        let mut out = Meddler { file, how: meddling };
        let error = pack(&scratch.dir(), &Pack::default(), &mut out).unwrap_err();
        assert!(
            matches!(&error, LayerError::Pack(PackError::Changed { path: at }) if *at == path("big")),
            "{number}: {error:?}"
        );
    }
}

#[test]
fn a_full_disk_is_an_error_of_the_tar() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = pack(&Scratch::new().dir(), &Pack::default(), &mut Full).unwrap_err();
    assert_eq!(error.to_string(), "cannot write the tar");
}

/// Deeper than what is kept open, and a path longer than `PATH_MAX`.
#[test]
fn a_deep_tree_is_packed_whole() {
    let scratch = Scratch::new();
    let name = [b'd'; 100];
    let mut at = scratch.dir();
    for level in 0..150 {
        at.mkdir(&name, 0o755).unwrap();
        at.create_file(b"z", 0o644).unwrap().write_whole(format!("{level}").as_bytes()).unwrap();
        at = at.open_dir(&name).unwrap();
    }
    let (packed, tar) = packed(scratch.path());
    assert_eq!(packed.entries, 300);
    let found = entries(&tar);
    // On the way back each file is the one of its own level.
    for (level, (entry, content)) in found.iter().rev().enumerate().take(150) {
        assert_eq!(entry.path.len(), level * 101 + 1);
        assert_eq!(content, format!("{level}").as_bytes());
    }
}

/// A tree may be deeper than the number of files that a process may have open.
#[test]
fn a_deep_tree_does_not_need_a_descriptor_a_level() {
    let scratch = Scratch::new();
    let mut at = scratch.dir();
    for _ in 0..400 {
        at.mkdir(b"d", 0o755).unwrap();
        at = at.open_dir(b"d").unwrap();
    }
    // More than the tar's writer holds back, so that it writes where the walk is deepest.
    at.create_file(b"f", 0o644).unwrap().write_whole(&vec![0; 1 << 20]).unwrap();
    drop(at);
    let most = std::cell::Cell::new(0);
    let count = |place: &Path| {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let targets = open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
        most.set(most.get().max(targets.filter(|target| target.starts_with(place)).count()));
    };
    let mut out = Meddler { file: scratch.path().to_owned(), how: count };
    pack(&scratch.dir(), &Pack::default(), &mut out).unwrap();
    assert!((10..100).contains(&most.get()), "{} descriptors", most.get());
}

/// What a commit relies on: a layer that is unpacked and packed again is the same layer.
#[test]
fn a_layer_that_we_packed_unpacks_and_packs_to_the_same_bytes() {
    needs!(root);
    let scratch = Scratch::new();
    let first = packed(&upper(&scratch, "upper", &changes()));
    let sealed = Dir::open(&scratch.make("sealed")).unwrap();
    let unpacked = unpack(&mut &first.1[..], &sealed, &Unpack::default()).unwrap();
    assert_eq!((unpacked.diff_id, unpacked.tar_size), (first.0.diff_id, first.0.tar_size));
    let again = packed(&scratch.path().join("sealed/diff"));
    assert_eq!(names(&again.1), names(&first.1));
    assert!(again == first);
    let mut rebuilt = Vec::new();
    assert_eq!(mica_layer::rebuild(&sealed, &mut rebuilt).unwrap(), first.0.diff_id);
    assert!(rebuilt == first.1);
}
