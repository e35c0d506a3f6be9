//! A peer's daemon: started for one job with folders of its own, and ended by its process id with it.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::line::{Line, last_lines};

/// How long one may take until it answers.
const ANSWERS: Duration = Duration::from_secs(60);

/// How long one may take to end when it is asked to.
const ENDS: Duration = Duration::from_secs(20);

/// A daemon that runs. Ended when it is dropped.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts it, and waits until `asked` succeeds. What it says goes to `log`.
    pub(super) fn start(line: &Line, log: &std::path::Path, asked: &Line) -> Result<Self> {
        let said = std::fs::File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
        let both = said.try_clone().context("cannot share the log")?;
        // It ends with this program however that ends.
        let line = line.clone().under(Line::new("setpriv").args(["--pdeathsig", "TERM", "--"]));
        let child = line.command().stdout(both).stderr(said).stdin(Stdio::null()).spawn();
        let mut daemon = Self { child: child.with_context(|| format!("cannot run {line}"))? };
        let since = Instant::now();
        loop {
            if asked.command().output().is_ok_and(|ran| ran.status.success()) {
                return Ok(daemon);
            }
            let ended = daemon.child.try_wait().context("cannot look after a daemon")?;
            if ended.is_some() || since.elapsed() > ANSWERS {
                bail!("{line} does not answer: {}", last_lines(&std::fs::read(log).unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The most memory that it had at once, in KiB; `None` when it is gone.
    pub(super) fn peak_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
    }

    fn end(&mut self) -> std::io::Result<()> {
        drop(Line::new("kill").arg(self.child.id().to_string()).attempt());
        let since = Instant::now();
        while self.child.try_wait()?.is_none() {
            if since.elapsed() > ENDS {
                self.child.kill()?;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("    a daemon with the process id {} may still run: {error}", self.child.id());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_runs_until_it_is_dropped_and_one_that_dies_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let (log, ready) = (dir.path().join("log"), dir.path().join("ready"));
        let line = Line::shell(format!("sleep 0.2; touch {}; exec sleep 60", ready.display()));
        let daemon = Daemon::start(&line, &log, &Line::new("test").arg("-e").path(&ready)).unwrap();
        assert!(ready.exists() && daemon.peak_kib().unwrap() > 0);
        let place = format!("/proc/{}", daemon.child.id());
        drop(daemon);
        assert!(!std::path::Path::new(&place).exists());
        let error = Daemon::start(&Line::shell("echo no moon; exit 1"), &log, &Line::new("false")).unwrap_err();
        assert!(error.to_string().ends_with("does not answer: no moon"), "{error}");
    }
}
