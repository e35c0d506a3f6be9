//! Threads that wait in a system call and can be woken.

use std::os::unix::thread::JoinHandleExt;
use std::sync::OnceLock;
use std::thread::JoinHandle;

use rustix::io::Errno;

use crate::error::{Result, SysError};

/// That the calling thread can be interrupted.
#[derive(Debug)]
pub struct Interruptible(());

/// The signal: a real-time one in the middle of the range, where neither libc nor people look for one.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 11
}

extern "C" fn nothing(_: libc::c_int) {}

/// Gives the signal a handler that does nothing: a signal that is ignored wakes nobody.
fn install() -> std::result::Result<(), Errno> {
    static INSTALLED: OnceLock<std::result::Result<(), Errno>> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        // SAFETY: all zero is a valid `sigaction`: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as *const () as usize;
        // SAFETY: the action is valid, and its handler is safe at any moment, for it does nothing. Without SA_RESTART a call that
        // waits ends with EINTR.
        let done = unsafe { libc::sigaction(signal(), &raw const action, std::ptr::null_mut()) };
        if done < 0 { Err(super::last_errno()) } else { Ok(()) }
    })
}

impl Interruptible {
    /// Lets [`interrupt`] reach the calling thread, also where it was started with all signals blocked.
    ///
    /// # Errors
    /// Those of sigaction(2).
    pub fn here() -> Result<Self> {
        install().map_err(|errno| SysError::new("sigaction", "", errno))?;
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: the call writes the set whole.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: it was written.
        let mut set = unsafe { set.assume_init() };
        // SAFETY: the set is valid and the number is a signal's.
        unsafe { libc::sigaddset(&raw mut set, signal()) };
        // SAFETY: the set is valid; what was before is not asked for.
        let errno = unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) };
        match errno {
            0 => Ok(Self(())),
            errno => Err(SysError::new("pthread_sigmask", "", Errno::from_raw_os_error(errno))),
        }
    }
}

/// Ends the system call in which a thread waits, with `EINTR`, if it is in one. It may be about to enter it and hear nothing: who must
/// be sure tries again.
pub fn interrupt<T>(thread: &JoinHandle<T>) {
    if install().is_ok() {
        // SAFETY: a thread that was not joined, which takes its handle, has its descriptor, also when it has ended.
        unsafe { libc::pthread_kill(thread.as_pthread_t(), signal()) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_thread_that_waits_is_woken() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let thread = std::thread::spawn(move || {
            crate::process::block_all().unwrap();
            let _here = Interruptible::here().unwrap();
            rustix::io::read(reader.as_fd(), &mut [0_u8; 1][..])
        });
        while !thread.is_finished() {
            interrupt(&thread);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(thread.join().unwrap(), Err(Errno::INTR));
        drop(writer);
    }
}
