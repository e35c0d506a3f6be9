//! Blobs: exact bytes, named by their digest. A blob that can be seen has been hashed and flushed.

use std::io::{self, Read, Write};

use mica_core::{BlobDigest, DigestHasher};
use mica_sys::{Dir, File};

use crate::error::{StoreError, What};
use crate::lease::{Lease, Made};
use crate::records::{self, FILE_MODE, Flush};
use crate::store::Store;

/// The most that [`Store::blob_bytes`] takes into memory: indexes, manifests and configs.
pub const SMALL_BLOB_CAP: u64 = 32 << 20;

impl Store {
    /// Opens a blob; `None` when it is not here.
    ///
    /// # Errors
    /// Of a system call.
    pub fn blob(&self, digest: &BlobDigest) -> Result<Option<File>, StoreError> {
        Ok(self.dirs.blobs.open_file_if_there(digest.hex().as_bytes())?)
    }

    /// Whether a blob is here.
    ///
    /// # Errors
    /// Of a system call.
    pub fn has_blob(&self, digest: &BlobDigest) -> Result<bool, StoreError> {
        Ok(self.blob_size(digest)?.is_some())
    }

    /// A blob's size; `None` when it is not here.
    ///
    /// # Errors
    /// Of a system call.
    pub fn blob_size(&self, digest: &BlobDigest) -> Result<Option<u64>, StoreError> {
        Ok(self.dirs.blobs.stat_if_there(digest.hex().as_bytes())?.map(|metadata| metadata.size))
    }

    /// A small blob's bytes, hashed again on the way; `None` when it is not here.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the bytes do not have the digest any more; `EFBIG` above [`SMALL_BLOB_CAP`].
    pub fn blob_bytes(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(bytes) = self.dirs.blobs.read_if_there(digest.hex().as_bytes(), SMALL_BLOB_CAP)? else {
            return Ok(None);
        };
        let actual = BlobDigest::of(&bytes);
        if actual != *digest {
            return Err(StoreError::corrupt(What::Blob, digest, format_args!("its content has the digest {actual}")));
        }
        Ok(Some(bytes))
    }

    /// Keeps `bytes` as a blob. Each is flushed by itself: for several at once, or beside layers, see
    /// [`LayerBatch::put_blob`](crate::LayerBatch::put_blob).
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`], or of a system call.
    pub fn put_blob(&self, lease: &Lease<'_>, bytes: &[u8]) -> Result<BlobDigest, StoreError> {
        let digest = BlobDigest::of(bytes);
        if lease.keep(&[crate::Kept::Blob(digest)])?.contains(&true) {
            return Ok(digest);
        }
        let draft = records::random_name()?;
        let staging = lease.staging()?;
        records::write_file(staging, draft.as_bytes(), bytes, Flush::Yes)?;
        put_in_place(lease, staging, draft.as_bytes(), digest)?;
        self.dirs.blobs.sync()?;
        Ok(digest)
    }

    /// The digests of all blobs that are here.
    ///
    /// # Errors
    /// Of a system call.
    pub fn blobs(&self) -> Result<Vec<BlobDigest>, StoreError> {
        let entries = self.dirs.blobs.read_dir()?;
        Ok(entries
            .iter()
            .filter_map(|entry| BlobDigest::from_hex(std::str::from_utf8(&entry.name).ok()?).ok())
            .collect())
    }
}

/// Renames a staged, flushed blob to where it is seen. One that came meanwhile is the same.
pub(crate) fn put_in_place(lease: &Lease<'_>, from: &Dir, draft: &[u8], digest: BlobDigest) -> Result<(), StoreError> {
    let blobs = &lease.store().dirs.blobs;
    let name = digest.hex();
    if blobs.stat_if_there(name.as_bytes())?.is_none() {
        lease.made(Made::Blob(digest));
    }
    match from.rename_noreplace(draft, blobs, name.as_bytes()) {
        Err(error) if error.is_exists() => Ok(records::unlink_if_there(from, draft)?),
        renamed => Ok(renamed?),
    }
}

/// A blob that is being written, in staging. It is seen when its batch is sealed.
///
/// Bytes are hashed as they come. Give it to [`LayerBatch::keep_blob`](crate::LayerBatch::keep_blob) when all are written;
/// one that is dropped is gone with its lease.
#[derive(Debug)]
pub struct BlobWriter {
    file: File,
    draft: String,
    expected: BlobDigest,
    size: Option<u64>,
    hasher: DigestHasher,
    written: u64,
}

/// A staged blob whose digest was right.
#[derive(Debug)]
pub(crate) struct StagedBlob {
    pub(crate) draft: String,
    pub(crate) digest: BlobDigest,
}

impl BlobWriter {
    pub(crate) fn begin(staging: &Dir, expected: BlobDigest, size: Option<u64>) -> Result<Self, StoreError> {
        let draft = records::random_name()?;
        let file = staging.create_file(draft.as_bytes(), FILE_MODE)?;
        Ok(Self { file, draft, expected, size, hasher: DigestHasher::default(), written: 0 })
    }

    /// The digest that the bytes must have.
    #[must_use]
    pub const fn expected(&self) -> &BlobDigest {
        &self.expected
    }

    pub(crate) fn draft(&self) -> &str {
        &self.draft
    }

    pub(crate) fn finish(self) -> Result<StagedBlob, StoreError> {
        let digest = self.expected;
        if let Some(expected) = self.size.filter(|size| *size != self.written) {
            return Err(StoreError::WrongSize { digest, expected, actual: self.written });
        }
        let actual = BlobDigest::from_sha256(self.hasher.finish());
        if actual != digest {
            return Err(StoreError::WrongDigest { expected: digest, actual });
        }
        Ok(StagedBlob { draft: self.draft, digest })
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.written += u64::try_from(written).unwrap_or(0);
        // A source that never ends must not fill the disk before it is found out.
        if self.size.is_some_and(|size| self.written > size) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the blob is longer than its descriptor says"));
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads from a source and writes what was read to a blob: the compressed bytes are kept while they are unpacked.
#[derive(Debug)]
pub struct Tee<R> {
    source: R,
    blob: BlobWriter,
}

impl<R: Read> Tee<R> {
    /// Reads `source` through to `blob`.
    pub const fn new(source: R, blob: BlobWriter) -> Self {
        Self { source, blob }
    }

    /// Reads what the unpacking left (the padding after a tar's end, a gzip member's trailer), and gives the blob back.
    ///
    /// # Errors
    /// [`StoreError::Input`] when the source cannot be read to its end or the blob not be written.
    pub fn finish(mut self) -> Result<BlobWriter, StoreError> {
        let digest = self.blob.expected;
        io::copy(&mut self.source, &mut self.blob).map_err(|source| StoreError::Input { digest, source })?;
        Ok(self.blob)
    }
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.blob.write_all(buffer.get(..read).unwrap_or_default())?;
        Ok(read)
    }
}
