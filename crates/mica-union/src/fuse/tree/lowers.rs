//! The lowers: sealed directories with marks, and what they show together at a name.
//!
//! A layer's own redirects lead to paths of the union of the layers below it ([`mica_core::plan`], "What shows"), so a layer that overlayfs or this union wrote as
//! an upper may stand anywhere in the stack.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use mica_core::RelPath;
use mica_core::plan::Redirect;
use mica_sys::{Dir, DirEntry, Errno, Metadata};

use super::devices::Devices;
use super::handles::{Handles, Key};
use super::indexed::Indexed;
use super::list::Found;
use super::named;
use super::names::hash;
use super::seen::{Seen, Signs, look, look_at_part, look_at_self};

/// One lower, open.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Its root, where the process may through a read-only clone of its mount.
    pub(crate) root: Arc<Dir>,
    /// The device of its root.
    pub(crate) dev: u64,
    /// Its index, where it has one.
    pub(crate) indexed: Option<Indexed>,
}

/// A directory of one lower: the root, or a name in another.
#[derive(Debug)]
pub(crate) struct LowerDir {
    /// Which layer, 0 being the topmost.
    pub(crate) slot: u16,
    /// Never used for another in the life of the process.
    id: u64,
    place: Option<(Arc<Self>, Box<[u8]>)>,
    /// Its record, where the layer has an index.
    pub(crate) record: Option<u32>,
    /// Whiteouts in it may be attributes.
    pub(super) may_mark: bool,
    /// Numbers made of all that its layer says in it, in their order, once it was listed among other parts.
    listed: OnceLock<Box<[u32]>>,
}

/// The upper half, by which no table of names chooses places.
fn mark_of(name: &[u8]) -> u32 {
    u32::try_from(hash(name) >> 32).unwrap_or(0)
}

impl LowerDir {
    fn new(slot: u16, place: Option<(Arc<Self>, Box<[u8]>)>, record: Option<u32>, may_mark: bool) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { slot, id, place, record, may_mark, listed: OnceLock::new() })
    }

    /// Is told all that its layer says in it. A lower does not change, so what is not among this need not be looked for: a directory of many layers is in few of those that have the
    /// one above it, and each of the others would be asked for it.
    pub(super) fn was_listed(&self, names: &[Found]) {
        let mut marks: Vec<u32> = names.iter().map(|entry| mark_of(&entry.found.name)).collect();
        marks.sort_unstable();
        marks.dedup();
        // ignored: who came first has said the same.
        self.listed.set(marks.into()).ok();
    }

    /// Whether its layer says nothing of a name here, as far as that is known without looking.
    fn lacks(&self, name: &[u8]) -> bool {
        self.listed.get().is_some_and(|marks| marks.binary_search(&mark_of(name)).is_err())
    }

    fn child(self: &Arc<Self>, name: &[u8], seen: &Seen) -> Arc<Self> {
        Self::new(self.slot, Some((Arc::clone(self), name.into())), seen.record, seen.may_mark)
    }

    /// The directory that it is in, and its name there; the root has none.
    pub(crate) fn place(&self) -> Option<(&Arc<Self>, &[u8])> {
        self.place.as_ref().map(|(parent, name)| (parent, &**name))
    }

    /// Its path in the layer.
    pub(crate) fn path(&self) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = self;
        while let Some((parent, name)) = &at.place {
            names.push(name);
            at = parent;
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        path
    }
}

impl Drop for LowerDir {
    /// One after the other: a chain may be deeper than a stack is.
    fn drop(&mut self) {
        let mut next = self.place.take();
        while let Some((parent, _)) = next {
            next = Arc::into_inner(parent).and_then(|mut parent| parent.place.take());
        }
    }
}

/// A file of one lower that is no directory.
#[derive(Debug, Clone)]
pub(crate) struct LowerFile {
    /// The directory that it is in.
    pub(crate) dir: Arc<LowerDir>,
    /// Its name there.
    pub(crate) name: Box<[u8]>,
}

/// What lowers show at a name.
#[derive(Debug)]
pub(crate) enum Shown {
    Nothing,
    Leaf(LowerFile, Box<Seen>),
    Directory(Merged),
}

/// A directory that lowers show.
#[derive(Debug)]
pub(crate) struct Merged {
    /// Its parts, topmost first; never empty.
    pub(crate) parts: Vec<Arc<LowerDir>>,
    /// The attributes that show.
    pub(crate) attributes: Metadata,
    /// Which part states them: the topmost that does not only imply the directory.
    pub(crate) stated: usize,
    /// The number of the topmost part in its layer.
    pub(crate) ino: u64,
}

/// A directory in the making.
#[derive(Default)]
struct Merge {
    parts: Vec<Arc<LowerDir>>,
    attributes: Option<(Metadata, usize, bool)>,
    ino: u64,
}

