//! What the caller and the container's init say to each other.
//!
//! The [`Request`] is a file that init reads at its start. After that: [`Message`]s from init and from the command's process, one JSON
//! object a packet; and signals to init, two bytes a packet. The caller believes nothing but the form of what it gets: the
//! container might have taken init over.

use std::os::fd::{AsFd, OwnedFd};

use mica_sys::process::{CaughtSignal, Control, Ended, Signal, WindowSize};
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::error::{At, Cause, RuntimeError, Step};

/// The longest text of a failure that is sent; a packet holds [`Control::MAX`].
const LONGEST_TEXT: usize = 2048;

/// The terminal a container is to have.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Terminal {
    /// Lines; 0 where the caller has no terminal itself.
    pub(crate) rows: u16,
    /// Characters in a line; 0 likewise.
    pub(crate) columns: u16,
}

impl Terminal {
    pub(crate) fn size(self) -> WindowSize {
        WindowSize { rows: self.rows, columns: self.columns }
    }
}

/// What init is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) spec: Spec,
    /// A terminal of the container's own, instead of the caller's descriptors.
    pub(crate) terminal: Option<Terminal>,
    /// Where each of the further mounts goes; bytes, since a host's mount points need not be UTF-8.
    pub(crate) extra_targets: Vec<Vec<u8>>,
    /// Whether supplementary groups can be set where the caller is.
    pub(crate) set_groups: bool,
}

/// What the caller is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Message {
    /// The terminal's master comes with this packet.
    Terminal,
    /// The command was not run.
    Failed(Failure),
    /// The command ended.
    Ended(End),
}

/// How the command ended.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    Code(u8),
    Signal(i32),
}

impl From<Ended> for End {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Code(code) => Self::Code(code),
            Ended::Signal(signal) => Self::Signal(signal),
        }
    }
}

/// A [`RuntimeError`] on its way between processes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    Setup { step: Step, cause: Cause },
    Unsupported { what: String },
    NotFound { program: String, reason: String },
    NotExecutable { program: String, reason: String },
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Setup { step, cause } => {
                Self::Setup { step, cause: Cause { message: cut(cause.message), errno: cause.errno } }
            }
            RuntimeError::Unsupported { what } => Self::Unsupported { what: cut(what) },
            RuntimeError::NotFound { program, reason } => Self::NotFound { program: cut(program), reason: cut(reason) },
            RuntimeError::NotExecutable { program, reason } => {
                Self::NotExecutable { program: cut(program), reason: cut(reason) }
            }
            other @ (RuntimeError::Spec { .. } | RuntimeError::NotMapped { .. } | RuntimeError::Protocol(_)) => {
                Self::Setup { step: Step::Request, cause: Cause::of(cut(other.to_string())) }
            }
        }
    }
}

impl From<Failure> for RuntimeError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Setup { step, cause } => Self::Setup { step, cause },
            Failure::Unsupported { what } => Self::Unsupported { what },
            Failure::NotFound { program, reason } => Self::NotFound { program, reason },
            Failure::NotExecutable { program, reason } => Self::NotExecutable { program, reason },
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        text.truncate((0..=LONGEST_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
        text.push('…');
    }
    text
}

/// Tells the caller.
pub(crate) fn tell(control: &Control, message: &Message, fd: Option<&OwnedFd>) -> Result<(), RuntimeError> {
    let bytes = serde_json::to_vec(message).map_err(RuntimeError::Protocol)?;
    control.send(&bytes, fd.map(AsFd::as_fd)).at(|| Step::Supervise)
}

/// The packet that has init pass a signal on.
pub(crate) fn signal_packet(caught: CaughtSignal) -> [u8; 2] {
    [u8::try_from(caught.signal.as_raw()).unwrap_or(0), u8::from(caught.from_terminal)]
}

/// What [`signal_packet`] packed; `None` for anything else.
pub(crate) fn parse_signal_packet(bytes: &[u8]) -> Option<CaughtSignal> {
    match bytes {
        [number, from_terminal] => Signal::from_raw(i32::from(*number))
            .map(|signal| CaughtSignal { signal, from_terminal: *from_terminal != 0 }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_failure_fits_a_packet() {
        let long = "ä\u{1}".repeat(40_000);
        let error = RuntimeError::NotFound { program: long.clone(), reason: long };
        let bytes = serde_json::to_vec(&Message::Failed(error.into())).unwrap();
        assert!(bytes.len() <= Control::MAX, "{}", bytes.len());
    }

    #[test]
    fn a_failure_arrives_as_it_left() {
        let step = Step::Mount { kind: "proc".into(), target: "/proc".into() };
        let error = RuntimeError::Setup { step, cause: Cause { message: "fsopen \"proc\": no".into(), errno: 1 } };
        let text = error.to_string();
        let bytes = serde_json::to_vec(&Failure::from(error)).unwrap();
        let back = RuntimeError::from(serde_json::from_slice::<Failure>(&bytes).unwrap());
        assert_eq!(text, "cannot mount proc at /proc");
        assert_eq!(back.to_string(), text);
        assert!(matches!(back, RuntimeError::Setup { cause: Cause { errno: 1, .. }, .. }));
    }

    #[test]
    fn signals_pass_unchanged_and_nothing_else_is_one() {
        let caught = CaughtSignal { signal: Signal::TERM, from_terminal: true };
        assert_eq!(parse_signal_packet(&signal_packet(caught)), Some(caught));
        for other in [&b""[..], &[15], &[0, 0], &[65, 0], &[15, 0, 0]] {
            assert_eq!(parse_signal_packet(other), None, "{other:?}");
        }
    }
}
