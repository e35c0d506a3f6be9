//! The same random operations in a union and in a plain directory, and nothing may tell the two apart.
//!
//! ```text
//!   seed -> lowers (packed, unpacked) --> plain directory      union of each driver
//!                                               |  each operation, on each  |
//!                                               |  outcome and errno        |   equal, or a known divergence
//!                                               |  trees, links             |
//!                                               |  changes, packed layer    |
//!                                             commit: the layer unpacked is the next lower
//! ```
//!
//! A *round* has a base of several lowers of its own, and some hundred operations with checks, remounts and commits among
//! them. Operations are data ([`Op`]). A [`Model`] knows where each path of the union comes from ([`Origin`]), so that the
//! generator can aim at the cell of the table operation x origin that was met least; [`Coverage`] is that table.
//!
//! With several drivers, rounds in which all take part are followed by rounds of each alone: what one driver is known not
//! to do ([`diverge::KNOWN`]) is not done by anyone in its company.
//!
//! What is the oracle of what: the plain directory of outcomes and of the tree; a comparison of two plain trees of the
//! changes and of what the packed layer must say; `tar -x`'s rules, written once more in this module, of what the
//! upper and a committed layer mean; and where an upper says things that no changeset says, the kernel's overlayfs of that. Neither a driver nor the rules of `core` are asked.
//!
//! A failure is shrunk, by leaving out what does not matter, and printed with its seed and as operations.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mica_layer::Marks;
use mica_union::Driver;

mod attempt;
mod base;
mod compare;
mod coverage;
pub mod diverge;
mod generate;
mod kernel;
mod model;
mod op;
mod rng;
mod round;

pub use attempt::{Outcome, Seen};
pub use base::Privilege;
pub use coverage::{Count, Coverage};
pub use diverge::Divergence;
pub use model::{Model, Origin};
pub use op::{Fill, How, Node, Op, Row};
use rng::Rng;
use round::{Failure, Round};

/// What happens in a round, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An operation, in the plain directory and in every union.
    Do(Op),
    /// Everything is compared.
    Check,
    /// Every union is taken down and shown again.
    Remount,
    /// Every upper becomes the topmost lower.
    Commit,
}

/// A run.
#[allow(missing_debug_implementations, reason = "a driver has none")]
pub struct Plan<'a> {
    /// Who is compared with the plain directory.
    pub drivers: Vec<&'a dyn Driver>,
    /// Which marks their uppers have.
    pub marks: Marks,
    /// What may be made.
    pub privilege: Privilege,
    /// Where the numbers come from; the same seed is the same run.
    pub seed: u64,
    /// How many operations in all.
    pub operations: u64,
}

/// Operations of a round, those between two checks, and those between two commits.
const ROUND: u64 = 200;
const BATCH: u64 = 25;
const COMMIT: u64 = 100;

/// After so many operations it is told how far a run is.
const TOLD: u64 = 100_000;

/// How often a failing round is played again to make it shorter.
const REPLAYS: u32 = 300;

