//! Paths inside a root that a stranger filled: found, and made where they are missing, without ever leaving it.
//!
//! A path is taken as a program whose `/` is the root would take it. Symlinks are followed there and nowhere else, magic links
//! (`/proc/*/fd`) not at all, so no name in an image leads a mount or a working directory to the host.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, fstat, mkdirat, openat, openat2, readlinkat};
use rustix::io::Errno;

use super::failed;
use crate::stat::Metadata;
use crate::{FileKind, SysError};

/// How many symlinks one path may go through, as in the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// What [`make_inside`] makes where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A directory, mode 0755.
    Directory,
    /// An empty file, mode 0644, in directories of mode 0755.
    File,
}

/// Opens what the caller's own `path` names, as a place only (`O_PATH`), following symlinks: for paths that the user or the system
/// names, never for what stands inside a root.
///
/// # Errors
/// `openat`'s.
pub fn open_place(path: &Path) -> Result<OwnedFd, SysError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(failed("open", path.as_os_str().as_encoded_bytes()))
}

/// Opens what `path` names inside `root` as a place only (`O_PATH`): it can be mounted on, looked through, and not read.
///
/// # Errors
/// `openat2`'s: `ENOENT`, `ELOOP`, `ENOTDIR`.
pub fn open_inside(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, SysError> {
    open(root, path, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// As [`open_inside`], but `ELOOP` where any component is a symlink.
///
/// # Errors
/// `openat2`'s.
pub fn open_inside_no_links(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, SysError> {
    open(root, path, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
}

fn open(root: impl AsFd, path: &[u8], how: ResolveFlags) -> Result<OwnedFd, SysError> {
    let named = if path.is_empty() { b"." } else { path };
    loop {
        // RESOLVE_IN_ROOT answers EAGAIN when a rename anywhere raced with a `..` (openat2(2)).
        match openat2(&root, named, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done.map_err(failed("openat2", path)),
        }
    }
}

/// What the opened place is.
///
/// # Errors
/// `fstat`'s.
pub fn metadata_of(fd: impl AsFd) -> Result<Metadata, SysError> {
    fstat(fd).map(|stat| Metadata::from_stat(&stat)).map_err(failed("fstat", ""))
}

/// The number of the file system that the opened place is on: major and minor, as the table of mounts has it. Nobody is asked for it: a server of FUSE that looked at
/// its own mount would wait for itself, and could not be killed while it holds the device.
///
/// # Errors
/// `statx`'s.
pub fn device_of(fd: impl AsFd) -> Result<(u32, u32), SysError> {
    rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::empty())
        .map(|stat| (stat.stx_dev_major, stat.stx_dev_minor))
        .map_err(failed("statx", ""))
}

/// As [`open_inside`]; what is missing on the way is made, also at the end of a symlink that points to nothing.
///
/// # Errors
/// `EROFS` and the like where it cannot be made; `ENOTDIR` where a file is in the way; `ELOOP`.
pub fn make_inside(root: impl AsFd, path: &[u8], missing: Missing) -> Result<OwnedFd, SysError> {
    match open_inside(&root, path) {
        Err(error) if error.is_not_found() => {}
        done => return done,
    }
    let mut walk = Walk { root: root.as_fd(), way: Vec::new() };
    // The components still to go, the next one last.
    let mut rest: Vec<Vec<u8>> = Vec::new();
    push_components(&mut rest, path);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == b".." {
            walk.way.pop();
            continue;
        }
        let what = if rest.is_empty() { missing } else { Missing::Directory };
        let next = walk.enter(&name, what).map_err(failed("openat", path))?;
        if metadata_of(&next)?.kind == FileKind::Symlink {
            links += 1;
            if links > MAX_LINKS {
                return Err(failed("openat", path)(Errno::LOOP));
            }
            let target = readlinkat(&next, c"", Vec::new()).map_err(failed("readlinkat", path))?;
            if target.to_bytes().starts_with(b"/") {
                walk.way.clear();
            }
            push_components(&mut rest, target.to_bytes());
        } else {
            walk.way.push(next);
        }
    }
    match walk.way.pop() {
        Some(place) => Ok(place),
        None => open_inside(root, b""),
    }
}

fn push_components(rest: &mut Vec<Vec<u8>>, path: &[u8]) {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    rest.extend(names.rev().map(<[u8]>::to_vec));
}

/// A walk by one component at a time; the directories gone through, so that `..` goes back by them and not by the disk's.
struct Walk<'a> {
    root: BorrowedFd<'a>,
    way: Vec<OwnedFd>,
}

impl Walk<'_> {
    fn here(&self) -> BorrowedFd<'_> {
        self.way.last().map_or(self.root, AsFd::as_fd)
    }

    /// Opens `name` here, itself if it is a symlink, and makes it first if it is not there.
    fn enter(&self, name: &[u8], missing: Missing) -> Result<OwnedFd, Errno> {
        let place = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(self.here(), name, place, Mode::empty()) {
            Err(Errno::NOENT) => {}
            done => return done,
        }
        let made = match missing {
            Missing::Directory => mkdirat(self.here(), name, Mode::from_raw_mode(0o755)),
            Missing::File => {
                let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                openat(self.here(), name, create, Mode::from_raw_mode(0o644)).map(drop)
            }
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => openat(self.here(), name, place, Mode::empty()),
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::PathBuf;

    use super::*;

    struct Temp(PathBuf);

    impl Temp {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mica-inside-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("root")).unwrap();
            Self(path)
        }

        fn root(&self) -> fs::File {
            fs::File::open(self.0.join("root")).unwrap()
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            std::process::Command::new("rm").arg("-rf").arg(&self.0).status().unwrap();
        }
    }

    fn same(fd: &OwnedFd, path: &Path) -> bool {
        let (one, other) = (metadata_of(fd).unwrap(), fs::symlink_metadata(path).unwrap());
        (one.dev, one.ino) == (other.dev(), other.ino())
    }

    #[test]
    fn a_place_has_the_device_that_a_file_of_it_says() {
        for place in [Path::new("/proc"), &std::env::temp_dir()] {
            let place = fs::File::open(place).unwrap();
            assert_eq!(device_of(&place).unwrap(), metadata_of(&place).unwrap().device());
        }
    }

    #[test]
    fn links_that_point_out_are_taken_from_the_root() {
        let temp = Temp::new("out");
        let root = temp.0.join("root");
        symlink("../../../..", root.join("up")).unwrap();
        symlink("/elsewhere/deep", root.join("absolute")).unwrap();
        symlink("../../outside/file", root.join("dangling")).unwrap();
        assert!(same(&open_inside(temp.root(), b"/up").unwrap(), &root));
        let made = make_inside(temp.root(), b"/absolute/../made", Missing::Directory).unwrap();
        assert!(same(&made, &root.join("elsewhere/made")));
        let made = make_inside(temp.root(), b"dangling", Missing::File).unwrap();
        assert!(same(&made, &root.join("outside/file")));
        assert!(!temp.0.join("outside").exists(), "nothing was made outside");
        assert!(!Path::new("/elsewhere").exists());
    }

    #[test]
    fn magic_links_are_not_followed() {
        let host = fs::File::open("/").unwrap();
        for path in [&b"/proc/self/cwd"[..], b"/proc/self/root/etc"] {
            assert_eq!(open_inside(&host, path).unwrap_err().errno(), Errno::LOOP);
        }
    }

    #[test]
    fn a_circle_of_links_ends_in_an_error() {
        let temp = Temp::new("circle");
        symlink("b", temp.0.join("root/a")).unwrap();
        symlink("a", temp.0.join("root/b")).unwrap();
        assert_eq!(make_inside(temp.root(), b"/a/x", Missing::Directory).unwrap_err().errno(), Errno::LOOP);
    }

    #[test]
    fn a_file_in_the_way_is_not_replaced() {
        let temp = Temp::new("way");
        fs::write(temp.0.join("root/file"), b"kept").unwrap();
        assert_eq!(make_inside(temp.root(), b"file/below", Missing::Directory).unwrap_err().errno(), Errno::NOTDIR);
        assert_eq!(fs::read(temp.0.join("root/file")).unwrap(), b"kept");
    }

    #[test]
    fn no_link_at_all_where_none_is_allowed() {
        let temp = Temp::new("none");
        fs::create_dir(temp.0.join("root/real")).unwrap();
        symlink("real", temp.0.join("root/link")).unwrap();
        assert!(open_inside_no_links(temp.root(), b"real").is_ok());
        assert_eq!(open_inside_no_links(temp.root(), b"link").unwrap_err().errno(), Errno::LOOP);
    }
}
