//! The runner: contenders take turns, A B A B, each from the same state.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::job::{Entrant, Job, State, Step, Work};
use super::line::Line;
use super::meter::{Meter, Sample};
use super::results::{Contender, Measured, Outcome};
use super::targets::time;

/// Carries out a job. A contender that fails once takes no further part; what it said is its outcome.
pub(super) fn run(name: &str, job: Job, meter: &Meter, date: &str, quick: bool) -> Result<Measured> {
    println!("==> {name}: {}", job.what);
    let mut slots: Vec<Slot> = job.contenders.into_iter().map(Slot::new).collect();
    for round in 0..job.warm_ups + job.rounds {
        for slot in &mut slots {
            warm(&job.inputs)?;
            slot.turn(meter, round >= job.warm_ups);
        }
    }
    let contenders = slots.into_iter().map(Slot::close).collect();
    let measured = Measured { what: job.what, fair: job.fair, date: date.to_owned(), quick, contenders };
    tell(&measured);
    Ok(measured)
}

struct Slot {
    entrant: Entrant,
    samples: Vec<Sample>,
    failed: Option<String>,
}

impl Slot {
    fn new(entrant: Entrant) -> Self {
        let failed = match &entrant.state {
            State::Broken(why) => Some(why.clone()),
            State::Ready(_) | State::Absent(_) => None,
        };
        Self { entrant, samples: Vec::new(), failed }
    }

    fn turn(&mut self, meter: &Meter, counts: bool) {
        let State::Ready(work) = &self.entrant.state else { return };
        if self.failed.is_some() {
            return;
        }
        match one(work, meter) {
            Ok(sample) if counts => self.samples.push(sample),
            Ok(_) => {}
            Err(error) => self.failed = Some(format!("{error:#}")),
        }
    }

    fn close(self) -> Contender {
        let Self { entrant: Entrant { name, at, role, state }, samples, failed } = self;
        let (mut command, mut daemon_peak_kib, mut instructions) = (String::new(), None, None);
        let outcome = match (failed, state) {
            (Some(why), _) => Outcome::Failed(why),
            (None, State::Absent(how)) => Outcome::Absent(how),
            (None, State::Broken(why)) => Outcome::Failed(why),
            (None, State::Ready(work)) => {
                command = work.line.to_string();
                daemon_peak_kib = work.daemon.as_ref().and_then(super::daemon::Daemon::peak_kib);
                instructions = counted(&work);
                Outcome::Ran(samples)
            }
        };
        Contender { name, at, role, command, outcome, daemon_peak_kib, instructions }
    }
}

fn one(work: &Work, meter: &Meter) -> Result<Sample> {
    all(&work.reset)?;
    let sample = meter.measure(&work.line, work.flushed.as_deref(), work.by.as_ref())?;
    all(&work.after)?;
    Ok(sample)
}

/// Carries out steps in their order.
pub(super) fn all(steps: &[Step]) -> Result<()> {
    steps.iter().try_for_each(|step| match step {
        Step::Run(line) => line.run().map(drop),
        Step::Try(line) => line.attempt(),
        Step::Empty(dir) => empty(dir),
        Step::Flush => Line::new("sync").run().map(drop),
    })
}

/// Reads files from beginning to end, so that no run waits for the disk to read its input.
fn warm(inputs: &[PathBuf]) -> Result<()> {
    inputs.iter().try_for_each(|input| {
        Line::new("cat")
            .path(input)
            .command()
            .stdout(std::process::Stdio::null())
            .status()
            .map(drop)
            .with_context(|| format!("cannot read {}", input.display()))
    })
}

/// Makes `dir` an empty folder. What is mounted in it is unmounted first, the innermost first.
pub(super) fn empty(dir: &Path) -> Result<()> {
    remove(dir)?;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

/// Removes `dir` with all that is in it and all that is mounted there.
pub(super) fn remove(dir: &Path) -> Result<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read the mount table")?;
    for mount in mounts_in(&table, dir).iter().rev() {
        Line::new("umount").arg("-l").path(mount).attempt()?;
    }
    Line::new("rm").arg("-rf").arg("--one-file-system").path(dir).run().map(drop)
}

/// The mount points in `dir` and `dir` itself, in the order of the table, which is that of mounting.
fn mounts_in(table: &str, dir: &Path) -> Vec<PathBuf> {
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(|point| PathBuf::from(point.replace("\\040", " "))).filter(|point| point.starts_with(dir)).collect()
}

