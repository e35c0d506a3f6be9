//! What was measured, as it is kept between runs and as targets and the report read it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::meter::Sample;
use super::stats::Summary;

/// All jobs that were ever run here, each as it came out last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Results {
    pub(super) jobs: BTreeMap<String, Measured>,
}

/// One job's outcome.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    /// What is done, in a sentence.
    pub(super) what: String,
    /// What every run starts from and what its time holds.
    pub(super) fair: String,
    /// The day, as `2026-01-31`.
    pub(super) date: String,
    /// Made with fewer runs or smaller input.
    pub(super) quick: bool,
    pub(super) contenders: Vec<Contender>,
}

/// Who takes part, by what part it plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    Ours,
    Peer,
    /// The least that the work takes, done without any of our code.
    Floor,
}

/// One who took part, or could not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Contender {
    pub(super) name: String,
    /// The size it was measured at, where a job asks how something grows.
    pub(super) at: Option<u64>,
    pub(super) role: Role,
    /// The command, as one would type it.
    pub(super) command: String,
    pub(super) outcome: Outcome,
    /// The most memory of the daemon that did the work, in KiB.
    pub(super) daemon_peak_kib: Option<u64>,
    /// Instructions in user space of one more run, where the processor can be asked.
    pub(super) instructions: Option<u64>,
}

/// How a contender came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Ran(Vec<Sample>),
    /// It is not installed; how it would be.
    Absent(String),
    /// It could not do it; what it said.
    Failed(String),
}

impl Results {
    /// What the file holds; nothing where there is none, or one that another version wrote.
    pub(super) fn read(file: &Path) -> Self {
        let text = std::fs::read(file).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("cannot write results")?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

impl Measured {
    /// Who is meant by `name`, or by `name@size`.
    pub(super) fn find(&self, name: &str) -> Option<&Contender> {
        self.contenders.iter().find(|contender| contender.label() == name)
    }
}

impl Contender {
    /// `name`, or `name@size`.
    pub(super) fn label(&self) -> String {
        self.at.map_or_else(|| self.name.clone(), |at| format!("{}@{at}", self.name))
    }

    /// Its times in milliseconds.
    pub(super) fn millis(&self) -> Option<Summary> {
        #[expect(clippy::cast_precision_loss, reason = "2^53 ns are a hundred days")]
        Summary::of(self.samples().iter().map(|sample| sample.wall_ns as f64 / 1e6))
    }

    /// Its most memory in MiB: the largest of all runs, and of the daemon that worked for it.
    pub(super) fn peak_mib(&self) -> Option<f64> {
        let own = self.samples().iter().map(|sample| sample.peak_kib).max()?;
        #[expect(clippy::cast_precision_loss, reason = "kibibytes of memory")]
        Some(own.max(self.daemon_peak_kib.unwrap_or(0)) as f64 / 1024.0)
    }

    pub(super) fn samples(&self) -> &[Sample] {
        match &self.outcome {
            Outcome::Ran(samples) => samples,
            Outcome::Absent(_) | Outcome::Failed(_) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_back_from_their_file_and_a_strange_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("results.json");
        assert!(Results::read(&file).jobs.is_empty());
        let runs = |peak_kib| Sample { wall_ns: 2_000_000, sync_ns: 1, cpu_us: 1, peak_kib };
        let contender = Contender {
            name: "create".to_owned(),
            at: Some(1000),
            role: Role::Ours,
            command: "mica create".to_owned(),
            outcome: Outcome::Ran(vec![runs(1024), runs(3072), runs(2048)]),
            daemon_peak_kib: None,
            instructions: None,
        };
        let job = Measured {
            what: String::new(),
            fair: String::new(),
            date: "2026-01-31".to_owned(),
            quick: false,
            contenders: vec![contender],
        };
        let results = Results { jobs: [("growth".to_owned(), job)].into() };
        results.write(&file).unwrap();
        let read = Results::read(&file);
        let found = read.jobs["growth"].find("create@1000").unwrap();
        assert_eq!(found.millis().unwrap().median, 2.0);
        assert_eq!(found.peak_mib(), Some(3.0));
        assert!(read.jobs["growth"].find("create").is_none());
        std::fs::write(&file, "{\"jobs\": 3}").unwrap();
        assert!(Results::read(&file).jobs.is_empty());
    }
}
