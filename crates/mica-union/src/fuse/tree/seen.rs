//! What stands at a name of one layer: attributes and marks, read with as few calls as they need.
//!
//! One `stat`. Marks are asked for where they can be: of directories always, of other files in an upper always, and in a lower of empty files alone, which may be
//! whiteouts or stand for devices. Whether a lower's file has its content further below matters when it is opened, and is asked then.

use mica_core::plan::{JoiningMark, Redirect};
use mica_core::{Kind, RelPath};
use mica_layer::Marks;
use mica_sys::{Dir, Errno, FileKind, Metadata, SysError, Time};

use crate::Records;
use crate::records::Record;

/// What stands at a name.
#[derive(Debug)]
pub(crate) struct Seen {
    /// All that stat(2) has: owners, `ino` and `dev` as they are on disk.
    pub(crate) attributes: Metadata,
    /// It says that nothing is there.
    pub(crate) whiteout: bool,
    /// A directory that hides what is below.
    pub(crate) opaque: bool,
    pub(crate) redirect: Option<Redirect>,
    /// Its content is below. Of a lower's file not looked at.
    pub(crate) metacopy: bool,
    /// The file that it is joining.
    pub(crate) joining: Option<JoiningMark>,
    /// The inode number that it had when it was brought up.
    pub(crate) ino: Option<u64>,
    /// It was brought up by the kernel's overlayfs, or by us.
    pub(crate) origin: bool,
    /// The layer's index has it as this record.
    pub(crate) record: Option<u32>,
    /// A directory that the layer only implies: its attributes are nobody's statement.
    pub(crate) implicit: bool,
    /// It is a link to the file that the layers below show at this path.
    pub(crate) elsewhere: Option<RelPath>,
    /// A directory in which whiteouts may be attributes, as far as its own say.
    pub(crate) may_mark: bool,
    /// The directory, where its marks were asked for by a handle.
    pub(crate) open: Option<Dir>,
}

impl Seen {
    pub(crate) fn is_directory(&self) -> bool {
        self.attributes.kind == FileKind::Directory
    }
}

/// The root of a union of no layers: an empty directory of root's.
pub(crate) fn of_nothing() -> Metadata {
    let never = Time::default();
    Metadata {
        kind: FileKind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        size: 0,
        blocks: 0,
        nlink: 2,
        ino: 1,
        dev: 0,
        rdev_major: 0,
        rdev_minor: 0,
        atime: never,
        mtime: never,
        ctime: never,
    }
}

/// Which attributes say something of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signs {
    pub(crate) marks: Marks,
    pub(crate) records: Records,
}

/// Reads what stands at `name`; `None` where nothing does. `closely` asks for the marks of files too.
pub(crate) fn look(dir: &Dir, name: &[u8], signs: Signs, closely: bool) -> Result<Option<Seen>, Errno> {
    let Some(found) = dir.stat_if_there(name).map_err(|error| error.errno())? else { return Ok(None) };
    let mut seen = plain(found);
    let metadata = &seen.attributes;
    if metadata.is_whiteout_device() {
        seen.whiteout = true;
        return Ok(Some(seen));
    }
    let read = match metadata.kind {
        FileKind::Directory => match dir.open_dir(name) {
            Ok(opened) => read_own_signs(&mut seen, opened, signs),
            // Without the right to look into it nobody sees its names either.
            Err(error) if error.is_denied() => {
                seen.may_mark = true;
                Ok(())
            }
            Err(error) => Err(error),
        },
        // No mark with the prefix `user.` stands on what is neither (xattr(7)).
        kind if signs.records.can_be_of(kind)
            || kind == FileKind::File && (closely || metadata.size == 0)
            || closely && signs.marks == Marks::Trusted =>
        {
            read_signs(&mut seen, signs, |mark| dir.get_xattr(name, mark), &|| dir.list_xattrs(name))
        }
        _ => Ok(()),
    };
    match read {
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.errno()),
        Ok(()) => Ok(Some(seen)),
    }
}

