//! The tree: every file of the union that somebody has asked for, with what it is made of.
//!
//! ```text
//!   Tree ── Table: nodes by number           Handles: open directories, bounded
//!     │        Node: attributes, names, look-ups
//!     │          Directory: Names (children, cookies), parts in the lowers
//!     ├── the upper's root
//!     └── Lowers: layers, and what they show together
//! ```
//!
//! The server is the only writer of the upper, and lowers do not change, so what is in memory is what is true: a name that was looked up, and every name of a directory that was
//! listed, is answered without a call. Files are opened by the handle of their directory and their name; only directories have handles that are kept, and a bounded number of
//! those.
//!
//! # Locks
//!
//! In this order; what is later is never held when an earlier one is taken.
//!
//! 1. `Tree::moves`: a rename of a directory holds it, so that no two make a cycle; and whoever looks for all names of a file, so that paths stay what they are.
//! 2. A node that is *busy* ([`Tree::busy`]): it is being brought up, renamed, linked or removed. Held over copies of content; whoever wants the same waits for it alone. Two are taken
//!    in the order of their numbers.
//! 3. The names of a directory ([`node::Directory`]): held over system calls, never over a copy of content. Several are taken in the order of their numbers.
//! 4. Everything else: the state of a node, shards of tables. One at a time.
//!
//! The handle of a directory is found along the names above it, each locked for one step: it is asked for before names are locked.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mica_core::RelPath;
use mica_core::plan::Redirect;
use mica_layer::{Ability, Index, Marks};
use mica_sys::mount::{Mount, Reach, SetAttrs};
use mica_sys::process::open_files_limit;
use mica_sys::{Dir, Errno, File, FileKind, SysError};

use crate::{Records, Role, UnionDirs, UnionError};

mod busy;
mod by_name;
mod cookie;
mod devices;
mod groups;
mod handles;
mod indexed;
mod kept;
mod links;
mod list;
mod lowers;
mod named;
mod names;
mod node;
mod numbers;
mod open;
mod owners;
mod seen;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod told;

use busy::{Busy, Held};
use groups::Wholes;
use handles::{Handles, Key};
use indexed::Indexed;
use links::{LinkKey, Links, UPPER};
use lowers::{Layer, LowerDir, LowerFile, Lowers};
use node::Directory;
use numbers::Numbers;
use seen::{Seen, Signs, look, look_at_self};
use table::Table;

pub(crate) use lowers::Shown;
pub(crate) use names::{LONGEST, Names, What};
pub(crate) use node::{At, Flag, Leads, Node, Shows, Standing, State};
pub(crate) use table::ROOT;
pub(crate) use told::Locked;

const DRIVER: &str = "fuse";

/// The upper, open.
#[derive(Debug)]
pub(crate) struct Upper {
    pub(crate) root: Arc<Dir>,
    /// Its work directory, where that is there.
    pub(crate) work: Option<Arc<Dir>>,
}

/// Nodes that nobody looked up are dropped when there are so many.
const MOST_IDLE: u64 = 8192;

/// Every file of a union.
#[derive(Debug)]
pub(crate) struct Tree {
    table: Table,
    handles: Handles,
    lowers: Lowers,
    upper: Option<Upper>,
    signs: Signs,
    numbers: Numbers,
    links: Links,
    wholes: Wholes,
    /// Whether a name of a lower's file of several may be hidden, so that there are fewer than its disk says.
    hides: AtomicBool,
    busy: Busy,
    moves: Mutex<()>,
    /// Files without a name that somebody has: nodes whose last name was removed.
    orphans: Mutex<HashMap<u64, Arc<File>>>,
    most_orphans: usize,
    idle: AtomicU64,
    /// How many nodes went since their memory was last given back.
    gone: AtomicU64,
}

fn errno(error: SysError) -> Errno {
    error.errno()
}

fn opened<T>(role: Role, result: Result<T, SysError>) -> Result<T, UnionError> {
    result.map_err(|source| UnionError::Open { driver: DRIVER, role, source })
}

