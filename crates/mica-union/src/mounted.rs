//! A union that is shown and has no place yet.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use mica_sys::mount::{Mount, Reach, SetAttrs};
use mica_sys::{Dir, Errno};

use crate::UnionError;

/// A detached mount of a union. Dropped before it is attached, it is gone, and nothing is left mounted.
#[derive(Debug)]
pub struct Mounted {
    mount: Mount,
}

impl Mounted {
    pub(crate) const fn new(mount: Mount) -> Self {
        Self { mount }
    }

    /// Puts the union at `path`, a directory; a symlink there is not followed. It stays until it is unmounted.
    ///
    /// # Errors
    /// [`UnionError::Use`].
    pub fn attach(self, path: &Path) -> Result<(), UnionError> {
        self.mount.attach(path).map_err(UnionError::Use)
    }

    /// Makes the view read-only. The upper is still held as if it were written to. Waits up to two seconds for what is
    /// open for writing through the mount: a program that another thread starts holds copies of it until it is executed.
    ///
    /// # Errors
    /// [`UnionError::Use`], with EBUSY for a file that stays open for writing.
    pub fn read_only(self) -> Result<Self, UnionError> {
        let mut pause = Duration::from_millis(1);
        loop {
            match self.mount.set_attrs(&SetAttrs::read_only(), Reach::One) {
                Err(error) if error.errno() == Errno::BUSY && pause <= Duration::from_secs(1) => {
                    std::thread::sleep(pause);
                    pause *= 2;
                }
                set => return set.map(|()| self).map_err(UnionError::Use),
            }
        }
    }

    /// The root of the union, open for use without attaching it. It stays usable as long as anything in it is open.
    ///
    /// # Errors
    /// [`UnionError::Use`].
    pub fn dir(&self) -> Result<Dir, UnionError> {
        self.mount.open_root().map_err(UnionError::Use)
    }

    /// The mount, for whoever puts it somewhere else: a child process with a namespace of its own.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.mount.into_fd()
    }
}

impl AsFd for Mounted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }
}
