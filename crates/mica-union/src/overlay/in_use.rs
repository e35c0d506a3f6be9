//! Whether an upper is mounted, in whichever mount namespace.
//!
//! The kernel keeps the answer with the directory's inode: overlayfs marks an upper while a mount of it lives. It lets a second mount through all the
//! same where there is no index, with undefined results for both, and refuses one that asks for the index with `EBUSY`. So such a one is
//! asked for here, whose work directory is its upper: `ovl_fill_super` looks at the upper's mark first and then refuses that, and so nothing is ever
//! mounted, made or marked.

use std::path::Path;

use mica_layer::Marks;
use mica_sys::Errno;
use mica_sys::mount::{FsContext, MountAttrFlags};

use super::layers::{Layer, Naming};
use super::{NAME, cause};
use crate::{Role, UnionError};

/// Whether overlayfs has `upper` as the upper, or the work directory, of a mount that lives.
///
/// # Errors
/// [`UnionError::Open`]; [`UnionError::Kernel`] where an option is not taken.
pub fn is_upper_in_use(upper: &Path, marks: Marks) -> Result<bool, UnionError> {
    let kernel = |source| UnionError::Kernel { driver: NAME, cause: cause::of_call(&source), source };
    let upper = Layer::open(Role::Upper, upper)?;
    let lower = Layer::new_tmpfs()?;
    let Ok(overlay) = FsContext::open("overlay") else {
        // Where overlayfs is not there is no upper.
        return Ok(false);
    };
    overlay.string("index", b"on").map_err(kernel)?;
    if marks == Marks::User {
        overlay.flag("userxattr").map_err(kernel)?;
    }
    let naming = lower.give("lowerdir+", &overlay, Naming::Descriptor)?;
    let naming = upper.give("upperdir", &overlay, naming)?;
    upper.give("workdir", &overlay, naming)?;
    // Any other refusal, EINVAL of the work directory or of a file system that has no uppers, says that it is free.
    Ok(overlay.create(MountAttrFlags::empty()).is_err_and(|source| source.error().errno() == Errno::BUSY))
}
