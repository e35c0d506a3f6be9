//! The files of an archive by name, without reading their bodies: a tar's headers once, or a directory.
//!
//! A name is looked up exactly, after a leading `./` or `/`. A name with `..` in it is found by nobody, as no document may
//! refer to one. Links inside a tar are followed inside the tar.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use crate::TransportError;
use crate::error::io_error;

/// Links after which a chain is taken for a circle, as in path resolution of Linux.
const LINKS_MAX: usize = 40;

/// Where the files are.
#[derive(Debug)]
pub(crate) enum Files {
    /// The entries of an uncompressed tar.
    Tar { file: File, entries: HashMap<String, Entry> },
    /// A directory of the machine.
    Dir(PathBuf),
}

/// What stands under a name in a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A body in the archive.
    File { offset: u64, size: u64 },
    /// Another name, relative to the root of the archive.
    Link(String),
}

/// A file that was found: how long it is, and how to read it.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) size: u64,
    place: Place<'a>,
}

#[derive(Debug)]
enum Place<'a> {
    Section { file: &'a File, offset: u64 },
    Own(File),
}

impl Files {
    /// The file called `name`; `None` if there is none.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Found<'_>>, TransportError> {
        match self {
            Self::Tar { file, entries } => {
                let mut at = name;
                for _ in 0..LINKS_MAX {
                    match entries.get(at) {
                        None => return Ok(None),
                        Some(Entry::Link(to)) => at = to,
                        Some(Entry::File { offset, size }) => {
                            return Ok(Some(Found { size: *size, place: Place::Section { file, offset: *offset } }));
                        }
                    }
                }
                Err(TransportError::LinkLoop { name: name.to_owned() })
            }
            Self::Dir(root) => {
                // Names come from documents of the layout; only those that stay below it are looked for.
                if normalize(name).as_deref() != Some(name) {
                    return Ok(None);
                }
                let path = root.join(name);
                let doing = || format!("open {path:?}");
                // Asked before it is opened: opening a FIFO would wait for a writer.
                let found = match std::fs::metadata(&path) {
                    Ok(found) => found,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(io_error(doing(), error)),
                };
                if !found.is_file() {
                    return Ok(None);
                }
                let file = File::open(&path).map_err(|error| io_error(doing(), error))?;
                let size = file.metadata().map_err(|error| io_error(doing(), error))?.size();
                Ok(Some(Found { size, place: Place::Own(file) }))
            }
        }
    }
}

impl Files {
    /// The names in a tar, in no order; none of a directory, where only what a document refers to is looked at.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let entries = match self {
            Self::Tar { entries, .. } => Some(entries),
            Self::Dir(_) => None,
        };
        entries.into_iter().flat_map(|entries| entries.keys().map(String::as_str))
    }
}

impl<'a> Found<'a> {
    /// The bytes, from the beginning.
    pub(crate) fn reader(self) -> Section<'a> {
        let (file, offset) = match self.place {
            Place::Section { file, offset } => (SectionFile::Shared(file), offset),
            Place::Own(file) => (SectionFile::Own(file), 0),
        };
        Section { file, offset, left: self.size }
    }

    /// All bytes.
    pub(crate) fn read_all(self, what: &str) -> Result<Vec<u8>, TransportError> {
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes).map_err(|source| io_error(format!("read {what}"), source))?;
        Ok(bytes)
    }

    /// The first bytes, at most `count`.
    pub(crate) fn prefix(self, count: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader().take(count).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// A part of a file, read by offset, so that several parts can be read at once.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    file: SectionFile<'a>,
    offset: u64,
    left: u64,
}

#[derive(Debug)]
enum SectionFile<'a> {
    Shared(&'a File),
    Own(File),
}

impl Read for Section<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let Some(buf) = buf.get_mut(..want).filter(|buf| !buf.is_empty()) else { return Ok(0) };
        let file = match &self.file {
            SectionFile::Shared(file) => file,
            SectionFile::Own(file) => file,
        };
        let count = file.read_at(buf, self.offset)?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read"));
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// A name in the one form under which it is kept; `None` for the root itself and for names that climb.
pub(crate) fn normalize(name: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Where a symlink called `name` leads, without leaving the archive; `None` if it does.
pub(crate) fn follow(name: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { name.split('/').collect() };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        for (name, form) in [
            ("manifest.json", Some("manifest.json")),
            ("./a//b/", Some("a/b")),
            ("/a", Some("a")),
            ("a/../b", None),
            ("..", None),
            ("./", None),
            ("", None),
        ] {
            assert_eq!(normalize(name).as_deref(), form, "{name:?}");
        }
    }

    #[test]
    fn links_stay_inside() {
        for (name, target, leads) in [
            ("a/layer.tar", "../b/layer.tar", Some("b/layer.tar")),
            ("a/layer.tar", "../b.tar", Some("b.tar")),
            ("a", "b", Some("b")),
            ("a/b", "/c", Some("c")),
            ("a/b", "../../c", None),
            ("a", "..", None),
            ("a/b", "..", None),
            ("a/b", ".", Some("a")),
        ] {
            assert_eq!(follow(name, target).as_deref(), leads, "{name:?} -> {target:?}");
        }
    }

    #[test]
    fn a_circle_of_links_is_an_error() {
        let link = |to: &str| Entry::Link(to.to_owned());
        let entries =
            HashMap::from([("a".to_owned(), link("b")), ("b".to_owned(), link("a")), ("c".to_owned(), link("d"))]);
        let files = Files::Tar { file: tempfile::tempfile().unwrap(), entries };
        assert!(matches!(files.find("a"), Err(TransportError::LinkLoop { name }) if name == "a"));
        assert!(files.find("c").unwrap().is_none());
    }
}
