//! How one thing gets its place in a live directory: made under a temporary name, then renamed.

use mica_core::{Attrs, Kind, Name, Node, RelPath, Timestamp, Xattrs};
use mica_sys::{Dir, Errno, FileKind, SysError};

use super::{Apply, Mounts, changing};
use crate::ladder::{Ladder, open_path};
use crate::tree::{HOST_LABEL, reading, time};
use crate::{LayerError, Marks};

pub(super) struct Place {
    marks: Marks,
    mounts: Mounts,
    /// As [`super::Apply::others`] has it.
    others: Option<u32>,
    /// The number in the next temporary name.
    next: u64,
}

impl Place {
    pub(super) const fn new(how: &Apply) -> Self {
        Self { marks: how.marks, mounts: how.mounts, others: how.others, next: 0 }
    }

    /// The owner or group to be set: none for those that cannot be set.
    fn id(&self, id: u32) -> u32 {
        // chown(2) changes nothing for -1.
        if Some(id) == self.others { u32::MAX } else { id }
    }

    /// Runs `make` with temporary names until one is free.
    fn temporary<T>(&mut self, mut make: impl FnMut(&[u8]) -> Result<T, SysError>) -> Result<(Vec<u8>, T), SysError> {
        loop {
            let name = format!(".mica-apply-{}", self.next).into_bytes();
            self.next += 1;
            match make(&name) {
                Err(error) if error.is_exists() => {}
                made => return made.map(|made| (name, made)),
            }
        }
    }

    /// Makes the file that `node` describes under a temporary name in `dir`; content from `name` in `source`.
    pub(super) fn make(
        &mut self,
        (source, name): (&Dir, &[u8]),
        dir: &Dir,
        path: &RelPath,
        node: &Node,
    ) -> Result<Vec<u8>, LayerError> {
        let wrong = changing(path);
        let device =
            |kind, rdev: mica_core::Rdev| move |name: &[u8]| dir.mknod(name, kind, 0o600, rdev.major, rdev.minor);
        let (kind, made) = match &node.kind {
            Kind::Symlink { target } => (FileKind::Symlink, self.temporary(|name| dir.symlink(target, name))),
            Kind::CharDevice(rdev) => (FileKind::CharDevice, self.temporary(device(FileKind::CharDevice, *rdev))),
            Kind::BlockDevice(rdev) => (FileKind::BlockDevice, self.temporary(device(FileKind::BlockDevice, *rdev))),
            Kind::Fifo => (FileKind::Fifo, self.temporary(|name| dir.mknod(name, FileKind::Fifo, 0o600, 0, 0))),
            _ => {
                let content = source.open_file(name).map_err(reading(path))?;
                let (made, file) = self.temporary(|name| dir.create_file(name, 0o600)).map_err(&wrong)?;
                let filled = file
                    .copy_from(&content)
                    .and_then(|()| self.attrs(dir, &made, FileKind::File, &node.attrs))
                    .and_then(|()| file.sync());
                return keep_or_remove(dir, made, filled).map_err(&wrong);
            }
        };
        let (made, ()) = made.map_err(&wrong)?;
        let dressed = self.attrs(dir, &made, kind, &node.attrs);
        keep_or_remove(dir, made, dressed).map_err(&wrong)
    }

    /// Makes one more name, a temporary one in `dir`, of the file `name` in the target's directory `parent`.
    pub(super) fn link(
        &mut self,
        root: &Dir,
        (parent, name): &(RelPath, Name),
        dir: &Dir,
        path: &RelPath,
    ) -> Result<Vec<u8>, LayerError> {
        let wrong = changing(path);
        let parent = open_path(root, parent, self.mounts.open()).map_err(&wrong)?;
        let (made, ()) = self.temporary(|made| parent.link(name.as_bytes(), dir, made)).map_err(&wrong)?;
        Ok(made)
    }

    /// Gives what was made its name. What had the name is gone after.
    pub(super) fn swap(
        &mut self,
        dir: &Dir,
        made: &[u8],
        name: &[u8],
        old: Option<FileKind>,
        path: &RelPath,
    ) -> Result<(), LayerError> {
        if old != Some(FileKind::Directory) {
            let renamed = dir.rename(made, dir, name);
            return keep_or_remove(dir, made.to_vec(), renamed).map(drop).map_err(changing(path));
        }
        let exchanged = no_mounts(dir, name, path).and_then(|()| match dir.exchange(made, dir, name) {
            Ok(()) => Ok(true),
            Err(error) if stays(&error) => {
                let removed = dir.remove_tree(name).and_then(|()| dir.rename(made, dir, name));
                removed.map(|()| false).map_err(changing(path))
            }
            Err(error) => Err(changing(path)(error)),
        });
        if exchanged.is_err() {
            // ignored: the error that is returned says more than a temporary name that stays.
            drop(dir.unlink(made));
        }
        if exchanged? { dir.remove_tree(made).map_err(changing(path)) } else { Ok(()) }
    }

