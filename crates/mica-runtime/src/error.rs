//! What can go wrong between a spec and a running command, and at which step.

use std::fmt;
use std::path::PathBuf;

use mica_sys::mount::MountError;
use mica_sys::{Errno, SysError};
use serde::{Deserialize, Serialize};

/// A container that could not be started, or was lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The spec asks for something that this runtime does not do.
    #[error("the runtime does not do {what} yet")]
    Unsupported {
        /// The spec's field, and its value where that is what is not done.
        what: String,
    },
    /// The spec lacks something, or a value in it means nothing.
    #[error("the runtime spec's {field} {problem}")]
    Spec {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The command is to run as somebody whom the caller's user namespace has no id for.
    #[error("{what} {id} is not mapped here: there are {there_are}")]
    NotMapped {
        /// `user` or `group`.
        what: &'static str,
        /// Which, as the container numbers them.
        id: u32,
        /// The ids that are mapped: `0, 1-65536`.
        there_are: String,
    },
    /// A step failed before the container's command was run.
    #[error("cannot {step}")]
    Setup {
        /// Which.
        step: Step,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// The program is not there.
    #[error("{program:?}: {reason}")]
    NotFound {
        /// As it was asked for.
        program: String,
        /// Where it was looked for.
        reason: String,
    },
    /// The program is there and cannot be run.
    #[error("{program:?}: {reason}")]
    NotExecutable {
        /// As it was asked for.
        program: String,
        /// Why not.
        reason: String,
    },
    /// The init process said something that is not understood; the container was ended.
    #[error("the container's init sent a message that is not understood")]
    Protocol(#[source] serde_json::Error),
}

impl RuntimeError {
    /// The exit code that Docker's command line gives for it: 127 not found, 126 not executable, 125 anything else.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            _ => 125,
        }
    }

    /// Whether it was the server of the container's root file system that ended, where it has one.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        let gone = [Errno::NOTCONN, Errno::CONNABORTED];
        matches!(self, Self::Setup { cause, .. } if gone.iter().any(|errno| errno.raw_os_error() == cause.errno))
    }

    /// What to try, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotMapped { .. } => Some(
                "an ordinary user has more ids with a range in /etc/subuid and /etc/subgid: \
                 `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`, before the store is made",
            ),
            Self::Setup { step: Step::Mount { kind, .. }, cause } if kind == "proc" && cause.is_denied() => Some(
                "the kernel gives a user namespace no new /proc where parts of the machine's are covered, as in a container: \
                 run mica as root there, or make that container without masked paths",
            ),
            _ => None,
        }
    }
}

/// A step on the way to the command. Reads after "cannot".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// Start the init process.
    StartInit,
    /// Hand the spec over to init.
    Request,
    /// Learn which ids there are.
    Ids,
    /// Talk with init, or wait for it.
    Supervise,
    /// Enter the namespace of this kind that the spec names.
    Join(String),
    /// Attach the root file system.
    Root,
    /// Mount this kind of file system there.
    Mount {
        /// Its type, or `bind`.
        kind: String,
        /// The target, in the container.
        target: PathBuf,
    },
    /// Make this device node, or link, in /dev.
    Device(PathBuf),
    /// Hide this path.
    Mask(PathBuf),
    /// Make this path read-only.
    ReadOnly(PathBuf),
    /// Set the host or domain name.
    HostName(String),
    /// Bring the loopback interface up.
    Loopback,
    /// Change the root directory.
    Pivot,
    /// Open the terminal.
    Terminal,
    /// Start the command's process.
    Fork,
    /// Set this resource limit.
    Limit(String),
    /// Become this user.
    User(String),
    /// Set the capabilities.
    Capabilities,
    /// Enter the working directory.
    WorkingDirectory(PathBuf),
    /// Put descriptors, signals and session in order for the command.
    Prepare,
    /// Execute this program.
    Execute(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartInit => write!(f, "start the container's init"),
            Self::Request => write!(f, "hand the spec over to the container's init"),
            Self::Ids => write!(f, "learn which ids this user namespace has"),
            Self::Supervise => write!(f, "supervise the container's init"),
            Self::Join(kind) => write!(f, "enter the {kind} namespace"),
            Self::Root => write!(f, "attach the root file system"),
            Self::Mount { kind, target } => write!(f, "mount {kind} at {}", target.display()),
            Self::Device(path) => write!(f, "make {}", path.display()),
            Self::Mask(path) => write!(f, "mask {}", path.display()),
            Self::ReadOnly(path) => write!(f, "make {} read-only", path.display()),
            Self::HostName(name) => write!(f, "set the host name {name:?}"),
            Self::Loopback => write!(f, "bring the loopback interface up"),
            Self::Pivot => write!(f, "change the root directory"),
            Self::Terminal => write!(f, "open a terminal in the container"),
            Self::Fork => write!(f, "start the command's process"),
            Self::Limit(limit) => write!(f, "set the limit {limit}"),
            Self::User(user) => write!(f, "become user {user}"),
            Self::Capabilities => write!(f, "set the capabilities"),
            Self::WorkingDirectory(path) => write!(f, "enter the working directory {}", path.display()),
            Self::Prepare => write!(f, "prepare the command's process"),
            Self::Execute(program) => write!(f, "execute {program}"),
        }
    }
}

/// Why a step failed: a system call's error, which may have come from another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Cause {
    /// The call, what it was asked of, and the kernel's words.
    pub message: String,
    /// The error number; 0 where none is known.
    pub errno: i32,
}

impl Cause {
    /// A cause that is no system call's.
    pub(crate) fn of(message: impl Into<String>) -> Self {
        Self { message: message.into(), errno: 0 }
    }

    /// Whether the right to do it was missing (`EPERM`, `EACCES`).
    pub(crate) fn is_denied(&self) -> bool {
        [Errno::PERM, Errno::ACCESS].iter().any(|errno| errno.raw_os_error() == self.errno)
    }
}

impl From<SysError> for Cause {
    fn from(error: SysError) -> Self {
        Self { message: error.to_string(), errno: error.errno().raw_os_error() }
    }
}

impl From<MountError> for Cause {
    fn from(error: MountError) -> Self {
        Self { message: error.to_string(), errno: error.error().errno().raw_os_error() }
    }
}

impl From<std::io::Error> for Cause {
    fn from(error: std::io::Error) -> Self {
        Self { errno: error.raw_os_error().unwrap_or(0), message: error.to_string() }
    }
}

/// Names the step at which a call failed.
pub(crate) trait At<T> {
    /// The failure of `step`, unless it went well.
    fn at(self, step: impl FnOnce() -> Step) -> Result<T, RuntimeError>;
}

impl<T, E: Into<Cause>> At<T> for Result<T, E> {
    fn at(self, step: impl FnOnce() -> Step) -> Result<T, RuntimeError> {
        self.map_err(|error| RuntimeError::Setup { step: step(), cause: error.into() })
    }
}
