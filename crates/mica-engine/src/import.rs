//! A root file system becomes an image of one layer.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use jiff::Timestamp;
use mica_core::ImageId;
use mica_core::image::{History, ImageConfig, Platform, RootFs};
use mica_layer::Pack;
use mica_store::{Descriptor, ImageRecord, LayerBatch, Lease};
use mica_sys::Dir;
use mica_transport::{RawManifest, Reference, SinkLayer, synthesize_manifest};

use crate::change;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::progress::{Counted, Outcome, Progress, Task};

/// Where a root file system comes from.
#[derive(Debug)]
pub enum ImportSource {
    /// A tar, compressed or not: a file or a pipe.
    Tar(File),
    /// A directory.
    Directory(PathBuf),
}

/// What to import.
#[derive(Debug)]
pub struct Import {
    /// The root file system.
    pub source: ImportSource,
    /// Changes to the empty config, as Dockerfile instructions.
    pub changes: Vec<String>,
    /// For the history.
    pub message: Option<String>,
    /// What the image is for; this machine's unless given.
    pub platform: Option<Platform>,
    /// The image's name.
    pub name: Option<Reference>,
}

/// One new layer on top of a config: what import and commit have in common.
pub(crate) struct NewImage {
    pub(crate) config: ImageConfig,
    pub(crate) layers: Vec<SinkLayer>,
    pub(crate) name: Option<Reference>,
    pub(crate) origin: String,
}

impl Engine {
    /// Imports a root file system and gives the image's ID.
    ///
    /// # Errors
    /// Whatever is wrong with the source or the changes; the store is as it was then.
    pub fn import(&self, import: Import, progress: &dyn Progress) -> Result<ImageId> {
        let platform = import.platform.unwrap_or_else(Platform::host);
        let now = Timestamp::now();
        let mut config = ImageConfig {
            created: Some(now),
            architecture: platform.architecture,
            variant: platform.variant,
            os: platform.os,
            ..ImageConfig::default()
        };
        change::apply(&mut config.config, &import.changes)?;
        let lease = self.store.lease()?;
        let batch = self.store.stage_layers(&lease, &[])?;
        let layer = self.import_layer(import.source, &batch, progress)?;
        config.rootfs = RootFs { kind: "layers".to_owned(), diff_ids: vec![layer.diff_id] };
        config.history = vec![History {
            created: Some(now),
            created_by: "mica import".to_owned(),
            comment: import.message.unwrap_or_default(),
            ..History::default()
        }];
        let image = NewImage { config, layers: vec![layer], name: import.name, origin: "import".to_owned() };
        let id = self.put_new_image(&image, &batch, &lease)?;
        drop(batch);
        lease.finish();
        Ok(id)
    }

    fn import_layer(&self, source: ImportSource, batch: &LayerBatch<'_>, progress: &dyn Progress) -> Result<SinkLayer> {
        let total = match &source {
            ImportSource::Tar(file) => file.metadata().ok().filter(std::fs::Metadata::is_file).map(|file| file.len()),
            ImportSource::Directory(_) => None,
        };
        let id = progress.begin(&Task { what: "root file system".to_owned(), total });
        let layer = match source {
            ImportSource::Tar(file) => not_empty(Counted { inner: file, progress, id })
                .and_then(|input| Ok(mica_layer::decoder_within(input, &self.limits.layer)?))
                .and_then(|mut tar| self.stage_tar(&mut tar, batch)),
            ImportSource::Directory(path) => Dir::open(&path).map_err(Error::from).and_then(|dir| {
                // It is a tree and no upper: nothing in it is a mark. Attributes that no directory has: the root is always stated. Others show a root that no layer states
                // in ways of their own (podman: 0555).
                let pack = Pack { marks: None, root: Some(mica_core::Attrs::default()), over: None, others: None };
                self.stage_packed(&dir, &pack, batch, |tar| Counted { inner: tar, progress, id })
            }),
        };
        progress.finish(id, if layer.is_ok() { Outcome::Done } else { Outcome::Failed });
        layer
    }

