//! A new program in new namespaces, from a process that may have threads.
//!
//! Between `clone` and `execveat` the child shares this process's memory (`CLONE_VM | CLONE_VFORK`: nothing is copied, whatever the
//! caller's size) while other threads go on, so [`between_clone_and_exec`] makes bare system calls only: it allocates nothing,
//! takes no lock, and touches no memory but its own stack and the [`Plan`] that the suspended caller made for it.
#![allow(unsafe_code, reason = "clone(2), and the code between it and execveat(2)")]

use std::ffi::{CString, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use super::namespace::Namespaces;
use super::signals::{block_all, restore_mask};
use super::{failed, last_errno};
use crate::SysError;

/// The number by which the new program finds the first of [`Spawn::fds`]; the others follow.
pub const FIRST_FD: i32 = 3;

/// Bytes of stack for the few frames between clone and exec; glibc's `posix_spawn` takes 32 KiB too.
const STACK: usize = 32 * 1024;

/// A program to start.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// The program, open by `O_PATH` or for reading. Its environment is empty, so that nothing of the caller's shows in `/proc/1/environ`.
    pub exe: BorrowedFd<'a>,
    /// Its arguments, the name first.
    pub argv: &'a [CString],
    /// The namespaces made for it. With a new pid namespace it is process 1 there.
    pub namespaces: Namespaces,
    /// The descriptors it gets as [`FIRST_FD`] and on, beside 0, 1 and 2. Every other one is closed by the exec.
    pub fds: &'a [BorrowedFd<'a>],
}

/// A process that [`spawn`] started. It is to be awaited with [`wait_for`](super::wait_for).
#[derive(Debug)]
pub struct Spawned {
    /// Its number in the caller's pid namespace.
    pub pid: Pid,
    /// Stands for the process, also after its number was given away.
    pub pidfd: OwnedFd,
}

/// What the child reads and where it says why it stopped; lives in the caller's frame.
struct Plan {
    exe: c_int,
    argv: *const *const c_char,
    envp: *const *const c_char,
    /// Sources of the descriptors; the child writes the numbers of its copies over them.
    fds: *mut c_int,
    count: usize,
    call: &'static str,
    errno: c_int,
}

/// Starts `what` with every signal blocked, and returns once it runs its own program. A failure up to the exec is reported here.
///
/// The child's parent is the calling *thread*: a parent death signal that it asks for comes when this thread ends.
/// Needs Linux 5.11 (`CLOSE_RANGE_CLOEXEC`).
pub fn spawn(what: &Spawn<'_>) -> Result<Spawned, SysError> {
    let mut argv: Vec<*const c_char> = what.argv.iter().map(|arg| arg.as_ptr()).collect();
    argv.push(std::ptr::null());
    let envp: [*const c_char; 1] = [std::ptr::null()];
    let mut fds: Vec<c_int> = what.fds.iter().map(AsRawFd::as_raw_fd).collect();
    let mut plan = Plan {
        exe: what.exe.as_raw_fd(),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        count: fds.len(),
        fds: fds.as_mut_ptr(),
        call: "",
        errno: 0,
    };
    // 16-byte items: the stack must be aligned so on every architecture.
    let mut stack: Vec<u128> = Vec::with_capacity(STACK / 16);
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD | what.namespaces.clone_flags();

    // A handler of ours must not run in the child, which shares our memory; and the new program starts with all blocked, so
    // that no signal to it is lost before it listens.
    let mask = block_all()?;
    // SAFETY: the stack is STACK bytes, aligned, and outlives the child's use of it, as do the plan and what it points to:
    // CLONE_VFORK suspends this thread until the child has replaced its memory or is gone.
    let pid = unsafe { libc::clone(between_clone_and_exec, top.cast(), flags, (&raw mut plan).cast(), &raw mut pidfd) };
    let refused = last_errno();
    restore_mask(&mask)?;
    let Some(pid) = Pid::from_raw(pid.max(0)) else {
        return Err(failed("clone", what.namespaces.to_string())(refused));
    };
    // SAFETY: CLONE_PIDFD stored a new descriptor there, which nothing else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    if plan.errno != 0 {
        super::wait_for(pid)?;
        let program = what.argv.first().map_or(&b""[..], |arg| arg.as_bytes());
        return Err(failed(plan.call, program)(Errno::from_raw_os_error(plan.errno)));
    }
    Ok(Spawned { pid, pidfd })
}

