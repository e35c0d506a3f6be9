//! A mount: a view of a file system, held as a descriptor until it is put somewhere.
//!
//! A detached [`Mount`] has no path. Nobody else reaches it, the kernel takes it down when its last descriptor is
//! closed, and it can be handed to another process and attached in another namespace: a crash leaves nothing mounted.
//!
//! * [`FsContext`] makes one from a new file system and repeats what the kernel says when it refuses.
//! * [`Mount::clone_at`] makes one from a directory that is there.
//! * [`mount`], [`bind`], [`unmount`] and [`set_attrs`] work on paths of the caller's namespace.
//! * [`mounts`] lists what is mounted.
//!
//! The flags and their meaning are those of mount(2), fsmount(2), open_tree(2), move_mount(2) and mount_setattr(2).
#![allow(unsafe_code, reason = "neither rustix nor libc has a safe mount_setattr")]

use std::ffi::{CStr, CString};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};
use rustix::thread::UnshareFlags;

mod context;
mod info;

pub use context::{FsContext, MountError};
pub use info::{
    FileSystem, MountInfo, MountInfoError, PeerGroup, Space, file_system, mount_id, mounts, parse_mounts, space,
};
pub use rustix::mount::{MountAttrFlags, MountFlags, UnmountFlags};

use crate::dir::Dir;
use crate::error::{Result, SysError};

/// How far a call on a mount reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This mount alone.
    One,
    /// This mount and all that is mounted below it.
    Tree,
}

/// Whether mounts and unmounts below a mount are seen in the copies of it in other namespaces (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Neither sends nor receives.
    Private,
    /// Sends and receives.
    Shared,
    /// Receives only (`MS_SLAVE`).
    Downstream,
    /// Private, and cannot be bind-mounted.
    Unbindable,
}

impl Propagation {
    const fn bits(self) -> u64 {
        match self {
            Self::Private => libc::MS_PRIVATE,
            Self::Shared => libc::MS_SHARED,
            Self::Downstream => libc::MS_SLAVE,
            Self::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// A change of a mount's attributes. `clear` is applied before `set`; to set an access time mode, clear
/// [`MountAttrFlags::MOUNT_ATTR__ATIME`] with it.
#[derive(Debug, Clone, Copy)]
pub struct SetAttrs<'a> {
    /// Attributes to set.
    pub set: MountAttrFlags,
    /// Attributes to clear.
    pub clear: MountAttrFlags,
    /// The new propagation; `None` leaves it as it is.
    pub propagation: Option<Propagation>,
    /// A user namespace by which owners are mapped; only for a detached mount that has not been mapped (Linux 5.12,
    /// by file system; overlayfs on mapped layers 5.19).
    pub idmap: Option<BorrowedFd<'a>>,
}

impl Default for SetAttrs<'_> {
    fn default() -> Self {
        Self { set: MountAttrFlags::empty(), clear: MountAttrFlags::empty(), propagation: None, idmap: None }
    }
}

impl SetAttrs<'_> {
    /// Nothing can be written through the mount; others of the same file system are not touched.
    #[must_use]
    pub fn read_only() -> Self {
        Self { set: MountAttrFlags::MOUNT_ATTR_RDONLY, ..Self::default() }
    }

    /// Only the propagation.
    #[must_use]
    pub fn propagation(propagation: Propagation) -> Self {
        Self { propagation: Some(propagation), ..Self::default() }
    }
}

/// A mount that is not attached anywhere, or the place of one that was.
///
/// Dropping a detached one takes it down.
#[derive(Debug)]
pub struct Mount(OwnedFd);

impl Mount {
    /// A detached copy of what is seen at `path`, relative to `dir`: a bind mount without a place.
    ///
    /// A last component that is a symlink is not followed. An empty `path` means `dir` itself.
    ///
    /// # Errors
    /// Those of open_tree(2). `EINVAL` where `path` is not a mount of the caller's namespace.
    pub fn clone_at(dir: impl AsFd, path: &Path, reach: Reach) -> Result<Self> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_SYMLINK_NOFOLLOW
            | OpenTreeFlags::AT_EMPTY_PATH;
        if reach == Reach::Tree {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        rustix::mount::open_tree(dir, path, flags).map(Self).map_err(|errno| error("open_tree", path, errno))
    }

    /// [`Mount::clone_at`] for an absolute path, or one relative to the working directory.
    ///
    /// # Errors
    /// Those of open_tree(2).
    pub fn clone_of(path: &Path, reach: Reach) -> Result<Self> {
        Self::clone_at(CWD, path, reach)
    }

    /// Changes the attributes of the mount.
    ///
    /// # Errors
    /// Those of mount_setattr(2).
    pub fn set_attrs(&self, change: &SetAttrs<'_>, reach: Reach) -> Result<()> {
        set_attrs_at(self.0.as_fd(), c"", change, reach).map_err(|errno| SysError::new("mount_setattr", "", errno))
    }