    /// Stages one layer whose DiffID is not known before.
    pub(crate) fn stage_tar(&self, tar: &mut (dyn std::io::Read + Send), batch: &LayerBatch<'_>) -> Result<SinkLayer> {
        let unpacked = batch.stage_new(tar, &self.limits.layer)?;
        Ok(SinkLayer::plain(unpacked.diff_id, unpacked.tar_size))
    }

    /// As [`Engine::stage_tar`], from a directory that is packed on the way.
    pub(crate) fn stage_packed<R: std::io::Read + Send>(
        &self,
        dir: &Dir,
        pack: &Pack<'_>,
        batch: &LayerBatch<'_>,
        through: impl FnOnce(std::io::PipeReader) -> R,
    ) -> Result<SinkLayer> {
        let (reader, writer) = std::io::pipe().map_err(|error| Error::because(Kind::System, "make a pipe", error))?;
        std::thread::scope(|scope| {
            let packing = scope.spawn(move || {
                let mut out = std::io::BufWriter::with_capacity(64 << 10, writer);
                let packed = mica_layer::pack(dir, pack, &mut out);
                packed.and_then(|packed| {
                    std::io::Write::flush(&mut out).map_err(mica_layer::LayerError::Write).map(|()| packed)
                })
            });
            let mut tar = through(reader);
            let staged = self.stage_tar(&mut tar, batch);
            // Whoever packs must not wait for a reader that gave up.
            drop(tar);
            let packed = packing.join().map_err(|_| Error::new(Kind::System, "packing was cut off"))?;
            match (packed, staged) {
                (Ok(packed), Ok(layer)) if packed.diff_id == layer.diff_id => Ok(layer),
                (Ok(_), Ok(_)) => Err(Error::new(Kind::Corrupt, "the packed layer was read back with other content")),
                // A packer that stopped cut the tar short: its error is the cause, unless the other side closed the pipe.
                (Err(mica_layer::LayerError::Write(_) | mica_layer::LayerError::TarWrite(_)), Err(staged)) => {
                    Err(staged)
                }
                (Err(packed), _) => Err(packed.into()),
                (Ok(_), Err(staged)) => Err(staged),
            }
        })
    }

    /// Flushes and seals the batch with the image's config and manifest, once, and writes its record and name.
    pub(crate) fn put_new_image(&self, image: &NewImage, batch: &LayerBatch<'_>, lease: &Lease<'_>) -> Result<ImageId> {
        let config =
            image.config.to_bytes().map_err(|error| Error::because(Kind::System, "write the config", error))?;
        let manifest: RawManifest = synthesize_manifest(&config, &image.layers);
        batch.put_blob(&config)?;
        batch.put_blob(&manifest.bytes)?;
        batch.seal()?;
        let id = ImageId::of(&config);
        let target = Descriptor::new(&manifest.media_type, manifest.digest, manifest.bytes.len() as u64);
        let layers = image.layers.iter().map(|layer| layer.diff_id).collect();
        let mut record = ImageRecord::new(id, target.clone(), image.config.platform(), layers);
        record.origin = Some(image.origin.clone());
        self.store.put_image(lease, &record)?;
        if let Some(name) = &image.name {
            self.store.set_name(lease, &name.to_string(), &target)?;
        }
        Ok(id)
    }
}

/// Whoever should have written the tar and failed leaves a pipe without a byte, which is no tar of nothing.
fn not_empty(mut input: impl Read) -> Result<impl Read> {
    let mut first = [0];
    let read = input.read(&mut first).map_err(|error| Error::because(Kind::System, "read the tar", error))?;
    if read == 0 {
        return Err(
            Error::new(Kind::Usage, "the tar has not a single byte").hinted("look at what whoever writes it says")
        );
    }
    Ok(std::io::Cursor::new(first).chain(input))
}
