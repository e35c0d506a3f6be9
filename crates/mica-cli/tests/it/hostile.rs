//! Layers that were made to harm, each named for the fault of another program that it stands for: nothing outside of the store
//! is read or written, and a store that refuses one is as it was.

use std::fs;
use std::path::Path;

use mica_testkit::needs;

use crate::build::{Made, device, dir, file as entry, hard, other, symlink, tar};
use crate::common::Mica;
use crate::refusals::{file, import, refused};

/// A file of the machine that no layer may reach, and the way to it.
struct Outside {
    mica: Mica,
    secret: String,
}

impl Outside {
    fn new() -> Self {
        let mica = Mica::new();
        import(&mica, "here", "");
        let place = mica.path("outside");
        fs::create_dir(&place).unwrap();
        fs::write(place.join("secret"), "untouched").unwrap();
        let secret = place.join("secret").to_str().unwrap().to_owned();
        Self { mica, secret }
    }

    fn place(&self) -> &str {
        Path::new(&self.secret).parent().unwrap().to_str().unwrap()
    }

    #[track_caller]
    fn untouched(&self) {
        assert_eq!(fs::read_to_string(&self.secret).unwrap(), "untouched");
        let names: Vec<_> = fs::read_dir(self.place()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"], "a layer made something outside of the store");
        self.mica.assert_whole();
    }

    #[track_caller]
    fn refuses(&self, layer: &[Made], words: &[&str]) {
        let path = file(&self.mica, "layer.tar", &tar(layer));
        refused(&self.mica, &["import", "-q", &path, "evil"], &[&["import "], words].concat(), None);
        self.untouched();
    }

    /// Takes the layer, and gives the directory that it became.
    #[track_caller]
    fn takes(&self, layer: &[Made]) -> std::path::PathBuf {
        let tar = tar(layer);
        let path = file(&self.mica, "layer.tar", &tar);
        self.mica.run(["import", "-q", &path, "evil"]);
        self.untouched();
        self.mica.root().join("layers/sha256").join(mica_core::DiffId::of(&tar).hex()).join("diff")
    }
}

/// CVE-2001-1267 (GNU tar), CVE-2007-4559 (Python): a member's name climbs out. CVE-2016-6321 (GNU tar): one that only its
/// end leads back.
#[test]
fn cve_2007_4559_names_that_climb_out() {
    needs!(root);
    let outside = Outside::new();
    for name in ["../../../../outside/new", "a/../../outside/new", "./../outside/new", "..", "a/b/../../.."] {
        outside.refuses(&[entry(name, "bad")], &[&format!("{name:?}"), "leaves the layer root"]);
        outside.refuses(&[dir(name)], &["leaves the layer root"]);
        outside.refuses(&[symlink(name, "x")], &["leaves the layer root"]);
    }
}

/// CVE-2021-32804 (node-tar): an absolute name, of which only some of the slashes are taken away.
#[test]
fn cve_2021_32804_absolute_names_are_below_the_root() {
    needs!(root);
    let outside = Outside::new();
    let name = format!("///{}/new", outside.place());
    let diff = outside.takes(&[entry(&name, "inside")]);
    assert_eq!(fs::read_to_string(diff.join(name.trim_start_matches('/'))).unwrap(), "inside");
}

/// CVE-2021-32803 (node-tar): a directory that was seen as one is replaced by a symlink, and the next member goes through it.
#[test]
fn cve_2021_32803_a_directory_that_becomes_a_symlink() {
    needs!(root);
    let outside = Outside::new();
    let inside = outside.place().trim_start_matches('/').to_owned();
    let diff = outside.takes(&[
        dir("x"),
        entry("x/first", ""),
        symlink("x", outside.place()),
        entry("x/new", "inside"),
        entry("x/secret", "inside"),
        // And back: what was remembered of the first directory is not the second.
        dir("x"),
        entry("x/again", "inside"),
    ]);
    assert_eq!(fs::read_to_string(diff.join(&inside).join("secret")).unwrap(), "inside");
    assert_eq!(fs::read_to_string(diff.join("x/again")).unwrap(), "inside");
    assert!(!diff.join(&inside).join("first").exists() && !diff.join("x/first").exists());
}

/// CVE-2021-37701 (node-tar): a backslash is part of a name. CVE-2021-37712: so is each spelling of an accent.
#[test]
fn cve_2021_37701_names_are_bytes_and_no_two_are_one() {
    needs!(root);
    let outside = Outside::new();
    let diff = outside.takes(&[
        dir("a\\b"),
        symlink("a\\b", outside.place()),
        symlink("caf\u{e9}", outside.place()),
        dir("cafe\u{301}"),
        entry("cafe\u{301}/new", "inside"),
        dir("FOO"),
        symlink("foo", outside.place()),
        entry("FOO/new", "inside"),
    ]);
    assert!(diff.join("cafe\u{301}/new").is_file() && diff.join("FOO/new").is_file());
    assert!(diff.join("a\\b").is_symlink() && diff.join("foo").is_symlink());
}

/// CVE-2025-4330 and CVE-2025-4517 (Python): symlinks that lead outside by a way that a check of their text does not follow:
/// over each other, and longer than the kernel takes.
#[test]
fn cve_2025_4517_a_long_way_of_symlinks_ends_inside() {
    needs!(root);
    let outside = Outside::new();
    let part = "d".repeat(95);
    let mut layer = Vec::new();
    let mut way = String::new();
    for step in 0..30 {
        let letter = char::from(b'A' + step);
        layer.push(dir("long").long(b'L', format!("{way}{part}").as_bytes()));
        layer.push(symlink(format!("{way}{letter}"), &part));
        way.push(letter);
        way.push('/');
    }
    // As text this is short; followed, it goes through more names than the kernel takes at once.
    layer.push(symlink("way", "x").long(b'K', [way.as_bytes(), &b"../".repeat(60)].concat().as_slice()));
    layer.push(symlink("out", format!("way/{}", outside.place())));
    layer.push(entry("out/new", "inside"));
    layer.push(entry("out/secret", "inside"));
    let diff = outside.takes(&layer);
    assert!(diff.join(outside.place().trim_start_matches('/')).join("secret").is_file());
}

/// CVE-2026-26960 and CVE-2026-24842 (node-tar): a hard link to a file outside, by `..`, by an absolute name, and over a
/// symlink.
#[test]
fn cve_2026_26960_hard_links_stay_inside() {
    needs!(root);
    let outside = Outside::new();
    outside.refuses(&[hard("link", "../../../outside/secret")], &["leaves the layer root"]);
    outside.refuses(&[hard("link", "a/../../secret")], &["leaves the layer root"]);
    for layer in [
        vec![hard("link", &outside.secret), entry("link", "replaced")],
        vec![symlink("way", outside.place()), hard("link", "way/secret"), entry("link", "replaced")],
        vec![symlink("way", &outside.secret), hard("link", "way"), entry("link", "replaced")],
    ] {
        let diff = outside.takes(&layer);
        assert_eq!(fs::read_to_string(diff.join("link")).unwrap(), "replaced");
    }
    // A link that is all there is names a file of the layers below, of which this image has none.
    let diff = outside.takes(&[hard("link", &outside.secret)]);
    assert!(diff.join("link").symlink_metadata().is_err());
}

/// A whiteout over a symlink deletes at its end for whoever follows it; a mode, an owner or a time is set there.
#[test]
fn whiteouts_and_attributes_do_not_follow_symlinks() {
    needs!(root);
    let outside = Outside::new();
    let before = fs::metadata(&outside.secret).unwrap();
    outside.takes(&[
        symlink("way", outside.place()),
        entry("way/.wh.secret", ""),
        entry("way/.wh..wh..opq", ""),
        symlink("direct", &outside.secret).mode(0o777).owner(1234, 1234).mtime(1),
        entry(".wh.direct", ""),
    ]);
    let after = fs::metadata(&outside.secret).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!((after.uid(), after.mode(), after.mtime()), (before.uid(), before.mode(), before.mtime()));
}

/// The root of a layer that is a symlink would move all of it: umoci took one that was named `.`.
#[test]
fn a_root_that_is_no_directory() {
    needs!(root);
    let outside = Outside::new();
    for name in [".", "./", "/", "a/.."] {
        outside.refuses(&[symlink(name, outside.place())], &["must be a directory"]);
        outside.refuses(&[hard(name, &outside.secret)], &["must be a directory"]);
    }
    outside.refuses(&[entry(".", "x")], &["must be a directory"]);
}

/// Whiteouts that name nothing, the directory itself, or the one above.
#[test]
fn whiteouts_of_nothing() {
    needs!(root);
    let outside = Outside::new();
    for name in [".wh.", "a/.wh.", ".wh..", ".wh...", ".wh..wh.", ".wh..wh.plnk", ".wh..wh.aufs", ".wh.x/y"] {
        outside.refuses(&[entry(name, "")], &[&format!("{name:?}"), "no whiteout"]);
    }
}

/// CVE-2025-62518 (astral-tokio-tar and its kin): the size is in the extended header and 0 in the header after it; whoever
/// goes by the latter reads the body as members.
#[test]
fn cve_2025_62518_a_body_is_not_read_as_members() {
    needs!(root);
    let outside = Outside::new();
    let inner = tar(&[entry("smuggled", "bad")]);
    let size = inner.len().to_string();
    let outer = entry("archive.tar", "").pax(&[("size", size.as_bytes())]);
    let bytes = [&outer.bytes()[..], &inner, &entry("after", "x").bytes(), &[0; 1024]].concat();
    let path = file(&outside.mica, "layer.tar", &bytes);
    outside.mica.run(["import", "-q", &path, "evil"]);
    outside.untouched();
    let diff = outside.mica.root().join("layers/sha256").join(mica_core::DiffId::of(&bytes).hex()).join("diff");
    assert!(!diff.join("smuggled").exists() && diff.join("after").is_file());
    assert_eq!(fs::read(diff.join("archive.tar")).unwrap(), inner);
}

/// CVE-2026-53655 (node-tar): the size of an extended header speaks of the member, not of the long name between.
#[test]
fn cve_2026_53655_an_extended_header_does_not_speak_of_a_long_name() {
    needs!(root);
    let outside = Outside::new();
    // The long name is put before what was there, so that the extended header comes first in the archive.
    let long = entry("x", "12345").long(b'L', b"long-name").bytes();
    let pax = other("PaxHeaders/x", b'x').body(crate::build::pax_records(&[("size", b"5")])).bytes();
    let bytes = [&pax[..], &long, &[0; 1024]].concat();
    let path = file(&outside.mica, "layer.tar", &bytes);
    outside.mica.run(["import", "-q", &path, "evil"]);
    let diff = outside.mica.root().join("layers/sha256").join(mica_core::DiffId::of(&bytes).hex()).join("diff");
    assert_eq!(fs::read_to_string(diff.join("long-name")).unwrap(), "12345");
    // astral-tokio-tar until 0.5.6 passed over malformed records, so that others read another archive.
    let broken = other("PaxHeaders/x", b'x').body(b"99 path=elsewhere\n").bytes();
    let bytes = [&broken[..], &entry("a", "").bytes(), &[0; 1024]].concat();
    let path = file(&outside.mica, "layer.tar", &bytes);
    refused(&outside.mica, &["import", "-q", &path, "evil"], &["import ", "malformed extended header"], None);
}

/// CVE-2025-58183 and CVE-2026-32288 (Go): a sparse map without an end fills the memory. CVE-2019-9923 (GNU tar): one that is
/// cut off.
#[test]
fn cve_2025_58183_sparse_maps_without_an_end() {
    needs!(root);
    let outside = Outside::new();
    let mut map = b"9999999\n".to_vec();
    while map.len() < 9 << 20 {
        map.extend_from_slice(b"1\n");
    }
    let sparse =
        [("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"1099511627776")];
    outside.refuses(&[entry("s", &map).pax(&sparse)], &["extended headers", "limit of 8388608"]);
    let mut old = entry("s", "").magic(b"ustar  \0").bytes();
    old[156] = b'S';
    old[482] = 1;
    crate::build::seal(&mut old);
    let mut extension = [0; 512];
    extension[504] = 1;
    old.extend_from_slice(&extension.repeat((9 << 20) / 512));
    let path = file(&outside.mica, "layer.tar", &old);
    refused(&outside.mica, &["import", "-q", &path, "evil"], &["extended headers", "limit of 8388608"], None);
    outside.refuses(&[entry("s", b"3\n0\n").pax(&sparse)], &["sparse map"]);
}

/// CVE-2023-39804 (GNU tar): an extended attribute without a name, or of a name that no kernel takes.
#[test]
fn cve_2023_39804_attributes_that_cannot_be() {
    needs!(root);
    let outside = Outside::new();
    for key in ["SCHILY.xattr.", "SCHILY.xattr.nonamespace", "SCHILY.xattr.user."] {
        outside.refuses(&[entry("a", "").pax(&[(key, b"x")])], &["\"a\""]);
    }
    let long = format!("SCHILY.xattr.user.{}", "n".repeat(300));
    outside.refuses(&[entry("a", "").pax(&[(&long, b"x")])], &["\"a\""]);
    // CVE-2022-48303 (GNU tar): a time of blanks, read beyond its field.
    let mut blank = entry("b", "").magic(&[0; 8]).bytes();
    blank[136..148].fill(b' ');
    crate::build::seal(&mut blank);
    let path = file(&outside.mica, "layer.tar", &[&blank[..], &[0; 1024]].concat());
    outside.mica.run(["import", "-q", &path, "blank"]);
}

/// A device of the layer opens nothing of the machine: what a container sees is mounted `nodev`, and a store's own directory is
/// its owner's alone.
#[test]
fn device_nodes_open_nothing() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    mica.busybox("base");
    let root = mica.path("busybox");
    let path = file(&mica, "layer.tar", &tar(&[device("disk", b'4', 7, 0), device("mem", b'3', 1, 1)]));
    let mut packed = std::process::Command::new("tar");
    packed.arg("-C").arg(&root).arg("-cf").arg(mica.path("whole.tar")).arg(".");
    assert!(packed.status().unwrap().success());
    let mut join = std::process::Command::new("tar");
    assert!(join.arg("-Af").arg(mica.path("whole.tar")).arg(&path).status().unwrap().success());
    mica.run(["import", "-q", mica.path("whole.tar").to_str().unwrap(), "devices"]);
    let said =
        mica.try_run(["run", "--rm", "devices", "sh", "-c", "test -b /disk && ! head -c 1 /disk && ! head -c 1 /mem"]);
    assert_eq!(said.status, 0, "{said:#?}");
    assert!(said.err.contains("Permission denied"), "{said:#?}");
}

/// An entry that comes twice counts as its last, and the first is nowhere.
#[test]
fn of_names_that_come_twice_the_last_counts() {
    needs!(root);
    let outside = Outside::new();
    let diff = outside.takes(&[
        entry("same", "first").mode(0o4755),
        entry("./same", "second"),
        entry("/same", "third").mode(0o600),
        symlink("kind", &outside.secret),
        entry("kind", "a file"),
    ]);
    assert_eq!(fs::read_to_string(diff.join("same")).unwrap(), "third");
    assert_eq!(fs::read_to_string(diff.join("kind")).unwrap(), "a file");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(diff.join("same").metadata().unwrap().permissions().mode() & 0o7777, 0o600);
}

/// CVE-2018-20482 (GNU tar): a sparse file is archived without an end. Here it costs what is in it, and not a terabyte.
#[test]
fn a_terabyte_of_holes_is_committed_as_what_is_in_it() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    mica.busybox("base");
    mica.run(["run", "--name", "box", "base", "sh", "-c", "echo text > big && truncate -s 1024G big"]);
    mica.run(["commit", "-q", "box", "hollow"]);
    let said = mica.run(["run", "--rm", "hollow", "sh", "-c", "stat -c %s big; du -k big; head -c 4 big"]);
    let lines: Vec<&str> = said.out.lines().collect();
    let kilobytes: u64 = lines[1].split_whitespace().next().unwrap().parse().unwrap();
    assert!(lines[0] == "1099511627776" && kilobytes <= 2048 && lines[2] == "text", "{said:#?}");
    let whole = mica.path("hollow.tar");
    mica.run(["save", "-q", "--format", "oci-archive", "-o", whole.to_str().unwrap(), "hollow"]);
    assert!(fs::metadata(&whole).unwrap().len() < 32 << 20);
    mica.run(["rm", "box"]);
    mica.assert_whole();
}
