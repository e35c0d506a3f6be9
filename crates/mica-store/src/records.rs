//! A record: a versioned JSON object in a file of its own, replaced whole.
//!
//! Fields that a reader does not know are kept and written back, so that an older program does not lose what a newer
//! one added; a newer version is refused. [`format`](crate::format) documents each record.

use mica_core::BlobDigest;
use mica_sys::{Dir, SysError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, What};

/// The version that this program writes into each record.
pub(crate) const VERSION: u32 = 1;

/// No record is larger; a bigger file is damaged or hostile.
pub(crate) const RECORD_CAP: u64 = 16 << 20;

/// The mode of every file that the store makes for itself.
pub(crate) const FILE_MODE: u32 = 0o600;

/// The mode of every directory that the store makes for itself.
pub(crate) const DIR_MODE: u32 = 0o700;

/// Fields that this version does not know.
pub type Unknown = serde_json::Map<String, serde_json::Value>;

/// What a manifest, an index or a name says of a blob (OCI image specification, "Descriptors").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// What the bytes are.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// Their digest.
    pub digest: BlobDigest,
    /// How many they are.
    pub size: u64,
    /// Platform, annotations, artifact type, and whatever else the descriptor had.
    #[serde(flatten)]
    pub other: Unknown,
}

impl Descriptor {
    /// A descriptor without annotations.
    #[must_use]
    pub fn new(media_type: impl Into<String>, digest: BlobDigest, size: u64) -> Self {
        Self { media_type: media_type.into(), digest, size, other: Unknown::new() }
    }
}

/// Only the version, to be looked at before anything else.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Reads a record from its bytes.
pub(crate) fn decode<T: DeserializeOwned>(what: What, name: &str, bytes: &[u8]) -> Result<T, StoreError> {
    let broken = |error: serde_json::Error| StoreError::corrupt(what, name, error);
    let Versioned { version } = serde_json::from_slice(bytes).map_err(broken)?;
    if version > VERSION {
        return Err(StoreError::NewerFormat { feature: format!("version {version} of {what} records") });
    }
    serde_json::from_slice(bytes).map_err(broken)
}

/// A record's bytes, with a newline at the end.
pub(crate) fn encode<T: Serialize>(what: What, record: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = serde_json::to_vec(record).map_err(|source| StoreError::Encode { what, source })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads the record `name` of `dir`; `None` when there is none.
pub(crate) fn read<T: DeserializeOwned>(what: What, dir: &Dir, name: &str) -> Result<Option<T>, StoreError> {
    match dir.read_if_there(name.as_bytes(), RECORD_CAP)? {
        Some(bytes) => decode(what, name, &bytes).map(Some),
        None => Ok(None),
    }
}

/// Whether a new file is flushed before others can see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Content and directory are on disk when the call returns.
    Yes,
    /// A power cut may lose it. For what is worthless after one.
    No,
}

/// A file in the making: where it is written before it is renamed to where it is read.
pub(crate) struct Draft<'a> {
    /// The directory in which it is written.
    pub(crate) dir: &'a Dir,
    /// Its name there; a leftover by this name is replaced.
    pub(crate) name: &'a [u8],
}

/// Writes `bytes` as `draft` and renames it over `name` of `dir`. After an error the draft is gone.
pub(crate) fn put(draft: &Draft<'_>, dir: &Dir, name: &str, bytes: &[u8], flush: Flush) -> Result<(), SysError> {
    let placed = write_file(draft.dir, draft.name, bytes, flush)
        .and_then(|()| draft.dir.rename(draft.name, dir, name.as_bytes()));
    if let Err(error) = placed {
        unlink_if_there(draft.dir, draft.name)?;
        return Err(error);
    }
    match flush {
        Flush::Yes => dir.sync(),
        Flush::No => Ok(()),
    }
}

/// Writes a file, replacing a leftover of that name. Its directory is not flushed.
pub(crate) fn write_file(dir: &Dir, name: &[u8], bytes: &[u8], flush: Flush) -> Result<(), SysError> {
    let mut file = match dir.create_file(name, FILE_MODE) {
        Err(error) if error.is_exists() => {
            dir.unlink(name)?;
            dir.create_file(name, FILE_MODE)?
        }
        made => made?,
    };
    file.write_whole(bytes)?;
    match flush {
        Flush::Yes => file.sync(),
        Flush::No => Ok(()),
    }
}

/// Removes a name; one that is not there is as good.
pub(crate) fn unlink_if_there(dir: &Dir, name: &[u8]) -> Result<(), SysError> {
    match dir.unlink(name) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// A name that no other process chooses: 32 hex digits.
pub(crate) fn random_name() -> Result<String, StoreError> {
    random_hex::<16>()
}

/// `N` random bytes as hex digits.
pub(crate) fn random_hex<const N: usize>() -> Result<String, StoreError> {
    let mut random = [0u8; N];
    getrandom::fill(&mut random).map_err(|error| StoreError::Random { why: error.to_string() })?;
    Ok(random.iter().fold(String::with_capacity(2 * N), |hex, byte| hex + &format!("{byte:02x}")))
}

/// Now, as records have it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        version: u32,
        known: String,
        #[serde(flatten)]
        other: Unknown,
    }

    #[test]
    fn fields_of_the_future_are_kept() {
        let text = br#"{"version":1,"known":"a","later":{"x":[1,2]}}"#;
        let sample: Sample = decode(What::Image, "x", text).unwrap();
        assert_eq!(sample.other.len(), 1);
        assert_eq!(encode(What::Image, &sample).unwrap(), [&text[..], b"\n"].concat());
    }

    #[test]
    fn a_newer_version_is_refused_even_when_nothing_else_can_be_read() {
        let error = decode::<Sample>(What::Image, "x", br#"{"version":2,"unheard":0}"#).unwrap_err();
        assert!(
            matches!(&error, StoreError::NewerFormat { feature } if feature == "version 2 of image records"),
            "{error}"
        );
    }

    #[test]
    fn damage_is_named_and_never_panics() {
        for bytes in [&b""[..], b"{", b"[]", b"{\"version\":-1}", b"{\"version\":1}", b"\xff", &[b'['; 100_000]] {
            let error = decode::<Sample>(What::Name, "x", bytes).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { what: What::Name, .. }), "{error}");
        }
    }
}
