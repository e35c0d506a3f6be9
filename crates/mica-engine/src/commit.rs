//! A container's upper becomes the next layer of an image.

use std::path::Path;

use jiff::Timestamp;
use mica_core::image::{ContainerConfig, History, ImageConfig, Platform, RootFs};
use mica_core::{Attrs, ImageId, Stack};
use mica_layer::{Files, Over, Pack, Reach, UpperLayer};
use mica_sys::Dir;
use mica_transport::{Reference, SinkLayer};

use crate::change;
use crate::container::{Base, Known, View, arguments, own_attrs};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::import::NewImage;
use crate::manifest::{config_of, manifest_of};
use crate::progress::Progress;

/// What to commit, and how.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// A container's name or ID.
    pub container: String,
    /// The image's name.
    pub name: Option<Reference>,
    /// For the history.
    pub message: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// Changes to the config, as Dockerfile instructions.
    pub changes: Vec<String>,
}

impl Engine {
    /// Makes an image of a container's changes and gives its ID. The container stays as it is.
    ///
    /// # Errors
    /// No such container; an upper that cannot be a layer; a change that is not understood. The store is as it was then.
    pub fn commit(&self, commit: &Commit, progress: &dyn Progress) -> Result<ImageId> {
        let known = self.find_container(&commit.container)?;
        let lease = self.store.lease()?;
        let (mut config, mut layers) = self.commit_base(&known, progress)?;
        let container = match known.settings.base {
            Base::Machine { .. } => ContainerConfig::default(),
            _ => known.settings.config.clone(),
        };
        config.config = container;
        change::apply(&mut config.config, &commit.changes)?;
        let batch = self.store.stage_layers(&lease, &[])?;
        if let Base::Machine { views } = &known.settings.base {
            self.refuse_other_file_systems(&known, views)?;
        }
        let held = self.settled(&known)?;
        let upper = Dir::open(&known.container.upper())?;
        let (below, whole) = match &known.settings.base {
            Base::Machine { views } => self.below_try(&known, views, &upper)?,
            _ => (Some(self.below(&known)?), None),
        };
        let ability = self.store.ability();
        let over = below.as_ref().map(|below| Over { below, ability, reach: Reach::CopiedUp });
        let pack = Pack {
            marks: Some(self.store.marks()),
            root: Some(self.root_below(&known)?),
            over,
            others: self.others(&known),
        };
        let layer = self.stage_packed(&upper, &pack, &batch, |tar| tar)?;
        drop((held, whole));
        let now = Timestamp::now();
        config.created = Some(now);
        config.author = commit.author.clone().or(config.author);
        config.rootfs.kind = "layers".to_owned();
        config.rootfs.diff_ids.push(layer.diff_id);
        config.history.push(History {
            created: Some(now),
            created_by: arguments(&known.settings.config).join(" "),
            author: commit.author.clone().unwrap_or_default(),
            comment: commit.message.clone().unwrap_or_default(),
            ..History::default()
        });
        layers.push(layer);
        let origin = format!("commit of {}", known.container.id());
        let id = self.put_new_image(&NewImage { config, layers, name: commit.name.clone(), origin }, &batch, &lease)?;
        drop(batch);
        lease.finish();
        Ok(id)
    }

    /// What a try changed on other file systems than `/` is no part of the one layer that an image gets.
    fn refuse_other_file_systems(&self, known: &Known, views: &[View]) -> Result<()> {
        for view in views.iter().filter(|view| view.target != Path::new("/")) {
            let changed = match self.upper_of(known, view)? {
                Some(upper) => !upper.read_dir()?.is_empty(),
                None => false,
            };
            if changed {
                let name = &known.container.record().name;
                let place = view.target.display();
                return Err(Error::new(
                    Kind::Unsupported,
                    format!("{name} changed files on {place}, a file system of its own"),
                )
                .hinted(format!(
                    "an image takes the changes of / alone; `mica apply {name}` brings all onto the machine"
                )));
            }
        }
        Ok(())
    }

