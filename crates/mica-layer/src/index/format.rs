//! The index on disk, version 1.
//!
//! A file of three parts, written once and then only read, mapped into memory. All numbers are little-endian. There is
//! no padding between the parts.
//!
//! ```text
//! header   128 bytes
//!     0  magic           "MICAINDX"
//!     8  u32 version     1
//!    12  u32 record size 112
//!    16  u64 records     how many there are, at least 1: the root
//!    24  u64 implicit    directories below the root that the layer only implies
//!    32  u64 links       hard links to files that only a lower layer has (needs-parent)
//!    40  u64 whiteouts
//!    48  u64 content     bytes of all regular files, holes included, each file once
//!    56  u64 heap size
//!    64  32 bytes        BLAKE3 of the whole file with these 32 bytes as zeros
//!    96  zeros
//! records  112 bytes each, sorted by path with '/' below every other byte: a directory is followed by all under it
//!     0  u32 path        offset in the heap
//!     4  u32 path        length; 0 for the root, which is record 0
//!     8  u8  kind        0 whiteout, 1 file, 2 directory, 3 symlink, 4 character device, 5 block device, 6 FIFO,
//!                        7 link to parent
//!     9  u8  flags       1 implicit, 2 opaque, 4 the content hash is known
//!    10  u16 zero
//!    12  u32 mode        0 to 0o7777
//!    16  u32 uid
//!    20  u32 gid
//!    24  u64 size        of a file, holes included; of a device, major in the low half and minor in the high one
//!    32  i64 mtime       seconds
//!    40  u32 mtime       nanoseconds
//!    44  u32 link group  names of one file have the same, counted from 1; 0 for a single name
//!    48  u32 target      offset in the heap, of a symlink's or link's target
//!    52  u32 target      length
//!    56  u32 xattrs      offset in the heap
//!    60  u32 xattrs      length
//!    64  u32 parent      record of the directory that holds this; of the root, itself
//!    68  u32 end         the first record after this one and all that is under it
//!    72  u64 zero
//!    80  32 bytes        BLAKE3 of a file's content, where it is known
//! heap     paths, targets and attributes
//!          attributes: for each, u32 length of the name, u32 length of the value, name, value; sorted by name
//! ```
//!
//! A directory's first child is the record after it, the next child is at the `end` of the one before, up to the
//! directory's own `end`: children are found without a look at grandchildren. A path is found by binary search.
//!
//! A reader trusts nothing of it: every offset is checked where it is used, `parent` is smaller and `end` is larger
//! than the record's own number, or the index is refused. The checksum is for `check`, not for opening.

pub(super) const MAGIC: &[u8; 8] = b"MICAINDX";
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER: usize = 128;
pub(super) const CHECKSUM: std::ops::Range<usize> = 64..96;
pub(super) const RECORD: usize = 112;

/// Offsets in a record.
pub(super) mod at {
    pub(in super::super) const PATH: usize = 0;
    pub(in super::super) const PATH_LENGTH: usize = 4;
    pub(in super::super) const KIND: usize = 8;
    pub(in super::super) const FLAGS: usize = 9;
    pub(in super::super) const MODE: usize = 12;
    pub(in super::super) const UID: usize = 16;
    pub(in super::super) const GID: usize = 20;
    pub(in super::super) const SIZE: usize = 24;
    pub(in super::super) const MTIME: usize = 32;
    pub(in super::super) const MTIME_NANOS: usize = 40;
    pub(in super::super) const LINK_GROUP: usize = 44;
    pub(in super::super) const TARGET: usize = 48;
    pub(in super::super) const TARGET_LENGTH: usize = 52;
    pub(in super::super) const XATTRS: usize = 56;
    pub(in super::super) const XATTRS_LENGTH: usize = 60;
    pub(in super::super) const PARENT: usize = 64;
    pub(in super::super) const END: usize = 68;
    pub(in super::super) const CONTENT: usize = 80;
}

/// Values of a record's kind.
pub(super) mod kind {
    pub(in super::super) const WHITEOUT: u8 = 0;
    pub(in super::super) const FILE: u8 = 1;
    pub(in super::super) const DIRECTORY: u8 = 2;
    pub(in super::super) const SYMLINK: u8 = 3;
    pub(in super::super) const CHAR_DEVICE: u8 = 4;
    pub(in super::super) const BLOCK_DEVICE: u8 = 5;
    pub(in super::super) const FIFO: u8 = 6;
    pub(in super::super) const LINK_TO_PARENT: u8 = 7;
}

/// Bits of a record's flags.
pub(super) mod flag {
    pub(in super::super) const IMPLICIT: u8 = 1;
    pub(in super::super) const OPAQUE: u8 = 2;
    pub(in super::super) const HASHED: u8 = 4;
}
