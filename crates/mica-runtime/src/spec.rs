//! The spec of a container as Docker would make it, to be filled with a command.

use std::path::PathBuf;

use oci_spec::runtime::{
    Capabilities, Capability, Linux, LinuxCapabilities, LinuxNamespace, LinuxNamespaceType, Mount, Process, Root, Spec,
};

use crate::users::User;

/// Where programs are looked for when an image does not say; Docker's.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a container sees of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A loopback interface of its own.
    None,
    /// The caller's.
    Host,
}

/// Docker's default capabilities (moby, `oci/caps/defaults.go`): `00000000a80425fb`.
const CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// Type, target, options (moby, `oci/defaults.go`).
const MOUNTS: [(&str, &str, &[&str]); 7] = [
    ("proc", "/proc", &["nosuid", "noexec", "nodev"]),
    ("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("devpts", "/dev/pts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
    ("cgroup", "/sys/fs/cgroup", &["ro", "nosuid", "noexec", "nodev"]),
    ("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
    ("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
];

const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Docker's defaults, as root in `/`, with no command yet: `process.args` must be set, and `hostname` may be. No limit is set and
/// no seccomp filter.
#[must_use]
pub fn default_spec(network: Network) -> Spec {
    let mut process = Process::default();
    process
        .set_terminal(None)
        .set_args(None)
        .set_env(Some(vec![format!("PATH={DEFAULT_PATH}")]))
        .set_cwd(PathBuf::from("/"))
        .set_no_new_privileges(None)
        .set_rlimits(None)
        .set_capabilities(Some(capabilities(true)));
    let mut linux = Linux::default();
    linux
        .set_resources(None)
        .set_namespaces(Some(namespaces(network)))
        .set_masked_paths(Some(owned(&MASKED)))
        .set_readonly_paths(Some(owned(&READ_ONLY)));
    let mut root = Root::default();
    root.set_path(PathBuf::from("/")).set_readonly(None);
    let mut spec = Spec::default();
    spec.set_root(Some(root))
        .set_process(Some(process))
        .set_hostname(None)
        .set_mounts(Some(mounts()))
        .set_annotations(None)
        .set_linux(Some(linux));
    spec
}

/// Has the command run as `user`: ids and groups; for others than root no capabilities but those that a set-uid program may regain,
/// as Docker has it; and `HOME` where the environment does not have it.
pub fn set_user(spec: &mut Spec, user: &User) {
    let Some(process) = spec.process_mut() else { return };
    let groups = (!user.groups.is_empty()).then(|| user.groups.clone());
    process.user_mut().set_uid(user.uid).set_gid(user.gid).set_additional_gids(groups);
    process.set_capabilities(Some(capabilities(user.uid == 0)));
    let env = process.env_mut().get_or_insert_default();
    if !env.iter().any(|var| var.starts_with("HOME=")) {
        env.push(format!("HOME={}", user.home));
    }
}

fn capabilities(root: bool) -> LinuxCapabilities {
    let all: Capabilities = CAPABILITIES.into_iter().collect();
    let mut sets = LinuxCapabilities::default();
    sets.set_inheritable(None).set_ambient(None).set_bounding(Some(all.clone()));
    if root {
        sets.set_effective(Some(all.clone())).set_permitted(Some(all));
    } else {
        sets.set_effective(None).set_permitted(None);
    }
    sets
}

fn namespaces(network: Network) -> Vec<LinuxNamespace> {
    let mut kinds = vec![
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Cgroup,
    ];
    if network == Network::None {
        kinds.push(LinuxNamespaceType::Network);
    }
    kinds
        .into_iter()
        .map(|kind| {
            let mut namespace = LinuxNamespace::default();
            namespace.set_typ(kind).set_path(None);
            namespace
        })
        .collect()
}

fn mounts() -> Vec<Mount> {
    MOUNTS
        .iter()
        .map(|(kind, target, options)| {
            let mut mount = Mount::default();
            mount
                .set_destination(PathBuf::from(target))
                .set_typ(Some((*kind).to_owned()))
                .set_source(Some(PathBuf::from(kind)))
                .set_options(Some(owned(options)));
            mount
        })
        .collect()
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caps;

    #[test]
    fn the_default_capabilities_are_dockers() {
        let spec = default_spec(Network::None);
        let sets = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
        assert_eq!(caps::set(sets.bounding().as_ref()).0, 0xa804_25fb);
        assert_eq!(sets.effective(), sets.bounding());
        assert_eq!((sets.inheritable(), sets.ambient()), (&None, &None));
    }

    #[test]
    fn another_user_than_root_has_no_capabilities_of_its_own() {
        let mut spec = default_spec(Network::Host);
        let user = User { uid: 1000, gid: 1000, groups: vec![27], home: "/home/a".to_owned() };
        set_user(&mut spec, &user);
        let process = spec.process().as_ref().unwrap();
        let sets = process.capabilities().as_ref().unwrap();
        assert_eq!(caps::set(sets.effective().as_ref()).0, 0);
        assert_eq!(caps::set(sets.permitted().as_ref()).0, 0);
        assert_eq!(caps::set(sets.bounding().as_ref()).0, 0xa804_25fb);
        assert_eq!(process.user().additional_gids().as_deref(), Some(&[27][..]));
        assert!(process.env().as_ref().unwrap().contains(&"HOME=/home/a".to_owned()));
    }

    #[test]
    fn the_spec_survives_json() {
        let spec = default_spec(Network::None);
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec);
    }
}
