//! What a container changed, told from its upper alone.

use mica_core::{Change, Stack};
use mica_layer::{AnyLayer, DirLayer, diff_upper};
use mica_sys::Dir;
use mica_sys::mount::{Mount, Reach};

use crate::container::{Base, Known, Tree};
use crate::engine::Engine;
use crate::error::Result;

/// A directory without what is mounted in it: what overlayfs sees of a lower.
pub(crate) fn one_mount(path: &std::path::Path) -> Result<Dir> {
    Ok(Tree::of(Mount::clone_of(path, Reach::One)?)?.dir)
}

impl Engine {
    /// What a container, or a kept `try`, changed, sorted by path.
    ///
    /// # Errors
    /// No such container; an upper or an index that cannot be read.
    pub fn diff(&self, word: &str) -> Result<Vec<Change>> {
        let known = self.find_container(word)?;
        match &known.settings.base {
            Base::Machine { views } => self.diff_views(&known, views),
            Base::Image { .. } | Base::Directory { .. } => {
                let held = self.settled(&known)?;
                let upper = Dir::open(&known.container.upper())?;
                let changes = diff_upper(&upper, self.store.marks(), &self.below(&known)?, self.store.ability())?;
                drop(held);
                Ok(changes)
            }
        }
    }

    /// What a container stands on, as a user sees it: without the scaffold.
    pub(crate) fn below(&self, known: &Known) -> Result<Stack<AnyLayer>> {
        let mut layers = Vec::new();
        if let Base::Directory { path } = &known.settings.base {
            layers.push(DirLayer::new(one_mount(path)?, self.store.marks()).into());
        }
        for layer in known.image_layers().iter().rev() {
            let layer = self.store.require_layer(layer)?;
            layers.push(AnyLayer::Sealed { index: layer.index()?, diff: layer.diff_path() });
        }
        Ok(Stack::new(layers))
    }
}
