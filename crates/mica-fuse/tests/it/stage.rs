//! A union of our command line, mounted over lowers that a test made, in a mount namespace of the test's own.
//!
//! `MICA_FUSE_SUBJECT=overlay` mounts the kernel's overlayfs in its place, to see whether it is the test that is wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use mica_sys::mount::{UnmountFlags, mounts, unmount};
use mica_testkit::{Scratch, Snapshot, in_mount_namespace};

/// How long a server may take to answer first, and to end when it is unmounted.
const PATIENCE: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Topmost first, each as it was before anything was mounted.
    lowers: Vec<(PathBuf, Snapshot)>,
    /// More of `-o`, from a comma on.
    options: String,
    /// What the server's door of faults does (`mica_sys::fault`).
    fault: Option<String>,
    /// A limit of later servers, as prlimit(1) takes it.
    limit: Option<String>,
    /// The leader of the server's process group.
    server: Option<Child>,
    scratch: Scratch,
}

/// Runs `play` over one lower that `fill` makes, and proves that the lower is as it was.
pub(crate) fn stage(fill: impl Fn(&Path) + Sync, play: impl FnOnce(&mut Stage) + Send) {
    stage_with("", fill, play);
}

/// The same with more mount options, each after a comma.
pub(crate) fn stage_with(options: &str, fill: impl Fn(&Path) + Sync, play: impl FnOnce(&mut Stage) + Send) {
    in_mount_namespace(|| {
        let mut stage = Stage::in_place(Scratch::new(), &["lower"], |at, _| fill(at));
        options.clone_into(&mut stage.options);
        stage.mount();
        play(&mut stage);
        stage.end();
    });
}

