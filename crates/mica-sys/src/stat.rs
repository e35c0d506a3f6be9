//! What the kernel says of a file.

use rustix::fs::{FileType, Gid, Stat, Statx, StatxFlags, StatxTimestamp, Uid};

/// What kind of file something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
}

impl FileKind {
    /// `None` where the file system did not say.
    pub(crate) const fn from_rustix(kind: FileType) -> Option<Self> {
        Some(match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::Unknown => return None,
        })
    }

    pub(crate) const fn to_rustix(self) -> FileType {
        match self {
            Self::File => FileType::RegularFile,
            Self::Directory => FileType::Directory,
            Self::Symlink => FileType::Symlink,
            Self::CharDevice => FileType::CharacterDevice,
            Self::BlockDevice => FileType::BlockDevice,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
        }
    }
}

/// A moment; before 1970 the seconds are negative and the nanoseconds still count forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// What `stat` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// What kind of file.
    pub kind: FileKind,
    /// Permission bits, 0 to 0o7777, without the kind.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes; of a symlink, of its target.
    pub size: u64,
    /// Space on disk, in 512-byte units.
    pub blocks: u64,
    /// How many names it has.
    pub nlink: u64,
    /// Inode number.
    pub ino: u64,
    /// The file system it is on.
    pub dev: u64,
    /// Of a device: its driver.
    pub rdev_major: u32,
    /// Of a device: which one.
    pub rdev_minor: u32,
    /// Last reading, as far as the mount keeps count of it.
    pub atime: Time,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of content or attributes.
    pub ctime: Time,
}

impl Metadata {
    pub(crate) fn from_stat(stat: &Stat) -> Self {
        // Only kinds that `from_rustix` knows come out of `st_mode`; an unknown one would be a kernel newer than any.
        let kind = FileKind::from_rustix(FileType::from_raw_mode(stat.st_mode)).unwrap_or(FileKind::File);
        let time = |secs: i64, nanos: u64| Time { secs, nanos: u32::try_from(nanos).unwrap_or(0) };
        Self {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
            nlink: stat.st_nlink,
            ino: stat.st_ino,
            dev: stat.st_dev,
            rdev_major: rustix::fs::major(stat.st_rdev),
            rdev_minor: rustix::fs::minor(stat.st_rdev),
            atime: time(stat.st_atime, stat.st_atime_nsec),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// The same of `statx`, and when the file was made, where the file system says.
    pub(crate) fn from_statx(stat: &Statx) -> (Self, Option<Time>) {
        let time = |at: StatxTimestamp| Time { secs: at.tv_sec, nanos: at.tv_nsec };
        let mode = u32::from(stat.stx_mode);
        let metadata = Self {
            kind: FileKind::from_rustix(FileType::from_raw_mode(mode)).unwrap_or(FileKind::File),
            mode: mode & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            nlink: u64::from(stat.stx_nlink),
            ino: stat.stx_ino,
            dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            rdev_major: stat.stx_rdev_major,
            rdev_minor: stat.stx_rdev_minor,
            atime: time(stat.stx_atime),
            mtime: time(stat.stx_mtime),
            ctime: time(stat.stx_ctime),
        };
        let born = (stat.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| time(stat.stx_btime));
        (metadata, born)
    }

    /// Bytes on disk, as the file system counts them.
    #[must_use]
    pub const fn bytes_on_disk(&self) -> u64 {
        self.blocks.saturating_mul(512)
    }

    /// The number of the file system that it is on, as the table of mounts has it: major and minor.
    #[must_use]
    pub fn device(&self) -> (u32, u32) {
        (rustix::fs::major(self.dev), rustix::fs::minor(self.dev))
    }

    /// Whether this is a character device 0:0, which is how overlayfs keeps a whiteout.
    #[must_use]
    pub fn is_whiteout_device(&self) -> bool {
        self.kind == FileKind::CharDevice && self.rdev_major == 0 && self.rdev_minor == 0
    }
}

/// The owner for chown(2): `None`, who leaves it as it is, for the number that is nobody's.
pub(crate) fn uid(raw: u32) -> Option<Uid> {
    (raw != u32::MAX).then(|| Uid::from_raw(raw))
}

/// The group for chown(2), as [`uid`].
pub(crate) fn gid(raw: u32) -> Option<Gid> {
    (raw != u32::MAX).then(|| Gid::from_raw(raw))
}