impl Merge {
    fn add(&mut self, part: Arc<LowerDir>, attributes: Metadata, implicit: bool) {
        if self.parts.is_empty() {
            self.ino = attributes.ino;
        }
        if !self.is_stated() && (self.attributes.is_none() || !implicit) {
            self.attributes = Some((attributes, self.parts.len(), implicit));
        }
        self.parts.push(part);
    }

    /// Whether the attributes that show are known.
    fn is_stated(&self) -> bool {
        self.attributes.as_ref().is_some_and(|(_, _, only_implied)| !only_implied)
    }

    fn append(&mut self, below: Merged) {
        if let Some((attributes, stated, implicit @ true)) = &mut self.attributes {
            (*attributes, *stated, *implicit) = (below.attributes, self.parts.len() + below.stated, false);
        }
        self.parts.extend(below.parts);
    }

    fn finish(self) -> Option<Merged> {
        let (attributes, stated, _) = self.attributes?;
        Some(Merged { parts: self.parts, attributes, stated, ino: self.ino })
    }
}

/// All lowers, topmost first.
#[derive(Debug)]
pub(crate) struct Lowers {
    pub(crate) layers: Vec<Layer>,
    roots: Vec<Arc<LowerDir>>,
    signs: Signs,
    /// Whether files called `.wh.NAME` are whiteouts.
    named: bool,
    devices: Devices,
}

impl Lowers {
    pub(crate) fn new(layers: Vec<Layer>, signs: Signs, named: bool) -> Self {
        let root = |(slot, layer): (u16, &Layer)| LowerDir::new(slot, None, layer.indexed.as_ref().map(|_| 0), true);
        let roots = (0..).zip(&layers).map(root).collect();
        Self { layers, roots, signs, named, devices: Devices::default() }
    }

    /// Whether files called `.wh.NAME` are whiteouts.
    pub(crate) const fn has_named_whiteouts(&self) -> bool {
        self.named
    }

    pub(crate) fn layer(&self, slot: u16) -> Result<&Layer, Errno> {
        self.layers.get(usize::from(slot)).ok_or(Errno::IO)
    }

    /// The root of the layers from `slot` down, as a directory; `None` where there is no layer.
    pub(crate) fn root(&self, slot: u16) -> Result<Option<Merged>, Errno> {
        let mut merge = Merge::default();
        for (root, layer) in self.roots.iter().zip(&self.layers).skip(usize::from(slot)) {
            let seen = match &layer.indexed {
                Some(indexed) => indexed.root()?,
                None => look_at_self(&layer.root, self.signs)?,
            };
            let opaque = seen.opaque || (self.named && named::is_opaque(&layer.root)?);
            merge.add(Arc::clone(root), seen.attributes, seen.implicit);
            if opaque {
                break;
            }
        }
        Ok(merge.finish())
    }

    /// The number of a layer's file, by which it is told from all others of the layer.
    pub(crate) fn number(&self, slot: u16, dev: u64, ino: u64) -> Result<u64, Errno> {
        Ok(self.devices.number(self.layer(slot)?.dev, dev, ino))
    }

    /// A handle of a directory, opened step by step from the nearest one that is open.
    pub(crate) fn open(&self, dir: &Arc<LowerDir>, handles: &Handles) -> Result<Arc<Dir>, Errno> {
        let mut way: Vec<&Arc<LowerDir>> = Vec::new();
        let mut at = dir;
        let mut open = loop {
            let Some((parent, _)) = &at.place else { break Arc::clone(&self.layer(at.slot)?.root) };
            if let Some(open) = handles.get(Key::Lower(at.id)) {
                break open;
            }
            way.push(at);
            at = parent;
        };
        for step in way.into_iter().rev() {
            let Some((_, name)) = &step.place else { continue };
            open = Arc::new(open.open_dir_or_place(name).map_err(|error| error.errno())?);
            handles.put(Key::Lower(step.id), &open);
        }
        Ok(open)
    }

    /// A handle of a directory, and all names in it.
    pub(super) fn read(&self, dir: &Arc<LowerDir>, handles: &Handles) -> Result<(Arc<Dir>, Vec<DirEntry>), Errno> {
        let key = Key::Lower(dir.id);
        // Reading moves the position of a handle: who has it alone reads by it, and beside a shared one another is opened.
        let (open, entries) = match handles.alone(key, self.open(dir, handles)?) {
            Ok(mut alone) => {
                let entries = alone.read_dir_here();
                (Arc::new(alone), entries)
            }
            Err(shared) => {
                let entries = shared.read_dir();
                (shared, entries)
            }
        };
        if dir.place.is_some() {
            handles.put(key, &open);
        }
        Ok((open, entries.map_err(|error| error.errno())?))
    }

