//! The union in user space: one server for one mount, which shows a stack with an optional upper and keeps what POSIX promises
//! over copy-up.
//!
//! ```text
//!   kernel  --bytes-->  channel  --Request-->  a Served: operations over tree, carry and content
//!           <--bytes--           <--Out-----
//! ```
//!
//! * [`wire`]: the protocol. Pure; knows nothing of unions.
//! * [`channel`]: threads that read requests and send answers.
//!
//! What it must do is `docs/design/0007-fuse-union.md`; which module does what, and what one may ask of another,
//! `docs/design/0008-fuse-inside.md`.

mod carry;
pub mod channel;
mod content;
mod driver;
mod ids;
mod ops;
mod serve;
mod tree;
mod union;
pub mod wire;

pub use driver::Fuse;
pub use ids::{IdRow, Ids, OVERFLOW, Squash};
pub use serve::{
    Options, OptionsError, Passthrough, Prepared, Program, Served, ServerError, Session, Transport, attend, listen,
    serve_inherited,
};

pub(crate) const NAME: &str = "fuse";
