//! Places: the directories that a union is asked of, found, and held against each other.
//!
//! Paths become absolute here, since a server leaves its working directory. Two directories are the same when their device and inode are,
//! whatever their paths; and one is inside another when it is so on the same mount: what is mounted below a lower is not part of it.

use std::fmt;
use std::fs;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::{Path, PathBuf};

use mica_sys::mount::{MountInfo, MountInfoError, mount_id, mounts};
use mica_sys::process::{Caps, effective_caps, metadata_of, open_place};
use mica_sys::{Dir, Errno, FileKind, SysError};

use mica_union::fuse::Ids;

use crate::asked::Asked;

/// The directories of a union, by absolute paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    /// Lowers, topmost first.
    pub(crate) lowers: Vec<PathBuf>,
    /// The upper with its work directory.
    pub(crate) upper: Option<(PathBuf, PathBuf)>,
    /// Where the union is shown.
    pub(crate) mountpoint: PathBuf,
}

/// What a directory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Lower,
    Upper,
    Work,
    Mountpoint,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lower => "lower directory",
            Self::Upper => "upper directory",
            Self::Work => "work directory",
            Self::Mountpoint => "mountpoint",
        })
    }
}

/// Directories of which no union can be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// There is nothing to show.
    #[error("no lower directory is given")]
    NoLower,
    /// There is an upper, and nowhere to work.
    #[error("the upper directory {0:?} has no work directory")]
    NoWork(PathBuf),
    /// There is none.
    #[error("the {role} {path:?} is not there")]
    Missing {
        /// What it is for.
        role: Role,
        /// Its path, as it was given.
        path: PathBuf,
    },
    /// It is something else.
    #[error("the {role} {path:?} is no directory")]
    NoDirectory {
        /// What it is for.
        role: Role,
        /// Its path, as it was given.
        path: PathBuf,
    },
    /// It cannot be looked into.
    #[error("the {role} {path:?} cannot be opened: {source}")]
    Closed {
        /// What it is for.
        role: Role,
        /// Its path, as it was given.
        path: PathBuf,
        /// The refused call.
        source: SysError,
    },
    /// One directory for two ends.
    #[error("the {one} {path:?} is the {other}, too")]
    Same {
        /// What it is for.
        one: Role,
        /// What else.
        other: Role,
        /// Its path, as it was given.
        path: PathBuf,
    },
    /// One directory inside of another.
    #[error("the {inner} {inner_path:?} is inside of the {outer} {outer_path:?}")]
    Inside {
        /// What the inner one is for.
        inner: Role,
        /// Its path, as it was given.
        inner_path: PathBuf,
        /// What the outer one is for.
        outer: Role,
        /// Its path, as it was given.
        outer_path: PathBuf,
    },
    /// The upper and the work directory are not on one mount.
    #[error("the work directory {work:?} is on another mount than the upper directory {upper:?}")]
    Apart {
        /// The upper.
        upper: PathBuf,
        /// The work directory.
        work: PathBuf,
    },
    /// Nobody knows whether a lower's mount maps owners already.
    #[error(transparent)]
    Table(#[from] MountInfoError),
}

impl PlaceError {
    /// What to try.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoLower => "say -o lowerdir=DIR[:DIR...]".to_owned(),
            Self::NoWork(upper) => {
                format!("say -o workdir=DIR, an empty directory on the file system of {}", upper.display())
            }
            Self::Apart { .. } => "files are moved from one to the other, which needs one file system".to_owned(),
            Self::Inside { inner: Role::Mountpoint, outer: Role::Lower, .. } => {
                "without privilege the union would find itself in that lower; mount it beside, or on the lower itself"
                    .to_owned()
            }
            Self::Inside { .. } => "each needs a place of its own".to_owned(),
            Self::Closed { path, source, .. } if source.is_disconnected() => format!(
                "the server of what is mounted there has ended: `umount {0}`, or `fusermount3 -u {0}`",
                path.display()
            ),
            _ => return None,
        })
    }
}

