//! `work/flat`: a tree with its manifest, and how both come to stand there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mica_core::RelPath;
use mica_sys::{Dir, Errno, SysError, Time};

use super::manifest::{BEGINNING, Manifest, Stamp};
use super::{NAME, make};
use crate::{Role, UnionError, UpperDirs};

const HOME: &[u8] = b"flat";
const STAGING: &[u8] = b"flat.new";
const CLOCK: &[u8] = b"flat.clock";
pub(super) const TREE: &[u8] = b"tree";
const UPPER: &[u8] = b"upper";
const MANIFEST: &[u8] = b"manifest";
const NEW_MANIFEST: &[u8] = b"manifest.new";

/// The most that a manifest may weigh: some ten million paths.
const MOST: u64 = 2 << 30;

/// Whether what is written must outlive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    Yes,
    No,
}

/// A work directory.
pub(super) struct Work {
    dir: Dir,
    path: PathBuf,
    flush: Flush,
}

/// A tree that stands, with its manifest.
pub(super) struct Home {
    pub(super) dir: Dir,
    pub(super) manifest: Manifest,
}

impl Work {
    /// The work directory of an upper; `None` where it is not there.
    pub(super) fn open_if_there(upper: &UpperDirs) -> Result<Option<Self>, UnionError> {
        match Self::open(upper) {
            Err(UnionError::Open { source, .. }) if source.is_not_found() => Ok(None),
            opened => opened.map(Some),
        }
    }

    pub(super) fn open(upper: &UpperDirs) -> Result<Self, UnionError> {
        let dir =
            Dir::open(&upper.work).map_err(|source| UnionError::Open { driver: NAME, role: Role::Work, source })?;
        let flush = if upper.volatile { Flush::No } else { Flush::Yes };
        Ok(Self { dir, path: upper.work.clone(), flush })
    }

    fn refused(&self) -> impl Fn(SysError) -> UnionError + '_ {
        |source| UnionError::Work { driver: NAME, work: self.path.clone(), source }
    }

    /// The tree that stands here; `None` where none does. Finishes a settling that was cut off: `upper` is the inode
    /// number of the upper.
    pub(super) fn home(&self, upper: u64) -> Result<Option<Home>, UnionError> {
        let Some(dir) = self.dir.open_dir_if_there(HOME).map_err(self.refused())? else { return Ok(None) };
        if let Some(bytes) = dir.read_if_there(NEW_MANIFEST, MOST).map_err(self.refused())? {
            match Manifest::decode(&bytes) {
                Some(new) if new.upper_root.ino == upper => {
                    dir.rename(NEW_MANIFEST, &dir, MANIFEST).map_err(self.refused())?;
                    return Ok(Some(Home { dir, manifest: new }));
                }
                // Its upper was not put in place: it is flushed before that, so neither was that of one that was cut off.
                _ => dir.unlink(NEW_MANIFEST).map_err(self.refused())?,
            }
        }
        let bytes = dir.read_if_there(MANIFEST, MOST).map_err(self.refused())?;
        match bytes.as_deref().and_then(Manifest::decode) {
            Some(manifest) => Ok(Some(Home { dir, manifest })),
            None => Err(UnionError::Manifest { driver: NAME, path: self.path.join("flat/manifest") }),
        }
    }

    /// Bytes on disk of the tree and of what is remembered of it. Nothing is known of a manifest that is not understood.
    pub(super) fn taken(&self) -> Result<u64, UnionError> {
        let taken = || -> Result<u64, SysError> {
            let Some(home) = self.dir.open_dir_if_there(HOME)? else { return Ok(0) };
            let Some(manifest) = home.open_file_if_there(MANIFEST)? else { return Ok(0) };
            let mut beginning = [0; BEGINNING];
            let read = manifest.read_at(&mut beginning, 0)?;
            let tree = beginning.get(..read).and_then(Manifest::taken_of).unwrap_or(0);
            Ok(tree + manifest.metadata()?.bytes_on_disk())
        };
        taken().map_err(self.refused())
    }

    /// Throws the tree away.
    pub(super) fn discard(&self) -> Result<(), UnionError> {
        self.clear()?;
        // A half of a tree must not stand where a whole one is looked for.
        self.dir.rename(HOME, &self.dir, STAGING).map_err(self.refused())?;
        self.clear()
    }

    /// An empty place for what is in the making, with an empty `name` in it.
    fn stage(&self, name: &[u8]) -> Result<(Dir, Dir), UnionError> {
        self.clear()?;
        let staging = make::make_root(&self.dir, STAGING).map_err(self.refused())?;
        let made = make::make_root(&staging, name).map_err(self.refused())?;
        Ok((staging, made))
    }

    fn clear(&self) -> Result<(), UnionError> {
        self.dir.remove_tree(STAGING).map_err(self.refused())
    }

    /// Takes away what is half made, for an error that says more than what may stay.
    fn give_up(&self, error: UnionError) -> UnionError {
        // ignored: the next use of this directory begins with it.
        drop(self.clear());
        error
    }

    /// Makes a tree by `fill`, which is given the tree and the directory it is made in, and puts it in place whole.
    pub(super) fn make_tree(
        &self,
        fill: impl FnOnce(&Dir, &Dir) -> Result<Manifest, UnionError>,
    ) -> Result<Home, UnionError> {
        let made = self.stage(TREE).and_then(|(staging, tree)| {
            let mut manifest = fill(&tree, &staging)?;
            manifest.mark_late(self.tick()?);
            self.write(&staging, MANIFEST, &manifest)?;
            if self.flush == Flush::Yes {
                tree.syncfs().map_err(self.refused())?;
            }
            self.dir.rename_noreplace(STAGING, &self.dir, HOME).map_err(self.refused())?;
            Ok(Home { dir: staging, manifest })
        });
        let home = made.map_err(|error| self.give_up(error))?;
        if self.flush == Flush::Yes {
            self.dir.sync().map_err(self.refused())?;
        }
        Ok(home)
    }

    /// Makes an upper by `fill` and exchanges it with the one at `path`.
    pub(super) fn make_upper(
        &self,
        home: &Home,
        path: &Path,
        fill: impl FnOnce(&Dir) -> Result<Manifest, UnionError>,
    ) -> Result<(), UnionError> {
        let put = self.stage(UPPER).and_then(|(staging, upper)| {
            let manifest = fill(&upper)?;
            self.write(&home.dir, NEW_MANIFEST, &manifest)?;
            if self.flush == Flush::Yes {
                upper.syncfs().map_err(self.refused())?;
            }
            exchange(&staging, path)
        });
        put.map_err(|error| self.give_up(error))?;
        // From here on the new upper stands, and the next use of this directory would go on from any error.
        if self.flush == Flush::Yes {
            parent_of(path).and_then(|parent| parent.sync()).map_err(self.refused())?;
        }
        home.dir.rename(NEW_MANIFEST, &home.dir, MANIFEST).map_err(self.refused())?;
        self.clear()
    }

    fn write(&self, dir: &Dir, name: &[u8], manifest: &Manifest) -> Result<(), UnionError> {
        let written = dir.create_file(name, 0o600).and_then(|mut file| file.write_whole(&manifest.encode()));
        if written.is_err() {
            // ignored: as in `give_up`; a manifest that was cut off is none.
            drop(dir.unlink(name));
        }
        written.map_err(self.refused())
    }

    /// Waits until the clock of the file system has moved, and gives its time: all that was changed before has an earlier
    /// one, all that is changed after has this one or a later.
    pub(super) fn tick(&self) -> Result<Time, UnionError> {
        let ticked = self.dir.remove_tree(CLOCK).and_then(|()| {
            let file = self.dir.create_file(CLOCK, 0o600)?;
            let start = file.metadata()?.ctime;
            // Some file systems count whole seconds; beyond that what changed just now is looked at again.
            for _ in 0..6000 {
                file.set_mode(0o600)?;
                let now = file.metadata()?.ctime;
                if now > start {
                    return Ok(now);
                }
                std::thread::sleep(std::time::Duration::from_micros(500));
            }
            Ok(start)
        });
        let removed = self.dir.remove_tree(CLOCK);
        ticked.and_then(|time| removed.map(|()| time)).map_err(self.refused())
    }
}

