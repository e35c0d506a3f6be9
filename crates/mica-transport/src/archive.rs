//! An archive file, or a layout directory, as a source of images. What it is, is told by what it holds.
//!
//! ```text
//! OCI archive      oci-layout  index.json  blobs/sha256/<hex>…
//! Docker archive   manifest.json  <config>.json  <layer>.tar | <id>/layer.tar…
//!   before 1.10    repositories  <id>/json  <id>/layer.tar…
//! ```
//!
//! `docker save` since version 25 writes both in one: it is read as OCI, which keeps manifests and their digests, and the
//! names that only `manifest.json` has are added.

use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mica_core::BlobDigest;
use mica_core::image::Platform;
use mica_layer::Compression;

use crate::error::{LooksLike, io_error};
use crate::{BlobRef, ImageSource, SourceArtifact, SourceImage, TransportError, Verified};
use files::{Files, Found};
use form::{ArchiveForm, SNIFF_LEN, sniff};

mod artifacts;
mod choose;
mod docker;
mod files;
pub(crate) mod form;
mod legacy;
mod oci;
mod platform;
mod scan;

const LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";
const DOCKER_MANIFEST: &str = "manifest.json";

/// The platforms that are taken of an image that is there for several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Platforms {
    /// The one that serves this machine; an image that is there for one platform only is taken whatever that is.
    #[default]
    Host,
    /// This one, and no image that is not for it.
    One(Platform),
    /// All that are there.
    All,
}

/// How an archive is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The platforms to take.
    pub platforms: Platforms,
    /// Bytes that a manifest, an index, a config or a `manifest.json` may have.
    pub json_max: u64,
    /// Bytes that all of these may have together, since all are held in memory at once.
    pub metadata_max: u64,
    /// Entries that an archive may have.
    pub entries_max: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { platforms: Platforms::Host, json_max: 4 << 20, metadata_max: 64 << 20, entries_max: 1 << 20 }
    }
}

/// Opens an OCI or a Docker archive, told by its content, with the default options.
///
/// The file must be seekable and uncompressed; [`sniff`] tells, and [`spool`](crate::spool) makes it so.
///
/// # Errors
/// As [`open_archive_with`].
pub fn open_archive(file: File) -> Result<Box<dyn ImageSource + Send + Sync>, TransportError> {
    open_archive_with(file, OpenOptions::default())
}

/// Opens an OCI or a Docker archive. Its headers are read once; its bodies are left where they are.
///
/// # Errors
/// [`TransportError::Compressed`] where spooling is needed, [`TransportError::NotAnArchive`] for anything else,
/// [`TransportError::Truncated`] if the end is missing.
pub fn open_archive_with(
    file: File,
    options: OpenOptions,
) -> Result<Box<dyn ImageSource + Send + Sync>, TransportError> {
    match sniff(&prefix(&file)?) {
        ArchiveForm::Tar => {}
        ArchiveForm::Gzip => return Err(TransportError::Compressed { form: "gzip-compressed" }),
        ArchiveForm::Zstd => return Err(TransportError::Compressed { form: "zstd-compressed" }),
        ArchiveForm::Other(looks_like) => return Err(TransportError::NotAnArchive { looks_like }),
    }
    let scanned = scan::scan(&file, options.entries_max)?;
    let archive = Archive { files: Files::Tar { file, entries: scanned.entries }, options };
    let pass = archive.pass();
    if !pass.has(INDEX)? && !pass.has(DOCKER_MANIFEST)? && !legacy::is_legacy(&pass)? {
        return Err(TransportError::NotAnArchive { looks_like: scanned.looks_like });
    }
    Ok(Box::new(archive))
}

/// Opens an OCI layout in a directory.
///
/// # Errors
/// [`TransportError::MissingBlob`] if one of `oci-layout` and `index.json` is not there, [`TransportError::NotAnArchive`] if
/// neither is.
pub fn open_layout_dir(dir: &Path, options: OpenOptions) -> Result<Box<dyn ImageSource + Send + Sync>, TransportError> {
    let archive = Archive { files: Files::Dir(dir.to_owned()), options };
    let pass = archive.pass();
    if !pass.has(LAYOUT)? && !pass.has(INDEX)? {
        let looks_like = match pass.has("version")? && pass.has(DOCKER_MANIFEST)? {
            true => LooksLike::SkopeoDir,
            false => LooksLike::Directory,
        };
        return Err(TransportError::NotAnArchive { looks_like });
    }
    for name in [LAYOUT, INDEX] {
        pass.required("the OCI layout", name)?;
    }
    Ok(Box::new(archive))
}

