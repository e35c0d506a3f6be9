//! What is below an upper: what shows there, and the content of its files.

use mica_core::plan::Links;
use mica_core::{Kind, Layer, Name, RelPath, Resolved, Stack};
use mica_sys::File;

use crate::LayerError;

/// A layer whose files can be read.
pub trait Files: Layer<Error = LayerError> {
    /// The content of the file at `path`, which is a regular one of this layer.
    ///
    /// # Errors
    /// When it cannot be opened, or is none.
    fn open(&self, path: &RelPath) -> Result<File, LayerError>;
}

impl<F: Files + ?Sized> Files for &F {
    fn open(&self, path: &RelPath) -> Result<File, LayerError> {
        (**self).open(path)
    }
}

/// What shows below an upper.
pub trait Below: Sync {
    /// What shows at `path`; `None` when nothing does.
    ///
    /// # Errors
    /// When a layer that had to be asked cannot be read.
    fn shown(&self, path: &RelPath) -> Result<Option<Resolved>, LayerError>;

    /// The names that show in the directory `path`, sorted; `None` when there is no such directory.
    ///
    /// # Errors
    /// When a layer that had to be asked cannot be read.
    fn names(&self, path: &RelPath) -> Result<Option<Vec<Name>>, LayerError>;

    /// The paths that show the file at `path`, itself included. Looks at all that shows, but for directories of a live layer that this process may not list.
    ///
    /// # Errors
    /// When a layer that had to be asked cannot be read.
    fn links(&self, path: &RelPath) -> Result<Links, LayerError>;

    /// The content of the regular file that shows at `path`; `None` when none does.
    ///
    /// # Errors
    /// When a layer that had to be asked cannot be read, or the file.
    fn open(&self, path: &RelPath) -> Result<Option<File>, LayerError>;
}

impl<L: Files + Sync> Below for Stack<L> {
    fn shown(&self, path: &RelPath) -> Result<Option<Resolved>, LayerError> {
        self.resolve(path)
    }

    fn names(&self, path: &RelPath) -> Result<Option<Vec<Name>>, LayerError> {
        Self::names(self, path)
    }

    fn links(&self, path: &RelPath) -> Result<Links, LayerError> {
        self.links_but(path, LayerError::is_denied)
    }

    fn open(&self, path: &RelPath) -> Result<Option<File>, LayerError> {
        let Some(found) = self.resolve(path)? else { return Ok(None) };
        let (number, at) = &found.content;
        match (self.layers().get(*number), &found.node.kind) {
            (Some(layer), Kind::File { .. }) => layer.open(at).map(Some),
            _ => Ok(None),
        }
    }
}
