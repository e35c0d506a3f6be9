//! The control groups as a container sees them: read-only, on whichever of the three layouts the host has.
//!
//! - unified: one cgroup2 mount;
//! - version 1, and hybrid (version 1 with an unused cgroup2 beside): a tmpfs with one directory for each hierarchy, as on a host.
//!
//! With its own cgroup namespace the container sees its group as the root. A hierarchy that can neither be mounted nor copied is left
//! out, and all of them where the host has none: no program needs them to start.

use std::fs;
use std::path::Path;

use mica_sys::Dir;
use mica_sys::mount::{FsContext, Mount, MountAttrFlags as Attr, MountError, Reach, SetAttrs};
use mica_sys::process::Missing;

use crate::error::{At, RuntimeError, Step};
use crate::root::{Root, attach_on, guarded};

/// Where the host's are.
const HOST: &str = "/sys/fs/cgroup";

/// What `/proc/self/cgroup` lists (cgroups(7)).
#[derive(Debug, PartialEq, Eq)]
enum Layout<'a> {
    None,
    Unified,
    /// The controllers, or `name=…`, of each hierarchy of version 1.
    Separate(Vec<&'a str>),
}

fn layout(list: &str) -> Layout<'_> {
    let hierarchies = list.lines().filter_map(|line| line.split(':').nth(1)).collect::<Vec<_>>();
    if hierarchies.is_empty() {
        return Layout::None;
    }
    let separate: Vec<&str> = hierarchies.into_iter().filter(|controllers| !controllers.is_empty()).collect();
    if separate.is_empty() { Layout::Unified } else { Layout::Separate(separate) }
}

/// Mounts them at `target`.
pub(crate) fn make(root: &Root, target: &Path, attrs: Attr, own_namespace: bool) -> Result<(), RuntimeError> {
    let step = || Step::Mount { kind: "cgroup".to_owned(), target: target.to_owned() };
    let list = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let attrs = attrs | Attr::MOUNT_ATTR_RDONLY;
    match layout(&list) {
        Layout::None => Ok(()),
        Layout::Unified => {
            let Some(mount) = unified(attrs, own_namespace) else { return Ok(()) };
            attach_on(&mount, root.make(target, Missing::Directory).at(step)?).at(step)
        }
        Layout::Separate(hierarchies) => {
            let place = root.make(target, Missing::Directory).at(step)?;
            let tmpfs = FsContext::open("tmpfs").at(step)?;
            tmpfs.string("mode", b"755").at(step)?;
            let top = tmpfs.create(attrs - Attr::MOUNT_ATTR_RDONLY).at(step)?;
            attach_on(&top, place).at(step)?;
            let inside = Dir::from_fd(root.open(target).at(step)?);
            for controllers in hierarchies {
                if let Some(mount) = separate(controllers, attrs, own_namespace) {
                    let name = directory(controllers);
                    attach_on(&mount, inside.ensure_dir(name.as_bytes(), 0o755).at(step)?).at(step)?;
                    for controller in name.split(',').filter(|controller| *controller != name) {
                        inside.symlink(name.as_bytes(), controller.as_bytes()).at(step)?;
                    }
                }
            }
            top.set_attrs(&SetAttrs::read_only(), Reach::One).at(step)
        }
    }
}

fn unified(attrs: Attr, own_namespace: bool) -> Option<Mount> {
    // A new mount of cgroup2 outside a namespace of its own would change the options of the host's.
    let new = || -> Result<Mount, MountError> { FsContext::open("cgroup2")?.create(attrs) };
    if own_namespace && let Ok(mount) = new() { Some(mount) } else { copy(Path::new(HOST), attrs) }
}

fn separate(controllers: &str, attrs: Attr, own_namespace: bool) -> Option<Mount> {
    let new = || -> Result<Mount, MountError> {
        let context = FsContext::open("cgroup")?;
        for controller in controllers.split(',') {
            match controller.split_once('=') {
                Some((key, value)) => context.string(key, value.as_bytes())?,
                None => context.flag(controller)?,
            }
        }
        context.create(attrs)
    };
    if own_namespace && let Ok(mount) = new() {
        return Some(mount);
    }
    copy(&Path::new(HOST).join(directory(controllers)), attrs)
}

/// The name of a hierarchy's directory.
fn directory(controllers: &str) -> &str {
    controllers.strip_prefix("name=").unwrap_or(controllers)
}

fn copy(path: &Path, attrs: Attr) -> Option<Mount> {
    let copy = || {
        let mount = Mount::clone_of(path, Reach::One)?;
        mount.set_attrs(&SetAttrs { set: attrs, ..guarded() }, Reach::One)?;
        Ok::<_, mica_sys::SysError>(mount)
    };
    copy().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layout_is_told_from_the_list() {
        assert_eq!(layout("0::/user.slice\n"), Layout::Unified);
        assert_eq!(layout(""), Layout::None);
        let hybrid = "3:cpu,cpuacct:/\n1:name=systemd:/init.scope\n0::/init.scope\n";
        assert_eq!(layout(hybrid), Layout::Separate(vec!["cpu,cpuacct", "name=systemd"]));
        assert_eq!(directory("name=systemd"), "systemd");
    }
}
