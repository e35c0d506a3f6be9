//! What the tree is told when an operation has been carried out, and what it finds out when one was not.

use std::sync::{Arc, PoisonError, RwLockWriteGuard};

use mica_core::plan::Known;
use mica_sys::{Dir, Errno, File, FileKind, Subject};

use super::handles::Key;
use super::links::UPPER;
use super::names::{Names, What};
use super::node::{Directory, Flag, Node, Shows, State};
use super::seen::{look, plain};
use super::{Standing, Tree, errno};

/// The names of some directories, locked in the order of their numbers.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    names: Vec<(u64, RwLockWriteGuard<'a, Names>)>,
}

impl<'a> Locked<'a> {
    /// Locks them; what is no directory is left out.
    pub(crate) fn new(nodes: &[&'a Node]) -> Self {
        let mut sorted: Vec<&'a Node> = nodes.to_vec();
        sorted.sort_by_key(|node| node.id);
        sorted.dedup_by_key(|node| node.id);
        let names = sorted.into_iter().filter_map(|node| Some((node.id, node.directory.as_ref()?.write()))).collect();
        Self { names }
    }

    /// The names of one of them.
    ///
    /// # Errors
    /// `EIO` for one that is not locked here.
    pub(crate) fn of(&mut self, node: &Node) -> Result<&mut Names, Errno> {
        self.names.iter_mut().find(|(id, _)| *id == node.id).map(|(_, names)| &mut **names).ok_or(Errno::IO)
    }
}

impl Tree {
    /// Something was made at a name; `file` is a regular file, where making it opened it.
    pub(crate) fn made(
        &self,
        dir: &Node,
        names: &mut Names,
        (upper, name): (&Dir, &[u8]),
        file: Option<&File>,
        opaque: bool,
    ) -> Result<Arc<Node>, Errno> {
        let mut found = match file {
            Some(file) => file.metadata().map_err(errno)?,
            None => upper.stat_if_there(name).map_err(errno)?.ok_or(Errno::NOENT)?,
        };
        let subject = file.map_or(Subject::Name(upper, name), Subject::file);
        self.signs.records.show(&mut found, &subject).map_err(errno)?;
        let mut seen = plain(found);
        let kind = seen.attributes.kind;
        // An empty file may stand for a device that cannot be made, or must not.
        if file.is_none() && kind == FileKind::File && seen.attributes.size == 0 {
            seen = look(upper, name, self.signs, true)?.ok_or(Errno::NOENT)?;
        }
        seen.opaque = opaque;
        names.remove(name);
        self.stale(dir);
        let directory = dir.directory()?;
        if kind != FileKind::Directory {
            let node = self.add_upper(dir, directory, names, name, seen)?;
            if file.is_some() {
                node.set(Flag::NoCapability);
            }
            return Ok(node);
        }
        // It is new, so nothing is in it and nothing shows through.
        let own = self.numbers.upper(seen.attributes.ino);
        let standing = Standing { opaque, ..Standing::default() };
        let below = Directory::new(Vec::new(), 0, None);
        below.write().complete = true;
        self.add(dir, names, name, own, kind, Some(below), true, |at| {
            State::new(seen.attributes, Shows::Upper(standing), Some(at))
        })
    }

    /// A file of the upper that has no name yet; it gets one by [`Tree::name`].
    pub(crate) fn unnamed(&self, file: File) -> Result<Arc<Node>, Errno> {
        let mut attributes = file.metadata().map_err(errno)?;
        self.signs.records.show(&mut attributes, &Subject::file(&file)).map_err(errno)?;
        let ino = self.numbers.upper(attributes.ino);
        let state = State::new(attributes, Shows::Upper(Standing::default()), None);
        let node = self.table.add(|id| Node::new(id, ino, state, None)).ok_or(Errno::NFILE)?;
        self.stale(&node);
        self.orphans().insert(node.id, Arc::new(file));
        Ok(node)
    }

    /// What has no name any more, where somebody may still have it.
    pub(crate) fn orphan(&self, node: &Node) -> Option<Arc<File>> {
        {
            let state = node.state();
            if state.stands() || !state.is_up() && !state.at.is_empty() {
                return None;
            }
        }
        self.orphans().get(&node.id).map(Arc::clone)
    }

    /// A lower file that has lost its names stands in the upper now, without a name.
    pub(crate) fn came_up_unnamed(&self, node: &Node, file: &Arc<File>) {
        self.orphans().insert(node.id, Arc::clone(file));
        let mut state = node.state();
        state.shows = Shows::Upper(Standing::default());
        state.at.set_shown(Some(0));
        self.stale(node);
    }

