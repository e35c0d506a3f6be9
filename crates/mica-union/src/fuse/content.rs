//! The files that are open, by node: what backs each now, in which way the kernel reads it, and how many have it open.
//!
//! There is nothing to keep for one open of a file: the kernel has its position and its locks, and what a write goes to is the
//! file's affair and not the opener's. So there is one [`Opened`] for each node that is open, and the handle that the kernel gets says nothing.
//!
//! # Ways
//!
//! The kernel takes one way for all opens of an inode, and mixing them is `EIO` (fs/fuse/iomode.c, Linux 6.9). So the way is chosen at the first open and
//! kept until the last is released:
//!
//! * *Cached*: by the page cache of the mount, which asks for what it lacks and sends what is written. What a request is answered from is what backs the node
//!   at that moment: who opened a file before its copy-up reads what was written after it. Mappings are coherent, for their pages are the mount's.
//! * *Passthrough*: by a backing file of the kernel's own, without us. Only files of the upper go this way, from their first open for writing on. Lowers never do: a mapping
//!   or an open file would go on showing the lower's content after a copy-up, and what was saved is one copy of each page that is read first.
//!
//! # Opened again
//!
//! A lower's file that was opened for reading stays open for a while when nobody has it open any more, since libraries, headers and the like are opened again and again: that
//! saves opening it and asking whether it has its content. It goes with its node, or when there are too many. Files of the upper are closed at once.
//!
//! # Without opens
//!
//! Where nothing is handed to the kernel, opening is nothing that it must ask about: it checks permissions itself, and what is opened is found by its node when it is read or written. So
//! the first `OPEN` is answered by `ENOSYS`, and none comes any more (`FUSE_NO_OPEN_SUPPORT`): opening and closing cost what they cost in memory. A lower file comes up at its first
//! write and not when it is opened for writing; want of space is told there. What backs files then is a cache, which lets go of what was not used.
//!
//! # Attributes
//!
//! While a file is written past us, its attributes in memory are not true: they are read again for each question, and the kernel is told not to believe them
//! longer. What its page cache had of the file is old then too, so the next cached open drops it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mica_sys::process::open_files_limit;
use mica_sys::{Errno, File};

use super::tree::Node;

/// What a file is opened for besides reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Writes {
    #[default]
    No,
    Anywhere,
    /// `O_APPEND`: all that a file with chattr(1)'s `a` allows.
    AtEnd,
}

/// In which way the kernel reads and writes a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By its page cache, and requests.
    Cached,
    /// By the backing file of this number, without us.
    Passthrough(i32),
}

/// What backs the content of a file.
#[derive(Debug, Clone)]
pub(super) struct Back {
    pub(super) file: Arc<File>,
    /// What it was opened for; for writing only the upper's is.
    pub(super) writes: Writes,
    /// It is the upper's own content.
    pub(super) is_upper: bool,
}

/// A file that is open.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) node: Arc<Node>,
    state: Mutex<State>,
}

/// What of it changes.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Nothing before the first open has found it.
    pub(super) back: Option<Back>,
    /// Not chosen before the first open.
    pub(super) way: Option<Way>,
    /// What chattr(1) has set since forbids some opens: each is tried.
    pub(super) guarded: bool,
}

impl Opened {
    /// What of it changes; held while one more open is answered.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What backs it now.
    pub(super) fn back(&self) -> Result<Back, Errno> {
        self.state().back.clone().ok_or(Errno::BADF)
    }
}

/// All files that are open.
#[derive(Debug)]
pub(super) struct Content {
    shards: Box<[Mutex<Shard>]>,
    /// How many files without opens a shard keeps.
    most_idle: usize,
}

#[derive(Debug, Default)]
struct Shard {
    files: HashMap<u64, Entry>,
    /// Files of lowers that were opened for reading and are not open any more: whoever opens one again finds it here. What is in a lower stays
    /// the same, so there is nothing to ask about it.
    closed: HashMap<u64, Arc<File>>,
}

#[derive(Debug)]
struct Entry {
    opens: u64,
    opened: Arc<Opened>,
}

const SHARDS: u64 = 32;

