//! One round: a base, a plain directory and some drivers that show the same, and what happens to all of them alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mica_core::{Attrs, Change, RelPath, Stack};
use mica_layer::tar::{Archive, Entry};
use mica_layer::{DirLayer, Limits, Marks, Over, Pack, Reach, Unpack, diff_upper, pack, unpack};
use mica_sys::Dir;
use mica_union::{Driver, Mounted, UnionDirs, UnionError, UpperDirs};

use super::attempt::{Outcome, copy_up, part};
use super::base::{self, Shown};
use super::compare::{Flat, changes, changeset};
use super::coverage::Coverage;
use super::diverge::Divergence;
use super::kernel;
use super::model::Model;
use super::op::Op;
use super::rng::Rng;
use super::{Event, Plan};
use crate::{Scratch, Snapshot, Tree};

/// What went otherwise, as text for a person.
pub(super) type Failure = String;

/// How long an upper may be in use by a server that ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// A driver in a round: its upper and its mount.
struct Seat<'a> {
    driver: &'a dyn Driver,
    diverges: Vec<Divergence>,
    place: PathBuf,
    mounted: Option<(Mounted, Dir)>,
}

impl Seat<'_> {
    fn name(&self) -> &'static str {
        self.driver.name()
    }

    fn root(&self) -> &Dir {
        &self.mounted.as_ref().expect("it is mounted").1
    }

    fn dirs(&self, lowers: &[PathBuf], marks: Marks) -> UnionDirs {
        let upper = UpperDirs { upper: self.upper(), work: self.place.join("work"), volatile: false };
        UnionDirs { lowers: lowers.to_vec(), upper: Some(upper), marks, ..UnionDirs::default() }
    }

    fn upper(&self) -> PathBuf {
        self.place.join("upper")
    }

    fn has(&self, what: Divergence) -> bool {
        self.diverges.contains(&what)
    }
}

/// See the module.
pub(super) struct Round<'a> {
    plan: &'a Plan<'a>,
    place: PathBuf,
    plain: Dir,
    seats: Vec<Seat<'a>>,
    lowers: Vec<(PathBuf, Snapshot)>,
    shown: Shown,
    before: Flat,
    pub(super) model: Model,
    /// The next time that a check gives.
    moment: i64,
    /// How many uppers there were.
    uppers: usize,
    /// How often everything was compared.
    looks: u64,
    pub(super) met: Coverage,
    /// What `place` is in; it goes last.
    _scratch: Scratch,
}

