//! Targets: what the issues ask for, as data in `bench/targets.toml`, and the verdict of a run on each.
//!
//! A target names a job, whose number is meant and what bounds it. Where an issue names milliseconds, a floor of the same
//! run stands beside it: on a machine whose floor is higher, the bound is higher by as much.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::results::{Contender, Measured, Outcome, Results};

#[cfg(test)]
mod tests;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    target: Vec<Target>,
}

/// One target.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    /// What it is called; once.
    pub(super) name: String,
    /// The issue that asks for it.
    pub(super) issue: u32,
    /// What the issue asks for, in words.
    pub(super) text: String,
    /// The job that measures it.
    pub(super) job: String,
    /// Whose number is bounded.
    pub(super) of: String,
    pub(super) bound: Bound,
    /// Why it is missed, while it is. Printed beside a miss, and kept here so that a new run keeps it.
    #[serde(default)]
    pub(super) reason: String,
}

/// What bounds a number.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Bound {
    /// At most `times` the time of the fastest of some.
    Fastest { times: f64, among: Vec<String> },
    /// At most `times` the time of the slowest of some: all of that work has to be done.
    Slowest { times: f64, among: Vec<String> },
    /// At most `ms`, on a machine where `floor` takes `floor_ms`.
    Beside { ms: f64, floor: String, floor_ms: f64 },
    /// No more than the same thing elsewhere, within noise.
    Equal { to: String },
    /// At most this much memory, in MiB.
    Memory { mib: f64 },
}

/// What a run says of a target. The order is that in which they are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    Miss,
    /// The job was not run.
    NotRun,
    PeerAbsent,
    Pass,
}

impl std::fmt::Display for Grade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Miss => "MISS",
            Self::NotRun => "NOT RUN",
            Self::PeerAbsent => "PEER-ABSENT",
            Self::Pass => "PASS",
        })
    }
}

/// A verdict, with the numbers that it rests on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) grade: Grade,
    pub(super) because: String,
}

impl Verdict {
    fn new(good: bool, because: String) -> Self {
        Self { grade: if good { Grade::Pass } else { Grade::Miss }, because }
    }
}

/// Reads the targets; every job that one names must be one of `jobs`.
pub(super) fn read(root: &Path, jobs: &[&str]) -> Result<Vec<Target>> {
    let path = root.join("bench/targets.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text, jobs).with_context(|| path.display().to_string())
}

fn parse(text: &str, jobs: &[&str]) -> Result<Vec<Target>> {
    let File { target: targets } = toml::from_str(text).context("not a list of targets")?;
    for (number, target) in targets.iter().enumerate() {
        if !jobs.contains(&target.job.as_str()) {
            bail!("target {:?}: there is no job {:?}", target.name, target.job);
        }
        if targets.iter().take(number).any(|other| other.name == target.name) {
            bail!("target {:?} stands twice", target.name);
        }
    }
    Ok(targets)
}

/// Every target with its verdict, misses first, and otherwise as they stand in the file.
pub(super) fn judge<'a>(targets: &'a [Target], results: &Results) -> Vec<(&'a Target, Verdict)> {
    let mut judged: Vec<_> = targets.iter().map(|target| (target, verdict(target, results))).collect();
    judged.sort_by_key(|(_, verdict)| verdict.grade);
    judged
}

fn verdict(target: &Target, results: &Results) -> Verdict {
    let Some(job) = results.jobs.get(&target.job) else {
        return Verdict { grade: Grade::NotRun, because: format!("cargo xtask bench {}", target.job) };
    };
    match judged(target, job) {
        Ok(verdict) => verdict,
        Err(Lack::Absent(because)) => Verdict { grade: Grade::PeerAbsent, because },
        Err(Lack::Broken(because)) => Verdict { grade: Grade::Miss, because },
        Err(Lack::Unknown(name)) => {
            Verdict { grade: Grade::NotRun, because: format!("the last run of {} had no {name}", target.job) }
        }
    }
}