/// Opens a lower, so that nothing can be written through it where the process may have such a mount.
fn open_lower(path: &Path) -> Result<Dir, SysError> {
    let plain = Dir::open(path)?;
    let clone = Mount::clone_at(&plain, Path::new(""), Reach::One)
        .and_then(|mount| mount.set_attrs(&SetAttrs::read_only(), Reach::One).and_then(|()| mount.open_root()));
    Ok(clone.unwrap_or(plain))
}

/// Maps the index of a lower.
fn open_index(role: Role, path: &Path) -> Result<Index, UnionError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        let source = SysError::new("open", path.as_os_str().as_encoded_bytes(), Errno::ISDIR);
        return Err(UnionError::Open { driver: DRIVER, role, source });
    };
    let file = opened(role, Dir::open(parent).and_then(|dir| dir.open_file(name.as_encoded_bytes())))?;
    Index::open(&file).map_err(|source| UnionError::Read {
        driver: DRIVER,
        role,
        path: RelPath::root(),
        source: Box::new(source),
    })
}

impl Tree {
    /// Opens the directories of a union. Read-only, an upper is the topmost lower. With `named`, lowers say by files called `.wh.NAME` what is gone, besides the
    /// kernel's marks. Layers with an index were put on disk with `ability`.
    ///
    /// # Errors
    /// [`UnionError::Open`] names the directory that cannot be opened.
    pub(crate) fn open(dirs: &UnionDirs, read_only: bool, named: bool, ability: &Ability) -> Result<Self, UnionError> {
        let written = dirs.upper.as_ref().map(|upper| &upper.upper);
        let mut lowers: Vec<(Role, &Path)> = Vec::new();
        if let Some(upper) = written.filter(|_| read_only) {
            lowers.push((Role::Upper, upper));
        }
        for (number, lower) in dirs.lowers.iter().enumerate() {
            if !dirs.lowers.iter().take(number).any(|above| above == lower) {
                lowers.push((Role::Lower(number + 1), lower));
            }
        }
        let limit = usize::from(u16::MAX - 1);
        if lowers.len() > limit {
            return Err(UnionError::TooManyLowers { driver: DRIVER, count: lowers.len(), limit });
        }
        let layers = lowers.iter().map(|(role, path)| {
            let root = opened(*role, open_lower(path))?;
            let dev = opened(*role, root.metadata())?.dev;
            let indexed = dirs.indexes.get(*path).map(|index| open_index(*role, index)).transpose()?;
            Ok(Layer {
                root: Arc::new(root),
                dev,
                indexed: indexed.map(|index| Indexed::new(index, dev, ability.clone())),
            })
        });
        let layers = layers.collect::<Result<Vec<_>, UnionError>>()?;
        let upper = match written.filter(|_| !read_only) {
            Some(path) => {
                let work = dirs.upper.as_ref().and_then(|upper| match Dir::open(&upper.work) {
                    Err(error) if error.is_not_found() => None,
                    work => Some(opened(Role::Work, work.map(Arc::new))),
                });
                Some(Upper { root: Arc::new(opened(Role::Upper, Dir::open(path))?), work: work.transpose()? })
            }
            None => None,
        };
        let dev = match &upper {
            Some(upper) => Some(opened(Role::Upper, upper.root.metadata())?.dev),
            None => layers.first().map(|layer| layer.dev),
        };
        let coded = layers.iter().any(|layer| Some(layer.dev) != dev || layer.indexed.is_some());
        let most_handles = usize::try_from(open_files_limit() / 4).unwrap_or(usize::MAX).clamp(16, 1 << 16);
        let numbers = Numbers::new(layers.len(), coded);
        let wholes = Wholes::new(layers.len());
        let hides = match &upper {
            Some(upper) if layers.len() == 1 => !opened(Role::Upper, upper.root.read_dir())?.is_empty(),
            _ => layers.len() > 1,
        };
        let signs = Signs { marks: dirs.marks, records: dirs.records };
        let tree = Self {
            table: Table::new(),
            handles: Handles::new(most_handles),
            lowers: Lowers::new(layers, signs, named),
            upper,
            signs,
            numbers,
            links: Links::default(),
            wholes,
            hides: AtomicBool::new(hides),
            busy: Busy::default(),
            moves: Mutex::default(),
            orphans: Mutex::default(),
            most_orphans: most_handles,
            idle: AtomicU64::new(0),
            gone: AtomicU64::new(0),
        };
        tree.make_root().map_err(|errno| UnionError::Open {
            driver: DRIVER,
            role: if tree.upper.is_some() { Role::Upper } else { Role::Lower(1) },
            source: SysError::new("statx", b".", errno),
        })?;
        Ok(tree)
    }

