//! An OCI layout as it is written, wherever it goes: blobs in the order they come, `index.json` last.

use std::collections::HashSet;
use std::io::{Read, Write};

use mica_core::BlobDigest;
use serde::Serialize;
use serde_json::{Value, json};

use super::output::Output;
use super::{ImageSink, LayerForm, SinkImage, SinkLayer};
use crate::config::ParsedConfig;
use crate::source::Companion;
use crate::wire::{self, media};
use crate::{RawManifest, Reference, TransportError, Verified};

/// Where the parts of a layout go.
pub trait Place {
    /// Whether a blob is there already, from before.
    fn has(&self, digest: BlobDigest, size: u64) -> bool;

    /// Puts one blob, whose size and digest are proved while it is read.
    ///
    /// # Errors
    /// Of the reader or of the place.
    fn put(&mut self, digest: BlobDigest, size: u64, body: &mut dyn Read, what: &str) -> Result<(), TransportError>;

    /// Puts descriptors into `index.json`, and ends.
    ///
    /// # Errors
    /// Of the place.
    fn finish(&mut self, items: Vec<Value>) -> Result<(), TransportError>;
}

/// Writes an OCI layout into a tar. The same images in the same order give the same bytes.
pub type OciArchiveWriter<'a> = OciWriter<InTar<'a>>;

/// Writes an OCI layout to a place.
#[derive(Debug)]
pub struct OciWriter<P> {
    place: P,
    written: HashSet<BlobDigest>,
    index: Vec<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexItem<'a> {
    media_type: &'a str,
    digest: BlobDigest,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<ItemPlatform>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
}

#[derive(Clone, Serialize)]
struct ItemPlatform {
    architecture: String,
    os: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
}

/// Both ways in which readers look for a name: podman and skopeo read the first, containerd and Docker the second.
#[derive(Serialize)]
struct Annotations {
    #[serde(rename = "io.containerd.image.name")]
    containerd: String,
    #[serde(rename = "org.opencontainers.image.ref.name")]
    oci: String,
}

/// The file that says that a directory, or a tar, is a layout.
pub(super) const LAYOUT_FILE: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// An `index.json` of these descriptors.
pub(super) fn index_of(items: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": items})
}

impl<P: Place> OciWriter<P> {
    pub(super) fn at(place: P) -> Self {
        Self { place, written: HashSet::new(), index: Vec::new() }
    }

    #[cfg(test)]
    pub(super) const fn place(&self) -> &P {
        &self.place
    }

    fn put_blob(
        &mut self,
        digest: BlobDigest,
        size: u64,
        body: &mut dyn Read,
        what: &str,
    ) -> Result<(), TransportError> {
        if !self.written.contains(&digest) && !self.place.has(digest, size) {
            self.place.put(digest, size, &mut Verified::new(body, what, digest, size), what)?;
        }
        self.written.insert(digest);
        Ok(())
    }

    /// Lists a document in `index.json`, once for each name.
    fn list(
        &mut self,
        names: &[Reference],
        document: &RawManifest,
        platform: Option<&ItemPlatform>,
    ) -> Result<(), TransportError> {
        let RawManifest { bytes, digest, media_type } = document;
        let nameless = names.is_empty().then_some(None);
        for name in names.iter().map(|name| Some(name.to_string())).chain(nameless) {
            let item = IndexItem {
                media_type,
                digest: *digest,
                size: bytes.len() as u64,
                platform: platform.cloned(),
                annotations: name.map(|name| Annotations { containerd: name.clone(), oci: name }),
            };
            let item = serde_json::to_value(item).map_err(bad_index)?;
            // The images of an index have its names in common.
            if !self.index.contains(&item) {
                self.index.push(item);
            }
        }
        Ok(())
    }

    fn put_document(&mut self, mut bytes: &[u8], what: &str) -> Result<(), TransportError> {
        self.put_blob(BlobDigest::of(bytes), bytes.len() as u64, &mut bytes, what)
    }
}

impl<P: Place> ImageSink for OciWriter<P> {
    fn layers(&self) -> LayerForm {
        LayerForm::Any
    }

