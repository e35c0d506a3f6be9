//! The pools of the table: bytes and attributes that many paths share, each kept once and known by a number of 32 bits.
//!
//! A layer has many entries and few owners, and a name on the heap of its own costs more than the name. What comes in
//! stays until the layer is made.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use mica_core::{Attrs, Timestamp};

use crate::index::{pack_xattrs, unpack_xattrs};

/// Bytes of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text(u32);

/// Bytes one after the other, each piece after its length.
#[derive(Debug, Default)]
pub(super) struct Texts(Vec<u8>);

impl Texts {
    /// Adds a piece; `None` when the pool is full, at 4 GiB.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Option<Text> {
        let text = Text(u32::try_from(self.0.len()).ok()?);
        self.0.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_le_bytes());
        self.0.extend_from_slice(bytes);
        Some(text)
    }

    #[expect(clippy::indexing_slicing, reason = "a text is only made with its bytes, and bytes are never removed")]
    pub(super) fn get(&self, text: Text) -> &[u8] {
        let (length, rest) = self.0[text.0 as usize..].split_first_chunk().unwrap_or((&[0; 4], &[]));
        &rest[..u32::from_le_bytes(*length) as usize]
    }
}

/// The attributes of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    secs: i64,
    nanos: u32,
    shared: u32,
}

/// What files of a layer mostly have in common.
#[derive(Debug, Clone, Copy)]
struct Shared {
    mode: u32,
    uid: u32,
    gid: u32,
    /// As an index has them.
    xattrs: Text,
}

/// All attributes of a layer; those that are equal, but for the time, once.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    shared: Vec<Shared>,
    found: HashTable<u32>,
    hasher: RandomState,
}

impl Stamps {
    /// Keeps attributes; `None` when `texts` is full.
    pub(super) fn add(&mut self, texts: &mut Texts, attrs: &Attrs) -> Option<Stamp> {
        let Self { shared, found, hasher } = self;
        let Attrs { mode, uid, gid, mtime: Timestamp { secs, nanos }, .. } = *attrs;
        let xattrs = pack_xattrs(&attrs.xattrs)?;
        let hash = hasher.hash_one((mode, uid, gid, &xattrs[..]));
        let same = found.find(hash, |number| {
            shared
                .get(*number as usize)
                .is_some_and(|one| (one.mode, one.uid, one.gid, texts.get(one.xattrs)) == (mode, uid, gid, &xattrs[..]))
        });
        if let Some(same) = same {
            return Some(Stamp { secs, nanos, shared: *same });
        }
        let number = u32::try_from(shared.len()).ok()?;
        shared.push(Shared { mode, uid, gid, xattrs: texts.add(&xattrs)? });
        found.insert_unique(hash, number, |number| {
            let one = shared.get(*number as usize);
            one.map_or(0, |one| hasher.hash_one((one.mode, one.uid, one.gid, texts.get(one.xattrs))))
        });
        Some(Stamp { secs, nanos, shared: number })
    }

    #[expect(clippy::indexing_slicing, reason = "a stamp is only made with what it shares, which is never removed")]
    pub(super) fn get(&self, texts: &Texts, stamp: Stamp) -> Attrs {
        let Shared { mode, uid, gid, xattrs } = self.shared[stamp.shared as usize];
        let mtime = Timestamp { secs: stamp.secs, nanos: stamp.nanos };
        // They were packed here.
        Attrs { mode, uid, gid, mtime, xattrs: unpack_xattrs(texts.get(xattrs)).unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_comes_out() {
        let mut texts = Texts::default();
        let pieces: [&[u8]; 4] = [b"", b"a", b"", &[0xff; 300]];
        let kept = pieces.map(|piece| texts.add(piece).unwrap());
        assert_eq!(kept.map(|text| texts.get(text)), pieces);
    }

    #[test]
    fn attributes_that_differ_in_time_alone_are_kept_once() {
        let (mut texts, mut stamps) = (Texts::default(), Stamps::default());
        let plain = Attrs { mode: 0o4755, uid: 1, gid: 2, ..Attrs::default() };
        let xattrs = [(b"user.a".to_vec(), b"\0".to_vec()), (b"user.b".to_vec(), Vec::new())];
        let mut all = vec![plain.clone()];
        all.push(Attrs { mode: 0o755, ..plain.clone() });
        all.push(Attrs { uid: 2, ..plain.clone() });
        all.push(Attrs { gid: 1, ..plain.clone() });
        all.push(Attrs { xattrs: xattrs.clone().into(), ..plain.clone() });
        all.push(Attrs { xattrs: xattrs.into_iter().skip(1).collect(), ..plain });
        for secs in 0..100 {
            for attrs in &all {
                let attrs = Attrs { mtime: Timestamp { secs: secs - 50, nanos: 7 }, ..attrs.clone() };
                let stamp = stamps.add(&mut texts, &attrs).unwrap();
                assert_eq!(stamps.get(&texts, stamp), attrs);
            }
        }
        assert_eq!(stamps.shared.len(), all.len());
    }
}
