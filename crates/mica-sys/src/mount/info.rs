//! The table of mounts, as `/proc/thread-self/mountinfo` has it (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatVfsMountFlags, StatxFlags};
use rustix::io::Errno;

use crate::error::SysError;

/// Why the table of mounts could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MountInfoError {
    /// The file could not be read.
    #[error("cannot read the table of mounts")]
    Read(#[source] SysError),
    /// A line is not as the manual page has it.
    #[error("line {line} of the table of mounts is not understood: {text:?}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// The line, lossily as text.
        text: String,
    },
}

/// What a mount sends its mounts and unmounts to, and where it gets them from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerGroup {
    /// The group it sends to and receives from, when it is shared.
    pub shared: Option<u64>,
    /// The group it only receives from, when it is downstream of one (`master:`).
    pub master: Option<u64>,
    /// Whether it cannot be bind-mounted.
    pub unbindable: bool,
}

/// One mount of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo {
    /// Its number; it may be used again after an unmount.
    pub id: u64,
    /// The number of the mount on which it is mounted.
    pub parent: u64,
    /// The device number as stat(2) shows it for files of this file system.
    pub device: (u32, u32),
    /// Which directory of the file system it shows.
    pub root: PathBuf,
    /// Where it is mounted, seen from the reader's root.
    pub target: PathBuf,
    /// Its own options, `ro,nosuid,…`.
    pub options: String,
    /// To whom its changes go.
    pub peers: PeerGroup,
    /// `ext4`, `overlay`, `fuse.sshfs`.
    pub fstype: String,
    /// A device or a word; each file system has its own idea.
    pub source: OsString,
    /// The options of the file system, common to all its mounts; `\` escapes are left as they are.
    pub super_options: Vec<u8>,
}

impl MountInfo {
    /// Whether nothing can be written through it, by its own options or the file system's.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.options.split(',').any(|option| option == "ro")
            || self.super_options.split(|byte| *byte == b',').any(|option| option == b"ro")
    }
}

/// The mounts of the calling thread's namespace, in the order in which they were made.
///
/// # Errors
/// Where `/proc` is not mounted or not understood.
pub fn mounts() -> Result<Vec<MountInfo>, MountInfoError> {
    let path = Path::new("/proc/thread-self/mountinfo");
    let table = fs::read(path).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        MountInfoError::Read(SysError::new("read", "/proc/thread-self/mountinfo", errno))
    })?;
    parse_mounts(&table)
}

/// Reads a table of mounts.
///
/// # Errors
/// [`MountInfoError::Line`] at the first line that is not as the manual page has it.
pub fn parse_mounts(table: &[u8]) -> Result<Vec<MountInfo>, MountInfoError> {
    let lines = table.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .enumerate()
        .map(|(number, line)| {
            parse_line(line).ok_or_else(|| MountInfoError::Line {
                line: number + 1,
                text: String::from_utf8_lossy(line).into_owned(),
            })
        })
        .collect()
}

fn parse_line(line: &[u8]) -> Option<MountInfo> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let (major, minor) = text(fields.next()?)?.split_once(':')?;
    let root = path(fields.next()?);
    let target = path(fields.next()?);
    let options = text(fields.next()?)?.to_owned();
    let mut peers = PeerGroup::default();
    loop {
        match text(fields.next()?)? {
            "-" => break,
            "unbindable" => peers.unbindable = true,
            other => match other.split_once(':') {
                Some(("shared", group)) => peers.shared = Some(group.parse().ok()?),
                Some(("master", group)) => peers.master = Some(group.parse().ok()?),
                // "Parsers should ignore unrecognized optional fields" (proc_pid_mountinfo(5)).
                _ => {}
            },
        }
    }
    Some(MountInfo {
        id,
        parent,
        device: (major.parse().ok()?, minor.parse().ok()?),
        root,
        target,
        options,
        peers,
        fstype: text(fields.next()?)?.to_owned(),
        source: OsString::from_vec(unescape(fields.next()?)),
        super_options: fields.next()?.to_vec(),
    })
}

fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field).ok()
}

fn number(field: &[u8]) -> Option<u64> {
    text(field)?.parse().ok()
}

