//! The open directories of a union that is copied.

use std::collections::BTreeSet;
use std::path::Path;

use mica_core::{Attrs, Kind, Layer as _, LayerEntry, RelPath};
use mica_layer::{DirLayer, Marks};
use mica_sys::Dir;
use mica_sys::mount::{Mount, Reach};

use super::manifest::UpperRoot;
use super::{NAME, reading};
use crate::{Role, UnionDirs, UnionError};

/// One directory.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) role: Role,
    pub(super) dir: Dir,
    /// What it says of the root.
    pub(super) root: Attrs,
    pub(super) ino: u64,
    opaque: bool,
}

impl Layer {
    fn open(role: Role, path: &Path, marks: Marks) -> Result<(Self, (u64, u64)), UnionError> {
        let refused = |source| UnionError::Open { driver: NAME, role, source };
        let dir = Dir::open(path).map_err(refused)?;
        let metadata = dir.metadata().map_err(refused)?;
        let said = DirLayer::new(dir.try_clone().map_err(refused)?, marks).entry(&RelPath::root());
        let (root, opaque) = match said.map_err(reading(role, &RelPath::root()))? {
            Some(LayerEntry::Node(node)) => (node.attrs, matches!(node.kind, Kind::Directory { opaque: true, .. })),
            _ => (Attrs::implicit_directory(), false),
        };
        Ok((Self { role, dir, root, ino: metadata.ino, opaque }, (metadata.dev, metadata.ino)))
    }
}

/// What an upper says of its root.
pub(super) fn root_of(upper: &Dir, marks: Marks) -> Result<Attrs, UnionError> {
    let refused = |source| UnionError::Open { driver: NAME, role: Role::Upper, source };
    let said = DirLayer::new(upper.try_clone().map_err(refused)?, marks).entry(&RelPath::root());
    let said = said.map_err(reading(Role::Upper, &RelPath::root()))?;
    Ok(said.as_ref().and_then(LayerEntry::node).map_or_else(Attrs::implicit_directory, |node| node.attrs.clone()))
}

/// All directories of a union, open, topmost first.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) layers: Vec<Layer>,
    /// Whether the first is the upper.
    pub(super) has_upper: bool,
    pub(super) marks: Marks,
}

impl Layers {
    /// Opens the directories. One that comes twice, under whatever path, is kept at its topmost place; what is below a
    /// layer whose root is opaque is left out.
    pub(super) fn open(dirs: &UnionDirs) -> Result<Self, UnionError> {
        let mut layers = Vec::with_capacity(dirs.lowers.len() + 1);
        if let Some(upper) = &dirs.upper {
            layers.push(Layer::open(Role::Upper, &upper.upper, dirs.marks)?.0);
        }
        let has_upper = !layers.is_empty();
        let mut seen = BTreeSet::new();
        for (number, path) in dirs.lowers.iter().enumerate() {
            if layers.last().is_some_and(|above| above.opaque) {
                break;
            }
            let (layer, identity) = Layer::open(Role::Lower(number + 1), path, dirs.marks)?;
            if seen.insert(identity) {
                layers.push(layer);
            }
        }
        Ok(Self { layers, has_upper, marks: dirs.marks })
    }

    /// Takes away what is mounted inside of the lowers: it is no part of them, as for overlayfs.
    pub(super) fn without_mounts(mut self) -> Self {
        for layer in self.layers.iter_mut().skip(usize::from(self.has_upper)) {
            // A user namespace may not look below mounts that it got from outside: then what shows there is taken.
            let alone = Mount::clone_at(&layer.dir, Path::new(""), Reach::One).and_then(|mount| mount.open_root());
            if let Ok(alone) = alone {
                layer.dir = alone;
            }
        }
        self
    }

    /// The inode numbers of the lowers' roots.
    pub(super) fn lowers(&self) -> Vec<u64> {
        self.layers.iter().skip(usize::from(self.has_upper)).map(|layer| layer.ino).collect()
    }

    /// By what the upper is known again.
    pub(super) fn upper_root(&self) -> Option<UpperRoot> {
        let upper = self.layers.first().filter(|_| self.has_upper)?;
        Some(UpperRoot { ino: upper.ino, attrs: upper.root.clone() })
    }

    /// Whether the upper's root lets nothing of the lowers through.
    pub(super) fn upper_is_opaque(&self) -> bool {
        self.has_upper && self.layers.first().is_some_and(|upper| upper.opaque)
    }
}
