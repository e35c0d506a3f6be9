//! Where a name is among the entries of its directory: nothing for a few names, two bytes and a hash for each of some more, four for very many.

use hashbrown::HashTable;

/// So many names are found by looking at each.
const FEW: u32 = 8;

/// So many have indexes of two bytes.
const MOST: u32 = 1 << 16;

/// Indexes of entries, by the hash of their names.
#[derive(Debug, Default)]
pub(super) enum ByName {
    /// At most [`FEW`] entries, removed ones too.
    #[default]
    Few,
    /// At most 65,536, as nearly all directories have.
    Some(HashTable<u16>),
    Many(HashTable<u32>),
}

impl ByName {
    /// The index of a name of which `same` is true, among so many entries.
    pub(super) fn find(&self, count: u32, hash: impl FnOnce() -> u64, same: impl Fn(u32) -> bool) -> Option<u32> {
        match self {
            Self::Few => (0..count.min(FEW)).find(|index| same(*index)),
            Self::Some(table) => table.find(hash(), |index| same(u32::from(*index))).map(|index| u32::from(*index)),
            Self::Many(table) => table.find(hash(), |index| same(*index)).copied(),
        }
    }

    /// Adds the entry with this index, the next one. `hash` is that of the name of an entry; one that was removed has none.
    pub(super) fn add(&mut self, index: u32, hash: &impl Fn(u32) -> Option<u64>) {
        self.expect(index, index.saturating_add(1), hash);
        self.insert(index, hash);
    }

    fn insert(&mut self, index: u32, hash: &impl Fn(u32) -> Option<u64>) {
        let Some(own) = hash(index) else { return };
        match self {
            Self::Few => {}
            Self::Some(table) => {
                if let Ok(index) = u16::try_from(index) {
                    table.insert_unique(own, index, |index| hash(u32::from(*index)).unwrap_or_default());
                }
            }
            Self::Many(table) => {
                table.insert_unique(own, index, |index| hash(*index).unwrap_or_default());
            }
        }
    }

    /// Of so many entries there will be `count`.
    pub(super) fn expect(&mut self, known: u32, count: u32, hash: &impl Fn(u32) -> Option<u64>) {
        let room = usize::try_from(count).unwrap_or(usize::MAX);
        *self = match self {
            Self::Few if count > FEW && count <= MOST => Self::Some(HashTable::with_capacity(room)),
            Self::Few | Self::Some(_) if count > MOST => Self::Many(HashTable::with_capacity(room)),
            _ => return,
        };
        (0..known).for_each(|index| self.insert(index, hash));
    }

    /// Forgets the entry with this index, whose name has this hash.
    pub(super) fn remove(&mut self, index: u32, hash: u64) {
        match self {
            Self::Few => {}
            Self::Some(table) => {
                if let Ok(found) = table.find_entry(hash, |other| u32::from(*other) == index) {
                    found.remove();
                }
            }
            Self::Many(table) => {
                if let Ok(found) = table.find_entry(hash, |other| *other == index) {
                    found.remove();
                }
            }
        }
    }
}
