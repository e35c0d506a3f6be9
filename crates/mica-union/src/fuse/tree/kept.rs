//! What a node keeps of attributes and names, in little room: there is one of these for every file that the kernel knows.

use std::ops::{Deref, DerefMut};

use mica_sys::{FileKind, Metadata, Time};

use super::node::At;
use super::seen::Attributes;

/// Attributes, without what the node says itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    /// Of a device, its number: it has no size.
    size: u64,
    blocks: u64,
    ino: u64,
    seconds: [i64; 4],
    /// Of the last time, none is as large as [`NO_TIME`].
    nanos: [u32; 4],
    uid: u32,
    gid: u32,
    nlink: u32,
    mode: u16,
    kind: FileKind,
}

const NO_TIME: u32 = u32::MAX;

impl Kept {
    pub(crate) fn ino(&self) -> u64 {
        self.ino
    }

    pub(crate) fn nlink(&self) -> u64 {
        u64::from(self.nlink)
    }

    pub(crate) const fn mode(&self) -> u32 {
        self.mode as u32
    }

    pub(crate) const fn kind(&self) -> FileKind {
        self.kind
    }

    /// Bytes; 0 for a device.
    pub(crate) const fn size(&self) -> u64 {
        match self.kind {
            FileKind::CharDevice | FileKind::BlockDevice => 0,
            _ => self.size,
        }
    }

    /// All of them. The device that the file is on is not kept.
    pub(crate) fn attributes(&self) -> Attributes {
        let time = |number: usize| Time {
            secs: self.seconds.get(number).copied().unwrap_or(0),
            nanos: self.nanos.get(number).copied().unwrap_or(0),
        };
        let (rdev_major, rdev_minor) = match self.kind {
            FileKind::CharDevice | FileKind::BlockDevice => {
                let [a, b, c, d, e, f, g, h] = self.size.to_le_bytes();
                (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
            }
            _ => (0, 0),
        };
        let metadata = Metadata {
            kind: self.kind,
            mode: self.mode(),
            uid: self.uid,
            gid: self.gid,
            size: self.size(),
            blocks: self.blocks,
            nlink: self.nlink(),
            ino: self.ino,
            dev: 0,
            rdev_major,
            rdev_minor,
            atime: time(0),
            mtime: time(1),
            ctime: time(2),
        };
        Attributes { metadata, born: Some(time(3)).filter(|time| time.nanos != NO_TIME) }
    }

    /// Changes some of them.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Metadata)) {
        let mut attributes = self.attributes();
        change(&mut attributes.metadata);
        *self = attributes.into();
    }
}

impl From<Attributes> for Kept {
    fn from(Attributes { metadata, born }: Attributes) -> Self {
        let born = born.unwrap_or(Time { secs: 0, nanos: NO_TIME });
        let times = [metadata.atime, metadata.mtime, metadata.ctime, born];
        let size = match metadata.kind {
            FileKind::CharDevice | FileKind::BlockDevice => {
                u64::from(metadata.rdev_minor) << 32 | u64::from(metadata.rdev_major)
            }
            _ => metadata.size,
        };
        Self {
            size,
            blocks: metadata.blocks,
            ino: metadata.ino,
            seconds: times.map(|time| time.secs),
            nanos: times.map(|time| time.nanos),
            uid: metadata.uid,
            gid: metadata.gid,
            nlink: u32::try_from(metadata.nlink).unwrap_or(u32::MAX),
            mode: u16::try_from(metadata.mode & 0o7777).unwrap_or(0),
            kind: metadata.kind,
        }
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
        for metadata in [metadata, device] {
            for born in [None, Some(time(-9))] {
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
        assert_eq!((size_of::<Places>(), size_of::<Kept>()), (24, 88));
    }
}
