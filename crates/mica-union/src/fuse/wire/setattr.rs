//! What a `SETATTR` changes.

use mica_sys::Time;

use super::abi::SetattrIn;

/// A new time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// Now, by the clock of the file system.
    Now,
    /// A given one.
    At(Time),
}

/// A change of attributes: what is `None` stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetAttr {
    /// The open file by which it comes, as ftruncate(2) does.
    pub handle: Option<u64>,
    /// Permission bits and kind.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Bytes.
    pub size: Option<u64>,
    /// Last read.
    pub atime: Option<SetTime>,
    /// Last change of content.
    pub mtime: Option<SetTime>,
    /// Last change of attributes; only with writeback caching, where the kernel keeps time.
    pub ctime: Option<Time>,
    /// Whose locks matter to a cut.
    pub lock_owner: Option<u64>,
    /// Setuid and setgid bits are to be cleared: the size changes and the caller lacks `CAP_FSETID`.
    pub kill_suidgid: bool,
}

const MODE: u32 = 1;
const UID: u32 = 1 << 1;
const GID: u32 = 1 << 2;
const SIZE: u32 = 1 << 3;
const ATIME: u32 = 1 << 4;
const MTIME: u32 = 1 << 5;
const FH: u32 = 1 << 6;
const ATIME_NOW: u32 = 1 << 7;
const MTIME_NOW: u32 = 1 << 8;
const LOCKOWNER: u32 = 1 << 9;
const CTIME: u32 = 1 << 10;
const KILL_SUIDGID: u32 = 1 << 11;

/// A time that came as two fields: before 1970 the seconds are a negative number's bits. Nanoseconds that are none count as 0.
pub(super) const fn time(secs: u64, nanos: u32) -> Time {
    Time { secs: secs.cast_signed(), nanos: if nanos < 1_000_000_000 { nanos } else { 0 } }
}

impl SetAttr {
    pub(super) fn of(raw: &SetattrIn) -> Self {
        let has = |bit| raw.valid & bit != 0;
        let when = |set, now, secs, nanos| match (has(now), has(set)) {
            (true, _) => Some(SetTime::Now),
            (false, true) => Some(SetTime::At(time(secs, nanos))),
            (false, false) => None,
        };
        Self {
            handle: has(FH).then_some(raw.fh),
            mode: has(MODE).then_some(raw.mode),
            uid: has(UID).then_some(raw.uid),
            gid: has(GID).then_some(raw.gid),
            size: has(SIZE).then_some(raw.size),
            atime: when(ATIME, ATIME_NOW, raw.atime, raw.atimensec),
            mtime: when(MTIME, MTIME_NOW, raw.mtime, raw.mtimensec),
            ctime: has(CTIME).then(|| time(raw.ctime, raw.ctimensec)),
            lock_owner: has(LOCKOWNER).then_some(raw.lock_owner),
            kill_suidgid: has(KILL_SUIDGID),
        }
    }
}
