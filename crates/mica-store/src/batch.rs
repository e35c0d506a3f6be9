//! Batches: layers and blobs that are staged together, flushed once, and put in place together.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mica_core::{BlobDigest, DiffId};
use mica_layer::{Limits, Unpack, Unpacked};
use mica_sys::{Dir, Lock};

use crate::blobs::{self, BlobWriter, StagedBlob};
use crate::error::{StoreError, What};
use crate::layers::{SEAL, Seal};
use crate::lease::{Kept, Lease, Made};
use crate::records::{self, DIR_MODE, Flush};
use crate::store::{Store, release};

/// Layers and blobs in the making, staged together, flushed once, and put in place together.
///
/// Two processes that want the same layer do not both unpack it. Each layer has a lock, held from before its unpacking
/// until it is in place. A batch tries the locks of all that it wants and is missing: those that it gets are *its*, and
/// it stages and seals them. Those that another process holds it leaves alone until it holds no lock any more; then it
/// waits for them one at a time ([`LayerBatch::take_over`]), looks whether the other made the layer, and makes it
/// itself if not. Since nobody waits while holding, there is no circle.
///
/// ```text
/// let batch = store.stage_layers(&lease, &wanted)?;
/// let mut mine = batch.mine();
/// loop {
///     for layer in mine { batch.stage(&layer, …)?; }        // from as many threads as there are layers
///     batch.seal()?;                                        // one syncfs
///     mine = batch.take_over()?;                            // waits for what others are making
///     if mine.is_empty() { break }
/// }
/// ```
#[derive(Debug)]
pub struct LayerBatch<'a> {
    lease: &'a Lease<'a>,
    /// Opened before anything is written: `syncfs` reports what went wrong since then.
    disk: Dir,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Missing layers whose lock this batch holds.
    mine: BTreeMap<DiffId, Lock>,
    /// Layers that another process was making.
    theirs: BTreeSet<DiffId>,
    staged: Vec<StagedLayer>,
    blobs: Vec<StagedBlob>,
}

#[derive(Debug)]
struct StagedLayer {
    draft: String,
    dir: Dir,
    seal: Seal,
    /// None for a layer whose DiffID was not known before.
    lock: Option<Lock>,
}

impl Store {
    /// Begins a batch that makes those of `wanted` that are not here. They are leased, and never waited for here.
    ///
    /// # Errors
    /// Of a system call.
    pub fn stage_layers<'a>(&'a self, lease: &'a Lease<'a>, wanted: &[DiffId]) -> Result<LayerBatch<'a>, StoreError> {
        let wanted: Vec<DiffId> = wanted.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let here = lease.keep(&wanted.iter().map(|layer| Kept::Layer(*layer)).collect::<Vec<_>>())?;
        let mut state = State::default();
        for (layer, here) in wanted.into_iter().zip(here) {
            if !here {
                state.reach_for(self, layer)?;
            }
        }
        Ok(LayerBatch { lease, disk: self.dirs.staging.open_dir(b"")?, state: Mutex::new(state) })
    }
}

impl State {
    /// Takes a missing layer's lock if nobody holds it.
    fn reach_for(&mut self, store: &Store, layer: DiffId) -> Result<(), StoreError> {
        match Lock::try_exclusive(&store.dirs.digest_locks, layer.hex().as_bytes())? {
            Some(lock) => self.hold(store, layer, lock),
            None => {
                self.theirs.insert(layer);
                Ok(())
            }
        }
    }

    /// A locked layer is this batch's to make, unless it was made before the lock was had.
    fn hold(&mut self, store: &Store, layer: DiffId, lock: Lock) -> Result<(), StoreError> {
        if store.has_layer(&layer)? {
            release(lock);
        } else {
            self.mine.insert(layer, lock);
        }
        Ok(())
    }
}

impl<'a> LayerBatch<'a> {
    /// The layers that are this batch's to stage and not staged yet.
    #[must_use]
    pub fn mine(&self) -> Vec<DiffId> {
        self.state().mine.keys().copied().collect()
    }

