//! Mounting: a mount made for a server, a server started for it, and both put where they were asked for.
//!
//! ```text
//! who may mount     makes a detached mount -> starts the server -> attaches: nobody sees it before it answers
//! who may not       lets fusermount3 mount -> starts the server
//! ```
//!
//! In the background the server is this very program, started anew with the device; whoever called is told when the mount answers, or
//! why it does not.

use std::ffi::CString;
use std::fs;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mica_core::plan::Features;
use mica_sys::Errno;
use mica_sys::fuse::{Device, MountOptions, mount_by_helper, unmount_by_helper};
use mica_sys::mount::{Mount, MountAttrFlags, Reach, SetAttrs, mounts, set_attrs};
use mica_sys::process::{
    Caps, device_of, effective_caps, effective_gid, effective_uid, in_initial_user_namespace, open_place,
};
use mica_union::fuse::{Options, Program, Served, Session, attend, listen, serve_inherited as serve};
use mica_union::{Marks, UnionDirs, UpperDirs};

use crate::asked::{Asked, OpenTo, Whiteouts};
use crate::failure::{Failure, say};
use crate::places::Places;

/// The name by which this program is a server. What follows is for those who list processes.
const SERVER: &str = "mica-fuse-server";

/// Whether this process was started as a server.
pub(crate) fn is_server() -> bool {
    std::env::args_os().next().is_some_and(|name| name == SERVER)
}

/// Serves the mount that this process was started for, to its end. Whoever started it has been told what is wrong.
pub(crate) fn serve_inherited() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Mounts a union and starts its server. In the foreground it returns when the mount is gone.
pub(crate) fn mount(asked: &Asked, places: &Places, is_foreground: bool) -> Result<(), Failure> {
    let options = options(asked, places);
    // How much is kept open goes by the limit that is lifted here.
    let caught = if is_foreground { Some(listen().map_err(Failure::Start)?) } else { None };
    // What is wrong with the directories is found before there is a mount.
    let prepared = Session::prepare(&options)?;
    let Some(caught) = caught else {
        // The server takes the upper for itself.
        drop(prepared);
        let (device, made) = Made::new(asked, places, &options)?;
        let served = Served::start(&program(&places.mountpoint)?, device.as_fd(), &options)?;
        // The server has it. Were ours left open, the mount would outlive the server and answer nobody.
        drop(device);
        served.tell(made.place(asked, places)?);
        return Ok(());
    };
    let (device, made) = Made::new(asked, places, &options)?;
    let session = prepared.start(device)?;
    let own = made.place(asked, places)?;
    if asked.server.is_debug {
        say(&format!("mica-fuse: {options:#?}\nmica-fuse: agreed with the kernel: {:#?}", session.agreed()));
    }
    attend(session, &caught, Some(own));
    Ok(())
}

/// A mount without a server yet.
struct Made {
    /// Detached; `None` where it has its place already.
    mount: Option<Mount>,
    /// To be taken down again when there is no server.
    placed: Option<PathBuf>,
}

impl Made {
    /// Makes it by whichever way this process may.
    fn new(asked: &Asked, places: &Places, options: &Options) -> Result<(Device, Self), Failure> {
        let mut how = MountOptions {
            source: options.name.clone(),
            subtype: String::from_utf8_lossy(&asked.mount.subtype).into_owned(),
            uid: effective_uid(),
            gid: effective_gid(),
            default_permissions: true,
            allow_other: asked.mount.open_to != OpenTo::Root,
            max_read: None,
            attrs: asked.mount.attrs,
            more: more(asked),
        };
        how.attrs.set(MountAttrFlags::MOUNT_ATTR_RDONLY, !options.can_write());
        let device = Device::open().map_err(Failure::Device)?;
        match device.mount(&how) {
            Ok(mount) => return Ok((device, Self { mount: Some(mount), placed: None })),
            Err(error) if error.error().errno() == Errno::PERM => {}
            Err(error) => return Err(Failure::Kernel(error)),
        }
        if asked.mount.open_to == OpenTo::Root {
            return Err(Failure::AllowRoot);
        }
        how.allow_other = asked.mount.open_to == OpenTo::Everyone;
        let device = mount_by_helper(&places.mountpoint, &how)?;
        Ok((device, Self { mount: None, placed: Some(places.mountpoint.clone()) }))
    }

