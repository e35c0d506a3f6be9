//! The other names of a lower file: found once for a layer, and then where they show.
//!
//! The names of one file on disk are told by the inode numbers in directories, so a layer is read once without a look at any file. Where those names show
//! in the union is tried: a path of a layer, and what redirects above it make of that, is looked up from the root.
//!
//! A live directory has places that this process may pass through and not list (mode 0711 of somebody else). Names below those are found when they are looked up.
//! So of a file with more links than were found in such a layer it is known that it may have more names ([`Known::Some`](mica_core::plan::Known)).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use mica_core::plan::JoiningMark;
use mica_core::{Name, RelPath};
use mica_layer::Marks;
use mica_sys::{Dir, Errno, FileKind};

use super::indexed::Indexed;
use super::links::LinkKey;
use super::lowers::Shown;
use super::node::{At, Node, Shows};
use super::seen::{Signs, look_at_self};
use super::{Tree, errno};
use crate::Records;
use crate::fuse::carry::KEPT;

/// A directory that a redirect leads from: where it is, and where the layers below have it.
#[derive(Debug, Clone)]
pub(crate) struct Redirected {
    at: RelPath,
    from: RelPath,
}

/// What is known of a layer as a whole, when it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    /// The paths of each file that has several.
    pub(super) links: HashMap<u64, Vec<RelPath>>,
    /// Names that are links to files of the layers below, and where those have them.
    pub(super) elsewhere: Vec<(RelPath, RelPath)>,
    redirects: Vec<Redirected>,
    /// In some directories names can be looked up, and not listed.
    is_closed: bool,
}

/// What is known of whole layers.
#[derive(Debug, Default)]
pub(crate) struct Wholes {
    lowers: Vec<OnceLock<Whole>>,
    /// Held while one is read, so that nobody reads the same beside.
    reading: Mutex<()>,
    /// Files of lowers to which names of layers above are links.
    linked: OnceLock<HashSet<LinkKey>>,
    /// The redirects of the upper, until one is set or a directory moves.
    upper: Mutex<Option<Arc<Vec<Redirected>>>>,
    /// How often that was.
    moves: AtomicU64,
}

impl Wholes {
    pub(crate) fn new(layers: usize) -> Self {
        let lowers = (0..layers).map(|_| OnceLock::new()).collect();
        let (reading, upper) = (Mutex::default(), Mutex::default());
        Self { lowers, reading, linked: OnceLock::new(), upper, moves: AtomicU64::new(0) }
    }

    fn upper(&self) -> MutexGuard<'_, Option<Arc<Vec<Redirected>>>> {
        self.upper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn was_walked(&self, layer: usize) -> bool {
        self.lowers[layer].get().is_some()
    }

    /// A directory of the upper was moved or removed.
    pub(crate) fn moved(&self) {
        let mut known = self.upper();
        self.moves.fetch_add(1, Ordering::AcqRel);
        *known = None;
    }
}

/// Reads a whole layer: every directory, and no other file.
struct Walk<'a> {
    marks: Marks,
    /// The number of a file, by its device and its own number there.
    number: &'a dyn Fn(u64, u64) -> u64,
    /// With the path of every name that is no directory's.
    each: &'a mut dyn FnMut(u64, &RelPath, &[u8]),
    /// What may refuse a directory that is passed over then.
    passes: fn(Errno) -> bool,
    redirects: Vec<Redirected>,
    is_closed: bool,
}

/// Whether names can be looked up in the directory `at`, which cannot be listed.
fn can_be_passed(root: &Dir, at: &RelPath) -> bool {
    let Some((parent, name)) = at.split() else { return false };
    let place =
        super::open_at(root, &parent).and_then(|parent| parent.open_dir_or_place(name.as_bytes()).map_err(errno));
    place.is_ok_and(|place| place.stat_if_there(b".mica-no-such-name").is_ok())
}

impl<'a> Walk<'a> {
    fn new(marks: Marks, number: &'a dyn Fn(u64, u64) -> u64, each: &'a mut dyn FnMut(u64, &RelPath, &[u8])) -> Self {
        Self { marks, number, each, passes: is_out_of_reach, redirects: Vec::new(), is_closed: false }
    }

    /// Of the upper, with its own numbers: a disk of it that goes bad is told.
    fn of_upper(marks: Marks, each: &'a mut dyn FnMut(u64, &RelPath, &[u8])) -> Self {
        Self { passes: is_refused, ..Self::new(marks, &|_, ino| ino, each) }
    }