    /// The directory above one; above the root, it itself.
    ///
    /// # Errors
    /// `ESTALE` for what is in no directory any more.
    pub(crate) fn above(&self, node: &Arc<Node>) -> Result<Arc<Node>, Errno> {
        if node.id == ROOT {
            return Ok(Arc::clone(node));
        }
        let parent = node.state().at.first().map(|at| at.parent).ok_or(Errno::STALE)?;
        self.node(parent).ok_or(Errno::STALE)
    }

    fn make_root(&self) -> Result<(), Errno> {
        let below = self.lowers.root(0)?;
        let (attributes, shows, ino) = match &self.upper {
            Some(upper) => {
                let seen = look_at_self(&upper.root, self.signs)?;
                let standing = Standing { opaque: seen.opaque, ..Standing::default() };
                let ino = self.numbers.upper(seen.attributes.ino);
                (seen.attributes, Shows::Upper(standing), seen.ino.unwrap_or(ino))
            }
            None => {
                let ino = self.numbers.lower(0, below.as_ref().map_or(1, |below| below.ino));
                let shown = below.as_ref().map(|below| below.attributes.clone());
                (shown.unwrap_or_else(seen::of_nothing), Shows::Parts, ino)
            }
        };
        let merges = !matches!(&shows, Shows::Upper(standing) if standing.opaque);
        let directory = match below.filter(|_| merges) {
            Some(below) => Directory::new(below.parts, below.stated, None),
            None => Directory::new(Vec::new(), 0, None),
        };
        let state = State::new(attributes, shows, None);
        let root = self.table.add(|id| Node::new(id, ino, state, Some(directory))).ok_or(Errno::NFILE)?;
        root.remember();
        Ok(())
    }

    /// The node that FUSE calls so.
    pub(crate) fn node(&self, id: u64) -> Option<Arc<Node>> {
        self.table.get(id)
    }

    /// The root.
    ///
    /// # Errors
    /// Never while the tree is there.
    pub(crate) fn root(&self) -> Result<Arc<Node>, Errno> {
        self.table.get(ROOT).ok_or(Errno::NOENT)
    }

    /// How the layers say what they say.
    pub(crate) const fn marks(&self) -> Marks {
        self.signs.marks
    }

    /// Where owners and modes are.
    pub(crate) const fn records(&self) -> Records {
        self.signs.records
    }

    /// What the lowers have at a name's lower path.
    pub(crate) fn look_below(&self, dir: &Node, name: &[u8]) -> Result<Shown, Errno> {
        self.lowers.look(&dir.directory()?.parts, name, &self.handles)
    }

    /// Closes the directories that are open for speed alone.
    pub(crate) fn close_directories(&self) {
        self.handles.clear();
    }

    /// A directory of the upper was moved or removed, or leads elsewhere.
    pub(crate) fn directories_moved(&self) {
        self.wholes.moved();
    }

