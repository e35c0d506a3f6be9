//! Mounting by `fusermount3`, for users without the right to mount.

use std::ffi::OsString;
use std::io;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg, socketpair,
};

use super::{Device, MountOptions};
use crate::SysError;

/// The program; it is found by `PATH`.
const PROGRAM: &str = "fusermount3";

/// What it takes the number of a socket from, by which it gives the device.
const SOCKET: &str = "_FUSE_COMMFD";

/// A mount that `fusermount3` did not make or take down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelperError {
    /// It cannot be started: most often it is not installed.
    #[error("cannot run {PROGRAM}")]
    Start(#[source] io::Error),
    /// It says no.
    #[error("{said}")]
    Refused {
        /// What it said, on one line.
        said: String,
    },
    /// It ended well and gave no device.
    #[error("{PROGRAM} gave no device")]
    NoDevice,
    /// The socket between us.
    #[error("cannot talk to {PROGRAM}")]
    Socket(#[source] SysError),
}

/// Lets `fusermount3` open the device and mount it at `target`, a directory of the caller's.
///
/// # Errors
/// [`HelperError`]; nothing is mounted then.
pub fn mount_by_helper(target: &Path, options: &MountOptions) -> Result<Device, HelperError> {
    let failed = |call| move |errno| HelperError::Socket(SysError::new(call, PROGRAM, errno));
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(failed("socketpair"))?;
    let mut command = Command::new(PROGRAM);
    command.arg("-o").arg(option_text(options)).arg("--").arg(target);
    command.env(SOCKET, theirs.as_raw_fd().to_string());
    // `^C` ends whoever called, and not the helper between its mount and its word of it.
    command.process_group(0);
    let number = theirs.as_raw_fd();
    let keep_open = move || {
        // SAFETY: fcntl is safe after a fork and changes this process's copy alone; the descriptor is open in the parent until
        // the child was started, and so in the child.
        let done = unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: what runs between fork and exec is one fcntl, which allocates nothing and takes no lock.
    unsafe { command.pre_exec(keep_open) };
    let ended = run(&mut command);
    drop(theirs);
    ended?;
    receive(&ours).map_err(failed("recvmsg"))?.map(Device::from).ok_or(HelperError::NoDevice)
}

/// Lets `fusermount3` take down what is mounted at `target`, also while it is in use: then it goes when the last user has.
///
/// # Errors
/// [`HelperError`].
pub fn unmount_by_helper(target: &Path) -> Result<(), HelperError> {
    run(Command::new(PROGRAM).args(["-u", "-z", "--"]).arg(target))
}

/// The helper's options, separated by commas; a comma in a name is escaped by a backslash.
fn option_text(options: &MountOptions) -> OsString {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace(',', "\\,");
    let mut all = vec![format!("fsname={}", escaped(&options.source))];
    if !options.subtype.is_empty() {
        all.push(format!("subtype={}", escaped(&options.subtype)));
    }
    if let Some(most) = options.max_read {
        all.push(format!("max_read={most}"));
    }
    let flags = [
        (options.default_permissions, "default_permissions"),
        (options.allow_other, "allow_other"),
        (options.attrs.contains(MountAttrFlags::MOUNT_ATTR_RDONLY), "ro"),
        // nosuid and nodev are not ours to choose here: the helper sets both.
        (options.attrs.contains(MountAttrFlags::MOUNT_ATTR_NOEXEC), "noexec"),
        (options.attrs.contains(MountAttrFlags::MOUNT_ATTR_NOATIME), "noatime"),
    ];
    all.extend(flags.into_iter().filter(|(on, _)| *on).map(|(_, name)| name.to_owned()));
    all.extend(options.more.iter().map(|(key, value)| match value {
        Some(value) => format!("{key}={}", escaped(&String::from_utf8_lossy(value))),
        None => (*key).to_owned(),
    }));
    all.join(",").into()
}

fn run(command: &mut Command) -> Result<(), HelperError> {
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let Output { status, stderr, .. } = output.map_err(HelperError::Start)?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    Err(HelperError::Refused { said: if said.is_empty() { format!("{PROGRAM}: {status}") } else { said } })
}

/// The descriptor that came; `None` when the other end is gone and sent none.
fn receive(socket: &OwnedFd) -> Result<Option<OwnedFd>, Errno> {
    let mut byte = [0_u8; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    Ok(ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_separated_by_commas_and_names_are_escaped() {
        let options = MountOptions {
            source: "a,b\\c".to_owned(),
            subtype: "mica".to_owned(),
            uid: 0,
            gid: 0,
            default_permissions: true,
            allow_other: false,
            max_read: Some(65536),
            attrs: MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV,
            more: vec![("sync", None), ("context", Some(b"c1,c2".to_vec()))],
        };
        let text = r"fsname=a\,b\\c,subtype=mica,max_read=65536,default_permissions,ro,sync,context=c1\,c2";
        assert_eq!(option_text(&options), text);
    }
}
