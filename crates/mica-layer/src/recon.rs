//! `recon`: what brings a layer's tar back, bit for bit, from the directory that it became.

pub mod format;
mod read;
mod rebuild;
mod write;

pub use rebuild::rebuild;
pub use write::{BodyPlace, ReconWriter};

const fn corrupt(problem: &'static str) -> crate::LayerError {
    crate::LayerError::Recon { problem }
}
