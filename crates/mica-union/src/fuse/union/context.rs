//! The context of a plan: places as the tree knows them.

use std::sync::Arc;

use mica_core::plan::{At, Redirect};
use mica_core::{Kind, Rdev, RelPath};
use mica_sys::{Dir, Errno, File, FileKind, SysError, Time};

use super::{Spot, Union};
use crate::fuse::carry::{Context, Cut, Joins, New, Source, Stand};
use crate::fuse::tree::{At as NameAt, Flag, Node, Shows, Standing};

/// What one operation knows.
#[derive(Debug)]
pub(super) struct Places<'a> {
    pub(super) union: &'a Union,
    pub(super) old: Option<Spot>,
    pub(super) new: Option<Spot>,
    /// Handles of directories, found before their names were locked.
    pub(super) dirs: Vec<(u64, Arc<Dir>)>,
    pub(super) made: Option<New>,
    /// The file without a name that gets one.
    pub(super) unnamed: Option<&'a File>,
    pub(super) cut: Option<Cut>,
    /// How what comes up stands then.
    pub(super) coming: Standing,
}

impl<'a> Places<'a> {
    pub(super) fn new(union: &'a Union) -> Self {
        Self {
            union,
            old: None,
            new: None,
            dirs: Vec::new(),
            made: None,
            unnamed: None,
            cut: None,
            coming: Standing::default(),
        }
    }
}

/// A refusal of the tree, as that of a call.
fn call(what: &'static str) -> impl Fn(Errno) -> SysError {
    move |errno| SysError::new(what, b"", errno)
}

fn node_of(spot: &Spot) -> Result<&Arc<Node>, SysError> {
    spot.node.as_ref().ok_or_else(|| call("lookup")(Errno::NOENT))
}

impl Union {
    /// What shows from the lowers at a node, as its copy must be.
    pub(super) fn source_of(&self, node: &Node) -> Result<Source, Errno> {
        let (marks, records) = (self.tree.marks(), self.tree.records());
        if let Some(said) = self.tree.said(node)? {
            let atime = Time { secs: said.attrs.mtime.secs, nanos: said.attrs.mtime.nanos };
            return Ok(Source { node: said, atime, number: Some(node.ino) });
        }
        let read = |dir: &Dir, name: &[u8]| Source::read(dir, name, marks, records).map_err(super::errno);
        let mut source = match &node.directory {
            Some(directory) => self.tree.at_stated(directory, read)?,
            None => self.tree.at_lower(&self.tree.lower_file(node)?, read)?,
        };
        let metadata = node.state().kept.metadata();
        let rdev = Rdev { major: metadata.rdev_major, minor: metadata.rdev_minor };
        match node.kind {
            FileKind::CharDevice => source.node.kind = Kind::CharDevice(rdev),
            FileKind::BlockDevice => source.node.kind = Kind::BlockDevice(rdev),
            _ => {}
        }
        source.number = Some(node.ino);
        Ok(source)
    }
}

