//! /dev: the nodes and links that every container has, and those its spec adds.
//!
//! The container's root user may make device nodes (Docker's default `CAP_MKNOD`) but must not open the host's disks. So the tmpfs
//! is `nodev` in the end like every other mount, and each node made here is covered by a mount of itself that is not.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use mica_sys::mount::{Mount, MountAttrFlags as Attr, Reach, SetAttrs};
use mica_sys::process::{Missing, open_place};
use mica_sys::{Dir, Errno, FileKind, SysError};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use crate::error::{At, RuntimeError, Step};
use crate::root::{Root, attach_on, guarded};

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

/// Fills `/dev`, on which `mount` was put; `open` tells that its options allow every device.
pub(crate) fn fill(root: &Root, mount: &Mount, more: &[LinuxDevice], open: bool) -> Result<(), RuntimeError> {
    let slash_dev = Path::new("/dev");
    let dev = Dir::from_fd(root.open(slash_dev).at(|| Step::Device(slash_dev.into()))?);
    let mut covers: Vec<(PathBuf, Mount)> = Vec::new();
    for (name, major, minor) in NODES {
        let path = slash_dev.join(name);
        let step = || Step::Device(path.clone());
        let cover = match dev.mknod(name.as_bytes(), FileKind::CharDevice, 0o666, major, minor) {
            Ok(()) => Mount::clone_at(&dev, Path::new(name), Reach::One).at(step)?,
            // A user namespace may not make nodes: the host's serve.
            Err(error) if error.is_denied() => from_host(&dev, name).at(step)?,
            Err(error) => return Err(error).at(step),
        };
        covers.push((path, cover));
    }
    for device in more {
        if let Some(cover) = add(root, device)? {
            covers.push((device.path().clone(), cover));
        }
    }
    for (name, target) in LINKS {
        dev.symlink(target.as_bytes(), name.as_bytes()).at(|| Step::Device(slash_dev.join(name)))?;
    }
    if open {
        return Ok(());
    }
    mount.set_attrs(&guarded(), Reach::One).at(|| Step::Device(slash_dev.into()))?;
    for (path, cover) in covers {
        let place = root.open(&path).at(|| Step::Device(path.clone()))?;
        attach_on(&cover, place).at(|| Step::Device(path.clone()))?;
    }
    Ok(())
}

/// A mount of the host's node; the file that it will cover is made.
fn from_host(dev: &Dir, name: &str) -> Result<Mount, SysError> {
    dev.create_file(name.as_bytes(), 0o666)?;
    let node = open_place(&Path::new("/dev").join(name))?;
    Mount::clone_at(node, Path::new(""), Reach::One)
}

/// Makes a device of the spec. `None` for a FIFO, which no mount flag forbids to open.
fn add(root: &Root, device: &LinuxDevice) -> Result<Option<Mount>, RuntimeError> {
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
    dir.mknod(name, kind, device.file_mode().unwrap_or(0o666) & 0o7777, major, minor).at(step)?;
    dir.chown(name, device.uid().unwrap_or(0), device.gid().unwrap_or(0)).at(step)?;
    if kind == FileKind::Fifo {
        return Ok(None);
    }
    let cover = Mount::clone_at(&dir, Path::new(name_of(path)), Reach::One).at(step)?;
    // The mount it stands on may be nodev already.
    let allowed = SetAttrs { clear: Attr::MOUNT_ATTR_NODEV, ..SetAttrs::default() };
    cover.set_attrs(&allowed, Reach::One).at(step)?;
    Ok(Some(cover))
}

fn name_of(path: &Path) -> &Path {
    path.file_name().map_or(path, Path::new)
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
