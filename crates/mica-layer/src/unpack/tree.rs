//! The table: what the tar has said so far of every path, and the files that it made.
//!
//! It is what a load's memory goes to, as it holds something of every entry until the last one is read: 40 bytes, its
//! name and a slot of nine for a path, 80 for a file, and no allocation of its own for any of them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;

use hashbrown::HashTable;
use mica_core::{Attrs, ContentHash, Kind, RelPath};

use super::pool::{Stamp, Stamps, Text, Texts};
use crate::recon::BodyPlace;
use crate::tar::sparse::Segment;

/// A path of the table; it stays the path's when what is there is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PathId(NonZeroU32);

impl PathId {
    /// That of the place with this index; `None` when there are more than 4,294,967,295.
    fn of(index: usize) -> Option<Self> {
        NonZeroU32::MIN.checked_add(u32::try_from(index).ok()?).map(Self)
    }

    const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A file that is not a directory; several paths may share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId(u32);

/// The attributes that the tar states of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StampId(NonZeroU32);

/// What the layer itself has at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing: it is only known by a whiteout, or was removed with its directory.
    Nothing,
    /// A directory; with attributes when the tar states them.
    Directory(Option<StampId>),
    /// A file of another kind.
    File(FileId),
    /// A hard link to a path that has no file yet.
    Link(Text),
}

/// One path.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) parent: PathId,
    name: Text,
    depth: u32,
    pub(super) said: Said,
    /// The entry that last spoke of it.
    pub(super) entry: u64,
    /// The child that came last, and the one of its parent's that came before it.
    last_child: Option<PathId>,
    sibling: Option<PathId>,
    /// A whiteout names it.
    pub(super) is_hidden: bool,
    /// An opaque marker stands in it.
    pub(super) is_opaque: bool,
    /// It is a directory through which nothing of the layers below shows, known at the end.
    pub(super) is_covered: bool,
}

/// What a file is, with the kinds small that layers are full of.
#[derive(Debug)]
enum What {
    File { size: u64, content: Option<ContentHash> },
    Symlink(Text),
    Other(Box<Kind>),
}

/// Where the body of a file is, in the order of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// It has none.
    None,
    /// In the file.
    Here,
    /// In `recon`, as the file is gone.
    Stored,
}

/// One file.
#[derive(Debug)]
pub(super) struct FileNode {
    what: What,
    stamp: Stamp,
    /// How many paths have it.
    pub(super) names: u32,
    /// The record of its first name, once the index is written; that of the root, 0, is no file's.
    pub(super) record: Option<NonZeroU32>,
    /// Its link group in the index, when it has several names.
    pub(super) group: Option<NonZeroU32>,
    body: Body,
}

