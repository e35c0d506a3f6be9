//! Programs of crates.io that checks run, built once into `target/tools`, and those that the machine has.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::cargo;

/// Whether a program of that name is installed.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

/// Where the program of `name` is built to.
pub(crate) fn ours(root: &Path, name: &str) -> PathBuf {
    root.join("target/tools/bin").join(name)
}

/// What `PROGRAM --version` prints after its name.
pub(crate) fn version(program: &Path, name: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.trim().strip_prefix(name)?.strip_prefix(' ').map(str::to_owned)
}

/// How tools are built: they work for a second or two, and optimizing them would take longer than all that they do.
const CHEAPLY: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
];

/// Builds the crate `name` of this version, which takes minutes.
pub(crate) fn install(root: &Path, name: &str, version: &str) -> Result<PathBuf> {
    println!("    building {name} {version} into target/tools, once");
    let status = cargo(root)
        .args(["install", "--quiet", "--locked", "--version", version, "--root", "target/tools", name])
        .envs(CHEAPLY)
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo install")?;
    if !status.success() {
        bail!("{name} {version} cannot be built here");
    }
    Ok(ours(root, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_its_file() {
        assert!(on_path("sh"));
        assert!(!on_path("no-program-has-this-name"));
    }

    #[test]
    fn a_version_follows_the_name() {
        assert_eq!(version(Path::new("true"), "cargo-deny"), None);
        assert!(version(Path::new("tar"), "tar").is_some_and(|text| text.starts_with("(GNU tar)")));
        assert_eq!(version(Path::new("no-program-has-this-name"), "x"), None);
    }
}
