//! What the calling thread may do: ids, capabilities, limits, and the switches that keep it from getting more.
//!
//! These change one thread, so they are for a process that has one.
#![allow(unsafe_code, reason = "capabilities by number, keyctl(2)")]

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, Mode, fchown, fstat};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use super::id_map::in_initial_user_namespace_of;
use super::signals::Signal;
use super::{failed, last_errno};
use crate::SysError;

/// A set of capabilities: bit *n* is the kernel's capability *n*, as in `/proc/self/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caps(pub u64);

impl Caps {
    /// `CAP_SYS_ADMIN` (capabilities(7)): mounts, `trusted.*` attributes, and much else.
    pub const SYS_ADMIN: u32 = 21;

    /// With capability `number` added.
    #[must_use]
    pub fn with(self, number: u32) -> Self {
        Self(self.0 | 1_u64.checked_shl(number).unwrap_or(0))
    }

    /// Whether capability `number` is in it.
    pub fn has(self, number: u32) -> bool {
        1_u64.checked_shl(number).is_some_and(|bit| self.0 & bit != 0)
    }
}

/// The three sets that capset(2) writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapSets {
    /// What is used now.
    pub effective: Caps,
    /// What may be used.
    pub permitted: Caps,
    /// What a program with inheritable file capabilities keeps.
    pub inheritable: Caps,
}

/// Sets the effective, permitted and inheritable capabilities.
pub fn set_caps(sets: CapSets) -> Result<(), SysError> {
    let bits = |caps: Caps| CapabilitySet::from_bits_retain(caps.0);
    let sets = CapabilitySets {
        effective: bits(sets.effective),
        permitted: bits(sets.permitted),
        inheritable: bits(sets.inheritable),
    };
    rustix::thread::set_capabilities(None, sets).map_err(failed("capset", ""))
}

/// The effective capabilities.
pub fn effective_caps() -> Result<Caps, SysError> {
    rustix::thread::capabilities(None).map(|sets| Caps(sets.effective.bits())).map_err(failed("capget", ""))
}

/// The effective capabilities of a thread, or of a process by its first one, over the whole machine: one in another user namespace than the initial has none,
/// whatever it may there.
///
/// # Errors
/// `ESRCH` where there is no such thread; `EACCES` where this process may not look at it.
pub fn initial_caps_of(thread: u32) -> Result<Caps, SysError> {
    let pid = i32::try_from(thread).ok().and_then(rustix::process::Pid::from_raw);
    let wrong = |errno| failed("capget", thread.to_string())(errno);
    let pid = pid.ok_or_else(|| wrong(Errno::SRCH))?;
    let caps = rustix::thread::capabilities(Some(pid)).map(|sets| Caps(sets.effective.bits())).map_err(wrong)?;
    // Who has none there has none anywhere.
    if caps == Caps::default() || in_initial_user_namespace_of(thread)? { Ok(caps) } else { Ok(Caps::default()) }
}

/// Takes every capability but `keep` out of the bounding set: no program run from here on can have them.
pub fn drop_bounding(keep: Caps) -> Result<(), SysError> {
    for number in (0..64).filter(|number| !keep.has(*number)) {
        // SAFETY: takes numbers and only lowers what this thread may do.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) } < 0 {
            match last_errno() {
                // The kernel knows no capability of this number, nor any after it.
                Errno::INVAL => break,
                errno => return Err(failed("prctl PR_CAPBSET_DROP", number.to_string())(errno)),
            }
        }
    }
    Ok(())
}

/// Empties the ambient set.
pub fn clear_ambient() -> Result<(), SysError> {
    rustix::thread::clear_ambient_capability_set().map_err(failed("prctl PR_CAP_AMBIENT", "clear"))
}

/// Adds `caps`, which must be permitted and inheritable, to the ambient set: programs without file capabilities keep them.
pub fn raise_ambient(caps: Caps) -> Result<(), SysError> {
    for number in (0..64).filter(|number| caps.has(*number)) {
        rustix::thread::configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(1 << number), true)
            .map_err(failed("prctl PR_CAP_AMBIENT", number.to_string()))?;
    }
    Ok(())
}

/// Whether permitted capabilities stay when the last user id 0 goes. The next exec resets it.
pub fn set_keep_caps(keep: bool) -> Result<(), SysError> {
    rustix::thread::set_keep_capabilities(keep).map_err(failed("prctl PR_SET_KEEPCAPS", ""))
}

