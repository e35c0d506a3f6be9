//! Facts: what was learned of a blob, so that it need not be learned again.
//!
//! A fact may be deleted at any time, and one that cannot be read is as good as none. With it a pull knows the DiffID of
//! a compressed layer before its bytes came, and so whether they need to come.

use mica_core::{BlobDigest, DiffId};
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, What};
use crate::lease::Lease;
use crate::records::{self, Draft, Flush, Unknown};
use crate::store::Store;

/// `facts/sha256/<hex>.json`: what was learned of a blob, which need not be here itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// 1.
    pub version: u32,
    /// The blob.
    pub blob: BlobDigest,
    /// How many bytes it has.
    pub size: u64,
    /// As what it came.
    pub media_type: String,
    /// Of a layer: the digest of its uncompressed tar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<DiffId>,
    /// Where it came from, in words: repositories that have it, without a tag.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub other: Unknown,
}

impl Facts {
    /// What is known of a layer's blob once it was unpacked.
    #[must_use]
    pub fn of_layer(blob: BlobDigest, size: u64, media_type: impl Into<String>, layer: DiffId) -> Self {
        Self {
            version: records::VERSION,
            blob,
            size,
            media_type: media_type.into(),
            diff_id: Some(layer),
            sources: Vec::new(),
            other: Unknown::new(),
        }
    }
}

impl Store {
    /// What is known of a blob.
    ///
    /// # Errors
    /// Of a system call. A record that cannot be read is `None`.
    pub fn facts(&self, blob: &BlobDigest) -> Result<Option<Facts>, StoreError> {
        match records::read::<Facts>(What::Blob, &self.dirs.facts, &file_name(blob)) {
            Ok(facts) => Ok(facts.filter(|facts| facts.blob == *blob)),
            Err(StoreError::Corrupt { .. } | StoreError::NewerFormat { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Remembers what was learned of a blob, over what was known. Not flushed.
    ///
    /// # Errors
    /// Of a system call.
    pub fn put_facts(&self, lease: &Lease<'_>, facts: &Facts) -> Result<(), StoreError> {
        let draft = records::random_name()?;
        let draft = Draft { dir: lease.staging()?, name: draft.as_bytes() };
        let bytes = records::encode(What::Blob, facts)?;
        Ok(records::put(&draft, &self.dirs.facts, &file_name(&facts.blob), &bytes, Flush::No)?)
    }

    /// Everything that is known, for whoever looks for another compression of a layer.
    ///
    /// # Errors
    /// Of a system call.
    pub fn all_facts(&self) -> Result<Vec<Facts>, StoreError> {
        let mut all = Vec::new();
        for entry in self.dirs.facts.read_dir()? {
            let blob = std::str::from_utf8(&entry.name).ok().and_then(|name| name.strip_suffix(".json"));
            if let Some(blob) = blob.and_then(|hex| BlobDigest::from_hex(hex).ok()) {
                all.extend(self.facts(&blob)?);
            }
        }
        Ok(all)
    }
}

fn file_name(blob: &BlobDigest) -> String {
    format!("{}.json", blob.hex())
}
