//! The pull parser.

use std::io::{BufRead, BufReader, Read};

use mica_core::{Rdev, Timestamp};

use super::entry::{Entry, EntryKind};
use super::header::{Format, Header};
use super::input::{Block, Input, as_u64};
use super::pax::{Fields, PaxProblem};
use super::sparse::{self, Segment};
use super::{BLOCK, header};
use crate::error::lossy;
use crate::{EntryError, LayerError, Limits, Result};

/// A tar archive over a stream.
///
/// [`Archive::next_entry`] and [`Archive::next_piece`] are called in turn until each gives `None`; then
/// [`Archive::trailing`] until it does. Every byte of the stream is either in a piece or in the framing
/// ([`Archive::framing`]) or trailing, in this order, so that they make the stream again.
///
/// After an error the archive is of no more use.
#[derive(Debug)]
pub struct Archive<R> {
    input: Input<R>,
    limits: Limits,
    global: Fields,
    /// Some header of this archive was PAX, so that sizes of hard links bind.
    is_pax: bool,
    number: u64,
    /// Bytes of extended headers, long names and a sparse map of the current entry.
    announced: u64,
    path: Vec<u8>,
    body: Body,
    /// The piece that was handed out last and is to be consumed.
    lent: usize,
    keep_framing: bool,
    framing: Vec<u8>,
    ended: bool,
}

/// What is left of the current entry's body.
#[derive(Debug, Default)]
struct Body {
    segments: std::vec::IntoIter<Segment>,
    at: u64,
    run: u64,
    stored: u64,
    padding: u64,
}

/// Some bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Where in the file they belong.
    pub offset: u64,
    /// The bytes, at least one.
    pub bytes: &'a [u8],
}

impl<R: Read> Archive<BufReader<R>> {
    /// An archive over an unbuffered stream.
    pub fn new(input: R, limits: &Limits) -> Self {
        Self::buffered(BufReader::with_capacity(128 * 1024, input), limits)
    }
}

impl<R: BufRead> Archive<R> {
    /// An archive over a buffered stream; pieces are lent from its buffer. Nothing is kept of the framing.
    pub fn buffered(input: R, limits: &Limits) -> Self {
        Self {
            input: Input::new(input),
            limits: limits.clone(),
            global: Fields::default(),
            is_pax: false,
            number: 0,
            announced: 0,
            path: Vec::new(),
            body: Body::default(),
            lent: 0,
            keep_framing: false,
            framing: Vec::new(),
            ended: false,
        }
    }

    /// Keeps framing from here on.
    #[must_use]
    pub fn with_framing(mut self) -> Self {
        self.keep_framing = true;
        self
    }

    /// The framing bytes that were met since they were last taken from here: headers, maps, padding, and bodies that
    /// were passed over. Empty unless asked for with [`Archive::with_framing`].
    pub const fn framing(&mut self) -> &mut Vec<u8> {
        &mut self.framing
    }

    /// The entry that is being read, counted from 1; 0 before the first.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Bytes of the extended headers, long names and sparse map that came with the current entry.
    pub const fn announced(&self) -> u64 {
        self.announced
    }

    /// Bytes of the stream that were read so far.
    pub const fn position(&self) -> u64 {
        self.input.position
    }

    pub(super) const fn stream(&mut self) -> &mut Input<R> {
        &mut self.input
    }

    /// How many bytes of the current entry, padding included, have not been read.
    pub(super) fn unread(&self) -> u64 {
        self.body.run + self.body.stored + self.body.padding - as_u64(self.lent)
    }

    /// Forgets the rest of the current entry, whose bytes the caller has passed over in the stream.
    pub(super) fn forget_body(&mut self) {
        self.body = Body::default();
        self.lent = 0;
    }

    pub(super) fn wrong(&self, problem: EntryError) -> LayerError {
        LayerError::Entry { number: self.number, problem }
    }

    pub(super) fn truncated(&self) -> LayerError {
        self.wrong(EntryError::Truncated { path: lossy(&self.path), offset: self.input.position })
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.keep_framing {
            self.framing.extend_from_slice(bytes);
        }
    }

