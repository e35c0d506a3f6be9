//! A stack copied into a tree, with the manifest of what came from where.
//!
//! Directory by directory, and in each layer by layer, topmost first: so only one directory of one layer is open at a
//! time, however many layers and levels there are.

use std::collections::{BTreeMap, HashMap};

use mica_core::{Attrs, Kind, Layer as _, LayerEntry, Name, Node, RelPath};
use mica_layer::{DirLayer, Marks};
use mica_sys::{Dir, DirEntry, FileKind, SysError};

use super::layers::Layers;
use super::manifest::{Manifest, Record, Said, Stamp};
use super::{NAME, make, reading};
use crate::{Role, UnionError};

/// Copies what `layers` show into the empty directory `tree`, which stands in `own`: a lower in which `own` lies is copied
/// without it.
pub(super) fn copy(layers: &Layers, tree: &Dir, own: &Dir) -> Result<Manifest, UnionError> {
    let own = own.metadata().map_err(copying(&RelPath::root()))?;
    let mut copier = Copier {
        layers,
        tree,
        own: (own.dev, own.ino),
        manifest: Manifest::default(),
        groups: HashMap::new(),
        pending: Vec::new(),
    };
    copier.all()?;
    Ok(copier.manifest)
}

/// Names a refused call by the path that was copied.
fn copying(path: &RelPath) -> impl Fn(SysError) -> UnionError + '_ {
    |source| UnionError::Copy { driver: NAME, path: path.clone(), source }
}

/// A directory that is made and not filled.
struct Directory {
    path: RelPath,
    /// The layers whose names show in it, topmost first.
    merged: Vec<usize>,
    attrs: Attrs,
}

/// What is known of a name after some of the layers.
struct Slot {
    shows: Shows,
    said: Said,
    upper: Option<Stamp>,
    /// What the first of the lowers that speaks makes of it.
    below: Option<bool>,
}

enum Shows {
    Nothing,
    File,
    /// A further name of a file that the tree has.
    Name,
    Directory {
        merged: Vec<usize>,
        attrs: Attrs,
        /// Nothing further down shows in it.
        closed: bool,
    },
}

struct Copier<'a> {
    layers: &'a Layers,
    tree: &'a Dir,
    own: (u64, u64),
    manifest: Manifest,
    /// The names in the tree of each file that has several in a layer.
    groups: HashMap<(usize, u64, u64), Vec<(RelPath, Name)>>,
    pending: Vec<Directory>,
}

