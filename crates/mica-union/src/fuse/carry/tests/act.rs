//! Operations by path.

use std::sync::Arc;

use mica_core::plan::{At, How, Op, Place, Relation, Rename, Up, XattrChange};
use mica_core::{Kind, Rdev, RelPath};
use mica_sys::{Dir, Errno, File, FileKind, SetTime, SetXattr, SysError, Time};

use super::disk::{Layers, rel};
use super::seen::Tree;
use crate::fuse::carry::{Context, Cut, Joins, New, Source, Stand};

/// An operation.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Act {
    Make(String),
    MakeLink(String),
    MakeFifo(String),
    MakeDirectory(String),
    Adopt(String),
    Link(String, String),
    Unlink(String),
    RemoveDirectory(String),
    Rename(String, String, How),
    Append(String),
    Truncate(String, u64),
    Chmod(String),
    Chown(String),
    Touch(String),
    Xattr(String, XattrChange),
}

pub(super) const ATTRIBUTE: &[u8] = b"trusted.x";
const TARGET: &[u8] = b"where";

impl Act {
    pub(super) fn old(&self) -> Option<&str> {
        match self {
            Self::Link(old, _)
            | Self::Rename(old, ..)
            | Self::Unlink(old)
            | Self::RemoveDirectory(old)
            | Self::Append(old)
            | Self::Truncate(old, _)
            | Self::Chmod(old)
            | Self::Chown(old)
            | Self::Touch(old)
            | Self::Xattr(old, _) => Some(old),
            _ => None,
        }
    }

    pub(super) fn made(&self) -> Option<&str> {
        match self {
            Self::Make(new)
            | Self::MakeLink(new)
            | Self::MakeFifo(new)
            | Self::MakeDirectory(new)
            | Self::Adopt(new)
            | Self::Link(_, new)
            | Self::Rename(_, new, _) => Some(new),
            _ => None,
        }
    }

    /// Does it in a plain directory.
    pub(super) fn on(&self, root: &Dir) -> Result<(), SysError> {
        let at = |path: &str| {
            let (parent, name) = rel(path).split().unwrap();
            (root.open_dir(parent.as_bytes()).unwrap(), name)
        };
        if let (None, Some(new)) = (self.old(), self.made()) {
            let (dir, name) = at(new);
            let name = name.as_bytes();
            return match self {
                Self::Make(_) | Self::Adopt(_) => dir.create_file(name, 0o640).map(drop),
                Self::MakeLink(_) => dir.symlink(TARGET, name),
                Self::MakeFifo(_) => dir.mknod(name, FileKind::Fifo, 0o640, 0, 0),
                _ => dir.mkdir(name, 0o750),
            };
        }
        let (dir, name) = at(self.old().unwrap());
        let name = name.as_bytes();
        match self {
            Self::Link(_, new) => {
                let (to, new) = at(new);
                dir.link(name, &to, new.as_bytes())
            }
            Self::Unlink(_) => dir.unlink(name),
            Self::RemoveDirectory(_) => dir.rmdir(name),
            Self::Rename(_, new, how) => {
                let (to, new) = at(new);
                let new = new.as_bytes();
                match how {
                    How::Replace => dir.rename(name, &to, new),
                    How::NoReplace => dir.rename_noreplace(name, &to, new),
                    How::Exchange => dir.exchange(name, &to, new),
                    How::Whiteout => dir.rename_leaving_whiteout(name, &to, new),
                    How::WhiteoutNoReplace => panic!("not among the acts"),
                }
            }
            _ => self.change(&dir, name),
        }
    }

