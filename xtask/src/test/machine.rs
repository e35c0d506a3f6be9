//! The programs that tests run beside ours, and how they come onto a Debian machine.
//!
//! The only list of them: a test that needs another program adds its line here.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::tool::on_path;

/// One Debian package, a program of it by which it is known elsewhere, and what tests do with it.
struct Need {
    package: &'static str,
    program: &'static str,
    reason: &'static str,
}

const fn need(package: &'static str, program: &'static str, reason: &'static str) -> Need {
    Need { package, program, reason }
}

const NEEDS: &[Need] = &[
    need("acl", "setfacl", "layers with access control lists"),
    need("attr", "setfattr", "layers with extended attributes"),
    need("btrfs-progs", "mkfs.btrfs", "a store on a file system that shares blocks"),
    need("buildah", "buildah", "images that another builder wrote"),
    need("busybox-static", "busybox", "the smallest image that runs"),
    need("containerd", "ctr", "loads what we save, and saves what we load"),
    need("crun", "crun", "the judge of our own runtime"),
    need("docker.io", "dockerd", "loads what we save, and saves what we load, in its newest and its oldest form"),
    need("e2fsprogs", "mkfs.ext4", "a small file system that fills up"),
    need("fio", "fio", "writes and reads back by every engine, on our union"),
    need("fuse-overlayfs", "fuse-overlayfs", "a driver to compare with"),
    need("fuse3", "fusermount3", "FUSE mounts of ordinary users, and mount's helper for them"),
    need("g++", "c++", "libFuzzer, which drives the fuzz targets"),
    need("git", "git", "a repository on our union"),
    need("golang-go", "go", "layer tars written by Go's archive/tar"),
    need("gpg", "gpg", "mmdebstrap proves Debian's signatures with it"),
    need("libarchive-tools", "bsdtar", "layer tars written by bsdtar"),
    need("libcap2-bin", "setcap", "file capabilities"),
    need("make", "make", "a build on our union"),
    need("mmdebstrap", "mmdebstrap", "a real Debian tree"),
    need("mount", "mount", "file systems to try things on"),
    need("podman", "podman", "reads what we save, tree by tree"),
    need("postgresql", "pgbench", "a database that crashes on our union"),
    need("python3", "python3", "layer tars written by Python's tarfile"),
    need("rsync", "rsync", "copies with all that a file has, on our union"),
    need("runc", "runc", "the judge of our own runtime"),
    need("skopeo", "skopeo", "reads what we save, digest by digest"),
    need("strace", "strace", "counts system calls: one syncfs an image, no needless fork"),
    need("stress-ng", "stress-ng", "stressors of file systems, on our union"),
    need("tar", "tar", "layer tars written by GNU tar"),
    need("uidmap", "newuidmap", "user namespaces with more than one id"),
    need("umoci", "umoci", "unpacks what we save"),
    need("util-linux", "unshare", "a mount namespace for the tests"),
    need("xfsprogs", "mkfs.xfs", "a store on XFS"),
    need("xz-utils", "xz", "archives in a compression that we refuse by name"),
    need("zstd", "zstd", "layers compressed by another encoder"),
];

/// Programs of packages that every Debian has (`Essential: yes`), which tests ask for all the same.
#[cfg(test)]
const ESSENTIAL: [&str; 14] = [
    "bash",
    "chroot",
    "dpkg-deb",
    "du",
    "fallocate",
    "flock",
    "gzip",
    "mknod",
    "prlimit",
    "script",
    "setpriv",
    "setsid",
    "sh",
    "stty",
];

/// What a test of the gate itself asks for.
#[cfg(test)]
const NOWHERE: &str = "no-such-program-anywhere";

/// Installs what is missing where we may, and says what stays missing and what that costs.
pub(super) fn prepare() -> Result<()> {
    println!("==> machine: the programs that tests run beside ours");
    if is_root()? && is_debian() {
        let missing = missing_packages()?;
        if !missing.is_empty() {
            install(&missing)?;
        }
    }
    for need in NEEDS.iter().filter(|need| !on_path(need.program)) {
        println!(
            "    {} is missing (Debian: {}): tests that need it skip: {}",
            need.program, need.package, need.reason
        );
    }
    Ok(())
}

/// Whether we run as root.
pub(super) fn is_root() -> Result<bool> {
    let own = std::fs::metadata("/proc/self").context("/proc is not mounted")?;
    Ok(own.uid() == 0)
}

fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && on_path("apt-get") && on_path("dpkg-query")
}

fn missing_packages() -> Result<Vec<&'static str>> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(NEEDS.iter().map(|need| need.package))
        .stderr(Stdio::null())
        .output()
        .context("cannot run dpkg-query")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let installed: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    Ok(NEEDS.iter().map(|need| need.package).filter(|package| !installed.contains(package)).collect())
}

/// Installs packages without a question. Where that does not work the tests go on, and skip aloud.
fn install(packages: &[&str]) -> Result<()> {
    println!("    installing {}", packages.join(" "));
    let install = ["install", "--yes", "-qq", "--no-install-recommends"];
    for args in [vec!["update", "-qq"], [&install, packages].concat()] {
        let output = Command::new("apt-get")
            .args(&args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()
            .context("cannot run apt-get")?;
        if !output.status.success() {
            println!(
                "    apt-get {} ended with {}: {}",
                args.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_package_stands_once_with_a_reason() {
        for pair in NEEDS.windows(2) {
            assert!(pair[0].package < pair[1].package, "{} before {}", pair[0].package, pair[1].package);
        }
        assert!(NEEDS.iter().all(|need| !need.reason.is_empty() && !need.program.is_empty()));
    }

    /// A gate on a program that nothing installs would skip its test wherever the tests run.
    #[test]
    fn every_program_that_a_gate_asks_for_is_on_the_list() {
        let crates = crate::workspace::root().unwrap().join("crates");
        let mut asked = BTreeSet::new();
        for path in crate::arch::rust_files(&crates).unwrap() {
            let text = std::fs::read_to_string(&path).unwrap();
            let gates = ["program \"", "program(\""].into_iter().flat_map(|start| text.split(start).skip(1));
            asked.extend(gates.filter_map(|after| Some(after.split_once('"')?.0.to_owned())));
        }
        asked.retain(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)));
        assert!(asked.contains("podman"), "the search finds gates: {asked:?}");
        let known =
            |name: &str| name == NOWHERE || ESSENTIAL.contains(&name) || NEEDS.iter().any(|need| need.program == name);
        let unlisted: Vec<_> = asked.iter().filter(|name| !known(name)).collect();
        assert!(unlisted.is_empty(), "{unlisted:?}");
    }
}