    /// What the root directory looked like before the container: an upper's root is a copy of it.
    fn root_below(&self, known: &Known) -> Result<Attrs> {
        match &known.settings.base {
            Base::Image { .. } => Ok(self.store.lowers(&known.container.record().layers)?.root),
            Base::Directory { path } => own_attrs(Dir::open(path)?, self.store.marks()),
            Base::Machine { .. } => own_attrs(Dir::open(Path::new("/"))?, self.store.marks()),
        }
    }

    /// The config and the layers, as their manifest describes them, that the new layer goes on top of.
    fn commit_base(&self, known: &Known, progress: &dyn Progress) -> Result<(ImageConfig, Vec<SinkLayer>)> {
        let image = match known.container.record().image {
            Some(id) => self.store.image(&id)?,
            None => None,
        };
        let Some(image) = image else {
            let host = Platform::host();
            if known.image_layers().is_empty() {
                progress.note("the image holds the changes alone: what they were made on is a live directory");
            }
            let plain = |layer: &mica_core::DiffId| -> Result<SinkLayer> {
                Ok(SinkLayer::plain(*layer, self.store.require_layer(layer)?.seal().tar_size))
            };
            let layers = known.image_layers().iter().map(plain).collect::<Result<Vec<_>>>()?;
            let config = ImageConfig {
                architecture: host.architecture,
                variant: host.variant,
                os: host.os,
                rootfs: RootFs { kind: "layers".to_owned(), diff_ids: known.image_layers().to_vec() },
                ..ImageConfig::default()
            };
            return Ok((config, layers));
        };
        let (_, config) = config_of(&self.store, &image.id)?;
        let (_, manifest) = manifest_of(&self.store, &image)?;
        if manifest.layers.len() != image.layers.len() {
            return Err(Error::new(
                Kind::Corrupt,
                format!("image {}: its manifest and its config disagree on its layers", image.id.short()),
            ));
        }
        let layer = |(diff_id, described): (&mica_core::DiffId, mica_store::Descriptor)| SinkLayer {
            diff_id: *diff_id,
            digest: described.digest,
            size: described.size,
            media_type: described.media_type,
        };
        Ok((config, image.layers.iter().zip(manifest.layers).map(layer).collect()))
    }

    /// The tree of a container as a tar: what shows, not what changed.
    ///
    /// # Errors
    /// No such container; what keeps its tree from being mounted or read.
    pub fn export(&self, word: &str, out: &mut dyn std::io::Write) -> Result<()> {
        let known = self.find_container(word)?;
        if let Base::Machine { .. } = known.settings.base {
            return Err(Error::new(Kind::Usage, format!("{word} holds the changes of a try, which are no tree")));
        }
        let locked = self.store.lock_container(known.container.id())?;
        let state = self.store.container_state(&known.container)?;
        let dir = match (self.answering_at(known.container.id())?, &state.process) {
            (Some(path), _) => Dir::open(&path)?,
            (None, Some(process)) if self.is_alive(&state) => {
                // Its own mounts lie over the tree there; the upper must not be mounted twice.
                return Err(Error::new(
                    Kind::Conflict,
                    format!("container {} is running", known.container.record().name),
                )
                .hinted(format!("export it when it has ended, or read /proc/{}/root", process.pid)));
            }
            (None, _) => self.show_tree(&known, &self.union_dirs(&known)?)?.dir()?,
        };
        // The upper is asked of what shows, and has to say all of it.
        self.settle(&known)?;
        // What cannot be put on disk of the layers is not shown either. What shows has no marks: overlayfs keeps them to itself, and a
        // copy has none.
        let (below, ability) = (self.below(&known)?, self.store.ability());
        let over = Over { below: &below, ability, reach: Reach::CopiedUp };
        let upper = UpperLayer::new(Dir::open(&known.container.upper())?, self.store.marks(), over)?;
        let mut layers: Vec<&(dyn Files + Sync)> = vec![&upper];
        layers.extend(below.layers().iter().map(|layer| layer as &(dyn Files + Sync)));
        let over = Over { below: &Stack::new(layers), ability, reach: Reach::All };
        let pack = Pack { marks: None, root: Some(Attrs::default()), over: Some(over), others: None };
        mica_layer::pack(&dir, &pack, out)?;
        drop((dir, locked));
        Ok(())
    }
}
