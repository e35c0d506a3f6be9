//! A place that images go to, and the functions that bring them there.

use std::io::{self, Read};

use mica_core::{BlobDigest, DiffId, ImageId};
use mica_layer::Compression;

use crate::config::ParsedConfig;
use crate::error::io_error;
use crate::wire::media;
use crate::{BlobRef, Companion, ImageSource, RawManifest, Reference, SourceImage, SourceLayer, TransportError};

mod docker;
mod layout;
mod oci;
mod output;

pub use docker::DockerArchiveWriter;
pub use layout::{InDirectory, OciLayoutWriter};
pub use oci::{InTar, OciArchiveWriter, OciWriter, Place};

/// A place that images go to. Layers come before the images that are made of them; each layer and each image may come
/// many times and is written once.
pub trait ImageSink {
    /// Which layers it takes.
    fn layers(&self) -> LayerForm;

    /// Whether it holds the layer already, so that nobody need open it.
    fn has_layer(&self, layer: &SinkLayer) -> bool;

    /// Takes one layer. `body` must give exactly the bytes that `layer` describes.
    ///
    /// # Errors
    /// [`TransportError::WrongSize`] or [`TransportError::WrongDigest`] if it does not. What was written is useless then.
    fn put_layer(&mut self, layer: &SinkLayer, body: &mut dyn Read) -> Result<(), TransportError>;

    /// Takes a blob that belongs to the index that an image will come with. A sink that keeps no index leaves it unread.
    ///
    /// # Errors
    /// As [`put_layer`](Self::put_layer).
    fn put_companion(&mut self, companion: &Companion, body: &mut dyn Read) -> Result<(), TransportError>;

    /// Takes the manifest of an artifact, all of whose parts were taken as companions.
    ///
    /// # Errors
    /// [`TransportError::NoArtifacts`] for a form that holds images only.
    fn put_artifact(&mut self, names: &[Reference], manifest: &RawManifest) -> Result<(), TransportError>;

    /// Takes one image, all of whose layers were taken.
    ///
    /// # Errors
    /// [`TransportError::LayerNotWritten`] if one was not.
    fn put_image(&mut self, image: &SinkImage<'_>) -> Result<(), TransportError>;

    /// Writes what must come last. Nothing may be put after it.
    ///
    /// # Errors
    /// The output's.
    fn finish(&mut self) -> Result<(), TransportError>;
}

/// Which layers a sink takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerForm {
    /// As they are stored, whatever their compression.
    Any,
    /// Plain tars.
    Plain,
}

/// A layer as a sink is told of it, before its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkLayer {
    /// The digest of its uncompressed tar.
    pub diff_id: DiffId,
    /// The digest of the bytes that follow.
    pub digest: BlobDigest,
    /// How many bytes follow.
    pub size: u64,
    /// Their media type.
    pub media_type: String,
}

impl SinkLayer {
    /// A layer as a plain tar of `size` bytes, whose digest is its DiffID.
    #[must_use]
    pub fn plain(diff_id: DiffId, size: u64) -> Self {
        let digest = BlobDigest::from_sha256(*diff_id.as_bytes());
        Self { diff_id, digest, size, media_type: media::OCI_LAYER.to_owned() }
    }
}

/// An image as a sink is told of it.
#[derive(Debug, Clone, Copy)]
pub struct SinkImage<'a> {
    /// Its names.
    pub names: &'a [Reference],
    /// Its manifest; it must describe `layers` as they were put. See [`synthesize_manifest`].
    pub manifest: &'a RawManifest,
    /// An index to be kept, to which the names then refer. Only what of it was put is there.
    pub index: Option<&'a RawManifest>,
    /// The bytes of its config.
    pub config: &'a [u8],
    /// Its layers, base first.
    pub layers: &'a [SinkLayer],
}

impl SinkImage<'_> {
    fn id(&self) -> ImageId {
        ImageId::of(self.config)
    }

    /// Refuses an image of which `missing` names a layer that was not put, or whose config says something else.
    fn check(&self, has: impl Fn(&SinkLayer) -> bool) -> Result<(), TransportError> {
        let image = self.id();
        ParsedConfig::read(&format!("config of image {image}"), self.config)?
            .expect_layers(image, self.layers.len())?;
        match self.layers.iter().find(|layer| !has(layer)) {
            Some(layer) => Err(TransportError::LayerNotWritten { image: image.to_string(), digest: layer.digest }),
            None => Ok(()),
        }
    }
}

