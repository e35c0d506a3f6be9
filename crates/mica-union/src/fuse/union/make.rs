//! Names that come: files and directories that are made, links, and files without a name that get one.

use std::sync::Arc;

use mica_core::plan::{Below, Op, Place, Plan, plan};
use mica_sys::{Dir, Errno, File};

use super::bring::Need;
use super::context::Places;
use super::facts::{Facts, Wanted, brings_up};
use super::told::parts;
use super::{Spot, TRIES, Union, name_of, refused};
use crate::fuse::carry::{Carried, New};
use crate::fuse::tree::{Locked, Node};

/// What was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) node: Arc<Node>,
    /// A regular file, open for reading and writing, where making it opened it.
    pub(crate) file: Option<File>,
}

/// Tells the tree what the plan of a place has made.
type Told<'a, T> = &'a mut dyn FnMut(&mut Locked<'_>, &Dir, Place, Carried) -> Result<T, Errno>;

const NEW_NAME: Wanted = Wanted { others: false, below: true };

impl Union {
    /// Makes a file of any kind. Owners are those to be stored.
    ///
    /// # Errors
    /// `EEXIST`, `EROFS`, `ENAMETOOLONG`, `ENOENT` where the directory was removed; those of the upper. Nothing was made then.
    pub(crate) fn make(&self, dir: &Arc<Node>, name: &[u8], new: &New) -> Result<Made, Errno> {
        let is_directory = new.kind.is_directory();
        let op = |place| if is_directory { Op::MakeDirectory(place) } else { Op::Make(place) };
        let mut places = Places::new(self);
        places.made = Some(new.clone());
        self.put(dir, name, &op, places, &mut |names, upper, place, carried| {
            let opaque = is_directory && place.below == Below::Directory;
            let node = self.tree.made(dir, names.of(dir)?, (upper, name), carried.file.as_ref(), opaque)?;
            Ok(Made { node, file: carried.file })
        })
    }

    /// Gives a file without a name one: `O_TMPFILE` and linkat(2).
    ///
    /// # Errors
    /// As [`Union::make`].
    pub(crate) fn adopt(&self, node: &Arc<Node>, file: &File, dir: &Arc<Node>, name: &[u8]) -> Result<(), Errno> {
        let mut places = Places::new(self);
        places.unnamed = Some(file);
        self.put(dir, name, &Op::Adopt, places, &mut |names, _, _, _| {
            let names = names.of(dir)?;
            names.remove(name);
            self.tree.name(node, dir, names, name, true);
            self.tree.adopted(node);
            self.tree.stale(dir);
            Ok(())
        })
    }

    /// What making and adopting have in common: a name at which nothing shows is given to something.
    fn put<T>(
        &self,
        dir: &Arc<Node>,
        name: &[u8],
        op: &dyn Fn(Place) -> Op,
        mut places: Places<'_>,
        told: Told<'_, T>,
    ) -> Result<T, Errno> {
        let carrier = self.carrier()?;
        let spot = Spot { dir: Arc::clone(dir), name: name_of(name)?, node: None };
        for _ in 0..TRIES {
            if self.tree.lookup(dir, name)?.is_some() {
                return Err(Errno::EXIST);
            }
            let upper = self.tree.upper_dir_of(dir)?;
            let mut names = Locked::new(&[dir]);
            let Facts::Known(place, _) = self.facts(dir, names.of(dir)?, name, NEW_NAME)? else { continue };
            let plan = plan(op(place), carrier.features()).map_err(refused)?;
            let Some(upper) = upper.filter(|_| !brings_up(&plan)) else {
                drop(names);
                self.bring_up_directory(dir)?;
                continue;
            };
            places.new = Some(spot);
            places.dirs.push((dir.id, Arc::clone(&upper)));
            let told = match carrier.carry(&plan, &mut places) {
                Ok(carried) => told(&mut names, &upper, place, carried),
                Err(error) => Err(error.errno()),
            };
            if told.is_err() {
                self.tree.find_out(dir, names.of(dir)?, &upper, name);
            }
            return told;
        }
        Err(Errno::AGAIN)
    }

    /// Gives a file one more name.
    ///
    /// # Errors
    /// `EPERM` for a directory, `ENOENT` for a file that has no name any more, `EMLINK`; as [`Union::make`].
    pub(crate) fn link(&self, node: &Arc<Node>, dir: &Arc<Node>, name: &[u8]) -> Result<(), Errno> {
        let carrier = self.carrier()?;
        let new = Spot { dir: Arc::clone(dir), name: name_of(name)?, node: None };
        for _ in 0..TRIES {
            if self.tree.lookup(dir, name)?.is_some() {
                return Err(Errno::EXIST);
            }
            if node.is_directory() {
                return Err(Errno::PERM);
            }
            self.bring_up(node, Need::Metadata)?;
            self.bring_up_directory(dir)?;
            let _held = self.tree.hold(node, node);
            node.first_name()?;
            let Some(old) = self.spot_of(node)? else { continue };
            let (from, to) = (self.tree.upper_dir(&old.dir)?, self.tree.upper_dir(dir)?);
            let mut names = Locked::new(&[&old.dir, dir]);
            let old_facts =
                self.facts(&old.dir, names.of(&old.dir)?, old.name.as_bytes(), Wanted { others: true, below: false })?;
            let Facts::Known(old_place, Some(found)) = old_facts else { continue };
            let Facts::Known(new_place, _) = self.facts(dir, names.of(dir)?, name, NEW_NAME)? else { continue };
            if found.id != node.id {
                continue;
            }
            let plan: Plan = plan(Op::Link { old: old_place, new: new_place }, carrier.features()).map_err(refused)?;
            if brings_up(&plan) {
                continue;
            }
            let mut places = Places::new(self);
            places.dirs = vec![(old.dir.id, from), (dir.id, Arc::clone(&to))];
            (places.old, places.new) = (Some(old.clone()), Some(new.clone()));
            for steps in parts(&plan) {
                if let Err(error) = carrier.carry(steps, &mut places) {
                    self.tree.find_out(dir, names.of(dir)?, &to, name);
                    return Err(error.errno());
                }
                self.tell_marks(steps, Some(node), None);
            }
            let locked = names.of(dir)?;
            locked.remove(name);
            self.tree.name(node, dir, locked, name, true);
            self.tree.gained(node);
            self.tree.stale(node);
            self.tree.stale(dir);
            self.tree.link_key(node);
            return Ok(());
        }
        Err(Errno::AGAIN)
    }
}
