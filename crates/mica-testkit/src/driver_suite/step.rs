//! What a program may do to a tree.

use mica_sys::{Dir, Errno};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags};

use crate::{Tree, What};

/// One change, by paths from the root of the union.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Opens with `O_CREAT` and `O_TRUNC`, and writes.
    Write(&'static str, &'static str),
    /// Writes at the end.
    Append(&'static str, &'static str),
    /// Writes somewhere inside.
    WriteAt(&'static str, u64, &'static str),
    /// Sets the size.
    Truncate(&'static str, u64),
    /// Opens for writing and writes nothing.
    Open(&'static str),
    /// Removes a file.
    Remove(&'static str),
    /// Removes a directory and all that is in it.
    RemoveAll(&'static str),
    /// Makes a directory.
    MkDir(&'static str),
    /// Makes a symlink: target, path.
    Symlink(&'static str, &'static str),
    /// One more name of a file: old, new.
    Link(&'static str, &'static str),
    /// Renames over what is there: old, new.
    Rename(&'static str, &'static str),
    /// Exchanges two names.
    Exchange(&'static str, &'static str),
    /// As mv(1): renames, and where that is `EXDEV` copies and removes.
    Move(&'static str, &'static str),
    /// Permission bits.
    Chmod(&'static str, u32),
    /// Owner and group, of a symlink itself.
    Chown(&'static str, u32, u32),
    /// An extended attribute: path, key, value.
    SetXattr(&'static str, &'static str, &'static str),
    /// Removes an extended attribute.
    RemoveXattr(&'static str, &'static str),
    /// Access and modification time, in seconds.
    SetTime(&'static str, i64),
    /// A step that must be refused so.
    Refused(Box<Self>, Errno),
}

impl Step {
    /// Takes the step in the tree under `root`; panics where it is refused.
    #[track_caller]
    pub fn take(&self, root: &Dir) {
        if let Err(error) = self.attempt(root) {
            panic!("{self:?}: {error}");
        }
    }

    fn attempt(&self, root: &Dir) -> Result<(), Errno> {
        let open = |path: &str, flags| rustix::fs::openat(root, path, flags | OFlags::CLOEXEC, Mode::from(0o644));
        match self {
            Self::Write(path, content) => {
                write_whole(&open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?, content)
            }
            Self::Append(path, content) => write_whole(&open(path, OFlags::WRONLY | OFlags::APPEND)?, content),
            Self::WriteAt(path, offset, content) => {
                let file = open(path, OFlags::RDWR)?;
                rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(*offset))?;
                write_whole(&file, content)
            }
            Self::Truncate(path, size) => rustix::fs::ftruncate(&open(path, OFlags::WRONLY)?, *size),
            Self::Open(path) => open(path, OFlags::RDWR).map(drop),
            Self::Remove(path) => rustix::fs::unlinkat(root, *path, AtFlags::empty()),
            Self::RemoveAll(path) => remove_all(root, path),
            Self::MkDir(path) => rustix::fs::mkdirat(root, *path, Mode::from(0o755)),
            Self::Symlink(target, path) => rustix::fs::symlinkat(*target, root, *path),
            Self::Link(old, new) => rustix::fs::linkat(root, *old, root, *new, AtFlags::empty()),
            Self::Rename(old, new) => rustix::fs::renameat(root, *old, root, *new),
            Self::Exchange(old, new) => rustix::fs::renameat_with(root, *old, root, *new, RenameFlags::EXCHANGE),
            Self::Move(old, new) => match rustix::fs::renameat(root, *old, root, *new) {
                Err(Errno::XDEV) => copy_and_remove(root, old, new),
                renamed => renamed,
            },
            Self::Chmod(path, mode) => rustix::fs::chmodat(root, *path, Mode::from(*mode), AtFlags::empty()),
            Self::Chown(path, uid, gid) => {
                let (uid, gid) = (rustix::fs::Uid::from_raw(*uid), rustix::fs::Gid::from_raw(*gid));
                rustix::fs::chownat(root, *path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            }
            Self::SetXattr(path, key, value) => {
                rustix::fs::fsetxattr(&open(path, OFlags::RDONLY)?, *key, value.as_bytes(), XattrFlags::empty())
            }
            Self::RemoveXattr(path, key) => rustix::fs::fremovexattr(&open(path, OFlags::RDONLY)?, *key),
            Self::SetTime(path, secs) => {
                let time = Timespec { tv_sec: *secs, tv_nsec: 0 };
                let times = Timestamps { last_access: time, last_modification: time };
                rustix::fs::utimensat(root, *path, &times, AtFlags::SYMLINK_NOFOLLOW)
            }
            Self::Refused(step, errno) => {
                assert_eq!(step.attempt(root), Err(*errno), "{step:?}");
                Ok(())
            }
        }
    }
}

fn write_whole(file: impl std::os::fd::AsFd, content: &str) -> Result<(), Errno> {
    let written = rustix::io::write(file, content.as_bytes())?;
    assert_eq!(written, content.len());
    Ok(())
}

fn remove_all(root: &Dir, path: &str) -> Result<(), Errno> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = root.open_dir(parent.as_bytes()).map_err(|error| error.errno())?;
    parent.remove_tree(name.as_bytes()).map_err(|error| error.errno())
}

/// The tree at `old` is written anew at `new`, with all that it has.
fn copy_and_remove(root: &Dir, old: &str, new: &str) -> Result<(), Errno> {
    let sys = |error: mica_sys::SysError| error.errno();
    let copied = Tree::read_dir(&root.open_dir(old.as_bytes()).map_err(sys)?);
    assert!(copied.iter().all(|(_, entry)| entry.what != What::Whiteout));
    rustix::fs::mkdirat(root, new, Mode::from(0o755))?;
    copied.write_into(&root.open_dir(new.as_bytes()).map_err(sys)?);
    remove_all(root, old)
}
