//! An operation that must not happen: an errno by name, and why.

use super::At;

/// An error number of Linux by its name; the number is the carrier's to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Errno {
    /// File exists.
    EEXIST,
    /// No such file or directory.
    ENOENT,
    /// Not a directory.
    ENOTDIR,
    /// Is a directory.
    EISDIR,
    /// Directory not empty.
    ENOTEMPTY,
    /// Invalid argument.
    EINVAL,
    /// Operation not permitted.
    EPERM,
    /// Cross-device link.
    EXDEV,
    /// No such attribute.
    ENODATA,
    /// No such device: a file of this kind has no such operation.
    ENODEV,
}

/// Why there is no plan. Nothing is written then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Something shows where something shall be made, linked or moved to.
    #[error("the name is taken")]
    Exists,
    /// Nothing shows at the place.
    #[error("nothing shows at the {0} name")]
    Missing(At),
    /// The operation is not for directories (`unlink`, opening for write, `truncate`), or a file would replace a directory.
    #[error("the {0} name is a directory's")]
    IsDirectory(At),
    /// The operation is for directories only, or a directory would replace a file.
    #[error("the {0} name is no directory's")]
    NotDirectory(At),
    /// A directory that shows names would be removed or replaced.
    #[error("the directory shows names")]
    NotEmpty,
    /// A directory has one name.
    #[error("a directory cannot be linked")]
    LinkToDirectory,
    /// A directory would be moved into itself.
    #[error("a directory cannot be moved into itself")]
    IntoItself,
    /// What would be replaced is a directory above the file that is moved.
    #[error("the directory holds what would replace it")]
    OverItsParent,
    /// A directory that lowers contribute to cannot be moved without a redirect, and none may be written.
    #[error("the directory has parts in lower layers and redirects are not available")]
    NeedsRedirect,
    /// `XATTR_CREATE` of an attribute that is there.
    #[error("the attribute exists")]
    AttributeExists,
    /// `XATTR_REPLACE` or removal of an attribute that is not there.
    #[error("there is no such attribute")]
    NoAttribute,
    /// `truncate` of what has no content.
    #[error("a file of this kind has no size")]
    NoSize,
    /// `fallocate` of what has no content.
    #[error("a file of this kind has no space")]
    NoSpace,
}

impl Refusal {
    /// The errno that Linux gives for it (rename(2), unlink(2), link(2), setxattr(2), truncate(2), fallocate(2)).
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::Exists | Self::AttributeExists => Errno::EEXIST,
            Self::Missing(_) => Errno::ENOENT,
            Self::IsDirectory(_) => Errno::EISDIR,
            Self::NotDirectory(_) => Errno::ENOTDIR,
            Self::NotEmpty | Self::OverItsParent => Errno::ENOTEMPTY,
            Self::LinkToDirectory => Errno::EPERM,
            Self::IntoItself | Self::NoSize => Errno::EINVAL,
            Self::NeedsRedirect => Errno::EXDEV,
            Self::NoAttribute => Errno::ENODATA,
            Self::NoSpace => Errno::ENODEV,
        }
    }
}