    /// Attaches the mount at `target`. A last component that is a symlink is not followed.
    ///
    /// # Errors
    /// Those of move_mount(2).
    pub fn attach(&self, target: &Path) -> Result<()> {
        self.attach_at(CWD, target)
    }

    /// Attaches the mount at `target`, relative to `dir`; an empty `target` means `dir` itself.
    ///
    /// # Errors
    /// Those of move_mount(2).
    pub fn attach_at(&self, dir: impl AsFd, target: &Path) -> Result<()> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(&self.0, c"", dir, target, flags).map_err(|errno| error("move_mount", target, errno))
    }

    /// The root of what it shows, open. A detached mount stays usable through it after this value is dropped, but is no
    /// mount any more: it cannot be attached, nor be a layer of overlayfs.
    ///
    /// # Errors
    /// Those of openat(2).
    pub fn open_root(&self) -> Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // The mount's descriptor names the root without having it open (O_PATH).
        let opened = rustix::fs::openat(&self.0, c".", flags, Mode::empty());
        opened.map(Dir::from_fd).map_err(|errno| SysError::new("openat", "", errno))
    }

    /// The descriptor. It also is one of the mount's root directory, as one opened with `O_PATH`.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for Mount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor that someone else made by fsmount(2) or open_tree(2).
impl From<OwnedFd> for Mount {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// Mounts a file system at `target`, by mount(2). `data` are the file system's own options, separated by commas.
///
/// # Errors
/// Those of mount(2).
pub fn mount(source: &Path, target: &Path, fstype: &str, flags: MountFlags, data: &str) -> Result<()> {
    let data = (!data.is_empty()).then(|| CString::new(data)).transpose();
    let data = data.map_err(|_| error("mount", target, Errno::INVAL))?;
    rustix::mount::mount(source, target, fstype, flags, data.as_deref()).map_err(|errno| error("mount", target, errno))
}

/// Shows `source` also at `target`.
///
/// # Errors
/// Those of open_tree(2) and move_mount(2).
pub fn bind(source: &Path, target: &Path, reach: Reach) -> Result<()> {
    Mount::clone_of(source, reach)?.attach(target)
}

/// Takes down what is mounted at `target`. A last component that is a symlink is not followed.
///
/// # Errors
/// Those of umount2(2): `EBUSY` while it is in use, unless [`UnmountFlags::DETACH`] is given.
pub fn unmount(target: &Path, flags: UnmountFlags) -> Result<()> {
    rustix::mount::unmount(target, flags | UnmountFlags::NOFOLLOW).map_err(|errno| error("umount2", target, errno))
}

/// Changes the attributes of the mount whose root is `path`.
///
/// # Errors
/// Those of mount_setattr(2): `EINVAL` where nothing is mounted at `path`.
pub fn set_attrs(path: &Path, change: &SetAttrs<'_>, reach: Reach) -> Result<()> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| error("mount_setattr", path, Errno::INVAL))?;
    set_attrs_at(CWD, &name, change, reach).map_err(|errno| error("mount_setattr", path, errno))
}

/// Gives the calling thread, and it alone, a mount namespace and a working directory of its own. What it mounts is seen by
/// nobody else and is gone with the last process or thread in the namespace.
///
/// # Errors
/// Those of unshare(2) and of making every mount private.
pub fn unshare_mounts() -> Result<()> {
    let flags = UnshareFlags::FS | UnshareFlags::NEWNS;
    // SAFETY: what makes unshare unsafe is CLONE_FILES, by which descriptors of other threads would vanish; it is not given.
    let unshared = unsafe { rustix::thread::unshare_unsafe(flags) };
    unshared.map_err(|errno| SysError::new("unshare", "mount namespace", errno))?;
    set_attrs(Path::new("/"), &SetAttrs::propagation(Propagation::Private), Reach::Tree)
}

fn error(call: &'static str, path: &Path, errno: Errno) -> SysError {
    SysError::new(call, path.as_os_str().as_bytes(), errno)
}

fn set_attrs_at(
    dir: BorrowedFd<'_>,
    path: &CStr,
    change: &SetAttrs<'_>,
    reach: Reach,
) -> std::result::Result<(), Errno> {
    let mut set = u64::from(change.set.bits());
    let mut userns_fd = 0;
    if let Some(idmap) = change.idmap {
        set |= libc::MOUNT_ATTR_IDMAP;
        // A descriptor is never negative.
        userns_fd = u64::try_from(idmap.as_raw_fd()).map_err(|_| Errno::BADF)?;
    }
    let attr = libc::mount_attr {
        attr_set: set,
        attr_clr: u64::from(change.clear.bits()),
        propagation: change.propagation.map_or(0, Propagation::bits),
        userns_fd,
    };
    let recursive = if reach == Reach::Tree { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `dir` is an open descriptor or AT_FDCWD, `path` ends in NUL, `attr` is a mount_attr of the length given;
    // all three outlive the call, which keeps none of them and writes to none.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW | recursive,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)) }
}

#[cfg(test)]
mod tests;
