//! The kernel's side of a FUSE server: the device, its ioctls, the mount.
//!
//! A [`Device`] is one end of a connection, the mount that it is given to is the other. [`Device::mount`] makes the mount with the
//! rights of the process; [`mount_by_helper`] lets `fusermount3`, which is setuid root, do it for a user without any. Whichever it
//! was, the mount lives while the device or a [copy](Device::another) of it is open somewhere, and answers nothing after.
//!
//! What the bytes mean is known to `mica_union::fuse::wire`.
#![allow(unsafe_code, reason = "ioctls of a device that rustix does not know")]

mod helper;
mod interrupt;
mod pipe;
mod ring;

use std::fmt::Write as _;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

pub use helper::{HelperError, mount_by_helper, unmount_by_helper};
pub use interrupt::{Interruptible, interrupt};
pub use pipe::Pipe;
pub use ring::{Exchange, Seat, ring_queues};

use crate::error::{Result, SysError};
use crate::mount::{FsContext, Mount, MountError};

/// Where the device is.
const DEVICE: &str = "/dev/fuse";

/// `FUSE_DEV_IOC_CLONE`: `_IOR(229, 0, u32)`.
const CLONE: libc::Ioctl = libc::_IOR::<u32>(229, 0);
/// `FUSE_DEV_IOC_BACKING_OPEN`: `_IOW(229, 1, struct fuse_backing_map)`.
const BACKING_OPEN: libc::Ioctl = libc::_IOW::<BackingMap>(229, 1);
/// `FUSE_DEV_IOC_BACKING_CLOSE`: `_IOW(229, 2, u32)`.
const BACKING_CLOSE: libc::Ioctl = libc::_IOW::<u32>(229, 2);

/// `struct fuse_backing_map`.
#[repr(C)]
struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

/// How a file system is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// What `mount` shows as the source.
    pub source: String,
    /// What `mount` shows after `fuse.`.
    pub subtype: String,
    /// The user whose mount it is; without `allow_other` nobody else sees it.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The kernel checks permissions by owner and mode.
    pub default_permissions: bool,
    /// Others than the owner may use it.
    pub allow_other: bool,
    /// The most bytes of one read.
    pub max_read: Option<u32>,
    /// Read-only, no devices and so on.
    pub attrs: MountAttrFlags,
    /// Further options that the kernel has for every file system: `sync`, `dirsync`, and with a value those of a security module.
    pub more: Vec<(&'static str, Option<Vec<u8>>)>,
}

/// `/dev/fuse`, open: where requests are read and answers are written.
#[derive(Debug)]
pub struct Device(OwnedFd);

impl Device {
    /// Opens it. It has no mount yet.
    ///
    /// # Errors
    /// `ENOENT`, `ENODEV` where the kernel has no FUSE; `EACCES`.
    pub fn open() -> Result<Self> {
        let opened = rustix::fs::openat(CWD, DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        opened.map(Self).map_err(|errno| SysError::new("openat", DEVICE, errno))
    }

    /// One more end of the connection, with a queue of its own for what it has read and not answered. Where that is refused, for
    /// the device cannot be opened any more, one that shares the queue.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn another(&self) -> Result<Self> {
        match Self::open().and_then(|new| new.join(self).map(|()| new)) {
            Ok(new) => Ok(new),
            Err(error) if error.errno() == Errno::MFILE => Err(error),
            Err(_) => rustix::io::fcntl_dupfd_cloexec(&self.0, 0)
                .map(Self)
                .map_err(|errno| SysError::new("fcntl", DEVICE, errno)),
        }
    }

    fn join(&self, connection: &Self) -> Result<()> {
        let from = u32::try_from(connection.0.as_raw_fd()).unwrap_or(u32::MAX);
        // SAFETY: the call reads four bytes at the address, which is that of a local; both descriptors are open.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), CLONE, &raw const from) };
        if done < 0 { Err(failed("ioctl FUSE_DEV_IOC_CLONE")) } else { Ok(()) }
    }

    /// Waits for a request and reads it. A signal with a handler ends the wait, `EINTR`.
    ///
    /// # Errors
    /// `ENODEV` when the mount is gone, `ECONNABORTED` when it was aborted, `ENOENT` for a request that was taken back meanwhile.
    pub fn read(&self, buffer: &mut [u8]) -> std::result::Result<usize, Errno> {
        rustix::io::read(&self.0, buffer)
    }

