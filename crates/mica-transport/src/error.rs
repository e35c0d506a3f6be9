//! What can be wrong with an image on its way.

use std::io;
use std::path::PathBuf;

use mica_core::{BlobDigest, DigestError};
use mica_layer::CompressionError;

use crate::ReferenceError;

/// Why an image could not be read or written. Texts from an archive are quoted; the cause, if any, is the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The file, the directory or the output answered with an error.
    #[error("cannot {doing}")]
    Io {
        /// What was attempted, on what: "read layer 2 of 5".
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The input holds something else than an image.
    #[error("not an image archive: it looks like {looks_like}")]
    NotAnArchive {
        /// What the first bytes, or the entries of the tar, look like.
        looks_like: LooksLike,
    },
    /// The whole archive is compressed and so cannot be read in place.
    #[error("archive is {form}; it must be spooled before it is opened")]
    Compressed {
        /// The outer compression.
        form: &'static str,
    },
    /// The archive ends before its end marker.
    #[error("archive is truncated: {file_size} bytes are there, {what}")]
    Truncated {
        /// Bytes of the file.
        file_size: u64,
        /// What is cut off.
        what: String,
    },
    /// The archive's own tar is malformed.
    #[error("archive cannot be read")]
    BadTar {
        /// Which entry, and what is wrong with it.
        source: mica_layer::LayerError,
    },
    /// The archive has more entries than an image archive can need.
    #[error("archive has more than {max} entries")]
    TooManyEntries {
        /// The limit.
        max: u64,
    },
    /// A file that decides what the archive means stands in it twice.
    #[error("archive holds {name:?} twice")]
    DuplicateEntry {
        /// The entry's name.
        name: String,
    },
    /// Links inside the archive lead in a circle.
    #[error("archive: links from {name:?} lead nowhere")]
    LinkLoop {
        /// The entry at which the chain of links begins.
        name: String,
    },
    /// There are no images in an archive that is otherwise well formed.
    #[error("archive holds no image")]
    NoImages,
    /// There are only things in it that are not images.
    #[error("archive holds no image, only {}", .media_types.join(", "))]
    OnlyArtifacts {
        /// The media types of what is there.
        media_types: Vec<String>,
    },
    /// A layout of a version that is not known.
    #[error("OCI layout version {version:?} is not supported, only 1.x is")]
    LayoutVersion {
        /// The version that `oci-layout` names.
        version: String,
    },
    /// Something refers to a file that is not there.
    #[error("{what} is missing: there is no {name:?}")]
    MissingBlob {
        /// What it is: "layer 2 of 5".
        what: String,
        /// The name it should have.
        name: String,
    },
    /// Bytes do not have the digest by which they are called.
    #[error("{what} is corrupt: its digest is {found}, not {expected}")]
    WrongDigest {
        /// What was read.
        what: String,
        /// The digest that it is called by.
        expected: BlobDigest,
        /// The digest of the bytes.
        found: BlobDigest,
    },
    /// Bytes are more or fewer than was said.
    #[error("{what} is corrupt: it has {found} bytes, not {expected}")]
    WrongSize {
        /// What was read.
        what: String,
        /// Bytes there should be.
        expected: u64,
        /// Bytes there are; where there are too many, those read so far.
        found: u64,
    },
    /// A metadata file is longer than the limit.
    #[error("{what} has {size} bytes, the limit is {max}")]
    TooLarge {
        /// What was to be read.
        what: String,
        /// Its bytes.
        size: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// A metadata file is not the JSON it should be.
    #[error("{what} cannot be understood")]
    BadJson {
        /// What was read.
        what: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A document claims to be two things at once, which readers could understand differently (CVE-2021-41190).
    #[error("{what} is ambiguous: {why}")]
    Ambiguous {
        /// What was read.
        what: String,
        /// The two claims.
        why: String,
    },
    /// A digest in a metadata file cannot be used.
    #[error("{what}")]
    BadDigest {
        /// What the digest should name.
        what: String,
        /// Why it cannot be used.
        source: DigestError,
    },
    /// A name in a metadata file is not a reference.
    #[error("archive names an image {name:?}")]
    BadName {
        /// The name as it stands there.
        name: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// A layer of a kind that cannot be unpacked.
    #[error("{what} has the unsupported media type {media_type:?}")]
    UnsupportedLayer {
        /// Which layer.
        what: String,
        /// Its media type.
        media_type: String,
    },
    /// A layer that only a key would open.
    #[error("{what} is encrypted ({media_type:?}); decrypt the image first")]
    EncryptedLayer {
        /// Which layer.
        what: String,
        /// Its media type.
        media_type: String,
    },
    /// A layer that archives leave out because its publisher hands it out himself.
    #[error("{what} is not in the archive: its publisher gives it out only at {}", .urls.join(", "))]
    ForeignLayer {
        /// Which layer.
        what: String,
        /// Where it can be had, as the manifest says.
        urls: Vec<String>,
    },
    /// In a Docker archive of the oldest kind an image is its own ancestor.
    #[error("archive: the parents of image {id:?} lead in a circle")]
    ParentLoop {
        /// The image that comes twice.
        id: String,
    },
    /// The config and the manifest disagree.
    #[error("image {image}: its config lists {diff_ids} layers, its manifest {layers}")]
    LayerCount {
        /// The image ID.
        image: String,
        /// DiffIDs in the config.
        diff_ids: usize,
        /// Layers in the manifest.
        layers: usize,
    },
    /// No image for the wanted platform.
    #[error("image is not there for platform {wanted}; it is for {}", .available.join(", "))]
    NoPlatform {
        /// The platform that was asked for.
        wanted: String,
        /// Those that are listed.
        available: Vec<String>,
    },
    /// Indexes inside indexes inside indexes.
    #[error("index {digest} is nested deeper than {max}")]
    TooDeep {
        /// The index that was not opened.
        digest: BlobDigest,
        /// The limit.
        max: usize,
    },
    /// A Docker archive is asked to hold a layer that is not a plain tar.
    #[error("layer {digest} has media type {media_type:?}; a docker archive takes plain tars")]
    NotPlain {
        /// The layer's digest.
        digest: BlobDigest,
        /// Its media type.
        media_type: String,
    },
    /// A Docker archive is asked to hold something else than an image.
    #[error("{digest} is an artifact, and a docker archive holds images only")]
    NoArtifacts {
        /// The digest of its manifest.
        digest: BlobDigest,
    },
    /// A directory that a layout is to be written to holds something else.
    #[error("{path:?} cannot take an OCI layout: {why}")]
    NotALayout {
        /// The directory.
        path: PathBuf,
        /// What stands against it.
        why: &'static str,
    },
    /// An image was written before one of its layers.
    #[error("image {image} refers to layer {digest}, which was not written")]
    LayerNotWritten {
        /// The image ID.
        image: String,
        /// The layer's digest.
        digest: BlobDigest,
    },
    /// A manifest was put for an image with another config or other layers.
    #[error("{what} describes other layers or another config than image {image} was put with")]
    Mismatch {
        /// The manifest.
        what: String,
        /// The image ID.
        image: String,
    },
    /// Something was put into an archive after its end.
    #[error("archive is finished")]
    Finished,
    /// A layer could not be compressed or decompressed.
    #[error("{what}")]
    Layer {
        /// Which layer, or the archive itself.
        what: String,
        /// What is wrong with it.
        source: mica_layer::LayerError,
    },
}

/// What an input that is no image archive looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LooksLike {
    /// No bytes at all.
    Empty,
    /// A tar of a whole root file system, which `mica import` takes.
    RootFs,
    /// A tar of something else.
    OtherTar,
    /// A directory that is no OCI layout.
    Directory,
    /// A directory in the form that skopeo calls `dir:`, which has no names and no layout.
    SkopeoDir,
    /// A compression that is not read: xz, bzip2.
    Compressed(&'static str),
    /// A well-known kind of file, by its first bytes.
    Kind(&'static str),
    /// None of those that are known.
    Unknown,
}

impl std::fmt::Display for LooksLike {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("an empty file"),
            Self::RootFs => f.write_str("a root file system"),
            Self::OtherTar => f.write_str("a tar without manifest.json and index.json"),
            Self::Directory => f.write_str("a directory without oci-layout and index.json"),
            Self::SkopeoDir => f.write_str("a directory in skopeo's dir: form"),
            Self::Compressed(form) => write!(f, "{form} data"),
            Self::Kind(kind) => f.write_str(kind),
            Self::Unknown => f.write_str("unknown data"),
        }
    }
}

impl TransportError {
    /// What the user could do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotAnArchive { looks_like: LooksLike::SkopeoDir } => {
                Some("`skopeo copy dir:DIR oci:LAYOUT:NAME` makes an OCI layout of it".to_owned())
            }
            Self::NotAnArchive { looks_like: LooksLike::RootFs | LooksLike::Directory } => {
                Some("`mica import` makes an image of a root file system".to_owned())
            }
            Self::NotAnArchive { looks_like: LooksLike::Compressed(form) } => {
                Some(format!("decompress it first; gzip and zstd are read, {form} is not"))
            }
            Self::NoPlatform { available, .. } => {
                available.first().map(|platform| format!("choose one with --platform {platform}"))
            }
            Self::Truncated { .. } => Some("copy or download the archive again".to_owned()),
            Self::NoArtifacts { .. } => Some("use --format oci-archive or oci-dir".to_owned()),
            Self::NotALayout { .. } => Some("name a new or an empty directory, or an OCI layout to add to".to_owned()),
            Self::ForeignLayer { .. } => Some(
                "make the archive with a tool that fetches such layers, as `docker save` does where it has them"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// Whether the bytes themselves are bad, so that reading them again cannot help.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        match self {
            Self::Truncated { .. }
            | Self::BadTar { .. }
            | Self::DuplicateEntry { .. }
            | Self::LinkLoop { .. }
            | Self::ParentLoop { .. }
            | Self::MissingBlob { .. }
            | Self::WrongDigest { .. }
            | Self::WrongSize { .. }
            | Self::BadJson { .. }
            | Self::Ambiguous { .. }
            | Self::BadDigest { .. }
            | Self::LayerCount { .. } => true,
            // A decompressor hands its verdict through `Read`.
            Self::Io { source, .. } => source.get_ref().and_then(|inner| inner.downcast_ref()).is_some_and(|verdict| {
                matches!(
                    verdict,
                    CompressionError::Truncated { .. }
                        | CompressionError::Corrupt { .. }
                        | CompressionError::TrailingData { .. }
                )
            }),
            _ => false,
        }
    }
}

/// Names what was attempted on an I/O error. An error that came through `Read` out of this crate is given back as it was.
pub(crate) fn io_error(doing: impl Into<String>, source: io::Error) -> TransportError {
    match source.downcast::<TransportError>() {
        Ok(ours) => ours,
        Err(source) => TransportError::Io { doing: doing.into(), source },
    }
}
