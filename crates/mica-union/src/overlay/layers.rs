//! The open directories of a union, on their way to the kernel.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use mica_layer::Marks;
use mica_sys::mount::{FsContext, Mount, MountError};
use mica_sys::{Dir, SysError};

use super::{NAME, cause, is_unknown, open, tmpfs};
use crate::{Role, UnionDirs, UnionError};

/// How a layer is named to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// By its descriptor (Linux 6.13).
    Descriptor,
    /// By the path of its descriptor in `/proc`: short, and without a byte that would need escaping in `upperdir`. The
    /// table of mounts then shows that path instead of the directory's own.
    ProcPath,
}

/// One directory.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) role: Role,
    pub(super) path: PathBuf,
    pub(super) dir: Dir,
    /// A detached mount that `dir` is in: closing its descriptor takes it down, and then it is no layer any more.
    _held: Option<Mount>,
}

impl Layer {
    pub(super) fn open(role: Role, path: &Path) -> Result<Self, UnionError> {
        Ok(Self { role, path: path.to_owned(), dir: open(role, path)?, _held: None })
    }

    pub(super) fn new_tmpfs() -> Result<Self, UnionError> {
        let mount =
            tmpfs().map_err(|source| UnionError::Kernel { driver: NAME, cause: cause::of_call(&source), source })?;
        Self::held(Role::Empty, "(tmpfs)", mount)
    }

    /// The root of a mount that is attached nowhere; `name` stands for its path.
    pub(super) fn held(role: Role, name: &str, mount: Mount) -> Result<Self, UnionError> {
        let dir = mount.open_root().map_err(|source| UnionError::Open { driver: NAME, role, source })?;
        Ok(Self { role, path: PathBuf::from(name), dir, _held: Some(mount) })
    }

    fn hides_all_below(&self, marks: Marks) -> Result<bool, UnionError> {
        let mark = self.dir.get_own_xattr(marks.opaque()).map_err(self.refused())?;
        Ok(mark.as_deref() == Some(b"y"))
    }

    fn refused(&self) -> impl FnOnce(SysError) -> UnionError {
        let role = self.role;
        move |source| UnionError::Open { driver: NAME, role, source }
    }

    /// Hands the layer over; gives the way in which the next is best named.
    pub(super) fn give(&self, key: &str, overlay: &FsContext, naming: Naming) -> Result<Naming, UnionError> {
        let mut naming = naming;
        let mut given = match naming {
            Naming::Descriptor => overlay.fd(key, &self.dir),
            Naming::ProcPath => self.give_path(key, overlay),
        };
        if naming == Naming::Descriptor && given.as_ref().is_err_and(|error| is_unknown(error.error().errno())) {
            naming = Naming::ProcPath;
            given = self.give_path(key, overlay);
        }
        given.map(|()| naming).map_err(|source| UnionError::Mount {
            driver: NAME,
            role: self.role,
            path: self.path.clone(),
            cause: cause::of_layer(self, &source),
            source,
        })
    }

    fn give_path(&self, key: &str, overlay: &FsContext) -> Result<(), MountError> {
        let path = format!("/proc/self/fd/{}", self.dir.as_fd().as_raw_fd());
        overlay.string(key, path.as_bytes())
    }
}

/// All directories of a union, open.
#[derive(Debug)]
pub(super) struct Layers {
    /// Topmost first, each once.
    pub(super) lowers: Vec<Layer>,
    /// Upper and work.
    pub(super) upper: Option<(Layer, Layer)>,
}

impl Layers {
    /// Opens the directories. One that comes twice, under whatever path, is kept at its topmost place. What is below a
    /// layer whose root is opaque is left out: overlayfs heeds the mark on every directory but the root.
    pub(super) fn open(dirs: &UnionDirs) -> Result<Self, UnionError> {
        let upper = match &dirs.upper {
            Some(upper) => Some((Layer::open(Role::Upper, &upper.upper)?, Layer::open(Role::Work, &upper.work)?)),
            None => None,
        };
        let mut layers = Self { lowers: Vec::with_capacity(dirs.lowers.len()), upper };
        if let Some((upper, _)) = &layers.upper
            && upper.hides_all_below(dirs.marks)?
        {
            return Ok(layers);
        }
        let mut seen = BTreeSet::new();
        for (number, path) in dirs.lowers.iter().enumerate() {
            let layer = Layer::open(Role::Lower(number + 1), path)?;
            let metadata = layer.dir.metadata().map_err(layer.refused())?;
            if !seen.insert((metadata.dev, metadata.ino)) {
                continue;
            }
            let last = layer.hides_all_below(dirs.marks)?;
            layers.lowers.push(layer);
            if last {
                break;
            }
        }
        Ok(layers)
    }

    /// The directory that names the union in errors.
    pub(super) fn subject(&self) -> Option<&Layer> {
        self.upper.as_ref().map(|(upper, _)| upper).or_else(|| self.lowers.first())
    }
}
