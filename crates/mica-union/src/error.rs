//! Why a stack cannot be shown.

use std::fmt;
use std::path::PathBuf;

use mica_core::RelPath;
use mica_layer::LayerError;
use mica_sys::mount::MountError;
use mica_sys::{Errno, SysError};

use crate::overlay::Cause;

/// Which of a union's directories one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A lower; its place in the stack, 1 being the topmost.
    Lower(usize),
    /// The upper.
    Upper,
    /// The work directory.
    Work,
    /// The directory that stands for a lower where there is none.
    Empty,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lower(place) => write!(f, "lower {place}"),
            Self::Upper => f.write_str("upper"),
            Self::Work => f.write_str("work"),
            Self::Empty => f.write_str("empty"),
        }
    }
}

/// A union that was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnionError {
    /// The stack is deeper than the driver can show.
    #[error("{driver}: the stack has {count} different lowers, the most is {limit}")]
    TooManyLowers {
        /// The driver.
        driver: &'static str,
        /// How many directories there are, each counted once.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A directory cannot be opened.
    #[error("{driver}: cannot open the {role} directory")]
    Open {
        /// The driver.
        driver: &'static str,
        /// Which.
        role: Role,
        /// The call, with the path.
        source: SysError,
    },
    /// The kernel refuses a directory, or the stack as a whole.
    #[error("{driver}: cannot mount {role} directory {path:?}")]
    Mount {
        /// The driver.
        driver: &'static str,
        /// The directory it was about: the refused one, or for the stack as a whole the upper, else the topmost lower.
        role: Role,
        /// Its path.
        path: PathBuf,
        /// What is known to be wrong with it.
        cause: Option<Cause>,
        /// The call, with the kernel's words.
        source: MountError,
    },
    /// The kernel refuses something that is not about one directory.
    #[error("{driver}: cannot mount")]
    Kernel {
        /// The driver.
        driver: &'static str,
        /// What is known to be wrong.
        cause: Option<Cause>,
        /// The call, with the kernel's words.
        source: MountError,
    },
    /// A directory of the stack cannot be read.
    #[error("{driver}: cannot read {path} of the {role} directory")]
    Read {
        /// The driver.
        driver: &'static str,
        /// Which directory.
        role: Role,
        /// What in it.
        path: RelPath,
        /// Why.
        source: Box<LayerError>,
    },
    /// The stack cannot be copied.
    #[error("{driver}: cannot copy {path}")]
    Copy {
        /// The driver.
        driver: &'static str,
        /// What was being copied.
        path: RelPath,
        /// What was refused.
        source: SysError,
    },
    /// What was written cannot be brought into the upper.
    #[error("{driver}: cannot bring {path} into the upper directory")]
    Settle {
        /// The driver.
        driver: &'static str,
        /// What was being brought.
        path: RelPath,
        /// What was refused.
        source: SysError,
    },
    /// What was written changes so fast that no changeset can be made of it.
    #[error("{driver}: {path} changed again and again while it was brought into the upper directory")]
    Changing {
        /// The driver.
        driver: &'static str,
        /// What changed last.
        path: RelPath,
    },
    /// The driver's own directory cannot be used.
    #[error("{driver}: cannot use the work directory {work:?}")]
    Work {
        /// The driver.
        driver: &'static str,
        /// The directory.
        work: PathBuf,
        /// What was refused.
        source: SysError,
    },
    /// The upper or its work directory serves another mount.
    #[error("{driver}: the {role} directory {path:?} is in use by another mount")]
    InUse {
        /// The driver.
        driver: &'static str,
        /// Which.
        role: Role,
        /// Its path.
        path: PathBuf,
    },
    /// The upper and its work directory are not on one mount of one file system, so nothing can be renamed between them.
    #[error("{driver}: the work directory {work:?} is on another mount than the upper directory {upper:?}")]
    WorkElsewhere {
        /// The driver.
        driver: &'static str,
        /// The upper.
        upper: PathBuf,
        /// The work directory.
        work: PathBuf,
    },
    /// The work directory is the upper, or one is in the other.
    #[error("{driver}: the upper directory {upper:?} and the work directory {work:?} are not apart")]
    NotApart {
        /// The driver.
        driver: &'static str,
        /// The upper.
        upper: PathBuf,
        /// The work directory.
        work: PathBuf,
    },
    /// The upper's file system does not keep the attributes that marks are.
    #[error("{driver}: {upper:?} cannot be an upper directory: its file system keeps no {prefix}* attributes")]
    NoMarks {
        /// The driver.
        driver: &'static str,
        /// The upper.
        upper: PathBuf,
        /// What the names of marks begin with.
        prefix: &'static str,
        /// What was refused.
        source: SysError,
    },
    /// The upper was mounted volatile before.
    #[error("{driver}: the upper directory {upper:?} was mounted volatile, so what is in it may not be whole")]
    WasVolatile {
        /// The driver.
        driver: &'static str,
        /// The upper.
        upper: PathBuf,
    },
    /// The driver's own record is not one that it wrote.
    #[error("{driver}: {path:?} is not a manifest that this version wrote, or its bytes have changed")]
    Manifest {
        /// The driver.
        driver: &'static str,
        /// The record.
        path: PathBuf,
    },
    /// The upper was written by another driver while this one had changes that were not in it.
    #[error("{driver}: the upper directory {upper:?} was written to while the copy had changes that it lacks")]
    Diverged {
        /// The driver.
        driver: &'static str,
        /// The upper.
        upper: PathBuf,
    },
    /// The server of a mount cannot do its work.
    #[error("{driver}: cannot serve the mount")]
    Serve {
        /// The driver.
        driver: &'static str,
        /// What was refused.
        source: SysError,
    },
    /// The process that serves the mount did not come up.
    #[error("{driver}: the server process {said}")]
    Server {
        /// The driver.
        driver: &'static str,
        /// What it said, or what became of it.
        said: String,
    },
    /// The union is made, and cannot be put to its place or be changed.
    #[error("cannot use the mount")]
    Use(#[source] SysError),
    /// The directory given for probing cannot be used.
    #[error("{driver}: cannot probe in {scratch:?}")]
    Scratch {
        /// The driver.
        driver: &'static str,
        /// The directory.
        scratch: PathBuf,
        /// What was refused.
        source: SysError,
    },
    /// The union of a probe does not show what it should.
    #[error("{driver}: a union in {scratch:?} shows a wrong tree: {what}")]
    Wrong {
        /// The driver.
        driver: &'static str,
        /// Where it was tried.
        scratch: PathBuf,
        /// What was expected and not found.
        what: &'static str,
    },
}

impl UnionError {
    /// Whether it speaks of this moment and not of the place: there was no room, no memory, or too much open. What is found
    /// out so says nothing about the driver.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        let refused = match self {
            Self::Open { source, .. }
            | Self::Copy { source, .. }
            | Self::Settle { source, .. }
            | Self::Work { source, .. }
            | Self::Use(source)
            | Self::Serve { source, .. }
            | Self::Scratch { source, .. } => source,
            Self::Mount { source, .. } | Self::Kernel { source, .. } => source.error(),
            _ => return false,
        };
        let passing = [
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::NOMEM,
            Errno::MFILE,
            Errno::NFILE,
            Errno::AGAIN,
            Errno::INTR,
            Errno::BUSY,
        ];
        passing.contains(&refused.errno())
    }

    /// What would help, as one sentence for users; `None` where the error says it all.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TooManyLowers { .. } => Some("merge layers into fewer, or show the image with another driver"),
            Self::Mount { cause, .. } | Self::Kernel { cause, .. } => cause.map(Cause::hint),
            Self::Copy { source, .. } if source.is_no_space() => Some(
                "this driver copies the whole image where the file system cannot share blocks, another one does not",
            ),
            Self::Settle { source, .. } | Self::Work { source, .. } if source.is_no_space() => {
                Some("nothing that was written is lost, and the next try begins where this one did")
            }
            Self::Copy { source, .. } if source.is_denied() || source.errno() == Errno::OPNOTSUPP => {
                Some("this file system or user namespace does not keep such an owner or attribute")
            }
            Self::InUse { .. } => Some("unmount the other one first, or give this mount directories of its own"),
            Self::WorkElsewhere { .. } => Some("put the work directory beside the upper directory"),
            Self::NoMarks { source, .. } if source.is_denied() => Some(
                "only root of the machine sets such attributes; without privilege marks are `user.overlay.*`, and records `user.*`",
            ),
            Self::NoMarks { .. } => Some(
                "put the upper directory on a file system with extended attributes, as ext4, xfs, btrfs or tmpfs of Linux 6.6",
            ),
            Self::WasVolatile { .. } => Some("begin with an empty upper and an empty work directory"),
            Self::Serve { source, .. } if source.call() == "openat" && source.is_not_found() => {
                Some("there is no /dev/fuse here; try `modprobe fuse`")
            }
            Self::Serve { source, .. } if source.call() == "openat" && source.is_denied() => {
                Some("this user may not open /dev/fuse; its mode is usually 0666")
            }
            Self::Serve { source, .. } if source.call() == "io_uring_setup" => Some(
                "leave the transport to be chosen, or as root write Y to /sys/module/fuse/parameters/enable_uring (Linux 6.14)",
            ),
            Self::Changing { .. } => Some("try again when the container writes less, or has ended"),
            Self::Manifest { .. } => {
                Some("the upper directory is whole; what was not yet in it is in `tree` beside this file")
            }
            Self::Diverged { .. } => {
                Some("both are kept; remove `flat` in the work directory to go on with the upper directory alone")
            }
            _ => None,
        }
    }
}
