//! The rules of the module above, one function for each operation.

use super::{
    At, Below, Content, Data, Dress, Features, Here, How, Joining, Known, LeafKind, Leaving, LowerLeaf, Mark, Merge,
    Names, Op, Parent, Place, Plan, RedirectKind, Refusal, Relation, Rename, Step, UpperLeaf, XattrChange,
};

/// The steps by which `op` appears to have happened.
///
/// # Errors
/// [`Refusal`], with the errno that Linux gives on a file system without layers, and `EXDEV` with [`Features::Basic`].
pub fn plan(op: Op, features: Features) -> Result<Plan, Refusal> {
    let mut draft = Draft { plan: Plan::new(), features };
    match op {
        Op::Make(new) => draft.make(new, Made::Leaf)?,
        Op::MakeDirectory(new) => draft.make(new, Made::Directory)?,
        Op::Adopt(new) => draft.adopt(new)?,
        Op::Link { old, new } => draft.link(old, new)?,
        Op::Unlink(old) => draft.unlink(old)?,
        Op::RemoveDirectory { old, is_empty } => draft.remove_directory(old, is_empty)?,
        Op::Rename(rename) => draft.rename(&rename)?,
        Op::Write(old) => draft.write(old)?,
        Op::Truncate { old, to_nothing } => draft.truncate(old, to_nothing)?,
        Op::Allocate(old) => draft.allocate(old)?,
        Op::Attributes(old) => draft.attributes(old)?,
        Op::Xattr { old, change, present } => draft.xattr(old, change, present)?,
    }
    Ok(draft.plan)
}

#[derive(Clone, Copy, PartialEq)]
enum Made {
    Leaf,
    Directory,
}

/// What an operation needs of a file in the upper.
#[derive(Clone, Copy, PartialEq)]
enum Need {
    Metadata,
    Content,
}

struct Draft {
    plan: Plan,
    features: Features,
}

impl Draft {
    fn step(&mut self, step: Step) {
        self.plan.push(step);
    }

    fn parents(&mut self, at: At, place: Place) {
        if place.parent == Parent::Lower {
            self.step(Step::Parents(at));
        }
    }

    fn make(&mut self, new: Place, made: Made) -> Result<(), Refusal> {
        if new.shows() {
            return Err(Refusal::Exists);
        }
        let opaque = made == Made::Directory && new.below == Below::Directory;
        self.parents(At::New, new);
        self.step(Step::Dress(Dress::New { opaque }));
        match new.here {
            Here::Whiteout if made == Made::Directory => {
                self.step(Step::Swap(At::New));
                self.step(Step::Discard);
            }
            Here::Whiteout => self.step(Step::Replace(At::New)),
            _ => self.step(Step::Place(At::New)),
        }
        Ok(())
    }

    fn adopt(&mut self, new: Place) -> Result<(), Refusal> {
        if new.shows() {
            return Err(Refusal::Exists);
        }
        self.parents(At::New, new);
        self.step(Step::Stage);
        self.step(if new.here == Here::Whiteout { Step::Replace(At::New) } else { Step::Place(At::New) });
        Ok(())
    }

    fn link(&mut self, old: Place, new: Place) -> Result<(), Refusal> {
        exists(old)?;
        if new.shows() {
            return Err(Refusal::Exists);
        }
        if old.is_directory() {
            return Err(Refusal::LinkToDirectory);
        }
        let data = self.bring_up(At::Old, old, Need::Metadata);
        self.parents(At::New, new);
        self.lead_below(At::Old, data);
        if new.here == Here::Whiteout {
            self.step(Step::Stage);
            self.step(Step::Replace(At::New));
        } else {
            self.step(Step::Link);
        }
        Ok(())
    }

    fn unlink(&mut self, old: Place) -> Result<(), Refusal> {
        exists(old)?;
        no_directory(old)?;
        self.parents(At::Old, old);
        self.keep(At::Old, old);
        if matches!(old.here, Here::LowerLeaf(_)) {
            self.step(Step::Whiteout(At::Old));
        } else if old.below == Below::Nothing {
            self.step(Step::Remove(At::Old));
        } else {
            self.step(Step::Dress(Dress::Whiteout));
            self.step(Step::Replace(At::Old));
        }
        Ok(())
    }

    fn remove_directory(&mut self, old: Place, is_empty: bool) -> Result<(), Refusal> {
        exists(old)?;
        if !old.is_directory() {
            return Err(Refusal::NotDirectory(At::Old));
        }
        if !is_empty {
            return Err(Refusal::NotEmpty);
        }
        self.parents(At::Old, old);
        match old.here {
            Here::LowerDirectory => self.step(Step::Whiteout(At::Old)),
            _ if old.below != Below::Nothing => {
                self.step(Step::Dress(Dress::Whiteout));
                self.step(Step::Swap(At::Old));
                self.step(Step::Discard);
            }
            Here::Directory(Merge::Alone { .. }) => self.step(Step::Remove(At::Old)),
            // It holds whiteouts, and without them what they hide would show.
            _ => {
                self.step(Step::TakeOut(At::Old));
                self.step(Step::Discard);
            }
        }
        Ok(())
    }

