//! Images of a Docker archive: `manifest.json`, configs and layer tars (Docker image specification v1.2).

use mica_core::{BlobDigest, ImageId};

use super::files::normalize;
use super::{DOCKER_MANIFEST, Pass};
use crate::config::ParsedConfig;
use crate::error::io_error;
use crate::wire::{DockerItem, media};
use crate::{BlobRef, Reference, SourceImage, SourceLayer, TransportError};

pub(super) fn images(archive: &Pass<'_>) -> Result<Vec<SourceImage>, TransportError> {
    let items = items(archive)?;
    let mut images: Vec<SourceImage> = Vec::with_capacity(items.len());
    for item in &items {
        let image = image(archive, item)?;
        // Some tools write an item for each tag.
        match images.iter_mut().find(|known| known.id == image.id) {
            Some(known) => add(&mut known.names, image.names),
            None => images.push(image),
        }
    }
    if images.is_empty() {
        return Err(TransportError::NoImages);
    }
    Ok(images)
}

/// Gives `images`, read from the OCI half of an archive, the names that only the Docker half has.
pub(super) fn add_names(archive: &Pass<'_>, images: &mut [SourceImage]) -> Result<(), TransportError> {
    for item in items(archive)? {
        let (_, _, id) = config(archive, &item)?;
        if let Some(image) = images.iter_mut().find(|image| image.id == id) {
            add(&mut image.names, names(&item)?);
        }
    }
    Ok(())
}

fn items(archive: &Pass<'_>) -> Result<Vec<DockerItem>, TransportError> {
    let bytes = archive.metadata(DOCKER_MANIFEST, DOCKER_MANIFEST)?;
    serde_json::from_slice(&bytes)
        .map_err(|source| TransportError::BadJson { what: DOCKER_MANIFEST.to_owned(), source })
}

fn names(item: &DockerItem) -> Result<Vec<Reference>, TransportError> {
    let mut names = Vec::new();
    for name in item.repo_tags.iter().flatten().filter(|name| *name != "<none>:<none>") {
        let read = Reference::parse(name).map_err(|source| TransportError::BadName { name: name.clone(), source })?;
        add(&mut names, vec![read]);
    }
    Ok(names)
}

pub(super) fn add(names: &mut Vec<Reference>, more: Vec<Reference>) {
    for name in more {
        if !names.contains(&name) {
            names.push(name);
        }
    }
}

/// The config's bytes, what it says, and its digest.
fn config(archive: &Pass<'_>, item: &DockerItem) -> Result<(Vec<u8>, ParsedConfig, ImageId), TransportError> {
    let what = format!("config {:?}", item.config);
    let bytes = archive.metadata(&what, &entry_name(&item.config))?;
    let id = ImageId::of(&bytes);
    // A config that is called by a digest must have it.
    let stem = item.config.rsplit('/').next().unwrap_or_default();
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    let stem = stem.strip_prefix("sha256:").unwrap_or(stem);
    if let Ok(expected) = BlobDigest::from_hex(stem)
        && expected.as_bytes() != id.as_bytes()
    {
        return Err(TransportError::WrongDigest { what, expected, found: BlobDigest::of(&bytes) });
    }
    let parsed = ParsedConfig::read(&what, &bytes)?;
    Ok((bytes, parsed, id))
}

fn image(archive: &Pass<'_>, item: &DockerItem) -> Result<SourceImage, TransportError> {
    let (bytes, parsed, id) = config(archive, item)?;
    super::platform::expect(&parsed.platform, &archive.options.platforms)?;
    let paths = item.layers.as_deref().unwrap_or_default();
    parsed.expect_layers(id, paths.len())?;
    let mut layers = Vec::with_capacity(paths.len());
    for (at, (path, diff_id)) in paths.iter().zip(&parsed.diff_ids).enumerate() {
        let what = format!("layer {} of {} of image {}", at + 1, paths.len(), id.short());
        let name = entry_name(path);
        let found = archive.required(&what, &name)?;
        let size = found.size;
        let compression = super::compression(found).map_err(|source| io_error(format!("read {what}"), source))?;
        layers.push(SourceLayer {
            diff_id: *diff_id,
            blob: BlobRef::Entry(name),
            digest: None,
            size,
            media_type: media::oci_layer(compression).to_owned(),
            compression,
        });
    }
    Ok(SourceImage {
        names: names(item)?,
        labels: Vec::new(),
        manifest: None,
        index: None,
        companions: Vec::new(),
        platform: parsed.platform,
        config: bytes,
        config_media_type: media::OCI_CONFIG.to_owned(),
        id,
        layers,
    })
}

/// The name as it would stand in the archive. A name that climbs stays as it is, and so is found nowhere.
fn entry_name(path: &str) -> String {
    normalize(path).unwrap_or_else(|| path.to_owned())
}