/// The effective user ID, as this process's user namespace has it.
#[must_use]
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The effective group ID, as this process's user namespace has it.
#[must_use]
pub fn effective_gid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// The name of a user, by the machine's name service; `None` when nobody has the number.
///
/// # Errors
/// `getpwuid_r`'s.
pub fn user_name(uid: u32) -> Result<Option<Vec<u8>>, SysError> {
    // Larger than any record that a name service makes (`_SC_GETPW_R_SIZE_MAX` is 1 KiB).
    let mut buffer = vec![0_u8; 64 * 1024];
    // SAFETY: numbers and pointers: all zeroes is a valid value.
    let mut record: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found: *mut libc::passwd = std::ptr::null_mut();
    // SAFETY: record, buffer and result live over the call, and the length is the buffer's.
    let wrong =
        unsafe { libc::getpwuid_r(uid, &raw mut record, buffer.as_mut_ptr().cast(), buffer.len(), &raw mut found) };
    if wrong != 0 {
        return match Errno::from_raw_os_error(wrong) {
            // Some name services say so of a number that they do not know (getpwuid_r(3), ERRORS).
            Errno::NOENT | Errno::SRCH | Errno::BADF | Errno::PERM => Ok(None),
            errno => Err(failed("getpwuid_r", uid.to_string())(errno)),
        };
    }
    if found.is_null() {
        return Ok(None);
    }
    // SAFETY: the call succeeded and found the user, so the name is a string in the buffer, which is still here.
    Ok(Some(unsafe { std::ffi::CStr::from_ptr(record.pw_name) }.to_bytes().to_vec()))
}

/// Sets the supplementary groups.
pub fn set_groups(groups: &[u32]) -> Result<(), SysError> {
    let list: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw_unchecked(*gid)).collect();
    rustix::thread::set_thread_groups(&list).map_err(failed("setgroups", format!("{groups:?}")))
}

/// Sets the real, effective and saved ids; the group first, while that is still allowed. `EINVAL` for 2³²-1, which is no id.
pub fn set_ids(uid: u32, gid: u32) -> Result<(), SysError> {
    let subject = format!("{uid}:{gid}");
    if uid == u32::MAX || gid == u32::MAX {
        return Err(failed("setresuid", subject)(Errno::INVAL));
    }
    let gid = Gid::from_raw(gid);
    let uid = Uid::from_raw(uid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed("setresgid", subject.as_str()))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed("setresuid", subject.as_str()))
}

/// From here on no exec gives more rights than this thread has (set-uid, file capabilities). Cannot be undone.
pub fn set_no_new_privs() -> Result<(), SysError> {
    rustix::thread::set_no_new_privs(true).map_err(failed("prctl PR_SET_NO_NEW_PRIVS", ""))
}

/// Has the kernel send `signal` when the parent thread ends. Lost by a change to ids or more capabilities, and by a set-uid exec.
pub fn set_parent_death_signal(signal: Signal) -> Result<(), SysError> {
    let raw = rustix::process::Signal::from_named_raw(signal.as_raw());
    rustix::process::set_parent_process_death_signal(raw).map_err(failed("prctl PR_SET_PDEATHSIG", ""))
}

/// Whether processes with the same ids may trace this one and open what `/proc` shows of it. The next exec makes it so again.
pub fn set_dumpable(dumpable: bool) -> Result<(), SysError> {
    let behavior = if dumpable { DumpableBehavior::Dumpable } else { DumpableBehavior::NotDumpable };
    rustix::process::set_dumpable_behavior(behavior).map_err(failed("prctl PR_SET_DUMPABLE", ""))
}

/// Sets the mode bits (of 0o777) that new files do not get.
pub fn set_umask(mask: u32) {
    rustix::process::umask(Mode::from_raw_mode(mask));
}

/// The mask of permission bits that this process takes from what it makes. It is only looked at: umask(2) would change it for other threads.
///
/// # Errors
/// Of reading `/proc/self/status`; `EINVAL` where it does not say.
pub fn umask() -> Result<u32, SysError> {
    let wrong = |errno| super::failed("read", "/proc/self/status")(errno);
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| wrong(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).ok_or_else(|| wrong(Errno::INVAL))
}

/// Gives this process a new, empty session keyring, so that it does not possess its caller's keys.
pub fn join_new_session_keyring() -> Result<(), SysError> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_ulong = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory of ours is touched.
    let keyring = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) };
    if keyring < 0 { Err(failed("keyctl", "join session keyring")(last_errno())) } else { Ok(()) }
}

