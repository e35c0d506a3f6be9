//! An OCI layout in a directory, as it is written and added to.
//!
//! What is there stays as it is but for the names that are given anew. Each blob is written beside its place, flushed and
//! renamed; `index.json` is replaced last, in one rename, when all that it names is on disk. So a reader, and whoever looks
//! after a crash, sees the old layout or the new one. A writer that gives up removes what it put there. Writers of ours
//! wait for each other with a lock on the directory, which other tools do not know.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use mica_core::BlobDigest;
use serde_json::Value;

use super::oci::{LAYOUT_FILE, OciWriter, Place, bad_index, blob_name, index_of};
use crate::TransportError;
use crate::error::io_error;
use crate::wire;

const LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";
const BLOBS: &str = "blobs/sha256";

/// Bytes that the `index.json` of a layout which is added to may have.
const INDEX_MAX: u64 = 4 << 20;

/// Writes an OCI layout into a directory, or adds to the one that is there.
pub type OciLayoutWriter = OciWriter<InDirectory>;

/// A layout in a directory.
#[derive(Debug)]
pub struct InDirectory {
    root: PathBuf,
    /// The directory itself, locked.
    lock: File,
    /// `index.json` as it was.
    index: Value,
    /// What was made here: files, and then directories from the inside out, to be removed should this not come to its end.
    files: Vec<PathBuf>,
    dirs: Vec<PathBuf>,
    finished: bool,
}

impl OciWriter<InDirectory> {
    /// Opens the layout in a directory, which is made where there is none.
    ///
    /// # Errors
    /// [`TransportError::NotALayout`] for a directory with anything else in it, which stays as it is.
    pub fn open(root: &Path) -> Result<Self, TransportError> {
        Ok(Self::at(InDirectory::open(root)?))
    }
}

fn doing(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> TransportError {
    let doing = format!("{verb} {path:?}");
    |source| io_error(doing, source)
}

fn is_missing<T>(result: &io::Result<T>) -> bool {
    result.as_ref().err().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

impl InDirectory {
    fn open(root: &Path) -> Result<Self, TransportError> {
        let mut dirs = Vec::new();
        let made = fs::create_dir(root);
        match made {
            Ok(()) => dirs.push(root.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(doing("make the directory", root)(error)),
        }
        let refuse = |why| TransportError::NotALayout { path: root.to_owned(), why };
        // Asked before it is opened: opening a FIFO would wait for a writer.
        if !fs::metadata(root).map_err(doing("open", root))?.is_dir() {
            return Err(refuse("it is no directory"));
        }
        let lock = File::open(root).map_err(doing("open", root))?;
        lock.lock().map_err(doing("lock", root))?;
        let mut place =
            Self { root: root.to_owned(), lock, index: index_of(&[]), files: Vec::new(), dirs, finished: false };
        match place.metadata(LAYOUT)? {
            Some(bytes) => {
                let bad = |source| TransportError::BadJson { what: LAYOUT.to_owned(), source };
                let layout: wire::Layout = serde_json::from_slice(&bytes).map_err(bad)?;
                if layout.image_layout_version.split('.').next() != Some("1") {
                    return Err(TransportError::LayoutVersion { version: layout.image_layout_version });
                }
                if let Some(bytes) = place.metadata(INDEX)? {
                    place.index = serde_json::from_slice(&bytes).map_err(bad_index)?;
                }
                if !place.index.get("manifests").is_none_or(|list| list.is_array() || list.is_null())
                    || !place.index.is_object()
                {
                    return Err(refuse("its index.json is no index"));
                }
            }
            None => {
                if fs::read_dir(root).map_err(doing("read", root))?.next().is_some() {
                    return Err(refuse("it is not empty and has no oci-layout"));
                }
                place.replace(LAYOUT, LAYOUT_FILE)?;
                place.files.push(root.join(LAYOUT));
            }
        }
        for dir in ["blobs", BLOBS] {
            let dir = root.join(dir);
            match fs::create_dir(&dir) {
                Ok(()) => place.dirs.push(dir),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(doing("make the directory", &dir)(error)),
            }
        }
        Ok(place)
    }

    /// A file of the layout that decides what it is; `None` if there is none.
    fn metadata(&self, name: &str) -> Result<Option<Vec<u8>>, TransportError> {
        let path = self.root.join(name);
        let found = fs::metadata(&path);
        if is_missing(&found) {
            return Ok(None);
        }
        let found = found.map_err(doing("read", &path))?;
        if !found.is_file() {
            return Err(TransportError::NotALayout {
                path: self.root.clone(),
                why: "its oci-layout or its index.json is no file",
            });
        }
        if found.len() > INDEX_MAX {
            return Err(TransportError::TooLarge { what: name.to_owned(), size: found.len(), max: INDEX_MAX });
        }
        fs::read(&path).map(Some).map_err(doing("read", &path))
    }

    /// Writes a file beside its place, flushes it and renames it to there.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), TransportError> {
        let path = self.root.join(name);
        let part = part_of(&path);
        let written = File::create(&part)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&part, &path));
        written.map_err(|error| {
            remove(&part);
            doing("write", &path)(error)
        })
    }
}

