//! Why the store did not do what was asked.

use std::fmt;
use std::path::PathBuf;

use mica_core::{BlobDigest, DiffId, ImageId};
use mica_layer::LayerError;
use mica_sys::SysError;

use crate::{IdRow, Owners};

/// A kind of thing that the store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum What {
    /// A blob, by digest.
    Blob,
    /// A layer, by DiffID.
    Layer,
    /// An image, by ID.
    Image,
    /// A name of an image.
    Name,
    /// A container, by ID or name.
    Container,
    /// What belongs on top of a chain, by ChainID.
    Chain,
    /// The store's own `format.json`.
    Format,
    /// A lease.
    Lease,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blob => "blob",
            Self::Layer => "layer",
            Self::Image => "image",
            Self::Name => "name",
            Self::Container => "container",
            Self::Chain => "chain",
            Self::Format => "format record",
            Self::Lease => "lease",
        })
    }
}

/// An operation on the store that was refused or did not succeed. What was staged is dropped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no store at the root, and none was to be made.
    #[error("no store at {}", root.display())]
    NoStore {
        /// Where it was looked for.
        root: PathBuf,
    },
    /// The root holds something that is no store.
    #[error("{} is not a store and not empty: it has {entry:?}", root.display())]
    NotAStore {
        /// Where.
        root: PathBuf,
        /// A name that stands there.
        entry: String,
    },
    /// The store was made by another user.
    #[error("the store at {} belongs to {}, and this is user {user}", root.display(), somebody(*owner))]
    OtherOwner {
        /// Where.
        root: PathBuf,
        /// Whose it is, as the machine numbers users; `None` for one that this user namespace does not map.
        owner: Option<u32>,
        /// Who asks, as the machine numbers users.
        user: u32,
    },
    /// The run root is not there and cannot be made.
    #[error("the run root {} cannot be made", path.display())]
    RunRoot {
        /// Where.
        path: PathBuf,
        /// Why.
        source: SysError,
    },
    /// The store keeps marks or owners in another way than was asked for.
    #[error("the store at {} was made with {made}, and this is {asked}", root.display())]
    OtherOwnership {
        /// Where.
        root: PathBuf,
        /// How it was made.
        made: Box<Ownership>,
        /// What was asked for.
        asked: Box<Ownership>,
    },
    /// The store, or a record in it, needs a newer program.
    #[error("the store needs {feature}, which this version of mica does not know")]
    NewerFormat {
        /// What is not known, by name.
        feature: String,
    },
    /// The store may be read but not changed by this program.
    #[error("the store can only be read: {why}")]
    ReadOnly {
        /// What keeps it from being changed.
        why: ReadOnly,
    },
    /// Nothing of this kind has this name.
    #[error("no such {what}: {name}")]
    NotFound {
        /// What was looked for.
        what: What,
        /// By which name.
        name: String,
    },
    /// More than one thing begins with this prefix.
    #[error("{what} prefix {prefix:?} is ambiguous, it fits {}", matches.join(", "))]
    Ambiguous {
        /// What was looked for.
        what: What,
        /// By which prefix.
        prefix: String,
        /// All that fit, as full IDs.
        matches: Vec<String>,
    },
    /// Something that others need was to be removed.
    #[error("image {} is used by {}", image.short(), by.join(", "))]
    InUse {
        /// The image.
        image: ImageId,
        /// Who uses it: container names, or "a running operation".
        by: Vec<String>,
    },
    /// The container's name belongs to another one.
    #[error("the container name {name:?} is taken by container {by}")]
    NameTaken {
        /// The name.
        name: String,
        /// The container that has it.
        by: String,
    },
    /// Not a name that a container can have.
    #[error("{name:?} is no container name: it takes 1 to 128 of a-z A-Z 0-9 _ . - and begins with a letter or digit")]
    BadName {
        /// The name.
        name: String,
    },
    /// Bytes do not have the digest that names them.
    #[error("blob {expected} came with other content, {actual}")]
    WrongDigest {
        /// What they should be.
        expected: BlobDigest,
        /// What they are.
        actual: BlobDigest,
    },
    /// A blob is shorter or longer than its descriptor says.
    #[error("blob {digest} came with {actual} bytes, not {expected}")]
    WrongSize {
        /// Which.
        digest: BlobDigest,
        /// What the descriptor says.
        expected: u64,
        /// What came; of a longer one, where reading stopped.
        actual: u64,
    },
    /// A layer's tar does not have the DiffID that its image's config names.
    #[error("layer {expected} came with other content, {actual}")]
    WrongDiffId {
        /// What it should be.
        expected: DiffId,
        /// What it is.
        actual: DiffId,
    },
    /// A layer was staged that the batch does not hold the lock of: never asked for, already here, or staged twice.
    #[error("layer {layer} is not for this batch to make")]
    NotMine {
        /// Which.
        layer: DiffId,
    },
    /// A record or a file of the store is not what it has to be.
    #[error("{what} {name} is damaged: {why}")]
    Corrupt {
        /// What kind of thing.
        what: What,
        /// Which.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A layer could not be unpacked, read or rebuilt.
    #[error("layer {layer}")]
    Layer {
        /// Which; a new one has no DiffID yet and is called `new`.
        layer: String,
        /// Why.
        source: LayerError,
    },
    /// The input of a blob could not be read.
    #[error("cannot read the input of blob {digest}")]
    Input {
        /// Which.
        digest: BlobDigest,
        /// Why.
        source: std::io::Error,
    },
    /// No random bytes were to be had.
    #[error("no random bytes from the system: {why}")]
    Random {
        /// Why.
        why: String,
    },
    /// A record could not be written as JSON.
    #[error("{what} cannot be written as JSON")]
    Encode {
        /// What kind of record.
        what: What,
        /// Why.
        source: serde_json::Error,
    },
    /// A system call did not do what was asked.
    #[error(transparent)]
    Sys(#[from] SysError),
}

impl StoreError {
    /// Whether the disk, or a quota on it, is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            // An I/O error that wraps one of ours does not give it as its source, but its kind says as much.
            let full = |io: &std::io::Error| {
                matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
            };
            if error.downcast_ref::<SysError>().is_some_and(SysError::is_no_space)
                || error.downcast_ref::<std::io::Error>().is_some_and(full)
                || matches!(error.downcast_ref::<Self>(), Some(Self::Sys(error)) if error.is_no_space())
            {
                return true;
            }
            cause = error.source();
        }
        false
    }

    pub(crate) fn not_found(what: What, name: impl fmt::Display) -> Self {
        Self::NotFound { what, name: name.to_string() }
    }

    pub(crate) fn corrupt(what: What, name: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Corrupt { what, name: name.to_string(), why: why.to_string() }
    }
}

