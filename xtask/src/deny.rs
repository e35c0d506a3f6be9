//! What may come into the build, by `deny.toml`: licences, sources and banned crates, judged by cargo-deny.
//!
//! Advisories are left out here: their list comes from the network and changes under an unchanged tree.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// The release that the checks are held against; its minor version fixes the form of `deny.toml`.
const VERSION: &str = "0.20.2";

/// Whether cargo-deny accepts the tree at `root`. It is built first where it is missing, which takes minutes, once.
pub(crate) fn check(root: &Path) -> Result<bool> {
    let program = match found(root) {
        Some(program) => program,
        None => install(root)?,
    };
    let mut good = true;
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let status = Command::new(&program)
            .current_dir(root)
            .args(["--locked", "--manifest-path", manifest, "--config"])
            .arg(root.join("deny.toml"))
            .args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"])
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("cannot run {}", program.display()))?;
        good &= status.success();
    }
    Ok(good)
}

/// A cargo-deny that is here already: ours, or one of the same minor version on the path.
pub(crate) fn found(root: &Path) -> Option<PathBuf> {
    [ours(root), PathBuf::from("cargo-deny")]
        .into_iter()
        .find(|program| version(program).is_some_and(|version| fits(&version)))
}

fn ours(root: &Path) -> PathBuf {
    root.join("target/tools/bin/cargo-deny")
}

/// What `cargo-deny --version` prints after its name.
fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.trim().strip_prefix("cargo-deny ").map(str::to_owned)
}

fn fits(version: &str) -> bool {
    let minor = |version: &str| version.rsplit_once('.').map(|(minor, _)| minor.to_owned());
    minor(version) == minor(VERSION)
}

fn install(root: &Path) -> Result<PathBuf> {
    println!("    building cargo-deny {VERSION} into target/tools, once");
    let status = workspace::cargo(root)
        .args(["install", "--quiet", "--locked", "--version", VERSION, "--root", "target/tools", "cargo-deny"])
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo install")?;
    if !status.success() {
        bail!("cargo-deny {VERSION} cannot be built here; without it nothing looks at licences");
    }
    Ok(ours(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_of_another_minor_version_reads_another_file() {
        assert!(fits(VERSION) && fits("0.20.99"));
        assert!(!fits("0.14.2") && !fits("0.200.2") && !fits("1.20.2") && !fits(""));
    }
}
