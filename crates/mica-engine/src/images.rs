//! Images as users list, name, trace and remove them.

use jiff::Timestamp;
use mica_core::image::Platform;
use mica_core::{BlobDigest, DiffId, ImageId};
use mica_store::{ImageRecord, NameRecord, OnUse};
use mica_transport::Reference;

use crate::artifact::ArtifactSummary;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::manifest::config_of;

/// An image as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// Its ID.
    pub id: ImageId,
    /// Its names; none for an image that only its ID finds.
    pub names: Vec<Reference>,
    /// The digest of its manifest.
    pub manifest: BlobDigest,
    /// When it was made, by its config.
    pub created: Option<Timestamp>,
    /// Bytes of file content in its layers, each layer once.
    pub size: u64,
    /// What it runs on.
    pub platform: Platform,
    /// Its layers, base first.
    pub layers: Vec<DiffId>,
}

/// A step of an image's making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryStep {
    /// The image, at its last step.
    pub image: Option<ImageId>,
    /// When.
    pub created: Option<Timestamp>,
    /// The instruction.
    pub created_by: String,
    /// A message.
    pub comment: String,
    /// Bytes of file content in the layer it made; 0 when it made none.
    pub size: u64,
    /// The layer it made.
    pub layer: Option<DiffId>,
}

/// What `rmi` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// The image lost this name.
    Untagged(Reference),
    /// The image is gone.
    Deleted(ImageId),
    /// This was the name of an artifact, which goes with its last one.
    Artifact(Reference),
}

