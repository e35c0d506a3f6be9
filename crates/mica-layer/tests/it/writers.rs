//! Tars that others write: each comes back bit for bit, and is the tree that it was made of.

use std::path::Path;
use std::process::{Command, Stdio};

use mica_testkit::{Scratch, Tree, needs, tree};

use crate::support::{path, set_time};
use crate::unpacked::unpacked_bytes;

/// What every format can hold: names under 100 bytes, no device, whole seconds.
fn plain() -> Tree {
    tree! {
        "bin/" mtime 1_500_000_000;
        "bin/dash" = "#!" mode 0o4755 mtime 1_500_000_001;
        "bin/sh" hard "bin/dash";
        "etc/" mode 0o750 uid 12 gid 34 mtime 1_500_000_002;
        "etc/empty" = "" mtime 1_500_000_003;
        "etc/hosts" = "127.0.0.1 localhost\n" mode 0o600 uid 7 mtime 1_500_000_004;
        "etc/mtab" -> "../proc/self/mounts" mtime 1_500_000_005;
        "tmp/" mode 0o1777 mtime 1_500_000_006;
    }
}

/// What needs ustar: special files, a prefix.
fn special() -> Tree {
    let mut tree = plain();
    for (at, entry) in tree! {
        "dev/" mtime 5; "dev/null" char (1, 3) mtime 6; "dev/sda" block (8, 0) mtime 7; "dev/pipe" fifo mtime 8;
    }
    .iter()
    {
        tree.put(at.clone(), entry.clone());
    }
    deepen(&mut tree, &["p".repeat(60), "q".repeat(70)]);
    tree
}

/// What needs long names, large numbers.
fn large() -> Tree {
    let mut tree = special();
    deepen(&mut tree, &["r".repeat(150), "s".repeat(200), "t".repeat(250)]);
    let link = tree! { "long-link" -> "x/y" uid 3_000_000 gid 2_147_483_648 mtime 9; };
    let mut entry = link.get(&path("long-link")).unwrap().clone();
    entry.what = mica_testkit::What::Symlink("v".repeat(400).into_bytes());
    tree.put(path("long-link"), entry);
    tree
}

/// What needs PAX: attributes, parts of seconds.
fn rich() -> Tree {
    let mut tree = large();
    for (at, entry) in tree! {
        "rich" = "content" mtime 1 xattr "user.plain" = "a=b" xattr "user.newline" = "\n";
        "rich-dir/" mtime 1 xattr "user.dir" = "d";
    }
    .iter()
    {
        tree.put(at.clone(), entry.clone());
    }
    set_time(&mut tree, "rich", 1_700_000_000, 123_456_789);
    set_time(&mut tree, "etc/hosts", 1_700_000_000, 999_999_999);
    tree
}

fn deepen(tree: &mut Tree, names: &[String]) {
    let sample = tree! { "d/" mtime 3; "f" = "deep" mtime 4; };
    let get = |name: &str| sample.get(&path(name)).unwrap().clone();
    for depth in 1..=names.len() {
        tree.put(path(&names[..depth].join("/")), get("d"));
    }
    tree.put(path(&format!("{}/f", names.join("/"))), get("f"));
}

/// Writes the tree, has it packed by `pack`, and unpacks that.
#[track_caller]
fn comes_back(tree: &Tree, pack: impl FnOnce(&Path) -> Command) -> Vec<u8> {
    let scratch = Scratch::new();
    let source = scratch.make("source");
    tree.write_to(&source);
    let tar = run(&mut pack(&source));
    let layer = unpacked_bytes(&tar);
    tree.assert_is(&layer.diff(), "diff");
    tar
}

#[track_caller]
fn run(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(!output.stdout.is_empty(), "{command:?} wrote nothing");
    output.stdout
}

fn gnu_tar(arguments: &[&str], source: &Path) -> Command {
    let mut command = Command::new("tar");
    command.args(arguments).args(["--numeric-owner", "-cf", "-", "-C"]).arg(source).arg(".");
    command
}

#[test]
fn gnu_tar_in_all_its_formats() {
    needs!(root, program "tar");
    for (format, tree) in
        [("v7", plain()), ("ustar", special()), ("oldgnu", large()), ("gnu", large()), ("posix", large())]
    {
        let tree = if format == "v7" { tree.without_times() } else { tree };
        comes_back(&tree, |source| gnu_tar(&["--format", format], source));
    }
    comes_back(&rich(), |source| gnu_tar(&["--format=posix", "--xattrs", "--xattrs-include=*", "--acls"], source));
}

