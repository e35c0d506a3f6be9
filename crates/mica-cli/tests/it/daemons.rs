//! Docker and containerd, each with a state of its own, that end with the test.
//!
//! They run in a mount namespace of their own, so that what they mount goes with them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mica_testkit::Scratch;
use mica_testkit::gate::find_program;

use crate::peers_at_work::{Listed, tool};

/// How long one may take until it answers, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon that was started, and what it said.
struct Daemon {
    process: Child,
    log: PathBuf,
}

impl Daemon {
    fn start(program: &str, args: &[&OsStr], log: PathBuf) -> Self {
        let mut command = Command::new(find_program("unshare").expect("unshare is installed"));
        command.args(["--mount", "--propagation", "private", "--"]);
        command.arg(find_program(program).unwrap_or_else(|| panic!("{program} is not installed"))).args(args);
        let out = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        Self { process: command.spawn().unwrap(), log }
    }

    /// Waits until `answers` says yes.
    fn wait(&mut self, answers: impl Fn() -> bool) {
        let began = Instant::now();
        while !answers() {
            let ended = self.process.try_wait().unwrap();
            let log = || fs::read_to_string(&self.log).unwrap_or_default();
            assert!(ended.is_none(), "it ended with {ended:?}: {}", log());
            assert!(began.elapsed() < PATIENCE, "it does not answer: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = self.process.id().to_string();
        // Asked first, since it ends what it started itself.
        drop(Command::new("kill").args(["-TERM", &pid]).status());
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if matches!(self.process.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Docker's daemon and its client. The images' trees are plain copies, which need nothing of the file system below.
pub(crate) struct Docker {
    daemon: Daemon,
    scratch: Scratch,
}

impl Docker {
    /// It comes in the package of the daemon.
    const CLIENT: &str = "docker";

    pub(crate) fn start() -> Self {
        let scratch = Scratch::new();
        let place = |name: &str| scratch.path().join(name);
        let host = format!("unix://{}", place("socket").display());
        let (data, exec, pid) = (place("data"), place("exec"), place("pid"));
        let args = ["--host", &host, "--storage-driver", "vfs", "--bridge", "none", "--data-root"].map(OsStr::new);
        let places =
            [data.as_os_str(), OsStr::new("--exec-root"), exec.as_os_str(), OsStr::new("--pidfile"), pid.as_os_str()];
        let nets = ["--iptables=false", "--ip6tables=false", "--ip-masq=false"].map(OsStr::new);
        let daemon = Daemon::start("dockerd", &[&args[..], &places, &nets].concat(), place("log"));
        let mut docker = Self { daemon, scratch };
        let answers = docker.command(&["version"]);
        docker.daemon.wait(|| asked(&answers));
        docker
    }

    /// Docker's own client, of the daemon's age, rather than another that is found first.
    pub(crate) fn command(&self, args: &[&str]) -> Vec<String> {
        let beside = Path::new("/usr/bin/docker");
        let client = if beside.exists() { beside.to_owned() } else { find_program(Self::CLIENT).unwrap() };
        let host = format!("unix://{}", self.scratch.path().join("socket").display());
        let words = [client.display().to_string(), "--host".to_owned(), host];
        words.into_iter().chain(args.iter().map(|arg| (*arg).to_owned())).collect()
    }

    /// Runs the client to its success.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let words = self.command(args);
        tool(&words[0], &words[1..])
    }

    /// The ID of an image.
    #[track_caller]
    pub(crate) fn id(&self, name: &str) -> String {
        self.run(&["image", "inspect", "--format={{.Id}}", name]).trim().to_owned()
    }

    /// An image's whole tree, without what a container has of its own.
    #[track_caller]
    pub(crate) fn tree(&self, name: &str) -> Listed {
        let tar = self.scratch.path().join("exported.tar");
        let container = self.run(&["create", name, "true"]);
        self.run(&["export", "-o", tar.to_str().unwrap(), container.trim()]);
        self.run(&["rm", container.trim()]);
        Listed::of_tar(&tar).without(DOCKERS_OWN)
    }
}

/// What Docker makes in every container, with the directories whose times change by it.
pub(crate) const DOCKERS_OWN: &[&str] = &[
    "/",
    "/.dockerenv",
    "/dev",
    "/dev/console",
    "/dev/pts",
    "/dev/shm",
    "/etc",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/mtab",
    "/etc/resolv.conf",
    "/proc",
    "/sys",
];

/// containerd and `ctr`.
pub(crate) struct Containerd {
    daemon: Daemon,
    scratch: Scratch,
}

impl Containerd {
    pub(crate) fn start() -> Self {
        let scratch = Scratch::new();
        let place = |name: &str| scratch.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
            place("root"),
            place("state"),
            place("socket")
        );
        fs::write(scratch.path().join("config.toml"), config).unwrap();
        let config = place("config.toml");
        let args = ["--config", &config, "--log-level", "warn"].map(OsStr::new);
        let daemon = Daemon::start("containerd", &args, scratch.path().join("log"));
        let mut containerd = Self { daemon, scratch };
        let answers = containerd.command(&["version"]);
        containerd.daemon.wait(|| asked(&answers));
        containerd
    }

    pub(crate) fn command(&self, args: &[&str]) -> Vec<String> {
        let socket = self.scratch.path().join("socket").display().to_string();
        let ctr = find_program("ctr").expect("ctr is installed").display().to_string();
        [ctr, "--address".to_owned(), socket].into_iter().chain(args.iter().map(|arg| (*arg).to_owned())).collect()
    }

    /// Runs `ctr` to its success.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let words = self.command(args);
        tool(&words[0], &words[1..])
    }

    /// Imports an archive and unpacks what is for this machine, as plain copies.
    #[track_caller]
    pub(crate) fn import(&self, archive: &Path) {
        self.run(&["images", "import", "--snapshotter", "native", archive.to_str().unwrap()]);
    }

    /// The digest that a name stands for.
    #[track_caller]
    pub(crate) fn digest(&self, name: &str) -> String {
        let list = self.run(&["images", "ls"]);
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {list}"));
        line.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().to_owned()
    }

    /// An image's whole tree, as it is unpacked. The mount is one of the caller's thread.
    #[track_caller]
    pub(crate) fn tree(&self, name: &str) -> Listed {
        // The snapshot is called by its place, and stays until the daemon's state goes.
        let place = (0..).map(|at| self.scratch.path().join(format!("view-{at}"))).find(|place| !place.exists());
        let place = place.unwrap();
        fs::create_dir(&place).unwrap();
        self.run(&["images", "mount", "--snapshotter", "native", name, place.to_str().unwrap()]);
        let listed = Listed::of(&place);
        tool("umount", [&place]);
        listed
    }
}

fn asked(words: &[String]) -> bool {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
