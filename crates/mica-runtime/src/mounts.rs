//! One mount of the spec, made in the container's root.

use std::path::Path;

use mica_sys::mount::{FsContext, Mount, MountAttrFlags as Attr, Propagation, Reach, SetAttrs};
use mica_sys::process::{Missing, metadata_of, open_place};
use mica_sys::{FileKind, SysError};
use oci_spec::runtime::Mount as SpecMount;

use crate::cgroup;
use crate::error::{At, Cause, RuntimeError, Step};
use crate::options::{self, Options};
use crate::root::{Root, attach_on, guarded};

/// Makes it. `own_cgroups` tells whether the container has its own cgroup namespace.
pub(crate) fn make(root: &Root, mount: &SpecMount, own_cgroups: bool) -> Result<(), RuntimeError> {
    let options = options::parse(mount.options().as_deref().unwrap_or_default());
    let kind = mount.typ().as_deref().unwrap_or("bind");
    let target = mount.destination();
    let step = |kind: &str| Step::Mount { kind: kind.to_owned(), target: target.clone() };
    if options.bind.is_some() || matches!(kind, "bind" | "none") {
        return bind(root, mount, &options);
    }
    if kind == "cgroup" || kind == "cgroup2" {
        return cgroup::make(root, target, attrs(&options), own_cgroups);
    }
    // A symlink in their place would put the kernel's files where the rest of the setup does not look for them
    // (CVE-2019-19921).
    let place = match kind {
        "proc" | "sysfs" => root.make_plain_dir(target),
        _ => root.make(target, Missing::Directory),
    };
    let place = place.at(|| step(kind))?;
    let made = match file_system(kind, mount.source().as_deref(), &options) {
        Err(cause) if kind == "sysfs" && cause.is_denied() => machines_sysfs(attrs(&options)).map_err(|_| cause),
        made => made,
    };
    attach_on(&made.map_err(|cause| failed(step(kind), cause))?, place).at(|| step(kind))
}

/// What a user namespace that does not own the network namespace has to do with: the machine's, with all that is mounted in it, which cannot
/// be taken off there either. Nothing in it can be written.
fn machines_sysfs(attrs: Attr) -> Result<Mount, SysError> {
    let mount = Mount::clone_of(Path::new("/sys"), Reach::Tree)?;
    let set = attrs | Attr::MOUNT_ATTR_RDONLY | Attr::MOUNT_ATTR_NODEV;
    mount.set_attrs(&SetAttrs { set, ..guarded() }, Reach::Tree)?;
    Ok(mount)
}

fn failed(step: Step, cause: Cause) -> RuntimeError {
    RuntimeError::Setup { step, cause }
}

fn file_system(kind: &str, source: Option<&Path>, options: &Options) -> Result<Mount, Cause> {
    let context = FsContext::open(kind)?;
    if let Some(source) = source {
        context.string("source", source.as_os_str().as_encoded_bytes())?;
    }
    for (key, value) in &options.data {
        match value {
            Some(value) => context.string(key, value.as_bytes())?,
            None => context.flag(key)?,
        }
    }
    // devpts makes its nodes itself and nobody else can make one there; without them no terminal could be opened.
    let attrs = if kind == "devpts" { options.set } else { attrs(options) };
    let made = context.create(attrs)?;
    if let Some((propagation, reach)) = options.propagation {
        made.set_attrs(&SetAttrs::propagation(propagation), reach)?;
    }
    Ok(made)
}

/// The attributes asked for; and no devices unless they were asked for.
fn attrs(options: &Options) -> Attr {
    if options.devices { options.set } else { options.set | Attr::MOUNT_ATTR_NODEV }
}

fn bind(root: &Root, mount: &SpecMount, options: &Options) -> Result<(), RuntimeError> {
    let target = mount.destination();
    let step = || Step::Mount { kind: "bind".to_owned(), target: target.clone() };
    if let Some((option, _)) = options.data.first() {
        return Err(RuntimeError::Unsupported { what: format!("mount option {option:?} (at {})", target.display()) });
    }
    let source = mount.source().as_deref().ok_or_else(|| RuntimeError::Spec {
        field: "mounts.source",
        problem: format!("is missing for {}", target.display()),
    })?;
    let reach = options.bind.unwrap_or(Reach::One);
    let source = open_place(source).at(step)?;
    let missing = match metadata_of(&source).at(step)?.kind {
        FileKind::Directory => Missing::Directory,
        _ => Missing::File,
    };
    let made = Mount::clone_at(&source, Path::new(""), reach).at(step)?;
    let (propagation, spread) = options.propagation.unwrap_or((Propagation::Private, Reach::Tree));
    made.set_attrs(&SetAttrs::propagation(propagation), spread).at(step)?;
    let change = SetAttrs { set: attrs(options), clear: options.clear, ..SetAttrs::default() };
    made.set_attrs(&change, Reach::One).at(step)?;
    let below = SetAttrs {
        set: if options.devices { Attr::empty() } else { Attr::MOUNT_ATTR_NODEV }
            | if options.read_only_tree { Attr::MOUNT_ATTR_RDONLY } else { Attr::empty() },
        ..SetAttrs::default()
    };
    if reach == Reach::Tree && !below.set.is_empty() {
        made.set_attrs(&below, Reach::Tree).at(step)?;
    }
    attach_on(&made, root.make(target, missing).at(step)?).at(step)
}
