//! A place that images come from, and one image as it lies there.

use std::io::Read;

use mica_core::image::Platform;
use mica_core::{BlobDigest, DiffId, ImageId};
use mica_layer::Compression;

use crate::{Reference, TransportError, Verified};

/// A place that holds images: an archive, a directory, a store, a registry.
///
/// Blobs may be read side by side from several threads.
pub trait ImageSource {
    /// The images that are there, for the platform the source was opened for. Their configs and manifests are verified;
    /// their layers are there, and have the right size, but are not read yet.
    ///
    /// # Errors
    /// The first thing that is wrong with any of them.
    fn images(&self) -> Result<Vec<SourceImage>, TransportError>;

    /// What else is named there and is no image: charts, signatures, models. Their manifests are verified, and their blobs have
    /// the right size.
    ///
    /// # Errors
    /// The first thing that is wrong with any of them.
    fn artifacts(&self) -> Result<Vec<SourceArtifact>, TransportError> {
        Ok(Vec::new())
    }

    /// The stored bytes of one blob, not verified and not decompressed; [`SourceLayer::open`] verifies.
    ///
    /// # Errors
    /// [`TransportError::MissingBlob`] if this source does not hold it.
    fn blob(&self, which: &BlobRef) -> Result<Box<dyn Read + Send + '_>, TransportError>;
}

/// How a source calls a blob.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BlobRef {
    /// By the digest of its stored bytes.
    Digest(BlobDigest),
    /// By the DiffID of the layer, as a plain tar.
    Layer(DiffId),
    /// By its name in an archive that knows no digests.
    Entry(String),
}

/// A JSON document exactly as it was found: a manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawManifest {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: BlobDigest,
    /// The media type by which it is referred to.
    pub media_type: String,
}

impl RawManifest {
    /// `bytes` with their digest.
    #[must_use]
    pub fn new(bytes: Vec<u8>, media_type: impl Into<String>) -> Self {
        Self { digest: BlobDigest::of(&bytes), bytes, media_type: media_type.into() }
    }
}

/// One image of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceImage {
    /// Its names, complete and each once, in the order of the source.
    pub names: Vec<Reference>,
    /// Texts that call it inside the source and are no reference: `latest` in a layout made by umoci.
    pub labels: Vec<String>,
    /// Its manifest. `None` in a Docker archive, which has none; see [`synthesize_manifest`](crate::synthesize_manifest).
    pub manifest: Option<RawManifest>,
    /// The index of many platforms out of which this image was chosen.
    pub index: Option<RawManifest>,
    /// What else came with the index, as far as the source holds it.
    pub companions: Vec<Companion>,
    /// What it runs on, by its config.
    pub platform: Platform,
    /// The exact bytes of its config.
    pub config: Vec<u8>,
    /// The media type of its config.
    pub config_media_type: String,
    /// The digest of its config.
    pub id: ImageId,
    /// Its layers, base first.
    pub layers: Vec<SourceLayer>,
}

/// A manifest that describes no image (OCI image specification, "Guidelines for Artifact Usage"): it is kept and passed on as
/// it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceArtifact {
    /// Its names, complete and each once.
    pub names: Vec<Reference>,
    /// What it is: its artifact type, or the media type of its config.
    pub kind: String,
    /// Its manifest.
    pub manifest: RawManifest,
    /// The blobs that it names, as far as they are there.
    pub parts: Vec<Companion>,
}

/// A blob that an index leads to and that is part of no image: an index inside it; and, where all platforms are taken, the
/// attestations and artifacts that stand beside the images, with all that they are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companion {
    /// The digest that its bytes must have.
    pub digest: BlobDigest,
    /// How many bytes there are.
    pub size: u64,
    /// What it is, in messages: "index sha256:…".
    pub what: String,
}

/// One layer of an image of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLayer {
    /// The digest that its uncompressed tar must have.
    pub diff_id: DiffId,
    /// Where its stored bytes are.
    pub blob: BlobRef,
    /// The digest that its stored bytes must have. `None` where the source names none; the DiffID proves them then.
    pub digest: Option<BlobDigest>,
    /// Stored bytes.
    pub size: u64,
    /// The media type of the stored bytes.
    pub media_type: String,
    /// How they are compressed, by their first bytes.
    pub compression: Compression,
}

impl SourceLayer {
    /// The stored bytes; reading them to the end proves their size and their digest. A compressed layer of a source that
    /// names no digest has only its size proved here, and is proved by its DiffID once it is decompressed.
    ///
    /// Whoever hashes the uncompressed tar anyway may read a plain layer through [`ImageSource::blob`] and hash once.
    ///
    /// # Errors
    /// As [`ImageSource::blob`].
    pub fn open<'a>(
        &self,
        source: &'a (impl ImageSource + ?Sized),
    ) -> Result<Verified<Box<dyn Read + Send + 'a>>, TransportError> {
        let inner = source.blob(&self.blob)?;
        let plain =
            || (self.compression == Compression::Plain).then(|| BlobDigest::from_sha256(*self.diff_id.as_bytes()));
        Ok(Verified::new(inner, format!("layer {}", self.diff_id), self.digest.or_else(plain), self.size))
    }
}
