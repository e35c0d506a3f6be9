//! What every driver must show: one table of trees, steps and outcomes, and a few cases that are no table.
//!
//! For each case the suite writes the lowers, mounts, looks, takes the steps, and looks again; it unmounts, settles and
//! mounts the same upper once more; it mounts upper and lowers together as a read-only view; it asks the rules of `core` what upper
//! and lowers show. All of these must be the tree that the case expects, and no lower may have changed in anything that
//! stat(2) shows. Call it from `tests/`, once for each kind of marks.

use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use mica_core::{RelPath, Stack};
use mica_layer::{Ability, DirLayer, Marks, Over, Reach, leads_below, spell_out};
use mica_sys::{Dir, Errno};
use mica_union::{Driver, UnionDirs, UpperDirs};

use crate::{Scratch, Snapshot, Tree};

mod cases;
mod shape;
mod step;

pub use step::Step;

/// One line of the table.
#[derive(Debug)]
pub struct Case {
    /// A sentence.
    pub name: &'static str,
    /// Where this went wrong for others, or why it is here.
    pub because: &'static str,
    /// The changesets, topmost first.
    pub lowers: Vec<Tree>,
    /// What is done in the union.
    pub steps: Vec<Step>,
    /// What it shows then.
    pub shows: Tree,
}

/// Runs every case on a driver; panics with the names of all that do not hold. Needs root, and for [`Marks::Trusted`] the
/// initial user namespace.
pub fn driver_suite(driver: &dyn Driver, marks: Marks) {
    let mut broken = Vec::new();
    let mut run = |name: &'static str, because: &str, case: &dyn Fn()| {
        if catch_unwind(AssertUnwindSafe(case)).is_err() {
            broken.push(format!("  {name} ({because})"));
        }
    };
    for case in cases::all() {
        run(case.name, case.because, &|| run_case(driver, marks, &case));
    }
    for (name, because, case) in shape::ALL {
        run(name, because, &|| case(driver, marks));
    }
    assert!(broken.is_empty(), "{} with {marks:?} marks does not pass:\n{}", driver.name(), broken.join("\n"));
}

/// Runs every case begun on one driver and ended on the other, handed over after each of its steps: an upper that one
/// wrote reads the same under the other, and can be written on. Upper and lowers are on a tmpfs. As [`driver_suite`]
/// otherwise.
pub fn hand_over_suite(first: &dyn Driver, then: &dyn Driver, marks: Marks) {
    let mut broken = Vec::new();
    for case in cases::all() {
        for at in 0..=case.steps.len() {
            if catch_unwind(AssertUnwindSafe(|| hand_over(first, then, marks, &case, at))).is_err() {
                broken.push(format!("  {} after {at} steps ({})", case.name, case.because));
            }
        }
    }
    let (first, then) = (first.name(), then.name());
    assert!(broken.is_empty(), "{first} to {then} with {marks:?} marks does not pass:\n{}", broken.join("\n"));
}

fn hand_over(first: &dyn Driver, then: &dyn Driver, marks: Marks, case: &Case, at: usize) {
    let bench = Bench::in_place(Scratch::in_memory(), first, marks, &case.lowers);
    let (before, after) = case.steps.split_at(at);
    let mut halfway = None;
    for (driver, steps) in [(first, before), (then, after)] {
        let mounted = driver.mount(&bench.dirs()).unwrap_or_else(|error| panic!("{error}: {:?}", error.hint()));
        let merged = mounted.dir().unwrap();
        if let Some(halfway) = halfway.take() {
            let halfway: Tree = halfway;
            halfway.assert_is(&Tree::read_dir(&merged), "what the first driver left, under the second");
        }
        steps.iter().for_each(|step| step.take(&merged));
        halfway = Some(Tree::read_dir(&merged));
        drop((merged, mounted));
        driver.settle(&bench.dirs()).unwrap_or_else(|error| panic!("{error}: {:?}", error.hint()));
    }
    case.shows.assert_is(&bench.show(&bench.dirs()), "what both wrote, under the first");
    bench.assert_lowers_whole("both");
}

