//! Signals: their numbers, a process's mask and dispositions, and two ways to wait for them beside other work.
//!
//! [`SignalFd`] is for a process without threads, where blocking in the one thread blocks everywhere. [`Caught`] is for any process: its
//! handler only writes to a pipe, so it does not matter which thread the kernel picks.
#![allow(unsafe_code, reason = "sigaction(2), sigprocmask(2), signalfd(2)")]

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::{failed, last_errno};
use crate::SysError;

/// A signal's number, 1 to 64; real-time ones too, since images name them as their stop signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(u8);

impl Signal {
    /// The terminal is gone.
    pub const HUP: Self = Self(1);
    /// Interrupt from the keyboard.
    pub const INT: Self = Self(2);
    /// Quit from the keyboard.
    pub const QUIT: Self = Self(3);
    /// Cannot be caught.
    pub const KILL: Self = Self(9);
    /// For the program's own use.
    pub const USR1: Self = Self(10);
    /// For the program's own use.
    pub const USR2: Self = Self(12);
    /// An alarm clock.
    pub const ALRM: Self = Self(14);
    /// Please end.
    pub const TERM: Self = Self(15);
    /// A child changed its state.
    pub const CHLD: Self = Self(17);
    /// Go on after a stop.
    pub const CONT: Self = Self(18);
    /// The limit of processor time is reached.
    pub const XCPU: Self = Self(24);
    /// A file was to grow beyond the limit.
    pub const XFSZ: Self = Self(25);
    /// A timer of processor time in user space.
    pub const VTALRM: Self = Self(26);
    /// A timer of processor time.
    pub const PROF: Self = Self(27);
    /// The terminal's window changed its size.
    pub const WINCH: Self = Self(28);

    /// The signal of that number; `None` outside 1 to 64.
    pub fn from_raw(number: i32) -> Option<Self> {
        u8::try_from(number).ok().filter(|n| (1..=64).contains(n)).map(Self)
    }

    /// Its number.
    pub fn as_raw(self) -> i32 {
        i32::from(self.0)
    }
}

/// A set of blocked signals, to be put back.
pub struct SignalMask(libc::sigset_t);

impl std::fmt::Debug for SignalMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignalMask")
    }
}

fn set_of(fill: unsafe extern "C" fn(*mut libc::sigset_t) -> c_int) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `fill` is sigfillset or sigemptyset, which only write the set.
    unsafe { fill(set.as_mut_ptr()) };
    // SAFETY: both initialise it wholly and cannot fail with a valid pointer.
    unsafe { set.assume_init() }
}

fn change_mask(how: c_int, set: &libc::sigset_t) -> Result<SignalMask, SysError> {
    let mut before = set_of(libc::sigemptyset);
    // SAFETY: both sets are valid.
    let errno = unsafe { libc::pthread_sigmask(how, set, &raw mut before) };
    if errno != 0 { Err(failed("sigprocmask", "")(Errno::from_raw_os_error(errno))) } else { Ok(SignalMask(before)) }
}

/// Blocks every signal in this thread and returns what was blocked before.
pub fn block_all() -> Result<SignalMask, SysError> {
    change_mask(libc::SIG_BLOCK, &set_of(libc::sigfillset))
}

/// Puts a mask back.
pub fn restore_mask(mask: &SignalMask) -> Result<(), SysError> {
    change_mask(libc::SIG_SETMASK, &mask.0).map(drop)
}

/// Blocks nothing, as a program expects to be started.
pub fn unblock_all() -> Result<(), SysError> {
    change_mask(libc::SIG_SETMASK, &set_of(libc::sigemptyset)).map(drop)
}

/// Gives every signal its default meaning. Ignored ones pass through an exec: Rust's start-up ignores `SIGPIPE`, a shell's
/// background job `SIGINT`, and a program in a container expects neither.
pub fn reset_dispositions() -> Result<(), SysError> {
    for number in 1..=64 {
        let signal = Signal(number);
        // SAFETY: SIG_DFL runs no code of ours.
        let before = unsafe { libc::signal(signal.as_raw(), libc::SIG_DFL) };
        // KILL and STOP have no other meaning, and libc keeps its two own real-time signals back: EINVAL.
        if before == libc::SIG_ERR && last_errno() != Errno::INVAL {
            return Err(failed("signal", number.to_string())(last_errno()));
        }
    }
    Ok(())
}

