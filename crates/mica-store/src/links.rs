//! Links: which blobs an index or a manifest names, so that gc keeps what can be reached.
//!
//! Only digests are read here. Whatever else a manifest says, and whether a program can run it, is not the store's to
//! judge: artifacts of any media type are kept whole.

use std::collections::BTreeSet;

use mica_core::{BlobDigest, ImageId};
use serde::Deserialize;

use crate::blobs::SMALL_BLOB_CAP;
use crate::error::StoreError;
use crate::images::ImageRecord;
use crate::records::Descriptor;
use crate::store::Store;

/// The digests in an index or a manifest. A digest of another algorithm than SHA-256 names no blob of this store.
#[derive(Debug, Default, Deserialize)]
struct Links {
    #[serde(default)]
    manifests: Vec<Link>,
    #[serde(default)]
    config: Option<Link>,
    #[serde(default)]
    layers: Vec<Link>,
    #[serde(default)]
    blobs: Vec<Link>,
}

#[derive(Debug, Deserialize)]
struct Link {
    digest: String,
}

impl Link {
    fn digest(&self) -> Option<BlobDigest> {
        self.digest.parse().ok()
    }
}

impl Store {
    /// Adds to `reached` the blob `from` and all that it names, over any number of indexes, as far as they are here.
    pub(crate) fn reach(&self, from: BlobDigest, reached: &mut BTreeSet<BlobDigest>) -> Result<(), StoreError> {
        let mut next = vec![from];
        while let Some(blob) = next.pop() {
            if !reached.insert(blob) {
                continue;
            }
            let Some(links) = self.links(&blob)? else { continue };
            next.extend(links.manifests.iter().filter_map(Link::digest));
            // These are leaves: a config may be JSON, but what it names are no blobs.
            let leaves = links.config.iter().chain(&links.layers).chain(&links.blobs);
            reached.extend(leaves.filter_map(Link::digest));
        }
        Ok(())
    }

    /// What a blob names; `None` when it is not here or is no JSON object of digests.
    fn links(&self, blob: &BlobDigest) -> Result<Option<Links>, StoreError> {
        if self.blob_size(blob)?.is_none_or(|size| size > SMALL_BLOB_CAP) {
            return Ok(None);
        }
        let Some(file) = self.blob(blob)? else { return Ok(None) };
        let mut first = [0];
        if file.read_at(&mut first, 0)? == 0 || !matches!(first, [b'{' | b' ' | b'\t' | b'\r' | b'\n']) {
            return Ok(None);
        }
        let Some(bytes) = self.dirs.blobs.read_if_there(blob.hex().as_bytes(), SMALL_BLOB_CAP)? else {
            return Ok(None);
        };
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// The images that are here and that `target`, an index or a manifest, stands for. An index may name images that are not
    /// here.
    ///
    /// # Errors
    /// As [`Store::image`].
    pub fn images_of(&self, target: &Descriptor) -> Result<Vec<ImageRecord>, StoreError> {
        let mut images = Vec::new();
        let (mut next, mut seen) = (vec![target.digest], BTreeSet::new());
        while let Some(blob) = next.pop() {
            if !seen.insert(blob) {
                continue;
            }
            let Some(links) = self.links(&blob)? else { continue };
            // The order of the index, since the last is popped first.
            next.extend(links.manifests.iter().rev().filter_map(Link::digest));
            if let Some(config) = links.config.as_ref().and_then(Link::digest) {
                images.extend(self.image(&ImageId::from_sha256(*config.as_bytes()))?);
            }
        }
        Ok(images)
    }
}
