//! Where an answer is put: the buffer that it is sent from.

use std::time::Duration;

use mica_sys::{Errno, File, Time};
use zerocopy::{Immutable, IntoBytes};

use super::abi::{self, opcode};
use super::flags::{IoctlFlags, OpenedFlags};
use super::init::Init;
use super::names::{Listing, Names};
use super::piped::Piped;
use super::request::Lock;

/// The driver and the number of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Device {
    /// The driver: 0 to 4095.
    pub major: u32,
    /// Which one: 0 to 1,048,575.
    pub minor: u32,
}

impl Device {
    /// The kernel's 32 bits of it (`new_encode_dev`): 12 of the major between two parts of the minor.
    pub(super) const fn of_wire(bits: u32) -> Self {
        Self { major: (bits >> 8) & 0xfff, minor: (bits & 0xff) | ((bits >> 12) & 0xf_ff00) }
    }

    pub(super) const fn to_wire(self) -> u32 {
        (self.minor & 0xff) | ((self.major & 0xfff) << 8) | ((self.minor & 0xf_ff00) << 12)
    }
}

/// What stat(2) shows of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Space, in 512-byte units.
    pub blocks: u64,
    /// Last read.
    pub atime: Time,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of attributes.
    pub ctime: Time,
    /// Kind and permission bits.
    pub mode: u32,
    /// How many names.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of a device.
    pub device: Device,
    /// The size of I/O that does well.
    pub block_size: u32,
}

impl Attr {
    pub(super) const fn raw(&self) -> abi::Attr {
        abi::Attr {
            ino: self.ino,
            size: self.size,
            blocks: self.blocks,
            atime: self.atime.secs.cast_unsigned(),
            mtime: self.mtime.secs.cast_unsigned(),
            ctime: self.ctime.secs.cast_unsigned(),
            atimensec: self.atime.nanos,
            mtimensec: self.mtime.nanos,
            ctimensec: self.ctime.nanos,
            mode: self.mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: self.device.to_wire(),
            blksize: self.block_size,
            flags: 0,
        }
    }
}

/// What stands at a name. Answering with it counts as one look-up of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry {
    /// The node; 0 says that there is nothing, and how long that may be believed.
    pub node: u64,
    /// Tells nodes apart that have the same number one after the other.
    pub generation: u64,
    /// How long the name may be believed.
    pub entry_valid: Duration,
    /// How long the attributes may be believed.
    pub attr_valid: Duration,
    /// The attributes.
    pub attr: Attr,
}

impl Entry {
    pub(super) const fn raw(&self) -> abi::EntryOut {
        abi::EntryOut {
            nodeid: self.node,
            generation: self.generation,
            entry_valid: self.entry_valid.as_secs(),
            attr_valid: self.attr_valid.as_secs(),
            entry_valid_nsec: self.entry_valid.subsec_nanos(),
            attr_valid_nsec: self.attr_valid.subsec_nanos(),
            attr: self.attr.raw(),
        }
    }
}

/// An open file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Opened {
    /// The server's number for it.
    pub handle: u64,
    /// How it is treated.
    pub flags: OpenedFlags,
    /// With [`OpenedFlags::PASSTHROUGH`]: which backing file; else 0.
    pub backing: i32,
}

impl Opened {
    const fn raw(&self) -> abi::OpenOut {
        abi::OpenOut { fh: self.handle, open_flags: self.flags.bits(), backing_id: self.backing }
    }
}

/// What statfs(2) shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatFs {
    /// All blocks, of `fragment_size` bytes.
    pub blocks: u64,
    /// Free ones.
    pub free: u64,
    /// Free ones for ordinary users.
    pub available: u64,
    /// All inodes.
    pub files: u64,
    /// Free ones.
    pub files_free: u64,
    /// The size of I/O that does well.
    pub block_size: u32,
    /// The longest name, in bytes.
    pub name_max: u32,
    /// The unit of the counts.
    pub fragment_size: u32,
}

/// What statx(2) shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statx {
    /// Which fields say something (`STATX_…`).
    pub mask: u32,
    /// What stat(2) shows.
    pub attr: Attr,
    /// When it was made; says something with `STATX_BTIME` in the mask.
    pub btime: Time,
    /// `STATX_ATTR_…` that are on.
    pub attributes: u64,
    /// `STATX_ATTR_…` that can be told.
    pub attributes_mask: u64,
}

