//! Why a layer could not be read or written.

use std::io;

use mica_sys::SysError;

/// The result of an operation on a layer.
pub type Result<T> = std::result::Result<T, LayerError>;

/// Why a layer could not be read or written. The chain of sources, joined by `: `, is the whole message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// An entry of a tar is wrong, or could not be made.
    #[error("entry {number}")]
    Entry {
        /// Counted from 1; extended headers and long names belong to the entry that follows them.
        number: u64,
        /// What is wrong.
        #[source]
        problem: EntryError,
    },
    /// The bytes of the layer could not be read.
    #[error("reading the layer")]
    Read(#[source] io::Error),
    /// Bytes could not be written to whoever asked for them.
    #[error("writing the layer")]
    Write(#[source] io::Error),
    /// A system call on the layer's own files was refused.
    #[error("{what}")]
    Sys {
        /// What was being done: `reading the index`.
        what: &'static str,
        /// The refused call.
        #[source]
        source: SysError,
    },
    /// The index is not one that this version wrote, or its bytes have changed.
    #[error("index: {problem}")]
    Index {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// `recon` is not one that this version wrote, or its bytes have changed.
    #[error("recon: {problem}")]
    Recon {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Compressed bytes that cannot be read or written.
    #[error(transparent)]
    Compression(#[from] crate::CompressionError),
    /// A tar that cannot be written.
    #[error(transparent)]
    TarWrite(#[from] crate::tar::WriteError),
    /// A directory that cannot be read as a layer.
    #[error(transparent)]
    Tree(#[from] crate::TreeError),
    /// An upper that cannot be a layer tar.
    #[error(transparent)]
    Pack(#[from] crate::PackError),
    /// A changeset that could not be brought onto a tree.
    #[error(transparent)]
    Apply(#[from] crate::ApplyError),
    /// A thread of the unpacking could not be started or ended without a word.
    #[error("unpacking was cut off")]
    Thread,
}

impl LayerError {
    /// Whether a name could not be read for want of the right to.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Self::Tree(crate::TreeError::Read { source, .. }) if source.is_denied())
    }

    /// A refused system call, with what it was for.
    pub(crate) fn sys(what: &'static str) -> impl FnOnce(SysError) -> Self {
        move |source| Self::Sys { what, source }
    }
}

/// What is wrong with one entry of a tar. Paths are shown lossily as text; they are the tar's own spelling.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The header's checksum is not that of its bytes: no tar, or damaged.
    #[error("the header at byte {offset} has a wrong checksum")]
    Checksum {
        /// Where in the tar.
        offset: u64,
    },
    /// A number of the header or of an extended header is none, or out of range.
    #[error("path {path:?}: field {field:?} is no valid number")]
    Number {
        /// The entry.
        path: String,
        /// Which field.
        field: &'static str,
    },
    /// An extended header is not made of `length key=value` records.
    #[error("path {path:?}: malformed extended header")]
    Pax {
        /// The entry, as its own header names it.
        path: String,
    },
    /// A sparse map is malformed, out of order, overlapping, or does not fit the data.
    #[error("path {path:?}: malformed sparse map")]
    SparseMap {
        /// The entry.
        path: String,
    },
    /// The tar ends inside of an entry.
    #[error("path {path:?}: the tar ends at byte {offset}, within this entry")]
    Truncated {
        /// The entry; empty when the header itself is cut.
        path: String,
        /// How long the tar is.
        offset: u64,
    },
    /// Extended headers, long names and a sparse map are together longer than [`crate::Limits::header_bytes`].
    #[error("path {path:?}: extended headers of {bytes} bytes, more than the limit of {limit}")]
    HeaderLimit {
        /// The entry, as its own header names it.
        path: String,
        /// How long they are.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// More content than [`crate::Limits::content_bytes`].
    #[error("path {path:?}: the layer's content exceeds the limit of {limit} bytes")]
    ContentLimit {
        /// The entry that would exceed it.
        path: String,
        /// The limit.
        limit: u64,
    },
    /// More entries than [`crate::Limits::entries`].
    #[error("path {path:?}: the layer has more than the limit of {limit} entries")]
    EntryLimit {
        /// The entry that would exceed it.
        path: String,
        /// The limit.
        limit: u64,
    },
    /// More components than [`crate::Limits::depth`].
    #[error("path {path:?} is more than the limit of {limit} directories deep")]
    DepthLimit {
        /// The entry.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// More extended attributes than [`crate::Limits::xattr_bytes`].
    #[error("path {path:?}: {bytes} bytes of extended attributes, more than the limit of {limit}")]
    XattrLimit {
        /// The entry.
        path: String,
        /// How many.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// More paths, link targets and attributes than [`crate::Limits::metadata_bytes`].
    #[error("path {path:?}: the layer's names and attributes exceed the limit of {limit} bytes")]
    MetadataLimit {
        /// The entry that would exceed it.
        path: String,
        /// The limit.
        limit: u64,
    },
    /// A path, or the target of a hard link, climbs out with `..`.
    #[error("path {path:?} leaves the layer root")]
    Leaves {
        /// The path.
        path: String,
    },
    /// A path has a NUL byte.
    #[error("path {path:?} has a NUL byte")]
    Nul {
        /// The path.
        path: String,
    },
    /// A whiteout that names nothing: `.wh.`, `.wh..`, `.wh...`, `.wh..wh.x`.
    #[error("path {path:?} is no whiteout that has a meaning")]
    Whiteout {
        /// The path.
        path: String,
    },
    /// The entry would be inside of something that this tar says is no directory.
    #[error("path {path:?} is below {parent:?}, which is no directory")]
    BelowNonDirectory {
        /// The entry.
        path: String,
        /// What is in the way.
        parent: String,
    },
    /// Symlinks of the layer lead round in a circle.
    #[error("path {path:?} runs through too many symbolic links")]
    SymlinkLoop {
        /// The entry.
        path: String,
    },
    /// The layer's root can only be a directory.
    #[error("path {path:?} is the layer root and must be a directory")]
    Root {
        /// The path, as the tar spells it.
        path: String,
    },
    /// A hard link to a directory.
    #[error("path {path:?} is a hard link to the directory {target:?}")]
    LinkToDirectory {
        /// The entry.
        path: String,
        /// What it would share.
        target: String,
    },
    /// Hard links that only name each other.
    #[error("path {path:?} is a hard link that leads back to itself through {target:?}")]
    LinkLoop {
        /// The entry.
        path: String,
        /// Its target.
        target: String,
    },
    /// A kind of entry that layers do not have: a socket, a multi-volume part, a vendor's own.
    #[error("path {path:?} has the unsupported type {typeflag:?}")]
    Type {
        /// The entry.
        path: String,
        /// The header's type byte.
        typeflag: char,
    },
    /// A link without a target, or with one that no symlink can have.
    #[error("path {path:?} is a link with an unusable target")]
    LinkTarget {
        /// The entry.
        path: String,
    },
    /// The file system refused what the entry asks for.
    #[error("path {path:?}")]
    Make {
        /// The entry.
        path: String,
        /// The refused call.
        #[source]
        source: SysError,
    },
}

impl EntryError {
    /// The limit that was met: its name, as [`crate::Limits::set`] has it, and its value. `None` for any other error.
    #[must_use]
    pub const fn limit(&self) -> Option<(&'static str, u64)> {
        Some(match *self {
            Self::ContentLimit { limit, .. } => ("content", limit),
            Self::EntryLimit { limit, .. } => ("entries", limit),
            Self::DepthLimit { limit, .. } => ("depth", limit as u64),
            Self::HeaderLimit { limit, .. } => ("header", limit),
            Self::XattrLimit { limit, .. } => ("xattrs", limit),
            Self::MetadataLimit { limit, .. } => ("metadata", limit),
            _ => return None,
        })
    }
}

/// Bytes as text, for messages.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
