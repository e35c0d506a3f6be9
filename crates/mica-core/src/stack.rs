//! Layers on top of each other, and what shows through them.
//!
//! Names are looked up top-down and the first layer that speaks decides. A directory over a directory merges, down to
//! an opaque one; anything else over anything hides it; a whiteout shows nothing. A merged directory has the
//! attributes of the topmost layer that states them: one that only implies the directory, by naming something inside
//! it, does not.

use std::collections::BTreeSet;

use crate::{Kind, LayerEntry, Name, Node, RelPath};

/// One changeset, as something that can be asked.
///
/// The root is a path like any other; a layer that does not speak of it implies it.
pub trait Layer {
    /// Why the layer could not be asked.
    type Error;

    /// What the layer says of `path`; `None` when it does not speak of it.
    ///
    /// # Errors
    /// When the layer cannot be read.
    fn entry(&self, path: &RelPath) -> Result<Option<LayerEntry>, Self::Error>;

    /// The names directly in the directory `path` of which the layer says something, whiteouts included, in any
    /// order; empty when the layer has no such directory.
    ///
    /// # Errors
    /// When the layer cannot be read.
    fn names(&self, path: &RelPath) -> Result<Vec<Name>, Self::Error>;
}

impl<L: Layer + ?Sized> Layer for &L {
    type Error = L::Error;

    fn entry(&self, path: &RelPath) -> Result<Option<LayerEntry>, Self::Error> {
        (**self).entry(path)
    }

    fn names(&self, path: &RelPath) -> Result<Vec<Name>, Self::Error> {
        (**self).names(path)
    }
}

/// What shows at a path of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The file. Of a merged directory: the attributes that show, not opaque, and `implicit` only when no layer
    /// states any.
    pub node: Node,
    /// The layer whose statement decided, counted from the top.
    pub layer: usize,
    /// The layer whose attributes show; differs from `layer` for a directory that the topmost only implies.
    pub attrs_layer: usize,
    /// The layer and the path in it at which the content stands; differs from the path that was asked for only
    /// through [`Kind::LinkToParent`].
    pub content: (usize, RelPath),
    /// The layers whose names show in this directory, topmost first; empty when it is none.
    pub merged: Vec<usize>,
}

/// Layers, topmost first.
#[derive(Debug, Clone)]
pub struct Stack<L> {
    layers: Vec<L>,
}

impl<L: Layer> Stack<L> {
    /// A stack of `layers`, topmost first. An empty one shows an empty root.
    #[must_use]
    pub const fn new(layers: Vec<L>) -> Self {
        Self { layers }
    }

    /// The layers, topmost first.
    #[must_use]
    pub fn layers(&self) -> &[L] {
        &self.layers
    }

    /// What shows at `path`. The last component is not followed when it is a symlink, and neither are the others: a
    /// path through a symlink shows nothing.
    ///
    /// # Errors
    /// The first error of a layer that had to be asked.
    pub fn resolve(&self, path: &RelPath) -> Result<Option<Resolved>, L::Error> {
        self.resolve_from(0, path)
    }

    /// The names that show in the directory `path`, sorted; `None` when there is no such directory.
    ///
    /// # Errors
    /// The first error of a layer that had to be asked.
    pub fn names(&self, path: &RelPath) -> Result<Option<Vec<Name>>, L::Error> {
        let Some(directory) = self.resolve(path)?.filter(|found| found.node.kind.is_directory()) else {
            return Ok(None);
        };
        let mut said = BTreeSet::new();
        for layer in &directory.merged {
            if let Some(layer) = self.layers.get(*layer) {
                said.extend(layer.names(path)?);
            }
        }
        let mut shown = Vec::with_capacity(said.len());
        for name in said {
            if self.look_up(&directory.merged, &path.join(&name))?.is_some() {
                shown.push(name);
            }
        }
        Ok(Some(shown))
    }

    fn resolve_from(&self, top: usize, path: &RelPath) -> Result<Option<Resolved>, L::Error> {
        let mut found = self.root_from(top)?;
        let mut at = RelPath::root();
        for name in path.names() {
            at = at.join(&name);
            match self.look_up(&found.merged, &at)? {
                Some(next) => found = next,
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// The root of the layers from `top` down. Every stack has one, if only an implied one.
    fn root_from(&self, top: usize) -> Result<Resolved, L::Error> {
        let mut merge = Merge::default();
        for (number, layer) in self.layers.iter().enumerate().skip(top) {
            let said = layer.entry(&RelPath::root())?;
            let node = match said {
                Some(LayerEntry::Node(node)) if node.kind.is_directory() => node,
                _ => Node::implied_directory(),
            };
            if merge.add(number, node).is_last() {
                break;
            }
        }
        Ok(merge.finish(RelPath::root()).unwrap_or_else(|| Resolved {
            node: Node::implied_directory(),
            layer: top,
            attrs_layer: top,
            content: (top, RelPath::root()),
            merged: Vec::new(),
        }))
    }

    /// What the layers of `visible` (those whose names show in the parent) make of `path`.
    fn look_up(&self, visible: &[usize], path: &RelPath) -> Result<Option<Resolved>, L::Error> {
        let mut merge = Merge::default();
        for number in visible {
            let Some(layer) = self.layers.get(*number) else { continue };
            match layer.entry(path)? {
                None => {}
                Some(LayerEntry::Whiteout) => break,
                Some(LayerEntry::Node(node)) if node.kind.is_directory() => {
                    if merge.add(*number, node).is_last() {
                        break;
                    }
                }
                Some(LayerEntry::Node(_)) if !merge.is_empty() => break,
                Some(LayerEntry::Node(node)) => return self.leaf(*number, node, path),
            }
        }
        Ok(merge.finish(path.clone()))
    }

    fn leaf(&self, number: usize, node: Node, path: &RelPath) -> Result<Option<Resolved>, L::Error> {
        if let Kind::LinkToParent { target } = &node.kind {
            // Each such step goes at least one layer down, so that links cannot chase each other for ever.
            let target = self.resolve_from(number + 1, target)?;
            return Ok(target
                .filter(|found| !found.node.kind.is_directory())
                .map(|found| Resolved { layer: number, ..found }));
        }
        Ok(Some(Resolved {
            node,
            layer: number,
            attrs_layer: number,
            content: (number, path.clone()),
            merged: Vec::new(),
        }))
    }
}

/// A merged directory in the making.
#[derive(Default)]
struct Merge {
    layers: Vec<usize>,
    attrs: Option<(usize, Node)>,
}

enum Below {
    Shows,
    Hidden,
}

impl Below {
    const fn is_last(&self) -> bool {
        matches!(self, Self::Hidden)
    }
}

impl Merge {
    const fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Adds the directory that the next layer down has.
    fn add(&mut self, number: usize, node: Node) -> Below {
        let below =
            if matches!(node.kind, Kind::Directory { opaque: true, .. }) { Below::Hidden } else { Below::Shows };
        self.layers.push(number);
        let stated = self.attrs.as_ref().is_some_and(|(_, attrs)| attrs.is_explicit_directory());
        if !stated && (self.attrs.is_none() || node.is_explicit_directory()) {
            self.attrs = Some((number, node));
        }
        below
    }

    fn finish(self, path: RelPath) -> Option<Resolved> {
        let layer = *self.layers.first()?;
        let (attrs_layer, stated) = self.attrs?;
        let implicit = !stated.is_explicit_directory();
        let node = Node { kind: Kind::Directory { opaque: false, implicit }, ..stated };
        Some(Resolved { node, layer, attrs_layer, content: (layer, path), merged: self.layers })
    }
}

#[cfg(test)]
mod tests;
