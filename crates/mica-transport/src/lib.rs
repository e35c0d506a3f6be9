//! The doors images come and go by.
//!
//! ```text
//!   OCI archive, OCI layout  ---\                     /---> OciArchiveWriter, OciLayoutWriter
//!                                ImageSource -> ImageSink
//!   Docker archive           ---/                     \---> DockerArchiveWriter
//! ```
//!
//! A [`Reference`] names an image. An [`ImageSource`] lists images, whose manifests and configs it has verified, and gives
//! the bytes of their layers, which [`Verified`] proves while they are read. An [`ImageSink`] takes them. The store is one
//! more source and sink; it is not known here, and neither is where a file comes from: whoever opened it hands it in.
#![forbid(unsafe_code)]

mod archive;
mod config;
mod error;
mod reference;
mod sink;
mod source;
#[cfg(test)]
mod testing;
mod verify;
mod wire;

pub use archive::form::{ArchiveForm, SNIFF_LEN, sniff, spool};
pub use archive::{OpenOptions, Platforms, open_archive, open_archive_with, open_layout_dir};
pub use error::{LooksLike, TransportError};
pub use reference::{Reference, ReferenceError};
pub use sink::{
    DockerArchiveWriter, ImageSink, InDirectory, InTar, LayerForm, OciArchiveWriter, OciLayoutWriter, OciWriter, Place,
    SinkImage, SinkLayer, copy, copy_image, synthesize_manifest,
};
pub use source::{BlobRef, Companion, ImageSource, RawManifest, SourceArtifact, SourceImage, SourceLayer};
pub use verify::Verified;
