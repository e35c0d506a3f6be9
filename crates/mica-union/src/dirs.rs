//! What a union is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mica_layer::Marks;

use crate::Records;

/// The directories of a union.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnionDirs {
    /// Changesets, topmost first. One that stands here twice counts at its topmost place; with none, the union shows the
    /// upper over an empty directory.
    pub lowers: Vec<PathBuf>,
    /// Where writes go; without one, the union is read-only.
    pub upper: Option<UpperDirs>,
    /// How the directories say "gone" and "opaque".
    pub marks: Marks,
    /// For each lower that has one, the index that says what is in it ([`mica_layer::Index`]): who reads indexes shows what they say, and the directory has the content. The FUSE
    /// union alone does.
    pub indexes: BTreeMap<PathBuf, PathBuf>,
    /// Where owners and modes are. The FUSE union alone knows of another place than the files themselves.
    pub records: Records,
}

/// The writable part of a union.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpperDirs {
    /// The changeset that is written to.
    pub upper: PathBuf,
    /// The driver's own directory, on the same mount as the upper; its content means nothing to anyone else.
    pub work: PathBuf,
    /// No sync reaches the disk. An upper so mounted cannot be mounted again, neither after a crash nor after a clean
    /// unmount: for what is thrown away in the end.
    pub volatile: bool,
}
