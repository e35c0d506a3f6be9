//! All nodes by number: sharded, with generations, so that a number used again is another node's.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::node::Node;

/// The number that FUSE gives to the root.
pub(crate) const ROOT: u64 = 1;

const SHARDS: u32 = 16;

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    node: Option<Arc<Node>>,
}

#[derive(Debug, Default)]
struct Shard {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct Table {
    shards: Box<[RwLock<Shard>]>,
    turn: AtomicU32,
}

/// A number is the slot's in the low half, and how often that was used before in the high one.
fn split(id: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = id.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

fn join(number: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(number)
}

impl Table {
    pub(crate) fn new() -> Self {
        let table =
            Self { shards: (0..SHARDS).map(|_| RwLock::default()).collect(), turn: AtomicU32::new(split(ROOT).0) };
        // Number 0 is FUSE's word for no node.
        if let Some(shard) = table.shard(0) {
            shard.write().unwrap_or_else(PoisonError::into_inner).slots.push(Slot::default());
        }
        table
    }

    fn shard(&self, number: u32) -> Option<&RwLock<Shard>> {
        self.shards.get(usize::try_from(number % SHARDS).ok()?)
    }

    /// Adds what `make` makes of its number; the first is the root. `None` when there are four thousand million.
    pub(crate) fn add(&self, make: impl FnOnce(u64) -> Node) -> Option<Arc<Node>> {
        let shard_number = self.turn.fetch_add(1, Ordering::Relaxed) % SHARDS;
        let mut shard = self.shard(shard_number)?.write().unwrap_or_else(PoisonError::into_inner);
        let slot_number = match shard.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(shard.slots.len()).ok().filter(|slot| *slot < u32::MAX / SHARDS)?;
                shard.slots.push(Slot::default());
                slot
            }
        };
        let slot = shard.slots.get_mut(usize::try_from(slot_number).ok()?)?;
        let node = Arc::new(make(join(slot_number * SHARDS + shard_number, slot.generation)));
        slot.node = Some(Arc::clone(&node));
        Some(node)
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<Node>> {
        let (number, generation) = split(id);
        let shard = self.shard(number)?.read().unwrap_or_else(PoisonError::into_inner);
        let slot = shard.slots.get(usize::try_from(number / SHARDS).ok()?)?;
        slot.node.as_ref().filter(|_| slot.generation == generation).map(Arc::clone)
    }

    pub(crate) fn remove(&self, id: u64) -> Option<Arc<Node>> {
        let (number, generation) = split(id);
        let mut shard = self.shard(number)?.write().unwrap_or_else(PoisonError::into_inner);
        let slot_number = number / SHARDS;
        let slot = shard.slots.get_mut(usize::try_from(slot_number).ok()?)?;
        if slot.generation != generation {
            return None;
        }
        let removed = slot.node.take()?;
        // A number whose generations are used up stays unused.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            shard.free.push(slot_number);
        }
        Some(removed)
    }

    /// The numbers of the nodes that fit.
    pub(crate) fn all(&self, fits: impl Fn(&Arc<Node>) -> bool) -> Vec<u64> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            found.extend(
                shard.slots.iter().filter_map(|slot| slot.node.as_ref()).filter(|node| fits(node)).map(|node| node.id),
            );
        }
        found
    }
}
