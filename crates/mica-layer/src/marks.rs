//! Marks: how a directory says "gone", "opaque" and "a device 0:0" to the kernel's overlayfs and to us.
//!
//! A whiteout is a character device 0:0, in every user namespace (Linux 5.8); on overlayfs itself, which takes none, an empty
//! file with an attribute ([`make_whiteout`](crate::make_whiteout)). Opaque is an extended attribute. What a
//! layer itself carries under the marks' prefix is kept escaped, as overlayfs escapes nested marks (Linux 6.7): the
//! attribute `trusted.overlay.x` of a tar stands as `trusted.overlay.overlay.x`, which the kernel shows as
//! `trusted.overlay.x`. A real character device 0:0 would be read as a whiteout; it stands as an empty file with the
//! attribute [`Marks::device_zero`], which is under the prefix and so cannot come from a tar. Any other device stands so
//! with [`Marks::device`] where the store's owner cannot make it. overlayfs leaves both behind when it copies the file up,
//! and whoever reads the copy asks the layer below ([`crate::restore`]).

use mica_core::{Kind, Rdev};

/// Which prefix the marks of a store have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Marks {
    /// `trusted.overlay.`, which needs privilege in the initial user namespace.
    #[default]
    Trusted,
    /// `user.overlay.`, which overlayfs reads when mounted with `userxattr` (Linux 5.11).
    User,
}

impl Marks {
    /// The prefix of every mark.
    #[must_use]
    pub const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.",
            Self::User => b"user.overlay.",
        }
    }

    /// The attribute that makes a directory opaque; its value is `y`.
    #[must_use]
    pub const fn opaque(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.opaque",
            Self::User => b"user.overlay.opaque",
        }
    }

    /// The attribute of what overlayfs copied up (Linux 4.12): directories, and files of one name; symlinks, FIFOs and
    /// devices where the prefix is not that of `user.*`, which they cannot carry.
    ///
    /// A directory of a sealed layer that has whiteouts carries it too, with an empty value, which says nothing of an origin. Where
    /// no other layer has the directory, overlayfs lists whiteouts as names unless this is there: it takes a directory of
    /// one layer as it is (`ovl_get_inode`, "non-merge dir that may have whiteouts", Linux 4.12).
    #[must_use]
    pub const fn origin(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.origin",
            Self::User => b"user.overlay.origin",
        }
    }

    /// The attribute by which an empty file is a whiteout where a device 0:0 cannot be made, in a directory that has
    /// [`Marks::opaque`] with the value `x` (Linux 6.7).
    #[must_use]
    pub const fn whiteout(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.whiteout",
            Self::User => b"user.overlay.whiteout",
        }
    }

    /// The attribute of an empty file that stands for a real character device 0:0; its value is empty.
    #[must_use]
    pub const fn device_zero(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.mica.device-zero",
            Self::User => b"user.overlay.mica.device-zero",
        }
    }

    /// The attribute of an empty file that stands for a device; its value is `c 1:3` or `b 8:0`.
    #[must_use]
    pub const fn device(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.mica.device",
            Self::User => b"user.overlay.mica.device",
        }
    }

    /// The attribute of a directory that merges with another lower path than its own, and of a file without content whose content is at another:
    /// its value is read by [`Redirect::parse`](mica_core::plan::Redirect::parse) (Linux 4.10). Only where the prefix is
    /// [`Marks::Trusted`] does overlayfs write it or follow it.
    #[must_use]
    pub const fn redirect(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.redirect",
            Self::User => b"user.overlay.redirect",
        }
    }

    /// The attribute of a file whose content, up to its own size, is below (Linux 4.19); its value is empty, or says the length and the digest of that
    /// (`struct ovl_metacopy`, Linux 6.6). As with [`Marks::redirect`], overlayfs knows it with the prefix of [`Marks::Trusted`] alone.
    #[must_use]
    pub const fn metacopy(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.metacopy",
            Self::User => b"user.overlay.metacopy",
        }
    }

    /// The attribute of a file that has been brought up from a lower file of several names, not all of which may be links of it yet; its value is that file's lower
    /// path with a leading slash. A `=` goes before that when all names that were found are links of it, and there may be others below directories that nobody could
    /// list. Ours alone: overlayfs knows no such thing.
    #[must_use]
    pub const fn joining(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.mica.joining",
            Self::User => b"user.overlay.mica.joining",
        }
    }

    /// The attribute of the root of an upper in which files may have [`Marks::joining`]: without it nobody needs to look for them. Its value is empty; it is set
    /// before the first of them is made, and stays.
    #[must_use]
    pub const fn joins(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.mica.joins",
            Self::User => b"user.overlay.mica.joins",
        }
    }

    /// The attribute of what has been brought up that says which inode number it had, and keeps; its value is that number's eight bytes, the lowest first. Ours
    /// alone, and of no meaning to a layer.
    #[must_use]
    pub const fn ino(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.mica.ino",
            Self::User => b"user.overlay.mica.ino",
        }
    }

    /// The attribute of an upper's root that says that nothing in the upper is said by names as `.wh.x` any more, if anything ever was. Ours alone, and of no
    /// meaning to a layer.
    #[must_use]
    pub const fn adopted(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.mica.adopted",
            Self::User => b"user.overlay.mica.adopted",
        }
    }

    /// The mark, and its value, of an empty file that stands for a device; `None` for what is no device.
    #[must_use]
    pub fn of_device(self, kind: &Kind) -> Option<(&'static [u8], Vec<u8>)> {
        let value = |letter: char, rdev: &Rdev| format!("{letter} {}:{}", rdev.major, rdev.minor).into_bytes();
        match kind {
            Kind::CharDevice(Rdev { major: 0, minor: 0 }) => Some((self.device_zero(), Vec::new())),
            Kind::CharDevice(rdev) => Some((self.device(), value('c', rdev))),
            Kind::BlockDevice(rdev) => Some((self.device(), value('b', rdev))),
            _ => None,
        }
    }

    /// The device that an empty file with this mark of this value stands for; `None` where the mark or its value says none.
    #[must_use]
    pub fn device_that(self, mark: &[u8], value: &[u8]) -> Option<Kind> {
        if mark == self.device_zero() {
            return Some(Kind::CharDevice(Rdev::default()));
        }
        if mark == self.device() { device_of(value) } else { None }
    }

    /// The name under which the attribute `name` of a layer stands on disk.
    #[must_use]
    pub fn escape(self, name: &[u8]) -> Vec<u8> {
        match name.strip_prefix(self.prefix()) {
            Some(rest) => [self.prefix(), b"overlay.", rest].concat(),
            None => name.to_vec(),
        }
    }

    /// The layer's name of the attribute that stands on disk as `name`; `None` for a mark, which is no attribute.
    #[must_use]
    pub fn unescape(self, name: &[u8]) -> Option<Vec<u8>> {
        match name.strip_prefix(self.prefix()) {
            Some(rest) => rest.strip_prefix(b"overlay.").map(|rest| [self.prefix(), rest].concat()),
            None => Some(name.to_vec()),
        }
    }
}