impl<'a> Round<'a> {
    /// A base from the seed, with the drivers of `team` over it.
    pub(super) fn new(plan: &'a Plan<'a>, seed: u64, team: &[&'a dyn Driver]) -> Result<Self, Failure> {
        let scratch = Scratch::new();
        // Memory flushes fast; uppers of users stand on disks.
        let place = if seed.is_multiple_of(8) { scratch.make("disk") } else { scratch.tmpfs("memory", "size=1g") };
        let literals = base::lowers(&mut Rng::new(seed), plan.privilege);
        let mut shown = Shown::default();
        let mut lowers = Vec::new();
        for (number, literal) in literals.iter().enumerate().rev() {
            let source = place.join(format!("literal{number}"));
            std::fs::create_dir(&source).unwrap();
            literal.write_layer(&source, plan.marks);
            let tar = packed(&source, plan, &Attrs::implicit_directory(), None)?;
            lowers.insert(0, sealed(&place.join(format!("layer{number}")), &tar, plan)?);
            shown.apply(literal);
        }
        let plain = place.join("plain");
        std::fs::create_dir(&plain).unwrap();
        shown.tree.write_to(&plain);
        let model = Model::new(&shown.tree, &shown.layers);
        let mut round = Self {
            plan,
            plain: Dir::open(&plain).unwrap(),
            place,
            seats: Vec::new(),
            before: Flat::of(&shown.tree, &|_| false),
            shown,
            model,
            moment: 1_500_000_000,
            uppers: 0,
            looks: 0,
            met: Coverage::default(),
            lowers,
            _scratch: scratch,
        };
        for driver in team {
            let diverges = Divergence::of(driver.name(), plan.marks);
            let seat = Seat { driver: *driver, diverges, place: PathBuf::new(), mounted: None };
            round.seats.push(seat);
        }
        round.new_uppers()?;
        round.check()?;
        Ok(round)
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.lowers.iter().map(|(path, _)| path.clone()).collect()
    }

    fn new_uppers(&mut self) -> Result<(), Failure> {
        self.uppers += 1;
        let mut root = Tree::new();
        root.put(RelPath::root(), self.shown.tree.get(&RelPath::root()).unwrap().clone());
        for seat in &mut self.seats {
            seat.place = self.place.join(format!("{}{}", seat.driver.name(), self.uppers));
            for name in ["upper", "work"] {
                std::fs::create_dir_all(seat.place.join(name)).unwrap();
            }
            root.write_layer(&seat.upper(), self.plan.marks);
        }
        self.mount()
    }

    fn mount(&mut self) -> Result<(), Failure> {
        let lowers = self.paths();
        for seat in &mut self.seats {
            let dirs = seat.dirs(&lowers, self.plan.marks);
            let since = Instant::now();
            let mounted = loop {
                match seat.driver.mount(&dirs) {
                    // On a machine with much to do, the server of the mount before takes long to end.
                    Err(UnionError::InUse { .. }) if since.elapsed() < PATIENCE => {}
                    mounted => break mounted,
                }
            };
            let mounted = mounted.map_err(|error| format!("{} does not mount: {error:?}", seat.driver.name()))?;
            let root = mounted.dir().map_err(|error| error.to_string())?;
            seat.mounted = Some((mounted, root));
        }
        Ok(())
    }

    fn unmount(&mut self) {
        self.seats.iter_mut().for_each(|seat| seat.mounted = None);
    }

    /// Lets it happen, and looks.
    pub(super) fn let_happen(&mut self, event: &Event) -> Result<(), Failure> {
        match event {
            Event::Do(op) => self.operation(op, true),
            Event::Check => self.check(),
            Event::Remount => {
                self.unmount();
                self.mount()?;
                self.check()
            }
            Event::Commit => self.commit(),
        }
    }

    /// Does one operation everywhere and compares what became of it. Where a driver is known to refuse it, the others do not
    /// do it either.
    fn operation(&mut self, op: &Op, counts: bool) -> Result<(), Failure> {
        if let Op::Move { from, to } = op {
            // As mv(1), which looks before it copies.
            let real = |path| self.model.resolve(path, false);
            if real(to).zip(real(from)).is_some_and(|(to, from)| to.is_at_or_under(&from)) {
                return Ok(());
            }
        }
        let asks_who_shares = match op {
            Op::Rename { from, to, .. } | Op::WriteRenamed { from, to, .. } => self.model.is_one_file(from, to),
            Op::Move { from, .. } => self.model.has_links_inside(from),
            _ => false,
        };
        if asks_who_shares && self.seats.iter().any(|seat| seat.has(Divergence::NumbersPart)) {
            *self.met.diverged.entry(Divergence::NumbersPart).or_default() += 1;
            return Ok(());
        }
        let aims: Vec<_> = op.aims().into_iter().map(|(row, path)| (row, self.model.origin(path))).collect();
        self.met.operations += u64::from(counts);
        let (refused, already) = self.ask_those_who_refuse(op)?;
        if let Some(what) = refused {
            *self.met.diverged.entry(what).or_default() += 1;
            self.model.tried(op);
            for (row, origin) in &aims {
                origin.iter().filter(|_| counts).for_each(|origin| self.met.count(*row, *origin, true));
            }
            return match op {
                Op::Rename { from, to, how: super::op::How::Replace | super::op::How::NoReplace } => {
                    self.operation(&Op::Move { from: from.clone(), to: to.clone() }, false)
                }
                _ => Ok(()),
            };
        }
        let parted = self.part_links(op);
        self.model.tried(op);
        let wanted = op.attempt(&self.plain);
        for (number, seat) in self.seats.iter().enumerate() {
            let found = already.get(&number).cloned().unwrap_or_else(|| op.attempt(seat.root()));
            if wanted != found {
                return Err(format!("{op:?}\n  plain: {wanted:?}\n  {}: {found:?}", seat.name()));
            }
        }
        if wanted.is_ok() {
            self.model.done(op);
        } else {
            // Whether a refusal came before or after the copy-up is the driver's affair.
            for (path, seat) in parted.iter().flat_map(|path| self.seats.iter().map(move |seat| (path, seat))) {
                if seat.has(Divergence::LinksPart) {
                    copy_up(seat.root(), path);
                }
            }
        }
        for (row, origin) in aims {
            origin.iter().filter(|_| counts).for_each(|origin| self.met.count(row, *origin, wanted.is_ok()));
        }
        Ok(())
    }

    /// Lets the drivers that may refuse the operation for a known reason try it first. Gives the reason, or what became of it
    /// where nobody gave one.
    fn ask_those_who_refuse(&self, op: &Op) -> Result<(Option<Divergence>, BTreeMap<usize, Outcome>), Failure> {
        let mut refused = None;
        let mut already = BTreeMap::new();
        for (number, seat) in self.seats.iter().enumerate() {
            let Some((what, errno)) =
                seat.diverges.iter().find_map(|what| Some((*what, what.refuses(op, &self.model)?)))
            else {
                continue;
            };
            let outcome = op.attempt(seat.root());
            if outcome == Err(errno) {
                refused = Some(what);
            } else {
                already.insert(number, outcome);
            }
        }
        match refused {
            Some(what) if already.values().any(Result::is_ok) => {
                Err(format!("{op:?}\n  {what:?} is not the same in {already:?}"))
            }
            refused => Ok((refused, already)),
        }
    }

    /// Where a driver parts the names of a lower's file, everybody's are parted before. Gives those that were.
    fn part_links(&mut self, op: &Op) -> Vec<RelPath> {
        let mut parted = Vec::new();
        if !self.seats.iter().any(|seat| seat.has(Divergence::LinksPart)) {
            return parted;
        }
        for path in self.model.may_copy_up(op) {
            if self.model.is_linked_below(&path) && !self.model.is_dir(&path) {
                part(&self.plain, &path);
                for seat in self.seats.iter().filter(|seat| !seat.has(Divergence::LinksPart)) {
                    part(seat.root(), &path);
                }
                *self.met.diverged.entry(Divergence::LinksPart).or_default() += 1;
                self.model.parted(&path);
                parted.push(path);
            }
        }
        parted
    }

    /// Gives all that may have changed a time that is the same everywhere and was nowhere before. A directory of a lower in
    /// which something changed may get its old time back: it is then no change itself.
    fn settle_times(&mut self) -> Result<(), Failure> {
        let touched: Vec<RelPath> = std::mem::take(&mut self.model.touched).into_iter().collect();
        let touched: Vec<RelPath> = touched.into_iter().filter(|path| self.model.get(path).is_some()).collect();
        let mut changed: BTreeSet<RelPath> = BTreeSet::new();
        // The deepest first, so that a directory knows whether something in it is a change.
        for path in touched.into_iter().rev() {
            self.moment += 1;
            let nanos = u32::try_from(self.moment % 1000).unwrap() * 1_000_000;
            let mut time = (self.moment, nanos);
            let holds_a_change = changed.iter().any(|at| at != &path && at.is_at_or_under(&path));
            if self.model.is_lower_dir(&path) && holds_a_change && self.moment % 2 == 0 {
                let old = self.before.tree.get(&path).and_then(|entry| entry.mtime);
                time = old.map_or(time, |old| (old.secs, old.nanos));
            }
            self.operation(&Op::SetTime { path: path.clone(), secs: time.0, nanos: time.1 }, false)?;
            changed.insert(path);
        }
        self.model.touched.clear();
        Ok(())
    }

    /// Compares everything that can be without a commit.
    fn check(&mut self) -> Result<(), Failure> {
        self.settle_times()?;
        let (after, changes, layer) = self.expected()?;
        self.met.checks += 1;
        self.looks += 1;
        let wanted_tar = self.tar_of(&layer)?;
        for number in 0..self.seats.len() {
            let seat = &self.seats[number];
            let name = seat.name();
            let mut found = Flat::of(&Tree::read_dir(seat.root()), &|path| self.is_apart(path));
            if seat.has(Divergence::NumbersPart) && after.groups != found.groups {
                *self.met.diverged.entry(Divergence::NumbersPart).or_default() += 1;
                found.groups = after.groups.clone();
            }
            differ(&after.differences(&found), &format!("{name} shows another tree"))?;
            seat.driver
                .settle(&seat.dirs(&self.paths(), self.plan.marks))
                .map_err(|error| format!("{name} does not settle: {error:?}"))?;
            self.upper_says(number, &after)?;
            let seat = &self.seats[number];

            if self.model.returned {
                continue;
            }
            let upper = Dir::open(&seat.upper()).unwrap();
            let below = self.below();
            let found = diff_upper(&upper, self.plan.marks, &below, &self.plan.privilege.ability())
                .map_err(|error| format!("{name}: diff: {error:?}"))?;
            differ(&other_lines(&changes, &found), &format!("{name} has other changes"))?;
            let tar = packed(&seat.upper(), self.plan, &self.root_below(), Some(&below))?;
            if tar != wanted_tar {
                let lines = other_lines(&list(&wanted_tar), &list(&tar));
                return Err(format!("{name} packs another layer:\n{}", lines.join("\n")));
            }
        }
        self.lowers_whole("a check")
    }

    /// What the upper says by itself, brought onto what was below, is the same tree.
    fn upper_says(&mut self, seat: usize, after: &Flat) -> Result<(), Failure> {
        let seat = &self.seats[seat];
        let said = if seat.has(Divergence::RefersBelow) {
            *self.met.diverged.entry(Divergence::RefersBelow).or_default() += 1;
            // No overlayfs follows a user's marks, and a mount costs more than all else here.
            if self.plan.marks == Marks::User || !self.looks.is_multiple_of(4) {
                return Ok(());
            }
            let lowers = self.paths();
            let shown =
                kernel::read(&seat.upper(), &lowers).map_err(|error| format!("overlayfs over the upper: {error}"))?;
            let mut found = Flat::of(&shown, &|path| self.is_apart(path));
            let upper = seat.upper();
            let layers: Vec<_> = [&upper].into_iter().chain(&lowers).map(PathBuf::as_path).collect();
            kernel::restore(&mut found, after, self.plan.marks, &layers);
            // Which names share a file it tells by numbers that are not all its own.
            found.groups = after.groups.clone();
            found
        } else {
            let mut over = self.shown.clone();
            over.apply(&Tree::read_layer(&seat.upper(), self.plan.marks));
            Flat::of(&over.tree, &|path| self.is_apart(path))
        };
        differ(
            &after.differences(&said),
            &format!("{}'s upper, brought onto what was below, is another tree", seat.name()),
        )
    }

    /// What should be seen, what should be listed as changes, and what the upper should say.
    fn expected(&self) -> Result<(Flat, Vec<Change>, Tree), Failure> {
        let plain = Tree::read_dir(&self.plain);
        self.model_holds(&plain)?;
        let after = Flat::of(&plain, &|path| self.is_apart(path));
        let replaced = |path: &RelPath| self.model.is_opaque(path);
        let changes = changes(&self.before, &after, &replaced);
        let layer = changeset(&self.before, &after, &changes, &replaced);
        Ok((after, changes, layer))
    }

    /// Whether a name may share its file or not: one of a lower's that a driver may have parted already.
    fn is_apart(&self, path: &RelPath) -> bool {
        self.seats.iter().any(|seat| seat.has(Divergence::LinksPart)) && self.model.is_linked_below(path)
    }

    fn below(&self) -> Stack<DirLayer> {
        let layers = self.lowers.iter().map(|(path, _)| DirLayer::new(Dir::open(path).unwrap(), self.plan.marks));
        Stack::new(layers.collect())
    }

    fn root_below(&self) -> Attrs {
        let root = self.before.tree.get(&RelPath::root()).unwrap();
        Attrs {
            mode: root.mode,
            uid: root.uid,
            gid: root.gid,
            mtime: root.mtime.unwrap_or_default(),
            xattrs: root.xattrs.clone(),
        }
    }

    fn tar_of(&self, layer: &Tree) -> Result<Vec<u8>, Failure> {
        // Where the round is: making files on a disk is most of this.
        let place = self.place.join("wanted");
        std::fs::create_dir(&place).unwrap();
        layer.write_layer(&place, self.plan.marks);
        let tar = packed(&place, self.plan, &self.root_below(), None);
        Dir::open(&self.place).unwrap().remove_tree(b"wanted").unwrap();
        tar
    }

    /// The model is this test's own; where it is wrong, the test is.
    fn model_holds(&self, plain: &Tree) -> Result<(), Failure> {
        let kinds = |path: &RelPath| {
            let what = &plain.get(path).unwrap().what;
            what.kind().or_else(|| match what {
                crate::What::Hard(first) => plain.get(first).unwrap().what.kind(),
                _ => None,
            })
        };
        let real: BTreeMap<_, _> =
            plain.iter().filter(|(path, _)| !path.is_root()).map(|(path, _)| (path, kinds(path))).collect();
        let held: BTreeMap<_, _> = self.model.names().map(|(path, kind)| (path, Some(kind))).collect();
        if real == held { Ok(()) } else { Err(format!("the model is wrong:\n  real  {real:?}\n  model {held:?}")) }
    }

    fn lowers_whole(&self, after: &str) -> Result<(), Failure> {
        for (path, snapshot) in &self.lowers {
            snapshot.assert_unchanged(path, after);
        }
        Ok(())
    }

    /// The upper becomes the topmost lower: packed, unpacked, shown read-only, and shown below a new upper.
    fn commit(&mut self) -> Result<(), Failure> {
        self.check()?;
        let (after, ..) = self.expected()?;
        self.unmount();
        let tar = packed(&self.seats[0].upper(), self.plan, &self.root_below(), Some(&self.below()))?;
        let layer = sealed(&self.place.join(format!("committed{}", self.uppers)), &tar, self.plan)?;
        let said = Tree::read_layer(&layer.0, self.plan.marks);
        self.lowers.insert(0, layer);
        self.shown.apply(&said);
        // Names of a lower's file that were parted by some are parted for all from here on.
        let shown = Flat::of(&self.shown.tree, &|path| self.is_apart(path));
        differ(&after.differences(&shown), "the committed layer, brought onto what was below, is another tree")?;
        for seat in &self.seats {
            let dirs = UnionDirs { lowers: self.paths(), upper: None, marks: self.plan.marks, ..UnionDirs::default() };
            let mounted = seat.driver.mount(&dirs).map_err(|error| format!("{}: sealed: {error:?}", seat.name()))?;
            let found = Flat::of(&Tree::read_dir(&mounted.dir().unwrap()), &|path| self.is_apart(path));
            differ(&after.differences(&found), &format!("{} shows another tree of the sealed layers", seat.name()))?;
        }
        self.met.commits += 1;
        let plain = Tree::read_dir(&self.plain);
        self.model = Model::new(&plain, &self.shown.layers);
        self.shown.tree = plain;
        self.before = Flat::of(&self.shown.tree, &|_| false);
        self.new_uppers()?;
        self.check()
    }
}

/// Packs a changeset, over a stack where one is given.
fn packed(upper: &Path, plan: &Plan<'_>, root: &Attrs, below: Option<&Stack<DirLayer>>) -> Result<Vec<u8>, Failure> {
    let mut tar = Vec::new();
    let ability = plan.privilege.ability();
    let over = below.map(|below| Over { below, ability: &ability, reach: Reach::CopiedUp });
    let how = Pack { marks: Some(plan.marks), root: Some(root.clone()), over, others: None };
    pack(&Dir::open(upper).unwrap(), &how, &mut tar).map_err(|error| format!("pack: {error:?}"))?;
    Ok(tar)
}

fn sealed(place: &Path, tar: &[u8], plan: &Plan<'_>) -> Result<(PathBuf, Snapshot), Failure> {
    std::fs::create_dir(place).unwrap();
    let how = Unpack { marks: plan.marks, ability: plan.privilege.ability(), ..Unpack::default() };
    unpack(&mut &tar[..], &Dir::open(place).unwrap(), &how).map_err(|error| format!("unpack: {error:?}"))?;
    let diff = place.join("diff");
    let snapshot = Snapshot::of(&diff);
    Ok((diff, snapshot))
}

/// The members of a tar, one to a line.
fn list(tar: &[u8]) -> Vec<String> {
    let mut archive = Archive::new(tar, &Limits::default());
    let mut lines = Vec::new();
    while let Ok(Some(entry)) = archive.next_entry() {
        let Entry { kind, path, link, mode, uid, gid, mtime, device, xattrs, size, .. } = entry;
        let (path, link) = (path.escape_ascii(), link.escape_ascii());
        lines.push(format!("{kind:?} {path} -> {link} {mode:o} {uid}:{gid} {mtime:?} {device:?} {size} {xattrs:?}"));
    }
    lines
}

fn other_lines<T: PartialEq + fmt::Display>(wanted: &[T], found: &[T]) -> Vec<String> {
    let missing = wanted.iter().filter(|line| !found.contains(line)).map(|line| format!("  wanted {line}"));
    let more = found.iter().filter(|line| !wanted.contains(line)).map(|line| format!("  found  {line}"));
    missing.chain(more).collect()
}

fn differ(lines: &[String], what: &str) -> Result<(), Failure> {
    if lines.is_empty() { Ok(()) } else { Err(format!("{what}:\n{}", lines.join("\n"))) }
}
