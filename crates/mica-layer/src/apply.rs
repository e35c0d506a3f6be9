//! A changeset brought onto a live directory tree: `mica apply`.
//!
//! What is replaced is replaced in one step, by renaming: a crash leaves the old file or the new one, and a program that
//! runs keeps the file it has open. (A directory that overlayfs does not rename is removed where it is.) A directory is filled first and gets its attributes last. Nothing is reached through
//! a symlink of the target, and no mount point is crossed unless that is asked for ([`Mounts`]). Until its rename a new file stands beside the old one as
//! `.mica-apply-N`; after a crash one such name may be left, and may be deleted.

use std::collections::{BTreeSet, HashMap};

use mica_core::{Attrs, Change, ChangeKind, Kind, LayerEntry, Name, Node, RelPath};
use mica_sys::{Dir, Errno, FileKind, SysError};

use crate::ladder::Ladder;
use crate::tree::{look, look_at_self, reading, sorted_names};
use crate::{Ability, LayerError, Marks, stand_in};

mod place;

use place::Place;

/// How an upper is applied.
#[derive(Debug, Clone, Default)]
pub struct Apply {
    /// The marks that the upper was written with.
    pub marks: Marks,
    /// The attributes of the root that the upper was made over. The target's root is touched only where the upper's has
    /// another mode, owner or extended attributes than these. `None`: it is never touched.
    pub root: Option<Attrs>,
    /// What is done where something is mounted in the target.
    pub mounts: Mounts,
    /// What could be put on the upper's disk: a directory of the target that could stand there only as the upper's does is the same as that.
    pub ability: Ability,
    /// An owner or group that nobody is given: the one which a user namespace shows for those that it does not map. What is new is the caller's then,
    /// and what is there stays whose it is.
    pub others: Option<u32>,
}

/// What is done where something is mounted in the target of an [`Apply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mounts {
    /// It is refused ([`ApplyError::MountPoint`]): the upper stood over one file system.
    #[default]
    Refused,
    /// What is mounted is changed: the upper stood over all of it. A mount point is neither removed nor replaced.
    Entered,
}

impl Mounts {
    /// How a directory of the target is opened. On the way to what changed may be one that this process can pass through and not list.
    fn open(self) -> crate::ladder::Open {
        match self {
            Self::Refused => Dir::open_dir_or_place_same_mount,
            Self::Entered => Dir::open_dir_or_place,
        }
    }
}

/// What was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// How many changes were reported.
    pub changes: u64,
    /// Sockets of the upper, which were left out.
    pub skipped: Vec<RelPath>,
}

/// Why a changeset could not be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// It was applied in part.
    #[error("stopped after {applied} changes, which stay")]
    Stopped {
        /// Changes that were made and reported.
        applied: u64,
        /// What went wrong then.
        source: Box<LayerError>,
    },
    /// A call on the target was refused.
    #[error("cannot change {path}")]
    Target {
        /// What was to be changed.
        path: RelPath,
        /// The refused call.
        source: SysError,
    },
    /// The changes are those of one file system; this leads to another.
    #[error("{path} is a mount point, and what is mounted there is not part of the changes")]
    MountPoint {
        /// The mount point.
        path: RelPath,
    },
}

/// Names a refused call on the target by its path; a mount point in the way by what it is.
fn changing(path: &RelPath) -> impl Fn(SysError) -> LayerError + '_ {
    |source| match source.errno() {
        Errno::XDEV if source.call() == "openat2" => ApplyError::MountPoint { path: path.clone() }.into(),
        _ => ApplyError::Target { path: path.clone(), source }.into(),
    }
}

/// Brings the changes of `upper` onto `target` and calls `on` after each. All is flushed to disk at the end.
///
/// A change is reported when it is done: a new directory before what is in it, a changed one after.
///
/// # Errors
/// [`ApplyError::Stopped`] with the reason; the changes that were reported are made, the others are not, and a directory
/// that was being filled may still have the attributes of before.
pub fn apply_onto(upper: &Dir, how: &Apply, target: &Dir, on: &mut dyn FnMut(&Change)) -> Result<Applied, LayerError> {
    let mut applier = Applier {
        marks: how.marks,
        target,
        on,
        changes: 0,
        skipped: Vec::new(),
        groups: HashMap::new(),
        place: Place::new(how),
        mounts: how.mounts,
        ability: how.ability.clone(),
    };
    match applier.all(upper, how.root.as_ref()) {
        Ok(()) => Ok(Applied { changes: applier.changes, skipped: applier.skipped }),
        Err(source) => Err(ApplyError::Stopped { applied: applier.changes, source: Box::new(source) }.into()),
    }
}