    /// Unpacks a layer from its uncompressed tar. The tar is read to its end and must have the DiffID. After an error the
    /// layer is still this batch's to stage, from another source.
    ///
    /// # Errors
    /// [`StoreError::NotMine`]; [`StoreError::WrongDiffId`]; [`StoreError::Layer`] for a tar that cannot be unpacked.
    pub fn stage(&self, layer: &DiffId, tar: &mut dyn Read, limits: &Limits) -> Result<Unpacked, StoreError> {
        let Some(lock) = self.state().mine.remove(layer) else {
            return Err(StoreError::NotMine { layer: *layer });
        };
        match self.unpack(Some(layer), tar, limits) {
            Ok((unpacked, staged)) => {
                self.state().staged.push(StagedLayer { lock: Some(lock), ..staged });
                Ok(unpacked)
            }
            Err(error) => {
                self.state().mine.insert(*layer, lock);
                Err(error)
            }
        }
    }

    /// Unpacks a layer whose DiffID is not known before: a commit, an import. Should an equal one appear meanwhile, that
    /// one is used.
    ///
    /// # Errors
    /// [`StoreError::Layer`] for a tar that cannot be unpacked.
    pub fn stage_new(&self, tar: &mut dyn Read, limits: &Limits) -> Result<Unpacked, StoreError> {
        let (unpacked, staged) = self.unpack(None, tar, limits)?;
        self.lease.keep(&[Kept::Layer(unpacked.diff_id)])?;
        self.state().staged.push(staged);
        Ok(unpacked)
    }

