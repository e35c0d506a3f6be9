//! What the kernel asks, one variant an operation.

use mica_sys::Errno;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::abi::{self, opcode};
use super::flags::{IoctlFlags, ReleaseFlags, RenameFlags, WriteFlags, XattrFlags};
use super::init::InitOffer;
use super::out::Device;
use super::setattr::SetAttr;

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
    /// [`InitFlags::SETXATTR_EXT`](super::InitFlags::SETXATTR_EXT).
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

/// A lock of fcntl(2) or flock(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
    /// `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
    pub kind: u32,
    /// Who holds it.
    pub pid: u32,
}

/// A request. Names are bytes without NUL, and, but for targets of symlinks and names of attributes, without `/`, not empty and at most [`NAME_MAX`] bytes.
///
/// `node` is what it is about, `parent` the directory of `name`. Flags of open(2) are the numbers of the kernel's architecture.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields are those of the system calls that the variants are named for")]
pub enum Request<'a> {
    /// What stands at a name; `.` and `..` too, after [`InitFlags::EXPORT_SUPPORT`](super::InitFlags::EXPORT_SUPPORT).
    Lookup {
        parent: u64,
        name: &'a [u8],
    },
    /// The kernel forgets that many look-ups. Not answered.
    Forget {
        node: u64,
        lookups: u64,
    },
    /// Several at once. Not answered.
    BatchForget {
        forgets: Forgets<'a>,
    },
    Getattr {
        node: u64,
        handle: Option<u64>,
    },
    Setattr {
        node: u64,
        change: SetAttr,
    },
    Readlink {
        node: u64,
    },
    Symlink {
        parent: u64,
        name: &'a [u8],
        target: &'a [u8],
    },
    Mknod {
        parent: u64,
        name: &'a [u8],
        mode: u32,
        device: Device,
        umask: u32,
    },
    Mkdir {
        parent: u64,
        name: &'a [u8],
        mode: u32,
        umask: u32,
    },
    Unlink {
        parent: u64,
        name: &'a [u8],
    },
    Rmdir {
        parent: u64,
        name: &'a [u8],
    },
    /// `RENAME` and `RENAME2`.
    Rename {
        parent: u64,
        name: &'a [u8],
        new_parent: u64,
        new_name: &'a [u8],
        flags: RenameFlags,
    },
    /// One more name for a node.
    Link {
        node: u64,
        new_parent: u64,
        new_name: &'a [u8],
    },
    /// `kill_suidgid`: it is cut, and setuid and setgid bits are to be cleared.
    Open {
        node: u64,
        flags: u32,
        kill_suidgid: bool,
    },
    Read {
        node: u64,
        handle: u64,
        offset: u64,
        size: u32,
        flags: u32,
        lock_owner: Option<u64>,
    },
    Write {
        node: u64,
        handle: u64,
        offset: u64,
        data: &'a [u8],
        flags: u32,
        write_flags: WriteFlags,
        lock_owner: Option<u64>,
    },
    Statfs {
        node: u64,
    },
    Release {
        node: u64,
        handle: u64,
        flags: u32,
        release_flags: ReleaseFlags,
        lock_owner: u64,
    },
    Fsync {
        node: u64,
        handle: u64,
        data_only: bool,
    },
    /// `kill_sgid`: an ACL is set by one who is not of the file's group.
    Setxattr {
        node: u64,
        name: &'a [u8],
        value: &'a [u8],
        flags: XattrFlags,
        kill_sgid: bool,
    },
    /// A `size` of 0 asks for the length.
    Getxattr {
        node: u64,
        name: &'a [u8],
        size: u32,
    },
    /// A `size` of 0 asks for the length. The answer is names, each ended by a NUL.
    Listxattr {
        node: u64,
        size: u32,
    },
    Removexattr {
        node: u64,
        name: &'a [u8],
    },
    Flush {
        node: u64,
        handle: u64,
        lock_owner: u64,
    },
    Init(InitOffer),
    Opendir {
        node: u64,
        flags: u32,
    },
    Readdir {
        node: u64,
        handle: u64,
        offset: u64,
        size: u32,
    },
    Readdirplus {
        node: u64,
        handle: u64,
        offset: u64,
        size: u32,
    },
    Releasedir {
        node: u64,
        handle: u64,
        flags: u32,
    },
    Fsyncdir {
        node: u64,
        handle: u64,
        data_only: bool,
    },
    Getlk {
        node: u64,
        handle: u64,
        owner: u64,
        lock: Lock,
        flock: bool,
    },
    /// `SETLK` and, with `wait`, `SETLKW`.
    Setlk {
        node: u64,
        handle: u64,
        owner: u64,
        lock: Lock,
        flock: bool,
        wait: bool,
    },
    Access {
        node: u64,
        mask: u32,
    },
    Create {
        parent: u64,
        name: &'a [u8],
        mode: u32,
        umask: u32,
        flags: u32,
        kill_suidgid: bool,
    },
    /// A file without a name (`O_TMPFILE`).
    Tmpfile {
        parent: u64,
        mode: u32,
        umask: u32,
        flags: u32,
    },
    /// The request `unique` is not waited for any more: it should end soon, with `EINTR`. Not answered.
    Interrupt {
        unique: u64,
    },
    Bmap {
        node: u64,
        block: u64,
        block_size: u32,
    },
    /// The mount goes.
    Destroy,
    Ioctl {
        node: u64,
        handle: u64,
        flags: IoctlFlags,
        command: u32,
        argument: u64,
        input: &'a [u8],
        out_size: u32,
    },
    /// `wake`: who polls wants a notice by `poll_handle`.
    Poll {
        node: u64,
        handle: u64,
        poll_handle: u64,
        wake: bool,
        events: u32,
    },
    /// What a notice asked for. Not answered.
    NotifyReply {
        node: u64,
        unique: u64,
        offset: u64,
        data: &'a [u8],
    },
    Fallocate {
        node: u64,
        handle: u64,
        offset: u64,
        length: u64,
        mode: u32,
    },
    Lseek {
        node: u64,
        handle: u64,
        offset: u64,
        whence: u32,
    },
    /// `COPY_FILE_RANGE` and `COPY_FILE_RANGE_64`; [`Out::copied`](super::Out::copied) knows which.
    CopyFileRange {
        node: u64,
        handle: u64,
        offset: u64,
        out_node: u64,
        out_handle: u64,
        out_offset: u64,
        length: u64,
        flags: u64,
    },
    /// A DAX window, which is never offered.
    Setupmapping {
        node: u64,
        handle: u64,
        offset: u64,
        length: u64,
        flags: u64,
        window_offset: u64,
    },
    Removemapping {
        node: u64,
        mappings: Mappings<'a>,
    },
    Syncfs {
        node: u64,
    },
    /// Everything that was written to `node` through the fields of statx(2).
    Statx {
        node: u64,
        handle: Option<u64>,
        flags: u32,
        mask: u32,
    },
}

