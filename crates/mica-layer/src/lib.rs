//! One layer in its three forms, and the conversions between them.
//!
//! ```text
//!            unpack                       pack
//!   tar  ------------->  directory  ------------->  tar
//!    ^    (limits)      diff/ index       (upper)
//!    |                  recon
//!    +---------------------+
//!            rebuild
//! ```
//!
//! * [`tar`]: a pull parser for tar archives that loses no byte.
//! * [`unpack`]: a layer tar becomes `diff/` (ready for overlayfs), `index` and `recon` in one pass.
//! * [`Index`]: what the layer says, sorted, read from the file as it stands ([`index::format`]).
//! * [`rebuild`]: the very tar back, from `diff/`, `index` and `recon` ([`recon::format`]).
//!
//! Paths inside a layer are [`mica_core::RelPath`]; they are opened component by component below an open directory and
//! never through a symlink.
#![forbid(unsafe_code)]

mod error;
mod limits;
mod marks;
pub mod tar;

pub use error::{EntryError, LayerError, Result};
pub use limits::Limits;
pub use marks::Marks;
