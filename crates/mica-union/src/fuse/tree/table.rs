//! All nodes by number: sharded, with generations, so that a number used again is another node's.
//!
//! ```text
//!   number     generation (32 bits) | chunk (22) | place in it (6) | shard (4)
//!   Shard      chunks, and which of them have room
//!   Chunk      64 places, of which a bit each is used; one generation for all
//! ```
//!
//! A place costs 8 bytes and no more, and a chunk that nobody is in costs its generation. That is one more with each node that goes, so no two nodes that
//! were at one place have the same.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::node::Node;

/// The number that FUSE gives to the root.
pub(crate) const ROOT: u64 = 1;

const SHARDS: u32 = 16;

/// Places of a chunk: the bits of [`Chunk::used`].
const PLACES: u32 = u64::BITS;

const CHUNKS: u32 = 1 << (u32::BITS - PLACES.ilog2() - SHARDS.ilog2());

type Place = Option<Arc<Node>>;

/// A chunk that has somebody in it, or could have.
#[derive(Debug, Default)]
struct Chunk {
    /// `None` where nobody is.
    places: Option<Box<[Place; PLACES as usize]>>,
    used: u64,
    /// `None` when all are used up: nobody comes in any more.
    generation: Option<u32>,
}

#[derive(Debug, Default)]
struct Shard {
    chunks: Vec<Chunk>,
    /// Those that have room, once each.
    roomy: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct Table {
    shards: Box<[RwLock<Shard>]>,
    turn: AtomicU32,
}

/// Where a node is.
#[derive(Debug, Clone, Copy)]
struct Number {
    shard: u32,
    chunk: u32,
    place: u32,
    generation: u32,
}

impl Number {
    fn of(id: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = id.to_le_bytes();
        let (number, generation) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        let inside = number / SHARDS;
        Self { shard: number % SHARDS, chunk: inside / PLACES, place: inside % PLACES, generation }
    }

