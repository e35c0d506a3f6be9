//! Layers as users list them.

use std::collections::BTreeMap;

use mica_core::DiffId;
use mica_transport::Reference;

use crate::container::Known;
use crate::engine::Engine;
use crate::error::Result;

/// A layer as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSummary {
    /// Its DiffID.
    pub layer: DiffId,
    /// Bytes of file content.
    pub size: u64,
    /// Entries.
    pub entries: u64,
    /// Images that have it, by name or else by short ID.
    pub images: Vec<String>,
    /// Containers that stand on it, by name.
    pub containers: Vec<String>,
}

impl Engine {
    /// The layers of an image, topmost first; without one, all layers of the store, by DiffID.
    ///
    /// # Errors
    /// No such image; a record that cannot be read.
    pub fn layers(&self, image: Option<&str>) -> Result<Vec<LayerSummary>> {
        let chosen = match image {
            Some(word) => self.find_image(word)?.image.layers.iter().rev().copied().collect(),
            None => {
                let mut all = self.store.layers()?;
                all.sort();
                all
            }
        };
        let mut users: BTreeMap<DiffId, (Vec<String>, Vec<String>)> = BTreeMap::new();
        let names = self.names_by_image()?;
        for image in self.store.images()? {
            let name = names.get(&image.id).and_then(|names| names.first());
            let name = name.and_then(|name| Reference::parse(&name.reference).ok()).map(|name| name.familiar());
            let name = name.unwrap_or_else(|| image.id.short());
            for layer in &image.layers {
                let (images, _) = users.entry(*layer).or_default();
                if images.last() != Some(&name) {
                    images.push(name.clone());
                }
            }
        }
        for record in self.store.containers()? {
            for layer in &record.layers {
                users.entry(*layer).or_default().1.push(record.name.as_str().to_owned());
            }
        }
        let mut summaries = Vec::with_capacity(chosen.len());
        for layer in chosen {
            let sealed = self.store.require_layer(&layer)?;
            let (images, containers) = users.get(&layer).cloned().unwrap_or_default();
            let seal = sealed.seal();
            summaries.push(LayerSummary { layer, size: seal.content_size, entries: seal.entries, images, containers });
        }
        Ok(summaries)
    }

    /// Paths of a container's stack, topmost first, as inspection shows them.
    pub(crate) fn lower_paths(&self, known: &Known) -> Result<Vec<String>> {
        Ok(self.union_dirs(known)?.lowers.iter().map(|path| path.display().to_string()).collect())
    }
}
