//! What file systems this machine shows, and which of them a view covers.

use std::path::{Path, PathBuf};

use mica_sys::mount::{MountInfo, mounts};

use crate::container::{View, ViewKind};
use crate::error::{Error, Kind, Result};

/// What a view is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    /// File systems that are shown through a union, the outer before the inner.
    pub(crate) views: Vec<View>,
    /// Single files that are mounted over others.
    pub(crate) single: Vec<PathBuf>,
    /// Directories that are shown empty.
    pub(crate) masked: Vec<PathBuf>,
    /// All that is no file of the machine: what is masked, what the command gets anew, and the kernel's interfaces; the outer before the inner.
    pub(crate) covered: Vec<PathBuf>,
}

/// What the command gets anew, or not at all.
pub(super) const OWN: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// Kernel interfaces: there is no file in them to be kept from harm, and a union of them means nothing.
const INTERFACES: [&str; 23] = [
    "autofs",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

/// Looks at the machine's mounts.
pub(crate) fn visible(store: &Path, run_root: &Path) -> Result<Seen> {
    let mounts = table()?;
    let is_directory = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    Ok(choose(&mounts, &[store, run_root], is_directory))
}

/// Every place at which something is mounted.
pub(crate) fn mounted() -> Result<Vec<PathBuf>> {
    Ok(table()?.into_iter().map(|mount| mount.target).collect())
}

fn table() -> Result<Vec<MountInfo>> {
    mounts().map_err(|error| Error::because(Kind::System, "read the mounts of this machine", error))
}

fn choose(mounts: &[MountInfo], hide: &[&Path], is_directory: impl Fn(&Path) -> bool) -> Seen {
    let mut seen = Seen::default();
    let covered =
        |path: &Path| OWN.iter().any(|own| path.starts_with(own)) || hide.iter().any(|hidden| path.starts_with(hidden));
    let mut targets: Vec<&MountInfo> = mounts
        .iter()
        .enumerate()
        // What is mounted later at the same place, or above it, hides what was there.
        .filter(|(at, mount)| !mounts.iter().skip(at + 1).any(|later| hides(later, mount, mounts)))
        .map(|(_, mount)| mount)
        .filter(|mount| !covered(&mount.target) && !INTERFACES.contains(&mount.fstype.as_str()))
        .collect();
    targets.sort_by(|one, other| one.target.cmp(&other.target));
    for mount in targets {
        if is_directory(&mount.target) {
            let number = seen.views.len();
            let place =
                if mount.target == Path::new("/") { PathBuf::new() } else { PathBuf::from(format!("views/{number}")) };
            seen.views.push(View { target: mount.target.clone(), place, kind: ViewKind::Mount });
        } else {
            seen.single.push(mount.target.clone());
        }
    }
    seen.masked = hide.iter().map(|path| path.to_path_buf()).collect();
    seen.masked.sort();
    let interfaces = mounts.iter().filter(|mount| INTERFACES.contains(&mount.fstype.as_str()));
    seen.covered = interfaces.map(|mount| mount.target.clone()).collect();
    seen.covered.extend(OWN.into_iter().map(PathBuf::from).chain(seen.masked.iter().cloned()));
    seen.covered.sort();
    // What lies in another that is masked is masked with it, and its place is not there any more.
    for paths in [&mut seen.masked, &mut seen.covered] {
        paths.dedup_by(|inner, outer| inner.starts_with(outer));
    }
    seen
}

/// Whether `later` hides `mount`: it lies at the same place or above, and `mount` is not mounted on it.
fn hides(later: &MountInfo, mount: &MountInfo, mounts: &[MountInfo]) -> bool {
    mount.target.starts_with(&later.target) && !stands_on(mount, later, mounts)
}

fn stands_on(mount: &MountInfo, below: &MountInfo, mounts: &[MountInfo]) -> bool {
    let mut at = mount;
    for _ in 0..mounts.len() {
        if at.parent == below.id {
            return true;
        }
        match mounts.iter().find(|mount| mount.id == at.parent && mount.id != at.id) {
            Some(parent) => at = parent,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use mica_sys::mount::parse_mounts;

    fn seen(table: &str) -> (Vec<String>, Vec<String>) {
        let mounts = parse_mounts(table.as_bytes()).unwrap();
        let seen = choose(&mounts, &[Path::new("/var/lib/mica"), Path::new("/run/mica")], |path| {
            !path.ends_with("resolv.conf")
        });
        let names = |paths: Vec<PathBuf>| paths.iter().map(|path| path.display().to_string()).collect();
        (names(seen.views.into_iter().map(|view| view.target).collect()), names(seen.single))
    }

    #[test]
    fn file_systems_are_covered_and_interfaces_are_not() {
        let (views, single) = seen(
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:2 / /proc rw - proc proc rw\n3 1 0:3 / /sys rw - sysfs sysfs rw\n\
             4 1 8:2 / /home rw - xfs /dev/sda2 rw\n5 4 0:5 / /home/a/mnt rw - fuse.sshfs host rw\n6 1 0:6 / /run rw - tmpfs tmpfs rw\n\
             7 6 0:7 / /run/user/0 rw - tmpfs tmpfs rw\n8 1 0:8 / /tmp rw - tmpfs tmpfs rw\n9 1 8:1 /x /etc/resolv.conf rw - ext4 /dev/sda1 rw\n\
             10 1 0:9 / /sys/fs/bpf rw - bpf bpf rw\n11 1 0:10 / /var/lib/nfs/rpc_pipefs rw - rpc_pipefs s rw\n\
             12 1 0:11 / /var/lib/mica/x rw - overlay overlay rw\n",
        );
        assert_eq!(views, ["/", "/home", "/home/a/mnt", "/tmp"]);
        assert_eq!(single, ["/etc/resolv.conf"]);
        let mounts = parse_mounts(
            b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:2 / /proc rw - proc proc rw\n3 1 0:3 / /root/proc rw - proc proc rw\n",
        )
        .unwrap();
        let covered = choose(&mounts, &[Path::new("/var/lib/mica"), Path::new("/run/mica")], |_| true).covered;
        assert_eq!(covered, ["/dev", "/proc", "/root/proc", "/run", "/sys", "/var/lib/mica"].map(PathBuf::from));
    }

    #[test]
    fn a_run_root_in_the_store_is_masked_with_it() {
        let hide = ["/home/a/store", "/home/a/store/run", "/home/a/stored"].map(Path::new);
        let masked = choose(&[], &hide, |_| true).masked;
        assert_eq!(masked, ["/home/a/store", "/home/a/stored"].map(PathBuf::from));
    }

    #[test]
    fn what_is_mounted_over_is_not_shown() {
        let (views, _) = seen(
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /a rw - ext4 /dev/sda2 rw\n3 2 8:3 / /a/b rw - ext4 /dev/sda3 rw\n\
             4 2 8:4 / /a rw - ext4 /dev/sda4 rw\n5 4 8:5 / /a/c rw - ext4 /dev/sda5 rw\n",
        );
        assert_eq!(views, ["/", "/a", "/a/c"]);
    }
}
