//! Waiting for several descriptors at once.

use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::failed;
use crate::SysError;

/// One descriptor, and what of it is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Interest<'a> {
    /// The descriptor.
    pub fd: BorrowedFd<'a>,
    /// Something to read, or the other side is gone.
    pub read: bool,
    /// Room to write.
    pub write: bool,
}

/// What has come true of an [`Interest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready {
    /// A read does not block: bytes, the end, or an error.
    pub read: bool,
    /// A write does not block.
    pub write: bool,
}

/// Waits, without limit, until something has come true; the answers stand in the order of the questions. After an interruption by
/// a signal's handler nothing has.
pub fn poll(interests: &[Interest<'_>]) -> Result<Vec<Ready>, SysError> {
    let mut fds: Vec<PollFd<'_>> = interests
        .iter()
        .map(|interest| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, interest.read);
            flags.set(PollFlags::OUT, interest.write);
            PollFd::from_borrowed_fd(interest.fd, flags)
        })
        .collect();
    match rustix::event::poll(&mut fds, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(failed("poll", "")(errno)),
    }
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    Ok(fds
        .iter()
        .map(|fd| {
            let events = fd.revents();
            Ready { read: events.intersects(PollFlags::IN | gone), write: events.contains(PollFlags::OUT) }
        })
        .collect())
}
