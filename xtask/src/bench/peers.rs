//! The peers: other tools, each with folders of its own, configured to do the same work as we do.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::daemon::Daemon;
use super::line::Line;
use super::runner;
use super::session::Session;

/// One Debian package that `--fetch` unpacks where the bench finds it, and why the bench wants it.
pub(super) const FETCHED: [(&str, &str); 6] = [
    ("docker.io", "docker, with its daemon"),
    ("isal", "igzip, the fastest inflate"),
    ("libisal2", "what igzip needs"),
    ("libdeflate-tools", "libdeflate-gunzip, an inflate for machines without igzip"),
    ("libdeflate0", "what libdeflate-gunzip needs"),
    ("pigz", "compresses the image on all processors"),
];

/// Downloads packages and unpacks them into the session's folder. Nothing is installed, no daemon is started and no group is made.
pub(super) fn fetch(session: &Session) -> Result<()> {
    let (to, packages) = (session.fetched(), session.home.join("packages"));
    runner::empty(&packages)?;
    let names = FETCHED.iter().map(|(package, _)| *package).collect::<Vec<_>>().join(" ");
    Line::shell(format!("cd '{}' && apt-get -qq download {names}", packages.display())).run()?;
    runner::empty(&to)?;
    let script = format!("for deb in '{}'/*.deb; do dpkg -x \"$deb\" '{}'; done", packages.display(), to.display());
    Line::shell(script).run()?;
    runner::remove(&packages)
}

/// podman with a store of its own and runc.
#[derive(Debug)]
pub(super) struct Podman {
    line: Line,
    store: PathBuf,
}

impl Podman {
    /// In a folder of that name.
    pub(super) fn new(session: &Session, name: &str) -> Result<Self> {
        let program = session.program("podman", "podman")?;
        let runc = session.program("runc", "runc")?;
        let folder = session.folder(name)?;
        let config = folder.join("containers.conf");
        // Its own defaults would raise limits, which not every machine's root may; and write to a journal that not
        // every machine has.
        let text = "[containers]\ndefault_ulimits=[\"nofile=16384:16384\",\"nproc=32000:32000\"]\n\
                    [engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"none\"\n";
        std::fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let store = folder.join("store");
        let tmp = session.folder("tmp")?;
        let line = program
            .env("CONTAINERS_CONF", &config)
            .env("TMPDIR", tmp)
            .arg("--root")
            .path(store.join("root"))
            .arg("--runroot")
            .path(store.join("run"))
            .arg("--tmpdir")
            .path(store.join("tmp"))
            .args(["--storage-driver", "overlay", "--runtime"])
            .arg(runc.to_string());
        Ok(Self { line, store })
    }

    pub(super) fn line(&self) -> Line {
        self.line.clone()
    }

    /// What holds all that it keeps.
    pub(super) fn store(&self) -> PathBuf {
        self.store.clone()
    }
}

/// A daemon of our own, and the client that asks it.
#[derive(Debug)]
pub(super) struct Private {
    client: Line,
    daemon: Daemon,
}

impl Private {
    /// dockerd and docker, in a folder of that name.
    pub(super) fn docker(session: &Session, name: &str) -> Result<Self> {
        let (server, client) = (session.program("dockerd", "docker.io")?, session.program("docker", "docker.io")?);
        // It starts a containerd of its own.
        session.program("containerd", "containerd")?;
        let folder = session.folder(name)?;
        let socket = format!("unix://{}", folder.join("socket").display());
        let client = client.args(["-H", &socket]);
        let server = server
            .env("TMPDIR", session.folder("tmp")?)
            .arg("--data-root")
            .path(folder.join("data"))
            .arg("--exec-root")
            .path(folder.join("exec"))
            .arg("--pidfile")
            .path(folder.join("pid"))
            .args(["-H", &socket, "--storage-driver", "overlay2", "--iptables=false", "--ip6tables=false"])
            .args(["--ip-masq=false", "--bridge=none"]);
        Self::start(&server, &folder, client)
    }

    /// containerd, and `ctr`, the client that comes with it.
    pub(super) fn containerd(session: &Session, name: &str) -> Result<Self> {
        let (server, client) = (session.program("containerd", "containerd")?, session.program("ctr", "containerd")?);
        let folder = session.folder(name)?;
        let place = |part: &str| folder.join(part).display().to_string();
        let config = folder.join("config.toml");
        let text = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
            place("root"),
            place("state"),
            place("socket")
        );
        std::fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let client = client.arg("-a").arg(place("socket"));
        Self::start(&server.arg("--config").path(&config), &folder, client)
    }

    fn start(server: &Line, folder: &Path, client: Line) -> Result<Self> {
        let daemon = Daemon::start(server, &folder.join("log"), &client.clone().arg("version"))?;
        Ok(Self { client, daemon })
    }

    pub(super) fn line(&self) -> Line {
        self.client.clone()
    }

    pub(super) fn into_daemon(self) -> Daemon {
        self.daemon
    }
}

/// What inflates gzip fastest of the programs that are here, for the floor: the first of these.
pub(super) fn inflate(session: &Session) -> Result<Line> {
    let igzip = session.program("igzip", "isal").map(|line| line.args(["-d", "-c"]));
    let libdeflate = || session.program("libdeflate-gunzip", "libdeflate-tools").map(|line| line.arg("-c"));
    let gzip = || session.program("gzip", "gzip").map(|line| line.args(["-d", "-c"]));
    igzip.or_else(|_| libdeflate()).or_else(|_| gzip())
}

/// The programs whose versions the report names, with how each is asked.
pub(super) fn versions(session: &Session) -> Vec<(String, String)> {
    let asked = [
        ("podman", "podman", "--version"),
        ("dockerd", "docker.io", "--version"),
        ("containerd", "containerd", "--version"),
        ("runc", "runc", "--version"),
        ("skopeo", "skopeo", "--version"),
        ("umoci", "umoci", "--version"),
        ("igzip", "isal", "--version"),
        ("tar", "tar", "--version"),
    ];
    let version = |(name, package, flag): (&str, &str, &str)| {
        let ran = session.program(name, package).ok()?.arg(flag).run().ok()?;
        Some((name.to_owned(), ran.lines().next()?.trim().to_owned()))
    };
    asked.into_iter().filter_map(version).collect()
}

/// Where skopeo puts an image into a containers-storage of its own.
pub(super) fn containers_storage(store: &Path, name: &str) -> String {
    format!("containers-storage:[overlay@{}+{}]{name}", store.join("root").display(), store.join("run").display())
}