    fn orphans(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<u64, Arc<File>>> {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn drop_orphan(&self, node: u64) {
        self.orphans().remove(&node);
    }

    /// A name is about to go: what is needed of the file when it was the last is kept. `upper` is the directory in the upper, if the name stands there.
    pub(crate) fn keep(&self, node: &Node, dir: &Node, upper: Option<&Dir>, name: &[u8]) -> Result<(), Errno> {
        let (last, up, joining) = {
            let mut state = node.state();
            let up = state.is_up();
            if let Shows::AtName(slot) = state.shows
                && let Some(part) = dir.directory()?.parts.iter().find(|part| part.slot == slot)
                && state.at.len() <= 1
            {
                let file = super::lowers::LowerFile { dir: Arc::clone(part), name: name.into() };
                state.shows = Shows::At(Box::new(file));
            }
            (state.at.len() <= 1 || up && state.at.iter().filter(|at| at.up).count() <= 1, up, state.is_joining())
        };
        if !(last && up && node.lookups() > 0) {
            return Ok(());
        }
        let Some(upper) = upper else { return Ok(()) };
        let mut orphans = self.orphans();
        if joining || orphans.len() < self.most_orphans {
            orphans.insert(node.id, Arc::new(upper.open_path(name).map_err(errno)?));
        }
        Ok(())
    }

    /// A name of a node is gone.
    pub(crate) fn lost(&self, node: &Node, dir: &Node, cookie: u64) {
        let mut state = node.state();
        state.at.retain(|at| !at.is(dir, cookie));
        if let Some(shown) = state.at.shown() {
            state.at.set_shown(Some(shown.saturating_sub(1)));
        }
        if state.is_up() {
            self.stale(node);
        }
        let gone = state.at.is_empty();
        if gone {
            let left = if node.is_directory() { 0 } else { state.kept.nlink().saturating_sub(1) };
            state.kept.change(|metadata| metadata.nlink = left);
            if node.is_directory() || !state.is_up() && state.known() == Known::All {
                state.at.set_shown(Some(0));
            }
        }
        drop(state);
        if gone && node.is_directory() {
            self.handles.forget(Key::Upper(node.id));
        } else if gone && !self.orphans().contains_key(&node.id) {
            // Nothing of it can be read again, and its number on disk may be another file's soon.
            node.unset(Flag::Stale);
            self.links.forget(node.id);
        }
    }

    /// An entry leads to a node no more: the name is a whiteout now, or nothing stands at it.
    pub(crate) fn removed(&self, dir: &Node, names: &mut Names, name: &[u8], whiteout: bool) {
        names.remove(name);
        if whiteout {
            names.set(name, What::Whiteout, FileKind::CharDevice, 0);
        }
        self.stale(dir);
    }

    /// A file of the upper has several names: the others find it by its number there, which its attributes have.
    pub(crate) fn link_key(&self, node: &Node) {
        let ino = node.state().kept.ino();
        self.links.put((UPPER, ino), node.id);
    }

    /// What had no name has one now.
    pub(crate) fn adopted(&self, node: &Node) {
        self.drop_orphan(node.id);
        self.stale(node);
        self.link_key(node);
    }

    /// What was kept without a name stands at one now.
    pub(crate) fn stands_again(&self, node: &Node) {
        if node.state().stands() {
            self.drop_orphan(node.id);
        }
    }

    /// A file of the upper has one more name than it had; `false` for one whose disk says how many.
    pub(crate) fn gained(&self, node: &Node) {
        let mut state = node.state();
        if let Some(shown) = state.at.shown() {
            state.at.set_shown(Some(shown.saturating_add(1)));
        }
    }

    /// Makes a node of a file that is kept without a name, so that a name of its lower file that is looked up shows it. `dir` is where such files are.
    ///
    /// # Errors
    /// When it or a layer cannot be read.
    pub(crate) fn find_kept(&self, dir: &Dir, name: &[u8]) -> Result<(), Errno> {
        let Some(seen) = look(dir, name, self.signs, true)? else { return Ok(()) };
        let disk = seen.attributes.ino;
        // Of one that stands at names all the same the node is there.
        if seen.joining.is_none() || self.links.get((UPPER, disk)).is_some() {
            return Ok(());
        }
        let file = dir.open_path(name).map_err(errno)?;
        let ino = seen.ino.unwrap_or_else(|| self.numbers.upper(disk));
        let (standing, attributes) = (Standing::of(&seen), seen.attributes);
        let state = State::new(attributes, Shows::Upper(standing), None);
        let node = self.table.add(|id| Node::new(id, ino, state, None)).ok_or(Errno::NFILE)?;
        node.pin();
        self.orphans().insert(node.id, Arc::new(file));
        self.links.put((UPPER, disk), node.id);
        self.find_lower(&node).map(|_| ())
    }

    /// Finds out what stands at a name after an operation that failed on its way.
    pub(crate) fn find_out(&self, dir: &Node, names: &mut Names, upper: &Dir, name: &[u8]) {
        self.stale(dir);
        let known = names.find(name).map(|entry| (entry.cookie(), entry.what()));
        // Where marks cannot be read, what is there can be seen by less.
        let stands = look(upper, name, self.signs, false).or_else(|_| {
            let found = upper.stat_if_there(name).map_err(errno)?;
            Ok::<_, Errno>(
                found.map(|found| super::seen::Seen { whiteout: found.is_whiteout_device(), ..plain(found) }),
            )
        });
        let node = match known {
            Some((_, What::Node(id))) => self.node(id),
            _ => None,
        };
        if let (Some(node), Ok(stands)) = (&node, &stands) {
            let state = node.state();
            let same = match (stands, state.upper()) {
                (None, None) => true,
                (Some(seen), Some(_)) => !seen.whiteout && seen.attributes.ino == state.kept.ino(),
                _ => false,
            };
            if same {
                return;
            }
        }
        if let (Some(node), Some((cookie, _))) = (node, known) {
            self.lost(&node, dir, cookie);
        }
        names.remove(name);
        match stands {
            Ok(Some(seen)) if seen.whiteout => {
                names.set(name, What::Whiteout, FileKind::CharDevice, 0);
            }
            Ok(Some(seen)) => {
                names.set(name, What::Unseen { part: 0 }, seen.attributes.kind, 0);
            }
            // What is below shows, if something is; or it cannot be read now.
            Ok(None) | Err(_) => names.complete = false,
        }
    }
}
