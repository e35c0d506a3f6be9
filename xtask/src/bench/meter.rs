//! The meter: one run of one command, measured by a small C program that starts it, waits for it and flushes the disk.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::line::{Line, last_lines};

const SOURCE: &str = include_str!("meter.c");

/// One measured run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sample {
    /// From before the command's process is made until it was waited for and its disk was flushed, in nanoseconds.
    pub(super) wall_ns: u64,
    /// What of that the flush took.
    pub(super) sync_ns: u64,
    /// Processor time of the command and of its children, in microseconds; a daemon's is not in it.
    pub(super) cpu_us: u64,
    /// The most memory that the command or one of its children had at once, in KiB; a daemon's is not in it.
    pub(super) peak_kib: u64,
}

/// The compiled meter.
#[derive(Debug)]
pub(super) struct Meter {
    program: PathBuf,
    said: PathBuf,
}

impl Meter {
    /// Compiles the meter into `tools`.
    pub(super) fn build(tools: &Path) -> Result<Self> {
        Ok(Self { program: compile(tools, "meter", SOURCE)?, said: tools.join(format!("said.{}", std::process::id())) })
    }

    /// Runs `line` to its success. With `disk`, the file system of that folder is flushed within the time.
    /// With `by`, that runs the meter: a line that takes the meter's arguments as its last.
    pub(super) fn measure(&self, line: &Line, disk: Option<&Path>, by: Option<&Line>) -> Result<Sample> {
        let outer = by.cloned().unwrap_or_else(|| Line::new(&self.program)).path(disk.unwrap_or(Path::new("-")));
        let said = File::create(&self.said).with_context(|| format!("cannot make {}", self.said.display()))?;
        let ran = line
            .clone()
            .under(outer)
            .command()
            .stderr(said)
            .output()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let said = || last_lines(&std::fs::read(&self.said).unwrap_or_default());
        if !ran.status.success() {
            bail!("the meter ended with {}: {}", ran.status, said());
        }
        let (code, sample) = read(&String::from_utf8_lossy(&ran.stdout))?;
        if code != 0 {
            bail!("{line} ended with {code}: {}", said());
        }
        Ok(sample)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // ignored: where nothing was measured there is none.
        drop(std::fs::remove_file(&self.said));
    }
}

/// The exit status and the numbers of the meter's one line.
fn read(text: &str) -> Result<(u64, Sample)> {
    let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>().context("no number")?;
    let [code, wall_ns, sync_ns, user, system, peak_kib] = numbers[..] else {
        bail!("the meter wrote {text:?}");
    };
    Ok((code, Sample { wall_ns, sync_ns, cpu_us: user + system, peak_kib }))
}

/// Compiles a C program of one file, with the compiler that links Rust.
pub(super) fn compile(tools: &Path, name: &str, source: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(tools).with_context(|| format!("cannot make {}", tools.display()))?;
    let (file, program) = (tools.join(name).with_extension("c"), tools.join(name));
    std::fs::write(&file, source).with_context(|| format!("cannot write {}", file.display()))?;
    let ran = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([&program, &file])
        .output()
        .context("cannot run cc")?;
    if !ran.status.success() {
        bail!("cc {}: {}", file.display(), last_lines(&ran.stderr));
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_memory_and_failure_are_those_of_the_command() {
        let tools = tempfile::tempdir().unwrap();
        let meter = Meter::build(tools.path()).unwrap();
        let slept = meter.measure(&Line::new("sleep").arg("0.05"), Some(tools.path()), None).unwrap();
        assert!(slept.wall_ns >= 50_000_000 && slept.sync_ns > 0, "{slept:?}");
        let script = "dd if=/dev/zero of=/dev/null bs=48M count=1 2>&1";
        let child = meter.measure(&Line::shell(script), None, None).unwrap();
        assert!(child.peak_kib >= 48 << 10 && child.sync_ns < 1_000_000, "{child:?}");
        assert!(slept.peak_kib < 16 << 10, "not the memory of whoever started it: {slept:?}");
        let error = meter.measure(&Line::shell("echo no moon >&2; exit 7"), None, None).unwrap_err().to_string();
        assert!(error.ends_with("ended with 7: no moon"), "{error}");
        let by = Line::new("env").arg("AS=somebody").path(tools.path().join("meter"));
        meter.measure(&Line::shell("echo noise; test $AS = somebody"), None, Some(&by)).unwrap();
        let absent = meter.measure(&Line::new("/no/such/program"), None, None).unwrap_err().to_string();
        assert!(absent.contains("ended with 127"), "{absent}");
    }

    #[test]
    fn the_least_container_compiles() {
        let tools = tempfile::tempdir().unwrap();
        compile(tools.path(), "floor", include_str!("floor.c")).unwrap();
        assert!(compile(tools.path(), "wrong", "int main(").is_err());
    }
}
