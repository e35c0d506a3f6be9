//! Which images are taken of those that stand under one name, by their platforms.
//!
//! An index may name platforms that are not in the archive: `docker save` and `ctr export` write such. Those that are not
//! there cannot be chosen, and what is there for one platform only is taken unless another is asked for.

use std::collections::HashSet;

use mica_core::BlobDigest;
use mica_core::image::Platform;

use super::oci::{Group, Member, check_media_type, is_image_or_index, member, read_config, read_image, read_index};
use super::platform::fit;
use super::{Pass, Platforms, blob_name};
use crate::config::platform;
use crate::source::Companion;
use crate::wire::{self, Descriptor, media};
use crate::{RawManifest, SourceImage, TransportError};

/// Indexes inside indexes: one is usual, two are odd.
const DEPTH_MAX: usize = 4;

/// A manifest that could be the image, with what is known of its platform.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) member: Member,
    pub(super) platform: Option<Platform>,
    pub(super) index: Option<RawManifest>,
}

/// The images of a group for the wanted platforms; none if the group holds only artifacts.
pub(super) fn images_of(
    archive: &Pass<'_>,
    group: &Group,
    skipped: &mut Vec<String>,
) -> Result<Vec<SourceImage>, TransportError> {
    let mut found = Found { archive, seen: HashSet::new(), candidates: Vec::new(), companions: Vec::new() };
    for member in &group.members {
        found.collect(member, None, 0)?;
    }
    let Found { candidates, companions, .. } = found;
    let mut candidates = only_those_here(archive, candidates)?;
    let mut images = Vec::new();
    if archive.options.platforms == Platforms::All {
        for candidate in candidates {
            images.extend(read_image(archive, candidate, skipped)?);
        }
    } else if let Some(at) = choose(archive, &candidates, skipped)? {
        images.extend(read_image(archive, candidates.swap_remove(at), skipped)?);
    }
    let host = Platform::host();
    let best = images.iter().enumerate().filter_map(|(at, image)| Some((fit(&image.platform, &host)?, at))).min();
    let best = best.map_or(0, |(_, at)| at);
    for (at, image) in images.iter_mut().enumerate() {
        // An index has its name for all of its images. Without one, a name stands for one image.
        if image.index.is_some() || at == best {
            image.names.clone_from(&group.names);
            image.labels.clone_from(&group.labels);
        }
        if image.index.is_some() {
            image.companions.clone_from(&companions);
        }
    }
    Ok(images)
}

/// The candidates whose manifests are in the archive. Where none is, all, so that the missing one is named.
fn only_those_here(archive: &Pass<'_>, candidates: Vec<Candidate>) -> Result<Vec<Candidate>, TransportError> {
    let mut here = Vec::new();
    let mut absent = Vec::new();
    for candidate in candidates {
        match archive.has(&blob_name(candidate.member.digest))? {
            true => here.push(candidate),
            false => absent.push(candidate),
        }
    }
    Ok(if here.is_empty() { absent } else { here })
}

/// The candidate for the wanted platform; `None` if there are only artifacts.
fn choose(
    archive: &Pass<'_>,
    candidates: &[Candidate],
    skipped: &mut Vec<String>,
) -> Result<Option<usize>, TransportError> {
    let host = Platform::host();
    let wanted = match &archive.options.platforms {
        Platforms::One(wanted) => wanted,
        Platforms::Host | Platforms::All if candidates.len() < 2 => return Ok((!candidates.is_empty()).then_some(0)),
        Platforms::Host | Platforms::All => &host,
    };
    let mut best: Option<(u32, usize)> = None;
    let mut available = Vec::new();
    for (at, candidate) in candidates.iter().enumerate() {
        let Some(platform) = platform_of(archive, candidate, skipped)? else { continue };
        available.push(platform.to_string());
        if let Some(fit) = fit(&platform, wanted)
            && best.is_none_or(|(known, _)| fit < known)
        {
            best = Some((fit, at));
        }
    }
    match best {
        Some((_, at)) => Ok(Some(at)),
        None if available.is_empty() => Ok(None),
        None => Err(TransportError::NoPlatform { wanted: wanted.to_string(), available }),
    }
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

/// What a group of descriptors leads to.
struct Found<'a, 'p> {
    archive: &'a Pass<'p>,
    /// Indexes that list each other many times over would multiply.
    seen: HashSet<BlobDigest>,
    candidates: Vec<Candidate>,
    companions: Vec<Companion>,
}

impl Found<'_, '_> {
    fn collect(&mut self, member: &Member, outer: Option<&RawManifest>, depth: usize) -> Result<(), TransportError> {
        if !self.seen.insert(member.digest) {
            return Ok(());
        }
        if !media::is_index(&member.descriptor.media_type) {
            let platform = member
                .descriptor
                .platform
                .as_ref()
                .map(|found| platform(&found.os, &found.architecture, found.variant.as_deref()));
            self.candidates.push(Candidate { member: member.clone(), platform, index: outer.cloned() });
            return Ok(());
        }
        let what = format!("index {}", member.digest);
        // What an index names need not be there; what the layout itself names must be.
        if depth > 0 && !self.archive.has(&blob_name(member.digest))? {
            return Ok(());
        }
        if depth == DEPTH_MAX {
            return Err(TransportError::TooDeep { digest: member.digest, max: DEPTH_MAX });
        }
        let bytes = self.archive.metadata_blob(&what, member.digest, member.descriptor.size)?;
        let index = read_index(&what, &bytes)?;
        check_media_type(&what, &index.media_type, &member.descriptor.media_type)?;
        let raw = RawManifest { bytes, digest: member.digest, media_type: member.descriptor.media_type.clone() };
        if depth > 0 {
            self.companions.push(Companion { digest: raw.digest, size: member.descriptor.size, what: what.clone() });
        }
        // The outermost index is the one that a name refers to.
        let outer = outer.unwrap_or(&raw);
        for descriptor in index.manifests.unwrap_or_default() {
            let is_image_or_index = is_image_or_index(&descriptor);
            let inner = self::member(descriptor, &format!("a manifest in {what}"))?;
            if is_image_or_index {
                self.collect(&inner, Some(outer), depth + 1)?;
            } else if self.archive.options.platforms == Platforms::All && self.seen.insert(inner.digest) {
                self.accompany(&inner)?;
            }
        }
        Ok(())
    }

    /// Takes what is no image along, with all that it names, as far as it is there.
    fn accompany(&mut self, member: &Member) -> Result<(), TransportError> {
        if !self.archive.has(&blob_name(member.digest))? {
            return Ok(());
        }
        let Descriptor { size, media_type, .. } = &member.descriptor;
        let what = format!("manifest {}", member.digest);
        self.archive.sized_blob(&what, member.digest, *size)?;
        self.companions.push(Companion { digest: member.digest, size: *size, what: what.clone() });
        if !media::is_manifest(media_type) {
            return Ok(());
        }
        let bytes = self.archive.metadata_blob(&what, member.digest, *size)?;
        let manifest: wire::Manifest =
            serde_json::from_slice(&bytes).map_err(|source| TransportError::BadJson { what: what.clone(), source })?;
        for part in std::iter::once(manifest.config).chain(manifest.layers.into_iter().flatten()) {
            let part = self::member(part, &format!("a blob of {what}"))?;
            if self.seen.insert(part.digest) && self.archive.has(&blob_name(part.digest))? {
                let what = format!("blob {} of {what}", part.digest);
                self.archive.sized_blob(&what, part.digest, part.descriptor.size)?;
                self.companions.push(Companion { digest: part.digest, size: part.descriptor.size, what });
            }
        }
        Ok(())
    }
}