impl Statx {
    #[allow(clippy::cast_possible_truncation, reason = "the kernel's modes have 16 bits")]
    fn raw(&self) -> abi::Statx {
        let time = |at: Time| abi::SxTime { tv_sec: at.secs, tv_nsec: at.nanos, unused: 0 };
        let attr = &self.attr;
        abi::Statx {
            mask: self.mask,
            blksize: attr.block_size,
            attributes: self.attributes,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            mode: (attr.mode & 0xffff) as u16,
            ino: attr.ino,
            size: attr.size,
            blocks: attr.blocks,
            attributes_mask: self.attributes_mask,
            atime: time(attr.atime),
            btime: time(self.btime),
            ctime: time(attr.ctime),
            mtime: time(attr.mtime),
            rdev_major: attr.device.major,
            rdev_minor: attr.device.minor,
            ..abi::Statx::default()
        }
    }
}

/// The answer to an ioctl(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IoctlAnswer<'a> {
    /// What the call returns: not an error, which is the request's.
    pub result: i32,
    /// What is written to the caller's memory: as many bytes as the request's `out_size`. The kernel asks for 4 where
    /// `FS_IOC_GETFLAGS` is named for 8, and takes no other number.
    pub bytes: &'a [u8],
}

/// The answer to one request: bytes without the header, in the buffer that they are sent from.
///
/// What is put last counts. Every method is `Err` and leaves nothing where the answer does not fit: `EIO`, but for attributes,
/// which have `ERANGE`. That a handler returns an error makes all that was put void.
#[derive(Debug)]
pub struct Out<'a> {
    body: &'a mut [u8],
    length: usize,
    opcode: u32,
    /// What may hold content in place of the body, and the number of the request.
    piped: Option<(&'a mut Piped, u64)>,
    held: bool,
}

impl<'a> Out<'a> {
    /// An empty answer to a request of the operation `opcode`, to be put into `body`.
    #[must_use]
    pub const fn new(body: &'a mut [u8], opcode: u32) -> Self {
        Self { body, length: 0, opcode, piped: None, held: false }
    }

    /// The same for the request `unique`, with a pipe for [content](Self::content).
    #[must_use]
    pub const fn with_pipe(self, piped: &'a mut Piped, unique: u64) -> Self {
        Self { piped: Some((piped, unique)), ..self }
    }

    /// What holds the answer, where it is not the body.
    #[must_use]
    pub fn held(&mut self) -> Option<&mut Piped> {
        let held = self.held;
        self.piped.as_mut().filter(|_| held).map(|(piped, _)| &mut **piped)
    }

