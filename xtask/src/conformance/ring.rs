//! The kernel's switch for FUSE over io_uring, turned on while a game is played.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// Linux 6.14.
const SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";

/// Turns the switch on, says so, waits for the end of its input, and puts back what was there.
const KEEPER: &str = r#"was=$(cat "$0") && echo Y >"$0" && echo on && cat >/dev/null; echo "$was" >"$0""#;

/// Whether this kernel has the switch.
pub(super) fn is_here() -> bool {
    std::path::Path::new(SWITCH).exists()
}

/// The switch is on while this lives. A process of its own holds it, under a lock that tests take, too, and puts it back also where
/// we are killed.
#[derive(Debug)]
pub(super) struct RingOn {
    keeper: Child,
}

impl RingOn {
    pub(super) fn new() -> Result<Self> {
        let mut keeper = Command::new("flock")
            .args(["--exclusive", "--no-fork", SWITCH, "sh", "-c", KEEPER, SWITCH])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run flock")?;
        let mut said = String::new();
        if let Some(output) = keeper.stdout.take() {
            BufReader::new(output).read_line(&mut said).with_context(|| format!("cannot turn on {SWITCH}"))?;
        }
        let on = Self { keeper };
        if said != "on\n" {
            bail!("cannot turn on {SWITCH}");
        }
        Ok(on)
    }
}

impl Drop for RingOn {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        if let Err(error) = self.keeper.wait() {
            eprintln!("xtask: {SWITCH} may be left on: {error}");
        }
    }
}
