//! What an index of many platforms leads to, as far as it is here.
//!
//! An index is kept whole however few of its platforms are: its bytes are what its digest names. So whoever follows one must
//! expect that most of it is absent.

use std::collections::BTreeSet;

use mica_core::image::Platform;
use mica_core::{BlobDigest, ImageId};
use mica_store::{Descriptor, ImageRecord};
use mica_transport::Companion;
use serde_json::Value;

use crate::engine::Engine;
use crate::error::Result;

/// The parts of an index.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    /// The images that are here, each with its manifest as the index describes it, in the index's order.
    pub(crate) images: Vec<(Descriptor, ImageRecord)>,
    /// Blobs that are here and part of no image: inner indexes, attestations, artifacts and what they name.
    pub(crate) companions: Vec<Companion>,
    /// The platforms that are named and not here; a digest where the index tells no platform.
    pub(crate) absent: Vec<String>,
}

impl Engine {
    /// Follows the index whose bytes these are.
    pub(crate) fn spread(&self, index: &[u8]) -> Result<Spread> {
        let mut spread = Spread::default();
        let mut next = descriptors(index, "manifests");
        // The last is popped first.
        next.reverse();
        let mut seen = BTreeSet::new();
        while let Some(described) = next.pop() {
            if !seen.insert(described.digest) {
                continue;
            }
            let Some(bytes) = self.store.blob_bytes(&described.digest)? else {
                spread.absent.extend(called(&described));
                continue;
            };
            let inner = descriptors(&bytes, "manifests");
            if inner.is_empty()
                && let Some(config) = one(&bytes, "config")
                && let Some(image) = self.store.image(&ImageId::from_sha256(*config.digest.as_bytes()))?
            {
                spread.images.push((described, image));
                continue;
            }
            spread.accompany(&described, "manifest");
            next.extend(inner.into_iter().rev());
            for part in parts_of(&bytes) {
                if seen.insert(part.digest) && self.store.has_blob(&part.digest)? {
                    spread.accompany(&part, "blob");
                }
            }
        }
        Ok(spread)
    }
}

impl Spread {
    fn accompany(&mut self, described: &Descriptor, what: &str) {
        let Descriptor { digest, size, .. } = *described;
        self.companions.push(Companion { digest, size, what: format!("{what} {digest}") });
    }
}

/// Whether a blob is an index and no manifest.
pub(crate) fn is_index(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).is_ok_and(|value| value.get("manifests").is_some_and(Value::is_array))
}

/// The config and the layers of a manifest.
pub(crate) fn parts_of(manifest: &[u8]) -> Vec<Descriptor> {
    one(manifest, "config").into_iter().chain(descriptors(manifest, "layers")).collect()
}

/// The descriptors in a list of a document. One that has no digest of ours names nothing that could be here.
fn descriptors(bytes: &[u8], list: &str) -> Vec<Descriptor> {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let items = document.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| serde_json::from_value(item.clone()).ok()).collect()
}

fn one(bytes: &[u8], field: &str) -> Option<Descriptor> {
    let document: Value = serde_json::from_slice(bytes).ok()?;
    serde_json::from_value(document.get(field)?.clone()).ok()
}

/// What an absent part is called; `None` for an attestation, which nobody misses.
fn called(described: &Descriptor) -> Option<String> {
    let platform = described.other.get("platform");
    match platform.and_then(|platform| serde_json::from_value::<Platform>(platform.clone()).ok()) {
        Some(platform) if platform.os == "unknown" => None,
        Some(platform) => Some(platform.to_string()),
        None => Some(short(described.digest)),
    }
}

fn short(digest: BlobDigest) -> String {
    format!("sha256:{}", digest.hex().get(..12).unwrap_or_default())
}
