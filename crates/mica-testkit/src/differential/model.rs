//! Where every path of the union comes from.
//!
//! The model knows names, kinds and origins, and nothing of content or attributes. It says which cell of the table an
//! operation is in, and what may have changed; whether an operation works is the plain directory's to say.

use std::collections::{BTreeMap, BTreeSet};

use mica_core::{Name, RelPath};
use mica_sys::FileKind;

use super::op::{How, Node, Op, Row};
use crate::{Tree, What};

/// A column of the coverage table. The first that applies counts; a name that is not there counts as its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Reached through a symlink in the path.
    ThroughSymlink,
    /// A name that the lowers show and that was deleted.
    Deleted,
    /// A name that the lowers show, deleted and made again; a directory only where it does not replace one.
    MadeAgain,
    /// A directory that replaces one of the lowers, or what stands in one.
    Opaque,
    /// A file of a lower with several names, not copied up.
    LinkedBelow,
    /// A file with several names in the upper.
    LinkedAbove,
    /// A file of a lower.
    LowerFile,
    /// A directory of one lower.
    LowerDir,
    /// A directory of several layers.
    Merged,
    /// A file of a lower that was copied up.
    CopiedUp,
    /// Made in the upper, with nothing below.
    Upper,
}

impl Origin {
    /// All, as the table has them.
    pub const ALL: &[Self] = &[
        Self::LowerFile,
        Self::LowerDir,
        Self::Merged,
        Self::CopiedUp,
        Self::Upper,
        Self::Opaque,
        Self::LinkedBelow,
        Self::LinkedAbove,
        Self::ThroughSymlink,
        Self::MadeAgain,
        Self::Deleted,
    ];

    /// As it is headed in the table.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::ThroughSymlink => "symlink",
            Self::Deleted => "deleted",
            Self::MadeAgain => "again",
            Self::Opaque => "opaque",
            Self::LinkedBelow => "linked",
            Self::LinkedAbove => "linked-up",
            Self::LowerFile => "lower",
            Self::LowerDir => "lower-dir",
            Self::Merged => "merged",
            Self::CopiedUp => "copied-up",
            Self::Upper => "upper",
        }
    }

    /// Whether an operation of the row can do anything to a path of this origin.
    #[must_use]
    pub const fn allows(self, row: Row) -> bool {
        let never_a_dir = matches!(self, Self::LowerFile | Self::CopiedUp | Self::LinkedBelow | Self::LinkedAbove);
        let always_a_dir = matches!(self, Self::LowerDir | Self::Merged);
        match row {
            Row::Overwrite => !matches!(self, Self::LowerDir | Self::Merged) || row.makes_or_replaces(),
            Row::RenameOnto | Row::WhiteoutOnto => true,
            Row::List | Row::RemoveDir => !never_a_dir && !matches!(self, Self::Deleted),
            Row::Unlink | Row::LinkFrom => !always_a_dir && !matches!(self, Self::Deleted),
            _ if row.wants_content() => !always_a_dir && !matches!(self, Self::Deleted),
            _ if row.makes() => !never_a_dir && !matches!(self, Self::MadeAgain),
            _ => !matches!(self, Self::Deleted),
        }
    }
}

/// Where a file's present state stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the lowers alone.
    Below,
    /// Copied up: in the upper as well.
    Up,
    /// In the upper alone.
    New,
}

#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) kind: FileKind,
    target: Vec<u8>,
    state: State,
    /// Names with the same number are one file.
    number: u64,
    /// Of a directory of the lowers, where it is there.
    home: Option<RelPath>,
}

/// What the lowers show at a path.
#[derive(Debug, Clone, Copy)]
struct Below {
    dir: bool,
    /// Of a directory: of how many layers.
    layers: usize,
    linked: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Model {
    files: BTreeMap<RelPath, File>,
    below: BTreeMap<RelPath, Below>,
    /// What the next check gives a time of its own: all that an operation may have changed or copied up.
    pub(super) touched: BTreeSet<RelPath>,
    next: u64,
    /// Whether a directory of the lowers was renamed away and is back. A layer may say of it that it is the old one, or a
    /// new one in its place: both mean the same tree, so the drivers need not agree.
    pub(super) returned: bool,
}

impl Model {
    /// The model of an untouched union: what its lowers show, and of each directory how many layers it has.
    #[must_use]
    pub fn new(shown: &Tree, layers: &BTreeMap<RelPath, usize>) -> Self {
        let mut model = Self::default();
        for (path, entry) in shown.iter().filter(|(path, _)| !path.is_root()) {
            let file = match &entry.what {
                What::Hard(first) => model.files[first].clone(),
                what => {
                    model.next += 1;
                    let target = if let What::Symlink(target) = what { target.clone() } else { Vec::new() };
                    let kind = what.kind().unwrap();
                    let home = (kind == FileKind::Directory).then(|| path.clone());
                    File { kind, target, state: State::Below, number: model.next, home }
                }
            };
            model.files.insert(path.clone(), file);
        }
        let shared = model.shared();
        for (path, file) in &model.files {
            let below = Below {
                dir: file.kind == FileKind::Directory,
                layers: layers.get(path).copied().unwrap_or(1),
                linked: shared.contains(&file.number),
            };
            model.below.insert(path.clone(), below);
        }
        model
    }

