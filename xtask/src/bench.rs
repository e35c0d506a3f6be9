//! The bench: us and the peers on the same work in one run, in turn, each from the same state.
//!
//! ```text
//!   jobs (what, set-up, each contender's command) --> runner (A B A B) --> results --> verdicts on bench/targets.toml
//!                                                                              \----> docs/benchmarks.md and its plots
//! ```
//!
//! Nothing here is timed in a test and nothing fails continuous integration: absolute times on a shared machine prove nothing. What is
//! compared was measured in one run, minutes apart at most.

mod daemon;
mod images;
mod job;
mod jobs;
mod line;
mod meter;
mod peers;
mod plot;
mod report;
mod results;
mod runner;
mod session;
mod stats;
mod targets;

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, cargo};
use job::Kind;
use line::Line;
use meter::Meter;
use results::Results;
use session::Session;

/// What `cargo xtask bench --help` prints.
pub(crate) const HELP: &str = "\
usage: cargo xtask bench [NAME…] [--check] [--quick] [--list] [--fetch] [--report]

Measures mica and other tools on the same work, on this machine, as root. Without a NAME all jobs are run, which takes about 25
minutes, and docs/benchmarks.md is written anew; with NAMEs only these, and what they find is printed.

  --list    the jobs, and what each asks
  --check   only the jobs that a target of bench/targets.toml asks for, then one line for each target, misses first:
            MISS, NOT RUN, PEER-ABSENT or PASS. A miss does not fail the command
  --quick   fewer runs and smaller sizes, for a look while one works; its numbers are never written to the docs
  --fetch   first downloads peers and floors that are not installed (docker, igzip) as Debian packages and unpacks them into
            target/bench/peers, where the bench finds them. Nothing is installed
  --report  runs nothing and writes docs/benchmarks.md from the last numbers of every job, each with its date: for jobs that were run one
            by one. A job whose last numbers are quick ones, or that was never run, is NOT RUN there

How it is fair: contenders take turns (A B A B), each from the same state, with its input in memory. Where one writes to disk, the time
ends when the disk has it. Every tool has folders and daemons of its own under target/bench/work, gone when the job ends; all of it runs
in private mount and process namespaces, so that nothing outlives it. Tools that are not here are PEER-ABSENT, with the package to install.

What is kept in target/bench: images (about 5 GB, made once), peers, tools, results.json (the last numbers of every job).

examples:
  cargo xtask bench --fetch --check --quick     what is met on this machine, roughly
  cargo xtask bench load-gzip                   one job, while one works on loading
  cargo xtask bench                             everything, and the docs: on a machine that does nothing else";

/// Set in the run that has its own namespaces.
const PRIVATE: &str = "XTASK_BENCH_PRIVATE";

/// What the person who runs the bench asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    names: Vec<String>,
    check: bool,
    quick: bool,
    list: bool,
    fetch: bool,
    report: bool,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        for word in words {
            match *word {
                "--check" => options.check = true,
                "--quick" => options.quick = true,
                "--list" => options.list = true,
                "--fetch" => options.fetch = true,
                "--report" => options.report = true,
                name if jobs::ALL.iter().any(|job| job.name == name) => options.names.push(name.to_owned()),
                other => bail!("bench has no job or flag {other:?}; cargo xtask bench --list and --help name all"),
            }
        }
        if options.report && (options.check || options.quick || options.fetch || !options.names.is_empty()) {
            bail!("bench --report runs nothing: it takes no job and no other flag");
        }
        Ok(options)
    }

    /// The jobs to run, in the order of all.
    fn chosen(&self, asked_for: &[&str]) -> Vec<&'static Kind> {
        let wanted = |job: &&Kind| match (self.names.is_empty(), self.check) {
            _ if self.report => false,
            (false, _) => self.names.iter().any(|name| name == job.name),
            (true, true) => asked_for.contains(&job.name),
            (true, false) => true,
        };
        jobs::ALL.iter().filter(wanted).collect()
    }

    /// Whether this run is one that the docs are written from.
    const fn is_whole(&self) -> bool {
        self.names.is_empty() && !self.check && !self.quick && !self.report
    }
}

