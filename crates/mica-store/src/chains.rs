//! What a chain of layers needs to be shown by a driver that knows no index: its lowers, and where necessary one more.
//!
//! A layer is unpacked without its parents, so a directory that its tar only implies stands there with nobody's
//! attributes, and the kernel's overlayfs would show those. `fix/` is a lower on top of the chain that has just these
//! directories, as the topmost explicit statement describes them, and the files that a hard link shares with a lower
//! layer. Its directories merge with what is below and its files equal what must show, so it hides nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use mica_core::{Attrs, ChainId, DiffId, RelPath, Stack, Timestamp};
use mica_layer::Index;
use mica_sys::Lock;
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, What};
use crate::fix::{self, Fix};
use crate::layers::SealedLayer;
use crate::lease::{Kept, Made};
use crate::records::{self, DIR_MODE, Flush, Unknown};
use crate::store::{Store, release};

const CHAIN: &str = "chain.json";
const FIX: &str = "fix";

/// What a union takes to show a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lowers {
    /// The lowers, topmost first; a layer that stands twice in the chain is there once, at its topmost place. Empty for an
    /// image without layers.
    pub dirs: Vec<PathBuf>,
    /// The index of each of them that has one.
    pub indexes: BTreeMap<PathBuf, PathBuf>,
    /// What the root directory looks like: the upper's must, since a union shows the topmost one.
    pub root: Attrs,
}

/// `chain.json`: what was found out about a chain. May be deleted with its directory while no container runs on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ChainRecord {
    version: u32,
    chain: ChainId,
    /// Whether there is a fix/.
    fix: bool,
    root: RootRecord,
    #[serde(flatten)]
    other: Unknown,
}

