//! Artifacts: manifests under a name that describe no image. They are kept and passed on as they are, and cannot be run.

use std::collections::BTreeSet;

use mica_core::BlobDigest;
use mica_store::{Descriptor, Lease};
use mica_transport::{BlobRef, Companion, ImageSink, ImageSource, RawManifest, Reference, SourceArtifact};
use serde_json::Value;

use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::progress::Progress;
use crate::spread::parts_of;

/// An artifact as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactSummary {
    /// Its name.
    pub name: Reference,
    /// What it is: its artifact type, or the media type of its config.
    pub kind: String,
    /// The digest of its manifest.
    pub manifest: BlobDigest,
    /// Bytes of the blobs that it names.
    pub size: u64,
}

/// An artifact that a name stands for.
pub(crate) struct Artifact {
    pub(crate) name: Reference,
    pub(crate) manifest: RawManifest,
}

impl Artifact {
    pub(crate) fn summary(self) -> ArtifactSummary {
        let size = parts_of(&self.manifest.bytes).iter().map(|part| part.size).sum();
        ArtifactSummary { kind: self.kind(), manifest: self.manifest.digest, size, name: self.name }
    }

    fn kind(&self) -> String {
        let manifest: Value = serde_json::from_slice(&self.manifest.bytes).unwrap_or_default();
        let text =
            |value: Option<&Value>| value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        text(manifest.get("artifactType"))
            .or_else(|| text(manifest.pointer("/config/mediaType")))
            .unwrap_or_else(|| self.manifest.media_type.clone())
    }
}

impl Engine {
    /// The artifact that `word` is the name of.
    pub(crate) fn artifact_named(&self, word: &str) -> Result<Option<Artifact>> {
        let Ok(name) = Reference::parse(word) else { return Ok(None) };
        let Some(named) = self.store.name(&name.to_string())? else { return Ok(None) };
        if !self.store.images_of(&named.target)?.is_empty() {
            return Ok(None);
        }
        let Some(bytes) = self.store.blob_bytes(&named.target.digest)? else { return Ok(None) };
        Ok(Some(Artifact { name, manifest: RawManifest::new(bytes, named.target.media_type) }))
    }

    /// Says of a word that names no image that it names an artifact, where it does.
    pub(crate) fn no_image_but_artifact(&self, word: &str) -> Result<Option<Error>> {
        Ok(self.artifact_named(word)?.map(|artifact| {
            Error::new(Kind::NotFound, format!("no such image: {word} is an artifact ({})", artifact.kind()))
                .hinted("it is kept as it is: `mica save --format oci-archive` writes it out, `mica rmi` removes it")
        }))
    }

    /// Brings in the artifacts of a source and gives their names. One without a name could not be found again.
    pub(crate) fn take_in_artifacts(
        &self,
        source: &dyn ImageSource,
        artifacts: &[SourceArtifact],
        lease: &Lease<'_>,
        progress: &dyn Progress,
    ) -> Result<Vec<Reference>> {
        for artifact in artifacts.iter().filter(|artifact| artifact.names.is_empty()) {
            progress.note(&format!(
                "an artifact without a name is left out: {} ({})",
                artifact.manifest.digest, artifact.kind
            ));
        }
        let named: Vec<&SourceArtifact> = artifacts.iter().filter(|artifact| !artifact.names.is_empty()).collect();
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let batch = self.store.stage_layers(lease, &[])?;
        let mut kept = BTreeSet::new();
        for artifact in &named {
            batch.put_blob(&artifact.manifest.bytes)?;
            for part in &artifact.parts {
                if kept.insert(part.digest) && !self.store.has_blob(&part.digest)? {
                    let mut blob = batch.blob_writer(&part.digest, Some(part.size))?;
                    let mut body = source.blob(&BlobRef::Digest(part.digest))?;
                    std::io::copy(&mut body, &mut blob)
                        .map_err(|error| Error::because(Kind::System, part.what.clone(), error))?;
                    batch.keep_blob(blob).map_err(|error| Error::from(error).while_(&part.what))?;
                }
            }
        }
        batch.seal()?;
        let mut names = Vec::new();
        for artifact in named {
            let RawManifest { bytes, digest, media_type } = &artifact.manifest;
            let target = Descriptor::new(media_type, *digest, bytes.len() as u64);
            for name in &artifact.names {
                self.store.set_name(lease, &name.to_string(), &target)?;
                names.push(name.clone());
            }
        }
        Ok(names)
    }

    /// Writes an artifact with all that is here of it.
    pub(crate) fn save_artifact(&self, artifact: &Artifact, sink: &mut dyn ImageSink) -> Result<()> {
        for part in parts_of(&artifact.manifest.bytes) {
            if let Some(blob) = self.store.blob(&part.digest)? {
                let what = format!("blob {}", part.digest);
                sink.put_companion(&Companion { digest: part.digest, size: part.size, what }, &mut { blob })?;
            }
        }
        Ok(sink.put_artifact(std::slice::from_ref(&artifact.name), &artifact.manifest)?)
    }
}