    fn shared(&self) -> BTreeSet<u64> {
        let mut seen = BTreeSet::new();
        self.files.values().filter(|file| !seen.insert(file.number)).map(|file| file.number).collect()
    }

    /// Every name with its kind.
    pub fn names(&self) -> impl Iterator<Item = (&RelPath, FileKind)> {
        self.files.iter().map(|(path, file)| (path, file.kind))
    }

    pub(super) fn get(&self, path: &RelPath) -> Option<&File> {
        self.files.get(path)
    }

    /// Whether `path`, with no symlink in it, is a directory.
    #[must_use]
    pub fn is_dir(&self, path: &RelPath) -> bool {
        path.is_root() || self.files.get(path).is_some_and(|file| file.kind == FileKind::Directory)
    }

    /// Whether nothing is in the directory.
    #[must_use]
    pub fn is_empty_dir(&self, path: &RelPath) -> bool {
        self.is_dir(path) && self.inside(path).next().is_none()
    }

    fn inside<'a>(&'a self, path: &'a RelPath) -> impl Iterator<Item = &'a RelPath> {
        // Everything under a directory follows it in the order of paths.
        self.files
            .range(path.clone()..)
            .map(|(at, _)| at)
            .skip_while(move |at| *at == path)
            .take_while(move |at| at.is_at_or_under(path))
    }

    /// Whether `path` is a directory of a lower, merged or not.
    #[must_use]
    pub fn is_lower_dir(&self, path: &RelPath) -> bool {
        self.files.get(path).is_some_and(|file| file.kind == FileKind::Directory && file.state != State::New)
    }

    /// Whether the file at `path` is one of the lowers', copied up or not.
    #[must_use]
    pub fn is_lower(&self, path: &RelPath) -> bool {
        self.files.get(path).is_some_and(|file| file.state != State::New)
    }

    /// Whether the paths are two names of one file.
    #[must_use]
    pub fn is_one_file(&self, one: &RelPath, other: &RelPath) -> bool {
        let number = |path| self.resolve(path, false).and_then(|path| self.files.get(&path)).map(|file| file.number);
        number(one).is_some_and(|one| Some(one) == number(other))
    }

    /// Whether two names under the directory `path` are of one file.
    #[must_use]
    pub fn has_links_inside(&self, path: &RelPath) -> bool {
        let Some(path) = self.resolve(path, false) else { return false };
        let mut seen = BTreeSet::new();
        self.inside(&path).any(|at| !seen.insert(self.files[at].number))
    }

    /// Whether `path` is in the lowers alone.
    fn is_below(&self, path: &RelPath) -> bool {
        self.files.get(path).is_some_and(|file| file.state == State::Below)
    }

    /// Whether `path` is a name of a lower's file that has several.
    #[must_use]
    pub fn is_linked_below(&self, path: &RelPath) -> bool {
        self.is_below(path) && self.below.get(path).is_some_and(|below| below.linked)
    }

    /// Whether `path` is a directory of the upper that replaces one of the lowers.
    #[must_use]
    pub fn is_opaque(&self, path: &RelPath) -> bool {
        let new_dir = |file: &File| file.kind == FileKind::Directory && file.state == State::New;
        self.files.get(path).is_some_and(new_dir) && self.below.get(path).is_some_and(|below| below.dir)
    }

