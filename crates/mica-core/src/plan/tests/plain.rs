//! A tree that never had layers, and what Linux does to it.

use std::collections::BTreeMap;

use super::carrier::Act;
use super::reader::{Entry, Tree, What, with_first_ids};
use crate::plan::{Errno, How, XattrChange};

#[derive(Debug, Clone)]
pub(super) struct Plain {
    names: BTreeMap<String, usize>,
    files: Vec<(u16, What)>,
}

fn is_in(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

impl Plain {
    pub(super) fn of(tree: &Tree) -> Self {
        let files = tree.iter().map(|(_, entry)| (entry.mode, entry.what.clone())).collect();
        Self { names: tree.iter().map(|(path, entry)| (path.clone(), entry.id)).collect(), files }
    }

    pub(super) fn tree(&self) -> Tree {
        let entry = |id: usize| Entry { mode: self.files[id].0, what: self.files[id].1.clone(), id, joining: None };
        with_first_ids(self.names.iter().map(|(path, id)| (path.clone(), entry(*id))).collect())
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &String> {
        self.names.keys().filter(|path| !path.is_empty())
    }

    pub(super) fn directories(&self) -> impl Iterator<Item = &String> {
        self.names.keys().filter(|path| self.is_directory(path))
    }

    pub(super) fn is_directory(&self, path: &str) -> bool {
        self.names.get(path).is_some_and(|id| self.files[*id].1 == What::Directory)
    }

    pub(super) fn is_empty(&self, path: &str) -> bool {
        !self.names.keys().any(|name| is_in(name, path))
    }

    fn id(&self, path: &str) -> Result<usize, Errno> {
        self.names.get(path).copied().ok_or(Errno::ENOENT)
    }

    fn leaf(&self, path: &str) -> Result<usize, Errno> {
        let id = self.id(path)?;
        if self.files[id].1 == What::Directory { Err(Errno::EISDIR) } else { Ok(id) }
    }

    fn make(&mut self, path: &str, mode: u16, what: What) -> Result<(), Errno> {
        if self.names.contains_key(path) {
            return Err(Errno::EEXIST);
        }
        self.files.push((mode, what));
        self.names.insert(path.to_owned(), self.files.len() - 1);
        Ok(())
    }

    fn content(&mut self, path: &str, other: Errno) -> Result<Option<&mut String>, Errno> {
        let id = self.leaf(path)?;
        match &mut self.files[id].1 {
            What::File(content) => Ok(Some(content)),
            _ if other == Errno::ENOENT => Ok(None),
            _ => Err(other),
        }
    }

    pub(super) fn act(&mut self, act: &Act) -> Result<(), Errno> {
        match act {
            Act::Make(path) | Act::Adopt(path) => self.make(path, act.mode(), What::File(act.content())),
            Act::MakeOther(path) => self.make(path, act.mode(), What::Other(act.content())),
            Act::MakeDirectory(path) => self.make(path, act.mode(), What::Directory),
            Act::Link(old, new) => {
                let id = self.id(old)?;
                if self.names.contains_key(new) {
                    return Err(Errno::EEXIST);
                }
                if self.is_directory(old) {
                    return Err(Errno::EPERM);
                }
                self.names.insert(new.clone(), id);
                Ok(())
            }
            Act::Unlink(path) => {
                self.leaf(path)?;
                self.names.remove(path);
                Ok(())
            }
            Act::RemoveDirectory(path) => {
                self.id(path)?;
                if !self.is_directory(path) {
                    return Err(Errno::ENOTDIR);
                }
                if !self.is_empty(path) {
                    return Err(Errno::ENOTEMPTY);
                }
                self.names.remove(path);
                Ok(())
            }
            Act::Rename(old, new, how) => self.rename(old, new, *how),
            Act::Write(path) => {
                if let Some(content) = self.content(path, Errno::ENOENT)? {
                    act.edit(content);
                }
                Ok(())
            }
            Act::Truncate(path, _) => {
                if let Some(content) = self.content(path, Errno::EINVAL)? {
                    act.edit(content);
                }
                Ok(())
            }
            Act::Allocate(path) => {
                if let Some(content) = self.content(path, Errno::ENODEV)? {
                    act.edit(content);
                }
                Ok(())
            }
            Act::Attributes(path) => {
                let id = self.id(path)?;
                self.files[id].0 = act.change(self.files[id].0);
                Ok(())
            }
            Act::Xattr(path, change) => {
                let id = self.id(path)?;
                let mode = self.files[id].0;
                match (change, mode & 16 != 0) {
                    (XattrChange::Create, true) => return Err(Errno::EEXIST),
                    (XattrChange::Replace | XattrChange::Remove, false) => return Err(Errno::ENODATA),
                    _ => {}
                }
                self.files[id].0 = act.change(mode);
                Ok(())
            }
        }
    }

    fn rename(&mut self, old: &str, new: &str, how: How) -> Result<(), Errno> {
        let id = self.id(old)?;
        let there = self.names.get(new).copied();
        let device = matches!(how, How::Whiteout | How::WhiteoutNoReplace);
        if matches!(how, How::NoReplace | How::WhiteoutNoReplace) && there.is_some() {
            return Err(Errno::EEXIST);
        }
        if how == How::Exchange && there.is_none() {
            return Err(Errno::ENOENT);
        }
        if is_in(new, old) {
            return Err(Errno::EINVAL);
        }
        if is_in(old, new) {
            return Err(if how == How::Exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
        }
        if there == Some(id) {
            return Ok(());
        }
        if how != How::Exchange && there.is_some() {
            match (self.is_directory(old), self.is_directory(new)) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) if !self.is_empty(new) => return Err(Errno::ENOTEMPTY),
                _ => {}
            }
        }
        let from = self.take(old);
        let back = self.take(new);
        self.give(new, from);
        if how == How::Exchange {
            self.give(old, back);
        }
        if device {
            self.make(old, 0, What::Other("0:0".to_owned()))?;
        }
        Ok(())
    }

    /// Takes a file with all that is in it, by what its paths have after its own.
    fn take(&mut self, top: &str) -> Vec<(String, usize)> {
        let paths: Vec<String> = self.names.keys().filter(|path| *path == top || is_in(path, top)).cloned().collect();
        paths.into_iter().map(|path| (path[top.len()..].to_owned(), self.names.remove(&path).unwrap())).collect()
    }

    fn give(&mut self, top: &str, what: Vec<(String, usize)>) {
        self.names.extend(what.into_iter().map(|(rest, id)| (format!("{top}{rest}"), id)));
    }
}
