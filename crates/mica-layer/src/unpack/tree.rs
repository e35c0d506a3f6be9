//! The table: what the tar has said so far of every path, and the files that it made.

use std::collections::BTreeMap;
use std::sync::Arc;

use mica_core::{Attrs, Kind, RelPath};

use crate::tar::sparse::Segment;

/// A path of the table; it stays the path's when what is there is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PathId(u32);

/// A file that is not a directory; several paths may share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId(u32);

/// What the layer itself has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing: it is only known by a whiteout, or was removed with its directory.
    Nothing,
    /// A directory; with attributes when the tar states them.
    Directory(Option<Box<Attrs>>),
    /// A file of another kind.
    File(FileId),
    /// A hard link to a path that has no file yet.
    Link(Box<RelPath>),
}

/// One path.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) parent: PathId,
    pub(super) name: Arc<[u8]>,
    pub(super) depth: usize,
    pub(super) said: Said,
    /// A whiteout names it.
    pub(super) is_hidden: bool,
    /// An opaque marker stands in it.
    pub(super) is_opaque: bool,
    /// The entry that last spoke of it.
    pub(super) entry: u64,
    pub(super) children: BTreeMap<Arc<[u8]>, PathId>,
}

/// One file.
#[derive(Debug)]
pub(super) struct FileNode {
    pub(super) kind: Kind,
    pub(super) attrs: Attrs,
    /// How many paths have it.
    pub(super) names: u32,
    /// The number of its body in `recon`, when it has one.
    pub(super) body: Option<usize>,
    /// How long this body is.
    pub(super) stored: u64,
    /// Where its bytes are in the file, when this has holes.
    pub(super) runs: Option<Box<[Segment]>>,
    /// The record of its first name, once the index is written.
    pub(super) record: Option<u32>,
    /// Its link group in the index, when it has several names.
    pub(super) group: Option<u64>,
}

impl FileNode {
    /// A file with one name and no body.
    pub(super) const fn new(kind: Kind, attrs: Attrs) -> Self {
        Self { kind, attrs, names: 1, body: None, stored: 0, runs: None, record: None, group: None }
    }
}

#[derive(Debug)]
pub(super) struct Tree {
    places: Vec<Place>,
    files: Vec<FileNode>,
}

impl Tree {
    pub(super) const ROOT: PathId = PathId(0);

    pub(super) fn new() -> Self {
        let root = Place {
            parent: Self::ROOT,
            name: Arc::default(),
            depth: 0,
            said: Said::Directory(None),
            is_hidden: false,
            is_opaque: false,
            entry: 0,
            children: BTreeMap::new(),
        };
        Self { places: vec![root], files: Vec::new() }
    }

    /// How many paths were ever spoken of.
    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.places.len()).unwrap_or(u64::MAX)
    }

    #[expect(clippy::indexing_slicing, reason = "an id is only made with its place, and places are never removed")]
    pub(super) fn place(&self, id: PathId) -> &Place {
        &self.places[id.0 as usize]
    }

    #[expect(clippy::indexing_slicing, reason = "an id is only made with its place, and places are never removed")]
    pub(super) fn place_mut(&mut self, id: PathId) -> &mut Place {
        &mut self.places[id.0 as usize]
    }

    #[expect(clippy::indexing_slicing, reason = "an id is only made with its file, and files are never removed")]
    pub(super) fn file(&self, id: FileId) -> &FileNode {
        &self.files[id.0 as usize]
    }

    #[expect(clippy::indexing_slicing, reason = "an id is only made with its file, and files are never removed")]
    pub(super) fn file_mut(&mut self, id: FileId) -> &mut FileNode {
        &mut self.files[id.0 as usize]
    }

    /// Adds a file; `None` when there are more than 4,294,967,295.
    pub(super) fn add_file(&mut self, file: FileNode) -> Option<FileId> {
        let id = FileId(u32::try_from(self.files.len()).ok()?);
        self.files.push(file);
        Some(id)
    }

    pub(super) fn child(&self, directory: PathId, name: &[u8]) -> Option<PathId> {
        self.place(directory).children.get(name).copied()
    }

    /// The path `name` in `directory`, made when it was not spoken of; `None` when there are more than 4,294,967,295.
    pub(super) fn child_or_new(&mut self, directory: PathId, name: &[u8], entry: u64) -> Option<PathId> {
        if let Some(child) = self.child(directory, name) {
            return Some(child);
        }
        let id = PathId(u32::try_from(self.places.len()).ok()?);
        let name: Arc<[u8]> = name.into();
        self.places.push(Place {
            parent: directory,
            name: Arc::clone(&name),
            depth: self.place(directory).depth + 1,
            said: Said::Nothing,
            is_hidden: false,
            is_opaque: false,
            entry,
            children: BTreeMap::new(),
        });
        self.place_mut(directory).children.insert(name, id);
        Some(id)
    }

    /// The path's names, the outermost first.
    pub(super) fn path(&self, id: PathId) -> RelPath {
        let mut names = Vec::new();
        let mut at = id;
        while at != Self::ROOT {
            let place = self.place(at);
            names.push(&*place.name);
            at = place.parent;
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
            next.extend(self.place(at).children.values().rev());
        }
        found
    }
}
