//! Attributes of what a directory holds, and of the directory itself: looked at and set.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, StatxFlags, Timespec, Timestamps};

use super::{Dir, absent_is_none, component};
use crate::error::{Result, SysError};
use crate::fault::{door, look};
use crate::stat::{Metadata, Time};

impl Dir {
    /// This directory's own metadata.
    ///
    /// # Errors
    /// `fstat`'s.
    pub fn metadata(&self) -> Result<Metadata> {
        look("fstat", b"")?;
        rustix::fs::fstat(&self.fd)
            .map(|stat| Metadata::from_stat(&stat))
            .map_err(|errno| SysError::new("fstat", b"", errno))
    }

    /// Metadata of `name` itself.
    ///
    /// # Errors
    /// `ENOENT` when there is none; see [`Dir::stat_if_there`].
    pub fn stat(&self, name: &[u8]) -> Result<Metadata> {
        component("fstatat", name)?;
        look("fstatat", name)?;
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .map(|stat| Metadata::from_stat(&stat))
            .map_err(|errno| SysError::new("fstatat", name, errno))
    }

    /// Metadata of `name` itself; `None` when there is none.
    ///
    /// # Errors
    /// `fstatat`'s, except `ENOENT`.
    pub fn stat_if_there(&self, name: &[u8]) -> Result<Option<Metadata>> {
        absent_is_none(self.stat(name))
    }

    /// Metadata of `name` itself, with the time at which it was made, by which a new file is told from an old one of the
    /// same inode number; `None` for that time where the file system does not keep it. All is `None` when there is no
    /// such name.
    ///
    /// # Errors
    /// `statx`'s, except `ENOENT`.
    pub fn stat_born(&self, name: &[u8]) -> Result<Option<(Metadata, Option<Time>)>> {
        component("statx", name)?;
        absent_is_none(self.statx(name, AtFlags::SYMLINK_NOFOLLOW))
    }

    /// This directory's own metadata, with the time at which it was made.
    ///
    /// # Errors
    /// `statx`'s.
    pub fn metadata_born(&self) -> Result<(Metadata, Option<Time>)> {
        self.statx(b"", AtFlags::EMPTY_PATH)
    }

    fn statx(&self, name: &[u8], flags: AtFlags) -> Result<(Metadata, Option<Time>)> {
        look("statx", name)?;
        rustix::fs::statx(&self.fd, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
            .map(|stat| Metadata::from_statx(&stat))
            .map_err(|errno| SysError::new("statx", name, errno))
    }

    /// Sets the permission bits (0 to 0o7777) of `name` itself.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a symlink; `fchmodat2`'s (Linux 6.6; before it, the same through `/proc/self/fd`).
    pub fn chmod(&self, name: &[u8], mode: u32) -> Result<()> {
        component("fchmodat2", name)?;
        door("fchmodat2", name)?;
        crate::raw::fchmodat2(self.fd.as_fd(), name, mode).map_err(|errno| SysError::new("fchmodat2", name, errno))
    }

    /// Sets the permission bits (0 to 0o7777) of this directory.
    ///
    /// # Errors
    /// `fchmod`'s.
    pub fn chmod_self(&self, mode: u32) -> Result<()> {
        door("fchmod", b".")?;
        rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode)).map_err(|errno| SysError::new("fchmod", b".", errno))
    }

    /// Sets owner and group of `name` itself; 4,294,967,295 leaves what is. Clears setuid, setgid and file capabilities, so it comes before them.
    ///
    /// # Errors
    /// `fchownat`'s.
    pub fn chown(&self, name: &[u8], uid: u32, gid: u32) -> Result<()> {
        component("fchownat", name)?;
        door("fchownat", name)?;
        rustix::fs::chownat(&self.fd, name, crate::stat::uid(uid), crate::stat::gid(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| SysError::new("fchownat", name, errno))
    }

    /// Sets owner and group of this directory, as [`Self::chown`].
    ///
    /// # Errors
    /// `fchown`'s.
    pub fn chown_self(&self, uid: u32, gid: u32) -> Result<()> {
        door("fchown", b".")?;
        rustix::fs::fchown(&self.fd, crate::stat::uid(uid), crate::stat::gid(gid))
            .map_err(|errno| SysError::new("fchown", b".", errno))
    }

    /// Sets the modification time of `name` itself, and the access time to the same.
    ///
    /// # Errors
    /// `utimensat`'s.
    pub fn utimens(&self, name: &[u8], mtime: Time) -> Result<()> {
        component("utimensat", name)?;
        door("utimensat", name)?;
        rustix::fs::utimensat(&self.fd, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| SysError::new("utimensat", name, errno))
    }

    /// Sets the modification time of this directory, and the access time to the same.
    ///
    /// # Errors
    /// `futimens`'s.
    pub fn utimens_self(&self, mtime: Time) -> Result<()> {
        door("futimens", b".")?;
        rustix::fs::futimens(&self.fd, &times(mtime)).map_err(|errno| SysError::new("futimens", b".", errno))
    }
}

fn times(mtime: Time) -> Timestamps {
    let at = Timespec { tv_sec: mtime.secs, tv_nsec: i64::from(mtime.nanos) };
    Timestamps { last_access: at, last_modification: at }
}

pub(crate) fn file_times(mtime: Time) -> Timestamps {
    times(mtime)
}