/// The nodes of a `BATCH_FORGET`, with how many look-ups each.
#[derive(Debug, Clone, Copy)]
pub struct Forgets<'a>(&'a [u8]);

impl Iterator for Forgets<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        let (one, rest) = abi::ForgetOne::read_from_prefix(self.0).ok()?;
        self.0 = rest;
        Some((one.nodeid, one.nlookup))
    }
}

/// The ranges of a `REMOVEMAPPING`: offset in the window, length.
#[derive(Debug, Clone, Copy)]
pub struct Mappings<'a>(&'a [u8]);

impl Iterator for Mappings<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        let (one, rest) = abi::RemovemappingOne::read_from_prefix(self.0).ok()?;
        self.0 = rest;
        Some((one.moffset, one.len))
    }
}

/// A message of the kernel in its parts.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    header: abi::InHeader,
    args: Args<'a>,
    supplementary: Option<u32>,
}

/// The operation's structure and what follows it. By a ring the structure stands apart.
#[derive(Debug, Clone, Copy)]
struct Args<'a> {
    apart: Option<&'a [u8]>,
    rest: &'a [u8],
}

/// What is wrong with the arguments.
enum Wrong {
    /// Something is cut short or is not what it must be.
    Body,
    /// A name is too long.
    Name,
}

impl<'a> Args<'a> {
    /// The operation's structure. It stands before everything else and is taken once.
    fn structure<T: FromBytes + Immutable + KnownLayout>(&mut self) -> Result<T, Wrong> {
        if let Some(apart) = self.apart.take() {
            return T::read_from_prefix(apart).map(|(value, _)| value).map_err(|_| Wrong::Body);
        }
        let (value, rest) = T::read_from_prefix(self.rest).map_err(|_| Wrong::Body)?;
        self.rest = rest;
        Ok(value)
    }

