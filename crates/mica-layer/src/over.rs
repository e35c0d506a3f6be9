//! An upper read over its stack: what was only copied up says what the layers below say.
//!
//! A store without privilege has stand-ins on disk ([`stand_in`](crate::stand_in)), and overlayfs copies those up. So of
//! a copy-up, whatever still equals the stand-in of the entry below is what the entry below says. Which entries are
//! copy-ups overlayfs tells by a mark, with three exceptions:
//!
//! * Symlinks, FIFOs and devices cannot carry `user.*`. One that is the same as below is taken for a copy-up.
//! * A file with several names gets no mark, since its copy is not one with the other names. One that has the size and
//!   the time of the file below is taken for a copy-up.
//! * A file that was renamed carries the mark to its new name. Where it says nothing of the old one (no redirect), it is
//!   taken for a copy-up of the file that it stands over, and elsewhere for what it is.
//!
//! The stack is asked for paths of the upper alone, and of those, in root's store, only for what can have a stand-in
//! there.

use mica_core::{Kind, Node, RelPath};

use crate::{Ability, Below, LayerError, Marks, restore};

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
    /// What the upper says with `found`, which may be a copy of what is at `lower`.
    pub(crate) fn read(
        &self,
        found: Node,
        (has_origin, has_number): (bool, bool),
        lower: &RelPath,
        marks: Option<Marks>,
    ) -> Result<Node, LayerError> {
        if self.may_stand_for_more(&found)
            && let Some(below) = self.below.shown(lower)?
            && !(has_number && matches!(found.kind, Kind::File { .. }) && is_device(&below.node.kind))
            && (self.reach == Reach::All || is_copy_up(&found, has_origin, &below.node, marks))
        {
            return Ok(restore(found, &below.node, self.ability));
        }
        Ok(found)
    }

    /// What the upper says of its root, which is always a copy of what is below.
    pub(crate) fn read_root(&self, found: Node) -> Result<Node, LayerError> {
        if !self.may_stand_for_more(&found) {
            return Ok(found);
        }
        Ok(match self.below.shown(&RelPath::root())? {
            Some(below) => restore(found, &below.node, self.ability),
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

/// Our union marks what it brings up in a device's stead: without that mark, a file that it brought up is a file.
const fn is_device(kind: &Kind) -> bool {
    matches!(kind, Kind::CharDevice(_) | Kind::BlockDevice(_))
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

#[cfg(test)]
mod tests;
