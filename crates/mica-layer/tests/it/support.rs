//! What several files of tests use.

use std::path::PathBuf;

use mica_core::{RelPath, Timestamp};
use mica_layer::tar::{Archive, Entry};
use mica_layer::{Limits, Marks, Pack, Packed, pack};
use mica_sys::Dir;
use mica_testkit::{Scratch, Tree};

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

/// `changes` as an upper in the new directory `name`.
pub(crate) fn upper(scratch: &Scratch, name: &str, changes: &Tree) -> PathBuf {
    let place = scratch.make(name);
    changes.write_layer(&place, Marks::Trusted);
    place
}

/// Packs an upper without its root.
pub(crate) fn packed(upper: &std::path::Path) -> (Packed, Vec<u8>) {
    let mut tar = Vec::new();
    let packed = pack(&Dir::open(upper).unwrap(), &Pack::default(), &mut tar).unwrap();
    (packed, tar)
}

/// Entries of a tar with their contents.
pub(crate) fn entries(tar: &[u8]) -> Vec<(Entry, Vec<u8>)> {
    let mut archive = Archive::new(tar, &Limits::default());
    let mut found = Vec::new();
    while let Some(entry) = archive.next_entry().unwrap() {
        let mut content = Vec::new();
        while let Some(piece) = archive.next_piece().unwrap() {
            content.extend_from_slice(piece.bytes);
        }
        found.push((entry, content));
    }
    found
}

/// The paths of a tar, in order, as text.
pub(crate) fn names(tar: &[u8]) -> Vec<String> {
    entries(tar).into_iter().map(|(entry, _)| String::from_utf8_lossy(&entry.path).into_owned()).collect()
}

/// Puts a time that a literal cannot say.
pub(crate) fn set_time(tree: &mut Tree, at: &str, secs: i64, nanos: u32) {
    let mut entry = tree.get(&path(at)).unwrap().clone();
    entry.mtime = Some(Timestamp { secs, nanos });
    tree.put(path(at), entry);
}
