//! Image records: an image that is here, with a name or without.

use mica_core::image::Platform;
use mica_core::{DiffId, ImageId};
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, What};
use crate::lease::{Kept, Lease, Made};
use crate::records::{self, Descriptor, Draft, Flush, Unknown};
use crate::store::Store;

/// `images/sha256/<hex>.json`: an image whose config and layers are here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// 1.
    pub version: u32,
    /// The digest of its config.
    pub id: ImageId,
    /// Its manifest, whose bytes are a blob.
    pub manifest: Descriptor,
    /// What it runs on.
    pub platform: Platform,
    /// Its layers, base first; one that stands twice is there twice.
    pub layers: Vec<DiffId>,
    /// When it came into this store (RFC 3339). Not when it was built, which its config says.
    pub stored: String,
    /// Where it came from, in words: `load`, `docker.io/library/busybox:latest`, `commit of 4f0a…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub other: Unknown,
}

impl ImageRecord {
    /// A record of now.
    #[must_use]
    pub fn new(id: ImageId, manifest: Descriptor, platform: Platform, layers: Vec<DiffId>) -> Self {
        let stored = records::now();
        Self { version: records::VERSION, id, manifest, platform, layers, stored, origin: None, other: Unknown::new() }
    }
}

/// What to do with an image that something uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUse {
    /// Leave it and say who uses it.
    Refuse,
    /// Remove its record all the same. Containers keep the layers that they stand on.
    Remove,
}

pub(crate) fn file_name(id: &ImageId) -> String {
    format!("{}.json", id.hex())
}

impl Store {
    /// Says that an image is here. Its layers, manifest and config must be. Replaces a record of the same image.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a layer, manifest or config that is not here; [`StoreError::ReadOnly`]; or of a system
    /// call, and then the record that was stands.
    pub fn put_image(&self, lease: &Lease<'_>, image: &ImageRecord) -> Result<(), StoreError> {
        lease.keep(&[Kept::Image(image.id)])?;
        let mut needed = vec![Kept::Blob(image.manifest.digest), Kept::Blob(config_of(&image.id))];
        needed.extend(image.layers.iter().map(|layer| Kept::Layer(*layer)));
        lease.keep_present(&needed)?;
        let staging = lease.staging()?;
        let name = file_name(&image.id);
        let draft = records::random_name()?;
        let draft = Draft { dir: staging, name: draft.as_bytes() };
        records::write_file(draft.dir, draft.name, &records::encode(What::Image, image)?, Flush::Yes)?;
        if self.dirs.images.stat_if_there(name.as_bytes())?.is_none() {
            lease.made(Made::Image(image.id, staging.stat(draft.name)?.ino));
        }
        draft.dir.rename(draft.name, &self.dirs.images, name.as_bytes())?;
        Ok(self.dirs.images.sync()?)
    }

    /// An image's record; `None` when it is not here.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::NewerFormat`], or of a system call.
    pub fn image(&self, id: &ImageId) -> Result<Option<ImageRecord>, StoreError> {
        let record: Option<ImageRecord> = records::read(What::Image, &self.dirs.images, &file_name(id))?;
        match record {
            Some(record) if record.id != *id => {
                Err(StoreError::corrupt(What::Image, id, format_args!("its record is of {}", record.id)))
            }
            record => Ok(record),
        }
    }

    /// All images, the one that came last first.
    ///
    /// # Errors
    /// As [`Store::image`].
    pub fn images(&self) -> Result<Vec<ImageRecord>, StoreError> {
        let mut images = Vec::new();
        for id in self.image_ids()? {
            // One may be removed while they are read.
            images.extend(self.image(&id)?);
        }
        images.sort_by(|a, b| b.stored.cmp(&a.stored).then_with(|| a.id.cmp(&b.id)));
        Ok(images)
    }

    /// The IDs of all images that are here, in no order.
    ///
    /// # Errors
    /// Of a system call.
    pub fn image_ids(&self) -> Result<Vec<ImageId>, StoreError> {
        let entries = self.dirs.images.read_dir()?;
        let id = |name: &[u8]| ImageId::from_hex(std::str::from_utf8(name).ok()?.strip_suffix(".json")?).ok();
        Ok(entries.iter().filter_map(|entry| id(&entry.name)).collect())
    }

    /// The image whose ID begins with `prefix`, with or without `sha256:`; `None` when there is none, or when `prefix` is
    /// no hex digits.
    ///
    /// # Errors
    /// [`StoreError::Ambiguous`], or as [`Store::image`].
    pub fn find_image(&self, prefix: &str) -> Result<Option<ImageRecord>, StoreError> {
        let hex = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        if hex.is_empty() || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        if let Ok(id) = ImageId::from_hex(hex) {
            return self.image(&id);
        }
        let mut fits = self.image_ids()?;
        fits.retain(|id| id.hex().starts_with(hex));
        match fits[..] {
            [] => Ok(None),
            [id] => self.image(&id),
            _ => {
                fits.sort();
                let matches = fits.iter().map(ToString::to_string).collect();
                Err(StoreError::Ambiguous { what: What::Image, prefix: prefix.to_owned(), matches })
            }
        }
    }

    /// Removes an image's record, with one rename. Its names are the caller's to remove; its layers and blobs go with the
    /// next [`Store::gc`] unless others keep them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::InUse`] when it is to be refused; or of a system call.
    pub fn remove_image(&self, id: &ImageId, on_use: OnUse) -> Result<(), StoreError> {
        self.writable()?;
        // Exclusively, so that nobody begins to use it between the look and the removal.
        let gc = self.gc_exclusive()?;
        if self.dirs.images.stat_if_there(file_name(id).as_bytes())?.is_none() {
            return Err(StoreError::not_found(What::Image, id));
        }
        if on_use == OnUse::Refuse {
            let by = self.image_users(id)?;
            if !by.is_empty() {
                return Err(StoreError::InUse { image: *id, by });
            }
        }
        self.discard(&self.dirs.images, file_name(id).as_bytes())?;
        drop(gc);
        Ok(self.dirs.images.sync()?)
    }

    fn image_users(&self, id: &ImageId) -> Result<Vec<String>, StoreError> {
        let mut by = Vec::new();
        if self.leased()?.contains(&Kept::Image(*id)) {
            by.push("a running operation".to_owned());
        }
        let containers = self.containers()?.into_iter().filter(|container| container.image == Some(*id));
        by.extend(containers.map(|container| format!("container {}", container.name)));
        Ok(by)
    }
}

/// The blob that an image's ID names: its config's bytes.
#[must_use]
pub const fn config_of(id: &ImageId) -> mica_core::BlobDigest {
    mica_core::BlobDigest::from_sha256(*id.as_bytes())
}
