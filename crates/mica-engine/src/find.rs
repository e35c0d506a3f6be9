//! What a user means by a word: an image by name or by the beginning of its ID.

use std::collections::{BTreeMap, BTreeSet};

use mica_core::image::Platform;
use mica_core::{BlobDigest, ImageId};
use mica_store::{Descriptor, ImageRecord, NameRecord};
use mica_transport::{Reference, ReferenceError};

use crate::engine::Engine;
use crate::error::{Error, Kind, Result};

/// An image and the name by which it was found, where it was by name.
#[derive(Debug, Clone)]
pub(crate) struct FoundImage {
    pub(crate) image: ImageRecord,
    pub(crate) name: Option<Reference>,
}

/// The names of each image that has any.
pub(crate) type NamesByImage = BTreeMap<ImageId, Vec<NameRecord>>;

impl Engine {
    /// The image that `word` names: a reference, an ID or the beginning of one.
    pub(crate) fn find_image(&self, word: &str) -> Result<FoundImage> {
        let reference = Reference::parse(word);
        if let Ok(reference) = &reference
            && let Some(image) = self.image_by_name(reference)?
        {
            return Ok(FoundImage { image, name: Some(reference.clone()) });
        }
        if let Some(image) = self.store.find_image(word)? {
            return Ok(FoundImage { image, name: None });
        }
        match reference {
            Ok(_) | Err(ReferenceError::LooksLikeId { .. }) => Err(self.no_such_image(word)?),
            Err(error) => Err(error.into()),
        }
    }

    fn image_by_name(&self, reference: &Reference) -> Result<Option<ImageRecord>> {
        let named = self.store.name(&reference.to_string())?.map(|named| named.target);
        let pinned = || reference.digest().map(|digest| Descriptor::new(String::new(), *digest, 0));
        let Some(target) = named.or_else(pinned) else { return Ok(None) };
        if reference.digest().is_some_and(|pinned| *pinned != target.digest) {
            return Ok(None);
        }
        self.image_described_by(&target)
    }

    /// The image that a manifest describes, or of an index the one that serves this machine, or else the first that is here.
    fn image_described_by(&self, target: &Descriptor) -> Result<Option<ImageRecord>> {
        let here = self.store.images_of(target)?;
        let host = Platform::host();
        let best = here.iter().position(|image| image.platform.serves(&host)).unwrap_or(0);
        Ok(here.into_iter().nth(best))
    }

    /// The names of each image, sorted. A name of an index is one of each of its images.
    pub(crate) fn names_by_image(&self) -> Result<NamesByImage> {
        Ok(self.names_and_rest(&self.store.images()?)?.0)
    }

    /// As [`Engine::names_by_image`], by the records of all images, with the names that are of no image.
    pub(crate) fn names_and_rest(&self, images: &[ImageRecord]) -> Result<(NamesByImage, Vec<NameRecord>)> {
        let mut rest = Vec::new();
        // A thousand names must not mean a thousand manifests.
        let by_manifest: BTreeMap<BlobDigest, ImageId> =
            images.iter().map(|image| (image.manifest.digest, image.id)).collect();
        let mut names = NamesByImage::new();
        for name in self.store.names()? {
            let images: BTreeSet<ImageId> = match by_manifest.get(&name.target.digest) {
                Some(image) => [*image].into(),
                None => self.store.images_of(&name.target)?.into_iter().map(|image| image.id).collect(),
            };
            if images.is_empty() {
                rest.push(name.clone());
            }
            for image in images {
                names.entry(image).or_default().push(name.clone());
            }
        }
        names.values_mut().for_each(|names| names.sort_by(|a, b| a.reference.cmp(&b.reference)));
        Ok((names, rest))
    }

    fn no_such_image(&self, word: &str) -> Result<Error> {
        if let Some(error) = self.no_image_but_artifact(word)? {
            return Ok(error);
        }
        let error = Error::new(Kind::NotFound, format!("no such image: {word}"));
        let names = self.store.names()?;
        let familiar =
            names.iter().filter_map(|name| Reference::parse(&name.reference).ok()).map(|name| name.familiar());
        Ok(match nearest(word, familiar) {
            Some(near) => error.hinted(format!("did you mean {near}?")),
            None if names.is_empty() => {
                error.hinted("there are none yet: `mica load -i ARCHIVE` or `mica import ROOTFS NAME` brings one in")
            }
            None => error.hinted("`mica images` lists those that are here"),
        })
    }
}

/// The candidate that `word` is probably a misspelling of.
pub(crate) fn nearest(word: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    let word = word.to_lowercase();
    let far = |candidate: &str| {
        let whole = distance(&word, candidate);
        // A tag that was left out is no misspelling.
        candidate.rsplit_once(':').map_or(whole, |(name, _)| whole.min(distance(&word, name) + 1))
    };
    let limit = (word.chars().count() / 3).clamp(1, 4) + 1;
    candidates
        .map(|candidate| (far(&candidate), candidate))
        .filter(|(far, _)| *far <= limit)
        .min()
        .map(|(_, near)| near)
}

/// How many letters must be put in, taken out, changed, or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let (mut before, mut last): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=to.len()).collect());
    for (row, letter) in from.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let at = |line: &[usize], column: usize| line.get(column).copied().unwrap_or(usize::MAX - 1);
            let change = at(&last, column) + usize::from(letter != other);
            let mut best = change.min(at(&last, column + 1) + 1).min(at(&next, column) + 1);
            let swapped =
                row > 0 && column > 0 && from.get(row - 1) == Some(other) && to.get(column - 1) == Some(letter);
            if swapped {
                best = best.min(at(&before, column - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut last, next);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        let names = || ["debian:12", "busybox:latest", "quay.io/team/app:1"].map(str::to_owned).into_iter();
        for (word, near) in [
            ("debain:12", Some("debian:12")),
            ("debian", Some("debian:12")),
            ("busybx", Some("busybox:latest")),
            ("quay.io/team/ap:1", Some("quay.io/team/app:1")),
            ("nginx", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, names()).as_deref(), near, "{word}");
        }
    }

    #[test]
    fn distances_count_letters() {
        for (from, to, far) in [("", "", 0), ("a", "", 1), ("ab", "ba", 1), ("kitten", "sitting", 3), ("abc", "abc", 0)]
        {
            assert_eq!((distance(from, to), distance(to, from)), (far, far), "{from} {to}");
        }
    }
}