    /// Bytes up to a NUL, which is dropped.
    fn text(&mut self) -> Result<&'a [u8], Wrong> {
        let end = self.rest.iter().position(|byte| *byte == 0).ok_or(Wrong::Body)?;
        let (text, rest) = self.rest.split_at_checked(end).ok_or(Wrong::Body)?;
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(text)
    }

    /// A name in a directory.
    fn name(&mut self) -> Result<&'a [u8], Wrong> {
        match self.text()? {
            name if name.is_empty() || name.contains(&b'/') => Err(Wrong::Body),
            name if name.len() > NAME_MAX => Err(Wrong::Name),
            name => Ok(name),
        }
    }

    /// That many bytes.
    fn bytes(&mut self, length: u32) -> Result<&'a [u8], Wrong> {
        let length = usize::try_from(length).map_err(|_| Wrong::Body)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Wrong::Body)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// That many structures of `size` bytes.
    fn many(&mut self, count: u32, size: usize) -> Result<&'a [u8], Wrong> {
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(size)).ok_or(Wrong::Body)?;
        self.bytes(u32::try_from(length).map_err(|_| Wrong::Body)?)
    }
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

/// `None` for an operation that is not known.
#[allow(clippy::too_many_lines, reason = "a table: one arm an operation")]
fn parse(
    opcode: u32,
    node: u64,
    unique: u64,
    mut args: Args<'_>,
    dialect: Dialect,
) -> Result<Option<Request<'_>>, Wrong> {
    let parent = node;
    Ok(Some(match opcode {
        opcode::LOOKUP => Request::Lookup { parent, name: args.name()? },
        opcode::FORGET => {
            let raw: abi::ForgetIn = args.structure()?;
            Request::Forget { node, lookups: raw.nlookup }
        }
        opcode::BATCH_FORGET => {
            let raw: abi::BatchForgetIn = args.structure()?;
            Request::BatchForget { forgets: Forgets(args.many(raw.count, size_of::<abi::ForgetOne>())?) }
        }
        opcode::GETATTR => {
            let raw: abi::GetattrIn = args.structure()?;
            Request::Getattr { node, handle: (raw.flags & 1 != 0).then_some(raw.fh) }
        }
        opcode::SETATTR => Request::Setattr { node, change: SetAttr::of(&args.structure()?) },
        opcode::READLINK => Request::Readlink { node },
        opcode::SYMLINK => Request::Symlink { parent, name: args.name()?, target: args.text()? },
        opcode::MKNOD => {
            let raw: abi::MknodIn = args.structure()?;
            let device = Device::of_wire(raw.rdev);
            Request::Mknod { parent, name: args.name()?, mode: raw.mode, device, umask: raw.umask }
        }
        opcode::MKDIR => {
            let raw: abi::MkdirIn = args.structure()?;
            Request::Mkdir { parent, name: args.name()?, mode: raw.mode, umask: raw.umask }
        }
        opcode::UNLINK => Request::Unlink { parent, name: args.name()? },
        opcode::RMDIR => Request::Rmdir { parent, name: args.name()? },
        opcode::RENAME => {
            let raw: abi::RenameIn = args.structure()?;
            let (name, new_name) = (args.name()?, args.name()?);
            Request::Rename { parent, name, new_parent: raw.newdir, new_name, flags: RenameFlags::empty() }
        }
        opcode::RENAME2 => {
            let raw: abi::Rename2In = args.structure()?;
            let (name, new_name) = (args.name()?, args.name()?);
            let flags = RenameFlags::from_bits_retain(raw.flags);
            Request::Rename { parent, name, new_parent: raw.newdir, new_name, flags }
        }
        opcode::LINK => {
            let raw: abi::LinkIn = args.structure()?;
            Request::Link { node: raw.oldnodeid, new_parent: parent, new_name: args.name()? }
        }
        opcode::OPEN => {
            let raw: abi::OpenIn = args.structure()?;
            Request::Open { node, flags: raw.flags, kill_suidgid: raw.open_flags & 1 != 0 }
        }
        opcode::OPENDIR => {
            let raw: abi::OpenIn = args.structure()?;
            Request::Opendir { node, flags: raw.flags }
        }
        opcode::READ => {
            let raw: abi::ReadIn = args.structure()?;
            let lock_owner = (raw.read_flags & 2 != 0).then_some(raw.lock_owner);
            Request::Read { node, handle: raw.fh, offset: raw.offset, size: raw.size, flags: raw.flags, lock_owner }
        }
        opcode::READDIR => {
            let raw: abi::ReadIn = args.structure()?;
            Request::Readdir { node, handle: raw.fh, offset: raw.offset, size: raw.size }
        }
        opcode::READDIRPLUS => {
            let raw: abi::ReadIn = args.structure()?;
            Request::Readdirplus { node, handle: raw.fh, offset: raw.offset, size: raw.size }
        }
        opcode::WRITE => {
            let raw: abi::WriteIn = args.structure()?;
            let write_flags = WriteFlags::from_bits_truncate(raw.write_flags);
            let lock_owner = write_flags.contains(WriteFlags::LOCKOWNER).then_some(raw.lock_owner);
            let data = args.bytes(raw.size)?;
            Request::Write { node, handle: raw.fh, offset: raw.offset, data, flags: raw.flags, write_flags, lock_owner }
        }
        opcode::STATFS => Request::Statfs { node },
        opcode::RELEASE => {
            let raw: abi::ReleaseIn = args.structure()?;
            let release_flags = ReleaseFlags::from_bits_truncate(raw.release_flags);
            Request::Release { node, handle: raw.fh, flags: raw.flags, release_flags, lock_owner: raw.lock_owner }
        }
        opcode::RELEASEDIR => {
            let raw: abi::ReleaseIn = args.structure()?;
            Request::Releasedir { node, handle: raw.fh, flags: raw.flags }
        }
        opcode::FSYNC => {
            let raw: abi::FsyncIn = args.structure()?;
            Request::Fsync { node, handle: raw.fh, data_only: raw.fsync_flags & 1 != 0 }
        }
        opcode::FSYNCDIR => {
            let raw: abi::FsyncIn = args.structure()?;
            Request::Fsyncdir { node, handle: raw.fh, data_only: raw.fsync_flags & 1 != 0 }
        }
        opcode::SETXATTR => setxattr(node, &mut args, dialect)?,
        opcode::GETXATTR => {
            let raw: abi::GetxattrIn = args.structure()?;
            Request::Getxattr { node, name: args.text()?, size: raw.size }
        }
        opcode::LISTXATTR => {
            let raw: abi::GetxattrIn = args.structure()?;
            Request::Listxattr { node, size: raw.size }
        }
        opcode::REMOVEXATTR => Request::Removexattr { node, name: args.text()? },
        opcode::FLUSH => {
            let raw: abi::FlushIn = args.structure()?;
            Request::Flush { node, handle: raw.fh, lock_owner: raw.lock_owner }
        }
        opcode::INIT => init(&mut args)?,
        opcode::GETLK | opcode::SETLK | opcode::SETLKW => lock(opcode, node, &args.structure()?),
        opcode::ACCESS => {
            let raw: abi::AccessIn = args.structure()?;
            Request::Access { node, mask: raw.mask }
        }
        opcode::CREATE => {
            let raw: abi::CreateIn = args.structure()?;
            let kill_suidgid = raw.open_flags & 1 != 0;
            let name = args.name()?;
            Request::Create { parent, name, mode: raw.mode, umask: raw.umask, flags: raw.flags, kill_suidgid }
        }
        opcode::TMPFILE => {
            // The kernel sends a name that nobody has chosen.
            let raw: abi::CreateIn = args.structure()?;
            Request::Tmpfile { parent, mode: raw.mode, umask: raw.umask, flags: raw.flags }
        }
        opcode::INTERRUPT => {
            let raw: abi::InterruptIn = args.structure()?;
            Request::Interrupt { unique: raw.unique }
        }
        opcode::BMAP => {
            let raw: abi::BmapIn = args.structure()?;
            Request::Bmap { node, block: raw.block, block_size: raw.blocksize }
        }
        opcode::DESTROY => Request::Destroy,
        opcode::IOCTL => {
            let raw: abi::IoctlIn = args.structure()?;
            Request::Ioctl {
                node,
                handle: raw.fh,
                flags: IoctlFlags::from_bits_truncate(raw.flags),
                command: raw.cmd,
                argument: raw.arg,
                input: args.bytes(raw.in_size)?,
                out_size: raw.out_size,
            }
        }
        opcode::POLL => {
            let raw: abi::PollIn = args.structure()?;
            let wake = raw.flags & 1 != 0;
            Request::Poll { node, handle: raw.fh, poll_handle: raw.kh, wake, events: raw.events }
        }
        opcode::NOTIFY_REPLY => {
            let raw: abi::RetrieveIn = args.structure()?;
            Request::NotifyReply { node, unique, offset: raw.offset, data: args.bytes(raw.size)? }
        }
        opcode::FALLOCATE => {
            let raw: abi::FallocateIn = args.structure()?;
            Request::Fallocate { node, handle: raw.fh, offset: raw.offset, length: raw.length, mode: raw.mode }
        }
        opcode::LSEEK => {
            let raw: abi::LseekIn = args.structure()?;
            Request::Lseek { node, handle: raw.fh, offset: raw.offset, whence: raw.whence }
        }
        opcode::COPY_FILE_RANGE | opcode::COPY_FILE_RANGE_64 => copy_file_range(opcode, node, &args.structure()?),
        opcode::SETUPMAPPING => {
            let raw: abi::SetupmappingIn = args.structure()?;
            let (offset, window_offset) = (raw.foffset, raw.moffset);
            Request::Setupmapping { node, handle: raw.fh, offset, length: raw.len, flags: raw.flags, window_offset }
        }
        opcode::REMOVEMAPPING => {
            let raw: abi::RemovemappingIn = args.structure()?;
            Request::Removemapping {
                node,
                mappings: Mappings(args.many(raw.count, size_of::<abi::RemovemappingOne>())?),
            }
        }
        opcode::SYNCFS => Request::Syncfs { node },
        opcode::STATX => {
            let raw: abi::StatxIn = args.structure()?;
            let handle = (raw.getattr_flags & 1 != 0).then_some(raw.fh);
            Request::Statx { node, handle, flags: raw.sx_flags, mask: raw.sx_mask }
        }
        _ => return Ok(None),
    }))
}

