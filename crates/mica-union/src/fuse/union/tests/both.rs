//! One operation done in a union over real directories and in a plain directory that showed the same.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use mica_core::plan::{Features, How, Op};
use mica_core::{Kind, Rdev};
use mica_layer::{Ability, Marks, Unpack, unpack};
use mica_sys::{Access, Dir, Errno};
use mica_testkit::{Scratch, Snapshot, Tree as Literal};

use crate::fuse::carry::{Cut, New};
use crate::fuse::tree::Node;
use crate::fuse::tree::tests::read;
use crate::fuse::union::{Move, Need, Target, Union, errno};
use crate::{UnionDirs, UpperDirs};

/// A union, and a plain directory that showed the same at the beginning.
pub(super) struct Both {
    pub(super) scratch: Scratch,
    pub(super) dirs: UnionDirs,
    pub(super) union: Option<Union>,
    pub(super) plain: PathBuf,
    pub(super) lowers: Vec<(PathBuf, Snapshot)>,
    pub(super) features: Features,
}

impl Both {
    pub(super) fn new(lowers: &[Literal], features: Features, indexed: bool) -> Self {
        let scratch = Scratch::in_memory();
        let (mut paths, mut indexes) = (Vec::new(), BTreeMap::new());
        for (number, lower) in lowers.iter().enumerate() {
            let layer = scratch.make(format!("lower{number}"));
            if indexed {
                let into = Dir::open(&layer).unwrap();
                unpack(&mut &*lower.to_layer_tar(), &into, &Unpack::default()).unwrap();
                indexes.insert(layer.join("diff"), layer.join("index"));
                paths.push(layer.join("diff"));
            } else {
                lower.write_layer(&layer, Marks::Trusted);
                paths.push(layer);
            }
        }
        let plain = scratch.make("plain");
        Literal::of_stack(lowers).write_to(&plain);
        let upper = UpperDirs { upper: scratch.make("upper"), work: scratch.make("work"), volatile: true };
        let snapshots = paths.iter().map(|path| (path.clone(), Snapshot::of(path))).collect();
        let dirs = UnionDirs { lowers: paths, upper: Some(upper), indexes, ..UnionDirs::default() };
        let mut both = Self { scratch, dirs, union: None, plain, lowers: snapshots, features };
        both.reopen();
        both
    }

    /// A new mount of the same directories.
    pub(super) fn reopen(&mut self) {
        self.union = None;
        self.union = Some(Union::open(&self.dirs, false, Ability::native(), self.features, false).unwrap());
    }

    pub(super) fn union(&self) -> &Union {
        self.union.as_ref().unwrap()
    }

