//! What stood in a flat tree and in its upper when both said the same.
//!
//! Kept in memory as a table of directories; on disk as one run of bytes, in the order of the paths:
//!
//! ```text
//! "mica flat manifest 1\n"
//! taken       u64 bytes on disk
//! lowers      u32 count, u64 inode numbers
//! upper root  u64 inode number, mode, uid, gid (u32), mtime, u32 count of (name, value)
//! root        record
//! directories u32 count of: path, u32 count of (name, record)
//! "end\n"
//! record      u8 flags, then the stamps that the flags announce
//! stamp       u64 ino, u8 1 and the birth or 0, u64 nlink, u64 size, mtime, ctime
//! time        i64 seconds, u32 nanoseconds
//! path, name, value   u32 length, bytes
//! ```
//!
//! All numbers are little-endian. It is made and thrown away with its tree, on one machine; nothing else reads it.

use std::collections::{BTreeMap, HashMap};

use mica_core::{Attrs, Name, RelPath, Timestamp, Xattrs};
use mica_sys::{Metadata, Time};

/// By what a file is known again, and seen to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    ino: u64,
    born: Option<Time>,
    pub(super) nlink: u64,
    size: u64,
    mtime: Time,
    pub(super) ctime: Time,
}

impl Stamp {
    pub(super) const fn of((metadata, born): &(Metadata, Option<Time>)) -> Self {
        Self {
            ino: metadata.ino,
            born: *born,
            nlink: metadata.nlink,
            size: metadata.size,
            mtime: metadata.mtime,
            ctime: metadata.ctime,
        }
    }

    /// Whether this is the same file, changed or not. A number that is given to a new file comes with a new birth; where
    /// the file system does not keep it, only an unchanged file is surely the same.
    pub(super) fn is_same_file(&self, now: &Self) -> bool {
        self == now || (self.ino == now.ino && self.born.is_some() && self.born == now.born)
    }

    /// Whether nothing but the number of names, and with it the ctime, is different.
    pub(super) fn lost_only_names(&self, now: &Self) -> bool {
        now.nlink < self.nlink && Self { nlink: self.nlink, ctime: self.ctime, ..*now } == *self
    }
}

/// What the upper says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Said {
    /// Nothing: what shows is the lowers'.
    #[default]
    Nothing,
    /// The path is this.
    Node {
        /// It was copied up from the lowers and then changed.
        copied_up: bool,
        /// It is a directory through which nothing shows.
        opaque: bool,
    },
    /// The path is gone.
    Whiteout,
}

/// One path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Record {
    /// The tree's file; `None` where it has none.
    pub(super) seen: Option<Stamp>,
    /// Whether a change since could look like none: the file changed when it was looked at.
    pub(super) late: bool,
    pub(super) said: Said,
    /// The upper's file.
    pub(super) upper: Option<Stamp>,
    /// Whether the lowers show something here.
    pub(super) below: bool,
}

/// The upper's root, by which an upper is known again. Not its ctime: putting it in place changes that.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct UpperRoot {
    pub(super) ino: u64,
    pub(super) attrs: Attrs,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Manifest {
    /// Bytes on disk of all that the tree holds, as the file system counts them: what files share counts for each.
    pub(super) taken: u64,
    /// The inode numbers of the lowers' roots.
    pub(super) lowers: Vec<u64>,
    pub(super) upper_root: UpperRoot,
    pub(super) root: Record,
    pub(super) directories: HashMap<RelPath, BTreeMap<Name, Record>>,
}

impl Manifest {
    pub(super) fn record_mut(&mut self, path: &RelPath) -> Option<&mut Record> {
        match path.split() {
            None => Some(&mut self.root),
            Some((parent, name)) => self.directories.get_mut(&parent)?.get_mut(&name),
        }
    }

    /// Marks what changed at or after `clock`.
    pub(super) fn mark_late(&mut self, clock: Time) {
        let all = self.directories.values_mut().flat_map(BTreeMap::values_mut);
        for record in all.chain([&mut self.root]) {
            record.late = record.seen.is_some_and(|seen| seen.ctime >= clock);
        }
    }
}

const MAGIC: &[u8] = b"mica flat manifest 1\n";
const END: &[u8] = b"end\n";

/// How much of a manifest [`Manifest::taken_of`] asks for.
pub(super) const BEGINNING: usize = MAGIC.len() + 8;

const SEEN: u8 = 1;
const LATE: u8 = 2;
const NODE: u8 = 4;
const COPIED_UP: u8 = 8;
const OPAQUE: u8 = 16;
const WHITEOUT: u8 = 32;
const UPPER: u8 = 64;
const BELOW: u8 = 128;

