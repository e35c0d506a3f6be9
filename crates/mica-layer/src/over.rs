//! An upper read over its stack: what was only copied up says what the layers below say.
//!
//! A store without privilege has stand-ins on disk ([`stand_in`](crate::stand_in)), and overlayfs copies those up. So of
//! a copy-up, whatever still equals the stand-in of the entry below is what the entry below says. Which entries are
//! copy-ups overlayfs tells by a mark, with three exceptions:
//!
//! * Symlinks, FIFOs and devices cannot carry `user.*`. One that is the same as below is taken for a copy-up.
//! * A file with several names gets no mark, since its copy is not one with the other names. One that has the size and
//!   the time of the file below is taken for a copy-up.
//! * A file that was renamed carries the mark to its new name and says nothing of the old one. Over a file it is taken
//!   for a copy-up of that one, elsewhere for what it is.
//!
//! The stack is asked for paths of the upper alone, and of those, in root's store, only for what can have a stand-in
//! there.

use mica_core::{Kind, Layer, LayerEntry, Name, Node, RelPath, Stack};
use mica_sys::Dir;

use crate::tree::{Seen, look_at_self};
use crate::{Ability, DirLayer, LayerError, Marks, restore};

/// What shows below an upper.
pub trait Below: Sync {
    /// What shows at `path`; `None` when nothing does.
    ///
    /// # Errors
    /// When a layer that had to be asked cannot be read.
    fn shown(&self, path: &RelPath) -> Result<Option<Node>, LayerError>;
}

impl<L: Layer<Error = LayerError> + Sync> Below for Stack<L> {
    fn shown(&self, path: &RelPath) -> Result<Option<Node>, LayerError> {
        Ok(self.resolve(path)?.map(|found| found.node))
    }
}

/// Which of the entries of a directory are read over the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Those that were copied up: the directory is an upper.
    #[default]
    CopiedUp,
    /// All: the directory shows the stack itself, as a mount of it does.
    All,
}

/// What a directory is read over.
#[derive(Clone, Copy)]
pub struct Over<'a> {
    /// The layers.
    pub below: &'a dyn Below,
    /// What could be put on disk of them.
    pub ability: &'a Ability,
    /// Of which entries they are asked.
    pub reach: Reach,
}

impl std::fmt::Debug for Over<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Over").field("ability", self.ability).field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl Over<'_> {
    /// What the upper says of `path`, at which this was seen.
    pub(crate) fn read(&self, seen: Seen, path: &RelPath, marks: Option<Marks>) -> Result<Seen, LayerError> {
        let Seen { entry: LayerEntry::Node(found), metadata, has_origin } = seen else { return Ok(seen) };
        let mut entry = found;
        if self.may_stand_for_more(&entry)
            && let Some(below) = self.below.shown(path)?
            && (self.reach == Reach::All || is_copy_up(&entry, has_origin, &below, marks))
        {
            entry = restore(entry, &below, self.ability);
        }
        Ok(Seen { entry: LayerEntry::Node(entry), metadata, has_origin })
    }

    /// What the upper says of its root, which is always a copy of what is below.
    pub(crate) fn read_root(&self, found: Node) -> Result<Node, LayerError> {
        if !self.may_stand_for_more(&found) {
            return Ok(found);
        }
        Ok(match self.below.shown(&RelPath::root())? {
            Some(below) => restore(found, &below, self.ability),
            None => found,
        })
    }

    /// Whether a stand-in can look like this. For root a directory or a file with content is what it is, but for its
    /// capability.
    fn may_stand_for_more(&self, found: &Node) -> bool {
        !self.ability.is_native()
            || match found.kind {
                Kind::Directory { .. } => !found.attrs.xattrs.is_empty(),
                Kind::File { size, .. } => size == 0 || !found.attrs.xattrs.is_empty(),
                _ => true,
            }
    }
}

/// Whether `found`, in an upper, is a copy of what shows below.
fn is_copy_up(found: &Node, has_origin: bool, below: &Node, marks: Option<Marks>) -> bool {
    let has_several_names = below.link_group.is_some();
    let is_told = has_origin || has_several_names || marks == Some(Marks::User);
    match (&found.kind, &below.kind) {
        (Kind::Directory { opaque, .. }, Kind::Directory { .. }) => has_origin && !opaque,
        (Kind::File { size, .. }, Kind::File { size: was, .. }) => {
            has_origin || has_several_names && size == was && found.attrs.mtime == below.attrs.mtime
        }
        (Kind::File { size: 0, .. }, Kind::CharDevice(_) | Kind::BlockDevice(_)) => {
            has_origin || has_several_names && found.attrs.mtime == below.attrs.mtime
        }
        (Kind::File { .. } | Kind::Directory { .. }, _) => false,
        (found, below) => is_told && found == below,
    }
}

/// An upper over its stack, as a layer.
#[derive(Debug)]
pub struct UpperLayer<'a> {
    dir: DirLayer,
    over: Over<'a>,
}

impl<'a> UpperLayer<'a> {
    /// The upper `dir` over what is below it.
    #[must_use]
    pub const fn new(dir: Dir, marks: Marks, over: Over<'a>) -> Self {
        Self { dir: DirLayer::new(dir, marks), over }
    }
}

impl Layer for UpperLayer<'_> {
    type Error = LayerError;

    fn entry(&self, path: &RelPath) -> Result<Option<LayerEntry>, LayerError> {
        if path.is_root() {
            let root = look_at_self(self.dir.dir(), path, Some(self.dir.marks()))?;
            return Ok(Some(LayerEntry::Node(self.over.read_root(root)?)));
        }
        let Some(seen) = self.dir.look(path)? else { return Ok(None) };
        Ok(Some(self.over.read(seen, path, Some(self.dir.marks()))?.entry))
    }

    fn names(&self, path: &RelPath) -> Result<Vec<Name>, LayerError> {
        self.dir.names(path)
    }
}

#[cfg(test)]
mod tests;