    pub(super) fn node(&self, path: &str) -> Result<Arc<Node>, Errno> {
        let mut at = self.union().tree.root()?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = self.union().tree.lookup(&at, name.as_bytes())?.ok_or(Errno::NOENT)?;
        }
        Ok(at)
    }

    /// The directory of a path and the name in it.
    pub(super) fn place<'a>(&self, path: &'a str) -> Result<(Arc<Node>, &'a [u8]), Errno> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = self.node(parent)?;
        if !dir.is_directory() {
            return Err(Errno::NOTDIR);
        }
        Ok((dir, name.as_bytes()))
    }

    pub(super) fn plain_place<'a>(&self, path: &'a str) -> Result<(Dir, &'a [u8]), Errno> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = Dir::open(&self.plain).unwrap().open_dir(parent.as_bytes()).map_err(errno)?;
        Ok((dir, name.as_bytes()))
    }

    pub(super) fn act(&self, act: &Act) -> Result<(), Errno> {
        let union = self.union();
        let new = |kind, mode| New { kind, mode, umask: 0o022, uid: 0, gid: 0 };
        let file = Kind::File { size: 0, content: None };
        match act {
            Act::Make(path, kind) => {
                let (dir, name) = self.place(path)?;
                let (kind, mode) = match kind {
                    Sort::File => (file, 0o666),
                    Sort::Directory => (Kind::Directory { opaque: false, implicit: false }, 0o777),
                    Sort::Symlink => (Kind::Symlink { target: b"a".to_vec() }, 0o777),
                    Sort::Fifo => (Kind::Fifo, 0o600),
                    Sort::Zero => (Kind::CharDevice(Rdev::default()), 0o640),
                };
                union.make(&dir, name, &new(kind, mode)).map(|_| ())
            }
            Act::Unlink(path) => self.place(path).and_then(|(dir, name)| union.unlink(&dir, name)),
            Act::Rmdir(path) => self.place(path).and_then(|(dir, name)| union.remove_directory(&dir, name)),
            Act::Link(old, path) => {
                let ((from, old), (dir, name)) = (self.place(old)?, self.place(path)?);
                let node = union.tree.lookup(&from, old)?.ok_or(Errno::NOENT)?;
                union.link(&node, &dir, name)
            }
            Act::Rename(old, path, how) => {
                let ((from, name), (to, new_name)) = (self.place(old)?, self.place(path)?);
                union.rename(&Move { from: &from, name, to: &to, new_name, how: *how, owner: (0, 0) })
            }
            Act::Chmod(path, mode) => {
                let node = self.node(path)?;
                if node.kind == mica_sys::FileKind::Symlink {
                    return Err(Errno::OPNOTSUPP);
                }
                union.change(&node, &Op::Attributes, None, &mut |target| match target {
                    Target::Named(stand) => stand.dir.chmod(stand.name.as_bytes(), *mode),
                    Target::Root(root) => root.chmod_self(*mode),
                    Target::Unnamed(_) => panic!("it has a name"),
                })
            }
            Act::Append(path, text) => {
                let node = self.node(path)?;
                if node.is_directory() {
                    return Err(Errno::ISDIR);
                }
                if node.kind != mica_sys::FileKind::File {
                    return Err(Errno::NXIO);
                }
                union.bring_up(&node, Need::Content)?;
                let file = union.tree.open_content(&node, Access::ReadWrite)?.file;
                let end = file.metadata().unwrap().size;
                file.write_part_at(text.as_bytes(), end).map_err(errno)?;
                union.tree.stale(&node);
                Ok(())
            }
            Act::Truncate(path, size) => {
                let node = self.node(path)?;
                if node.is_directory() {
                    return Err(Errno::ISDIR);
                }
                if node.kind != mica_sys::FileKind::File {
                    return Err(Errno::NXIO);
                }
                let cut = Cut { size: *size, clears_rights: false };
                let op = |old| Op::Truncate { old, to_nothing: *size == 0 };
                union.change(&node, &op, Some(cut), &mut |target| match target {
                    Target::Named(stand) => stand.dir.open_file_to_write(stand.name.as_bytes())?.set_len(*size),
                    _ => panic!("it has a name"),
                })
            }
        }
    }

    pub(super) fn act_plainly(&self, act: &Act) -> Result<(), Errno> {
        let root = Dir::open(&self.plain).unwrap();
        let looked = |path: &str| {
            let (dir, name) = self.plain_place(path)?;
            dir.stat(name).map(|found| (dir, name.to_vec(), found.kind)).map_err(errno)
        };
        match act {
            Act::Make(path, kind) => {
                let (dir, name) = self.plain_place(path)?;
                match kind {
                    Sort::File => dir.create_file(name, 0o644).map(drop),
                    Sort::Directory => dir.mkdir(name, 0o755),
                    Sort::Symlink => dir.symlink(b"a", name),
                    Sort::Fifo => dir.mknod(name, mica_sys::FileKind::Fifo, 0o600, 0, 0),
                    Sort::Zero => dir.mknod(name, mica_sys::FileKind::CharDevice, 0o640, 0, 0),
                }
                .map_err(errno)
            }
            Act::Unlink(path) => self.plain_place(path).and_then(|(dir, name)| dir.unlink(name).map_err(errno)),
            Act::Rmdir(path) => self.plain_place(path).and_then(|(dir, name)| dir.rmdir(name).map_err(errno)),
            Act::Link(old, path) => {
                let ((from, name), (to, new)) = (self.plain_place(old)?, self.plain_place(path)?);
                from.link(name, &to, new).map_err(errno)
            }
            Act::Rename(old, path, how) => {
                let ((from, name), (to, new)) = (self.plain_place(old)?, self.plain_place(path)?);
                match how {
                    How::Replace => from.rename(name, &to, new),
                    How::NoReplace => from.rename_noreplace(name, &to, new),
                    How::Exchange => from.exchange(name, &to, new),
                    _ => from.rename_leaving_whiteout(name, &to, new),
                }
                .map_err(errno)
            }
            Act::Chmod(path, mode) => {
                if path.is_empty() {
                    return root.chmod_self(*mode).map_err(errno);
                }
                let (dir, name, _) = looked(path)?;
                dir.chmod(&name, *mode).map_err(errno)
            }
            Act::Append(path, _) | Act::Truncate(path, _) => {
                let (dir, name, kind) = looked(path)?;
                match kind {
                    mica_sys::FileKind::Directory => return Err(Errno::ISDIR),
                    mica_sys::FileKind::File => {}
                    _ => return Err(Errno::NXIO),
                }
                let file = dir.open_file_to_write(&name).map_err(errno)?;
                match act {
                    Act::Truncate(_, size) => file.set_len(*size).map_err(errno),
                    Act::Append(_, text) => {
                        let end = file.metadata().unwrap().size;
                        file.write_part_at(text.as_bytes(), end).map(drop).map_err(errno)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    pub(super) fn assert_same(&self, after: &str) {
        let wanted = Literal::read(&self.plain).without_times();
        wanted.assert_is(&read(&self.union().tree).without_times(), after);
    }

    pub(super) fn assert_lowers_unchanged(&self) {
        for (path, before) in &self.lowers {
            before.assert_unchanged(path, "operations on the union");
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sort {
    File,
    Directory,
    Symlink,
    Fifo,
    Zero,
}

#[derive(Debug, Clone)]
pub(super) enum Act {
    Make(String, Sort),
    Unlink(String),
    Rmdir(String),
    Link(String, String),
    Rename(String, String, How),
    Chmod(String, u32),
    Append(String, &'static str),
    Truncate(String, u64),
}