    /// The next entry, after what is left of the current one's body; `None` at the end of the archive.
    ///
    /// # Errors
    /// [`LayerError::Entry`] with what is wrong, [`LayerError::Read`] from the stream.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.pass_over()?;
        if self.ended {
            return Ok(None);
        }
        self.number += 1;
        self.path.clear();
        self.announced = 0;
        let mut said = Said { fields: self.global.clone(), ..Said::default() };
        loop {
            let offset = self.input.position;
            let block = match self.input.block().map_err(LayerError::Read)? {
                Block::Whole(block) => block,
                Block::End if said.is_nothing => return Ok(self.end()),
                Block::End | Block::Cut => return Err(self.truncated()),
            };
            self.keep(&block);
            let header = Header::new(&block);
            if header.is_zero() {
                return if said.is_nothing { Ok(self.end()) } else { Err(self.truncated()) };
            }
            if !header.checksum_is_right() {
                return Err(self.wrong(EntryError::Checksum { offset }));
            }
            self.path = header.path();
            if !self.metadata(&header, &mut said)? {
                return self.entry(&header, said).map(Some);
            }
        }
    }

    fn end(&mut self) -> Option<Entry> {
        self.number -= 1;
        self.ended = true;
        None
    }

    /// Takes a header that only says something of the entry after it; whether this was one.
    fn metadata(&mut self, header: &Header<'_>, said: &mut Said) -> Result<bool> {
        match header.typeflag() {
            b'x' | b'X' => {
                let body = self.metadata_body(header)?;
                self.is_pax = true;
                let added = said.fields.add(&body);
                added.map_err(|problem| self.pax_problem(problem))?;
            }
            b'g' => {
                let body = self.metadata_body(header)?;
                self.is_pax = true;
                let added = self.global.add(&body);
                added.map_err(|problem| self.pax_problem(problem))?;
                // A map describes one body; it cannot hold for all entries.
                self.global.sparse = super::pax::SparseFields::default();
                said.fields = self.global.clone();
            }
            b'L' => said.long_name = Some(header::text(&self.metadata_body(header)?).to_vec()),
            b'K' => said.long_link = Some(header::text(&self.metadata_body(header)?).to_vec()),
            _ => return Ok(false),
        }
        said.is_nothing = false;
        Ok(true)
    }

    fn pax_problem(&self, problem: PaxProblem) -> LayerError {
        let path = lossy(&self.path);
        self.wrong(match problem {
            PaxProblem::Malformed => EntryError::Pax { path },
            PaxProblem::Number(field) => EntryError::Number { path, field },
        })
    }

    fn metadata_body(&mut self, header: &Header<'_>) -> Result<Vec<u8>> {
        let size = header.size().ok_or_else(|| self.number_problem("size"))?;
        self.announce(size.max(as_u64(BLOCK)))?;
        let mut body = Vec::new();
        while as_u64(body.len()) < size {
            body.extend_from_slice(&self.framing_block()?);
        }
        body.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        Ok(body)
    }

    /// Counts bytes of what stands before an entry. All of it is held at once, so that many short ones cost as much as a
    /// long one.
    fn announce(&mut self, bytes: u64) -> Result<()> {
        self.announced = self.announced.saturating_add(bytes);
        let (bytes, limit) = (self.announced, self.limits.header_bytes);
        if bytes > limit {
            return Err(self.wrong(EntryError::HeaderLimit { path: lossy(&self.path), bytes, limit }));
        }
        Ok(())
    }

    /// A block that must be there.
    fn framing_block(&mut self) -> Result<[u8; BLOCK]> {
        match self.input.block().map_err(LayerError::Read)? {
            Block::Whole(block) => {
                self.keep(&block);
                Ok(block)
            }
            Block::End | Block::Cut => Err(self.truncated()),
        }
    }

    fn number_problem(&self, field: &'static str) -> LayerError {
        self.wrong(EntryError::Number { path: lossy(&self.path), field })
    }

    /// Puts together what the entry's own header and those before it say.
    fn entry(&mut self, header: &Header<'_>, said: Said) -> Result<Entry> {
        let Said { fields, long_name, long_link, .. } = said;
        let is_sparse_pax = fields.sparse.map_in_body || fields.sparse.map.is_some();
        let sparse_name = fields.sparse.name.clone().filter(|_| is_sparse_pax);
        if let Some(path) = sparse_name.or(fields.path).or(long_name) {
            self.path = path;
        }
        let kind = kind(header.typeflag(), &self.path);
        let mut stored = match fields.size {
            Some(size) => size,
            None => header.size().ok_or_else(|| self.number_problem("size"))?,
        };
        if !self.has_body(kind, header.typeflag(), stored)? {
            stored = 0;
        }
        // Owned by the body until the map is read, so that the padding is right whatever the map says.
        let mut padding = stored.wrapping_neg() % as_u64(BLOCK);
        let (mut size, mut sparse) = (stored, None);
        if kind == EntryKind::File && (header.typeflag() == b'S' || is_sparse_pax) {
            let (values, map_bytes) = self.sparse_map(header, fields.sparse.map, fields.sparse.map_in_body)?;
            let broken = || self.wrong(EntryError::SparseMap { path: lossy(&self.path) });
            stored = stored.checked_sub(map_bytes).ok_or_else(broken)?;
            padding = stored.wrapping_neg() % as_u64(BLOCK);
            size = match header.typeflag() {
                b'S' => header.sparse_size().ok_or_else(broken)?,
                _ => fields.sparse.size.ok_or_else(broken)?,
            };
            sparse = Some(sparse::map(&values, size, stored).ok_or_else(broken)?);
        }
        // What no file system can hold is not worth an arithmetic of its own.
        if size > i64::MAX.unsigned_abs() || stored > i64::MAX.unsigned_abs() {
            return Err(self.number_problem("size"));
        }
        let segments = sparse.clone().unwrap_or_else(|| vec![Segment { offset: 0, length: stored }]);
        self.body = Body { segments: segments.into_iter(), at: 0, run: 0, stored, padding };
        let id = |pax: Option<u64>, own: Option<i64>, field| {
            let id = pax.or_else(|| own.and_then(|own| u64::try_from(own).ok()));
            // The last one means "leave it" to chown.
            let id = id.and_then(|id| u32::try_from(id).ok()).filter(|id| *id != u32::MAX);
            id.ok_or_else(|| self.number_problem(field))
        };
        let mtime = match fields.mtime {
            Some(mtime) => mtime,
            None => Timestamp { secs: header.mtime().ok_or_else(|| self.number_problem("mtime"))?, nanos: 0 },
        };
        let mode = header.mode().ok_or_else(|| self.number_problem("mode"))?;
        let bytes = fields.xattrs.iter().map(|(name, value)| as_u64(name.len() + value.len())).sum();
        if bytes > self.limits.xattr_bytes {
            let (path, limit) = (lossy(&self.path), self.limits.xattr_bytes);
            return Err(self.wrong(EntryError::XattrLimit { path, bytes, limit }));
        }
        Ok(Entry {
            number: self.number,
            kind,
            path: self.path.clone(),
            link: fields.link.or(long_link).unwrap_or_else(|| header.link().to_vec()),
            mode: u32::try_from(mode & 0o7777).unwrap_or(0),
            uid: id(fields.uid, header.uid(), "uid")?,
            gid: id(fields.gid, header.gid(), "gid")?,
            mtime,
            device: self.device(kind, header)?,
            xattrs: fields.xattrs,
            size,
            stored,
            offset: self.input.position,
            sparse,
        })
    }

    fn device(&self, kind: EntryKind, header: &Header<'_>) -> Result<Rdev> {
        if !matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice) || header.format() == Format::V7 {
            return Ok(Rdev::default());
        }
        let part = |value: Option<i64>, field| {
            value.and_then(|value| u32::try_from(value).ok()).ok_or_else(|| self.number_problem(field))
        };
        Ok(Rdev { major: part(header.major(), "devmajor")?, minor: part(header.minor(), "devminor")? })
    }

    /// Whether bytes follow the header of an entry that says it has `size` of them.
    fn has_body(&mut self, kind: EntryKind, typeflag: u8, size: u64) -> Result<bool> {
        Ok(match kind {
            EntryKind::File | EntryKind::Label | EntryKind::Other(_) => true,
            EntryKind::Directory => typeflag == b'D',
            EntryKind::Symlink | EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => false,
            EntryKind::Link if size == 0 || self.is_pax => size > 0,
            EntryKind::Link => match self.input.peek().map_err(LayerError::Read)? {
                Some(block) => {
                    let header = Header::new(block);
                    !header.is_zero() && !header.checksum_is_right()
                }
                None => false,
            },
        })
    }

    /// Offsets and lengths of a sparse file in turn, and how many bytes of its body the map took.
    fn sparse_map(&mut self, header: &Header<'_>, pax: Option<Vec<u64>>, in_body: bool) -> Result<(Vec<u64>, u64)> {
        let broken = |this: &Self| this.wrong(EntryError::SparseMap { path: lossy(&this.path) });
        if header.typeflag() == b'S' {
            let mut values = Vec::new();
            sparse::add_old_entries(header.sparse_entries(), &mut values).ok_or_else(|| broken(self))?;
            let mut more = header.sparse_is_extended();
            while more {
                self.announce(as_u64(BLOCK))?;
                let block = self.framing_block()?;
                let (entries, is_extended) = sparse::extension(&block);
                sparse::add_old_entries(entries, &mut values).ok_or_else(|| broken(self))?;
                more = is_extended;
            }
            return Ok((values, 0));
        }
        if !in_body {
            return Ok((pax.unwrap_or_default(), 0));
        }
        let mut map = sparse::BodyMap::default();
        let mut taken = 0;
        loop {
            let block = self.framing_block()?;
            taken += as_u64(BLOCK);
            self.announce(as_u64(BLOCK))?;
            if map.add(&block).ok_or_else(|| broken(self))? {
                return Ok((map.into_values(), taken));
            }
        }
    }

    /// The next bytes of the current entry's file; `None` at its end.
    ///
    /// # Errors
    /// [`EntryError::Truncated`], [`LayerError::Read`].
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>> {
        self.return_lent();
        while self.body.run == 0 {
            let Some(segment) = self.body.segments.next() else { return Ok(None) };
            self.body.at = segment.offset;
            self.body.run = segment.length;
            self.body.stored = self.body.stored.saturating_sub(segment.length);
        }
        let (run, offset) = (self.body.run, self.body.at);
        let available = self.input.fill().map_err(LayerError::Read)?.len();
        if available == 0 {
            return Err(self.truncated());
        }
        let count = available.min(usize::try_from(run).unwrap_or(usize::MAX));
        self.lent = count;
        let bytes = self.input.fill().map_err(LayerError::Read)?.get(..count).unwrap_or_default();
        Ok(Some(Piece { offset, bytes }))
    }

    fn return_lent(&mut self) {
        let lent = std::mem::take(&mut self.lent);
        self.input.consume(lent);
        self.body.at += as_u64(lent);
        self.body.run = self.body.run.saturating_sub(as_u64(lent));
    }

    /// Goes to the end of the current entry. What is passed over counts as framing.
    fn pass_over(&mut self) -> Result<()> {
        self.return_lent();
        let mut left = self.unread();
        let padding = self.body.padding;
        self.forget_body();
        while left > 0 {
            let bytes = self.input.fill().map_err(LayerError::Read)?;
            let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if self.keep_framing {
                self.framing.extend_from_slice(bytes.get(..count).unwrap_or_default());
            }
            if count == 0 {
                // Go's archive/tar leaves the padding of the last entry away when its writer is not closed (`umoci
                // insert` does not), and its reader does not ask for it: such layers are about.
                return if left <= padding { Ok(()) } else { Err(self.truncated()) };
            }
            self.input.consume(count);
            left -= as_u64(count);
        }
        Ok(())
    }

    /// The next bytes after the archive's end, once [`Archive::next_entry`] gave `None`; `None` at the stream's.
    ///
    /// # Errors
    /// [`LayerError::Read`].
    pub fn trailing(&mut self) -> Result<Option<&[u8]>> {
        let lent = std::mem::take(&mut self.lent);
        self.input.consume(lent);
        self.lent = self.input.fill().map_err(LayerError::Read)?.len();
        let bytes = self.input.fill().map_err(LayerError::Read)?;
        Ok((!bytes.is_empty()).then_some(bytes))
    }
}

/// What the headers before an entry's own say of it.
#[derive(Debug)]
struct Said {
    fields: Fields,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    is_nothing: bool,
}

impl Default for Said {
    fn default() -> Self {
        Self { fields: Fields::default(), long_name: None, long_link: None, is_nothing: true }
    }
}

fn kind(typeflag: u8, path: &[u8]) -> EntryKind {
    match typeflag {
        b'0' | 0 if path.ends_with(b"/") => EntryKind::Directory,
        b'0' | 0 | b'7' | b'S' => EntryKind::File,
        b'1' => EntryKind::Link,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' | b'D' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        b'V' => EntryKind::Label,
        other => EntryKind::Other(other),
    }
}
