//! Whether a layer's diff/ is what its index says, or its stand-in, entry by entry. Content is not read here: a rebuild does that.

use std::collections::{BTreeMap, BTreeSet};

use mica_core::{Kind, Layer, LayerEntry, Name, Node, RelPath};
use mica_layer::{Ability, DirLayer, Index, LayerError, Marks, stand_in};
use mica_sys::Dir;

/// The first path at which they differ, and how; `None` when they do not.
pub(super) fn differs(index: &Index, diff: Dir, marks: Marks, ability: &Ability) -> Result<Option<String>, LayerError> {
    let tree = DirLayer::new(diff, marks);
    let mut groups: BTreeMap<u64, Option<u64>> = BTreeMap::new();
    for entry in index.entries() {
        let (path, said) = entry?;
        if is_link_to_parent(&said) {
            continue;
        }
        let Some(found) = tree.entry(&path)? else {
            return Ok(Some(format!("{path} is missing")));
        };
        let (said, found) = match (said, found) {
            (LayerEntry::Whiteout, LayerEntry::Whiteout) => continue,
            (LayerEntry::Node(said), LayerEntry::Node(found)) => (said, found),
            _ => return Ok(Some(format!("{path} is a whiteout in one and a file in the other"))),
        };
        if let Some(how) = node_differs(&said, &found, ability) {
            return Ok(Some(format!("{path} has another {how}")));
        }
        if let Some(group) = said.link_group
            && *groups.entry(group).or_insert(found.link_group) != found.link_group
        {
            return Ok(Some(format!("{path} is not linked to its other names")));
        }
        if said.kind.is_directory()
            && let Some(name) = stray(index, &tree, &path)?
        {
            return Ok(Some(format!("{} is there and not in the index", path.join(&name))));
        }
    }
    Ok(None)
}

fn is_link_to_parent(entry: &LayerEntry) -> bool {
    entry.node().is_some_and(|node| matches!(node.kind, Kind::LinkToParent { .. }))
}

/// A name of the directory on disk of which the index says nothing.
fn stray(index: &Index, tree: &DirLayer, path: &RelPath) -> Result<Option<Name>, LayerError> {
    let said: BTreeSet<Name> = index.names(path)?.into_iter().collect();
    Ok(tree.names(path)?.into_iter().find(|name| !said.contains(name)))
}

fn node_differs(said: &Node, found: &Node, ability: &Ability) -> Option<&'static str> {
    let kinds = match (&said.kind, &found.kind) {
        (Kind::File { size: said, .. }, Kind::File { size: found, .. }) => said == found,
        (Kind::Directory { opaque: said, .. }, Kind::Directory { opaque: found, .. }) => said == found,
        (said, found) => said == found,
    };
    if !kinds {
        return Some("type, size or target");
    }
    let said = stand_in(&said.kind, &said.attrs, ability).attrs;
    let found = &found.attrs;
    // Linux keeps a symlink's mode as 0777 whatever a tar says.
    if said.mode != found.mode {
        return Some("mode");
    }
    if (said.uid, said.gid) != (found.uid, found.gid) {
        return Some("owner");
    }
    if said.mtime != found.mtime {
        return Some("time");
    }
    (said.xattrs != found.xattrs).then_some("extended attribute")
}
