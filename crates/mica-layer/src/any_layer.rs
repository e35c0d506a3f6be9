//! A layer of a stack that mixes forms.

use mica_core::{Layer, LayerEntry, Name, RelPath};

use crate::{DirLayer, Index, LayerError};

/// A layer in either of the forms that a stack may mix: sealed ones by their index, live directories as they are.
#[derive(Debug)]
pub enum AnyLayer {
    /// A sealed layer.
    Index(Index),
    /// A directory.
    Dir(DirLayer),
}

impl From<Index> for AnyLayer {
    fn from(index: Index) -> Self {
        Self::Index(index)
    }
}

impl From<DirLayer> for AnyLayer {
    fn from(dir: DirLayer) -> Self {
        Self::Dir(dir)
    }
}

impl Layer for AnyLayer {
    type Error = LayerError;

    fn entry(&self, path: &RelPath) -> Result<Option<LayerEntry>, LayerError> {
        match self {
            Self::Index(index) => index.entry(path),
            Self::Dir(dir) => dir.entry(path),
        }
    }

    fn names(&self, path: &RelPath) -> Result<Vec<Name>, LayerError> {
        match self {
            Self::Index(index) => index.names(path),
            Self::Dir(dir) => dir.names(path),
        }
    }
}