    /// How many bytes were put.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing was put.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many bytes fit.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.body.len()
    }

    /// What was put.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        if self.held {
            return &[];
        }
        self.body.get(..self.length).unwrap_or_default()
    }

    const fn clear(&mut self) {
        (self.length, self.held) = (0, false);
    }

    fn put(&mut self, parts: &[&[u8]]) -> Result<(), Errno> {
        self.clear();
        let mut at: usize = 0;
        for part in parts {
            let end = at.checked_add(part.len()).ok_or(Errno::IO)?;
            self.body.get_mut(at..end).ok_or(Errno::IO)?.copy_from_slice(part);
            at = end;
        }
        self.length = at;
        Ok(())
    }

    fn structure<T: IntoBytes + Immutable>(&mut self, value: &T) -> Result<(), Errno> {
        self.put(&[value.as_bytes()])
    }

    /// To whatever has nothing to say but that it was done.
    ///
    /// # Errors
    /// None; it reads well at the end of a handler.
    #[allow(clippy::unnecessary_wraps, reason = "as every other answer")]
    pub const fn done(&mut self) -> Result<(), Errno> {
        self.clear();
        Ok(())
    }

    /// To `LOOKUP`, `MKNOD`, `MKDIR`, `SYMLINK`, `LINK`.
    ///
    /// # Errors
    /// It does not fit.
    pub fn entry(&mut self, entry: &Entry) -> Result<(), Errno> {
        self.structure(&entry.raw())
    }

    /// To `LOOKUP`: there is nothing, and the kernel may believe it for so long. Where it is not to be kept, `ENOENT` does as well.
    ///
    /// # Errors
    /// It does not fit.
    pub fn nothing(&mut self, valid: Duration) -> Result<(), Errno> {
        self.entry(&Entry { entry_valid: valid, ..Entry::default() })
    }

    /// To `GETATTR`, `SETATTR`.
    ///
    /// # Errors
    /// It does not fit.
    pub fn attr(&mut self, attr: &Attr, valid: Duration) -> Result<(), Errno> {
        let (attr_valid, attr_valid_nsec) = (valid.as_secs(), valid.subsec_nanos());
        self.structure(&abi::AttrOut { attr_valid, attr_valid_nsec, unused: 0, attr: attr.raw() })
    }

    /// To `STATX`.
    ///
    /// # Errors
    /// It does not fit.
    pub fn statx(&mut self, stat: &Statx, valid: Duration) -> Result<(), Errno> {
        let (attr_valid, attr_valid_nsec) = (valid.as_secs(), valid.subsec_nanos());
        self.structure(&abi::StatxOut { attr_valid, attr_valid_nsec, flags: 0, unused: [0; 2], stat: stat.raw() })
    }

    /// To `OPEN`, `OPENDIR`.
    ///
    /// # Errors
    /// It does not fit.
    pub fn opened(&mut self, opened: &Opened) -> Result<(), Errno> {
        self.structure(&opened.raw())
    }

    /// To `CREATE`, `TMPFILE`.
    ///
    /// # Errors
    /// It does not fit.
    pub fn created(&mut self, entry: &Entry, opened: &Opened) -> Result<(), Errno> {
        self.put(&[entry.raw().as_bytes(), opened.raw().as_bytes()])
    }

    /// To `READLINK` (without a NUL), and to `READ` where the bytes are at hand.
    ///
    /// # Errors
    /// They do not fit.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        self.put(&[bytes])
    }

    /// To `READ` and `READLINK`: `read` writes to the buffer that is sent, `size` bytes or what fits, and says how many it wrote.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn fill(&mut self, size: u32, read: impl FnOnce(&mut [u8]) -> Result<usize, Errno>) -> Result<(), Errno> {
        self.clear();
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(self.body.len());
        self.length = read(self.body.get_mut(..size).unwrap_or_default())?.min(size);
        Ok(())
    }

    /// To `READ`: `size` bytes of a file, or what there is of them or fits.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn content(&mut self, file: &File, offset: u64, size: u32) -> Result<(), Errno> {
        let most = usize::try_from(size).unwrap_or(usize::MAX).min(self.body.len());
        let held = self.piped.as_mut().and_then(|(piped, unique)| piped.hold(*unique, file, offset, most));
        if let Some(length) = held {
            (self.length, self.held) = (length, true);
            return Ok(());
        }
        self.fill(size, |buffer| read_whole(file, buffer, offset))
    }

    /// To `GETXATTR`, `LISTXATTR` that ask for at most `size` bytes: the bytes, or for a `size` of 0 how many there are.
    ///
    /// # Errors
    /// `ERANGE` where there are more.
    pub fn xattr(&mut self, size: u32, bytes: &[u8]) -> Result<(), Errno> {
        let length = u32::try_from(bytes.len()).map_err(|_| Errno::TOOBIG)?;
        if size == 0 {
            return self.xattr_size(length);
        }
        if length > size || bytes.len() > self.body.len() {
            self.clear();
            return Err(Errno::RANGE);
        }
        self.bytes(bytes)
    }

    /// To `GETXATTR`, `LISTXATTR` that ask for the length.
    ///
    /// # Errors
    /// It does not fit.
    pub fn xattr_size(&mut self, size: u32) -> Result<(), Errno> {
        self.structure(&abi::GetxattrOut { size, unused: 0 })
    }

    /// To `WRITE`.
    ///
    /// # Errors
    /// It does not fit.
    pub fn written(&mut self, size: u32) -> Result<(), Errno> {
        self.structure(&abi::WriteOut { size, unused: 0 })
    }

    /// To `COPY_FILE_RANGE` and `COPY_FILE_RANGE_64`.
    ///
    /// # Errors
    /// It does not fit; `EIO` for more bytes than the older of the two can say, which is more than its request asked for.
    pub fn copied(&mut self, bytes: u64) -> Result<(), Errno> {
        if self.opcode == opcode::COPY_FILE_RANGE_64 {
            return self.structure(&abi::CopyFileRangeOut { bytes_copied: bytes });
        }
        self.clear();
        self.written(u32::try_from(bytes).map_err(|_| Errno::IO)?)
    }

    /// To `READDIR` and `READDIRPLUS`: names, put one by one, in `size` bytes or what fits. They are kept when the writer is dropped.
    #[must_use]
    pub fn names(&mut self, size: u32) -> Names<'_> {
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(self.body.len());
        let listing = if self.opcode == opcode::READDIRPLUS { Listing::Plus } else { Listing::Plain };
        self.clear();
        Names::new(self.body.get_mut(..size).unwrap_or_default(), &mut self.length, listing)
    }

    /// To `STATFS`.
    ///
    /// # Errors
    /// It does not fit.
    pub fn statfs(&mut self, stat: &StatFs) -> Result<(), Errno> {
        self.structure(&abi::Kstatfs {
            blocks: stat.blocks,
            bfree: stat.free,
            bavail: stat.available,
            files: stat.files,
            ffree: stat.files_free,
            bsize: stat.block_size,
            namelen: stat.name_max,
            frsize: stat.fragment_size,
            unused: [0; 7],
        })
    }

    /// To `LSEEK`.
    ///
    /// # Errors
    /// It does not fit.
    pub fn position(&mut self, offset: u64) -> Result<(), Errno> {
        self.structure(&abi::LseekOut { offset })
    }

    /// To `IOCTL`.
    ///
    /// # Errors
    /// It does not fit.
    pub fn ioctl(&mut self, answer: &IoctlAnswer<'_>) -> Result<(), Errno> {
        let flags = IoctlFlags::empty().bits();
        let head = abi::IoctlOut { result: answer.result, flags, in_iovs: 0, out_iovs: 0 };
        self.put(&[head.as_bytes(), answer.bytes])
    }

    /// To `GETLK`.
    ///
    /// # Errors
    /// It does not fit.
    pub fn lock(&mut self, lock: &Lock) -> Result<(), Errno> {
        self.structure(&abi::FileLock { start: lock.start, end: lock.end, kind: lock.kind, pid: lock.pid })
    }

    /// To `POLL`.
    ///
    /// # Errors
    /// It does not fit.
    pub fn polled(&mut self, events: u32) -> Result<(), Errno> {
        self.structure(&abi::PollOut { revents: events, unused: 0 })
    }

    /// To `BMAP`.
    ///
    /// # Errors
    /// It does not fit.
    pub fn block(&mut self, block: u64) -> Result<(), Errno> {
        self.structure(&abi::BmapOut { block })
    }

    /// To `INIT`.
    ///
    /// # Errors
    /// It does not fit.
    pub(crate) fn init(&mut self, init: &Init) -> Result<(), Errno> {
        self.structure(&init.out())
    }
}

