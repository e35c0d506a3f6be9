//! Unions of the program under test, which are gone with the test, and their servers with them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use mica_testkit::{Scratch, Tree};

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_mica-fuse");

/// How long a thing is waited for that has to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A command that has no longer than it may take: a server that hangs must not hang its test.
pub(crate) fn limited(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "400"]).arg(program.as_ref());
    command
}

/// What a command said and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Runs a command to its end.
#[track_caller]
pub(crate) fn said(command: &mut Command) -> Said {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}")).into()
}

/// Runs a command that must succeed and say nothing on standard error; gives what it printed.
#[track_caller]
pub(crate) fn quiet(command: &mut Command) -> String {
    let said = said(command);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{command:?}: {}", said.out);
    said.out
}

/// Waits for what has to come.
#[track_caller]
pub(crate) fn wait_until(what: &str, come: impl Fn() -> bool) {
    let began = Instant::now();
    while !come() {
        assert!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The directories of a union: `lower` with a tree in it, `upper`, `work`, and `mnt`. Whatever is mounted in it is taken down with it, and
/// servers that are left are ended.
pub(crate) struct Place {
    scratch: Scratch,
}

impl Place {
    pub(crate) fn new(lower: &Tree) -> Self {
        let place = Self { scratch: Scratch::new() };
        lower.write_to(&place.scratch.make("lower"));
        for name in ["upper", "work", "mnt"] {
            assert!(place.scratch.make(name).exists());
        }
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub(crate) const fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The options of a union that can be written to, and more of them.
    pub(crate) fn options(&self, more: &str) -> String {
        let path = |name| self.path(name).display().to_string();
        let options = format!("lowerdir={},upperdir={},workdir={}", path("lower"), path("upper"), path("work"));
        if more.is_empty() { options } else { format!("{options},{more}") }
    }

    /// The program with these words, in this place.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = limited(PROGRAM);
        command.args(words).current_dir(self.scratch.path());
        command
    }

    /// Mounts the union with more options.
    #[track_caller]
    pub(crate) fn mount(&self, more: &str) {
        quiet(&mut self.command(&["-o", &self.options(more), "mnt"]));
    }

    /// Takes it down, and waits for its server's end.
    #[track_caller]
    pub(crate) fn unmount(&self) {
        quiet(limited("umount").arg(self.path("mnt")));
        wait_until("the server ends", || self.servers().is_empty());
    }

    /// The processes that serve a mount of this place.
    pub(crate) fn servers(&self) -> Vec<u32> {
        servers_below(self.scratch.path())
    }

    /// The line of the table of mounts for `mnt`.
    pub(crate) fn line(&self) -> Option<mica_sys::mount::MountInfo> {
        let table = mica_sys::mount::mounts().expect("the table of mounts");
        table.into_iter().rev().find(|mount| mount.target == self.path("mnt"))
    }
}

/// The processes that serve a mount in the directory.
pub(crate) fn servers_below(directory: &Path) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let mut words = words.split(|byte| *byte == 0);
        let is_server = words.next() == Some(b"mica-fuse-server");
        let mountpoint = Path::new(OsStr::from_bytes(words.next()?));
        (is_server && mountpoint.starts_with(directory)).then_some(pid)
    });
    processes.collect()
}

impl Drop for Place {
    fn drop(&mut self) {
        end_servers_below(self.scratch.path());
    }
}

/// Ends what a test that failed has left.
pub(crate) fn end_servers_below(directory: &Path) {
    for pid in servers_below(directory) {
        drop(Command::new("kill").args(["-TERM", &pid.to_string()]).output());
    }
}

/// Ends every process of a user whose home is in the directory: podman leaves one that holds the user's namespace.
pub(crate) fn end_processes_at_home_in(directory: &Path) {
    let home = [b"HOME=", directory.as_os_str().as_bytes()].concat();
    for entry in fs::read_dir("/proc").expect("/proc").filter_map(Result::ok) {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(&home)) {
            drop(Command::new("kill").arg("-KILL").arg(entry.file_name()).output());
        }
    }
}
