//! A server process: the same executable, which serves one mount and ends with it.
//!
//! It is started with three descriptors and nothing else: the device, which is that of a mount already; the options, in a file in
//! memory; and one end of a pair of sockets, by which it says that the mount answers, or why not. What starts it waits for that word and goes its way:
//! the process that is spawned forks and ends, so that nobody has to await the server.
//!
//! ```text
//! starter                          server
//!   mounts, spawns  ------------->   takes 3, 4, 5; forks; the parent ends
//!                   <--- "+" or "-why"   opens all, starts its threads
//!   the mount's device number --->   by which it finds the mount when it shall end
//! ```

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use mica_sys::fuse::{Device, unmount_by_helper};
use mica_sys::mount::{UnmountFlags, mounts, unmount};
use mica_sys::process::{
    Caught, Control, FIRST_FD, Fork, Interest, Limit, Namespaces, Signal, Spawn, change_directory, fork, ignore,
    new_session, poll, raise_limit, redirect, sealed_copy, set_umask, spawn, take_inherited, unblock_all, wait_for,
};
use mica_sys::{Dir, Errno, SysError};

use super::super::NAME;
use super::{Options, OptionsError, Session};
use crate::UnionError;

/// A program that serves mounts when it is started with these words: it calls [`serve_inherited`].
#[derive(Debug)]
pub struct Program {
    /// Its file, open by `O_PATH` or for reading.
    pub exe: OwnedFd,
    /// Its arguments, the name first.
    pub argv: Vec<CString>,
}

/// What the server says when the mount answers.
const READY: &[u8] = b"+";
/// What stands before the reason when it does not.
const REFUSED: u8 = b'-';

/// A server that has said that its mount answers.
#[derive(Debug)]
pub struct Served {
    control: Control,
}

impl Served {
    /// Starts `program` as the server of the mount that `device` belongs to, and waits until the mount answers.
    ///
    /// # Errors
    /// [`UnionError::Server`]; [`UnionError::Serve`] where the process cannot be started.
    pub fn start(program: &Program, device: BorrowedFd<'_>, options: &Options) -> Result<Self, UnionError> {
        let refused = |source| UnionError::Serve { driver: NAME, source };
        let lines = sealed_copy("mica-options", &mut options.to_lines().as_slice())
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            .map_err(|errno| refused(SysError::new("memfd_create", "options", errno)))?;
        let (ours, theirs) = Control::pair().map_err(refused)?;
        let fds = [device, lines.as_fd(), theirs.as_fd()];
        let what =
            Spawn { exe: program.exe.as_fd(), argv: &program.argv, namespaces: Namespaces::default(), fds: &fds };
        let spawned = spawn(&what).map_err(refused)?;
        // Its end is closed here: when the server ends without a word, nothing more can come.
        drop(theirs);
        wait_for(spawned.pid).map_err(refused)?;
        let word = ours.receive().map_err(refused)?.map(|packet| packet.bytes).unwrap_or_default();
        match word.split_first() {
            Some(_) if word == READY => Ok(Self { control: ours }),
            Some((&REFUSED, why)) => {
                Err(UnionError::Server { driver: NAME, said: format!("says: {}", String::from_utf8_lossy(why)) })
            }
            _ => Err(UnionError::Server { driver: NAME, said: "ended before the mount answered".to_owned() }),
        }
    }

    /// Tells the server which mount is its own: major and minor of its device number.
    pub fn tell(&self, (major, minor): (u32, u32)) {
        match self.control.send(format!("{major}:{minor}").as_bytes(), None) {
            // ignored: a server that does not know its mount ends without taking it down.
            Ok(()) | Err(_) => {}
        }
    }
}

