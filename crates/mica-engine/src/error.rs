//! The one shape in which an error reaches whoever asked.
//!
//! A room below says what went wrong; this says what kind of thing that is, and what to try. The kind decides the exit
//! status here, in one table, and later a status of any other protocol in another.

use std::fmt;

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// What was asked for makes no sense, or not in this form.
    Usage,
    /// There is no such image, container or file.
    NotFound,
    /// It is used, taken, or in a state in which this cannot be done.
    Conflict,
    /// What was read is broken: a digest, an archive, a record.
    Corrupt,
    /// It is not allowed, or needs a privilege.
    Denied,
    /// The disk is full.
    NoSpace,
    /// This machine or this version cannot.
    Unsupported,
    /// The user said no, or interrupted.
    Cancelled,
    /// The command is there and cannot be run.
    CannotInvoke,
    /// The command is not there.
    CommandNotFound,
    /// Anything else that a system call refused.
    System,
}

impl Kind {
    /// The exit status of a command that ends with an error of this kind (Docker's table).
    #[must_use]
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::CannotInvoke => 126,
            Self::CommandNotFound => 127,
            Self::Usage
            | Self::NotFound
            | Self::Conflict
            | Self::Corrupt
            | Self::Denied
            | Self::NoSpace
            | Self::Unsupported
            | Self::Cancelled
            | Self::System => 125,
        }
    }
}

/// What was attempted on what, why it could not be done, and what to try.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of what was asked for.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of its own, not caused by another.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// An error that `source` caused; `message` says what was attempted on what.
    #[must_use]
    pub fn because(
        kind: Kind,
        message: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self { kind, message: message.into(), hint: None, source: Some(Box::new(source)) }
    }

    /// An error of a room below as it is: its message, and its sources as the sources.
    pub(crate) fn caused(kind: Kind, error: impl std::error::Error + Send + Sync + 'static) -> Self {
        let mut parts = vec![error.to_string()];
        let mut cause = error.source();
        while let Some(error) = cause {
            // An error that is transparent to another says the same.
            let text = error.to_string();
            if parts.last() != Some(&text) {
                parts.push(text);
            }
            cause = error.source();
        }
        Self { kind, message: parts.join(": "), hint: None, source: None }
    }

    /// Adds what to try.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts what was attempted in front: `load "x.tar": …`.
    #[must_use]
    pub fn while_(mut self, attempt: impl fmt::Display) -> Self {
        self.message = format!("{attempt}: {}", self.message);
        self
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| -> &(dyn std::error::Error + 'static) { source })
    }
}
