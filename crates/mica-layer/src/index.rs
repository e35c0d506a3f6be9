//! An index: what one layer says, sorted by path, read from the file as it stands.
//!
//! Opening costs one mapping and a look at the header, whatever the layer's size. The bytes may be anyone's: each is
//! checked when it is used, and what makes no sense is an error, never a panic or an endless walk.

pub mod format;
mod write;

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::ops::Deref;

use mica_core::{Attrs, Kind, Layer, LayerEntry, Name, Node, Rdev, RelPath, Timestamp, Xattrs};
use mica_sys::{File, Mapping};

use crate::{LayerError, Result};
use format::{CHECKSUM, HEADER, MAGIC, RECORD, VERSION, at, flag, kind};

pub use write::IndexWriter;

const fn corrupt(problem: &'static str) -> LayerError {
    LayerError::Index { problem }
}

/// What one layer says of every path.
#[derive(Debug)]
pub struct Index {
    bytes: Bytes,
    records: u32,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mapping),
    Owned(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(mapping) => mapping,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Index {
    /// Maps the index of a sealed layer.
    ///
    /// # Errors
    /// [`LayerError::Sys`] when it cannot be mapped, [`LayerError::Index`] when its header is none of this version's.
    pub fn open(file: &File) -> Result<Self> {
        Mapping::of_sealed(file)
            .map_err(LayerError::sys("opening the index"))
            .and_then(|map| Self::of(Bytes::Mapped(map)))
    }

    /// Takes the bytes of an index.
    ///
    /// # Errors
    /// [`LayerError::Index`] when the header is none of this version's.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        Self::of(Bytes::Owned(bytes))
    }

    fn of(bytes: Bytes) -> Result<Self> {
        if bytes.get(..8) != Some(MAGIC) {
            return Err(corrupt("it does not begin with an index's magic"));
        }
        if u32_at(&bytes, 8) != Some(VERSION) || u32_at(&bytes, 12) != u32::try_from(RECORD).ok() {
            return Err(corrupt("it is of a version that this program does not know"));
        }
        let records = u64_at(&bytes, 16).and_then(|records| u32::try_from(records).ok()).filter(|records| *records > 0);
        let records = records.ok_or_else(|| corrupt("its count of records makes no sense"))?;
        let heap = u64_at(&bytes, 56).and_then(|heap| usize::try_from(heap).ok());
        let length = heap.and_then(|heap| heap_start(records)?.checked_add(heap));
        if length != Some(bytes.len()) {
            return Err(corrupt("its length is not what the header says"));
        }
        Ok(Self { bytes, records })
    }

    /// Reads all of it and compares the checksum.
    ///
    /// # Errors
    /// [`LayerError::Index`] when a byte has changed.
    pub fn verify(&self) -> Result<()> {
        let (before, rest) = self.bytes.split_at_checked(CHECKSUM.start).unwrap_or_default();
        let (stated, after) = rest.split_at_checked(CHECKSUM.len()).unwrap_or_default();
        let mut hasher = blake3::Hasher::new();
        hasher.update(before).update(&[0; 32]).update(after);
        if hasher.finalize().as_bytes()[..] != *stated {
            return Err(corrupt("its bytes do not have the checksum that it states"));
        }
        Ok(())
    }

    /// How many paths the layer speaks of, the root included.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.records
    }

    /// Never: the root is always there. Here because collections have it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    fn count(&self, offset: usize) -> u64 {
        u64_at(&self.bytes, offset).unwrap_or(0)
    }

    /// Directories below the root that the layer only implies.
    #[must_use]
    pub fn implicit(&self) -> u64 {
        self.count(24)
    }

    /// Hard links to files that only a lower layer has.
    #[must_use]
    pub fn needs_parent(&self) -> u64 {
        self.count(32)
    }

    /// Paths of which the layer says that they are gone.
    #[must_use]
    pub fn whiteouts(&self) -> u64 {
        self.count(40)
    }

    /// Bytes of all regular files, holes included, each file once.
    #[must_use]
    pub fn content_size(&self) -> u64 {
        self.count(48)
    }

    /// Everything the layer says, sorted by path. The first is the root.
    pub fn entries(&self) -> impl Iterator<Item = Result<(RelPath, LayerEntry)>> + '_ {
        (0..self.records).map(|number| {
            let record = self.record(number)?;
            Ok((record.path()?, record.entry()?))
        })
    }

    /// The record with this number; records are numbered in the order of their paths.
    ///
    /// # Errors
    /// [`LayerError::Index`] when there is none.
    pub fn record(&self, number: u32) -> Result<Record<'_>> {
        let start = usize::try_from(number).ok().and_then(|number| number.checked_mul(RECORD)?.checked_add(HEADER));
        let bytes = start.filter(|_| number < self.records).and_then(|start| self.bytes.get(start..)?.first_chunk());
        bytes
            .map(|bytes| Record { index: self, number, bytes })
            .ok_or_else(|| corrupt("a record is asked for that it has not"))
    }

    /// The record of `path`; `None` when the layer does not speak of it.
    ///
    /// # Errors
    /// [`LayerError::Index`] when a record on the way makes no sense.
    pub fn find(&self, path: &RelPath) -> Result<Option<Record<'_>>> {
        let (mut low, mut high) = (0, self.records);
        while low < high {
            let middle = low + (high - low) / 2;
            let record = self.record(middle)?;
            match compare(record.path_bytes()?, path.as_bytes()) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(Some(record)),
            }
        }
        Ok(None)
    }

    fn heap(&self, offset: u32, length: u32) -> Result<&[u8]> {
        let start = heap_start(self.records).zip(usize::try_from(offset).ok());
        let start = start.and_then(|(heap, offset)| heap.checked_add(offset));
        let end = start.zip(usize::try_from(length).ok()).and_then(|(start, length)| start.checked_add(length));
        start
            .zip(end)
            .and_then(|(start, end)| self.bytes.get(start..end))
            .ok_or_else(|| corrupt("a record points past the end"))
    }
}

