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
