//! A store and the ways to show its stacks, opened for one command.

use std::path::PathBuf;

use mica_layer::Limits;
use mica_store::{Store, StoreError, StoreOptions};

use crate::error::{Error, Kind, Result};

/// Where an engine works.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The store.
    pub root: PathBuf,
    /// What does not outlive a boot.
    pub run_root: PathBuf,
}

/// What every verb works on.
#[derive(Debug)]
pub struct Engine {
    pub(crate) store: Store,
    pub(crate) limits: Limits,
}

impl Engine {
    /// Opens the store, making it where there is none.
    ///
    /// # Errors
    /// [`Kind::Denied`] for anyone but root; whatever keeps the store from being opened.
    pub fn open(options: &EngineOptions) -> Result<Self> {
        if mica_sys::process::effective_uid() != 0 {
            return Err(Error::new(
                Kind::Denied,
                "this needs root: without it this version works neither on stores nor on views",
            )
            .hinted("run it with sudo, or as root in a container or a virtual machine"));
        }
        let store = Store::open(&StoreOptions::new(&options.root, &options.run_root))
            .map_err(|error| not_opened(error, options))?;
        Ok(Self { store, limits: Limits::default() })
    }

    /// Where the store and what does not outlive a boot are, for a process that goes on after this one.
    #[must_use]
    pub fn options(&self) -> EngineOptions {
        EngineOptions { root: self.store.path().to_owned(), run_root: self.store.run_root().to_owned() }
    }
}

fn not_opened(error: StoreError, options: &EngineOptions) -> Error {
    let read_only = matches!(&error, StoreError::Sys(call) if call.is_read_only());
    let error = Error::from(error).while_(format_args!("open the store {:?}", options.root));
    if read_only {
        // A masked directory is an empty one that cannot be written.
        return error.hinted("inside of `mica try` the store is masked; name another with --root and --run-root");
    }
    error
}
