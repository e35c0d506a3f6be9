//! Operations as data: what a program may do to a tree, by paths from its root.

use std::fmt;

use mica_core::RelPath;

/// Bytes that are short to print: `length` of them, told apart by `seed`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Two of different seeds differ in every byte that both have.
    pub seed: u8,
    /// How many bytes.
    pub length: u16,
}

impl Fill {
    /// The bytes.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        (0..self.length).map(|at| b'a' + self.seed % 26 + (at % 64 == 63) as u8).collect()
    }
}

impl fmt::Debug for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", char::from(b'a' + self.seed % 26), self.length)
    }
}

/// What `mknod` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A named pipe.
    Fifo,
    /// A character device 1:3.
    Char,
    /// A block device that no driver has.
    Block,
    /// A character device 0:0, which as a whiteout means something else.
    DeviceZero,
}

/// How `renameat2` is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Over whatever is there.
    Replace,
    /// Only where nothing is.
    NoReplace,
    /// Both names stay.
    Exchange,
    /// As `Replace`, and a device 0:0 is left where the name was: what an overlay asks of the file system that its upper is on.
    Whiteout,
}

/// One operation. Sizes and offsets are eighths of the file's size at that moment, so that an operation means something also
/// in a replay from which others were taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say what their fields are")]
pub enum Op {
    /// `O_CREAT | O_EXCL`, and a write.
    Create { path: RelPath, mode: u32, fill: Fill },
    /// `O_CREAT | O_TRUNC`, and a write; follows a symlink, as all that opens does.
    Overwrite { path: RelPath, fill: Fill },
    /// A write inside.
    WriteAt { path: RelPath, eighths: u8, fill: Fill },
    /// A write `gap` bytes behind the end: a hole.
    WriteBeyond { path: RelPath, gap: u16, fill: Fill },
    /// A write with `O_APPEND`.
    Append { path: RelPath, fill: Fill },
    /// `ftruncate` to less.
    Shrink { path: RelPath, eighths: u8 },
    /// `ftruncate` to more.
    Grow { path: RelPath, by: u16 },
    /// `fallocate` behind the end.
    Allocate { path: RelPath, by: u16 },
    /// `fallocate(FALLOC_FL_PUNCH_HOLE)`.
    Punch { path: RelPath, eighths: u8 },
    /// A write through a shared mapping.
    MapWrite { path: RelPath, fill: Fill },
    /// A descriptor that was opened for reading reads what was then written by another.
    ReadHeld { path: RelPath, fill: Fill },
    /// Opened, unlinked, written to and read.
    WriteUnlinked { path: RelPath, fill: Fill },
    /// Opened, renamed, written to, and read by its new name.
    WriteRenamed { from: RelPath, to: RelPath, fill: Fill },
    /// Opened for writing, and nothing is written.
    Touch { path: RelPath },
    /// Reads the whole.
    Read { path: RelPath },
    /// `lstat`.
    Stat { path: RelPath },
    /// The names and kinds in a directory.
    List { path: RelPath },
    /// `mkdir`.
    MakeDir { path: RelPath, mode: u32 },
    /// `mknod`.
    MakeNode { path: RelPath, node: Node },
    /// `symlink`.
    Symlink { path: RelPath, target: Vec<u8> },
    /// `O_TMPFILE`, a write, and `link`.
    LinkUnnamed { path: RelPath, fill: Fill },
    /// `link`.
    Link { from: RelPath, to: RelPath },
    /// `unlink`.
    Unlink { path: RelPath },
    /// `rmdir`.
    RemoveDir { path: RelPath },
    /// As `rm -r`.
    RemoveTree { path: RelPath },
    /// `renameat2`.
    Rename { from: RelPath, to: RelPath, how: How },
    /// As mv(1) where `rename` is `EXDEV`: copied with all it has, then removed.
    Move { from: RelPath, to: RelPath },
    /// `fchmodat`.
    Chmod { path: RelPath, mode: u32 },
    /// `lchown`.
    Chown { path: RelPath, uid: u32, gid: u32 },
    /// `utimensat` of the name itself.
    SetTime { path: RelPath, secs: i64, nanos: u32 },
    /// `lsetxattr`.
    SetXattr { path: RelPath, key: Vec<u8>, value: Vec<u8> },
    /// `lremovexattr`.
    RemoveXattr { path: RelPath, key: Vec<u8> },
}

macro_rules! rows {
    ($($row:ident)*) => {
        /// What an operation does with a path: a row of the coverage table. An operation on two paths is in two rows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the operations of these names say it")]
        pub enum Row { $($row),* }

        impl Row {
            /// All, as the table has them.
            pub const ALL: &[Self] = &[$(Self::$row),*];
        }
    };
}

rows! {
    Create Overwrite WriteAt WriteBeyond Append Shrink Grow Allocate Punch MapWrite ReadHeld WriteUnlinked WriteRenamed Touch
    Read Stat List MakeDir MakeFifo MakeDevice MakeDeviceZero Symlink LinkUnnamed LinkFrom LinkTo Unlink RemoveDir
    RemoveTree RenameFrom RenameOnto NoReplaceFrom NoReplaceOnto ExchangeFrom ExchangeWith WhiteoutFrom WhiteoutOnto MoveFrom MoveTo Chmod
    Chown SetTime SetXattr RemoveXattr
}

impl Row {
    /// Whether the path should name nothing yet.
    #[must_use]
    pub const fn makes(self) -> bool {
        matches!(
            self,
            Self::Create
                | Self::MakeDir
                | Self::MakeFifo
                | Self::MakeDevice
                | Self::MakeDeviceZero
                | Self::Symlink
                | Self::LinkUnnamed
                | Self::LinkTo
                | Self::NoReplaceOnto
                | Self::MoveTo
        )
    }

