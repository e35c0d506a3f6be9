//! Trees against trees: what differs, which changes lie between, and the changeset that says them.

use std::collections::{BTreeMap, BTreeSet};

use mica_core::{Change, ChangeKind, RelPath};

use crate::{Entry, Tree, What};

/// A tree in which every name has its own content and attributes, and beside it the names that share a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flat {
    pub(super) tree: Tree,
    pub(super) groups: BTreeSet<BTreeSet<RelPath>>,
}

impl Flat {
    /// Of groups, the names in `apart` are left out: they may share a file or not.
    pub(super) fn of(tree: &Tree, apart: &dyn Fn(&RelPath) -> bool) -> Self {
        let mut groups: BTreeMap<RelPath, BTreeSet<RelPath>> = BTreeMap::new();
        let mut flat = tree.clone();
        for (path, entry) in tree.iter() {
            if let What::Hard(first) = &entry.what {
                groups.entry(first.clone()).or_default().extend([first.clone(), path.clone()]);
                flat.put(path.clone(), tree.get(first).unwrap().clone());
            }
        }
        // The time of the root moves with every name in it, and no layer says it for that alone.
        let mut root = flat.get(&RelPath::root()).unwrap().clone();
        root.mtime = None;
        flat.put(RelPath::root(), root);
        let kept = groups.into_values().map(|group| group.into_iter().filter(|path| !apart(path)).collect());
        let groups = kept.filter(|group: &BTreeSet<RelPath>| group.len() > 1).collect();
        Self { tree: flat, groups }
    }

    /// Every difference, one to a line; empty when there is none.
    pub(super) fn differences(&self, found: &Self) -> Vec<String> {
        let mut lines = self.tree.differences(&found.tree);
        lines.extend(self.groups.difference(&found.groups).map(|group| format!("  wanted as one file: {group:?}")));
        lines.extend(found.groups.difference(&self.groups).map(|group| format!("  found as one file: {group:?}")));
        lines
    }
}

/// What lies between two trees, by comparing them whole. `replaced` says which directories are others than before, though
/// they have the same name.
pub(super) fn changes(before: &Flat, after: &Flat, replaced: &dyn Fn(&RelPath) -> bool) -> Vec<Change> {
    let mut found = Vec::new();
    let mut say = |path: &RelPath, kind| found.push(Change { path: path.clone(), kind });
    for (path, entry) in after.tree.iter().filter(|(path, _)| !path.is_root()) {
        match before.tree.get(path) {
            None => say(path, ChangeKind::Added),
            Some(old) if old != entry || replaced(path) => say(path, ChangeKind::Changed),
            Some(_) => {}
        }
    }
    for (path, _) in before.tree.iter().filter(|(path, _)| after.tree.get(path).is_none()) {
        // What was under a name that is gone, or is no directory any more, goes without saying.
        if path.parent().is_some_and(|parent| after.tree.get(&parent).is_some_and(Entry::is_dir)) {
            say(path, ChangeKind::Deleted);
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// The changeset that makes `after` of `before`, as short as it can be said: the changes, their directories, whiteouts,
/// and `opaque` on the directories that replace others.
pub(super) fn changeset(before: &Flat, after: &Flat, changes: &[Change], replaced: &dyn Fn(&RelPath) -> bool) -> Tree {
    let mut layer = Tree::new();
    layer.put(RelPath::root(), after.tree.get(&RelPath::root()).unwrap().clone());
    let hidden = |path: &RelPath| path.ancestors().any(|ancestor| replaced(&ancestor));
    let first_of = |path: &RelPath, layer: &Tree| {
        let group = after.groups.iter().find(|group| group.contains(path))?;
        group.iter().find(|name| layer.get(name).is_some()).cloned()
    };
    for change in changes {
        for ancestor in change.path.ancestors() {
            if layer.get(&ancestor).is_none() {
                layer.put(ancestor.clone(), after.tree.get(&ancestor).unwrap().clone());
            }
        }
        let Some(entry) = after.tree.get(&change.path) else {
            if !hidden(&change.path) {
                layer.put(change.path.clone(), Entry::new(What::Whiteout));
            }
            continue;
        };
        let mut entry = entry.clone();
        let old_dir = before.tree.get(&change.path).is_some_and(Entry::is_dir);
        if entry.is_dir() {
            entry.what = What::Dir { opaque: old_dir && replaced(&change.path) && !hidden(&change.path) };
        } else if let Some(first) = first_of(&change.path, &layer) {
            entry.what = What::Hard(first);
        }
        layer.put(change.path.clone(), entry);
    }
    layer
}
