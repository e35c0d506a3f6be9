//! What a node keeps of attributes and names, in little room: there is one of these for every file that the kernel knows.

use std::num::NonZeroU16;
use std::ops::{Deref, DerefMut};

use mica_sys::{FileKind, Metadata, Time};

use super::node::At;
use super::seen::Attributes;

/// Attributes, without what the node says itself.
#[derive(Debug, Clone)]
pub(crate) enum Kept {
    /// As nearly all are.
    Narrow(Narrow),
    /// With a time before 1970 or after 2514, or a number that is too large for [`Narrow`].
    Wide(Box<Attributes>),
}

/// Attributes without large numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Narrow {
    /// Of a device, its number: it has no size.
    size: u64,
    ino: u64,
    /// Of the last access, change of content, change of attributes, and of birth.
    times: [Packed; 4],
    blocks: u32,
    uid: u32,
    gid: u32,
    nlink: u16,
    /// The kind, counted from 1, in the highest four bits.
    mode: NonZeroU16,
}

/// A time: 34 bits of seconds and 30 of nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed(u64);

impl Packed {
    const NANOS: u32 = 30;

    /// More nanoseconds than a second has.
    const NONE: Self = Self(u64::MAX);

    fn new(time: Time) -> Option<Self> {
        let secs = u64::try_from(time.secs).ok().filter(|secs| *secs < 1 << (u64::BITS - Self::NANOS))?;
        (time.nanos < 1_000_000_000).then_some(Self(secs << Self::NANOS | u64::from(time.nanos)))
    }

    fn time(self) -> Time {
        let nanos = u32::try_from(self.0 & ((1 << Self::NANOS) - 1)).unwrap_or(0);
        Time { secs: i64::try_from(self.0 >> Self::NANOS).unwrap_or(0), nanos }
    }
}

/// Kinds by number.
const KINDS: [FileKind; 7] = [
    FileKind::File,
    FileKind::Directory,
    FileKind::Symlink,
    FileKind::CharDevice,
    FileKind::BlockDevice,
    FileKind::Fifo,
    FileKind::Socket,
];

const PERMISSIONS: u16 = 0o7777;

impl Narrow {
    /// `None` for what has something larger.
    fn new(Attributes { metadata, born }: &Attributes) -> Option<Self> {
        let kind = KINDS.iter().position(|kind| *kind == metadata.kind)?;
        let kind = u16::try_from(kind + 1).ok()? << 12;
        let born = born.map_or(Some(Packed::NONE), Packed::new)?;
        let times = [Packed::new(metadata.atime)?, Packed::new(metadata.mtime)?, Packed::new(metadata.ctime)?, born];
        let size = match metadata.kind {
            FileKind::CharDevice | FileKind::BlockDevice => {
                u64::from(metadata.rdev_minor) << 32 | u64::from(metadata.rdev_major)
            }
            _ => metadata.size,
        };
        Some(Self {
            size,
            ino: metadata.ino,
            times,
            blocks: u32::try_from(metadata.blocks).ok()?,
            uid: metadata.uid,
            gid: metadata.gid,
            nlink: u16::try_from(metadata.nlink).ok()?,
            mode: NonZeroU16::new(kind | u16::try_from(metadata.mode).ok()? & PERMISSIONS)?,
        })
    }

    fn kind(&self) -> FileKind {
        let number = usize::from(self.mode.get() >> 12).saturating_sub(1);
        KINDS.get(number).copied().unwrap_or(FileKind::File)
    }

    fn is_device(&self) -> bool {
        matches!(self.kind(), FileKind::CharDevice | FileKind::BlockDevice)
    }

    fn attributes(&self) -> Attributes {
        let [atime, mtime, ctime, born] = self.times;
        let (rdev_major, rdev_minor) = if self.is_device() {
            let [a, b, c, d, e, f, g, h] = self.size.to_le_bytes();
            (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
        } else {
            (0, 0)
        };
        let metadata = Metadata {
            kind: self.kind(),
            mode: u32::from(self.mode.get() & PERMISSIONS),
            uid: self.uid,
            gid: self.gid,
            size: if self.is_device() { 0 } else { self.size },
            blocks: u64::from(self.blocks),
            nlink: u64::from(self.nlink),
            ino: self.ino,
            dev: 0,
            rdev_major,
            rdev_minor,
            atime: atime.time(),
            mtime: mtime.time(),
            ctime: ctime.time(),
        };
        Attributes { metadata, born: Some(born).filter(|born| *born != Packed::NONE).map(Packed::time) }
    }
}

impl Kept {
    pub(crate) fn ino(&self) -> u64 {
        match self {
            Self::Narrow(kept) => kept.ino,
            Self::Wide(kept) => kept.metadata.ino,
        }
    }

    pub(crate) fn nlink(&self) -> u64 {
        match self {
            Self::Narrow(kept) => u64::from(kept.nlink),
            Self::Wide(kept) => kept.metadata.nlink,
        }
    }

    pub(crate) fn mode(&self) -> u32 {
        match self {
            Self::Narrow(kept) => u32::from(kept.mode.get() & PERMISSIONS),
            Self::Wide(kept) => kept.metadata.mode,
        }
    }

    pub(crate) fn kind(&self) -> FileKind {
        match self {
            Self::Narrow(kept) => kept.kind(),
            Self::Wide(kept) => kept.metadata.kind,
        }
    }

