//! What of the kernel's files a container may not write, and what it may not see.

use std::path::Path;

use mica_sys::FileKind;
use mica_sys::mount::{FsContext, Mount, MountAttrFlags as Attr, Reach, SetAttrs};
use mica_sys::process::metadata_of;

use crate::devices;
use crate::error::{At, Cause, RuntimeError, Step};
use crate::root::{Root, attach_on};

/// Makes `paths`, and what is mounted below them, read-only. One that is not there is none to protect.
pub(crate) fn read_only(root: &Root, paths: &[String]) -> Result<(), RuntimeError> {
    for path in paths {
        let step = || Step::ReadOnly(path.into());
        let place = match root.open(Path::new(path)) {
            Err(error) if error.is_not_found() => continue,
            place => place.at(step)?,
        };
        let mount = Mount::clone_at(&place, Path::new(""), Reach::Tree).at(step)?;
        mount.set_attrs(&SetAttrs::read_only(), Reach::Tree).at(step)?;
        attach_on(&mount, place).at(step)?;
    }
    Ok(())
}

/// Covers `paths`: a directory with an empty one, anything else with the null device. One that is not there needs none.
pub(crate) fn cover(root: &Root, paths: &[String]) -> Result<(), RuntimeError> {
    let mut empty: Option<Mount> = None;
    for path in paths {
        let step = || Step::Mask(path.into());
        let place = match root.open(Path::new(path)) {
            Err(error) if error.is_not_found() => continue,
            place => place.at(step)?,
        };
        if metadata_of(&place).at(step)?.kind != FileKind::Directory {
            let mount =
                devices::null(root).and_then(|null| Mount::clone_at(null, Path::new(""), Reach::One)).at(step)?;
            // Through a writable mount the container's root could change the mode of a node of the host's.
            mount.set_attrs(&SetAttrs::read_only(), Reach::One).at(step)?;
            attach_on(&mount, place).at(step)?;
            continue;
        }
        let mount = match &empty {
            // A copy of one that is attached: a file system for each would cost more.
            Some(first) => Mount::clone_at(first, Path::new(""), Reach::One).map_err(Cause::from),
            None => empty_directory(),
        };
        let mount = mount.at(step)?;
        attach_on(&mount, place).at(step)?;
        empty.get_or_insert(mount);
    }
    Ok(())
}

fn empty_directory() -> Result<Mount, Cause> {
    let tmpfs = FsContext::open("tmpfs")?;
    tmpfs.string("nr_inodes", b"1")?;
    let attrs = Attr::MOUNT_ATTR_RDONLY | Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NODEV | Attr::MOUNT_ATTR_NOEXEC;
    Ok(tmpfs.create(attrs)?)
}