/// Where a file is written before it has its name. The same each time, so that what a crash leaves is used again.
fn part_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.part"))
}

fn remove(path: &Path) {
    // ignored: whoever cleans up has an error to tell already.
    match fs::remove_file(path) {
        Ok(()) | Err(_) => {}
    }
}

impl Place for InDirectory {
    fn has(&self, digest: BlobDigest, size: u64) -> bool {
        // Blobs are renamed into place whole, by us and by others, so that one of the right size is the right one.
        fs::metadata(self.root.join(blob_name(digest))).is_ok_and(|blob| blob.is_file() && blob.len() == size)
    }

    fn put(&mut self, digest: BlobDigest, _: u64, body: &mut dyn Read, what: &str) -> Result<(), TransportError> {
        let path = self.root.join(blob_name(digest));
        let part = part_of(&path);
        let mut file = File::create(&part).map_err(doing("write", &path))?;
        let written = copy(body, &mut file, what, &path)
            .and_then(|()| file.sync_all().map_err(doing("write", &path)))
            .and_then(|()| fs::rename(&part, &path).map_err(doing("write", &path)));
        match written {
            Ok(()) => self.files.push(path),
            Err(_) => remove(&part),
        }
        written
    }

    fn finish(&mut self, items: Vec<Value>) -> Result<(), TransportError> {
        let blobs = self.root.join(BLOBS);
        File::open(&blobs).and_then(|dir| dir.sync_all()).map_err(doing("flush", &blobs))?;
        let Some(index) = self.index.as_object_mut() else { return Err(TransportError::Finished) };
        let list = index.entry("manifests").or_insert(Value::Null);
        let mut all = list.as_array_mut().map(std::mem::take).unwrap_or_default();
        items.into_iter().for_each(|item| add(&mut all, item));
        *list = Value::Array(all);
        let bytes = serde_json::to_vec(&self.index).map_err(bad_index)?;
        self.replace(INDEX, &bytes)?;
        self.finished = true;
        self.lock.sync_all().map_err(doing("flush", &self.root))
    }
}

/// Puts a descriptor where one with its name is, or else at the end. One without a name is not put beside one of the same
/// digest.
fn add(all: &mut Vec<Value>, item: Value) {
    let name = name(&item).map(str::to_owned);
    let same = |known: &Value| match &name {
        Some(wanted) => self::name(known) == Some(wanted),
        None => known.get("digest") == item.get("digest"),
    };
    match (all.iter().position(same), &name) {
        (Some(at), Some(_)) => {
            if let Some(known) = all.get_mut(at) {
                *known = item;
            }
        }
        (Some(_), None) => {}
        (None, _) => all.push(item),
    }
}

/// The whole name of a descriptor.
fn name(item: &Value) -> Option<&str> {
    let annotations = item.get("annotations")?;
    let text = |key: &str| annotations.get(key)?.as_str();
    wire::whole_name(text(wire::CONTAINERD_NAME), text(wire::REF_NAME))
}

fn copy(from: &mut dyn Read, to: &mut File, what: &str, path: &Path) -> Result<(), TransportError> {
    let mut buf = vec![0; 256 << 10];
    loop {
        let count = match from.read(&mut buf) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(io_error(format!("read {what}"), error)),
        };
        to.write_all(buf.get(..count).unwrap_or_default()).map_err(doing("write", path))?;
    }
}

impl Drop for InDirectory {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.files.iter().rev().for_each(|path| remove(path));
        for dir in self.dirs.iter().rev() {
            // ignored: one that is not empty is somebody's by now.
            match fs::remove_dir(dir) {
                Ok(()) | Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
