//! The fault door: every call of this crate that changes the disk passes here first, so that a test can stop the program
//! before any one of them, or make it fail. Calls that open and read pass a door of their own, where they can be made to fail.
//!
//! The door is in the program that users run, and closed by one relaxed load when nothing is armed: what is tested is
//! what is shipped. Calls are counted from 1 over all threads.
//!
//! * `kill@17` stops the process at its 17th change, as SIGKILL or a power cut would: nothing of it happens.
//! * `fail@17:ENOSPC` makes the 17th fail with that error; those after it go through.
//! * `fail@17+:ENOSPC` makes the 17th and all after it fail: a disk that stays full.
//! * `look@17:EIO` makes the 17th call that opens or reads something fail, and `look@17+:EIO` all after it too: a bad disk.
//! * `trace` lets everything through and records it for [`trace`].

use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;

use crate::error::{Result, SysError};

/// What the door does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultPlan {
    /// Stop the process before the nth change.
    Kill {
        /// Which, from 1.
        nth: u64,
    },
    /// Fail the nth change.
    Fail {
        /// Which, from 1.
        nth: u64,
        /// Also all that come after it.
        on: bool,
        /// With what.
        errno: Errno,
    },
    /// Fail the nth call that opens or reads.
    Look {
        /// Which, from 1.
        nth: u64,
        /// Also all that come after it.
        on: bool,
        /// With what.
        errno: Errno,
    },
    /// Record the changes and let them through.
    Trace,
}

/// A fault plan that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "fault plan {text:?} is none of kill@N, fail@N:ERRNO, fail@N+:ERRNO, look@N:ERRNO, look@N+:ERRNO and trace (ERRNO: ENOSPC, EIO, EDQUOT, EACCES, EMFILE)"
)]
pub struct FaultPlanError {
    text: String,
}

impl FromStr for FaultPlan {
    type Err = FaultPlanError;

    fn from_str(text: &str) -> std::result::Result<Self, FaultPlanError> {
        let wrong = || FaultPlanError { text: text.to_owned() };
        if text == "trace" {
            return Ok(Self::Trace);
        }
        let (what, at) = text.split_once('@').ok_or_else(wrong)?;
        match what {
            "kill" => Ok(Self::Kill { nth: at.parse().map_err(|_| wrong())? }),
            "fail" | "look" => {
                let (nth, errno) = at.split_once(':').ok_or_else(wrong)?;
                let (nth, on) = nth.strip_suffix('+').map_or((nth, false), |nth| (nth, true));
                let errno = match errno {
                    "ENOSPC" => Errno::NOSPC,
                    "EIO" => Errno::IO,
                    "EDQUOT" => Errno::DQUOT,
                    "EACCES" => Errno::ACCESS,
                    "EMFILE" => Errno::MFILE,
                    _ => return Err(wrong()),
                };
                let nth = nth.parse().map_err(|_| wrong())?;
                Ok(if what == "look" { Self::Look { nth, on, errno } } else { Self::Fail { nth, on, errno } })
            }
            _ => Err(wrong()),
        }
    }
}

static ARMED: AtomicBool = AtomicBool::new(false);
static LOOKS_ARMED: AtomicBool = AtomicBool::new(false);
static LOOKED: AtomicU64 = AtomicU64::new(0);
static PASSED: AtomicU64 = AtomicU64::new(0);
static PLAN: Mutex<Option<FaultPlan>> = Mutex::new(None);
static TRACE: Mutex<Vec<(&'static str, Vec<u8>)>> = Mutex::new(Vec::new());

/// Arms the door, until [`disarm`] or the end of the process. Counting starts anew.
pub fn arm(plan: FaultPlan) {
    *PLAN.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(plan);
    PASSED.store(0, Ordering::SeqCst);
    LOOKED.store(0, Ordering::SeqCst);
    ARMED.store(true, Ordering::SeqCst);
    LOOKS_ARMED.store(matches!(plan, FaultPlan::Look { .. }), Ordering::SeqCst);
}

/// Lets everything through again; what was recorded stays.
pub fn disarm() {
    LOOKS_ARMED.store(false, Ordering::SeqCst);
    ARMED.store(false, Ordering::SeqCst);
}

/// How many changes came to the door since it was armed.
#[must_use]
pub fn passed() -> u64 {
    PASSED.load(Ordering::SeqCst)
}

/// The changes that came by since the door was armed with [`FaultPlan::Trace`]: call and subject, in order.
#[must_use]
pub fn trace() -> Vec<(&'static str, Vec<u8>)> {
    TRACE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
}

/// Passes the door before a change: `call` on `subject`.
///
/// # Errors
/// What the armed plan says.
#[inline]
pub fn door(call: &'static str, subject: &[u8]) -> Result<()> {
    if ARMED.load(Ordering::Relaxed) { at_the_door(call, subject) } else { Ok(()) }
}

#[cold]
fn at_the_door(call: &'static str, subject: &[u8]) -> Result<()> {
    let now = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
    let plan = *PLAN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match plan {
        Some(FaultPlan::Kill { nth }) if now == nth => {
            let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            Err(SysError::new(call, subject, killed.err().unwrap_or(Errno::INTR)))
        }
        Some(FaultPlan::Fail { nth, on, errno }) if now == nth || (on && now > nth) => {
            Err(SysError::new(call, subject, errno))
        }
        Some(FaultPlan::Trace) => {
            TRACE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((call, subject.to_vec()));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Passes the door of calls that open or read: `call` on `subject`.
///
/// # Errors
/// What the armed plan says.
#[inline]
pub fn look(call: &'static str, subject: &[u8]) -> Result<()> {
    if LOOKS_ARMED.load(Ordering::Relaxed) { look_at_the_door(call, subject) } else { Ok(()) }
}

#[cold]
fn look_at_the_door(call: &'static str, subject: &[u8]) -> Result<()> {
    let plan = *PLAN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Only what gives a descriptor can lack one.
    let opens = call.starts_with("open") || call == "getdents";
    if !opens && matches!(plan, Some(FaultPlan::Look { errno: Errno::MFILE, .. })) {
        return Ok(());
    }
    let now = LOOKED.fetch_add(1, Ordering::SeqCst) + 1;
    match plan {
        Some(FaultPlan::Look { nth, on, errno }) if now == nth || (on && now > nth) => {
            Err(SysError::new(call, subject, errno))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_read_or_refused() {
        assert_eq!("kill@3".parse(), Ok(FaultPlan::Kill { nth: 3 }));
        assert_eq!("fail@1:EIO".parse(), Ok(FaultPlan::Fail { nth: 1, on: false, errno: Errno::IO }));
        assert_eq!("fail@9+:ENOSPC".parse(), Ok(FaultPlan::Fail { nth: 9, on: true, errno: Errno::NOSPC }));
        assert_eq!("look@2:EIO".parse(), Ok(FaultPlan::Look { nth: 2, on: false, errno: Errno::IO }));
        assert_eq!("look@2+:EMFILE".parse(), Ok(FaultPlan::Look { nth: 2, on: true, errno: Errno::MFILE }));
        assert_eq!("trace".parse(), Ok(FaultPlan::Trace));
        for bad in ["", "kill", "kill@x", "fail@1", "fail@1:EWHAT", "look@1", "stop@1"] {
            assert!(bad.parse::<FaultPlan>().is_err(), "{bad:?} was taken");
        }
    }
}