fn prefix(file: &File) -> Result<Vec<u8>, TransportError> {
    let mut buf = vec![0; SNIFF_LEN];
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64).map_err(|source| io_error("read the archive", source))? {
            0 => break,
            count => filled += count,
        }
    }
    buf.truncate(filled);
    Ok(buf)
}

#[derive(Debug)]
struct Archive {
    files: Files,
    options: OpenOptions,
}

/// One pass over the metadata of an archive.
#[derive(Debug)]
struct Pass<'a> {
    files: &'a Files,
    options: &'a OpenOptions,
    /// Bytes of metadata that may still be read.
    left: Cell<u64>,
}

impl Archive {
    fn pass(&self) -> Pass<'_> {
        Pass { files: &self.files, options: &self.options, left: Cell::new(self.options.metadata_max) }
    }
}

impl<'a> Pass<'a> {
    fn has(&self, name: &str) -> Result<bool, TransportError> {
        Ok(self.files.find(name)?.is_some())
    }

    fn required(&self, what: &str, name: &str) -> Result<Found<'a>, TransportError> {
        self.files
            .find(name)?
            .ok_or_else(|| TransportError::MissingBlob { what: what.to_owned(), name: name.to_owned() })
    }

    /// The bytes of a metadata file.
    fn metadata(&self, what: &str, name: &str) -> Result<Vec<u8>, TransportError> {
        let found = self.required(what, name)?;
        self.spend(what, found.size)?;
        found.read_all(what)
    }

    /// The verified bytes of a metadata blob.
    fn metadata_blob(&self, what: &str, digest: BlobDigest, size: u64) -> Result<Vec<u8>, TransportError> {
        let found = self.sized_blob(what, digest, size)?;
        self.spend(what, size)?;
        let mut bytes = Vec::new();
        Verified::new(found.reader(), what, digest, size)
            .read_to_end(&mut bytes)
            .map_err(|source| io_error(format!("read {what}"), source))?;
        Ok(bytes)
    }

    /// Takes `size` bytes from what may be read.
    fn spend(&self, what: &str, size: u64) -> Result<(), TransportError> {
        let too_large = |what: &str, size, max| TransportError::TooLarge { what: what.to_owned(), size, max };
        if size > self.options.json_max {
            return Err(too_large(what, size, self.options.json_max));
        }
        let max = self.options.metadata_max;
        let Some(left) = self.left.get().checked_sub(size) else {
            let spent = max.saturating_sub(self.left.get());
            return Err(too_large("the metadata of the archive", spent.saturating_add(size), max));
        };
        self.left.set(left);
        Ok(())
    }

    /// A blob, which must have the size that its descriptor says.
    fn sized_blob(&self, what: &str, digest: BlobDigest, size: u64) -> Result<Found<'a>, TransportError> {
        let found = self.required(what, &blob_name(digest))?;
        if found.size != size {
            return Err(TransportError::WrongSize { what: what.to_owned(), expected: size, found: found.size });
        }
        Ok(found)
    }
}

impl ImageSource for Archive {
    fn images(&self) -> Result<Vec<SourceImage>, TransportError> {
        let pass = self.pass();
        let docker = pass.has(DOCKER_MANIFEST)?;
        if !docker && !pass.has(INDEX)? {
            return legacy::images(&pass);
        }
        if !pass.has(INDEX)? || (docker && !pass.has(LAYOUT)?) {
            return docker::images(&pass);
        }
        let mut images = oci::images(&pass)?;
        if docker {
            docker::add_names(&pass, &mut images)?;
        }
        Ok(images)
    }

    fn artifacts(&self) -> Result<Vec<SourceArtifact>, TransportError> {
        let pass = self.pass();
        if pass.has(INDEX)? && pass.has(LAYOUT)? { artifacts::artifacts(&pass) } else { Ok(Vec::new()) }
    }

    fn blob(&self, which: &BlobRef) -> Result<Box<dyn Read + Send + '_>, TransportError> {
        let (what, name) = match which {
            BlobRef::Digest(digest) => ("blob", blob_name(*digest)),
            BlobRef::Entry(name) => ("entry", name.clone()),
            BlobRef::Layer(layer) => ("layer", layer.to_string()),
        };
        Ok(Box::new(self.pass().required(what, &name)?.reader()))
    }
}

/// How a blob is compressed, by its first bytes: media types in the wild are not always right.
fn compression(found: Found<'_>) -> std::io::Result<Compression> {
    Ok(match sniff(&found.prefix(SNIFF_LEN as u64)?) {
        ArchiveForm::Gzip => Compression::Gzip,
        ArchiveForm::Zstd => Compression::Zstd,
        ArchiveForm::Tar | ArchiveForm::Other(_) => Compression::Plain,
    })
}

fn blob_name(digest: BlobDigest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[cfg(test)]
mod tests;