/// Reads what was asked for, or what there is: the kernel takes less for the end of the file.
fn read_whole(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut done: usize = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = u64::try_from(done).ok().and_then(|done| offset.checked_add(done)).ok_or(Errno::INVAL)?;
        match file.read_at(rest, at).map_err(|error| error.errno())? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

/// The header of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    unique: u64,
    error: i32,
    body: usize,
}

impl Reply {
    /// The answer to the request `unique` with a body of that many bytes; an error has no body.
    #[must_use]
    pub fn new(unique: u64, answer: Result<usize, Errno>) -> Self {
        match answer {
            Ok(body) => Self { unique, error: 0, body },
            // The kernel takes 1 to 511, and what it does not take leaves the caller waiting for ever.
            Err(errno) => Self { unique, error: -errno.raw_os_error().clamp(1, 511), body: 0 },
        }
    }

    /// How many bytes of the body are sent.
    #[must_use]
    pub const fn body_len(&self) -> usize {
        self.body
    }

    /// The header's bytes.
    #[must_use]
    pub fn header(&self) -> [u8; super::OUT_HEADER] {
        let len = u32::try_from(self.body.saturating_add(super::OUT_HEADER)).unwrap_or(u32::MAX);
        let mut bytes = [0; super::OUT_HEADER];
        let header = abi::OutHeader { len, error: self.error, unique: self.unique };
        bytes.copy_from_slice(header.as_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests;
