//! Other tools, each with a state of its own, and whole trees as they show them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_core::{BlobDigest, RelPath};
use mica_testkit::gate::find_program;
use mica_testkit::{Scratch, Tree, What, in_mount_namespace};

/// Seconds after which another tool is killed.
const TIME_LIMIT: &str = "300";

/// Runs a program to its success and gives what it printed. It has no longer than it may take.
#[track_caller]
pub(crate) fn tool(program: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let mut command = limited(program);
    command.args(args);
    finish(&mut command)
}

fn limited(program: &str) -> Command {
    let found = find_program(program).unwrap_or_else(|| panic!("{program} is not installed"));
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", TIME_LIMIT]).arg(found);
    command
}

#[track_caller]
fn finish(command: &mut Command) -> String {
    let ran = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// A place as skopeo calls it: `oci-archive:/path:name`.
pub(crate) fn at(transport: &str, path: &Path, name: &str) -> String {
    let name = if name.is_empty() { String::new() } else { format!(":{name}") };
    format!("{transport}:{}{name}", path.display())
}

/// podman with a store of its own, which is gone with it.
pub(crate) struct Podman {
    scratch: Scratch,
    driver: &'static str,
}

impl Podman {
    /// On kernel overlayfs, so that what it mounts is what its containers see.
    pub(crate) fn overlay() -> Self {
        Self::with("overlay")
    }

    /// On plain copies, which need no mount.
    pub(crate) fn vfs() -> Self {
        Self::with("vfs")
    }

    fn with(driver: &'static str) -> Self {
        let scratch = Scratch::new();
        // It would raise limits that only the machine's own root may raise.
        let config = "[containers]\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=1024:1024\"]\n";
        fs::write(scratch.path().join("containers.conf"), config).unwrap();
        Self { scratch, driver }
    }

    fn command(&self, args: &[&str]) -> Command {
        let place = |name: &str| self.scratch.path().join(name);
        let mut command = limited("podman");
        command.env("CONTAINERS_CONF", place("containers.conf"));
        command.arg("--root").arg(place("root")).arg("--runroot").arg(place("run")).arg("--tmpdir").arg(place("tmp"));
        command.args(["--storage-driver", self.driver]).args(args);
        command
    }

    /// The words that run `program`, podman or buildah, on this store.
    pub(crate) fn words(&self, program: &str) -> Vec<String> {
        let place = |name: &str| self.scratch.path().join(name).display().to_string();
        let conf = format!("CONTAINERS_CONF={}", place("containers.conf"));
        let found = find_program(program).unwrap_or_else(|| panic!("{program} is not installed")).display().to_string();
        let mut words = vec!["env".to_owned(), conf, found, "--root".to_owned(), place("root")];
        words.extend(["--runroot".to_owned(), place("run"), "--storage-driver".to_owned(), self.driver.to_owned()]);
        words
    }

    /// Runs it to its success.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> String {
        finish(&mut self.command(args))
    }

    /// The ID of an image.
    #[track_caller]
    pub(crate) fn id(&self, name: &str) -> String {
        format!("sha256:{}", self.run(&["image", "inspect", "--format={{.Id}}", name]).trim())
    }

    /// An image's whole tree, from a mount, but for its root: podman gives the root of every layer attributes of its own
    /// (0555, now), and what a lower layer says of it does not show.
    #[track_caller]
    pub(crate) fn tree(&self, name: &str) -> Listed {
        let place = PathBuf::from(self.run(&["image", "mount", name]).trim());
        let listed = Listed::of(&place).without(&["/"]);
        self.run(&["image", "umount", name]);
        listed
    }
}

/// A whole tree as lines: of each path its kind, mode, owner, seconds of mtime, target, first name, extended attributes,
/// size and content's digest.
pub(crate) struct Listed(BTreeMap<RelPath, String>);

impl Listed {
    /// All that is in a directory.
    pub(crate) fn of(directory: &Path) -> Self {
        let mut lines = BTreeMap::new();
        for (path, entry) in Tree::read(directory).iter() {
            let mut entry = entry.clone();
            // Tars carry whole seconds unless somebody asks for more, and not every tool keeps the rest.
            if let Some(mtime) = &mut entry.mtime {
                mtime.nanos = 0;
            }
            let content = match &entry.what {
                What::File(bytes) => format!("{} bytes {}", bytes.len(), BlobDigest::of(bytes)),
                _ => String::new(),
            };
            if !content.is_empty() {
                entry.what = What::File(Vec::new());
            }
            lines.insert(path.clone(), format!("{entry} {content}"));
        }
        Self(lines)
    }

    /// The tree that a tar has, as GNU tar unpacks it.
    pub(crate) fn of_tar(tar: &Path) -> Self {
        let scratch = Scratch::new();
        let place = scratch.make("tree");
        let flags = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-owner", "-p", "-xf"];
        let args = flags.iter().map(OsStr::new).chain([tar.as_os_str(), OsStr::new("-C"), place.as_os_str()]);
        tool("tar", args);
        Self::of(&place)
    }

    /// Without what is at `paths`: the caller says why.
    pub(crate) fn without(mut self, paths: &[&str]) -> Self {
        self.0.retain(|path, _| !paths.contains(&path.to_string().as_str()));
        self
    }

    /// How many paths there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What is at a path; empty where nothing is.
    pub(crate) fn at(&self, path: &str) -> &str {
        self.0.iter().find(|(at, _)| at.to_string() == path).map_or("", |(_, line)| line)
    }

    /// Fails with the first differences when `found` is not this tree. A root that `found` lacks is not asked for.
    #[track_caller]
    pub(crate) fn assert_is(&self, found: &Self, of: &str) {
        let paths = self.0.keys().chain(found.0.keys().filter(|path| !self.0.contains_key(*path)));
        let differences: Vec<String> = paths
            .filter(|path| self.0.get(*path) != found.0.get(*path))
            .filter(|path| !path.is_root() || found.0.contains_key(*path))
            .map(|path| {
                let line = |listed: &Self| listed.0.get(path).map_or("(absent)", String::as_str).to_owned();
                format!("  {path}\n    wanted {}\n    found  {}", line(self), line(found))
            })
            .collect();
        let first = differences.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
        assert!(differences.is_empty(), "{of}: {} differences, the first are\n{first}", differences.len());
    }
}

/// A Debian as mmdebstrap makes it, as a tar; `Err` says why there is none.
pub(crate) fn debian() -> Result<PathBuf, String> {
    mica_testkit::debian_tar(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// Runs `body` where mounts that another tool leaves are its own and end with it.
pub(crate) fn apart<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    in_mount_namespace(body)
}
