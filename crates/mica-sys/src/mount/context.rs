//! A file system in the making: options, then a mount.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags};

use super::Mount;
use crate::error::SysError;
use crate::fault;

/// A refused mount, with what the kernel wrote to the context's log.
///
/// Prints `fsconfig "overlay create": Invalid argument (os error 22): overlay: upperdir and workdir must be separate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountError(Box<Refusal>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    error: SysError,
    said: Vec<String>,
}

impl MountError {
    /// The call that was refused.
    #[must_use]
    pub const fn error(&self) -> &SysError {
        &self.0.error
    }

    /// The kernel's own words, oldest first, without its level letter; often empty.
    #[must_use]
    pub fn said(&self) -> &[String] {
        &self.0.said
    }
}

impl From<SysError> for MountError {
    fn from(error: SysError) -> Self {
        Self(Box::new(Refusal { error, said: Vec::new() }))
    }
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error())?;
        self.said().iter().try_for_each(|line| write!(f, ": {line}"))
    }
}

impl std::error::Error for MountError {}

type Result<T> = std::result::Result<T, MountError>;

/// A file system's options, collected one by one (fsopen(2), Linux 5.2; for overlayfs 6.5).
///
/// A value is one string of at most 255 bytes and is taken as it stands: there is no separator to escape.
#[derive(Debug)]
pub struct FsContext {
    fd: OwnedFd,
    fstype: String,
}

impl FsContext {
    /// A context for a new file system of this type.
    ///
    /// # Errors
    /// `ENODEV` where the kernel does not have the type, `EPERM` without the right to mount.
    pub fn open(fstype: &str) -> Result<Self> {
        let fd = rustix::mount::fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| SysError::new("fsopen", fstype, errno))?;
        Ok(Self { fd, fstype: fstype.to_owned() })
    }

    /// A context for changing the file system that `mount` shows, by [`FsContext::reconfigure`].
    ///
    /// # Errors
    /// Those of fspick(2).
    pub fn pick(mount: impl AsFd) -> Result<Self> {
        let fd = rustix::mount::fspick(mount, c"", FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH)
            .map_err(|errno| SysError::new("fspick", "", errno))?;
        Ok(Self { fd, fstype: "reconfigure".to_owned() })
    }

    /// Sets an option that has no value.
    ///
    /// # Errors
    /// `EINVAL` where the file system has no such option.
    pub fn flag(&self, key: &str) -> Result<()> {
        let done = rustix::mount::fsconfig_set_flag(&self.fd, key);
        done.map_err(|errno| self.refused("fsconfig", key, errno))
    }

    /// Sets an option to a string of at most 255 bytes.
    ///
    /// # Errors
    /// `EINVAL` where the file system does not take it, or where it is too long.
    pub fn string(&self, key: &str, value: &[u8]) -> Result<()> {
        let done = rustix::mount::fsconfig_set_string(&self.fd, key, value);
        done.map_err(|errno| self.refused("fsconfig", key, errno))
    }

    /// Sets an option to an open file or directory.
    ///
    /// overlayfs takes its layers so since Linux 6.13, and by descriptors opened with `O_PATH` since 6.15; before, it is
    /// `EINVAL` or `EBADF`.
    ///
    /// # Errors
    /// `EINVAL` where the file system does not take it.
    pub fn fd(&self, key: &str, value: impl AsFd) -> Result<()> {
        let done = rustix::mount::fsconfig_set_fd(&self.fd, key, value);
        done.map_err(|errno| self.refused("fsconfig", key, errno))
    }

    /// Makes the file system and a detached mount of it.
    ///
    /// The fault door counts this as one change: overlayfs empties its work directory here.
    ///
    /// # Errors
    /// Whatever the file system has against its options, with its own words.
    pub fn create(self, attrs: MountAttrFlags) -> Result<Mount> {
        fault::door("fsconfig", self.fstype.as_bytes())?;
        rustix::mount::fsconfig_create(&self.fd).map_err(|errno| self.refused("fsconfig", "create", errno))?;
        let mount = rustix::mount::fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attrs);
        mount.map(Mount::from).map_err(|errno| self.refused("fsmount", "", errno))
    }

    /// Gives the options of a [picked](FsContext::pick) file system effect.
    ///
    /// # Errors
    /// Whatever the file system has against them.
    pub fn reconfigure(self) -> Result<()> {
        let done = rustix::mount::fsconfig_reconfigure(&self.fd);
        done.map_err(|errno| self.refused("fsconfig", "", errno))
    }

    fn refused(&self, call: &'static str, what: &str, errno: Errno) -> MountError {
        let subject = if what.is_empty() { self.fstype.clone() } else { format!("{} {what}", self.fstype) };
        MountError(Box::new(Refusal { error: SysError::new(call, subject, errno), said: self.log() }))
    }

    /// Takes the messages from the context's log: one a read, `e overlay: …`, until there are none (`ENODATA`).
    fn log(&self) -> Vec<String> {
        let mut said = Vec::new();
        let mut line = [0; 4096];
        // The kernel keeps at most eight.
        while said.len() < 8 {
            let read = match rustix::io::read(&self.fd, &mut line) {
                Ok(read) if read > 0 => read,
                Err(Errno::INTR) => continue,
                // ignored: without words the error number has to do.
                Ok(_) | Err(_) => break,
            };
            let text = String::from_utf8_lossy(line.get(..read).unwrap_or_default());
            let text = text.trim_end();
            said.push(text.get(2..).unwrap_or(text).to_owned());
        }
        said
    }
}
