//! Places to work in that are gone when the test is, mounts included.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mica_sys::Dir;
use mica_sys::mount::{MountFlags, UnmountFlags, mount, mounts, unmount, unshare_mounts};
use tempfile::TempDir;

use crate::gate::find_program;

/// A temporary directory. Dropped, whatever is mounted in it is unmounted and it is removed.
#[derive(Debug)]
pub struct Scratch {
    dir: TempDir,
}

impl Scratch {
    /// A new one, in the system's place for such.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("mica-test.").tempdir().expect("a temporary directory") }
    }

    /// A new one on a tmpfs of its own, where flushing costs nothing. Needs root.
    #[must_use]
    pub fn in_memory() -> Self {
        let scratch = Self::new();
        let place = scratch.path();
        mount(Path::new("mica-test"), place, "tmpfs", MountFlags::empty(), "mode=700").expect("a tmpfs");
        scratch
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The directory, open.
    #[must_use]
    pub fn dir(&self) -> Dir {
        Dir::open(self.path()).expect("the scratch directory opens")
    }

    /// Makes the directory `name` in it, with its parents.
    #[must_use]
    pub fn make(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).expect("a directory in scratch");
        path
    }

    /// Mounts a tmpfs at the new directory `name`; `options` as `size=1m`.
    #[must_use]
    pub fn tmpfs(&self, name: &str, options: &str) -> PathBuf {
        let path = self.make(name);
        mount(Path::new("mica-test"), &path, "tmpfs", MountFlags::empty(), options).expect("a tmpfs");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        unmount_below(self.path());
        // A store's reaper, which outlives its command for a moment, may put a lease where all is being removed.
        let since = Instant::now();
        while let Err(error) = remove(self.path()) {
            if error.kind() == io::ErrorKind::NotFound {
                break;
            }
            if since.elapsed() > PATIENCE {
                eprintln!("left behind: {error}");
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// How long the removal of a scratch directory is tried.
const PATIENCE: Duration = Duration::from_secs(5);

#[allow(clippy::disallowed_methods, reason = "a test may have armed the fault door, which this is not about")]
fn remove(dir: &Path) -> io::Result<()> {
    fs::remove_dir_all(dir)
}

/// Takes down all that is mounted at or under `path`, the latest first.
fn unmount_below(path: &Path) {
    let Ok(table) = mounts() else { return };
    for mounted in table.iter().rev().filter(|mounted| mounted.target.starts_with(path)) {
        if let Err(error) = unmount(&mounted.target, UnmountFlags::DETACH) {
            eprintln!("left mounted: {error}");
        }
    }
}

/// A small file system of its own on a loop device: for a disk that is full, and for stacks over two file systems.
#[derive(Debug)]
pub struct LoopFs {
    scratch: Scratch,
}

impl LoopFs {
    /// An ext4 of `bytes`, with no blocks held back for root. Needs `needs!(loop_devices)`.
    #[must_use]
    pub fn ext4(bytes: u64) -> Self {
        Self::make(bytes, &["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal"])
    }

    /// An XFS of the least size, whose files can share blocks or not. Needs `needs!(loop_devices, program "mkfs.xfs")`.
    #[must_use]
    pub fn xfs(reflink: bool) -> Self {
        Self::make(300 << 20, &["mkfs.xfs", "-q", "-f", "-m", if reflink { "reflink=1" } else { "reflink=0" }])
    }

    /// A btrfs of the least size. Needs `needs!(loop_devices, program "mkfs.btrfs")`.
    #[must_use]
    pub fn btrfs() -> Self {
        Self::make(128 << 20, &["mkfs.btrfs", "-q", "-f"])
    }

    fn make(bytes: u64, mkfs: &[&str]) -> Self {
        let scratch = Scratch::new();
        let image = scratch.path().join("image");
        File::create(&image).and_then(|file| file.set_len(bytes)).expect("an image file");
        run(mkfs, &image, None);
        let place = scratch.make("mnt");
        // mount(8) frees the loop device with the last unmount.
        run(&["mount", "-o", "loop"], &image, Some(&place));
        Self { scratch }
    }

    /// Bytes in use, when all is on disk.
    #[must_use]
    pub fn used(&self) -> u64 {
        let dir = Dir::open(&self.path()).expect("the file system opens");
        // Blocks that are freed or allocated late are counted after the second.
        for _ in 0..2 {
            dir.syncfs().expect("syncfs");
        }
        let stat = rustix::fs::statvfs(self.path()).expect("statvfs");
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.scratch.path().join("mnt")
    }

    /// Fills it until `left` bytes or less are free, by one file `filler`. Remove it to have room again.
    pub fn fill(&self, left: u64) {
        let filler = File::create(self.path().join("filler")).expect("a filler");
        let (mut size, mut step) = (0, 1 << 20);
        // Free space comes in pieces, and some of it goes for the file's own bookkeeping.
        while step >= 1024 {
            let stat = rustix::fs::statvfs(self.path()).expect("statvfs");
            let free = stat.f_bavail * stat.f_frsize;
            if free <= left {
                return;
            }
            let more = step.min(free - left);
            match rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), size, more) {
                Ok(()) => size += more,
                Err(rustix::io::Errno::NOSPC) => step /= 2,
                Err(error) => panic!("fallocate: {error}"),
            }
        }
    }
}

fn run(command: &[&str], subject: &Path, target: Option<&Path>) {
    let program = find_program(command[0]).unwrap_or_else(|| panic!("{} is not installed", command[0]));
    let output = Command::new(program).args(&command[1..]).arg(subject).args(target).output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs `body` in a thread with a mount namespace of its own: what it mounts on any path is seen by nobody else, and gone
/// after.
pub fn in_mount_namespace<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    let inside = || {
        unshare_mounts().expect("a mount namespace");
        body()
    };
    match std::thread::scope(|scope| scope.spawn(inside).join()) {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests;
