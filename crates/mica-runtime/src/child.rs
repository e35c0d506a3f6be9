//! The re-executed process: process 1 of the container, single-threaded.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use mica_sys::SysError;
use mica_sys::process::{
    Control, FIRST_FD, Fork, Pid, Pty, Signal, SignalFd, exit_now, fork, join_new_session_keyring, new_session,
    redirect, set_dumpable, set_parent_death_signal, set_umask, take_inherited,
};

use crate::error::{At, RuntimeError, Step};
use crate::wire::{Message, Request, tell};
use crate::{command, init, rootfs};

/// The name under which the caller's binary is executed as a container's init; its only argument.
pub const CHILD_ARG: &CStr = c"mica-init";

/// What init ends with when no command was run; nobody but a test reads it, the caller is told by [`Message::Failed`].
const NOT_RUN: u8 = 125;

/// Whether this process was executed to be a container's init. To be asked by `main` before anything else is done: no thread
/// may be started and no file opened before [`child_main`].
#[must_use]
pub fn is_child() -> bool {
    let mut args = std::env::args_os();
    args.next().is_some_and(|name| name.as_encoded_bytes() == CHILD_ARG.to_bytes()) && args.next().is_none()
}

/// Is a container's init, from the first mount to the last orphan; `main` ends with what this returns.
#[must_use]
pub fn child_main() -> ExitCode {
    let Ok((control, files)) = inherit() else {
        // Not started by us: there is nobody to tell.
        return ExitCode::from(NOT_RUN);
    };
    let ended = prepare(files, &control).and_then(|started| init::supervise(&control, &started));
    let (message, code) = match ended {
        Ok(ended) => (Message::Ended(ended.into()), 0),
        Err(error) => (Message::Failed(error.into()), NOT_RUN),
    };
    match tell(&control, &message, None) {
        Ok(()) => ExitCode::from(code),
        Err(_) => ExitCode::from(NOT_RUN),
    }
}

struct Files {
    request: File,
    root: OwnedFd,
}

fn inherit() -> Result<(Control, Files), SysError> {
    let mut fds = take_inherited(FIRST_FD, 3)?.into_iter();
    // From here on the end of the caller is the end of the container.
    set_parent_death_signal(Signal::KILL)?;
    match (fds.next(), fds.next(), fds.next()) {
        (Some(control), Some(request), Some(root)) => {
            Ok((Control::from(control), Files { request: File::from(request), root }))
        }
        _ => Err(SysError::new("fcntl", "inherited descriptors", mica_sys::Errno::BADF)),
    }
}

/// A command that runs, and what init needs to look after it.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) command: Pid,
    pub(crate) signals: SignalFd,
}

fn prepare(mut files: Files, control: &Control) -> Result<Started, RuntimeError> {
    let mut bytes = Vec::new();
    files.request.read_to_end(&mut bytes).at(|| Step::Request)?;
    let request: Request = serde_json::from_slice(&bytes).map_err(std::io::Error::from).at(|| Step::Request)?;
    let extras = take_inherited(FIRST_FD + 3, request.extra_targets.len()).at(|| Step::Request)?;
    let null = rootfs::host_null()?;
    // /proc/1/exe, fd and mem are closed to the container's processes.
    set_dumpable(false).at(|| Step::Prepare)?;
    // The caller's terminal and its ^C are the caller's.
    new_session().at(|| Step::Prepare)?;
    leave_keyring()?;
    // Modes below are meant as they are.
    set_umask(0);
    let terminal = rootfs::enter(&request, files.root, extras)?;
    let slave = match terminal {
        None => None,
        Some(Pty { master, slave }) => {
            tell(control, &Message::Terminal, Some(&master))?;
            Some(slave)
        }
    };
    let signals = SignalFd::open().at(|| Step::Prepare)?;
    match fork().at(|| Step::Fork)? {
        Fork::Parent(command) => {
            for stdio in 0..=2 {
                redirect(&null, stdio).at(|| Step::Prepare)?;
            }
            init::lower_rights()?;
            Ok(Started { command, signals })
        }
        Fork::Child => {
            let error = command::become_it(&request, slave);
            let code = error.code();
            match tell(control, &Message::Failed(error.into()), None) {
                // ignored: the caller is gone, and with it soon this process.
                Ok(()) | Err(_) => exit_now(code),
            }
        }
    }
}

/// Leaves the caller's keys behind where the kernel has keyrings and grants one.
fn leave_keyring() -> Result<(), RuntimeError> {
    use mica_sys::Errno;
    match join_new_session_keyring() {
        Err(error) if matches!(error.errno(), Errno::NOSYS | Errno::PERM | Errno::DQUOT) => Ok(()),
        done => done.at(|| Step::Prepare),
    }
}
