//! The rules of stacked layers, as values: what a layer says, what a stack of them shows, what an upper changed.
//!
//! Nothing here opens a file, reads a clock or knows a process. Whatever can be decided from entries alone is decided
//! here once, so that every driver, the commit path and the tests share one set of rules.
//!
//! * [`Name`] and [`RelPath`]: where something is inside a layer. Bytes; they cannot hold `..`.
//! * [`BlobDigest`], [`DiffId`], [`ChainId`], [`ImageId`]: four digests that cannot be mistaken for each other.
//! * [`LayerEntry`], [`Layer`], [`Stack`]: what one layer says of a path, and what a stack of them shows.
//! * [`Change`]: what an upper did to what is below it.
//! * [`plan`]: what must be written to an upper so that an operation appears to have happened.
//! * [`image`]: configs, manifests, platforms.
#![forbid(unsafe_code)]

mod changes;
mod entry;
mod ids;
pub mod image;
#[cfg(test)]
mod map_layer;
mod path;
pub mod plan;
mod stack;

pub use changes::{Change, ChangeKind, changes};
pub use entry::{Attrs, ContentHash, Kind, LayerEntry, Node, Rdev, TarName, Timestamp, WHITEOUT_PREFIX, Xattrs};
pub use ids::{BlobDigest, ChainId, DiffId, DigestError, DigestHasher, ImageId};
pub use path::{Name, PathError, RelPath};
pub use stack::{Layer, Resolved, Stack};