    /// What changes a file in its place.
    pub(super) fn change(&self, dir: &Dir, name: &[u8]) -> Result<(), SysError> {
        match self {
            Self::Append(_) => {
                let file = open_to_write(dir, name)?;
                let size = file.metadata()?.size;
                file.write_at(b"more", size)
            }
            Self::Truncate(_, size) => open_to_write(dir, name)?.set_len(*size),
            Self::Chmod(_) => {
                let mode = dir.stat(name)?.mode;
                dir.chmod(name, mode ^ 0o011)
            }
            Self::Chown(_) => dir.chown(name, 7, 8),
            Self::Touch(_) => dir.set_times(name, SetTime::Keep, SetTime::To(Time { secs: 77, nanos: 0 })),
            Self::Xattr(_, XattrChange::Set) => dir.set_xattr(name, ATTRIBUTE, b"set"),
            Self::Xattr(_, XattrChange::Create) => dir.set_xattr_how(name, ATTRIBUTE, b"made", SetXattr::Create),
            Self::Xattr(_, XattrChange::Replace) => dir.set_xattr_how(name, ATTRIBUTE, b"new", SetXattr::Replace),
            Self::Xattr(_, XattrChange::Remove) => dir.remove_xattr(name, ATTRIBUTE),
            other => panic!("{other:?}"),
        }
    }

    /// The facts of it. `tree` is what shows.
    pub(super) fn op(&self, layers: &Layers, tree: &Tree) -> Op {
        let at = |path: &str| place(layers, path);
        let entry = |path: &str| tree.get(&rel(path));
        let is_empty = |path: &str| {
            let path = rel(path);
            !tree.keys().any(|known| *known != path && known.is_at_or_under(&path))
        };
        let is_in = |path: &str, other: &str| path != other && rel(path).is_at_or_under(&rel(other));
        match self {
            Self::Make(new) | Self::MakeLink(new) | Self::MakeFifo(new) => Op::Make(at(new)),
            Self::MakeDirectory(new) => Op::MakeDirectory(at(new)),
            Self::Adopt(new) => Op::Adopt(at(new)),
            Self::Link(old, new) => Op::Link { old: at(old), new: at(new) },
            Self::Unlink(old) => Op::Unlink(at(old)),
            Self::RemoveDirectory(old) => Op::RemoveDirectory { old: at(old), is_empty: is_empty(old) },
            Self::Rename(old, new, how) => Op::Rename(Rename {
                old: at(old),
                new: at(new),
                how: *how,
                relation: match () {
                    () if is_in(new, old) => Relation::NewInOld,
                    () if is_in(old, new) => Relation::OldInNew,
                    () => Relation::Apart,
                },
                same_parent: rel(old).parent() == rel(new).parent(),
                same_file: entry(old).is_some_and(|old| entry(new).is_some_and(|new| new.id == old.id)),
                new_is_empty: is_empty(new),
            }),
            Self::Append(old) => Op::Write(at(old)),
            Self::Truncate(old, size) => Op::Truncate { old: at(old), to_nothing: *size == 0 },
            Self::Chmod(old) | Self::Chown(old) | Self::Touch(old) => Op::Attributes(at(old)),
            Self::Xattr(old, change) => Op::Xattr {
                old: at(old),
                change: *change,
                present: entry(old).is_some_and(|entry| entry.xattrs.contains_key(ATTRIBUTE)),
            },
        }
    }

    fn new_file(&self) -> New {
        let (kind, mode) = match self {
            Self::MakeLink(_) => (Kind::Symlink { target: TARGET.to_vec() }, 0o777),
            Self::MakeFifo(_) => (Kind::Fifo, 0o640),
            Self::MakeDirectory(_) => (Kind::Directory { opaque: false, implicit: false }, 0o750),
            Self::Rename(..) => (Kind::CharDevice(Rdev::default()), 0),
            _ => (Kind::File { size: 0, content: None }, 0o640),
        };
        New { kind, mode, umask: 0, uid: 0, gid: 0 }
    }
}

/// A FIFO would wait for a reader.
fn open_to_write(dir: &Dir, name: &[u8]) -> Result<File, SysError> {
    match dir.stat(name)?.kind {
        FileKind::File => dir.open_file_to_write(name),
        FileKind::Directory => Err(SysError::new("openat", name, Errno::ISDIR)),
        _ => Err(SysError::new("openat", name, Errno::INVAL)),
    }
}