/// A directory's attributes as a record has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RootRecord {
    mode: u32,
    uid: u32,
    gid: u32,
    /// Seconds and nanoseconds.
    mtime: (i64, u32),
    /// Names and values, byte by byte.
    #[serde(default)]
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl From<&Attrs> for RootRecord {
    fn from(attrs: &Attrs) -> Self {
        Self {
            mode: attrs.mode,
            uid: attrs.uid,
            gid: attrs.gid,
            mtime: (attrs.mtime.secs, attrs.mtime.nanos),
            xattrs: attrs.xattrs.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }
}

impl From<RootRecord> for Attrs {
    fn from(record: RootRecord) -> Self {
        Self {
            mode: record.mode & 0o7777,
            uid: record.uid,
            gid: record.gid,
            mtime: Timestamp { secs: record.mtime.0, nanos: record.mtime.1.min(999_999_999) },
            xattrs: record.xattrs.into_iter().collect(),
        }
    }
}

/// Topmost first, each once, at its topmost place. What a layer says a second time further down it has said before.
fn topmost_once(chain: &[DiffId]) -> Vec<DiffId> {
    let mut seen = BTreeSet::new();
    chain.iter().rev().filter(|layer| seen.insert(**layer)).copied().collect()
}

impl Store {
    /// What a union takes to show `chain`, base first. The first time that it is asked of a chain with implied directories
    /// this looks through those layers' indexes and may make the chain's `fix/`; from then on it reads one record.
    /// The caller has an image or a container that keeps the chain, or a lease.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a layer that is not here; [`StoreError::Layer`] for an index that cannot be read; or of
    /// a system call.
    pub fn lowers(&self, chain: &[DiffId]) -> Result<Lowers, StoreError> {
        let order = topmost_once(chain);
        let layers = order.iter().map(|layer| self.require_layer(layer)).collect::<Result<Vec<_>, _>>()?;
        let Some(id) = ChainId::of_layers(chain) else {
            return Ok(Lowers { dirs: Vec::new(), indexes: BTreeMap::new(), root: Attrs::implicit_directory() });
        };
        let record = match self.chain_record(&id)? {
            Some(record) => record,
            None => self.make_chain(id, &layers)?,
        };
        let mut dirs = Vec::with_capacity(layers.len() + 1);
        if record.fix {
            dirs.push(self.path().join("chains/sha256").join(id.hex()).join(FIX));
        }
        dirs.extend(layers.iter().map(SealedLayer::diff_path));
        let indexes = layers.iter().map(|layer| (layer.diff_path(), layer.index_path())).collect();
        Ok(Lowers { dirs, indexes, root: record.root.into() })
    }

    /// The chains that something is known about, in no order.
    pub(crate) fn chains(&self) -> Result<Vec<ChainId>, StoreError> {
        let entries = self.dirs.chains.read_dir()?;
        Ok(entries.iter().filter_map(|entry| ChainId::from_hex(std::str::from_utf8(&entry.name).ok()?).ok()).collect())
    }

    /// What is known of a chain; `None` when nothing is, or when it cannot be read: it is found out again then.
    fn chain_record(&self, id: &ChainId) -> Result<Option<ChainRecord>, StoreError> {
        let Some(dir) = self.dirs.chains.open_dir_if_there(id.hex().as_bytes())? else { return Ok(None) };
        match records::read::<ChainRecord>(What::Chain, &dir, CHAIN) {
            Ok(Some(record))
                if record.chain == *id && (!record.fix || dir.stat_if_there(FIX.as_bytes())?.is_some()) =>
            {
                Ok(Some(record))
            }
            Ok(_) | Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn make_chain(&self, id: ChainId, layers: &[SealedLayer]) -> Result<ChainRecord, StoreError> {
        let lease = self.lease()?;
        lease.keep(&[Kept::Chain(id)])?;
        let lock = Lock::exclusive(&self.dirs.digest_locks, id.hex().as_bytes())?;
        if let Some(made) = self.chain_record(&id)? {
            release(lock);
            lease.finish();
            return Ok(made);
        }
        let indexes = layers.iter().map(SealedLayer::index).collect::<Result<Vec<Index>, _>>()?;
        let stack = Stack::new(indexes);
        let wrong = |source| StoreError::Layer { layer: id.to_string(), source };
        let root = stack.resolve(&RelPath::root()).map_err(wrong)?;
        let root_attrs = root.map_or_else(Attrs::implicit_directory, |root| root.node.attrs);
        let fix = fix::needed(&stack).map_err(wrong)?;
        let record = ChainRecord {
            version: records::VERSION,
            chain: id,
            fix: !fix.is_empty(),
            root: RootRecord::from(&root_attrs),
            other: Unknown::new(),
        };
        let staging = lease.staging()?;
        let disk = staging.open_dir(b"")?;
        let draft = records::random_name()?;
        staging.mkdir(draft.as_bytes(), DIR_MODE)?;
        let dir = staging.open_dir(draft.as_bytes())?;
        if record.fix {
            dir.mkdir(FIX.as_bytes(), DIR_MODE)?;
            Fix { entries: &fix, layers, marks: self.marks() }.make(&dir.open_dir(FIX.as_bytes())?)?;
            // Its files are what a container sees, so they are flushed like a layer; without them the record is a cache.
            disk.syncfs()?;
        }
        let flush = if record.fix { Flush::Yes } else { Flush::No };
        records::write_file(&dir, CHAIN.as_bytes(), &records::encode(What::Chain, &record)?, flush)?;
        if record.fix {
            dir.sync()?;
        }
        if self.dirs.chains.stat_if_there(id.hex().as_bytes())?.is_some() {
            self.discard(&self.dirs.chains, id.hex().as_bytes())?;
        }
        lease.made(Made::Chain(id));
        staging.rename_noreplace(draft.as_bytes(), &self.dirs.chains, id.hex().as_bytes())?;
        if record.fix {
            self.dirs.chains.sync()?;
        }
        release(lock);
        lease.finish();
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_stands_twice_is_mounted_at_its_topmost_place() {
        let [a, b, c] = ["a", "b", "c"].map(|text| DiffId::of(text.as_bytes()));
        assert_eq!(topmost_once(&[a, b, a, c]), [c, a, b]);
        assert_eq!(topmost_once(&[a, a, a]), [a]);
        assert_eq!(topmost_once(&[]), []);
    }
}
