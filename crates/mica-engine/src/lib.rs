//! What users ask for, in functions that return data.
//!
//! Every front end is thin over an [`Engine`]: it is opened on a store, and each verb is a method in a file of its own.
//! Nothing here prints, reads the environment or exits; long work tells a [`progress::Progress`], and an [`Error`] says what
//! kind of thing went wrong and what to try.
#![forbid(unsafe_code)]

mod artifact;
pub mod change;
mod commit;
mod container;
mod convert;
mod diff;
mod drivers;
mod engine;
mod error;
mod find;
mod images;
mod import;
mod inspect;
mod layers;
mod limits;
mod load;
mod manifest;
mod mounting;
mod output;
pub mod progress;
mod save;
mod spread;
mod standing;
mod system;
mod trying;

pub use artifact::ArtifactSummary;
pub use commit::Commit;
pub use container::{ContainerSummary, Create, Ended, Life, Network};
pub use drivers::{DRIVERS, Probed, is_server, server_main};
pub use engine::{Engine, EngineOptions};
pub use error::{Error, Kind, Result};
pub use images::{HistoryStep, ImageSummary, Removed};
pub use import::{Import, ImportSource};
pub use inspect::Inspected;
pub use layers::LayerSummary;
pub use limits::Limits;
pub use load::{Load, LoadFrom, Loaded, LoadedAll};
pub use mica_store::Usage;
pub use mica_sys::fault;
pub use mica_sys::process::IdRow;
pub use mica_transport::{Platforms, Reference};
pub use output::{write_file, write_stream};
pub use save::{Save, SaveForm, SaveTo};
pub use standing::{Shortage, Standing};
pub use system::{CheckReport, Info, Pruned};
pub use trying::{Applied, ApplyPlan, Prepared, Real, Tried, Try};

/// Whether this process was started by the runtime to become a container's init: `main` asks this before anything else, and
/// then returns what [`child_main`] returns.
pub use mica_runtime::{child_main, is_child};
