//! Garbage collection: what no record and no running operation keeps goes to the trash.
//!
//! Marking reads records, never layers. `locks/gc` is held exclusively while it marks and renames, so that no lease is
//! written meanwhile; leases are read first, since an operation that ends meanwhile leaves records, which are read after.

use std::collections::{BTreeMap, BTreeSet};

use mica_core::{BlobDigest, ChainId, DiffId, ImageId};
use mica_sys::{Dir, Lock};

use crate::check::Repair;
use crate::error::StoreError;
use crate::images::{ImageRecord, config_of, file_name};
use crate::lease::{Kept, Made};
use crate::store::Store;

/// What a garbage collection sent to the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Layers.
    pub layers: u64,
    /// Blobs.
    pub blobs: u64,
    /// What belonged on top of chains.
    pub chains: u64,
    /// Bytes of layers (as their seals say) and blobs, free again when the trash is emptied.
    pub bytes: u64,
}

/// What is reached from records and leases.
#[derive(Debug, Default)]
pub(crate) struct Marked {
    pub(crate) layers: BTreeSet<DiffId>,
    pub(crate) blobs: BTreeSet<BlobDigest>,
    pub(crate) chains: BTreeSet<ChainId>,
    /// Only those that are leased or named: a record needs neither to stay.
    images: BTreeSet<ImageId>,
}

impl Marked {
    fn stack(&mut self, layers: &[DiffId]) {
        self.layers.extend(layers);
        self.chains.extend(ChainId::of_layers(layers));
    }
}

impl Store {
    /// Sends to the trash every layer, blob and chain that no image, name, container or running operation keeps, and facts
    /// about what is gone. [`Store::reap`] empties the trash.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`]; [`StoreError::Corrupt`] for a record that cannot be read, and nothing is collected, since
    /// it may keep anything; or of a system call.
    pub fn gc(&self) -> Result<Collected, StoreError> {
        self.writable()?;
        let gc = self.gc_exclusive()?;
        self.sweep_staging()?;
        let marked = self.mark()?;
        let mut collected = Collected::default();
        for layer in self.layers()?.into_iter().filter(|layer| !marked.layers.contains(layer)) {
            self.collect_layer(&layer, &mut collected)?;
        }
        for blob in self.blobs()?.into_iter().filter(|blob| !marked.blobs.contains(blob)) {
            self.collect_blob(&blob, &mut collected)?;
        }
        for chain in self.chains()?.into_iter().filter(|chain| !marked.chains.contains(chain)) {
            self.discard(&self.dirs.chains, chain.hex().as_bytes())?;
            collected.chains += 1;
        }
        for facts in self.all_facts()? {
            if !self.has_blob(&facts.blob)? && !facts.diff_id.is_some_and(|layer| marked.layers.contains(&layer)) {
                self.discard(&self.dirs.facts, format!("{}.json", facts.blob.hex()).as_bytes())?;
            }
        }
        drop(gc);
        self.flush_collected(&collected)?;
        for locks in [&self.dirs.digest_locks, &self.dirs.name_locks] {
            remove_free_locks(locks)?;
        }
        self.stale_claims(Repair::Mend)?;
        self.remove_dead_container_locks()?;
        Ok(collected)
    }

    /// What is reached. The caller holds `locks/gc` exclusively, or looks without deciding anything.
    pub(crate) fn mark(&self) -> Result<Marked, StoreError> {
        let mut marked = Marked::default();
        for kept in self.leased()? {
            match kept {
                Kept::Layer(layer) => {
                    marked.layers.insert(layer);
                }
                Kept::Blob(blob) => self.reach(blob, &mut marked.blobs)?,
                Kept::Chain(chain) => {
                    marked.chains.insert(chain);
                }
                Kept::Image(image) => {
                    marked.images.insert(image);
                }
            }
        }
        let mut described = BTreeMap::new();
        for image in self.images()? {
            self.mark_image(&image, &mut marked)?;
            described.insert(image.manifest.digest, image.id);
        }
        for name in self.names()? {
            self.reach(name.target.digest, &mut marked.blobs)?;
            match described.get(&name.target.digest) {
                Some(image) => drop(marked.images.insert(*image)),
                // A name of an index, of an artifact, or of a second manifest of one config.
                None => marked.images.extend(self.images_of(&name.target)?.iter().map(|image| image.id)),
            }
        }
        for container in self.containers()? {
            marked.stack(&container.layers);
            marked.images.extend(container.image);
            marked.blobs.extend(container.image.iter().map(config_of));
        }
        Ok(marked)
    }