impl FileNode {
    /// Of a regular file, its bytes, holes included.
    pub(super) const fn size(&self) -> Option<u64> {
        match self.what {
            What::File { size, .. } => Some(size),
            What::Symlink(_) | What::Other(_) => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Tree {
    places: Vec<Place>,
    /// All places but the root, and but those that went with their directory, by directory and name; each with the hash
    /// of these, so that the table grows without a look at names.
    found: HashTable<(u32, PathId)>,
    hasher: RandomState,
    files: Vec<FileNode>,
    texts: Texts,
    stamps: Stamps,
    /// Of directories.
    stated: Vec<Stamp>,
    /// Of files with holes, where the bytes of the body belong.
    runs: HashMap<FileId, Box<[Segment]>>,
    /// Of files whose body is in `recon`, where.
    stored: HashMap<FileId, u64>,
}

impl Tree {
    pub(super) const ROOT: PathId = PathId(NonZeroU32::MIN);

    pub(super) fn new() -> Self {
        let mut this = Self {
            places: Vec::new(),
            found: HashTable::new(),
            hasher: RandomState::new(),
            files: Vec::new(),
            texts: Texts::default(),
            stamps: Stamps::default(),
            stated: Vec::new(),
            runs: HashMap::new(),
            stored: HashMap::new(),
        };
        // An empty pool has room for no bytes.
        if let Some(name) = this.texts.add(b"") {
            let said = Said::Directory(None);
            this.places.push(Place { said, ..Place::new(Self::ROOT, name, 0, 0) });
        }
        this
    }

    /// How many paths were ever spoken of.
    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.places.len()).unwrap_or(u64::MAX)
    }

    #[expect(clippy::indexing_slicing, reason = "an id is only made with its place, and places are never removed")]
    pub(super) fn place(&self, id: PathId) -> &Place {
        &self.places[id.index()]
    }

    #[expect(clippy::indexing_slicing, reason = "an id is only made with its place, and places are never removed")]
    pub(super) fn place_mut(&mut self, id: PathId) -> &mut Place {
        &mut self.places[id.index()]
    }

    #[expect(clippy::indexing_slicing, reason = "an id is only made with its file, and files are never removed")]
    pub(super) fn file(&self, id: FileId) -> &FileNode {
        &self.files[id.0 as usize]
    }

    #[expect(clippy::indexing_slicing, reason = "an id is only made with its file, and files are never removed")]
    pub(super) fn file_mut(&mut self, id: FileId) -> &mut FileNode {
        &mut self.files[id.0 as usize]
    }

    /// Adds a file with one name; `None` when there are more than 4,294,967,295 or the pool of texts is full.
    pub(super) fn add_file(&mut self, kind: Kind, attrs: &Attrs, body: Body) -> Option<FileId> {
        let id = FileId(u32::try_from(self.files.len()).ok()?);
        let what = match kind {
            Kind::File { size, content } => What::File { size, content },
            Kind::Symlink { target } => What::Symlink(self.texts.add(&target)?),
            other => What::Other(Box::new(other)),
        };
        let stamp = self.stamps.add(&mut self.texts, attrs)?;
        self.files.push(FileNode { what, stamp, names: 1, record: None, group: None, body });
        Some(id)
    }

    /// What a file is.
    pub(super) fn kind(&self, id: FileId) -> Kind {
        match &self.file(id).what {
            What::File { size, content } => Kind::File { size: *size, content: *content },
            What::Symlink(target) => Kind::Symlink { target: self.texts.get(*target).to_vec() },
            What::Other(kind) => Kind::clone(kind),
        }
    }

    /// A file's attributes.
    pub(super) fn attrs(&self, id: FileId) -> Attrs {
        self.stamps.get(&self.texts, self.file(id).stamp)
    }

    /// Where a symlink points; `None` for a file of another kind.
    pub(super) fn symlink(&self, id: FileId) -> Option<&[u8]> {
        match self.file(id).what {
            What::Symlink(target) => Some(self.texts.get(target)),
            What::File { .. } | What::Other(_) => None,
        }
    }

    /// Says where the bytes of a file's body belong in it.
    pub(super) fn set_runs(&mut self, id: FileId, runs: Box<[Segment]>) {
        self.runs.insert(id, runs);
    }

    /// The place of a file's body; `None` when it has none.
    pub(super) fn body(&self, id: FileId) -> Option<BodyPlace<'_>> {
        let node = self.file(id);
        let runs = self.runs.get(&id).map(|runs| &**runs);
        let size = node.size().unwrap_or_default();
        let length = runs.map_or(size, |runs| runs.iter().map(|run| run.length).sum());
        match node.body {
            Body::None => None,
            Body::Here => Some(BodyPlace::File { record: node.record.map_or(0, NonZeroU32::get), length, runs }),
            Body::Stored => Some(BodyPlace::Stored { offset: self.stored.get(&id).copied().unwrap_or(0), length }),
        }
    }