fn path(field: &[u8]) -> PathBuf {
    OsString::from_vec(unescape(field)).into()
}

/// Undoes the kernel's `\040` for space, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        plain.push(*first);
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) = (*first, rest) {
            plain.pop();
            plain.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
            rest = after;
        }
    }
    plain
}

/// What a directory stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystem {
    /// The type as statfs(2) numbers it.
    pub magic: u64,
    /// Whether nothing can be written through this mount of it.
    pub read_only: bool,
}

impl FileSystem {
    /// Whether it is the kernel's overlayfs.
    #[must_use]
    pub const fn is_overlay(self) -> bool {
        self.magic == 0x794c_7630
    }
}

/// The file system that `file` is on.
///
/// # Errors
/// Those of fstatfs(2).
pub fn file_system(file: impl AsFd) -> Result<FileSystem, SysError> {
    let refused = |errno| SysError::new("fstatfs", "", errno);
    let magic = rustix::fs::fstatfs(&file).map_err(refused)?.f_type;
    let flags = rustix::fs::fstatvfs(&file).map_err(refused)?.f_flag;
    Ok(FileSystem {
        // The type is a signed word on some machines and none of the numbers is negative.
        magic: magic.unsigned_abs(),
        read_only: flags.contains(StatVfsMountFlags::RDONLY),
    })
}

/// The number of the mount that `file` is seen through: statx(2) says it since Linux 5.8, `/proc` long before.
///
/// # Errors
/// Those of statx(2); where it does not say, that of reading `/proc/self/fdinfo`, and `EOPNOTSUPP` where that does not say either.
pub fn mount_id(file: impl AsFd) -> Result<u64, SysError> {
    let file = file.as_fd();
    let seen = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
        .map_err(|errno| SysError::new("statx", "", errno))?;
    if seen.stx_mask & StatxFlags::MNT_ID.bits() == 0 { described_mount_id(file) } else { Ok(seen.stx_mnt_id) }
}

/// The same number in what `/proc` has of a descriptor (proc_pid_fdinfo(5), Linux 3.15).
fn described_mount_id(file: BorrowedFd<'_>) -> Result<u64, SysError> {
    let path = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
    let text = fs::read_to_string(&path).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        SysError::new("read", path.as_str(), errno)
    })?;
    let number =
        text.lines().find_map(|line| line.strip_prefix("mnt_id:")).and_then(|number| number.trim().parse().ok());
    number.ok_or_else(|| SysError::new("read", path, Errno::OPNOTSUPP))
}

/// How much of a file system is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// The size of I/O that does well, in bytes.
    pub block_size: u64,
    /// The unit of the counts of blocks, in bytes.
    pub unit: u64,
    /// All blocks.
    pub blocks: u64,
    /// Free ones.
    pub free: u64,
    /// Free ones for ordinary users.
    pub available: u64,
    /// All inodes.
    pub files: u64,
    /// Free ones.
    pub files_free: u64,
    /// The longest name, in bytes.
    pub name_max: u64,
}

/// How much is taken of the file system that an open file is on.
///
/// # Errors
/// `fstatvfs`'s.
pub fn space(file: impl AsFd) -> Result<Space, SysError> {
    let found = rustix::fs::fstatvfs(&file).map_err(|errno| SysError::new("fstatvfs", "", errno))?;
    Ok(Space {
        block_size: found.f_bsize,
        unit: found.f_frsize,
        blocks: found.f_blocks,
        free: found.f_bfree,
        available: found.f_bavail,
        files: found.f_files,
        files_free: found.f_ffree,
        name_max: found.f_namemax,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Before Linux 5.8 statx(2) does not say; what is mounted where must be known all the same.
    #[test]
    fn proc_says_of_a_descriptor_which_mount_it_is_seen_through() {
        let mut numbers = Vec::new();
        for path in ["/", "/proc"] {
            let file = fs::File::open(path).unwrap();
            let number = mount_id(&file).unwrap();
            assert_eq!(described_mount_id(file.as_fd()).unwrap(), number, "{path}");
            assert!(mounts().unwrap().iter().any(|mount| mount.id == number), "{path}");
            numbers.push(number);
        }
        assert_ne!(numbers[0], numbers[1]);
    }
}