impl Manifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Out(MAGIC.to_vec());
        out.long(self.taken);
        out.count(self.lowers.len());
        self.lowers.iter().for_each(|ino| out.long(*ino));
        let UpperRoot { ino, attrs } = &self.upper_root;
        out.long(*ino);
        [attrs.mode, attrs.uid, attrs.gid].into_iter().for_each(|number| out.word(number));
        out.time(Time { secs: attrs.mtime.secs, nanos: attrs.mtime.nanos });
        out.count(attrs.xattrs.len());
        for (name, value) in &attrs.xattrs {
            out.bytes(name);
            out.bytes(value);
        }
        out.record(&self.root);
        let mut paths: Vec<&RelPath> = self.directories.keys().collect();
        paths.sort_unstable();
        out.count(paths.len());
        for path in paths {
            let Some(records) = self.directories.get(path) else { continue };
            out.bytes(path.as_bytes());
            out.count(records.len());
            for (name, record) in records {
                out.bytes(name.as_bytes());
                out.record(record);
            }
        }
        out.0.extend_from_slice(END);
        out.0
    }

    /// What [`Manifest::taken`] is in a manifest that begins so; the rest need not be there.
    pub(super) fn taken_of(beginning: &[u8]) -> Option<u64> {
        In(beginning.strip_prefix(MAGIC)?).long()
    }

    /// `None` for anything that [`Manifest::encode`] did not write.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = In(bytes.strip_prefix(MAGIC)?);
        let taken = from.long()?;
        let lowers = (0..from.word()?).map(|_| from.long()).collect::<Option<_>>()?;
        let ino = from.long()?;
        let (mode, uid, gid, mtime) = (from.word()?, from.word()?, from.word()?, from.time()?);
        let mut xattrs = Xattrs::new();
        for _ in 0..from.word()? {
            xattrs.insert(from.bytes()?.to_vec(), from.bytes()?.to_vec());
        }
        let mtime = Timestamp { secs: mtime.secs, nanos: mtime.nanos };
        let upper_root = UpperRoot { ino, attrs: Attrs { mode, uid, gid, mtime, xattrs } };
        let root = from.record()?;
        let mut directories = HashMap::new();
        for _ in 0..from.word()? {
            let path = RelPath::parse(from.bytes()?).ok()?;
            let mut records = BTreeMap::new();
            for _ in 0..from.word()? {
                records.insert(Name::new(from.bytes()?).ok()?, from.record()?);
            }
            directories.insert(path, records);
        }
        (from.0 == END).then_some(Self { taken, lowers, upper_root, root, directories })
    }
}

struct Out(Vec<u8>);

impl Out {
    fn word(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn long(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// What has more entries than this number can say does not fit into memory.
    fn count(&mut self, count: usize) {
        self.word(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn time(&mut self, time: Time) {
        self.0.extend_from_slice(&time.secs.to_le_bytes());
        self.word(time.nanos);
    }

    fn stamp(&mut self, stamp: &Stamp) {
        self.long(stamp.ino);
        self.0.push(u8::from(stamp.born.is_some()));
        if let Some(born) = stamp.born {
            self.time(born);
        }
        self.long(stamp.nlink);
        self.long(stamp.size);
        self.time(stamp.mtime);
        self.time(stamp.ctime);
    }

    fn record(&mut self, record: &Record) {
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let said = match record.said {
            Said::Nothing => 0,
            Said::Whiteout => WHITEOUT,
            Said::Node { copied_up, opaque } => NODE | flag(copied_up, COPIED_UP) | flag(opaque, OPAQUE),
        };
        let seen = flag(record.seen.is_some(), SEEN) | flag(record.late, LATE);
        self.0.push(seen | said | flag(record.upper.is_some(), UPPER) | flag(record.below, BELOW));
        [&record.seen, &record.upper].into_iter().flatten().for_each(|stamp| self.stamp(stamp));
    }
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn word(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn long(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.word()?).ok()?;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn time(&mut self) -> Option<Time> {
        Some(Time { secs: self.take().map(i64::from_le_bytes)?, nanos: self.word()? })
    }

    fn stamp(&mut self) -> Option<Stamp> {
        let ino = self.long()?;
        let born = match self.take()? {
            [0] => None,
            [_] => Some(self.time()?),
        };
        Some(Stamp { ino, born, nlink: self.long()?, size: self.long()?, mtime: self.time()?, ctime: self.time()? })
    }

    fn record(&mut self) -> Option<Record> {
        let [flags] = self.take()?;
        let is = |flag: u8| flags & flag != 0;
        let said = match (is(NODE), is(WHITEOUT)) {
            (true, _) => Said::Node { copied_up: is(COPIED_UP), opaque: is(OPAQUE) },
            (false, true) => Said::Whiteout,
            (false, false) => Said::Nothing,
        };
        let seen = if is(SEEN) { Some(self.stamp()?) } else { None };
        let upper = if is(UPPER) { Some(self.stamp()?) } else { None };
        Some(Record { seen, late: is(LATE), said, upper, below: is(BELOW) })
    }
}

#[cfg(test)]
mod tests;
