//! Owners by number: a user and a group, which very many files have in common, in 16 bits.
//!
//! A set that only grows, of a fixed size and without a lock: where a pair stands is its number. Memory is used for what has been put into it alone.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a pair is in the set; no pair is [`NOBODY`].
static PAIRS: [AtomicU64; 1 << 16] = [const { AtomicU64::new(NOBODY) }; 1 << 16];

const NOBODY: u64 = 0;

/// A pair stands so many places at most behind where it belongs.
const FAR: u16 = 64;

/// A user and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner(u16);

impl Owner {
    /// The number of a pair; `None` where there is no room for it any more.
    pub(super) fn of(uid: u32, gid: u32) -> Option<Self> {
        // The one pair that would be nobody is of two IDs that no file can have (chown(2) takes them for "as it was").
        let pair = !(u64::from(uid) << 32 | u64::from(gid));
        let [.., first, second] = pair.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        let first = u16::from_le_bytes([first, second]);
        if pair == NOBODY {
            return None;
        }
        for place in (0..FAR).map(|step| first.wrapping_add(step)) {
            let slot = PAIRS.get(usize::from(place))?;
            let found = match slot.load(Ordering::Acquire) {
                NOBODY => slot.compare_exchange(NOBODY, pair, Ordering::AcqRel, Ordering::Acquire).err(),
                found => Some(found),
            };
            if found.is_none_or(|found| found == pair) {
                return Some(Self(place));
            }
        }
        None
    }

    pub(super) fn uid(self) -> u32 {
        u32::try_from(self.pair() >> 32).unwrap_or(u32::MAX)
    }

    pub(super) fn gid(self) -> u32 {
        u32::try_from(self.pair() & u64::from(u32::MAX)).unwrap_or(u32::MAX)
    }

    fn pair(self) -> u64 {
        !PAIRS.get(usize::from(self.0)).map_or(NOBODY, |slot| slot.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_has_one_number_and_comes_out_as_it_was_put() {
        for pair in [(0, 0), (0, 1), (1, 0), (1000, 1000), (u32::MAX - 1, u32::MAX), (65_534, 65_534)] {
            let owner = Owner::of(pair.0, pair.1).unwrap();
            assert_eq!((owner.uid(), owner.gid()), pair);
            assert_eq!(Owner::of(pair.0, pair.1), Some(owner));
        }
        assert_eq!(Owner::of(u32::MAX, u32::MAX), None);
    }

    #[test]
    fn threads_that_meet_a_pair_at_once_agree() {
        let all = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (7000..7500).map(|uid| Owner::of(uid, 3).unwrap().0).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(all.iter().all(|places| *places == all[0]));
        let mut places = all[0].clone();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 500);
    }
}
