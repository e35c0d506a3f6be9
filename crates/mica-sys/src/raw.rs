//! System calls that rustix does not have.
#![allow(unsafe_code, reason = "raw system calls; each block names what it relies on")]

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// `fchmodat2(dir, name, mode, AT_SYMLINK_NOFOLLOW)`, Linux 6.6; before it, an `O_PATH` descriptor and `/proc/self/fd`.
pub(crate) fn fchmodat2(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<(), Errno> {
    let path = CString::new(name).map_err(|_| Errno::INVAL)?;
    // SAFETY: `path` is a NUL-terminated string that lives over the call; the descriptor is borrowed; the call writes no memory.
    let done =
        unsafe { libc::syscall(libc::SYS_fchmodat2, dir.as_raw_fd(), path.as_ptr(), mode, libc::AT_SYMLINK_NOFOLLOW) };
    if done == 0 {
        return Ok(());
    }
    match last_errno() {
        Errno::NOSYS => {}
        errno => return Err(errno),
    }
    let file = rustix::fs::openat(dir, &path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::chmodat(rustix::fs::CWD, itself, Mode::from_raw_mode(mode), AtFlags::empty())
}

/// Length of `struct fsxattr` (linux/fs.h).
const FSXATTR: usize = 28;

/// `_IOR('X', 31, struct fsxattr)`: direction in the two highest bits, then 14 bits of size, type, number (asm-generic/ioctl.h).
const FS_IOC_FSGETXATTR: u32 = (2 << 30) | (28 << 16) | ((b'X' as u32) << 8) | 31;
/// `_IOW('X', 32, struct fsxattr)`.
const FS_IOC_FSSETXATTR: u32 = (1 << 30) | (28 << 16) | ((b'X' as u32) << 8) | 32;

pub(crate) fn get_extended_flags(file: BorrowedFd<'_>) -> Result<[u8; FSXATTR], Errno> {
    let mut flags = [0_u8; FSXATTR];
    // SAFETY: the call writes at most the 28 bytes that its number names, into an array of 28.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FSGETXATTR.into(), flags.as_mut_ptr()) };
    if done < 0 { Err(last_errno()) } else { Ok(flags) }
}

pub(crate) fn set_extended_flags(file: BorrowedFd<'_>, flags: &[u8; FSXATTR]) -> Result<(), Errno> {
    // SAFETY: the call reads the 28 bytes that its number names, from an array of 28.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FSSETXATTR.into(), flags.as_ptr()) };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}