    /// Whether the path may name nothing, or something.
    #[must_use]
    pub const fn makes_or_replaces(self) -> bool {
        matches!(self, Self::Overwrite | Self::RenameOnto | Self::WhiteoutOnto)
    }

    /// Whether the path should be a regular file.
    #[must_use]
    pub const fn wants_content(self) -> bool {
        matches!(
            self,
            Self::Overwrite
                | Self::WriteAt
                | Self::WriteBeyond
                | Self::Append
                | Self::Shrink
                | Self::Grow
                | Self::Allocate
                | Self::Punch
                | Self::MapWrite
                | Self::ReadHeld
                | Self::WriteUnlinked
                | Self::WriteRenamed
                | Self::Touch
                | Self::Read
        )
    }
}

impl Op {
    /// The paths with the rows that they count in.
    #[must_use]
    pub fn aims(&self) -> Vec<(Row, &RelPath)> {
        let one = |row, path| vec![(row, path)];
        match self {
            Self::Create { path, .. } => one(Row::Create, path),
            Self::Overwrite { path, .. } => one(Row::Overwrite, path),
            Self::WriteAt { path, .. } => one(Row::WriteAt, path),
            Self::WriteBeyond { path, .. } => one(Row::WriteBeyond, path),
            Self::Append { path, .. } => one(Row::Append, path),
            Self::Shrink { path, .. } => one(Row::Shrink, path),
            Self::Grow { path, .. } => one(Row::Grow, path),
            Self::Allocate { path, .. } => one(Row::Allocate, path),
            Self::Punch { path, .. } => one(Row::Punch, path),
            Self::MapWrite { path, .. } => one(Row::MapWrite, path),
            Self::ReadHeld { path, .. } => one(Row::ReadHeld, path),
            Self::WriteUnlinked { path, .. } => one(Row::WriteUnlinked, path),
            Self::WriteRenamed { from, to, .. } => vec![(Row::WriteRenamed, from), (Row::RenameOnto, to)],
            Self::Touch { path } => one(Row::Touch, path),
            Self::Read { path } => one(Row::Read, path),
            Self::Stat { path } => one(Row::Stat, path),
            Self::List { path } => one(Row::List, path),
            Self::MakeDir { path, .. } => one(Row::MakeDir, path),
            Self::MakeNode { path, node: Node::Fifo } => one(Row::MakeFifo, path),
            Self::MakeNode { path, node: Node::Char | Node::Block } => one(Row::MakeDevice, path),
            Self::MakeNode { path, node: Node::DeviceZero } => one(Row::MakeDeviceZero, path),
            Self::Symlink { path, .. } => one(Row::Symlink, path),
            Self::LinkUnnamed { path, .. } => one(Row::LinkUnnamed, path),
            Self::Link { from, to } => vec![(Row::LinkFrom, from), (Row::LinkTo, to)],
            Self::Unlink { path } => one(Row::Unlink, path),
            Self::RemoveDir { path } => one(Row::RemoveDir, path),
            Self::RemoveTree { path } => one(Row::RemoveTree, path),
            Self::Rename { from, to, how: How::Replace } => vec![(Row::RenameFrom, from), (Row::RenameOnto, to)],
            Self::Rename { from, to, how: How::NoReplace } => {
                vec![(Row::NoReplaceFrom, from), (Row::NoReplaceOnto, to)]
            }
            Self::Rename { from, to, how: How::Exchange } => vec![(Row::ExchangeFrom, from), (Row::ExchangeWith, to)],
            Self::Rename { from, to, how: How::Whiteout } => vec![(Row::WhiteoutFrom, from), (Row::WhiteoutOnto, to)],
            Self::Move { from, to } => vec![(Row::MoveFrom, from), (Row::MoveTo, to)],
            Self::Chmod { path, .. } => one(Row::Chmod, path),
            Self::Chown { path, .. } => one(Row::Chown, path),
            Self::SetTime { path, .. } => one(Row::SetTime, path),
            Self::SetXattr { path, .. } => one(Row::SetXattr, path),
            Self::RemoveXattr { path, .. } => one(Row::RemoveXattr, path),
        }
    }

    /// Whether the last component is followed when it is a symlink.
    #[must_use]
    pub const fn follows(&self) -> bool {
        matches!(
            self,
            Self::Overwrite { .. }
                | Self::WriteAt { .. }
                | Self::WriteBeyond { .. }
                | Self::Append { .. }
                | Self::Shrink { .. }
                | Self::Grow { .. }
                | Self::Allocate { .. }
                | Self::Punch { .. }
                | Self::MapWrite { .. }
                | Self::ReadHeld { .. }
                | Self::Touch { .. }
                | Self::Read { .. }
                | Self::List { .. }
        )
    }

    /// Whether names in a directory may come or go.
    #[must_use]
    pub const fn changes_names(&self) -> bool {
        matches!(
            self,
            Self::Create { .. }
                | Self::WriteUnlinked { .. }
                | Self::WriteRenamed { .. }
                | Self::MakeDir { .. }
                | Self::MakeNode { .. }
                | Self::Symlink { .. }
                | Self::LinkUnnamed { .. }
                | Self::Link { .. }
                | Self::Unlink { .. }
                | Self::RemoveDir { .. }
                | Self::RemoveTree { .. }
                | Self::Rename { .. }
                | Self::Move { .. }
        )
    }
}
