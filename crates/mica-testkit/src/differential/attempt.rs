//! An operation carried out in a directory, whichever file system that is.

use std::os::fd::OwnedFd;

use mica_core::RelPath;
use mica_sys::{Dir, Errno, FileKind, SysError, Time};
use rustix::fs::{FallocateFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags};

use super::op::{Fill, How, Node, Op};
use crate::{Tree, What};

/// What a program sees of an operation that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Done,
    /// Content.
    Bytes(Vec<u8>),
    /// The names in a directory, sorted, with their kinds.
    Names(Vec<(Vec<u8>, FileKind)>),
    /// Kind, mode, owner, group and, of what is no directory, size.
    Stat(FileKind, u32, u32, u32, u64),
}

/// What became of an operation.
pub type Outcome = Result<Seen, Errno>;

impl Op {
    /// Does it under `root`, whose symlinks are followed as if it were `/`. No device is ever opened: `ENXIO`.
    ///
    /// # Errors
    /// The refusal of the first call that was refused.
    pub fn attempt(&self, root: &Dir) -> Outcome {
        match self {
            Self::Read { path } => {
                let file = open(root, path, OFlags::RDONLY, 0)?;
                return contents(&file).map(Seen::Bytes);
            }
            Self::ReadHeld { path, fill } => {
                let held = open(root, path, OFlags::RDONLY, 0)?;
                write_at(&open(root, path, OFlags::WRONLY, 0)?, 0, *fill)?;
                return contents(&held).map(Seen::Bytes);
            }
            Self::WriteUnlinked { path, fill } => {
                let (parent, name) = parent(root, path)?;
                let file = open(root, path, OFlags::RDWR | OFlags::NOFOLLOW, 0)?;
                if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
                    return Err(Errno::SPIPE);
                }
                parent.unlink(&name).map_err(errno)?;
                write_at(&file, 1, *fill)?;
                return contents(&file).map(Seen::Bytes);
            }
            Self::WriteRenamed { from, to, fill } => {
                let ((parent, name), (other, new)) = (parent(root, from)?, parent(root, to)?);
                let file = open(root, from, OFlags::RDWR | OFlags::NOFOLLOW, 0)?;
                if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
                    return Err(Errno::SPIPE);
                }
                rustix::fs::renameat(&parent, &name[..], &other, &new[..])?;
                write_at(&file, 1, *fill)?;
                return other.read(&new, u64::MAX).map(Seen::Bytes).map_err(errno);
            }
            Self::Stat { path } => {
                let (parent, name) = parent(root, path)?;
                let found = parent.stat(&name).map_err(errno)?;
                let size = if found.kind == FileKind::Directory { 0 } else { found.size };
                return Ok(Seen::Stat(found.kind, found.mode, found.uid, found.gid, size));
            }
            Self::List { path } => {
                let entries = root.open_dir_in_root(path.as_bytes()).and_then(|dir| dir.read_dir()).map_err(errno)?;
                let mut names: Vec<_> = entries.into_iter().map(|entry| (entry.name, entry.kind)).collect();
                names.sort_by(|one, other| one.0.cmp(&other.0));
                return Ok(Seen::Names(names));
            }
            Self::Create { .. }
            | Self::Overwrite { .. }
            | Self::WriteAt { .. }
            | Self::WriteBeyond { .. }
            | Self::Append { .. }
            | Self::Shrink { .. }
            | Self::Grow { .. }
            | Self::Allocate { .. }
            | Self::Punch { .. }
            | Self::MapWrite { .. }
            | Self::Touch { .. } => self.change_content(root)?,
            _ => self.change_names(root)?,
        }
        Ok(Seen::Done)
    }

    fn change_content(&self, root: &Dir) -> Result<(), Errno> {
        match self {
            Self::Create { path, mode, fill } => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                write_at(&open(root, path, flags, *mode)?, 0, *fill)
            }
            Self::Overwrite { path, fill } => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
                write_at(&open(root, path, flags, 0o644)?, 0, *fill)
            }
            Self::WriteAt { path, eighths, fill } => {
                let file = open(root, path, OFlags::WRONLY, 0)?;
                write_at(&file, size(&file)? * u64::from(*eighths) / 8, *fill)
            }
            Self::WriteBeyond { path, gap, fill } => {
                let file = open(root, path, OFlags::WRONLY, 0)?;
                write_at(&file, size(&file)? + u64::from(*gap), *fill)
            }
            Self::Append { path, fill } => write(&open(root, path, OFlags::WRONLY | OFlags::APPEND, 0)?, *fill),
            Self::Shrink { path, eighths } => {
                let file = open(root, path, OFlags::WRONLY, 0)?;
                rustix::fs::ftruncate(&file, size(&file)? * u64::from(*eighths) / 8)
            }
            Self::Grow { path, by } => {
                let file = open(root, path, OFlags::WRONLY, 0)?;
                rustix::fs::ftruncate(&file, size(&file)? + u64::from(*by))
            }
            Self::Allocate { path, by } => {
                let file = open(root, path, OFlags::WRONLY, 0)?;
                rustix::fs::fallocate(&file, FallocateFlags::empty(), size(&file)?, u64::from(*by))
            }
            Self::Punch { path, eighths } => {
                let file = open(root, path, OFlags::WRONLY, 0)?;
                let size = size(&file)?;
                let from = size * u64::from(*eighths) / 8;
                let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(&file, how, from, (size / 3).max(1))
            }
            Self::MapWrite { path, fill } => {
                let file = open(root, path, OFlags::RDWR, 0)?;
                let mut bytes = fill.bytes();
                bytes.truncate(usize::try_from(size(&file)?).unwrap());
                mica_sys::mmap::write_shared(&mica_sys::File::from_fd(file, path.as_bytes()), 0, &bytes).map_err(errno)
            }
            Self::Touch { path } => open(root, path, OFlags::RDWR, 0).map(drop),
            _ => unreachable!("{self:?} is not about content"),
        }
    }

    fn change_names(&self, root: &Dir) -> Result<(), Errno> {
        let at = |path| parent(root, path);
        match self {
            Self::MakeDir { path, mode } => at(path).and_then(|(dir, name)| dir.mkdir(&name, *mode).map_err(errno)),
            Self::MakeNode { path, node } => {
                let (dir, name) = at(path)?;
                let (kind, major, minor) = match node {
                    Node::Fifo => (FileKind::Fifo, 0, 0),
                    Node::Char => (FileKind::CharDevice, 1, 3),
                    Node::Block => (FileKind::BlockDevice, 240, 200),
                    Node::DeviceZero => (FileKind::CharDevice, 0, 0),
                };
                dir.mknod(&name, kind, 0o640, major, minor).map_err(errno)
            }
            Self::Symlink { path, target } => {
                at(path).and_then(|(dir, name)| dir.symlink(target, &name).map_err(errno))
            }
            Self::LinkUnnamed { path, fill } => {
                let (dir, name) = at(path)?;
                let file = dir.create_unnamed(0o600).map_err(errno)?;
                write(&file, *fill)?;
                // Only a process with CAP_DAC_READ_SEARCH may link by descriptor; anyone may by its name in /proc.
                let itself =
                    format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&file)));
                rustix::fs::linkat(rustix::fs::CWD, itself, dir, &name[..], rustix::fs::AtFlags::SYMLINK_FOLLOW)
            }
            Self::Link { from, to } => {
                let ((from, old), (to, new)) = (at(from)?, at(to)?);
                from.link(&old, &to, &new).map_err(errno)
            }
            Self::Unlink { path } => at(path).and_then(|(dir, name)| dir.unlink(&name).map_err(errno)),
            Self::RemoveDir { path } => at(path).and_then(|(dir, name)| dir.rmdir(&name).map_err(errno)),
            Self::RemoveTree { path } => at(path).and_then(|(dir, name)| dir.remove_tree(&name).map_err(errno)),
            Self::Rename { from, to, how } => {
                let ((from, old), (to, new)) = (at(from)?, at(to)?);
                let flags = match how {
                    How::Replace => RenameFlags::empty(),
                    How::NoReplace => RenameFlags::NOREPLACE,
                    How::Exchange => RenameFlags::EXCHANGE,
                    How::Whiteout => RenameFlags::WHITEOUT,
                };
                rustix::fs::renameat_with(&from, &old[..], &to, &new[..], flags)
            }
            Self::Move { from, to } => {
                let ((from, old), (to, new)) = (at(from)?, at(to)?);
                copy(&from, &old, &to, &new)?;
                from.remove_tree(&old).map_err(errno)
            }
            Self::Chmod { path, mode } => at(path).and_then(|(dir, name)| dir.chmod(&name, *mode).map_err(errno)),
            Self::Chown { path, uid, gid } => {
                at(path).and_then(|(dir, name)| dir.chown(&name, *uid, *gid).map_err(errno))
            }
            Self::SetTime { path, secs, nanos } => at(path).and_then(|(dir, name)| {
                let time = Time { secs: *secs, nanos: *nanos };
                dir.utimens(&name, time).map_err(errno)
            }),
            Self::SetXattr { path, key, value } => {
                at(path).and_then(|(dir, name)| dir.set_xattr(&name, key, value).map_err(errno))
            }
            Self::RemoveXattr { path, key } => {
                at(path).and_then(|(dir, name)| dir.remove_xattr(&name, key).map_err(errno))
            }
            _ => unreachable!("{self:?} is about content"),
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn errno(error: SysError) -> Errno {
    error.errno()
}

