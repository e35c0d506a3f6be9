//! The program under test, and how tests start it.

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio as ProcessStdio};
use std::time::{Duration, Instant};

use mica_runtime::{Launch, Network, RuntimeError, Stdio, default_spec, run};
use mica_sys::mount::{Mount, Reach, SetAttrs};
use mica_testkit::{Scratch, busybox_rootfs};
use oci_spec::runtime::{Process, Spec};

/// The first argument that makes this binary the subject.
pub(crate) const NAME: &str = "run-a-container";

/// What the subject does: clones `root` as a detached mount, runs the spec in it, and ends as the command did. `job` is what
/// [`Case::job`] made.
pub(crate) fn main(job: &str) -> ExitCode {
    match start(job) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            eprintln!("{text}");
            ExitCode::from(error.code())
        }
    }
}

fn start(job: &str) -> Result<u8, RuntimeError> {
    let job: serde_json::Value = serde_json::from_str(job).unwrap();
    let path = |value: &serde_json::Value| PathBuf::from(value.as_str().unwrap());
    let extra_mounts = job["extra"]
        .as_array()
        .unwrap()
        .iter()
        .map(|extra| (Mount::clone_of(&path(&extra[0]), Reach::Tree).unwrap().into_fd(), path(&extra[1])));
    let launch = Launch {
        spec: serde_json::from_value(job["spec"].clone()).unwrap(),
        root: Mount::clone_of(&path(&job["root"]), Reach::One).unwrap().into_fd(),
        stdio: if job["tty"].as_bool().unwrap() { Stdio::Tty } else { Stdio::Inherit },
        extra_mounts: extra_mounts.collect(),
    };
    run(launch).map(mica_runtime::Exit::code)
}

/// A container to run.
#[derive(Debug)]
pub(crate) struct Case {
    scratch: Scratch,
    pub(crate) spec: Spec,
    pub(crate) tty: bool,
    pub(crate) extra: Vec<(PathBuf, PathBuf)>,
}

impl Case {
    /// A busybox root of its own, and this command.
    pub(crate) fn new(args: &[&str]) -> Self {
        Self::with(Network::None, args)
    }

    /// [`Case::new`] for a shell script.
    pub(crate) fn sh(script: &str) -> Self {
        Self::new(&["sh", "-c", script])
    }

    pub(crate) fn with(network: Network, args: &[&str]) -> Self {
        let scratch = Scratch::new();
        busybox_rootfs(&scratch.make("root"));
        let mut spec = default_spec(network);
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        spec.process_mut().as_mut().unwrap().set_args(Some(args));
        Self { scratch, spec, tty: false, extra: Vec::new() }
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        self.spec.process_mut().as_mut().unwrap()
    }

    /// The root's directory on the host.
    pub(crate) fn root(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    /// A directory beside the root.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.scratch.make(name)
    }

    /// The subject's arguments.
    fn job(&self) -> [String; 2] {
        let job = serde_json::json!({
            "spec": serde_json::to_value(&self.spec).unwrap(),
            "root": self.root(),
            "tty": self.tty,
            "extra": self.extra,
        });
        [NAME.to_owned(), job.to_string()]
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = with_default_signals();
        command.arg(std::env::current_exe().unwrap()).args(self.job());
        command
    }

    /// The subject by a shell that does `first`, as a caller's caller would.
    pub(crate) fn command_after(&self, first: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{first}; exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap())
            .args(self.job());
        command
    }

    /// The subject as the leader of a session whose terminal is its descriptor 0.
    pub(crate) fn command_with_terminal(&self) -> Command {
        let mut command = with_default_signals();
        command.args(["setsid", "--ctty", "--wait"]).arg(std::env::current_exe().unwrap()).args(self.job());
        command
    }

    /// Runs it without input.
    pub(crate) fn run(&self) -> Ran {
        Ran::from(self.command().stdin(ProcessStdio::null()).output().unwrap())
    }

    /// Starts it; its output can be read.
    pub(crate) fn spawn(self) -> Running {
        let child = self.command().stdin(ProcessStdio::null()).stdout(ProcessStdio::piped()).spawn().unwrap();
        Running { child, _case: Some(self) }
    }
}

/// A command whose program is to be added. A shell's background job, which the tests may be, ignores the keyboard's signals, and so
/// would the subject.
fn with_default_signals() -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,QUIT");
    command
}

/// How the subject ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// What it wrote, where it ended well.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        self.out
    }
}

/// A subject under way; dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
    /// Its root is there as long as this is.
    pub(crate) _case: Option<Case>,
}

impl Running {
    /// Reads its output up to and with `word`.
    pub(crate) fn read_until(&mut self, word: &str) -> String {
        let out = self.child.stdout.as_mut().unwrap();
        let mut text = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&text).contains(word) {
            assert_eq!(out.read(&mut byte).unwrap(), 1, "it ended after {:?}", String::from_utf8_lossy(&text));
            text.push(byte[0]);
        }
        String::from_utf8(text).unwrap()
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for it: its code and the rest of its output.
    pub(crate) fn wait(mut self) -> (i32, String) {
        let mut rest = String::new();
        self.child.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code().unwrap_or(-1), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // ignored: it has ended, mostly.
        if let Ok(()) = self.child.kill() {}
        if let Ok(_status) = self.child.wait() {}
    }
}

/// Sends a signal by name to any process.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Waits until something is so; fails after ten seconds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !so() {
        assert!(since.elapsed() < Duration::from_secs(10), "it is still not so that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The host's processes whose command line has `word` in it, the tests and the subject left out.
pub(crate) fn processes_with(word: &str) -> Vec<u32> {
    let processes =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    processes
        .filter_map(|name| name.parse::<u32>().ok())
        .filter(|pid| {
            let line = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains(word) && !line.contains(NAME)
        })
        .collect()
}

/// Makes the mount of `path` send and receive, as on a host with systemd.
pub(crate) fn share(path: &Path) {
    let shared = SetAttrs::propagation(mica_sys::mount::Propagation::Shared);
    mica_sys::mount::set_attrs(path, &shared, Reach::Tree).unwrap();
}
