//! A tree held against its manifest: what the upper must say, and whether it says it.
//!
//! One `statx` an entry; no content is read, but for files that lost a name.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use mica_core::{Name, RelPath};
use mica_sys::{Dir, FileKind, Metadata, SysError, Time};

use super::manifest::{Manifest, Record, Said, Stamp};
use super::{NAME, make};
use crate::UnionError;

/// What a tree says.
#[derive(Debug)]
pub(super) struct Scanned {
    /// The manifest of the tree as it is; the stamps of the upper's files are the old ones.
    pub(super) manifest: Manifest,
    /// All that the upper must speak of, the root excepted.
    pub(super) spoken: BTreeSet<RelPath>,
    /// Whether anything is not as the old manifest has it.
    pub(super) changed: bool,
}

/// Whether a file whose number of names is all that changed is still what the lowers have.
pub(super) type IsBelow<'a> = &'a dyn Fn(&RelPath) -> Result<bool, UnionError>;

/// Looks at all that is in `tree`. What changes at or after `clock` is looked at again the next time.
pub(super) fn scan(tree: &Dir, old: &Manifest, clock: Time, is_below: IsBelow<'_>) -> Result<Scanned, UnionError> {
    let mut scan = Scan {
        old,
        is_below,
        pending: Vec::new(),
        counted: HashSet::new(),
        found: Scanned {
            manifest: Manifest { lowers: old.lowers.clone(), ..Manifest::default() },
            spoken: BTreeSet::new(),
            changed: false,
        },
    };
    scan.all(tree)?;
    let mut found = scan.found;
    let above: BTreeSet<RelPath> = found.spoken.iter().flat_map(RelPath::ancestors).collect();
    for path in above.into_iter().filter(|path| !path.is_root()) {
        if let Some(record) = found.manifest.record_mut(&path)
            && record.said == Said::Nothing
        {
            record.said = COPIED_UP;
        }
        found.spoken.insert(path);
    }
    found.manifest.mark_late(clock);
    Ok(found)
}

const COPIED_UP: Said = Said::Node { copied_up: true, opaque: false };

fn scanning(path: &RelPath) -> impl Fn(SysError) -> UnionError + '_ {
    |source| UnionError::Settle { driver: NAME, path: path.clone(), source }
}

struct Scan<'a> {
    old: &'a Manifest,
    is_below: IsBelow<'a>,
    /// Directories to look at, and whether the manifest speaks of what is in them.
    pending: Vec<(RelPath, bool)>,
    /// Files of several names that are in the sum.
    counted: HashSet<u64>,
    found: Scanned,
}

impl Scan<'_> {
    fn all(&mut self, tree: &Dir) -> Result<(), UnionError> {
        let root = RelPath::root();
        let found = tree.metadata_born().map_err(scanning(&root))?;
        self.count(&found.0);
        let seen = Stamp::of(&found);
        let was = self.old.root;
        self.found.changed |= was.late || was.seen != Some(seen);
        self.found.manifest.root = Record { seen: Some(seen), late: false, ..was };
        self.pending.push((root, true));
        while let Some((path, known)) = self.pending.pop() {
            let dir = match make::open_below(tree, &path) {
                Ok(dir) => dir,
                // It went while a running container was looked at.
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(scanning(&path)(error)),
            };
            self.directory(&dir, &path, known)?;
        }
        Ok(())
    }

    fn directory(&mut self, dir: &Dir, path: &RelPath, known: bool) -> Result<(), UnionError> {
        let none = BTreeMap::new();
        let old = self.old.directories.get(path).filter(|_| known).unwrap_or(&none);
        let mut records = BTreeMap::new();
        for entry in dir.read_dir().map_err(scanning(path))? {
            let Ok(name) = Name::new(&entry.name) else { continue };
            let inner = path.join(&name);
            let Some(found) = dir.stat_born(name.as_bytes()).map_err(scanning(&inner))? else { continue };
            self.count(&found.0);
            let was = old.get(&name).copied().unwrap_or_default();
            let record = self.entry(&inner, was, found.0.kind, Stamp::of(&found))?;
            records.insert(name, record);
        }
        for (name, was) in old {
            if !records.contains_key(name) {
                self.found.changed |= was.seen.is_some();
                let said = if was.below { Said::Whiteout } else { Said::Nothing };
                if was.below {
                    self.found.spoken.insert(path.join(name));
                    records.insert(name.clone(), Record { seen: None, late: false, said, ..*was });
                }
            }
        }
        if !records.is_empty() {
            self.found.manifest.directories.insert(path.clone(), records);
        }
        Ok(())
    }

    fn count(&mut self, found: &Metadata) {
        if found.kind == FileKind::Directory || found.nlink == 1 || self.counted.insert(found.ino) {
            self.found.manifest.taken += found.bytes_on_disk();
        }
    }

    fn entry(&mut self, path: &RelPath, was: Record, kind: FileKind, seen: Stamp) -> Result<Record, UnionError> {
        let is_same = was.seen.is_some_and(|old| old.is_same_file(&seen));
        let mut is_changed = was.late || was.seen != Some(seen);
        let record = Record { seen: Some(seen), late: false, ..was };
        let lost_names = was.seen.is_some_and(|old| old.lost_only_names(&seen));
        if is_changed && kind != FileKind::Directory && lost_names && was.said == Said::Nothing && !was.late {
            is_changed = !(self.is_below)(path)?;
            // The next look shall see no change; the upper need not be written for it.
        }
        self.found.changed |= is_changed;
        let said = match was.said {
            said @ Said::Node { .. } if is_same => said,
            Said::Nothing if is_same && !is_changed => Said::Nothing,
            _ if is_same => COPIED_UP,
            // Anything may have stood here; what is below must not show through a directory.
            _ => Said::Node { copied_up: false, opaque: kind == FileKind::Directory && was.below },
        };
        if said != Said::Nothing {
            self.found.spoken.insert(path.clone());
        }
        if kind == FileKind::Directory {
            self.pending.push((path.clone(), is_same));
        }
        Ok(Record { said, ..record })
    }
}
