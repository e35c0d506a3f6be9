//! The union without FUSE: the tree and the carrier together, one function for each operation that writes.
//!
//! Every operation goes the same way:
//!
//! 1. What the names show is looked up, and the plan is asked whether the operation may be: a refusal writes nothing.
//! 2. What the plan would bring up comes up, with no names locked, each file and directory for itself: nobody sees a difference, and content may take its time.
//! 3. The names are locked, the facts are taken again, and the plan is carried out: few system calls, one of which shows.
//! 4. The tree is told. After an error it asks the disk what stands now.
//!
//! Where something came between 2 and 3, it begins anew.

use std::sync::Arc;

use mica_core::Name;
use mica_core::plan::{Features, Refusal};
use mica_layer::Ability;
use mica_sys::{Errno, Subject, SysError};

use super::carry::{Carrier, Opening, Stand};
use super::tree::{Node, Tree};
use crate::{Role, UnionDirs, UnionError};

mod bring;
mod context;
mod facts;
mod make;
mod remove;
mod rename;
mod told;

pub(crate) use bring::Need;
pub(crate) use make::Made;
pub(crate) use rename::Move;

#[cfg(test)]
mod tests;

/// How often an operation begins anew when others come between.
const TRIES: usize = 256;

/// A union: what shows, and what writes.
#[derive(Debug)]
pub(crate) struct Union {
    pub(crate) tree: Arc<Tree>,
    carrier: Option<Carrier>,
}

/// Where a file stands that is changed.
#[derive(Debug)]
pub(crate) enum Target<'a> {
    /// At a name in a directory of the upper.
    Named(&'a Stand),
    /// It is the root of the upper.
    Root(&'a Arc<mica_sys::Dir>),
    /// It has no name any more; opened for its path alone.
    Unnamed(&'a mica_sys::File),
}

impl Target<'_> {
    /// It, for calls.
    pub(crate) fn subject(&self) -> Subject<'_> {
        match self {
            Self::Named(stand) => Subject::Name(&stand.dir, stand.name.as_bytes()),
            Self::Root(dir) => Subject::dir(dir),
            Self::Unnamed(file) => Subject::file(file),
        }
    }
}

fn errno(error: SysError) -> Errno {
    error.errno()
}

/// The number of what a plan refuses.
pub(crate) fn refused(refusal: Refusal) -> Errno {
    use mica_core::plan::Errno as Said;
    match refusal.errno() {
        Said::EEXIST => Errno::EXIST,
        Said::ENOENT => Errno::NOENT,
        Said::ENOTDIR => Errno::NOTDIR,
        Said::EISDIR => Errno::ISDIR,
        Said::ENOTEMPTY => Errno::NOTEMPTY,
        Said::EINVAL => Errno::INVAL,
        Said::EPERM => Errno::PERM,
        Said::EXDEV => Errno::XDEV,
        Said::ENODATA => Errno::NODATA,
        Said::ENODEV => Errno::NODEV,
        _ => Errno::IO,
    }
}

impl Union {
    /// Opens the directories of a union for one mount. With `named`, lowers say by files called `.wh.NAME` what is gone, besides the kernel's marks.
    ///
    /// # Errors
    /// [`UnionError`] names the directory and what is wrong with it. Nothing in the upper is changed.
    pub(crate) fn open(
        dirs: &UnionDirs,
        read_only: bool,
        ability: Ability,
        features: Features,
        named: bool,
    ) -> Result<Self, UnionError> {
        let carrier = match dirs.upper.as_ref().filter(|_| !read_only) {
            Some(upper) => {
                let driver = super::NAME;
                Some(Carrier::open(Opening {
                    driver,
                    dirs: upper,
                    marks: dirs.marks,
                    ability: ability.clone(),
                    records: dirs.records,
                    features,
                    foreign: named,
                })?)
            }
            None => None,
        };
        let union = Self { tree: Arc::new(Tree::open(dirs, read_only, named, &ability)?), carrier };
        union.finish_joining().map_err(|errno| UnionError::Open {
            driver: super::NAME,
            role: Role::Upper,
            source: SysError::new("linkat", b"", errno),
        })?;
        Ok(union)
    }

    /// Links what a crash has left half linked, so that from the first look-up on a file of several names is one.
    fn finish_joining(&self) -> Result<(), Errno> {
        for (path, settled) in self.tree.joining()? {
            let Some(node) = self.tree.look_at(&path)? else { continue };
            // Where there is no room now it is known as one file all the same, and so is one whose names are not all known.
            if settled || self.bring_up(&node, Need::Metadata).is_err() {
                self.tree.find_lower(&node)?;
            }
            if node.state().is_joining() {
                node.pin();
            }
        }
        self.tree.find_all_kept()
    }

    /// Says on disk, where that has to be said, that the upper is written to from here on.
    ///
    /// # Errors
    /// Those of writing to the work directory.
    pub(crate) fn begin(&self) -> Result<(), SysError> {
        self.carrier.as_ref().map_or(Ok(()), Carrier::begin)
    }

    /// What writes.
    ///
    /// # Errors
    /// `EROFS` without an upper.
    pub(crate) fn carrier(&self) -> Result<&Carrier, Errno> {
        self.carrier.as_ref().ok_or(Errno::ROFS)
    }
}

/// One component, as requests bring it.
fn name_of(name: &[u8]) -> Result<Name, Errno> {
    if name.len() > 255 {
        return Err(Errno::NAMETOOLONG);
    }
    Name::new(name).map_err(|_| Errno::INVAL)
}

/// A name of the union that an operation is about.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    /// The directory.
    dir: Arc<Node>,
    name: Name,
    /// What shows there.
    node: Option<Arc<Node>>,
}