    fn id(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from((self.chunk * PLACES + self.place) * SHARDS + self.shard)
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Chunk {
    const fn new() -> Self {
        Self { places: None, used: 0, generation: Some(0) }
    }

    /// The first place with nobody in it, and the generation of who comes there.
    fn room(&self) -> Option<(u32, u32)> {
        let place = self.used.trailing_ones();
        self.generation.filter(|_| place < PLACES).map(|generation| (place, generation))
    }

    fn get(&self, place: u32) -> Option<&Arc<Node>> {
        self.places.as_ref()?.get(index(place))?.as_ref()
    }

    fn put(&mut self, place: u32, node: Arc<Node>) {
        let places = self.places.get_or_insert_with(|| Box::new([const { None }; PLACES as usize]));
        if let Some(slot) = places.get_mut(index(place)) {
            *slot = Some(node);
            self.used |= 1 << place;
        }
    }

    fn take(&mut self, place: u32) -> Option<Arc<Node>> {
        let taken = self.places.as_mut()?.get_mut(index(place))?.take()?;
        self.used &= !(1 << place);
        self.generation = self.generation.and_then(|generation| generation.checked_add(1));
        // Number 0 is used by nobody, so the bits do not say it of its chunk.
        if self.used.count_ones() <= 1 && self.places.iter().all(|places| places.iter().all(Option::is_none)) {
            self.places = None;
        }
        Some(taken)
    }
}

impl Shard {
    /// A chunk with room, which is the last of those then, and the place and the generation there.
    fn room(&mut self) -> Option<(u32, u32, u32)> {
        loop {
            let Some(chunk) = self.roomy.last().copied() else {
                let chunk = u32::try_from(self.chunks.len()).ok().filter(|chunk| *chunk < CHUNKS)?;
                self.chunks.push(Chunk::new());
                self.roomy.push(chunk);
                continue;
            };
            match self.chunks.get(index(chunk)).and_then(Chunk::room) {
                Some((place, generation)) => return Some((chunk, place, generation)),
                // Its generations were used up since.
                None => self.roomy.pop(),
            };
        }
    }
}

impl Table {
    pub(crate) fn new() -> Self {
        let mut first = Shard::default();
        // Number 0 is FUSE's word for no node, and the root's is 1: the place is never given to anybody.
        first.chunks.push(Chunk { used: 1, ..Chunk::new() });
        first.roomy.push(0);
        let shards = std::iter::once(first).chain((1..SHARDS).map(|_| Shard::default())).map(RwLock::new).collect();
        Self { shards, turn: AtomicU32::new(Number::of(ROOT).shard) }
    }

    fn shard(&self, number: u32) -> Option<&RwLock<Shard>> {
        self.shards.get(index(number))
    }

    /// Adds what `make` makes of its number; the first is the root. `None` when there are four thousand million.
    pub(crate) fn add(&self, make: impl FnOnce(u64) -> Node) -> Option<Arc<Node>> {
        let number = self.turn.fetch_add(1, Ordering::Relaxed) % SHARDS;
        let mut shard = self.shard(number)?.write().unwrap_or_else(PoisonError::into_inner);
        let (chunk, place, generation) = shard.room()?;
        let node = Arc::new(make(Number { shard: number, chunk, place, generation }.id()));
        let chunk = shard.chunks.get_mut(index(chunk))?;
        chunk.put(place, Arc::clone(&node));
        if chunk.room().is_none() {
            shard.roomy.pop();
        }
        Some(node)
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<Node>> {
        let number = Number::of(id);
        let shard = self.shard(number.shard)?.read().unwrap_or_else(PoisonError::into_inner);
        shard.chunks.get(index(number.chunk))?.get(number.place).filter(|node| node.id == id).map(Arc::clone)
    }

    pub(crate) fn remove(&self, id: u64) -> Option<Arc<Node>> {
        let number = Number::of(id);
        let mut shard = self.shard(number.shard)?.write().unwrap_or_else(PoisonError::into_inner);
        let chunk = shard.chunks.get_mut(index(number.chunk))?;
        chunk.get(number.place).filter(|node| node.id == id)?;
        let was_full = chunk.room().is_none();
        let removed = chunk.take(number.place);
        if was_full && chunk.room().is_some() {
            shard.roomy.push(number.chunk);
        }
        removed
    }

    /// The numbers of the nodes that fit.
    pub(crate) fn all(&self, fits: impl Fn(&Arc<Node>) -> bool) -> Vec<u64> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let places = shard.chunks.iter().filter_map(|chunk| chunk.places.as_deref()).flatten();
            found.extend(places.flatten().filter(|node| fits(node)).map(|node| node.id));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use mica_sys::Metadata;

    use super::super::node::{Shows, State};
    use super::super::seen::of_nothing;
    use super::*;

    fn add(table: &Table) -> Arc<Node> {
        let attributes: Metadata = of_nothing();
        table.add(|id| Node::new(id, 1, State::new(attributes, Shows::Parts, None), None)).unwrap()
    }

    #[test]
    fn the_first_is_the_root_and_no_number_is_given_twice() {
        let table = Table::new();
        let root = add(&table);
        assert_eq!(root.id, ROOT);
        let mut seen = HashSet::from([0, ROOT]);
        let mut here: Vec<u64> = Vec::new();
        for round in 0..20u64 {
            for _ in 0..3000 {
                let node = add(&table);
                assert!(seen.insert(node.id), "{}", node.id);
                here.push(node.id);
            }
            // Every other one, all of one half, or all go.
            let goes = |at: usize| match round % 3 {
                0 => at.is_multiple_of(2),
                1 => at < 2000,
                _ => true,
            };
            let (gone, left): (Vec<_>, Vec<_>) = here.iter().copied().enumerate().partition(|(at, _)| goes(*at));
            for (_, id) in &gone {
                assert_eq!(table.remove(*id).map(|node| node.id), Some(*id));
                assert!(table.remove(*id).is_none() && table.get(*id).is_none());
            }
            here = left.into_iter().map(|(_, id)| id).collect();
            assert!(here.iter().all(|id| table.get(*id).is_some_and(|node| node.id == *id)));
        }
        let mut all = table.all(|_| true);
        all.sort_unstable();
        here.push(ROOT);
        here.sort_unstable();
        assert_eq!(all, here);
    }

    #[test]
    fn places_are_used_again_and_what_nobody_is_in_is_given_back() {
        let table = Table::new();
        for _ in 0..5 {
            let ids: Vec<u64> = (0..10_000).map(|_| add(&table).id).collect();
            assert!(ids.iter().all(|id| Number::of(*id).chunk < 11), "no more than there were at once");
            ids.into_iter().for_each(|id| drop(table.remove(id)));
        }
        for shard in &table.shards {
            let shard = shard.read().unwrap();
            assert!(shard.chunks.iter().all(|chunk| chunk.places.is_none()));
            assert_eq!(shard.chunks.len(), shard.roomy.len(), "each is known once to have room");
        }
    }

    #[test]
    fn a_chunk_whose_generations_are_used_up_is_never_used_again() {
        let table = Table::new();
        let ids: Vec<u64> = (0..SHARDS).map(|_| add(&table).id).collect();
        table.shards[2].write().unwrap().chunks[0].generation = Some(u32::MAX);
        let last = (0..SHARDS).map(|_| add(&table).id).find(|id| id % 16 == 2).unwrap();
        assert_eq!(Number::of(last).generation, u32::MAX);
        assert!(table.remove(last).is_some() && table.remove(ids[1]).is_some());
        let next = (0..SHARDS).map(|_| add(&table).id).find(|id| id % 16 == 2).unwrap();
        assert_eq!((Number::of(next).chunk, Number::of(next).generation), (1, 0));
    }

    #[test]
    fn a_number_says_where_its_node_is() {
        for id in [0, 1, u64::from(u32::MAX), u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(Number::of(id).id(), id);
        }
    }
}
