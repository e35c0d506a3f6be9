//! The one definition of every command and flag: help, man pages and completions are made from it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod containers;
mod images;
mod system;
mod trying;
mod unshare;

pub(crate) use containers::{
    CommitArgs, CreateArgs, DiffArgs, ExportArgs, MountArgs, ProcessArgs, PsArgs, RmArgs, RunArgs, StartArgs,
    UmountArgs,
};
pub(crate) use images::{
    ArchiveForm, HistoryArgs, ImagesArgs, ImportArgs, InspectArgs, LayersArgs, LoadArgs, RmiArgs, SaveArgs, TagArgs,
};
pub(crate) use system::{CheckArgs, DfArgs, InfoArgs, PruneArgs};
pub(crate) use trying::{ApplyArgs, TryArgs};
pub(crate) use unshare::UnshareArgs;

/// Stacked file systems for containers: try changes on a copy-on-write view of this machine, run, commit and ship images.
///
/// An image is a stack of read-only layers. A container is that stack plus one thin writable layer. Nothing runs in the
/// background: every command works on the store by itself.
#[derive(Debug, Parser)]
#[command(
    name = "mica",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Exit status: the command's own for `run`, `start -a` and `try`; 125 when mica could not do it, 126 when the \
                  command cannot be invoked, 127 when it is not found, 128+N when signal N ended it."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the store is.
#[derive(Debug, Clone, Args)]
pub(crate) struct GlobalArgs {
    /// Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is
    /// ~/.local/share/mica where that is not set.
    #[arg(long, global = true, value_name = "DIR", env = "MICA_ROOT", help_heading = "Store")]
    pub(crate) root: Option<PathBuf>,
    /// Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the
    /// store where that is not set.
    #[arg(long, global = true, value_name = "DIR", env = "MICA_RUN_ROOT", help_heading = "Store")]
    pub(crate) run_root: Option<PathBuf>,
}

/// What mica can be asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Try(TryArgs),
    Apply(ApplyArgs),
    Run(RunArgs),
    Create(CreateArgs),
    Start(StartArgs),
    Ps(PsArgs),
    Rm(RmArgs),
    Diff(DiffArgs),
    Commit(CommitArgs),
    Export(ExportArgs),
    Mount(MountArgs),
    Umount(UmountArgs),
    Unshare(UnshareArgs),
    Images(ImagesArgs),
    Load(LoadArgs),
    Save(SaveArgs),
    Import(ImportArgs),
    Tag(TagArgs),
    Rmi(RmiArgs),
    History(HistoryArgs),
    Inspect(InspectArgs),
    Layers(LayersArgs),
    /// Commands on images, by Docker's longer names.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Commands on containers, by Docker's longer names.
    #[command(subcommand)]
    Container(ContainerCommand),
    /// The store itself: what it takes, whether it is whole, what may go.
    #[command(subcommand)]
    System(SystemCommand),
    /// Print a completion script.
    ///
    /// For bash: `mica completion bash > /etc/bash_completion.d/mica`
    Completion {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Delete what was removed.
    #[command(name = "__reap", hide = true)]
    Reap,
    /// Write man pages and completions into a directory.
    #[command(name = "__generate", hide = true)]
    Generate {
        /// Where to.
        directory: PathBuf,
    },
}

/// `mica image …`
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    #[command(alias = "list")]
    Ls(ImagesArgs),
    Load(LoadArgs),
    Save(SaveArgs),
    Import(ImportArgs),
    Tag(TagArgs),
    Rm(RmiArgs),
    History(HistoryArgs),
    Inspect(InspectArgs),
}

/// `mica container …`
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    Run(RunArgs),
    Create(CreateArgs),
    Start(StartArgs),
    #[command(alias = "list")]
    Ls(PsArgs),
    Rm(RmArgs),
    Diff(DiffArgs),
    Commit(CommitArgs),
    Export(ExportArgs),
    Inspect(InspectArgs),
}

/// `mica system …`
#[derive(Debug, Subcommand)]
pub(crate) enum SystemCommand {
    Df(DfArgs),
    Prune(PruneArgs),
    Check(CheckArgs),
    Info(InfoArgs),
}

/// How listings are printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListingArgs {
    /// Print IDs only.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Do not shorten IDs and long texts.
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// `table`, `json` (an object a line), or a Go template such as '{{.ID}}'; `table TEMPLATE` adds headers.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

/// How much an image may ask of the machine.
#[derive(Debug, Clone, Args)]
pub(crate) struct LimitArgs {
    /// Raise or lower a limit on what is taken in: bytes that a layer has written (`content`, 1T), its `entries` (4000000)
    /// and the `depth` (1000) of its paths; bytes of an entry's extended headers (`header`, 8M) and extended attributes
    /// (`xattrs`, 1M), of a layer's names and attributes (`metadata`, 1G), of the `window` of zstd (32M), and of a manifest,
    /// an index or a config (`json`, 4M). May be given several times.
    #[arg(long = "limit", value_name = "NAME=NUMBER", env = "MICA_LIMITS", value_delimiter = ',')]
    pub(crate) limits: Vec<String>,
}

impl Command {
    /// The limits that a command was given, where it takes any.
    pub(crate) fn limits(&self) -> &[String] {
        match self {
            Self::Load(LoadArgs { limits, .. })
            | Self::Image(
                ImageCommand::Load(LoadArgs { limits, .. }) | ImageCommand::Import(ImportArgs { limits, .. }),
            )
            | Self::Import(ImportArgs { limits, .. })
            | Self::Commit(CommitArgs { limits, .. })
            | Self::Container(ContainerCommand::Commit(CommitArgs { limits, .. })) => &limits.limits,
            _ => &[],
        }
    }
}

/// How a container reaches a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkArg {
    /// Only loopback.
    None,
    /// This machine's network, as it is.
    Host,
}
