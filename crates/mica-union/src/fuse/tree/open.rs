//! From a node to what is on disk: directories of the upper, the file behind a name, its content and attributes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mica_core::Name;
use mica_core::plan::Redirect;
use mica_sys::{Access, Dir, Errno, File, FileKind, Metadata, Subject, Time};

use super::handles::Key;
use super::lowers::{LowerDir, LowerFile, Shown};
use super::node::{At, Directory, Flag, Node, Shows};
use super::seen::look;
use super::{Tree, errno};
use crate::fuse::carry::{KEPT, kept_name};

/// A file whose content is read.
#[derive(Debug)]
pub(crate) struct Backing {
    /// It, open.
    pub(crate) file: File,
    /// It is the upper's; a lower's was opened for reading, and must never be written to.
    pub(crate) is_upper: bool,
    /// The content is that of a lower, up to the size of the file in the upper (metacopy).
    pub(crate) metacopy: bool,
}

/// How often an operation is tried again when names move under it.
const TRIES: usize = 256;

impl Tree {
    /// A handle of a directory that stands in the upper; `None` where it does not. No names may be locked.
    pub(crate) fn upper_dir_of(&self, node: &Node) -> Result<Option<Arc<Dir>>, Errno> {
        if node.is_up() { self.upper_dir(node).map(Some) } else { Ok(None) }
    }

