//! What is kept on disk: blobs, layers, images, names, containers.
//!
//! A [`Store`] is a directory whose files are the truth; there is no database and no daemon, and any number of processes
//! work on it at once. What can be seen in it is whole: it was verified and flushed before it was put in place, and a
//! crash at any step leaves the old state or the new. [`mod@format`] documents every byte and the order in which it
//! gets there.
//!
//! ```text
//! Store::open -> lease -> stage_layers -> LayerBatch::stage, ::put_blob -> ::seal -> put_image -> set_name -> finish
//!                            |                                                |
//!                            staging/, under a lock a layer                   one syncfs, seals, renames
//! ```
//!
//! * [`Lease`]: what a running operation needs, so that [`Store::gc`] leaves it.
//! * [`LayerBatch`]: layers and blobs in the making; each layer is unpacked once over all processes.
//! * [`SealedLayer`], [`ImageRecord`], [`NameRecord`], [`Container`]: what is here.
//! * [`Lowers`]: what a union takes to show a chain of layers.
//! * [`Store::gc`], [`Store::reap`], [`Store::check`], [`Store::usage`]: what is done about all of it.
#![forbid(unsafe_code)]

mod batch;
mod blobs;
mod chains;
mod check;
mod claims;
mod containers;
mod error;
mod facts;
mod fix;
#[cfg(doc)]
pub mod format;
mod gc;
mod images;
mod layers;
mod lease;
mod links;
mod names;
mod options;
mod records;
mod state;
mod store;
mod trash;
mod usage;

pub use batch::LayerBatch;
pub use blobs::{BlobWriter, SMALL_BLOB_CAP, Tee};
pub use chains::Lowers;
pub use check::{Checked, Depth, Done, Finding, Problem, Repair};
pub use claims::ContainerName;
pub use containers::{Container, ContainerId, ContainerRecord, Lifetime, LockedContainer, NewContainer, OWNER};
pub use error::{Ownership, ReadOnly, StoreError, What};
pub use facts::Facts;
pub use gc::Collected;
pub use images::{ImageRecord, OnUse, config_of};
pub use layers::{Seal, SealedFile, SealedLayer};
pub use lease::{Kept, Lease};
pub use mica_layer::{Limits, Marks, Unpacked};
pub use names::NameRecord;
pub use options::{IdRow, Missing, Owners, StoreOptions};
pub use records::{Descriptor, Flush, Unknown};
pub use state::{ContainerState, ProcessId, Status};
pub use store::Store;
pub use trash::{Left, Reaped};
pub use usage::{ContainerUsage, ImageUsage, LayerUsage, Usage, upper_size};