    /// Bytes; 0 for a device.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Narrow(kept) if kept.is_device() => 0,
            Self::Narrow(kept) => kept.size,
            Self::Wide(kept) => kept.metadata.size,
        }
    }

    /// All of them. The device that the file is on is not kept.
    pub(crate) fn attributes(&self) -> Attributes {
        match self {
            Self::Narrow(kept) => kept.attributes(),
            Self::Wide(kept) => (**kept).clone(),
        }
    }

    /// Changes some of them.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Metadata)) {
        let mut attributes = self.attributes();
        change(&mut attributes.metadata);
        *self = attributes.into();
    }
}

impl From<Attributes> for Kept {
    fn from(mut attributes: Attributes) -> Self {
        if let Some(narrow) = Narrow::new(&attributes) {
            return Self::Narrow(narrow);
        }
        let metadata = &mut attributes.metadata;
        (metadata.dev, metadata.mode) = (0, metadata.mode & u32::from(PERMISSIONS));
        if matches!(metadata.kind, FileKind::CharDevice | FileKind::BlockDevice) {
            metadata.size = 0;
        } else {
            (metadata.rdev_major, metadata.rdev_minor) = (0, 0);
        }
        Self::Wide(Box::new(attributes))
    }
}

/// A number that may not be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Maybe(u32);

impl Maybe {
    pub(crate) const NONE: Self = Self(u32::MAX);

    pub(crate) fn get(self) -> Option<u32> {
        Some(self.0).filter(|number| *number != u32::MAX)
    }

    pub(crate) const fn is_none(self) -> bool {
        self.0 == u32::MAX
    }
}

impl From<Option<u32>> for Maybe {
    fn from(number: Option<u32>) -> Self {
        number.map_or(Self::NONE, Self)
    }
}

/// Where the names of a node are: mostly one.
#[derive(Debug, Clone, Default)]
pub(crate) enum Places {
    #[default]
    None,
    One(At),
    #[allow(clippy::box_collection, reason = "a vector beside the one place would take more room in every node")]
    Several(Box<Vec<At>>),
}

impl Deref for Places {
    type Target = [At];

    fn deref(&self) -> &[At] {
        match self {
            Self::None => &[],
            Self::One(at) => std::slice::from_ref(at),
            Self::Several(several) => several,
        }
    }
}

impl DerefMut for Places {
    fn deref_mut(&mut self) -> &mut [At] {
        match self {
            Self::None => &mut [],
            Self::One(at) => std::slice::from_mut(at),
            Self::Several(several) => several,
        }
    }
}

impl Places {
    pub(crate) fn push(&mut self, at: At) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(at),
            Self::One(first) => Self::Several(Box::new(vec![first, at])),
            Self::Several(mut several) => {
                several.push(at);
                Self::Several(several)
            }
        };
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&At) -> bool) {
        match self {
            Self::None => {}
            Self::One(at) => {
                if !keep(at) {
                    *self = Self::None;
                }
            }
            Self::Several(several) => several.retain(keep),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_given() {
        let time = |secs| Time { secs, nanos: 999_999_999 };
        let metadata = Metadata {
            kind: FileKind::File,
            mode: 0o7777,
            uid: u32::MAX - 1,
            gid: 7,
            size: u64::MAX,
            blocks: 1 << 40,
            nlink: 65_000,
            ino: u64::MAX - 5,
            dev: 0,
            rdev_major: 0,
            rdev_minor: 0,
            atime: time(i64::MIN),
            mtime: time(-1),
            ctime: time(i64::MAX),
        };
        let device = Metadata {
            kind: FileKind::BlockDevice,
            size: 0,
            rdev_major: 259,
            rdev_minor: 0xf_ffff,
            ..metadata.clone()
        };
        let recent = |secs| Time { secs, nanos: 999_999_999 };
        let narrow = Metadata {
            blocks: u64::from(u32::MAX),
            nlink: 65_535,
            atime: recent(0),
            mtime: recent((1 << 34) - 1),
            ctime: recent(1_700_000_000),
            ..metadata.clone()
        };
        assert!(matches!(Kept::from(Attributes { metadata: narrow.clone(), born: None }), Kept::Narrow(_)));
        let wide = [
            Metadata { blocks: 1 << 32, ..narrow.clone() },
            Metadata { nlink: 65_536, ..narrow.clone() },
            Metadata { mtime: recent(1 << 34), ..narrow.clone() },
            Metadata { ctime: recent(-1), ..narrow.clone() },
        ];
        let kinds = KINDS.map(|kind| Metadata { kind, size: 0, mode: 0, ..narrow.clone() });
        for metadata in [metadata, device, narrow].into_iter().chain(wide).chain(kinds) {
            for born in [None, Some(time(-9)), Some(time(9))] {
                let given = Attributes { metadata: metadata.clone(), born };
                assert_eq!(Kept::from(given.clone()).attributes(), given);
                let mut changed = Kept::from(given.clone());
                changed.change(|metadata| metadata.mode = 0o600);
                assert_eq!((changed.mode(), changed.ino(), changed.size()), (0o600, metadata.ino, metadata.size));
            }
        }
    }

    #[test]
    fn a_node_keeps_a_name_in_itself_and_more_elsewhere() {
        let at = |cookie| At { parent: 1, cookie, up: false };
        let mut places = Places::default();
        for cookie in 0..4 {
            assert_eq!(places.len(), usize::try_from(cookie).unwrap());
            places.push(at(cookie));
        }
        places.retain(|at| at.cookie % 2 == 1);
        assert_eq!(&*places, [at(1), at(3)]);
        places.retain(|_| false);
        assert!(places.is_empty());
        let mut one = Places::One(at(9));
        one.retain(|_| false);
        assert!(one.is_empty());
        assert_eq!((size_of::<Places>(), size_of::<Kept>()), (24, 64));
    }
}