impl Layer for Index {
    type Error = LayerError;

    fn entry(&self, path: &RelPath) -> Result<Option<LayerEntry>> {
        self.find(path)?.map(|record| record.entry()).transpose()
    }

    fn names(&self, path: &RelPath) -> Result<Vec<Name>> {
        let Some(directory) = self.find(path)? else { return Ok(Vec::new()) };
        directory.children().map(|child| child?.name()).collect()
    }
}

/// One path of an index and what the layer says of it. Numbers are read where they stand; nothing is copied before it
/// is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    index: &'a Index,
    number: u32,
    bytes: &'a [u8; RECORD],
}

impl<'a> Record<'a> {
    fn u32(&self, offset: usize) -> u32 {
        u32_at(self.bytes, offset).unwrap_or(0)
    }

    fn u64(&self, offset: usize) -> u64 {
        u64_at(self.bytes, offset).unwrap_or(0)
    }

    fn byte(&self, offset: usize) -> u8 {
        self.bytes.get(offset).copied().unwrap_or(0)
    }

    fn has(&self, bit: u8) -> bool {
        self.byte(at::FLAGS) & bit != 0
    }

    /// Its place in the order of paths.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// The path's bytes, unchecked.
    ///
    /// # Errors
    /// [`LayerError::Index`] when they are not there.
    pub fn path_bytes(&self) -> Result<&'a [u8]> {
        self.index.heap(self.u32(at::PATH), self.u32(at::PATH_LENGTH))
    }

    /// The path.
    ///
    /// # Errors
    /// [`LayerError::Index`] when it is none.
    pub fn path(&self) -> Result<RelPath> {
        RelPath::parse(self.path_bytes()?).map_err(|_| corrupt("a record's path is none"))
    }

    /// The path's last component.
    ///
    /// # Errors
    /// [`LayerError::Index`] when it is none, as that of the root.
    pub fn name(&self) -> Result<Name> {
        let path = self.path_bytes()?;
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        Name::new(name).map_err(|_| corrupt("a record's name is none"))
    }

    /// The directory that holds this; `None` for the root.
    ///
    /// # Errors
    /// [`LayerError::Index`] when it does not come before this.
    pub fn parent(&self) -> Result<Option<Self>> {
        if self.number == 0 {
            return Ok(None);
        }
        match self.u32(at::PARENT) {
            parent if parent < self.number => self.index.record(parent).map(Some),
            _ => Err(corrupt("a record's parent does not come before it")),
        }
    }

    /// The number of the first record after this one and all under it.
    ///
    /// # Errors
    /// [`LayerError::Index`] when it is not after this.
    pub fn end(&self) -> Result<u32> {
        let end = self.u32(at::END);
        if end <= self.number || end > self.index.records {
            return Err(corrupt("a record ends before it begins"));
        }
        Ok(end)
    }

    /// The records directly in this directory; none when it is no directory. The first error ends them.
    pub fn children(self) -> impl Iterator<Item = Result<Self>> + use<'a> {
        let mut next = self.number + 1;
        let mut end = if self.byte(at::KIND) == kind::DIRECTORY { self.end() } else { Ok(next) };
        std::iter::from_fn(move || {
            let last = match &mut end {
                Ok(last) => *last,
                Err(_) => return std::mem::replace(&mut end, Ok(0)).err().map(Err),
            };
            if next >= last {
                return None;
            }
            let child = self.index.record(next).and_then(|child| Ok((child, child.end()?)));
            match child {
                Ok((child, after)) => {
                    next = after;
                    Some(Ok(child))
                }
                Err(error) => {
                    end = Ok(0);
                    Some(Err(error))
                }
            }
        })
    }

    /// The record of `name`, which is one component, directly in this directory; `None` where the layer does not speak of it.
    ///
    /// # Errors
    /// [`LayerError::Index`] when a record on the way makes no sense.
    pub fn child(self, name: &[u8]) -> Result<Option<Self>> {
        if !self.is_directory() {
            return Ok(None);
        }
        let skip = match self.path_bytes()?.len() {
            0 => 0,
            length => length + 1,
        };
        let (mut low, mut high) = (self.number + 1, self.end()?);
        while low < high {
            let middle = low + (high - low) / 2;
            let record = self.index.record(middle)?;
            let inside = record.path_bytes()?.get(skip..).ok_or_else(|| corrupt("a record is not in its directory"))?;
            match compare(inside, name) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(Some(record)),
            }
        }
        Ok(None)
    }

    /// Names of one file have the same number, counted from 1; `None` for a single name.
    #[must_use]
    pub fn link_group(&self) -> Option<u32> {
        Some(self.u32(at::LINK_GROUP)).filter(|group| *group != 0)
    }

    /// Whether this is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.byte(at::KIND) == kind::DIRECTORY
    }

    /// What the layer says.
    ///
    /// # Errors
    /// [`LayerError::Index`] when the record makes no sense.
    pub fn entry(&self) -> Result<LayerEntry> {
        let rdev = || Rdev { major: self.u32(at::SIZE), minor: self.u32(at::SIZE + 4) };
        let target = || self.index.heap(self.u32(at::TARGET), self.u32(at::TARGET_LENGTH));
        let kind = match self.byte(at::KIND) {
            kind::WHITEOUT => return Ok(LayerEntry::Whiteout),
            kind::FILE => Kind::File { size: self.u64(at::SIZE), content: self.content() },
            kind::DIRECTORY => Kind::Directory { opaque: self.has(flag::OPAQUE), implicit: self.has(flag::IMPLICIT) },
            kind::SYMLINK => Kind::Symlink { target: target()?.to_vec() },
            kind::CHAR_DEVICE => Kind::CharDevice(rdev()),
            kind::BLOCK_DEVICE => Kind::BlockDevice(rdev()),
            kind::FIFO => Kind::Fifo,
            kind::LINK_TO_PARENT => {
                let target = RelPath::parse(target()?).map_err(|_| corrupt("a link's target is no path"))?;
                Kind::LinkToParent { target }
            }
            _ => return Err(corrupt("a record has an unknown kind")),
        };
        let link_group = Some(u64::from(self.u32(at::LINK_GROUP))).filter(|group| *group != 0);
        Ok(LayerEntry::Node(Node { kind, attrs: self.attrs()?, link_group }))
    }

    fn content(&self) -> Option<[u8; 32]> {
        self.bytes.get(at::CONTENT..).filter(|_| self.has(flag::HASHED)).and_then(|bytes| bytes.first_chunk().copied())
    }

    fn attrs(&self) -> Result<Attrs> {
        let secs = i64::from_le_bytes(self.u64(at::MTIME).to_le_bytes());
        let (mode, nanos) = (self.u32(at::MODE), self.u32(at::MTIME_NANOS));
        if mode > 0o7777 || nanos > 999_999_999 {
            return Err(corrupt("a record's mode or time is out of range"));
        }
        Ok(Attrs {
            mode,
            uid: self.u32(at::UID),
            gid: self.u32(at::GID),
            mtime: Timestamp { secs, nanos },
            xattrs: self.xattrs()?,
        })
    }

    fn xattrs(&self) -> Result<Xattrs> {
        let packed = self.index.heap(self.u32(at::XATTRS), self.u32(at::XATTRS_LENGTH))?;
        unpack_xattrs(packed).ok_or_else(|| corrupt("a record's attributes are cut off"))
    }
}