struct Applier<'a> {
    marks: Marks,
    target: &'a Dir,
    on: &'a mut dyn FnMut(&Change),
    changes: u64,
    skipped: Vec<RelPath>,
    /// Where the first name of each file with several names stands by now.
    groups: HashMap<(u64, u64), (RelPath, Name)>,
    place: Place,
    mounts: Mounts,
    ability: Ability,
}

/// A directory of the walk.
struct Level {
    path: RelPath,
    names: std::vec::IntoIter<Name>,
    /// Nothing of the target's own shows here.
    replaced: bool,
    /// What is left to do when it is filled; `None` when its attributes are right already.
    last: Option<Last>,
}

struct Last {
    attrs: Attrs,
    /// In what they are others than before.
    differs: Differs,
    /// Whether this is a change that was not reported yet.
    report: bool,
}

/// In what the attributes of a directory differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Differs {
    Nothing,
    TimeAlone,
    More,
}

impl Applier<'_> {
    fn say(&mut self, path: &RelPath, kind: ChangeKind) {
        self.changes += 1;
        (self.on)(&Change { path: path.clone(), kind });
    }

    fn all(&mut self, upper: &Dir, below: Option<&Attrs>) -> Result<(), LayerError> {
        let path = RelPath::root();
        let root = look_at_self(upper, &path, Some(self.marks))?;
        let replaced = matches!(root.kind, Kind::Directory { opaque: true, .. });
        let names = sorted_names(upper, &path)?;
        if replaced {
            self.clear(self.target, &path, &names)?;
        }
        self.tree(upper, Level { path: path.clone(), names: names.into_iter(), replaced, last: None })?;
        if below.is_some_and(|below| Attrs { mtime: below.mtime, ..root.attrs.clone() } != *below) {
            self.place.own_attrs(self.target, &root.attrs).map_err(changing(&path))?;
        }
        self.target.syncfs().map_err(changing(&path))
    }

    fn tree(&mut self, upper: &Dir, root: Level) -> Result<(), LayerError> {
        let mut from = Ladder::new(upper, Dir::open_dir);
        let mut to = Ladder::new(self.target, self.mounts.open());
        let mut levels = vec![root];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                from.step_out();
                to.step_out();
                if let Some(Level { path, last: Some(last), .. }) = levels.pop() {
                    let parent = to.here().map_err(changing(&path))?;
                    self.finish(parent, &path, &last)?;
                }
                continue;
            };
            let path = level.path.join(&name);
            let source = from.here().map_err(reading(&level.path))?;
            let dir = to.here().map_err(changing(&level.path))?;
            let Some(seen) = look(source, name.as_bytes(), &path, Some(self.marks))? else { continue };
            let node = match seen.entry {
                LayerEntry::Whiteout => {
                    self.delete(dir, &name, &path)?;
                    continue;
                }
                LayerEntry::Node(node) => node,
            };
            if node.kind.is_directory() {
                let inner = source.open_dir(name.as_bytes()).map_err(reading(&path))?;
                let names = sorted_names(&inner, &path)?;
                let (level, entered) = self.directory(dir, (&name, path), &node, names, level.replaced)?;
                from.step_in(&level.path, inner);
                to.step_in(&level.path, entered);
                levels.push(level);
            } else {
                let file = (seen.metadata.dev, seen.metadata.ino);
                self.file((source, dir), &name, &path, &node, file)?;
            }
        }
        Ok(())
    }

    fn delete(&mut self, dir: &Dir, name: &Name, path: &RelPath) -> Result<(), LayerError> {
        let Some(old) = dir.stat_if_there(name.as_bytes()).map_err(changing(path))? else {
            return Ok(());
        };
        self.place.remove(dir, name.as_bytes(), old.kind, path)?;
        self.say(path, ChangeKind::Deleted);
        Ok(())
    }

    /// Deletes what the target has in `dir` and the upper does not name. What it names follows in the walk.
    fn clear(&mut self, dir: &Dir, path: &RelPath, named: &[Name]) -> Result<(), LayerError> {
        let named: BTreeSet<&[u8]> = named.iter().map(Name::as_bytes).collect();
        for name in sorted_names(dir, path)? {
            if !named.contains(name.as_bytes()) {
                self.delete(dir, &name, &path.join(&name))?;
            }
        }
        Ok(())
    }

    /// Makes or enters a directory of the target; gives what is to be walked next, and the directory.
    fn directory(
        &mut self,
        dir: &Dir,
        (name, path): (&Name, RelPath),
        node: &Node,
        names: Vec<Name>,
        parent_replaced: bool,
    ) -> Result<(Level, Dir), LayerError> {
        let wrong = changing(&path);
        let old = dir.stat_if_there(name.as_bytes()).map_err(&wrong)?;
        let opaque = matches!(node.kind, Kind::Directory { opaque: true, .. });
        let replaced = opaque || parent_replaced;
        let last = match old {
            Some(old) if old.kind == FileKind::Directory => {
                let entered = self.mounts.open()(dir, name.as_bytes()).map_err(&wrong)?;
                if replaced {
                    self.clear(&entered, &path, &names)?;
                }
                let now = look(dir, name.as_bytes(), &path, Some(self.marks))?.map(|seen| seen.entry);
                let Some(LayerEntry::Node(now)) = now else {
                    return Err(wrong(SysError::new("statx", name.as_bytes(), Errno::NOENT)));
                };
                let stands = stand_in(&now.kind, &now.attrs, &self.ability).attrs;
                let differs = match &*stands {
                    stands if *stands == node.attrs => Differs::Nothing,
                    stands if Attrs { mtime: node.attrs.mtime, ..stands.clone() } == node.attrs => Differs::TimeAlone,
                    _ => Differs::More,
                };
                let report = replaced || differs != Differs::Nothing;
                Some(Last { attrs: node.attrs.clone(), differs, report })
            }
            Some(_) => {
                self.place.directory_over(dir, name.as_bytes(), &path)?;
                self.say(&path, ChangeKind::Changed);
                Some(Last { attrs: node.attrs.clone(), differs: Differs::More, report: false })
            }
            None => {
                dir.mkdir(name.as_bytes(), 0o700).map_err(&wrong)?;
                self.say(&path, ChangeKind::Added);
                Some(Last { attrs: node.attrs.clone(), differs: Differs::More, report: false })
            }
        };
        let entered = self.mounts.open()(dir, name.as_bytes()).map_err(&wrong)?;
        drop(wrong);
        Ok((Level { path, names: names.into_iter(), replaced, last }, entered))
    }

    /// Attributes come last: filling a directory moves its time, and a read-only one could not be filled.
    fn finish(&mut self, parent: &Dir, path: &RelPath, last: &Last) -> Result<(), LayerError> {
        let Some(name) = path.name() else { return Ok(()) };
        match last.differs {
            Differs::More => self.place.attrs(parent, name.as_bytes(), FileKind::Directory, &last.attrs),
            Differs::Nothing | Differs::TimeAlone => match self.place.time(parent, name.as_bytes(), last.attrs.mtime) {
                // It is somebody else's, and had its time from what is made in it by all who may.
                Err(error) if error.is_denied() => return Ok(()),
                set => set,
            },
        }
        .map_err(changing(path))?;
        if last.report {
            self.say(path, ChangeKind::Changed);
        }
        Ok(())
    }

    fn file(
        &mut self,
        (source, dir): (&Dir, &Dir),
        name: &Name,
        path: &RelPath,
        node: &Node,
        file: (u64, u64),
    ) -> Result<(), LayerError> {
        if matches!(node.kind, Kind::Socket) {
            self.skipped.push(path.clone());
            return Ok(());
        }
        let old = dir.stat_if_there(name.as_bytes()).map_err(changing(path))?.map(|old| old.kind);
        let first = node.link_group.and_then(|_| self.groups.get(&file));
        let made = match first {
            Some(first) => self.place.link(self.target, first, dir, path)?,
            None => self.place.make((source, name.as_bytes()), dir, path, node)?,
        };
        self.place.swap(dir, &made, name.as_bytes(), old, path)?;
        if node.link_group.is_some() {
            let parent = path.parent().unwrap_or_default();
            self.groups.entry(file).or_insert_with(|| (parent, name.clone()));
        }
        self.say(path, if old.is_some() { ChangeKind::Changed } else { ChangeKind::Added });
        Ok(())
    }
}