/// Gives the terminal `fd` to user `uid`, so that its program may open it by name.
pub fn give_terminal(fd: impl AsFd, uid: u32) -> Result<(), SysError> {
    give(fd.as_fd(), uid)
}

/// Gives descriptor 0, 1 or 2 of this process to user `uid` where it is a pipe, so that the program may open `/dev/stdout`. A terminal or
/// a file is somebody's and is left alone, as is a closed descriptor.
pub fn give_pipe(stdio: i32, uid: u32) -> Result<(), SysError> {
    let fd = match stdio {
        0 => rustix::stdio::stdin(),
        1 => rustix::stdio::stdout(),
        _ => rustix::stdio::stderr(),
    };
    match fstat(fd) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo => give(fd, uid),
        _ => Ok(()),
    }
}

fn give(fd: BorrowedFd<'_>, uid: u32) -> Result<(), SysError> {
    fchown(fd, Some(Uid::from_raw_unchecked(uid)), None).map_err(failed("fchown", uid.to_string()))
}

/// A resource that setrlimit(2) limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of address space.
    AddressSpace,
    /// Bytes of a core file.
    Core,
    /// Seconds of CPU time.
    Cpu,
    /// Bytes of data segment.
    Data,
    /// Bytes of a file.
    FileSize,
    /// Number of file locks.
    Locks,
    /// Bytes locked in memory.
    LockedMemory,
    /// Bytes in POSIX message queues.
    MessageQueues,
    /// 20 minus the lowest nice value.
    Nice,
    /// One more than the highest descriptor.
    OpenFiles,
    /// Number of processes of the real user.
    Processes,
    /// Bytes resident; no effect since Linux 2.4.30.
    ResidentSet,
    /// Highest real-time priority.
    RealTimePriority,
    /// Microseconds of CPU in real time without a blocking call.
    RealTime,
    /// Number of pending signals.
    PendingSignals,
    /// Bytes of stack.
    Stack,
}

impl Limit {
    const fn resource(self) -> Resource {
        match self {
            Self::AddressSpace => Resource::As,
            Self::Core => Resource::Core,
            Self::Cpu => Resource::Cpu,
            Self::Data => Resource::Data,
            Self::FileSize => Resource::Fsize,
            Self::Locks => Resource::Locks,
            Self::LockedMemory => Resource::Memlock,
            Self::MessageQueues => Resource::Msgqueue,
            Self::Nice => Resource::Nice,
            Self::OpenFiles => Resource::Nofile,
            Self::Processes => Resource::Nproc,
            Self::ResidentSet => Resource::Rss,
            Self::RealTimePriority => Resource::Rtprio,
            Self::RealTime => Resource::Rttime,
            Self::PendingSignals => Resource::Sigpending,
            Self::Stack => Resource::Stack,
        }
    }
}

/// Raises a limit of this process as far as it may be raised, and says how far that is; 2⁶⁴-1 is no limit.
pub fn raise_limit(limit: Limit) -> Result<u64, SysError> {
    let hard = rustix::process::getrlimit(limit.resource()).maximum.unwrap_or(u64::MAX);
    set_limit(limit, hard, hard)?;
    Ok(hard)
}

/// Sets a limit of this process; 2⁶⁴-1 is no limit. `EPERM` when the hard limit would rise without `CAP_SYS_RESOURCE`.
pub fn set_limit(limit: Limit, soft: u64, hard: u64) -> Result<(), SysError> {
    let value = |n: u64| (n != u64::MAX).then_some(n);
    rustix::process::setrlimit(limit.resource(), Rlimit { current: value(soft), maximum: value(hard) })
        .map_err(failed("setrlimit", format!("{limit:?} {soft}:{hard}")))
}

/// How many descriptors this process may have open at once; 2⁶⁴-1 where there is no limit.
#[must_use]
pub fn open_files_limit() -> u64 {
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_a_number_of_nobody_has_none() {
        assert_eq!(user_name(0).unwrap().as_deref(), Some(&b"root"[..]));
        assert_eq!(user_name(3_999_999_999).unwrap(), None);
    }

    #[test]
    fn caps_hold_numbers_below_64_only() {
        assert_eq!(Caps::default().with(0).with(31), Caps(0x8000_0001));
        assert_eq!(Caps::default().with(64), Caps(0));
        assert!(Caps(1 << 40).has(40));
        assert!(!Caps(u64::MAX).has(64));
    }

    #[test]
    fn the_id_that_means_unchanged_is_refused() {
        let error = set_ids(u32::MAX, 0).unwrap_err();
        assert!(error.to_string().contains("4294967295"), "{error}");
    }
}
