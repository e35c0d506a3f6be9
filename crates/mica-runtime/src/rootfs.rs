//! The container's tree, from a detached root to `/`.
//!
//! The order matters: further mounts before the spec's, which may lie in them; devices when `/dev` is there; read-only paths before
//! masked ones, which may lie below; the root's own flag last, since mount points are made until then.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mica_sys::FileKind;
use mica_sys::mount::{Mount, Reach};
use mica_sys::process::Namespaces;
use mica_sys::process::{
    Missing, Pty, join_namespace, loopback_up, metadata_of, open_pty, pivot_into, set_domain_name, set_host_name,
    set_window_size,
};
use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType, Spec};

use crate::error::{At, Cause, RuntimeError, Step};
use crate::root::{Root, attach_on, guarded};
use crate::wire::{Request, Terminal};
use crate::{devices, masks, mounts};

/// Puts the tree together and makes it `/`. Returns the container's terminal where it has one.
pub(crate) fn enter(request: &Request, root: OwnedFd, extras: Vec<OwnedFd>) -> Result<Option<Pty>, RuntimeError> {
    let spec = &request.spec;
    let linux = spec.linux().as_ref();
    names_and_network(spec, linux)?;
    let root = Root::attach(Mount::from(root))?;
    for (mount, target) in extras.into_iter().zip(&request.extra_targets) {
        attach_extra(&root, &Mount::from(mount), Path::new(std::ffi::OsStr::from_bytes(target)))?;
    }
    make_mounts(&root, spec, linux)?;
    let terminal = request.terminal.map(|terminal| open_terminal(&root, terminal)).transpose()?;
    if let Some(linux) = linux {
        masks::read_only(&root, linux.readonly_paths().as_deref().unwrap_or_default())?;
        masks::cover(&root, linux.masked_paths().as_deref().unwrap_or_default())?;
    }
    make_working_directory(&root, spec)?;
    if spec.root().as_ref().is_some_and(|root| root.readonly() == Some(true)) {
        root.set_read_only()?;
    }
    pivot_into(&root).at(|| Step::Pivot)?;
    Ok(terminal)
}

fn names_and_network(spec: &Spec, linux: Option<&Linux>) -> Result<(), RuntimeError> {
    let namespaces = linux.and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    for namespace in namespaces {
        join(namespace)?;
    }
    let own = |kind| namespaces.iter().any(|namespace| namespace.typ() == kind && namespace.path().is_none());
    if let Some(name) = spec.hostname() {
        only_if(own(LinuxNamespaceType::Uts), "a hostname without a UTS namespace")?;
        set_host_name(name.as_bytes()).at(|| Step::HostName(name.clone()))?;
    }
    if let Some(name) = spec.domainname() {
        only_if(own(LinuxNamespaceType::Uts), "a domainname without a UTS namespace")?;
        set_domain_name(name.as_bytes()).at(|| Step::HostName(name.clone()))?;
    }
    if own(LinuxNamespaceType::Network) { loopback_up().at(|| Step::Loopback) } else { Ok(()) }
}

fn only_if(fine: bool, what: &str) -> Result<(), RuntimeError> {
    if fine { Ok(()) } else { Err(RuntimeError::Unsupported { what: what.to_owned() }) }
}

fn join(namespace: &LinuxNamespace) -> Result<(), RuntimeError> {
    let Some(path) = namespace.path() else { return Ok(()) };
    let none = Namespaces::default();
    let kind = match namespace.typ() {
        LinuxNamespaceType::Uts => Namespaces { uts: true, ..none },
        LinuxNamespaceType::Ipc => Namespaces { ipc: true, ..none },
        LinuxNamespaceType::Network => Namespaces { network: true, ..none },
        LinuxNamespaceType::Cgroup => Namespaces { cgroup: true, ..none },
        other => return Err(RuntimeError::Unsupported { what: format!("joining a {other} namespace") }),
    };
    let file = std::fs::File::open(path).at(|| Step::Join(kind.to_string()))?;
    join_namespace(file, kind).at(|| Step::Join(kind.to_string()))
}

fn attach_extra(root: &Root, mount: &Mount, target: &Path) -> Result<(), RuntimeError> {
    let step = || Step::Mount { kind: "view".to_owned(), target: target.to_owned() };
    let missing = match metadata_of(mount).at(step)?.kind {
        FileKind::Directory => Missing::Directory,
        _ => Missing::File,
    };
    match attach_on(mount, root.make(target, missing).at(step)?) {
        // A file of the machine's that was removed since its mount was made is not shown; there is nothing to show.
        Err(error) if error.is_not_found() && metadata_of(mount).at(step)?.nlink == 0 => return Ok(()),
        done => done.at(step)?,
    }
    mount.set_attrs(&guarded(), Reach::Tree).at(step)
}

fn make_mounts(root: &Root, spec: &Spec, linux: Option<&Linux>) -> Result<(), RuntimeError> {
    let own_cgroups = linux.and_then(|linux| linux.namespaces().as_ref()).is_some_and(|namespaces| {
        namespaces.iter().any(|namespace| namespace.typ() == LinuxNamespaceType::Cgroup && namespace.path().is_none())
    });
    let devices = linux.and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    let mut has_dev = false;
    for mount in spec.mounts().iter().flatten() {
        mounts::make(root, mount, own_cgroups)?;
        has_dev |= mount.destination() == Path::new("/dev") && mount.typ().as_deref() == Some("tmpfs");
    }
    if has_dev {
        return devices::fill(root, devices);
    }
    if devices.is_empty() {
        return Ok(());
    }
    Err(RuntimeError::Unsupported { what: "linux.devices without a tmpfs at /dev".to_owned() })
}

fn open_terminal(root: &Root, terminal: Terminal) -> Result<Pty, RuntimeError> {
    let devpts = root.open(Path::new("/dev/pts")).at(|| Step::Terminal)?;
    let pty = open_pty(devpts).at(|| Step::Terminal)?;
    set_window_size(&pty.slave, terminal.size()).at(|| Step::Terminal)?;
    devices::console(root, &pty.slave)?;
    Ok(pty)
}

/// Docker makes a working directory that an image names and does not have.
fn make_working_directory(root: &Root, spec: &Spec) -> Result<(), RuntimeError> {
    let Some(process) = spec.process() else { return Ok(()) };
    let cwd = process.cwd();
    let place = root.make(cwd, Missing::Directory).at(|| Step::WorkingDirectory(cwd.clone()))?;
    if metadata_of(place).at(|| Step::WorkingDirectory(cwd.clone()))?.kind == FileKind::Directory {
        return Ok(());
    }
    Err(Cause::of("it is not a directory")).at(|| Step::WorkingDirectory(cwd.clone()))
}

/// The host's null device, for init's own descriptors: the container's may be a stranger's file.
pub(crate) fn host_null() -> Result<std::fs::File, RuntimeError> {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").at(|| Step::Prepare)
}