fn parent_of(upper: &Path) -> Result<Dir, SysError> {
    let parent = upper.parent().filter(|parent| !parent.as_os_str().is_empty());
    Dir::open(parent.unwrap_or_else(|| Path::new(".")))
}

fn exchange(staging: &Dir, upper: &Path) -> Result<(), UnionError> {
    let refused = |source| UnionError::Settle { driver: NAME, path: RelPath::root(), source };
    let name = upper.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
    parent_of(upper).and_then(|parent| staging.exchange(UPPER, &parent, name)).map_err(refused)
}

/// Whether the upper says what the manifest has of it and no more.
pub(super) fn is_as_recorded(manifest: &Manifest, upper: &Dir) -> Result<bool, UnionError> {
    let wrong = |source| UnionError::Open { driver: NAME, role: Role::Upper, source };
    // overlayfs gives a directory the time back that it had before a copy-up into it, and of the root the ctime is not
    // known: its names tell. Every other directory has another ctime then.
    let names: BTreeSet<Vec<u8>> = upper.read_dir().map_err(wrong)?.into_iter().map(|entry| entry.name).collect();
    let root = manifest.directories.get(&RelPath::root()).into_iter().flatten();
    let recorded = root.filter(|(_, record)| record.upper.is_some()).map(|(name, _)| name.as_bytes());
    if !names.iter().map(Vec::as_slice).eq(recorded) {
        return Ok(false);
    }
    for (path, records) in &manifest.directories {
        if records.values().all(|record| record.upper.is_none()) {
            continue;
        }
        let dir = match make::open_below(upper, path) {
            Ok(dir) => dir,
            Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            Err(error) => return Err(wrong(error)),
        };
        for (name, record) in records {
            if let Some(was) = record.upper {
                let now = dir.stat_born(name.as_bytes()).map_err(wrong)?;
                if now.as_ref().map(Stamp::of) != Some(was) {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}
