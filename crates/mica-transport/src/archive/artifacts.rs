//! What an OCI layout names and what is no image: manifests with a config of another kind.

use super::oci::{Group, groups, member, read_index};
use super::{INDEX, Pass, blob_name};
use crate::source::{Companion, SourceArtifact};
use crate::wire::{self, media};
use crate::{RawManifest, TransportError};

pub(super) fn artifacts(archive: &Pass<'_>) -> Result<Vec<SourceArtifact>, TransportError> {
    let bytes = archive.metadata(INDEX, INDEX)?;
    let index = read_index(INDEX, &bytes)?;
    let mut artifacts = Vec::new();
    for group in groups(index.manifests.unwrap_or_default(), &mut Vec::new())? {
        artifacts.extend(artifact(archive, group)?);
    }
    Ok(artifacts)
}

/// The artifact under a name; `None` for an image or an index.
fn artifact(archive: &Pass<'_>, group: Group) -> Result<Option<SourceArtifact>, TransportError> {
    let [described] = group.members.as_slice() else { return Ok(None) };
    let media_type = &described.descriptor.media_type;
    if !media::is_manifest(media_type) {
        return Ok(None);
    }
    let what = format!("manifest {}", described.digest);
    let bytes = archive.metadata_blob(&what, described.digest, described.descriptor.size)?;
    let manifest: wire::Manifest =
        serde_json::from_slice(&bytes).map_err(|source| TransportError::BadJson { what: what.clone(), source })?;
    if media::is_config(&manifest.config.media_type) {
        return Ok(None);
    }
    let kind = manifest.artifact_type.filter(|kind| !kind.is_empty()).unwrap_or(manifest.config.media_type.clone());
    let mut parts: Vec<Companion> = Vec::new();
    for part in std::iter::once(manifest.config).chain(manifest.layers.into_iter().flatten()) {
        let part = member(part, &format!("a blob of {what}"))?;
        let what = format!("blob {} of {what}", part.digest);
        if parts.iter().any(|known| known.digest == part.digest) {
            continue;
        }
        // What its publisher alone hands out may be elsewhere.
        if part.descriptor.urls.is_some() && !archive.has(&blob_name(part.digest))? {
            continue;
        }
        archive.sized_blob(&what, part.digest, part.descriptor.size)?;
        parts.push(Companion { digest: part.digest, size: part.descriptor.size, what });
    }
    let manifest = RawManifest { bytes, digest: described.digest, media_type: media_type.clone() };
    Ok(Some(SourceArtifact { names: group.names, kind, manifest, parts }))
}
