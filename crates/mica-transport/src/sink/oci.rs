//! An OCI archive as it is written: `oci-layout`, blobs in the order they come, `index.json` last.

use std::collections::HashSet;
use std::io::{Read, Write};

use mica_core::BlobDigest;
use serde::Serialize;

use super::output::Output;
use super::{ImageSink, LayerForm, SinkImage, SinkLayer};
use crate::config::ParsedConfig;
use crate::wire::{self, media};
use crate::{RawManifest, TransportError, Verified};

/// Writes an OCI archive. The same images in the same order give the same bytes.
pub struct OciArchiveWriter<'a> {
    out: Output<'a>,
    written: HashSet<BlobDigest>,
    index: Vec<IndexItem>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexItem {
    media_type: String,
    digest: BlobDigest,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<ItemPlatform>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
}

#[derive(Serialize)]
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u8,
    media_type: &'static str,
    manifests: &'a [IndexItem],
}

impl<'a> OciArchiveWriter<'a> {
    /// Begins an archive on `out`.
    ///
    /// # Errors
    /// The output's.
    pub fn new(out: &'a mut dyn Write) -> Result<Self, TransportError> {
        let mut out = Output::new(out);
        out.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        out.dir("blobs")?;
        out.dir("blobs/sha256")?;
        Ok(Self { out, written: HashSet::new(), index: Vec::new() })
    }

    fn put_document(&mut self, digest: BlobDigest, bytes: &[u8]) -> Result<(), TransportError> {
        if self.written.insert(digest) {
            self.out.file(&blob_name(digest), bytes)?;
        }
        Ok(())
    }
}

impl ImageSink for OciArchiveWriter<'_> {
    fn layers(&self) -> LayerForm {
        LayerForm::Any
    }

    fn has_layer(&self, layer: &SinkLayer) -> bool {
        self.written.contains(&layer.digest)
    }

    fn put_layer(&mut self, layer: &SinkLayer, body: &mut dyn Read) -> Result<(), TransportError> {
        if self.has_layer(layer) {
            return Ok(());
        }
        let what = format!("layer {}", layer.digest);
        let mut body = Verified::new(body, what.as_str(), layer.digest, layer.size);
        self.out.body(&blob_name(layer.digest), layer.size, &mut body, &what)?;
        self.written.insert(layer.digest);
        Ok(())
    }

    fn put_image(&mut self, image: &SinkImage<'_>) -> Result<(), TransportError> {
        image.check(|layer| self.has_layer(layer))?;
        check_manifest(image)?;
        self.put_document(BlobDigest::of(image.config), image.config)?;
        self.put_document(image.manifest.digest, &image.manifest.bytes)?;
        if let Some(index) = image.index {
            self.put_document(index.digest, &index.bytes)?;
        }

        let platform = match image.index {
            Some(_) => None,
            None => {
                let platform = ParsedConfig::read("config", image.config)?.platform;
                Some((platform.architecture, platform.os, platform.variant))
            }
        };
        let RawManifest { bytes, digest, media_type } = image.index.unwrap_or(image.manifest);
        let item = |name: Option<String>| IndexItem {
            media_type: media_type.clone(),
            digest: *digest,
            size: bytes.len() as u64,
            platform: platform.clone().map(|(architecture, os, variant)| ItemPlatform { architecture, os, variant }),
            annotations: name.map(|name| Annotations { containerd: name.clone(), oci: name }),
        };
        if image.names.is_empty() {
            self.index.push(item(None));
        }
        self.index.extend(image.names.iter().map(|name| item(Some(name.to_string()))));
        Ok(())
    }

    fn finish(&mut self) -> Result<(), TransportError> {
        let index = Index { schema_version: 2, media_type: media::OCI_INDEX, manifests: &self.index };
        let bytes = serde_json::to_vec(&index)
            .map_err(|source| TransportError::BadJson { what: "index.json".to_owned(), source })?;
        self.out.file("index.json", &bytes)?;
        self.out.finish()
    }
}

impl std::fmt::Debug for OciArchiveWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OciArchiveWriter").field("written", &self.written).finish_non_exhaustive()
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

fn blob_name(digest: BlobDigest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
