//! The kernel's overlayfs as a driver.
//!
//! It is set up by fsopen(2): each layer is handed over by itself, as a descriptor, so that neither the length of a mount
//! option nor any byte of a path matters. Every option whose default a kernel's build or a module parameter could change
//! is given explicitly, so that an upper holds the same marks on every machine; `docs/design/0002-overlay-driver.md`
//! tells why each is as it is.
//!
//! Needs Linux 6.8 (`lowerdir+`).

use std::path::{Path, PathBuf};

use mica_layer::Marks;
use mica_sys::mount::{FsContext, Mount, MountAttrFlags, MountError};
use mica_sys::{Dir, Errno};

use crate::{Driver, Mounted, Role, Support, UnionDirs, UnionError};

mod cause;
mod in_use;
mod layers;

pub use cause::Cause;
pub use in_use::is_upper_in_use;
use layers::{Layer, Layers, Naming};

/// How many lowers overlayfs takes (`OVL_MAX_STACK`).
pub const MAX_LOWERS: usize = 500;

/// Lowers that may come beside an image's: what an engine lays under every image, and what a store lays over some.
const BESIDE: usize = 2;

pub(crate) const NAME: &str = "overlay";

/// The kernel's overlayfs.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    marks: Marks,
    empty: Option<PathBuf>,
}

impl Overlay {
    /// A driver that probes with [`Marks::Trusted`] and takes an empty tmpfs where it needs an empty lower.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, probing with these marks. Mounting goes by [`UnionDirs::marks`].
    #[must_use]
    pub fn probing(self, marks: Marks) -> Self {
        Self { marks, ..self }
    }

    /// The same, with a directory that is and stays empty as the lower of stacks that have none, or that have a single
    /// one and no upper. Without it a detached tmpfs serves, which overlayfs accepts as a layer since Linux 6.15.
    #[must_use]
    pub fn with_empty_dir(self, empty: PathBuf) -> Self {
        Self { empty: Some(empty), ..self }
    }

    fn mount_named(&self, dirs: &UnionDirs, naming: Naming) -> Result<Mounted, UnionError> {
        let mut layers = Layers::open(dirs)?;
        let count = layers.lowers.len();
        let too_many = || UnionError::TooManyLowers { driver: NAME, count, limit: MAX_LOWERS };
        if count > MAX_LOWERS + BESIDE {
            return Err(too_many());
        }
        let is_nested = count > MAX_LOWERS;
        if is_nested {
            // The lowest few are shown as one. Not all, since a union of unions is as deep as the kernel goes.
            let lowest = Layers { lowers: layers.lowers.split_off(MAX_LOWERS - 1), upper: None };
            let union = mount_layers(&lowest, dirs.marks, false, naming)?;
            layers.lowers.push(Layer::held(Role::Lower(MAX_LOWERS), "(the lowest layers)", union)?);
        }
        // overlayfs wants two layers, of which an upper may be one.
        if layers.lowers.len() + usize::from(layers.upper.is_some()) < 2 {
            layers.lowers.push(self.empty_lower()?);
        }
        // A union of nothing: one empty directory twice would be one directory overlapping itself.
        if layers.lowers.len() < 2 && layers.upper.is_none() {
            layers.lowers.push(Layer::new_tmpfs()?);
        }
        let volatile = dirs.upper.as_ref().is_some_and(|upper| upper.volatile);
        match mount_layers(&layers, dirs.marks, volatile, naming) {
            // Until Linux 6.15 a mount that is attached nowhere is no layer.
            Err(UnionError::Mount { .. } | UnionError::Kernel { .. }) if is_nested => Err(too_many()),
            mounted => mounted.map(Mounted::new),
        }
    }

    fn empty_lower(&self) -> Result<Layer, UnionError> {
        match &self.empty {
            Some(path) => Layer::open(Role::Empty, path),
            None => Layer::new_tmpfs(),
        }
    }
}

impl Driver for Overlay {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self, scratch: &Path) -> Support {
        crate::probe::probe(self, self.marks, scratch, false)
    }

    fn mount(&self, dirs: &UnionDirs) -> Result<Mounted, UnionError> {
        self.mount_named(dirs, Naming::Descriptor)
    }
}

/// Options that are the same for every union.
const FIXED: [(&str, &str); 6] = [
    // What tools show as the device.
    ("source", "mica"),
    // No directory of an upper stands for one elsewhere, whoever wrote the mark.
    ("redirect_dir", "nofollow"),
    // No file of an upper lacks its data.
    ("metacopy", "off"),
    // No upper depends on the inode numbers of its lowers: a store can be copied and restored.
    ("index", "off"),
    // Needs the index.
    ("nfs_export", "off"),
    // One device number, and inode numbers that stay, where the layers' own numbers leave room.
    ("xino", "auto"),
];

fn mount_layers(layers: &Layers, marks: Marks, volatile: bool, naming: Naming) -> Result<Mount, UnionError> {
    let overlay = FsContext::open("overlay").map_err(|source| refused(layers, source))?;
    for (key, value) in FIXED {
        overlay.string(key, value.as_bytes()).map_err(|source| refused(layers, source))?;
    }
    for (key, wanted) in [("userxattr", marks == Marks::User), ("volatile", volatile)] {
        if wanted {
            overlay.flag(key).map_err(|source| refused(layers, source))?;
        }
    }
    let mut naming = naming;
    for layer in &layers.lowers {
        naming = layer.give("lowerdir+", &overlay, naming)?;
    }
    let mut attrs = MountAttrFlags::MOUNT_ATTR_RDONLY;
    if let Some((upper, work)) = &layers.upper {
        naming = upper.give("upperdir", &overlay, naming)?;
        work.give("workdir", &overlay, naming)?;
        attrs = MountAttrFlags::empty();
    }
    overlay.create(attrs).map_err(|source| match layers.subject() {
        Some(layer) => UnionError::Mount {
            driver: NAME,
            role: layer.role,
            path: layer.path.clone(),
            cause: cause::of_stack(layers, &source),
            source,
        },
        None => refused(layers, source),
    })
}

fn refused(layers: &Layers, source: MountError) -> UnionError {
    UnionError::Kernel { driver: NAME, cause: cause::of_stack(layers, &source), source }
}

/// A file system that holds nothing and goes when its descriptor does.
fn tmpfs() -> Result<Mount, MountError> {
    let tmpfs = FsContext::open("tmpfs")?;
    tmpfs.string("mode", b"0755")?;
    tmpfs.create(MountAttrFlags::MOUNT_ATTR_RDONLY)
}

fn open(role: Role, path: &Path) -> Result<Dir, UnionError> {
    Dir::open(path).map_err(|source| UnionError::Open { driver: NAME, role, source })
}

/// Whether a kernel answers so to a way of naming a layer that it does not know.
const fn is_unknown(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::BADF)
}

#[cfg(test)]
mod tests;
