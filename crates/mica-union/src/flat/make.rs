//! How one file gets into a tree or into an upper.

use mica_core::{Attrs, Kind, Rdev, RelPath, Timestamp, Xattrs};
use mica_layer::Marks;
use mica_sys::{Dir, Errno, FileKind, Metadata, SysError, Time};

/// The label that a host's SELinux policy gives to every file. It says nothing of the tree and differs by machine.
const HOST_LABEL: &[u8] = b"security.selinux";

/// Components that are opened by one call: a path may be longer than the kernel takes at once (`PATH_MAX`).
const STRIDE: usize = 16;

/// Opens the directory `path` below `root`, whatever its length.
pub(super) fn open_below(root: &Dir, path: &RelPath) -> Result<Dir, SysError> {
    let components: Vec<&[u8]> = path.components().collect();
    let mut strides = components.chunks(STRIDE).map(|names| names.join(&b'/'));
    match strides.next() {
        None => root.open_dir(b""),
        Some(first) => strides.try_fold(root.open_dir(&first)?, |at, next| at.open_dir(&next)),
    }
}

pub(super) const fn time(timestamp: Timestamp) -> Time {
    Time { secs: timestamp.secs, nanos: timestamp.nanos }
}

/// Reads `name` in `dir` as it is: nothing is a mark.
pub(super) fn look(dir: &Dir, name: &[u8], metadata: &Metadata) -> Result<(Kind, Attrs), SysError> {
    let device = Rdev { major: metadata.rdev_major, minor: metadata.rdev_minor };
    let kind = match metadata.kind {
        FileKind::File => Kind::File { size: metadata.size, content: None },
        FileKind::Directory => Kind::Directory { opaque: false, implicit: false },
        FileKind::Symlink => Kind::Symlink { target: dir.read_link(name)? },
        FileKind::CharDevice => Kind::CharDevice(device),
        FileKind::BlockDevice => Kind::BlockDevice(device),
        FileKind::Fifo => Kind::Fifo,
        FileKind::Socket => Kind::Socket,
    };
    let xattrs = read_xattrs(dir.list_xattrs(name)?, |key| dir.get_xattr(name, key))?;
    Ok((kind, attrs(metadata, xattrs)))
}

/// Reads the attributes of `dir` itself as they are.
pub(super) fn look_at_self(dir: &Dir) -> Result<Attrs, SysError> {
    let xattrs = read_xattrs(dir.list_own_xattrs()?, |key| dir.get_own_xattr(key))?;
    Ok(attrs(&dir.metadata()?, xattrs))
}

fn read_xattrs(
    keys: Vec<Vec<u8>>,
    value: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, SysError>,
) -> Result<Xattrs, SysError> {
    let mut xattrs = Xattrs::new();
    for key in keys.into_iter().filter(|key| key != HOST_LABEL) {
        // One may go between the listing and here.
        if let Some(value) = value(&key)? {
            xattrs.insert(key, value);
        }
    }
    Ok(xattrs)
}

fn attrs(metadata: &Metadata, xattrs: Xattrs) -> Attrs {
    let mtime = Timestamp { secs: metadata.mtime.secs, nanos: metadata.mtime.nanos };
    Attrs { mode: metadata.mode, uid: metadata.uid, gid: metadata.gid, mtime, xattrs }
}

/// What an upper's entry carries on disk: escaped attributes, and marks.
pub(super) fn marked(mut attrs: Attrs, marks: Marks, also: &[(&[u8], &[u8])]) -> Attrs {
    let escaped = std::mem::take(&mut attrs.xattrs).into_iter();
    attrs.xattrs = escaped.map(|(key, value)| (marks.escape(&key), value)).collect();
    attrs.xattrs.extend(also.iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
    attrs
}

/// Makes a file that is no directory; the content is that of `from`.
///
/// The directory that it comes to must give its files nothing by itself: no default ACL.
pub(super) fn make(
    (from, from_name): (&Dir, &[u8]),
    (to, name): (&Dir, &[u8]),
    kind: &Kind,
    attrs: &Attrs,
) -> Result<(), SysError> {
    let device = |kind, rdev: &Rdev| to.mknod(name, kind, 0o600, rdev.major, rdev.minor);
    match kind {
        Kind::File { .. } => {
            let content = from.open_file(from_name)?;
            let file = to.create_file(name, 0o600)?;
            file.copy_from(&content)?;
            // The owner first, since that clears setuid bits and capabilities; the time last.
            file.set_owner(attrs.uid, attrs.gid)?;
            for (key, value) in &attrs.xattrs {
                file.set_xattr(key, value)?;
            }
            file.set_mode(attrs.mode)?;
            return file.set_mtime(time(attrs.mtime));
        }
        Kind::Symlink { target } => to.symlink(target, name)?,
        Kind::CharDevice(rdev) => or_stand_in(device(FileKind::CharDevice, rdev), (from, from_name), (to, name))?,
        Kind::BlockDevice(rdev) => or_stand_in(device(FileKind::BlockDevice, rdev), (from, from_name), (to, name))?,
        Kind::Fifo => to.mknod(name, FileKind::Fifo, 0o600, 0, 0)?,
        Kind::Socket => to.mknod(name, FileKind::Socket, 0o600, 0, 0)?,
        // Neither is made here: a directory is filled first, and a link of that kind is said by an index alone.
        _ => return Ok(()),
    }
    dress(to, name, attrs, matches!(kind, Kind::Symlink { .. }))
}

/// Where a device cannot be made, a layer has an empty file for it, and that is what overlayfs shows there too.
fn or_stand_in(
    made: Result<(), SysError>,
    (from, from_name): (&Dir, &[u8]),
    (to, name): (&Dir, &[u8]),
) -> Result<(), SysError> {
    match made {
        Err(error) if error.errno() == Errno::PERM && from.stat(from_name)?.kind == FileKind::File => {
            to.create_file(name, 0o600).map(drop)
        }
        made => made,
    }
}

/// Makes the empty file that stands for a device 0:0 in an upper.
pub(super) fn make_device_zero(to: &Dir, name: &[u8], attrs: &Attrs) -> Result<(), SysError> {
    drop(to.create_file(name, 0o600)?);
    dress(to, name, attrs, false)
}

fn dress(dir: &Dir, name: &[u8], attrs: &Attrs, is_symlink: bool) -> Result<(), SysError> {
    dir.chown(name, attrs.uid, attrs.gid)?;
    for (key, value) in &attrs.xattrs {
        dir.set_xattr(name, key, value)?;
    }
    if !is_symlink {
        dir.chmod(name, attrs.mode)?;
    }
    dir.utimens(name, time(attrs.mtime))
}

/// Gives a directory its attributes, when all is in it.
pub(super) fn dress_self(dir: &Dir, attrs: &Attrs) -> Result<(), SysError> {
    dir.chown_self(attrs.uid, attrs.gid)?;
    for (key, value) in &attrs.xattrs {
        dir.set_own_xattr(key, value)?;
    }
    dir.chmod_self(attrs.mode)?;
    dir.utimens_self(time(attrs.mtime))
}

/// Makes a directory that gives its files nothing by itself, wherever it stands.
pub(super) fn make_root(dir: &Dir, name: &[u8]) -> Result<Dir, SysError> {
    dir.mkdir(name, 0o700)?;
    let made = dir.open_dir(name)?;
    for key in made.list_own_xattrs()?.into_iter().filter(|key| key != HOST_LABEL) {
        made.remove_own_xattr(&key)?;
    }
    Ok(made)
}
