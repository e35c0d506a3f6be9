//! What of the runtime spec this runtime does, checked before anything is done.

use mica_sys::process::Namespaces;
use oci_spec::runtime::{Linux, LinuxNamespaceType, Process, Spec};

use crate::error::RuntimeError;

/// The namespaces to make; or the first thing in `spec` that is not done here.
pub(crate) fn check(spec: &Spec) -> Result<Namespaces, RuntimeError> {
    let process = spec.process().as_ref().ok_or_else(|| missing("process"))?;
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(missing("process.args"));
    }
    if !process.cwd().is_absolute() {
        let problem = format!("is not absolute: {:?}", process.cwd());
        return Err(RuntimeError::Spec { field: "process.cwd", problem });
    }
    let linux = spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
    check_hooks(spec)?;
    check_process(process)?;
    check_linux(linux)?;
    let mapped = |mount: &&oci_spec::runtime::Mount| mount.uid_mappings().is_some() || mount.gid_mappings().is_some();
    if let Some(mount) = spec.mounts().iter().flatten().find(mapped) {
        return Err(unsupported(format!("id-mapped mounts ({})", mount.destination().display())));
    }
    namespaces(linux)
}

fn missing(field: &'static str) -> RuntimeError {
    RuntimeError::Spec { field, problem: "is missing".to_owned() }
}

fn unsupported(what: impl Into<String>) -> RuntimeError {
    RuntimeError::Unsupported { what: what.into() }
}

/// Refuses the first of the fields that is there.
fn refuse(fields: &[(&str, bool)]) -> Result<(), RuntimeError> {
    match fields.iter().find(|(_, there)| *there) {
        Some((field, _)) => Err(unsupported(*field)),
        None => Ok(()),
    }
}

fn check_hooks(spec: &Spec) -> Result<(), RuntimeError> {
    refuse(&[("hooks", spec.hooks().is_some())])
}

fn check_process(process: &Process) -> Result<(), RuntimeError> {
    let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    refuse(&[
        ("process.apparmorProfile", set(process.apparmor_profile())),
        ("process.selinuxLabel", set(process.selinux_label())),
        ("process.oomScoreAdj", process.oom_score_adj().is_some()),
        ("process.ioPriority", process.io_priority().is_some()),
        ("process.scheduler", process.scheduler().is_some()),
        ("process.execCPUAffinity", process.exec_cpu_affinity().is_some()),
    ])
}

fn check_linux(linux: &Linux) -> Result<(), RuntimeError> {
    let limited = linux.resources().as_ref().is_some_and(|resources| {
        resources.memory().is_some()
            || resources.cpu().is_some()
            || resources.pids().is_some()
            || resources.block_io().is_some()
            || resources.hugepage_limits().as_ref().is_some_and(|limits| !limits.is_empty())
            || resources.network().is_some()
            || resources.rdma().is_some()
            || resources.unified().is_some()
            || resources.devices().as_ref().is_some_and(|devices| !devices.is_empty())
    });
    refuse(&[
        ("linux.seccomp", linux.seccomp().is_some()),
        ("linux.resources", limited),
        ("linux.cgroupsPath", linux.cgroups_path().is_some()),
        ("linux.uidMappings", linux.uid_mappings().is_some()),
        ("linux.gidMappings", linux.gid_mappings().is_some()),
        ("linux.sysctl", linux.sysctl().as_ref().is_some_and(|map| !map.is_empty())),
        ("linux.netDevices", linux.net_devices().is_some()),
        ("linux.mountLabel", linux.mount_label().as_ref().is_some_and(|label| !label.is_empty())),
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        ("linux.memoryPolicy", linux.memory_policy().is_some()),
        ("linux.personality", linux.personality().is_some()),
        ("linux.timeOffsets", linux.time_offsets().is_some()),
        ("linux.rootfsPropagation", linux.rootfs_propagation().as_ref().is_some_and(|mode| !mode.is_empty())),
    ])
}

/// Mounts and pids must be the container's own: without, there would be nothing to end it by, and nothing to put it in.
fn namespaces(linux: &Linux) -> Result<Namespaces, RuntimeError> {
    let mut new = Namespaces::default();
    for namespace in linux.namespaces().iter().flatten() {
        let joined = namespace.path().is_some();
        match namespace.typ() {
            LinuxNamespaceType::Mount if !joined => new.mount = true,
            LinuxNamespaceType::Pid if !joined => new.pid = true,
            LinuxNamespaceType::Uts => new.uts = !joined,
            LinuxNamespaceType::Ipc => new.ipc = !joined,
            LinuxNamespaceType::Network => new.network = !joined,
            LinuxNamespaceType::Cgroup => new.cgroup = !joined,
            kind => {
                let path = namespace.path().iter().map(|path| format!(" at {}", path.display())).collect::<String>();
                return Err(unsupported(format!("a {kind} namespace{path}")));
            }
        }
    }
    if new.mount && new.pid {
        Ok(new)
    } else {
        Err(unsupported("a container without its own mount and pid namespaces"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use oci_spec::runtime::{LinuxNamespace, LinuxSeccomp};

    use super::*;
    use crate::spec::{Network, default_spec};

    fn refused(change: impl FnOnce(&mut Spec)) -> String {
        let mut spec = default_spec(Network::None);
        assert!(check(&spec).is_err(), "there is no command yet");
        spec.process_mut().as_mut().unwrap().set_args(Some(vec!["true".into()]));
        assert!(check(&spec).is_ok());
        change(&mut spec);
        check(&spec).unwrap_err().to_string()
    }

    fn linux(spec: &mut Spec) -> &mut Linux {
        spec.linux_mut().as_mut().unwrap()
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        let seccomp = refused(|spec| {
            linux(spec).set_seccomp(Some(LinuxSeccomp::default()));
        });
        assert_eq!(seccomp, "the runtime does not do linux.seccomp yet");
        let cgroup = refused(|spec| {
            linux(spec).set_cgroups_path(Some("/a".into()));
        });
        assert!(cgroup.contains("linux.cgroupsPath"), "{cgroup}");
        let hooks = refused(|spec| {
            spec.set_hooks(Some(oci_spec::runtime::Hooks::default()));
        });
        assert!(hooks.contains("hooks"), "{hooks}");
        let cwd = refused(|spec| {
            spec.process_mut().as_mut().unwrap().set_cwd("here".into());
        });
        assert!(cwd.contains("process.cwd") && cwd.contains("\"here\""), "{cwd}");
    }

    #[test]
    fn mounts_and_pids_are_always_the_containers_own() {
        let none = refused(|spec| {
            linux(spec).set_namespaces(None);
        });
        assert!(none.contains("mount and pid"), "{none}");
        let joined = refused(|spec| {
            let mut namespace = LinuxNamespace::default();
            namespace.set_typ(LinuxNamespaceType::Pid).set_path(Some(PathBuf::from("/proc/1/ns/pid")));
            linux(spec).set_namespaces(Some(vec![namespace]));
        });
        assert!(joined.contains("/proc/1/ns/pid"), "{joined}");
    }
}