/// The device that a value of [`Marks::device`] names; `None` for what is no such value.
pub(crate) fn device_of(value: &[u8]) -> Option<Kind> {
    let (letter, numbers) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let (major, minor) = numbers.split_once(':')?;
    let rdev = Rdev { major: major.parse().ok()?, minor: minor.parse().ok()? };
    match letter {
        "c" => Some(Kind::CharDevice(rdev)),
        "b" => Some(Kind::BlockDevice(rdev)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_of_a_device_says_which_it_is() {
        let rdev = Rdev { major: 259, minor: 1_048_575 };
        for (kind, wanted) in [
            (Kind::CharDevice(rdev), (&b"user.overlay.mica.device"[..], &b"c 259:1048575"[..])),
            (Kind::BlockDevice(Rdev::default()), (b"user.overlay.mica.device", b"b 0:0")),
            (Kind::CharDevice(Rdev::default()), (b"user.overlay.mica.device-zero", b"")),
        ] {
            let (name, value) = Marks::User.of_device(&kind).unwrap();
            assert_eq!((name, &value[..]), wanted);
            assert!(name == Marks::User.device_zero() || device_of(&value) == Some(kind));
        }
        assert_eq!(Marks::Trusted.of_device(&Kind::Fifo), None);
        for wrong in [&b""[..], b"c", b"c 1", b"c 1:", b"d 1:2", b"c 1:4294967296", b"c\xff 1:2", b"c -1:2"] {
            assert_eq!(device_of(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_mark_in_a_tar_is_kept_as_an_attribute_and_not_read_as_a_mark() {
        for marks in [Marks::Trusted, Marks::User] {
            for name in [marks.opaque(), marks.device_zero(), b"user.x", b"security.capability", b"trusted.overlay."] {
                let escaped = marks.escape(name);
                assert_ne!(escaped, marks.opaque());
                assert_ne!(escaped, marks.device_zero());
                assert_eq!(marks.unescape(&escaped).as_deref(), Some(name));
            }
            assert_eq!(marks.unescape(marks.opaque()), None);
            assert_eq!(marks.unescape(marks.device_zero()), None);
        }
    }

    #[test]
    fn only_the_marks_own_prefix_is_escaped() {
        assert_eq!(Marks::User.escape(b"trusted.overlay.opaque"), b"trusted.overlay.opaque");
        assert_eq!(Marks::Trusted.escape(b"user.overlay.opaque"), b"user.overlay.opaque");
    }
}
