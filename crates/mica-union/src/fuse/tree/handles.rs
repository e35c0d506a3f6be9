//! A bounded cache of open directories.
//!
//! A process may have some thousands of descriptors, and trees have more directories: what was not used for longest is closed, and opened again step by step when it is needed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use mica_sys::Dir;

/// Whose handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// The directory of the upper that is this node.
    Upper(u64),
    /// The directory of a lower with this number.
    Lower(u64),
}

#[derive(Debug)]
pub(crate) struct Handles {
    shards: Box<[Mutex<Shard>]>,
    most: usize,
}

#[derive(Debug, Default)]
struct Shard {
    clock: u64,
    by_key: HashMap<Key, (u64, Arc<Dir>)>,
    by_use: BTreeMap<u64, Key>,
}

const SHARDS: u64 = 8;

impl Handles {
    /// Keeps at most `most` open, and somewhat more while they are used.
    pub(crate) fn new(most: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, most: (most / 8).max(1) }
    }

    fn shard(&self, key: Key) -> Option<&Mutex<Shard>> {
        let (Key::Upper(number) | Key::Lower(number)) = key;
        // The high half of an upper's number says how often the low one was used before.
        usize::try_from((number ^ (number >> 32)) % SHARDS).ok().and_then(|shard| self.shards.get(shard))
    }

    pub(crate) fn get(&self, key: Key) -> Option<Arc<Dir>> {
        let mut shard = self.shard(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        let shard = &mut *shard;
        let (used, dir) = shard.by_key.get_mut(&key)?;
        // The latest needs no new place: walks ask for one directory many times.
        if *used != shard.clock {
            shard.by_use.remove(used);
            shard.clock += 1;
            *used = shard.clock;
            shard.by_use.insert(shard.clock, key);
        }
        Some(Arc::clone(dir))
    }

    pub(crate) fn put(&self, key: Key, dir: &Arc<Dir>) {
        let Some(shard) = self.shard(key) else { return };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.clock += 1;
        let clock = shard.clock;
        if let Some((before, _)) = shard.by_key.insert(key, (clock, Arc::clone(dir))) {
            shard.by_use.remove(&before);
        }
        shard.by_use.insert(clock, key);
        while shard.by_key.len() > self.most
            && let Some((_, oldest)) = shard.by_use.pop_first()
        {
            shard.by_key.remove(&oldest);
        }
    }

    /// Closes all but those that somebody uses.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.by_use.clear();
            let closed = std::mem::take(&mut shard.by_key);
            drop(shard);
            drop(closed);
        }
    }

    pub(crate) fn forget(&self, key: Key) {
        drop(self.remove(key));
    }

    /// The handle `dir` with nobody else who holds it, taken out of here; it itself where somebody does.
    pub(crate) fn alone(&self, key: Key, dir: Arc<Dir>) -> Result<Dir, Arc<Dir>> {
        drop(self.remove(key));
        Arc::try_unwrap(dir)
    }

    fn remove(&self, key: Key) -> Option<Arc<Dir>> {
        let mut shard = self.shard(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        let (used, dir) = shard.by_key.remove(&key)?;
        shard.by_use.remove(&used);
        Some(dir)
    }
}
