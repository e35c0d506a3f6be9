//! Files that are kept without a name: their last known one was removed, and names of their lower files that were not found may turn up yet.

use std::sync::atomic::Ordering;

use mica_core::Name;
use mica_sys::{Errno, SysError};

use super::{Carrier, Stand};

/// Where in `work` they are. Whoever reads an upper without its work directory takes those names for removed, which all that he can find are.
pub(crate) const KEPT: &[u8] = b"joining";

/// The name by which the file of the upper with this inode number is kept.
pub(crate) fn kept_name(ino: u64) -> Option<Name> {
    Name::new(format!("{ino:x}").as_bytes()).ok()
}

impl Carrier {
    /// Gives what stands one more link, unless it is kept already.
    pub(super) fn keep(&self, stand: &Stand) -> Result<(), SysError> {
        self.keeps.store(true, Ordering::Relaxed);
        let kept = self.base.ensure_dir(KEPT, 0o700)?;
        let found = stand.dir.stat(stand.name())?;
        let Some(name) = kept_name(found.ino) else { return Ok(()) };
        match stand.dir.link(stand.name(), &kept, name.as_bytes()) {
            Err(error) if error.is_exists() => {}
            linked => linked?,
        }
        Ok(())
    }

    /// What stands has all its names: if it was kept, it need not be.
    pub(super) fn keep_no_more(&self, stand: &Stand) -> Result<(), SysError> {
        if !self.keeps.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some(kept) = self.base.open_dir_if_there(KEPT)? else { return Ok(()) };
        let Some(name) = kept_name(stand.dir.stat(stand.name())?.ino) else { return Ok(()) };
        match kept.unlink(name.as_bytes()) {
            Err(error) if error.errno() == Errno::NOENT => Ok(()),
            removed => removed,
        }
    }
}
