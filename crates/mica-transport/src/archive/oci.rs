//! Images of an OCI layout: `index.json`, indexes, manifests and configs (OCI image specification v1.1).

use std::collections::HashSet;

use mica_core::image::Platform;
use mica_core::{BlobDigest, ImageId};

use super::{INDEX, LAYOUT, Pass};
use crate::config::{ParsedConfig, platform};
use crate::error::io_error;
use crate::wire::{self, Descriptor, media};
use crate::{BlobRef, RawManifest, Reference, SourceImage, SourceLayer, TransportError};

/// Indexes inside indexes: one is usual, two are odd.
const DEPTH_MAX: usize = 4;

/// Descriptors of `index.json` that are called the same: one image, perhaps for several platforms.
#[derive(Debug)]
struct Group {
    names: Vec<Reference>,
    labels: Vec<String>,
    members: Vec<Member>,
}

/// A descriptor whose digest is understood.
#[derive(Debug, Clone)]
struct Member {
    digest: BlobDigest,
    descriptor: Descriptor,
}

/// A manifest that could be the image, with what is known of its platform.
#[derive(Debug)]
struct Candidate {
    member: Member,
    platform: Option<Platform>,
    index: Option<RawManifest>,
}

pub(super) fn images(archive: &Pass<'_>) -> Result<Vec<SourceImage>, TransportError> {
    check_layout(archive)?;
    let bytes = archive.metadata(INDEX, INDEX)?;
    let index = read_index(INDEX, &bytes)?;
    let mut skipped = Vec::new();
    let mut images: Vec<SourceImage> = Vec::new();
    for group in groups(index.manifests.unwrap_or_default(), &mut skipped)? {
        let Some(mut image) = image_of(archive, &group, &mut skipped)? else { continue };
        image.names = group.names;
        image.labels = group.labels;
        images.push(image);
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

fn read_index(what: &str, bytes: &[u8]) -> Result<wire::Index, TransportError> {
    let index: wire::Index =
        serde_json::from_slice(bytes).map_err(|source| TransportError::BadJson { what: what.to_owned(), source })?;
    if index.layers.is_some() || index.config.is_some() {
        let why = "an index that has layers or a config as a manifest has".to_owned();
        return Err(TransportError::Ambiguous { what: what.to_owned(), why });
    }
    Ok(index)
}

fn check_media_type(what: &str, inside: &str, outside: &str) -> Result<(), TransportError> {
    if inside.is_empty() || inside == outside {
        return Ok(());
    }
    let why = format!("it calls itself {inside:?} and is referred to as {outside:?}");
    Err(TransportError::Ambiguous { what: what.to_owned(), why })
}

fn member(descriptor: Descriptor, what: &str) -> Result<Member, TransportError> {
    let digest = descriptor
        .digest
        .parse()
        .map_err(|source| TransportError::BadDigest { what: format!("digest of {what}"), source })?;
    Ok(Member { digest, descriptor })
}

fn is_image_or_index(descriptor: &Descriptor) -> bool {
    // Attestations stand beside the image for a platform that no machine has.
    let attestation = descriptor.annotation(wire::ATTESTATION).is_some()
        || descriptor.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
    !attestation && (media::is_index(&descriptor.media_type) || media::is_manifest(&descriptor.media_type))
}

/// Sorts the descriptors of `index.json` into images, in their order; what is no image goes to `skipped`.
fn groups(descriptors: Vec<Descriptor>, skipped: &mut Vec<String>) -> Result<Vec<Group>, TransportError> {
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
    if let Some(name) = descriptor.annotation(wire::CONTAINERD_NAME) {
        let read =
            Reference::parse(name).map_err(|source| TransportError::BadName { name: name.to_owned(), source })?;
        return Ok((Some(read), None));
    }
    let Some(name) = descriptor.annotation(wire::REF_NAME) else { return Ok((None, None)) };
    // The annotation is free text: what is no reference is still a label.
    match Reference::parse(name) {
        Ok(read) if name.contains(['/', ':', '@']) => Ok((Some(read), None)),
        _ => Ok((None, Some(name.to_owned()))),
    }
}

/// The image of a group for the wanted platform; `None` if the group holds only artifacts.
fn image_of(
    archive: &Pass<'_>,
    group: &Group,
    skipped: &mut Vec<String>,
) -> Result<Option<SourceImage>, TransportError> {
    let mut candidates = Vec::new();
    let mut seen = HashSet::new();
    for member in &group.members {
        collect(archive, member, None, 0, &mut seen, &mut candidates)?;
    }
    let explicit = archive.options.platform.as_ref();
    if let ([_], None) = (candidates.as_slice(), explicit) {
        let Some(only) = candidates.pop() else { return Ok(None) };
        return read_image(archive, only, skipped);
    }

    let host = Platform::host();
    let wanted = explicit.unwrap_or(&host);
    let mut best: Option<(u32, usize)> = None;
    let mut available = Vec::new();
    for (at, candidate) in candidates.iter_mut().enumerate() {
        let Some(platform) = platform_of(archive, candidate, skipped)? else { continue };
        available.push(platform.to_string());
        if let Some(fit) = super::platform::fit(&platform, wanted)
            && best.is_none_or(|(known, _)| fit < known)
        {
            best = Some((fit, at));
        }
    }
    match best {
        Some((_, at)) => read_image(archive, candidates.swap_remove(at), skipped),
        None if available.is_empty() => Ok(None),
        None => Err(TransportError::NoPlatform { wanted: wanted.to_string(), available }),
    }
}

/// Lists the manifests that `member` leads to.
fn collect(
    archive: &Pass<'_>,
    member: &Member,
    outer: Option<&RawManifest>,
    depth: usize,
    seen: &mut HashSet<BlobDigest>,
    candidates: &mut Vec<Candidate>,
) -> Result<(), TransportError> {
    // Indexes that list each other many times over would multiply.
    if !seen.insert(member.digest) {
        return Ok(());
    }
    if !media::is_index(&member.descriptor.media_type) {
        let platform = member
            .descriptor
            .platform
            .as_ref()
            .map(|found| platform(&found.os, &found.architecture, found.variant.as_deref()));
        candidates.push(Candidate { member: member.clone(), platform, index: outer.cloned() });
        return Ok(());
    }
    if depth == DEPTH_MAX {
        return Err(TransportError::TooDeep { digest: member.digest, max: DEPTH_MAX });
    }
    let what = format!("index {}", member.digest);
    let bytes = archive.metadata_blob(&what, member.digest, member.descriptor.size)?;
    let index = read_index(&what, &bytes)?;
    check_media_type(&what, &index.media_type, &member.descriptor.media_type)?;
    let raw = RawManifest { bytes, digest: member.digest, media_type: member.descriptor.media_type.clone() };
    // The outermost index is the one that a name refers to.
    let outer = outer.unwrap_or(&raw);
    for descriptor in index.manifests.unwrap_or_default() {
        if is_image_or_index(&descriptor) {
            let inner = self::member(descriptor, &format!("a manifest in {what}"))?;
            collect(archive, &inner, Some(outer), depth + 1, seen, candidates)?;
        }
    }
    Ok(())
}

/// The platform by the descriptor or, where it is silent, by the config. `None` for an artifact.
fn platform_of(
    archive: &Pass<'_>,
    candidate: &Candidate,
    skipped: &mut Vec<String>,
) -> Result<Option<Platform>, TransportError> {
    match &candidate.platform {
        Some(platform) => Ok(Some(platform.clone())),
        None => Ok(read_config(archive, &candidate.member, skipped)?.map(|read| read.parsed.platform)),
    }
}

/// A manifest with its config.
struct ReadConfig {
    raw: RawManifest,
    manifest: wire::Manifest,
    config: Vec<u8>,
    parsed: ParsedConfig,
}

/// Reads the manifest and the config that `member` leads to; `None` for an artifact.
fn read_config(
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

fn read_image(
    archive: &Pass<'_>,
    candidate: Candidate,
    skipped: &mut Vec<String>,
) -> Result<Option<SourceImage>, TransportError> {
    let Some(ReadConfig { raw, manifest, config, parsed }) = read_config(archive, &candidate.member, skipped)? else {
        return Ok(None);
    };
    if let Some(wanted) = &archive.options.platform
        && super::platform::fit(&parsed.platform, wanted).is_none()
    {
        let available = vec![parsed.platform.to_string()];
        return Err(TransportError::NoPlatform { wanted: wanted.to_string(), available });
    }
    let id = ImageId::of(&config);
    let descriptors = manifest.layers.unwrap_or_default();
    parsed.expect_layers(id, descriptors.len())?;
    let count = descriptors.len();
    let mut layers = Vec::with_capacity(count);
    for (at, (descriptor, diff_id)) in descriptors.into_iter().zip(&parsed.diff_ids).enumerate() {
        let what = format!("layer {} of {count} of image {}", at + 1, id.short());
        check_layer(&what, &descriptor.media_type)?;
        let Member { digest, descriptor } = member(descriptor, &what)?;
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
