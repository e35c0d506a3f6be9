//! A pair of connected sockets between two processes: whole packets, and descriptors with them.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::failed;
use crate::SysError;

/// One end of a pair. Packets arrive whole and in order; when the other end is gone, so is everything that could come.
#[derive(Debug)]
pub struct Control(OwnedFd);

/// What [`Control::receive`] got.
#[derive(Debug)]
pub struct Packet {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// A descriptor that came with them.
    pub fd: Option<OwnedFd>,
}

impl Control {
    /// The longest packet that is taken, in bytes. A longer one is an error: nobody of ours sends it.
    pub const MAX: usize = 16 * 1024;

    /// Makes both ends, closed by an exec.
    pub fn pair() -> Result<(Self, Self), SysError> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(failed("socketpair", ""))?;
        Ok((Self(one), Self(other)))
    }

    /// Sends a packet, with a descriptor if one is given. `EPIPE`, and no signal, when the other end is gone.
    pub fn send(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), SysError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(failed("sendmsg", "descriptor")(Errno::NOBUFS));
        }
        rustix::io::retry_on_intr(|| sendmsg(&self.0, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL))
            .map(drop)
            .map_err(failed("sendmsg", "control socket"))
    }

    /// The next packet; waits for one. `None` when the other end is gone and nothing is left.
    pub fn receive(&self) -> Result<Option<Packet>, SysError> {
        let mut bytes = vec![0_u8; Self::MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let got = rustix::io::retry_on_intr(|| {
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        });
        let got = match got {
            Ok(got) => got,
            Err(Errno::CONNRESET) => return Ok(None),
            Err(errno) => return Err(failed("recvmsg", "control socket")(errno)),
        };
        if got.flags.contains(ReturnFlags::TRUNC) {
            return Err(failed("recvmsg", "control socket")(Errno::MSGSIZE));
        }
        let fd = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        if got.bytes == 0 && fd.is_none() {
            return Ok(None);
        }
        bytes.truncate(got.bytes);
        Ok(Some(Packet { bytes, fd }))
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Control {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn packets_stay_whole_and_bring_descriptors() {
        let (one, other) = Control::pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        one.send(b"first", Some(reader.as_fd())).unwrap();
        one.send(b"second", None).unwrap();
        drop(one);
        let first = other.receive().unwrap().unwrap();
        assert_eq!(first.bytes, b"first");
        rustix::io::write(&writer, b"through").unwrap();
        drop(writer);
        let mut text = String::new();
        std::fs::File::from(first.fd.unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        let second = other.receive().unwrap().unwrap();
        assert_eq!((second.bytes.as_slice(), second.fd.is_none()), (&b"second"[..], true));
        assert!(other.receive().unwrap().is_none(), "the other end is gone");
    }

    #[test]
    fn a_packet_that_is_too_long_is_an_error() {
        let (one, other) = Control::pair().unwrap();
        one.send(&vec![0; Control::MAX + 1], None).unwrap();
        assert!(other.receive().is_err());
    }
}
