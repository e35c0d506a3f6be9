//! What may come into the build, by `deny.toml`: licences, sources and banned crates, judged by cargo-deny.
//!
//! Advisories are left out here: their list comes from the network and changes under an unchanged tree.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::tool;

const NAME: &str = "cargo-deny";

/// The release that the checks are held against; its minor version fixes the form of `deny.toml`.
const VERSION: &str = "0.20.2";

/// Whether cargo-deny accepts the tree at `root`. It is built first where it is missing, which takes minutes, once.
pub(crate) fn check(root: &Path) -> Result<bool> {
    let program = match found(root) {
        Some(program) => program,
        None => tool::install(root, NAME, VERSION).context("without it nothing looks at licences")?,
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
    [tool::ours(root, NAME), PathBuf::from(NAME)]
        .into_iter()
        .find(|program| tool::version(program, NAME).is_some_and(|version| fits(&version)))
}

fn fits(version: &str) -> bool {
    let minor = |version: &str| version.rsplit_once('.').map(|(minor, _)| minor.to_owned());
    minor(version) == minor(VERSION)
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
