//! The other names of a lower file: found once for a layer, and then where they show.
//!
//! The names of one file on disk are told by the inode numbers in directories, so a layer is read once without a look at any file. Where those names show
//! in the union is tried: a path of a layer, and what redirects above it make of that, is looked up from the root.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mica_core::{Name, RelPath};
use mica_layer::Marks;
use mica_sys::{Dir, Errno, FileKind};

use super::indexed::Indexed;
use super::links::LinkKey;
use super::lowers::Shown;
use super::node::{Lower, Node};
use super::seen::look_at_self;
use super::{Tree, errno};

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
}

/// What is known of whole layers.
#[derive(Debug, Default)]
pub(crate) struct Wholes {
    lowers: Vec<OnceLock<Result<Whole, Errno>>>,
    /// Files of lowers to which names of layers above are links.
    linked: OnceLock<Result<HashSet<LinkKey>, Errno>>,
    /// The redirects of the upper, until one is set or a directory moves.
    upper: Mutex<Option<Arc<Vec<Redirected>>>>,
}

impl Wholes {
    pub(crate) fn new(layers: usize) -> Self {
        let lowers = (0..layers).map(|_| OnceLock::new()).collect();
        Self { lowers, linked: OnceLock::new(), upper: Mutex::default() }
    }

    #[cfg(test)]
    pub(super) fn was_walked(&self, layer: usize) -> bool {
        self.lowers[layer].get().is_some()
    }

    /// A directory of the upper was moved or removed.
    pub(crate) fn moved(&self) {
        *self.upper.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Reads a whole layer: every directory, and no other file.
struct Walk<'a> {
    marks: Marks,
    /// The number of a file, by its device and its own number there.
    number: &'a dyn Fn(u64, u64) -> u64,
    /// With the path of every name that is no directory's.
    each: &'a mut dyn FnMut(u64, &RelPath, &[u8]),
    redirects: Vec<Redirected>,
}

impl Walk<'_> {
    fn all(&mut self, root: &Dir) -> Result<(), Errno> {
        // Handles are opened along the way from the root, so that any depth will do with few of them.
        let mut unread = vec![(RelPath::root(), Some(RelPath::root()))];
        while let Some((at, above)) = unread.pop() {
            let read = || {
                let dir = super::open_at(root, &at)?;
                Ok((look_at_self(&dir, self.marks)?, dir.read_dir().map_err(errno)?))
            };
            let (seen, entries) = match read() {
                Err(refused) if !at.is_root() && is_out_of_reach(refused) => continue,
                read => read?,
            };
            let dev = seen.attributes.metadata.dev;
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
    let why = [Errno::ACCESS, Errno::PERM, Errno::NOENT, Errno::NOTDIR, Errno::STALE, Errno::NOTCONN, Errno::IO];
    why.contains(&errno)
}

fn read_whole(root: &Dir, marks: Marks, number: &dyn Fn(u64, u64) -> u64) -> Result<Whole, Errno> {
    let (mut once, mut more) = (HashSet::new(), HashSet::new());
    let mut count = |ino, _: &RelPath, _: &[u8]| {
        if !once.insert(ino) {
            more.insert(ino);
        }
    };
    let mut walk = Walk { marks, number, each: &mut count, redirects: Vec::new() };
    walk.all(root)?;
    let redirects = walk.redirects;
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
        Walk { marks, number, each: &mut collect, redirects: Vec::new() }.all(root)?;
    }
    Ok(Whole { links, redirects, ..Whole::default() })
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
        let read = || match &layer.indexed {
            Some(indexed) => indexed.whole(),
            None => read_whole(&layer.root, self.marks, &number),
        };
        whole.get_or_init(read).as_ref().map_err(|errno| *errno)
    }

    /// Whether a name of a layer above is a link to this file, as only an index can say.
    pub(super) fn is_linked_elsewhere(&self, slot: u16, ino: u64) -> Result<bool, Errno> {
        let linked = self.wholes.linked.get_or_init(|| {
            let mut linked = HashSet::new();
            for (above, layer) in (0u16..).zip(&self.lowers.layers) {
                if !layer.indexed.as_ref().is_some_and(Indexed::has_links_below) {
                    continue;
                }
                for (_, target) in &self.whole(above)?.elsewhere {
                    if let Shown::Leaf(file, seen) = self.lowers.resolve(above + 1, target, &self.handles)? {
                        linked.insert((file.dir.slot, seen.attributes.metadata.ino));
                    }
                }
            }
            Ok(linked)
        });
        linked.as_ref().map(|linked| linked.contains(&(slot, ino))).map_err(|errno| *errno)
    }

