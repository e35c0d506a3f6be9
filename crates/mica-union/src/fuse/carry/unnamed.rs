//! Files without a name, which may get one later (`O_TMPFILE`).

use mica_sys::process::FsIds;
use mica_sys::{Dir, File, SysError};

use super::acl::DefaultAcl;
use super::{Carrier, New};

/// The set-group-ID bit; a directory with it gives its group to what is made in it.
const SET_GID: u32 = 0o2000;

/// Both bits that lend rights.
const SETS_IDS: u32 = 0o6000;

impl Carrier {
    /// Makes a regular file on the file system of `dir`, a directory of the upper, that has from `dir` what a file made in it has: its group, where it
    /// says so, and its default access control list. Open for reading and writing.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the file system has no such files; those of open(2) and chown(2).
    pub(crate) fn make_unnamed(&self, dir: &Dir, new: &New) -> Result<File, SysError> {
        if self.records.are_kept() {
            let file = dir.create_unnamed(0o600)?;
            let attrs = self.given(dir, new)?;
            self.put_owner_and_mode(self.temp(b"", Some(&file)), &new.kind, &attrs)?;
            return Ok(file);
        }
        // The program's mask counts where no list does.
        let listed = DefaultAcl::of(dir)?.is_some();
        let mode = if listed { new.mode } else { new.mode & !new.umask };
        let file = self.make_unnamed_as(dir, new, mode)?;
        // What the mask of this process took, and a change of owner.
        if !listed && mode & (self.umask | SETS_IDS) != 0 {
            file.set_mode(mode)?;
        }
        Ok(file)
    }

    fn make_unnamed_as(&self, dir: &Dir, new: &New, mode: u32) -> Result<File, SysError> {
        if (new.uid, new.gid) == self.ids {
            return dir.create_unnamed(mode);
        }
        match FsIds::take(new.uid, new.gid).map(|_ids| dir.create_unnamed(mode)) {
            // Without the right to be somebody else, or for what one may do by a capability alone.
            None => {}
            Some(Err(error)) if error.is_denied() => {}
            Some(made) => return made,
        }
        let file = dir.create_unnamed(mode)?;
        let directory = dir.metadata()?;
        let gid = if directory.mode & SET_GID != 0 { directory.gid } else { new.gid };
        file.set_owner(new.uid, gid)?;
        Ok(file)
    }
}