/// Why a server process ended early. The starter has been told already, where it could be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// It was not started as a server.
    #[error("not started by a process that mounts")]
    Start(#[source] SysError),
    /// It cannot outlive what started it.
    #[error("cannot become a process of its own")]
    Fork(#[source] SysError),
    /// The options are not understood.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The mount cannot be served.
    #[error(transparent)]
    Union(#[from] UnionError),
}

/// Serves the mount whose device this process was started with, until the mount is gone or a signal comes ([`listen`]).
///
/// To be called first thing: this process forks, and the descriptors from 3 on are taken. Returns in the first process at once.
///
/// # Errors
/// [`ServerError`].
pub fn serve_inherited() -> Result<(), ServerError> {
    let start = ServerError::Start;
    let mut taken = take_inherited(FIRST_FD, 3).map_err(start)?.into_iter();
    let (Some(device), Some(lines), Some(control)) = (taken.next(), taken.next(), taken.next()) else {
        return Err(start(SysError::new("fcntl", "descriptors", Errno::BADF)));
    };
    let control = Control::from(control);
    match fork().map_err(ServerError::Fork) {
        Ok(Fork::Parent(_)) => return Ok(()),
        Ok(_) => {}
        Err(error) => {
            // ignored: who started us may be gone already.
            control.send(&refusal(&error), None).ok();
            return Err(error);
        }
    }
    let served = begin(device, lines);
    let word = match &served {
        Ok(_) => READY.to_vec(),
        Err(error) => refusal(error),
    };
    let told = control.send(&word, None);
    let (session, caught) = served?;
    // Who started us may be gone already: then the mount is what counts.
    let own = match told {
        Ok(()) => control.receive().ok().flatten().and_then(|packet| device_number(&packet.bytes)),
        Err(_) => None,
    };
    drop(control);
    attend(session, &caught, own);
    Ok(())
}

/// The word that says why the mount does not answer.
fn refusal(error: &ServerError) -> Vec<u8> {
    let mut word = [&[REFUSED], chain(error).as_bytes()].concat();
    word.truncate(Control::MAX);
    word
}

/// The error with its causes, on one line.
fn chain(error: &ServerError) -> String {
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        line.push_str(": ");
        line.push_str(&next.to_string());
        cause = next.source();
    }
    line.replace('\n', " ")
}

fn device_number(bytes: &[u8]) -> Option<(u32, u32)> {
    let (major, minor) = std::str::from_utf8(bytes).ok()?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn begin(device: OwnedFd, lines: OwnedFd) -> Result<(Session, Caught), ServerError> {
    settle_down().map_err(ServerError::Start)?;
    let caught = listen().map_err(ServerError::Start)?;
    unblock_all().map_err(ServerError::Start)?;
    let mut file = mica_sys::File::from_fd(lines, b"options");
    let options = Options::parse(&file.read_all(u64::from(u32::MAX)).map_err(ServerError::Start)?)?;
    drop(file);
    Ok((Session::start(Device::from(device), &options)?, caught))
}

/// Leaves what the server has no need of: the caller's terminal, directory and session.
fn settle_down() -> Result<(), SysError> {
    set_umask(0);
    new_session()?;
    change_directory(Dir::open(Path::new("/"))?)?;
    let null = open_null()?;
    for stdio in 0..=2 {
        redirect(&null, stdio)?;
    }
    // It makes the server live better and is not needed: a container's memory running out must not take its file system first.
    match fs::write("/proc/self/oom_score_adj", "-900") {
        Ok(()) | Err(_) => {}
    }
    Ok(())
}

/// Listens to what asks a server to end, and has it live through all else that can be lived through: what would end any other process leaves a
/// mount that answers nobody. A signal that means something to another program (fuse-overlayfs tells numbers on `USR1`) is dropped. Of its starter's limits a server takes
/// the hard ones alone, as far as they would end it or keep clients from writing: open files are what clients have most of, a file that is too long is told
/// to its writer (`EFBIG`).
///
/// # Errors
/// Of a system call; `EBUSY` where this process listens already.
pub fn listen() -> Result<Caught, SysError> {
    let caught = Caught::new(&[Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT])?;
    ignore(&[Signal::USR1, Signal::USR2, Signal::ALRM, Signal::VTALRM, Signal::PROF, Signal::XCPU, Signal::XFSZ])?;
    for limit in [Limit::OpenFiles, Limit::FileSize, Limit::Cpu] {
        match raise_limit(limit) {
            Ok(_) | Err(_) => {}
        }
    }
    Ok(caught)
}

fn open_null() -> Result<OwnedFd, SysError> {
    Dir::open(Path::new("/dev"))?.open_file_for(b"null", mica_sys::Access::ReadWrite).map(mica_sys::File::into_fd)
}

/// Waits until the mount is gone, or ends it when a signal says so. `own` is the device number of the mount, which is taken down then.
pub fn attend(session: Session, caught: &Caught, own: Option<(u32, u32)>) {
    let session = Arc::new(session);
    let Ok((ended, ends)) = Control::pair() else { return session.wait() };
    let waiting = Arc::clone(&session);
    let waiter = std::thread::Builder::new().name("mica-wait".to_owned()).spawn(move || {
        waiting.wait();
        drop(ends);
    });
    if waiter.is_err() {
        return session.wait();
    }
    loop {
        let interests = [
            Interest { fd: caught.as_fd(), read: true, write: false },
            Interest { fd: ended.as_fd(), read: true, write: false },
        ];
        let Ok(ready) = poll(&interests) else { return session.wait() };
        if ready.get(1).is_some_and(|ended| ended.read) {
            return;
        }
        if matches!(caught.next(), Ok(Some(_))) {
            if let Some(own) = own {
                take_down(own);
            }
            session.stop();
            session.wait();
            return;
        }
    }
}

/// Takes the mount away from wherever it is in this process's namespace. In others it stays, and answers no more.
fn take_down(own: (u32, u32)) {
    for mount in mounts().unwrap_or_default().iter().rev().filter(|mount| mount.device == own) {
        match unmount(&mount.target, UnmountFlags::DETACH) {
            // Who had the helper mount has it unmount.
            Err(error) if error.is_denied() => match unmount_by_helper(&mount.target) {
                // ignored: there is nobody to tell, and the mount answers no more.
                Ok(()) | Err(_) => {}
            },
            // ignored: as above.
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_device_is_read_or_nothing() {
        assert_eq!(device_number(b"0:57"), Some((0, 57)));
        assert_eq!((device_number(b""), device_number(b"0"), device_number(b"0:x")), (None, None, None));
    }

    #[test]
    fn an_error_is_one_line_with_its_causes() {
        let cause = SysError::new("open", "/a\nb", Errno::NOENT);
        let error = ServerError::Union(UnionError::Open { driver: NAME, role: crate::Role::Lower(2), source: cause });
        let line = chain(&error);
        assert!(!line.contains('\n') && line.contains("lower 2") && line.contains("No such file"), "{line}");
    }
}
