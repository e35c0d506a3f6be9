//! Names that move.

use std::sync::Arc;

use mica_core::plan::{At, Below, Dress, Features, Here, How, Merge, Op, Place, Plan, Relation, Rename, Step, plan};
use mica_sys::{Errno, FileKind};

use super::bring::Need;
use super::context::Places;
use super::facts::{Facts, Wanted, brings_up, leaves_device};
use super::remove::drop_idle_whiteouts;
use super::told::parts;
use super::{Spot, TRIES, Union, name_of, refused};
use crate::fuse::carry::{CarryError, New};
use crate::fuse::tree::{Locked, Node, ROOT, What};

/// The places of a rename.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move<'a> {
    pub(crate) from: &'a Arc<Node>,
    pub(crate) name: &'a [u8],
    pub(crate) to: &'a Arc<Node>,
    pub(crate) new_name: &'a [u8],
    pub(crate) how: How,
    /// Who owns the device that [`How::Whiteout`] leaves, as it is stored.
    pub(crate) owner: (u32, u32),
}

/// Whether it is done.
enum Tried {
    Done,
    Again,
    WithoutRedirects,
}

const BOTH: Wanted = Wanted { others: true, below: true };

impl Union {
    /// Renames.
    ///
    /// # Errors
    /// Those of rename(2), but for what the caller is permitted; `EROFS`. After an error of the upper what shows is the old tree or the new.
    pub(crate) fn rename(&self, how: &Move<'_>) -> Result<(), Errno> {
        let mut features = self.carrier()?.features();
        for _ in 0..TRIES {
            match self.try_rename(how, features)? {
                Tried::Done => return Ok(()),
                Tried::Again => {}
                Tried::WithoutRedirects => features = Features::Basic,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Which of two places is above the other; directories must not be moved meanwhile.
    fn relation(&self, how: &Move<'_>, old: &Node, new: Option<&Arc<Node>>) -> Result<Relation, Errno> {
        if old.is_directory() && self.is_in(how.to, old)? {
            return Ok(Relation::NewInOld);
        }
        if let Some(new) = new
            && new.is_directory()
            && self.is_in(how.from, new)?
        {
            return Ok(Relation::OldInNew);
        }
        Ok(Relation::Apart)
    }

    /// Whether `dir` is `above` or in it.
    fn is_in(&self, dir: &Arc<Node>, above: &Node) -> Result<bool, Errno> {
        let mut at = Arc::clone(dir);
        loop {
            if at.id == above.id {
                return Ok(true);
            }
            if at.id == ROOT {
                return Ok(false);
            }
            let Some(up) = at.state().at.first().copied() else { return Ok(false) };
            at = self.tree.node(up.parent).ok_or(Errno::NOENT)?;
        }
    }

    fn try_rename(&self, how: &Move<'_>, features: Features) -> Result<Tried, Errno> {
        let Move { from, name, to, new_name, .. } = *how;
        let carrier = self.carrier()?;
        let old = self.tree.lookup(from, name)?.ok_or(Errno::NOENT)?;
        let new = self.tree.lookup(to, new_name)?;
        name_of(new_name)?;
        let moves_directory = old.is_directory() || new.as_ref().is_some_and(|new| new.is_directory());
        self.ready_to_go(&old)?;
        if let Some(new) = &new {
            self.ready_to_go(new)?;
        }
        // In its own directory too: who looks for the names of a file goes by paths.
        let moves = moves_directory.then(|| self.tree.moves());
        let held = self.tree.hold(&old, new.as_ref().unwrap_or(&old));
        let uppers = (self.tree.upper_dir_of(from)?, self.tree.upper_dir_of(to)?);
        let inside = match &new {
            Some(new) if new.is_directory() => self.tree.upper_dir_of(new)?,
            _ => None,
        };
        let relation = self.relation(how, &old, new.as_ref())?;
        let mut locked: Vec<&Node> = vec![from, to];
        locked.extend(new.as_deref());
        let mut names = Locked::new(&locked);
        let Facts::Known(old_place, Some(old_found)) = self.facts(from, names.of(from)?, name, BOTH)? else {
            return Ok(Tried::Again);
        };
        let Facts::Known(new_place, new_found) = self.facts(to, names.of(to)?, new_name, BOTH)? else {
            return Ok(Tried::Again);
        };
        let is_same =
            |one: Option<&Arc<Node>>, other: Option<&Arc<Node>>| one.map(|node| node.id) == other.map(|node| node.id);
        if old_found.id != old.id || !is_same(new_found.as_ref(), new.as_ref()) {
            return Ok(Tried::Again);
        }
        let new_is_empty = match &new {
            Some(new) if new.is_directory() => {
                let inside = names.of(new)?;
                if !inside.complete {
                    return Ok(Tried::Again);
                }
                inside.shown().next().is_none()
            }
            _ => false,
        };
        let rename = Rename {
            old: old_place,
            new: new_place,
            how: how.how,
            relation,
            same_parent: from.id == to.id,
            same_file: is_same(Some(&old), new.as_ref()),
            new_is_empty,
        };
        let plan: Plan = plan(Op::Rename(rename), features).map_err(refused)?;
        if plan.is_empty() {
            return Ok(Tried::Done);
        }
        if brings_up(&plan) {
            drop((names, held, moves));
            self.bring_up_for(&plan, how, &old, new.as_ref())?;
            return Ok(Tried::Again);
        }
        let (Some(upper_from), Some(upper_to)) = uppers else { return Ok(Tried::Again) };
        let replaces = how.how != How::Exchange && new.is_some();
        if let Some(new) = new.as_ref().filter(|_| replaces) {
            if let Some(inside) = inside.filter(|_| matches!(new_place.here, Here::Directory(Merge::Alone { .. }))) {
                drop_idle_whiteouts(&inside, names.of(new)?)?;
            }
            let stands = matches!(new_place.here, Here::Leaf(_) | Here::Directory(_));
            self.tree.keep(new, to, Some(&*upper_to).filter(|_| stands), new_name)?;
        }
        let mut places = Places::new(self);
        places.dirs = vec![(from.id, Arc::clone(&upper_from)), (to.id, Arc::clone(&upper_to))];
        places.old = Some(Spot { dir: Arc::clone(from), name: name_of(name)?, node: Some(Arc::clone(&old)) });
        places.new = Some(Spot { dir: Arc::clone(to), name: name_of(new_name)?, node: new.clone() });
        let (uid, gid) = how.owner;
        let kind = mica_core::Kind::CharDevice(mica_core::Rdev::default());
        places.made = Some(New { kind, mode: 0, umask: 0, uid, gid });
        for steps in parts(&plan) {
            if let Err(error) = carrier.carry(steps, &mut places) {
                self.tree.find_out(from, names.of(from)?, &upper_from, name);
                self.tree.find_out(to, names.of(to)?, &upper_to, new_name);
                return match error {
                    CarryError::RedirectTooLong(_) if features == Features::Full => Ok(Tried::WithoutRedirects),
                    error => Err(error.errno()),
                };
            }
            self.tell_marks(steps, Some(&old), new.as_ref());
        }
        self.moved(how, &rename, &old, new.as_ref(), &mut names)?;
        Ok(Tried::Done)
    }

    /// Brings up what a plan of a rename would.
    fn bring_up_for(&self, plan: &Plan, how: &Move<'_>, old: &Arc<Node>, new: Option<&Arc<Node>>) -> Result<(), Errno> {
        for step in plan.iter() {
            let (at, need) = match step {
                Step::Parents(At::Old) => {
                    self.bring_up_directory(how.from)?;
                    continue;
                }
                Step::Parents(At::New) => {
                    self.bring_up_directory(how.to)?;
                    continue;
                }
                Step::Dress(Dress::File { like, .. } | Dress::Directory { like }) => (like, Need::Metadata),
                Step::Join(at) => (at, Need::Metadata),
                Step::Fill(at) => (at, Need::Content),
                _ => continue,
            };
            match at {
                At::Old => self.bring_up(old, need)?,
                At::New => new.map_or(Ok(()), |new| self.bring_up(new, need))?,
            }
        }
        Ok(())
    }

    /// Tells the tree of a rename that is done.
    fn moved(
        &self,
        how: &Move<'_>,
        rename: &Rename,
        old: &Arc<Node>,
        new: Option<&Arc<Node>>,
        names: &mut Locked<'_>,
    ) -> Result<(), Errno> {
        let Move { from, name, to, new_name, .. } = *how;
        let old_cookie = names.of(from)?.find(name).map_or(0, |entry| entry.cookie());
        let new_cookie = names.of(to)?.find(new_name).map_or(0, |entry| entry.cookie());
        if how.how == How::Exchange {
            let Some(new) = new else { return Err(Errno::IO) };
            // Neither is without a name at any moment: that would be a file that was removed.
            self.tree.name(old, to, names.of(to)?, new_name, true);
            self.tree.name(new, from, names.of(from)?, name, true);
            forget_name(old, from, old_cookie);
            forget_name(new, to, new_cookie);
            self.tree.stale(new);
        } else {
            if let Some(new) = new {
                self.tree.lost(new, to, new_cookie);
                if new.is_directory() {
                    names.of(new)?.gone = true;
                }
            }
            names.of(to)?.remove(new_name);
            self.tree.name(old, to, names.of(to)?, new_name, true);
            forget_name(old, from, old_cookie);
            let hides = below_is(&rename.old);
            self.tree.removed(from, names.of(from)?, name, hides);
            if leaves_device(how.how) {
                let left = names.of(from)?;
                left.remove(name);
                left.set(name, What::Unseen { part: 0 }, FileKind::CharDevice, 0);
            }
        }
        self.tree.stale(old);
        self.tree.stale(from);
        self.tree.stale(to);
        if old.is_directory() || new.is_some_and(|new| new.is_directory()) {
            self.tree.directories_moved();
        }
        Ok(())
    }
}

fn below_is(place: &Place) -> bool {
    place.below != Below::Nothing
}

/// A node goes to another name.
fn forget_name(node: &Node, dir: &Node, cookie: u64) {
    node.state().at.retain(|at| !at.is(dir, cookie));
}