    fn write(&mut self, old: Place) -> Result<(), Refusal> {
        exists(old)?;
        no_directory(old)?;
        if is_regular(old) {
            self.bring_up(At::Old, old, Need::Content);
            self.step(Step::Change(At::Old));
        }
        Ok(())
    }

    fn allocate(&mut self, old: Place) -> Result<(), Refusal> {
        exists(old)?;
        no_directory(old)?;
        if !is_regular(old) {
            return Err(Refusal::NoSpace);
        }
        self.write(old)
    }

    fn truncate(&mut self, old: Place, to_nothing: bool) -> Result<(), Refusal> {
        exists(old)?;
        no_directory(old)?;
        if !is_regular(old) {
            return Err(Refusal::NoSize);
        }
        if let Here::LowerLeaf(LowerLeaf { names: Names::One, .. }) = old.here {
            self.parents(At::Old, old);
            self.step(Step::Dress(Dress::File { like: At::Old, content: Content::Cut, joining: false }));
            self.step(Step::Place(At::Old));
            return Ok(());
        }
        let need = if to_nothing { Need::Metadata } else { Need::Content };
        let data = self.bring_up(At::Old, old, need);
        self.step(Step::Change(At::Old));
        if data != Data::Whole {
            self.step(Step::Unmark(At::Old, Mark::Metacopy));
        }
        Ok(())
    }

    fn attributes(&mut self, old: Place) -> Result<(), Refusal> {
        exists(old)?;
        self.bring_up(At::Old, old, Need::Metadata);
        self.step(Step::Change(At::Old));
        Ok(())
    }

    fn xattr(&mut self, old: Place, change: XattrChange, present: bool) -> Result<(), Refusal> {
        exists(old)?;
        match change {
            XattrChange::Create if present => Err(Refusal::AttributeExists),
            XattrChange::Replace | XattrChange::Remove if !present => Err(Refusal::NoAttribute),
            _ => self.attributes(old),
        }
    }

    /// In the order of the kernel's `do_renameat2` and `vfs_rename` (Linux 6.18).
    fn rename(&mut self, rename: &Rename) -> Result<(), Refusal> {
        let Rename { old, new, how, .. } = *rename;
        exists(old)?;
        match how {
            How::NoReplace | How::WhiteoutNoReplace if new.shows() => return Err(Refusal::Exists),
            How::Exchange if !new.shows() => return Err(Refusal::Missing(At::New)),
            _ => {}
        }
        match rename.relation {
            Relation::NewInOld => return Err(Refusal::IntoItself),
            Relation::OldInNew if how == How::Exchange => return Err(Refusal::IntoItself),
            Relation::OldInNew => return Err(Refusal::OverItsParent),
            Relation::Apart => {}
        }
        if rename.same_file {
            return Ok(());
        }
        if how == How::Exchange {
            return self.exchange(rename);
        }
        if new.shows() {
            match (old.is_directory(), new.is_directory()) {
                (true, false) => return Err(Refusal::NotDirectory(At::New)),
                (false, true) => return Err(Refusal::IsDirectory(At::New)),
                (true, true) if !rename.new_is_empty => return Err(Refusal::NotEmpty),
                _ => {}
            }
        }
        self.ready(At::Old, old, new, rename.same_parent)?;
        self.parents(At::New, new);
        self.keep(At::New, new);
        if let Here::Directory(Merge::ByName | Merge::Redirected { .. }) = new.here {
            self.step(Step::Dress(Dress::Empty { like: At::New }));
            self.step(Step::Swap(At::New));
            self.step(Step::Discard);
        }
        let device = matches!(how, How::Whiteout | How::WhiteoutNoReplace);
        if device {
            self.step(Step::Dress(Dress::DeviceZero));
        }
        let hides = old.below != Below::Nothing;
        let onto_whiteout = new.here == Here::Whiteout;
        // A directory cannot be renamed over a whiteout, which is a file.
        let left = if onto_whiteout && (hides || old.is_directory()) {
            self.step(Step::Exchange);
            Leaving::Whiteout
        } else {
            let leaving = if hides { Leaving::Whiteout } else { Leaving::Nothing };
            self.step(Step::Move(leaving));
            leaving
        };
        match left {
            Leaving::Whiteout if device => self.step(Step::Replace(At::Old)),
            Leaving::Nothing if device => self.step(Step::Place(At::Old)),
            Leaving::Whiteout if !hides => self.step(Step::Remove(At::Old)),
            _ => {}
        }
        Ok(())
    }

    fn exchange(&mut self, rename: &Rename) -> Result<(), Refusal> {
        let Rename { old, new, same_parent, .. } = *rename;
        // A directory first: a name of the file may be in it, and linking that would bring it up too.
        if old.is_directory() {
            self.ready(At::Old, old, new, same_parent)?;
            self.ready(At::New, new, old, same_parent)?;
        } else {
            self.ready(At::New, new, old, same_parent)?;
            self.ready(At::Old, old, new, same_parent)?;
        }
        self.step(Step::Exchange);
        Ok(())
    }