    fn mark_image(&self, image: &ImageRecord, marked: &mut Marked) -> Result<(), StoreError> {
        marked.stack(&image.layers);
        marked.blobs.insert(config_of(&image.id));
        self.reach(image.manifest.digest, &mut marked.blobs)
    }

    /// Takes back what an operation put in place before it failed, where nobody else keeps it by now.
    pub(crate) fn collect_only(&self, made: &[Made]) -> Result<(), StoreError> {
        let gc = self.gc_exclusive()?;
        let marked = self.mark()?;
        // Records first: what they keep can go then.
        let mut removed = false;
        for thing in made {
            if let Made::Image(image, record) = thing {
                let name = file_name(image);
                let there = self.dirs.images.stat_if_there(name.as_bytes())?;
                if !marked.images.contains(image) && there.is_some_and(|there| there.ino == *record) {
                    self.discard(&self.dirs.images, name.as_bytes())?;
                    removed = true;
                }
            }
        }
        let marked = if removed { self.mark()? } else { marked };
        let mut collected = Collected::default();
        for thing in made {
            match thing {
                Made::Layer(layer) if !marked.layers.contains(layer) => self.collect_layer(layer, &mut collected)?,
                Made::Blob(blob) if !marked.blobs.contains(blob) => self.collect_blob(blob, &mut collected)?,
                Made::Chain(chain) if !marked.chains.contains(chain) => {
                    self.discard(&self.dirs.chains, chain.hex().as_bytes())?;
                }
                _ => {}
            }
        }
        drop(gc);
        self.flush_collected(&collected)
    }

    fn collect_layer(&self, layer: &DiffId, collected: &mut Collected) -> Result<(), StoreError> {
        // One whose seal cannot be read is as much garbage.
        let size = self.layer(layer).ok().flatten().map_or(0, |sealed| sealed.seal().size());
        self.discard(&self.dirs.layers, layer.hex().as_bytes())?;
        collected.layers += 1;
        collected.bytes += size;
        Ok(())
    }

    fn collect_blob(&self, blob: &BlobDigest, collected: &mut Collected) -> Result<(), StoreError> {
        let size = self.blob_size(blob)?.unwrap_or(0);
        self.discard(&self.dirs.blobs, blob.hex().as_bytes())?;
        collected.blobs += 1;
        collected.bytes += size;
        Ok(())
    }

    /// A rename that is not on disk must not be overtaken by the deletion of what was renamed.
    fn flush_collected(&self, collected: &Collected) -> Result<(), StoreError> {
        if collected.layers > 0 {
            self.dirs.layers.sync()?;
        }
        if collected.blobs > 0 {
            self.dirs.blobs.sync()?;
        }
        Ok(())
    }

    fn remove_dead_container_locks(&self) -> Result<(), StoreError> {
        let alive: BTreeSet<Vec<u8>> =
            self.container_ids()?.into_iter().map(|id| id.as_str().as_bytes().to_vec()).collect();
        for entry in self.dirs.container_locks.read_dir()? {
            if !alive.contains(&entry.name)
                && let Some(lock) = Lock::try_exclusive(&self.dirs.container_locks, &entry.name)?
            {
                lock.remove()?;
            }
        }
        Ok(())
    }
}

/// Removes the files of locks that nobody holds. Whoever is about to lock one makes it anew.
fn remove_free_locks(locks: &Dir) -> Result<(), StoreError> {
    for entry in locks.read_dir()? {
        if let Some(lock) = Lock::try_exclusive(locks, &entry.name)? {
            lock.remove()?;
        }
    }
    Ok(())
}
