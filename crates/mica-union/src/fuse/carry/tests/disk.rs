//! Directories with marks, as layers that core can ask.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use mica_core::plan::{
    Features, JoiningMark, Links, Lowers, Redirect, Shows, Standing, StandingKind, StandingLeaf, Union, Upper,
};
use mica_core::{Name, RelPath};
use mica_layer::{Ability, Marks};
use mica_sys::{Dir, FileKind};
use mica_testkit::Scratch;

use crate::UpperDirs;
use crate::fuse::carry::{Carrier, Opening};

pub(super) fn rel(path: &str) -> RelPath {
    RelPath::parse(path.as_bytes()).unwrap()
}

/// A directory with marks, or a plain one.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) root: Dir,
    pub(super) marks: Option<Marks>,
}

impl Raw {
    pub(super) fn new(path: &Path, marks: Option<Marks>) -> Self {
        Self { root: Dir::open(path).unwrap(), marks }
    }

    /// The directory above a path and its name; `None` where there is no such directory, and for the root.
    pub(super) fn at(&self, path: &RelPath) -> Option<(Dir, Name)> {
        let (parent, name) = path.split()?;
        self.root.open_dir(parent.as_bytes()).ok().map(|dir| (dir, name))
    }

    fn mark(&self, dir: &Dir, name: &Name, mark: impl Fn(Marks) -> &'static [u8]) -> Option<Vec<u8>> {
        dir.get_xattr(name.as_bytes(), mark(self.marks?)).unwrap()
    }