    /// The paths of the files of the upper that are joining, as a crash leaves them.
    pub(crate) fn joining(&self) -> Result<Vec<RelPath>, Errno> {
        let Some(upper) = &self.upper else { return Ok(Vec::new()) };
        if upper.root.get_own_xattr(self.marks.joins()).map_err(errno)?.is_none() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        let mut refused = None;
        let mut each = |_, at: &RelPath, name: &[u8]| {
            let joins = super::open_at(&upper.root, at)
                .and_then(|dir| dir.get_xattr(name, self.marks.joining()).map_err(errno))
                .unwrap_or_else(|errno| {
                    refused = Some(errno);
                    None
                });
            if joins.is_some()
                && let Ok(name) = Name::new(name)
            {
                found.push(at.join(&name));
            }
        };
        Walk { marks: self.marks, number: &|_, ino| ino, each: &mut each, redirects: Vec::new() }.all(&upper.root)?;
        refused.map_or(Ok(found), Err)
    }

    fn upper_redirects(&self) -> Result<Arc<Vec<Redirected>>, Errno> {
        let Some(upper) = &self.upper else { return Ok(Arc::default()) };
        let mut known = self.wholes.upper.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(Arc::clone(known));
        }
        let mut ignore = |_, _: &RelPath, _: &[u8]| {};
        let mut walk = Walk { marks: self.marks, number: &|_, ino| ino, each: &mut ignore, redirects: Vec::new() };
        walk.all(&upper.root)?;
        Ok(Arc::clone(known.insert(Arc::new(walk.redirects))))
    }

    /// Finds every name that shows this lower file, so that the node has them all. Neither names nor the node may be locked.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub(crate) fn gather(&self, node: &Node, slot: u16, ino: u64) -> Result<(), Errno> {
        // No directory is moved while its names are looked for.
        let _still = self.moves();
        let mut paths = self.whole(slot)?.links.get(&ino).cloned().unwrap_or_default();
        for above in (0..slot).rev() {
            let whole = self.whole(above)?;
            through(&mut paths, &whole.redirects);
            for (at, target) in &whole.elsewhere {
                if let Shown::Leaf(file, seen) = self.lowers.resolve(above + 1, target, &self.handles)?
                    && (file.dir.slot, seen.attributes.metadata.ino) == (slot, ino)
                {
                    paths.push(at.clone());
                }
            }
        }
        through(&mut paths, &self.upper_redirects()?);
        for path in paths {
            self.look_at(&path)?;
        }
        debug_assert!(node.kind != FileKind::Directory, "a directory has one name");
        Ok(())
    }

    /// Finds every name of a file that shows a lower's, and counts them. Neither names nor the node may be locked.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub(crate) fn gather_all(&self, node: &Node) -> Result<(), Errno> {
        let (slot, joining, ino) = {
            let state = node.state();
            let slot = match &state.lower {
                Lower::AtName(slot) => Some(*slot),
                Lower::At(file) => Some(file.dir.slot),
                Lower::No => None,
            };
            let joining = state.upper.as_ref().and_then(|standing| standing.joining.clone());
            (slot.filter(|_| state.upper.is_none()), joining, state.kept.ino())
        };
        let key = match (slot, joining) {
            (Some(slot), _) => (slot, ino),
            (None, Some(path)) => match self.lowers.resolve(0, &path, &self.handles)? {
                Shown::Leaf(file, seen) => (file.dir.slot, seen.attributes.metadata.ino),
                _ => return Ok(()),
            },
            (None, None) => return Ok(()),
        };
        self.links.put(key, node.id);
        self.gather(node, key.0, key.1)?;
        let mut state = node.state();
        state.names = u32::try_from(state.at.len()).ok();
        Ok(())
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
