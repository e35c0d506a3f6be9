//! Trees from disk.

use std::collections::BTreeMap;
use std::path::Path;

use mica_core::{Name, Rdev, RelPath, Timestamp, Xattrs};
use mica_layer::Marks;
use mica_sys::{Dir, FileKind, Metadata};

use super::{Entry, Tree, What};

impl Tree {
    /// All that is in a directory, as it is: a whiteout is a character device 0:0, a mark an attribute.
    #[must_use]
    pub fn read(directory: &Path) -> Self {
        Self::read_dir(&Dir::open(directory).expect("the tree opens"))
    }

    /// [`Tree::read`] of an open directory.
    #[must_use]
    pub fn read_dir(directory: &Dir) -> Self {
        read(directory, None)
    }

    /// A changeset that a driver or the unpacker wrote: marks become what they say, and those that say nothing about
    /// paths (origin, impure, uuid) are left out.
    #[must_use]
    pub fn read_layer(directory: &Path, marks: Marks) -> Self {
        read(&Dir::open(directory).expect("the layer opens"), Some(marks))
    }
}

fn read(directory: &Dir, marks: Option<Marks>) -> Tree {
    let metadata = directory.metadata().unwrap();
    let keys = directory.list_own_xattrs().unwrap();
    let xattrs = keys.into_iter().map(|key| (key.clone(), directory.get_own_xattr(&key).unwrap().unwrap())).collect();
    let mut tree = Tree::new();
    tree.put(RelPath::root(), entry(What::Dir { opaque: false }, &metadata, xattrs, marks));
    let mut reader = Reader { tree, names: BTreeMap::new(), marks };
    reader.walk(directory, &RelPath::root());
    reader.tree
}

struct Reader {
    tree: Tree,
    /// The first name of each file that has several.
    names: BTreeMap<(u64, u64), RelPath>,
    marks: Option<Marks>,
}

impl Reader {
    fn walk(&mut self, dir: &Dir, at: &RelPath) {
        let mut names: Vec<Vec<u8>> = dir.read_dir().unwrap().into_iter().map(|entry| entry.name).collect();
        names.sort();
        for name in names {
            let path = at.join(&Name::new(&name).unwrap());
            let metadata = dir.stat(&name).unwrap();
            let what = self.what(dir, &name, &path, &metadata);
            let keys = dir.list_xattrs(&name).unwrap();
            let xattrs = keys.into_iter().map(|key| (key.clone(), dir.get_xattr(&name, &key).unwrap().unwrap()));
            self.tree.put(path.clone(), entry(what, &metadata, xattrs.collect(), self.marks));
            if metadata.kind == FileKind::Directory {
                self.walk(&dir.open_dir(&name).unwrap(), &path);
            }
        }
    }

    fn what(&mut self, dir: &Dir, name: &[u8], path: &RelPath, metadata: &Metadata) -> What {
        if metadata.is_whiteout_device() && self.marks.is_some() {
            return What::Whiteout;
        }
        if metadata.kind != FileKind::Directory && metadata.nlink > 1 {
            let first = self.names.entry((metadata.dev, metadata.ino)).or_insert_with(|| path.clone());
            if first != path {
                return What::Hard(first.clone());
            }
        }
        let rdev = Rdev { major: metadata.rdev_major, minor: metadata.rdev_minor };
        match metadata.kind {
            FileKind::File => What::File(dir.read(name, u64::MAX).unwrap()),
            FileKind::Directory => What::Dir { opaque: false },
            FileKind::Symlink => What::Symlink(dir.read_link(name).unwrap()),
            FileKind::CharDevice => What::Char(rdev),
            FileKind::BlockDevice => What::Block(rdev),
            FileKind::Fifo => What::Fifo,
            FileKind::Socket => What::Socket,
        }
    }
}

fn entry(what: What, metadata: &Metadata, xattrs: Xattrs, marks: Option<Marks>) -> Entry {
    let mtime = Timestamp { secs: metadata.mtime.secs, nanos: metadata.mtime.nanos };
    let said = Entry { what, mode: metadata.mode, uid: metadata.uid, gid: metadata.gid, mtime: Some(mtime), xattrs };
    marks.map_or_else(|| said.clone(), |marks| unmarked(said.clone(), marks))
}

fn unmarked(mut said: Entry, marks: Marks) -> Entry {
    if let What::Dir { opaque } = &mut said.what {
        *opaque = said.xattrs.get(marks.opaque()).is_some_and(|value| value == b"y");
    }
    if said.xattrs.contains_key(marks.device_zero()) && !matches!(said.what, What::Hard(_)) {
        said.what = What::Char(Rdev::default());
    }
    said.xattrs =
        said.xattrs.into_iter().filter_map(|(key, value)| marks.unescape(&key).map(|key| (key, value))).collect();
    said
}
