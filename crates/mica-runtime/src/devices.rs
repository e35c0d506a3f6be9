//! /dev: the nodes and links that every container has, and those its spec adds.
//!
//! The container's root user may make device nodes (Docker's default `CAP_MKNOD`) but must not open the host's disks. So the tmpfs
//! is `nodev` like every other mount, and each node made here is covered by a mount of itself that is not.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use mica_sys::mount::{Mount, MountAttrFlags as Attr, Propagation, Reach, SetAttrs};
use mica_sys::process::{Missing, open_place};
use mica_sys::{Dir, Errno, FileKind, SysError};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use crate::error::{At, Cause, RuntimeError, Step};
use crate::root::{Root, attach_on};

/// Name, major, minor: the devices that the runtime spec asks of every runtime (config-linux.md, "Default Devices").
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Name and target: the links that it asks for, and the one to the kernel's memory that Docker makes (masked by default).
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

/// Fills `/dev`, where a tmpfs is mounted.
pub(crate) fn fill(root: &Root, more: &[LinuxDevice]) -> Result<(), RuntimeError> {
    let slash_dev = Path::new("/dev");
    let dev = Dir::from_fd(root.open(slash_dev).at(|| Step::Device(slash_dev.into()))?);
    for (name, major, minor) in NODES {
        let path = slash_dev.join(name);
        let step = || Step::Device(path.clone());
        let node = match dev.mknod(name.as_bytes(), FileKind::CharDevice, 0o666, major, minor) {
            Ok(()) => Mount::clone_at(&dev, Path::new(name), Reach::One).map_err(Cause::from),
            // A user namespace may not make nodes: the host's serve.
            Err(error) if error.is_denied() => from_host(&dev, &path, (FileKind::CharDevice, major, minor)),
            Err(error) => Err(error.into()),
        };
        cover(root, &path, &node.at(step)?).at(step)?;
    }
    for device in more {
        add(root, device)?;
    }
    for (name, target) in LINKS {
        dev.symlink(target.as_bytes(), name.as_bytes()).at(|| Step::Device(slash_dev.join(name)))?;
    }
    Ok(())
}

/// Puts the mount of a node, through which it may be opened, over the node.
fn cover(root: &Root, path: &Path, node: &Mount) -> Result<(), SysError> {
    let allowed = SetAttrs { clear: Attr::MOUNT_ATTR_NODEV, ..SetAttrs::propagation(Propagation::Private) };
    node.set_attrs(&allowed, Reach::One)?;
    attach_on(node, root.open(path)?)
}

/// A mount of the host's node at the same path, if it is that device; the file that it will cover is made in `dir`.
fn from_host(dir: &Dir, path: &Path, wanted: (FileKind, u32, u32)) -> Result<Mount, Cause> {
    let node = open_place(path)?;
    let found = mica_sys::process::metadata_of(&node)?;
    if (found.kind, found.rdev_major, found.rdev_minor) != wanted {
        let (_, major, minor) = wanted;
        return Err(Cause::of(format!(
            "no node can be made here, and the machine's {path:?} is not device {major}:{minor}"
        )));
    }
    dir.create_file(path.file_name().unwrap_or_default().as_encoded_bytes(), 0o666)?;
    Ok(Mount::clone_at(node, Path::new(""), Reach::One)?)
}

/// Makes a device of the spec. A FIFO, which no mount flag forbids to open, needs no cover.
fn add(root: &Root, device: &LinuxDevice) -> Result<(), RuntimeError> {
    let path = device.path();
    let step = || Step::Device(path.clone());
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => FileKind::CharDevice,
        LinuxDeviceType::B => FileKind::BlockDevice,
        LinuxDeviceType::P => FileKind::Fifo,
        LinuxDeviceType::A => {
            let problem = format!("is \"a\", all, for {}", path.display());
            return Err(RuntimeError::Spec { field: "linux.devices.type", problem });
        }
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(SysError::new("mknodat", path.as_os_str().as_encoded_bytes(), Errno::INVAL)).at(step);
    };
    let name = name.as_encoded_bytes();
    let number =
        |number: i64| u32::try_from(number).map_err(|_| SysError::new("mknodat", number.to_string(), Errno::INVAL));
    let dir = Dir::from_fd(root.make(parent, Missing::Directory).at(step)?);
    let (major, minor) = (number(device.major()).at(step)?, number(device.minor()).at(step)?);
    match dir.mknod(name, kind, device.file_mode().unwrap_or(0o666) & 0o7777, major, minor) {
        // Its mode and owner are the host's; nobody else may change them.
        Err(error) if error.is_denied() && kind != FileKind::Fifo => {
            let node = from_host(&dir, path, (kind, major, minor)).at(step)?;
            return cover(root, path, &node).at(step);
        }
        done => done.at(step)?,
    }
    dir.chown(name, device.uid().unwrap_or(0), device.gid().unwrap_or(0)).at(step)?;
    if kind == FileKind::Fifo {
        return Ok(());
    }
    let node = Mount::clone_at(&dir, Path::new(path.file_name().unwrap_or_default()), Reach::One).at(step)?;
    cover(root, path, &node).at(step)
}

/// Puts the terminal `slave` at /dev/console, as a program that looks for one there expects.
pub(crate) fn console(root: &Root, slave: impl AsFd) -> Result<(), RuntimeError> {
    let path = Path::new("/dev/console");
    let step = || Step::Device(path.into());
    let mount = Mount::clone_at(slave, Path::new(""), Reach::One).at(step)?;
    attach_on(&mount, root.make(path, Missing::File).at(step)?).at(step)
}

/// The null device to cover files with: the container's own, if it is the real one (an image, or another container that
/// shares a volume, might have put something else there: CVE-2025-31133), else the host's.
pub(crate) fn null(root: &Root) -> Result<OwnedFd, SysError> {
    if let Ok(node) = root.open(Path::new("/dev/null")) {
        let found = mica_sys::process::metadata_of(&node)?;
        if (found.kind, found.rdev_major, found.rdev_minor) == (FileKind::CharDevice, 1, 3) {
            return Ok(node);
        }
    }
    open_place(Path::new("/dev/null"))
}