fn parent(root: &Dir, path: &RelPath) -> Result<(Dir, Vec<u8>), Errno> {
    let (parent, name) = path.split().ok_or(Errno::BUSY)?;
    let parent = root.open_dir_in_root(parent.as_bytes()).map_err(errno)?;
    Ok((parent, name.as_bytes().to_vec()))
}

/// Opens a file inside `root`; a FIFO without waiting, a device not at all.
fn open(root: &Dir, path: &RelPath, flags: OFlags, mode: u32) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let openat = |flags: OFlags, mode| loop {
        match rustix::fs::openat2(root, path.as_bytes(), flags | OFlags::CLOEXEC, mode, how) {
            // Something was renamed somewhere on the machine while `..` was walked (openat2(2), "EAGAIN").
            Err(Errno::AGAIN) => {}
            opened => return opened,
        }
    };
    if !flags.contains(OFlags::EXCL) {
        match openat(OFlags::PATH | (flags & OFlags::NOFOLLOW), Mode::empty()) {
            Ok(found) => {
                let kind = FileType::from_raw_mode(rustix::fs::fstat(found)?.st_mode);
                if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
                    return Err(Errno::NXIO);
                }
            }
            Err(Errno::NOENT) if flags.contains(OFlags::CREATE) => {}
            Err(errno) => return Err(errno),
        }
    }
    openat(flags | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::from_raw_mode(mode))
}

