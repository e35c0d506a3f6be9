//! The IDs by which this thread makes files.
#![allow(unsafe_code, reason = "setfsuid and setfsgid are not in rustix; each block names what it relies on")]

use std::marker::PhantomData;

/// While it lives, this thread makes files as somebody else; other threads do not (setfsuid(2): "per-thread attribute").
///
/// A thread that takes a user ID other than 0 loses, as long as it has it, what lets root pass by permissions
/// (capabilities(7), "Effect of user ID changes on capabilities": `CAP_FOWNER`, `CAP_FSETID`, `CAP_MKNOD` and so on).
#[derive(Debug)]
pub struct FsIds {
    uid: libc::uid_t,
    gid: libc::gid_t,
    of_this_thread: PhantomData<*const ()>,
}

/// No ID is this one: the calls change nothing and say what there is.
const NONE: u32 = u32::MAX;

fn set_uid(uid: libc::uid_t) -> libc::uid_t {
    // SAFETY: the call takes a number and touches no memory.
    let before = unsafe { libc::setfsuid(uid) };
    before.cast_unsigned()
}

fn set_gid(gid: libc::gid_t) -> libc::gid_t {
    // SAFETY: the call takes a number and touches no memory.
    let before = unsafe { libc::setfsgid(gid) };
    before.cast_unsigned()
}

impl FsIds {
    /// The user and group by which this thread makes files now.
    #[must_use]
    pub fn current() -> (u32, u32) {
        (set_uid(NONE), set_gid(NONE))
    }

    /// Takes these IDs; `None`, with those of before, where the kernel does not let this thread have them.
    #[must_use]
    pub fn take(uid: u32, gid: u32) -> Option<Self> {
        // The group first: without the user ID 0 there is no right to it.
        let ids = Self { gid: set_gid(gid), uid: set_uid(uid), of_this_thread: PhantomData };
        (set_uid(NONE) == uid && set_gid(NONE) == gid).then_some(ids)
    }
}

impl Drop for FsIds {
    fn drop(&mut self) {
        set_uid(self.uid);
        set_gid(self.gid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dir;

    #[test]
    fn a_file_is_made_as_somebody_else_and_the_next_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::open(scratch.path()).unwrap();
        let me = (set_uid(NONE), set_gid(NONE));
        if me.0 == 0 {
            dir.chmod_self(0o777).unwrap();
            let ids = FsIds::take(1234, 1235).unwrap();
            drop(dir.create_file(b"theirs", 0o644).unwrap());
            drop(ids);
            let theirs = dir.stat(b"theirs").unwrap();
            assert_eq!((theirs.uid, theirs.gid), (1234, 1235));
        } else {
            assert!(FsIds::take(me.0.wrapping_add(1), me.1).is_none());
        }
        drop(dir.create_file(b"mine", 0o644).unwrap());
        let mine = dir.stat(b"mine").unwrap();
        assert_eq!((mine.uid, mine.gid), me);
        assert!(FsIds::take(NONE, me.1).is_none(), "no ID was taken for one");
    }
}