/// Attributes as an index has them; `None` when one is too long.
pub(crate) fn pack_xattrs(xattrs: &Xattrs) -> Option<Vec<u8>> {
    let mut packed = Vec::new();
    for (name, value) in xattrs {
        for part in [name, value] {
            packed.extend_from_slice(&u32::try_from(part.len()).ok()?.to_le_bytes());
        }
        packed.extend_from_slice(name);
        packed.extend_from_slice(value);
    }
    Some(packed)
}

/// What [`pack_xattrs`] packed; `None` when it is cut off.
pub(crate) fn unpack_xattrs(mut packed: &[u8]) -> Option<Xattrs> {
    let mut xattrs = Xattrs::new();
    while !packed.is_empty() {
        let (name, value) = attribute(&mut packed)?;
        xattrs.insert(name.to_vec(), value.to_vec());
    }
    Some(xattrs)
}

fn attribute<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let name = usize::try_from(u32_at(rest, 0)?).ok()?;
    let value = usize::try_from(u32_at(rest, 4)?).ok()?;
    let (name, after) = rest.get(8..)?.split_at_checked(name)?;
    let (value, after) = after.split_at_checked(value)?;
    *rest = after;
    Some((name, value))
}

fn heap_start(records: u32) -> Option<usize> {
    usize::try_from(records).ok()?.checked_mul(RECORD)?.checked_add(HEADER)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// The order of [`RelPath`], over bytes that may be none.
fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    let differ = one.iter().zip(other).find(|(one, other)| one != other);
    differ.map_or_else(|| one.len().cmp(&other.len()), |(one, other)| key(one).cmp(&key(other)))
}