/// A directory that is there.
struct Found {
    role: Role,
    /// As it was given.
    given: PathBuf,
    /// Absolute, without symlinks.
    path: PathBuf,
    /// Device and inode, of itself and of what it is inside of on its mount.
    inside_of: Vec<(u64, u64)>,
    /// The number of the mount that it is seen through.
    mount: u64,
}

impl Found {
    fn is(&self, other: &Self) -> bool {
        self.inside_of.first() == other.inside_of.first()
    }

    /// Whether it is inside of `other`, and not `other` itself.
    fn is_inside_of(&self, other: &Self) -> bool {
        other.inside_of.first().is_some_and(|other| self.inside_of.iter().skip(1).any(|outer| outer == other))
    }
}

/// Finds the directories, and refuses those that do not go together.
///
/// # Errors
/// [`PlaceError`]: the first that is wrong.
pub(crate) fn find(asked: &Asked, mountpoint: &Path) -> Result<Places, PlaceError> {
    let mountpoint = found(Role::Mountpoint, mountpoint)?;
    let mut lowers = Vec::with_capacity(asked.lowers.len());
    for lower in &asked.lowers {
        lowers.push(found(Role::Lower, lower)?);
    }
    let mut upper = asked.upper.as_deref().map(|upper| found(Role::Upper, upper)).transpose()?;
    let work = asked.work.as_deref().filter(|_| upper.is_some()).map(|work| found(Role::Work, work)).transpose()?;
    if work.is_none() && asked.view.is_read_only {
        // Nothing is written to it: it is one more lower.
        lowers.splice(0..0, upper.take());
    }
    if lowers.is_empty() {
        return Err(PlaceError::NoLower);
    }
    let upper = match (upper, work) {
        (Some(upper), Some(work)) => Some((upper, work)),
        (Some(upper), None) => return Err(PlaceError::NoWork(upper.given)),
        _ => None,
    };
    if let Some((upper, work)) = &upper {
        apart(upper, work)?;
        for lower in &lowers {
            apart(lower, upper)?;
            apart(lower, work)?;
        }
        apart(&mountpoint, upper)?;
        apart(&mountpoint, work)?;
        if upper.mount != work.mount {
            return Err(PlaceError::Apart { upper: upper.given.clone(), work: work.given.clone() });
        }
    }
    // A lower is looked at through a view of its mount without what is mounted below, where that may be made. Elsewhere the server
    // would come upon its own mount, and wait for itself.
    if !effective_caps().is_ok_and(|caps| caps.has(Caps::SYS_ADMIN)) {
        lowers.iter().try_for_each(|lower| not_inside(&mountpoint, lower))?;
    }
    let upper = upper.map(|(upper, work)| (upper.path, work.path));
    let lowers = if asked.owners.ids == Ids::default() {
        lowers.into_iter().map(|lower| lower.path).collect()
    } else {
        let table = mounts()?;
        lowers.into_iter().map(|lower| unmapped(lower, &table)).collect()
    };
    Ok(Places { lowers, upper, mountpoint: mountpoint.path })
}

/// Refuses two directories of which one is the other or inside of it.
fn apart(one: &Found, other: &Found) -> Result<(), PlaceError> {
    if one.is(other) {
        return Err(PlaceError::Same { one: one.role, other: other.role, path: one.given.clone() });
    }
    not_inside(one, other)?;
    not_inside(other, one)
}

fn not_inside(inner: &Found, outer: &Found) -> Result<(), PlaceError> {
    if inner.is_inside_of(outer) {
        return Err(PlaceError::Inside {
            inner: inner.role,
            inner_path: inner.given.clone(),
            outer: outer.role,
            outer_path: outer.given.clone(),
        });
    }
    Ok(())
}

/// The path of a lower as its file system has the owners, for a union that maps them.
///
/// podman asks for both: it shows a lower by an idmapped mount and names a map besides (containers/storage until 1.44, for
/// containers of root with a map). Mapped twice, nobody of the container would own anything.
fn unmapped(lower: Found, table: &[MountInfo]) -> PathBuf {
    original(&lower, table).unwrap_or(lower.path)
}

