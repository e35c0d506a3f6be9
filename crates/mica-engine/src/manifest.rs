//! The manifest of an image that is in the store, as far as the engine looks into it.

use mica_core::image::ImageConfig;
use mica_core::{BlobDigest, ImageId};
use mica_store::{Descriptor, ImageRecord, Store};
use serde::Deserialize;

use crate::error::{Error, Kind, Result};

/// A manifest: which layers, in which form.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) layers: Vec<Descriptor>,
}

fn missing(what: &str, image: &ImageId) -> Error {
    Error::new(Kind::Corrupt, format!("image {}: its {what} is not in the store", image.short()))
        .hinted("load the image again; `mica system check` says what else is missing")
}

/// The bytes of an image's manifest and what they say.
pub(crate) fn manifest_of(store: &Store, image: &ImageRecord) -> Result<(Vec<u8>, Manifest)> {
    read_manifest(store, image, &image.manifest)
}

/// As [`manifest_of`], of a manifest that an index describes: an image may have come in several.
pub(crate) fn read_manifest(store: &Store, image: &ImageRecord, described: &Descriptor) -> Result<(Vec<u8>, Manifest)> {
    let bytes = store.blob_bytes(&described.digest)?.ok_or_else(|| missing("manifest", &image.id))?;
    let manifest = serde_json::from_slice(&bytes)
        .map_err(|error| Error::because(Kind::Corrupt, format!("manifest of image {}", image.id.short()), error))?;
    Ok((bytes, manifest))
}

/// The bytes of a config and what they say.
pub(crate) fn config_of(store: &Store, id: &ImageId) -> Result<(Vec<u8>, ImageConfig)> {
    let blob = BlobDigest::from_sha256(*id.as_bytes());
    let bytes = store.blob_bytes(&blob)?.ok_or_else(|| missing("config", id))?;
    let config = ImageConfig::parse(&bytes)
        .map_err(|error| Error::because(Kind::Corrupt, format!("config of image {}", id.short()), error))?;
    Ok((bytes, config))
}
