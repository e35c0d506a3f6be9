//! The open directories of a walk, from a root down to where it stands.

use mica_core::RelPath;
use mica_sys::{Dir, SysError};

/// How many are kept open; those above are opened again on the way back. A tree may be deeper than the number of
/// descriptors that a process may have.
const OPEN: usize = 64;

/// Components that are resolved by one call: a path may be longer than the kernel takes at once (`PATH_MAX`).
const STRIDE: usize = 16;

/// How a directory is opened below another.
pub(crate) type Open = fn(&Dir, &[u8]) -> Result<Dir, SysError>;

/// Opens `path` below `root`, whatever its length.
pub(crate) fn open_path(root: &Dir, path: &RelPath, open: Open) -> Result<Dir, SysError> {
    let components: Vec<&[u8]> = path.components().collect();
    let mut strides = components.chunks(STRIDE).map(|names| names.join(&b'/'));
    match strides.next() {
        None => root.try_clone(),
        Some(first) => strides.try_fold(open(root, &first)?, |at, next| open(&at, &next)),
    }
}

/// A walk's open directories, the innermost last.
#[derive(Debug)]
pub(crate) struct Ladder<'a> {
    root: &'a Dir,
    open: Open,
    rungs: Vec<(RelPath, Option<Dir>)>,
}

impl<'a> Ladder<'a> {
    /// A walk that stands at `root`.
    pub(crate) const fn new(root: &'a Dir, open: Open) -> Self {
        Self { root, open, rungs: Vec::new() }
    }

    /// Steps into `path`, a directory in the one where the walk stands.
    pub(crate) fn step_in(&mut self, path: &RelPath, dir: Dir) {
        if let Some((_, far)) = self.rungs.len().checked_sub(OPEN).and_then(|above| self.rungs.get_mut(above)) {
            *far = None;
        }
        self.rungs.push((path.clone(), Some(dir)));
    }

    /// Steps back out.
    pub(crate) fn step_out(&mut self) {
        self.rungs.pop();
    }

    /// The directory where the walk stands.
    pub(crate) fn here(&mut self) -> Result<&Dir, SysError> {
        match self.rungs.last_mut() {
            None => Ok(self.root),
            Some((_, Some(dir))) => Ok(dir),
            Some((path, closed)) => {
                let opened = open_path(self.root, path, self.open)?;
                Ok(closed.insert(opened))
            }
        }
    }
}
