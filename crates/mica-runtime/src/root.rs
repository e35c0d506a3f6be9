//! The container's root while it is put together: attached, not yet `/`, and full of a stranger's files.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mica_sys::SysError;
use mica_sys::mount::{self, Mount, MountAttrFlags, Propagation, Reach, SetAttrs};
use mica_sys::process::{Missing, make_inside, open_inside, open_inside_no_links};

use crate::error::{At, RuntimeError, Step};

/// The root directory of the attached root mount.
#[derive(Debug)]
pub(crate) struct Root(Mount);

impl Root {
    /// Makes every mount of this namespace private, and attaches `mount` over `/`.
    pub(crate) fn attach(mount: Mount) -> Result<Self, RuntimeError> {
        mount::set_attrs(Path::new("/"), &SetAttrs::propagation(Propagation::Private), Reach::Tree)
            .at(|| Step::Root)?;
        mount.attach(Path::new("/")).at(|| Step::Root)?;
        mount.set_attrs(&guarded(), Reach::Tree).at(|| Step::Root)?;
        Ok(Self(mount))
    }

    /// What `path` names in the container.
    pub(crate) fn open(&self, path: &Path) -> Result<OwnedFd, SysError> {
        open_inside(&self.0, path.as_os_str().as_bytes())
    }

    /// As [`Root::open`], made if it is missing.
    pub(crate) fn make(&self, path: &Path, missing: Missing) -> Result<OwnedFd, SysError> {
        make_inside(&self.0, path.as_os_str().as_bytes(), missing)
    }

    /// As [`Root::make`] for a directory, but refused where a symlink is on the way.
    pub(crate) fn make_plain_dir(&self, path: &Path) -> Result<OwnedFd, SysError> {
        let name = path.as_os_str().as_bytes();
        match open_inside_no_links(&self.0, name) {
            Err(error) if error.is_not_found() => {}
            done => return done,
        }
        make_inside(&self.0, name, Missing::Directory)?;
        open_inside_no_links(&self.0, name)
    }

    /// Nothing can be written through the root's own mount from here on; what is mounted in it is not touched.
    pub(crate) fn set_read_only(&self) -> Result<(), RuntimeError> {
        self.0.set_attrs(&SetAttrs::read_only(), Reach::One).at(|| Step::ReadOnly("/".into()))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How a mount that the container can write to is: its device nodes cannot be opened, and it sends nothing to the host. A copy of
/// a shared mount is in the original's peer group until it is made private.
pub(crate) fn guarded() -> SetAttrs<'static> {
    SetAttrs { set: MountAttrFlags::MOUNT_ATTR_NODEV, propagation: Some(Propagation::Private), ..SetAttrs::default() }
}

/// Attaches `mount` on the opened `place`.
pub(crate) fn attach_on(mount: &Mount, place: impl AsFd) -> Result<(), SysError> {
    mount.attach_at(place, Path::new(""))
}