impl Copier<'_> {
    fn all(&mut self) -> Result<(), UnionError> {
        let layers = &self.layers.layers;
        self.pending.push(Directory {
            path: RelPath::root(),
            merged: (0..layers.len()).collect(),
            attrs: layers.first().map_or_else(Attrs::implicit_directory, |top| top.root.clone()),
        });
        while let Some(directory) = self.pending.pop() {
            self.directory(directory)?;
        }
        self.stamp_linked()?;
        self.manifest.lowers = self.layers.lowers();
        self.manifest.upper_root = self.layers.upper_root().unwrap_or_default();
        self.manifest.root.below = true;
        if self.layers.has_upper {
            self.manifest.root.said = Said::Node { copied_up: true, opaque: self.layers.upper_is_opaque() };
        }
        Ok(())
    }

    fn directory(&mut self, Directory { path, merged, attrs }: Directory) -> Result<(), UnionError> {
        let target = make::open_below(self.tree, &path).map_err(copying(&path))?;
        let mut slots = BTreeMap::new();
        for number in merged {
            self.layer(number, &path, &target, &mut slots)?;
        }
        let mut records = BTreeMap::new();
        for (name, slot) in slots {
            let inner = path.join(&name);
            let mut record = Record { said: slot.said, upper: slot.upper, ..Record::default() };
            record.below = slot.below.unwrap_or(false);
            match slot.shows {
                Shows::Nothing => {}
                Shows::File => record.seen = self.count(&target, &name).map_err(copying(&inner))?,
                Shows::Name => record.seen = stamp(&target, &name).map_err(copying(&inner))?,
                Shows::Directory { merged, attrs, .. } => {
                    target.mkdir(name.as_bytes(), 0o700).map_err(copying(&inner))?;
                    self.pending.push(Directory { path: inner, merged, attrs });
                }
            }
            records.insert(name, record);
        }
        // Whatever is made in it from here on is made in what is in it.
        make::dress_self(&target, &attrs).map_err(copying(&path))?;
        let seen = target.metadata_born().map_err(copying(&path))?;
        self.manifest.taken += seen.0.bytes_on_disk();
        if let Some(record) = self.manifest.record_mut(&path) {
            record.seen = Some(Stamp::of(&seen));
        }
        if !records.is_empty() {
            self.manifest.directories.insert(path, records);
        }
        Ok(())
    }

    /// Takes what one layer says of the names in a directory.
    fn layer(
        &mut self,
        number: usize,
        path: &RelPath,
        target: &Dir,
        slots: &mut BTreeMap<Name, Slot>,
    ) -> Result<(), UnionError> {
        let Some(layer) = self.layers.layers.get(number) else { return Ok(()) };
        let role = layer.role;
        let refused = |path: &RelPath, source| UnionError::Read {
            driver: NAME,
            role,
            path: path.clone(),
            source: Box::new(mica_layer::TreeError::Read { path: path.clone(), source }.into()),
        };
        let from = make::open_below(&layer.dir, path).map_err(|source| refused(path, source))?;
        let entries = from.read_dir().map_err(|source| refused(path, source))?;
        let layer = DirLayer::new(from, self.layers.marks);
        for entry in entries {
            let Ok(name) = Name::new(&entry.name) else { continue };
            if self.is_decided(slots.get(&name)) || self.is_own(&layer, &entry) {
                continue;
            }
            let inner = path.join(&name);
            let said = layer.entry(&RelPath::root().join(&name)).map_err(reading(role, &inner))?;
            // One may go while a live directory is copied.
            let Some(said) = said else { continue };
            self.say(number, role, (&layer, &name), (target, &inner), said, slots)?;
        }
        Ok(())
    }

    /// Whether no layer further down can add to what is known.
    fn is_decided(&self, slot: Option<&Slot>) -> bool {
        slot.is_some_and(|slot| {
            let below_matters = slot.upper.is_some() && slot.below.is_none();
            !below_matters && !matches!(slot.shows, Shows::Directory { closed: false, .. })
        })
    }

    fn is_own(&self, layer: &DirLayer, entry: &DirEntry) -> bool {
        entry.kind == FileKind::Directory
            && entry.ino == self.own.1
            && layer.dir().stat(&entry.name).is_ok_and(|found| (found.dev, found.ino) == self.own)
    }

    fn say(
        &mut self,
        number: usize,
        role: Role,
        (layer, name): (&DirLayer, &Name),
        (target, path): (&Dir, &RelPath),
        said: LayerEntry,
        slots: &mut BTreeMap<Name, Slot>,
    ) -> Result<(), UnionError> {
        if let Some(slot) = slots.get_mut(name) {
            slot.below.get_or_insert(said.node().is_some());
            if let Shows::Directory { merged, closed, .. } = &mut slot.shows
                && !*closed
            {
                match said {
                    LayerEntry::Node(Node { kind: Kind::Directory { opaque, .. }, .. }) => {
                        merged.push(number);
                        *closed = opaque;
                    }
                    _ => *closed = true,
                }
            }
            return Ok(());
        }
        let mut slot = Slot { shows: Shows::Nothing, said: Said::Nothing, upper: None, below: None };
        if role == Role::Upper {
            slot.upper = stamp(layer.dir(), name).map_err(copying(path))?;
            slot.said = upper_says(&said, layer.dir(), name, self.layers.marks).map_err(copying(path))?;
        } else {
            slot.below = Some(said.node().is_some());
        }
        slot.shows = match said {
            LayerEntry::Whiteout => Shows::Nothing,
            LayerEntry::Node(Node { kind: Kind::Directory { opaque, .. }, attrs, .. }) => {
                Shows::Directory { merged: vec![number], attrs, closed: opaque }
            }
            LayerEntry::Node(node) => self.file(number, (layer.dir(), name), (target, path), &node)?,
        };
        slots.insert(name.clone(), slot);
        Ok(())
    }

    fn file(
        &mut self,
        number: usize,
        (from, name): (&Dir, &Name),
        (target, path): (&Dir, &RelPath),
        node: &Node,
    ) -> Result<Shows, UnionError> {
        let wrong = copying(path);
        if node.link_group.is_some() {
            let found = from.stat(name.as_bytes()).map_err(&wrong)?;
            let group = self.groups.entry((number, found.dev, found.ino)).or_default();
            let first = group.first().cloned();
            group.push((path.parent().unwrap_or_default(), name.clone()));
            if let Some((parent, first)) = first {
                let parent = make::open_below(self.tree, &parent).map_err(&wrong)?;
                parent.link(first.as_bytes(), target, name.as_bytes()).map_err(wrong)?;
                return Ok(Shows::Name);
            }
        }
        make::make((from, name.as_bytes()), (target, name.as_bytes()), &node.kind, &node.attrs).map_err(wrong)?;
        Ok(Shows::File)
    }

    /// The stamp of a file, which is counted.
    fn count(&mut self, dir: &Dir, name: &Name) -> Result<Option<Stamp>, SysError> {
        let found = dir.stat_born(name.as_bytes())?;
        self.manifest.taken += found.as_ref().map_or(0, |found| found.0.bytes_on_disk());
        Ok(found.as_ref().map(Stamp::of))
    }

    /// Each further name moved the ctime of those before.
    fn stamp_linked(&mut self) -> Result<(), UnionError> {
        for names in std::mem::take(&mut self.groups).into_values().filter(|names| names.len() > 1) {
            let Some((parent, first)) = names.first() else { continue };
            let path = parent.join(first);
            let dir = make::open_below(self.tree, parent).map_err(copying(&path))?;
            let seen = stamp(&dir, first).map_err(copying(&path))?;
            for (parent, name) in &names {
                if let Some(record) = self.manifest.record_mut(&parent.join(name)) {
                    record.seen = seen;
                }
            }
        }
        Ok(())
    }
}

fn stamp(dir: &Dir, name: &Name) -> Result<Option<Stamp>, SysError> {
    Ok(dir.stat_born(name.as_bytes())?.as_ref().map(Stamp::of))
}

fn upper_says(said: &LayerEntry, dir: &Dir, name: &Name, marks: Marks) -> Result<Said, SysError> {
    let LayerEntry::Node(node) = said else { return Ok(Said::Whiteout) };
    Ok(Said::Node {
        copied_up: dir.get_xattr(name.as_bytes(), marks.origin())?.is_some(),
        opaque: matches!(node.kind, Kind::Directory { opaque: true, .. }),
    })
}
