//! A Docker archive as it is written: `<diffid>.tar`, `<image-id>.json`, `manifest.json` last.
//!
//! Every reader since Docker 1.10 asks only for `manifest.json`; the older `repositories` and `<id>/json` are left out.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};

use mica_core::{DiffId, ImageId};

use super::output::Output;
use super::{ImageSink, LayerForm, SinkImage, SinkLayer};
use crate::wire::{DockerItem, media};
use crate::{Companion, RawManifest, Reference, TransportError, Verified};

/// Writes a Docker archive. The same images in the same order give the same bytes.
pub struct DockerArchiveWriter<'a> {
    out: Output<'a>,
    written: HashSet<DiffId>,
    items: Vec<DockerItem>,
    /// Which item is which image.
    known: HashMap<ImageId, usize>,
}

impl<'a> DockerArchiveWriter<'a> {
    /// Begins an archive on `out`.
    #[must_use]
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out: Output::new(out), written: HashSet::new(), items: Vec::new(), known: HashMap::new() }
    }
}

impl ImageSink for DockerArchiveWriter<'_> {
    fn layers(&self) -> LayerForm {
        LayerForm::Plain
    }

    fn has_layer(&self, layer: &SinkLayer) -> bool {
        self.written.contains(&layer.diff_id)
    }

    fn put_layer(&mut self, layer: &SinkLayer, body: &mut dyn Read) -> Result<(), TransportError> {
        if !media::is_plain_layer(&layer.media_type) || layer.digest.as_bytes() != layer.diff_id.as_bytes() {
            return Err(TransportError::NotPlain { digest: layer.digest, media_type: layer.media_type.clone() });
        }
        if self.has_layer(layer) {
            return Ok(());
        }
        let what = format!("layer {}", layer.diff_id);
        let mut body = Verified::new(body, what.as_str(), layer.digest, layer.size);
        self.out.body(&layer_name(layer.diff_id), layer.size, &mut body, &what)?;
        self.written.insert(layer.diff_id);
        Ok(())
    }

    fn put_companion(&mut self, _: &Companion, _: &mut dyn Read) -> Result<(), TransportError> {
        Ok(())
    }

    fn put_artifact(&mut self, _: &[Reference], manifest: &RawManifest) -> Result<(), TransportError> {
        Err(TransportError::NoArtifacts { digest: manifest.digest })
    }

    fn put_image(&mut self, image: &SinkImage<'_>) -> Result<(), TransportError> {
        image.check(|layer| self.has_layer(layer))?;
        let id = image.id();
        let at = match self.known.get(&id) {
            Some(at) => *at,
            None => {
                let config = format!("{}.json", id.hex());
                self.out.file(&config, image.config)?;
                let layers = image.layers.iter().map(|layer| layer_name(layer.diff_id)).collect();
                self.items.push(DockerItem { config, repo_tags: None, layers: Some(layers) });
                self.known.insert(id, self.items.len() - 1);
                self.items.len() - 1
            }
        };
        let Some(item) = self.items.get_mut(at) else { return Ok(()) };
        // A name pinned by digest is no tag, and readers refuse it as one.
        for name in image.names.iter().filter(|name| name.tag().is_some() && name.digest().is_none()) {
            let tags = item.repo_tags.get_or_insert_default();
            // podman takes a short name for one of localhost.
            let tag = name.to_string();
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), TransportError> {
        let bytes = serde_json::to_vec(&self.items)
            .map_err(|source| TransportError::BadJson { what: "manifest.json".to_owned(), source })?;
        self.out.file("manifest.json", &bytes)?;
        self.out.finish()
    }
}

impl std::fmt::Debug for DockerArchiveWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DockerArchiveWriter").field("items", &self.items).finish_non_exhaustive()
    }
}

fn layer_name(layer: DiffId) -> String {
    format!("{}.tar", layer.hex())
}
