//! The commands in the guide, run as they stand there, against the tools that it names.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use mica_testkit::needs;

use crate::common::Mica;
use crate::daemons::{Containerd, Docker};
use crate::peers_at_work::{Podman, apart};

/// The blocks of shell in a page.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in page.lines() {
        match (&mut block, line) {
            (None, "```sh") => block = Some(String::new()),
            (Some(_), "```") => blocks.extend(block.take()),
            (Some(text), line) => *text += &format!("{line}\n"),
            (None, _) => {}
        }
    }
    assert!(block.is_none(), "a block has no end");
    blocks
}

/// A program of this name that runs `words` with its own arguments after them.
fn stand_in(bin: &Path, name: &str, words: &[String]) {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let path = bin.join(name);
    fs::write(&path, format!("#!/bin/sh\nexec {} \"$@\"\n", quoted.join(" "))).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_commands_of_the_page_on_archives_run() {
    needs!(root, program "dockerd", program "ctr", program "runc", program "podman", program "buildah", program "skopeo", program "umoci", program "busybox", program "gzip");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/archives.md");
    let blocks = blocks(&fs::read_to_string(page).unwrap());
    assert!(blocks.len() >= 6, "{blocks:?}");
    let mica = Mica::new();
    mica.busybox("site:1");
    let (bin, work) = (mica.path("bin"), mica.path("work"));
    fs::create_dir(&bin).unwrap();
    fs::create_dir(&work).unwrap();
    symlink(env!("CARGO_BIN_EXE_mica"), bin.join("mica")).unwrap();
    apart(|| {
        let (docker, containerd, podman) = (Docker::start(), Containerd::start(), Podman::vfs());
        stand_in(&bin, "docker", &docker.command(&[]));
        stand_in(&bin, "ctr", &containerd.command(&[]));
        stand_in(&bin, "podman", &podman.words("podman"));
        stand_in(&bin, "buildah", &podman.words("buildah"));
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        for block in blocks {
            let mut shell = Command::new("timeout");
            shell.args(["-s", "KILL", "300", "sh", "-euc", &block]).current_dir(&work).stdin(Stdio::null());
            shell.env("PATH", &path).env("CONTAINERD_SNAPSHOTTER", "native").env("HOME", &work);
            shell.env("MICA_ROOT", mica.root()).env("MICA_RUN_ROOT", mica.run_root());
            let ran = shell.output().unwrap();
            assert!(ran.status.success(), "{block}\n{}", String::from_utf8_lossy(&ran.stderr));
        }
    });
    let named = mica.run(["images", "--format", "{{.Repository}}:{{.Tag}}"]).out;
    for name in ["site:1", "site:built", "site:copied", "site:repacked", "site:stable"] {
        assert!(named.lines().any(|line| line == name), "{name} is not among {named}");
    }
    mica.assert_whole();
}
