//! `unshare`: the command takes this one's place in the namespace that it stands in.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

use anyhow::Result;
use mica_engine::{Error, Kind, Standing};

use crate::args::UnshareArgs;

/// What is run where neither a command nor `$SHELL` is named.
const SHELL: &str = "/bin/sh";

/// Runs the command in this process. Returns only when that is refused, or of no use.
pub(super) fn run(standing: &Standing, args: &UnshareArgs) -> Result<std::process::ExitCode> {
    if standing.is_root() {
        return Err(Error::new(Kind::Usage, "root of this machine needs no user namespace: what mica mounts stays")
            .hinted("run the command as it is; `unshare -m` makes a mount namespace")
            .into());
    }
    let shell = || std::env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| SHELL.into());
    let (program, rest) = match args.command.split_first() {
        Some((program, rest)) => (program.clone(), rest),
        None => (shell(), &[] as &[OsString]),
    };
    let error = std::process::Command::new(&program).args(rest).exec();
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => Kind::CommandNotFound,
        _ => Kind::CannotInvoke,
    };
    Err(Error::because(kind, format!("run {program:?} in a user namespace"), error).into())
}
