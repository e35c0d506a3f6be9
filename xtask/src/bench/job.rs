//! A job: the same work for several contenders, as data. The runner carries it out; the report prints it.

use std::path::PathBuf;

use anyhow::Result;

use super::daemon::Daemon;
use super::line::Line;
use super::results::Role;
use super::session::Session;

/// What a job is called, and how it is made ready.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// What it asks, for the list.
    pub(super) about: &'static str,
    /// Brings up all that the runs need. What it made in the session's work folder goes with the job.
    pub(super) prepare: fn(&Session) -> Result<Job>,
}

/// Work that is ready to be measured.
#[derive(Debug, Default)]
pub(super) struct Job {
    /// What is done, in a sentence.
    pub(super) what: String,
    /// What every run starts from and what its time holds, so that a reader can say whether that is fair.
    pub(super) fair: String,
    /// How often each contender runs. They take turns: all once, then all again.
    pub(super) rounds: usize,
    /// Turns before these that are not counted.
    pub(super) warm_ups: usize,
    pub(super) contenders: Vec<Entrant>,
    /// Files that every run reads, brought into memory before each.
    pub(super) inputs: Vec<PathBuf>,
}

/// One who takes part.
#[derive(Debug)]
pub(super) struct Entrant {
    pub(super) name: String,
    /// The size that it is measured at, where the job asks how something grows.
    pub(super) at: Option<u64>,
    pub(super) role: Role,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    Ready(Box<Work>),
    /// It is not installed; how it would be.
    Absent(String),
    /// It could not be made ready; what went wrong.
    Broken(String),
}

/// What a contender does in one run.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Brings back the state that every run starts from. Not timed.
    pub(super) reset: Vec<Step>,
    /// The timed command.
    pub(super) line: Line,
    /// The folder whose file system is flushed within the time.
    pub(super) flushed: Option<PathBuf>,
    /// What runs the meter, where it is not run as root: the command is timed, and this is not.
    pub(super) by: Option<Line>,
    /// Takes away what the run made. Not timed, and not done after the last run of a job that is over.
    pub(super) after: Vec<Step>,
    /// The daemon that does the work; it ends with the job.
    pub(super) daemon: Option<Daemon>,
}

/// Something that is done between runs.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Runs to its success.
    Run(Line),
    /// Runs, whatever comes of it.
    Try(Line),
    /// The folder is there and empty: what was mounted in it is unmounted.
    Empty(PathBuf),
    /// What was written so far is on disk, so that nobody waits for another's writes.
    Flush,
}

impl Entrant {
    /// One who is ready, or says why not.
    pub(super) fn of(name: &str, role: Role, work: Result<Work>) -> Self {
        let state = match work {
            Ok(work) => State::Ready(Box::new(work)),
            Err(error) => match error.downcast_ref::<super::session::Absent>() {
                Some(absent) => State::Absent(absent.to_string()),
                None => State::Broken(format!("{error:#}")),
            },
        };
        Self { name: name.to_owned(), at: None, role, state }
    }

    pub(super) fn at(mut self, size: u64) -> Self {
        self.at = Some(size);
        self
    }
}
