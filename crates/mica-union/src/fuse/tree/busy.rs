//! Nodes that are being brought up, moved or removed: whoever wants the same waits for them alone.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct Busy {
    nodes: Mutex<HashSet<u64>>,
    freed: Condvar,
}

/// While it lives, the nodes are its holder's.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    busy: &'a Busy,
    nodes: [u64; 2],
}

impl Busy {
    /// Waits until neither is anybody's; then both are the caller's.
    pub(crate) fn hold(&self, nodes: [u64; 2]) -> Held<'_> {
        let mut held = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        while nodes.iter().any(|node| held.contains(node)) {
            held = self.freed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        held.extend(nodes);
        Held { busy: self, nodes }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut held = self.busy.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        for node in self.nodes {
            held.remove(&node);
        }
        drop(held);
        self.busy.freed.notify_all();
    }
}
