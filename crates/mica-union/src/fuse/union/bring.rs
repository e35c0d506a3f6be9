//! Bringing up, and changing one file.

use std::sync::Arc;

use mica_core::plan::{At, Content, Dress, Features, Here, Mark, Merge, Op, Parent, Place, RedirectKind, Step, plan};
use mica_sys::{Errno, File, FileKind, SysError};

use super::context::Places;
use super::facts::{Facts, Wanted};
use super::{Spot, TRIES, Target, Union, errno, name_of, refused};
use crate::fuse::carry::{CarryError, Cut, Stand};
use crate::fuse::tree::{Flag, Leads, Node, ROOT, Standing, State};

/// What is needed of a file in the upper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Its metadata: a file of some size may have its content below.
    Metadata,
    /// Its content.
    Content,
}

impl Need {
    const fn op(self, place: Place) -> Op {
        match self {
            Self::Metadata => Op::Attributes(place),
            Self::Content => Op::Write(place),
        }
    }
}

impl Union {
    /// Makes a file or directory stand in the upper, at all its names. Nobody sees a difference. No names may be locked.
    ///
    /// # Errors
    /// `EROFS` without an upper; those of the copy. Nothing that shows has changed then.
    pub(crate) fn bring_up(&self, node: &Arc<Node>, need: Need) -> Result<(), Errno> {
        let ready = |state: &State| {
            let has = |standing: &Standing| need == Need::Metadata || !standing.metacopy;
            !state.lacks_names() && state.upper().is_some_and(has)
        };
        if ready(&node.state()) {
            return Ok(());
        }
        self.change(node, &|place| need.op(place), None, &mut |_| Ok(()))
    }

    /// Brings up every directory that leads to `dir`, and it itself, outermost first.
    pub(crate) fn bring_up_directory(&self, dir: &Arc<Node>) -> Result<(), Errno> {
        let mut missing = Vec::new();
        let mut at = Arc::clone(dir);
        while !at.is_up() {
            let above = at.first_name()?.parent;
            missing.push(at);
            at = self.tree.node(above).ok_or(Errno::NOENT)?;
        }
        missing.iter().rev().try_for_each(|node| self.bring_up(node, Need::Metadata))
    }