fn size(file: &OwnedFd) -> Result<u64, Errno> {
    rustix::fs::fstat(file).map(|stat| u64::try_from(stat.st_size).unwrap())
}

fn write(file: impl std::os::fd::AsFd, fill: Fill) -> Result<(), Errno> {
    let written = rustix::io::write(file, &fill.bytes())?;
    assert_eq!(written, usize::from(fill.length), "a short write");
    Ok(())
}

fn write_at(file: &OwnedFd, at: u64, fill: Fill) -> Result<(), Errno> {
    let written = rustix::io::pwrite(file, &fill.bytes(), at)?;
    assert_eq!(written, usize::from(fill.length), "a short write");
    Ok(())
}

fn contents(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; usize::try_from(size(file)?).unwrap() + 1];
    let read = rustix::io::pread(file, &mut bytes[..], 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Makes `to/new` a copy of `from/old` with all that it has; `EEXIST` where something is.
fn copy(from: &Dir, old: &[u8], to: &Dir, new: &[u8]) -> Result<(), Errno> {
    let found = from.stat(old).map_err(errno)?;
    if found.kind == FileKind::Directory {
        let copied = Tree::read_dir(&from.open_dir(old).map_err(errno)?);
        to.mkdir(new, 0o700).map_err(errno)?;
        copied.write_into(&to.open_dir(new).map_err(errno)?);
        return Ok(());
    }
    match found.kind {
        FileKind::File => {
            let content = from.read(old, u64::MAX).map_err(errno)?;
            to.create_file(new, 0o600).and_then(|mut file| file.write_whole(&content)).map_err(errno)?;
        }
        FileKind::Symlink => {
            let target = from.read_link(old).map_err(errno)?;
            to.symlink(&target, new).map_err(errno)?;
        }
        kind => to.mknod(new, kind, 0o600, found.rdev_major, found.rdev_minor).map_err(errno)?,
    }
    to.chown(new, found.uid, found.gid).map_err(errno)?;
    // What the directory gave it by itself.
    for key in to.list_xattrs(new).map_err(errno)? {
        to.remove_xattr(new, &key).map_err(errno)?;
    }
    if found.kind != FileKind::Symlink {
        to.chmod(new, found.mode).map_err(errno)?;
    }
    for key in from.list_xattrs(old).map_err(errno)? {
        let value = from.get_xattr(old, &key).map_err(errno)?.unwrap();
        to.set_xattr(new, &key, &value).map_err(errno)?;
    }
    to.utimens(new, found.mtime).map_err(errno)
}

/// Makes the name `path` a file of its own, where it shares one with other names: what overlayfs does to a lower file at
/// the first write. The directory keeps its time.
pub(super) fn part(root: &Dir, path: &RelPath) {
    let (dir, name) = parent(root, path).unwrap();
    let was = dir.metadata().unwrap().mtime;
    copy(&dir, &name, &dir, b".parted").unwrap();
    dir.rename(b".parted", &dir, &name).unwrap();
    dir.utimens_self(was).unwrap();
}

/// Has overlayfs copy the file at `path` up, and changes nothing.
pub(super) fn copy_up(root: &Dir, path: &RelPath) {
    let (dir, name) = parent(root, path).unwrap();
    let time = dir.stat(&name).unwrap().mtime;
    dir.utimens(&name, time).unwrap();
}

impl What {
    /// The same kind as stat(2) has it; of a changeset's own kinds, and of further names, `None`.
    pub(super) const fn kind(&self) -> Option<FileKind> {
        Some(match self {
            Self::Dir { .. } => FileKind::Directory,
            Self::File(_) => FileKind::File,
            Self::Symlink(_) => FileKind::Symlink,
            Self::Char(_) => FileKind::CharDevice,
            Self::Block(_) => FileKind::BlockDevice,
            Self::Fifo => FileKind::Fifo,
            Self::Socket => FileKind::Socket,
            Self::Hard(_) | Self::Whiteout => return None,
        })
    }
}