    /// Makes the directory `name` in place of something else.
    pub(super) fn directory_over(&mut self, dir: &Dir, name: &[u8], path: &RelPath) -> Result<(), LayerError> {
        let wrong = changing(path);
        let (made, ()) = self.temporary(|made| dir.mkdir(made, 0o700)).map_err(&wrong)?;
        let exchanged = dir.exchange(&made, dir, name);
        if exchanged.is_err() {
            // ignored: as above.
            drop(dir.rmdir(&made));
        }
        exchanged.and_then(|()| dir.unlink(&made)).map_err(wrong)
    }

    /// Removes `name`. A directory loses its name first where it can, so that a crash leaves no half of it there.
    pub(super) fn remove(&mut self, dir: &Dir, name: &[u8], kind: FileKind, path: &RelPath) -> Result<(), LayerError> {
        if kind != FileKind::Directory {
            return dir.unlink(name).map_err(changing(path));
        }
        no_mounts(dir, name, path)?;
        match self.temporary(|moved| dir.rename_noreplace(name, dir, moved)) {
            Ok((moved, ())) => dir.remove_tree(&moved),
            Err(error) if stays(&error) => dir.remove_tree(name),
            Err(error) => Err(error),
        }
        .map_err(changing(path))
    }

    /// Sets attributes of `name`: the owner first, since that clears setuid bits and capabilities; the time last.
    pub(super) fn attrs(&self, dir: &Dir, name: &[u8], kind: FileKind, attrs: &Attrs) -> Result<(), SysError> {
        dir.chown(name, self.id(attrs.uid), self.id(attrs.gid))?;
        for extra in self.extra(dir.list_xattrs(name)?, &attrs.xattrs) {
            dir.remove_xattr(name, &extra)?;
        }
        for (attribute, value) in &attrs.xattrs {
            dir.set_xattr(name, attribute, value)?;
        }
        if kind != FileKind::Symlink {
            dir.chmod(name, attrs.mode)?;
        }
        dir.utimens(name, time(attrs.mtime))
    }

    /// Puts the time of `name` back where it has moved.
    pub(super) fn time(&self, dir: &Dir, name: &[u8], mtime: Timestamp) -> Result<(), SysError> {
        let wanted = time(mtime);
        if dir.stat(name)?.mtime == wanted { Ok(()) } else { dir.utimens(name, wanted) }
    }

    /// Sets attributes of `dir` itself, its time excepted.
    pub(super) fn own_attrs(&self, dir: &Dir, attrs: &Attrs) -> Result<(), SysError> {
        dir.chown_self(self.id(attrs.uid), self.id(attrs.gid))?;
        for extra in self.extra(dir.list_own_xattrs()?, &attrs.xattrs) {
            dir.remove_own_xattr(&extra)?;
        }
        for (attribute, value) in &attrs.xattrs {
            dir.set_own_xattr(attribute, value)?;
        }
        dir.chmod_self(attrs.mode)
    }

    /// Attributes that are there, such as a default ACL that was inherited, and shall not be.
    fn extra(&self, there: Vec<Vec<u8>>, wanted: &Xattrs) -> Vec<Vec<u8>> {
        let is_ours = |name: &[u8]| name != HOST_LABEL && self.marks.unescape(name).is_some();
        there.into_iter().filter(|name| is_ours(name) && !wanted.contains_key(name)).collect()
    }
}

/// Whether this is what overlayfs says of a directory that shows files of a lower one, where it writes no redirects
/// (`EXDEV`): the target may be a view of another tool, or of a try around this one.
fn stays(error: &SysError) -> bool {
    error.errno() == Errno::XDEV
}

/// The temporary name, or the error and no temporary name.
fn keep_or_remove(dir: &Dir, made: Vec<u8>, done: Result<(), SysError>) -> Result<Vec<u8>, SysError> {
    match done {
        Ok(()) => Ok(made),
        Err(error) => {
            // ignored: the error that is returned says more than a temporary name that stays.
            drop(dir.unlink(&made));
            Err(error)
        }
    }
}

/// Refuses a tree in which something is mounted, before any of it is touched: removal would go on inside.
fn no_mounts(dir: &Dir, name: &[u8], path: &RelPath) -> Result<(), LayerError> {
    let top = dir.open_dir_same_mount(name).map_err(changing(path))?;
    let mut ladder = Ladder::new(&top, Dir::open_dir_same_mount);
    let mut levels = vec![(RelPath::root(), inner_directories(&top, path)?)];
    while let Some((parent, names)) = levels.last_mut() {
        let Some(name) = names.next() else {
            levels.pop();
            ladder.step_out();
            continue;
        };
        let below = parent.join(&name);
        let whole = path.join_path(&below);
        let here = ladder.here().map_err(changing(&whole))?;
        let inner = here.open_dir_same_mount(name.as_bytes()).map_err(changing(&whole))?;
        let names = inner_directories(&inner, &whole)?;
        ladder.step_in(&below, inner);
        levels.push((below, names));
    }
    Ok(())
}

fn inner_directories(dir: &Dir, path: &RelPath) -> Result<std::vec::IntoIter<Name>, LayerError> {
    let entries = dir.read_dir().map_err(changing(path))?;
    let directories = entries.iter().filter(|entry| entry.kind == FileKind::Directory);
    Ok(directories.filter_map(|entry| Name::new(&entry.name).ok()).collect::<Vec<_>>().into_iter())
}
