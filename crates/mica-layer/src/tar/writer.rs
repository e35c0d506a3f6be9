//! A tar archive being written: POSIX ustar, with a PAX header before each member that ustar cannot hold.
//!
//! The same members give the same bytes on every machine: no user names, no access times, PAX records sorted, nothing
//! in PAX that ustar can say. Names are bytes; those that are not UTF-8 and too long for ustar are announced with
//! `hdrcharset=BINARY` (POSIX.1-2017, pax, "Extended Header Keywords"). Every reader of this field takes the result:
//! GNU tar, libarchive, Go's archive/tar, Python's tarfile.

use std::io::{self, BufWriter, Read, Write};

use mica_core::{Attrs, Rdev};

use super::BLOCK;
use super::sparse::{self, Segment};
use crate::LayerError;

mod header;
mod pax;
#[cfg(test)]
mod tests;

/// Bytes of the end of an archive: two blocks of zeros.
pub(crate) const END_SIZE: u64 = ZEROS.len() as u64;

const ZEROS: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Contents are read in pieces of this size.
const PIECE: usize = 256 << 10;

/// Why a tar cannot be written. The archive is not usable after any of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The output takes no more.
    #[error("cannot write the tar")]
    Output {
        /// Why.
        source: io::Error,
    },
    /// The content of a file cannot be read.
    #[error("cannot read the content of {path:?}")]
    Content {
        /// The member's path, lossily as text.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file has less or more content than was announced.
    #[error("{path:?} has {} than the {size} bytes that were announced", if *.more { "more" } else { "less" })]
    Size {
        /// The member's path, lossily as text.
        path: String,
        /// What was announced.
        size: u64,
        /// Whether there is more of it; less otherwise.
        more: bool,
    },
}

/// What a member of an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind<'a> {
    /// A regular file with that many bytes.
    File(u64),
    /// A regular file with that many bytes, of which these runs alone are written; the rest are zeros.
    Sparse {
        /// How long it is.
        size: u64,
        /// Where its content is: ascending, without overlap, none of them empty.
        runs: &'a [Segment],
    },
    /// A directory; its path is written with a slash at the end.
    Directory,
    /// A symbolic link to that target.
    Symlink(&'a [u8]),
    /// One more name of the member with that path.
    HardLink(&'a [u8]),
    /// A character device.
    CharDevice(Rdev),
    /// A block device.
    BlockDevice(Rdev),
    /// A named pipe.
    Fifo,
}

/// One member to be written.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Its path as the archive shall have it: relative, without a slash at the end. `.` is the root.
    pub path: &'a [u8],
    /// What it is.
    pub kind: MemberKind<'a>,
    /// Owner, mode, time and extended attributes; a hard link's extended attributes are not written.
    pub attrs: &'a Attrs,
}

/// Writes a tar, member by member, to `W`. Buffers; must be finished.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: BufWriter<W>,
    piece: Vec<u8>,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins an archive.
    #[must_use]
    pub fn new(out: W) -> Self {
        Self { out: BufWriter::with_capacity(64 << 10, out), piece: Vec::new(), written: 0 }
    }

    /// Bytes of tar so far.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Adds a member. `content` is read to its end for a file, of a sparse one its runs alone, and not at all otherwise.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn append(&mut self, member: &Member<'_>, content: &mut dyn Read) -> Result<(), LayerError> {
        let headers = header::encode(member);
        self.put(&headers)?;
        match member.kind {
            MemberKind::File(size) => self.content(member.path, size, content)?,
            MemberKind::Sparse { size, runs } => {
                self.put(&sparse::encode(size, runs))?;
                self.content(member.path, runs.iter().map(|run| run.length).sum(), content)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds a file of `size` bytes as archives of images have it: 0644, root's, 1970.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn append_file(&mut self, path: &[u8], size: u64, content: &mut dyn Read) -> Result<(), LayerError> {
        let attrs = Attrs { mode: 0o644, ..Attrs::default() };
        self.append(&Member { path, kind: MemberKind::File(size), attrs: &attrs }, content)
    }

    /// Adds a file with these bytes: 0644, root's, 1970.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn append_bytes(&mut self, path: &[u8], bytes: &[u8]) -> Result<(), LayerError> {
        self.append_file(path, bytes.len() as u64, &mut &*bytes)
    }

    /// Adds a directory: 0755, root's, 1970.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn append_directory(&mut self, path: &[u8]) -> Result<(), LayerError> {
        let attrs = Attrs::implicit_directory();
        self.append(&Member { path, kind: MemberKind::Directory, attrs: &attrs }, &mut io::empty())
    }

    /// Writes the end of the archive, two blocks of zeros, and gives the output back, flushed.
    ///
    /// # Errors
    /// [`WriteError::Output`].
    pub fn finish(mut self) -> Result<W, LayerError> {
        self.put(&ZEROS)?;
        let mut out = self.out.into_inner().map_err(|error| WriteError::Output { source: error.into_error() })?;
        out.flush().map_err(|source| WriteError::Output { source })?;
        Ok(out)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.out.write_all(bytes).map_err(|source| WriteError::Output { source })?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn content(&mut self, path: &[u8], size: u64, content: &mut dyn Read) -> Result<(), WriteError> {
        let name = || String::from_utf8_lossy(path).into_owned();
        let mut piece = std::mem::take(&mut self.piece);
        if piece.is_empty() {
            // Not resized: memory that is new is zeros without being written.
            piece = vec![0; PIECE];
        }
        let mut left = size;
        loop {
            // One byte more than was announced: the reader must be at its end, not only have enough.
            let most = usize::try_from(left.saturating_add(1)).unwrap_or(PIECE).min(PIECE);
            let got = match content.read(piece.get_mut(..most).unwrap_or_default()) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(WriteError::Content { path: name(), source }),
            };
            if got == 0 {
                break;
            }
            left = match left.checked_sub(got as u64) {
                Some(left) => left,
                None => return Err(WriteError::Size { path: name(), size, more: true }),
            };
            self.put(piece.get(..got).unwrap_or_default())?;
        }
        self.piece = piece;
        if left > 0 {
            return Err(WriteError::Size { path: name(), size, more: false });
        }
        self.put(padding(size))
    }
}

/// What fills the last block of a content of `size` bytes.
fn padding(size: u64) -> &'static [u8] {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    if over == 0 { &[] } else { ZEROS.get(..BLOCK - over).unwrap_or_default() }
}
