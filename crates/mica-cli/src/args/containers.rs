//! Containers: made, started, looked at, committed, removed.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::{LimitArgs, ListingArgs, NetworkArg};

/// What a container runs, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProcessArgs {
    /// Give the container a name; without it, two words are chosen.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Set a variable; NAME alone passes this shell's value on.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Where the command starts.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// As whom it runs: names or numbers.
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// The container's host name.
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Run this before the command instead of the image's; empty for none.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) entrypoint: Option<String>,
    /// The network it has.
    #[arg(long, value_enum, default_value_t = NetworkArg::None)]
    pub(crate) network: NetworkArg,
    /// Keep standard input open. (It always is: kept for scripts written for docker.)
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give it a terminal.
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Mount the image's own tree read-only.
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Remove it when it ends.
    #[arg(long)]
    pub(crate) rm: bool,
    /// How its tree is shown, now and later: by the kernel's overlayfs, by our union in user space, or as a copy. Without it, the first that works
    /// where the store is; `mica system info` tells.
    #[arg(long, value_name = "NAME", env = "MICA_DRIVER", value_parser = PossibleValuesParser::new(mica_engine::DRIVERS))]
    pub(crate) driver: Option<String>,
    /// A reference, an image ID or its beginning, or dir:PATH for a live directory.
    pub(crate) image: String,
    /// The command and its arguments instead of the image's.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// Run a command in a new container.
///
/// Standard input, output and error are this shell's; the exit status is the command's.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  mica run --rm -it debian bash\n  tar c . | mica run --rm debian tar t\n  \
                        mica run dir:/srv/tree ls /")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

/// Make a container without starting it, and print its ID.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

/// Start a container that was created or has ended.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Stay with it: its output is this shell's, and so is its exit status.
    #[arg(short, long, required = true)]
    pub(crate) attach: bool,
    /// Also pass standard input on.
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Its name, or its ID or the beginning of it.
    pub(crate) container: String,
}

/// List containers.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Also those that do not run.
    #[arg(short, long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) listing: ListingArgs,
}

/// Remove containers with their writable layers.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Also a running one: it is killed first.
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Names, IDs or their beginnings.
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

/// List what a container, or a kept try, changed: A added, C changed, D deleted.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// `json` for an object a line, or a Go template over .Kind and .Path.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// A container's name or ID, or what `try --keep` was given.
    pub(crate) container: String,
}

/// Make an image of a container's changes, and print its ID.
///
/// The new layer goes on top of the container's image, whose layers stay as they are.
#[derive(Debug, Args)]
#[command(
    after_help = "Changes that --change takes: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, \
                        USER, VOLUME, WORKDIR.\n\nExample:\n  mica commit -c 'CMD [\"nginx\"]' -c 'ENV LANG=C.UTF-8' -m 'with nginx' web mysite:1"
)]
pub(crate) struct CommitArgs {
    /// What the image is, for its history.
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Who made it.
    #[arg(short, long, value_name = "NAME <MAIL>")]
    pub(crate) author: Option<String>,
    /// Change the image's config by a Dockerfile instruction. May be given several times.
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// Print nothing on standard error.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// A container's name or ID.
    pub(crate) container: String,
    /// The new image's name.
    pub(crate) reference: Option<String>,
}

/// Write a container's whole tree as a tar.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Write to this file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// A container's name or ID.
    pub(crate) container: String,
}

/// Mount a container's tree and print where; without a container, list what is mounted.
#[derive(Debug, Args)]
pub(crate) struct MountArgs {
    /// A container's name or ID.
    pub(crate) container: Option<String>,
}

/// Unmount what `mica mount` mounted.
#[derive(Debug, Args)]
pub(crate) struct UmountArgs {
    /// A container's name or ID.
    pub(crate) container: String,
}
