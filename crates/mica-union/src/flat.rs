//! A copy of the stack as a driver: for places where nothing else works.
//!
//! ```text
//!   lowers, upper  --copy-->  work/flat/tree  --open_tree-->  Mounted
//!         upper    <--settle--      |
//! ```
//!
//! The tree is made at the first mount and kept. What is written to it reaches the upper by [`Driver::settle`], as a
//! changeset like any other driver's; until then the upper is as it was. `docs/design/0005-flat.md` has the rules and
//! what every failure leaves.

use std::path::{Path, PathBuf};

use mica_core::{RelPath, Stack};
use mica_layer::{DirLayer, LayerError, Marks};
use mica_sys::mount::{FsContext, Mount, MountAttrFlags, Reach, SetAttrs};
use mica_sys::{Dir, Errno};

use crate::{Driver, Mounted, Role, Support, UnionDirs, UnionError, UpperDirs};

mod build;
mod copy;
mod home;
mod layers;
mod make;
mod manifest;
mod same;
mod scan;

use home::{Home, Work};
use layers::Layers;

pub(crate) const NAME: &str = "flat";

/// How often a tree that changes all the time is looked at.
const TRIES: u32 = 8;

/// A driver that copies.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flat {
    marks: Marks,
}

impl Flat {
    /// A driver that probes with [`Marks::Trusted`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, probing with these marks. Mounting goes by [`UnionDirs::marks`].
    #[must_use]
    pub const fn probing(self, marks: Marks) -> Self {
        Self { marks }
    }
}

impl Driver for Flat {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self, scratch: &Path) -> Support {
        // What is thrown away need not be flushed; it works no other way.
        crate::probe::probe(self, self.marks, scratch, true)
    }

    fn mount(&self, dirs: &UnionDirs) -> Result<Mounted, UnionError> {
        let layers = Layers::open(dirs)?;
        let Some(upper) = &dirs.upper else { return show_copy(layers) };
        let work = Work::open(upper)?;
        let home = match usable(&work, &layers, dirs, upper)? {
            Some(home) => home,
            None => {
                let layers = layers.without_mounts();
                work.make_tree(|tree, own| copy::copy(&layers, tree, own))?
            }
        };
        show_tree(&home.dir)
    }

    fn settle(&self, dirs: &UnionDirs) -> Result<(), UnionError> {
        let Some(upper) = &dirs.upper else { return Ok(()) };
        let Some(work) = Work::open_if_there(upper)? else { return Ok(()) };
        let opened = open_upper(upper)?;
        let ino = opened.metadata().map_err(upper_refused)?.ino;
        let Some(home) = work.home(ino)? else { return Ok(()) };
        let known = is_known(&home, &opened, ino, dirs.marks)?;
        for _ in 1..TRIES {
            match settle(&work, &home, dirs, upper, known) {
                Err(UnionError::Changing { .. }) => {}
                settled => return settled,
            }
        }
        settle(&work, &home, dirs, upper, known)
    }

    fn taken(&self, upper: &UpperDirs) -> Result<u64, UnionError> {
        Work::open_if_there(upper)?.map_or(Ok(0), |work| work.taken())
    }
}

fn upper_refused(source: mica_sys::SysError) -> UnionError {
    UnionError::Open { driver: NAME, role: Role::Upper, source }
}

fn open_upper(upper: &UpperDirs) -> Result<Dir, UnionError> {
    Dir::open(&upper.upper).map_err(upper_refused)
}

fn reading(role: Role, path: &RelPath) -> impl Fn(LayerError) -> UnionError + '_ {
    move |source| UnionError::Read { driver: NAME, role, path: path.clone(), source: Box::new(source) }
}

/// Whether the upper is the one that the manifest was written with.
fn is_known(home: &Home, upper: &Dir, ino: u64, marks: Marks) -> Result<bool, UnionError> {
    let recorded = &home.manifest.upper_root;
    if recorded.ino != ino || recorded.attrs != layers::root_of(upper, marks)? {
        return Ok(false);
    }
    home::is_as_recorded(&home.manifest, upper)
}

