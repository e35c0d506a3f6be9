//! Images of an OCI layout: `index.json`, indexes, manifests and configs (OCI image specification v1.1).

use mica_core::{BlobDigest, ImageId};

use super::choose::{Candidate, images_of};
use super::{INDEX, LAYOUT, Pass, blob_name};
use crate::config::ParsedConfig;
use crate::error::io_error;
use crate::wire::{self, Descriptor, media};
use crate::{BlobRef, RawManifest, Reference, SourceImage, SourceLayer, TransportError};

/// Descriptors of `index.json` that are called the same: one image, perhaps for several platforms.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) names: Vec<Reference>,
    pub(super) labels: Vec<String>,
    pub(super) members: Vec<Member>,
}

/// A descriptor whose digest is understood.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) digest: BlobDigest,
    pub(super) descriptor: Descriptor,
}

pub(super) fn images(archive: &Pass<'_>) -> Result<Vec<SourceImage>, TransportError> {
    check_layout(archive)?;
    let bytes = archive.metadata(INDEX, INDEX)?;
    let index = read_index(INDEX, &bytes)?;
    let mut skipped = Vec::new();
    let mut images: Vec<SourceImage> = Vec::new();
    for group in groups(index.manifests.unwrap_or_default(), &mut skipped)? {
        images.extend(images_of(archive, &group, &mut skipped)?);
    }
    if !images.is_empty() {
        return Ok(images);
    }
    skipped.sort();
    skipped.dedup();
    match skipped.is_empty() {
        true => Err(TransportError::NoImages),
        false => Err(TransportError::OnlyArtifacts { media_types: skipped }),
    }
}

fn check_layout(archive: &Pass<'_>) -> Result<(), TransportError> {
    let bytes = archive.metadata(LAYOUT, LAYOUT)?;
    let layout: wire::Layout =
        serde_json::from_slice(&bytes).map_err(|source| TransportError::BadJson { what: LAYOUT.to_owned(), source })?;
    match layout.image_layout_version.split('.').next() {
        Some("1") => Ok(()),
        _ => Err(TransportError::LayoutVersion { version: layout.image_layout_version }),
    }
}

pub(super) fn read_index(what: &str, bytes: &[u8]) -> Result<wire::Index, TransportError> {
    let index: wire::Index =
        serde_json::from_slice(bytes).map_err(|source| TransportError::BadJson { what: what.to_owned(), source })?;
    if index.layers.is_some() || index.config.is_some() {
        let why = "an index that has layers or a config as a manifest has".to_owned();
        return Err(TransportError::Ambiguous { what: what.to_owned(), why });
    }
    Ok(index)
}

pub(super) fn check_media_type(what: &str, inside: &str, outside: &str) -> Result<(), TransportError> {
    if inside.is_empty() || inside == outside {
        return Ok(());
    }
    let why = format!("it calls itself {inside:?} and is referred to as {outside:?}");
    Err(TransportError::Ambiguous { what: what.to_owned(), why })
}

pub(super) fn member(descriptor: Descriptor, what: &str) -> Result<Member, TransportError> {
    let digest = descriptor
        .digest
        .parse()
        .map_err(|source| TransportError::BadDigest { what: format!("digest of {what}"), source })?;
    Ok(Member { digest, descriptor })
}

pub(super) fn is_image_or_index(descriptor: &Descriptor) -> bool {
    // Attestations stand beside the image for a platform that no machine has.
    let attestation = descriptor.annotation(wire::ATTESTATION).is_some()
        || descriptor.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
    !attestation && (media::is_index(&descriptor.media_type) || media::is_manifest(&descriptor.media_type))
}

/// Sorts the descriptors of `index.json` into images, in their order; what is no image goes to `skipped`.
pub(super) fn groups(descriptors: Vec<Descriptor>, skipped: &mut Vec<String>) -> Result<Vec<Group>, TransportError> {
    let mut groups: Vec<Group> = Vec::new();
    for descriptor in descriptors {
        if !is_image_or_index(&descriptor) {
            skipped.push(descriptor.media_type);
            continue;
        }
        let (name, label) = names_of(&descriptor)?;
        let member = member(descriptor, "a manifest in index.json")?;
        // One manifest under several names is listed once for each.
        if let Some(known) = groups.iter_mut().find(|group| group.is(&member)) {
            push_new(&mut known.names, name);
            push_new(&mut known.labels, label);
            continue;
        }
        // Several manifests under one name are one image for several platforms.
        if let Some(known) = groups.iter_mut().find(|group| group.takes(&member, name.as_ref(), label.as_ref())) {
            known.members.push(member);
            continue;
        }
        groups.push(Group {
            names: name.into_iter().collect(),
            labels: label.into_iter().collect(),
            members: vec![member],
        });
    }
    Ok(groups)
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: Option<T>) {
    if let Some(item) = item
        && !list.contains(&item)
    {
        list.push(item);
    }
}

impl Group {
    fn is(&self, member: &Member) -> bool {
        matches!(self.members.as_slice(), [only] if only.digest == member.digest)
    }

    fn takes(&self, member: &Member, name: Option<&Reference>, label: Option<&String>) -> bool {
        self.names.iter().eq(name)
            && self.labels.iter().eq(label)
            && member.descriptor.platform.is_some()
            && self.members.iter().all(|known| {
                known.descriptor.platform.is_some() && known.descriptor.platform != member.descriptor.platform
            })
    }
}

