//! Tars and compressed streams that we write, read by the programs of others.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use mica_core::RelPath;
use mica_layer::{Compression, encoder};
use mica_testkit::{Entry, Scratch, Tree, What, needs, tree};

use crate::support::{packed, path, set_time, upper};

/// What each reader must understand: every kind, every number that is too large for ustar, names that are too long for it.
fn everything() -> Tree {
    let mut tree = tree! {
        "d/" mode 0o1750 uid 1 gid 2 mtime 11 xattr "user.dir" = "d";
        "d/file" = "content\n" mode 0o644 uid 3_000_000 gid 4_000_000_000u32 mtime 12;
        "d/suid" = "" mode 0o6755 mtime 13;
        "hard" hard "d/file";
        "link" -> "d/file" mtime 14;
        "null" char (1, 3) mode 0o666 mtime 15;
        "disk" block (259, 1048575) mode 0o660 mtime 16;
        "pipe" fifo mode 0o640 mtime 17;
        "xattrs" = "x" mtime 18 xattr "user.nul" = "a\0b=c\n" xattr "user.empty" = "";
        "early" = "" mtime 19;
        "far" = "" mtime 10_000_000_000;
        "nano" = "" mtime 20;
        "gr\u{fc}\u{df}e \n\t" = "utf-8" mtime 21;
        b"raw \xff\xfe" = "raw" mtime 22;
    };
    set_time(&mut tree, "early", -5, 0);
    set_time(&mut tree, "nano", 1_700_000_000, 123_456_789);
    // Capability version 2 (Linux, include/uapi/linux/capability.h): cap_net_raw+ep.
    let mut suid = tree.get(&path("d/suid")).unwrap().clone();
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    suid.xattrs.insert(b"security.capability".to_vec(), capability.to_vec());
    tree.put(path("d/suid"), suid);
    let long = "l".repeat(120);
    let deep = ["p"; 90].join("/");
    for (number, at) in [long.clone(), format!("{deep}/{long}"), format!("{deep}/short")].into_iter().enumerate() {
        tree.put(path(&at), Entry::new(What::File(at.clone().into_bytes())));
        set_time(&mut tree, &at, 30 + i64::try_from(number).unwrap(), 0);
    }
    let raw = RelPath::parse(&[&[0xff; 110][..], b"/", &[0xfe; 110]].concat()).unwrap();
    tree.put(raw, Entry::new(What::File(b"long raw".to_vec())));
    tree.put(path("long link"), Entry::new(What::Symlink([&[b't'; 150][..], b"\xff"].concat())));
    let untimed: Vec<RelPath> =
        tree.iter().filter(|(_, entry)| entry.mtime.is_none()).map(|(at, _)| at.clone()).collect();
    for at in untimed {
        let mut entry = tree.get(&at).unwrap().clone();
        entry.mtime = Some(mica_core::Timestamp { secs: 40, nanos: 0 });
        tree.put(at, entry);
    }
    tree
}

/// The tar of everything, in a file, with its tree.
fn written(scratch: &Scratch) -> (Tree, std::path::PathBuf) {
    let mut tree = everything();
    set_time(&mut tree, "early", -5, 250_000_000);
    archived(scratch, tree)
}

fn archived(scratch: &Scratch, tree: Tree) -> (Tree, std::path::PathBuf) {
    let (_, tar) = packed(&upper(scratch, "upper", &tree));
    let file = scratch.path().join("layer.tar");
    fs::write(&file, tar).unwrap();
    (tree, file)
}

fn run(command: &mut Command) -> Vec<u8> {
    let done = command.output().unwrap();
    let complaints = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && complaints.is_empty(), "{command:?}: {}: {complaints}", done.status);
    done.stdout
}

fn assert_extracted(tree: &Tree, out: &Path, by: &str) {
    let mut tree = tree.clone();
    let found = Tree::read(out);
    // There is no member for the root.
    tree.put(path(""), found.get(&path("")).unwrap().clone());
    tree.assert_is(&found, &format!("what {by} extracts"));
}

#[test]
fn gnu_tar_extracts_the_same_tree() {
    needs!(root, program "tar");
    for locale in ["C", "C.UTF-8"] {
        let scratch = Scratch::new();
        let (tree, tar) = written(&scratch);
        let out = scratch.make("out");
        run(Command::new("tar")
            .env("LC_ALL", locale)
            // It says so of each time before 1970 or after today, and of `hdrcharset`, and then does the right thing.
            .args(["--warning=no-timestamp", "--warning=no-unknown-keyword"])
            .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"])
            .arg(tar)
            .arg("-C")
            .arg(&out));
        assert_extracted(&tree, &out, "GNU tar");
    }
}

