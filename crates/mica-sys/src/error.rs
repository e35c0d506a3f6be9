//! A system call that did not do what was asked, with its name and what it was asked of.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// A failed system call. Prints `renameat2 "a" -> "b": No such file or directory (os error 2)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysError {
    call: &'static str,
    subject: Vec<u8>,
    errno: Errno,
}

impl SysError {
    /// A failure of `call` on `subject`: a path, or a few words that say what it was about.
    #[must_use]
    pub fn new(call: &'static str, subject: impl AsRef<[u8]>, errno: Errno) -> Self {
        Self { call, subject: subject.as_ref().to_vec(), errno }
    }

    /// The call's name, as its manual page has it.
    #[must_use]
    pub const fn call(&self) -> &'static str {
        self.call
    }

    /// What it was asked of, as bytes.
    #[must_use]
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// The error number.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        self.errno
    }

    /// Whether the thing is not there (`ENOENT`).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.errno == Errno::NOENT
    }

    /// Whether the name is taken (`EEXIST`).
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.errno == Errno::EXIST
    }

    /// Whether the disk, or a quota on it, is full (`ENOSPC`, `EDQUOT`).
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self.errno, Errno::NOSPC | Errno::DQUOT)
    }

    /// Whether it was not allowed (`EACCES`, `EPERM`).
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.errno, Errno::ACCESS | Errno::PERM)
    }

    /// Whether a FUSE file system's server has ended (`ENOTCONN`, and `ECONNABORTED` of who asked it when it did).
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        matches!(self.errno, Errno::NOTCONN | Errno::CONNABORTED)
    }

    /// Whether the file system can only be read (`EROFS`).
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.errno == Errno::ROFS
    }
}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.call)?;
        if !self.subject.is_empty() {
            write!(f, " {:?}", String::from_utf8_lossy(&self.subject))?;
        }
        write!(f, ": {}", io::Error::from(self.errno))
    }
}

impl std::error::Error for SysError {}

impl From<SysError> for io::Error {
    fn from(error: SysError) -> Self {
        Self::new(Self::from(error.errno).kind(), error)
    }
}

/// The result of a system call.
pub type Result<T> = std::result::Result<T, SysError>;
