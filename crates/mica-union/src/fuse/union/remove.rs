//! Names that go.

use std::sync::Arc;

use mica_core::plan::{Below, Here, Merge, Op, Plan, plan};
use mica_sys::{Dir, Errno};

use super::context::Places;
use super::facts::{Facts, Wanted, brings_up};
use super::{Spot, TRIES, Union, errno, name_of, refused};
use crate::fuse::tree::{Locked, Names, Node, What};

const OLD_NAME: Wanted = Wanted { others: false, below: true };

impl Union {
    /// Removes a name of what is no directory.
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`, `EROFS`; those of the upper.
    pub(crate) fn unlink(&self, dir: &Arc<Node>, name: &[u8]) -> Result<(), Errno> {
        self.remove(dir, name, false)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ENOTEMPTY`, `EROFS`; those of the upper.
    pub(crate) fn remove_directory(&self, dir: &Arc<Node>, name: &[u8]) -> Result<(), Errno> {
        self.remove(dir, name, true)
    }

    fn remove(&self, dir: &Arc<Node>, name: &[u8], directory: bool) -> Result<(), Errno> {
        let carrier = self.carrier()?;
        for _ in 0..TRIES {
            let node = self.tree.lookup(dir, name)?.ok_or(Errno::NOENT)?;
            self.ready_to_go(&node)?;
            let held = self.tree.hold(&node, &node);
            let upper = self.tree.upper_dir_of(dir)?;
            let inside = if directory && node.is_directory() { self.tree.upper_dir_of(&node)? } else { None };
            let both: [&Node; 2] = [dir, &node];
            let mut names = Locked::new(if directory { &both } else { both.split_at(1).0 });
            let Facts::Known(place, Some(found)) = self.facts(dir, names.of(dir)?, name, OLD_NAME)? else { continue };
            if found.id != node.id {
                continue;
            }
            let op = if directory {
                let is_empty = match names.of(&node) {
                    Ok(inside) if !inside.complete => continue,
                    Ok(inside) => inside.shown().next().is_none(),
                    Err(_) => false,
                };
                Op::RemoveDirectory { old: place, is_empty }
            } else {
                Op::Unlink(place)
            };
            let plan: Plan = plan(op, carrier.features()).map_err(refused)?;
            let Some(upper) = upper.filter(|_| !brings_up(&plan)) else {
                drop(names);
                drop(held);
                self.bring_up_directory(dir)?;
                continue;
            };
            if let Some(inside) = inside.filter(|_| matches!(place.here, Here::Directory(Merge::Alone { .. }))) {
                drop_idle_whiteouts(&inside, names.of(&node)?)?;
            }
            let stands = matches!(place.here, Here::Leaf(_) | Here::Directory(_));
            self.tree.keep(&node, dir, Some(&*upper).filter(|_| stands), name)?;
            let cookie = names.of(dir)?.find(name).map_or(0, |entry| entry.cookie());
            let mut places = Places::new(self);
            places.dirs.push((dir.id, Arc::clone(&upper)));
            places.old = Some(Spot { dir: Arc::clone(dir), name: name_of(name)?, node: Some(Arc::clone(&node)) });
            if let Err(error) = carrier.carry(&plan, &mut places) {
                self.tree.find_out(dir, names.of(dir)?, &upper, name);
                return Err(error.errno());
            }
            self.tree.removed(dir, names.of(dir)?, name, place.below != Below::Nothing);
            self.tree.lost(&node, dir, cookie);
            if directory {
                names.of(&node)?.gone = true;
                self.tree.directories_moved();
            }
            return Ok(());
        }
        Err(Errno::AGAIN)
    }

    /// Before a file loses a name: a directory's names are all known, and those of a lower's file too.
    pub(super) fn ready_to_go(&self, node: &Arc<Node>) -> Result<(), Errno> {
        if let Some(directory) = &node.directory {
            if !directory.read().complete {
                self.tree.complete(node, directory)?;
            }
            return Ok(());
        }
        let unknown = node.state().has_unknown_names();
        if unknown { self.tree.gather_before_loss(node) } else { Ok(()) }
    }
}

/// A crash may leave whiteouts that hide nothing, and no directory is removed or replaced while it holds one.
pub(super) fn drop_idle_whiteouts(inside: &Dir, names: &mut Names) -> Result<(), Errno> {
    let idle: Vec<Vec<u8>> =
        names.after(0).filter(|(entry, _)| entry.what() == What::Whiteout).map(|(_, name)| name.to_vec()).collect();
    for name in idle {
        match inside.unlink(&name) {
            Err(error) if !error.is_not_found() => return Err(errno(error)),
            _ => names.remove(&name),
        }
    }
    Ok(())
}
