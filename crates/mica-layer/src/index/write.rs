//! Writing an index.

use mica_core::{Kind, LayerEntry, Node, RelPath, Xattrs};
use mica_sys::File;

use super::format::{CHECKSUM, HEADER, MAGIC, RECORD, VERSION, at, flag, kind};
use super::{compare, corrupt, heap_start, pack_xattrs};
use crate::{LayerError, Result};

/// What is held of each half of the file, and read at once for the checksum.
const BUFFER: usize = 64 * 1024;

/// An index in the making. It is written to its file as it comes: held are two buffers and the directories that the last
/// record is in.
#[derive(Debug)]
pub struct IndexWriter {
    file: File,
    records: Part,
    heap: Part,
    /// How many records there will be, which is where the heap begins.
    announced: u32,
    added: u32,
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
    /// Begins the index of `records` paths in the empty `file`. The root must be added first.
    ///
    /// # Errors
    /// [`LayerError::Index`] when this machine has no numbers for such a file.
    pub fn new(file: File, records: u32) -> Result<Self> {
        let heap = heap_start(records).ok_or(corrupt("it would have too many records"))?;
        Ok(Self {
            file,
            records: Part::new(HEADER),
            heap: Part::new(heap),
            announced: records,
            added: 0,
            open: Vec::new(),
            last: None,
            last_xattrs: None,
            implicit: 0,
            links: 0,
            whiteouts: 0,
            content: 0,
        })
    }

    /// Adds what the layer says of `path` and gives the number of its record. Paths come in their order, each after its
    /// directory. Link groups are numbered as they come, from 1.
    ///
    /// # Errors
    /// [`LayerError::Index`] for a path out of order or without its directory, for a socket, and for more records than
    /// were announced or more than 4,294,967,295 bytes of names; [`LayerError::Sys`] when the file cannot be written.
    pub fn add(&mut self, path: &RelPath, entry: &LayerEntry) -> Result<u32> {
        let number = self.added;
        if number == self.announced {
            return Err(corrupt("more records are written than were announced"));
        }
        if self.last.as_ref().is_some_and(|last| compare(last.as_bytes(), path.as_bytes()).is_ge()) {
            return Err(corrupt("its paths are written out of order"));
        }
        while let Some((directory, _)) = self.open.pop_if(|(_, directory)| !path.is_at_or_under(directory)) {
            self.close(directory, number)?;
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
        let is_directory = entry.node().is_some_and(|node| node.kind.is_directory());
        if is_directory {
            self.open.push((number, path.clone()));
        } else {
            record.u32(at::END, number + 1);
        }
        self.records.push(&self.file, &record.0)?;
        self.added = number + 1;
        self.last = Some(path.clone());
        Ok(number)
    }

    /// Says where a directory ends, once that is known.
    fn close(&mut self, number: u32, end: u32) -> Result<()> {
        let place = heap_start(number).and_then(|start| start.checked_add(at::END));
        let place = place.ok_or(corrupt("it would have too many records"))?;
        self.records.change(&self.file, place, &end.to_le_bytes())
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
        let offset = u32::try_from(self.heap.length).ok();
        let length = u32::try_from(bytes.len()).ok();
        self.heap.push(&self.file, bytes)?;
        match (offset, length, u32::try_from(self.heap.length)) {
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
        let packed = pack_xattrs(xattrs).ok_or(corrupt("an attribute would be too long"))?;
        let place = self.put(&packed)?;
        self.last_xattrs = Some((xattrs.clone(), place));
        Ok(place)
    }

    /// Writes what is left, and the header.
    ///
    /// # Errors
    /// [`LayerError::Index`] without a root or with fewer records than were announced; [`LayerError::Sys`] when the file
    /// cannot be written.
    pub fn finish(mut self) -> Result<()> {
        if self.added == 0 {
            return Err(corrupt("a path is written without its directory"));
        }
        if self.added < self.announced {
            return Err(corrupt("fewer records are written than were announced"));
        }
        while let Some((directory, _)) = self.open.pop() {
            self.close(directory, self.added)?;
        }
        self.records.flush(&self.file)?;
        self.heap.flush(&self.file)?;
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&u32::try_from(RECORD).unwrap_or(0).to_le_bytes());
        let heap = u64::try_from(self.heap.length).unwrap_or(u64::MAX);
        for count in [u64::from(self.added), self.implicit, self.links, self.whiteouts, self.content, heap] {
            header.extend_from_slice(&count.to_le_bytes());
        }
        header.resize(HEADER, 0);
        let hash = self.hash(&header)?;
        if let Some(checksum) = header.get_mut(CHECKSUM) {
            checksum.copy_from_slice(hash.as_bytes());
        }
        self.file.write_at(&header, 0).map_err(writing())
    }

    /// The hash of `header` and of the rest, which is read back: its beginning stands only when its end does.
    fn hash(&self, header: &[u8]) -> Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(header);
        let mut buffer = vec![0; BUFFER];
        let mut at = header.len();
        loop {
            let read = self.file.read_at(&mut buffer, as_u64(at)).map_err(writing())?;
            hasher.update(buffer.get(..read).unwrap_or_default());
            at += read;
            if read == 0 {
                return Ok(hasher.finalize());
            }
        }
    }
}

/// One half of the file, which grows at its end and is held there.
#[derive(Debug)]
struct Part {
    /// Where in the file the first held byte belongs.
    flushed: usize,
    held: Vec<u8>,
    /// All bytes, held or not.
    length: usize,
}

impl Part {
    fn new(start: usize) -> Self {
        Self { flushed: start, held: Vec::new(), length: 0 }
    }

    fn push(&mut self, file: &File, bytes: &[u8]) -> Result<()> {
        if self.held.len() + bytes.len() > BUFFER {
            self.flush(file)?;
        }
        self.held.extend_from_slice(bytes);
        self.length += bytes.len();
        Ok(())
    }

    fn flush(&mut self, file: &File) -> Result<()> {
        file.write_at(&self.held, as_u64(self.flushed)).map_err(writing())?;
        self.flushed += self.held.len();
        self.held.clear();
        Ok(())
    }

    /// Puts `bytes` over others at a place of the file.
    fn change(&mut self, file: &File, place: usize, bytes: &[u8]) -> Result<()> {
        let held = place.checked_sub(self.flushed).and_then(|from| self.held.get_mut(from..from + bytes.len()));
        match held {
            Some(held) => held.copy_from_slice(bytes),
            None => file.write_at(bytes, as_u64(place)).map_err(writing())?,
        }
        Ok(())
    }
}

fn writing() -> impl FnOnce(mica_sys::SysError) -> LayerError {
    LayerError::sys("writing the index")
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
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
