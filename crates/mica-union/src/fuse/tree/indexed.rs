//! A lower with an index: what it says is read from there, without a call.
//!
//! The number of a file in its layer is that of its record, counted from 1; names of one file have the number of the first of them.
//!
//! An owner that the layer's disk cannot have is one that the mount's user namespace has no number for: a program would be shown nobody's file, which not even
//! root there may change. So of owner, mode and attributes what [stands](mica_layer::stand_in) on that disk is shown, and what the upper gets of it is a copy of that, as where there is no
//! index. Devices are shown as what they are.

use std::collections::HashMap;
use std::sync::OnceLock;

use mica_core::{Kind, LayerEntry, Timestamp};
use mica_layer::index::Record;
use mica_layer::{Ability, Index, LayerError, stand_in};
use mica_sys::{Errno, FileKind, Metadata, Time};

use super::groups::Whole;
use super::seen::{Seen, plain};

/// A layer's index.
#[derive(Debug)]
pub(crate) struct Indexed {
    index: Index,
    /// Of each file of several names: its first record, and how many names it has.
    groups: OnceLock<HashMap<u32, (u32, u64)>>,
    dev: u64,
    /// What of the layer is on its disk.
    ability: Ability,
}

/// A name as an index lists it.
pub(crate) struct Name<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: FileKind,
    /// The number of the file in its layer; 0 where that is to be looked up.
    pub(crate) ino: u64,
    pub(crate) whiteout: bool,
}

/// An index that makes no sense is a disk that cannot be read.
fn unreadable(_: LayerError) -> Errno {
    Errno::IO
}

/// What directories have on most disks.
const DIRECTORY_SIZE: u64 = 4096;

impl Indexed {
    /// The index of a layer whose root is on the device `dev`, and which was put there with this ability.
    pub(crate) const fn new(index: Index, dev: u64, ability: Ability) -> Self {
        Self { index, groups: OnceLock::new(), dev, ability }
    }