    /// Makes what shows at `from` stand in the upper, with marks that let it show the same at `to`.
    fn ready(&mut self, at: At, from: Place, to: Place, same_parent: bool) -> Result<(), Refusal> {
        let merge = match from.here {
            Here::LowerDirectory => Merge::ByName,
            Here::Directory(merge) => merge,
            _ => {
                let data = self.bring_up(at, from, Need::Metadata);
                self.lead_below(at, data);
                return Ok(());
            }
        };
        let mark = match merge {
            Merge::ByName if same_parent => Some(Mark::Redirect(RedirectKind::Relative)),
            Merge::ByName => Some(Mark::Redirect(RedirectKind::Absolute)),
            Merge::Redirected { absolute: false } if !same_parent => Some(Mark::Redirect(RedirectKind::Absolute)),
            Merge::Alone { opaque: false } if to.below == Below::Directory => Some(Mark::Opaque),
            Merge::Alone { .. } | Merge::Redirected { .. } => None,
        };
        if matches!(mark, Some(Mark::Redirect(_))) && self.features == Features::Basic {
            return Err(Refusal::NeedsRedirect);
        }
        self.bring_up(at, from, Need::Metadata);
        if let Some(mark) = mark {
            self.step(Step::Mark(at, mark));
        }
        Ok(())
    }

    /// A file whose content is below gets a redirect, by which it is found from any name.
    fn lead_below(&mut self, at: At, data: Data) {
        if data == (Data::Below { redirect: false }) {
            match self.features {
                Features::Full => self.step(Step::Mark(at, Mark::Redirect(RedirectKind::Absolute))),
                Features::Basic => self.fill(at),
            }
        }
    }

    fn fill(&mut self, at: At) {
        self.step(Step::Fill(at));
        self.step(Step::Unmark(at, Mark::Metacopy));
    }

    /// Makes what shows at a place stand in the upper, at all its names, and says where its content is then.
    fn bring_up(&mut self, at: At, place: Place, need: Need) -> Data {
        let data = match place.here {
            Here::Nothing | Here::Whiteout | Here::Directory(_) => Data::Whole,
            Here::LowerDirectory => {
                self.parents(at, place);
                self.step(Step::Dress(Dress::Directory { like: at }));
                self.step(Step::Place(at));
                Data::Whole
            }
            Here::LowerLeaf(leaf) => self.bring_up_leaf(at, place, leaf, need),
            Here::Leaf(UpperLeaf { data, joining, .. }) => {
                if let Joining::Names(known) = joining {
                    self.join(at, known);
                }
                data
            }
        };
        if need == Need::Content && data != Data::Whole {
            self.fill(at);
            return Data::Whole;
        }
        data
    }

    fn bring_up_leaf(&mut self, at: At, place: Place, leaf: LowerLeaf, need: Need) -> Data {
        let several = match leaf.names {
            Names::Joining(data, known) => {
                self.join(at, known);
                return data;
            }
            Names::Several(known) => Some(known),
            Names::One => None,
        };
        let joining = several.is_some();
        let later = need == Need::Metadata
            && leaf.kind == (LeafKind::Regular { large: true })
            && self.features == Features::Full;
        let content = if later { Content::Later } else { Content::Whole };
        self.parents(at, place);
        self.step(Step::Dress(Dress::File { like: at, content, joining }));
        self.step(Step::Place(at));
        if let Some(known) = several {
            self.join(at, known);
        }
        if later { Data::Below { redirect: true } } else { Data::Whole }
    }

    /// Until all names are known, the mark stays.
    fn join(&mut self, at: At, known: Known) {
        self.step(Step::Join(at));
        self.step(match known {
            Known::All => Step::Unmark(at, Mark::Joining),
            Known::Some => Step::Mark(at, Mark::Settled),
        });
    }

    /// Before a name goes that may be the last in the upper of a file whose other names show yet, or may.
    fn keep(&mut self, at: At, place: Place) {
        if let Here::Leaf(UpperLeaf { joining: Joining::Names(_) | Joining::Settled, .. }) = place.here {
            self.step(Step::Keep(at));
        }
    }
}

const fn exists(old: Place) -> Result<(), Refusal> {
    if old.shows() { Ok(()) } else { Err(Refusal::Missing(At::Old)) }
}

const fn no_directory(old: Place) -> Result<(), Refusal> {
    if old.is_directory() { Err(Refusal::IsDirectory(At::Old)) } else { Ok(()) }
}

const fn is_regular(old: Place) -> bool {
    matches!(
        old.here,
        Here::LowerLeaf(LowerLeaf { kind: LeafKind::Regular { .. }, .. }) | Here::Leaf(UpperLeaf { regular: true, .. })
    )
}