pub(super) fn place(layers: &Layers, path: &str) -> Place {
    let Ok(place) = layers.union(0).place(&rel(path));
    place.unwrap_or_else(|| panic!("no directory above {path}"))
}

/// Knows places by path: nothing is kept, so nothing can be stale.
#[derive(Debug)]
pub(super) struct ByPath<'a> {
    pub(super) layers: &'a Layers,
    pub(super) act: &'a Act,
    pub(super) unnamed: Option<File>,
}

impl<'a> ByPath<'a> {
    pub(super) fn new(layers: &'a Layers, act: &'a Act) -> Self {
        let unnamed = matches!(act, Act::Adopt(_)).then(|| {
            let file = layers.0[0].root.create_unnamed(0o640).unwrap();
            file.set_mode(0o640).unwrap();
            file
        });
        Self { layers, act, unnamed }
    }
}

impl Context for ByPath<'_> {
    type Spot = RelPath;

    fn spot(&mut self, at: At) -> Result<RelPath, SysError> {
        Ok(rel(match at {
            At::Old => self.act.old().unwrap(),
            At::New => self.act.made().unwrap(),
        }))
    }

    fn missing_above(&mut self, spot: &RelPath) -> Result<Vec<RelPath>, SysError> {
        let mut above: Vec<RelPath> = spot.ancestors().filter(|path| path != spot && !path.is_root()).collect();
        above.sort_by_key(RelPath::depth);
        above.retain(|path| self.layers.standing(path).is_none());
        Ok(above)
    }

    fn stand(&mut self, spot: &RelPath) -> Result<Stand, SysError> {
        let (parent, name) = spot.split().unwrap();
        Ok(Stand { dir: Arc::new(self.layers.0[0].root.open_dir(parent.as_bytes())?), name })
    }

    fn source(&mut self, spot: &RelPath) -> Result<Source, SysError> {
        let (layer, place) = self.layers.find(0, spot).unwrap();
        let raw = &self.layers.0[layer];
        let (dir, name) = raw.at(&place).unwrap();
        let marks = raw.marks.unwrap();
        let mut source = Source::read(&dir, name.as_bytes(), marks, crate::Records::None)?;
        if dir.get_xattr(name.as_bytes(), marks.device_zero())?.is_some() {
            source.node.kind = Kind::CharDevice(Rdev::default());
        }
        Ok(Source { number: Some(dir.stat(name.as_bytes())?.ino), ..source })
    }

    fn content(&mut self, spot: &RelPath) -> Result<File, SysError> {
        let (layer, place) = self.layers.find_content(0, spot);
        let (dir, name) = self.layers.0[layer].at(&place).unwrap();
        dir.open_file(name.as_bytes())
    }

    fn lower_path(&mut self, spot: &RelPath) -> Result<RelPath, SysError> {
        let Ok(lower) = self.layers.union(0).lower_path(spot);
        Ok(lower.unwrap_or_else(|| panic!("nothing is below {spot}")))
    }

    fn joins(&mut self, spot: &RelPath) -> Result<Joins<RelPath>, SysError> {
        let Ok(group) = self.layers.union(0).group(spot);
        let Some(Up::At(up)) = group.up else { panic!("{spot} is not joining") };
        Ok(Joins { up: self.stand(&up)?, lower: group.lower })
    }

    fn new_file(&mut self) -> Result<New, SysError> {
        Ok(self.act.new_file())
    }

    fn unnamed(&mut self) -> Option<&File> {
        self.unnamed.as_ref()
    }

    fn cut(&mut self) -> Result<Cut, SysError> {
        match self.act {
            Act::Truncate(_, size) => Ok(Cut { size: *size, clears_rights: false }),
            act => panic!("{act:?} has no size"),
        }
    }

    fn change(&mut self, stand: &Stand) -> Result<(), SysError> {
        self.act.change(&stand.dir, stand.name.as_bytes())
    }

    fn came_up(&mut self, _: &RelPath) {}
}
