//! This program's own file, in a form that a container cannot write to.
//!
//! Init runs our binary inside the container, where `/proc/1/exe` leads to it: a container that could write there would own the host
//! at the next `mica` (CVE-2019-5736). Two ways were weighed. A sealed copy in memory (runc's first answer) costs the time
//! to copy some megabytes at every run. A detached read-only mount of the one file costs three system calls, shows in no mount table, and
//! nobody without rights over the mount can lift the flag. The copy is what remains where such a mount is refused.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use mica_sys::SysError;
use mica_sys::mount::{Mount, MountAttrFlags, Reach, SetAttrs};
use mica_sys::process::{metadata_of, open_place, sealed_copy};

use crate::error::{At, RuntimeError, Step};

/// Leads to the running program's file, whatever its name is by now.
const OURSELVES: &str = "/proc/self/exe";

/// Opens it.
pub(crate) fn protected() -> Result<OwnedFd, RuntimeError> {
    let exe = open_place(Path::new(OURSELVES)).at(|| Step::StartInit)?;
    let mounted = match mounted(&exe) {
        // The link leads by the mount through which the program was started. A process that made itself a mount namespace since has
        // a copy of that mount, and reaches it by the file's name alone.
        Err(_) => by_name(&exe).and_then(|named| mounted(&named).ok()),
        mounted => mounted.ok(),
    };
    match mounted {
        Some(fd) => Ok(fd),
        // The file has no name any more (it was replaced by a newer one), or not in this mount namespace.
        None => copied().at(|| Step::StartInit),
    }
}

fn mounted(exe: &OwnedFd) -> Result<OwnedFd, SysError> {
    let attrs = SetAttrs {
        set: MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID,
        ..SetAttrs::default()
    };
    let mount = Mount::clone_at(exe, Path::new(""), Reach::One)?;
    mount.set_attrs(&attrs, Reach::One)?;
    Ok(mount.into_fd())
}

/// The same file, by its name. `None` where that is another's by now.
fn by_name(exe: &OwnedFd) -> Option<OwnedFd> {
    let named = open_place(&std::fs::read_link(OURSELVES).ok()?).ok()?;
    let (one, other) = (metadata_of(exe).ok()?, metadata_of(&named).ok()?);
    ((one.dev, one.ino) == (other.dev, other.ino)).then_some(named)
}

fn copied() -> io::Result<OwnedFd> {
    let mut exe = File::open(OURSELVES)?;
    sealed_copy("mica-init", &mut exe)
}
