//! What a store is asked to be: where, whose, with which marks and owners.

use std::fmt;
use std::path::PathBuf;

use mica_layer::{Ability, Ids, Marks};
use serde::{Deserialize, Serialize};

/// How the owners that layers name stand on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owners {
    /// As they are: root's store.
    #[default]
    Native,
    /// Through the store's ID map: an unprivileged store with subordinate IDs.
    Mapped,
    /// All as the store's owner: an unprivileged store without them.
    Single,
}

impl Owners {
    /// The word that the record has.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Mapped => "mapped",
            Self::Single => "single",
        }
    }
}

/// One row of an ID map, as `/proc/self/uid_map` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRow {
    /// First ID inside.
    pub container: u32,
    /// First ID outside.
    pub host: u32,
    /// How many.
    pub size: u32,
}

impl From<mica_sys::process::IdRow> for IdRow {
    fn from(row: mica_sys::process::IdRow) -> Self {
        Self { container: row.inside, host: row.outside, size: row.count }
    }
}

impl fmt::Display for IdRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.container, self.host, self.size)
    }
}

/// What to do when there is no store at the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missing {
    /// Make one.
    #[default]
    Create,
    /// Say that there is none.
    Refuse,
}

/// What a store is asked to be.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The store's directory.
    pub root: PathBuf,
    /// Where mounts and sockets of running containers stand; nothing in it outlives the machine's uptime. Made when it is
    /// missing.
    pub run_root: PathBuf,
    /// What to do when there is no store.
    pub missing: Missing,
    /// Whose extended attributes the layers' marks are.
    pub marks: Marks,
    /// How owners stand on disk.
    pub owners: Owners,
    /// The rows of users, in the order of the IDs inside; none for [`Owners::Native`].
    pub idmap: Vec<IdRow>,
    /// The rows of groups.
    pub gidmap: Vec<IdRow>,
}

/// The IDs inside that rows map; without rows, the owner's own alone.
fn ids(rows: &[IdRow]) -> Ids {
    match rows {
        [] => Ids::root_alone(),
        rows => Ids::Mapped(rows.iter().map(|row| (row.container, row.size)).collect()),
    }
}

impl StoreOptions {
    /// What whoever opens the store so can put on its disk.
    pub(crate) fn ability(&self) -> Ability {
        match self.owners {
            Owners::Native => Ability::native(),
            Owners::Mapped | Owners::Single => Ability::namespaced(ids(&self.idmap), ids(&self.gidmap)),
        }
    }

    /// A store of root's own, made when it is missing.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, run_root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            run_root: run_root.into(),
            missing: Missing::Create,
            marks: Marks::Trusted,
            owners: Owners::Native,
            idmap: Vec::new(),
            gidmap: Vec::new(),
        }
    }
}
