//! An unpacked layer, with what must hold of every one.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use mica_core::{DiffId, Kind, Layer, LayerEntry, Node, RelPath};
use mica_layer::{DirLayer, Index, LayerError, Marks, Unpack, Unpacked, rebuild, stand_in, unpack};
use mica_sys::Dir;
use mica_testkit::{Scratch, Tree};

use crate::build::{Made, tar};
use crate::support::path;

/// A layer on disk.
pub(crate) struct Layered {
    pub(crate) scratch: Scratch,
    pub(crate) index: Index,
    pub(crate) said: Unpacked,
    how: Unpack,
}

impl Layered {
    pub(crate) fn diff_path(&self) -> PathBuf {
        self.scratch.path().join("diff")
    }

    pub(crate) fn diff(&self) -> Tree {
        Tree::read_layer(&self.diff_path(), self.how.marks)
    }

    pub(crate) fn node(&self, at: &str) -> Node {
        match self.index.entry(&path(at)).unwrap() {
            Some(LayerEntry::Node(node)) => node,
            other => panic!("{at}: {other:?}"),
        }
    }
}

/// Unpacks, and proves what holds of every layer: the index says what `diff/` has, the digest is the tar's, and the tar
/// comes back.
pub(crate) fn unpacked_with(tar: &[u8], how: Unpack) -> Result<Layered, LayerError> {
    let scratch = Scratch::new();
    let said = unpack(&mut &tar[..], &scratch.dir(), &how)?;
    assert_eq!((said.diff_id, said.tar_size), (DiffId::of(tar), tar.len() as u64));
    let mut again = Vec::new();
    assert_eq!(rebuild(&scratch.dir(), &mut again).unwrap(), said.diff_id);
    assert!(again == tar, "the tar came back as another");
    let index = Index::open(&scratch.dir().open_file(b"index").unwrap()).unwrap();
    index.verify().unwrap();
    let counts = (u64::from(index.len()), index.implicit(), index.needs_parent());
    assert_eq!(counts, (said.entries, said.implicit, said.needs_parent));
    let layered = Layered { scratch, index, said, how };
    index_and_directory_agree(&layered.index, &layered.diff_path(), &layered.how);
    Ok(layered)
}

pub(crate) fn unpacked_bytes(tar: &[u8]) -> Layered {
    unpacked_with(tar, Unpack::default()).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

pub(crate) fn unpacked(entries: &[Made]) -> Layered {
    unpacked_bytes(&tar(entries))
}

/// What `unpack` says against a tar.
pub(crate) fn refusal_with(tar: &[u8], how: &Unpack) -> String {
    let scratch = Scratch::new();
    let error = unpack(&mut &tar[..], &scratch.dir(), how).expect_err("the tar is refused");
    chain(&error)
}

pub(crate) fn refusal(entries: &[Made]) -> String {
    refusal_with(&tar(entries), &Unpack::default())
}

pub(crate) fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// The directory has what the index says, or the stand-in for it.
pub(crate) fn index_and_directory_agree(index: &Index, diff: &Path, how: &Unpack) {
    let directory = DirLayer::new(Dir::open(diff).unwrap(), how.marks);
    let mut groups: BTreeMap<u64, u64> = BTreeMap::new();
    let mut count = 0;
    for entry in index.entries() {
        let (path, said) = entry.unwrap();
        let found = directory.entry(&path).unwrap();
        let LayerEntry::Node(mut node) = said else {
            assert_eq!(found, Some(LayerEntry::Whiteout), "{path}");
            count += 1;
            continue;
        };
        if let Kind::LinkToParent { .. } = node.kind {
            assert_eq!(found, None, "{path}");
            continue;
        }
        count += 1;
        let Some(LayerEntry::Node(mut found)) = found else { panic!("{path}: {found:?}") };
        match &mut node.kind {
            Kind::Directory { implicit, .. } => *implicit = false,
            Kind::File { content, size } => {
                if let Some(hash) = content.take() {
                    let bytes = std::fs::read(diff.join(path_buf(&path))).unwrap();
                    assert_eq!((blake3::hash(&bytes).as_bytes(), bytes.len() as u64), (&hash, *size), "{path}");
                }
            }
            _ => {}
        }
        assert_eq!(node.link_group.is_some(), found.link_group.is_some(), "{path}");
        if let (Some(one), Some(other)) = (node.link_group.take(), found.link_group.take()) {
            assert_eq!(*groups.entry(one).or_insert(other), other, "{path}");
        }
        // ext4 and others keep the years 1901 to 2446; the index keeps all.
        if !(-0x8000_0000..0x3_7fff_ffff).contains(&node.attrs.mtime.secs) {
            node.attrs.mtime = found.attrs.mtime;
        }
        node.attrs = stand_in(&node.kind, &node.attrs, &how.ability).attrs.into_owned();
        assert_eq!(node, found, "{path}");
    }
    let mut all = 0;
    let mut next = vec![RelPath::root()];
    while let Some(at) = next.pop() {
        all += 1;
        next.extend(directory.names(&at).unwrap().into_iter().map(|name| at.join(&name)));
    }
    assert_eq!(count, all, "names in diff");
    let distinct: std::collections::BTreeSet<_> = groups.values().collect();
    assert_eq!(distinct.len(), groups.len(), "link groups");
}

fn path_buf(path: &RelPath) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(path.as_bytes()).into()
}

/// With a user's marks.
pub(crate) fn user_marks() -> Unpack {
    Unpack { marks: Marks::User, ..Unpack::default() }
}
