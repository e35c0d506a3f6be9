//! A tar archive, pulled entry by entry from a stream, with every byte accounted for.
//!
//! Understood: v7, ustar (POSIX.1-1988) with its prefix, PAX (POSIX.1-2001) local and global headers, GNU long names and
//! links, base-256 numbers, star's variant of ustar, sparse files in GNU's old form and its PAX forms 0.0, 0.1 and 1.0,
//! extended attributes as `SCHILY.xattr.`, `LIBARCHIVE.xattr.` and `RHT.security.selinux`. Names are bytes.
//!
//! What a header means is decided over byte slices ([`header`], [`pax`], [`sparse`]) and never follows what the archive
//! claims beyond [`crate::Limits`]. A tar ends with the first block of zeros or with the stream; what follows is
//! [`Archive::trailing`].
//!
//! Where writers disagree, the widest use decides:
//! * directories, symlinks, devices and FIFOs have no body, whatever their size field says;
//! * a hard link has one when a PAX header of the archive makes its size binding (POSIX.1-2001), or when no header
//!   stands where its body would be;
//! * a PAX path wins over a GNU long name, and a `SCHILY.xattr.` over the same `LIBARCHIVE.xattr.`.

mod archive;
mod entry;
pub mod header;
mod input;
pub mod pax;
mod scan;
pub mod sparse;
pub(crate) mod writer;

pub use archive::{Archive, Piece};
pub use entry::{Entry, EntryKind};
pub use scan::scan;
pub use writer::{Member, MemberKind, WriteError, Writer};

/// The unit of a tar: headers fill one, bodies are padded to it.
pub const BLOCK: usize = 512;