#[test]
fn bsdtar_extracts_the_same_tree() {
    needs!(root, program "bsdtar");
    for locale in ["C", "C.UTF-8"] {
        let scratch = Scratch::new();
        // Its "-4.75" is -3.25: libarchive negates the seconds alone (3.6.2, `pax_time`). Go and Python read it right.
        let (tree, tar) = archived(&scratch, everything());
        let out = scratch.make("out");
        run(Command::new("bsdtar")
            .env("LC_ALL", locale)
            .args(["--numeric-owner", "-xpf"])
            .arg(tar)
            .arg("-C")
            .arg(&out));
        assert_extracted(&tree, &out, "bsdtar");
    }
}

#[test]
fn others_extract_our_sparse_files() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    needs!(root, program "tar", program "bsdtar", program "python3");
    const SIZE: u64 = 3 << 30;
    let scratch = Scratch::new();
    let upper = scratch.make("upper");
    let name = format!("d/{}", "n".repeat(120));
    std::fs::create_dir(upper.join("d")).unwrap();
    for (name, at) in [(name.as_str(), Some(SIZE / 2)), ("end", Some(SIZE - 4)), ("none", None)] {
        let file = std::fs::File::create(upper.join(name)).unwrap();
        file.set_len(SIZE).unwrap();
        at.iter().for_each(|at| file.write_all_at(b"text", *at).unwrap());
    }
    std::fs::write(upper.join("small"), "after them").unwrap();
    let tar = scratch.path().join("sparse.tar");
    std::fs::write(&tar, crate::support::packed(&upper).1).unwrap();
    let python = "import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])";
    for (peer, args) in [("tar", &["-x", "-f"][..]), ("bsdtar", &["-x", "-f"]), ("python3", &["-c", python])] {
        let out = scratch.make(format!("out-{peer}"));
        let mut command = Command::new(peer);
        command.args(args).arg(&tar);
        if peer != "python3" {
            command.arg("-C");
        }
        run(command.arg(&out));
        for (name, at) in [(name.as_str(), Some(SIZE / 2)), ("end", Some(SIZE - 4)), ("none", None)] {
            let file = std::fs::File::open(out.join(name)).unwrap_or_else(|error| panic!("{peer}: {name}: {error}"));
            let metadata = file.metadata().unwrap();
            assert_eq!(metadata.len(), SIZE, "{peer}: {name}");
            assert!(metadata.blocks() * 512 < 16 << 20, "{peer}: {name} lost its holes");
            let mut found = [0; 4];
            file.read_exact_at(&mut found, at.unwrap_or(0)).unwrap();
            assert_eq!(&found, if at.is_some() { b"text" } else { &[0; 4] }, "{peer}: {name}");
        }
        assert_eq!(std::fs::read_to_string(out.join("small")).unwrap(), "after them", "{peer}");
    }
}

/// One line a member, as the scripts below print it: path, kind, mode, owner, group, seconds, nanoseconds, size, link,
/// device, attributes.
fn listing(tree: &Tree) -> Vec<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut lines = Vec::new();
    for (at, entry) in tree.iter().filter(|(at, _)| !at.is_root()) {
        let (kind, size, link, device) = match &entry.what {
            What::File(content) => (0, content.len(), vec![], (0, 0)),
            What::Hard(first) => (1, 0, first.as_bytes().to_vec(), (0, 0)),
            What::Symlink(target) => (2, 0, target.clone(), (0, 0)),
            What::Char(rdev) => (3, 0, vec![], (rdev.major, rdev.minor)),
            What::Block(rdev) => (4, 0, vec![], (rdev.major, rdev.minor)),
            What::Dir { .. } => (5, 0, vec![], (0, 0)),
            What::Fifo => (6, 0, vec![], (0, 0)),
            What::Socket | What::Whiteout => continue,
        };
        // A hard link has the attributes of its file.
        let said = match &entry.what {
            What::Hard(first) => tree.get(first).unwrap(),
            _ => entry,
        };
        let mtime = said.mtime.unwrap();
        let xattrs: Vec<String> = match entry.what {
            What::Hard(_) => vec![],
            _ => entry.xattrs.iter().map(|(name, value)| format!("{}={}", hex(name), hex(value))).collect(),
        };
        lines.push(format!(
            "{} {kind} {:o} {} {} {} {} {size} {} {},{} {}",
            hex(at.as_bytes()),
            said.mode,
            said.uid,
            said.gid,
            mtime.secs,
            mtime.nanos,
            hex(&link),
            device.0,
            device.1,
            xattrs.join(",")
        ));
    }
    lines
}

