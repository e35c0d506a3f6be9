//! An archive's images come into the store.
//!
//! ```text
//!   archive --(blob)--> tee to a kept blob --> inflate --> unpack, hash, index --> one flush --> image --> name
//!                       (compressed layers)    side by side, one thread a layer
//! ```
//!
//! Compressed layers are kept as they came, so that what is saved or pushed again has the same digests. So is the index that an
//! image was chosen from, however few of its platforms come.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use mica_core::image::ImageConfig;
use mica_core::{BlobDigest, DiffId, ImageId};
use mica_layer::Compression;
use mica_store::{Descriptor, ImageRecord, LayerBatch, Lease, Tee};
use mica_sys::{Dir, File as DiskFile};
use mica_transport::{
    ArchiveForm, BlobRef, ImageSource, OpenOptions, Platforms, RawManifest, Reference, SNIFF_LEN, SinkLayer,
    SourceImage, SourceLayer, TransportError, sniff, synthesize_manifest,
};

use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::progress::{Counted, Outcome, Progress, Task};

/// Where images are loaded from.
#[derive(Debug)]
pub enum LoadFrom {
    /// An archive: a file or a pipe, compressed or not.
    Archive(File),
    /// An OCI layout in a directory.
    Layout(PathBuf),
}

/// How many layers are unpacked at a time, whatever the number of cores. Each has three threads and holds 6 MiB of buffers
/// besides what its entries take, and a load is to stay below 64 MiB: of 16 layers with 8,000 entries each, six at once
/// peak at 50 MB and all of them at 100.
const AT_ONCE: usize = 6;

/// What to load.
#[derive(Debug)]
pub struct Load {
    /// Where the images are.
    pub from: LoadFrom,
    /// Of an image for several platforms, which to take.
    pub platforms: Platforms,
    /// How many layers may be unpacked at a time; memory allows six.
    pub threads: usize,
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its ID.
    pub id: ImageId,
    /// The names it has now.
    pub names: Vec<Reference>,
    /// What it is called where it came from, by texts that are no reference and so no names of it.
    pub labels: Vec<String>,
    /// The names that another image had before, and which image.
    pub taken: Vec<(Reference, ImageId)>,
}

/// All that was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadedAll {
    /// The images.
    pub images: Vec<Loaded>,
    /// The names of what is kept and is no image.
    pub artifacts: Vec<Reference>,
}

impl Engine {
    /// Loads all images of an archive. They come all or not at all, but for layers that others use as well.
    ///
    /// # Errors
    /// Whatever is wrong with the archive; the store is as it was then.
    pub fn load(&self, load: Load, progress: &dyn Progress) -> Result<LoadedAll> {
        let lease = self.store.lease()?;
        let defaults = OpenOptions::default();
        let json_max = self.limits.json_bytes;
        let options = OpenOptions {
            platforms: load.platforms,
            json_max,
            metadata_max: defaults.metadata_max.max(json_max.saturating_mul(4)),
            ..defaults
        };
        let source = match load.from {
            LoadFrom::Archive(input) => {
                mica_transport::open_archive_with(self.readable(input, &lease, progress)?, options)?
            }
            LoadFrom::Layout(path) => mica_transport::open_layout_dir(&path, options)?,
        };
        let artifacts = source.artifacts()?;
        let images = match source.images() {
            Err(TransportError::OnlyArtifacts { .. }) if artifacts.iter().any(|one| !one.names.is_empty()) => {
                Vec::new()
            }
            images => images?,
        };
        for image in &images {
            // Whoever lists images reads every config: one that cannot be read must not come in.
            ImageConfig::parse(&image.config).map_err(|error| {
                Error::because(
                    Kind::Corrupt,
                    format!("config of image {} cannot be understood", image.id.short()),
                    error,
                )
            })?;
        }
        self.take_in(&*source, &images, &lease, load.threads, progress)?;
        let artifacts = self.take_in_artifacts(&*source, &artifacts, &lease, progress)?;
        let images = self.record_all(&images, &lease)?;
        lease.finish();
        Ok(LoadedAll { images, artifacts })
    }