    /// Waits until nobody is at work on either node, and keeps others from it.
    pub(crate) fn hold(&self, one: &Node, other: &Node) -> Held<'_> {
        self.busy.hold([one.id, other.id])
    }

    /// While it lives, no directory is moved or renamed by somebody else.
    pub(crate) fn moves(&self) -> MutexGuard<'_, ()> {
        self.moves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A directory of the topmost layer: its file system answers for the whole union.
    pub(crate) fn top(&self) -> Option<&Arc<Dir>> {
        match &self.upper {
            Some(upper) => Some(&upper.root),
            None => self.lowers.layers.first().map(|layer| &layer.root),
        }
    }

    /// What shows at `name`, which is one component, in a directory; `None` where nothing does. No names may be locked.
    ///
    /// # Errors
    /// `ENAMETOOLONG`, `ENOTDIR`, `ENOENT` where the directory itself was removed; those of a layer that cannot be read.
    pub(crate) fn lookup(&self, dir: &Node, name: &[u8]) -> Result<Option<Arc<Node>>, Errno> {
        if name.len() > LONGEST {
            return Err(Errno::NAMETOOLONG);
        }
        let directory = dir.directory()?;
        for _ in 0..64 {
            if let Some(known) = self.known(&directory.read(), name)? {
                return Ok(known);
            }
            let upper = self.upper_dir_of(dir)?;
            let mut names = directory.write();
            if let Some(known) = self.known(&names, name)? {
                return Ok(known);
            }
            // It came up meanwhile.
            if upper.is_none() && dir.is_up() {
                continue;
            }
            let found = self.discover(dir, directory, upper.as_deref(), &mut names, name)?;
            drop(names);
            self.sweep();
            return Ok(found);
        }
        Err(Errno::AGAIN)
    }

    /// What the names say without a look at a disk: `Some(None)` is that nothing shows.
    fn known(&self, names: &Names, name: &[u8]) -> Result<Option<Option<Arc<Node>>>, Errno> {
        if names.gone {
            return Err(Errno::NOENT);
        }
        Ok(match names.find(name).map(names::Entry::what) {
            Some(What::Node(id)) => self.table.get(id).filter(|node| !node.has_left()).map(Some),
            Some(What::Whiteout) => Some(None),
            Some(What::Unseen { .. }) => None,
            None => names.complete.then_some(None),
        })
    }

    /// Looks at the disks for a name, and makes its node.
    fn discover(
        &self,
        dir: &Node,
        directory: &Directory,
        upper: Option<&Dir>,
        names: &mut Names,
        name: &[u8],
    ) -> Result<Option<Arc<Node>>, Errno> {
        let part = names.find(name).and_then(|entry| match entry.what() {
            What::Unseen { part } => Some(part),
            _ => None,
        });
        if let Some(upper) = upper.filter(|_| part.is_none_or(|part| part == 0))
            && let Some(seen) = look(upper, name, self.signs, true)?
        {
            if seen.whiteout {
                names.set(name, What::Whiteout, FileKind::CharDevice, 0);
                return Ok(None);
            }
            return self.add_upper(dir, directory, names, name, seen).map(Some);
        }
        // What is above the part that was listed does not speak of the name.
        let skip = usize::from(part.unwrap_or(0).saturating_sub(1));
        let parts = directory.parts.get(skip..).unwrap_or_default();
        match self.lowers.look(parts, name, &self.handles)? {
            Shown::Nothing => Ok(None),
            Shown::Leaf(file, seen) => self.add_lower(dir, directory, names, name, file, *seen).map(Some),
            Shown::Directory(merged) => {
                let slot = merged.parts.first().map_or(0, |part| part.slot);
                let ino = self.numbers.lower(slot, merged.ino);
                let below = self.directory(directory, name, merged.parts, merged.stated)?;
                let state = |at| State::new(merged.attributes, Shows::Parts, Some(at));
                self.add(dir, names, name, ino, FileKind::Directory, Some(below), false, state).map(Some)
            }
        }
    }

    /// The directory `name` of one that merges, with these parts at the lower path that its name leads to.
    fn directory(
        &self,
        parent: &Directory,
        name: &[u8],
        parts: Vec<Arc<LowerDir>>,
        stated: usize,
    ) -> Result<Directory, Errno> {
        let lower = match self.lower_path_of(parent) {
            Some(lower) => Some(join(&lower, name)?),
            None => None,
        };
        Ok(Self::directory_at(parts, stated, lower))
    }

    /// The lower path is kept only where the topmost part does not say it.
    fn directory_at(parts: Vec<Arc<LowerDir>>, stated: usize, lower: Option<RelPath>) -> Directory {
        let said = parts.first().map(|part| part.path());
        let lower = lower.filter(|lower| said.as_deref() != Some(lower.as_bytes()));
        Directory::new(parts, stated, lower)
    }

    /// Where the lowers have a directory; `None` where they do not.
    pub(crate) fn lower_path_of(&self, directory: &Directory) -> Option<RelPath> {
        let first = directory.parts.first()?;
        directory.lower.as_deref().cloned().or_else(|| RelPath::parse(&first.path()).ok())
    }

    fn add_upper(
        &self,
        dir: &Node,
        directory: &Directory,
        names: &mut Names,
        name: &[u8],
        seen: Seen,
    ) -> Result<Arc<Node>, Errno> {
        let disk = seen.attributes.ino;
        let own = self.numbers.upper(disk);
        let standing = Standing::of(&seen);
        let redirect = standing.redirect;
        let state = |attributes, at| State::new(attributes, Shows::Upper(standing), Some(at));
        let kind = seen.attributes.kind;
        if kind != FileKind::Directory {
            if seen.attributes.nlink > 1
                && let Some(node) = self.linked((UPPER, disk), dir, names, name)
            {
                return Ok(node);
            }
            let several = seen.attributes.nlink > 1;
            let ino = match seen.ino {
                Some(ino) => ino,
                None => self.number_by_path(directory, name, kind)?.unwrap_or(own),
            };
            let node = self.add(dir, names, name, ino, kind, None, true, |at| state(seen.attributes, at))?;
            if several {
                self.links.put((UPPER, disk), node.id);
            }
            return Ok(node);
        }
        let mut parts = Vec::new();
        let (mut stated, mut lower) = (0, None);
        let mut ino = own;
        if !(seen.opaque || directory.parts.is_empty() && redirect != Leads::Absolute) {
            let parent = self.lower_path_of(directory);
            let natural = parent.map(|parent| join(&parent, name)).transpose()?;
            let (shown, path) = match seen.redirect {
                None => (self.lowers.look(&directory.parts, name, &self.handles)?, natural),
                Some(Redirect::Relative(other)) => {
                    let shown = self.lowers.look(&directory.parts, other.as_bytes(), &self.handles)?;
                    (shown, natural.and_then(|natural| Some(natural.parent()?.join(&other))))
                }
                Some(Redirect::Absolute(path)) => (self.lowers.resolve(0, &path, &self.handles)?, Some(path)),
            };
            if let Shown::Directory(merged) = shown {
                let slot = merged.parts.first().map_or(0, |part| part.slot);
                ino = self.numbers.lower(slot, merged.ino);
                (parts, stated, lower) = (merged.parts, merged.stated, path);
            }
        }
        let below = Self::directory_at(parts, stated, lower);
        let ino = seen.ino.unwrap_or(ino);
        let node = self.add(dir, names, name, ino, kind, Some(below), true, |at| state(seen.attributes, at))?;
        if let Some(open) = seen.open {
            self.handles.put(Key::Upper(node.id), &Arc::new(open));
        }
        Ok(node)
    }

    /// The number of the lower file at the same path, for what cannot carry the mark that has it: symlinks, pipes, sockets and devices take no attribute with the prefix
    /// `user.` (xattr(7)). What was removed and made again has it too, which harms nobody: two files never show one number.
    fn number_by_path(&self, directory: &Directory, name: &[u8], kind: FileKind) -> Result<Option<u64>, Errno> {
        if self.signs.marks != Marks::User || kind == FileKind::File || directory.parts.is_empty() {
            return Ok(None);
        }
        Ok(match self.lowers.look(&directory.parts, name, &self.handles)? {
            Shown::Leaf(file, seen) if (seen.attributes.kind, seen.attributes.nlink) == (kind, 1) => {
                Some(self.numbers.lower(file.dir.slot, seen.attributes.ino))
            }
            _ => None,
        })
    }

    fn add_lower(
        &self,
        dir: &Node,
        directory: &Directory,
        names: &mut Names,
        name: &[u8],
        file: LowerFile,
        seen: Seen,
    ) -> Result<Arc<Node>, Errno> {
        let disk = seen.attributes.ino;
        let slot = file.dir.slot;
        let several = seen.attributes.nlink > 1 || self.is_linked_elsewhere(slot, disk)?;
        let kind = seen.attributes.kind;
        let is_at_name = *file.name == *name && directory.parts.iter().any(|part| Arc::ptr_eq(part, &file.dir));
        if several && let Some(node) = self.linked((slot, disk), dir, names, name) {
            // From this name it is not found.
            let mut state = node.state();
            if !is_at_name && matches!(state.shows, Shows::AtName(_)) {
                state.shows = Shows::At(Box::new(file));
            }
            drop(state);
            return Ok(node);
        }
        let shows = if is_at_name { Shows::AtName(slot) } else { Shows::At(Box::new(file)) };
        let mut attributes = seen.attributes;
        if several {
            // How many show is found out when somebody asks.
            attributes.nlink = attributes.nlink.max(2);
        }
        let state = |at| State::new(attributes, shows, Some(at));
        let node = self.add(dir, names, name, self.numbers.lower(slot, disk), kind, None, false, state)?;
        if several {
            self.links.put((slot, disk), node.id);
        }
        Ok(node)
    }

    /// The node of a file that was seen by another of its names; it has this one too then.
    fn linked(&self, key: LinkKey, dir: &Node, names: &mut Names, name: &[u8]) -> Option<Arc<Node>> {
        let id = self.links.get(key)?;
        let node = self.table.get(id).filter(|node| !node.has_left())?;
        self.name(&node, dir, names, name, key.0 == UPPER);
        Some(node)
    }

    /// Gives a node a name, in the names of its directory and in its own.
    pub(crate) fn name(&self, node: &Node, dir: &Node, names: &mut Names, name: &[u8], up: bool) {
        let cookie = names.set(name, What::Node(node.id), node.kind, node.ino);
        let mut state = node.state();
        state.at.retain(|at| !at.is(dir, cookie));
        state.at.push(At::new(dir.id, cookie, up));
    }

    #[allow(clippy::too_many_arguments, reason = "all of it is what a node is made of")]
    fn add(
        &self,
        dir: &Node,
        names: &mut Names,
        name: &[u8],
        ino: u64,
        kind: FileKind,
        directory: Option<Directory>,
        up: bool,
        state: impl FnOnce(At) -> State,
    ) -> Result<Arc<Node>, Errno> {
        let cookie = names.set(name, What::Unseen { part: 0 }, kind, 0);
        let at = At::new(dir.id, cookie, up);
        let node = self.table.add(|id| Node::new(id, ino, state(at), directory)).ok_or(Errno::NFILE)?;
        names.set(name, What::Node(node.id), kind, ino);
        self.idle.fetch_add(1, Ordering::Relaxed);
        Ok(node)
    }
}

/// A name in a path; it comes from the kernel or a directory, so it is one component.
fn join(path: &RelPath, name: &[u8]) -> Result<RelPath, Errno> {
    mica_core::Name::new(name).map(|name| path.join(&name)).map_err(|_| Errno::INVAL)
}

/// Opens a directory at a path of any length.
fn open_at(root: &Dir, path: &RelPath) -> Result<Dir, Errno> {
    let mut at = root.try_clone().map_err(errno)?;
    let bytes = path.as_bytes();
    let mut rest = bytes;
    // What is longer than a path may be (`PATH_MAX`) is opened in parts.
    while rest.len() > 2048 {
        let cut = rest.iter().take(2048).rposition(|byte| *byte == b'/').ok_or(Errno::NAMETOOLONG)?;
        let (now, later) = rest.split_at_checked(cut).ok_or(Errno::INVAL)?;
        at = at.open_dir(now).map_err(errno)?;
        rest = later.get(1..).unwrap_or_default();
    }
    at.open_dir(rest).map_err(errno)
}
