//! A real Debian, and the four-layer image on it that loads are measured with.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::content::npm_tree;
use super::tarball::{Tarball, entries};
use super::{EPOCH, Forms, Image, kept};
use crate::bench::session::Session;

/// What the second layer installs.
const PACKAGES: &str = "python3,python3-numpy,git,gcc,nodejs";

/// How many small files the third layer has.
const NPM_FILES: usize = 19_000;

/// Four layers: Debian; Python, numpy, git, gcc and node; an npm tree of 19,000 files; and a small one with a whiteout.
pub(in crate::bench) fn four_layers(session: &Session) -> Result<Image> {
    kept(session, "four", Forms::DockerAndOci, |to| {
        let base = to.join("0.tar");
        bootstrap(session, &base, "")?;
        let full = to.join("full.tar");
        bootstrap(session, &full, PACKAGES)?;
        difference(&base, &full, &to.join("1.tar"))?;
        std::fs::remove_file(&full).with_context(|| format!("cannot remove {}", full.display()))?;

        let mut npm = Tarball::create(&to.join("2.tar"))?;
        npm.directory("srv")?;
        npm_tree(&mut npm, NPM_FILES)?;
        npm.close()?;

        let mut top = Tarball::create(&to.join("3.tar"))?;
        top.directory("etc")?;
        top.file("etc/motd", 0o644, b"four layers\n")?;
        top.file("etc/.wh.issue", 0o644, b"")?;
        top.directory("srv")?;
        top.file("srv/start.sh", 0o755, b"#!/bin/sh\nexec node /srv/app\n")?;
        top.close()?;
        Ok(4)
    })
}

/// Has mmdebstrap write a Debian whose files have no time later than ours.
fn bootstrap(session: &Session, to: &Path, packages: &str) -> Result<()> {
    let mut line = session.program("mmdebstrap", "mmdebstrap")?.args(["--quiet", "--variant=minbase"]);
    if !packages.is_empty() {
        line = line.arg(format!("--include={packages}"));
    }
    line.arg("bookworm").path(to).env("SOURCE_DATE_EPOCH", PathBuf::from(EPOCH.to_string())).run().map(drop)
}

/// Writes what the tar `full` has and `base` has not, byte for byte.
fn difference(base: &Path, full: &Path, to: &Path) -> Result<()> {
    let read = |file: &Path| std::fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    let (base, full) = (read(base)?, read(full)?);
    let below: HashSet<_> = entries(&base).into_iter().collect();
    let mut out = Tarball::create(to)?;
    for entry in entries(&full).into_iter().filter(|entry| !below.contains(entry)) {
        out.raw(entry.0)?;
    }
    out.close()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::line::Line;

    #[test]
    fn the_upper_layer_has_what_is_new_and_what_changed() {
        let dir = tempfile::tempdir().unwrap();
        let tar = |name: &str, files: &[(&str, &[u8])]| {
            let file = dir.path().join(name);
            let mut tar = Tarball::create(&file).unwrap();
            files.iter().for_each(|(name, content)| tar.file(name, 0o644, content).unwrap());
            tar.close().unwrap();
            file
        };
        let base = tar("base", &[("same", b"1"), ("changed", b"2")]);
        let full = tar("full", &[("new", b"0"), ("same", b"1"), ("changed", b"3")]);
        let out = dir.path().join("out");
        difference(&base, &full, &out).unwrap();
        assert_eq!(Line::new("tar").arg("-tf").path(&out).run().unwrap(), "new\nchanged");
    }
}