fn setxattr<'a>(node: u64, args: &mut Args<'a>, dialect: Dialect) -> Result<Request<'a>, Wrong> {
    let (size, flags, more) = if dialect.setxattr_ext {
        let raw: abi::SetxattrIn = args.structure()?;
        (raw.size, raw.flags, raw.setxattr_flags)
    } else {
        let raw: abi::SetxattrShortIn = args.structure()?;
        (raw.size, raw.flags, 0)
    };
    let (name, value) = (args.text()?, args.bytes(size)?);
    Ok(Request::Setxattr { node, name, value, flags: XattrFlags::from_bits_retain(flags), kill_sgid: more & 1 != 0 })
}

fn init<'a>(args: &mut Args<'a>) -> Result<Request<'a>, Wrong> {
    let raw: abi::InitIn = args.structure()?;
    // Shorter before Linux 5.17.
    let more = abi::InitMoreIn::read_from_prefix(args.rest).map(|(more, _)| more).unwrap_or_default();
    Ok(Request::Init(InitOffer::of(&raw, &more)))
}

fn lock(opcode: u32, node: u64, raw: &abi::LkIn) -> Request<'static> {
    let lock = Lock { start: raw.lk.start, end: raw.lk.end, kind: raw.lk.kind, pid: raw.lk.pid };
    let (handle, owner, flock) = (raw.fh, raw.owner, raw.lk_flags & 1 != 0);
    match opcode {
        opcode::GETLK => Request::Getlk { node, handle, owner, lock, flock },
        _ => Request::Setlk { node, handle, owner, lock, flock, wait: opcode == opcode::SETLKW },
    }
}

fn copy_file_range(opcode: u32, node: u64, raw: &abi::CopyFileRangeIn) -> Request<'static> {
    // The older answer has 32 bits; the kernel asks for whole pages.
    let most = if opcode == opcode::COPY_FILE_RANGE { 0xffff_f000 } else { u64::MAX };
    Request::CopyFileRange {
        node,
        handle: raw.fh_in,
        offset: raw.off_in,
        out_node: raw.nodeid_out,
        out_handle: raw.fh_out,
        out_offset: raw.off_out,
        length: raw.len.min(most),
        flags: raw.flags,
    }
}

#[cfg(test)]
mod tests;