fn run_case(driver: &dyn Driver, marks: Marks, case: &Case) {
    let bench = Bench::new(driver, marks, &case.lowers);
    let before = Tree::of_stack(&case.lowers);
    before.assert_is(&bench.show(&bench.dirs()), "the untouched union");

    let mounted = driver.mount(&bench.dirs()).unwrap();
    let merged = mounted.dir().unwrap();
    for step in &case.steps {
        step.take(&merged);
        bench.assert_lowers_whole(&format!("{step:?}"));
    }
    case.shows.assert_is(&Tree::read_dir(&merged), "the union after the steps");
    drop((merged, mounted));

    case.shows.assert_is(&bench.show(&bench.dirs()), "the union, mounted again");
    bench.settle(&bench.dirs());
    case.shows.assert_is(&bench.show(&bench.dirs()), "the union, mounted when all is settled");
    let mut layers = vec![bench.changeset()];
    layers.extend(case.lowers.iter().cloned());
    case.shows.assert_is(&Tree::of_stack(&layers), "what the rules say of upper and lowers");
    case.shows.assert_is(&bench.show(&bench.sealed()), "the read-only view of upper and lowers");
    bench.assert_lowers_whole("everything");
}

/// Lowers on disk, with an upper and a work directory beside them.
struct Bench<'a> {
    driver: &'a dyn Driver,
    marks: Marks,
    scratch: Scratch,
    lowers: Vec<(PathBuf, Snapshot)>,
}

impl<'a> Bench<'a> {
    fn new(driver: &'a dyn Driver, marks: Marks, lowers: &[Tree]) -> Self {
        Self::in_place(Scratch::new(), driver, marks, lowers)
    }

    fn in_place(scratch: Scratch, driver: &'a dyn Driver, marks: Marks, lowers: &[Tree]) -> Self {
        // The upper is the topmost statement about the root; whoever makes one gives it the root that shows below.
        let mut upper = Tree::new();
        upper.put(RelPath::root(), Tree::of_stack(lowers).get(&RelPath::root()).unwrap().clone());
        upper.write_layer(&scratch.make("upper"), marks);
        Tree::new().write_to(&scratch.make("work"));
        let lowers = lowers.iter().enumerate().map(|(number, tree)| {
            let path = scratch.make(format!("lower{number}"));
            tree.write_layer(&path, marks);
            (path.clone(), Snapshot::of(&path))
        });
        let lowers = lowers.collect();
        Self { driver, marks, lowers, scratch }
    }

    fn upper(&self) -> UpperDirs {
        let at = |name| self.scratch.path().join(name);
        UpperDirs { upper: at("upper"), work: at("work"), volatile: false }
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.lowers.iter().map(|(path, _)| path.clone()).collect()
    }

    /// The container.
    fn dirs(&self) -> UnionDirs {
        UnionDirs { lowers: self.paths(), upper: Some(self.upper()), marks: self.marks, ..UnionDirs::default() }
    }

    /// The upper as one more layer: a commit without a copy.
    fn sealed(&self) -> UnionDirs {
        let mut lowers = self.paths();
        lowers.insert(0, self.upper().upper);
        UnionDirs { lowers, upper: None, marks: self.marks, ..UnionDirs::default() }
    }

    fn show(&self, dirs: &UnionDirs) -> Tree {
        let mounted = self.driver.mount(dirs).unwrap_or_else(|error| panic!("{error}: {:?}", error.hint()));
        let root = mounted.dir().unwrap();
        if dirs.upper.is_none() {
            let refused = root.mkdir(b".not-in-any-case", 0o755).unwrap_err();
            assert_eq!(refused.errno(), Errno::ROFS, "a view without an upper is read-only");
        }
        Tree::read_dir(&root)
    }

    /// What the upper says, in full where its marks lead below: the rules know no such marks.
    fn changeset(&self) -> Tree {
        let path = self.upper().upper;
        let upper = Dir::open(&path).unwrap();
        if !leads_below(&upper, self.marks).unwrap() {
            return Tree::read_layer(&path, self.marks);
        }
        let open = |lower: &PathBuf| DirLayer::new(Dir::open(lower).unwrap(), self.marks);
        let (below, ability) = (Stack::new(self.paths().iter().map(open).collect()), Ability::native());
        let over = Over { below: &below, ability: &ability, reach: Reach::CopiedUp };
        let place = self.scratch.make("spelled");
        let spelled = spell_out(&upper, self.marks, over, &Dir::open(&place).unwrap()).unwrap();
        let spelled = PathBuf::from(format!("/proc/self/fd/{}", spelled.as_fd().as_raw_fd()));
        Tree::read_layer(&spelled, self.marks)
    }

    fn settle(&self, dirs: &UnionDirs) {
        self.driver.settle(dirs).unwrap_or_else(|error| panic!("{error}: {:?}", error.hint()));
    }

    fn assert_lowers_whole(&self, after: &str) {
        for (path, snapshot) in &self.lowers {
            snapshot.assert_unchanged(path, after);
        }
    }
}