/// Why a number cannot be had.
enum Lack {
    Absent(String),
    Broken(String),
    Unknown(String),
}

fn there<'a>(job: &'a Measured, name: &str) -> Result<&'a Contender, Lack> {
    let contender = job.find(name).ok_or_else(|| Lack::Unknown(name.to_owned()))?;
    match &contender.outcome {
        Outcome::Ran(_) => Ok(contender),
        Outcome::Absent(how) => Err(Lack::Absent(format!("{name} is not installed: {how}"))),
        Outcome::Failed(why) => Err(Lack::Broken(format!("{name}: {why}"))),
    }
}

fn judged(target: &Target, job: &Measured) -> Result<Verdict, Lack> {
    let ours = there(job, &target.of)?;
    let unknown = || Lack::Unknown(target.of.clone());
    let own = ours.millis().ok_or_else(unknown)?;
    match &target.bound {
        Bound::Fastest { times, among } => beside(own.median, *times, job, among, "fastest", |new, old| new < old),
        Bound::Slowest { times, among } => beside(own.median, *times, job, among, "slowest", |new, old| new > old),
        Bound::Beside { ms, floor, floor_ms } => {
            let floor_here = there(job, floor)?.millis().ok_or_else(unknown)?.median;
            let bound = ms * (floor_here / floor_ms).max(1.0);
            let because = format!("{} beside {floor} {}: at most {}", time(own.median), time(floor_here), time(bound));
            Ok(Verdict::new(own.median <= bound, because))
        }
        Bound::Equal { to } => {
            let other = there(job, to)?.millis().ok_or_else(unknown)?;
            let (here, there, noise) = (time(own.median), time(other.median), time(other.noise(&own)));
            Ok(Verdict::new(other.equals(&own), format!("{here} beside {there}, noise {noise}")))
        }
        Bound::Memory { mib } => {
            let peak = ours.peak_mib().ok_or_else(unknown)?;
            Ok(Verdict::new(peak <= *mib, format!("{peak:.0} MiB, at most {mib:.0}")))
        }
    }
}

/// A bound that others set. One that is missing takes nothing from a miss, but a pass needs them all.
fn beside(
    own: f64,
    times: f64,
    job: &Measured,
    among: &[String],
    which: &str,
    better: fn(f64, f64) -> bool,
) -> Result<Verdict, Lack> {
    let mut chosen: Option<(f64, &str)> = None;
    let mut lack = None;
    for name in among {
        let median = there(job, name).and_then(|it| it.millis().ok_or_else(|| Lack::Unknown(name.clone())));
        match median {
            Ok(summary) => {
                if chosen.is_none_or(|(so_far, _)| better(summary.median, so_far)) {
                    chosen = Some((summary.median, name));
                }
            }
            // A peer that cannot do the work sets no bound.
            Err(Lack::Broken(because)) => lack = lack.or(Some(Lack::Absent(because))),
            Err(other) => lack = lack.or(Some(other)),
        }
    }
    let because = chosen.map(|(other, name)| {
        let ratio = own / other;
        let role = if among.len() > 1 { format!("the {which}, ") } else { String::new() };
        (ratio <= times, format!("{ratio:.2} of {role}{name}, at most {times}: {} to {}", time(own), time(other)))
    });
    match (because, lack) {
        (Some((good, because)), None) => Ok(Verdict::new(good, because)),
        (Some((false, because)), Some(_)) => Ok(Verdict::new(false, because)),
        (Some((true, because)), Some(Lack::Absent(who) | Lack::Broken(who) | Lack::Unknown(who))) => {
            Err(Lack::Absent(format!("{because}; but {who}")))
        }
        (None, Some(lack)) => Err(lack),
        (None, None) => Err(Lack::Unknown("anybody to compare with".to_owned())),
    }
}

/// A time of so many milliseconds with three digits that say something, and its unit.
pub(super) fn time(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms if ms < 10_000.0 => format!("{:.2} s", ms / 1e3),
        ms => format!("{:.1} s", ms / 1e3),
    }
}
