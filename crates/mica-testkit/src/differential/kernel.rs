//! What the kernel's overlayfs reads in an upper that another driver wrote: the judge of marks that a changeset has none of.

use std::path::{Path, PathBuf};

use mica_core::Rdev;
use mica_layer::Marks;
use mica_sys::Dir;
use mica_sys::mount::{FsContext, MountAttrFlags, MountError};

use super::compare::Flat;
use crate::{Tree, What};

/// The upper over its lowers, as overlayfs shows them read-only: it follows redirects, and finds the content of files that came up
/// without. For [`Marks::Trusted`] alone, since it does neither with a user's.
pub(super) fn read(upper: &Path, lowers: &[PathBuf]) -> Result<Tree, MountError> {
    let overlay = FsContext::open("overlay")?;
    for (key, value) in [("redirect_dir", "follow"), ("metacopy", "on"), ("index", "off"), ("xino", "off")] {
        overlay.string(key, value.as_bytes())?;
    }
    for layer in [upper].into_iter().chain(lowers.iter().map(PathBuf::as_path)) {
        let layer = Dir::open(layer).expect("a layer opens");
        overlay.fd("lowerdir+", &layer)?;
        // overlayfs asks no root of a layer whether it is opaque: who mounts leaves out what is below.
        if layer.get_own_xattr(Marks::Trusted.opaque()).expect("its attributes").is_some_and(|value| value == b"y") {
            break;
        }
    }
    let root = overlay.create(MountAttrFlags::MOUNT_ATTR_RDONLY)?.open_root().expect("the kernel's view opens");
    Ok(Tree::read_dir(&root))
}

/// Makes devices of what overlayfs shows as the empty files that stand for them, where a device is wanted and `upper` or a lower says so.
pub(super) fn restore(found: &mut Flat, wanted: &Flat, marks: Marks, layers: &[&Path]) {
    let stands_for_a_device = |path: &mica_core::RelPath| {
        layers.iter().any(|layer| {
            let Some((parent, name)) = path.split() else { return false };
            let dir = Dir::open(layer).and_then(|dir| dir.open_dir_in_root(parent.as_bytes()));
            dir.is_ok_and(|dir| dir.get_xattr(name.as_bytes(), marks.device_zero()).is_ok_and(|value| value.is_some()))
        })
    };
    let zero = What::Char(Rdev::default());
    for (path, _) in wanted.tree.iter().filter(|(_, entry)| entry.what == zero) {
        let Some(entry) = found.tree.get(path).filter(|entry| entry.what == What::File(Vec::new())).cloned() else {
            continue;
        };
        if stands_for_a_device(path) {
            found.tree.put(path.clone(), crate::Entry { what: zero.clone(), ..entry });
        }
    }
}
