//! A name in a directory with marks, read as the statement that it stands for.
//!
//! Without marks (`None`) nothing is one: the directory shows a tree, and a device 0:0 in it is a device.
//!
//! What the kernel's overlayfs would make of the directory as a layer is what is read here: a device 0:0 is a whiteout,
//! an attribute makes a directory opaque, escaped attributes lose the escape and the overlay's own are not shown.

use mica_core::plan::{JoiningMark, Redirect};
use mica_core::{Attrs, Kind, LayerEntry, Name, Node, Rdev, RelPath, Timestamp, Xattrs};
use mica_sys::{Dir, Errno, FileKind, Metadata, SysError, Time};

use crate::Marks;
use crate::marks::device_of;

/// Why a directory cannot be read as a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// A call on something in it was refused.
    #[error("cannot read {path}")]
    Read {
        /// What was being read.
        path: RelPath,
        /// The refused call.
        source: SysError,
    },
    /// A directory that was renamed by a mark (overlayfs, "redirect_dir"): its content stands elsewhere below, and it is not known what is below.
    #[error("{path} was renamed with redirect_dir, which is not read here; mount with redirect_dir=off")]
    Redirect {
        /// The directory.
        path: RelPath,
    },
    /// A file of which only the metadata was copied up (overlayfs, "metacopy"): its content stands below, and it is not known what is below.
    #[error("{path} has no content of its own (metacopy), which is not read here; mount with metacopy=off")]
    Metacopy {
        /// The file.
        path: RelPath,
    },
    /// A file that is on its way to more names than it has, and it is not known what is below.
    #[error("{path} is not linked to all of its names yet, and which they are only the layers below say")]
    Joining {
        /// The file.
        path: RelPath,
    },
    /// A file whose content is below, and below it is none.
    #[error("{path} has no content of its own (metacopy), and no file below to have it from")]
    Astray {
        /// The file.
        path: RelPath,
    },
    /// A mark whose value says no path.
    #[error("{path} has a mark {mark:?} with the value {value:?}, which leads nowhere")]
    Mark {
        /// The file.
        path: RelPath,
        /// The mark, without its prefix.
        mark: &'static str,
        /// The value, lossily as text.
        value: String,
    },
}

/// The label that a host's SELinux policy gives to every file. It says nothing of the layer and differs by machine.
pub(crate) const HOST_LABEL: &[u8] = b"security.selinux";

/// A statement with what the kernel said of the file that makes it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) entry: LayerEntry,
    pub(crate) metadata: Metadata,
    /// Whether overlayfs says that it copied this up.
    pub(crate) has_origin: bool,
    /// Whether our union brought it up, which says itself what stands for a device.
    pub(crate) has_number: bool,
    /// What it needs of the layers below to be understood.
    pub(crate) leads: Leads,
}

/// What marks say of where the rest of a file stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Leads {
    pub(crate) redirect: Option<Redirect>,
    pub(crate) metacopy: bool,
    pub(crate) joining: Option<RelPath>,
}

impl Leads {
    /// Refuses what only the layers below explain.
    pub(crate) fn refuse(&self, kind: FileKind, path: &RelPath) -> Result<(), TreeError> {
        match self {
            Self { metacopy: true, .. } if kind == FileKind::File => Err(TreeError::Metacopy { path: path.clone() }),
            Self { redirect: Some(_), .. } if kind == FileKind::Directory => {
                Err(TreeError::Redirect { path: path.clone() })
            }
            Self { joining: Some(_), .. } => Err(TreeError::Joining { path: path.clone() }),
            _ => Ok(()),
        }
    }
}

/// Turns a refused call into a [`TreeError`] that names the path.
pub(crate) fn reading(path: &RelPath) -> impl FnOnce(SysError) -> TreeError + '_ {
    |source| TreeError::Read { path: path.clone(), source }
}