#[test]
fn gnu_tar_with_sparse_files() {
    needs!(root, program "tar");
    for form in [
        &["--format=oldgnu"][..],
        &["--format=gnu"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let scratch = Scratch::new();
        let source = scratch.make("source");
        // More runs than fit a header of the old form, and one that ends with a hole.
        for (name, runs, size) in [("few", 2, 900_000), ("many", 60, 4_000_000), ("hole", 0, 1_000_000)] {
            let file = std::fs::File::create(source.join(name)).unwrap();
            for run in 0..runs {
                std::os::unix::fs::FileExt::write_at(&file, &[run + 1; 5000], u64::from(run) * 65_536 + 4096).unwrap();
            }
            file.set_len(size).unwrap();
        }
        let tar = run(&mut gnu_tar(&[form, &["--sparse"]].concat(), &source));
        assert!(tar.len() < 1_500_000, "{form:?}: the tar is not sparse");
        let layer = unpacked_bytes(&tar);
        Tree::read(&source).without_times().assert_is(&layer.diff(), "diff");
        let blocks = layer.scratch.dir().open_dir(b"diff").unwrap().stat(b"hole").unwrap().blocks;
        assert_eq!(blocks, 0, "{form:?}");
    }
}

#[test]
fn bsdtar_in_all_its_formats() {
    needs!(root, program "bsdtar");
    for (format, tree) in
        [("v7", plain()), ("ustar", special()), ("gnutar", large()), ("pax", rich()), ("pax", special())]
    {
        comes_back(&tree, |source| {
            let mut command = Command::new("bsdtar");
            command.args(["--format", format, "--numeric-owner", "--xattrs", "-cf", "-", "-C"]).arg(source).arg(".");
            command
        });
    }
}

#[test]
fn pythons_tarfile_in_all_its_formats() {
    needs!(root, program "python3");
    let program = "
import sys, tarfile
tar = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=getattr(tarfile, sys.argv[1]))
tar.add(sys.argv[2], arcname='.' if sys.argv[1] != 'GNU_FORMAT' else '')
tar.close()
";
    for (format, tree) in [("USTAR_FORMAT", special()), ("GNU_FORMAT", large()), ("PAX_FORMAT", large())] {
        comes_back(&tree, |source| {
            let mut command = Command::new("python3");
            command.args(["-c", program, format]).arg(source);
            command
        });
    }
}

const GO: &str = r#"
package main

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	formats := map[string]tar.Format{"ustar": tar.FormatUSTAR, "pax": tar.FormatPAX, "gnu": tar.FormatGNU}
	source, writer := os.Args[2], tar.NewWriter(os.Stdout)
	seen := map[uint64]string{}
	check(filepath.Walk(source, func(path string, info os.FileInfo, err error) error {
		check(err)
		name, err := filepath.Rel(source, path)
		check(err)
		target := ""
		if info.Mode()&os.ModeSymlink != 0 {
			target, err = os.Readlink(path)
			check(err)
		}
		header, err := tar.FileInfoHeader(info, target)
		check(err)
		header.Name, header.Format = name, formats[os.Args[1]]
		if info.IsDir() {
			header.Name += "/"
		}
		header.Uname, header.Gname = "", ""
		if os.Args[1] != "pax" {
			header.AccessTime, header.ChangeTime = time.Time{}, time.Time{}
		}
		stat := info.Sys().(*syscall.Stat_t)
		if first, ok := seen[stat.Ino]; ok && stat.Nlink > 1 {
			header.Typeflag, header.Linkname, header.Size = tar.TypeLink, first, 0
		}
		seen[stat.Ino] = name
		check(writer.WriteHeader(header))
		if header.Typeflag == tar.TypeReg {
			file, err := os.Open(path)
			check(err)
			_, err = io.Copy(writer, file)
			check(err)
			file.Close()
		}
		return nil
	}))
	check(writer.Close())
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
"#;

#[test]
fn gos_archive_tar_in_all_its_formats() {
    needs!(root, program "go");
    let scratch = Scratch::new();
    std::fs::write(scratch.path().join("pack.go"), GO).unwrap();
    let mut build = Command::new("go");
    build.args(["build", "-o", "pack", "pack.go"]).current_dir(scratch.path());
    build.env("GOCACHE", scratch.path().join("cache")).env("GOFLAGS", "-mod=mod").env("GO111MODULE", "off");
    let built = build.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    for (format, tree) in [("ustar", special()), ("gnu", large()), ("pax", large()), ("any", large())] {
        comes_back(&tree, |source| {
            let mut command = Command::new(scratch.path().join("pack"));
            command.arg(format).arg(source);
            command
        });
    }
}
