//! What one layer says of one path.

use std::collections::BTreeMap;

use crate::{Name, RelPath};

/// Extended attributes by name: `user.x`, `security.capability`, never the overlay's own marks.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// A moment as file systems keep it; before 1970 the seconds are negative and the nanoseconds still count forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rdev {
    /// The driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

/// The BLAKE3 of a file's content. Holes count as the zeros they read as.
pub type ContentHash = [u8; 32];

/// Owner, mode, time and extended attributes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Attrs {
    /// Permission bits with setuid, setgid and sticky: 0 to 0o7777. The file type is not in it.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last modification.
    pub mtime: Timestamp,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Attrs {
    /// What a directory gets that nobody described: 0755, root's, 1970.
    #[must_use]
    pub fn implicit_directory() -> Self {
        Self { mode: 0o755, ..Self::default() }
    }
}

/// What kind of file a node is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A regular file.
    File {
        /// Bytes, holes included.
        size: u64,
        /// BLAKE3 of the content, where it is known: an index has it, a live directory has not.
        content: Option<ContentHash>,
    },
    /// A directory.
    Directory {
        /// Nothing below it shows.
        opaque: bool,
        /// The layer only implies it, by naming something inside; its attributes are nobody's statement.
        implicit: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, as it stands.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice(Rdev),
    /// A block device.
    BlockDevice(Rdev),
    /// A named pipe.
    Fifo,
    /// A socket that some process left behind. Layers do not carry them; live directories have them.
    Socket,
    /// A hard link to a file that only a lower layer has (`needs-parent`).
    LinkToParent {
        /// The file that it shares, in the stack below.
        target: RelPath,
    },
}

impl Kind {
    /// Whether this is a directory.
    #[must_use]
    pub const fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }
}

/// A file of any kind, as one layer has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Its attributes. For [`Kind::LinkToParent`] they are the target's and these are not looked at.
    pub attrs: Attrs,
    /// Names of one layer with the same number are one file (hard links); `None` for a single name.
    pub link_group: Option<u64>,
}

impl Node {
    /// A directory that is only implied.
    #[must_use]
    pub fn implied_directory() -> Self {
        Self {
            kind: Kind::Directory { opaque: false, implicit: true },
            attrs: Attrs::implicit_directory(),
            link_group: None,
        }
    }

    /// Whether this is a directory whose attributes are a statement of its layer.
    #[must_use]
    pub const fn is_explicit_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory { implicit: false, .. })
    }
}

/// A layer's statement about one path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LayerEntry {
    /// The path below is gone.
    Whiteout,
    /// The path is this.
    Node(Node),
}

impl LayerEntry {
    /// The node, unless this is a whiteout.
    #[must_use]
    pub const fn node(&self) -> Option<&Node> {
        match self {
            Self::Node(node) => Some(node),
            Self::Whiteout => None,
        }
    }
}

/// The prefix of a whiteout's name in a layer tar (OCI image specification, "Whiteouts").
pub const WHITEOUT_PREFIX: &[u8] = b".wh.";

/// What a name in a layer tar says by its spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TarName {
    /// An ordinary name.
    Plain(Name),
    /// `.wh.x`: x below is gone.
    Whiteout(Name),
    /// `.wh..wh..opq`: nothing below the directory shows.
    Opaque,
    /// `.wh.`, `.wh..`, `.wh...`, or another `.wh..wh.` name (aufs' own): says nothing that may be guessed.
    Reserved,
}

impl TarName {
    /// Reads the last component of a tar entry's path.
    #[must_use]
    pub fn of(name: &Name) -> Self {
        let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT_PREFIX) else {
            return Self::Plain(name.clone());
        };
        if hidden == b".wh..opq" {
            return Self::Opaque;
        }
        match Name::new(hidden) {
            Ok(hidden) if !hidden.as_bytes().starts_with(WHITEOUT_PREFIX) => Self::Whiteout(hidden),
            _ => Self::Reserved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_names_say_what_the_specification_lets_them_say() {
        let name = |text: &str| Name::new(text.as_bytes()).unwrap();
        for (text, says) in [
            ("x", TarName::Plain(name("x"))),
            (".wh", TarName::Plain(name(".wh"))),
            ("a.wh.x", TarName::Plain(name("a.wh.x"))),
            (".wh.x", TarName::Whiteout(name("x"))),
            (".wh..x", TarName::Whiteout(name(".x"))),
            (".wh..wh..opq", TarName::Opaque),
            (".wh.", TarName::Reserved),
            (".wh..", TarName::Reserved),
            (".wh...", TarName::Reserved),
            (".wh..wh.plnk", TarName::Reserved),
            (".wh..wh.x", TarName::Reserved),
        ] {
            assert_eq!(TarName::of(&name(text)), says, "{text}");
        }
    }
}