/// Reads `name` in `dir`, which is `path` in the layer; `None` when there is no such name, also when it goes meanwhile. What
/// cannot be understood without the layers below is refused.
pub(crate) fn look(dir: &Dir, name: &[u8], path: &RelPath, marks: Option<Marks>) -> Result<Option<Seen>, TreeError> {
    let Some(seen) = look_led(dir, name, path, marks)? else { return Ok(None) };
    seen.leads.refuse(seen.metadata.kind, path)?;
    Ok(Some(seen))
}

/// The same with what leads below, for who knows what is there.
pub(crate) fn look_led(
    dir: &Dir,
    name: &[u8],
    path: &RelPath,
    marks: Option<Marks>,
) -> Result<Option<Seen>, TreeError> {
    for _ in 0..16 {
        match look_closely(dir, name, path, marks) {
            Err(TreeError::Read { source, .. }) if source.is_not_found() => return Ok(None),
            // It was of another kind when it was looked at first.
            Err(TreeError::Read { source, .. })
                if matches!(source.errno(), Errno::INVAL | Errno::NOTDIR | Errno::LOOP) => {}
            looked => return looked,
        }
    }
    look_closely(dir, name, path, marks)
}

fn look_closely(dir: &Dir, name: &[u8], path: &RelPath, marks: Option<Marks>) -> Result<Option<Seen>, TreeError> {
    let Some(metadata) = dir.stat_if_there(name).map_err(reading(path))? else {
        return Ok(None);
    };
    let whiteout = |metadata| {
        Some(Seen {
            entry: LayerEntry::Whiteout,
            metadata,
            has_origin: false,
            has_number: false,
            leads: Leads::default(),
        })
    };
    if marks.is_some() && metadata.is_whiteout_device() {
        return Ok(whiteout(metadata));
    }
    let said = match metadata.kind {
        // `lgetxattr` by path walks through /proc for each attribute; a directory is opened anyway.
        FileKind::Directory => match dir.open_dir_if_there(name) {
            Ok(Some(opened)) => said_of_self(&opened, path, marks)?,
            Ok(None) => return Ok(None),
            // A live directory that this process may not read says of itself what everybody sees.
            Err(error) if error.is_denied() => Said::default(),
            Err(error) => return Err(reading(path)(error)),
        },
        _ => {
            let names = dir.list_xattrs(name).map_err(reading(path))?;
            Said::read(names, |attribute| dir.get_xattr(name, attribute), path, marks)?
        }
    };
    if said.whiteout && metadata.kind == FileKind::File {
        return Ok(whiteout(metadata));
    }
    let target = match metadata.kind {
        FileKind::Symlink => dir.read_link(name).map_err(reading(path))?,
        _ => Vec::new(),
    };
    let (has_origin, has_number, leads) = (said.origin, said.number, said.leads.clone());
    let node = node(&metadata, said, target);
    Ok(Some(Seen { entry: LayerEntry::Node(node), metadata, has_origin, has_number, leads }))
}

/// The names in `dir`, which is `path` in the layer, sorted.
pub(crate) fn sorted_names(dir: &Dir, path: &RelPath) -> Result<Vec<Name>, TreeError> {
    let entries = dir.read_dir().map_err(reading(path))?;
    let mut names: Vec<Name> = entries.iter().filter_map(|entry| Name::new(&entry.name).ok()).collect();
    names.sort_unstable();
    Ok(names)
}

/// Reads the directory `dir` itself, which is `path` in the layer. What cannot be understood without the layers below is
/// refused.
pub(crate) fn look_at_self(dir: &Dir, path: &RelPath, marks: Option<Marks>) -> Result<Node, TreeError> {
    let metadata = dir.metadata().map_err(reading(path))?;
    let said = said_of_self(dir, path, marks)?;
    said.leads.refuse(metadata.kind, path)?;
    Ok(node(&metadata, said, Vec::new()))
}

fn said_of_self(dir: &Dir, path: &RelPath, marks: Option<Marks>) -> Result<Said, TreeError> {
    let names = dir.list_own_xattrs().map_err(reading(path))?;
    Said::read(names, |attribute| dir.get_own_xattr(attribute), path, marks)
}

