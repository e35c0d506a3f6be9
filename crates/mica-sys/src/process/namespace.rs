//! Namespaces: which ones are new, how another's is joined, and what is set in a new one.
#![allow(unsafe_code, reason = "ioctl(2) on a network interface")]

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};

use rustix::mount::{UnmountFlags, unmount};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::LinkNameSpaceType;

use super::{failed, last_errno};
use crate::SysError;

/// A set of kinds of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces {
    /// Mounts.
    pub mount: bool,
    /// Process numbers.
    pub pid: bool,
    /// Host and domain name.
    pub uts: bool,
    /// System V IPC and POSIX message queues.
    pub ipc: bool,
    /// Network interfaces, addresses, routes, sockets.
    pub network: bool,
    /// The root of what is seen of the control groups.
    pub cgroup: bool,
}

impl Namespaces {
    const fn parts(self) -> [(bool, i32, &'static str); 6] {
        [
            (self.mount, libc::CLONE_NEWNS, "mount"),
            (self.pid, libc::CLONE_NEWPID, "pid"),
            (self.uts, libc::CLONE_NEWUTS, "uts"),
            (self.ipc, libc::CLONE_NEWIPC, "ipc"),
            (self.network, libc::CLONE_NEWNET, "network"),
            (self.cgroup, libc::CLONE_NEWCGROUP, "cgroup"),
        ]
    }

    /// Their `CLONE_NEW…` bits.
    pub(super) fn clone_flags(self) -> i32 {
        self.parts().iter().filter(|(on, ..)| *on).fold(0, |flags, (_, flag, _)| flags | flag)
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.parts().iter().filter(|(on, ..)| *on).map(|(_, _, name)| *name).collect();
        write!(f, "{}", names.join(","))
    }
}

/// Enters the one namespace of `kind` that `fd` is open on (`/proc/PID/ns/KIND`). For `pid`, the children of this process do.
pub fn join_namespace(fd: impl AsFd, kind: Namespaces) -> Result<(), SysError> {
    let wanted = match kind.clone_flags() {
        libc::CLONE_NEWNS => LinkNameSpaceType::Mount,
        libc::CLONE_NEWPID => LinkNameSpaceType::ProcessID,
        libc::CLONE_NEWUTS => LinkNameSpaceType::HostNameAndNISDomainName,
        libc::CLONE_NEWIPC => LinkNameSpaceType::InterProcessCommunication,
        libc::CLONE_NEWNET => LinkNameSpaceType::Network,
        libc::CLONE_NEWCGROUP => LinkNameSpaceType::ControlGroup,
        _ => return Err(failed("setns", kind.to_string())(rustix::io::Errno::INVAL)),
    };
    rustix::thread::move_into_link_name_space(fd.as_fd(), Some(wanted)).map_err(failed("setns", kind.to_string()))
}

/// Sets the host name of this UTS namespace.
pub fn set_host_name(name: &[u8]) -> Result<(), SysError> {
    rustix::system::sethostname(name).map_err(failed("sethostname", name))
}

/// Sets the NIS domain name of this UTS namespace.
pub fn set_domain_name(name: &[u8]) -> Result<(), SysError> {
    rustix::system::setdomainname(name).map_err(failed("setdomainname", name))
}

/// Brings the loopback interface of this network namespace up; the kernel gives it 127.0.0.1 and ::1.
pub fn loopback_up() -> Result<(), SysError> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(failed("socket", "inet"))?;
    // SAFETY: plain numbers and a union of such: all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the request is an ifreq, as SIOCGIFFLAGS asks, and lives over the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) } < 0 {
        return Err(failed("ioctl SIOCGIFFLAGS", "lo")(last_errno()));
    }
    // SAFETY: SIOCGIFFLAGS has just filled this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | i16::try_from(libc::IFF_UP).unwrap_or(1);
    // SAFETY: as for SIOCGIFFLAGS.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } < 0 {
        return Err(failed("ioctl SIOCSIFFLAGS", "lo")(last_errno()));
    }
    Ok(())
}

/// Makes the mount that `root` is the root of this mount namespace's root, and drops the old one with all that is mounted below
/// it. The working directory is the new root after.
pub fn pivot_into(root: impl AsFd) -> Result<(), SysError> {
    rustix::process::fchdir(root).map_err(failed("fchdir", "new root"))?;
    // With both names the same the old root is stacked on the new one, at ".", and needs no directory of its own (pivot_root(2), NOTES).
    rustix::process::pivot_root(".", ".").map_err(failed("pivot_root", ""))?;
    unmount(".", UnmountFlags::DETACH).map_err(failed("umount2", "old root"))?;
    rustix::process::chdir("/").map_err(failed("chdir", "/"))
}

/// Makes the opened directory this process's working directory.
pub fn change_directory(fd: impl AsFd) -> Result<(), SysError> {
    rustix::process::fchdir(fd).map_err(failed("fchdir", ""))
}

/// The path of the working directory as the kernel sees it; `(unreachable)` comes first when it is outside the root.
pub fn working_directory() -> Result<Vec<u8>, SysError> {
    rustix::process::getcwd(Vec::new()).map(std::ffi::CString::into_bytes).map_err(failed("getcwd", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_names_its_members_and_sums_their_flags() {
        let set = Namespaces { mount: true, network: true, ..Namespaces::default() };
        assert_eq!(set.to_string(), "mount,network");
        assert_eq!(set.clone_flags(), libc::CLONE_NEWNS | libc::CLONE_NEWNET);
        assert_eq!(Namespaces::default().clone_flags(), 0);
    }

    #[test]
    fn joining_takes_exactly_one_kind() {
        let here = std::fs::File::open("/proc/self/ns/uts").unwrap();
        let two = Namespaces { uts: true, ipc: true, ..Namespaces::default() };
        assert!(join_namespace(&here, two).unwrap_err().to_string().contains("uts,ipc"));
    }
}
