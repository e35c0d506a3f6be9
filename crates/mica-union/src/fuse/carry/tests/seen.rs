//! What shows, as a value that can be compared.

use std::collections::BTreeMap;

use mica_core::plan::{Links, Lowers as _};
use mica_core::{Kind, Name, RelPath};
use mica_layer::Marks;
use mica_sys::{Dir, FileKind, SetTime, Time};

use super::disk::{Layers, Raw};
use crate::fuse::carry::Source;

/// A file as it shows. Files with one `id` are one file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) kind: Kind,
    pub(super) content: Vec<u8>,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Seconds; `None` for the present.
    pub(super) mtime: Option<i64>,
    pub(super) id: RelPath,
}

/// All that shows, by path.
pub(super) type Tree = BTreeMap<RelPath, Seen>;

/// What is later than this has been written by the test.
const OLD: i64 = 1_500_000_000;

/// What `layers` show.
pub(super) fn read(layers: &Layers) -> Tree {
    let mut tree = Tree::new();
    let mut unread = vec![RelPath::root()];
    let union = layers.union(0);
    while let Some(at) = unread.pop() {
        let Ok(shows) = union.shows(&at);
        if shows.is_none() {
            continue;
        }
        let (layer, place) = layers.find(0, &at).unwrap();
        let Ok(links) = if at.is_root() { Ok(Links::all(Vec::new())) } else { union.links(&at) };
        let id = links.paths.into_iter().min().unwrap_or_else(|| at.clone());
        let mut seen = look(&layers.0[layer], &place, id);
        if let Kind::File { size, .. } = seen.kind {
            let (layer, place) = layers.find_content(0, &at);
            let (dir, name) = layers.0[layer].at(&place).unwrap();
            seen.content = dir.read(name.as_bytes(), u64::MAX).unwrap();
            seen.content.resize(usize::try_from(size).unwrap(), 0);
        }
        if seen.kind.is_directory() {
            let mut names = layers.names(0, &at);
            names.sort();
            names.dedup();
            unread.extend(names.iter().map(|name| at.join(name)));
        }
        tree.insert(at, seen);
    }
    tree
}

/// What a plain directory, or a mount, shows.
pub(super) fn read_plain(path: &std::path::Path) -> Tree {
    read(&Layers(vec![Raw::new(path, None)]))
}

fn look(raw: &Raw, path: &RelPath, id: RelPath) -> Seen {
    // Attributes that are no marks have their own names in a plain directory.
    let marks = raw.marks.unwrap_or(Marks::User);
    let (dir, name) = match raw.at(path) {
        Some((dir, name)) => (dir, name.as_bytes().to_vec()),
        None => return look_at_root(raw, id),
    };
    let mut source = Source::read(&dir, &name, marks, crate::Records::None).unwrap();
    if raw.marks.is_some() && dir.get_xattr(&name, marks.device_zero()).unwrap().is_some() {
        source.node.kind = Kind::CharDevice(mica_core::Rdev::default());
    }
    let attrs = source.node.attrs;
    Seen {
        kind: source.node.kind,
        content: Vec::new(),
        mode: attrs.mode,
        owner: (attrs.uid, attrs.gid),
        xattrs: attrs.xattrs,
        mtime: (attrs.mtime.secs < OLD).then_some(attrs.mtime.secs),
        id,
    }
}

fn look_at_root(raw: &Raw, id: RelPath) -> Seen {
    let found = raw.root.metadata().unwrap();
    Seen {
        kind: Kind::Directory { opaque: false, implicit: false },
        content: Vec::new(),
        mode: found.mode,
        owner: (found.uid, found.gid),
        xattrs: BTreeMap::new(),
        mtime: (found.mtime.secs < OLD).then_some(found.mtime.secs),
        id,
    }
}

/// The same without what a crash may leave otherwise.
pub(super) fn without_times(tree: &Tree) -> Tree {
    tree.iter().map(|(path, seen)| (path.clone(), Seen { mtime: None, ..seen.clone() })).collect()
}

/// Makes a plain directory that shows the same.
pub(super) fn write(tree: &Tree, root: &Dir) {
    for (path, seen) in tree {
        let Some((parent, name)) = path.split() else { continue };
        let (dir, name) = (root.open_dir(parent.as_bytes()).unwrap(), name.as_bytes().to_vec());
        if seen.id != *path && tree.contains_key(&seen.id) && !seen.kind.is_directory() {
            let (first, first_name) = seen.id.split().unwrap();
            root.open_dir(first.as_bytes()).unwrap().link(first_name.as_bytes(), &dir, &name).unwrap();
            continue;
        }
        put(seen, &dir, &name);
    }
    for (path, seen) in tree.iter().rev() {
        let time = seen.mtime.map_or(SetTime::Now, |secs| SetTime::To(Time { secs, nanos: 0 }));
        match path.split() {
            Some((parent, name)) => {
                let dir = root.open_dir(parent.as_bytes()).unwrap();
                dir.set_times(name.as_bytes(), SetTime::Keep, time).unwrap();
            }
            None => {
                root.chmod_self(seen.mode).unwrap();
                root.set_own_times(SetTime::Keep, time).unwrap();
            }
        }
    }
}

pub(super) fn put(seen: &Seen, dir: &Dir, name: &[u8]) {
    match &seen.kind {
        Kind::File { .. } => dir.create_file(name, 0o600).unwrap().write_whole(&seen.content).unwrap(),
        Kind::Directory { .. } => dir.mkdir(name, 0o700).unwrap(),
        Kind::Symlink { target } => dir.symlink(target, name).unwrap(),
        Kind::CharDevice(rdev) => dir.mknod(name, FileKind::CharDevice, 0o600, rdev.major, rdev.minor).unwrap(),
        Kind::Fifo => dir.mknod(name, FileKind::Fifo, 0o600, 0, 0).unwrap(),
        other => panic!("{other:?}"),
    }
    dir.chown(name, seen.owner.0, seen.owner.1).unwrap();
    for (attribute, value) in &seen.xattrs {
        dir.set_xattr(name, attribute, value).unwrap();
    }
    if !matches!(seen.kind, Kind::Symlink { .. }) {
        dir.chmod(name, seen.mode).unwrap();
    }
}

/// What differs, for people.
pub(super) fn difference(one: &Tree, other: &Tree) -> String {
    let paths = one.keys().chain(other.keys().filter(|path| !one.contains_key(*path)));
    paths
        .filter(|path| one.get(*path) != other.get(*path))
        .map(|path| format!("  {path}\n    {:?}\n    {:?}\n", one.get(path).map(short), other.get(path).map(short)))
        .collect()
}

fn short(seen: &Seen) -> Seen {
    Seen { content: seen.content.iter().take(40).copied().collect(), ..seen.clone() }
}

pub(super) fn name(path: &RelPath) -> Name {
    path.name().unwrap()
}