impl Content {
    /// A quarter of the descriptors that the process may have is for files that nobody counts as open.
    pub(super) fn new() -> Self {
        let most = usize::try_from(open_files_limit() / 4 / SHARDS).unwrap_or(usize::MAX);
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), most_idle: most.clamp(1, 256) }
    }

    /// A number of a node has its turn in the low bits.
    fn shard(&self, node: u64) -> Option<MutexGuard<'_, Shard>> {
        let shard = self.shards.get(usize::try_from(node % SHARDS).ok()?)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts one more open of a file.
    pub(super) fn enter(&self, node: &Arc<Node>) -> Result<Arc<Opened>, Errno> {
        let mut shard = self.shard(node.id).ok_or(Errno::IO)?;
        let closed = shard.closed.remove(&node.id);
        let entry = entry(&mut shard.files, node);
        entry.opens += 1;
        let opened = Arc::clone(&entry.opened);
        // Nobody else has the file yet, or it came up since: then this is not what backs it.
        if let Some(file) = closed.filter(|_| entry.opens == 1 && !node.has_own_content()) {
            opened.state().back = Some(Back { file, writes: Writes::No, is_upper: false });
        }
        Ok(opened)
    }

    /// A file, whether it is open or not. One that is not stays for a while.
    pub(super) fn visit(&self, node: &Arc<Node>) -> Result<Arc<Opened>, Errno> {
        let mut shard = self.shard(node.id).ok_or(Errno::IO)?;
        if shard.files.len() > self.most_idle && !shard.files.contains_key(&node.id) {
            shard.files.retain(|_, entry| entry.opens > 0 || Arc::strong_count(&entry.opened) > 1);
        }
        Ok(Arc::clone(&entry(&mut shard.files, node).opened))
    }

    /// Lets go of every file that is not open, and of what backs one that is and can be found again; but for what somebody uses at this moment.
    pub(super) fn let_go(&self, is_found_again: impl Fn(&Node) -> bool) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let idle = shard.files.extract_if(|_, entry| entry.opens == 0 && Arc::strong_count(&entry.opened) == 1);
            let idle: Vec<_> = idle.collect();
            let closed = std::mem::take(&mut shard.closed);
            let open: Vec<_> = shard.files.values().map(|entry| Arc::clone(&entry.opened)).collect();
            drop(shard);
            drop((idle, closed));
            for opened in open.iter().filter(|opened| is_found_again(&opened.node)) {
                // Who has it locked uses it.
                let Ok(mut state) = opened.state.try_lock() else { continue };
                let back = state.back.take_if(|back| Arc::strong_count(&back.file) == 1);
                drop(state);
                drop(back);
            }
        }
    }

    /// Lets go of a file unless it is open.
    pub(super) fn drop_idle(&self, node: u64) {
        let Some(mut shard) = self.shard(node) else { return };
        shard.closed.remove(&node);
        if shard.files.get(&node).is_some_and(|entry| entry.opens == 0) {
            shard.files.remove(&node);
        }
    }

    /// Counts one less; what was the last gives the file back. A lower's stays open for a while.
    pub(super) fn leave(&self, node: u64) -> Option<Arc<Opened>> {
        let mut shard = self.shard(node)?;
        let entry = shard.files.get_mut(&node)?;
        // None was counted.
        entry.opens = entry.opens.checked_sub(1)?;
        if entry.opens > 0 {
            return None;
        }
        let opened = shard.files.remove(&node)?.opened;
        // No state is waited for with its shard locked: who has it may want the shard. The kernel forgets no node before this is answered.
        drop(shard);
        let lower = opened.state().back.clone().filter(|back| !back.is_upper);
        if let Some(back) = lower {
            let goes = self.shard(node)?.keep(node, back.file, self.most_idle);
            // Closed with the shard unlocked.
            drop(goes);
        }
        Some(opened)
    }

    /// A file that is open.
    pub(super) fn find(&self, node: u64) -> Option<Arc<Opened>> {
        self.shard(node)?.files.get(&node).map(|entry| Arc::clone(&entry.opened))
    }
}

impl Shard {
    /// Keeps a file open; what there is no room for is given back.
    fn keep(&mut self, node: u64, file: Arc<File>, most: usize) -> Option<Arc<File>> {
        let full = self.closed.len() >= most;
        let other = self.closed.keys().next().copied().filter(|_| full);
        let goes = other.and_then(|other| self.closed.remove(&other));
        self.closed.insert(node, file);
        goes
    }
}

