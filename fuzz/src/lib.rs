//! What hostile bytes are given to, one function a target, and what must hold of each.
//!
//! | target | bytes are | holds |
//! |---|---|---|
//! | [`tar`] | an archive | framing and bodies make the archive again; listing and reading agree |
//! | [`unpack`] | a layer | an error, or a layer whose tar comes back, and whose packing is the same when it is packed again |
//! | [`recon`] | a `recon` file | an error or some tar of the stated length |
//! | [`index`] | an index file | what is read of it is in order, and found again by its path |
//! | [`store`] | one file of a store, or a name in one | everything that reads a store gives an error or a value |
//! | [`reference`] | texts that name things | what is parsed prints as something that is parsed to the same |
//! | [`image`] | a config, manifest, index or `manifest.json` | an error or images; a config is parsed again from what it prints |
//! | [`archive`] | a whole image archive | an error or images, whose layers can be read |
//! | [`fuse`] | a message of the kernel to a FUSE server | an error, or a request whose names and data are parts of the message |
//! | [`compression`] | a compressed blob | an error or bytes; what we compress comes back |
//!
//! And of all: no panic, no overflow, no endless loop, no memory beyond what the limits say. `docs/fuzzing.md` has how they
//! are run and what was found.

mod image_documents;
mod layer_forms;
mod scratch;
pub mod seeds;
mod store_files;
#[allow(dead_code, reason = "the tests of mica-layer use all of it")]
#[path = "../../crates/mica-layer/tests/it/build.rs"]
mod tars;
mod texts;
mod wire;

pub use image_documents::{archive, image};
pub use layer_forms::{compression, index, recon, tar, unpack};
pub use store_files::store;
pub use texts::reference;
pub use wire::fuse;
