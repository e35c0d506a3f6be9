//! A lock that the kernel releases when its holder dies: `flock` on a file that stands for what is locked.
//!
//! A lock file may be removed by its holder ([`Lock::remove`]), so after locking it is checked that the name still leads
//! to the file that was locked, and begun again otherwise.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::dir::{Dir, component};
use crate::error::{Result, SysError};
use crate::fault;

/// A held lock. Dropping it releases it and leaves the file.
#[derive(Debug)]
pub struct Lock {
    file: OwnedFd,
    dir: OwnedFd,
    name: Vec<u8>,
}

impl Lock {
    /// Waits until nobody else holds `name`, making the file where it is missing.
    ///
    /// # Errors
    /// When the file cannot be made or opened.
    pub fn exclusive(dir: &Dir, name: &[u8]) -> Result<Self> {
        Self::take(dir, name, FlockOperation::LockExclusive).and_then(|lock| lock.ok_or_else(|| interrupted(name)))
    }

    /// Waits until nobody holds `name` exclusively.
    ///
    /// # Errors
    /// When the file cannot be made or opened.
    pub fn shared(dir: &Dir, name: &[u8]) -> Result<Self> {
        Self::take(dir, name, FlockOperation::LockShared).and_then(|lock| lock.ok_or_else(|| interrupted(name)))
    }

    /// Takes the lock if nobody holds it; `None` otherwise.
    ///
    /// # Errors
    /// When the file cannot be made or opened.
    pub fn try_exclusive(dir: &Dir, name: &[u8]) -> Result<Option<Self>> {
        Self::take(dir, name, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the lock if nobody holds it exclusively; `None` otherwise.
    ///
    /// # Errors
    /// When the file cannot be made or opened.
    pub fn try_shared(dir: &Dir, name: &[u8]) -> Result<Option<Self>> {
        Self::take(dir, name, FlockOperation::NonBlockingLockShared)
    }

    fn take(dir: &Dir, name: &[u8], how: FlockOperation) -> Result<Option<Self>> {
        component("flock", name)?;
        loop {
            let file = open_or_make(dir, name)?;
            loop {
                match rustix::fs::flock(&file, how) {
                    Ok(()) => break,
                    Err(Errno::WOULDBLOCK) => return Ok(None),
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(SysError::new("flock", name, errno)),
                }
            }
            let locked = rustix::fs::fstat(&file).map_err(|errno| SysError::new("fstat", name, errno))?;
            let named = rustix::fs::statat(dir.as_fd(), name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
            if named.is_ok_and(|named| (named.st_dev, named.st_ino) == (locked.st_dev, locked.st_ino)) {
                let dir = dir.as_fd().try_clone_to_owned();
                let dir =
                    dir.map_err(|error| SysError::new("dup", name, Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
                return Ok(Some(Self { file, dir, name: name.to_vec() }));
            }
        }
    }

    /// Removes the lock's file and releases the lock. Whoever waits on it makes a new file.
    ///
    /// # Errors
    /// When the file cannot be removed; the lock is released all the same.
    pub fn remove(self) -> Result<()> {
        fault::door("unlinkat", &self.name)?;
        rustix::fs::unlinkat(&self.dir, &self.name[..], rustix::fs::AtFlags::empty())
            .map_err(|errno| SysError::new("unlinkat", &self.name, errno))
    }

    /// The locked file, to read or write what it says about the holder.
    #[must_use]
    pub fn file(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Dir {
    /// Locks this directory itself, as [`Dir::try_lock`], when nobody else has it locked any more.
    ///
    /// # Errors
    /// `flock`'s.
    pub fn lock(&self) -> Result<()> {
        loop {
            match rustix::fs::flock(self, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(SysError::new("flock", b".", errno)),
            }
        }
    }

    /// Locks this directory itself for as long as this handle, and clones of it, are open; `false` where somebody else has locked it, also by
    /// another handle of this process.
    ///
    /// # Errors
    /// `flock`'s.
    pub fn try_lock(&self) -> Result<bool> {
        match rustix::fs::flock(self, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(SysError::new("flock", b".", errno)),
        }
    }
}

fn interrupted(name: &[u8]) -> SysError {
    SysError::new("flock", name, Errno::INTR)
}

fn open_or_make(dir: &Dir, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::openat(dir.as_fd(), name, flags, Mode::empty()) {
        Err(Errno::NOENT) => {}
        opened => return opened.map_err(|errno| SysError::new("openat", name, errno)),
    }
    fault::door("openat", name)?;
    rustix::fs::openat(dir.as_fd(), name, flags | OFlags::CREATE, Mode::from_raw_mode(0o600))
        .map_err(|errno| SysError::new("openat", name, errno))
}