    /// The path that `path` names when symlinks are followed; of the last component only where `follow` says so. `None`
    /// where a directory of it is not there.
    #[must_use]
    pub fn resolve(&self, path: &RelPath, follow: bool) -> Option<RelPath> {
        let mut rest: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        rest.reverse();
        let mut at = RelPath::root();
        let mut followed = 0;
        while let Some(component) = rest.pop() {
            match &component[..] {
                b"" | b"." => continue,
                b".." => {
                    at = at.parent().unwrap_or_default();
                    continue;
                }
                _ => {}
            }
            if !self.is_dir(&at) {
                return None;
            }
            let next = at.join(&Name::new(&component).ok()?);
            match self.files.get(&next) {
                Some(file) if file.kind == FileKind::Symlink && (follow || !rest.is_empty()) => {
                    followed += 1;
                    if followed > 40 {
                        return None;
                    }
                    if file.target.first() == Some(&b'/') {
                        at = RelPath::root();
                    }
                    rest.extend(file.target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                }
                _ => at = next,
            }
        }
        Some(at)
    }

    /// The column of a path as an operation spells it; `None` for one that nothing is known of.
    #[must_use]
    pub fn origin(&self, path: &RelPath) -> Option<Origin> {
        let real = self.resolve(path, false)?;
        if real != *path {
            return Some(Origin::ThroughSymlink);
        }
        self.real_origin(&real)
    }

    fn real_origin(&self, path: &RelPath) -> Option<Origin> {
        let Some(file) = self.files.get(path) else {
            return match self.below.contains_key(path) {
                true => Some(Origin::Deleted),
                // The root is merged always.
                false => path.parent().map_or(Some(Origin::Merged), |parent| match parent.is_root() {
                    true => Some(Origin::Merged),
                    false => self.files.get(&parent).and_then(|_| self.real_origin(&parent)),
                }),
            };
        };
        let dir = file.kind == FileKind::Directory;
        if self.is_opaque(path) || path.ancestors().any(|ancestor| self.is_opaque(&ancestor)) {
            return Some(Origin::Opaque);
        }
        if file.state == State::New && self.below.contains_key(path) {
            return Some(Origin::MadeAgain);
        }
        if !dir && self.is_linked_below(path) {
            return Some(Origin::LinkedBelow);
        }
        if !dir && self.files.values().filter(|other| other.number == file.number).count() > 1 {
            return Some(Origin::LinkedAbove);
        }
        Some(match (dir, file.state) {
            (_, State::New) => Origin::Upper,
            (false, State::Below) => Origin::LowerFile,
            (false, State::Up) => Origin::CopiedUp,
            (true, State::Up) => Origin::Merged,
            (true, State::Below) if self.below[path].layers > 1 => Origin::Merged,
            (true, State::Below) => Origin::LowerDir,
        })
    }

    /// Every name that is there or that the lowers show.
    pub fn known(&self) -> impl Iterator<Item = &RelPath> {
        self.files.keys().chain(self.below.keys().filter(|path| !self.files.contains_key(*path)))
    }

    /// What the operation may change or copy up, as it stands before: its own files, and their directories.
    pub(super) fn may_copy_up(&self, op: &Op) -> Vec<RelPath> {
        let mut paths = Vec::new();
        match op {
            Op::Read { .. } | Op::Stat { .. } | Op::List { .. } => return paths,
            // These leave the file itself as it is, or take none that is there.
            Op::Unlink { .. } | Op::RemoveDir { .. } | Op::RemoveTree { .. } => {}
            Op::Create { .. } | Op::MakeDir { .. } | Op::MakeNode { .. } => {}
            Op::Symlink { .. } | Op::LinkUnnamed { .. } => {}
            Op::Link { from, .. } => paths.extend(self.resolve(from, false)),
            Op::Rename { from, to, how } => {
                paths.extend(self.resolve(from, false));
                paths.extend(self.resolve(to, false).filter(|_| *how == How::Exchange));
            }
            _ => paths.extend(op.aims().first().and_then(|(_, path)| self.resolve(path, op.follows()))),
        }
        paths.retain(|path| self.files.contains_key(path));
        paths
    }

    /// Notes that an operation was tried: what it may have changed has no certain time.
    pub(super) fn tried(&mut self, op: &Op) {
        if matches!(op, Op::Read { .. } | Op::Stat { .. } | Op::List { .. }) {
            return;
        }
        let own = self.may_copy_up(op);
        let numbers: BTreeSet<u64> = own.iter().map(|path| self.files[path].number).collect();
        let shared = self.files.iter().filter(|(_, file)| numbers.contains(&file.number));
        let own: Vec<_> = shared.map(|(path, _)| path.clone()).collect();
        let dirs = op.aims().into_iter().filter_map(|(_, path)| self.resolve(path, op.follows())?.parent());
        let dirs: Vec<_> = dirs.filter(|_| op.changes_names()).collect();
        self.touched.extend(own.into_iter().chain(dirs));
    }

    /// Notes that a lower's linked file has become one of its own.
    pub(super) fn parted(&mut self, path: &RelPath) {
        self.next += 1;
        let number = self.next;
        if let Some(file) = self.files.get_mut(path) {
            (file.number, file.state) = (number, State::Up);
        }
        self.ancestors_up(path);
        self.touched.insert(path.clone());
    }

    fn ancestors_up(&mut self, path: &RelPath) {
        for ancestor in path.ancestors() {
            if let Some(dir) = self.files.get_mut(&ancestor).filter(|dir| dir.state == State::Below) {
                dir.state = State::Up;
            }
        }
    }

    fn up(&mut self, path: &RelPath) {
        let Some(number) = self.files.get(path).map(|file| file.number) else { return };
        for file in self.files.values_mut().filter(|file| file.number == number && file.state == State::Below) {
            file.state = State::Up;
        }
        self.ancestors_up(path);
    }

    fn make(&mut self, path: RelPath, kind: FileKind, target: &[u8]) {
        self.next += 1;
        self.ancestors_up(&path);
        self.touched.insert(path.clone());
        let file = File { kind, target: target.to_vec(), state: State::New, number: self.next, home: None };
        self.files.insert(path, file);
    }

    fn remove(&mut self, path: &RelPath) {
        self.ancestors_up(path);
        self.files.retain(|at, _| !at.is_at_or_under(path));
    }

    /// Notes that an operation was done; to be asked after [`Model::tried`].
    pub(super) fn done(&mut self, op: &Op) {
        let at = |path: &RelPath, follow| self.resolve(path, follow).expect("what was done had a place");
        match op {
            Op::Read { .. } | Op::Stat { .. } | Op::List { .. } => {}
            Op::Create { path, .. } | Op::LinkUnnamed { path, .. } => self.make(at(path, false), FileKind::File, b""),
            Op::Overwrite { path, .. } => match at(path, true) {
                real if self.files.contains_key(&real) => self.up(&real),
                real => {
                    self.touched.extend(real.parent());
                    self.make(real, FileKind::File, b"");
                }
            },
            Op::MakeDir { path, .. } => self.make(at(path, false), FileKind::Directory, b""),
            Op::MakeNode { path, node } => {
                let kind = match node {
                    Node::Fifo => FileKind::Fifo,
                    Node::Char | Node::DeviceZero => FileKind::CharDevice,
                    Node::Block => FileKind::BlockDevice,
                };
                self.make(at(path, false), kind, b"");
            }
            Op::Symlink { path, target } => self.make(at(path, false), FileKind::Symlink, target),
            Op::Unlink { path } | Op::RemoveDir { path } | Op::RemoveTree { path } | Op::WriteUnlinked { path, .. } => {
                let path = at(path, false);
                self.remove(&path);
            }
            Op::Link { from, to } => {
                let (from, to) = (at(from, false), at(to, false));
                self.up(&from);
                let file = File { state: State::New, ..self.files[&from].clone() };
                self.make(to.clone(), file.kind, b"");
                self.files.insert(to, file);
            }
            Op::Rename { from, to, how } => {
                let (from, to) = (at(from, false), at(to, false));
                self.renamed(&from, &to, *how);
                if *how == How::Whiteout && !self.files.contains_key(&from) {
                    self.make(from, FileKind::CharDevice, b"");
                }
            }
            Op::WriteRenamed { from, to, .. } => {
                let (from, to) = (at(from, false), at(to, false));
                self.renamed(&from, &to, How::Replace);
                self.up(&to);
            }
            Op::Move { from, to } => {
                let (from, to) = (at(from, false), at(to, false));
                self.renamed(&from, &to, How::Replace);
                self.copied(&to);
            }
            _ => {
                for path in self.may_copy_up(op) {
                    self.up(&path);
                }
            }
        }
    }

    fn take(&mut self, path: &RelPath) -> Vec<(RelPath, File)> {
        self.up(path);
        let paths: Vec<_> = self.files.keys().filter(|at| at.is_at_or_under(path)).cloned().collect();
        let below = |at: &RelPath| RelPath::parse_loose(&at.as_bytes()[path.as_bytes().len()..]).unwrap();
        paths.iter().map(|at| (below(at), self.files.remove(at).unwrap())).collect()
    }

    fn put(&mut self, path: &RelPath, taken: Vec<(RelPath, File)>) {
        self.ancestors_up(path);
        for (below, file) in taken {
            let at = path.join_path(&below);
            self.touched.insert(at.clone());
            let is_home = file.home.as_ref() == Some(&at);
            self.returned |= is_home;
            let state = if is_home { State::Up } else { State::New };
            self.files.insert(at, File { state, ..file });
        }
    }

    fn renamed(&mut self, from: &RelPath, to: &RelPath, how: How) {
        let same = |model: &Self| model.files.get(to).is_some_and(|file| file.number == model.files[from].number);
        if from == to || how != How::Exchange && same(self) {
            // rename(2) of two names of one file does nothing.
            return;
        }
        let moved = self.take(from);
        if how == How::Exchange {
            let other = self.take(to);
            self.put(from, other);
        } else {
            self.remove(to);
        }
        self.put(to, moved);
    }

    /// What is at and under `path` are new files; names among them that share one still do.
    fn copied(&mut self, path: &RelPath) {
        let mut numbers = BTreeMap::new();
        for (_, file) in self.files.iter_mut().filter(|(at, _)| at.is_at_or_under(path)) {
            (file.state, file.home) = (State::New, None);
            let next = &mut self.next;
            file.number = *numbers.entry(file.number).or_insert_with(|| {
                *next += 1;
                *next
            });
        }
    }
}
