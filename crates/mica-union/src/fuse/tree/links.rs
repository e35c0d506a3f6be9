//! The nodes of files of several names, by the file on disk.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which file of which layer; the upper is [`UPPER`].
pub(crate) type LinkKey = (u16, u64);

/// The layer of the upper.
pub(crate) const UPPER: u16 = u16::MAX;

#[derive(Debug, Default)]
pub(crate) struct Links {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    nodes: HashMap<LinkKey, u64>,
    keys: HashMap<u64, Vec<LinkKey>>,
}

impl Links {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: LinkKey) -> Option<u64> {
        self.known().nodes.get(&key).copied()
    }

    pub(crate) fn put(&self, key: LinkKey, node: u64) {
        let mut known = self.known();
        if known.nodes.insert(key, node) != Some(node) {
            known.keys.entry(node).or_default().push(key);
        }
    }

    /// The node is no more.
    pub(crate) fn forget(&self, node: u64) {
        let mut known = self.known();
        for key in known.keys.remove(&node).unwrap_or_default() {
            if known.nodes.get(&key) == Some(&node) {
                known.nodes.remove(&key);
            }
        }
    }
}
