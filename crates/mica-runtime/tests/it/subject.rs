//! The program under test, and how tests start it.

use std::error::Error;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
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
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(error.code())
        }
    }
}

fn start(job: &str) -> Result<u8, RuntimeError> {
    let job: serde_json::Value = serde_json::from_str(job).unwrap();
    let path = |value: &serde_json::Value| PathBuf::from(value.as_str().unwrap());
    if job["ordinary"].as_bool().unwrap() {
        // As a command of an ordinary user does, which was started outside of it.
        mica_sys::mount::unshare_mounts().unwrap();
    }
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
    if let Some(path) = job["removed"].as_str() {
        fs::remove_file(path).unwrap();
    }
    run(launch).map(mica_runtime::Exit::code)
}

/// A container to run.
#[derive(Debug)]
pub(crate) struct Case {
    scratch: Scratch,
    pub(crate) spec: Spec,
    pub(crate) tty: bool,
    pub(crate) extra: Vec<(PathBuf, PathBuf)>,
    /// What the caller removes when it has its mounts.
    pub(crate) removed: Option<PathBuf>,
    /// The caller is root of a user namespace with these rows; the machine's root without.
    rows: Option<Rows>,
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
        Self { scratch, spec, tty: false, extra: Vec::new(), removed: None, rows: None }
    }

    /// An ordinary user's: what is in the root is the user's, and the subject a copy that the user can reach.
    pub(crate) fn by(mut self, rows: Rows) -> Self {
        let scratch = self.scratch.path();
        fs::set_permissions(scratch, fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(std::env::current_exe().unwrap(), scratch.join("subject")).unwrap();
        let given = Command::new("chown").args(["-R", &format!("{USER}:{USER}")]).arg(self.root()).status().unwrap();
        assert!(given.success());
        self.rows = Some(rows);
        self
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

    /// A file system in memory beside the root.
    pub(crate) fn tmpfs(&self, name: &str) -> PathBuf {
        self.scratch.tmpfs(name, "size=4m,mode=755")
    }

    /// The subject's arguments.
    fn job(&self) -> [String; 2] {
        let job = serde_json::json!({
            "spec": serde_json::to_value(&self.spec).unwrap(),
            "root": self.root(),
            "tty": self.tty,
            "extra": self.extra,
            "removed": self.removed,
            "ordinary": self.rows.is_some(),
        });
        [NAME.to_owned(), job.to_string()]
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = with_default_signals();
        self.enter(&mut command);
        command.arg(self.subject()).args(self.job());
        command
    }

    /// The program that the caller runs.
    fn subject(&self) -> PathBuf {
        match self.rows {
            Some(_) => self.scratch.path().join("subject"),
            None => std::env::current_exe().unwrap(),
        }
    }

    /// Has what is added to `command` run in the user namespace, as soon as it [has rows](Self::started).
    fn enter(&self, command: &mut Command) {
        if self.rows.is_some() {
            let user = USER.to_string();
            command.args(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups", "unshare", "-Um"]);
            command.args(["sh", "-c", "until read row </proc/self/uid_map; do sleep 0.01; done; exec \"$@\"", "sh"]);
        }
    }

    /// Starts what [`Self::command`] made.
    pub(crate) fn started(&self, command: &mut Command) -> Child {
        let child = command.spawn().unwrap();
        if let Some(rows) = self.rows {
            rows.write(child.id());
        }
        child
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

    /// The subject, its output through a pipe that was made where it is.
    pub(crate) fn command_piped_to_cat(&self) -> Command {
        let mut command = with_default_signals();
        self.enter(&mut command);
        command.args(["sh", "-c", "\"$@\" | cat", "sh"]).arg(self.subject()).args(self.job());
        command
    }

    /// The subject from a file that has no name any more.
    pub(crate) fn command_of_a_removed_binary(&self) -> Command {
        let mut command = with_default_signals();
        self.enter(&mut command);
        let script = "cp \"$0\" \"$1\"; exec 7<\"$1\"; rm \"$1\"; shift; exec /proc/self/fd/7 \"$@\"";
        command.args(["sh", "-c", script]).arg(self.subject()).arg(self.root().join("gone")).args(self.job());
        command
    }

    /// The subject as the leader of a session whose terminal is its descriptor 0.
    pub(crate) fn command_with_terminal(&self) -> Command {
        let mut command = with_default_signals();
        self.enter(&mut command);
        command.args(["setsid", "--ctty", "--wait"]).arg(self.subject()).args(self.job());
        command
    }

    /// Runs it without input.
    pub(crate) fn run(&self) -> Ran {
        let mut command = self.command();
        command.stdin(ProcessStdio::null()).stdout(ProcessStdio::piped()).stderr(ProcessStdio::piped());
        Ran::from(self.started(&mut command).wait_with_output().unwrap())
    }

    /// Starts it; its output can be read.
    pub(crate) fn spawn(self) -> Running {
        let child = self.started(self.command().stdin(ProcessStdio::null()).stdout(ProcessStdio::piped()));
        Running { child, _case: Some(self) }
    }
}

/// A user whom the machine does not know.
pub(crate) const USER: u32 = 61_234;

/// The first of the ids that stand for 1 and on in a namespace with a range.
const FIRST_OF_RANGE: u32 = 1_610_000_000;

/// The rows of a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// 0 is the user, and there are 65,535 more.
    Range,
    /// 0 is the user, and nobody else is there.
    Single,
}

impl Rows {
    /// Writes them for a process that makes a namespace. Users last: that is what it waits for.
    fn write(self, pid: u32) {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let here = fs::read_link("/proc/self/ns/user").unwrap();
        wait_until("the namespace is made", || fs::read_link(process.join("ns/user")).unwrap() != here);
        let rows = match self {
            Self::Range => format!("0 {USER} 1\n1 {FIRST_OF_RANGE} 65535\n"),
            Self::Single => format!("0 {USER} 1\n"),
        };
        if self == Self::Single {
            fs::write(process.join("setgroups"), "deny").unwrap();
        }
        fs::write(process.join("gid_map"), &rows).unwrap();
        fs::write(process.join("uid_map"), &rows).unwrap();
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
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    processes
        .filter_map(|name| name.parse::<u32>().ok())
        .filter(|pid| {
            let line = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
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
