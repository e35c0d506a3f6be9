//! Marks: how a directory says "gone", "opaque" and "a device 0:0" to the kernel's overlayfs and to us.
//!
//! A whiteout is a character device 0:0, in every user namespace (Linux 5.8). Opaque is an extended attribute. What a
//! layer itself carries under the marks' prefix is kept escaped, as overlayfs escapes nested marks (Linux 6.7): the
//! attribute `trusted.overlay.x` of a tar stands as `trusted.overlay.overlay.x`, which the kernel shows as
//! `trusted.overlay.x`. A real character device 0:0 would be read as a whiteout; it stands as an empty file with the
//! attribute [`Marks::device_zero`], which is under the prefix and so cannot come from a tar.

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

    /// The attribute that a directory with whiteouts carries, with an empty value, which says nothing of an origin. Where
    /// no other layer has the directory, overlayfs lists whiteouts as names unless this is there: it takes a directory of
    /// one layer as it is (`ovl_get_inode`, "non-merge dir that may have whiteouts", Linux 4.12).
    #[must_use]
    pub const fn origin(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.origin",
            Self::User => b"user.overlay.origin",
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

#[cfg(test)]
mod tests {
    use super::*;

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
