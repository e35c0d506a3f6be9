//! Opening an upper: whose it is, what is left from before, what its file system keeps.
//!
//! ```text
//!   upper/                     locked (flock) while it is open
//!   work/                      locked too
//!     fuse/                    temporary files of plans; removed with all that a crash left in it, and made anew
//!     joining/                 files that have lost all their names that are known ([`super::keep`])
//!     work/incompat/volatile/  the kernel's word for an upper of which not all may be on disk
//! ```

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use mica_core::plan::Features;
use mica_layer::{Ability, Ids, Marks};
use mica_sys::process::{FsIds, IdRow, effective_gid, effective_uid, id_maps, in_initial_user_namespace, umask};
use mica_sys::{Dir, Errno, FileKind, Subject, SysError};

use super::{Carrier, KEPT, Whiteouts};
use crate::overlay::is_upper_in_use;
use crate::{Records, Role, UnionError, UpperDirs};

/// The driver's directory in `work`.
const OWN: &[u8] = b"fuse";

/// Where overlayfs says that an upper was mounted volatile (`ovl_create_volatile_dirty`, Linux 5.10).
const VOLATILE: [&[u8]; 3] = [b"work", b"incompat", b"volatile"];

/// How an upper is opened.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    /// What errors call the driver.
    pub(crate) driver: &'static str,
    /// The directories.
    pub(crate) dirs: &'a UpperDirs,
    /// How the upper says what it says.
    pub(crate) marks: Marks,
    /// What can be put on its disk.
    pub(crate) ability: Ability,
    /// Where owners and modes are.
    pub(crate) records: Records,
    /// Which marks may be written.
    pub(crate) features: Features,
    /// The upper may have been written by fuse-overlayfs, which says some things by names.
    pub(crate) foreign: bool,
}

/// What this process can put on disk: all as root of the machine, else the IDs of its user namespace.
///
/// # Errors
/// Of reading what the kernel says of this process.
pub(crate) fn ability_here() -> Result<Ability, SysError> {
    if in_initial_user_namespace()? {
        return Ok(match effective_uid() {
            0 => Ability::native(),
            uid => Ability::namespaced(Ids::Mapped(vec![(uid, 1)]), Ids::Mapped(vec![(effective_gid(), 1)])),
        });
    }
    let maps = id_maps()?;
    let ids = |rows: &[IdRow]| Ids::Mapped(rows.iter().map(|row| (row.inside, row.count)).collect());
    Ok(Ability::namespaced(ids(&maps.uids), ids(&maps.gids)))
}

impl Carrier {
    /// Opens an upper for one mount.
    ///
    /// # Errors
    /// [`UnionError`]: a directory that cannot be used, and why. Nothing in the upper is changed, unless it is a foreign one.
    pub(crate) fn open(opening: Opening<'_>) -> Result<Self, UnionError> {
        let Opening { driver, dirs, marks, ability, records, features, foreign } = opening;
        let upper = open(driver, Role::Upper, &dirs.upper)?;
        let base = open(driver, Role::Work, &dirs.work)?;
        let in_work = |source| UnionError::Work { driver, work: dirs.work.clone(), source };
        let places = || (dirs.upper.clone(), dirs.work.clone());
        if !are_apart(&upper, &base).map_err(in_work)? {
            let (upper, work) = places();
            return Err(UnionError::NotApart { driver, upper, work });
        }
        for (role, dir, path) in [(Role::Upper, &upper, &dirs.upper), (Role::Work, &base, &dirs.work)] {
            let is_ours = take(dir).map_err(|source| UnionError::Open { driver, role, source })?;
            // Where nothing can be asked of overlayfs, it has nothing mounted that this process could disturb.
            let is_kernels = role == Role::Upper && is_upper_in_use(path, marks).unwrap_or(false);
            if !is_ours || is_kernels {
                return Err(UnionError::InUse { driver, role, path: path.clone() });
            }
        }
        if was_volatile(&base).map_err(in_work)? {
            return Err(UnionError::WasVolatile { driver, upper: dirs.upper.clone() });
        }
        if !is_one_mount(&base, &upper).map_err(in_work)? {
            let (upper, work) = places();
            return Err(UnionError::WorkElsewhere { driver, upper, work });
        }
        base.remove_tree(OWN).map_err(in_work)?;
        base.mkdir(OWN, 0o700).map_err(in_work)?;
        let work = base.open_dir(OWN).map_err(in_work)?;
        // What is made in it gets nothing from it, as a default access control list would give.
        for attribute in work.list_own_xattrs().map_err(in_work)? {
            if attribute.starts_with(b"system.posix_acl_") {
                work.remove_own_xattr(&attribute).map_err(in_work)?;
            }
        }
        try_mark(&work, marks).map_err(|source| UnionError::NoMarks {
            driver,
            upper: dirs.upper.clone(),
            prefix: std::str::from_utf8(marks.prefix()).unwrap_or_default(),
            source,
        })?;
        if let Some(record) = records.tried() {
            records.set(&Subject::dir(&work), record).map_err(|source| UnionError::NoMarks {
                driver,
                upper: dirs.upper.clone(),
                prefix: if records == Records::Security { "security." } else { "user." },
                source,
            })?;
        }
        let (whiteouts, given) = try_whiteout(&work).map_err(in_work)?;
        let keeps = base.stat_if_there(KEPT).map_err(in_work)?.is_some();
        let carrier = Self {
            upper,
            base,
            work,
            marks,
            ability,
            records,
            features,
            volatile: dirs.volatile,
            whiteouts,
            umask: umask().map_err(in_work)?,
            ids: FsIds::current(),
            given,
            serial: AtomicU64::new(0),
            says_joins: AtomicBool::new(false),
            keeps: AtomicBool::new(keeps),
        };
        if foreign {
            carrier.adopt().map_err(|source| UnionError::Open { driver, role: Role::Upper, source })?;
        }
        Ok(carrier)
    }

