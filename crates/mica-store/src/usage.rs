//! Usage: what takes how much, from records alone.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use mica_core::{DiffId, ImageId};
use mica_sys::FileKind;

use crate::containers::{Container, ContainerId};
use crate::error::StoreError;
use crate::store::Store;

/// What takes how much.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Each image.
    pub images: Vec<ImageUsage>,
    /// Each layer.
    pub layers: Vec<LayerUsage>,
    /// Each container.
    pub containers: Vec<ContainerUsage>,
    /// Bytes of all blobs.
    pub blobs: u64,
    /// Bytes of layers and blobs that no image, name or container keeps: what [`Store::gc`] would free.
    pub garbage: u64,
    /// Removed things that wait for the reaper.
    pub trash: usize,
}

/// What an image takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsage {
    /// Which.
    pub id: ImageId,
    /// Bytes of its layers, each counted once.
    pub size: u64,
    /// Bytes of those of its layers that other images have as well.
    pub shared: u64,
    /// How many containers were made from it.
    pub containers: usize,
}

/// What a layer takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerUsage {
    /// Which.
    pub layer: DiffId,
    /// Bytes: content, index and recon.
    pub size: u64,
    /// Entries.
    pub entries: u64,
    /// How many images have it.
    pub images: usize,
    /// How many containers stand on it.
    pub containers: usize,
}

/// What a container takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Which.
    pub id: ContainerId,
    /// Bytes on disk of its uppers: its own, and of a `try` those of the other file systems.
    pub size: u64,
}

impl Store {
    /// What takes how much. Layers' sizes are their seals'; only the uppers are walked, which hold what changed.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a record that cannot be read, or of a system call.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let mut usage = Usage { trash: self.dirs.trash.read_dir()?.len(), ..Usage::default() };
        let mut layers = BTreeMap::new();
        for layer in self.layers()? {
            if let Some(sealed) = self.layer(&layer)? {
                let (size, entries) = (sealed.seal().size(), sealed.seal().entries);
                layers.insert(layer, LayerUsage { layer, size, entries, images: 0, containers: 0 });
            }
        }
        let (images, containers) = (self.images()?, self.containers()?);
        let once = |stack: &[DiffId]| stack.iter().copied().collect::<BTreeSet<_>>();
        for image in &images {
            for layer in once(&image.layers) {
                layers.entry(layer).and_modify(|usage| usage.images += 1);
            }
        }
        for record in &containers {
            for layer in once(&record.layers) {
                layers.entry(layer).and_modify(|usage| usage.containers += 1);
            }
            if let Some(container) = self.container(&record.id)? {
                usage.containers.push(ContainerUsage { id: record.id.clone(), size: upper_size(&container)? });
            }
        }
        for image in &images {
            let its: Vec<&LayerUsage> = once(&image.layers).iter().filter_map(|layer| layers.get(layer)).collect();
            usage.images.push(ImageUsage {
                id: image.id,
                size: its.iter().map(|layer| layer.size).sum(),
                shared: its.iter().filter(|layer| layer.images > 1).map(|layer| layer.size).sum(),
                containers: containers.iter().filter(|record| record.image == Some(image.id)).count(),
            });
        }
        let marked = self.mark()?;
        for blob in self.blobs()? {
            let size = self.blob_size(&blob)?.unwrap_or(0);
            usage.blobs += size;
            if !marked.blobs.contains(&blob) {
                usage.garbage += size;
            }
        }
        let garbage = layers.values().filter(|usage| !marked.layers.contains(&usage.layer));
        usage.garbage += garbage.map(|usage| usage.size).sum::<u64>();
        usage.layers = layers.into_values().collect();
        Ok(usage)
    }
}

/// Bytes on disk of all that is in a container's uppers; a file with several names counts once.
///
/// # Errors
/// Of a system call.
pub fn upper_size(container: &Container) -> Result<u64, StoreError> {
    let mut linked = BTreeSet::new();
    let mut bytes = 0;
    // A directory waits by its name in its opened parent, so that a wide one does not take a descriptor a child.
    let mut next = vec![(Rc::new(container.dir().try_clone()?), b"upper".to_vec())];
    if let Some(views) = container.dir().open_dir_if_there(b"views")? {
        for view in views.read_dir()? {
            if let Some(view) = views.open_dir_if_there(&view.name)? {
                next.push((Rc::new(view), b"upper".to_vec()));
            }
        }
    }
    while let Some((parent, name)) = next.pop() {
        // A running container may remove it meanwhile.
        let Some(dir) = parent.open_dir_if_there(&name)?.map(Rc::new) else { continue };
        for entry in dir.read_dir()? {
            let Some(metadata) = dir.stat_if_there(&entry.name)? else { continue };
            if metadata.kind == FileKind::Directory {
                next.push((Rc::clone(&dir), entry.name));
                bytes += metadata.bytes_on_disk();
            } else if metadata.nlink == 1 || linked.insert(metadata.ino) {
                bytes += metadata.bytes_on_disk();
            }
        }
    }
    Ok(bytes)
}
