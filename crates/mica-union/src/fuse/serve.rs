//! A mount from its directories to its end.

mod options;

pub use options::{Options, OptionsError, Passthrough, Transport};
