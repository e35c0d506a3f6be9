//! A list of what an archive in a file has, without reading the bodies.

use std::io::{BufReader, Read, Seek};

use super::archive::Archive;
use super::entry::Entry;
use crate::error::lossy;
use crate::{EntryError, LayerError, Limits, Result};

/// Lists the entries of the archive that `file` holds from its position on, bodies sought over. The bytes of an entry
/// stand at [`Entry::offset`], counted from there, unless it is sparse.
///
/// # Errors
/// As of [`Archive::next_entry`]; [`EntryError::EntryLimit`].
pub fn scan<R: Read + Seek>(mut file: R, limits: &Limits) -> Result<Vec<Entry>> {
    let start = file.stream_position().map_err(LayerError::Read)?;
    let end = file.seek(std::io::SeekFrom::End(0)).map_err(LayerError::Read)?;
    file.seek(std::io::SeekFrom::Start(start)).map_err(LayerError::Read)?;
    // Headers are far apart; a large buffer would read bodies.
    let mut archive = Archive::buffered(BufReader::with_capacity(16 * 1024, file), limits);
    let mut entries = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        if archive.number() > limits.entries {
            let path = lossy(&entry.path);
            return Err(archive.wrong(EntryError::EntryLimit { path, limit: limits.entries }));
        }
        entries.push(entry);
        let left = archive.unread();
        if left > (end - start).saturating_sub(archive.position()) {
            return Err(archive.truncated());
        }
        archive.stream().seek_over(left).map_err(LayerError::Read)?;
        archive.forget_body();
    }
    Ok(entries)
}