/// Reads what stands at `name` below a directory that states the attributes: of a directory they are not looked at, which is one call less in each of its layers.
pub(crate) fn look_at_part(dir: &Dir, name: &[u8], signs: Signs) -> Result<Option<Seen>, Errno> {
    match dir.open_dir(name) {
        Ok(opened) => {
            let mut seen = plain(of_nothing());
            read_own_signs(&mut seen, opened, signs).map_err(|error| error.errno())?;
            Ok(Some(seen))
        }
        Err(error) if error.is_not_found() => Ok(None),
        // It is no directory, or one that cannot be read.
        Err(_) => look(dir, name, signs, false),
    }
}

/// Reads the marks of an open directory, and keeps it.
fn read_own_signs(seen: &mut Seen, opened: Dir, signs: Signs) -> Result<(), SysError> {
    read_signs(seen, signs, |mark| opened.get_own_xattr(mark), &|| opened.list_own_xattrs())?;
    seen.open = Some(opened);
    Ok(())
}

/// Reads what an open directory says of itself.
pub(crate) fn look_at_self(dir: &Dir, signs: Signs) -> Result<Seen, Errno> {
    let found = dir.metadata().map_err(|error| error.errno())?;
    let mut seen = plain(found);
    read_signs(&mut seen, signs, |mark| dir.get_own_xattr(mark), &|| dir.list_own_xattrs())
        .map_err(|error| error.errno())?;
    Ok(seen)
}

pub(crate) const fn plain(attributes: Metadata) -> Seen {
    Seen {
        attributes,
        whiteout: false,
        opaque: false,
        redirect: None,
        metacopy: false,
        joining: None,
        ino: None,
        origin: false,
        record: None,
        implicit: false,
        elsewhere: None,
        may_mark: false,
        open: None,
    }
}

fn read_signs(
    seen: &mut Seen,
    Signs { marks, records }: Signs,
    value: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, SysError>,
    names: &dyn Fn() -> Result<Vec<Vec<u8>>, SysError>,
) -> Result<(), SysError> {
    let is_directory = seen.is_directory();
    let names = names()?;
    if let Some(name) = records.names().iter().find(|name| names.iter().any(|found| found == *name))
        && let Some(record) = value(name)?.as_deref().and_then(Record::parse)
    {
        record.put(&mut seen.attributes);
    }
    for name in names {
        if !name.starts_with(marks.prefix()) {
            continue;
        }
        let value = || value(&name);
        if name == marks.opaque() {
            seen.may_mark = is_directory;
            // "x" only says that the directory has whiteouts that are attributes (Linux 6.7).
            seen.opaque = is_directory && value()?.is_some_and(|value| value == b"y");
        } else if name == marks.redirect() {
            seen.redirect = value()?.and_then(|value| Redirect::parse(&value));
        } else if name == marks.origin() {
            seen.origin = true;
        } else if name == marks.ino() {
            seen.ino = value()?.and_then(|value| Some(u64::from_le_bytes(value.try_into().ok()?)));
        } else if is_directory {
        } else if name == marks.metacopy() {
            seen.metacopy = seen.attributes.kind == FileKind::File;
        } else if name == marks.joining() {
            seen.joining = value()?.as_deref().and_then(JoiningMark::parse);
        } else if name == marks.whiteout() {
            seen.whiteout = seen.attributes.kind == FileKind::File && seen.attributes.size == 0;
        } else if let Some(kind) = stands_for(marks, &name, value()?) {
            let metadata = &mut seen.attributes;
            if metadata.kind == FileKind::File && metadata.size == 0 {
                let (kind, rdev) = kind;
                (metadata.kind, metadata.rdev_major, metadata.rdev_minor) = (kind, rdev.0, rdev.1);
            }
        }
    }
    Ok(())
}

/// The device that a mark of an empty file says it is.
fn stands_for(marks: Marks, name: &[u8], value: Option<Vec<u8>>) -> Option<(FileKind, (u32, u32))> {
    match marks.device_that(name, &value?)? {
        Kind::CharDevice(rdev) => Some((FileKind::CharDevice, (rdev.major, rdev.minor))),
        Kind::BlockDevice(rdev) => Some((FileKind::BlockDevice, (rdev.major, rdev.minor))),
        _ => None,
    }
}