/// The name and the label of a descriptor. A bare `ref.name` is a tag whose repository nobody tells, as umoci and BuildKit
/// write it, and so no name.
fn names_of(descriptor: &Descriptor) -> Result<(Option<Reference>, Option<String>), TransportError> {
    let (containerd, oci) = (descriptor.annotation(wire::CONTAINERD_NAME), descriptor.annotation(wire::REF_NAME));
    let label = || oci.map(str::to_owned);
    let Some(name) = wire::whole_name(containerd, oci) else { return Ok((None, label())) };
    match Reference::parse(name) {
        Ok(read) => Ok((Some(read), None)),
        // `ref.name` is free text: what is no reference is still a label.
        Err(_) if containerd.is_none() => Ok((None, label())),
        Err(source) => Err(TransportError::BadName { name: name.to_owned(), source }),
    }
}

/// A manifest with its config.
pub(super) struct ReadConfig {
    raw: RawManifest,
    manifest: wire::Manifest,
    config: Vec<u8>,
    pub(super) parsed: ParsedConfig,
}

/// Reads the manifest and the config that `member` leads to; `None` for an artifact.
pub(super) fn read_config(
    archive: &Pass<'_>,
    member: &Member,
    skipped: &mut Vec<String>,
) -> Result<Option<ReadConfig>, TransportError> {
    let what = format!("manifest {}", member.digest);
    let bytes = archive.metadata_blob(&what, member.digest, member.descriptor.size)?;
    let manifest: wire::Manifest =
        serde_json::from_slice(&bytes).map_err(|source| TransportError::BadJson { what: what.clone(), source })?;
    if manifest.manifests.is_some() {
        let why = "a manifest that has manifests as an index has".to_owned();
        return Err(TransportError::Ambiguous { what, why });
    }
    check_media_type(&what, &manifest.media_type, &member.descriptor.media_type)?;
    if !media::is_config(&manifest.config.media_type) {
        skipped.push(manifest.config.media_type);
        return Ok(None);
    }
    let config = self::member(manifest.config.clone(), &format!("the config in {what}"))?;
    let what = format!("config {}", config.digest);
    let config = archive.metadata_blob(&what, config.digest, config.descriptor.size)?;
    let parsed = ParsedConfig::read(&what, &config)?;
    let raw = RawManifest { bytes, digest: member.digest, media_type: member.descriptor.media_type.clone() };
    Ok(Some(ReadConfig { raw, manifest, config, parsed }))
}

/// The image that a manifest describes, without names; `None` for an artifact.
pub(super) fn read_image(
    archive: &Pass<'_>,
    candidate: Candidate,
    skipped: &mut Vec<String>,
) -> Result<Option<SourceImage>, TransportError> {
    let Some(ReadConfig { raw, manifest, config, parsed }) = read_config(archive, &candidate.member, skipped)? else {
        return Ok(None);
    };
    super::platform::expect(&parsed.platform, &archive.options.platforms)?;
    let id = ImageId::of(&config);
    let descriptors = manifest.layers.unwrap_or_default();
    parsed.expect_layers(id, descriptors.len())?;
    let count = descriptors.len();
    let mut layers = Vec::with_capacity(count);
    for (at, (descriptor, diff_id)) in descriptors.into_iter().zip(&parsed.diff_ids).enumerate() {
        let what = format!("layer {} of {count} of image {}", at + 1, id.short());
        check_layer(&what, &descriptor.media_type)?;
        let Member { digest, descriptor } = member(descriptor, &what)?;
        check_foreign(archive, &what, digest, &descriptor)?;
        let found = archive.sized_blob(&what, digest, descriptor.size)?;
        let compression = super::compression(found).map_err(|source| io_error(format!("read {what}"), source))?;
        layers.push(SourceLayer {
            diff_id: *diff_id,
            blob: BlobRef::Digest(digest),
            digest: Some(digest),
            size: descriptor.size,
            media_type: descriptor.media_type,
            compression,
        });
    }
    Ok(Some(SourceImage {
        names: Vec::new(),
        labels: Vec::new(),
        manifest: Some(raw),
        index: candidate.index,
        companions: Vec::new(),
        platform: parsed.platform,
        config,
        config_media_type: manifest.config.media_type,
        id,
        layers,
    }))
}

fn check_layer(what: &str, media_type: &str) -> Result<(), TransportError> {
    if media::is_layer(media_type) {
        return Ok(());
    }
    let (what, media_type) = (what.to_owned(), media_type.to_owned());
    match media_type.ends_with("+encrypted") {
        true => Err(TransportError::EncryptedLayer { what, media_type }),
        false => Err(TransportError::UnsupportedLayer { what, media_type }),
    }
}

/// A layer that its publisher alone hands out may be missing, and says where it is.
fn check_foreign(
    archive: &Pass<'_>,
    what: &str,
    digest: BlobDigest,
    descriptor: &Descriptor,
) -> Result<(), TransportError> {
    let urls = descriptor.urls.as_deref().unwrap_or_default();
    if urls.is_empty() && !media::is_foreign(&descriptor.media_type) || archive.has(&blob_name(digest))? {
        return Ok(());
    }
    let urls =
        if urls.is_empty() { vec!["an address that the manifest does not tell".to_owned()] } else { urls.to_vec() };
    Err(TransportError::ForeignLayer { what: what.to_owned(), urls })
}
