//! A directory with marks, asked as a layer: an upper, or any live directory that serves as a lower.

use std::sync::{Arc, Mutex, PoisonError};

use mica_core::{Change, Layer, LayerEntry, Name, RelPath, Stack, changes};
use mica_sys::{Dir, Errno, File, SysError};

use crate::any_layer::open_file;
use crate::ladder::open_path;
use crate::tree::{look, look_at_self, reading};
use crate::{Ability, Files, LayerError, Marks, Over, Reach, UpperLayer};

/// A directory as a [`Layer`]: read as the kernel's overlayfs reads it, at the moment of the question.
///
/// The walk to a path follows no symlink. Content hashes are not known. A file with several names has its inode number
/// as link group. What is mounted inside of the directory is seen, where overlayfs would look under it: give the clone
/// of one mount where that matters.
#[derive(Debug)]
pub struct DirLayer {
    dir: Dir,
    marks: Marks,
    /// The directory that was asked last: walks ask for its names one after the other.
    last: Mutex<Option<(RelPath, Arc<Dir>)>>,
}

impl DirLayer {
    /// A layer over `dir`.
    #[must_use]
    pub const fn new(dir: Dir, marks: Marks) -> Self {
        Self { dir, marks, last: Mutex::new(None) }
    }

    /// The directory.
    #[must_use]
    pub const fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Opens the directory `path`; `None` when there is none.
    pub(crate) fn open_dir(&self, path: &RelPath) -> Result<Option<Arc<Dir>>, LayerError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, dir)) = &*last
            && at == path
            // A directory that was removed since has no name left; another may have its place.
            && dir.metadata().is_ok_and(|metadata| metadata.nlink > 0)
        {
            return Ok(Some(Arc::clone(dir)));
        }
        let opened = match &*last {
            Some((at, dir)) if path.parent().as_ref() == Some(at) => {
                let name = path.name();
                dir.open_dir_or_place(name.as_ref().map_or(&[], Name::as_bytes))
            }
            _ => open_path(&self.dir, path, Dir::open_dir_or_place),
        };
        match opened {
            Ok(dir) => {
                let dir = Arc::new(dir);
                *last = Some((path.clone(), Arc::clone(&dir)));
                Ok(Some(dir))
            }
            Err(error) if is_no_directory(&error) => Ok(None),
            Err(error) => Err(reading(path)(error).into()),
        }
    }
}

/// Whether there is nothing, or something else than a directory, at the path or on the way.
pub(crate) fn is_no_directory(error: &SysError) -> bool {
    matches!(error.errno(), Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

impl Layer for DirLayer {
    type Error = LayerError;

    fn entry(&self, path: &RelPath) -> Result<Option<LayerEntry>, LayerError> {
        if path.is_root() {
            return Ok(Some(LayerEntry::Node(look_at_self(&self.dir, path, Some(self.marks))?)));
        }
        let Some((parent, name)) = path.split() else { return Ok(None) };
        let Some(parent) = self.open_dir(&parent)? else { return Ok(None) };
        Ok(look(&parent, name.as_bytes(), path, Some(self.marks))?.map(|seen| seen.entry))
    }

    fn names(&self, path: &RelPath) -> Result<Vec<Name>, LayerError> {
        let Some(dir) = self.open_dir(path)? else {
            return Ok(Vec::new());
        };
        let entries = match dir.read_dir() {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            entries => entries.map_err(reading(path))?,
        };
        Ok(entries.iter().filter_map(|entry| Name::new(&entry.name).ok()).collect())
    }
}

impl Files for DirLayer {
    fn open(&self, path: &RelPath) -> Result<File, LayerError> {
        open_file(&self.dir, path)
    }
}

/// What the upper in `upper` changes in `below`, sorted by path; it costs what changed, and of a renamed directory what it names. What could not be put on disk of
/// the layers is no change.
///
/// # Errors
/// When the upper or a layer of the stack that had to be asked cannot be read.
pub fn diff_upper<L>(upper: &Dir, marks: Marks, below: &Stack<L>, ability: &Ability) -> Result<Vec<Change>, LayerError>
where
    L: Files + Sync,
{
    let dir = upper.try_clone().map_err(reading(&RelPath::root()))?;
    changes(&UpperLayer::new(dir, marks, Over { below, ability, reach: Reach::CopiedUp })?, below)
}
