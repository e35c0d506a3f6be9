//! A message of the kernel: who asks, and the parts of what is asked.

use mica_sys::Errno;
use zerocopy::FromBytes;

use super::Request;
use super::args::{Args, Wrong};
use super::parse::parse;
use crate::fuse::wire::abi::{self, opcode};

/// Who asks. Where no permission is checked and nothing is made the IDs may be `u32::MAX` (a mount with mapped IDs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caller {
    /// The request's number, by which it may be interrupted.
    pub unique: u64,
    /// The effective user, as the server's user namespace has it.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// The process, as the server's PID namespace has it; 0 for the kernel itself.
    pub pid: u32,
    /// The supplementary group of the caller that is the group of a setgid parent directory of what is to be made: a caller who
    /// has it may make setgid files there (Linux 6.3).
    pub supplementary: Option<u32>,
}

/// What was agreed on in `INIT` and changes how requests look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dialect {
    /// [`InitFlags::SETXATTR_EXT`](super::super::InitFlags::SETXATTR_EXT).
    pub setxattr_ext: bool,
}

/// The longest name in a directory, in bytes: what every file system that a union stands on has.
pub const NAME_MAX: usize = 255;

/// A message that is none of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than a header, or of another length than it says: there is nobody to answer.
    #[error("a message of {length} bytes without a whole header")]
    Header {
        /// Bytes that came.
        length: usize,
    },
    /// An operation that this code does not know.
    #[error("operation {opcode} is not known")]
    Unknown {
        /// Its number.
        opcode: u32,
    },
    /// A name of more than [`NAME_MAX`] bytes, which kernels since 6.16 send.
    #[error("a request of operation {opcode} with a name of more than 255 bytes")]
    Name {
        /// The operation's number.
        opcode: u32,
    },
    /// The structure, a name or the data is cut short or wrong.
    #[error("a request of operation {opcode} that does not hold together")]
    Body {
        /// The operation's number.
        opcode: u32,
    },
}

impl Malformed {
    /// What is answered.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::Unknown { .. } => Errno::NOSYS,
            Self::Name { .. } => Errno::NAMETOOLONG,
            Self::Header { .. } | Self::Body { .. } => Errno::INVAL,
        }
    }
}

/// A message of the kernel in its parts.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    header: abi::InHeader,
    args: Args<'a>,
    supplementary: Option<u32>,
}

impl<'a> Message<'a> {
    /// A message as the device gives it: all in one.
    ///
    /// # Errors
    /// [`Malformed::Header`].
    pub fn of_device(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let short = Malformed::Header { length: bytes.len() };
        let (header, rest) = abi::InHeader::read_from_prefix(bytes).map_err(|_| short)?;
        if usize::try_from(header.len) != Ok(bytes.len()) {
            return Err(short);
        }
        Ok(Self::of(header, Args { apart: None, rest }))
    }

    /// A message as a ring gives it: header, structure and the rest each in a place of its own.
    ///
    /// # Errors
    /// [`Malformed::Header`].
    pub fn of_ring(header: &[u8], structure: &'a [u8], rest: &'a [u8]) -> Result<Self, Malformed> {
        let (header, _) =
            abi::InHeader::read_from_prefix(header).map_err(|_| Malformed::Header { length: header.len() })?;
        Ok(Self::of(header, Args { apart: Some(structure), rest }))
    }

    /// Extensions stand at the end. What they say is taken off; where they do not hold together they say nothing.
    fn of(header: abi::InHeader, mut args: Args<'a>) -> Self {
        let length = usize::from(header.total_extlen).saturating_mul(8);
        let parts = args.rest.len().checked_sub(length).and_then(|at| args.rest.split_at_checked(at));
        let mut extensions: &[u8] = &[];
        if let Some((rest, found)) = parts {
            args.rest = rest;
            extensions = found;
        }
        Self { header, args, supplementary: supplementary(extensions) }
    }

    /// The request's number; what answers it repeats it.
    #[must_use]
    pub const fn unique(&self) -> u64 {
        self.header.unique
    }

    /// The number of the operation.
    #[must_use]
    pub const fn opcode(&self) -> u32 {
        self.header.opcode
    }

    /// Whether the kernel waits for an answer.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        !matches!(self.header.opcode, opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT | opcode::NOTIFY_REPLY)
    }

    /// Who asks.
    #[must_use]
    pub const fn caller(&self) -> Caller {
        let header = &self.header;
        Caller {
            unique: header.unique,
            uid: header.uid,
            gid: header.gid,
            pid: header.pid,
            supplementary: self.supplementary,
        }
    }

    /// What is asked.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn request(&self, dialect: Dialect) -> Result<Request<'a>, Malformed> {
        let opcode = self.header.opcode;
        let parsed = parse(opcode, self.header.nodeid, self.header.unique, self.args, dialect);
        match parsed {
            Ok(Some(request)) => Ok(request),
            Ok(None) => Err(Malformed::Unknown { opcode }),
            Err(Wrong::Body) => Err(Malformed::Body { opcode }),
            Err(Wrong::Name) => Err(Malformed::Name { opcode }),
        }
    }
}

/// The first supplementary group that extensions name; the kernel sends one at most.
fn supplementary(mut extensions: &[u8]) -> Option<u32> {
    while let Ok((header, _)) = abi::ExtHeader::read_from_prefix(extensions) {
        let size = usize::try_from(header.size).ok().filter(|size| *size >= size_of::<abi::ExtHeader>())?;
        let (one, rest) = extensions.split_at_checked(size)?;
        if header.kind == abi::EXT_GROUPS {
            let (_, body) = one.split_at_checked(size_of::<abi::ExtHeader>())?;
            let (count, groups) = u32::read_from_prefix(body).ok()?;
            return (count > 0).then(|| u32::read_from_prefix(groups).ok().map(|(group, _)| group)).flatten();
        }
        extensions = rest;
    }
    None
}
