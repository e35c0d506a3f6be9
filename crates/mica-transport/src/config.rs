//! What of an image's config decides how its layers are read, checked.

use mica_core::image::Platform;
use mica_core::{DiffId, ImageId};

use crate::TransportError;
use crate::wire;

/// The platform and the DiffIDs of a config.
#[derive(Debug)]
pub(crate) struct ParsedConfig {
    pub(crate) platform: Platform,
    pub(crate) diff_ids: Vec<DiffId>,
}

impl ParsedConfig {
    pub(crate) fn read(what: &str, bytes: &[u8]) -> Result<Self, TransportError> {
        let config: wire::Config = serde_json::from_slice(bytes)
            .map_err(|source| TransportError::BadJson { what: what.to_owned(), source })?;
        let mut diff_ids = Vec::new();
        for (at, text) in config.rootfs.diff_ids.iter().flatten().enumerate() {
            let bad = |source| TransportError::BadDigest { what: format!("DiffID {} in {what}", at + 1), source };
            diff_ids.push(text.parse().map_err(bad)?);
        }
        Ok(Self { platform: platform(&config.os, &config.architecture, config.variant.as_deref()), diff_ids })
    }

    /// Each layer has one DiffID.
    pub(crate) fn expect_layers(&self, image: ImageId, layers: usize) -> Result<(), TransportError> {
        if self.diff_ids.len() == layers {
            return Ok(());
        }
        Err(TransportError::LayerCount { image: image.to_string(), diff_ids: self.diff_ids.len(), layers })
    }
}

/// A platform from a document. Old images leave words out; they were all for linux.
pub(crate) fn platform(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
    let or = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
    Platform {
        os: or(os, "linux"),
        architecture: or(architecture, "unknown"),
        variant: variant.filter(|variant| !variant.is_empty()).map(str::to_owned),
    }
}
