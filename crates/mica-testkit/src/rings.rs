//! FUSE over io_uring, which is off until root turns it on for the whole machine.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::gate::{self, Gate};

/// The kernel's switch (Linux 6.14).
const SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";

/// Turns the switch on, says so, waits until its input ends, and puts back what was there. It runs under the lock, so that no two
/// tests put back what the other one made.
const KEEPER: &str = r#"was=$(cat "$0") && echo Y >"$0" && echo on && cat >/dev/null; echo "$was" >"$0""#;

/// The switch, turned on while this lives. Mounts made meanwhile may use rings, and keep them. A process of its own holds it, so
/// that it is put back also when the test is killed. One test at a time has it; others wait.
#[derive(Debug)]
pub struct FuseRings {
    keeper: Child,
    input: Option<ChildStdin>,
}

impl FuseRings {
    /// Turns it on. Needs `needs!(rings)`.
    #[must_use]
    pub fn on() -> Self {
        let mut keeper = Command::new("flock")
            .args(["--exclusive", "--no-fork", SWITCH, "sh", "-c", KEEPER, SWITCH])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("flock starts");
        let input = keeper.stdin.take();
        let mut said = String::new();
        let output = keeper.stdout.take().expect("its output is a pipe");
        BufReader::new(output).read_line(&mut said).expect("it says something");
        assert_eq!(said, "on\n", "the switch for rings does not turn");
        Self { keeper, input }
    }
}

impl Drop for FuseRings {
    fn drop(&mut self) {
        drop(self.input.take());
        if let Err(error) = self.keeper.wait() {
            eprintln!("the switch for rings may be left on: {error}");
        }
    }
}

/// Rings can be turned on.
pub(crate) fn possible() -> Gate {
    gate::root()?;
    gate::program("flock")?;
    let opened = std::fs::OpenOptions::new().write(true).open(SWITCH);
    opened.map(drop).map_err(|error| format!("{SWITCH}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::needs;

    #[test]
    fn they_are_on_while_asked_for_and_put_back_after() {
        needs!(rings);
        let state = || std::fs::read_to_string(SWITCH).unwrap();
        let rings = FuseRings::on();
        assert_eq!(state(), "Y\n");
        drop(rings);
        // Another test may have turned it on again: then it is not ours to look at.
        let lock = std::fs::File::open(SWITCH).unwrap();
        lock.lock().unwrap();
        assert_eq!(state(), "N\n", "either a machine with rings on, or they were not put back");
    }
}
