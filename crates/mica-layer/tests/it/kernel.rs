//! Uppers that the kernel's overlayfs wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_core::Stack;
use mica_layer::{Ability, Apply, DirLayer, LayerError, Marks, TreeError, apply_onto, diff_upper};
use mica_sys::Dir;
use mica_testkit::{Scratch, Snapshot, Tree, needs, tree};

use crate::support::{names, packed, path};

/// An overlay over a copy of `below`, in which a shell has run.
struct Changed {
    scratch: Scratch,
}

impl Changed {
    fn by(below: &Tree, options: &str, script: &str) -> Self {
        let scratch = Scratch::new();
        let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| scratch.make(name));
        below.write_to(&lower);
        Dir::open(&upper).unwrap().chmod_self(0o755).unwrap();
        let options =
            format!("lowerdir={},upperdir={},workdir={},{options}", lower.display(), upper.display(), work.display());
        run(Command::new("mount").args(["-t", "overlay", "mica-test", "-o", &options]).arg(&merged));
        run(Command::new("sh").args(["-euc", script]).current_dir(&merged));
        Self { scratch }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn below() -> Tree {
    tree! {
        "etc/hosts" = "localhost" mtime 1;
        "etc/motd" = "hello" mtime 2;
        "etc/apt/sources" = "deb" mtime 3;
        "bin/sh" = "#!" mode 0o755 mtime 4;
        "bin/dash" hard "bin/sh";
        "usr/lib/a" = "a" mtime 5;
        "usr/lib/b/c" = "c" mtime 6;
        "var/log/old" = "o" mtime 7;
        "lib" -> "usr/lib" mtime 8;
    }
}

const OFF: &str = "redirect_dir=off,metacopy=off,index=off";

const SCRIPT: &str = r#"
    echo changed >> etc/hosts
    chmod 600 etc/motd
    rm -r etc/apt
    mkdir etc/apt && echo new > etc/apt/list
    rm bin/dash
    ln bin/sh bin/ash
    mv usr/lib/b usr/moved
    rm lib && mkdir -m 700 lib && echo x > lib/y
    rm -r var/log && touch var/log
    mkfifo pipe && mknod null c 1 3
    touch -d @-5 early && touch -h -d @77 lib/y
    chown 7:8 usr
    mkdir -p a/b/c && rm -r a/b
    : > empty && rm empty
"#;

#[test]
fn what_a_shell_did_is_packed_and_reads_back_as_the_same_tree() {
    needs!(overlay, program "tar");
    let changed = Changed::by(&below(), OFF, SCRIPT);
    let (_, tar) = packed(&changed.place("upper"));
    let mut listed = names(&tar);
    listed.sort();
    assert_eq!(
        listed,
        [
            "a/",
            "bin/",
            "bin/.wh.dash",
            "bin/ash",
            "bin/sh",
            "early",
            "etc/",
            "etc/apt/",
            "etc/apt/.wh..wh..opq",
            "etc/apt/list",
            "etc/hosts",
            "etc/motd",
            "lib/",
            "lib/.wh..wh..opq",
            "lib/y",
            "null",
            "pipe",
            "usr/",
            "usr/lib/",
            "usr/lib/.wh.b",
            "usr/moved/",
            "usr/moved/c",
            "var/",
            "var/log",
        ]
    );
    // Read as any tar, without the marks, it is what the kernel shows of the same paths.
    let out = changed.scratch.make("out");
    fs::write(changed.place("layer.tar"), &tar).unwrap();
    run(Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"])
        .arg(changed.place("layer.tar"))
        .args(["--exclude=.wh.*", "-C"])
        .arg(&out));
    let (extracted, merged) = (Tree::read(&out), Tree::read(&changed.place("merged")));
    for (at, entry) in extracted.iter().filter(|(at, _)| !at.is_root()) {
        assert_eq!(merged.get(at), Some(entry), "{at}");
    }
}

#[test]
fn applied_onto_the_lower_it_gives_what_the_kernel_shows() {
    needs!(overlay);
    let changed = Changed::by(&below(), OFF, SCRIPT);
    let lower = Snapshot::of(&changed.place("lower"));
    let target = changed.scratch.make("target");
    below().write_to(&target);
    let upper = Dir::open(&changed.place("upper")).unwrap();
    let mut said = Vec::new();
    apply_onto(&upper, &Apply::default(), &Dir::open(&target).unwrap(), &mut |change| said.push(change.to_string()))
        .unwrap();
    let mut merged = Tree::read(&changed.place("merged"));
    merged.put(path(""), Tree::read(&target).get(&path("")).unwrap().clone());
    merged.assert_is(&Tree::read(&target), "the target");
    lower.assert_unchanged(&changed.place("lower"), "everything");

    let below = DirLayer::new(Dir::open(&changed.place("lower")).unwrap(), Marks::Trusted);
    let changes = diff_upper(&upper, Marks::Trusted, &Stack::new(vec![below]), &Ability::native()).unwrap();
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    said.sort_by_key(|line| changes.iter().position(|change| change == line));
    assert_eq!(said, changes);
    for line in
        ["A /a", "C /bin", "A /bin/ash", "D /bin/dash", "C /bin/sh", "D /etc/apt/sources", "C /lib", "C /var/log"]
    {
        assert!(changes.iter().any(|change| change == line), "{line} is not in {changes:?}");
    }
}

/// An overlay in an overlay: what the inner one writes as marks is data to the outer (Linux 6.7).
#[test]
fn marks_of_an_overlay_inside_are_data() {
    needs!(overlay, program "setfattr");
    let script = "mkdir d; if setfattr -n trusted.overlay.opaque -v y d; then touch works; fi 2>/dev/null || :";
    let changed = Changed::by(&below(), OFF, script);
    if !changed.place("merged/works").exists() {
        mica_testkit::gate::skip(
            "kernel::marks_of_an_overlay_inside_are_data",
            "overlayfs does not escape marks (Linux 6.7)",
        );
        return;
    }
    let (_, tar) = packed(&changed.place("upper"));
    assert_eq!(names(&tar), ["d/", "works"], "d is not opaque");
    let found = crate::support::entries(&tar);
    assert_eq!(found[0].0.xattrs, [(b"trusted.overlay.opaque".to_vec(), b"y".to_vec())].into());
}

#[test]
fn an_upper_with_redirects_or_without_content_is_refused() {
    needs!(overlay);
    let moved = Changed::by(&below(), "redirect_dir=on,metacopy=off,index=off", "mv usr/lib/b usr/moved");
    let error = refused(&moved.place("upper"));
    assert!(
        matches!(&error, LayerError::Tree(TreeError::Redirect { path: at }) if *at == path("usr/moved")),
        "{error:?}"
    );
    let bare = Changed::by(&below(), "redirect_dir=on,metacopy=on,index=off", "chmod 600 etc/motd");
    let error = refused(&bare.place("upper"));
    assert!(
        matches!(&error, LayerError::Tree(TreeError::Metacopy { path: at }) if *at == path("etc/motd")),
        "{error:?}"
    );
}

fn refused(upper: &Path) -> LayerError {
    mica_layer::pack(&Dir::open(upper).unwrap(), &mica_layer::Pack::default(), &mut std::io::sink()).unwrap_err()
}
