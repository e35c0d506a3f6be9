//! Nodes that are being brought up, moved or removed: whoever wants the same waits for them alone.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct Busy {
    nodes: Mutex<Nodes>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Nodes {
    held: HashSet<u64>,
    /// How many wait: telling nobody is a system call too.
    waiting: usize,
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
        let mut known = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        while nodes.iter().any(|node| known.held.contains(node)) {
            known.waiting += 1;
            known = self.freed.wait(known).unwrap_or_else(PoisonError::into_inner);
            known.waiting -= 1;
        }
        known.held.extend(nodes);
        Held { busy: self, nodes }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut known = self.busy.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        for node in self.nodes {
            known.held.remove(&node);
        }
        if known.waiting > 0 {
            self.busy.freed.notify_all();
        }
    }
}
