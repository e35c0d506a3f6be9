//! What a run leaves behind: mounts, files and processes. A test that leaves any has failed.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long a process that a test left behind may take to tidy up and end, as the store's reaper does.
const GRACE: Duration = Duration::from_secs(3);

/// How things stood before a run.
pub(super) struct Traces {
    /// The mounts of a namespace of our own; in one that we share, another may mount at any time.
    mounts: Option<BTreeSet<String>>,
    /// A folder whose path the run's environment names: all its processes inherit that.
    scratch: PathBuf,
    /// The folder of the run's temporary files.
    tmp: PathBuf,
}

impl Traces {
    /// Notes how things stand; `tmp` is empty.
    pub(super) fn before(private_mounts: bool, scratch: &Path, tmp: &Path) -> Result<Self> {
        Ok(Self {
            mounts: private_mounts.then(mount_points).transpose()?,
            scratch: scratch.to_path_buf(),
            tmp: tmp.to_path_buf(),
        })
    }

    /// What is still there once the grace is over, in words; at once when nothing is.
    pub(super) fn left(&self) -> Result<Vec<String>> {
        let since = Instant::now();
        loop {
            let left = self.left_now()?;
            if left.is_empty() || since.elapsed() > GRACE {
                return Ok(left);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn left_now(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        if let Some(before) = &self.mounts {
            left.extend(mount_points()?.difference(before).map(|mount| format!("a mount was left behind: {mount}")));
        }
        left.extend(names_in(&self.tmp)?.iter().map(|name| format!("a temporary file was left behind: {name}")));
        left.extend(
            processes_that_name(&self.scratch)?.iter().map(|process| format!("a process was left behind: {process}")),
        );
        Ok(left)
    }
}

/// Every mount of our namespace, as `id target`: a mount over another is a second one.
fn mount_points() -> Result<BTreeSet<String>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read the mount table")?;
    Ok(table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            Some(format!("{} {}", fields.next()?, fields.nth(3)?))
        })
        .collect())
}

fn names_in(dir: &Path) -> Result<Vec<String>> {
    std::fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name().display().to_string())).collect())
        .with_context(|| format!("cannot list {}", dir.display()))
}

/// Every process whose environment names `path`, as `pid command`. One that we may not look at is not ours.
fn processes_that_name(path: &Path) -> Result<Vec<String>> {
    let needle = path.as_os_str().as_bytes();
    Ok(names_in(Path::new("/proc"))?
        .into_iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.windows(needle.len()).any(|part| part == needle)
        })
        .map(|pid| {
            let command = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{pid} {}", command.trim_end())
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_that_goes_on_is_seen_until_it_ends() {
        let scratch = tempfile::tempdir().unwrap();
        let tmp = tempfile::tempdir_in(&scratch).unwrap();
        let traces = Traces::before(false, scratch.path(), tmp.path()).unwrap();
        let mut child = Command::new("sleep").arg("60").env("TMPDIR", tmp.path()).spawn().unwrap();
        // The kernel lets spawn return a moment before the new program's environment is in place.
        while std::fs::read(format!("/proc/{}/environ", child.id())).unwrap().is_empty() {
            std::thread::yield_now();
        }
        let left = traces.left().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(left, [format!("a process was left behind: {} sleep", child.id())]);
        assert_eq!(traces.left().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_goes_within_the_grace_is_none() {
        let scratch = tempfile::tempdir().unwrap();
        let tmp = scratch.path().join("tmp");
        std::fs::create_dir(&tmp).unwrap();
        let traces = Traces::before(false, scratch.path(), &tmp).unwrap();
        std::fs::write(tmp.join("late"), "").unwrap();
        assert_eq!(traces.left_now().unwrap(), ["a temporary file was left behind: late"]);
        let late = tmp.join("late");
        let tidy = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            std::fs::remove_file(late).unwrap();
        });
        assert_eq!(traces.left().unwrap(), Vec::<String>::new());
        tidy.join().unwrap();
    }
}