/// The tree that stands, if it is a tree of these layers and this upper. One that is not and has nothing of its own is
/// thrown away.
fn usable(work: &Work, layers: &Layers, dirs: &UnionDirs, upper: &UpperDirs) -> Result<Option<Home>, UnionError> {
    let opened = open_upper(upper)?;
    let ino = opened.metadata().map_err(upper_refused)?.ino;
    let Some(home) = work.home(ino)? else { return Ok(None) };
    if home.manifest.lowers == layers.lowers() && is_known(&home, &opened, ino, dirs.marks)? {
        return Ok(Some(home));
    }
    if scan(work, &home, dirs)?.1.changed {
        return Err(UnionError::Diverged { driver: NAME, upper: upper.upper.clone() });
    }
    work.discard()?;
    Ok(None)
}

/// The tree, and what it says.
fn scan(work: &Work, home: &Home, dirs: &UnionDirs) -> Result<(Dir, scan::Scanned), UnionError> {
    let tree = home.dir.open_dir(home::TREE).map_err(|source| UnionError::Settle {
        driver: NAME,
        path: RelPath::root(),
        source,
    })?;
    let clock = work.tick()?;
    let is_below = |path: &RelPath| same::is_below(path, &tree, dirs);
    let scanned = scan::scan(&tree, &home.manifest, clock, &is_below)?;
    Ok((tree, scanned))
}

fn settle(work: &Work, home: &Home, dirs: &UnionDirs, upper: &UpperDirs, known: bool) -> Result<(), UnionError> {
    let (tree, mut scanned) = scan(work, home, dirs)?;
    if !scanned.changed {
        return Ok(());
    }
    if !known {
        return Err(UnionError::Diverged { driver: NAME, upper: upper.upper.clone() });
    }
    work.make_upper(home, &upper.upper, |new| {
        build::build(&mut scanned, &tree, new, dirs.marks)?;
        Ok(std::mem::take(&mut scanned.manifest))
    })
}

/// A union without an upper: a copy that goes with its descriptor.
fn show_copy(layers: Layers) -> Result<Mounted, UnionError> {
    let refused = |source| UnionError::Kernel { driver: NAME, cause: None, source };
    let tmpfs = FsContext::open("tmpfs").map_err(refused)?;
    tmpfs.string("mode", b"0700").map_err(refused)?;
    let mount = tmpfs.create(MountAttrFlags::empty()).map_err(refused)?;
    let tree = mount.open_root().map_err(UnionError::Use)?;
    copy::copy(&layers.without_mounts(), &tree, &tree)?;
    drop(tree);
    Mounted::new(mount).read_only()
}

/// A clone of the mount at the tree.
fn show_tree(home: &Dir) -> Result<Mounted, UnionError> {
    let name = PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(home::TREE));
    let mount = Mount::clone_at(home, &name, Reach::One).map_err(UnionError::Use)?;
    let restrictions =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    match mount.set_attrs(&SetAttrs { clear: restrictions, ..SetAttrs::default() }, Reach::One) {
        // In a user namespace what the owner of the mount set stays: set-uid programs of the tree run as their caller.
        Err(error) if error.errno() == Errno::PERM => {}
        set => set.map_err(UnionError::Use)?,
    }
    Ok(Mounted::new(mount))
}

/// The lowers, asked as layers.
fn lowers(dirs: &UnionDirs) -> Result<Stack<DirLayer>, UnionError> {
    let open = |(number, path): (usize, &PathBuf)| {
        let refused = |source| UnionError::Open { driver: NAME, role: Role::Lower(number + 1), source };
        Ok(DirLayer::new(Dir::open(path).map_err(refused)?, dirs.marks))
    };
    dirs.lowers.iter().enumerate().map(open).collect::<Result<Vec<_>, _>>().map(Stack::new)
}
