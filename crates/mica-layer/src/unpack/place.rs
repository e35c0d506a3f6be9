//! Where the parts of a layer stand in its directory.

use mica_core::RelPath;
use mica_sys::{Dir, SysError};

/// The changeset as a directory.
pub(crate) const DIFF: &[u8] = b"diff";
/// What the layer says, sorted.
pub(crate) const INDEX: &[u8] = b"index";
/// What brings the tar back.
pub(crate) const RECON: &[u8] = b"recon";

/// The kernel takes no path of 4096 bytes or more.
const PATH_BYTES: usize = 4000;

/// Opens a directory of a layer, with no symlink on the way, however long its path is.
pub(crate) fn open_below(root: &Dir, path: &RelPath) -> Result<Dir, SysError> {
    if path.as_bytes().len() <= PATH_BYTES {
        return root.open_dir(path.as_bytes());
    }
    let mut at = root.try_clone()?;
    let mut part = Vec::new();
    for component in path.components() {
        if !part.is_empty() && part.len() + 1 + component.len() > PATH_BYTES {
            at = at.open_dir(&part)?;
            part.clear();
        }
        if !part.is_empty() {
            part.push(b'/');
        }
        part.extend_from_slice(component);
    }
    at.open_dir(&part)
}