    fn record(&self, number: u32) -> Result<Record<'_>, Errno> {
        self.index.record(number).map_err(unreadable)
    }

    fn groups(&self) -> &HashMap<u32, (u32, u64)> {
        self.groups.get_or_init(|| {
            let mut groups = HashMap::new();
            let records = (0..self.index.len()).filter_map(|number| self.index.record(number).ok());
            for record in records {
                if let Some(group) = record.link_group() {
                    groups.entry(group).or_insert((record.number(), 0)).1 += 1;
                }
            }
            groups
        })
    }

    /// The number of a record's file, and how many names that has.
    fn identity(&self, record: &Record<'_>) -> (u64, u64) {
        let known = record.link_group().and_then(|group| self.groups().get(&group));
        let (first, names) = known.copied().unwrap_or((record.number(), 1));
        (u64::from(first) + 1, names)
    }

    /// Whether some of its names are links to files of the layers below.
    pub(crate) fn has_links_below(&self) -> bool {
        self.index.needs_parent() > 0
    }

    /// What the layer says of the root.
    pub(crate) fn root(&self) -> Result<Seen, Errno> {
        self.seen(&self.record(0)?)
    }

    /// What the layer says of `name` in the directory with this record.
    pub(crate) fn child(&self, directory: u32, name: &[u8]) -> Result<Option<Seen>, Errno> {
        let found = self.record(directory)?.child(name).map_err(unreadable)?;
        found.map(|record| self.seen(&record)).transpose()
    }

    /// What the layer says of a record, with all attributes.
    pub(crate) fn said(&self, record: u32) -> Result<mica_core::Node, Errno> {
        match self.record(record)?.entry().map_err(unreadable)? {
            LayerEntry::Node(mut node) => {
                node.attrs = stand_in(&node.kind, &node.attrs, &self.ability).attrs.into_owned();
                Ok(node)
            }
            LayerEntry::Whiteout => Err(Errno::NOENT),
        }
    }

    /// The names in the directory with this record.
    pub(crate) fn names(&self, directory: u32, each: &mut dyn FnMut(Name<'_>)) -> Result<(), Errno> {
        for child in self.record(directory)?.children() {
            let child = child.map_err(unreadable)?;
            let path = child.path_bytes().map_err(unreadable)?;
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            let entry = child.entry().map_err(unreadable)?;
            let (kind, whiteout) = match &entry {
                LayerEntry::Whiteout => (FileKind::CharDevice, true),
                LayerEntry::Node(node) => (kind_of(&node.kind), false),
            };
            let is_elsewhere =
                matches!(&entry, LayerEntry::Node(node) if matches!(node.kind, Kind::LinkToParent { .. }));
            let ino = if is_elsewhere { 0 } else { self.identity(&child).0 };
            each(Name { name, kind, ino, whiteout });
        }
        Ok(())
    }

    /// Which names are one file.
    pub(super) fn whole(&self) -> Result<Whole, Errno> {
        let mut whole = Whole::default();
        for number in 0..self.index.len() {
            let record = self.record(number)?;
            let path = || record.path().map_err(unreadable);
            if record.link_group().is_some() {
                whole.links.entry(self.identity(&record).0).or_default().push(path()?);
            } else if self.index.needs_parent() > 0
                && let LayerEntry::Node(node) = record.entry().map_err(unreadable)?
                && let Kind::LinkToParent { target } = node.kind
            {
                whole.elsewhere.push((path()?, target));
            }
        }
        Ok(whole)
    }

    fn seen(&self, record: &Record<'_>) -> Result<Seen, Errno> {
        let (ino, nlink) = self.identity(record);
        let LayerEntry::Node(node) = record.entry().map_err(unreadable)? else {
            return Ok(Seen { whiteout: true, ..plain(self.attributes(FileKind::CharDevice, ino)) });
        };
        let mut seen = plain(self.attributes(kind_of(&node.kind), ino));
        let found = &mut seen.attributes;
        let attrs = stand_in(&node.kind, &node.attrs, &self.ability).attrs;
        (found.mode, found.uid, found.gid, found.nlink) = (attrs.mode, attrs.uid, attrs.gid, nlink);
        let time = time_of(attrs.mtime);
        (found.atime, found.mtime, found.ctime) = (time, time, time);
        match node.kind {
            Kind::File { size, .. } => found.size = size,
            Kind::Symlink { target } => found.size = u64::try_from(target.len()).unwrap_or(0),
            Kind::CharDevice(rdev) | Kind::BlockDevice(rdev) => {
                (found.rdev_major, found.rdev_minor) = (rdev.major, rdev.minor);
            }
            Kind::Directory { opaque, implicit } => {
                found.size = DIRECTORY_SIZE;
                (seen.opaque, seen.implicit) = (opaque, implicit);
            }
            Kind::LinkToParent { target } => seen.elsewhere = Some(target),
            _ => {}
        }
        let found = &mut seen.attributes;
        if node.link_group.is_some() || found.kind == FileKind::File {
            found.blocks = found.size.div_ceil(512);
        }
        seen.record = Some(record.number());
        Ok(seen)
    }

    const fn attributes(&self, kind: FileKind, ino: u64) -> Metadata {
        let epoch = Time { secs: 0, nanos: 0 };
        Metadata {
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            blocks: 0,
            nlink: 1,
            ino,
            dev: self.dev,
            rdev_major: 0,
            rdev_minor: 0,
            atime: epoch,
            mtime: epoch,
            ctime: epoch,
        }
    }
}

const fn time_of(time: Timestamp) -> Time {
    Time { secs: time.secs, nanos: time.nanos }
}

const fn kind_of(kind: &Kind) -> FileKind {
    match kind {
        Kind::Directory { .. } => FileKind::Directory,
        Kind::Symlink { .. } => FileKind::Symlink,
        Kind::CharDevice(_) => FileKind::CharDevice,
        Kind::BlockDevice(_) => FileKind::BlockDevice,
        Kind::Fifo => FileKind::Fifo,
        Kind::Socket => FileKind::Socket,
        // What a link leads to is looked up before anybody is told.
        _ => FileKind::File,
    }
}