    /// What one directory of one layer has at a name; with `stated`, without the attributes of a directory.
    fn in_dir(&self, dir: &Arc<LowerDir>, name: &[u8], stated: bool, handles: &Handles) -> Result<Option<Seen>, Errno> {
        if let (Some(record), Some(indexed)) = (dir.record, &self.layer(dir.slot)?.indexed) {
            return indexed.child(record, name);
        }
        if dir.lacks(name) {
            return Ok(None);
        }
        let open = self.open(dir, handles)?;
        let mut seen =
            if stated { look_at_part(&open, name, self.signs)? } else { look(&open, name, self.signs, false)? };
        if let Some(seen) = &mut seen
            && !(stated && seen.is_directory())
        {
            let found = &mut seen.attributes;
            found.ino = self.number(dir.slot, found.dev, found.ino)?;
        }
        if self.named { named::by_names(&open, name, seen) } else { Ok(seen) }
    }

    /// What the directory with these parts shows at `name`.
    pub(crate) fn look(&self, parts: &[Arc<LowerDir>], name: &[u8], handles: &Handles) -> Result<Shown, Errno> {
        let mut merge = Merge::default();
        let mut name = Cow::Borrowed(name);
        for part in parts {
            let Some(mut seen) = self.in_dir(part, &name, merge.is_stated(), handles)? else { continue };
            if seen.whiteout {
                break;
            }
            if !seen.is_directory() {
                if !merge.parts.is_empty() {
                    break;
                }
                if let Some(target) = &seen.elsewhere {
                    return self.linked(part.slot, target, handles);
                }
                let file = LowerFile { dir: Arc::clone(part), name: name.as_ref().into() };
                return Ok(Shown::Leaf(file, Box::new(seen)));
            }
            let child = part.child(&name, &seen);
            if let Some(open) = seen.open.take() {
                // Who looked for it opens it next.
                handles.put(Key::Lower(child.id), &Arc::new(open));
            }
            merge.add(child, seen.attributes, seen.implicit);
            if seen.opaque {
                break;
            }
            match seen.redirect {
                None => {}
                Some(Redirect::Relative(other)) => name = Cow::Owned(other.as_bytes().to_vec()),
                Some(Redirect::Absolute(path)) => {
                    let below = part.slot.saturating_add(1);
                    if let Shown::Directory(rest) = self.resolve(below, &path, handles)? {
                        merge.append(rest);
                    }
                    break;
                }
            }
        }
        Ok(merge.finish().map_or(Shown::Nothing, Shown::Directory))
    }

    /// The file of the layers below that a name of this layer is a link to.
    fn linked(&self, slot: u16, target: &RelPath, handles: &Handles) -> Result<Shown, Errno> {
        // Each turn leads to a lower layer.
        Ok(match self.resolve(slot.saturating_add(1), target, handles)? {
            Shown::Leaf(file, mut seen) => {
                let names = &mut seen.attributes.nlink;
                *names = (*names).max(2);
                Shown::Leaf(file, seen)
            }
            _ => Shown::Nothing,
        })
    }

    /// The names that an index has in a directory; `None` where the layer has no index.
    pub(super) fn names_said(&self, dir: &LowerDir) -> Result<Option<Vec<Found>>, Errno> {
        let (Some(record), Some(indexed)) = (dir.record, &self.layer(dir.slot)?.indexed) else { return Ok(None) };
        let mut found = Vec::new();
        indexed.names(record, &mut |entry| {
            let name = DirEntry { name: entry.name.to_vec(), kind: entry.kind, ino: entry.ino };
            found.push(Found { found: name, whiteout: entry.whiteout });
        })?;
        Ok(Some(found))
    }

    /// What an index says of a directory's statement, or of a file, with all attributes; `None` where the layer has no index.
    pub(crate) fn said(&self, dir: &LowerDir, name: Option<&[u8]>) -> Result<Option<mica_core::Node>, Errno> {
        let (Some(mut record), Some(indexed)) = (dir.record, &self.layer(dir.slot)?.indexed) else { return Ok(None) };
        if let Some(name) = name {
            record = indexed.child(record, name)?.and_then(|seen| seen.record).ok_or(Errno::NOENT)?;
        }
        indexed.said(record).map(Some)
    }

    /// What the layers from `slot` down show at a path.
    pub(crate) fn resolve(&self, slot: u16, path: &RelPath, handles: &Handles) -> Result<Shown, Errno> {
        let Some(root) = self.root(slot)? else { return Ok(Shown::Nothing) };
        let mut at = Shown::Directory(root);
        for name in path.names() {
            let Shown::Directory(dir) = at else { return Ok(Shown::Nothing) };
            at = self.look(&dir.parts, name.as_bytes(), handles)?;
        }
        Ok(at)
    }
}