    pub(super) fn walk(&self, each: &mut dyn FnMut(&RelPath, u64)) {
        let mut unread = vec![RelPath::root()];
        while let Some(at) = unread.pop() {
            for entry in self.root.open_dir(at.as_bytes()).unwrap().read_dir().unwrap() {
                let path = at.join(&Name::new(&entry.name).unwrap());
                if entry.kind == FileKind::Directory {
                    unread.push(path);
                } else {
                    each(&path, entry.ino);
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Layer<'a>(&'a Raw);

impl Upper for Layer<'_> {
    type Error = Infallible;

    fn standing(&self, path: &RelPath) -> Result<Option<Standing>, Infallible> {
        if path.is_root() {
            return Ok(Some(Standing::Directory { opaque: false, redirect: None }));
        }
        let Some((dir, name)) = self.0.at(path) else { return Ok(None) };
        let Some(found) = dir.stat_if_there(name.as_bytes()).unwrap() else { return Ok(None) };
        let mark = |mark: fn(Marks) -> &'static [u8]| self.0.mark(&dir, &name, mark);
        if self.0.marks.is_some() && (found.is_whiteout_device() || mark(Marks::whiteout).is_some()) {
            return Ok(Some(Standing::Whiteout));
        }
        let redirect = mark(Marks::redirect).map(|value| Redirect::parse(&value).unwrap());
        if found.kind == FileKind::Directory {
            let opaque = mark(Marks::opaque).is_some_and(|value| value == b"y");
            return Ok(Some(Standing::Directory { opaque, redirect }));
        }
        let kind = match found.kind {
            FileKind::File if mark(Marks::device_zero).is_none() => StandingKind::Regular { size: found.size },
            _ => StandingKind::Other,
        };
        let joining = mark(Marks::joining).map(|value| JoiningMark::parse(&value).unwrap().from);
        if joining.is_some() {
            let says = self.0.marks.map(|marks| self.0.root.get_own_xattr(marks.joins()).unwrap().is_some());
            assert_eq!(says, Some(true), "{path} is joining, and the root says nothing of it");
        }
        let metacopy = mark(Marks::metacopy).is_some();
        Ok(Some(Standing::Leaf(StandingLeaf { kind, metacopy, redirect, joining })))
    }

    fn names(&self, path: &RelPath) -> Result<Vec<Name>, Infallible> {
        let Ok(dir) = self.0.root.open_dir(path.as_bytes()) else { return Ok(Vec::new()) };
        Ok(dir.read_dir().unwrap().iter().map(|entry| Name::new(&entry.name).unwrap()).collect())
    }

    fn links(&self, path: &RelPath) -> Result<Links, Infallible> {
        let (dir, name) = self.0.at(path).unwrap();
        let ino = dir.stat(name.as_bytes()).unwrap().ino;
        let mut found = Vec::new();
        self.0.walk(&mut |path, other| {
            if other == ino {
                found.push(path.clone());
            }
        });
        Ok(Links::all(found))
    }
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

/// Layers, topmost first; the upper is one.
#[derive(Debug)]
pub(super) struct Layers(pub(super) Vec<Raw>);

impl Layers {
    /// The union of the layers from a number on.
    pub(super) fn union(&self, from: usize) -> Union<Layer<'_>, Below<'_>> {
        let mut below: Below<'_> = Box::new(Empty);
        for raw in self.0[from + 1..].iter().rev() {
            below = Box::new(Union::new(Layer(raw), below));
        }
        Union::new(Layer(&self.0[from]), below)
    }

    pub(super) fn standing(&self, path: &RelPath) -> Option<Standing> {
        let Ok(standing) = Layer(&self.0[0]).standing(path);
        standing
    }

    /// The topmost layer from a number on that has what shows at a path of their union, and where.
    pub(super) fn find(&self, from: usize, path: &RelPath) -> Option<(usize, RelPath)> {
        let raw = self.0.get(from)?;
        let Ok(standing) = Layer(raw).standing(path);
        match standing {
            Some(Standing::Whiteout) => None,
            Some(_) => Some((from, path.clone())),
            None => {
                let Ok(lower) = self.union(from).lower_path(path);
                self.find(from + 1, &lower?)
            }
        }
    }

    /// The same for the content of a regular file.
    pub(super) fn find_content(&self, from: usize, path: &RelPath) -> (usize, RelPath) {
        let (layer, at) = self.find(from, path).unwrap_or_else(|| panic!("{path} shows no content"));
        let Ok(standing) = Layer(&self.0[layer]).standing(&at);
        if !matches!(standing, Some(Standing::Leaf(StandingLeaf { metacopy: true, .. }))) {
            return (layer, at);
        }
        let Ok(lower) = self.union(layer).lower_path(&at);
        self.find_content(layer + 1, &lower.unwrap_or_else(|| panic!("the content of {at} is nowhere")))
    }

    /// The names that may show in a directory of the union from a number on.
    pub(super) fn names(&self, from: usize, path: &RelPath) -> Vec<Name> {
        let Some(raw) = self.0.get(from) else { return Vec::new() };
        let Ok(standing) = Layer(raw).standing(path);
        let mut names = match standing {
            Some(Standing::Directory { .. }) => {
                let Ok(names) = Layer(raw).names(path);
                names
            }
            None => Vec::new(),
            _ => return Vec::new(),
        };
        let Ok(lower) = self.union(from).lower_path(path);
        if let Some(lower) = lower {
            names.extend(self.names(from + 1, &lower));
        }
        names
    }
}

/// An upper with its work directory and the lowers, on disk.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) upper: PathBuf,
    pub(super) lowers: Vec<PathBuf>,
    pub(super) work: PathBuf,
    pub(super) marks: Marks,
}

impl Disk {
    /// One empty lower and an empty upper.
    pub(super) fn new(scratch: &Scratch, marks: Marks) -> Self {
        Self { upper: scratch.make("upper"), lowers: vec![scratch.make("lower")], work: scratch.make("work"), marks }
    }

    pub(super) fn layers(&self) -> Layers {
        let all = std::iter::once(&self.upper).chain(&self.lowers);
        Layers(all.map(|path| Raw::new(path, Some(self.marks))).collect())
    }

    pub(super) fn dirs(&self) -> UpperDirs {
        UpperDirs { upper: self.upper.clone(), work: self.work.clone(), volatile: false }
    }

    pub(super) fn opening<'a>(&self, dirs: &'a UpperDirs) -> Opening<'a> {
        Opening {
            records: crate::Records::None,
            driver: "fuse",
            dirs,
            marks: self.marks,
            ability: Ability::native(),
            features: Features::Full,
            foreign: false,
        }
    }

    pub(super) fn open(&self) -> Carrier {
        Carrier::open(self.opening(&self.dirs())).unwrap_or_else(|error| panic!("{error:?}"))
    }
}
