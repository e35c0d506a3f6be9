//! A stack of directories, shown as one tree.
//!
//! ```text
//!   UnionDirs { upper, lowers }  --Driver::mount-->  Mounted (detached)  --attach-->  a path
//!                                                            \--into_fd-->  a child's namespace
//! ```
//!
//! A [`Driver`] takes directories that hold changesets with overlayfs' marks ([`mica_layer::Marks`]) and gives a mount that
//! has no place yet. It writes to the upper and work directories alone: no lower ever changes. It knows no store, image
//! or container.
//!
//! * [`Overlay`]: the kernel's overlayfs.
//! * [`fuse`]: a file system of our own in user space.
//! * [`Flat`]: a copy, for places where nothing else works.
#![forbid(unsafe_code)]

mod dirs;
mod error;
mod flat;
pub mod fuse;
mod mounted;
pub mod overlay;
mod probe;
mod records;

use std::path::Path;

pub use dirs::{UnionDirs, UpperDirs};
pub use error::{Role, UnionError};
pub use flat::Flat;
pub use mica_layer::Marks;
pub use mounted::Mounted;
pub use overlay::Overlay;
pub use records::Records;

/// A way to show a stack.
pub trait Driver: Send + Sync {
    /// How users name it: `overlay`.
    fn name(&self) -> &'static str;

    /// Whether stacks whose upper is on the file system of the directory `scratch` can be shown, found by showing one.
    ///
    /// Costs some milliseconds; the answer holds until the machine is restarted or the file system is mounted otherwise.
    /// Leaves nothing in `scratch`.
    fn probe(&self, scratch: &Path) -> Support;

    /// Shows a stack. The mount has no place; dropped, it is gone.
    ///
    /// Nothing else may use `dirs.upper` while it is mounted: the caller holds the container's lock. The kernel does not
    /// guard it.
    ///
    /// # Errors
    /// [`UnionError`]; nothing is mounted then, and the upper is as it was.
    fn mount(&self, dirs: &UnionDirs) -> Result<Mounted, UnionError>;

    /// Brings what was written through a mount of these directories into the upper: whoever reads an upper after this
    /// reads a changeset with marks that says all, whichever driver wrote it. The upper is the old one or the new one at
    /// each moment; it may be another directory after, so it is opened after. Costs nothing where writes go to the upper
    /// by themselves.
    ///
    /// The caller holds the container's lock. The union may be mounted and written to meanwhile: then each file is as it
    /// was at some moment.
    ///
    /// # Errors
    /// [`UnionError`]; the upper is as it was, and nothing that was written is lost.
    fn settle(&self, _dirs: &UnionDirs) -> Result<(), UnionError> {
        Ok(())
    }

    /// Bytes on disk that the driver takes for an upper beside it, as they were counted when the upper was mounted first
    /// or settled last: nothing is walked for it. Blocks that files share count for each, as `du` counts them.
    ///
    /// # Errors
    /// [`UnionError`].
    fn taken(&self, _upper: &UpperDirs) -> Result<u64, UnionError> {
        Ok(0)
    }
}

/// Whether a driver works.
#[derive(Debug)]
pub enum Support {
    /// A stack was shown, written to and read.
    Yes,
    /// It was not.
    No {
        /// What was in the way; its [`UnionError::hint`] says what would help.
        why: UnionError,
    },
}

impl Support {
    /// Whether it works.
    #[must_use]
    pub const fn is_yes(&self) -> bool {
        matches!(self, Self::Yes)
    }
}
