//! Names of a directory: made, linked, moved and removed.

use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::io::Errno;

use super::{Dir, component};
use crate::error::{Result, SysError};
use crate::fault::door;
use crate::stat::FileKind;

impl Dir {
    /// Makes the directory `name`.
    ///
    /// # Errors
    /// `mkdirat`'s.
    pub fn mkdir(&self, name: &[u8], mode: u32) -> Result<()> {
        component("mkdirat", name)?;
        door("mkdirat", name)?;
        rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode))
            .map_err(|errno| SysError::new("mkdirat", name, errno))
    }

    /// Makes the directory `name` unless it is there, and opens it.
    ///
    /// # Errors
    /// `mkdirat`'s, except `EEXIST`; `openat2`'s when something else has the name.
    pub fn ensure_dir(&self, name: &[u8], mode: u32) -> Result<Self> {
        match self.open_dir(name) {
            Err(error) if error.is_not_found() => {}
            opened => return opened,
        }
        match self.mkdir(name, mode) {
            Err(error) if !error.is_exists() => Err(error),
            _ => self.open_dir(name),
        }
    }

    /// Makes the symlink `name` that points to `target`.
    ///
    /// # Errors
    /// `symlinkat`'s.
    pub fn symlink(&self, target: &[u8], name: &[u8]) -> Result<()> {
        component("symlinkat", name)?;
        door("symlinkat", name)?;
        rustix::fs::symlinkat(target, &self.fd, name).map_err(|errno| SysError::new("symlinkat", name, errno))
    }

    /// Makes `new` in `to` one more name of the file `name`, itself and not what it points to.
    ///
    /// # Errors
    /// `linkat`'s.
    pub fn link(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<()> {
        component("linkat", name)?;
        component("linkat", new)?;
        door("linkat", new)?;
        rustix::fs::linkat(&self.fd, name, &to.fd, new, AtFlags::empty())
            .map_err(|errno| SysError::new("linkat", two(name, new), errno))
    }

    /// Makes a device, FIFO or socket. `major` and `minor` count for devices alone.
    ///
    /// # Errors
    /// `EPERM` without the privilege; `EINVAL` for other kinds.
    pub fn mknod(&self, name: &[u8], kind: FileKind, mode: u32, major: u32, minor: u32) -> Result<()> {
        component("mknodat", name)?;
        door("mknodat", name)?;
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(&self.fd, name, kind.to_rustix(), Mode::from_raw_mode(mode), device)
            .map_err(|errno| SysError::new("mknodat", name, errno))
    }

    /// Removes the name of anything but a directory.
    ///
    /// # Errors
    /// `unlinkat`'s.
    pub fn unlink(&self, name: &[u8]) -> Result<()> {
        self.remove(name, AtFlags::empty())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `unlinkat`'s.
    pub fn rmdir(&self, name: &[u8]) -> Result<()> {
        self.remove(name, AtFlags::REMOVEDIR)
    }

    fn remove(&self, name: &[u8], flags: AtFlags) -> Result<()> {
        component("unlinkat", name)?;
        door("unlinkat", name)?;
        rustix::fs::unlinkat(&self.fd, name, flags).map_err(|errno| SysError::new("unlinkat", name, errno))
    }

    /// Renames over whatever has the new name.
    ///
    /// # Errors
    /// `renameat2`'s.
    pub fn rename(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<()> {
        self.rename_how(name, to, new, RenameFlags::empty())
    }

    /// Renames unless the new name is taken.
    ///
    /// # Errors
    /// `EEXIST` when it is; `renameat2`'s.
    pub fn rename_noreplace(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<()> {
        self.rename_how(name, to, new, RenameFlags::NOREPLACE)
    }

    /// Exchanges two names in one step.
    ///
    /// # Errors
    /// `renameat2`'s.
    pub fn exchange(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<()> {
        self.rename_how(name, to, new, RenameFlags::EXCHANGE)
    }

    /// Renames over whatever has the new name, and leaves a character device 0:0 at the old one in the same step
    /// (`RENAME_WHITEOUT`, Linux 3.18).
    ///
    /// # Errors
    /// `EINVAL` where the file system has no such rename; `renameat2`'s.
    pub fn rename_leaving_whiteout(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<()> {
        self.rename_how(name, to, new, RenameFlags::WHITEOUT)
    }

    fn rename_how(&self, name: &[u8], to: &Self, new: &[u8], how: RenameFlags) -> Result<()> {
        component("renameat2", name)?;
        component("renameat2", new)?;
        door("renameat2", new)?;
        rustix::fs::renameat_with(&self.fd, name, &to.fd, new, how)
            .map_err(|errno| SysError::new("renameat2", two(name, new), errno))
    }

    /// Puts `bytes` at `name` so that a crash leaves the old content or the new: written under a temporary name, flushed,
    /// renamed over, and the directory flushed.
    ///
    /// # Errors
    /// Of the call that was refused; the old content stands and the temporary name is removed.
    pub fn write_atomic(&self, name: &[u8], bytes: &[u8], mode: u32) -> Result<()> {
        component("openat", name)?;
        let temporary = temporary_name(name)?;
        let written = self
            .create_file(&temporary, mode)
            .and_then(|mut file| file.write_whole(bytes).and_then(|()| file.sync()))
            .and_then(|()| self.rename(&temporary, self, name));
        if let Err(error) = written {
            // ignored: the error that is returned is the one that matters, and a leftover temporary name is swept later.
            drop(self.unlink(&temporary));
            return Err(error);
        }
        self.sync()
    }
}

fn two(from: &[u8], to: &[u8]) -> Vec<u8> {
    [from, b" -> ", to].concat()
}

/// A name beside `name` that no other process chooses.
pub(crate) fn temporary_name(name: &[u8]) -> Result<Vec<u8>> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|_| SysError::new("getrandom", b"", Errno::IO))?;
    let kept = name.get(..name.len().min(200)).unwrap_or_default();
    Ok([b".", kept, format!(".{:016x}", u64::from_le_bytes(random)).as_bytes()].concat())
}