/// What keeps a store from being changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadOnly {
    /// It uses a feature of this name, which who changes it must know.
    Feature(String),
    /// Its file system, or the mount of it, is read-only.
    FileSystem,
}

impl fmt::Display for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Feature(name) => write!(f, "it uses feature {name:?}, which this version of mica does not know"),
            Self::FileSystem => f.write_str("its file system is mounted read-only"),
        }
    }
}

fn somebody(owner: Option<u32>) -> String {
    owner.map_or_else(|| "another user".to_owned(), |owner| format!("user {owner}"))
}

/// How a store keeps marks and owners, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// Whose extended attributes the overlay's marks are.
    pub marks: String,
    /// How owners stand on disk.
    pub owners: Owners,
    /// The rows of users.
    pub idmap: Vec<IdRow>,
    /// The rows of groups.
    pub gidmap: Vec<IdRow>,
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} marks and {} owners", self.marks, self.owners.as_str())?;
        let list = |rows: &[IdRow]| rows.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        match (self.idmap.is_empty(), self.idmap == self.gidmap) {
            (true, true) => Ok(()),
            (false, true) => write!(f, " mapped by {}", list(&self.idmap)),
            _ => write!(f, " mapped by {} (groups {})", list(&self.idmap), list(&self.gidmap)),
        }
    }
}