    /// Writes an answer or a notice, whole.
    ///
    /// # Errors
    /// `ENOENT` for a request that nobody waits for any more; `EINVAL` for bytes that are none of the protocol's.
    pub fn write(&self, parts: &[IoSlice<'_>]) -> std::result::Result<(), Errno> {
        rustix::io::retry_on_intr(|| rustix::io::writev(&self.0, parts)).map(drop)
    }

    /// Gives the kernel a file that it may read and write by itself where an answer to `OPEN` names it (Linux 6.9). It stays until
    /// [`Device::backing_close`], and those who have it open longer.
    ///
    /// What it was opened for does not bind the kernel: a backing opened for reading **is written to** by whoever opens the file
    /// of the union for writing. Only a read-only mount, through which it was opened, keeps it whole.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN` in the initial user namespace; `ELOOP` where it stands on too many stacked file systems;
    /// `EOPNOTSUPP` for what is not a regular file; `EINVAL` before passthrough was agreed on.
    pub fn backing_open(&self, file: impl AsFd) -> std::result::Result<i32, Errno> {
        let map = BackingMap { fd: file.as_fd().as_raw_fd(), flags: 0, padding: 0 };
        // SAFETY: the call reads a `fuse_backing_map` at the address, which is that of a local of its layout.
        let id = unsafe { libc::ioctl(self.0.as_raw_fd(), BACKING_OPEN, &raw const map) };
        if id < 0 { Err(last_errno()) } else { Ok(id) }
    }

    /// Takes a backing file back. Files that were opened with it keep it.
    ///
    /// # Errors
    /// `ENOENT` where there is none of that number.
    pub fn backing_close(&self, id: i32) -> std::result::Result<(), Errno> {
        let id = u32::try_from(id).map_err(|_| Errno::NOENT)?;
        // SAFETY: the call reads four bytes at the address, which is that of a local.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), BACKING_CLOSE, &raw const id) };
        if done < 0 { Err(last_errno()) } else { Ok(()) }
    }

    /// Makes a detached mount that this device serves. The kernel's first request waits when this returns; whoever looks at the
    /// mount waits until it is answered.
    ///
    /// # Errors
    /// The kernel's words: `EPERM` without the right to mount, `EINVAL` where the device was opened in another user namespace.
    pub fn mount(&self, options: &MountOptions) -> std::result::Result<Mount, MountError> {
        let context = FsContext::open("fuse")?;
        context.string("source", options.source.as_bytes())?;
        if !options.subtype.is_empty() {
            context.string("subtype", options.subtype.as_bytes())?;
        }
        // As text: descriptors proper are taken since Linux 6.13 only.
        context.string("fd", self.0.as_raw_fd().to_string().as_bytes())?;
        context.string("rootmode", format!("{:o}", libc::S_IFDIR).as_bytes())?;
        context.string("user_id", options.uid.to_string().as_bytes())?;
        context.string("group_id", options.gid.to_string().as_bytes())?;
        if let Some(most) = options.max_read {
            context.string("max_read", most.to_string().as_bytes())?;
        }
        if options.default_permissions {
            context.flag("default_permissions")?;
        }
        if options.allow_other {
            context.flag("allow_other")?;
        }
        for (key, value) in &options.more {
            match value {
                Some(value) => context.string(key, value)?,
                None => context.flag(key)?,
            }
        }
        context.create(options.attrs)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor that another process opened, and perhaps mounted.
impl From<OwnedFd> for Device {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Device> for OwnedFd {
    fn from(device: Device) -> Self {
        device.0
    }
}

/// Ends the connection of the FUSE mount with the device number `minor`: whoever waits for it gets an error, whoever asks later too.
///
/// # Errors
/// `ENOENT` where there is none, or `/sys/fs/fuse/connections` is not mounted; `EACCES`.
pub fn abort(minor: u32) -> Result<()> {
    let mut path = String::from("/sys/fs/fuse/connections/");
    // ignored: writing to a string does not end in an error.
    write!(path, "{minor}/abort").ok();
    let open = rustix::fs::openat(CWD, Path::new(&path), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    let file = open.map_err(|errno| SysError::new("openat", &path, errno))?;
    rustix::io::write(&file, b"1").map(drop).map_err(|errno| SysError::new("write", &path, errno))
}

/// Bytes of a page of memory.
#[must_use]
pub fn page_size() -> u32 {
    // SAFETY: sysconf only reads.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u32::try_from(size).unwrap_or(4096)
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn failed(call: &'static str) -> SysError {
    SysError::new(call, DEVICE, last_errno())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ioctls_have_the_kernels_numbers() {
        assert_eq!((CLONE, BACKING_OPEN, BACKING_CLOSE), (0x8004_e500, 0x4010_e501, 0x4004_e502));
    }

    #[test]
    fn a_device_without_a_mount_has_no_requests_and_no_copies() {
        let device = match Device::open() {
            Ok(device) => device,
            Err(error) => return eprintln!("skipped: {error}"),
        };
        assert_eq!(device.read(&mut [0; 8192]), Err(Errno::PERM));
        assert!(device.join(&device).is_err());
        assert!(device.another().is_ok(), "one that shares the queue");
    }

    #[test]
    fn aborting_what_is_not_there_is_an_error() {
        assert_eq!(abort(u32::MAX).unwrap_err().errno(), Errno::NOENT);
    }
}
