//! One manifest and its layers, on their way from the store to a sink.

use std::io::{self, Read, Write as _};

use mica_core::{BlobDigest, DiffId};
use mica_store::Descriptor;
use mica_transport::{ImageSink, LayerForm, RawManifest, SinkImage, SinkLayer, synthesize_manifest};

use super::Saved;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::manifest::{config_of, read_manifest};
use crate::progress::{Counted, Outcome, Progress, Task};

impl Engine {
    pub(super) fn save_one(&self, saved: &Saved, sink: &mut dyn ImageSink, progress: &dyn Progress) -> Result<()> {
        let image = &saved.image;
        let (config, _) = config_of(&self.store, &image.id)?;
        let (bytes, manifest) = read_manifest(&self.store, image, &saved.manifest)?;
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
                saved.manifest.digest
            ));
        }
        let manifest = match (sink.layers(), lost) {
            (LayerForm::Any, 0) => RawManifest::new(bytes, &saved.manifest.media_type),
            _ => synthesize_manifest(&config, &layers),
        };
        if sink.layers() == LayerForm::Plain && manifest.digest != saved.manifest.digest {
            progress.note(&format!(
                "image {}: a docker archive holds no manifest; where it is loaded, {} will be another (oci-archive keeps it)",
                image.id.short(),
                saved.manifest.digest
            ));
        }
        for companion in saved.companions.iter() {
            if let Some(blob) = self.store.blob(&companion.digest)? {
                sink.put_companion(companion, &mut io::BufReader::with_capacity(64 << 10, blob))?;
            }
        }
        sink.put_image(&SinkImage {
            names: &saved.names,
            manifest: &manifest,
            index: saved.index.as_deref(),
            config: &config,
            layers: &layers,
        })?;
        Ok(())
    }

    fn plain(&self, layer: &DiffId) -> Result<SinkLayer> {
        Ok(SinkLayer::plain(*layer, self.store.require_layer(layer)?.seal().tar_size))
    }

    /// The layer as the image's manifest describes it, when its bytes can be had.
    pub(super) fn as_described(&self, diff_id: &DiffId, described: &Descriptor) -> Result<Option<SinkLayer>> {
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