fn entry<'a>(files: &'a mut HashMap<u64, Entry>, node: &Arc<Node>) -> &'a mut Entry {
    files.entry(node.id).or_insert_with(|| Entry {
        opens: 0,
        opened: Arc::new(Opened { node: Arc::clone(node), state: Mutex::default() }),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
    use super::*;
    use crate::UnionDirs;

    fn nodes(count: usize) -> (tempfile::TempDir, Vec<Arc<Node>>) {
        let scratch = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        for name in &names {
            std::fs::write(scratch.path().join(name), name).unwrap();
        }
        let dirs = UnionDirs { lowers: vec![scratch.path().to_owned()], ..UnionDirs::default() };
        let tree = Tree::open(&dirs, false, false, &mica_layer::Ability::native()).unwrap();
        let root = tree.root().unwrap();
        let found = names.iter().map(|name| tree.lookup(&root, name.as_bytes()).unwrap().unwrap()).collect();
        (scratch, found)
    }

    #[test]
    fn a_file_is_there_from_the_first_open_to_the_last_release() {
        let (_scratch, nodes) = nodes(1);
        let content = Content::new();
        let (first, second) = (content.enter(&nodes[0]).unwrap(), content.enter(&nodes[0]).unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        assert!(content.leave(nodes[0].id).is_none());
        content.drop_idle(nodes[0].id);
        content.let_go(|_| false);
        assert!(content.find(nodes[0].id).is_some(), "it is open");
        assert!(content.leave(nodes[0].id).is_some());
        assert!(content.find(nodes[0].id).is_none());
        assert!(content.leave(nodes[0].id).is_none(), "a release too many");
    }

    #[test]
    fn a_lowers_file_that_was_closed_is_there_when_it_is_opened_again_until_it_is_forgotten() {
        let (scratch, nodes) = nodes(1 + 2 * usize::try_from(SHARDS).unwrap());
        let content = Content { most_idle: 1, ..Content::new() };
        let back = || Back {
            file: Arc::new(File::from_fd(std::fs::File::open(scratch.path().join("0")).unwrap().into(), b"0")),
            writes: Writes::No,
            is_upper: false,
        };
        let read = |at: usize, back| {
            let opened = content.enter(&nodes[at]).unwrap();
            let found = opened.back().is_ok();
            if !found {
                opened.state().back = Some(back);
            }
            content.leave(nodes[at].id);
            found
        };
        assert!(!read(0, back()));
        assert!(content.find(nodes[0].id).is_none(), "it is not open");
        assert!(read(0, back()) && read(0, back()));
        content.drop_idle(nodes[0].id);
        assert!(!read(0, back()), "forgotten");
        content.let_go(|_| false);
        assert!(!read(0, back()), "there were too many descriptors");
        assert!((1..nodes.len()).all(|at| !read(at, back())));
        let kept: usize = content.shards.iter().map(|shard| shard.lock().unwrap().closed.len()).sum();
        assert_eq!(kept, usize::try_from(SHARDS).unwrap(), "no more than there is room for");
        content.let_go(|_| false);
        assert!(!read(0, Back { is_upper: true, ..back() }));
        assert!(!read(0, back()), "an upper's file is closed");
    }

    #[test]
    fn what_is_not_counted_as_open_goes_when_there_is_too_much_of_it() {
        let (_scratch, nodes) = nodes(8 * usize::try_from(SHARDS).unwrap());
        let content = Content { most_idle: 2, ..Content::new() };
        let open = content.enter(&nodes[0]).unwrap();
        let used = content.visit(&nodes[1]).unwrap();
        for node in &nodes {
            content.visit(node).unwrap();
        }
        let kept = nodes.iter().filter(|node| content.find(node.id).is_some()).count();
        assert!(kept <= 4 * usize::try_from(SHARDS).unwrap(), "{kept} of {}", nodes.len());
        assert!(Arc::ptr_eq(&content.visit(&nodes[0]).unwrap(), &open));
        assert!(Arc::ptr_eq(&content.visit(&nodes[1]).unwrap(), &used), "somebody reads it at this moment");
        drop(used);
        content.let_go(|_| false);
        let kept: Vec<u64> = nodes.iter().map(|node| node.id).filter(|id| content.find(*id).is_some()).collect();
        assert_eq!(kept, [nodes[0].id]);
    }
}