/// Runs what was asked for on the tree at `root`. A miss is no failure.
pub(crate) fn run(root: &Path, options: &Options, words: &[&str]) -> Result<bool> {
    let names: Vec<&str> = jobs::ALL.iter().map(|job| job.name).collect();
    let targets = targets::read(root, &names)?;
    if options.list {
        for job in jobs::ALL {
            let asked = targets.iter().filter(|target| target.job == job.name).count();
            println!("{:<16} {} ({asked} targets)", job.name, job.about);
        }
        return Ok(true);
    }
    enter_private(words)?;
    let asked_for: Vec<&str> = targets.iter().map(|target| target.job.as_str()).collect();
    let session = prepare(root, options)?;
    let meter = Meter::build(&session.home.join("tools"))?;
    let file = session.home.join("results.json");
    let mut results = Results::read(&file);
    let date = Line::new("date").args(["-u", "+%F"]).run()?;
    for kind in options.chosen(&asked_for) {
        // ignored: what cannot be brought up is that job's outcome, and the others go on.
        let measured =
            (kind.prepare)(&session).and_then(|job| runner::run(kind.name, job, &meter, &date, options.quick));
        session.clear()?;
        match measured {
            Ok(measured) => drop(results.jobs.insert(kind.name.to_owned(), measured)),
            Err(error) => {
                println!("    {}: {error:#}", kind.name);
                results.jobs.remove(kind.name);
            }
        }
        results.write(&file)?;
    }
    if options.report {
        results.jobs.retain(|_, measured| !measured.quick);
    }
    let judged = targets::judge(&targets, &results);
    let shown: Vec<_> = judged
        .iter()
        .filter(|(target, _)| options.chosen(&asked_for).iter().any(|job| job.name == target.job))
        .collect();
    println!();
    for (target, verdict) in shown {
        println!("{:<11} {:<18} {}", verdict.grade, target.name, verdict.because);
    }
    if options.is_whole() || options.report {
        report::write(root, &report::Machine::of(&session), &results, &judged)?;
        println!("\nwrote docs/benchmarks.md");
    }
    Ok(true)
}

/// Builds what is measured, and the folders to do it in.
fn prepare(root: &Path, options: &Options) -> Result<Session> {
    if !options.report {
        let status = cargo(root)
            .args(["build", "--quiet", "--release", "--package", "mica-cli", "--package", "mica-fuse"])
            .stdin(Stdio::null())
            .status()
            .context("cannot run cargo build")?;
        if !status.success() {
            bail!("mica does not build");
        }
    }
    let target = Workspace::members(root)?.target_directory;
    let session = Session::new(&target, target.join("release/mica"), options.quick)?;
    if options.fetch {
        peers::fetch(&session)?;
    }
    Ok(session)
}

/// Goes on in mount and process namespaces of our own: when this program ends, however it does, all that it started ends, and all that
/// was mounted is gone. The first call replaces the process.
fn enter_private(words: &[&str]) -> Result<()> {
    if std::env::var_os(PRIVATE).is_some() {
        return Ok(());
    }
    if std::fs::metadata("/proc/self").context("/proc is not mounted")?.uid() != 0 {
        bail!("the bench needs root: peers are measured as root runs them");
    }
    let own: PathBuf = std::env::current_exe().context("cannot name this program")?;
    // The shell is the process that takes in orphans, which this program would not wait for.
    let error = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", "\"$0\" \"$@\"; exit $?"])
        .arg(own)
        .arg("bench")
        .args(words)
        .env(PRIVATE, "1")
        .exec();
    Err(error).context("cannot run unshare")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_runs_what_has_targets_and_names_run_what_they_name() {
        let names = |words: &[&str]| -> Vec<&str> {
            let options = Options::parse(words).unwrap();
            options.chosen(&["run", "lists"]).iter().map(|job| job.name).collect()
        };
        assert_eq!(names(&["--check", "--quick"]), ["run", "lists"]);
        assert_eq!(names(&["rmi", "load-gzip"]), ["load-gzip", "rmi"]);
        assert_eq!(names(&["--check", "rmi"]), ["rmi"]);
        assert_eq!(names(&[]).len(), jobs::ALL.len());
        assert!(Options::parse(&["lod"]).unwrap_err().to_string().contains("\"lod\""));
        assert!(Options::parse(&[]).unwrap().is_whole());
        assert!(!Options::parse(&["--quick"]).unwrap().is_whole());
        assert_eq!(names(&["--report"]), [""; 0]);
        assert!(Options::parse(&["--report", "run"]).unwrap_err().to_string().contains("no job"));
    }

    #[test]
    fn the_targets_of_this_tree_are_read_and_each_names_a_job() {
        let names: Vec<&str> = jobs::ALL.iter().map(|job| job.name).collect();
        let targets = targets::read(&crate::workspace::root().unwrap(), &names).unwrap();
        assert!(targets.iter().any(|target| target.name == "load-gzip/peers"));
    }
}
