//! A lease: what a running operation needs, said aloud so that gc leaves it, and the staging it works in.
//!
//! The kernel releases a lease with the process that holds it, so one that is dead keeps nothing. A lease that is dropped
//! without [`Lease::finish`] takes back what was put in place under it, unless someone else keeps it by then.

use std::io::{Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use mica_core::{BlobDigest, ChainId, DiffId, ImageId};
use mica_sys::{Dir, Lock};
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, What};
use crate::images::file_name;
use crate::records::{self, DIR_MODE};
use crate::store::Store;

/// Something that gc leaves while it is leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    /// A layer, here or to come.
    Layer(DiffId),
    /// A blob, here or to come. An index or a manifest keeps what it names, as far as that is here.
    Blob(BlobDigest),
    /// An image with its manifest, config and layers.
    Image(ImageId),
    /// What belongs on top of a chain.
    Chain(ChainId),
}

/// A running operation's lease. See [`format`](crate::format), "Birth".
#[derive(Debug)]
pub struct Lease<'a> {
    store: &'a Store,
    name: String,
    /// Taken out only when the lease ends.
    lock: Option<Lock>,
    staging: OnceLock<Dir>,
    /// What was put in place under this lease.
    made: Mutex<Vec<Made>>,
    finished: bool,
}

/// Something that was put in place under a lease, to be taken back if the operation does not finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// A layer.
    Layer(DiffId),
    /// A blob.
    Blob(BlobDigest),
    /// What belongs on top of a chain.
    Chain(ChainId),
    /// An image's record, as this very file: another operation that puts the same image replaces it.
    Image(ImageId, u64),
}

impl Store {
    /// Begins an operation that changes the store.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`], or of a system call.
    pub fn lease(&self) -> Result<Lease<'_>, StoreError> {
        self.writable()?;
        let name = records::random_name()?;
        let gc = self.gc_shared()?;
        let lock = Lock::exclusive(&self.dirs.leases, name.as_bytes())?;
        drop(gc);
        Ok(Lease {
            store: self,
            name,
            lock: Some(lock),
            staging: OnceLock::new(),
            made: Mutex::new(Vec::new()),
            finished: false,
        })
    }

    /// What the living leases keep. The caller holds `locks/gc` exclusively, so that none is being written.
    pub(crate) fn leased(&self) -> Result<Vec<Kept>, StoreError> {
        let mut kept = Vec::new();
        for entry in self.dirs.leases.read_dir()? {
            if let Some(abandoned) = Lock::try_exclusive(&self.dirs.leases, &entry.name)? {
                if self.read_only().is_none() {
                    abandoned.remove()?;
                }
                continue;
            }
            // It may end while it is read; what it made is reachable by records then, which are read afterwards.
            let Some(bytes) = self.dirs.leases.read_if_there(&entry.name, records::RECORD_CAP)? else { continue };
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let name = String::from_utf8_lossy(&entry.name);
                kept.push(serde_json::from_slice(line).map_err(|error| StoreError::corrupt(What::Lease, name, error))?);
            }
        }
        Ok(kept)
    }
}

impl Store {
    fn is_here(&self, thing: &Kept) -> Result<bool, StoreError> {
        match thing {
            Kept::Layer(layer) => self.has_layer(layer),
            Kept::Blob(blob) => self.has_blob(blob),
            Kept::Image(image) => Ok(self.dirs.images.stat_if_there(file_name(image).as_bytes())?.is_some()),
            Kept::Chain(chain) => Ok(self.dirs.chains.stat_if_there(chain.hex().as_bytes())?.is_some()),
        }
    }
}

