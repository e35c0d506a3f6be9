//! Where a driver is known not to do what a plain directory does: the one table of them, with the reasons.
//!
//! What is here is expected and counted, and a divergence that is no more met fails the test: the table is never longer
//! than the truth. Whatever is not here fails at once.

use mica_layer::Marks;
use mica_sys::Errno;

use super::model::Model;
use super::op::{How, Node, Op};

/// A way to differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Divergence {
    /// A directory that a lower has is not renamed: `EXDEV`. Nobody renames it then, and all do as mv(1).
    DirectoryStays,
    /// Names of one lower file become files of their own, each at the first change. The plain directory's are parted
    /// before.
    LinksPart,
    /// An access control list that is not there is not removed from a file of a lower: `ENODATA`. Elsewhere that does
    /// nothing; nobody does it then.
    NoListToRemove,
    /// A device 0:0 is not made: `EPERM`. Nobody makes it then.
    NoDeviceZero,
    /// A rename that leaves a device 0:0 behind is refused: `EINVAL`. Nobody does it then.
    NoWhiteoutRename,
    /// Two names that an upper's file got after it was copied up may show different inode numbers, and renaming one to the
    /// other is `ESTALE`. Which names share a file is compared in the upper alone; nobody does such a rename, nor copies
    /// such names.
    NumbersPart,
    /// Its upper says where content and directories are below, so that it is no changeset as it stands: the kernel's overlayfs reads it in
    /// the changeset's stead. What is packed of it is the same layer as every other's.
    RefersBelow,
}

/// A line of the table.
#[derive(Debug)]
pub struct Known {
    /// The driver's name.
    pub driver: &'static str,
    /// What it does.
    pub what: Divergence,
    /// With which marks; `None`: with all.
    pub with: Option<Marks>,
    /// Why.
    pub why: &'static str,
}

/// All that is known.
pub const KNOWN: &[Known] = &[
    Known {
        driver: "overlay",
        what: Divergence::DirectoryStays,
        with: None,
        why: "mounted with redirect_dir=nofollow, so that an upper is what it looks like (docs/design/0002)",
    },
    Known {
        driver: "overlay",
        what: Divergence::LinksPart,
        with: None,
        why: "mounted with index=off, so that an upper does not depend on inode numbers of its lowers (docs/design/0002)",
    },
    Known {
        driver: "overlay",
        what: Divergence::NoListToRemove,
        with: None,
        why: "ovl_set_or_remove_acl looks for it first, so as not to copy up for nothing",
    },
    Known {
        driver: "overlay",
        what: Divergence::NoDeviceZero,
        with: None,
        why: "ovl_mknod refuses what would be a whiteout in the upper",
    },
    Known {
        driver: "overlay",
        what: Divergence::NoWhiteoutRename,
        with: None,
        why: "ovl_rename knows NOREPLACE and EXCHANGE alone",
    },
    Known {
        driver: "overlay",
        what: Divergence::NumbersPart,
        with: Some(Marks::User),
        why: "a symlink cannot have user.overlay.origin, and in a user namespace nobody's is decoded: a second look-up finds no lower",
    },
    Known {
        driver: "fuse",
        what: Divergence::RefersBelow,
        with: None,
        why: "a directory is renamed, and a file's attributes are changed, without a copy (docs/design/0007)",
    },
];

impl Divergence {
    /// The known ones of a driver.
    #[must_use]
    pub fn of(driver: &str, marks: Marks) -> Vec<Self> {
        let is_known = |known: &&Known| known.driver == driver && known.with.is_none_or(|with| with == marks);
        KNOWN.iter().filter(is_known).map(|known| known.what).collect()
    }

    /// What the operation is refused with for this reason, where it is.
    #[must_use]
    pub fn refuses(self, op: &Op, model: &Model) -> Option<Errno> {
        match (self, op) {
            (Self::NoWhiteoutRename, Op::Rename { how: How::Whiteout, .. }) => Some(Errno::INVAL),
            (Self::DirectoryStays, Op::Rename { from, to, how }) if *how != How::Whiteout => {
                let is_lower_dir = |path| model.resolve(path, false).is_some_and(|path| model.is_lower_dir(&path));
                (is_lower_dir(from) || is_lower_dir(to)).then_some(Errno::XDEV)
            }
            (Self::NoListToRemove, Op::RemoveXattr { path, key }) => {
                let is_lower = model.resolve(path, false).is_some_and(|path| model.is_lower(&path));
                (is_lower && key.starts_with(b"system.posix_acl_")).then_some(Errno::NODATA)
            }
            (Self::NoDeviceZero, Op::MakeNode { node: Node::DeviceZero, .. }) => Some(Errno::PERM),
            _ => None,
        }
    }
}
