//! What an upper did to the stack below it: added, changed, deleted.
//!
//! The walk is over the upper alone and asks the stack only for names that the upper has, so that it costs what
//! changed. A directory that the upper has only because something inside it changed is not itself a change. Where the
//! upper replaced a directory (opaque), the names that it no longer has are deletions.

use std::fmt;

use crate::{Kind, Layer, LayerEntry, Node, RelPath, Stack};

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// There was nothing.
    Added,
    /// There was something else, or the same with another content or other attributes.
    Changed,
    /// There is nothing any more; of a directory this says the same of all that was in it.
    Deleted,
}

impl ChangeKind {
    /// The letter that listings show: `A`, `C` or `D`.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Change {
    /// Where.
    pub path: RelPath,
    /// How.
    pub kind: ChangeKind,
}

/// `A /etc/motd`
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.letter(), self.path)
    }
}

/// What `upper` changes in `below`, sorted by path. The root itself is never a change.
///
/// # Errors
/// The first error of a layer that had to be asked.
pub fn changes<U, L>(upper: &U, below: &Stack<L>) -> Result<Vec<Change>, U::Error>
where
    U: Layer,
    L: Layer<Error = U::Error>,
{
    let mut walk = Walk { upper, below, found: Vec::new() };
    let replaced = matches!(
        upper.entry(&RelPath::root())?,
        Some(LayerEntry::Node(Node { kind: Kind::Directory { opaque: true, .. }, .. }))
    );
    walk.directory(&RelPath::root(), if replaced { Beneath::Replaced } else { Beneath::Merged })?;
    walk.found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(walk.found)
}

/// What stands below a directory of the upper.
#[derive(Clone, Copy, PartialEq)]
enum Beneath {
    /// A directory whose names show through.
    Merged,
    /// A directory that the upper's replaces.
    Replaced,
    /// No directory.
    Nothing,
}

struct Walk<'a, U, L> {
    upper: &'a U,
    below: &'a Stack<L>,
    found: Vec<Change>,
}

impl<U, L> Walk<'_, U, L>
where
    U: Layer,
    L: Layer<Error = U::Error>,
{
    fn say(&mut self, path: RelPath, kind: ChangeKind) {
        self.found.push(Change { path, kind });
    }

    fn directory(&mut self, path: &RelPath, beneath: Beneath) -> Result<(), U::Error> {
        if beneath == Beneath::Replaced {
            for name in self.below.names(path)?.unwrap_or_default() {
                let path = path.join(&name);
                if !matches!(self.upper.entry(&path)?, Some(LayerEntry::Node(_))) {
                    self.say(path, ChangeKind::Deleted);
                }
            }
        }
        for name in self.upper.names(path)? {
            let path = path.join(&name);
            match self.upper.entry(&path)? {
                None => {}
                Some(LayerEntry::Whiteout) => {
                    if beneath == Beneath::Merged && self.below.resolve(&path)?.is_some() {
                        self.say(path, ChangeKind::Deleted);
                    }
                }
                Some(LayerEntry::Node(node)) => self.node(path, &node, beneath)?,
            }
        }
        Ok(())
    }

    fn node(&mut self, path: RelPath, node: &Node, parent: Beneath) -> Result<(), U::Error> {
        let old = match parent {
            Beneath::Nothing => None,
            Beneath::Merged | Beneath::Replaced => self.below.resolve(&path)?.map(|found| found.node),
        };
        let Kind::Directory { opaque, implicit } = node.kind else {
            let kind = if old.is_some() { ChangeKind::Changed } else { ChangeKind::Added };
            self.say(path, kind);
            return Ok(());
        };
        let beneath = match &old {
            Some(old) if !old.kind.is_directory() => Beneath::Nothing,
            Some(_) if opaque || parent == Beneath::Replaced => Beneath::Replaced,
            Some(_) => Beneath::Merged,
            None => Beneath::Nothing,
        };
        match &old {
            None => self.say(path.clone(), ChangeKind::Added),
            Some(old) if beneath == Beneath::Merged && (implicit || old.attrs == node.attrs) => {}
            Some(_) => self.say(path.clone(), ChangeKind::Changed),
        }
        self.directory(&path, beneath)
    }
}

#[cfg(test)]
mod tests;
