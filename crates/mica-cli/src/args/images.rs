//! Images: brought in, named, looked at, sent out, removed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{LimitArgs, ListingArgs};

/// List images.
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    #[command(flatten)]
    pub(crate) listing: ListingArgs,
    /// Show manifest digests.
    #[arg(long)]
    pub(crate) digests: bool,
    /// Only images of this name, with or without a tag.
    pub(crate) reference: Option<String>,
}

/// Bring in the images of an archive or of an OCI layout: `docker save`'s, `podman save`'s, `skopeo`'s, `umoci`'s, `ctr`'s.
///
/// What kind it is, and whether it is compressed, is seen from its content. Prints a line for each image. An image without a
/// name in the archive is found by its ID.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mica load -i debian.tar\n  docker save debian | mica load\n  mica load -i ./layout --platform linux/arm64"
)]
pub(crate) struct LoadArgs {
    /// Read this archive, or this directory with an OCI layout, instead of standard input.
    #[arg(short, long, value_name = "FILE|DIR|-")]
    pub(crate) input: Option<PathBuf>,
    /// Of an image for several platforms, take the one for this; otherwise the one for this machine is taken.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
    /// Of an image for several platforms, take all that are there, and what stands beside them.
    #[arg(long, conflicts_with = "platform")]
    pub(crate) all_platforms: bool,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// Print the IDs only, and no progress.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// The form in which images are saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArchiveForm {
    /// What docker, podman and skopeo load: a config and plain layers; no manifest, and one platform for a name.
    DockerArchive,
    /// The OCI image layout in a tar: keeps manifests, indexes and digests.
    OciArchive,
    /// The OCI image layout in a directory: a new one, or one that is added to.
    OciDir,
}

/// Write images into an archive or a directory for other tools.
///
/// The OCI forms hold the manifest and the compressed layers byte for byte as they were loaded, where the store kept them; and for
/// a name of several platforms the index, with those that are in the store. Whatever cannot be kept is said.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mica save -o mysite.tar mysite:1\n  mica save --format oci-archive mysite:1 | ssh host podman load\n  mica save --format oci-dir -o ./layout mysite:1"
)]
pub(crate) struct SaveArgs {
    /// Write to this file, or directory, instead of standard output.
    #[arg(short, long, value_name = "FILE|DIR|-")]
    pub(crate) output: Option<PathBuf>,
    /// The form.
    #[arg(long, value_enum, default_value_t = ArchiveForm::DockerArchive)]
    pub(crate) format: ArchiveForm,
    /// Of an image for several platforms, write only the one for this, without the index.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
    /// No progress.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// References, IDs or their beginnings.
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
}

/// Make an image of one layer from a tar or a directory, and print its ID.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mmdebstrap --variant=minbase bookworm - | mica import - debian:12\n  mica import -c 'CMD [\"/bin/sh\"]' ./rootfs tiny"
)]
pub(crate) struct ImportArgs {
    /// Change the image's config by a Dockerfile instruction. May be given several times.
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// What the image is, for its history.
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// What the image is for; this machine's platform unless given.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// No progress.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// A tar, compressed or not, a directory, or - for standard input.
    pub(crate) source: PathBuf,
    /// The image's name.
    pub(crate) reference: Option<String>,
}

/// Give an image one more name.
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// A reference, an ID or its beginning.
    pub(crate) image: String,
    /// The new name.
    pub(crate) reference: String,
}

/// Remove names, and images that have none left.
///
/// Layers that no other image and no container uses go with them.
#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// By ID, also an image that has several names.
    #[arg(short, long)]
    pub(crate) force: bool,
    /// References, IDs or their beginnings.
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
}

/// Show how an image was made, newest step first.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    pub(crate) listing: ListingArgs,
    /// A reference, an ID or its beginning.
    pub(crate) image: String,
}

/// Show all that is known of images and containers, as JSON.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A Go template such as '{{.Id}}', or `json`.
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Look for this only.
    #[arg(long = "type", value_name = "KIND", value_parser = ["image", "container"])]
    pub(crate) kind: Option<String>,
    /// Names, references, IDs or their beginnings.
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

/// List layers: DiffID, size, entries, and who uses each.
#[derive(Debug, Args)]
pub(crate) struct LayersArgs {
    #[command(flatten)]
    pub(crate) listing: ListingArgs,
    /// Only this image's, topmost first.
    pub(crate) image: Option<String>,
}
