//! The second process and its program: fork in a process without threads, descriptors in place, exec.
#![allow(unsafe_code, reason = "fork(2), execve(2) and descriptors known by number")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

use super::{failed, last_errno};
use crate::SysError;

/// Which side of a [`fork`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The process that forked, and its child.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Forks. Refused with `EINVAL` in a process with threads, where a child may find any lock held for ever.
pub fn fork() -> Result<Fork, SysError> {
    // The kernel answers EINVAL for CLONE_THREAD in a process of more than one thread, and does nothing otherwise (unshare(2)).
    // SAFETY: changes nothing.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } < 0 {
        return Err(failed("unshare", "threads")(last_errno()));
    }
    // SAFETY: there is one thread, so no lock is held by another and the child may run any code.
    let pid = unsafe { libc::fork() };
    match Pid::from_raw(pid.max(0)) {
        Some(child) => Ok(Fork::Parent(child)),
        None if pid == 0 => Ok(Fork::Child),
        None => Err(failed("fork", "")(last_errno())),
    }
}

/// Replaces this process by the program at `path`. Returns only when that was refused.
pub fn exec(path: &CStr, argv: &[CString], env: &[CString]) -> SysError {
    let argv: Vec<*const c_char> = argv.iter().map(|arg| arg.as_ptr()).chain([std::ptr::null()]).collect();
    let env: Vec<*const c_char> = env.iter().map(|var| var.as_ptr()).chain([std::ptr::null()]).collect();
    // SAFETY: both arrays end with a null pointer and, like the path, live over the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    failed("execve", path.to_bytes())(last_errno())
}

/// Ends this process at once: no destructor and no `atexit` of the program it was forked from runs.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: never returns, touches nothing.
    unsafe { libc::_exit(c_int::from(code)) }
}

/// Marks every descriptor from `first` on to be closed by the next exec. Linux 5.11.
pub fn close_on_exec_from(first: i32) -> Result<(), SysError> {
    // SAFETY: sets a flag on descriptors.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, first, c_int::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if marked < 0 { Err(failed("close_range", first.to_string())(last_errno())) } else { Ok(()) }
}

/// Makes 0, 1 or 2 a copy of `fd`, kept over an exec.
pub fn redirect(fd: impl AsFd, stdio: i32) -> Result<(), SysError> {
    if !(0..=2).contains(&stdio) {
        return Err(failed("dup2", stdio.to_string())(rustix::io::Errno::BADF));
    }
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: 0, 1 and 2 are never owned by an OwnedFd in this workspace.
    if unsafe { libc::dup2(fd, stdio) } < 0 { Err(failed("dup2", stdio.to_string())(last_errno())) } else { Ok(()) }
}

/// Takes the descriptors `first..first + count` that the program before this one left open, marks them to be closed by the
/// next exec, and refuses with `EBADF` when one is not open. To be called once, before anything else opened a file.
pub fn take_inherited(first: i32, count: usize) -> Result<Vec<OwnedFd>, SysError> {
    let mut taken = Vec::with_capacity(count);
    for number in (first..).take(count) {
        // SAFETY: asks and sets a flag.
        if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return Err(failed("fcntl", number.to_string())(last_errno()));
        }
        // SAFETY: it is open, and by the rule above nothing in this process owns it yet.
        taken.push(unsafe { OwnedFd::from_raw_fd(number) });
    }
    Ok(taken)
}

/// A file in memory with the bytes of `from`, read from the start by who gets it. Nobody can change it any more.
pub fn sealed_copy(name: &str, from: &mut dyn std::io::Read) -> std::io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let mut file = std::fs::File::from(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    std::io::copy(from, &mut file)?;
    std::io::Seek::rewind(&mut file)?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file.into())
}

/// An empty file in memory, closed by an exec.
pub fn memory_file(name: &str) -> Result<OwnedFd, SysError> {
    use rustix::fs::{MemfdFlags, memfd_create};
    memfd_create(name, MemfdFlags::CLOEXEC).map_err(failed("memfd_create", name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_does_not_fork() {
        std::thread::scope(|scope| {
            let (go, wait) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || wait.recv());
            assert_eq!(fork().unwrap_err().errno(), rustix::io::Errno::INVAL);
            drop(go);
        });
    }

    #[test]
    fn only_standard_descriptors_are_redirected_and_only_open_ones_taken() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(redirect(&null, 3).is_err());
        assert!(take_inherited(1_000_000, 1).is_err());
    }

    #[test]
    fn nobody_writes_to_a_sealed_copy() {
        use std::io::{Read, Seek, Write};
        let mut copy = std::fs::File::from(sealed_copy("copy", &mut &b"content"[..]).unwrap());
        let refused = copy.write(b"x").unwrap_err();
        assert_eq!(rustix::io::Errno::from_io_error(&refused), Some(rustix::io::Errno::PERM));
        assert!(copy.set_len(0).is_err());
        copy.rewind().unwrap();
        let mut text = String::new();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "content");
    }
}
