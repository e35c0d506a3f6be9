//! What shows from the lowers, as its copy must be.

use mica_core::{Attrs, Kind, Node, Rdev, Timestamp};
use mica_layer::Marks;
use mica_sys::{Dir, FileKind, Metadata, Subject, SysError, Time};

use crate::Records;

/// The label that a host's SELinux policy gives to every file; the copy gets its own.
const HOST_LABEL: &[u8] = b"security.selinux";

/// A lower file or directory without its content. Attributes have the names that the union shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// What it is, and how it looks.
    pub(crate) node: Node,
    /// When it was read last.
    pub(crate) atime: Time,
    /// The inode number that the union shows for it, and shall go on to show.
    pub(crate) number: Option<u64>,
}

impl Source {
    /// What stands at `name` of a lower with these marks and records. Neither are in it, and a stand-in is what stands there: who knows what it stands for
    /// restores it.
    ///
    /// # Errors
    /// Of the first call that was refused: an attribute that cannot be read cannot be kept.
    pub(crate) fn read(dir: &Dir, name: &[u8], marks: Marks, records: Records) -> Result<Self, SysError> {
        let mut found = dir.stat(name)?;
        records.show(&mut found, &Subject::Name(dir, name))?;
        let target = if found.kind == FileKind::Symlink { dir.read_link(name)? } else { Vec::new() };
        let names = dir.list_xattrs(name)?;
        let attributes = names.into_iter().filter(|attribute| attribute != HOST_LABEL && !records.has(attribute));
        let mut attrs = attrs(&found);
        for stored in attributes {
            let Some(shown) = marks.unescape(&stored) else { continue };
            if let Some(value) = dir.get_xattr(name, &stored)? {
                attrs.xattrs.insert(shown, value);
            }
        }
        Ok(Self {
            atime: found.atime,
            node: Node { kind: kind(&found, target), attrs, link_group: None },
            number: None,
        })
    }
}

fn attrs(found: &Metadata) -> Attrs {
    let mtime = Timestamp { secs: found.mtime.secs, nanos: found.mtime.nanos };
    Attrs { mode: found.mode, uid: found.uid, gid: found.gid, mtime, ..Attrs::default() }
}

fn kind(found: &Metadata, target: Vec<u8>) -> Kind {
    let device = Rdev { major: found.rdev_major, minor: found.rdev_minor };
    match found.kind {
        FileKind::File => Kind::File { size: found.size, content: None },
        FileKind::Directory => Kind::Directory { opaque: false, implicit: false },
        FileKind::Symlink => Kind::Symlink { target },
        FileKind::CharDevice => Kind::CharDevice(device),
        FileKind::BlockDevice => Kind::BlockDevice(device),
        FileKind::Fifo => Kind::Fifo,
        FileKind::Socket => Kind::Socket,
    }
}