    fn all(&mut self, root: &Dir) -> Result<(), Errno> {
        // Whose a directory is does not matter here.
        let signs = Signs { marks: self.marks, records: Records::None };
        // Handles are opened along the way from the root, so that any depth will do with few of them.
        let mut unread = vec![(RelPath::root(), Some(RelPath::root()))];
        while let Some((at, above)) = unread.pop() {
            let read = || {
                let dir = super::open_at(root, &at)?;
                Ok((look_at_self(&dir, signs)?, dir.read_dir().map_err(errno)?))
            };
            let (seen, entries) = match read() {
                Err(refused) if !at.is_root() && (self.passes)(refused) => {
                    self.is_closed = self.is_closed || may_come_back(refused) || can_be_passed(root, &at);
                    continue;
                }
                read => read?,
            };
            let dev = seen.attributes.dev;
            let from = match &seen.redirect {
                _ if seen.opaque => None,
                None => above,
                Some(redirect) => redirect.lead(above.as_ref()),
            };
            if seen.redirect.is_some()
                && let Some(from) = &from
            {
                self.redirects.push(Redirected { at: at.clone(), from: from.clone() });
            }
            for entry in entries {
                if entry.kind != FileKind::Directory {
                    (self.each)((self.number)(dev, entry.ino), &at, &entry.name);
                } else if let Ok(name) = Name::new(&entry.name) {
                    unread.push((at.join(&name), from.as_ref().map(|from| from.join(&name))));
                }
            }
        }
        Ok(())
    }
}

/// Whether a directory cannot be read by anybody like this process. A live machine has places where it may not come, directories that go while they are
/// read, dead mounts and bad disks: what is there can be brought up by none of its names, and is in nobody else's way.
fn is_out_of_reach(errno: Errno) -> bool {
    is_refused(errno) || [Errno::STALE, Errno::NOTCONN, Errno::IO].contains(&errno)
}

/// Whether what could not be read may be read later, with names that nobody knows yet.
fn may_come_back(errno: Errno) -> bool {
    [Errno::STALE, Errno::IO].contains(&errno)
}

/// Whether a directory is not this process's to read, or has gone meanwhile.
fn is_refused(errno: Errno) -> bool {
    [Errno::ACCESS, Errno::PERM, Errno::NOENT, Errno::NOTDIR].contains(&errno)
}

fn read_whole(root: &Dir, marks: Marks, number: &dyn Fn(u64, u64) -> u64) -> Result<Whole, Errno> {
    let (mut once, mut more) = (HashSet::new(), HashSet::new());
    let mut count = |ino, _: &RelPath, _: &[u8]| {
        if !once.insert(ino) {
            more.insert(ino);
        }
    };
    let mut walk = Walk::new(marks, number, &mut count);
    walk.all(root)?;
    let (redirects, is_closed) = (walk.redirects, walk.is_closed);
    drop(once);
    let mut links: HashMap<u64, Vec<RelPath>> = HashMap::new();
    if !more.is_empty() {
        let mut collect = |ino, at: &RelPath, name: &[u8]| {
            if more.contains(&ino)
                && let Ok(name) = Name::new(name)
            {
                links.entry(ino).or_default().push(at.join(&name));
            }
        };
        Walk::new(marks, number, &mut collect).all(root)?;
    }
    Ok(Whole { links, redirects, is_closed, ..Whole::default() })
}