/// Instructions in user space of one more run, where `perf` can count them.
fn counted(work: &Work) -> Option<u64> {
    const COUNT: [&str; 5] = ["stat", "-x,", "-e", "instructions:u", "--"];
    if work.by.is_some() {
        return None;
    }
    let count = |line: &Line| {
        let ran = line.clone().under(Line::new("perf").args(COUNT)).command().output().ok()?;
        instructions(&String::from_utf8_lossy(&ran.stderr))
    };
    count(&Line::new("true"))?;
    all(&work.reset).ok()?;
    let counted = count(&work.line);
    all(&work.after).ok()?;
    counted
}

/// The number in the line of `perf stat -x,` that counts instructions.
fn instructions(said: &str) -> Option<u64> {
    said.lines().find(|line| line.contains("instructions"))?.split(',').next()?.parse().ok()
}

/// Prints a job's outcome, one line a contender.
fn tell(job: &Measured) {
    for contender in &job.contenders {
        let label = contender.label();
        match &contender.outcome {
            Outcome::Absent(how) => println!("    {label:<24} PEER-ABSENT: {how}"),
            Outcome::Failed(why) => println!("    {label:<24} failed: {why}"),
            Outcome::Ran(_) => {
                let (Some(millis), Some(peak)) = (contender.millis(), contender.peak_mib()) else { continue };
                println!(
                    "    {label:<24} {:>9}  {:>9} to {:<9} {peak:>6.0} MiB",
                    time(millis.median),
                    time(millis.min),
                    time(millis.max)
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::Role;

    fn work(log: &Path, name: &str, line: &str) -> Work {
        let say = |what: &str| Step::Run(Line::shell(format!("echo {name} {what} >> {}", log.display())));
        Work {
            reset: vec![say("reset")],
            line: Line::shell(format!("echo {name} runs >> {}; {line}", log.display())),
            after: vec![say("after")],
            ..Work::default()
        }
    }

    #[test]
    fn contenders_take_turns_each_from_its_own_reset_and_one_that_fails_is_out() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let meter = Meter::build(dir.path()).unwrap();
        let job = Job {
            rounds: 2,
            warm_ups: 1,
            contenders: vec![
                Entrant::of("a", Role::Ours, Ok(work(&log, "a", "true"))),
                Entrant::of("b", Role::Peer, Ok(work(&log, "b", "test $(grep -c 'b runs' $0) -lt 2").with_log(&log))),
                Entrant::of("c", Role::Peer, Err(super::super::session::Absent("apt-get install c".to_owned()).into())),
            ],
            ..Job::default()
        };
        let measured = run("job", job, &meter, "2026-01-31", true).unwrap();
        let turn = |name: &str| format!("{name} reset\n{name} runs\n{name} after\n");
        let log = std::fs::read_to_string(&log).unwrap();
        let wanted = format!("{}{}{}b reset\nb runs\n{}", turn("a"), turn("b"), turn("a"), turn("a"));
        assert!(log.starts_with(&wanted), "{log}");
        assert_eq!(measured.find("a").unwrap().samples().len(), 2, "a warm-up is not counted");
        assert!(matches!(&measured.find("b").unwrap().outcome, Outcome::Failed(_)));
        assert_eq!(measured.find("c").unwrap().outcome, Outcome::Absent("apt-get install c".to_owned()));
    }

    impl Work {
        /// The log as the script's `$0`.
        fn with_log(mut self, log: &Path) -> Self {
            self.line = self.line.path(log);
            self
        }
    }

    #[test]
    fn what_is_mounted_in_a_folder_is_found_and_its_neighbours_are_not() {
        let table = "1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / /w/a rw - tmpfs t rw\n3 1 0:6 / /w/ab rw - tmpfs t rw\n\
                     4 2 0:7 / /w/a/in\\040side rw - tmpfs t rw\n";
        assert_eq!(mounts_in(table, Path::new("/w/a")), [Path::new("/w/a"), Path::new("/w/a/in side")]);
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        std::fs::create_dir_all(inner.join("deep")).unwrap();
        empty(&inner).unwrap();
        assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 0);
        empty(&inner).unwrap();
    }

    #[test]
    fn instructions_are_read_where_they_were_counted() {
        assert_eq!(instructions("noise\n123456,,instructions:u,1000,100.00,,\n"), Some(123_456));
        assert_eq!(instructions("<not supported>,,instructions:u,0,100.00,,\n"), None);
    }
}
