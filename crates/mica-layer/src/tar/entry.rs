//! One entry of a tar, with all that its headers say put together.

use mica_core::{Rdev, Timestamp, Xattrs};

use super::sparse::Segment;

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file (`0`, NUL, `7`, and GNU's sparse `S`).
    File,
    /// One more name of another entry's file (`1`).
    Link,
    /// A symbolic link (`2`).
    Symlink,
    /// A character device (`3`).
    CharDevice,
    /// A block device (`4`).
    BlockDevice,
    /// A directory (`5`, a file of old writers whose name ends with a slash, and GNU's `D`, which has a listing as its
    /// body).
    Directory,
    /// A named pipe (`6`).
    Fifo,
    /// A volume label (`V`), which makes nothing.
    Label,
    /// Any other type byte.
    Other(u8),
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 1.
    pub number: u64,
    /// What it makes.
    pub kind: EntryKind,
    /// Where, as the tar spells it.
    pub path: Vec<u8>,
    /// Where a link points, as the tar spells it.
    pub link: Vec<u8>,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Timestamp,
    /// Of a device, which.
    pub device: Rdev,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// Bytes of the file, holes included.
    pub size: u64,
    /// Bytes of the body that are in the tar, without maps and padding.
    pub stored: u64,
    /// Where in the tar these begin.
    pub offset: u64,
    /// Where the body's bytes belong; `None` for a file without holes.
    pub sparse: Option<Vec<Segment>>,
}