impl Plan<'_> {
    /// Plays until the operations are done; gives the table of each driver.
    ///
    /// Panics at the first difference, with the shortest script that was found to show it.
    #[must_use]
    pub fn run(&self) -> Vec<Coverage> {
        let mut tables: Vec<_> = self.drivers.iter().map(|driver| Coverage::of(driver.name())).collect();
        let mut done = 0;
        let mut number = 0;
        while done < self.operations {
            let seed = Rng::new(self.seed.wrapping_add(number)).next();
            let team = self.team(number);
            let drivers: Vec<_> = team.iter().map(|at| self.drivers[*at]).collect();
            let met = match self.round(seed, &drivers, &tables[team[0]]) {
                Ok(met) => met,
                Err((script, failure)) => panic!("{}", self.report(seed, &drivers, script, &failure)),
            };
            if (done + met.operations) / TOLD > done / TOLD {
                eprintln!("seed {}: {} operations, {} rounds", self.seed, done + met.operations, number + 1);
            }
            done += met.operations;
            team.iter().for_each(|at| tables[*at].add(&met));
            number += 1;
        }
        for table in &tables {
            eprintln!("seed {}\n{table}", self.seed);
        }
        tables
    }

    /// All, then each alone, and again.
    fn team(&self, number: u64) -> Vec<usize> {
        let all = 0..self.drivers.len();
        let teams = if all.len() > 1 { all.len() + 1 } else { 1 };
        match usize::try_from(number).unwrap() % teams {
            0 => all.collect(),
            alone => vec![alone - 1],
        }
    }

    /// Makes up a round and plays it; what was played, where it fails.
    fn round(&self, seed: u64, team: &[&dyn Driver], so_far: &Coverage) -> Result<Coverage, (Vec<Event>, Failure)> {
        let mut rng = Rng::new(seed ^ 0x6d69_6361);
        let mut script = Vec::new();
        let mut met = so_far.clone();
        let played = guarded(|| {
            let mut round = Round::new(self, seed, team)?;
            let mut counted = Coverage::default();
            for number in 1..=ROUND {
                let op = generate::operation(&mut rng, &round.model, &met, self.privilege);
                let mut events = vec![Event::Do(op)];
                match number {
                    _ if number % COMMIT == 0 => events.push(Event::Commit),
                    _ if number % BATCH == 0 && rng.once_in(2) => events.push(Event::Remount),
                    _ if number % BATCH == 0 => events.push(Event::Check),
                    _ => {}
                }
                for event in events {
                    script.push(event.clone());
                    round.let_happen(&event)?;
                }
                let fresh = std::mem::take(&mut round.met);
                met.add(&fresh);
                counted.add(&fresh);
            }
            Ok(counted)
        });
        played.map_err(|failure| (script, failure))
    }

    /// Plays a script; a check ends it.
    fn replay(&self, seed: u64, team: &[&dyn Driver], script: &[Event]) -> Result<(), Failure> {
        guarded(|| {
            let mut round = Round::new(self, seed, team)?;
            script.iter().chain([&Event::Check]).try_for_each(|event| round.let_happen(event))
        })
    }

    /// Leaves out of a failing script what it fails without, in ever smaller pieces (Zeller's delta debugging).
    fn shrink(&self, seed: u64, team: &[&dyn Driver], mut script: Vec<Event>, failure: &str) -> Vec<Event> {
        let mut replays = 0;
        let mut piece = script.len().div_ceil(2);
        while piece > 0 && replays < REPLAYS {
            let mut start = 0;
            let mut shorter = false;
            while start < script.len() && replays < REPLAYS {
                let mut without = script.clone();
                without.drain(start..(start + piece).min(script.len()));
                replays += 1;
                if self.replay(seed, team, &without).is_err_and(|found| about(&found) == about(failure)) {
                    (script, shorter) = (without, true);
                } else {
                    start += piece;
                }
            }
            if !shorter || piece > 1 {
                piece /= 2;
            }
        }
        script
    }

    fn report(&self, seed: u64, team: &[&dyn Driver], script: Vec<Event>, failure: &str) -> String {
        let names: Vec<_> = team.iter().map(|driver| driver.name()).collect();
        let played = script.len();
        let what = self.replay(seed, team, &script);
        let Err(_) = what else {
            return format!("{failure}\nseed {}, round {seed:#x} of {names:?}: not met again by a replay", self.seed);
        };
        let script = self.shrink(seed, team, script, failure);
        let again = self.replay(seed, team, &script).err().unwrap_or_default();
        let lowers = base::lowers(&mut Rng::new(seed), self.privilege);
        let lowers: Vec<_> = lowers.iter().map(|lower| format!("{lower:?}")).collect();
        let lines: Vec<_> = script.iter().map(|event| format!("  {event:?}")).collect();
        format!(
            "lowers, topmost first:\n{}\na union and a plain directory part\n\
             seed {}, round {seed:#x} of {names:?}, {:?} marks; {played} events, first met as:\n{failure}\n\
             the shortest script found, of {} events:\n{}\nends with:\n{again}",
            lowers.join("\n"),
            self.seed,
            self.marks,
            script.len(),
            lines.join("\n"),
        )
    }
}

/// What a failure is about, by which it is known again: which operation, or which comparison.
fn about(failure: &str) -> &str {
    failure.split(['{', '\n', ':']).next().unwrap_or_default()
}

/// A panic is a failure like any other.
fn guarded<T>(play: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    })
}