fn node(metadata: &Metadata, said: Said, target: Vec<u8>) -> Node {
    let device = Rdev { major: metadata.rdev_major, minor: metadata.rdev_minor };
    let kind = match metadata.kind {
        FileKind::File => said.device.unwrap_or(Kind::File { size: metadata.size, content: None }),
        FileKind::Directory => Kind::Directory { opaque: said.opaque, implicit: false },
        FileKind::Symlink => Kind::Symlink { target },
        FileKind::CharDevice => Kind::CharDevice(device),
        FileKind::BlockDevice => Kind::BlockDevice(device),
        FileKind::Fifo => Kind::Fifo,
        FileKind::Socket => Kind::Socket,
    };
    let link_group = (metadata.nlink > 1 && !kind.is_directory()).then_some(metadata.ino);
    let attrs = Attrs {
        mode: metadata.mode,
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: timestamp(metadata.mtime),
        xattrs: said.xattrs,
    };
    Node { kind, attrs, link_group }
}

pub(crate) const fn timestamp(time: Time) -> Timestamp {
    Timestamp { secs: time.secs, nanos: time.nanos }
}

pub(crate) const fn time(timestamp: Timestamp) -> Time {
    Time { secs: timestamp.secs, nanos: timestamp.nanos }
}

/// What extended attributes say: marks, and the layer's own.
#[derive(Default)]
struct Said {
    opaque: bool,
    whiteout: bool,
    origin: bool,
    number: bool,
    leads: Leads,
    /// What a file stands for.
    device: Option<Kind>,
    xattrs: Xattrs,
}

impl Said {
    fn read(
        names: Vec<Vec<u8>>,
        value: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, SysError>,
        path: &RelPath,
        marks: Option<Marks>,
    ) -> Result<Self, TreeError> {
        let mut said = Self::default();
        for name in names {
            let (own, marks) = match marks {
                Some(marks) => (marks.unescape(&name), marks),
                None => (Some(name.clone()), Marks::default()),
            };
            if let Some(plain) = own {
                // An attribute may go between the listing and here, on a live directory.
                if plain != HOST_LABEL
                    && let Some(value) = value(&name).map_err(reading(path))?
                {
                    said.xattrs.insert(plain, value);
                }
                continue;
            }
            let mark = name.get(marks.prefix().len()..).unwrap_or_default();
            let value = |name: &[u8]| value(name).map_err(reading(path));
            match mark {
                // "x" only says that the directory has whiteouts that are attributes (Linux 6.7).
                b"opaque" => said.opaque = value(&name)?.is_some_and(|value| value == b"y"),
                b"whiteout" => said.whiteout = true,
                b"redirect" => {
                    said.leads.redirect = leading(value(&name)?, Redirect::parse, "redirect", path)?;
                }
                b"metacopy" => said.leads.metacopy = true,
                b"origin" => said.origin = true,
                b"mica.ino" => said.number = true,
                _ if name == marks.device_zero() => said.device = Some(Kind::CharDevice(Rdev::default())),
                _ if name == marks.device() => {
                    said.device = value(&name)?.and_then(|value| device_of(&value));
                }
                _ if name == marks.joining() => {
                    let mark = leading(value(&name)?, JoiningMark::parse, "mica.joining", path)?;
                    // What is settled has every name that a reader could find.
                    said.leads.joining = mark.filter(|mark| !mark.settled).map(|mark| mark.from);
                }
                // impure, nlink, uuid, protattr: what overlayfs remembers for itself.
                _ => {}
            }
        }
        Ok(said)
    }
}

/// What a mark says, where it is there still.
fn leading<T>(
    value: Option<Vec<u8>>,
    parse: impl Fn(&[u8]) -> Option<T>,
    mark: &'static str,
    path: &RelPath,
) -> Result<Option<T>, TreeError> {
    let Some(value) = value else { return Ok(None) };
    let wrong = || TreeError::Mark { path: path.clone(), mark, value: String::from_utf8_lossy(&value).into_owned() };
    parse(&value).map(Some).ok_or_else(wrong)
}
