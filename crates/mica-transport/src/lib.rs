//! The doors images come and go by.
#![forbid(unsafe_code)]
mod reference;
pub use reference::{Reference, ReferenceError};
