//! Telling a process and awaiting its end.
#![allow(unsafe_code, reason = "kill(2) and pidfd_send_signal(2) with real-time signals")]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait, waitpid};

use super::signals::Signal;
use super::{failed, last_errno};
use crate::SysError;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It ended itself with this code.
    Code(u8),
    /// This signal ended it.
    Signal(i32),
}

impl Ended {
    fn from_status(status: WaitStatus) -> Option<Self> {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Some(Self::Code(u8::try_from(code).unwrap_or(u8::MAX))),
            (_, Some(signal)) => Some(Self::Signal(signal)),
            _ => None,
        }
    }
}

/// Waits for the end of the child `pid` and takes its record away.
pub fn wait_for(pid: Pid) -> Result<Ended, SysError> {
    loop {
        let waited = rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
        let waited = waited.map_err(failed("waitpid", pid.as_raw_nonzero().to_string()))?;
        if let Some(ended) = waited.and_then(|(_, status)| Ended::from_status(status)) {
            return Ok(ended);
        }
    }
}

/// Takes the record of one ended child away, of whichever has one; `None` when no child has ended, or there is none.
pub fn reap_any() -> Result<Option<(Pid, Ended)>, SysError> {
    loop {
        match rustix::io::retry_on_intr(|| wait(WaitOptions::NOHANG)) {
            Ok(Some((pid, status))) => {
                if let Some(ended) = Ended::from_status(status) {
                    return Ok(Some((pid, ended)));
                }
            }
            Ok(None) | Err(Errno::CHILD) => return Ok(None),
            Err(errno) => return Err(failed("waitpid", "any")(errno)),
        }
    }
}

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// One process.
    Process(Pid),
    /// Every process of the group that this one leads.
    Group(Pid),
}

/// Sends a signal. `false` when nobody is there any more.
pub fn send_signal(target: Target, signal: Signal) -> Result<bool, SysError> {
    let to = match target {
        Target::Process(pid) => pid.as_raw_nonzero().get(),
        Target::Group(pid) => -pid.as_raw_nonzero().get(),
    };
    // SAFETY: numbers only.
    delivered(unsafe { libc::kill(to, signal.as_raw()) }.into(), "kill", to)
}

/// A descriptor that stands for the process with this number now, and for no other that has the number later; `None` when
/// nobody has it. Who it is must be looked at after this.
pub fn open_pidfd(pid: i32) -> Result<Option<OwnedFd>, SysError> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
    match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(Errno::SRCH) => Ok(None),
        Err(errno) => Err(failed("pidfd_open", pid.as_raw_nonzero().to_string())(errno)),
    }
}

/// Sends a signal to the process that `pidfd` stands for. `false` when it has ended.
pub fn send_signal_pidfd(pidfd: impl AsFd, signal: Signal) -> Result<bool, SysError> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: a valid descriptor, numbers, and no siginfo.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal.as_raw(), std::ptr::null::<u8>(), 0) };
    delivered(sent, "pidfd_send_signal", signal.as_raw())
}

fn delivered(result: libc::c_long, call: &'static str, subject: i32) -> Result<bool, SysError> {
    if result >= 0 {
        return Ok(true);
    }
    match last_errno() {
        Errno::SRCH => Ok(false),
        errno => Err(failed(call, subject.to_string())(errno)),
    }
}