    /// The places of all bodies, in the order of files, which is that of the tar.
    pub(super) fn bodies(&self) -> impl Iterator<Item = BodyPlace<'_>> {
        // An id was made of each of these numbers.
        (0u32..).take(self.files.len()).filter_map(|number| self.body(FileId(number)))
    }

    /// Says that a file's body stands in `recon` now.
    pub(super) fn store_body(&mut self, id: FileId, offset: u64) {
        self.file_mut(id).body = Body::Stored;
        self.stored.insert(id, offset);
    }

    /// Makes a path a directory with these attributes; `None` when there are more than 4,294,967,295 of such.
    pub(super) fn state_directory(&mut self, id: PathId, attrs: &Attrs) -> Option<()> {
        let stamp = self.stamps.add(&mut self.texts, attrs)?;
        self.stated.push(stamp);
        let stated = StampId(NonZeroU32::new(u32::try_from(self.stated.len()).ok()?)?);
        self.place_mut(id).said = Said::Directory(Some(stated));
        Some(())
    }

    /// The attributes that were stated of a directory.
    #[expect(clippy::indexing_slicing, reason = "an id is only made with its stamp, and stamps are never removed")]
    pub(super) fn stated(&self, id: StampId) -> Attrs {
        self.stamps.get(&self.texts, self.stated[id.0.get() as usize - 1])
    }

    /// Makes a path a hard link to one that has no file; `None` when the pool of texts is full.
    pub(super) fn say_link(&mut self, id: PathId, target: &RelPath) -> Option<()> {
        let target = self.texts.add(target.as_bytes())?;
        self.place_mut(id).said = Said::Link(target);
        Some(())
    }

    /// The path that a link leads to.
    pub(super) fn link(&self, target: Text) -> RelPath {
        // It was one when it came in.
        RelPath::parse(self.texts.get(target)).unwrap_or_default()
    }

    /// The last component of a path; empty for the root.
    pub(super) fn name(&self, id: PathId) -> &[u8] {
        self.texts.get(self.place(id).name)
    }

    /// How many names a path has.
    pub(super) fn depth(&self, id: PathId) -> usize {
        self.place(id).depth as usize
    }

    pub(super) fn child(&self, directory: PathId, name: &[u8]) -> Option<PathId> {
        self.look_up(self.hash(directory, name), directory, name)
    }

    fn look_up(&self, hash: u32, directory: PathId, name: &[u8]) -> Option<PathId> {
        let is_it =
            |(its, id): &(u32, PathId)| *its == hash && self.place(*id).parent == directory && self.name(*id) == name;
        self.found.find(wide(hash), is_it).map(|(_, id)| *id)
    }

    /// Half of a hash, of which a table of this size needs no more.
    fn hash(&self, directory: PathId, name: &[u8]) -> u32 {
        let [a, b, c, d, ..] = self.hasher.hash_one((directory, name)).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// The path `name` in `directory`, made when it was not spoken of; `None` when there are more than 4,294,967,295 or
    /// the pool of texts is full.
    pub(super) fn child_or_new(&mut self, directory: PathId, name: &[u8], entry: u64) -> Option<PathId> {
        let hash = self.hash(directory, name);
        if let Some(child) = self.look_up(hash, directory, name) {
            return Some(child);
        }
        let id = PathId::of(self.places.len())?;
        let text = self.texts.add(name)?;
        let depth = self.place(directory).depth.saturating_add(1);
        let sibling = self.place_mut(directory).last_child.replace(id);
        self.places.push(Place { sibling, ..Place::new(directory, text, depth, entry) });
        self.found.insert_unique(wide(hash), (hash, id), |(hash, _)| wide(*hash));
        Some(id)
    }

    fn children(&self, directory: PathId) -> impl Iterator<Item = PathId> + '_ {
        std::iter::successors(self.place(directory).last_child, |child| self.place(*child).sibling)
    }

    /// The path's names, the outermost first.
    pub(super) fn path(&self, id: PathId) -> RelPath {
        let mut names = Vec::new();
        let mut at = id;
        while at != Self::ROOT {
            names.push(self.name(at));
            at = self.place(at).parent;
        }
        names.reverse();
        // Names came from a path and never hold what no name can.
        RelPath::parse(&names.join(&b'/')).unwrap_or_default()
    }

    /// The directory and all under it, each after its directory, children by name: the order of an index.
    pub(super) fn under(&self, id: PathId) -> Vec<PathId> {
        let mut found = Vec::new();
        let mut next = vec![id];
        while let Some(at) = next.pop() {
            found.push(at);
            let before = next.len();
            next.extend(self.children(at));
            let children = next.get_mut(before..).unwrap_or_default();
            children.sort_unstable_by(|one, other| self.name(*other).cmp(self.name(*one)));
        }
        found
    }

    /// Forgets every path under a directory.
    pub(super) fn forget_under(&mut self, id: PathId) {
        let mut next = vec![id];
        while let Some(at) = next.pop() {
            next.extend(self.children(at));
            self.place_mut(at).last_child = None;
            if at != id {
                let hash = self.hash(self.place(at).parent, self.name(at));
                if let Ok(slot) = self.found.find_entry(wide(hash), |(_, other)| *other == at) {
                    slot.remove();
                }
            }
        }
    }
}