impl Context for Places<'_> {
    type Spot = Spot;

    fn spot(&mut self, at: At) -> Result<Spot, SysError> {
        let spot = match at {
            At::Old => &self.old,
            At::New => &self.new,
        };
        spot.clone().ok_or_else(|| SysError::new("plan", at.to_string(), Errno::INVAL))
    }

    /// None: they came up before.
    fn missing_above(&mut self, _: &Spot) -> Result<Vec<Spot>, SysError> {
        Ok(Vec::new())
    }

    fn stand(&mut self, spot: &Spot) -> Result<Stand, SysError> {
        let known = self.dirs.iter().find(|(id, _)| *id == spot.dir.id);
        let dir = match known {
            Some((_, dir)) => Arc::clone(dir),
            None => self.union.tree.upper_dir(&spot.dir).map_err(call("openat2"))?,
        };
        Ok(Stand { dir, name: spot.name.clone() })
    }

    fn source(&mut self, spot: &Spot) -> Result<Source, SysError> {
        self.union.source_of(node_of(spot)?).map_err(call("statx"))
    }

    fn content(&mut self, spot: &Spot) -> Result<File, SysError> {
        self.union.tree.open_below(node_of(spot)?).map_err(call("openat"))
    }

    fn lower_path(&mut self, spot: &Spot) -> Result<RelPath, SysError> {
        let nowhere = || call("redirect")(Errno::NOENT);
        if let Some(directory) = spot.node.as_ref().and_then(|node| node.directory.as_deref()) {
            return self.union.tree.lower_path_of(directory).ok_or_else(nowhere);
        }
        let directory = spot.dir.directory().map_err(call("redirect"))?;
        let natural = self.union.tree.lower_path_of(directory).map(|path| path.join(&spot.name));
        // A file whose content is below may have a relative redirect, as overlayfs writes it.
        if spot.node.as_ref().is_some_and(|node| node.is_up()) {
            let stand = self.stand(spot)?;
            let value = stand.dir.get_xattr(spot.name.as_bytes(), self.union.tree.marks().redirect())?;
            if let Some(redirect) = value.as_deref().and_then(Redirect::parse) {
                return redirect.lead(natural.as_ref()).ok_or_else(nowhere);
            }
        }
        natural.ok_or_else(nowhere)
    }

    fn joins(&mut self, spot: &Spot) -> Result<Joins<Spot>, SysError> {
        let node = node_of(spot)?;
        let names = node.state().at.clone();
        let spot_of = |at: &NameAt| {
            let dir = self.union.tree.node(at.parent).ok_or(Errno::NOENT)?;
            let name = match dir.directory()?.read().by_cookie(at.cookie()) {
                Some((_, name)) => super::name_of(name)?,
                None => return Err(Errno::NOENT),
            };
            Ok(Spot { dir, name, node: Some(Arc::clone(node)) })
        };
        let up = match self.union.tree.at_kept(node) {
            Some(kept) => kept.map(|(dir, name)| Stand { dir, name }).map_err(call("join"))?,
            None => {
                let up = names.iter().find(|at| at.up).ok_or(Errno::NOENT).and_then(spot_of).map_err(call("join"))?;
                self.stand(&up)?
            }
        };
        let lower = names.iter().filter(|at| !at.up).map(spot_of).collect::<Result<_, _>>().map_err(call("join"))?;
        Ok(Joins { up, lower })
    }

    fn stands_elsewhere(&mut self, spot: &Spot) -> bool {
        spot.node.as_ref().is_some_and(|node| node.state().at.iter().filter(|at| at.up).count() > 1)
    }

    fn new_file(&mut self) -> Result<New, SysError> {
        self.made.clone().ok_or_else(|| call("new")(Errno::INVAL))
    }

    fn unnamed(&mut self) -> Option<&File> {
        self.unnamed
    }

    fn cut(&mut self) -> Result<Cut, SysError> {
        self.cut.ok_or_else(|| call("cut")(Errno::INVAL))
    }

    fn came_up(&mut self, spot: &Spot) {
        let Some(node) = &spot.node else { return };
        let cookie = spot
            .dir
            .directory
            .as_ref()
            .and_then(|directory| directory.read().find(spot.name.as_bytes()).map(|entry| entry.cookie()));
        node.set(Flag::NewName);
        // After an operation that fails later, this number tells whether it is still what stands at the name.
        let stands = self.stand(spot).and_then(|stand| stand.dir.stat(spot.name.as_bytes()));
        let mut state = node.state();
        if let Ok(stands) = stands {
            state.kept.change(|metadata| metadata.ino = stands.ino);
        }
        if !state.is_up() {
            state.shows = Shows::Upper(self.coming.clone());
        }
        if state.is_joining() {
            // Whatever stops it now: a name that is not linked shows this.
            node.pin();
        }
        node.set(Flag::Stale);
        for at in state.at.iter_mut() {
            if cookie.is_some_and(|cookie| at.is(&spot.dir, cookie)) {
                at.up = true;
            }
        }
    }
}
