//! Open directories of `diff/`, the most recently used few.

use std::collections::HashMap;

use mica_sys::{Dir, SysError};

use super::tree::{PathId, Tree};
use crate::ladder::open_path;

/// Tars go through directories one after the other, so that few are open at a time.
const OPEN: usize = 64;

#[derive(Debug)]
pub(super) struct Directories {
    root: Dir,
    open: HashMap<PathId, (Dir, u64)>,
    clock: u64,
}

impl Directories {
    pub(super) fn new(root: Dir) -> Self {
        Self { root, open: HashMap::with_capacity(OPEN + 1), clock: 0 }
    }

    /// The directory at this path, which the table says is one.
    pub(super) fn get(&mut self, tree: &Tree, id: PathId) -> Result<&Dir, SysError> {
        if id == Tree::ROOT {
            return Ok(&self.root);
        }
        self.clock += 1;
        if !self.open.contains_key(&id) {
            if self.open.len() >= OPEN {
                let oldest = self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id);
                oldest.and_then(|oldest| self.open.remove(&oldest));
            }
            let parent = self.open.get(&tree.place(id).parent);
            let directory = match parent {
                Some((parent, _)) => parent.open_dir(tree.name(id))?,
                None => open_path(&self.root, &tree.path(id), Dir::open_dir)?,
            };
            self.open.insert(id, (directory, 0));
        }
        match self.open.get_mut(&id) {
            Some((directory, used)) => {
                *used = self.clock;
                Ok(directory)
            }
            None => Ok(&self.root),
        }
    }

    pub(super) const fn root(&self) -> &Dir {
        &self.root
    }

    /// Forgets a directory that is about to be removed.
    pub(super) fn forget(&mut self, id: PathId) {
        self.open.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::tree::Said;

    #[test]
    fn few_are_open_at_a_time_and_those_the_most_recently_used() {
        let place = tempfile::tempdir().unwrap();
        let root = Dir::open(place.path()).unwrap();
        let mut tree = Tree::new();
        let mut ids = Vec::new();
        for number in 0..OPEN + 10 {
            let name = format!("d{number}");
            root.mkdir(name.as_bytes(), 0o700).unwrap();
            let id = tree.child_or_new(Tree::ROOT, name.as_bytes(), 1).unwrap();
            tree.place_mut(id).said = Said::Directory(None);
            ids.push(id);
        }
        let mut directories = Directories::new(root);
        for id in &ids {
            directories.get(&tree, ids[0]).unwrap();
            directories.get(&tree, *id).unwrap();
            assert!(directories.open.len() <= OPEN);
        }
        assert!(directories.open.contains_key(&ids[0]) && !directories.open.contains_key(&ids[1]));
        directories.forget(ids[0]);
        assert!(!directories.open.contains_key(&ids[0]));
    }
}
