//! Writing an index.

use std::io::Write;

use mica_core::{Kind, LayerEntry, Node, RelPath, Xattrs};

use super::format::{CHECKSUM, HEADER, MAGIC, RECORD, VERSION, at, flag, kind};
use super::{compare, corrupt};
use crate::{LayerError, Result};

/// An index in the making. Held in memory: 112 bytes a path, and its names and attributes.
#[derive(Debug, Default)]
pub struct IndexWriter {
    records: Vec<[u8; RECORD]>,
    heap: Vec<u8>,
    /// The directories that the last record is in, the root first.
    open: Vec<(u32, RelPath)>,
    last: Option<RelPath>,
    last_xattrs: Option<(Xattrs, [u32; 2])>,
    implicit: u64,
    links: u64,
    whiteouts: u64,
    content: u64,
}

impl IndexWriter {
    /// An empty one. The root must be added first.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what the layer says of `path` and gives the number of its record. Paths come in their order, each after its
    /// directory. Link groups are numbered as they come, from 1.
    ///
    /// # Errors
    /// [`LayerError::Index`] for a path out of order or without its directory, for a socket, and for more than
    /// 4,294,967,295 records or bytes of names.
    pub fn add(&mut self, path: &RelPath, entry: &LayerEntry) -> Result<u32> {
        let number = u32::try_from(self.records.len()).map_err(|_| corrupt("it would have too many records"))?;
        if self.last.as_ref().is_some_and(|last| compare(last.as_bytes(), path.as_bytes()).is_ge()) {
            return Err(corrupt("its paths are written out of order"));
        }
        while let Some((directory, _)) = self.open.pop_if(|(_, directory)| !path.is_at_or_under(directory)) {
            self.close(directory, number);
        }
        let parent = match (self.open.last(), path.parent()) {
            (None, None) => 0,
            (Some((number, directory)), Some(parent)) if *directory == parent => *number,
            _ => return Err(corrupt("a path is written without its directory")),
        };
        let mut record = Record([0; RECORD]);
        let [offset, length] = self.put(path.as_bytes())?;
        record.u32(at::PATH, offset);
        record.u32(at::PATH_LENGTH, length);
        record.u32(at::PARENT, parent);
        match entry {
            LayerEntry::Whiteout => {
                record.byte(at::KIND, kind::WHITEOUT);
                self.whiteouts += 1;
            }
            LayerEntry::Node(node) => self.node(&mut record, path, node)?,
        }
        self.records.push(record.0);
        if entry.node().is_some_and(|node| node.kind.is_directory()) {
            self.open.push((number, path.clone()));
        } else {
            self.close(number, number + 1);
        }
        self.last = Some(path.clone());
        Ok(number)
    }

    fn close(&mut self, number: u32, end: u32) {
        let record = usize::try_from(number).ok().and_then(|number| self.records.get_mut(number));
        if let Some(bytes) = record.and_then(|record| record.get_mut(at::END..at::END + 4)) {
            bytes.copy_from_slice(&end.to_le_bytes());
        }
    }

    fn node(&mut self, record: &mut Record, path: &RelPath, node: &Node) -> Result<()> {
        let attrs = &node.attrs;
        record.u32(at::MODE, attrs.mode);
        record.u32(at::UID, attrs.uid);
        record.u32(at::GID, attrs.gid);
        record.u64(at::MTIME, u64::from_le_bytes(attrs.mtime.secs.to_le_bytes()));
        record.u32(at::MTIME_NANOS, attrs.mtime.nanos);
        let group = u32::try_from(node.link_group.unwrap_or(0)).map_err(|_| corrupt("it would have too many links"))?;
        record.u32(at::LINK_GROUP, group);
        let [offset, length] = self.put_xattrs(&attrs.xattrs)?;
        record.u32(at::XATTRS, offset);
        record.u32(at::XATTRS_LENGTH, length);
        let mut target = &[][..];
        match &node.kind {
            Kind::File { size, content } => {
                record.byte(at::KIND, kind::FILE);
                record.u64(at::SIZE, *size);
                if let Some(content) = content {
                    record.byte(at::FLAGS, flag::HASHED);
                    record.bytes(at::CONTENT, content);
                }
            }
            Kind::Directory { opaque, implicit } => {
                record.byte(at::KIND, kind::DIRECTORY);
                let opaque = if *opaque { flag::OPAQUE } else { 0 };
                record.byte(at::FLAGS, opaque | if *implicit { flag::IMPLICIT } else { 0 });
                self.implicit += u64::from(*implicit && !path.is_root());
            }
            Kind::Symlink { target: to } => {
                record.byte(at::KIND, kind::SYMLINK);
                target = to;
            }
            Kind::CharDevice(rdev) => {
                record.byte(at::KIND, kind::CHAR_DEVICE);
                record.u32(at::SIZE, rdev.major);
                record.u32(at::SIZE + 4, rdev.minor);
            }
            Kind::BlockDevice(rdev) => {
                record.byte(at::KIND, kind::BLOCK_DEVICE);
                record.u32(at::SIZE, rdev.major);
                record.u32(at::SIZE + 4, rdev.minor);
            }
            Kind::Fifo => record.byte(at::KIND, kind::FIFO),
            Kind::LinkToParent { target: to } => {
                record.byte(at::KIND, kind::LINK_TO_PARENT);
                target = to.as_bytes();
                self.links += 1;
            }
            _ => return Err(corrupt("a layer does not have sockets")),
        }
        let [offset, length] = self.put(target)?;
        record.u32(at::TARGET, offset);
        record.u32(at::TARGET_LENGTH, length);
        Ok(())
    }

