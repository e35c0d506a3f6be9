//! Everything that can be seen of a tree, to prove that it did not change.

use std::collections::BTreeMap;
use std::path::Path;

use mica_core::{BlobDigest, RelPath};
use mica_sys::{Dir, FileKind, Metadata};

/// What a tree is at one moment: of each file the content's digest, kind, mode, owner, size, mtime, ctime, device, inode
/// number, number of names and extended attributes. Not the access time, which reading changes.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<RelPath, String>);

impl Snapshot {
    /// Looks at all that is in `directory`, itself included.
    #[must_use]
    pub fn of(directory: &Path) -> Self {
        let dir = Dir::open(directory).expect("the tree opens");
        let mut files = BTreeMap::new();
        let own = describe(&dir.metadata().unwrap(), &own_xattrs(&dir), "");
        files.insert(RelPath::root(), own);
        walk(&dir, &RelPath::root(), &mut files);
        Self(files)
    }

    /// Fails with what differs when `directory` is not as it was.
    pub fn assert_unchanged(&self, directory: &Path, after: &str) {
        let now = Self::of(directory);
        let paths = self.0.keys().chain(now.0.keys().filter(|path| !self.0.contains_key(*path)));
        let changes: Vec<String> = paths
            .filter(|path| self.0.get(*path) != now.0.get(*path))
            .map(|path| {
                let line = |found: Option<&String>| found.map_or("(absent)", String::as_str).to_owned();
                format!("  {path}\n    was {}\n    is  {}", line(self.0.get(path)), line(now.0.get(path)))
            })
            .collect();
        assert!(changes.is_empty(), "{directory:?} changed after {after}:\n{}", changes.join("\n"));
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(&self.0).finish()
    }
}

fn walk(dir: &Dir, at: &RelPath, files: &mut BTreeMap<RelPath, String>) {
    for entry in dir.read_dir().unwrap() {
        let path = at.join(&mica_core::Name::new(&entry.name).unwrap());
        let metadata = dir.stat(&entry.name).unwrap();
        let content = match metadata.kind {
            FileKind::File => BlobDigest::of(&dir.read(&entry.name, u64::MAX).unwrap()).to_string(),
            FileKind::Symlink => String::from_utf8_lossy(&dir.read_link(&entry.name).unwrap()).into_owned(),
            _ => String::new(),
        };
        let xattrs = dir.list_xattrs(&entry.name).unwrap().into_iter();
        let xattrs =
            xattrs.map(|key| (dir.get_xattr(&entry.name, &key).unwrap(), key)).map(|(value, key)| (key, value));
        files.insert(path.clone(), describe(&metadata, &xattrs.collect(), &content));
        if metadata.kind == FileKind::Directory {
            walk(&dir.open_dir(&entry.name).unwrap(), &path, files);
        }
    }
}

type Xattrs = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn own_xattrs(dir: &Dir) -> Xattrs {
    dir.list_own_xattrs().unwrap().into_iter().map(|key| (key.clone(), dir.get_own_xattr(&key).unwrap())).collect()
}

fn describe(metadata: &Metadata, xattrs: &Xattrs, content: &str) -> String {
    // How much space is used is not compared: delayed allocation changes it without anybody's doing.
    let metadata = Metadata { blocks: 0, atime: mica_sys::Time::default(), ..metadata.clone() };
    let xattrs: Vec<String> = xattrs
        .iter()
        .map(|(key, value)| {
            let value = value.as_deref().unwrap_or_default().escape_ascii();
            format!("{}={value}", key.escape_ascii())
        })
        .collect();
    format!("{metadata:?} {xattrs:?} {content}")
}
