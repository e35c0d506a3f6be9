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
//! * [`pack`]: an upper becomes a layer tar, the same bytes for the same tree; [`apply_onto`]: it is brought onto a live
//!   directory.
//! * [`DirLayer`]: a directory with the kernel's [`Marks`], asked as a layer.
//! * [`UpperLayer`]: an upper over its stack ([`Below`]), in which what redirects, metacopies and joining files lead to is said in
//!   full; [`spell_out`]: a new upper that says so.
//! * [`Ability`], [`stand_in`], [`restore`]: what a store without privilege has on disk for what it cannot make, and the
//!   way back.
//! * [`decoder`], [`encoder`]: the compression around a tar.
//! * [`rebuild`]: the very tar back, from `diff/`, `index` and `recon` ([`recon::format`]).
//!
//! Paths inside a layer are [`mica_core::RelPath`]; they are opened component by component below an open directory and
//! never through a symlink.
#![forbid(unsafe_code)]

mod ability;
mod any_layer;
mod apply;
mod below;
mod compress;
mod dir_layer;
mod error;
mod expand;
pub mod index;
mod ladder;
mod limits;
mod marks;
mod over;
mod pack;
pub mod recon;
mod stand_in;
pub mod tar;
mod tree;
mod unpack;
mod whiteout;

pub use ability::{Ability, Ids, Privilege};
pub use any_layer::AnyLayer;
pub use apply::{Applied, Apply, ApplyError, Mounts, apply_onto};
pub use below::{Below, Files};
pub use compress::{Compression, CompressionError, Decoder, Encoder, decoder, decoder_within, encoder};
pub use dir_layer::{DirLayer, diff_upper};
pub use error::{EntryError, LayerError, Result};
pub use expand::{UpperLayer, leads_below, spell_out};
pub use index::Index;
pub use limits::Limits;
pub use marks::Marks;
pub use over::{Over, Reach};
pub use pack::{Pack, PackError, Packed, pack};
pub use recon::rebuild;
pub use stand_in::{StandIn, restore, stand_in};
pub use tree::TreeError;
pub use unpack::{Unpack, Unpacked, unpack};
pub use whiteout::make_whiteout;
