//! What a node keeps of attributes and names, in little room: there is one of these for every file that the kernel knows.
//!
//! The time at which a file was made is not kept: it is asked of the disk by who wants to know ([`Tree::born`](super::Tree::born)).

use std::num::NonZeroU16;
use std::ops::{Deref, DerefMut};

use mica_sys::{FileKind, Metadata, Time};

use super::node::At;
use super::owners::Owner;

/// Attributes, without what the node says itself.
#[derive(Debug, Clone)]
pub(crate) enum Kept {
    /// As nearly all are.
    Narrow(Narrow),
    /// With a time before 1970 or after 2514, or a number that is too large for [`Narrow`].
    Wide(Box<Metadata>),
}

/// Attributes without large numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Narrow {
    /// Of a device, its number: it has no size.
    size: u64,
    ino: u64,
    /// Of the last access, change of content, and change of attributes.
    times: [Packed; 3],
    owner: Owner,
    /// How many blocks it has more than its size says.
    blocks: i16,
    nlink: u16,
    /// The kind, counted from 1, in the highest four bits.
    mode: NonZeroU16,
}

/// A time: 34 bits of seconds and 30 of nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed(u64);

impl Packed {
    const NANOS: u32 = 30;

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

/// The bytes of what `st_blocks` counts.
const BLOCK: u64 = 512;

const fn is_device(kind: FileKind) -> bool {
    matches!(kind, FileKind::CharDevice | FileKind::BlockDevice)
}

/// How many blocks a file of this size has at least, if none is a hole.
const fn blocks_of(kind: FileKind, size: u64) -> u64 {
    if is_device(kind) { 0 } else { size.div_ceil(BLOCK) }
}

impl Narrow {
    /// `None` for what has something larger.
    fn new(metadata: &Metadata) -> Option<Self> {
        let kind = KINDS.iter().position(|kind| *kind == metadata.kind)?;
        let kind = u16::try_from(kind + 1).ok()? << 12;
        let times = [Packed::new(metadata.atime)?, Packed::new(metadata.mtime)?, Packed::new(metadata.ctime)?];
        let size = if is_device(metadata.kind) {
            u64::from(metadata.rdev_minor) << 32 | u64::from(metadata.rdev_major)
        } else {
            metadata.size
        };
        let blocks = metadata.blocks.checked_signed_diff(blocks_of(metadata.kind, size))?;
        Some(Self {
            size,
            ino: metadata.ino,
            times,
            owner: Owner::of(metadata.uid, metadata.gid)?,
            blocks: i16::try_from(blocks).ok()?,
            nlink: u16::try_from(metadata.nlink).ok()?,
            mode: NonZeroU16::new(kind | u16::try_from(metadata.mode).ok()? & PERMISSIONS)?,
        })
    }

    fn kind(&self) -> FileKind {
        let number = usize::from(self.mode.get() >> 12).saturating_sub(1);
        KINDS.get(number).copied().unwrap_or(FileKind::File)
    }

    fn metadata(&self) -> Metadata {
        let kind = self.kind();
        let [atime, mtime, ctime] = self.times;
        let (size, rdev_major, rdev_minor) = if is_device(kind) {
            let [a, b, c, d, e, f, g, h] = self.size.to_le_bytes();
            (0, u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
        } else {
            (self.size, 0, 0)
        };
        Metadata {
            kind,
            mode: u32::from(self.mode.get() & PERMISSIONS),
            uid: self.owner.uid(),
            gid: self.owner.gid(),
            size,
            blocks: blocks_of(kind, size).saturating_add_signed(i64::from(self.blocks)),
            nlink: u64::from(self.nlink),
            ino: self.ino,
            dev: 0,
            rdev_major,
            rdev_minor,
            atime: atime.time(),
            mtime: mtime.time(),
            ctime: ctime.time(),
        }
    }
}

impl Kept {
    pub(crate) fn ino(&self) -> u64 {
        match self {
            Self::Narrow(kept) => kept.ino,
            Self::Wide(kept) => kept.ino,
        }
    }

    pub(crate) fn nlink(&self) -> u64 {
        match self {
            Self::Narrow(kept) => u64::from(kept.nlink),
            Self::Wide(kept) => kept.nlink,
        }
    }

    pub(crate) fn mode(&self) -> u32 {
        match self {
            Self::Narrow(kept) => u32::from(kept.mode.get() & PERMISSIONS),
            Self::Wide(kept) => kept.mode,
        }
    }

    pub(crate) fn kind(&self) -> FileKind {
        match self {
            Self::Narrow(kept) => kept.kind(),
            Self::Wide(kept) => kept.kind,
        }
    }

    /// Bytes; 0 for a device.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Narrow(kept) if is_device(kept.kind()) => 0,
            Self::Narrow(kept) => kept.size,
            Self::Wide(kept) => kept.size,
        }
    }

    /// All of them. The device that the file is on is not kept.
    pub(crate) fn metadata(&self) -> Metadata {
        match self {
            Self::Narrow(kept) => kept.metadata(),
            Self::Wide(kept) => (**kept).clone(),
        }
    }

    /// Changes some of them.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Metadata)) {
        let mut metadata = self.metadata();
        change(&mut metadata);
        *self = metadata.into();
    }
}

impl From<Metadata> for Kept {
    fn from(mut metadata: Metadata) -> Self {
        if let Some(narrow) = Narrow::new(&metadata) {
            return Self::Narrow(narrow);
        }
        (metadata.dev, metadata.mode) = (0, metadata.mode & u32::from(PERMISSIONS));
        if is_device(metadata.kind) {
            metadata.size = 0;
        } else {
            (metadata.rdev_major, metadata.rdev_minor) = (0, 0);
        }
        Self::Wide(Box::new(metadata))
    }
}

