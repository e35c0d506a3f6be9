//! A tree removed, however deep, wide or large it is.

use std::time::Instant;

use rustix::io::Errno;

use super::Dir;
use crate::error::Result;
use crate::stat::FileKind;

impl Dir {
    /// Removes `name` and all that is under it, never following a symlink and never entering a mount; nothing there is no
    /// error.
    ///
    /// # Errors
    /// `EXDEV` at something that is mounted inside; else of the first call that was refused. What was removed stays removed.
    pub fn remove_tree(&self, name: &[u8]) -> Result<()> {
        self.remove_tree_until(name, None).map(drop)
    }

    /// As [`Dir::remove_tree`], but stops at a moment; `false` when something is left.
    ///
    /// # Errors
    /// As [`Dir::remove_tree`].
    pub fn remove_tree_until(&self, name: &[u8], until: Option<Instant>) -> Result<bool> {
        match self.unlink(name) {
            Err(error) if error.is_not_found() => return Ok(true),
            Err(error) if matches!(error.errno(), Errno::ISDIR | Errno::PERM) => {}
            done => return done.map(|()| true),
        }
        self.remove_directory(name, until)
    }

    // Iterative: a tree may be deeper than the stack or the number of descriptors.
    fn remove_directory(&self, name: &[u8], until: Option<Instant>) -> Result<bool> {
        let is_over = || until.is_some_and(|until| Instant::now() >= until);
        let mut path: Vec<Vec<u8>> = vec![name.to_vec()];
        let mut at = self.open_dir_same_mount(name)?;
        loop {
            let mut inner = None;
            for entry in at.read_dir()? {
                if is_over() {
                    return Ok(false);
                }
                if entry.kind == FileKind::Directory {
                    match at.rmdir(&entry.name) {
                        Err(error) if matches!(error.errno(), Errno::NOTEMPTY | Errno::EXIST) => {
                            inner = Some(entry.name);
                        }
                        Err(error) if !error.is_not_found() => return Err(error),
                        _ => {}
                    }
                } else {
                    match at.unlink(&entry.name) {
                        Err(error) if !error.is_not_found() => return Err(error),
                        _ => {}
                    }
                }
            }
            if let Some(inner) = inner {
                at = at.open_dir_same_mount(&inner)?;
                path.push(inner);
                continue;
            }
            let Some(emptied) = path.pop() else { return Ok(true) };
            at = if path.is_empty() { self.try_clone()? } else { self.open_below(&path)? };
            match at.rmdir(&emptied) {
                Err(error) if matches!(error.errno(), Errno::NOTEMPTY | Errno::EXIST) => {
                    at = at.open_dir_same_mount(&emptied)?;
                    path.push(emptied);
                }
                Err(error) if !error.is_not_found() => return Err(error),
                _ if path.is_empty() => return Ok(true),
                _ => {}
            }
        }
    }

    /// Walks component by component: a path longer than `PATH_MAX` is still reached.
    fn open_below(&self, path: &[Vec<u8>]) -> Result<Self> {
        path.chunks(8).try_fold(self.try_clone()?, |at, names| at.open_dir(&names.join(&b'/')))
    }
}
