//! `try` and `apply`: a view of this machine, and what to do with its changes.

use std::path::PathBuf;

use clap::Args;

use super::NetworkArg;

/// Run a command on a copy-on-write view of this machine's files.
///
/// The command sees `/` and every file system mounted below it, and may change all of it; what it changes goes into an
/// empty layer, is listed when it ends, and is dropped, unless --keep gives it a name. No file of this machine is touched.
///
/// What stays real: the network, what --share names, and whatever a program does through a service that runs outside the
/// view. /run and mica's own store are masked, and of devices there are only a terminal, null, zero, full and random ones;
/// name resolution keeps working.
///
/// As an ordinary user the command runs as root of a user namespace: it changes what is the user's, and files of other
/// users are shown and cannot be changed. It says which files are shown read-only because something is mounted beside them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  mica try -- apt-get install -y nginx\n  mica try --keep wild -- make install\n  \
                        mica diff wild        what it changed\n  mica apply wild       do it for real, after a question\n  \
                        mica rm wild          forget it")]
pub(crate) struct TryArgs {
    /// Keep the changes under this name.
    #[arg(long, value_name = "NAME")]
    pub(crate) keep: Option<String>,
    /// Let the command change this file or directory for real. May be given several times.
    #[arg(long, value_name = "PATH")]
    pub(crate) share: Vec<PathBuf>,
    /// The network the command has.
    #[arg(long, value_enum, default_value_t = NetworkArg::Host)]
    pub(crate) network: NetworkArg,
    /// Do not list the changes, and do not say what stays real.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// Bring the changes that `try --keep NAME` left onto this machine.
///
/// Lists them, says which of these files changed on the machine since, and asks before anything is touched.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The name that --keep was given.
    pub(crate) name: String,
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
}