/// Has the kernel drop these signals from here on. KILL cannot be among them: `EINVAL`.
pub fn ignore(signals: &[Signal]) -> Result<(), SysError> {
    for signal in signals {
        // SAFETY: SIG_IGN runs no code of ours.
        if unsafe { libc::signal(signal.as_raw(), libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(failed("signal", signal.as_raw().to_string())(last_errno()));
        }
    }
    Ok(())
}

/// Every signal of this process, as a descriptor to poll. They must be blocked, see [`block_all`].
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Opens it.
    pub fn open() -> Result<Self, SysError> {
        let all = set_of(libc::sigfillset);
        // SAFETY: the set is valid; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const all, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(failed("signalfd", "")(last_errno()));
        }
        // SAFETY: new, owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next signal that came; `None` when there is none now.
    pub fn next(&self) -> Result<Option<Signal>, SysError> {
        let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut info[..]) {
            // The number is the record's first field, four bytes (signalfd(2)).
            Ok(_) => Ok(info.first().and_then(|number| Signal::from_raw(i32::from(*number)))),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(failed("read", "signalfd")(errno)),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The pipe that the handler writes to: reader, writer. Never closed, since a handler may be under way in any thread.
static PIPE: OnceLock<(OwnedFd, OwnedFd)> = OnceLock::new();
/// Whether somebody listens.
static LISTENING: AtomicBool = AtomicBool::new(false);

/// A signal that was caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaughtSignal {
    /// Which.
    pub signal: Signal,
    /// The kernel sent it, as for `^C`, to the terminal's whole foreground group; else one process sent it to this one.
    pub from_terminal: bool,
}

/// Signals caught for as long as this lives; at most one at a time in a process. What was ignored before stays ignored.
pub struct Caught {
    reader: &'static OwnedFd,
    before: Vec<(Signal, libc::sigaction)>,
}

impl std::fmt::Debug for Caught {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caught").field("reader", &self.reader).finish_non_exhaustive()
    }
}

extern "C" fn handler(number: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid record.
    let from_terminal = unsafe { (*info).si_code } == libc::SI_KERNEL;
    let word = [u8::try_from(number).unwrap_or(0), u8::from(from_terminal)];
    // SAFETY: this thread's errno; kept, since the interrupted code may be about to read it.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let kept = unsafe { *errno };
    // The pipe was made before the handler was set, so this `get` neither waits nor allocates.
    if let Some((_, writer)) = PIPE.get() {
        // A full pipe holds thousands of signals already: one more may be lost.
        // SAFETY: write(2) is safe in a handler; two bytes are below PIPE_BUF, so never half.
        unsafe { libc::write(writer.as_raw_fd(), word.as_ptr().cast(), word.len()) };
    }
    // SAFETY: as above.
    unsafe { *errno = kept };
}

impl Caught {
    /// Begins to catch `signals`. `EBUSY` when another lives.
    pub fn new(signals: &[Signal]) -> Result<Self, SysError> {
        if LISTENING.swap(true, Ordering::SeqCst) {
            return Err(failed("sigaction", "")(Errno::BUSY));
        }
        let reader = match pipe() {
            Ok((reader, _)) => reader,
            Err(error) => {
                LISTENING.store(false, Ordering::SeqCst);
                return Err(error);
            }
        };
        let mut caught = Self { reader, before: Vec::with_capacity(signals.len()) };
        // What the listener before this one did not read is not ours.
        while caught.next()?.is_some() {}
        for signal in signals {
            caught.catch(*signal)?;
        }
        Ok(caught)
    }

    fn catch(&mut self, signal: Signal) -> Result<(), SysError> {
        let new = libc::sigaction {
            sa_sigaction: handler as *const () as usize,
            sa_mask: set_of(libc::sigfillset),
            sa_flags: libc::SA_SIGINFO | libc::SA_RESTART,
            sa_restorer: None,
        };
        let before = swap_action(signal, &new)?;
        if before.sa_sigaction == libc::SIG_IGN {
            swap_action(signal, &before)?;
        } else {
            self.before.push((signal, before));
        }
        Ok(())
    }

    /// The next signal that came; `None` when there is none now.
    pub fn next(&self) -> Result<Option<CaughtSignal>, SysError> {
        let mut word = [0_u8; 2];
        match rustix::io::read(self.reader, &mut word[..]) {
            Ok(_) => {
                let [number, from_terminal] = word;
                let signal = Signal::from_raw(i32::from(number));
                Ok(signal.map(|signal| CaughtSignal { signal, from_terminal: from_terminal != 0 }))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(failed("read", "signal pipe")(errno)),
        }
    }
}

/// The pipe, made at the first use.
fn pipe() -> Result<&'static (OwnedFd, OwnedFd), SysError> {
    if PIPE.get().is_none() {
        let made = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(failed("pipe2", ""))?;
        match PIPE.set(made) {
            // ignored: had another thread been first, its pipe would do as well.
            Ok(()) | Err(_) => {}
        }
    }
    PIPE.get().ok_or_else(|| failed("pipe2", "")(Errno::BADF))
}

fn swap_action(signal: Signal, new: &libc::sigaction) -> Result<libc::sigaction, SysError> {
    let mut before = MaybeUninit::uninit();
    // SAFETY: `new` is a valid action whose handler is safe to run at any moment; `before` is written.
    if unsafe { libc::sigaction(signal.as_raw(), new, before.as_mut_ptr()) } < 0 {
        return Err(failed("sigaction", signal.as_raw().to_string())(last_errno()));
    }
    // SAFETY: the call succeeded, so it was written.
    Ok(unsafe { before.assume_init() })
}

impl AsFd for Caught {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        for (signal, before) in self.before.drain(..).rev() {
            match swap_action(signal, &before) {
                // ignored: putting back what sigaction itself returned can only fail for a bad number, and these were taken.
                Ok(_) | Err(_) => {}
            }
        }
        LISTENING.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_the_kernels_are_no_signals() {
        assert_eq!(Signal::from_raw(0), None);
        assert_eq!(Signal::from_raw(65), None);
        assert_eq!(Signal::from_raw(-9), None);
        assert_eq!(Signal::from_raw(64).map(Signal::as_raw), Some(64));
    }
}