    /// Keeps `bytes` as a blob, seen when the batch is sealed.
    ///
    /// # Errors
    /// Of a system call.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<BlobDigest, StoreError> {
        let digest = BlobDigest::of(bytes);
        if self.lease.keep(&[Kept::Blob(digest)])?.contains(&true) {
            return Ok(digest);
        }
        let draft = records::random_name()?;
        records::write_file(self.lease.staging()?, draft.as_bytes(), bytes, Flush::No)?;
        self.state().blobs.push(StagedBlob { draft, digest });
        Ok(digest)
    }

    /// Begins a blob that must have the digest, and the size where it is known.
    ///
    /// # Errors
    /// Of a system call.
    pub fn blob_writer(&self, expected: &BlobDigest, size: Option<u64>) -> Result<BlobWriter, StoreError> {
        self.lease.keep(&[Kept::Blob(*expected)])?;
        BlobWriter::begin(self.lease.staging()?, *expected, size)
    }

    /// Takes a blob that was written whole; it is seen when the batch is sealed.
    ///
    /// # Errors
    /// [`StoreError::WrongDigest`], [`StoreError::WrongSize`]; the blob is dropped then.
    pub fn keep_blob(&self, writer: BlobWriter) -> Result<BlobDigest, StoreError> {
        let (draft, staging) = (writer.draft().to_owned(), self.lease.staging()?);
        match writer.finish() {
            Ok(staged) => {
                let digest = staged.digest;
                self.state().blobs.push(staged);
                Ok(digest)
            }
            Err(error) => {
                records::unlink_if_there(staging, draft.as_bytes())?;
                Err(error)
            }
        }
    }

    /// Flushes all that was staged, once, seals it, puts it in place and lets go of its locks.
    ///
    /// # Errors
    /// Of a system call: what was put in place until then is taken back when the lease ends without
    /// [`Lease::finish`].
    pub fn seal(&self) -> Result<(), StoreError> {
        let (staged, blobs) = {
            let mut state = self.state();
            (std::mem::take(&mut state.staged), std::mem::take(&mut state.blobs))
        };
        if staged.is_empty() && blobs.is_empty() {
            return Ok(());
        }
        let (dirs, staging) = (&self.lease.store().dirs, self.lease.staging()?);
        self.disk.syncfs()?;
        for layer in &staged {
            let seal = records::encode(What::Layer, &layer.seal)?;
            records::write_file(&layer.dir, SEAL.as_bytes(), &seal, Flush::Yes)?;
            layer.dir.sync()?;
        }
        // Blobs first: whoever finds a layer made does not read its tar again, and so cannot keep its blob.
        for blob in &blobs {
            blobs::put_in_place(self.lease, staging, blob.draft.as_bytes(), blob.digest)?;
        }
        if !blobs.is_empty() {
            dirs.blobs.sync()?;
        }
        for layer in &staged {
            self.put_in_place(staging, layer)?;
        }
        if !staged.is_empty() {
            dirs.layers.sync()?;
        }
        staged.into_iter().filter_map(|layer| layer.lock).for_each(release);
        Ok(())
    }

    /// Waits for the layers that others are making, and gives those that are this batch's to make after all; none when
    /// all that was wanted is here. Lets go of what is staged no further, so seal first.
    ///
    /// # Errors
    /// Of a system call.
    pub fn take_over(&self) -> Result<Vec<DiffId>, StoreError> {
        let store = self.lease.store();
        let mut state = self.state();
        for (layer, lock) in std::mem::take(&mut state.mine) {
            release(lock);
            state.theirs.insert(layer);
        }
        state.staged.clear();
        while state.mine.is_empty() {
            let Some(layer) = state.theirs.pop_first() else { break };
            let lock = Lock::exclusive(&store.dirs.digest_locks, layer.hex().as_bytes())?;
            state.hold(store, layer, lock)?;
        }
        for layer in std::mem::take(&mut state.theirs) {
            state.reach_for(store, layer)?;
        }
        Ok(state.mine.keys().copied().collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unpack(
        &self,
        expected: Option<&DiffId>,
        tar: &mut dyn Read,
        limits: &Limits,
    ) -> Result<(Unpacked, StagedLayer), StoreError> {
        let staging = self.lease.staging()?;
        let draft = records::random_name()?;
        let made = self.unpack_into(staging, &draft, expected, tar, limits);
        if made.is_err() {
            staging.remove_tree(draft.as_bytes())?;
        }
        let (unpacked, dir, seal) = made?;
        Ok((unpacked, StagedLayer { draft, dir, seal, lock: None }))
    }

    fn unpack_into(
        &self,
        staging: &Dir,
        draft: &str,
        expected: Option<&DiffId>,
        tar: &mut dyn Read,
        limits: &Limits,
    ) -> Result<(Unpacked, Dir, Seal), StoreError> {
        staging.mkdir(draft.as_bytes(), DIR_MODE)?;
        let dir = staging.open_dir(draft.as_bytes())?;
        let how = Unpack {
            marks: self.lease.store().marks(),
            limits: limits.clone(),
            ability: self.lease.store().ability().clone(),
        };
        let name = || expected.map_or_else(|| "new".to_owned(), ToString::to_string);
        let unpacked =
            mica_layer::unpack(tar, &dir, &how).map_err(|source| StoreError::Layer { layer: name(), source })?;
        if let Some(expected) = expected.filter(|expected| **expected != unpacked.diff_id) {
            return Err(StoreError::WrongDiffId { expected: *expected, actual: unpacked.diff_id });
        }
        let seal = Seal::of(&unpacked, &dir)?;
        Ok((unpacked, dir, seal))
    }

    /// Renames a sealed layer to where it is seen. One that came meanwhile is the same; one that has no seal is
    /// nobody's, since whoever makes a layer renames it sealed.
    fn put_in_place(&self, staging: &Dir, layer: &StagedLayer) -> Result<(), StoreError> {
        let store = self.lease.store();
        let (id, name) = (layer.seal.diff_id, layer.seal.diff_id.hex());
        if store.dirs.layers.stat_if_there(name.as_bytes())?.is_some() {
            if store.has_layer(&id)? {
                return Ok(());
            }
            store.discard(&store.dirs.layers, name.as_bytes())?;
        }
        self.lease.made(Made::Layer(id));
        match staging.rename_noreplace(layer.draft.as_bytes(), &store.dirs.layers, name.as_bytes()) {
            Err(error) if error.is_exists() => Ok(()),
            renamed => Ok(renamed?),
        }
    }
}

impl Drop for LayerBatch<'_> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.mine).into_values().for_each(release);
        std::mem::take(&mut state.staged).into_iter().filter_map(|layer| layer.lock).for_each(release);
    }
}
