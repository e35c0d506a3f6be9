//! A store and the ways to show its stacks, opened for one command.

use std::path::{Path, PathBuf};

use mica_layer::Marks;
use mica_store::{Owners, Ownership, Store, StoreError, StoreOptions};

use crate::error::{Error, Kind, Result};
use crate::limits::Limits;
use crate::standing::Standing;

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
    pub(crate) standing: Standing,
}

impl Engine {
    /// Opens the store, making it where there is none, with the marks and owners of where this process stands.
    ///
    /// # Errors
    /// A store of another user, or made with other marks, owners or rows; a path that is not UTF-8; whatever else keeps it from being opened.
    pub fn open(options: &EngineOptions, standing: &Standing) -> Result<Self> {
        [&options.root, &options.run_root].into_iter().try_for_each(|path| in_words(path))?;
        let rows = |rows: &[mica_sys::process::IdRow]| rows.iter().copied().map(Into::into).collect();
        let store = Store::open(&StoreOptions {
            marks: standing.marks(),
            owners: standing.owners(),
            idmap: rows(&standing.maps().uids),
            gidmap: rows(&standing.maps().gids),
            ..StoreOptions::new(&options.root, &options.run_root)
        })
        .map_err(|error| not_opened(error, options, standing))?;
        Ok(Self { store, limits: Limits::default(), standing: standing.clone() })
    }

    /// Whether there is a store that root of this machine made. One that cannot be read is none.
    #[must_use]
    pub fn is_roots(root: &Path) -> bool {
        Store::marks_of(root).is_ok_and(|marks| marks == Some(Marks::Trusted))
    }

    /// The same with other limits for what it takes in.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Where this process stands.
    #[must_use]
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What a user should be told once, when the store was made: that it keeps owners in its indexes alone, and why.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let shortage = self.standing.shortage().filter(|_| self.store.was_made())?;
        Some(format!(
            "{shortage}, so one ID is all that this store maps: owners stand in its indexes, and a container's programs run as root alone; for a \
             store that maps more: {}, before it is made",
            shortage.remedy()
        ))
    }

    /// Where the store and what does not outlive a boot are, for a process that goes on after this one.
    #[must_use]
    pub fn options(&self) -> EngineOptions {
        EngineOptions { root: self.store.path().to_owned(), run_root: self.store.run_root().to_owned() }
    }
}

/// Refuses a path that is not UTF-8: the spec of a container, which is JSON, names places below it.
fn in_words(path: &Path) -> Result<()> {
    let whole =
        std::path::absolute(path).map_err(|error| Error::because(Kind::System, format!("find {path:?}"), error))?;
    match whole.to_str() {
        Some(_) => Ok(()),
        None => {
            Err(Error::new(Kind::Usage, format!("{whole:?} is not UTF-8, and no container could be started there"))
                .hinted("name another directory with --root and --run-root"))
        }
    }
}

fn not_opened(error: StoreError, options: &EngineOptions, standing: &Standing) -> Error {
    let read_only = matches!(&error, StoreError::Sys(call) if call.is_read_only());
    let denied = matches!(&error, StoreError::Sys(call) if call.is_denied()) && !standing.is_root();
    let other = match &error {
        StoreError::OtherOwnership { made, .. } => Some(other_ownership(made, options, standing)),
        _ => None,
    };
    let error = Error::from(error).while_(format_args!("open the store {:?}", options.root));
    if read_only {
        // A masked directory is an empty one that cannot be written.
        return error.hinted("inside of `mica try` the store is masked; name another with --root and --run-root");
    }
    if let Some(hint) = other {
        return error.hinted(hint);
    }
    if denied {
        return error.hinted("it is not this user's to open; name a directory of your own with --root or MICA_ROOT");
    }
    error
}

/// What to do about a store that was made by who stood elsewhere.
fn other_ownership(made: &Ownership, options: &EngineOptions, standing: &Standing) -> String {
    let root = options.root.display();
    let carry = format!(
        "another --root, and carry images over: `mica save` from this one, `mica load` into that one (or remove this one: `mica unshare rm -rf {root}`)"
    );
    match (made.owners, standing.owners()) {
        (Owners::Native, _) | (_, Owners::Native) => {
            "stand where it was made (as root of this machine, or not), or name another store with --root".to_owned()
        }
        (Owners::Single, _) => format!(
            "it was made when this user had one ID, and its owners stand in its indexes alone; name {carry}; `unshare -r mica …` still opens it"
        ),
        (_, Owners::Single) => match standing.shortage() {
            Some(shortage) => format!("{shortage}: {}; or name another store with --root", shortage.remedy()),
            None => "this user namespace maps one ID; leave it, or name another store with --root".to_owned(),
        },
        _ => format!(
            "its files' owners would mean other users: put the ranges in /etc/subuid and /etc/subgid back, or name {carry}"
        ),
    }
}