/// Where the same directory is to be seen by a mount that maps no owners; `None` where this one does not, or there is no other.
fn original(lower: &Found, table: &[MountInfo]) -> Option<PathBuf> {
    let maps = |mount: &MountInfo| mount.options.split(',').any(|option| option == "idmapped");
    let own = table.iter().find(|mount| mount.id == lower.mount).filter(|mount| maps(mount))?;
    let inside = own.root.join(lower.path.strip_prefix(&own.target).ok()?);
    let others = table.iter().filter(|mount| mount.device == own.device && !maps(mount));
    let paths = others.filter_map(|mount| {
        let path = mount.target.join(inside.strip_prefix(&mount.root).ok()?);
        // Something else may be mounted over it there.
        let place = open_place(&path).ok()?;
        let metadata = metadata_of(&place).ok()?;
        let is_same = lower.inside_of.first() == Some(&(metadata.dev, metadata.ino));
        (is_same && is_of_mount(&place, mount.id)).then_some(path)
    });
    { paths }.next()
}

/// Whether it is seen through the mount of this number; what cannot be asked is another's.
fn is_of_mount(place: impl AsFd, mount: u64) -> bool {
    mount_id(place).is_ok_and(|id| id == mount)
}

fn found(role: Role, given: &Path) -> Result<Found, PlaceError> {
    let refused = |source: SysError| match source.errno() {
        Errno::NOENT => PlaceError::Missing { role, path: given.to_owned() },
        Errno::NOTDIR => PlaceError::NoDirectory { role, path: given.to_owned() },
        _ => PlaceError::Closed { role, path: given.to_owned(), source },
    };
    let place = open_place(given).map_err(refused)?;
    let metadata = metadata_of(&place).map_err(refused)?;
    if metadata.kind != FileKind::Directory {
        return Err(PlaceError::NoDirectory { role, path: given.to_owned() });
    }
    // A mountpoint need not be readable, the others are read.
    if role != Role::Mountpoint {
        Dir::open(given).map_err(refused)?;
    }
    let path = match fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd())) {
        Ok(path) => path,
        // Without /proc the name has to do.
        Err(_) => std::path::absolute(given).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            refused(SysError::new("getcwd", "", errno))
        })?,
    };
    let mount = mount_id(&place).map_err(refused)?;
    let mut inside_of = vec![(metadata.dev, metadata.ino)];
    for outer in path.ancestors().skip(1) {
        // What cannot be looked at is not one of ours either.
        let Ok(outer) = open_place(outer) else { break };
        if !is_of_mount(&outer, mount) {
            break;
        }
        let Ok(metadata) = metadata_of(&outer) else { break };
        inside_of.push((metadata.dev, metadata.ino));
    }
    Ok(Found { role, given: given.to_owned(), path, inside_of, mount })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use mica_testkit::{Scratch, in_mount_namespace, needs};

    use super::*;

    /// Directories `a`, `b`, `c`, `m`, `u` and `w` with `in` in each; a file `f`, and a symlink `l` to `a`.
    fn place() -> Scratch {
        let scratch = Scratch::new();
        for name in ["a", "b", "c", "m", "u", "w"] {
            assert!(scratch.make(format!("{name}/in")).exists());
        }
        fs::write(scratch.path().join("f"), "").unwrap();
        symlink("a", scratch.path().join("l")).unwrap();
        scratch
    }

    /// What comes of these, each a path in the place; the upper and the work directory may be empty.
    fn tried(place: &Scratch, lowers: &[&str], upper: &str, work: &str, mountpoint: &str) -> Result<Places, String> {
        let at = |name: &str| place.path().join(name);
        let some = |name: &str| (!name.is_empty()).then(|| at(name));
        let lowers = lowers.iter().map(|lower| at(lower)).collect();
        let asked = Asked { lowers, upper: some(upper), work: some(work), ..Asked::default() };
        let here = format!("{}/", place.path().display());
        find(&asked, &at(mountpoint)).map_err(|error| error.to_string().replace(&here, ""))
    }

    #[test]
    fn what_goes_together_is_found_by_its_full_path() {
        let place = place();
        let at = |name: &str| place.path().join(name);
        let places = tried(&place, &["b", "l/in/..", "b/in"], "u", "w", "m").unwrap();
        assert_eq!(places.lowers, [at("b"), at("a"), at("b/in")]);
        assert_eq!(places.upper, Some((at("u"), at("w"))));
        assert_eq!(places.mountpoint, at("m"));
        // Over its own lower, as an overlay of /etc on /etc is.
        tried(&place, &["a"], "u", "w", "a").unwrap();
        assert_eq!(tried(&place, &["a", "a"], "", "w", "m").unwrap().upper, None);
    }

    #[test]
    fn an_upper_that_nothing_is_written_to_is_the_topmost_lower() {
        let place = place();
        let at = |name: &str| place.path().join(name);
        let mut asked = Asked { lowers: vec![at("a")], upper: Some(at("u")), ..Asked::default() };
        asked.view.is_read_only = true;
        let places = find(&asked, &at("m")).unwrap();
        assert_eq!((places.lowers, places.upper), (vec![at("u"), at("a")], None));
    }

    #[test]
    fn what_does_not_go_together_is_said_by_name() {
        let place = place();
        for (lowers, upper, work, mountpoint, wrong) in [
            (&[][..], "u", "w", "m", "no lower directory is given"),
            (&[], "", "", "m", "no lower directory is given"),
            (&["a"], "u", "", "m", r#"the upper directory "u" has no work directory"#),
            (&["none"], "u", "w", "m", r#"the lower directory "none" is not there"#),
            (&["a"], "none", "w", "m", r#"the upper directory "none" is not there"#),
            (&["a"], "u", "none", "m", r#"the work directory "none" is not there"#),
            (&["a"], "u", "w", "none", r#"the mountpoint "none" is not there"#),
            (&["f"], "u", "w", "m", r#"the lower directory "f" is no directory"#),
            (&["f/in"], "u", "w", "m", r#"the lower directory "f/in" is no directory"#),
            (&["a"], "u", "w", "f", r#"the mountpoint "f" is no directory"#),
            (&["a"], "u", "u", "m", r#"the upper directory "u" is the work directory, too"#),
            (&["a", "l"], "a", "w", "m", r#"the lower directory "a" is the upper directory, too"#),
            (&["l"], "a", "w", "m", r#"the lower directory "l" is the upper directory, too"#),
            (&["a"], "u", "a", "m", r#"the lower directory "a" is the work directory, too"#),
            (&["a"], "u", "w", "w", r#"the mountpoint "w" is the work directory, too"#),
            (&["a"], "u", "u/in", "m", r#"the work directory "u/in" is inside of the upper directory "u""#),
            (&["a"], "u/in", "u", "m", r#"the upper directory "u/in" is inside of the work directory "u""#),
            (&["a"], "a/in", "w", "m", r#"the upper directory "a/in" is inside of the lower directory "a""#),
            (&["u/in"], "u", "w", "m", r#"the lower directory "u/in" is inside of the upper directory "u""#),
            (&["l"], "u", "a/in", "m", r#"the work directory "a/in" is inside of the lower directory "l""#),
            (&["a"], "u", "w", "u/in", r#"the mountpoint "u/in" is inside of the upper directory "u""#),
        ] {
            assert_eq!(tried(&place, lowers, upper, work, mountpoint).unwrap_err(), wrong);
        }
    }

    #[test]
    fn what_is_on_another_mount_is_not_inside() {
        needs!(root);
        in_mount_namespace(|| {
            let place = place();
            let tmpfs = place.tmpfs("a/in/other", "size=1m");
            fs::create_dir(tmpfs.join("u")).unwrap();
            fs::create_dir(tmpfs.join("w")).unwrap();
            tried(&place, &["a"], "a/in/other/u", "a/in/other/w", "m").unwrap();
            // The server looks at a lower without what is mounted in it, itself included.
            tried(&place, &["a"], "a/in/other/u", "a/in/other/w", "a/in").unwrap();
            assert_eq!(
                tried(&place, &["a"], "a/in/other/u", "w", "m").unwrap_err(),
                r#"the work directory "w" is on another mount than the upper directory "a/in/other/u""#
            );
        });
    }
}
