//! Images go out of the store as an archive.
//!
//! An OCI archive carries the manifest that an image came with, and its layers as they came. A layer whose compressed bytes
//! the store did not keep is rebuilt as the plain tar; the manifest must then be made anew, and that is said.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use mica_core::{BlobDigest, ImageId};
use mica_store::{Descriptor, ImageRecord};
use mica_transport::{
    DockerArchiveWriter, ImageSink, LayerForm, OciArchiveWriter, RawManifest, Reference, SinkImage, SinkLayer,
    synthesize_manifest,
};

use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::manifest::{config_of, manifest_of};
use crate::progress::{Counted, Outcome, Progress, Task};

/// The form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveForm {
    /// What `docker load` reads: plain layers.
    Docker,
    /// The OCI image layout.
    Oci,
}

/// What to save.
#[derive(Debug, Clone)]
pub struct Save {
    /// References, IDs or their beginnings.
    pub images: Vec<String>,
    /// In which form.
    pub form: SaveForm,
}

struct Saved {
    image: ImageRecord,
    names: Vec<Reference>,
}

impl Engine {
    /// Writes an archive of images.
    ///
    /// # Errors
    /// No such image; whatever `out` refuses.
    pub fn save(&self, save: &Save, out: &mut dyn Write, progress: &dyn Progress) -> Result<()> {
        // Nothing of them may go while they are read.
        let lease = self.store.lease()?;
        let images = self.chosen(save, &lease)?;
        let mut sink: Box<dyn ImageSink + '_> = match save.form {
            SaveForm::Docker => Box::new(DockerArchiveWriter::new(out)),
            SaveForm::Oci => Box::new(OciArchiveWriter::new(out)?),
        };
        for saved in &images {
            self.save_one(saved, &mut *sink, progress)?;
        }
        sink.finish()?;
        lease.finish();
        Ok(())
    }

    /// Each image once, with the names by which it was asked for.
    fn chosen(&self, save: &Save, lease: &mica_store::Lease<'_>) -> Result<Vec<Saved>> {
        let mut order: Vec<ImageId> = Vec::new();
        let mut chosen: BTreeMap<ImageId, Saved> = BTreeMap::new();
        for word in &save.images {
            let found = self.find_image(word)?;
            lease.keep_present(&[mica_store::Kept::Image(found.image.id)])?;
            let id = found.image.id;
            let saved = chosen.entry(id).or_insert_with(|| {
                order.push(id);
                Saved { image: found.image, names: Vec::new() }
            });
            saved.names.extend(found.name.filter(|name| name.tag().is_some() && !saved.names.contains(name)));
        }
        Ok(order.into_iter().filter_map(|id| chosen.remove(&id)).collect())
    }

    fn save_one(&self, saved: &Saved, sink: &mut dyn ImageSink, progress: &dyn Progress) -> Result<()> {
        let image = &saved.image;
        let (config, _) = config_of(&self.store, &image.id)?;
        let (bytes, manifest) = manifest_of(&self.store, image)?;
        if manifest.layers.len() != image.layers.len() {
            return Err(Error::new(
                Kind::Corrupt,
                format!("image {}: its manifest and its config disagree on its layers", image.id.short()),
            ));
        }
        let mut layers = Vec::with_capacity(image.layers.len());
        let mut lost = 0;
        for (diff_id, described) in image.layers.iter().zip(&manifest.layers) {
            let layer = match sink.layers() {
                LayerForm::Plain => self.plain(diff_id)?,
                LayerForm::Any => match self.as_described(diff_id, described)? {
                    Some(layer) => layer,
                    None => {
                        lost += 1;
                        self.plain(diff_id)?
                    }
                },
            };
            if !sink.has_layer(&layer) {
                self.put_layer(&layer, sink, progress)?;
            }
            layers.push(layer);
        }
        if lost > 0 {
            progress.note(&format!(
                "image {}: the compressed bytes of {lost} of its layers are not in the store; they are written as plain tars, \
                 and the manifest's digest is not {} any more",
                image.id.short(),
                image.manifest.digest
            ));
        }
        let manifest = match (sink.layers(), lost) {
            (LayerForm::Any, 0) => RawManifest::new(bytes, &image.manifest.media_type),
            _ => synthesize_manifest(&config, &layers),
        };
        sink.put_image(&SinkImage {
            names: &saved.names,
            manifest: &manifest,
            index: None,
            config: &config,
            layers: &layers,
        })?;
        Ok(())
    }

    fn plain(&self, layer: &mica_core::DiffId) -> Result<SinkLayer> {
        Ok(SinkLayer::plain(*layer, self.store.require_layer(layer)?.seal().tar_size))
    }

    /// The layer as the image's manifest describes it, when its bytes can be had.
    fn as_described(&self, diff_id: &mica_core::DiffId, described: &Descriptor) -> Result<Option<SinkLayer>> {
        let is_plain = described.digest == BlobDigest::from_sha256(*diff_id.as_bytes());
        let here = is_plain || self.store.has_blob(&described.digest)?;
        Ok(here.then(|| SinkLayer {
            diff_id: *diff_id,
            digest: described.digest,
            size: described.size,
            media_type: described.media_type.clone(),
        }))
    }

    fn put_layer(&self, layer: &SinkLayer, sink: &mut dyn ImageSink, progress: &dyn Progress) -> Result<()> {
        let id = progress.begin(&Task { what: format!("layer {}", layer.diff_id.short()), total: Some(layer.size) });
        let put = match self.store.blob(&layer.digest)? {
            Some(blob) => sink.put_layer(layer, &mut Counted { inner: blob, progress, id }).map_err(Error::from),
            None => self.rebuild_into(layer, sink, |tar| Counted { inner: tar, progress, id }),
        };
        progress.finish(id, if put.is_ok() { Outcome::Done } else { Outcome::Failed });
        put.map_err(|error| error.while_(format_args!("layer {}", layer.diff_id.short())))
    }

    /// The very tar again, through a pipe: the sink reads while it is rebuilt.
    fn rebuild_into<R: Read>(
        &self,
        layer: &SinkLayer,
        sink: &mut dyn ImageSink,
        through: impl FnOnce(io::PipeReader) -> R,
    ) -> Result<()> {
        let sealed = self.store.require_layer(&layer.diff_id)?;
        let (reader, writer) = io::pipe().map_err(|error| Error::because(Kind::System, "make a pipe", error))?;
        std::thread::scope(|scope| {
            let rebuilding = scope.spawn(move || {
                let mut out = io::BufWriter::with_capacity(64 << 10, writer);
                let rebuilt = sealed.rebuild(&mut out);
                let flushed = out.flush();
                rebuilt.map(|()| flushed)
            });
            let mut tar = through(reader);
            let put = sink.put_layer(layer, &mut tar);
            drop(tar);
            let rebuilt = rebuilding.join().map_err(|_| Error::new(Kind::System, "rebuilding was cut off"))?;
            match (rebuilt, put) {
                (Ok(Ok(())), put) => Ok(put?),
                // Whoever reads gave up first: its error is the cause.
                (_, Err(put)) if !put.is_corrupt() => Err(put.into()),
                (Err(rebuilt), _) => Err(rebuilt.into()),
                (Ok(Err(error)), _) => Err(Error::because(Kind::System, "rebuild the tar", error)),
            }
        })
    }
}
