//! Inode numbers: what `st_ino` shows, the same from the first sight of a file on, over copy-up, rename and a new mount.
//!
//! Where all layers are on one device, a file has the number that it has there, and what is brought up keeps that of the lower file. Otherwise numbers say
//! which layer they are of:
//!
//! ```text
//! upper   1 | 63 bits: the number on disk
//! lower   0 | 10 bits: the layer, counted from the base, so that a layer on top changes nothing | 53 bits: the number on disk, or the index's record
//! ```
//!
//! What has been brought up has the number of the lower file in an attribute ([`mica_layer::Marks::ino`]); a directory that merges has the number of its topmost lower part.

/// How numbers of one union are made.
#[derive(Debug)]
pub(crate) struct Numbers {
    coded: bool,
    layers: u64,
}

const NUMBER: u32 = 53;
const UPPER: u64 = 1 << 63;

impl Numbers {
    /// For so many lowers; `coded` where they are not all on one device.
    pub(crate) fn new(layers: usize, coded: bool) -> Self {
        Self { coded, layers: u64::try_from(layers).unwrap_or(0) }
    }

    pub(crate) fn upper(&self, ino: u64) -> u64 {
        if self.coded { ino | UPPER } else { ino }
    }

    /// The number of a lower's file. One that is larger than 53 bits is folded.
    pub(crate) fn lower(&self, slot: u16, ino: u64) -> u64 {
        if !self.coded {
            return ino;
        }
        let from_base = self.layers.saturating_sub(u64::from(slot)) & 0x3ff;
        from_base << NUMBER | (ino ^ ino >> NUMBER) & ((1 << NUMBER) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_one_device_are_those_on_disk() {
        let numbers = Numbers::new(3, false);
        assert_eq!((numbers.upper(7), numbers.lower(0, 7), numbers.lower(2, u64::MAX)), (7, 7, u64::MAX));
    }

    #[test]
    fn a_layer_on_top_changes_no_number_and_no_two_layers_share_one() {
        let (three, four) = (Numbers::new(3, true), Numbers::new(4, true));
        assert_eq!(three.lower(0, 9), four.lower(1, 9));
        assert_eq!(three.lower(2, 9), four.lower(3, 9));
        let mut all: Vec<u64> = (0..501).map(|slot| Numbers::new(501, true).lower(slot, (1 << NUMBER) - 1)).collect();
        all.push(Numbers::new(501, true).upper(7));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
