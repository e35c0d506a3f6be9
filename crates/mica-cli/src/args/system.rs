//! The store itself.

use clap::Args;

/// Show what the store takes, adding up what each layer says of itself.
#[derive(Debug, Args)]
pub(crate) struct DfArgs {
    /// `table`, `json`, or a Go template.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

/// Remove what nobody needs: ended containers, images without a name, layers and blobs that nothing uses.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Also images that have a name and no container.
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) force: bool,
    /// No progress, and not what was removed.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Prove that the store is whole: every blob against its digest, every layer against its DiffID.
///
/// Exit status 0 when nothing is wrong.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Mend what can be: what is broken is set aside, so that loading it again heals.
    #[arg(long)]
    pub(crate) repair: bool,
    /// Only the findings.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Show where the store is, how layers are shown here, and why not otherwise.
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// `json`, or a Go template.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}