/// The table takes its places from the low bits of a hash and its tags from the high ones.
fn wide(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

impl Place {
    const fn new(parent: PathId, name: Text, depth: u32, entry: u64) -> Self {
        Self {
            parent,
            name,
            depth,
            said: Said::Nothing,
            entry,
            last_child: None,
            sibling: None,
            is_hidden: false,
            is_opaque: false,
            is_covered: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_entry_costs() {
        let sizes = [size_of::<Said>(), size_of::<Place>(), size_of::<FileNode>(), size_of::<Stamp>()];
        assert_eq!(sizes, [8, 40, 80, 16]);
    }

    #[test]
    fn a_path_that_was_forgotten_is_another_when_it_comes_again() {
        let mut tree = Tree::new();
        let directory = tree.child_or_new(Tree::ROOT, b"d", 1).unwrap();
        let mut deep = directory;
        let mut all = Vec::new();
        for number in 0..500 {
            let child = tree.child_or_new(deep, format!("{}", number % 7).as_bytes(), 2).unwrap();
            all.push(child);
            deep = if number % 5 == 0 { child } else { deep };
        }
        let beside = tree.child_or_new(Tree::ROOT, b"e", 3).unwrap();
        assert_eq!(tree.under(directory).len(), 1 + all.iter().collect::<std::collections::BTreeSet<_>>().len());
        tree.forget_under(directory);
        assert_eq!(tree.under(Tree::ROOT), [Tree::ROOT, directory, beside]);
        assert_eq!(tree.child(directory, b"0"), None);
        assert_eq!(tree.found.len(), 2);
        let again = tree.child_or_new(directory, b"0", 4).unwrap();
        assert!(!all.contains(&again));
        assert_eq!(tree.under(directory), [directory, again]);
    }

    #[test]
    fn paths_come_in_the_order_of_an_index() {
        let mut tree = Tree::new();
        let mut paths = Vec::new();
        for directory in [&b"b"[..], b"a", b"a-b"] {
            let id = tree.child_or_new(Tree::ROOT, directory, 1).unwrap();
            paths.push(tree.path(id));
            for name in [&b"z"[..], b"\xff", b"-", b"m"] {
                let child = tree.child_or_new(id, name, 1).unwrap();
                assert_eq!((tree.name(child), tree.depth(child)), (name, 2));
                paths.push(tree.path(child));
            }
        }
        paths.push(RelPath::root());
        paths.sort();
        let listed: Vec<_> = tree.under(Tree::ROOT).into_iter().map(|id| tree.path(id)).collect();
        assert_eq!(listed, paths);
    }
}