    /// Puts the mount where it was asked for, and gives its number in the table of mounts.
    fn place(mut self, asked: &Asked, places: &Places) -> Result<(u32, u32), Failure> {
        if let Some(mount) = self.mount.take() {
            mount.attach(&places.mountpoint).map_err(Failure::Attach)?;
        }
        self.placed = None;
        let own = open_place(&places.mountpoint).and_then(device_of).map_err(Failure::Attach)?;
        if let Some((propagation, is_tree)) = asked.mount.propagation {
            let reach = if is_tree { Reach::Tree } else { Reach::One };
            set_attrs(&places.mountpoint, &SetAttrs::propagation(propagation), reach).map_err(Failure::Attach)?;
        }
        Ok(own)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(placed) = &self.placed {
            match unmount_by_helper(placed) {
                // ignored: the failure that led here is what counts.
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// What every file system can be asked for. SELinux' contexts are no options of a kernel that has it off; mount(8) leaves them away then, too.
fn more(asked: &Asked) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let flags = [(asked.mount.is_sync, "sync"), (asked.mount.is_dirsync, "dirsync")];
    let mut more: Vec<_> = flags.into_iter().filter(|(on, _)| *on).map(|(_, name)| (name, None)).collect();
    if Path::new("/sys/fs/selinux/enforce").exists() {
        more.extend(asked.mount.contexts.iter().map(|(name, value)| (*name, Some(value.clone()))));
    }
    more
}

/// This program as a server, for those who list processes with the mountpoint.
fn program(mountpoint: &Path) -> Result<Program, Failure> {
    let exe = open_place(Path::new("/proc/self/exe")).map_err(Failure::Start)?;
    let words = [SERVER.as_bytes(), mountpoint.as_os_str().as_bytes()];
    // A path that a directory was found by holds no NUL.
    Ok(Program { exe, argv: words.into_iter().filter_map(|word| CString::new(word).ok()).collect() })
}

/// What the union is asked for.
fn options(asked: &Asked, places: &Places) -> Options {
    let upper = places.upper.as_ref().map(|(upper, work)| UpperDirs {
        upper: upper.clone(),
        work: work.clone(),
        volatile: asked.view.is_volatile,
    });
    let marks = asked.view.marks.unwrap_or_else(own_marks);
    let is_plain = !(asked.view.writes_redirects && asked.view.writes_metacopies);
    let usual = Options::new(UnionDirs {
        lowers: places.lowers.clone(),
        upper,
        marks,
        records: asked.view.records,
        ..UnionDirs::default()
    });
    Options {
        ids: asked.owners.clone().settled(),
        name: asked.mount.name.as_deref().map_or(usual.name.clone(), |name| String::from_utf8_lossy(name).into_owned()),
        read_only: asked.view.is_read_only,
        allow_other: asked.mount.open_to != OpenTo::Root,
        acls: asked.view.has_acls,
        xattrs: asked.view.has_xattrs,
        static_links: asked.view.has_static_links,
        features: if is_plain { Features::Basic } else { Features::Full },
        named_whiteouts: asked.view.whiteouts == Whiteouts::Both,
        timeout: asked.server.timeout.unwrap_or(usual.timeout),
        transport: asked.server.transport,
        passthrough: asked.server.passthrough,
        writeback: asked.server.writeback.unwrap_or(usual.writeback),
        threads: asked.server.threads.and_then(|threads| NonZeroUsize::new(threads.into())),
        ..usual
    }
}

/// `trusted.*` where this process may set it, as root of the machine.
fn own_marks() -> Marks {
    let is_initial = in_initial_user_namespace().unwrap_or(false);
    if is_initial && effective_caps().is_ok_and(|caps| caps.has(Caps::SYS_ADMIN)) {
        Marks::Trusted
    } else {
        Marks::User
    }
}

/// Attributes that a remount may change.
const CHANGEABLE: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC)
    .union(MountAttrFlags::MOUNT_ATTR__ATIME)
    .union(MountAttrFlags::MOUNT_ATTR_NODIRATIME)
    .union(MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW);

/// Changes the attributes of a mount of ours that is there (`-o remount`).
pub(crate) fn change(asked: &Asked, mountpoint: &Path, is_trial: bool) -> Result<(), Failure> {
    let missing = || Failure::NotOurs(mountpoint.to_owned());
    let place = open_place(mountpoint).map_err(|_| missing())?;
    let number = device_of(&place).map_err(|_| missing())?;
    let path = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&place)));
    let path = path.unwrap_or_else(|_| mountpoint.to_owned());
    let table = mounts().map_err(Failure::Table)?;
    let there = table.iter().rev().find(|mount| mount.target == path && mount.device == number);
    // A subtype that the mount was given is to be said again: another program's mount is not ours to change.
    let subtype = String::from_utf8_lossy(&asked.mount.subtype);
    let ours = if subtype.is_empty() { "fuse".to_owned() } else { format!("fuse.{subtype}") };
    if there.is_none_or(|mount| mount.fstype != ours) {
        return Err(missing());
    }
    if is_trial {
        return Ok(());
    }
    let mut attrs = asked.mount.attrs;
    attrs.set(MountAttrFlags::MOUNT_ATTR_RDONLY, asked.view.is_read_only);
    // Access times are one choice of several: all of it is cleared before one is set (mount_setattr(2)).
    let clear = (CHANGEABLE - attrs) | MountAttrFlags::MOUNT_ATTR__ATIME;
    set_attrs(&path, &SetAttrs { set: attrs, clear, ..SetAttrs::default() }, Reach::One).map_err(Failure::Change)
}