/// Where paths of the layers below may show, through redirects: there too.
fn through(paths: &mut Vec<RelPath>, redirects: &[Redirected]) {
    let mut more = Vec::new();
    for path in paths.iter() {
        for Redirected { at, from } in redirects {
            if path != from && path.is_at_or_under(from) {
                more.push(path.names().skip(from.depth()).fold(at.clone(), |path, name| path.join(&name)));
            }
        }
    }
    for path in more {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
}

impl Tree {
    fn whole(&self, slot: u16) -> Result<&Whole, Errno> {
        let layer = self.lowers.layer(slot)?;
        let whole = self.wholes.lowers.get(usize::from(slot)).ok_or(Errno::IO)?;
        let number = |dev, ino| self.lowers.number(slot, dev, ino).unwrap_or(ino);
        if let Some(whole) = whole.get() {
            return Ok(whole);
        }
        let _reading = self.wholes.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(whole) = whole.get() {
            return Ok(whole);
        }
        // What cannot be read now may be read later.
        let read = match &layer.indexed {
            Some(indexed) => indexed.whole()?,
            None => read_whole(&layer.root, self.signs.marks, &number)?,
        };
        Ok(whole.get_or_init(|| read))
    }

    /// Whether a name of a layer above is a link to this file, as only an index can say.
    pub(super) fn is_linked_elsewhere(&self, slot: u16, ino: u64) -> Result<bool, Errno> {
        if let Some(linked) = self.wholes.linked.get() {
            return Ok(linked.contains(&(slot, ino)));
        }
        let mut linked = HashSet::new();
        for (above, layer) in (0u16..).zip(&self.lowers.layers) {
            if !layer.indexed.as_ref().is_some_and(Indexed::has_links_below) {
                continue;
            }
            for (_, target) in &self.whole(above)?.elsewhere {
                if let Shown::Leaf(file, seen) = self.lowers.resolve(above + 1, target, &self.handles)? {
                    linked.insert((file.dir.slot, seen.attributes.ino));
                }
            }
        }
        Ok(self.wholes.linked.get_or_init(|| linked).contains(&(slot, ino)))
    }

    /// The paths of the files of the upper that are joining, as a crash leaves them, or because not all their names are known; and whether they have all that are.
    pub(crate) fn joining(&self) -> Result<Vec<(RelPath, bool)>, Errno> {
        let Some(upper) = &self.upper else { return Ok(Vec::new()) };
        if upper.root.get_own_xattr(self.signs.marks.joins()).map_err(errno)?.is_none() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        let mut refused = None;
        let mut each = |_, at: &RelPath, name: &[u8]| {
            let joins = super::open_at(&upper.root, at)
                .and_then(|dir| dir.get_xattr(name, self.signs.marks.joining()).map_err(errno))
                .unwrap_or_else(|errno| {
                    refused = Some(errno);
                    None
                });
            if let Some(mark) = joins
                && let Ok(name) = Name::new(name)
            {
                found.push((at.join(&name), JoiningMark::parse(&mark).is_some_and(|mark| mark.settled)));
            }
        };
        Walk::of_upper(self.signs.marks, &mut each).all(&upper.root)?;
        refused.map_or(Ok(found), Err)
    }

    /// The redirects of the upper, and how often directories had moved before they were read: nobody waits for the reading.
    fn upper_redirects(&self) -> Result<(Arc<Vec<Redirected>>, u64), Errno> {
        let Some(upper) = &self.upper else { return Ok((Arc::default(), 0)) };
        let moves = {
            let known = self.wholes.upper();
            let moves = self.wholes.moves.load(Ordering::Acquire);
            if let Some(known) = &*known {
                return Ok((Arc::clone(known), moves));
            }
            moves
        };
        let mut ignore = |_, _: &RelPath, _: &[u8]| {};
        let mut walk = Walk::of_upper(self.signs.marks, &mut ignore);
        walk.all(&upper.root)?;
        let found = Arc::new(walk.redirects);
        let mut known = self.wholes.upper();
        if self.wholes.moves.load(Ordering::Acquire) == moves {
            *known = Some(Arc::clone(&found));
        }
        Ok((found, moves))
    }

    /// Keeps directories where they are, and gives the redirects of the upper as they are then.
    fn still(&self) -> Result<(MutexGuard<'_, ()>, Arc<Vec<Redirected>>), Errno> {
        let (redirects, moves) = self.upper_redirects()?;
        let still = self.moves();
        if self.upper.is_none() || self.wholes.moves.load(Ordering::Acquire) == moves {
            return Ok((still, redirects));
        }
        // Somebody moves one directory after the other, and waits for once.
        Ok((still, self.upper_redirects()?.0))
    }

    /// Finds the names that show this lower file, so that the node has them, and says how many more it may have, of so many links. Neither names nor the node may be
    /// locked.
    ///
    /// # Errors
    /// When a layer cannot be read.
    fn gather(&self, node: &Node, (slot, ino): LinkKey, links: u64) -> Result<u32, Errno> {
        // Layers are read while nobody waits; then no directory is moved while its names are looked for.
        for slot in 0..=slot {
            self.whole(slot)?;
        }
        let (_still, redirects) = self.still()?;
        let mut paths = self.whole(slot)?.links.get(&ino).cloned().unwrap_or_default();
        let mut found: HashSet<RelPath> = paths.iter().cloned().collect();
        for above in (0..slot).rev() {
            let whole = self.whole(above)?;
            through(&mut paths, &whole.redirects);
            for (at, target) in &whole.elsewhere {
                if let Shown::Leaf(file, seen) = self.lowers.resolve(above + 1, target, &self.handles)?
                    && (file.dir.slot, seen.attributes.ino) == (slot, ino)
                {
                    paths.push(at.clone());
                }
            }
        }
        through(&mut paths, &redirects);
        for path in paths {
            self.look_at(&path)?;
        }
        debug_assert!(node.kind != FileKind::Directory, "a directory has one name");
        if !self.whole(slot)?.is_closed || links <= u64::try_from(found.len()).unwrap_or(u64::MAX) {
            return Ok(0);
        }
        // Of those that nobody could list, some may have been looked up.
        let names = node.state().at.clone();
        for at in names.iter() {
            if let Some(path) = self.lower_path_at(*at)?
                && let Shown::Leaf(file, seen) = self.lowers.resolve(0, &path, &self.handles)?
                && (file.dir.slot, seen.attributes.ino) == (slot, ino)
            {
                found.insert(path);
            }
        }
        let more = links.saturating_sub(u64::try_from(found.len()).unwrap_or(u64::MAX));
        Ok(u32::try_from(more).unwrap_or(u32::MAX))
    }

    /// Where the lowers have, or would have, what shows at a name.
    pub(super) fn lower_path_at(&self, at: At) -> Result<Option<RelPath>, Errno> {
        let Some(parent) = self.node(at.parent) else { return Ok(None) };
        let directory = parent.directory()?;
        let Some(lower) = self.lower_path_of(directory) else { return Ok(None) };
        let names = directory.read();
        names.by_cookie(at.cookie()).map(|(_, name)| super::join(&lower, name)).transpose()
    }

    /// Finds every name of a file that shows a lower's, and counts them. Neither names nor the node may be locked.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub(crate) fn gather_all(&self, node: &Node) -> Result<(), Errno> {
        let Some((key, links)) = self.find_lower(node)? else { return Ok(()) };
        let more = self.gather(node, key, links)?;
        let mut state = node.state();
        let shown = u32::try_from(state.at.len()).ok().map(|names| names.saturating_add(more));
        state.at.set_shown(shown);
        Ok(())
    }

    /// Which lower file a node is, and how many links that has: a name of it that is looked up from now on is the node's. `None` for what is none, and joining none.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub(crate) fn find_lower(&self, node: &Node) -> Result<Option<(LinkKey, u64)>, Errno> {
        let (slot, joining, ino, mut links) = {
            let state = node.state();
            let slot = match &state.shows {
                Shows::AtName(slot) => Some(*slot),
                Shows::At(file) => Some(file.dir.slot),
                Shows::Parts | Shows::Upper(_) => None,
            };
            let joining = state.upper().and_then(|standing| standing.joining.clone());
            (slot, joining, state.kept.ino(), state.kept.nlink())
        };
        let key = match (slot, joining) {
            (Some(slot), _) => (slot, ino),
            (None, Some(path)) => match self.lowers.resolve(0, &path, &self.handles)? {
                Shown::Leaf(file, seen) => {
                    links = seen.attributes.nlink;
                    (file.dir.slot, seen.attributes.ino)
                }
                _ => {
                    let mut state = node.state();
                    let found = u32::try_from(state.at.len()).ok();
                    state.at.set_shown(found);
                    return Ok(None);
                }
            },
            (None, None) => return Ok(None),
        };
        self.links.put(key, node.id);
        Ok(Some((key, links)))
    }

    /// Makes nodes of the files that are kept without a name.
    ///
    /// # Errors
    /// When the work directory or a layer cannot be read.
    pub(crate) fn find_all_kept(&self) -> Result<(), Errno> {
        let Some(work) = self.upper.as_ref().and_then(|upper| upper.work.as_deref()) else { return Ok(()) };
        let Some(dir) = work.open_dir_if_there(KEPT).map_err(errno)? else { return Ok(()) };
        dir.read_dir().map_err(errno)?.into_iter().try_for_each(|entry| self.find_kept(&dir, &entry.name))
    }

    /// The same before one of the names goes.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub(crate) fn gather_before_loss(&self, node: &Node) -> Result<(), Errno> {
        self.hides.store(true, Ordering::Relaxed);
        self.gather_all(node)
    }

    /// What shows at a path, looked up from the root.
    pub(crate) fn look_at(&self, path: &RelPath) -> Result<Option<Arc<Node>>, Errno> {
        let mut at = self.root()?;
        for name in path.names() {
            at = match self.lookup(&at, name.as_bytes()) {
                Ok(Some(found)) => found,
                Ok(None) | Err(Errno::NOTDIR | Errno::NOENT) => return Ok(None),
                Err(error) => return Err(error),
            };
        }
        Ok(Some(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_could_read_is_passed_over() {
        assert!([Errno::ACCESS, Errno::NOTCONN, Errno::IO].map(is_out_of_reach).iter().all(|passed| *passed));
        assert!(![Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(is_out_of_reach).iter().any(|passed| *passed));
        // The upper's own disk is not somebody else's.
        assert!(is_refused(Errno::ACCESS) && !is_refused(Errno::IO));
    }

    #[test]
    fn a_path_shows_where_redirects_above_it_lead() {
        let path = |text: &str| RelPath::parse(text.as_bytes()).unwrap();
        let redirects = [
            Redirected { at: path("b"), from: path("a") },
            Redirected { at: path("c/d"), from: path("a/x") },
            Redirected { at: path("e"), from: path("other") },
        ];
        let mut paths = vec![path("a/x/f")];
        through(&mut paths, &redirects);
        assert_eq!(paths, ["a/x/f", "b/x/f", "c/d/f"].map(path));
        let mut itself = vec![path("a")];
        through(&mut itself, &redirects);
        assert_eq!(itself, [path("a")]);
    }
}
