//! A user namespace of this process's own, in which it is root: entered in place, so that the process keeps its number, its
//! terminal and its place in the shell's job.
//!
//! The kernel lets an ordinary user write one row of a map: its own ID. More rows are written by `newuidmap` and `newgidmap`, which are
//! set-uid programs and so have to stand outside, where their file's owner is mapped. Root that may not mount, as a container has it, can write
//! such a map by itself, from a child outside:
//!
//! ```text
//! this process:   fork, fork     unshare     "go" ──┐                       look at the map, go on as root
//! two children:   wait for "go" ────────────────────┴─ exec newuidmap, newgidmap
//! ```
#![allow(unsafe_code, reason = "unshare(2) of several namespaces at once, ioctl(2) on a namespace, prctl(2)")]

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use super::exec::{Fork, exec, exit_now, fork, redirect};
use super::id_map::{IdMaps, IdRow, id_maps};
use super::wait::{Ended, wait_for};
use super::{failed, last_errno};
use crate::SysError;

/// How much of what a program says is kept, in bytes.
const SAID: u64 = 4096;

/// Exit status of a child that could not become the program.
const NOT_RUN: u8 = 127;

/// The set-uid programs that write maps for ordinary users, by their paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapPrograms {
    /// `newuidmap`.
    pub uids: PathBuf,
    /// `newgidmap`.
    pub gids: PathBuf,
}

/// Which map a new user namespace gets.
#[derive(Debug, Clone, Copy)]
pub enum NewMap<'a> {
    /// The effective user and group as 0, and nobody else. `setgroups` is denied in it.
    Own,
    /// These rows, written by these programs.
    By(&'a MapPrograms, &'a IdMaps),
    /// All IDs of the namespace that is left, each as itself. Written by a child outside, which needs `CAP_SETUID`, `CAP_SETGID` and, for 0,
    /// `CAP_SETFCAP` (Linux 5.12).
    All,
}

