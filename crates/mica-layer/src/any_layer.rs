//! A layer of a stack that mixes forms.

use std::path::PathBuf;

use mica_core::{Layer, LayerEntry, Name, RelPath};
use mica_sys::{Dir, File};

use crate::ladder::open_path;
use crate::tree::reading;
use crate::{DirLayer, Files, Index, LayerError};

/// A layer in either of the forms that a stack may mix: sealed ones by their index, live directories as they are.
#[derive(Debug)]
pub enum AnyLayer {
    /// A sealed layer.
    Sealed {
        /// What it says.
        index: Index,
        /// The directory that has the content of its files: opened when one is asked for, since a stack may have more layers than a
        /// process has descriptors.
        diff: PathBuf,
    },
    /// A directory.
    Dir(DirLayer),
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
            Self::Sealed { index, .. } => index.entry(path),
            Self::Dir(dir) => dir.entry(path),
        }
    }

    fn names(&self, path: &RelPath) -> Result<Vec<Name>, LayerError> {
        match self {
            Self::Sealed { index, .. } => index.names(path),
            Self::Dir(dir) => dir.names(path),
        }
    }
}

impl Files for AnyLayer {
    fn open(&self, path: &RelPath) -> Result<File, LayerError> {
        match self {
            Self::Sealed { diff, .. } => open_file(&Dir::open(diff).map_err(reading(&RelPath::root()))?, path),
            Self::Dir(dir) => dir.open(path),
        }
    }
}

/// Opens the file `path` below `dir`.
pub(crate) fn open_file(dir: &Dir, path: &RelPath) -> Result<File, LayerError> {
    let opened = match path.split() {
        Some((parent, name)) => {
            open_path(dir, &parent, Dir::open_dir_or_place).and_then(|parent| parent.open_file(name.as_bytes()))
        }
        None => dir.open_file(b"."),
    };
    Ok(opened.map_err(reading(path))?)
}
