//! Layers in memory: inodes, of which the first belong to lowers and never change.

use std::collections::BTreeMap;
use std::convert::Infallible;

use crate::plan::{
    Known, LEAST_METACOPY, Links, Lowers, Redirect, Shows, Standing, StandingKind, StandingLeaf, Union, Upper,
};
use crate::{Name, RelPath};

pub(super) type Ino = usize;

/// A file in memory. Metadata is one number; bit 16 is an extended attribute.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Inode {
    pub(super) mode: u16,
    pub(super) body: Body,
    pub(super) opaque: bool,
    pub(super) redirect: Option<String>,
    pub(super) metacopy: bool,
    pub(super) joining: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Body {
    File(String),
    Other(String),
    Whiteout,
    Directory(BTreeMap<String, Ino>),
}

impl Default for Body {
    fn default() -> Self {
        Self::Directory(BTreeMap::new())
    }
}

impl Inode {
    pub(super) fn new(mode: u16, body: Body) -> Self {
        Self { mode, body, ..Self::default() }
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory(_))
    }

    pub(super) fn names(&self) -> &BTreeMap<String, Ino> {
        match &self.body {
            Body::Directory(names) => names,
            body => panic!("no directory: {body:?}"),
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) inodes: Vec<Inode>,
    /// The upper, then the lowers, topmost first.
    pub(super) roots: Vec<Ino>,
    /// What is in `work`.
    pub(super) temp: Option<Ino>,
    /// Files that are kept without a name.
    pub(super) kept: Vec<Ino>,
    /// Names of lowers that begin so are found only when they are asked for.
    pub(super) unlisted: Option<&'static str>,
}

impl Disk {
    /// One empty lower and an empty upper.
    pub(super) fn new() -> Self {
        let mut disk = Self::default();
        for _ in 0..2 {
            let root = disk.add(Inode::new(7, Body::default()));
            disk.roots.insert(0, root);
        }
        disk
    }

    pub(super) fn add(&mut self, inode: Inode) -> Ino {
        self.inodes.push(inode);
        self.inodes.len() - 1
    }

    /// What stands at `path` of one layer.
    pub(super) fn at(&self, root: Ino, path: &str) -> Option<Ino> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(root, |at, name| match &self.inodes[at].body {
            Body::Directory(names) => names.get(name).copied(),
            _ => None,
        })
    }

    /// Sets or clears a name of one layer. Directories above must be there.
    pub(super) fn name(&mut self, root: Ino, path: &str, ino: Option<Ino>) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.at(root, parent).unwrap_or_else(|| panic!("no directory above {path}"));
        let Body::Directory(names) = &mut self.inodes[parent].body else { panic!("no directory above {path}") };
        match ino {
            Some(ino) => names.insert(name.to_owned(), ino),
            None => names.remove(name),
        };
    }

    /// Puts a file into one layer, with the directories above it.
    pub(super) fn put(&mut self, root: Ino, path: &str, inode: Inode) -> Ino {
        let ino = self.add(inode);
        self.put_ino(root, path, ino);
        ino
    }

    pub(super) fn put_ino(&mut self, root: Ino, path: &str, ino: Ino) {
        for (end, _) in path.match_indices('/') {
            if self.at(root, &path[..end]).is_none() {
                let directory = self.add(Inode::new(7, Body::default()));
                self.name(root, &path[..end], Some(directory));
            }
        }
        self.name(root, path, Some(ino));
    }

    fn is_unlisted(&self, path: &RelPath) -> bool {
        self.unlisted.is_some_and(|directory| path.is_at_or_under(&rel(directory)))
    }

    pub(super) fn upper(&self) -> Ino {
        self.roots[0]
    }

    /// What the next mount finds: `work` is dropped.
    pub(super) fn mounted(&self) -> Self {
        Self { temp: None, ..self.clone() }
    }

    /// The upper becomes the topmost lower.
    pub(super) fn commit(&mut self) {
        let root = self.add(Inode::new(7, Body::default()));
        self.inodes[root].mode = self.inodes[self.upper()].mode;
        self.roots.insert(0, root);
    }

    /// The inodes of the lowers, which must never differ.
    pub(super) fn lower_inodes(&self) -> BTreeMap<Ino, Inode> {
        let mut found = BTreeMap::new();
        let mut unread: Vec<Ino> = self.roots[1..].to_vec();
        while let Some(ino) = unread.pop() {
            if let Body::Directory(names) = &self.inodes[ino].body {
                unread.extend(names.values());
            }
            found.insert(ino, self.inodes[ino].clone());
        }
        found
    }

    pub(super) fn union(&self) -> Union<Raw<'_>, Below<'_>> {
        let mut below: Below<'_> = Box::new(Empty);
        for root in self.roots[1..].iter().rev() {
            below = Box::new(Union::new(Raw { disk: self, root: *root }, below));
        }
        Union::new(Raw { disk: self, root: self.upper() }, below)
    }

    /// A whiteout that hides nothing, if there is one.
    pub(super) fn idle_whiteout(&self) -> Option<String> {
        let union = self.union();
        let mut unread = vec![(String::new(), self.upper())];
        while let Some((at, ino)) = unread.pop() {
            for (name, child) in self.inodes[ino].names() {
                let path = if at.is_empty() { name.clone() } else { format!("{at}/{name}") };
                match &self.inodes[*child].body {
                    Body::Directory(_) => unread.push((path, *child)),
                    Body::Whiteout => {
                        let Ok(place) = union.place(&rel(&path));
                        if place.unwrap().below == crate::plan::Below::Nothing {
                            return Some(path);
                        }
                    }
                    _ => {}
                }
            }
        }
        None
    }
}

