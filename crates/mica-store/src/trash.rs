//! The trash: what is removed goes there by a rename, and is deleted afterwards by whoever has time.

use std::time::{Duration, Instant};

use mica_sys::{Dir, Lock};

use crate::error::StoreError;
use crate::records;
use crate::store::Store;

/// What a reaper did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaped {
    /// How many removed things it deleted.
    pub deleted: usize,
    /// What is left in the trash.
    pub left: Left,
}

/// What a reaper left in the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// Its time was over.
    Some,
    /// Another reaper is at work.
    ToAnother,
}

impl Store {
    /// Sends `name` of `dir` to the trash; something that is not there is as good.
    pub(crate) fn discard(&self, dir: &Dir, name: &[u8]) -> Result<(), StoreError> {
        match dir.rename(name, &self.dirs.trash, records::random_name()?.as_bytes()) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Deletes what is in the trash until `budget` is over; what is half deleted then is in the trash all the same. Holds no
    /// lock but its own, which nobody waits for: who finds it held may leave what is there to its holder ([`Left::ToAnother`]).
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`], or of a system call; the next reaper goes on.
    pub fn reap(&self, budget: Duration) -> Result<Reaped, StoreError> {
        self.writable()?;
        let until = Instant::now() + budget;
        let mut deleted = 0;
        loop {
            let Some(lock) = Lock::try_exclusive(&self.dirs.locks, b"reaper")? else {
                return Ok(Reaped { deleted, left: Left::ToAnother });
            };
            for entry in self.dirs.trash.read_dir()? {
                if !self.dirs.trash.remove_tree_until(&entry.name, Some(until))? {
                    return Ok(Reaped { deleted, left: Left::Some });
                }
                deleted += 1;
            }
            drop(lock);
            // What came after it was listed was left to this reaper, by one that found the lock held.
            if !self.has_trash()? {
                return Ok(Reaped { deleted, left: Left::Nothing });
            }
        }
    }

    /// Whether there is anything for a reaper to do.
    ///
    /// # Errors
    /// When the trash cannot be read.
    pub fn has_trash(&self) -> Result<bool, StoreError> {
        Ok(!self.dirs.trash.read_dir()?.is_empty())
    }

    /// Sends to the trash what operations left that are no longer alive, and containers of earlier boots. Does nothing
    /// while gc, or a lease being written, holds `locks/gc`: whoever comes next does it.
    pub(crate) fn sweep(&self) -> Result<(), StoreError> {
        let volatile = self.dirs.volatile.read_dir()?;
        let earlier = volatile.into_iter().filter(|entry| entry.name != self.boot_id().as_bytes()).collect::<Vec<_>>();
        if earlier.is_empty() && self.dirs.staging.read_dir()?.is_empty() && self.dirs.leases.read_dir()?.is_empty() {
            return Ok(());
        }
        let Some(_gc) = Lock::try_exclusive(&self.dirs.locks, b"gc")? else { return Ok(()) };
        for entry in earlier {
            self.discard(&self.dirs.volatile, &entry.name)?;
        }
        self.sweep_staging()
    }

    /// The part of [`Store::sweep`] that gc shares. The caller holds `locks/gc` exclusively: a lease is locked in the same
    /// instant in which its file appears.
    pub(crate) fn sweep_staging(&self) -> Result<(), StoreError> {
        for entry in self.dirs.staging.read_dir()? {
            if let Some(abandoned) = Lock::try_exclusive(&self.dirs.leases, &entry.name)? {
                self.discard(&self.dirs.staging, &entry.name)?;
                abandoned.remove()?;
            }
        }
        for entry in self.dirs.leases.read_dir()? {
            if let Some(abandoned) = Lock::try_exclusive(&self.dirs.leases, &entry.name)? {
                abandoned.remove()?;
            }
        }
        Ok(())
    }
}
