//! An open directory: all that is done inside it is done through it.
//!
//! A path of several components is resolved by the kernel and cannot leave ([`Dir::open_dir`], [`Dir::open_dir_in_root`]).
//! Everything else takes one component, which is never followed when it is a symlink, be it read, changed or deleted.
//! Magic links (`/proc/*/fd`) are never followed. `..`, slashes and NUL in a component are `EINVAL` before any call is made.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, ResolveFlags, StatxFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::error::{Result, SysError};
use crate::fault::door;
use crate::file::{Access, File};
use crate::stat::{FileKind, Metadata, Time};

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

/// What a name in a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, one component.
    pub name: Vec<u8>,
    /// Its kind, as the directory has it.
    pub kind: FileKind,
    /// Its inode number.
    pub ino: u64,
}

pub(crate) fn component(call: &'static str, name: &[u8]) -> Result<()> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        return Err(SysError::new(call, name, Errno::INVAL));
    }
    Ok(())
}

fn two(from: &[u8], to: &[u8]) -> Vec<u8> {
    [from, b" -> ", to].concat()
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Dir {
    /// Opens a directory by an ambient path, following symlinks: for paths that the user or the system names, never for
    /// what stands inside a layer.
    ///
    /// # Errors
    /// `openat`'s.
    pub fn open(path: &Path) -> Result<Self> {
        let named = path.as_os_str().as_encoded_bytes();
        rustix::fs::open(path, DIRECTORY, Mode::empty())
            .map(Self::from_fd)
            .map_err(|errno| SysError::new("open", named, errno))
    }

    /// Takes a descriptor that is known to be a directory's.
    #[must_use]
    pub const fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Opens a directory at or under this one; no component may be a symlink, and none leads out. Empty is this directory.
    ///
    /// # Errors
    /// `openat2`'s: `ELOOP` for a symlink on the way, `EXDEV` for a path that would leave.
    pub fn open_dir(&self, path: &[u8]) -> Result<Self> {
        self.resolve(path, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS)
    }

    /// As [`open_dir`](Self::open_dir), and where reading is denied for its path alone (`O_PATH`): what is in it can be reached by who knows the names.
    ///
    /// # Errors
    /// As [`open_dir`](Self::open_dir), where it is not that.
    pub fn open_dir_or_place(&self, path: &[u8]) -> Result<Self> {
        match self.open_dir(path) {
            Err(error) if error.is_denied() => {
                let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
                let named = if path.is_empty() { b"." } else { path };
                again(|| rustix::fs::openat2(&self.fd, named, DIRECTORY | OFlags::PATH, Mode::empty(), how))
                    .map(Self::from_fd)
                    .map_err(|errno| SysError::new("openat2", path, errno))
            }
            opened => opened,
        }
    }

    /// The directory in which this one is, for its path alone (`O_PATH`); of a root, itself. It is how the place of a directory is found out, and no way into
    /// a layer.
    ///
    /// # Errors
    /// `openat`'s.
    pub fn open_parent(&self) -> Result<Self> {
        rustix::fs::openat(&self.fd, c"..", DIRECTORY | OFlags::PATH, Mode::empty())
            .map(Self::from_fd)
            .map_err(|errno| SysError::new("openat", b"..", errno))
    }

    /// Whether nothing can be changed on its mount, or on the whole file system.
    ///
    /// # Errors
    /// `fstatvfs`'s.
    pub fn is_read_only(&self) -> Result<bool> {
        let found = rustix::fs::fstatvfs(&self.fd).map_err(|errno| SysError::new("fstatvfs", "", errno))?;
        Ok(found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
    }

    /// Opens a directory at or under this one on the same mount; no component may be a symlink, and none leads out.
    ///
    /// # Errors
    /// `openat2`'s: `EXDEV` for a mount point on the way, and for a path that would leave.
    pub fn open_dir_same_mount(&self, path: &[u8]) -> Result<Self> {
        let how =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        self.resolve(path, how)
    }

    /// Opens a directory at or under this one, where symlinks are followed as if this directory were `/`.
    ///
    /// # Errors
    /// `openat2`'s.
    pub fn open_dir_in_root(&self, path: &[u8]) -> Result<Self> {
        self.resolve(path, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }

    fn resolve(&self, path: &[u8], how: ResolveFlags) -> Result<Self> {
        let named = if path.is_empty() { b"." } else { path };
        let open = || rustix::fs::openat2(&self.fd, named, DIRECTORY, Mode::empty(), how);
        again(open).map(Self::from_fd).map_err(|errno| SysError::new("openat2", path, errno))
    }

    /// Opens a file for reading, following symlinks as if this directory were `/`; for files that a program inside would
    /// open by this name. A FIFO or device is opened without waiting.
    ///
    /// # Errors
    /// `openat2`'s.
    pub fn open_file_in_root(&self, path: &[u8]) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        again(|| rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), how))
            .map(|fd| File::from_fd(fd, path))
            .map_err(|errno| SysError::new("openat2", path, errno))
    }

    /// Another handle on the same directory.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn try_clone(&self) -> Result<Self> {
        rustix::io::fcntl_dupfd_cloexec(&self.fd, 3)
            .map(Self::from_fd)
            .map_err(|errno| SysError::new("dup", b"", errno))
    }

    /// This directory's own metadata.
    ///
    /// # Errors
    /// `fstat`'s.
    pub fn metadata(&self) -> Result<Metadata> {
        rustix::fs::fstat(&self.fd)
            .map(|stat| Metadata::from_stat(&stat))
            .map_err(|errno| SysError::new("fstat", b"", errno))
    }

    /// Metadata of `name` itself.
    ///
    /// # Errors
    /// `ENOENT` when there is none; see [`Dir::stat_if_there`].
    pub fn stat(&self, name: &[u8]) -> Result<Metadata> {
        component("fstatat", name)?;
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .map(|stat| Metadata::from_stat(&stat))
            .map_err(|errno| SysError::new("fstatat", name, errno))
    }

    /// Metadata of `name` itself; `None` when there is none.
    ///
    /// # Errors
    /// `fstatat`'s, except `ENOENT`.
    pub fn stat_if_there(&self, name: &[u8]) -> Result<Option<Metadata>> {
        absent_is_none(self.stat(name))
    }

    /// Metadata of `name` itself, with the time at which it was made, by which a new file is told from an old one of the
    /// same inode number; `None` for that time where the file system does not keep it. All is `None` when there is no
    /// such name.
    ///
    /// # Errors
    /// `statx`'s, except `ENOENT`.
    pub fn stat_born(&self, name: &[u8]) -> Result<Option<(Metadata, Option<Time>)>> {
        component("statx", name)?;
        absent_is_none(self.statx(name, AtFlags::SYMLINK_NOFOLLOW))
    }

    /// This directory's own metadata, with the time at which it was made.
    ///
    /// # Errors
    /// `statx`'s.
    pub fn metadata_born(&self) -> Result<(Metadata, Option<Time>)> {
        self.statx(b"", AtFlags::EMPTY_PATH)
    }

    fn statx(&self, name: &[u8], flags: AtFlags) -> Result<(Metadata, Option<Time>)> {
        rustix::fs::statx(&self.fd, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
            .map(|stat| Metadata::from_statx(&stat))
            .map_err(|errno| SysError::new("statx", name, errno))
    }

    /// All names but `.` and `..`, in the order of the file system.
    ///
    /// # Errors
    /// `getdents`'s.
    pub fn read_dir(&self) -> Result<Vec<DirEntry>> {
        let wrong = |errno| SysError::new("getdents", b"", errno);
        // A descriptor of its own: reading moves the position, which clones share.
        let fd = rustix::fs::openat(&self.fd, c".", DIRECTORY, Mode::empty()).map_err(wrong)?;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::new(fd).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match FileKind::from_rustix(entry.file_type()) {
                Some(kind) => kind,
                // Some file systems do not say in the directory.
                None => match self.stat_if_there(name)? {
                    Some(metadata) => metadata.kind,
                    None => continue,
                },
            };
            entries.push(DirEntry { name: name.to_vec(), kind, ino: entry.ino() });
        }
        Ok(entries)
    }

    /// Where the symlink `name` points.
    ///
    /// # Errors
    /// `readlinkat`'s.
    pub fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        component("readlinkat", name)?;
        rustix::fs::readlinkat(&self.fd, name, Vec::new())
            .map(std::ffi::CString::into_bytes)
            .map_err(|errno| SysError::new("readlinkat", name, errno))
    }

    /// Opens the file `name` for reading. A FIFO or device is opened without waiting.
    ///
    /// # Errors
    /// `ELOOP` for a symlink; `openat`'s.
    pub fn open_file(&self, name: &[u8]) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        component("openat", name)?;
        rustix::fs::openat(&self.fd, name, flags, Mode::empty())
            .map(|fd| File::from_fd(fd, name))
            .map_err(|errno| SysError::new("openat", name, errno))
    }

    /// Opens the file `name` for reading and writing. A FIFO or device is opened without waiting.
    ///
    /// # Errors
    /// `ELOOP` for a symlink; `openat`'s.
    pub fn open_file_to_write(&self, name: &[u8]) -> Result<File> {
        self.open_file_for(name, Access::ReadWrite)
    }

    /// Opens the file `name` for this. A FIFO or device is opened without waiting.
    ///
    /// # Errors
    /// `ELOOP` for a symlink; `openat`'s.
    pub fn open_file_for(&self, name: &[u8], access: Access) -> Result<File> {
        let flags = access.flags() | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        component("openat", name)?;
        rustix::fs::openat(&self.fd, name, flags, Mode::empty())
            .map(|fd| File::from_fd(fd, name))
            .map_err(|errno| SysError::new("openat", name, errno))
    }

    /// Opens `name` itself, whatever it is, for its path alone (`O_PATH`): it can be looked at and opened again ([`File::reopen`]) when it has no name any
    /// more, and needs no right to read.
    ///
    /// # Errors
    /// `openat`'s.
    pub fn open_path(&self, name: &[u8]) -> Result<File> {
        component("openat", name)?;
        rustix::fs::openat(&self.fd, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .map(|fd| File::from_fd(fd, name))
            .map_err(|errno| SysError::new("openat", name, errno))
    }

    /// Opens the file `name` for reading; `None` when there is none.
    ///
    /// # Errors
    /// As [`Dir::open_file`].
    pub fn open_file_if_there(&self, name: &[u8]) -> Result<Option<File>> {
        absent_is_none(self.open_file(name))
    }

    /// Opens the directory `name`; `None` when there is none.
    ///
    /// # Errors
    /// As [`Dir::open_dir`].
    pub fn open_dir_if_there(&self, path: &[u8]) -> Result<Option<Self>> {
        absent_is_none(self.open_dir(path))
    }

    /// The whole content of the file `name`, at most `cap` bytes.
    ///
    /// # Errors
    /// `EFBIG` when there is more; `openat`'s and `read`'s.
    pub fn read(&self, name: &[u8], cap: u64) -> Result<Vec<u8>> {
        self.open_file(name)?.read_all(cap)
    }

    /// The whole content of the file `name`, at most `cap` bytes; `None` when there is none.
    ///
    /// # Errors
    /// As [`Dir::read`].
    pub fn read_if_there(&self, name: &[u8], cap: u64) -> Result<Option<Vec<u8>>> {
        absent_is_none(self.read(name, cap))
    }

    /// Makes the file `name`, open for reading and writing.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken, also by a dangling symlink.
    pub fn create_file(&self, name: &[u8], mode: u32) -> Result<File> {
        component("openat", name)?;
        door("openat", name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(mode))
            .map(|fd| File::from_fd(fd, name))
            .map_err(|errno| SysError::new("openat", name, errno))
    }

    /// Makes a file that has no name and is gone with its descriptor (`O_TMPFILE`), open for reading and writing.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the file system cannot.
    pub fn create_unnamed(&self, mode: u32) -> Result<File> {
        door("openat", b"O_TMPFILE")?;
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, c".", flags, Mode::from_raw_mode(mode))
            .map(|fd| File::from_fd(fd, b"O_TMPFILE"))
            .map_err(|errno| SysError::new("openat", b"O_TMPFILE", errno))
    }

    /// Gives a file that [`create_unnamed`](Self::create_unnamed) made the name `name`.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken; `ENOENT` where there is no `/proc`.
    pub fn name_file(&self, file: &File, name: &[u8]) -> Result<()> {
        component("linkat", name)?;
        door("linkat", name)?;
        let itself = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        rustix::fs::linkat(rustix::fs::CWD, itself, &self.fd, name, AtFlags::SYMLINK_FOLLOW)
            .map_err(|errno| SysError::new("linkat", name, errno))
    }

    /// Makes the directory `name`.
    ///
    /// # Errors
    /// `mkdirat`'s.
    pub fn mkdir(&self, name: &[u8], mode: u32) -> Result<()> {
        component("mkdirat", name)?;
        door("mkdirat", name)?;
        rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode))
            .map_err(|errno| SysError::new("mkdirat", name, errno))
    }

    /// Makes the directory `name` unless it is there, and opens it.
    ///
    /// # Errors
    /// `mkdirat`'s, except `EEXIST`; `openat2`'s when something else has the name.
    pub fn ensure_dir(&self, name: &[u8], mode: u32) -> Result<Self> {
        match self.open_dir(name) {
            Err(error) if error.is_not_found() => {}
            opened => return opened,
        }
        match self.mkdir(name, mode) {
            Err(error) if !error.is_exists() => Err(error),
            _ => self.open_dir(name),
        }
    }

    /// Makes the symlink `name` that points to `target`.
    ///
    /// # Errors
    /// `symlinkat`'s.
    pub fn symlink(&self, target: &[u8], name: &[u8]) -> Result<()> {
        component("symlinkat", name)?;
        door("symlinkat", name)?;
        rustix::fs::symlinkat(target, &self.fd, name).map_err(|errno| SysError::new("symlinkat", name, errno))
    }

    /// Makes `new` in `to` one more name of the file `name`, itself and not what it points to.
    ///
    /// # Errors
    /// `linkat`'s.
    pub fn link(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<()> {
        component("linkat", name)?;
        component("linkat", new)?;
        door("linkat", new)?;
        rustix::fs::linkat(&self.fd, name, &to.fd, new, AtFlags::empty())
            .map_err(|errno| SysError::new("linkat", two(name, new), errno))
    }

    /// Makes a device, FIFO or socket. `major` and `minor` count for devices alone.
    ///
    /// # Errors
    /// `EPERM` without the privilege; `EINVAL` for other kinds.
    pub fn mknod(&self, name: &[u8], kind: FileKind, mode: u32, major: u32, minor: u32) -> Result<()> {
        component("mknodat", name)?;
        door("mknodat", name)?;
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(&self.fd, name, kind.to_rustix(), Mode::from_raw_mode(mode), device)
            .map_err(|errno| SysError::new("mknodat", name, errno))
    }

    /// Removes the name of anything but a directory.
    ///
    /// # Errors
    /// `unlinkat`'s.
    pub fn unlink(&self, name: &[u8]) -> Result<()> {
        self.remove(name, AtFlags::empty())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `unlinkat`'s.
    pub fn rmdir(&self, name: &[u8]) -> Result<()> {
        self.remove(name, AtFlags::REMOVEDIR)
    }

    fn remove(&self, name: &[u8], flags: AtFlags) -> Result<()> {
        component("unlinkat", name)?;
        door("unlinkat", name)?;
        rustix::fs::unlinkat(&self.fd, name, flags).map_err(|errno| SysError::new("unlinkat", name, errno))
    }

    /// Renames over whatever has the new name.
    ///
    /// # Errors
    /// `renameat2`'s.
    pub fn rename(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<()> {
        self.rename_how(name, to, new, RenameFlags::empty())
    }

    /// Renames unless the new name is taken.
    ///
    /// # Errors
    /// `EEXIST` when it is; `renameat2`'s.
    pub fn rename_noreplace(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<()> {
        self.rename_how(name, to, new, RenameFlags::NOREPLACE)
    }

    /// Exchanges two names in one step.
    ///
    /// # Errors
    /// `renameat2`'s.
    pub fn exchange(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<()> {
        self.rename_how(name, to, new, RenameFlags::EXCHANGE)
    }

    /// Renames over whatever has the new name, and leaves a character device 0:0 at the old one in the same step
    /// (`RENAME_WHITEOUT`, Linux 3.18).
    ///
    /// # Errors
    /// `EINVAL` where the file system has no such rename; `renameat2`'s.
    pub fn rename_leaving_whiteout(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<()> {
        self.rename_how(name, to, new, RenameFlags::WHITEOUT)
    }

    fn rename_how(&self, name: &[u8], to: &Self, new: &[u8], how: RenameFlags) -> Result<()> {
        component("renameat2", name)?;
        component("renameat2", new)?;
        door("renameat2", new)?;
        rustix::fs::renameat_with(&self.fd, name, &to.fd, new, how)
            .map_err(|errno| SysError::new("renameat2", two(name, new), errno))
    }

    /// Sets the permission bits (0 to 0o7777) of `name` itself.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a symlink; `fchmodat2`'s (Linux 6.6; before it, the same through `/proc/self/fd`).
    pub fn chmod(&self, name: &[u8], mode: u32) -> Result<()> {
        component("fchmodat2", name)?;
        door("fchmodat2", name)?;
        crate::raw::fchmodat2(self.fd.as_fd(), name, mode).map_err(|errno| SysError::new("fchmodat2", name, errno))
    }

    /// Sets the permission bits (0 to 0o7777) of this directory.
    ///
    /// # Errors
    /// `fchmod`'s.
    pub fn chmod_self(&self, mode: u32) -> Result<()> {
        door("fchmod", b".")?;
        rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode)).map_err(|errno| SysError::new("fchmod", b".", errno))
    }

    /// Sets owner and group of `name` itself. Clears setuid, setgid and file capabilities, so it comes before them.
    ///
    /// # Errors
    /// `fchownat`'s.
    pub fn chown(&self, name: &[u8], uid: u32, gid: u32) -> Result<()> {
        component("fchownat", name)?;
        door("fchownat", name)?;
        rustix::fs::chownat(
            &self.fd,
            name,
            Some(crate::stat::uid(uid)),
            Some(crate::stat::gid(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(|errno| SysError::new("fchownat", name, errno))
    }

    /// Sets owner and group of this directory.
    ///
    /// # Errors
    /// `fchown`'s.
    pub fn chown_self(&self, uid: u32, gid: u32) -> Result<()> {
        door("fchown", b".")?;
        rustix::fs::fchown(&self.fd, Some(crate::stat::uid(uid)), Some(crate::stat::gid(gid)))
            .map_err(|errno| SysError::new("fchown", b".", errno))
    }

    /// Sets the modification time of `name` itself, and the access time to the same.
    ///
    /// # Errors
    /// `utimensat`'s.
    pub fn utimens(&self, name: &[u8], mtime: Time) -> Result<()> {
        component("utimensat", name)?;
        door("utimensat", name)?;
        rustix::fs::utimensat(&self.fd, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| SysError::new("utimensat", name, errno))
    }

    /// Sets the modification time of this directory, and the access time to the same.
    ///
    /// # Errors
    /// `futimens`'s.
    pub fn utimens_self(&self, mtime: Time) -> Result<()> {
        door("futimens", b".")?;
        rustix::fs::futimens(&self.fd, &times(mtime)).map_err(|errno| SysError::new("futimens", b".", errno))
    }

    /// Flushes this directory: names made, renamed or removed in it are on disk after.
    ///
    /// # Errors
    /// `fsync`'s.
    pub fn sync(&self) -> Result<()> {
        door("fsync", b".")?;
        rustix::fs::fsync(&self.fd).map_err(|errno| SysError::new("fsync", b".", errno))
    }

    /// Flushes the whole file system that this directory is on. Reports an error that writeback met since the directory
    /// was opened (Linux 5.8), so open it before writing.
    ///
    /// # Errors
    /// `syncfs`'s.
    pub fn syncfs(&self) -> Result<()> {
        door("syncfs", b".")?;
        rustix::fs::syncfs(&self.fd).map_err(|errno| SysError::new("syncfs", b".", errno))
    }

    /// Puts `bytes` at `name` so that a crash leaves the old content or the new: written under a temporary name, flushed,
    /// renamed over, and the directory flushed.
    ///
    /// # Errors
    /// Of the call that was refused; the old content stands and the temporary name is removed.
    pub fn write_atomic(&self, name: &[u8], bytes: &[u8], mode: u32) -> Result<()> {
        component("openat", name)?;
        let temporary = temporary_name(name)?;
        let written = self
            .create_file(&temporary, mode)
            .and_then(|mut file| file.write_whole(bytes).and_then(|()| file.sync()))
            .and_then(|()| self.rename(&temporary, self, name));
        if let Err(error) = written {
            // ignored: the error that is returned is the one that matters, and a leftover temporary name is swept later.
            drop(self.unlink(&temporary));
            return Err(error);
        }
        self.sync()
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Dir {
    /// A path for calls that take no directory descriptor (`lsetxattr`). Needs `/proc`.
    pub(crate) fn proc_path(&self, name: &[u8]) -> Vec<u8> {
        let mut path = format!("/proc/self/fd/{}/", self.fd.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        path
    }
}

fn times(mtime: Time) -> Timestamps {
    let at = Timespec { tv_sec: mtime.secs, tv_nsec: i64::from(mtime.nanos) };
    Timestamps { last_access: at, last_modification: at }
}

pub(crate) fn file_times(mtime: Time) -> Timestamps {
    times(mtime)
}

fn absent_is_none<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// `openat2` answers `EAGAIN` when a rename elsewhere kept it from proving that a path stays inside; the manual page says
/// to try again. `EXDEV` is its answer too when what it found was renamed out before it could be opened: tried again, it is
/// not there. For a path that leaves it stays `EXDEV`.
fn again<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    let mut left = 0;
    for _ in 0..128 {
        match call() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::XDEV) if left < 8 => left += 1,
            done => return done,
        }
    }
    call()
}

/// A name beside `name` that no other process chooses.
pub(crate) fn temporary_name(name: &[u8]) -> Result<Vec<u8>> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|_| SysError::new("getrandom", b"", Errno::IO))?;
    let kept = name.get(..name.len().min(200)).unwrap_or_default();
    Ok([b".", kept, format!(".{:016x}", u64::from_le_bytes(random)).as_bytes()].concat())
}

mod remove;
#[cfg(test)]
mod tests;