    /// A file that can be read from anywhere: the input itself, or a copy of a pipe or of what was compressed.
    fn readable(&self, input: File, lease: &Lease<'_>, progress: &dyn Progress) -> Result<File> {
        let reading = |error| Error::because(Kind::System, "read the archive", error);
        let metadata = input.metadata().map_err(reading)?;
        if metadata.is_dir() {
            return Err(Error::new(Kind::Usage, "the archive is a directory").hinted("name an OCI layout with -i DIR"));
        }
        if metadata.is_file() {
            let mut prefix = Vec::new();
            let mut reader = &input;
            Read::by_ref(&mut reader).take(SNIFF_LEN as u64).read_to_end(&mut prefix).map_err(reading)?;
            std::io::Seek::seek(&mut reader, std::io::SeekFrom::Start(0)).map_err(reading)?;
            if sniff(&prefix) == ArchiveForm::Tar {
                return Ok(input);
            }
        }
        let total = metadata.is_file().then_some(metadata.len());
        let id = progress.begin(&Task { what: "archive".to_owned(), total });
        let mut spool = spool_file(lease.staging()?)?;
        let max = self.limits.layer.content_bytes;
        let read = mica_transport::spool(Counted { inner: input, progress, id }, &mut spool, max);
        progress.finish(id, if read.is_ok() { Outcome::Done } else { Outcome::Failed });
        read?;
        spool.flush().map_err(reading)?;
        Ok(File::from(spool.into_fd()))
    }

    /// Brings in all layers and documents of `images` that are not here, flushed and sealed.
    pub(crate) fn take_in(
        &self,
        source: &(dyn ImageSource + Send + Sync),
        images: &[SourceImage],
        lease: &Lease<'_>,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<()> {
        let layers: BTreeMap<DiffId, &SourceLayer> =
            images.iter().flat_map(|image| &image.layers).map(|layer| (layer.diff_id, layer)).collect();
        let wanted: Vec<DiffId> = layers.keys().copied().collect();
        let batch = self.store.stage_layers(lease, &wanted)?;
        let mut indexes = BTreeSet::new();
        for image in images {
            batch.put_blob(&image.config)?;
            if let Some(manifest) = given_manifest(image) {
                batch.put_blob(&manifest.bytes)?;
            }
            if let Some(index) = image.index.as_ref().filter(|index| indexes.insert(index.digest)) {
                batch.put_blob(&index.bytes)?;
            }
        }
        let work = Work { engine: self, source, batch: &batch, layers: &layers, progress };
        let mut mine = batch.mine();
        let made: BTreeSet<DiffId> = mine.iter().copied().collect();
        wanted.iter().filter(|layer| !made.contains(layer)).for_each(|layer| work.present(layer));
        loop {
            work.stage(mine, threads)?;
            batch.seal()?;
            mine = batch.take_over()?;
            if mine.is_empty() {
                break;
            }
        }
        work.keep_other_compressions(images, &made)?;
        work.keep_companions(images)?;
        for image in images.iter().filter(|image| given_manifest(image).is_none()) {
            batch.put_blob(&self.manifest_of(image)?.bytes)?;
        }
        Ok(batch.seal()?)
    }

    /// Writes the records and the names of images whose layers are here.
    fn record_all(&self, images: &[SourceImage], lease: &Lease<'_>) -> Result<Vec<Loaded>> {
        let ours: BTreeSet<ImageId> = images.iter().map(|image| image.id).collect();
        let mut named = BTreeSet::new();
        let mut loaded = Vec::with_capacity(images.len());
        for image in images {
            let manifest = self.manifest_of(image)?;
            let descriptor = |raw: &RawManifest| Descriptor::new(&raw.media_type, raw.digest, raw.bytes.len() as u64);
            let layers = image.layers.iter().map(|layer| layer.diff_id).collect();
            let mut record = ImageRecord::new(image.id, descriptor(&manifest), image.platform.clone(), layers);
            record.origin = Some("load".to_owned());
            self.store.put_image(lease, &record)?;
            let mut taken = Vec::new();
            let target = descriptor(image.index.as_ref().unwrap_or(&manifest));
            for name in &image.names {
                // The images of an index have its name in common.
                if named.insert((name.to_string(), target.digest)) {
                    taken.extend(self.owner_of(name, &ours)?.map(|owner| (name.clone(), owner)));
                    self.store.set_name(lease, &name.to_string(), &target)?;
                }
            }
            loaded.push(Loaded { id: image.id, names: image.names.clone(), labels: image.labels.clone(), taken });
        }
        Ok(loaded)
    }