    /// A handle of a directory that stands in the upper, opened step by step from the nearest one that is open. No names may be locked.
    ///
    /// # Errors
    /// `ENOENT` where it was removed; `EROFS` without an upper; those of openat2(2).
    pub(crate) fn upper_dir(&self, node: &Node) -> Result<Arc<Dir>, Errno> {
        let root = &self.upper.as_ref().ok_or(Errno::ROFS)?.root;
        if node.id == super::ROOT {
            return Ok(Arc::clone(root));
        }
        if let Some(open) = self.handles.get(Key::Upper(node.id)) {
            return Ok(open);
        }
        'again: for _ in 0..TRIES {
            let mut way: Vec<(u64, At)> = Vec::new();
            let (mut id, mut at) = (node.id, node.first_name()?);
            let mut open = loop {
                way.push((id, at));
                id = at.parent;
                if id == super::ROOT {
                    break Arc::clone(root);
                }
                if let Some(open) = self.handles.get(Key::Upper(id)) {
                    break open;
                }
                let Some(parent) = self.node(id) else { continue 'again };
                at = parent.first_name()?;
            };
            for (id, at) in way.into_iter().rev() {
                let Some(parent) = self.node(at.parent) else { continue 'again };
                // While they are locked, what stands at the name is the node.
                let names = parent.directory()?.read();
                let Some((_, name)) =
                    names.by_cookie(at.cookie()).filter(|(entry, _)| entry.what() == super::What::Node(id))
                else {
                    continue 'again;
                };
                open = Arc::new(open.open_dir(name).map_err(errno)?);
                self.handles.put(Key::Upper(id), &open);
            }
            return Ok(open);
        }
        Err(Errno::AGAIN)
    }

    /// Does something with the directory of the upper and the name at which a node stands, while nobody can move it. No names may be locked.
    ///
    /// # Errors
    /// `ENOENT` where it has no name any more; what `act` says.
    pub(crate) fn at_upper<T>(
        &self,
        node: &Node,
        mut act: impl FnMut(&Dir, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        for _ in 0..TRIES {
            let at = match node.first_name() {
                Ok(at) => at,
                Err(errno) => {
                    return self.at_kept(node).unwrap_or(Err(errno)).and_then(|(dir, name)| act(&dir, name.as_bytes()));
                }
            };
            let Some(parent) = self.node(at.parent) else {
                self.drop_name(node, at);
                continue;
            };
            let dir = self.upper_dir(&parent)?;
            let names = parent.directory()?.read();
            if let Some((_, name)) =
                names.by_cookie(at.cookie()).filter(|(entry, _)| entry.what() == super::What::Node(node.id))
            {
                return act(&dir, name);
            }
            drop(names);
            // Between the two places of a rename, it may have neither for a moment.
            if node.first_name()? == at {
                std::thread::yield_now();
            }
        }
        Err(Errno::AGAIN)
    }

    /// Where a file of the upper is kept that stands at no name and is joining; `None` for any other.
    pub(crate) fn at_kept(&self, node: &Node) -> Option<Result<(Arc<Dir>, Name), Errno>> {
        let ino = {
            let state = node.state();
            if !state.is_joining() || state.stands() {
                return None;
            }
            state.kept.ino()
        };
        let name = kept_name(ino)?;
        let work = self.upper.as_ref()?.work.as_deref()?;
        Some(work.open_dir(KEPT).map(|dir| (Arc::new(dir), name)).map_err(errno))
    }

    fn drop_name(&self, node: &Node, at: At) {
        node.state().at.retain(|known| *known != at);
    }

    /// Where the lower file is that shows as this node.
    ///
    /// # Errors
    /// `ENOENT` where none does.
    pub(crate) fn lower_file(&self, node: &Node) -> Result<LowerFile, Errno> {
        for _ in 0..TRIES {
            let (slot, at) = {
                let state = node.state();
                match &state.shows {
                    Shows::Parts | Shows::Upper(_) => return Err(Errno::NOENT),
                    Shows::At(file) => return Ok((**file).clone()),
                    Shows::AtName(slot) => (*slot, *state.at.iter().find(|at| !at.up).ok_or(Errno::NOENT)?),
                }
            };
            let Some(parent) = self.node(at.parent) else {
                self.drop_name(node, at);
                continue;
            };
            let directory = parent.directory()?;
            let Some(dir) = directory.parts.iter().find(|part| part.slot == slot) else { return Err(Errno::NOENT) };
            if let Some((_, name)) = directory.read().by_cookie(at.cookie()) {
                return Ok(LowerFile { dir: Arc::clone(dir), name: name.into() });
            }
            if node.first_name()? == at {
                std::thread::yield_now();
            }
        }
        Err(Errno::AGAIN)
    }

    /// Does something with the directory of a lower and the name at which a file is in it.
    pub(crate) fn at_lower<T>(
        &self,
        file: &LowerFile,
        act: impl FnOnce(&Dir, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        act(&*self.lowers.open(&file.dir, &self.handles)?, &file.name)
    }

    /// A handle of a part of a directory in a lower.
    pub(crate) fn lower_dir(&self, part: &Arc<LowerDir>) -> Result<Arc<Dir>, Errno> {
        self.lowers.open(part, &self.handles)
    }

    /// Where the content of a file without content of its own is: what overlayfs calls its lower data.
    fn data_of(&self, file: &LowerFile) -> Result<LowerFile, Errno> {
        let mut file = file.clone();
        // Each turn leads to a lower layer.
        for _ in 0..=self.lowers.layers.len() {
            let seen = self.at_lower(&file, |dir, name| look(dir, name, self.signs, true))?.ok_or(Errno::IO)?;
            if !seen.metacopy {
                return Ok(file);
            }
            let below = file.dir.slot.saturating_add(1);
            let shown = match seen.redirect {
                Some(Redirect::Absolute(path)) => self.lowers.resolve(below, &path, &self.handles)?,
                other => {
                    let path = file.dir.path();
                    let name = match &other {
                        Some(Redirect::Relative(name)) => name.as_bytes(),
                        _ => &file.name,
                    };
                    let dir = mica_core::RelPath::parse(&path).map_err(|_| Errno::IO)?;
                    self.lowers.resolve(below, &super::join(&dir, name)?, &self.handles)?
                }
            };
            match shown {
                Shown::Leaf(next, seen) if seen.attributes.kind == FileKind::File => file = next,
                _ => return Err(Errno::IO),
            }
        }
        Err(Errno::IO)
    }

    /// Where the content of a file is that stands in the upper without it.
    fn data_below(&self, node: &Node) -> Result<LowerFile, Errno> {
        let redirect =
            self.at_upper(node, |dir, name| dir.get_xattr(name, self.signs.marks.redirect()).map_err(errno))?;
        let path = match redirect.as_deref().and_then(Redirect::parse) {
            Some(Redirect::Absolute(path)) => path,
            other => {
                let natural = self.natural_lower_path(node)?.ok_or(Errno::IO)?;
                match other {
                    Some(relative) => relative.lead(Some(&natural)).ok_or(Errno::IO)?,
                    None => natural,
                }
            }
        };
        match self.lowers.resolve(0, &path, &self.handles)? {
            Shown::Leaf(file, seen) if seen.attributes.kind == FileKind::File => self.data_of(&file),
            _ => Err(Errno::IO),
        }
    }

    /// The lower path of a node's first name: what its directory's lower path and its name say.
    pub(crate) fn natural_lower_path(&self, node: &Node) -> Result<Option<mica_core::RelPath>, Errno> {
        self.lower_path_at(node.any_name()?)
    }

    /// Does something with the name at which a lower has the directory whose attributes show.
    pub(crate) fn at_stated<T>(
        &self,
        directory: &Directory,
        act: impl FnOnce(&Dir, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let (parent, name) =
            directory.parts.get(usize::from(directory.stated)).and_then(|part| part.place()).ok_or(Errno::NOENT)?;
        act(&*self.lower_dir(parent)?, name)
    }

    /// What the index of its layer says of a lower's file or directory, with all attributes; `None` where there is no index.
    pub(crate) fn said(&self, node: &Node) -> Result<Option<mica_core::Node>, Errno> {
        match &node.directory {
            Some(directory) => {
                let part = directory.parts.get(usize::from(directory.stated)).ok_or(Errno::NOENT)?;
                self.lowers.said(part, None)
            }
            None => {
                let file = self.lower_file(node)?;
                self.lowers.said(&file.dir, Some(&file.name))
            }
        }
    }

    /// Opens what the lowers have of a regular file's content, for reading. No names may be locked.
    pub(crate) fn open_below(&self, node: &Node) -> Result<File, Errno> {
        let open = |file: &LowerFile| self.at_lower(file, |dir, name| dir.open_file(name).map_err(errno));
        if node.is_up() {
            return open(&self.data_below(node)?);
        }
        let file = self.lower_file(node)?;
        // Nearly every file has its content, and to ask the open one for the mark is one call; to look at it by its name is two.
        let opened = open(&file)?;
        match opened.get_xattr(self.signs.marks.metacopy()).map_err(errno) {
            Ok(None) | Err(Errno::OPNOTSUPP) => Ok(opened),
            _ => open(&self.data_of(&file)?),
        }
    }

    /// Opens what backs the content of a regular file now. A lower's file is opened for reading alone, whatever is asked, and a metacopy's content too. No names may be locked.
    ///
    /// # Errors
    /// `EROFS` for writing to what is not in the upper; those of openat(2).
    pub(crate) fn open_content(&self, node: &Node, access: Access) -> Result<Backing, Errno> {
        let (up, metacopy) = {
            let state = node.state();
            (state.is_up(), state.upper().is_some_and(|standing| standing.metacopy))
        };
        if up && !(metacopy && access == Access::Read) {
            let file = match self.orphan(node) {
                Some(held) => held.reopen(access).map_err(errno)?,
                None => self.at_upper(node, |dir, name| dir.open_file_for(name, access).map_err(errno))?,
            };
            return Ok(Backing { file, is_upper: true, metacopy });
        }
        if access != Access::Read {
            return Err(Errno::ROFS);
        }
        Ok(Backing { file: self.open_below(node)?, is_upper: false, metacopy: up })
    }

    /// Where a symlink points.
    ///
    /// # Errors
    /// `EINVAL` for what is none; those of readlinkat(2).
    pub(crate) fn read_link(&self, node: &Node) -> Result<Vec<u8>, Errno> {
        if node.kind != FileKind::Symlink {
            return Err(Errno::INVAL);
        }
        let read = |dir: &Dir, name: &[u8]| dir.read_link(name).map_err(errno);
        if node.is_up() { self.at_upper(node, read) } else { self.at_lower(&self.lower_file(node)?, read) }
    }

    /// Asks what has a file's attributes now, in the upper or in the topmost lower that states them. No names may be locked.
    ///
    /// # Errors
    /// `ENOENT` where it moved or came up meanwhile: then it is asked again; what `ask` says.
    pub(crate) fn at_attributes<T>(
        &self,
        node: &Node,
        ask: &dyn Fn(&Subject<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        if let Some(orphan) = self.orphan(node) {
            return ask(&Subject::file(&orphan));
        }
        let named = |dir: &Dir, name: &[u8]| ask(&Subject::Name(dir, name));
        match &node.directory {
            Some(_) if node.is_up() => ask(&Subject::dir(&*self.upper_dir(node)?)),
            Some(directory) => match directory.parts.first() {
                Some(part) if part.place().is_none() => ask(&Subject::dir(&*self.lower_dir(part)?)),
                _ => self.at_stated(directory, named),
            },
            None if node.is_up() => self.at_upper(node, named),
            None => self.at_lower(&self.lower_file(node)?, named),
        }
    }

    /// The attributes that show: owners as they are on disk. No names may be locked.
    ///
    /// # Errors
    /// When they have to be read again, and cannot.
    pub(crate) fn attributes(&self, node: &Node) -> Result<Metadata, Errno> {
        let several = node.state().has_unknown_names();
        if node.has(Flag::Stale) || node.has(Flag::Behind) {
            self.refresh(node)?;
        }
        // One lower of which nothing is hidden says it itself, and may be a whole machine.
        if several && !node.is_directory() && self.hides.load(Ordering::Relaxed) {
            self.gather_all(node)?;
        }
        Ok(self.known_attributes(node))
    }

    /// The attributes in memory, though they may be old.
    pub(crate) fn known_attributes(&self, node: &Node) -> Metadata {
        let state = node.state();
        let mut metadata = state.kept.metadata();
        metadata.ino = node.ino;
        if let Some(names) = state.at.shown() {
            metadata.nlink = u64::from(names);
        } else if let Some(directory) = &node.directory
            && (!state.is_up() || !directory.parts.is_empty())
        {
            // How many directories are in it nobody knows before it is listed; 1 is the word for that (find(1) relies on it).
            metadata.nlink = 1;
        }
        metadata
    }

    /// When a file was made, where that is known: of an entry of an index it is not. No names may be locked.
    pub(crate) fn born(&self, node: &Node) -> Option<Time> {
        if !node.is_up() && self.said(node).ok()?.is_some() {
            return None;
        }
        self.at_attributes(node, &|subject| subject.born().map_err(errno)).ok()?
    }

    /// Reads the attributes of what stands in the upper again.
    pub(crate) fn refresh(&self, node: &Node) -> Result<(), Errno> {
        // What changes after the reading began is read again.
        node.unset(Flag::Stale);
        if !node.is_up() {
            return Ok(());
        }
        let read = if let Some(orphan) = self.orphan(node) {
            orphan.metadata().map_err(errno)
        } else if node.is_directory() {
            self.upper_dir(node).and_then(|dir| dir.metadata().map_err(errno))
        } else {
            self.at_upper(node, |dir, name| dir.stat_if_there(name).map_err(errno)?.ok_or(Errno::NOENT))
        };
        match read.and_then(|found| self.shown(node, found)) {
            Ok(found) => {
                self.fresh(node, found);
                Ok(())
            }
            Err(error) => {
                self.stale(node);
                Err(error)
            }
        }
    }

    /// The attributes that were found on disk, with what a record says.
    fn shown(&self, node: &Node, mut found: Metadata) -> Result<Metadata, Errno> {
        if self.signs.records.can_be_of(found.kind) {
            let record = self.at_attributes(node, &|subject| self.signs.records.of(subject).map_err(errno))?;
            if let Some(record) = record {
                record.put(&mut found);
            }
        }
        Ok(found)
    }

    /// Takes attributes as they were just read from the upper.
    pub(crate) fn fresh(&self, node: &Node, mut found: Metadata) {
        let mut state = node.state();
        // What stands for a device is a file on disk.
        if found.kind != node.kind {
            let known = state.kept.metadata();
            (found.kind, found.rdev_major, found.rdev_minor) = (known.kind, known.rdev_major, known.rdev_minor);
        }
        state.kept = found.into();
    }

    /// The attributes in memory are not true any more: writes went to the disk past the tree.
    pub(crate) fn stale(&self, node: &Node) {
        node.set(Flag::Stale);
    }
}
