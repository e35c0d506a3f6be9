//! Listings: every name of a directory once, with a cookie that stays; and the end of nodes that nobody needs.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mica_sys::{Dir, DirEntry, Errno, FileKind, heap};

use super::named;
use super::names::What;
use super::node::{Directory, Node};
use super::{MOST_IDLE, ROOT, Tree, errno};

/// A name as it is listed.
#[derive(Debug)]
pub(crate) struct Listed<'a> {
    /// What the next listing goes on from.
    pub(crate) cookie: u64,
    /// One component, `.` or `..`.
    pub(crate) name: &'a [u8],
    /// The inode number, as `stat` shows it.
    pub(crate) ino: u64,
    pub(crate) kind: FileKind,
    /// What it is, where nodes were asked for; `.` and `..` have none.
    pub(crate) node: Option<&'a Arc<Node>>,
}

/// How many names are taken at once, without the names being locked while the caller looks at them.
const BATCH: usize = 128;

/// So many nodes that went leave some megabytes.
const MANY_GONE: u64 = 1 << 15;

impl Tree {
    /// Lists the names of a directory from where the name with a cookie was listed, 0 being before the first, the newest name first: what is made meanwhile is not listed, so that
    /// who renames what it reads comes to an end. `each` says whether there is room for more. With `nodes`, every name comes with its node, which
    /// the caller counts as looked up if it tells the kernel. A name that goes while it is listed is left out. No names may be locked.
    ///
    /// # Errors
    /// `ENOTDIR`; those of a layer that cannot be read.
    pub(crate) fn list(
        &self,
        dir: &Node,
        from: u64,
        nodes: bool,
        each: &mut dyn FnMut(Listed<'_>) -> bool,
    ) -> Result<(), Errno> {
        let directory = dir.directory()?;
        if from < 1 && !each(Listed { cookie: 1, name: b".", ino: dir.ino, kind: FileKind::Directory, node: None }) {
            return Ok(());
        }
        if from < 2 {
            let above = dir.state().at.first().and_then(|at| self.node(at.parent));
            let ino = above.map_or(dir.ino, |above| above.ino);
            if !each(Listed { cookie: 2, name: b"..", ino, kind: FileKind::Directory, node: None }) {
                return Ok(());
            }
        }
        if directory.read().gone {
            return Ok(());
        }
        if !directory.read().complete {
            self.complete(dir, directory)?;
        }
        // Behind `..` comes the newest.
        let mut from = if from <= 2 { u64::MAX } else { from };
        loop {
            let batch: Vec<_> = {
                let names = directory.read();
                let shown = names.before(from).filter(|(entry, _)| entry.what() != What::Whiteout);
                shown.take(BATCH).map(|(entry, name)| (*entry, Box::<[u8]>::from(name))).collect()
            };
            let Some((last, _)) = batch.last() else { return Ok(()) };
            from = last.cookie();
            for (entry, name) in batch {
                let node = match entry.what() {
                    What::Node(id) => self.node(id),
                    _ => None,
                };
                // An empty file may stand for a device, and what is in the upper has the number that it had before.
                let needed = nodes || entry.ino() == 0 || entry.kind == FileKind::File;
                let node = match node {
                    None if needed => match self.lookup(dir, &name) {
                        Ok(Some(node)) => Some(node),
                        Ok(None) | Err(Errno::NOENT) => continue,
                        Err(error) => return Err(error),
                    },
                    node => node,
                };
                let (ino, kind) = node.as_ref().map_or((entry.ino(), entry.kind), |node| (node.ino, node.kind));
                let node = node.as_ref().filter(|_| nodes);
                if !each(Listed { cookie: entry.cookie(), name: &name, ino, kind, node }) {
                    return Ok(());
                }
            }
        }
    }

    /// Reads every name of a directory.
    pub(crate) fn complete(&self, dir: &Node, directory: &Directory) -> Result<(), Errno> {
        // Lowers do not change, so they are read before anything is locked.
        let mut parts = Vec::new();
        for part in directory.parts.iter() {
            if let Some(entries) = self.lowers.names_said(part)? {
                parts.push((part.slot, self.lowers.layer(part.slot)?.dev, entries));
                continue;
            }
            let (open, entries) = self.lowers.read(part, &self.handles)?;
            let dev = open.metadata().map_err(errno)?.dev;
            let entries = self.names_of(&open, entries, part.may_mark, self.lowers.has_named_whiteouts())?;
            if directory.parts.len() > 1 {
                part.was_listed(&entries);
            }
            parts.push((part.slot, dev, entries));
        }
        for _ in 0..64 {
            let upper = self.upper_dir_of(dir)?;
            let mut names = directory.write();
            if names.complete {
                return Ok(());
            }
            if names.gone {
                return Err(Errno::NOENT);
            }
            if upper.is_none() && dir.is_up() {
                continue;
            }
            let above = match upper {
                Some(upper) => self.names_of(&upper, upper.read_dir().map_err(errno)?, true, false)?,
                None => Vec::new(),
            };
            let most = parts.iter().map(|(_, _, entries)| entries.len()).chain([above.len()]).max();
            names.expect(most.unwrap_or(0));
            for entry in above {
                if names.find(&entry.found.name).is_none() {
                    let what = if entry.whiteout { What::Whiteout } else { What::Unseen { part: 0 } };
                    names.set(&entry.found.name, what, entry.found.kind, 0);
                }
            }
            // What a lower hides stands in no names.
            let mut hidden: HashSet<&[u8]> = HashSet::new();
            for (number, (slot, dev, entries)) in (1u16..).zip(&parts) {
                for entry in entries {
                    let name = entry.found.name.as_slice();
                    if names.find(name).is_some() || hidden.contains(name) {
                        continue;
                    }
                    if entry.whiteout {
                        hidden.insert(name);
                        continue;
                    }
                    let ino = match entry.found.ino {
                        0 => 0,
                        ino => self.numbers.lower(*slot, self.lowers.number(*slot, *dev, ino)?),
                    };
                    names.set(name, What::Unseen { part: number }, entry.found.kind, ino);
                }
            }
            names.is_complete();
            return Ok(());
        }
        Err(Errno::AGAIN)
    }

    /// The names that were read in one directory of one layer, and which of them are whiteouts: by attributes where they may be marked so, with `named` by their names besides.
    fn names_of(&self, dir: &Dir, entries: Vec<DirEntry>, may_mark: bool, named: bool) -> Result<Vec<Found>, Errno> {
        let opaque = || dir.get_own_xattr(self.signs.marks.opaque()).map_err(errno);
        let marked = may_mark && opaque()?.is_some_and(|value| value == b"x");
        let found = entries.into_iter().map(|found| {
            let whiteout = match found.kind {
                FileKind::CharDevice => {
                    dir.stat_if_there(&found.name).map_err(errno)?.is_some_and(|metadata| metadata.is_whiteout_device())
                }
                FileKind::File if marked => {
                    dir.get_xattr(&found.name, self.signs.marks.whiteout()).map_err(errno)?.is_some()
                }
                _ => false,
            };
            Ok(Found { found, whiteout })
        });
        let mut found = found.collect::<Result<Vec<Found>, Errno>>()?;
        if named {
            let (said, mut names): (Vec<Found>, Vec<Found>) =
                found.into_iter().partition(|entry| named::is_said(&entry.found.name));
            // Behind the names: of what is deleted and made again, the new one is listed.
            let files = said.into_iter().filter(|entry| entry.found.kind == FileKind::File);
            names.extend(files.filter_map(|entry| {
                let name = named::hidden_by(&entry.found.name)?.to_vec();
                Some(Found { found: DirEntry { name, ..entry.found }, whiteout: true })
            }));
            found = names;
        }
        Ok(found)
    }

    /// The kernel gives look-ups back. A node that has none left, and that nobody needs, is dropped; it is found again.
    pub(crate) fn forget(&self, id: u64, lookups: u64) {
        if id == ROOT {
            return;
        }
        if let Some(node) = self.node(id)
            && node.forget(lookups)
        {
            self.drop_idle(&node);
        }
    }

    /// Drops a node, and those above it that were there for it alone.
    fn drop_idle(&self, node: &Arc<Node>) {
        let (mut above, mut gone) = (vec![Arc::clone(node)], 0);
        while let Some(node) = above.pop() {
            if node.id == ROOT || self.is_needed(&node) || !node.leave() {
                continue;
            }
            let at = std::mem::take(&mut node.state().at);
            for at in at.iter() {
                let Some(parent) = self.node(at.parent) else { continue };
                let Ok(directory) = parent.directory() else { continue };
                // What is in the upper is looked for there first, what is not in all parts.
                let found = What::Unseen { part: 0 };
                directory.write().replace(at.cookie(), What::Node(node.id), found, node.ino);
                if parent.lookups() == 0 {
                    above.push(parent);
                }
            }
            self.links.forget(node.id);
            self.drop_orphan(node.id);
            self.handles.forget(super::Key::Upper(node.id));
            self.table.remove(node.id);
            gone += 1;
        }
        if self.gone.fetch_add(gone, Ordering::Relaxed) >= MANY_GONE
            && self.gone.swap(0, Ordering::Relaxed) >= MANY_GONE
        {
            heap::give_back();
        }
    }

    /// Whether something in memory is known through this node alone.
    fn is_needed(&self, node: &Node) -> bool {
        let Ok(directory) = node.directory() else { return false };
        directory.read().after(0).any(|(entry, _)| match entry.what() {
            What::Node(id) => self.node(id).is_some_and(|child| !child.has_left()),
            _ => false,
        })
    }

    /// Drops what nobody looked up, now and then.
    pub(crate) fn sweep(&self) {
        if self.idle.load(Ordering::Relaxed) < MOST_IDLE || self.idle.swap(0, Ordering::Relaxed) < MOST_IDLE {
            return;
        }
        self.drop_all_idle();
    }

    pub(crate) fn drop_all_idle(&self) {
        // A node that somebody holds at this moment has more references than the table's.
        for id in self.table.all(|node| node.lookups() == 0 && Arc::strong_count(node) == 1) {
            if let Some(node) = self.node(id)
                && Arc::strong_count(&node) == 2
            {
                self.drop_idle(&node);
            }
        }
    }
}

/// A name in a directory of a layer.
pub(super) struct Found {
    pub(super) found: DirEntry,
    pub(super) whiteout: bool,
}
