//! A store and a run root of one test, and the command on them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mica_core::BlobDigest;
use mica_testkit::{OrdinaryUser, Scratch, busybox_rootfs};

/// The command on a store of its own.
pub(crate) struct Mica {
    place: Place,
    root: PathBuf,
}

/// Who runs the command, and where its files are.
enum Place {
    /// We.
    Ours(Scratch),
    /// An ordinary user.
    Of(OrdinaryUser),
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
    /// The exit status; 128 and more for a signal.
    pub(crate) status: i32,
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let status = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { out: text(output.stdout), err: text(output.stderr), status }
    }

    /// The only line of standard output.
    pub(crate) fn line(&self) -> String {
        self.out.trim_end().to_owned()
    }
}

impl Mica {
    /// An empty store on the file system of temporary files.
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new();
        let root = scratch.path().join("store");
        Self { place: Place::Ours(scratch), root }
    }

    /// The command of an ordinary user, on an empty store in the user's home. Needs `needs!(ordinary_user)`.
    pub(crate) fn of(user: OrdinaryUser) -> Self {
        let root = user.home().join("store");
        Self { place: Place::Of(user), root }
    }

    /// As [`Mica::of`], but with the store at `root`.
    pub(crate) fn of_at(user: OrdinaryUser, root: PathBuf) -> Self {
        Self { place: Place::Of(user), root }
    }

    /// The ordinary user whose command this is.
    #[track_caller]
    pub(crate) fn user(&self) -> &OrdinaryUser {
        match &self.place {
            Place::Of(user) => user,
            Place::Ours(_) => panic!("this is no ordinary user's"),
        }
    }

    fn scratch(&self) -> &Scratch {
        match &self.place {
            Place::Ours(scratch) => scratch,
            Place::Of(user) => user.scratch(),
        }
    }

    /// A store at `root`, which is somewhere else: on a small file system.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { place: Place::Ours(Scratch::new()), root }
    }

    /// An empty store on a file system in memory, for a test that would flush a disk a thousand times.
    pub(crate) fn in_memory() -> Self {
        let scratch = Scratch::new();
        let root = scratch.tmpfs("memory", "size=64m").join("store");
        Self { place: Place::Ours(scratch), root }
    }

    /// The store.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The run root.
    pub(crate) fn run_root(&self) -> PathBuf {
        match &self.place {
            Place::Ours(scratch) => scratch.path().join("run"),
            Place::Of(user) => user.runtime_dir().join("mica"),
        }
    }

    /// Where this test may put files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch().path().join(name)
    }

    /// The command with these arguments, not started.
    pub(crate) fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mica = env!("CARGO_BIN_EXE_mica");
        let mut command = match &self.place {
            Place::Ours(_) => Command::new(mica),
            Place::Of(user) => user.command(mica),
        };
        command.args(args).env("MICA_ROOT", &self.root).env("MICA_RUN_ROOT", self.run_root());
        command.env_remove("MICA_FAULT").env_remove("MICA_DRIVER").stdin(Stdio::null());
        command
    }

    /// Runs the command to its end, whatever that is.
    pub(crate) fn try_run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Said {
        Said::of(self.command(args).output().unwrap())
    }

    /// Runs the command, which must succeed.
    #[track_caller]
    pub(crate) fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Said {
        let said = self.try_run(args);
        assert_eq!(said.status, 0, "{said:#?}");
        said
    }

    /// Runs the command with bytes on standard input.
    pub(crate) fn feed(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>, input: &[u8]) -> Said {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feeding = std::thread::spawn(move || match stdin.write_all(&input) {
            // A command that refuses its input early closes it.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => panic!("{error}"),
            _ => {}
        });
        let said = Said::of(child.wait_with_output().unwrap());
        feeding.join().unwrap();
        said
    }

    /// Runs the command, which must fail with mica's own status and one error; gives what it said.
    #[track_caller]
    pub(crate) fn refuses(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
        let said = self.try_run(args);
        assert_eq!(said.status, 125, "{said:#?}");
        let errors = said.err.lines().filter(|line| line.starts_with("mica: ")).count();
        assert_eq!(errors, 1, "one clear error: {said:#?}");
        said.err
    }

    /// Imports a root file system of busybox under `name`.
    pub(crate) fn busybox(&self, name: &str) -> String {
        let root = self.path("busybox");
        if !root.exists() {
            std::fs::create_dir(&root).unwrap();
            busybox_rootfs(&root);
            if let Place::Of(user) = &self.place {
                let owner = format!("{0}:{0}", user.uid());
                assert!(Command::new("chown").args(["-R", &owner]).arg(&root).status().unwrap().success());
            }
        }
        self.run([OsStr::new("import"), OsStr::new("-q"), root.as_os_str(), OsStr::new(name)]).line()
    }

    /// All that is in the store but its locks and its trash, which is never read: where, and what.
    pub(crate) fn contents(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        list(&self.root, &mut found);
        found.retain(|path, _| !["locks", "trash"].iter().any(|dir| path.starts_with(self.root.join(dir))));
        found
    }

    /// The store is whole and nobody is at work in it.
    #[track_caller]
    pub(crate) fn assert_whole(&self) {
        let said = self.run(["system", "check"]);
        assert!(said.out.contains("are whole"), "{said:#?}");
        for place in ["staging", "leases"] {
            let left = std::fs::read_dir(self.root.join(place)).unwrap().count();
            assert_eq!(left, 0, "{place} is not empty");
        }
    }
}

fn list(dir: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        let what = match kind.is_file() {
            true => BlobDigest::of(&std::fs::read(&path).unwrap()).to_string(),
            false => format!("{kind:?}"),
        };
        if kind.is_dir() {
            list(&path, found);
        }
        found.insert(path, what);
    }
}
