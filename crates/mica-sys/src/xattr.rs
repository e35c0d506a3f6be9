//! Extended attributes of names in a directory and of open files, never through a symlink.

use std::os::fd::AsFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::dir::{Dir, component};
use crate::error::{Result, SysError};
use crate::fault::{door, look};
use crate::file::File;

/// What Linux allows for one value, and for the list of names (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const MOST: usize = 65536;

/// What setting an attribute may find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SetXattr {
    /// The attribute, which it replaces, or none.
    #[default]
    Any,
    /// None; else `EEXIST` (`XATTR_CREATE`).
    Create,
    /// The attribute; else `ENODATA` (`XATTR_REPLACE`).
    Replace,
}

impl SetXattr {
    pub(crate) const fn flags(self) -> XattrFlags {
        match self {
            Self::Any => XattrFlags::empty(),
            Self::Create => XattrFlags::CREATE,
            Self::Replace => XattrFlags::REPLACE,
        }
    }
}

pub(crate) fn about(name: &[u8], attribute: &[u8]) -> Vec<u8> {
    [name, b" ", attribute].concat()
}

/// Reads into a small buffer first: most values are short.
pub(crate) fn value(mut call: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    for size in [256, MOST] {
        let mut buffer = vec![0; size];
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::RANGE)
}