    /// The image that has this name, unless it is one of `but`.
    fn owner_of(&self, name: &Reference, but: &BTreeSet<ImageId>) -> Result<Option<ImageId>> {
        match self.find_image(&name.to_string()) {
            Ok(found) => Ok(Some(found.image.id).filter(|id| !but.contains(id) && found.name.is_some())),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The manifest of an image, or the one that it is given: of its layers as plain tars where it tells no digests.
    fn manifest_of(&self, image: &SourceImage) -> Result<RawManifest> {
        if let Some(manifest) = given_manifest(image) {
            return Ok(manifest);
        }
        let mut layers = Vec::with_capacity(image.layers.len());
        for layer in &image.layers {
            let size = self.store.require_layer(&layer.diff_id)?.seal().tar_size;
            layers.push(SinkLayer::plain(layer.diff_id, size));
        }
        Ok(synthesize_manifest(&image.config, &layers))
    }
}

/// The manifest that an image came with, or that can be made before its layers are read. The compressed layers of a Docker
/// archive tell neither a digest nor the size of their tars.
fn given_manifest(image: &SourceImage) -> Option<RawManifest> {
    if let Some(manifest) = &image.manifest {
        return Some(manifest.clone());
    }
    let plain = |layer: &SourceLayer| {
        (layer.compression == Compression::Plain).then(|| SinkLayer::plain(layer.diff_id, layer.size))
    };
    let layers: Option<Vec<SinkLayer>> = image.layers.iter().map(plain).collect();
    Some(synthesize_manifest(&image.config, &layers?))
}

/// How many of these layers are unpacked at a time where `threads` are allowed.
fn at_once(threads: usize, layers: usize) -> usize {
    threads.min(AT_ONCE).clamp(1, layers.max(1))
}

/// A file in staging that is gone with its descriptor.
fn spool_file(staging: &Dir) -> Result<DiskFile> {
    match staging.create_unnamed(0o600) {
        Ok(file) => Ok(file),
        // Some file systems have no unnamed files; the lease's end removes this one.
        Err(_) => Ok(staging.create_file(b"archive", 0o600)?),
    }
}

struct Work<'a> {
    engine: &'a Engine,
    source: &'a (dyn ImageSource + Send + Sync),
    batch: &'a LayerBatch<'a>,
    layers: &'a BTreeMap<DiffId, &'a SourceLayer>,
    progress: &'a dyn Progress,
}

impl Work<'_> {
    fn present(&self, layer: &DiffId) {
        let id = self.progress.begin(&Task { what: format!("layer {}", layer.short()), total: None });
        self.progress.finish(id, Outcome::Present);
    }

