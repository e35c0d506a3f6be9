//! Which operation met a path of which origin, and how often it was done and not refused.

use std::collections::BTreeMap;
use std::fmt;

use mica_layer::Marks;

use super::diverge::Divergence;
use super::model::Origin;
use super::op::Row;

/// How often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Tried.
    pub tried: u64,
    /// Of these, done by the plain directory.
    pub done: u64,
}

/// The table of one driver.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    /// The driver.
    pub driver: String,
    cells: BTreeMap<(Row, Origin), Count>,
    /// How often each known divergence was met.
    pub diverged: BTreeMap<Divergence, u64>,
    /// Operations in all.
    pub operations: u64,
    /// Comparisons of whole trees, of changes, and of packed layers.
    pub checks: u64,
    /// Layers that were packed, unpacked and put below.
    pub commits: u64,
}

impl Coverage {
    pub(super) fn of(driver: &str) -> Self {
        Self { driver: driver.to_owned(), ..Self::default() }
    }

    pub(super) fn count(&mut self, row: Row, origin: Origin, done: bool) {
        let cell = self.cells.entry((row, origin)).or_default();
        cell.tried += 1;
        cell.done += u64::from(done);
    }

    /// A cell.
    #[must_use]
    pub fn cell(&self, row: Row, origin: Origin) -> Count {
        self.cells.get(&(row, origin)).copied().unwrap_or_default()
    }

    /// Takes the numbers of another run over.
    pub(super) fn add(&mut self, other: &Self) {
        for (cell, count) in &other.cells {
            let sum = self.cells.entry(*cell).or_default();
            sum.tried += count.tried;
            sum.done += count.done;
        }
        for (what, count) in &other.diverged {
            *self.diverged.entry(*what).or_default() += count;
        }
        self.operations += other.operations;
        self.checks += other.checks;
        self.commits += other.commits;
    }

    /// What the run did not show: cells that were met less than `least` times (done, where the operation can be done, else
    /// tried), and known divergences that were not met. `can` says whether a row's operation can be done at all.
    #[must_use]
    pub fn thin(&self, least: u64, marks: Marks, can: impl Fn(Row) -> bool) -> Vec<String> {
        let mut thin = Vec::new();
        for row in Row::ALL.iter().copied() {
            for origin in Origin::ALL.iter().copied() {
                let count = self.cell(row, origin);
                let done = origin.allows(row) && can(row);
                if (if done { count.done } else { count.tried }) < least {
                    let what = if done { "done" } else { "tried" };
                    thin.push(format!("{row:?} x {}: {what} {count:?}", origin.heading()));
                }
            }
        }
        let unmet = Divergence::of(&self.driver, marks).into_iter().filter(|what| !self.diverged.contains_key(what));
        thin.extend(unmet.map(|what| format!("{what:?} was not met: is it still so?")));
        thin
    }
}

/// The table: `done/tried`, or `-/tried` where an operation can only be refused.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { driver, operations, checks, commits, .. } = self;
        writeln!(f, "{driver}: {operations} operations, {checks} comparisons, {commits} commits; done/tried")?;
        write!(f, "{:<15}", "")?;
        for origin in Origin::ALL {
            write!(f, " {:>11}", origin.heading())?;
        }
        writeln!(f)?;
        for row in Row::ALL.iter().copied() {
            write!(f, "{:<15}", format!("{row:?}"))?;
            for origin in Origin::ALL.iter().copied() {
                let Count { tried, done } = self.cell(row, origin);
                let done = if origin.allows(row) { done.to_string() } else { "-".to_owned() };
                write!(f, " {:>11}", format!("{done}/{tried}"))?;
            }
            writeln!(f)?;
        }
        self.diverged.iter().try_for_each(|(what, count)| writeln!(f, "known divergence {what:?}: {count}"))
    }
}
