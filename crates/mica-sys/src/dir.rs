//! An open directory: all that is done inside it is done through it.
//!
//! A path of several components is resolved by the kernel and cannot leave ([`Dir::open_dir`], [`Dir::open_dir_in_root`]).
//! Everything else takes one component, which is never followed when it is a symlink, be it read, changed or deleted.
//! Magic links (`/proc/*/fd`) are never followed. `..`, slashes and NUL in a component are `EINVAL` before any call is made.

mod attributes;
mod names;
mod remove;

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, ResolveFlags, SeekFrom};
use rustix::io::Errno;

use crate::error::{Result, SysError};
use crate::fault::{door, look};
use crate::file::{Access, File};
use crate::stat::FileKind;

pub(crate) use attributes::file_times;

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

/// Bytes of names that are asked for at once: those of some thousand.
const LISTED: usize = 32 << 10;

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
            Err(error) if error.is_denied() => self.place(path, ResolveFlags::empty()),
            opened => opened,
        }
    }

    /// Opens a directory for its path alone.
    fn place(&self, path: &[u8], how: ResolveFlags) -> Result<Self> {
        let how = how | ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        look("openat2", path)?;
        let named = if path.is_empty() { b"." } else { path };
        again(|| rustix::fs::openat2(&self.fd, named, DIRECTORY | OFlags::PATH, Mode::empty(), how))
            .map(Self::from_fd)
            .map_err(|errno| SysError::new("openat2", path, errno))
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

    /// As [`Dir::open_dir_or_place`], on the same mount.
    ///
    /// # Errors
    /// As [`Dir::open_dir_same_mount`].
    pub fn open_dir_or_place_same_mount(&self, path: &[u8]) -> Result<Self> {
        match self.open_dir_same_mount(path) {
            Err(error) if error.is_denied() => self.place(path, ResolveFlags::NO_XDEV),
            opened => opened,
        }
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
        look("openat2", path)?;
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

    /// All names but `.` and `..`, in the order of the file system.
    ///
    /// # Errors
    /// `getdents`'s.
    pub fn read_dir(&self) -> Result<Vec<DirEntry>> {
        // A descriptor of its own: reading moves the position, which clones share.
        let fd = rustix::fs::openat(&self.fd, c".", DIRECTORY, Mode::empty())
            .map_err(|errno| SysError::new("getdents", b"", errno))?;
        self.entries(&fd)
    }

    /// [`read_dir`](Self::read_dir) by this very handle, which spares opening another. Whoever has a [clone](Self::try_clone) of it must not read by that meanwhile.
    ///
    /// # Errors
    /// `getdents`'s.
    pub fn read_dir_here(&mut self) -> Result<Vec<DirEntry>> {
        match rustix::fs::seek(&self.fd, SeekFrom::Start(0)) {
            // Opened for its path alone: the other way says what is wrong with reading it.
            Err(Errno::BADF) => self.read_dir(),
            Err(errno) => Err(SysError::new("lseek", b"", errno)),
            Ok(_) => self.entries(&self.fd),
        }
    }

    /// What is left to read by `fd`, a handle of this directory.
    fn entries(&self, fd: &OwnedFd) -> Result<Vec<DirEntry>> {
        look("getdents", b"")?;
        let mut entries = Vec::new();
        let mut buffer = [MaybeUninit::<u8>::uninit(); LISTED];
        let mut listed = RawDir::new(fd, &mut buffer);
        while let Some(entry) = listed.next() {
            let entry = match entry {
                // It was removed.
                Err(Errno::NOENT) => break,
                entry => entry.map_err(|errno| SysError::new("getdents", b"", errno))?,
            };
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
        look("readlinkat", name)?;
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
        look("openat", name)?;
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
        look("openat", name)?;
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
        look("openat", name)?;
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

#[cfg(test)]
mod tests;
