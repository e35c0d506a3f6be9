//! Files that are joining: brought up from a lower file of several names, and not linked at all of them yet.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use mica_core::plan::{Links, Lowers, Shows, Standing, StandingKind, StandingLeaf, Union, Upper};
use mica_core::{Kind, LayerEntry, Name, RelPath};
use mica_sys::Dir;

use super::walk::walk;
use crate::dir_layer::is_no_directory;
use crate::ladder::open_path;
use crate::tree::{Leads, Seen, look_at_self, look_led, reading, sorted_names};
use crate::{Below, LayerError, Marks, Over};

/// The names that joining files lack. None, but after a crash.
#[derive(Debug, Default)]
pub(super) struct Joins {
    /// Each name, and the path at which the upper has its file.
    names: BTreeMap<RelPath, RelPath>,
    /// Those paths.
    files: BTreeSet<RelPath>,
}

impl Joins {
    /// Looks for joining files where the upper's root says that there may be any.
    pub(super) fn find(root: &Dir, marks: Marks, over: &Over<'_>) -> Result<Self, LayerError> {
        let mark = root.get_own_xattr(marks.joins()).map_err(reading(&RelPath::root()))?;
        if mark.is_none() {
            return Ok(Self::default());
        }
        let union = Union::new(ByPath { root, marks }, BelowAsLowers(over.below));
        let mut joins = Self::default();
        for file in joining(root, marks)? {
            for name in union.group(&file)?.lower {
                joins.files.insert(file.clone());
                joins.names.insert(name, file.clone());
            }
        }
        Ok(joins)
    }

    /// The file of the upper that a path is a name of, which it does not have yet.
    pub(super) fn file_at(&self, path: &RelPath) -> Option<&RelPath> {
        self.names.get(path)
    }

    /// Whether the upper's file at `path` lacks names.
    pub(super) fn has(&self, path: &RelPath) -> bool {
        self.files.contains(path)
    }

    /// Whether there is such a name under `path`.
    pub(super) fn lead_to(&self, path: &RelPath) -> bool {
        self.under(path).next().is_some()
    }

    /// The names in the directory `path` that are such a name or lead to one.
    pub(super) fn names_in<'s>(&'s self, path: &'s RelPath) -> impl Iterator<Item = Name> + 's {
        self.under(path).filter_map(|below| below.names().nth(path.depth()))
    }

    fn under<'s>(&'s self, path: &'s RelPath) -> impl Iterator<Item = &'s RelPath> + 's {
        let from = self.names.range(path..).map(|(name, _)| name);
        from.take_while(|name| name.is_at_or_under(path)).filter(move |name| *name != path)
    }
}

/// The paths of all joining files, one for each name that they have.
fn joining(root: &Dir, marks: Marks) -> Result<Vec<RelPath>, LayerError> {
    let mut found = Vec::new();
    walk(root, marks, |path, seen| {
        if seen.leads.joining.is_some() {
            found.push(path.clone());
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// An upper for [`Union`].
struct ByPath<'a> {
    root: &'a Dir,
    marks: Marks,
}

impl ByPath<'_> {
    fn seen(&self, path: &RelPath) -> Result<Option<Seen>, LayerError> {
        let Some((parent, name)) = path.split() else { return Ok(None) };
        match open_path(self.root, &parent, Dir::open_dir) {
            Err(error) if is_no_directory(&error) => Ok(None),
            opened => Ok(look_led(&opened.map_err(reading(&parent))?, name.as_bytes(), path, Some(self.marks))?),
        }
    }
}

impl Upper for ByPath<'_> {
    type Error = LayerError;

    fn standing(&self, path: &RelPath) -> Result<Option<Standing>, LayerError> {
        let (node, leads) = match self.seen(path)? {
            None if path.is_root() => (look_at_self(self.root, path, Some(self.marks))?, Leads::default()),
            None => return Ok(None),
            Some(Seen { entry: LayerEntry::Whiteout, .. }) => return Ok(Some(Standing::Whiteout)),
            Some(Seen { entry: LayerEntry::Node(node), leads, .. }) => (node, leads),
        };
        Ok(Some(match node.kind {
            Kind::Directory { opaque, .. } => Standing::Directory { opaque, redirect: leads.redirect },
            kind => Standing::Leaf(StandingLeaf {
                kind: leaf(&kind),
                metacopy: leads.metacopy,
                redirect: leads.redirect,
                joining: leads.joining,
            }),
        }))
    }

    fn names(&self, path: &RelPath) -> Result<Vec<Name>, LayerError> {
        let dir = open_path(self.root, path, Dir::open_dir).map_err(reading(path))?;
        Ok(sorted_names(&dir, path)?)
    }

    /// The path alone: which other names a file has is not asked of an upper to find those that it lacks.
    fn links(&self, path: &RelPath) -> Result<Links, LayerError> {
        Ok(Links::all(vec![path.clone()]))
    }
}

/// What is below, for [`Union`].
struct BelowAsLowers<'a>(&'a dyn Below);

impl Lowers for BelowAsLowers<'_> {
    type Error = LayerError;

    fn shows(&self, path: &RelPath) -> Result<Option<Shows>, LayerError> {
        Ok(self.0.shown(path)?.map(|found| match found.node.kind {
            Kind::Directory { .. } => Shows::Directory,
            kind => Shows::Leaf(leaf(&kind)),
        }))
    }

    fn links(&self, path: &RelPath) -> Result<Links, LayerError> {
        self.0.links(path)
    }
}

const fn leaf(kind: &Kind) -> StandingKind {
    match kind {
        Kind::File { size, .. } => StandingKind::Regular { size: *size },
        _ => StandingKind::Other,
    }
}