/// Where the names of a node are: mostly one.
#[derive(Debug, Clone, Default)]
pub(crate) enum Places {
    #[default]
    None,
    One(At),
    Several(Box<Several>),
}

/// What is known of names that are not just one, or not all that show.
#[derive(Debug, Clone, Default)]
pub(crate) struct Several {
    at: Vec<At>,
    shown: Option<u32>,
}

impl Deref for Places {
    type Target = [At];

    fn deref(&self) -> &[At] {
        match self {
            Self::None => &[],
            Self::One(at) => std::slice::from_ref(at),
            Self::Several(several) => &several.at,
        }
    }
}

impl DerefMut for Places {
    fn deref_mut(&mut self) -> &mut [At] {
        match self {
            Self::None => &mut [],
            Self::One(at) => std::slice::from_mut(at),
            Self::Several(several) => &mut several.at,
        }
    }
}

impl Places {
    pub(crate) fn push(&mut self, at: At) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(at),
            Self::One(first) => Self::Several(Box::new(Several { at: vec![first, at], shown: None })),
            Self::Several(mut several) => {
                several.at.push(at);
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
            Self::Several(several) => several.at.retain(keep),
        }
    }

    /// How many names show, where that was found out and is not what the disk says.
    pub(crate) fn shown(&self) -> Option<u32> {
        match self {
            Self::None | Self::One(_) => None,
            Self::Several(several) => several.shown,
        }
    }

    pub(crate) fn set_shown(&mut self, shown: Option<u32>) {
        match (&mut *self, shown) {
            (Self::None | Self::One(_), None) => {}
            (Self::Several(several), shown) => several.shown = shown,
            (Self::None | Self::One(_), Some(_)) => {
                *self = Self::Several(Box::new(Several { at: self.to_vec(), shown }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_given() {
        let time = |secs| Time { secs, nanos: 999_999_999 };
        let wide = Metadata {
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
        let narrow = Metadata {
            size: 100_000,
            blocks: 200,
            nlink: 65_535,
            atime: time(0),
            mtime: time((1 << 34) - 1),
            ctime: time(1_700_000_000),
            ..wide.clone()
        };
        let device = Metadata {
            kind: FileKind::BlockDevice,
            size: 0,
            blocks: 0,
            rdev_major: 259,
            rdev_minor: 0xf_ffff,
            ..narrow.clone()
        };
        let is_narrow = |metadata: &Metadata| matches!(Kept::from(metadata.clone()), Kept::Narrow(_));
        let all_narrow = [
            narrow.clone(),
            device.clone(),
            // A file with holes, one that a file system gives much more than it has, and one without blocks of its own.
            Metadata { blocks: 0, ..narrow.clone() },
            Metadata { blocks: 196 + 32_767, ..narrow.clone() },
            Metadata { size: 32_768 * 512, blocks: 0, ..narrow.clone() },
        ];
        let all_wide = [
            wide.clone(),
            Metadata { kind: FileKind::CharDevice, size: 0, rdev_major: 1, ..wide.clone() },
            Metadata { blocks: 196 + 32_768, ..narrow.clone() },
            Metadata { size: 32_769 * 512, blocks: 0, ..narrow.clone() },
            Metadata { size: u64::MAX, ..narrow.clone() },
            Metadata { nlink: 65_536, ..narrow.clone() },
            Metadata { mtime: time(1 << 34), ..narrow.clone() },
            Metadata { ctime: time(-1), ..narrow.clone() },
            Metadata { uid: u32::MAX, gid: u32::MAX, ..narrow.clone() },
        ];
        assert!(all_narrow.iter().all(is_narrow) && !all_wide.iter().any(is_narrow));
        let kinds = KINDS.map(|kind| Metadata { kind, size: 0, mode: 0, ..narrow.clone() });
        for given in all_narrow.into_iter().chain(all_wide).chain(kinds) {
            assert_eq!(Kept::from(given.clone()).metadata(), given);
            let mut changed = Kept::from(given.clone());
            changed.change(|metadata| metadata.mode = 0o600);
            assert_eq!((changed.mode(), changed.ino(), changed.size()), (0o600, given.ino, given.size));
        }
    }

    #[test]
    fn a_node_keeps_a_name_in_itself_and_more_elsewhere() {
        let at = |cookie| At::new(1, cookie, false);
        let mut places = Places::default();
        for cookie in 3..7 {
            assert_eq!(places.len(), usize::try_from(cookie - 3).unwrap());
            places.push(at(cookie));
        }
        places.retain(|at| at.cookie() % 2 == 1);
        assert_eq!(&*places, [at(3), at(5)]);
        places.retain(|_| false);
        assert!(places.is_empty());
        let mut one = Places::One(at(9));
        one.retain(|_| false);
        assert!(one.is_empty());
    }

    #[test]
    fn how_many_names_show_is_known_of_any_number_of_names() {
        let at = |cookie| At::new(1, cookie, true);
        for count in 0..3 {
            let mut places = Places::default();
            (0..count).for_each(|cookie| places.push(at(cookie)));
            places.set_shown(None);
            assert_eq!((places.shown(), places.len()), (None, usize::try_from(count).unwrap()));
            places.set_shown(Some(7));
            assert_eq!((places.shown(), places.len()), (Some(7), usize::try_from(count).unwrap()));
            places.push(at(9));
            places.retain(|at| at.cookie() == 9);
            assert_eq!((places.shown(), &*places), (Some(7), &[at(9)][..]));
            places.set_shown(None);
            assert_eq!((places.shown(), places.len()), (None, 1));
        }
    }
}