fn absent(result: rustix::io::Result<Vec<u8>>) -> rustix::io::Result<Option<Vec<u8>>> {
    match result {
        Ok(value) => Ok(Some(value)),
        // No such attribute, or a file system that has none.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

pub(crate) fn names(list: &[u8]) -> Vec<Vec<u8>> {
    list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

impl Dir {
    /// An attribute of `name` itself; `None` when it has none of that name, or the file system has no attributes.
    ///
    /// # Errors
    /// `lgetxattr`'s.
    pub fn get_xattr(&self, name: &[u8], attribute: &[u8]) -> Result<Option<Vec<u8>>> {
        component("lgetxattr", name)?;
        look("lgetxattr", name)?;
        let path = self.proc_path(name);
        absent(value(|buffer| rustix::fs::lgetxattr(&path[..], attribute, buffer)))
            .map_err(|errno| SysError::new("lgetxattr", about(name, attribute), errno))
    }

    /// The names of all attributes of `name` itself that this process may see; empty where the file system has none.
    ///
    /// # Errors
    /// `llistxattr`'s.
    pub fn list_xattrs(&self, name: &[u8]) -> Result<Vec<Vec<u8>>> {
        component("llistxattr", name)?;
        look("llistxattr", name)?;
        let path = self.proc_path(name);
        absent(value(|buffer| rustix::fs::llistxattr(&path[..], buffer)))
            .map(|list| names(&list.unwrap_or_default()))
            .map_err(|errno| SysError::new("llistxattr", name, errno))
    }

    /// Sets an attribute of `name` itself.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the file system has none, `EPERM` for `user.*` on a symlink or device; `lsetxattr`'s.
    pub fn set_xattr(&self, name: &[u8], attribute: &[u8], value: &[u8]) -> Result<()> {
        self.set_xattr_how(name, attribute, value, SetXattr::Any)
    }

    /// Sets an attribute of `name` itself, if what is there is what may be.
    ///
    /// # Errors
    /// As [`Dir::set_xattr`]; those that `how` names.
    pub fn set_xattr_how(&self, name: &[u8], attribute: &[u8], value: &[u8], how: SetXattr) -> Result<()> {
        component("lsetxattr", name)?;
        door("lsetxattr", name)?;
        rustix::fs::lsetxattr(&self.proc_path(name)[..], attribute, value, how.flags())
            .map_err(|errno| SysError::new("lsetxattr", about(name, attribute), errno))
    }

    /// Removes an attribute of `name` itself.
    ///
    /// # Errors
    /// `ENODATA` when it has none of that name; `lremovexattr`'s.
    pub fn remove_xattr(&self, name: &[u8], attribute: &[u8]) -> Result<()> {
        component("lremovexattr", name)?;
        door("lremovexattr", name)?;
        rustix::fs::lremovexattr(&self.proc_path(name)[..], attribute)
            .map_err(|errno| SysError::new("lremovexattr", about(name, attribute), errno))
    }

    /// An attribute of this directory, which may be opened for its path alone (`O_PATH`); `None` when it has none of that name.
    ///
    /// # Errors
    /// `fgetxattr`'s.
    pub fn get_own_xattr(&self, attribute: &[u8]) -> Result<Option<Vec<u8>>> {
        match get(self, attribute, b".") {
            Err(error) if error.errno() == Errno::BADF => {
                let path = self.proc_path(b"");
                absent(value(|buffer| rustix::fs::lgetxattr(&path[..], attribute, buffer)))
                    .map_err(|errno| SysError::new("lgetxattr", about(b".", attribute), errno))
            }
            got => got,
        }
    }

    /// The names of all attributes of this directory.
    ///
    /// # Errors
    /// `flistxattr`'s.
    pub fn list_own_xattrs(&self) -> Result<Vec<Vec<u8>>> {
        list(self, b".")
    }

    /// Removes an attribute of this directory.
    ///
    /// # Errors
    /// `ENODATA` when it has none of that name; `fremovexattr`'s.
    pub fn remove_own_xattr(&self, attribute: &[u8]) -> Result<()> {
        door("fremovexattr", b".")?;
        rustix::fs::fremovexattr(self, attribute)
            .map_err(|errno| SysError::new("fremovexattr", about(b".", attribute), errno))
    }

    /// Sets an attribute of this directory, which may be opened for its path alone (`O_PATH`).
    ///
    /// # Errors
    /// `fsetxattr`'s.
    pub fn set_own_xattr(&self, attribute: &[u8], value: &[u8]) -> Result<()> {
        match set(self, attribute, value, b".") {
            Err(error) if error.errno() == Errno::BADF => {
                rustix::fs::lsetxattr(&self.proc_path(b"")[..], attribute, value, XattrFlags::empty())
                    .map_err(|errno| SysError::new("lsetxattr", about(b".", attribute), errno))
            }
            done => done,
        }
    }
}

impl File {
    /// An attribute; `None` when there is none of that name.
    ///
    /// # Errors
    /// `fgetxattr`'s.
    pub fn get_xattr(&self, attribute: &[u8]) -> Result<Option<Vec<u8>>> {
        get(self, attribute, self.name())
    }

    /// The names of all attributes.
    ///
    /// # Errors
    /// `flistxattr`'s.
    pub fn list_xattrs(&self) -> Result<Vec<Vec<u8>>> {
        list(self, self.name())
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// `fsetxattr`'s.
    pub fn set_xattr(&self, attribute: &[u8], value: &[u8]) -> Result<()> {
        set(self, attribute, value, self.name())
    }
}

fn get(fd: impl AsFd, attribute: &[u8], name: &[u8]) -> Result<Option<Vec<u8>>> {
    look("fgetxattr", name)?;
    absent(value(|buffer| rustix::fs::fgetxattr(&fd, attribute, buffer)))
        .map_err(|errno| SysError::new("fgetxattr", about(name, attribute), errno))
}

fn list(fd: impl AsFd, name: &[u8]) -> Result<Vec<Vec<u8>>> {
    look("flistxattr", name)?;
    absent(value(|buffer| rustix::fs::flistxattr(&fd, buffer)))
        .map(|list| names(&list.unwrap_or_default()))
        .map_err(|errno| SysError::new("flistxattr", name, errno))
}

fn set(fd: impl AsFd, attribute: &[u8], value: &[u8], name: &[u8]) -> Result<()> {
    door("fsetxattr", name)?;
    rustix::fs::fsetxattr(fd, attribute, value, XattrFlags::empty())
        .map_err(|errno| SysError::new("fsetxattr", about(name, attribute), errno))
}