    /// Says on disk that the upper is written to from here on without reaching it. Who only looks whether it can be mounted does not call this.
    pub(crate) fn begin(&self) -> Result<(), SysError> {
        if self.volatile { say_volatile(&self.base) } else { Ok(()) }
    }
}

/// How long a directory is waited for that another server has: one whose mount is gone holds it for a moment longer, while it ends.
const PATIENCE: Duration = Duration::from_secs(5);

/// Locks a directory; `false` where somebody else has it and keeps it.
fn take(dir: &Dir) -> Result<bool, SysError> {
    let since = Instant::now();
    while !dir.try_lock()? {
        if since.elapsed() > PATIENCE {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(true)
}

fn open(driver: &'static str, role: Role, path: &Path) -> Result<Dir, UnionError> {
    Dir::open(path).map_err(|source| UnionError::Open { driver, role, source })
}

/// Whether neither is the other, or in it.
fn are_apart(upper: &Dir, work: &Dir) -> Result<bool, SysError> {
    Ok(!is_at_or_above(upper, work)? && !is_at_or_above(work, upper)?)
}

/// Whether `above` is met on the way from `dir` to the root.
fn is_at_or_above(above: &Dir, dir: &Dir) -> Result<bool, SysError> {
    let wanted = above.metadata()?;
    let mut at = dir.try_clone()?;
    let mut here = at.metadata()?;
    loop {
        if (here.dev, here.ino) == (wanted.dev, wanted.ino) {
            return Ok(true);
        }
        let parent = at.open_parent()?;
        let next = parent.metadata()?;
        if (next.dev, next.ino) == (here.dev, here.ino) {
            return Ok(false);
        }
        (at, here) = (parent, next);
    }
}

/// Whether things can be renamed from one to the other. A name that is not there is tried: the kernel looks at the mounts before the names
/// (`do_renameat2`, Linux 6.18).
fn is_one_mount(work: &Dir, upper: &Dir) -> Result<bool, SysError> {
    const NONE: &[u8] = b".mica-no-such-name";
    match work.rename_noreplace(NONE, upper, NONE) {
        Err(error) if error.errno() == Errno::XDEV => Ok(false),
        Err(error) if error.is_not_found() => Ok(true),
        tried => tried.map(|()| true),
    }
}

fn try_mark(work: &Dir, marks: Marks) -> Result<(), SysError> {
    work.set_own_xattr(marks.origin(), b"")?;
    work.remove_own_xattr(marks.origin())
}

/// How whiteouts can be kept, and the owner that is given to what is made: the directory and its mount have a say in the group.
fn try_whiteout(work: &Dir) -> Result<(Whiteouts, (u32, u32)), SysError> {
    const TRIED: &[u8] = b"tried";
    let whiteouts = match work.mknod(TRIED, FileKind::CharDevice, 0, 0, 0) {
        Ok(()) => Whiteouts::Devices,
        Err(error) if error.errno() == Errno::PERM => {
            work.create_file(TRIED, 0)?;
            Whiteouts::Files
        }
        Err(error) => return Err(error),
    };
    let found = work.stat(TRIED)?;
    work.unlink(TRIED)?;
    Ok((whiteouts, (found.uid, found.gid)))
}

fn was_volatile(base: &Dir) -> Result<bool, SysError> {
    Ok(base.open_dir_if_there(&VOLATILE.join(&b'/'))?.is_some())
}

fn say_volatile(base: &Dir) -> Result<(), SysError> {
    let mut dir = base.try_clone()?;
    for name in VOLATILE {
        dir = dir.ensure_dir(name, 0o700)?;
    }
    Ok(())
}
