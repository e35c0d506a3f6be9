//! A sealed layer: unpacked, verified, flushed, and never touched again.

use std::path::{Path, PathBuf};

use mica_core::{BlobDigest, DiffId};
use mica_layer::{Index, Unpacked};
use mica_sys::{Dir, File};
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, What};
use crate::records::{self, Unknown};
use crate::store::Store;

pub(crate) const SEAL: &str = "seal.json";
pub(crate) const DIFF: &str = "diff";
pub(crate) const INDEX: &str = "index";
pub(crate) const RECON: &str = "recon";

/// `seal.json`: the last file written into a layer; without it the layer does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// 1.
    pub version: u32,
    /// The digest of the layer's tar.
    pub diff_id: DiffId,
    /// Bytes of the tar.
    pub tar_size: u64,
    /// Bytes of file content in diff/.
    pub content_size: u64,
    /// Entries of the index.
    pub entries: u64,
    /// Directories that the tar only implies.
    pub implicit: u64,
    /// Hard links to files that only a lower layer has.
    pub needs_parent: u64,
    /// The index.
    pub index: SealedFile,
    /// The tar's framing.
    pub recon: SealedFile,
    /// When it was sealed (RFC 3339).
    pub sealed: String,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub other: Unknown,
}

/// A file beside the seal, as it was when the layer was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedFile {
    /// Of its bytes.
    pub digest: BlobDigest,
    /// How many they are.
    pub size: u64,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub other: Unknown,
}

impl Seal {
    pub(crate) fn of(unpacked: &Unpacked, layer: &Dir) -> Result<Self, StoreError> {
        Ok(Self {
            version: records::VERSION,
            diff_id: unpacked.diff_id,
            tar_size: unpacked.tar_size,
            content_size: unpacked.content_size,
            entries: unpacked.entries,
            implicit: unpacked.implicit,
            needs_parent: unpacked.needs_parent,
            index: sealed_file(layer, INDEX)?,
            recon: sealed_file(layer, RECON)?,
            sealed: records::now(),
            other: Unknown::new(),
        })
    }

    /// Bytes that the layer takes, as far as content goes: diff/, index and recon.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.content_size.saturating_add(self.index.size).saturating_add(self.recon.size)
    }
}

pub(crate) fn sealed_file(layer: &Dir, name: &str) -> Result<SealedFile, StoreError> {
    let (digest, size) = hash(&layer.open_file(name.as_bytes())?)?;
    Ok(SealedFile { digest, size, other: Unknown::new() })
}

/// The digest and the size of a file's content.
pub(crate) fn hash(file: &File) -> Result<(BlobDigest, u64), StoreError> {
    let mut hasher = mica_core::DigestHasher::default();
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        let read = file.read_at(&mut buffer, size)?;
        if read == 0 {
            return Ok((BlobDigest::from_sha256(hasher.finish()), size));
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        size += u64::try_from(read).unwrap_or(0);
    }
}

/// A layer that is here.
#[derive(Debug)]
pub struct SealedLayer {
    dir: Dir,
    path: PathBuf,
    seal: Seal,
}

impl SealedLayer {
    /// The layer's own directory: `diff/`, `index`, `recon`, `seal.json`.
    #[must_use]
    pub const fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The path of its `diff/`, as mounts take it.
    #[must_use]
    pub fn diff_path(&self) -> PathBuf {
        self.path.join(DIFF)
    }

    /// The path of its index.
    #[must_use]
    pub fn index_path(&self) -> PathBuf {
        self.path.join(INDEX)
    }

    /// What was recorded when it was sealed.
    #[must_use]
    pub const fn seal(&self) -> &Seal {
        &self.seal
    }

    /// What the layer says.
    ///
    /// # Errors
    /// [`StoreError::Layer`] for an index that cannot be read.
    pub fn index(&self) -> Result<Index, StoreError> {
        let file = self.dir.open_file(INDEX.as_bytes())?;
        Index::open(&file).map_err(|source| StoreError::Layer { layer: self.seal.diff_id.to_string(), source })
    }

    /// Writes the very tar that the layer came from.
    ///
    /// # Errors
    /// [`StoreError::Layer`]; [`StoreError::WrongDiffId`] when what was written is not that tar.
    pub fn rebuild(&self, out: &mut dyn std::io::Write) -> Result<(), StoreError> {
        let expected = self.seal.diff_id;
        let actual = mica_layer::rebuild(&self.dir, out)
            .map_err(|source| StoreError::Layer { layer: expected.to_string(), source })?;
        if actual == expected { Ok(()) } else { Err(StoreError::WrongDiffId { expected, actual }) }
    }
}

impl Store {
    /// A layer; `None` when it is not here or not sealed.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a seal that cannot be read or is another layer's; [`StoreError::NewerFormat`]; or of a
    /// system call.
    pub fn layer(&self, layer: &DiffId) -> Result<Option<SealedLayer>, StoreError> {
        let Some(dir) = self.dirs.layers.open_dir_if_there(layer.hex().as_bytes())? else {
            return Ok(None);
        };
        let Some(bytes) = dir.read_if_there(SEAL.as_bytes(), records::RECORD_CAP)? else {
            return Ok(None);
        };
        let seal: Seal = records::decode(What::Layer, &layer.to_string(), &bytes)?;
        if seal.diff_id != *layer {
            return Err(StoreError::corrupt(What::Layer, layer, format_args!("its seal is of {}", seal.diff_id)));
        }
        Ok(Some(SealedLayer { dir, path: self.layer_path(layer), seal }))
    }

    /// As [`Store::layer`], for a layer that must be here.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and as [`Store::layer`].
    pub fn require_layer(&self, layer: &DiffId) -> Result<SealedLayer, StoreError> {
        self.layer(layer)?.ok_or_else(|| StoreError::not_found(What::Layer, layer))
    }

    /// Whether a layer is here and sealed.
    ///
    /// # Errors
    /// Of a system call.
    pub fn has_layer(&self, layer: &DiffId) -> Result<bool, StoreError> {
        match self.dirs.layers.open_dir_if_there(layer.hex().as_bytes())? {
            Some(dir) => Ok(dir.stat_if_there(SEAL.as_bytes())?.is_some()),
            None => Ok(false),
        }
    }

    /// The DiffIDs of all layers that are here, in no order; unsealed ones are among them.
    ///
    /// # Errors
    /// Of a system call.
    pub fn layers(&self) -> Result<Vec<DiffId>, StoreError> {
        let entries = self.dirs.layers.read_dir()?;
        Ok(entries.iter().filter_map(|entry| DiffId::from_hex(std::str::from_utf8(&entry.name).ok()?).ok()).collect())
    }

    fn layer_path(&self, layer: &DiffId) -> PathBuf {
        self.path().join("layers/sha256").join(Path::new(&layer.hex()))
    }
}
