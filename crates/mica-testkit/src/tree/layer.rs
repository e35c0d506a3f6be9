//! A literal as a layer, and what a stack of literals shows by the rules of `core`.

use std::collections::BTreeMap;
use std::convert::Infallible;

use mica_core::{Attrs, Kind, Layer, LayerEntry, Name, Node, RelPath, Stack};

use super::{Entry, Tree, What};

impl Layer for Tree {
    type Error = Infallible;

    fn entry(&self, path: &RelPath) -> Result<Option<LayerEntry>, Infallible> {
        Ok(self.get(path).map(|entry| match &entry.what {
            What::Whiteout => LayerEntry::Whiteout,
            What::Hard(target) => match self.get(target) {
                Some(first) => LayerEntry::Node(self.node(target, first)),
                None => LayerEntry::Node(Node {
                    kind: Kind::LinkToParent { target: target.clone() },
                    attrs: Attrs::default(),
                    link_group: None,
                }),
            },
            _ => LayerEntry::Node(self.node(path, entry)),
        }))
    }

    fn names(&self, path: &RelPath) -> Result<Vec<Name>, Infallible> {
        let inside = self.entries.keys().filter_map(RelPath::split).filter(|(parent, _)| parent == path);
        Ok(inside.map(|(_, name)| name).collect())
    }
}

impl Tree {
    fn node(&self, path: &RelPath, entry: &Entry) -> Node {
        let kind = match &entry.what {
            What::Dir { opaque } => Kind::Directory { opaque: *opaque, implicit: false },
            What::File(content) => Kind::File { size: content.len() as u64, content: None },
            What::Symlink(target) => Kind::Symlink { target: target.clone() },
            What::Char(rdev) => Kind::CharDevice(*rdev),
            What::Block(rdev) => Kind::BlockDevice(*rdev),
            What::Fifo => Kind::Fifo,
            What::Socket => Kind::Socket,
            What::Hard(_) | What::Whiteout => unreachable!("the caller has seen to these"),
        };
        let attrs = Attrs {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime.unwrap_or_default(),
            xattrs: entry.xattrs.clone(),
        };
        let number = self.entries.keys().position(|at| at == path).unwrap_or_default() as u64;
        let shared = self.entries.values().any(|other| other.what == What::Hard(path.clone()));
        Node { kind, attrs, link_group: shared.then_some(number) }
    }

    /// What a stack of changesets, topmost first, shows: every path asked of [`Stack::resolve`]. Names of one layer that
    /// share a file and both show are hard links.
    #[must_use]
    pub fn of_stack(layers: &[Self]) -> Self {
        let stack = Stack::new(layers.iter().collect());
        let mut shown = Self::new();
        let mut groups = BTreeMap::new();
        resolve(&stack, layers, &RelPath::root(), &mut shown, &mut groups);
        shown
    }
}

/// The first name that shows of each file that has several: by layer and number.
type Groups = BTreeMap<(usize, u64), RelPath>;

fn resolve(stack: &Stack<&Tree>, layers: &[Tree], path: &RelPath, shown: &mut Tree, groups: &mut Groups) {
    let Ok(found) = stack.resolve(path);
    let found = found.unwrap_or_else(|| panic!("{path} is listed and does not resolve"));
    let (layer, at) = &found.content;
    let source = layers.get(*layer).and_then(|layer| layer.get(at));
    let what = match (&found.node.kind, source.map(|source| &source.what)) {
        (Kind::Directory { .. }, _) => What::Dir { opaque: false },
        (_, Some(What::Hard(target))) => layers[*layer].get(target).expect("the link's file").what.clone(),
        (_, Some(what)) => what.clone(),
        (_, None) => panic!("{path} resolves to nothing"),
    };
    let attrs = found.node.attrs;
    let first = found.node.link_group.map(|group| groups.entry((*layer, group)).or_insert_with(|| path.clone()));
    let what = first.filter(|first| *first != path).map_or(what, |first| What::Hard(first.clone()));
    let mtime = layers.get(found.attrs_layer).and_then(|layer| layer.get(path)).and_then(|entry| entry.mtime);
    let entry = Entry { what, mode: attrs.mode, uid: attrs.uid, gid: attrs.gid, mtime, xattrs: attrs.xattrs };
    shown.put(path.clone(), entry);
    let Ok(names) = stack.names(path);
    for name in names.unwrap_or_default() {
        resolve(stack, layers, &path.join(&name), shown, groups);
    }
}