    /// Does an operation on one file: brings up what the plan says, and calls `act` with where the file stands, unless the plan has done all. `cut` is what becomes of a size. No
    /// names may be locked.
    ///
    /// # Errors
    /// Of the plan, which writes nothing then; of what was refused on the way; what `act` says.
    pub(crate) fn change(
        &self,
        node: &Arc<Node>,
        op: &dyn Fn(Place) -> Op,
        cut: Option<Cut>,
        act: &mut dyn FnMut(&Target<'_>) -> Result<(), SysError>,
    ) -> Result<(), Errno> {
        let carrier = self.carrier()?;
        if node.id == ROOT {
            let alone = Place {
                parent: Parent::Merged,
                here: Here::Directory(Merge::Alone { opaque: false }),
                below: mica_core::plan::Below::Nothing,
            };
            plan(op(alone), carrier.features()).map_err(refused)?;
            let done = act(&Target::Root(&self.tree.upper_dir(node)?)).map_err(errno);
            self.tree.stale(node);
            return done;
        }
        let mut features = carrier.features();
        for _ in 0..TRIES {
            if node.state().at.is_empty() {
                return self.change_unnamed(node, op, act);
            }
            match self.try_change(node, op, cut, act, features)? {
                Tried::Done => return Ok(()),
                Tried::Again => {}
                Tried::WithoutRedirects => features = Features::Basic,
            }
        }
        Err(Errno::AGAIN)
    }

    fn try_change(
        &self,
        node: &Arc<Node>,
        op: &dyn Fn(Place) -> Op,
        cut: Option<Cut>,
        act: &mut dyn FnMut(&Target<'_>) -> Result<(), SysError>,
        features: Features,
    ) -> Result<Tried, Errno> {
        let unknown = {
            let state = node.state();
            state.is_joining() && state.at.shown().is_none()
        };
        if unknown {
            self.tree.gather_all(node)?;
        }
        let held = self.tree.hold(node, node);
        let Some(spot) = self.spot_of(node)? else { return Ok(Tried::Again) };
        let facts = {
            let names = spot.dir.directory()?.read();
            self.facts(&spot.dir, &names, spot.name.as_bytes(), Wanted { others: true, below: false })?
        };
        let place = match facts {
            Facts::Known(place, Some(found)) if found.id == node.id => place,
            Facts::Others => {
                drop(held);
                self.tree.gather_all(node)?;
                return Ok(Tried::Again);
            }
            _ => return Ok(Tried::Again),
        };
        let plan = plan(op(place), features).map_err(refused)?;
        if plan.iter().any(|step| matches!(step, Step::Parents(_))) {
            drop(held);
            self.bring_up_directory(&spot.dir)?;
            return Ok(Tried::Again);
        }
        if plan.iter().any(|step| matches!(step, Step::Join(_))) {
            // Directories come up one by one, and whoever brings one up waits for no file.
            let others = node.state().at.clone();
            for at in others.iter() {
                self.bring_up_directory(&self.tree.node(at.parent).ok_or(Errno::NOENT)?)?;
            }
        }
        let mut places = Places::new(self);
        places.cut = cut;
        places.coming = coming(&plan, &spot, &mut Places::new(self))?;
        places.old = Some(spot.clone());
        let carrier = self.carrier()?;
        for steps in super::told::parts(&plan) {
            if let [Step::Change(_)] = steps {
                let dir = self.tree.upper_dir(&spot.dir)?;
                let stand = Stand { dir, name: spot.name.clone() };
                let done = act(&Target::Named(&stand)).map_err(errno);
                self.tree.stale(node);
                done?;
                continue;
            }
            match carrier.carry(steps, &mut places) {
                Ok(_) => {}
                Err(CarryError::RedirectTooLong(_)) if features == Features::Full => {
                    return Ok(Tried::WithoutRedirects);
                }
                Err(error) => {
                    // What was written of it may have changed what it says.
                    self.tree.stale(node);
                    return Err(error.errno());
                }
            }
            self.tell_marks(steps, Some(node), None);
        }
        self.settle_names(node)?;
        drop(held);
        Ok(Tried::Done)
    }

    /// A node's first name, with its directory; `None` while it is being moved.
    pub(super) fn spot_of(&self, node: &Arc<Node>) -> Result<Option<Spot>, Errno> {
        let Ok(at) = node.any_name() else { return Ok(None) };
        let Some(dir) = self.tree.node(at.parent) else { return Ok(None) };
        let name = match dir.directory()?.read().by_cookie(at.cookie()) {
            Some((_, name)) => name_of(name)?,
            None => return Ok(None),
        };
        Ok(Some(Spot { dir, name, node: Some(Arc::clone(node)) }))
    }

    /// What has come up has other attributes on disk, and the number by which its other names find it.
    fn settle_names(&self, node: &Arc<Node>) -> Result<(), Errno> {
        let several = {
            let mut state = node.state();
            if !state.is_up() || state.lacks_names() {
                return Ok(());
            }
            if !state.is_joining() {
                state.at.set_shown(None);
            }
            state.is_joining() || state.at.len() > 1
        };
        self.tree.stands_again(node);
        if node.has(Flag::Stale) {
            self.tree.refresh(node)?;
        }
        if several {
            self.tree.link_key(node);
        }
        Ok(())
    }

    /// Brings up a lower file whose last name is gone: it gets none in the upper.
    fn bring_up_unnamed(&self, node: &Arc<Node>) -> Result<Arc<File>, Errno> {
        let _held = self.tree.hold(node, node);
        if let Some(held) = self.tree.orphan(node) {
            return Ok(held);
        }
        if node.is_up() || node.is_directory() || !node.state().at.is_empty() {
            return Err(Errno::STALE);
        }
        let source = self.source_of(node)?;
        let content = match node.kind {
            FileKind::File => Some(self.tree.open_below(node)?),
            _ => None,
        };
        let file = Arc::new(self.carrier()?.copy_unnamed(&source, content.as_ref()).map_err(errno)?);
        self.tree.came_up_unnamed(node, &file);
        Ok(file)
    }

    /// Changes a file that has no name any more and that somebody has open.
    fn change_unnamed(
        &self,
        node: &Arc<Node>,
        op: &dyn Fn(Place) -> Op,
        act: &mut dyn FnMut(&Target<'_>) -> Result<(), SysError>,
    ) -> Result<(), Errno> {
        let leaf = mica_core::plan::UpperLeaf {
            regular: node.kind == FileKind::File,
            data: mica_core::plan::Data::Whole,
            joining: mica_core::plan::Joining::No,
        };
        let here = if node.is_directory() { Here::Directory(Merge::Alone { opaque: false }) } else { Here::Leaf(leaf) };
        let alone = Place { parent: Parent::Alone, here, below: mica_core::plan::Below::Nothing };
        plan(op(alone), self.carrier()?.features()).map_err(refused)?;
        let held = match self.tree.orphan(node) {
            Some(held) => held,
            None => self.bring_up_unnamed(node)?,
        };
        let _busy = self.tree.hold(node, node);
        let done = act(&Target::Unnamed(&held)).map_err(errno);
        self.tree.stale(node);
        done
    }
}

enum Tried {
    Done,
    Again,
    WithoutRedirects,
}

/// How a file stands that a plan brings up.
fn coming(steps: &[Step], spot: &Spot, places: &mut Places<'_>) -> Result<Standing, Errno> {
    use crate::fuse::carry::Context;
    let dressed = steps.iter().find_map(|step| match step {
        Step::Dress(Dress::File { content, joining, .. }) => Some((*content == Content::Later, *joining)),
        _ => None,
    });
    let Some((later, joining)) = dressed else { return Ok(Standing::default()) };
    let joining = if joining { Some(places.lower_path(spot).map_err(errno)?) } else { None };
    Ok(Standing {
        metacopy: later,
        redirect: if later { Leads::Absolute } else { Leads::ByName },
        joining: joining.map(Box::new),
        ..Standing::default()
    })
}

impl Union {
    /// Tells nodes which marks were set on them and taken off.
    pub(super) fn tell_marks(&self, steps: &[Step], old: Option<&Arc<Node>>, new: Option<&Arc<Node>>) {
        for step in steps {
            let (at, mark, is_set) = match step {
                Step::Mark(at, mark) => (at, mark, true),
                Step::Unmark(at, mark) => (at, mark, false),
                _ => continue,
            };
            let node = match at {
                At::Old => old,
                At::New => new,
            };
            let Some(node) = node else { continue };
            let mut state = node.state();
            let Some(standing) = state.upper_mut() else { continue };
            match (mark, is_set) {
                (Mark::Opaque, is_set) => standing.opaque = is_set,
                (Mark::Redirect(RedirectKind::Absolute), true) => standing.redirect = Leads::Absolute,
                (Mark::Redirect(RedirectKind::Relative), true) => standing.redirect = Leads::Relative,
                (Mark::Redirect(_), false) => standing.redirect = Leads::ByName,
                (Mark::Metacopy, is_set) => {
                    standing.metacopy = is_set;
                    standing.redirect = Leads::ByName;
                }
                (Mark::Joining, false) => {
                    standing.joining = None;
                    node.unpin();
                }
                (Mark::Joining | Mark::Settled, _) => {}
            }
            if matches!(mark, Mark::Redirect(_)) && node.is_directory() {
                self.tree.directories_moved();
            }
        }
    }
}
