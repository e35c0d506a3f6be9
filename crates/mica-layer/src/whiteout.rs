//! How a whiteout is put on disk.

use mica_sys::{Dir, Errno, FileKind, SysError};

use crate::Marks;

/// Makes `name` in `dir` a whiteout, with the marks by which the kernel's overlayfs finds it there.
///
/// It is a character device 0:0. A directory of overlayfs takes none (`ovl_mknod`: "Don't allow creation of whiteout on overlay"): there it is
/// an empty file with the attribute `overlay.whiteout`, in a directory that says `overlay.opaque` = `x`, which overlayfs and
/// we read as a whiteout too (Linux 6.7). Such a directory must not be opaque itself; it needs no whiteouts.
///
/// # Errors
/// Of the call that was refused.
pub fn make_whiteout(dir: &Dir, name: &[u8], marks: Marks) -> Result<(), SysError> {
    match dir.mknod(name, FileKind::CharDevice, 0, 0, 0) {
        Err(error) if error.errno() == Errno::PERM => {
            drop(dir.create_file(name, 0)?);
            dir.set_xattr(name, marks.whiteout(), b"y")?;
            dir.set_own_xattr(marks.opaque(), b"x")?;
        }
        made => made?,
    }
    dir.set_own_xattr(marks.origin(), b"")
}
