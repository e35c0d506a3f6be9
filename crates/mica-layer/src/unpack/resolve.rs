//! Which path of the layer a name in the tar means. Decided by the table alone; the disk is not asked.

use mica_core::RelPath;

use super::tree::{PathId, Said, Tree};
use crate::error::lossy;
use crate::{EntryError, Limits};

/// How many symlinks may be on the way to a directory; the kernel's own number.
const SYMLINKS: usize = 40;

/// The components of a name in the tar, `.` and `..` taken out as the text has them.
pub(super) fn components<'a>(spelling: &'a [u8], limits: &Limits) -> Result<Vec<&'a [u8]>, EntryError> {
    if spelling.contains(&0) {
        return Err(EntryError::Nul { path: lossy(spelling) });
    }
    let mut components = Vec::new();
    for component in spelling.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                components.pop().ok_or_else(|| EntryError::Leaves { path: lossy(spelling) })?;
            }
            component => components.push(component),
        }
    }
    if components.len() > limits.depth {
        return Err(EntryError::DepthLimit { path: lossy(spelling), limit: limits.depth });
    }
    Ok(components)
}

/// One step of a walk through directories.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// The walk goes on; this is where it stands.
    At(PathId),
    /// There is nothing of the next name in this directory.
    Missing { directory: PathId, name: Vec<u8> },
    /// The next name is neither a directory nor a symlink.
    NoDirectory(PathId),
    /// Too many symlinks.
    Loop,
}

/// A walk from the root through directories, symlinks followed as if the layer were `/`.
pub(super) struct Walk {
    at: PathId,
    /// What is still to be gone, the next last.
    rest: Vec<Vec<u8>>,
    symlinks: usize,
}

impl Walk {
    pub(super) fn new(components: &[&[u8]]) -> Self {
        let rest = components.iter().rev().map(|component| component.to_vec()).collect();
        Self { at: Tree::ROOT, rest, symlinks: 0 }
    }

    /// Goes on; `None` at the end, where [`Walk::at`] is the directory that was meant.
    pub(super) fn step(&mut self, tree: &Tree) -> Option<Step> {
        let name = self.rest.pop()?;
        match &name[..] {
            b"" | b"." => return Some(Step::At(self.at)),
            b".." => {
                // The parent of the root is the root.
                self.at = tree.place(self.at).parent;
                return Some(Step::At(self.at));
            }
            _ => {}
        }
        let directory = self.at;
        let Some(child) = tree.child(directory, &name) else { return Some(Step::Missing { directory, name }) };
        Some(match tree.place(child).said {
            Said::Nothing => Step::Missing { directory, name },
            Said::Directory(_) => {
                self.at = child;
                Step::At(child)
            }
            Said::Link(_) => Step::NoDirectory(child),
            Said::File(file) => match tree.symlink(file) {
                Some(target) => self.follow(target),
                None => Step::NoDirectory(child),
            },
        })
    }

    fn follow(&mut self, target: &[u8]) -> Step {
        self.symlinks += 1;
        if self.symlinks > SYMLINKS {
            return Step::Loop;
        }
        if target.first() == Some(&b'/') {
            self.at = Tree::ROOT;
        }
        self.rest.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
        Step::At(self.at)
    }

    pub(super) const fn at(&self) -> PathId {
        self.at
    }

    /// Goes into a directory that was made where [`Step::Missing`] said that there was none.
    pub(super) const fn enter(&mut self, directory: PathId) {
        self.at = directory;
    }

    /// What was not gone yet, the next first.
    pub(super) fn rest(&self) -> impl Iterator<Item = &[u8]> {
        self.rest.iter().rev().map(|component| &component[..])
    }
}

/// What a hard link's target is.
#[derive(Debug, PartialEq)]
pub(super) enum Target {
    /// A path that the layer has.
    Here(PathId),
    /// A path that it has not, or not yet.
    Absent(RelPath),
}

/// Finds the file that the name `spelling` means; its last component is not followed.
pub(super) fn target(tree: &Tree, spelling: &[u8], limits: &Limits) -> Result<Target, EntryError> {
    let components = components(spelling, limits)?;
    let Some((last, directories)) = components.split_last() else {
        return Ok(Target::Here(Tree::ROOT));
    };
    let mut walk = Walk::new(directories);
    while let Some(step) = walk.step(tree) {
        match step {
            Step::At(_) => {}
            Step::Loop => return Err(EntryError::SymlinkLoop { path: lossy(spelling) }),
            Step::NoDirectory(at) => {
                let (path, parent) = (lossy(spelling), lossy(tree.path(at).as_bytes()));
                return Err(EntryError::BelowNonDirectory { path, parent });
            }
            Step::Missing { directory, name } => {
                let mut path = tree.path(directory).as_bytes().to_vec();
                for component in std::iter::once(&name[..]).chain(walk.rest()).chain([*last]) {
                    path.push(b'/');
                    path.extend_from_slice(component);
                }
                // A `..` of a symlink's target goes back over names that only the layers below know, and never out.
                return absent(&path);
            }
        }
    }
    let place = tree.child(walk.at(), last).filter(|child| !matches!(tree.place(*child).said, Said::Nothing));
    match place {
        Some(place) => Ok(Target::Here(place)),
        None => {
            let directory = tree.path(walk.at());
            absent(&[directory.as_bytes(), b"/", last].concat())
        }
    }
}

fn absent(path: &[u8]) -> Result<Target, EntryError> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            component => kept.push(component),
        }
    }
    let path = RelPath::parse(&kept.join(&b'/')).map_err(|_| EntryError::Nul { path: lossy(path) })?;
    Ok(Target::Absent(path))
}