impl<'a> Lease<'a> {
    /// Has gc leave `things` from now on, and says which of them are here, in the same order. What is here now stays; what
    /// is not may come.
    ///
    /// # Errors
    /// Of a system call; nothing new is kept then.
    pub fn keep(&self, things: &[Kept]) -> Result<Vec<bool>, StoreError> {
        let mut lines = Vec::new();
        for thing in things {
            serde_json::to_writer(&mut lines, thing)
                .map_err(|source| StoreError::Encode { what: What::Lease, source })?;
            lines.push(b'\n');
        }
        // Under the same lock as gc's marking, so that it sees all of the lines or none.
        let gc = self.store.gc_shared()?;
        self.append(&lines)?;
        let here = things.iter().map(|thing| self.store.is_here(thing)).collect();
        drop(gc);
        here
    }

    /// As [`Lease::keep`], for things that must all be here.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the first that is not, or of a system call.
    pub fn keep_present(&self, things: &[Kept]) -> Result<(), StoreError> {
        let here = self.keep(things)?;
        match things.iter().zip(here).find(|(_, here)| !here) {
            None => Ok(()),
            Some((Kept::Layer(layer), _)) => Err(StoreError::not_found(What::Layer, layer)),
            Some((Kept::Blob(blob), _)) => Err(StoreError::not_found(What::Blob, blob)),
            Some((Kept::Image(image), _)) => Err(StoreError::not_found(What::Image, image)),
            Some((Kept::Chain(chain), _)) => Err(StoreError::not_found(What::Chain, chain)),
        }
    }

    /// Ends the operation: what it put in place stays. Its own staging is removed; should that fail, the next `open` does it.
    pub fn finish(mut self) {
        self.finished = true;
    }

    /// The store that is changed.
    #[must_use]
    pub const fn store(&self) -> &'a Store {
        self.store
    }

    /// Where this operation makes things before they are seen. All that is left there goes with the lease.
    ///
    /// # Errors
    /// Of a system call.
    pub fn staging(&self) -> Result<&Dir, StoreError> {
        if let Some(staging) = self.staging.get() {
            return Ok(staging);
        }
        let made = self.store.dirs.staging.ensure_dir(self.name.as_bytes(), DIR_MODE)?;
        Ok(self.staging.get_or_init(|| made))
    }

    /// The same as a path, for those who take no directory that is open.
    ///
    /// # Errors
    /// Of a system call.
    pub fn staging_path(&self) -> Result<PathBuf, StoreError> {
        self.staging()?;
        Ok(self.store.path().join("staging").join(&self.name))
    }

    /// Remembers what is about to be put in place, to take it back if the operation does not finish.
    pub(crate) fn made(&self, thing: Made) {
        self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(thing);
    }

    fn append(&self, lines: &[u8]) -> Result<(), StoreError> {
        // The lock is on the file, so it is added to and not replaced; where the disk is full, the old length comes back.
        let Some(lock) = &self.lock else { return Ok(()) };
        let fd = lock.file().try_clone_to_owned().map_err(|error| {
            let errno = mica_sys::Errno::from_io_error(&error).unwrap_or(mica_sys::Errno::IO);
            mica_sys::SysError::new("dup", self.name.as_bytes(), errno)
        })?;
        let mut file = mica_sys::File::from_fd(fd, self.name.as_bytes());
        let before = file.metadata()?.size;
        if let Err(error) = file.write_whole(lines) {
            file.set_len(before)?;
            file.seek(SeekFrom::Start(before))
                .map_err(|_| mica_sys::SysError::new("lseek", file.name(), error.errno()))?;
            return Err(error.into());
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), StoreError> {
        let Some(lock) = self.lock.take() else { return Ok(()) };
        let dropped = match self.staging.take() {
            Some(_) => self.store.dirs.staging.remove_tree(self.name.as_bytes()),
            None => Ok(()),
        };
        let made = std::mem::take(self.made.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner));
        // Dead before collecting, or it would keep what is to be taken back.
        dropped.and(lock.remove())?;
        if !self.finished && !made.is_empty() {
            self.store.collect_only(&made)?;
        }
        Ok(())
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // ignored: nobody can be told here, and the next open sweeps what is left.
        drop(self.end());
    }
}