impl Engine {
    /// All images, the newest in the store first, of `only` this repository or name where one is given; and the artifacts,
    /// by name.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn images(&self, only: Option<&str>) -> Result<(Vec<ImageSummary>, Vec<ArtifactSummary>)> {
        let images = self.store.images()?;
        let (mut names, rest) = self.names_and_rest(&images)?;
        let mut summaries = Vec::new();
        for image in images {
            let names = names.remove(&image.id).unwrap_or_default();
            let names: Vec<Reference> =
                names.iter().filter_map(|name| Reference::parse(&name.reference).ok()).collect();
            let mut summary = self.summary(&image)?;
            summary.names = match only {
                Some(only) => names.into_iter().filter(|name| is_called(name, only)).collect(),
                None => names,
            };
            if only.is_none() || !summary.names.is_empty() {
                summaries.push(summary);
            }
        }
        let mut artifacts = Vec::new();
        for named in &rest {
            artifacts.extend(self.artifact_named(&named.reference)?.map(|artifact| artifact.summary()));
        }
        artifacts.retain(|artifact| only.is_none_or(|only| is_called(&artifact.name, only)));
        Ok((summaries, artifacts))
    }

    /// What listings show of one image, without its names.
    pub(crate) fn summary(&self, image: &ImageRecord) -> Result<ImageSummary> {
        let (_, config) = config_of(&self.store, &image.id)?;
        let mut seen: Vec<DiffId> = image.layers.clone();
        seen.sort();
        seen.dedup();
        let mut size = 0;
        for layer in &seen {
            size += self.store.require_layer(layer)?.seal().content_size;
        }
        Ok(ImageSummary {
            id: image.id,
            names: Vec::new(),
            manifest: image.manifest.digest,
            created: config.created,
            size,
            platform: image.platform.clone(),
            layers: image.layers.clone(),
        })
    }

    /// Gives an image one more name, taking it from another that has it.
    ///
    /// # Errors
    /// No such image.
    pub fn tag(&self, image: &str, name: &Reference) -> Result<()> {
        if name.digest().is_some() {
            return Err(Error::new(Kind::Usage, format!("{name} has a digest, which nobody can choose"))
                .hinted("a name has a tag: NAME:TAG"));
        }
        let lease = self.store.lease()?;
        let found = self.find_image(image)?;
        // A name keeps what it points to, be it an index of many platforms.
        let target = match &found.name {
            Some(old) => self.store.name(&old.to_string())?.map(|old| old.target),
            None => None,
        };
        self.store.set_name(&lease, &name.to_string(), &target.unwrap_or(found.image.manifest))?;
        lease.finish();
        Ok(())
    }

    /// Removes a name, and the images with their last one: a name of an index is one of each of its images. By ID, an image
    /// with several names is removed only by `force`, and a name that it shares with others stays theirs.
    ///
    /// # Errors
    /// No such image; one that a container uses, or that has several names.
    pub fn remove_image(&self, word: &str, force: bool) -> Result<Vec<Removed>> {
        let found = match self.find_image(word) {
            Ok(found) => found,
            Err(error) => {
                let Some(artifact) = self.artifact_named(word)? else { return Err(error) };
                self.store.remove_name(&artifact.name.to_string(), Some(&artifact.manifest.digest))?;
                return Ok(vec![Removed::Artifact(artifact.name)]);
            }
        };
        let names = self.names_by_image()?;
        let owned = |id: &ImageId| -> Vec<Reference> {
            let names = names.get(id).map(Vec::as_slice).unwrap_or_default();
            names.iter().filter_map(|name| Reference::parse(&name.reference).ok()).collect()
        };
        let shared = |name: &Reference, but: &ImageId| {
            let called = |names: &[NameRecord]| names.iter().any(|known| known.reference == name.to_string());
            names.iter().any(|(id, names)| id != but && called(names))
        };
        let id = found.image.id;
        let mut going_names = Vec::new();
        let mut going = Vec::new();
        match found.name.filter(|name| owned(&id).contains(name)) {
            Some(name) => {
                going.extend(names.keys().filter(|id| owned(id) == [name.clone()]));
                going_names.push(name);
            }
            None => {
                let own = owned(&id);
                if own.len() > 1 && !force {
                    let list: Vec<String> = own.iter().map(Reference::familiar).collect();
                    return Err(Error::new(
                        Kind::Conflict,
                        format!("image {} has several names: {}", id.short(), list.join(", ")),
                    )
                    .hinted("remove them one at a time, or all with --force"));
                }
                going_names.extend(own.into_iter().filter(|name| !shared(name, &id)));
                going.push(id);
            }
        }
        if !force {
            going.iter().try_for_each(|id| self.refuse_used(id))?;
        }
        // Records last: a crash leaves an image without a name, and never a name without an image.
        let mut removed = Vec::new();
        for name in going_names {
            self.store.remove_name(&name.to_string(), None)?;
            removed.push(Removed::Untagged(name));
        }
        for id in going {
            self.store.remove_image(&id, if force { OnUse::Remove } else { OnUse::Refuse })?;
            removed.push(Removed::Deleted(id));
        }
        Ok(removed)
    }

    /// Looks before any name is removed; the store looks again, under its lock, before the record is.
    fn refuse_used(&self, id: &ImageId) -> Result<()> {
        let containers = self.store.containers()?.into_iter().filter(|container| container.image == Some(*id));
        let by: Vec<String> = containers.map(|container| format!("container {}", container.name)).collect();
        if by.is_empty() { Ok(()) } else { Err(mica_store::StoreError::InUse { image: *id, by }.into()) }
    }

    /// How an image was made, newest step first.
    ///
    /// # Errors
    /// No such image.
    pub fn history(&self, image: &str) -> Result<Vec<HistoryStep>> {
        let image = self.find_image(image)?.image;
        let (_, config) = config_of(&self.store, &image.id)?;
        let mut layers = image.layers.iter();
        let mut steps = Vec::new();
        for step in &config.history {
            let layer = if step.empty_layer { None } else { layers.next() };
            steps.push(self.step(layer, step.created, &step.created_by, &step.comment)?);
        }
        for layer in layers {
            steps.push(self.step(Some(layer), None, "", "")?);
        }
        steps.reverse();
        if let Some(last) = steps.first_mut() {
            last.image = Some(image.id);
        }
        Ok(steps)
    }

    fn step(&self, layer: Option<&DiffId>, created: Option<Timestamp>, by: &str, comment: &str) -> Result<HistoryStep> {
        let size = match layer {
            Some(layer) => self.store.require_layer(layer)?.seal().content_size,
            None => 0,
        };
        let (created_by, comment) = (by.to_owned(), comment.to_owned());
        Ok(HistoryStep { image: None, created, created_by, comment, size, layer: layer.copied() })
    }
}

/// Whether a user who says `word` may mean `name`: with the tag, or any tag of the repository.
fn is_called(name: &Reference, word: &str) -> bool {
    Reference::parse(word).is_ok_and(|wanted| {
        let tagged = word.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
        wanted.repository() == name.repository() && (!tagged || wanted.tag() == name.tag())
    })
}
