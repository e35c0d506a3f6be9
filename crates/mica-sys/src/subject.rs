//! A file whose attributes are asked or changed: by its name in a directory, or by a handle, which may be one for its path alone.
//!
//! A name is never followed when it is a symlink. A handle stands for the very file, symlink or not: `O_PATH` lets no call through that would
//! look at a file, so it is named by `/proc/self/fd`, and following that leads to the file and no further.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use crate::dir::{Dir, component};
use crate::error::{Result, SysError};
use crate::fault::{door, look};
use crate::file::{Access, File};
use crate::stat::{Metadata, Time};
use crate::times::{SetTime, both};
use crate::xattr::{SetXattr, about, names, value};

/// A file that a call is about.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A name in a directory.
    Name(&'a Dir, &'a [u8]),
    /// What this is a handle of; the bytes are what errors call it.
    Handle(BorrowedFd<'a>, &'a [u8]),
}

impl<'a> Subject<'a> {
    /// An open directory itself.
    #[must_use]
    pub fn dir(dir: &'a Dir) -> Self {
        Self::Handle(dir.as_fd(), b".")
    }

    /// An open file.
    #[must_use]
    pub fn file(file: &'a File) -> Self {
        Self::Handle(file.as_fd(), file.name())
    }

    const fn name(&self) -> &'a [u8] {
        match self {
            Self::Name(_, name) | Self::Handle(_, name) => name,
        }
    }

    /// A path that leads to it; for a handle it must be followed.
    fn path(&self, call: &'static str) -> Result<Vec<u8>> {
        match self {
            Self::Name(dir, name) => {
                component(call, name)?;
                Ok(dir.proc_path(name))
            }
            Self::Handle(fd, _) => Ok(format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes()),
        }
    }

    fn wrong(&self, call: &'static str) -> impl Fn(Errno) -> SysError {
        let name = self.name().to_vec();
        move |errno| SysError::new(call, &name, errno)
    }

    /// What stat(2) says of it.
    ///
    /// # Errors
    /// `fstatat`'s.
    pub fn metadata(&self) -> Result<Metadata> {
        match self {
            Self::Name(dir, name) => dir.stat(name),
            Self::Handle(fd, _) => {
                look("fstat", self.name())?;
                rustix::fs::fstat(fd).map(|stat| Metadata::from_stat(&stat)).map_err(self.wrong("fstat"))
            }
        }
    }

    /// When it was made; `None` where the file system does not keep that.
    ///
    /// # Errors
    /// `statx`'s.
    pub fn born(&self) -> Result<Option<Time>> {
        let found = match self {
            Self::Name(dir, name) => {
                component("statx", name)?;
                rustix::fs::statx(dir, *name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BTIME)
            }
            Self::Handle(fd, _) => rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME),
        };
        found.map(|stat| Metadata::from_statx(&stat).1).map_err(self.wrong("statx"))
    }

    /// Sets the permission bits (0 to 0o7777).
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a symlink; `fchmodat2`'s.
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        match self {
            Self::Name(dir, name) => dir.chmod(name, mode),
            Self::Handle(..) => {
                door("chmod", self.name())?;
                let path = self.path("chmod")?;
                rustix::fs::chmodat(rustix::fs::CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())
                    .map_err(self.wrong("chmod"))
            }
        }
    }

    /// Sets owner and group; `None` keeps it. Of what is no directory, setuid and setgid bits and capabilities go, also when both are kept.
    ///
    /// # Errors
    /// `fchownat`'s.
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        door("fchownat", self.name())?;
        let (uid, gid) = (uid.and_then(crate::stat::uid), gid.and_then(crate::stat::gid));
        match self {
            Self::Name(dir, name) => {
                component("fchownat", name)?;
                rustix::fs::chownat(dir, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
            Self::Handle(fd, _) => rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH),
        }
        .map_err(self.wrong("fchownat"))
    }

    /// Sets the times.
    ///
    /// # Errors
    /// `utimensat`'s.
    pub fn set_times(&self, access: SetTime, modification: SetTime) -> Result<()> {
        match self {
            Self::Name(dir, name) => dir.set_times(name, access, modification),
            Self::Handle(..) => {
                door("utimensat", self.name())?;
                let path = self.path("utimensat")?;
                rustix::fs::utimensat(rustix::fs::CWD, path, &both(access, modification), AtFlags::empty())
                    .map_err(self.wrong("utimensat"))
            }
        }
    }

    /// The value of an attribute.
    ///
    /// # Errors
    /// `ENODATA` where there is none of that name, `EOPNOTSUPP` where the file system has none such; `getxattr`'s.
    pub fn xattr(&self, attribute: &[u8]) -> Result<Vec<u8>> {
        look("getxattr", self.name())?;
        let path = self.path("getxattr")?;
        let read = |buffer: &mut [u8]| match self {
            Self::Name(..) => rustix::fs::lgetxattr(&path[..], attribute, buffer),
            Self::Handle(..) => rustix::fs::getxattr(&path[..], attribute, buffer),
        };
        value(read).map_err(|errno| SysError::new("getxattr", about(self.name(), attribute), errno))
    }

    /// The names of all attributes that this process may see.
    ///
    /// # Errors
    /// `listxattr`'s; a file system that has none says `EOPNOTSUPP`.
    pub fn xattrs(&self) -> Result<Vec<Vec<u8>>> {
        look("listxattr", self.name())?;
        let path = self.path("listxattr")?;
        let read = |buffer: &mut [u8]| match self {
            Self::Name(..) => rustix::fs::llistxattr(&path[..], buffer),
            Self::Handle(..) => rustix::fs::listxattr(&path[..], buffer),
        };
        value(read).map(|list| names(&list)).map_err(self.wrong("listxattr"))
    }

    /// Sets an attribute, if what is there is what may be.
    ///
    /// # Errors
    /// Those that `how` names; `setxattr`'s.
    pub fn set_xattr(&self, attribute: &[u8], value: &[u8], how: SetXattr) -> Result<()> {
        door("setxattr", self.name())?;
        let path = self.path("setxattr")?;
        match self {
            Self::Name(..) => rustix::fs::lsetxattr(&path[..], attribute, value, how.flags()),
            Self::Handle(..) => rustix::fs::setxattr(&path[..], attribute, value, how.flags()),
        }
        .map_err(|errno| SysError::new("setxattr", about(self.name(), attribute), errno))
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// `ENODATA` where there is none of that name; `removexattr`'s.
    pub fn remove_xattr(&self, attribute: &[u8]) -> Result<()> {
        door("removexattr", self.name())?;
        let path = self.path("removexattr")?;
        match self {
            Self::Name(..) => rustix::fs::lremovexattr(&path[..], attribute),
            Self::Handle(..) => rustix::fs::removexattr(&path[..], attribute),
        }
        .map_err(|errno| SysError::new("removexattr", about(self.name(), attribute), errno))
    }

    /// Opens a regular file, also by a handle that is for its path alone. A FIFO or device is opened without waiting.
    ///
    /// # Errors
    /// `ELOOP` for the name of a symlink; `openat`'s.
    pub fn open(&self, access: Access) -> Result<File> {
        let flags = access.flags() | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        look("openat", self.name())?;
        match self {
            Self::Name(dir, name) => {
                component("openat", name)?;
                rustix::fs::openat(dir, *name, flags | OFlags::NOFOLLOW, Mode::empty())
            }
            Self::Handle(..) => rustix::fs::open(self.path("openat")?, flags, Mode::empty()),
        }
        .map(|fd| File::from_fd(fd, self.name()))
        .map_err(self.wrong("openat"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Time;

    /// A handle of a name for its path alone.
    fn path_handle(dir: &Dir, name: &[u8]) -> File {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        File::from_fd(rustix::fs::openat(dir, name, flags, Mode::empty()).unwrap(), name)
    }

    #[test]
    fn a_name_and_a_handle_without_a_name_are_asked_and_changed_alike() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::open(scratch.path()).unwrap();
        drop(dir.create_file(b"f", 0o600).unwrap());
        drop(dir.create_file(b"gone", 0o600).unwrap());
        let handle = path_handle(&dir, b"gone");
        dir.unlink(b"gone").unwrap();
        for subject in [Subject::Name(&dir, b"f"), Subject::file(&handle)] {
            subject.set_mode(0o640).unwrap();
            let time = Time { secs: 7, nanos: 8 };
            subject.set_times(SetTime::Keep, SetTime::To(time)).unwrap();
            subject.set_owner(None, None).unwrap();
            let found = subject.metadata().unwrap();
            assert_eq!((found.mode, found.mtime), (0o640, time));
            subject.set_xattr(b"user.a", b"1", SetXattr::Create).unwrap();
            assert_eq!(subject.set_xattr(b"user.a", b"2", SetXattr::Create).unwrap_err().errno(), Errno::EXIST);
            assert_eq!(subject.set_xattr(b"user.b", b"2", SetXattr::Replace).unwrap_err().errno(), Errno::NODATA);
            assert_eq!(subject.xattr(b"user.a").unwrap(), b"1");
            assert!(subject.xattrs().unwrap().contains(&b"user.a".to_vec()));
            subject.remove_xattr(b"user.a").unwrap();
            assert_eq!(subject.xattr(b"user.a").unwrap_err().errno(), Errno::NODATA);
            subject.open(Access::ReadWrite).unwrap().set_len(5).unwrap();
            assert_eq!(subject.metadata().unwrap().size, 5);
        }
    }

    #[test]
    fn a_symlink_is_meant_and_not_where_it_leads() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::open(scratch.path()).unwrap();
        drop(dir.create_file(b"f", 0o600).unwrap());
        let before = dir.stat(b"f").unwrap();
        dir.symlink(b"f", b"l").unwrap();
        let handle = path_handle(&dir, b"l");
        for (secs, subject) in [(5, Subject::Name(&dir, b"l")), (6, Subject::file(&handle))] {
            let time = SetTime::To(Time { secs, nanos: 0 });
            subject.set_times(time, time).unwrap();
            assert_eq!(dir.stat(b"l").unwrap().mtime.secs, secs);
            assert_eq!(subject.set_xattr(b"user.a", b"", SetXattr::Any).unwrap_err().errno(), Errno::PERM);
            subject.set_owner(None, None).unwrap();
        }
        assert_eq!(dir.stat(b"f").unwrap(), before);
    }

    #[test]
    fn a_directory_is_its_own_subject() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::open(scratch.path()).unwrap();
        Subject::dir(&dir).set_mode(0o711).unwrap();
        Subject::dir(&dir).set_xattr(b"user.d", b"d", SetXattr::Any).unwrap();
        assert_eq!(dir.metadata().unwrap().mode, 0o711);
        assert_eq!(dir.get_own_xattr(b"user.d").unwrap().as_deref(), Some(&b"d"[..]));
    }
}
