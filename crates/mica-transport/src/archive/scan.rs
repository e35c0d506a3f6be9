//! The entries of an archive by name, from its headers alone: bodies are sought over.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;

use mica_layer::tar::{self, BLOCK, EntryKind};
use mica_layer::{EntryError, LayerError, Limits};

use super::files::{Entry, follow, normalize};
use super::{DOCKER_MANIFEST, INDEX, LAYOUT};
use crate::TransportError;
use crate::error::{LooksLike, io_error};

/// Bytes of a long name or of an extended header: far above any name that an archive's documents use.
const HEADER_MAX: u64 = 64 << 10;

/// What stands at the top of a root file system; two of them are enough to take a tar for one.
const ROOT_DIRS: [&str; 6] = ["bin", "etc", "lib", "sbin", "usr", "var"];

/// The entries of an archive.
#[derive(Debug)]
pub(super) struct Scanned {
    /// By name. Of entries with one name the last counts, as when the archive is unpacked.
    pub(super) entries: HashMap<String, Entry>,
    /// What the tar is if it is no image archive.
    pub(super) looks_like: LooksLike,
}

/// Reads all headers and checks that the archive ends with its end marker, so that a cut is found before anything is done.
/// A document that decides what the archive means may stand in it only once.
pub(super) fn scan(file: &File, entries_max: u64) -> Result<Scanned, TransportError> {
    let file_size = file.metadata().map_err(|source| io_error("read the size of the archive", source))?.len();
    let limits = Limits { entries: entries_max, header_bytes: HEADER_MAX, ..Limits::default() };
    // The position of an open file is shared with whoever holds it too; the scan begins at the start whatever it is.
    let mut at_start = file;
    std::io::Seek::rewind(&mut at_start).map_err(|source| io_error("read the archive", source))?;
    let found = tar::scan(at_start, &limits).map_err(|source| refused(source, file_size))?;
    let end = found.iter().map(|entry| entry.offset.saturating_add(entry.stored)).max().unwrap_or(0);
    check_end(file, file_size, end.next_multiple_of(BLOCK as u64))?;

    let mut entries = HashMap::new();
    let mut tops: BTreeSet<&str> = BTreeSet::new();
    for found in found {
        // Names that are not UTF-8 or climb are names that no document can refer to.
        let Some(name) = std::str::from_utf8(&found.path).ok().and_then(normalize) else { continue };
        let top = name.split('/').next().unwrap_or_default();
        tops.extend(ROOT_DIRS.into_iter().find(|dir| *dir == top));
        let target = std::str::from_utf8(&found.link).ok();
        let entry = match found.kind {
            EntryKind::File if found.sparse.is_none() => Some(Entry::File { offset: found.offset, size: found.stored }),
            EntryKind::Symlink => target.and_then(|target| follow(&name, target)).map(Entry::Link),
            EntryKind::Link => target.and_then(normalize).map(Entry::Link),
            _ => None,
        };
        let known = match entry {
            Some(entry) => entries.insert(name.clone(), entry).is_some(),
            None => entries.remove(&name).is_some(),
        };
        if known && [LAYOUT, INDEX, DOCKER_MANIFEST].contains(&name.as_str()) {
            return Err(TransportError::DuplicateEntry { name });
        }
    }
    let looks_like = if tops.len() > 1 { LooksLike::RootFs } else { LooksLike::OtherTar };
    Ok(Scanned { entries, looks_like })
}

/// One block of zeros must follow the last body: a tar that lacks it was cut where an entry ended.
fn check_end(file: &File, file_size: u64, end: u64) -> Result<(), TransportError> {
    let mut block = [1; BLOCK];
    match file.read_exact_at(&mut block, end) {
        Ok(()) if block.iter().all(|byte| *byte == 0) => Ok(()),
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(io_error("read the archive", error)),
        _ => Err(TransportError::Truncated { file_size, what: format!("no end marker follows at byte {end}") }),
    }
}

fn refused(source: LayerError, file_size: u64) -> TransportError {
    match source {
        LayerError::Entry { problem: EntryError::Truncated { path, .. }, .. } => {
            let what = if path.is_empty() { "a header is cut off".to_owned() } else { format!("{path:?} is cut off") };
            TransportError::Truncated { file_size, what }
        }
        LayerError::Entry { problem: EntryError::EntryLimit { limit, .. }, .. } => {
            TransportError::TooManyEntries { max: limit }
        }
        LayerError::Read(source) => io_error("read the archive", source),
        source => TransportError::BadTar { source },
    }
}