/// What the child does: puts its descriptors in place, marks all others to be closed, and becomes the program.
extern "C" fn between_clone_and_exec(plan: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes its own plan and sleeps, so this is the only reference to it.
    let plan = unsafe { &mut *plan.cast::<Plan>() };
    // SAFETY: `fds` has `count` items in `spawn`'s frame and is used by nobody else meanwhile.
    let fds = unsafe { std::slice::from_raw_parts_mut(plan.fds, plan.count) };
    let after = FIRST_FD.saturating_add(c_int::try_from(fds.len()).unwrap_or(c_int::MAX));

    // First above all targets, so that no dup2 below closes a source that is still needed.
    for fd in fds.iter_mut() {
        // SAFETY: a descriptor is copied; the table is the child's own (no CLONE_FILES).
        let copy = unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, after) };
        if copy < 0 {
            return stop(plan, "dup");
        }
        *fd = copy;
    }
    // SAFETY: as above; the program may stand on a number that is overwritten below.
    let exe = unsafe { libc::fcntl(plan.exe, libc::F_DUPFD_CLOEXEC, after) };
    if exe < 0 {
        return stop(plan, "dup");
    }
    for (target, fd) in (FIRST_FD..).zip(fds.iter()) {
        // SAFETY: numbers only; what stood on the target is copied or not wanted.
        if unsafe { libc::dup2(*fd, target) } < 0 {
            return stop(plan, "dup2");
        }
    }
    // SAFETY: marks descriptors; the raw call because libc's wrapper is newer than some libraries we run on.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, after, c_int::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if marked < 0 {
        return stop(plan, "close_range");
    }
    // SAFETY: argv and envp end with a null pointer and outlive the call; the path is a literal.
    unsafe { libc::syscall(libc::SYS_execveat, exe, c"".as_ptr(), plan.argv, plan.envp, libc::AT_EMPTY_PATH) };
    stop(plan, "execveat")
}

/// Leaves word of the failed call; the child ends with what is returned.
fn stop(plan: &mut Plan, call: &'static str) -> c_int {
    // SAFETY: the address of this thread's errno is always valid.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    plan.errno = unsafe { *errno };
    plan.call = call;
    127
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::path::Path;

    use super::super::{Ended, open_place, wait_for};
    use super::*;

    fn spawned(exe: &str, args: &[&str], fds: &[BorrowedFd<'_>]) -> Result<Ended, SysError> {
        let exe = open_place(Path::new(exe)).unwrap();
        let argv: Vec<CString> = args.iter().map(|arg| CString::new(*arg).unwrap()).collect();
        let child = spawn(&Spawn { exe: exe.as_fd(), argv: &argv, namespaces: Namespaces::default(), fds })?;
        wait_for(child.pid)
    }

    #[test]
    fn descriptors_stand_in_order_from_the_first_and_no_other_does() {
        let (zero, null) = (open_place(Path::new("/dev/zero")).unwrap(), open_place(Path::new("/dev/null")).unwrap());
        let script = "a=$(readlink /proc/$$/fd/3) b=$(readlink /proc/$$/fd/4); \
            [ \"$a $b\" = '/dev/null /dev/zero' ] && ! [ -e /proc/$$/fd/5 ] && [ -z \"$HOME\" ] && exit 9; exit 1";
        let ended = spawned("/bin/sh", &["sh", "-c", script], &[null.as_fd(), zero.as_fd()]);
        assert_eq!(ended, Ok(Ended::Code(9)));
    }

    #[test]
    fn what_cannot_be_executed_is_the_callers_error() {
        let error = spawned("/etc", &["a-name"], &[]).unwrap_err();
        assert_eq!((error.call(), error.errno()), ("execveat", Errno::ACCESS));
        assert!(error.to_string().contains("a-name"));
    }
}
