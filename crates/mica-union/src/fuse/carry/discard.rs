//! What is thrown away.

use mica_sys::{Errno, SysError};

use super::Carrier;

impl Carrier {
    /// Removes the temp, with the whiteouts in it. What cannot be removed shows nowhere, and goes when the upper is opened next: no operation fails
    /// for it.
    pub(super) fn discard(&self, temp: &[u8]) {
        match self.try_discard(temp) {
            // ignored: see above; and a temp that was not made yet is not there.
            Ok(()) | Err(_) => {}
        }
    }

    fn try_discard(&self, temp: &[u8]) -> Result<(), SysError> {
        match self.work.unlink(temp) {
            Err(error) if matches!(error.errno(), Errno::ISDIR | Errno::PERM) => {}
            removed => return removed,
        }
        // No directory is thrown away that holds another, so a mistake elsewhere cannot lose more than files that nothing shows.
        let directory = self.work.open_dir(temp)?;
        for entry in directory.read_dir()? {
            directory.unlink(&entry.name)?;
        }
        self.work.rmdir(temp)
    }
}