pub(super) fn rel(path: &str) -> RelPath {
    RelPath::parse(path.as_bytes()).unwrap()
}

pub(super) fn text(path: &RelPath) -> String {
    String::from_utf8(path.as_bytes().to_vec()).unwrap()
}

pub(super) type Below<'a> = Box<dyn Lowers<Error = Infallible> + 'a>;

/// What is under the lowest layer.
struct Empty;

impl Lowers for Empty {
    type Error = Infallible;

    fn shows(&self, path: &RelPath) -> Result<Option<Shows>, Infallible> {
        Ok(path.is_root().then_some(Shows::Directory))
    }

    fn links(&self, _: &RelPath) -> Result<Links, Infallible> {
        Ok(Links::all(Vec::new()))
    }
}

/// One layer.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a> {
    disk: &'a Disk,
    root: Ino,
}

fn redirect(inode: &Inode) -> Option<Redirect> {
    inode.redirect.as_ref().map(|value| match value.strip_prefix('/') {
        Some(path) => Redirect::Absolute(rel(path)),
        None => Redirect::Relative(Name::new(value.as_bytes()).unwrap()),
    })
}

impl Raw<'_> {
    fn leaf(&self, ino: Ino) -> Option<StandingLeaf> {
        let inode = &self.disk.inodes[ino];
        let kind = match &inode.body {
            // Four bytes are large here.
            Body::File(content) => StandingKind::Regular { size: content.len() as u64 * LEAST_METACOPY / 4 },
            Body::Other(_) => StandingKind::Other,
            Body::Whiteout | Body::Directory(_) => return None,
        };
        let joining = inode.joining.as_ref().map(|path| rel(path));
        Some(StandingLeaf { kind, metacopy: inode.metacopy, redirect: redirect(inode), joining })
    }
}

impl Upper for Raw<'_> {
    type Error = Infallible;

    fn standing(&self, path: &RelPath) -> Result<Option<Standing>, Infallible> {
        let Some(ino) = self.disk.at(self.root, &text(path)) else { return Ok(None) };
        let inode = &self.disk.inodes[ino];
        Ok(match &inode.body {
            Body::Whiteout => Some(Standing::Whiteout),
            Body::Directory(_) => Some(Standing::Directory { opaque: inode.opaque, redirect: redirect(inode) }),
            _ => self.leaf(ino).map(Standing::Leaf),
        })
    }

    fn names(&self, path: &RelPath) -> Result<Vec<Name>, Infallible> {
        let Some(ino) = self.disk.at(self.root, &text(path)) else { return Ok(Vec::new()) };
        Ok(self.disk.inodes[ino].names().keys().map(|name| Name::new(name.as_bytes()).unwrap()).collect())
    }

    fn links(&self, path: &RelPath) -> Result<Links, Infallible> {
        let wanted = self.disk.at(self.root, &text(path));
        let (mut found, mut known) = (Vec::new(), Known::All);
        let mut unread = vec![(RelPath::root(), self.root)];
        while let Some((at, ino)) = unread.pop() {
            for (name, child) in self.disk.inodes[ino].names() {
                let at = at.join(&Name::new(name.as_bytes()).unwrap());
                if self.disk.inodes[*child].is_directory() {
                    unread.push((at, *child));
                } else if Some(*child) != wanted {
                } else if self.root != self.disk.upper() && &at != path && self.disk.is_unlisted(&at) {
                    known = Known::Some;
                } else {
                    found.push(at);
                }
            }
        }
        Ok(Links { paths: found, known })
    }

    fn kept(&self) -> Result<Vec<StandingLeaf>, Infallible> {
        let kept = if self.root == self.disk.upper() { &self.disk.kept[..] } else { &[] };
        Ok(kept.iter().filter_map(|ino| self.leaf(*ino)).collect())
    }
}
