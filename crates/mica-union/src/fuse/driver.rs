//! The union in user space as a driver.

use std::os::fd::AsFd;
use std::path::Path;

use mica_layer::Marks;
use mica_sys::fuse::{Device, MountOptions};
use mica_sys::mount::{Mount, MountAttrFlags};
use mica_sys::process::{device_of, effective_gid, effective_uid};
use mica_sys::{Errno, SysError};

use super::serve::{Program, Served, Session};
use super::{NAME, Options};
use crate::{Driver, Mounted, Support, UnionDirs, UnionError, UpperDirs};

/// The union in user space.
#[derive(Debug)]
pub struct Fuse {
    server: Server,
    marks: Marks,
    options: Options,
}

/// Who serves.
#[derive(Debug)]
enum Server {
    /// Threads of this process.
    Here,
    /// A process of its own.
    Program(Program),
}

impl Fuse {
    /// Mounts are served by threads of this process and end with it.
    #[must_use]
    pub fn in_process() -> Self {
        Self::by(Server::Here)
    }

    /// Mounts are served by a process of their own, which lives as long as they do.
    #[must_use]
    pub fn served_by(program: Program) -> Self {
        Self::by(Server::Program(program))
    }

    fn by(server: Server) -> Self {
        Self { server, marks: Marks::default(), options: Options::new(UnionDirs::default()) }
    }

    /// The same, probing with these marks. Mounting goes by [`UnionDirs::marks`].
    #[must_use]
    pub fn probing(self, marks: Marks) -> Self {
        Self { marks, ..self }
    }

    /// The same, with other options than the usual. Their directories do not count.
    #[must_use]
    pub fn with_options(self, options: Options) -> Self {
        Self { options, ..self }
    }
}

impl Driver for Fuse {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self, scratch: &Path) -> Support {
        crate::probe::probe(self, self.marks, scratch, false)
    }

    fn mount(&self, dirs: &UnionDirs) -> Result<Mounted, UnionError> {
        let options = Options { dirs: absolute(dirs)?, ..self.options.clone() };
        let device = Device::open().map_err(|source| UnionError::Serve { driver: NAME, source })?;
        match &self.server {
            Server::Here => {
                let prepared = Session::prepare(&options)?;
                let mount = mount(&device, &options)?;
                let session = prepared.start(device)?;
                // Its threads end with the mount.
                session.detach()?;
                Ok(Mounted::new(mount))
            }
            Server::Program(program) => {
                // What is wrong with the directories is found here, where errors have their types, and found again there.
                drop(Session::prepare(&options)?);
                let mount = mount(&device, &options)?;
                let served = Served::start(program, device.as_fd(), &options)?;
                // The server has the device. Were ours left open, the mount would outlive it and answer nobody.
                drop(device);
                if let Ok(root) = device_of(&mount) {
                    served.tell(root);
                }
                Ok(Mounted::new(mount))
            }
        }
    }
}

/// A mount of the device that has no place yet.
fn mount(device: &Device, options: &Options) -> Result<Mount, UnionError> {
    let attrs = if options.can_write() { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_RDONLY };
    let how = MountOptions {
        source: options.name.clone(),
        subtype: "mica".to_owned(),
        uid: effective_uid(),
        gid: effective_gid(),
        default_permissions: true,
        allow_other: options.allow_other,
        max_read: None,
        attrs,
        more: Vec::new(),
    };
    device.mount(&how).map_err(|source| UnionError::Kernel { driver: NAME, cause: None, source })
}

/// The same directories by paths that lead to them from wherever a server is.
fn absolute(dirs: &UnionDirs) -> Result<UnionDirs, UnionError> {
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::NOENT);
            UnionError::Serve {
                driver: NAME,
                source: SysError::new("getcwd", path.as_os_str().as_encoded_bytes(), errno),
            }
        })
    };
    let upper = match &dirs.upper {
        Some(upper) => {
            Some(UpperDirs { upper: absolute(&upper.upper)?, work: absolute(&upper.work)?, volatile: upper.volatile })
        }
        None => None,
    };
    let lowers = dirs.lowers.iter().map(|lower| absolute(lower)).collect::<Result<_, _>>()?;
    let indexes = dirs.indexes.iter().map(|(lower, index)| Ok((absolute(lower)?, absolute(index)?)));
    let indexes = indexes.collect::<Result<_, UnionError>>()?;
    Ok(UnionDirs { lowers, upper, marks: dirs.marks, indexes, records: dirs.records })
}
