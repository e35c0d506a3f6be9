//! How a failure reaches whoever called: one line with what is wrong, one with what to try, and an exit status that mount(8) knows.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use mica_sys::fuse::HelperError;
use mica_sys::mount::{MountError, MountInfoError};
use mica_union::UnionError;

use crate::options::OptionError;
use crate::places::PlaceError;

/// Why there is no mount.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// An option is wrong.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A directory is wrong.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The union is not mounted.
    #[error(transparent)]
    Union(#[from] UnionError),
    /// The server cannot be put into the background, or be listened to.
    #[error("cannot start a server process")]
    Start(#[source] mica_sys::SysError),
    /// There is no FUSE to be had.
    #[error("cannot open the device of FUSE")]
    Device(#[source] mica_sys::SysError),
    /// The kernel makes no mount.
    #[error("cannot mount")]
    Kernel(#[source] MountError),
    /// fusermount3 makes none.
    #[error("cannot mount without privilege")]
    Helper(#[from] HelperError),
    /// The mount cannot be put to its place.
    #[error("cannot put the mount to its place")]
    Attach(#[source] mica_sys::SysError),
    /// The mount stays as it is.
    #[error("cannot change the mount")]
    Change(#[source] mica_sys::SysError),
    /// Only root can keep others than root out.
    #[error("option `allow_root`: without privilege a mount is its owner's alone, or everybody's")]
    AllowRoot,
    /// There is nothing to change.
    #[error("no union of ours is mounted at {0:?}")]
    NotOurs(PathBuf),
    /// The table of mounts cannot be read.
    #[error("cannot read the table of mounts")]
    Table(#[source] MountInfoError),
    /// Man pages cannot be written.
    #[error("cannot write man pages and completions")]
    Generate(#[source] std::io::Error),
}

/// The words on the command line, an option or a directory are wrong (mount(8), EXIT STATUS).
const USAGE: u8 = 1;

/// The mount failed (mount(8), EXIT STATUS).
const NOT_MOUNTED: u8 = 32;

impl Failure {
    /// What to try.
    fn hint(&self) -> Option<String> {
        match self {
            Self::Option(error) => error.hint(),
            Self::Place(error) => error.hint(),
            Self::Union(error) => error.hint().map(str::to_owned),
            Self::AllowRoot => Some("say `allow_other`, or neither".to_owned()),
            Self::Helper(HelperError::Start(_)) => {
                Some("install fuse3, or mount as root or in a user namespace: `unshare -rm`".to_owned())
            }
            Self::Device(error) if error.is_denied() => Some("/dev/fuse has to be open to you: mode 0666".to_owned()),
            Self::Device(_) => Some(
                "a container has to be given it: `--device /dev/fuse`; elsewhere the module is not loaded: `modprobe fuse`"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    const fn status(&self) -> u8 {
        match self {
            Self::Place(PlaceError::Table(_)) => NOT_MOUNTED,
            Self::Option(_) | Self::Place(_) | Self::AllowRoot | Self::NotOurs(_) => USAGE,
            _ => NOT_MOUNTED,
        }
    }

    /// What is to be said, without our name.
    fn text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let more = error.to_string();
            // Some errors repeat their source.
            if !text.ends_with(&more) {
                // ignored: writing to a string cannot fail.
                match write!(text, ": {more}") {
                    Ok(()) | Err(_) => {}
                }
            }
            cause = error.source();
        }
        match self.hint() {
            Some(hint) => format!("{text}\nhint: {hint}"),
            None => text,
        }
    }

    /// Says it on standard error.
    pub(crate) fn report(&self) -> ExitCode {
        say(&format!("mica-fuse: {}", self.text()));
        ExitCode::from(self.status())
    }
}

/// Says what is wrong with the words on the command line, or prints the help that was asked for.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        let text = error.render().to_string();
        say(&format!("mica-fuse: {}", text.strip_prefix("error: ").unwrap_or(&text).trim_end()));
        return ExitCode::from(USAGE);
    }
    match error.print() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(USAGE),
    }
}

/// Lines on standard error; bytes of a path do not steer a terminal.
pub(crate) fn say(text: &str) {
    let plain: String = text
        .chars()
        .flat_map(|char| {
            let steers = char.is_control() && char != '\n';
            let (escaped, plain) = if steers { (Some(char.escape_default()), None) } else { (None, Some(char)) };
            escaped.into_iter().flatten().chain(plain)
        })
        .collect();
    // ignored: there is nowhere left to say that standard error is gone.
    match writeln!(std::io::stderr().lock(), "{plain}") {
        Ok(()) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_a_line_and_a_hint_and_has_a_status_that_mount_knows() {
        let failure = Failure::from(PlaceError::NoLower);
        assert_eq!(failure.text(), "no lower directory is given\nhint: say -o lowerdir=DIR[:DIR...]");
        assert_eq!(failure.status(), USAGE);
        let cause = mica_sys::SysError::new("open", "/a", mica_sys::Errno::ACCESS);
        let failure = Failure::Start(cause);
        assert_eq!(failure.text(), "cannot start a server process: open \"/a\": Permission denied (os error 13)");
        assert_eq!(failure.status(), NOT_MOUNTED);
    }
}
