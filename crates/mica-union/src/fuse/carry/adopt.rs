//! An upper that fuse-overlayfs wrote, taken over: what it says by names and by attributes of its own is said by the kernel's marks after.
//!
//! ```text
//!   .wh.NAME                        a whiteout at NAME; where something stands there, that hides what is below
//!   .wh..wh..opq  .wh..opq          the directory is opaque
//!   user.fuseoverlayfs.opaque=y     the directory is opaque
//!   trusted.overlay.opaque=y        the directory is opaque, also where marks are `user.overlay.*`
//! ```
//!
//! It is done once, and the upper's root says so ([`Marks::adopted`](mica_layer::Marks::adopted)): from then on `.wh.x` is a name as any other. Each statement is made before its old
//! form goes, so a crash on the way leaves both, and the next opening goes on.

use mica_core::{Name, RelPath};
use mica_sys::{Dir, FileKind, SysError};

use super::Carrier;

/// What a whiteout's name begins with.
const WHITEOUT: &[u8] = b".wh.";
/// The names that make their directory opaque.
const OPAQUE_NAMES: [&[u8]; 2] = [b".wh..wh..opq", b".wh..opq"];
/// What begins so is aufs' own business, and stays.
const OWN: &[u8] = b".wh..wh.";
/// The attributes that make a directory opaque.
const OPAQUE: [&[u8]; 3] = [b"user.fuseoverlayfs.opaque", b"trusted.overlay.opaque", b"user.overlay.opaque"];

impl Carrier {
    /// Takes the upper over, unless it has been.
    ///
    /// # Errors
    /// Of the first call that was refused; what is done so far is right, and the next opening goes on.
    pub(super) fn adopt(&self) -> Result<(), SysError> {
        let adopted = self.marks.adopted();
        if self.upper.get_own_xattr(adopted)?.is_some() {
            return Ok(());
        }
        let mut unread = vec![RelPath::root()];
        while let Some(at) = unread.pop() {
            let dir = self.upper.open_dir(at.as_bytes())?;
            if !at.is_root() {
                self.adopt_opaque(&dir)?;
            }
            for entry in dir.read_dir()? {
                if entry.kind == FileKind::Directory {
                    if let Ok(name) = Name::new(&entry.name) {
                        unread.push(at.join(&name));
                    }
                } else if entry.name.starts_with(WHITEOUT) {
                    self.adopt_name(&dir, &entry.name)?;
                }
            }
        }
        self.upper.set_own_xattr(adopted, b"")
    }

    fn adopt_opaque(&self, dir: &Dir) -> Result<(), SysError> {
        let own = self.marks.opaque();
        for attribute in OPAQUE.into_iter().filter(|attribute| *attribute != own) {
            if dir.get_own_xattr(attribute)?.is_some_and(|value| value == b"y") {
                dir.set_own_xattr(own, b"y")?;
                dir.remove_own_xattr(attribute)?;
            }
        }
        Ok(())
    }

    fn adopt_name(&self, dir: &Dir, said: &[u8]) -> Result<(), SysError> {
        if OPAQUE_NAMES.contains(&said) {
            dir.set_own_xattr(self.marks.opaque(), b"y")?;
            return dir.unlink(said);
        }
        let hidden = said.strip_prefix(WHITEOUT).filter(|hidden| !hidden.is_empty() && !said.starts_with(OWN));
        let Some(hidden) = hidden else { return Ok(()) };
        match dir.stat_if_there(hidden)? {
            None => self.make_whiteout(dir, hidden)?,
            // It was removed and made again.
            Some(found) if found.kind == FileKind::Directory => {
                dir.set_xattr(hidden, self.marks.opaque(), b"y")?;
            }
            Some(_) => {}
        }
        dir.unlink(said)
    }
}
