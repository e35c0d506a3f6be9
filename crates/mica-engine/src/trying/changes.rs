//! What a try changed, told from its uppers: one for each file system of the machine.

use std::collections::BTreeSet;

use mica_core::{Attrs, Change, ChangeKind, Layer as _, LayerEntry, RelPath, Stack};
use mica_layer::{AnyLayer, DirLayer, Over, Reach, UpperLayer, leads_below};
use mica_sys::Dir;
use mica_union::fuse::OVERFLOW;

use crate::container::{Base, Known, View, ViewKind};
use crate::diff::one_mount;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::trying::machine;
use crate::trying::whole::Whole;

/// What an upper stands over, open.
pub(super) struct Lowered {
    pub(super) dir: Dir,
    /// Where it is mounted for this alone.
    pub(super) whole: Option<Whole>,
}

/// Layers, and what they are mounted by.
pub(crate) type BelowTry = (Option<Stack<AnyLayer>>, Option<Whole>);

impl Engine {
    /// What each view's upper changed, with the paths that the machine has.
    pub(crate) fn diff_views(&self, known: &Known, views: &[View]) -> Result<Vec<Change>> {
        let mut all = Vec::new();
        for view in views {
            let Some(upper) = self.upper_of(known, view)? else { continue };
            let below = match self.below_of(known, view) {
                Ok(below) => below,
                // It was unmounted meanwhile, and nothing was written there.
                Err(_) if upper.read_dir()?.is_empty() => continue,
                Err(error) => return Err(error.while_(format_args!("compare with {}", view.target.display()))),
            };
            let prefix = RelPath::parse_loose(view.target.as_os_str().as_encoded_bytes())
                .map_err(|error| Error::because(Kind::System, "a mount has no usable path", error))?;
            if self.has_other_root(&upper, &below.dir)? {
                all.push(Change { path: prefix.clone(), kind: ChangeKind::Changed });
            }
            let Lowered { dir, whole } = below;
            let below = Stack::new(vec![DirLayer::new(dir, self.store.marks())]);
            let over = Over { below: &below, ability: self.store.ability(), reach: Reach::CopiedUp };
            let upper = UpperLayer::new(upper, self.store.marks(), over)?;
            let changes = without_the_machines_own(mica_core::changes(&upper, &below)?, &upper, &below)?;
            all.extend(changes.into_iter().map(|change| Change { path: prefix.join_path(&change.path), ..change }));
            drop(whole);
        }
        all.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(all)
    }

    /// A view's upper; `None` for one that could not be shown.
    pub(crate) fn upper_of(&self, known: &Known, view: &View) -> Result<Option<Dir>> {
        if view.place.as_os_str().is_empty() {
            return Ok(Some(Dir::open(&known.container.upper())?));
        }
        Ok(known.container.dir().open_dir_if_there(&[view.place.as_os_str().as_encoded_bytes(), b"/upper"].concat())?)
    }
}

impl Engine {
    /// What a view's upper stands over.
    pub(super) fn below_of(&self, known: &Known, view: &View) -> Result<Lowered> {
        let alone = |dir| Lowered { dir, whole: None };
        match view.kind {
            ViewKind::Mount | ViewKind::Directory => one_mount(&view.target).map(alone),
            ViewKind::Frame => Ok(alone(Dir::open(&known.container.path().join(&view.place).join("frame"))?)),
            ViewKind::Tree => {
                let seen = machine::visible(self.store.path(), self.store.run_root())?;
                let whole = self.whole(known.container.id().as_str(), &seen)?;
                Ok(Lowered { dir: whole.dir()?, whole: Some(whole) })
            }
        }
    }

    /// What the layer of a try is packed over: nothing, since a try stands on the machine, which has nothing but what stands on its disks; but the machine where
    /// the upper leads there.
    pub(crate) fn below_try(&self, known: &Known, views: &[View], upper: &Dir) -> Result<BelowTry> {
        let leads = leads_below(upper, self.store.marks())?;
        let root = views.iter().find(|view| view.place.as_os_str().is_empty());
        let Some(root) = root.filter(|_| leads) else { return Ok((None, None)) };
        let Lowered { dir, whole } = self.below_of(known, root)?;
        Ok((Some(Stack::new(vec![DirLayer::new(dir, self.store.marks()).into()])), whole))
    }

    /// Whom a try's uppers have for those that the user's namespace does not map: its one union shows them as root.
    pub(crate) fn others(&self, known: &Known) -> Option<u32> {
        let Base::Machine { views } = &known.settings.base else { return None };
        let shown_as_root = views.iter().any(|view| view.kind == ViewKind::Tree) && !self.standing.knows_everyone();
        shown_as_root.then_some(OVERFLOW)
    }

    /// Whether the directory that an upper stands for was changed itself, and not only what is in it.
    pub(crate) fn has_other_root(&self, upper: &Dir, target: &Dir) -> Result<bool> {
        let attrs = |dir: &Dir| crate::container::own_attrs(dir.open_dir(b"")?, self.store.marks());
        let (now, then) = (attrs(upper)?, attrs(target)?);
        if !self.standing.is_root() {
            // The rest of another user's directory could not be given to the upper.
            return Ok(now.mode != then.mode);
        }
        Ok(Attrs { mtime: then.mtime, ..now } != then)
    }
}

/// Drops what may be the machine's own doing, which goes on meanwhile: a directory that the upper has for the sake of
/// something inside it, in which nothing came or went, and of which the time alone differs.
fn without_the_machines_own(
    changes: Vec<Change>,
    upper: &UpperLayer<'_>,
    below: &Stack<DirLayer>,
) -> Result<Vec<Change>> {
    let came_or_went: BTreeSet<RelPath> = changes
        .iter()
        .filter(|change| change.kind != ChangeKind::Changed)
        .filter_map(|change| change.path.parent())
        .collect();
    let mut kept = Vec::with_capacity(changes.len());
    for change in changes {
        let doubtful = change.kind == ChangeKind::Changed && !came_or_went.contains(&change.path);
        if !(doubtful && differs_in_time_alone(&change.path, upper, below)?) {
            kept.push(change);
        }
    }
    Ok(kept)
}

fn differs_in_time_alone(path: &RelPath, upper: &UpperLayer<'_>, below: &Stack<DirLayer>) -> Result<bool> {
    let (Some(LayerEntry::Node(now)), Some(then)) = (upper.entry(path)?, below.resolve(path)?) else {
        return Ok(false);
    };
    let then = then.node;
    let both = now.kind.is_directory() && then.kind.is_directory();
    Ok(both && Attrs { mtime: then.attrs.mtime, ..now.attrs } == then.attrs)
}