    /// Counts a file's bytes once, whatever the number of its names.
    pub fn count_content(&mut self, size: u64) {
        self.content = self.content.saturating_add(size);
    }

    fn put(&mut self, bytes: &[u8]) -> Result<[u32; 2]> {
        let offset = u32::try_from(self.heap.len()).ok();
        let length = u32::try_from(bytes.len()).ok();
        self.heap.extend_from_slice(bytes);
        match (offset, length, u32::try_from(self.heap.len())) {
            (Some(offset), Some(length), Ok(_)) => Ok([offset, length]),
            _ => Err(corrupt("its names and attributes would be too long")),
        }
    }

    fn put_xattrs(&mut self, xattrs: &Xattrs) -> Result<[u32; 2]> {
        if xattrs.is_empty() {
            return Ok([0, 0]);
        }
        // Neighbours often have the same label.
        if let Some((last, place)) = &self.last_xattrs
            && last == xattrs
        {
            return Ok(*place);
        }
        let mut bytes = Vec::new();
        for (name, value) in xattrs {
            for part in [name, value] {
                let length = u32::try_from(part.len()).map_err(|_| corrupt("an attribute would be too long"))?;
                bytes.extend_from_slice(&length.to_le_bytes());
            }
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(value);
        }
        let place = self.put(&bytes)?;
        self.last_xattrs = Some((xattrs.clone(), place));
        Ok(place)
    }

    /// Writes the index.
    ///
    /// # Errors
    /// [`LayerError::Index`] without a root, [`LayerError::Write`].
    pub fn finish(mut self, out: &mut dyn Write) -> Result<()> {
        let end = u32::try_from(self.records.len()).map_err(|_| corrupt("it would have too many records"))?;
        if end == 0 {
            return Err(corrupt("a path is written without its directory"));
        }
        while let Some((directory, _)) = self.open.pop() {
            self.close(directory, end);
        }
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&u32::try_from(RECORD).unwrap_or(0).to_le_bytes());
        let heap = u64::try_from(self.heap.len()).unwrap_or(u64::MAX);
        for count in [u64::from(end), self.implicit, self.links, self.whiteouts, self.content, heap] {
            header.extend_from_slice(&count.to_le_bytes());
        }
        header.resize(HEADER, 0);
        let records = self.records.as_flattened();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header).update(records).update(&self.heap);
        if let Some(checksum) = header.get_mut(CHECKSUM) {
            checksum.copy_from_slice(hasher.finalize().as_bytes());
        }
        for part in [&header, records, &self.heap] {
            out.write_all(part).map_err(LayerError::Write)?;
        }
        Ok(())
    }
}

struct Record([u8; RECORD]);

impl Record {
    fn bytes(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(offset..offset + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn byte(&mut self, offset: usize, value: u8) {
        self.bytes(offset, &[value]);
    }

    fn u32(&mut self, offset: usize, value: u32) {
        self.bytes(offset, &value.to_le_bytes());
    }

    fn u64(&mut self, offset: usize, value: u64) {
        self.bytes(offset, &value.to_le_bytes());
    }
}