/// An OCI manifest for an image that has none: the same config and layers always give the same bytes.
#[must_use]
pub fn synthesize_manifest(config: &[u8], layers: &[SinkLayer]) -> RawManifest {
    let describe = |media_type: &str, digest: BlobDigest, size: u64| {
        // The values are a media type of ours or one that was read from JSON, a digest and a number.
        format!(r#"{{"mediaType":{},"digest":"{digest}","size":{size}}}"#, serde_json::Value::from(media_type))
    };
    let layers: Vec<String> =
        layers.iter().map(|layer| describe(&layer.media_type, layer.digest, layer.size)).collect();
    let bytes = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}}"#,
        media::OCI_MANIFEST,
        describe(media::OCI_CONFIG, BlobDigest::of(config), config.len() as u64),
        layers.join(",")
    );
    RawManifest::new(bytes.into_bytes(), media::OCI_MANIFEST)
}

/// Brings all images of `from` to `to` and finishes it. Where the sink takes the layers as they are, manifests and indexes
/// keep their digests; where it wants plain tars, or the source has no manifest, one is made.
///
/// # Errors
/// The first of either side. What was written until then is useless.
pub fn copy(from: &dyn ImageSource, to: &mut dyn ImageSink) -> Result<(), TransportError> {
    for image in from.images()? {
        copy_image(from, &image, to)?;
    }
    to.finish()
}

/// Brings one image of `from` to `to`, without finishing it.
///
/// # Errors
/// As [`copy`].
pub fn copy_image(from: &dyn ImageSource, image: &SourceImage, to: &mut dyn ImageSink) -> Result<(), TransportError> {
    let mut layers = Vec::with_capacity(image.layers.len());
    let mut changed = false;
    for layer in &image.layers {
        let decompress = to.layers() == LayerForm::Plain && layer.compression != Compression::Plain;
        let put = describe(from, layer, decompress)?;
        changed |= layer.digest.is_some_and(|digest| digest != put.digest);
        if !to.has_layer(&put) {
            let mut stored = layer.open(from)?;
            if decompress {
                to.put_layer(&put, &mut mica_layer::decoder(&mut stored).map_err(bad_layer(layer))?)?;
                stored.finish()?;
            } else {
                to.put_layer(&put, &mut stored)?;
            }
        }
        layers.push(put);
    }
    let made;
    let manifest = match &image.manifest {
        Some(manifest) if !changed => manifest,
        _ => {
            made = synthesize_manifest(&image.config, &layers);
            &made
        }
    };
    // An index names the manifests that it was made for.
    let index = image.index.as_ref().filter(|_| !changed && to.layers() == LayerForm::Any);
    if index.is_some() {
        for companion in &image.companions {
            to.put_companion(companion, &mut *from.blob(&BlobRef::Digest(companion.digest))?)?;
        }
    }
    to.put_image(&SinkImage { names: &image.names, manifest, index, config: &image.config, layers: &layers })
}

fn bad_layer(layer: &SourceLayer) -> impl FnOnce(mica_layer::LayerError) -> TransportError {
    let what = format!("layer {}", layer.diff_id);
    |source| TransportError::Layer { what, source }
}

/// A layer as it will be put. A tar must tell sizes before bodies and digests before layers, so what the source does not
/// know is found by reading the layer once more.
fn describe(from: &dyn ImageSource, layer: &SourceLayer, decompress: bool) -> Result<SinkLayer, TransportError> {
    let reading = |source| io_error(format!("read layer {}", layer.diff_id), source);
    if decompress {
        let mut plain = mica_layer::decoder(layer.open(from)?).map_err(bad_layer(layer))?;
        let size = io::copy(&mut plain, &mut io::sink()).map_err(reading)?;
        return Ok(SinkLayer::plain(layer.diff_id, size));
    }
    let digest = match layer.digest {
        Some(digest) => digest,
        None if layer.compression == Compression::Plain => BlobDigest::from_sha256(*layer.diff_id.as_bytes()),
        None => digest_of(&mut layer.open(from)?).map_err(reading)?,
    };
    Ok(SinkLayer { diff_id: layer.diff_id, digest, size: layer.size, media_type: layer.media_type.clone() })
}

pub(crate) fn digest_of(body: &mut dyn Read) -> io::Result<BlobDigest> {
    let mut hasher = mica_core::DigestHasher::default();
    let mut buf = vec![0; 64 << 10];
    loop {
        match body.read(&mut buf)? {
            0 => return Ok(BlobDigest::from_sha256(hasher.finish())),
            count => hasher.update(buf.get(..count).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests;