    /// Stages `layers`, the largest first, several at a time. The first error ends it all.
    fn stage(&self, layers: Vec<DiffId>, threads: usize) -> Result<()> {
        let mut layers = layers;
        layers.sort_by_key(|layer| self.layers.get(layer).map_or(0, |layer| layer.size));
        let threads = at_once(threads, layers.len());
        let queue = Mutex::new(layers);
        let failure = Mutex::new(None);
        let stopped = AtomicBool::new(false);
        let next = || {
            let mut queue = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if stopped.load(Ordering::Relaxed) { None } else { queue.pop() }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(layer) = next() {
                        if let Err(error) = self.one(&layer) {
                            stopped.store(true, Ordering::Relaxed);
                            failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
                        }
                    }
                });
            }
        });
        failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn one(&self, layer: &DiffId) -> Result<()> {
        let Some(stored) = self.layers.get(layer) else { return Ok(()) };
        let id = self.progress.begin(&Task { what: format!("layer {}", layer.short()), total: Some(stored.size) });
        let staged = self.unpack(stored, id);
        self.progress.finish(id, if staged.is_ok() { Outcome::Done } else { Outcome::Failed });
        staged.map_err(|error| error.while_(format_args!("layer {}", layer.short())))
    }

    fn unpack(&self, layer: &SourceLayer, id: crate::progress::TaskId) -> Result<()> {
        let limits = &self.engine.limits.layer;
        let body = Counted { inner: self.source.blob(&layer.blob)?, progress: self.progress, id };
        match layer.digest.filter(|_| layer.compression != Compression::Plain) {
            // A plain layer needs no second hash: its DiffID is its digest.
            None => {
                let mut tar = mica_layer::decoder_within(body, limits)?;
                self.batch.stage(&layer.diff_id, &mut tar, limits)?;
            }
            Some(digest) => {
                let mut tee = Tee::new(body, self.batch.blob_writer(&digest, Some(layer.size))?);
                let staged = mica_layer::decoder_within(&mut tee, limits)
                    .map_err(Error::from)
                    .and_then(|mut tar| Ok(self.batch.stage(&layer.diff_id, &mut tar, limits)?));
                // Bytes that were damaged on the way are named by their digest: what the damage looks like inside says nothing.
                match (tee.finish().and_then(|blob| self.batch.keep_blob(blob)), staged) {
                    (Err(damaged), _) if matches!(damaged, mica_store::StoreError::WrongDigest { .. }) => {
                        return Err(damaged.into());
                    }
                    (_, Err(error)) => return Err(error),
                    (kept, Ok(_)) => drop(kept?),
                }
            }
        }
        Ok(())
    }

    /// A layer that was here may have come in another compression before, or from an archive that had none: what this
    /// image's manifest names is kept too.
    fn keep_other_compressions(&self, images: &[SourceImage], made: &BTreeSet<DiffId>) -> Result<()> {
        for layer in images.iter().flat_map(|image| &image.layers) {
            let Some(digest) = layer.digest.filter(|_| layer.compression != Compression::Plain) else { continue };
            if made.contains(&layer.diff_id)
                && self.layers.get(&layer.diff_id).is_some_and(|one| one.digest == layer.digest)
                || self.engine.store.has_blob(&digest)?
            {
                continue;
            }
            self.keep(&layer.blob, digest, layer.size, || format!("layer {}", layer.diff_id.short()))?;
        }
        Ok(())
    }

    /// Keeps what came with the indexes.
    fn keep_companions(&self, images: &[SourceImage]) -> Result<()> {
        let mut kept = BTreeSet::new();
        for companion in images.iter().flat_map(|image| &image.companions) {
            if kept.insert(companion.digest) && !self.engine.store.has_blob(&companion.digest)? {
                let blob = BlobRef::Digest(companion.digest);
                self.keep(&blob, companion.digest, companion.size, || companion.what.clone())?;
            }
        }
        Ok(())
    }

    fn keep(&self, from: &BlobRef, digest: BlobDigest, size: u64, what: impl Fn() -> String) -> Result<()> {
        let mut blob = self.batch.blob_writer(&digest, Some(size))?;
        let mut body = self.source.blob(from)?;
        std::io::copy(&mut body, &mut blob).map_err(|error| Error::because(Kind::System, what(), error))?;
        self.batch.keep_blob(blob).map_err(|error| Error::from(error).while_(what()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_layers_are_unpacked_at_once_than_memory_allows() {
        let cases = [(1, 9, 1), (4, 9, 4), (4, 3, 3), (64, 9, AT_ONCE), (64, 2, 2), (0, 9, 1), (0, 0, 1), (64, 0, 1)];
        for (threads, layers, at_a_time) in cases {
            assert_eq!(at_once(threads, layers), at_a_time, "{threads} threads, {layers} layers");
        }
    }
}
