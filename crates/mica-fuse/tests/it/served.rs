//! The driver whose mounts are served by a process of their own ([`Fuse::served_by`]).

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mica_sys::fuse::Device;
use mica_sys::process::{Signal, open_pidfd, send_signal_pidfd};
use mica_sys::{Dir, Errno};
use mica_testkit::driver_suite::driver_suite;
use mica_testkit::{Scratch, Snapshot, needs};
use mica_union::fuse::{Fuse, Options, Program, Served};
use mica_union::{Driver, UnionDirs, UnionError, UpperDirs};

/// How long a process may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

fn program(exe: &Path, name: &str) -> Program {
    let exe = OwnedFd::from(fs::File::open(exe).unwrap());
    Program { exe, argv: vec![CString::new(name).unwrap()] }
}

/// Our command, by the name at which it serves.
fn ours() -> Program {
    program(crate::stage::program(), "mica-fuse-server")
}

/// A lower with a file, an upper, and who serves them.
struct Place {
    scratch: Scratch,
    dirs: UnionDirs,
    lower: Snapshot,
}

impl Place {
    fn new() -> Self {
        let scratch = Scratch::new();
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| scratch.make(name));
        fs::write(lower.join("file"), "below").unwrap();
        let upper = UpperDirs { upper, work, volatile: false };
        let snapshot = Snapshot::of(&lower);
        let dirs = UnionDirs { lowers: vec![lower], upper: Some(upper), ..UnionDirs::default() };
        Self { scratch, dirs, lower: snapshot }
    }

    /// The processes that have the upper open, but this one.
    fn servers(&self) -> Vec<PathBuf> {
        let upper = self.scratch.path().join("upper");
        let has_it = |process: &PathBuf| {
            let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
            open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|file| file == upper)
        };
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let others = processes.filter(|process| !process.ends_with(std::process::id().to_string()));
        others
            .filter(|process| fs::read(process.join("cmdline")).is_ok_and(|line| !line.is_empty()))
            .filter(has_it)
            .collect()
    }

    fn only_server(&self) -> PathBuf {
        match &self.servers()[..] {
            [server] => server.clone(),
            servers => panic!("{servers:?}"),
        }
    }

    fn wait_until_nobody_serves(&self) {
        let since = Instant::now();
        while !self.servers().is_empty() {
            assert!(since.elapsed() < PATIENCE, "{:?} goes on", self.servers());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn change(root: &Dir, text: &[u8]) -> Result<(), mica_sys::SysError> {
    root.open_file_to_write(b"file")?.write_at(text, 0)
}

#[test]
fn a_process_of_its_own_passes_the_suite() {
    needs!(root, fuse);
    // The marks of a machine's root.
    driver_suite(&Fuse::served_by(ours()), UnionDirs::default().marks);
}

#[test]
fn a_server_lives_as_long_as_its_mount() {
    needs!(root, fuse);
    let place = Place::new();
    let mounted = Fuse::served_by(ours()).mount(&place.dirs).unwrap();
    let server = place.only_server();
    // It has left what was its starter's: a directory that somebody wants to unmount, a terminal, what is said there.
    assert_eq!(fs::read_link(server.join("cwd")).unwrap(), Path::new("/"));
    for stdio in 0..=2 {
        assert_eq!(fs::read_link(server.join(format!("fd/{stdio}"))).unwrap(), Path::new("/dev/null"));
    }
    let root = mounted.dir().unwrap();
    change(&root, b"above").unwrap();
    drop(mounted);
    // Whoever has a file of the mount keeps it.
    assert_eq!(root.read(b"file", 100).unwrap(), b"above");
    assert_eq!(place.only_server(), server);
    drop(root);
    place.wait_until_nobody_serves();
    assert_eq!(fs::read(place.scratch.path().join("upper/file")).unwrap(), b"above");
    place.lower.assert_unchanged(&place.dirs.lowers[0], "a mount");
}

#[test]
fn after_the_end_of_a_server_its_mount_says_so_and_the_next_shows_what_was_written() {
    needs!(root, fuse);
    for signal in [Signal::TERM, Signal::KILL] {
        let place = Place::new();
        let driver = Fuse::served_by(ours());
        let mounted = driver.mount(&place.dirs).unwrap();
        let root = mounted.dir().unwrap();
        change(&root, b"above").unwrap();
        let pid = place.only_server().file_name().unwrap().to_str().unwrap().parse().unwrap();
        assert!(send_signal_pidfd(open_pidfd(pid).unwrap().unwrap(), signal).unwrap());
        place.wait_until_nobody_serves();
        let ask = || root.stat(b"other").unwrap_err().errno();
        // Who asks while it still dies has a request that is given up.
        let said = std::iter::repeat_with(ask).find(|said| *said != Errno::CONNABORTED);
        assert_eq!(said, Some(Errno::NOTCONN), "{signal:?}");
        drop((root, mounted));
        let again = driver.mount(&place.dirs).unwrap().dir().unwrap();
        assert_eq!(again.read(b"file", 100).unwrap(), b"above", "{signal:?}");
        drop(again);
        place.wait_until_nobody_serves();
    }
}

#[test]
fn what_is_wrong_is_said_before_there_is_a_server_and_by_it() {
    needs!(root, fuse);
    let place = Place::new();
    let mut wrong = place.dirs.clone();
    wrong.lowers.push(place.scratch.path().join("nowhere"));
    let refused = Fuse::served_by(ours()).mount(&wrong).unwrap_err();
    assert!(matches!(refused, UnionError::Open { .. }), "{refused:?}");
    // The same found by the server, as when the directory goes between.
    let device = Device::open().unwrap();
    let refused = Served::start(&ours(), device.as_fd(), &Options::new(wrong)).unwrap_err();
    let said = refused.to_string();
    assert!(matches!(refused, UnionError::Server { .. }) && said.contains("lower 2"), "{said}");
    // A program that knows nothing of this.
    let other = Fuse::served_by(program(Path::new("/bin/true"), "true")).mount(&place.dirs).unwrap_err();
    assert!(other.to_string().contains("ended before the mount answered"), "{other}");
    let nothing = Program {
        exe: OwnedFd::from(fs::File::open(place.scratch.path().join("lower/file")).unwrap()),
        argv: Vec::new(),
    };
    let nothing = Fuse::served_by(nothing).mount(&place.dirs).unwrap_err();
    assert!(matches!(nothing, UnionError::Serve { .. }), "{nothing:?}");
    assert!(place.servers().is_empty());
    // Nothing is left that is in the way of one who does it right.
    drop(Fuse::served_by(ours()).mount(&place.dirs).unwrap());
    place.wait_until_nobody_serves();
}

#[test]
fn two_mounts_of_one_upper_are_one_too_many() {
    needs!(root, fuse);
    let place = Place::new();
    let first = Fuse::served_by(ours()).mount(&place.dirs).unwrap();
    let second = Fuse::served_by(ours()).mount(&place.dirs).unwrap_err();
    assert!(matches!(second, UnionError::InUse { .. }), "{second:?}");
    assert_eq!(first.dir().unwrap().read(b"file", 100).unwrap(), b"below");
}