const PYTHON: &str = r#"
import math, os, sys, tarfile
from decimal import Decimal
raw = lambda text: os.fsencode(text).hex()
for m in tarfile.open(sys.argv[1]):
    time = Decimal(m.pax_headers.get("mtime", int(m.mtime)))
    secs = math.floor(time)
    xattrs = sorted((k[13:], v) for k, v in m.pax_headers.items() if k.startswith("SCHILY.xattr."))
    xattrs = ",".join(raw(k) + "=" + v.encode("utf-8", "surrogateescape").hex() for k, v in xattrs)
    device = (m.devmajor, m.devminor) if m.isdev() and not m.isfifo() else (0, 0)
    print(raw(m.name), m.type.decode(), "%o" % m.mode, m.uid, m.gid, secs, int((time - secs) * 10**9), m.size,
          raw(m.linkname), "%d,%d" % device, xattrs)
"#;

#[test]
fn python_lists_the_same_tree() {
    needs!(root, program "python3");
    let scratch = Scratch::new();
    let (tree, tar) = written(&scratch);
    let out = run(Command::new("python3").env("PYTHONUTF8", "1").args(["-c", PYTHON]).arg(tar));
    let found: Vec<String> = String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
    pretty_assert(&listing(&tree), &found);
}

const GO: &str = r#"
package main

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

func main() {
	r := tar.NewReader(os.Stdin)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(err)
		}
		var xattrs []string
		for k, v := range h.PAXRecords {
			if strings.HasPrefix(k, "SCHILY.xattr.") {
				xattrs = append(xattrs, fmt.Sprintf("%x=%x", k[13:], v))
			}
		}
		sort.Strings(xattrs)
		name := strings.TrimSuffix(h.Name, "/")
		fmt.Printf("%x %c %o %d %d %d %d %d %x %d,%d %s\n", name, h.Typeflag, h.Mode, h.Uid, h.Gid, h.ModTime.Unix(),
			h.ModTime.Nanosecond(), h.Size, h.Linkname, h.Devmajor, h.Devminor, strings.Join(xattrs, ","))
	}
}
"#;

/// What docker, podman, containerd, skopeo and umoci read with.
#[test]
fn go_lists_the_same_tree() {
    needs!(root, program "go");
    let scratch = Scratch::new();
    let (tree, tar) = written(&scratch);
    let source = scratch.path().join("main.go");
    fs::write(&source, GO).unwrap();
    let out = run(Command::new("go")
        .args(["run", "main.go"])
        .current_dir(scratch.path())
        .env("GOCACHE", scratch.make("cache"))
        .env("GOPATH", scratch.make("path"))
        .env("GO111MODULE", "off")
        .stdin(fs::File::open(tar).unwrap()));
    let found: Vec<String> = String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
    pretty_assert(&listing(&tree), &found);
}

fn pretty_assert(expected: &[String], found: &[String]) {
    for (expected, found) in expected.iter().zip(found) {
        assert_eq!(expected, found);
    }
    assert_eq!(expected.len(), found.len());
}

#[test]
fn bsdtar_reads_an_attribute_whose_name_has_an_equals_sign() {
    needs!(root, program "bsdtar");
    let scratch = Scratch::new();
    let tree = tree! { "f" = "" mtime 1 xattr "user.a=b" = "\0value=" xattr "user.c%3Dd" = "" };
    let (_, tar) = packed(&upper(&scratch, "upper", &tree));
    fs::write(scratch.path().join("layer.tar"), tar).unwrap();
    let out = scratch.make("out");
    run(Command::new("bsdtar").arg("-xpf").arg(scratch.path().join("layer.tar")).arg("-C").arg(&out));
    assert_extracted(&tree, &out, "bsdtar");
}

#[test]
fn gzip_and_zstd_take_what_we_compress() {
    needs!(program "gzip", program "zstd");
    let text: Vec<u8> = (0..200_000_u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    for (compression, program) in [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
        let mut encoder = encoder(Vec::new(), compression).unwrap();
        encoder.write_all(&text).unwrap();
        let stored = encoder.finish().unwrap();
        for flag in ["-tq", "-dcq"] {
            let mut child =
                Command::new(program).arg(flag).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let stored = stored.clone();
            let writing = std::thread::spawn(move || stdin.write_all(&stored));
            let done = child.wait_with_output().unwrap();
            writing.join().unwrap().unwrap();
            assert!(done.status.success(), "{program} {flag}");
            assert!(flag == "-tq" || done.stdout == text, "{program} reads other bytes");
        }
    }
}