/// Why a user namespace was not entered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// The kernel made no user namespace. The process is where it was.
    #[error("cannot make a user namespace")]
    NotMade(#[source] SysError),
    /// The namespace is made, and its map is not what was asked for, by the word of the program that should have written it. The process is to
    /// end: it is nobody there.
    #[error("{} did not map {} ({}){}", program.display(), rows(asked), ended(*status), behind(said))]
    Refused {
        /// Which program.
        program: PathBuf,
        /// The rows that it was asked for.
        asked: Vec<IdRow>,
        /// How it ended; `None` where somebody else took the word of it away.
        status: Option<Ended>,
        /// What it said, on one line.
        said: String,
    },
    /// Another call did not do what was asked. The process is to end.
    #[error(transparent)]
    Sys(#[from] SysError),
}

fn rows(rows: &[IdRow]) -> String {
    rows.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn ended(status: Option<Ended>) -> String {
    match status {
        Some(Ended::Code(code)) => format!("exit status {code}"),
        Some(Ended::Signal(signal)) => format!("signal {signal}"),
        None => "exit status unknown".to_owned(),
    }
}

fn behind(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

/// Enters a new user namespace and a new mount namespace that belongs to it, as root there. What is mounted from now on is seen in this namespace
/// alone, while mounts made outside go on to show here: the kernel makes the new tree a slave of the old one, since their owners differ.
///
/// To be called before the process has a second thread (the kernel answers `EINVAL` after).
///
/// # Errors
/// [`EnterError`], whose variants say whether the process can go on.
pub fn enter_user_namespace(map: NewMap<'_>) -> Result<(), EnterError> {
    match map {
        NewMap::Own => {
            let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            unshare().map_err(EnterError::NotMade)?;
            // Without CAP_SETGID outside, a map of groups is taken only after this (user_namespaces(7)): else a user could leave a
            // group that a file's mode shuts out.
            write_proc("/proc/self/setgroups", "deny")?;
            write_proc("/proc/self/uid_map", &format!("0 {uid} 1\n"))?;
            Ok(write_proc("/proc/self/gid_map", &format!("0 {gid} 1\n"))?)
        }
        NewMap::By(programs, maps) => by_programs(programs, maps),
        NewMap::All => all(),
    }
}

fn all() -> Result<(), EnterError> {
    let mut maps = id_maps()?;
    for row in maps.uids.iter_mut().chain(&mut maps.gids) {
        row.outside = row.inside;
    }
    let files = [("uid_map", &maps.uids), ("gid_map", &maps.gids)].map(|(file, rows)| {
        let line = |row: &IdRow| format!("{} {} {}\n", row.inside, row.outside, row.count);
        (format!("/proc/{}/{file}", std::process::id()), rows.iter().map(line).collect::<String>())
    });
    let (waits, go) = pipe_with(PipeFlags::CLOEXEC).map_err(failed("pipe2", ""))?;
    let writer = match fork()? {
        Fork::Parent(writer) => writer,
        Fork::Child => {
            drop(go);
            let written = told(&waits)
                .and_then(|told| files.iter().take_while(|_| told).try_for_each(|(path, text)| write_proc(path, text)));
            exit_now(written.map_or_else(|error| error.errno().raw_os_error().try_into().unwrap_or(NOT_RUN), |()| 0));
        }
    };
    drop(waits);
    let unshared = unshare();
    if unshared.is_ok() {
        // A writer that died early leaves its status as word of it.
        match File::from(go).write_all(b"g") {
            Ok(()) | Err(_) => {}
        }
    } else {
        drop(go);
    }
    let ended = wait_for(writer);
    unshared.map_err(EnterError::NotMade)?;
    // The map is the truth; the status may be lost where SIGCHLD is ignored.
    if id_maps()? == maps {
        return Ok(());
    }
    let errno = match ended {
        Ok(Ended::Code(errno)) => Errno::from_raw_os_error(errno.into()),
        Ok(Ended::Signal(_)) | Err(_) => Errno::IO,
    };
    Err(failed("write", "uid_map, gid_map")(errno).into())
}

fn by_programs(programs: &MapPrograms, maps: &IdMaps) -> Result<(), EnterError> {
    let (waits, go) = pipe_with(PipeFlags::CLOEXEC).map_err(failed("pipe2", ""))?;
    let (uids, go) = Helper::start(&programs.uids, &maps.uids, &waits, go)?;
    let (gids, go) = match Helper::start(&programs.gids, &maps.gids, &waits, go) {
        Ok(started) => started,
        Err(error) => {
            // The pipe is closed with what was returned, so it ends by itself.
            uids.end()?;
            return Err(error.into());
        }
    };
    drop(waits);
    if let Err(error) = unshare() {
        drop(go);
        uids.end()?;
        gids.end()?;
        return Err(EnterError::NotMade(error));
    }
    // A helper that died early leaves word of it; the pipe's end being gone is none.
    match File::from(go).write_all(b"gg") {
        Ok(()) | Err(_) => {}
    }
    let (uids, gids) = (uids.end()?, gids.end()?);
    let now = id_maps()?;
    for (word, program, is, asked) in
        [(uids, &programs.uids, &now.uids, &maps.uids), (gids, &programs.gids, &now.gids, &maps.gids)]
    {
        // The map is the truth; the exit status may be lost where SIGCHLD is ignored.
        if is != asked {
            let (status, said) = word;
            return Err(EnterError::Refused { program: program.clone(), asked: asked.clone(), status, said });
        }
    }
    Ok(())
}

fn unshare() -> Result<(), SysError> {
    // SAFETY: changes what this process belongs to, and no memory.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) } < 0 {
        return Err(failed("unshare", "user,mount")(last_errno()));
    }
    Ok(())
}

fn write_proc(path: &str, text: &str) -> Result<(), SysError> {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let mut file = File::options().write(true).open(path).map_err(|error| failed("open", path)(errno(error)))?;
    // One write: the kernel takes a map whole or not at all.
    file.write_all(text.as_bytes()).map_err(|error| failed("write", path)(errno(error)))
}

/// A child outside of the namespace that is to become one of the programs.
struct Helper {
    pid: Pid,
    said: OwnedFd,
}

impl Helper {
    /// Forks the child. It waits for a byte of `waits` and ends where none can come any more; so it must not hold `go`, and `go` must not
    /// outlive an error here.
    fn start(program: &Path, rows: &[IdRow], waits: &OwnedFd, go: OwnedFd) -> Result<(Self, OwnedFd), SysError> {
        let (said, says) = pipe_with(PipeFlags::CLOEXEC).map_err(failed("pipe2", ""))?;
        let name = program.as_os_str().as_encoded_bytes();
        let word = |bytes: &[u8]| CString::new(bytes).map_err(|_| failed("execve", bytes)(Errno::INVAL));
        let path = word(name)?;
        let mut argv = vec![path.clone(), word(std::process::id().to_string().as_bytes())?];
        for row in rows {
            for number in [row.inside, row.outside, row.count] {
                argv.push(word(number.to_string().as_bytes())?);
            }
        }
        match fork()? {
            Fork::Parent(pid) => Ok((Self { pid, said }, go)),
            Fork::Child => {
                drop(go);
                let error = match become_it(waits, &says, &path, &argv) {
                    Ok(()) => exit_now(NOT_RUN),
                    Err(error) => error,
                };
                // ignored: whoever read it is gone.
                match File::from(says).write_all(error.to_string().as_bytes()) {
                    Ok(()) | Err(_) => exit_now(NOT_RUN),
                }
            }
        }
    }

    /// Waits for its end and tells how it ended and what it said.
    fn end(self) -> Result<(Option<Ended>, String), SysError> {
        let mut said = Vec::new();
        let read = File::from(self.said).take(SAID).read_to_end(&mut said);
        read.map_err(|error| failed("read", "pipe")(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        let said = String::from_utf8_lossy(&said);
        let said = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        match wait_for(self.pid) {
            Ok(ended) => Ok((Some(ended), said)),
            // Whoever ignores SIGCHLD has the kernel take the record away.
            Err(error) if error.errno() == Errno::CHILD => Ok((None, said)),
            Err(error) => Err(error),
        }
    }
}

/// Becomes the program once told to; `Ok` when nobody will tell.
fn become_it(waits: &OwnedFd, says: &OwnedFd, path: &CString, argv: &[CString]) -> Result<(), SysError> {
    if !told(waits)? {
        return Ok(());
    }
    redirect(says, 1)?;
    redirect(says, 2)?;
    // Without LANG and its like, what it says is in the words that its sources have.
    Err(exec(path, argv, &[]))
}

/// Waits to be told to go on; whether that came, and not the end of who would tell.
fn told(waits: &OwnedFd) -> Result<bool, SysError> {
    let mut go = [0_u8; 1];
    let told = rustix::io::retry_on_intr(|| rustix::io::read(waits, &mut go)).map_err(failed("read", "pipe"))?;
    Ok(told > 0)
}

/// Whether this process's mount namespace belongs to its user namespace, so that its root may mount.
///
/// # Errors
/// Of `open`, `stat`, or `ioctl`.
pub fn owns_mount_namespace() -> Result<bool, SysError> {
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    let opened = File::open("/proc/self/ns/mnt");
    let mounts = opened
        .map_err(|error| failed("open", "/proc/self/ns/mnt")(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    // SAFETY: takes a descriptor and no argument, gives a new descriptor.
    let owner = unsafe { libc::ioctl(mounts.as_fd().as_raw_fd(), NS_GET_USERNS) };
    if owner < 0 {
        return match last_errno() {
            // Its owner is further out than this process can see (ioctl_ns(2)).
            Errno::PERM => Ok(false),
            errno => Err(failed("ioctl NS_GET_USERNS", "/proc/self/ns/mnt")(errno)),
        };
    }
    // SAFETY: the call gave a new descriptor, which nothing else owns.
    let owner = unsafe { OwnedFd::from_raw_fd(owner) };
    let owner = rustix::fs::fstat(owner).map_err(failed("fstat", "owner of the mount namespace"))?;
    let own = rustix::fs::stat("/proc/self/ns/user").map_err(failed("stat", "/proc/self/ns/user"))?;
    Ok((owner.st_dev, owner.st_ino) == (own.st_dev, own.st_ino))
}

/// Whether no program that this process runs can gain rights, set-uid ones included (`PR_SET_NO_NEW_PRIVS`).
#[must_use]
pub fn has_no_new_privs() -> bool {
    // SAFETY: asks; changes nothing.
    unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_stays_where_it_is() {
        let before = id_maps().unwrap();
        std::thread::scope(|scope| {
            let (go, wait) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || wait.recv());
            assert!(matches!(enter_user_namespace(NewMap::Own), Err(EnterError::NotMade(_))));
            let programs = MapPrograms { uids: "/bin/true".into(), gids: "/bin/true".into() };
            let maps = IdMaps::single(0, 0);
            let error = enter_user_namespace(NewMap::By(&programs, &maps)).unwrap_err();
            assert!(matches!(error, EnterError::Sys(_)), "{error}");
            drop(go);
        });
        assert_eq!(id_maps().unwrap(), before);
    }

    #[test]
    fn a_refusal_says_who_what_and_why_on_one_line() {
        let error = EnterError::Refused {
            program: "/usr/bin/newuidmap".into(),
            asked: vec![IdRow { inside: 0, outside: 1000, count: 1 }, IdRow { inside: 1, outside: 7, count: 9 }],
            status: Some(Ended::Code(1)),
            said: "newuidmap: uid range [1-10) -> [7-16) not allowed".into(),
        };
        assert_eq!(
            error.to_string(),
            "/usr/bin/newuidmap did not map 0:1000:1,1:7:9 (exit status 1): newuidmap: uid range [1-10) -> [7-16) not allowed"
        );
    }
}