impl Stage {
    /// Lowers of these names, topmost first, each made by `fill`. Nothing is mounted yet. To be called in a mount namespace of the test.
    pub(crate) fn in_place(scratch: Scratch, lowers: &[&str], fill: impl Fn(&Path, &str)) -> Self {
        // Programs of other users pass through here.
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o711)).unwrap();
        for place in ["upper", "work", "mnt", "tmp"] {
            let path = scratch.make(place);
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let lowers = lowers.iter().map(|name| {
            let path = scratch.make(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            fill(&path, name);
            let snapshot = Snapshot::of(&path);
            (path, snapshot)
        });
        Self { lowers: lowers.collect(), options: String::new(), fault: None, limit: None, server: None, scratch }
    }

    /// Has the servers of later mounts stop or fail at a change of the disk.
    pub(crate) fn arm(&mut self, fault: &str) {
        self.fault = Some(fault.to_owned());
    }

    /// More mount options for later mounts, each after a comma.
    pub(crate) fn ask_for(&mut self, options: &str) {
        options.clone_into(&mut self.options);
    }

    /// Has upper and work directory on another file system.
    pub(crate) fn upper_on(&self, disk: &Path) {
        for name in ["upper", "work"] {
            let there = disk.join(name);
            fs::create_dir(&there).unwrap();
            fs::set_permissions(&there, fs::Permissions::from_mode(0o755)).unwrap();
            fs::remove_dir(self.beside(name)).unwrap();
            std::os::unix::fs::symlink(&there, self.beside(name)).unwrap();
        }
    }

    /// Limits the servers of later mounts, as prlimit(1) is told to.
    pub(crate) fn limit(&mut self, limit: &str) {
        self.limit = Some(limit.to_owned());
    }

    /// Servers of later mounts do not.
    pub(crate) fn disarm(&mut self) {
        self.fault = None;
    }

    /// The root of the union.
    pub(crate) fn mnt(&self) -> PathBuf {
        self.scratch.path().join("mnt")
    }

    /// The directory in which everything of the stage is.
    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Where something of that name is beside the union: `upper`, `work`, `tmp`, or a lower.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Mounts; when this returns, the union answers.
    pub(crate) fn mount(&mut self) {
        if let Err(said) = self.try_mount() {
            panic!("it does not mount: {said}");
        }
    }

    /// Mounts, or gives what was said on standard error.
    pub(crate) fn try_mount(&mut self) -> Result<(), String> {
        assert!(self.server.is_none(), "it is mounted");
        let lowers: Vec<_> = self.lowers.iter().map(|(path, _)| path.display().to_string()).collect();
        let (upper, work) = (self.beside("upper"), self.beside("work"));
        let dirs = format!("lowerdir={},upperdir={},workdir={}", lowers.join(":"), upper.display(), work.display());
        if is_overlay() {
            let dirs = format!("{dirs},index=on,redirect_dir=on,metacopy=on,xino=on");
            let mut command = Command::new("mount");
            command.args(["-t", "overlay", "overlay", "-o", &dirs]).arg(self.mnt());
            let output = command.output().unwrap();
            return if output.status.success() { Ok(()) } else { Err(said(&output)) };
        }
        let mut command = match &self.limit {
            Some(limit) => {
                let mut command = Command::new("prlimit");
                command.arg(limit).arg(program());
                command
            }
            None => Command::new(program()),
        };
        command.args(["-f", "-o", &format!("{dirs}{}", self.options)]).arg(self.mnt());
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
        command.envs(self.fault.iter().map(|fault| ("MICA_FAULT", fault)));
        let log = fs::File::create(self.beside("log")).unwrap();
        let mut server = command.stderr(log).spawn().unwrap();
        let since = Instant::now();
        loop {
            if is_mounted(&self.mnt()) {
                self.server = Some(server);
                return Ok(());
            }
            if server.try_wait().unwrap().is_some() {
                return Err(fs::read_to_string(self.beside("log")).unwrap());
            }
            assert!(since.elapsed() < PATIENCE, "neither mounted nor refused");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Unmounts as umount(8) does, and waits until the server has ended, and ended well.
    pub(crate) fn unmount(&mut self) {
        let since = Instant::now();
        // Programs that have just ended may hold a file for a moment.
        while let Err(error) = unmount(&self.mnt(), UnmountFlags::empty()) {
            assert!(since.elapsed() < PATIENCE, "{error}: {}", holders(&self.mnt()));
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Some(mut server) = self.server.take() {
            let status = wait(&mut server);
            assert!(status.success(), "the server ended with {status}: {}", self.log());
        }
    }

    /// What the server has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.beside("log")).unwrap_or_default()
    }

    /// Unmounts and mounts again.
    pub(crate) fn remount(&mut self) {
        self.unmount();
        self.mount();
    }

    /// Sends the server a signal, as `kill(1)` names it.
    pub(crate) fn signal(&self, name: &str) {
        if let Some(server) = &self.server {
            let status = Command::new("kill").args(["-s", name, "--", &format!("-{}", server.id())]).status();
            assert!(status.unwrap().success());
        }
    }

    /// Waits until the server has ended by itself, and takes away the mount that it may have left.
    pub(crate) fn outlive_server(&mut self) -> Option<std::process::ExitStatus> {
        let status = self.server.take().map(|mut server| wait(&mut server));
        if is_mounted(&self.mnt()) {
            unmount(&self.mnt(), UnmountFlags::DETACH).unwrap();
        }
        status
    }

    /// Runs a script in the root of the union, for so many seconds at most, and gives what it printed; it must succeed.
    #[track_caller]
    pub(crate) fn sh(&self, seconds: u32, script: &str) -> String {
        let output = self.script(seconds, script).output().unwrap();
        assert!(output.status.success(), "{script}\nended with {}: {}\n{}", output.status, said(&output), self.log());
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The command that [`Stage::sh`] runs. `$S` is the stage's directory.
    pub(crate) fn script(&self, seconds: u32, script: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", &seconds.to_string(), "bash", "-xeuo", "pipefail", "-c", script]);
        command.current_dir(self.mnt()).env("S", self.path()).env("TMPDIR", self.beside("tmp"));
        command.env("HOME", self.beside("tmp")).env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Every lower is what it was.
    pub(crate) fn assert_lowers_whole(&self, after: &str) {
        for (path, snapshot) in &self.lowers {
            snapshot.assert_unchanged(path, after);
        }
    }

    /// Unmounts, and proves that no lower changed.
    pub(crate) fn end(&mut self) {
        if is_mounted(&self.mnt()) {
            self.unmount();
        }
        self.assert_lowers_whole("all of it");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // A dead server frees its clients; the directory itself is the scratch's to unmount and remove.
            let group = format!("-{}", server.id());
            if let Err(error) = Command::new("kill").args(["-s", "KILL", "--", &group]).status().and(server.wait()) {
                eprintln!("left running: {error}");
            }
        }
    }
}

/// Our command line, as cargo built it.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_mica-fuse"))
}

/// Whether each test is to work for minutes.
pub(crate) fn is_long() -> bool {
    std::env::var_os("MICA_FUSE_LONG").is_some()
}

/// Whether the kernel stands in for us.
pub(crate) fn is_overlay() -> bool {
    std::env::var("MICA_FUSE_SUBJECT").is_ok_and(|subject| subject == "overlay")
}

/// What a command printed on standard output and on standard error.
pub(crate) fn said(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}").trim().to_owned()
}

fn is_mounted(path: &Path) -> bool {
    mounts().unwrap().iter().any(|mounted| mounted.target == path)
}

fn wait(server: &mut Child) -> std::process::ExitStatus {
    let since = Instant::now();
    loop {
        if let Some(status) = server.try_wait().unwrap() {
            return status;
        }
        assert!(since.elapsed() < PATIENCE, "the server does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Who keeps a mount busy.
fn holders(path: &Path) -> String {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let links = ["cwd", "root", "exe"].map(|name| process.path().join(name)).into_iter();
        let open = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten().map(|entry| entry.path());
        let held = links.chain(open).filter_map(|link| fs::read_link(link).ok()).find(|file| file.starts_with(path));
        found.extend(held.map(|file| format!("{} has {}", process.path().display(), file.display())));
    }
    found.join(", ")
}
