//! Names: what a reference stands for here.

use mica_core::BlobDigest;
use mica_sys::Lock;
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, What};
use crate::lease::{Kept, Lease};
use crate::records::{self, Descriptor, Draft, Flush, Unknown};
use crate::store::{Store, release};

/// `names/<hex>.json`: a reference and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// 1.
    pub version: u32,
    /// The whole reference: `docker.io/library/busybox:latest`.
    pub reference: String,
    /// An index or a manifest, whose bytes are a blob.
    pub target: Descriptor,
    /// When it was set (RFC 3339).
    pub set: String,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub other: Unknown,
}

fn file_name(reference: &str) -> String {
    format!("{}.json", key(reference))
}

fn key(reference: &str) -> String {
    BlobDigest::of(reference.as_bytes()).hex()
}

impl Store {
    /// Has `reference` stand for `target`, whose bytes must be here. What it stood for before comes back, if it did.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the target; [`StoreError::ReadOnly`]; or of a system call: then the name stands for
    /// the old target, or, if only the last flush was refused, for the new one.
    pub fn set_name(
        &self,
        lease: &Lease<'_>,
        reference: &str,
        target: &Descriptor,
    ) -> Result<Option<Descriptor>, StoreError> {
        lease.keep_present(&[Kept::Blob(target.digest)])?;
        let record = NameRecord {
            version: records::VERSION,
            reference: reference.to_owned(),
            target: target.clone(),
            set: records::now(),
            other: Unknown::new(),
        };
        let bytes = records::encode(What::Name, &record)?;
        let draft = records::random_name()?;
        let draft = Draft { dir: lease.staging()?, name: draft.as_bytes() };
        let lock = Lock::exclusive(&self.dirs.name_locks, key(reference).as_bytes())?;
        let before = self.name(reference)?;
        records::put(&draft, &self.dirs.names, &file_name(reference), &bytes, Flush::Yes)?;
        release(lock);
        Ok(before.map(|record| record.target))
    }

    /// What `reference` stands for; `None` when it is no name here.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::NewerFormat`], or of a system call.
    pub fn name(&self, reference: &str) -> Result<Option<NameRecord>, StoreError> {
        let record: Option<NameRecord> = records::read(What::Name, &self.dirs.names, &file_name(reference))?;
        match record {
            Some(record) if record.reference != reference => {
                Err(StoreError::corrupt(What::Name, reference, format_args!("its record is of {:?}", record.reference)))
            }
            record => Ok(record),
        }
    }

    /// All names, sorted.
    ///
    /// # Errors
    /// As [`Store::name`].
    pub fn names(&self) -> Result<Vec<NameRecord>, StoreError> {
        let mut names = Vec::new();
        for file in self.name_files()? {
            names.extend(records::read::<NameRecord>(What::Name, &self.dirs.names, &file)?);
        }
        names.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(names)
    }

    /// Removes a name, by a rename. With `expected`, only while it stands for that.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such name, or it stands for something else; or of a system call.
    pub fn remove_name(&self, reference: &str, expected: Option<&BlobDigest>) -> Result<(), StoreError> {
        self.writable()?;
        let lock = Lock::exclusive(&self.dirs.name_locks, key(reference).as_bytes())?;
        let record = self.name(reference)?;
        let fits = record.is_some_and(|record| expected.is_none_or(|digest| record.target.digest == *digest));
        if fits {
            self.discard(&self.dirs.names, file_name(reference).as_bytes())?;
            self.dirs.names.sync()?;
        }
        release(lock);
        if fits { Ok(()) } else { Err(StoreError::not_found(What::Name, reference)) }
    }

    pub(crate) fn name_files(&self) -> Result<Vec<String>, StoreError> {
        let entries = self.dirs.names.read_dir()?.into_iter();
        let names = entries.filter_map(|entry| String::from_utf8(entry.name).ok());
        Ok(names.filter(|name| name.ends_with(".json")).collect())
    }

    /// The name of the file that a reference's record must have.
    pub(crate) fn name_file(reference: &str) -> String {
        file_name(reference)
    }
}