    fn has_layer(&self, layer: &SinkLayer) -> bool {
        self.written.contains(&layer.digest) || self.place.has(layer.digest, layer.size)
    }

    fn put_layer(&mut self, layer: &SinkLayer, body: &mut dyn Read) -> Result<(), TransportError> {
        self.put_blob(layer.digest, layer.size, body, &format!("layer {}", layer.digest))
    }

    fn put_companion(&mut self, companion: &Companion, body: &mut dyn Read) -> Result<(), TransportError> {
        self.put_blob(companion.digest, companion.size, body, &companion.what)
    }

    fn put_image(&mut self, image: &SinkImage<'_>) -> Result<(), TransportError> {
        image.check(|layer| self.has_layer(layer))?;
        check_manifest(image)?;
        let id = image.id();
        self.put_document(image.config, &format!("config of image {id}"))?;
        self.put_document(&image.manifest.bytes, &format!("manifest of image {id}"))?;
        let platform = match image.index {
            Some(index) => {
                self.put_document(&index.bytes, &format!("index {}", index.digest))?;
                None
            }
            None => {
                let platform = ParsedConfig::read("config", image.config)?.platform;
                Some(ItemPlatform { architecture: platform.architecture, os: platform.os, variant: platform.variant })
            }
        };
        self.list(image.names, image.index.unwrap_or(image.manifest), platform.as_ref())
    }

    fn put_artifact(&mut self, names: &[Reference], manifest: &RawManifest) -> Result<(), TransportError> {
        self.put_document(&manifest.bytes, &format!("manifest {}", manifest.digest))?;
        self.list(names, manifest, None)
    }

    fn finish(&mut self) -> Result<(), TransportError> {
        self.place.finish(std::mem::take(&mut self.index))
    }
}

pub(super) fn bad_index(source: serde_json::Error) -> TransportError {
    TransportError::BadJson { what: "index.json".to_owned(), source }
}

/// A layout in a tar.
pub struct InTar<'a> {
    out: Output<'a>,
}

impl<'a> OciWriter<InTar<'a>> {
    /// Begins an archive on `out`.
    ///
    /// # Errors
    /// The output's.
    pub fn new(out: &'a mut dyn Write) -> Result<Self, TransportError> {
        let mut out = Output::new(out);
        out.file("oci-layout", LAYOUT_FILE)?;
        out.dir("blobs")?;
        out.dir("blobs/sha256")?;
        Ok(Self::at(InTar { out }))
    }
}

impl Place for InTar<'_> {
    fn has(&self, _: BlobDigest, _: u64) -> bool {
        false
    }

    fn put(&mut self, digest: BlobDigest, size: u64, body: &mut dyn Read, what: &str) -> Result<(), TransportError> {
        self.out.body(&blob_name(digest), size, body, what)
    }

    fn finish(&mut self, items: Vec<Value>) -> Result<(), TransportError> {
        self.out.file("index.json", &serde_json::to_vec(&index_of(&items)).map_err(bad_index)?)?;
        self.out.finish()
    }
}

impl std::fmt::Debug for InTar<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InTar").finish_non_exhaustive()
    }
}

/// The manifest must describe the layers that were put and the config, or nobody could read the archive.
fn check_manifest(image: &SinkImage<'_>) -> Result<(), TransportError> {
    let RawManifest { bytes, digest, .. } = image.manifest;
    let what = || format!("manifest {digest}");
    let manifest: wire::Manifest =
        serde_json::from_slice(bytes).map_err(|source| TransportError::BadJson { what: what(), source })?;
    let said = std::iter::once(&manifest.config).chain(manifest.layers.iter().flatten()).map(|found| &found.digest);
    let put = std::iter::once(BlobDigest::of(image.config)).chain(image.layers.iter().map(|layer| layer.digest));
    match said.eq(put.map(|digest| digest.to_string()).collect::<Vec<_>>().iter()) {
        true => Ok(()),
        false => Err(TransportError::Mismatch { what: what(), image: image.id().to_string() }),
    }
}

pub(super) fn blob_name(digest: BlobDigest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
