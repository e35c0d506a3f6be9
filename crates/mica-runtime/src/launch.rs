//! A container from the caller's side: started, told signals, awaited.
//!
//! Without a terminal of its own the container has the caller's descriptors 0, 1 and 2 as they are, but its processes are in sessions of
//! their own: `^C` reaches the caller alone, which passes it on, so that it arrives once. What the keyboard sends goes to the command's
//! whole process group, as a terminal would have done; what another process sends to the caller goes to the command alone.
//! A signal that the caller was started ignoring (`nohup`) stays ignored. Job control's stops are not passed on: `^Z` stops the caller.

use std::ffi::CString;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use mica_sys::process::{
    Caught, CaughtSignal, Control, Ended, Interest, Packet, Signal, Spawn, Spawned, memory_file, poll,
    send_signal_pidfd, spawn, wait_for, window_size,
};
use oci_spec::runtime::Spec;

use crate::child::CHILD_ARG;
use crate::error::{At, Cause, RuntimeError, Step};
use crate::ids::Ids;
use crate::relay::Relay;
use crate::wire::{End, Message, Request, Terminal, signal_packet};
use crate::{exe, supported};

/// The signals that are passed on to the command while the caller waits.
const PASSED_ON: [Signal; 8] =
    [Signal::HUP, Signal::INT, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::ALRM, Signal::TERM, Signal::WINCH];

/// What the command reads from and writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// The caller's descriptors 0, 1 and 2, as they are.
    Inherit,
    /// A terminal from the container's own devpts. While the container is awaited the caller's descriptors 0 and 1 play its keyboard and
    /// screen; a terminal at 0 is in raw mode meanwhile and put back on every way out.
    Tty,
}

/// A container to start.
#[derive(Debug)]
pub struct Launch {
    /// What to run and in what. Its `root.path` is not used, `process.terminal` neither.
    pub spec: Spec,
    /// The root file system, as a detached mount (fsmount(2), open_tree(2)). It must not be attached or used elsewhere.
    pub root: OwnedFd,
    /// What the command reads from and writes to.
    pub stdio: Stdio,
    /// Further detached mounts and where inside the root they go, made in this order before the spec's own; a missing
    /// target is made.
    pub extra_mounts: Vec<(OwnedFd, PathBuf)>,
}

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// The exit code that a shell shows: the command's own, or 128 + the signal.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(signal).unwrap_or(u8::MAX).saturating_add(128),
        }
    }
}

impl From<End> for Exit {
    fn from(end: End) -> Self {
        match end {
            End::Code(code) => Self::Code(code),
            End::Signal(signal) => Self::Signal(signal),
        }
    }
}

/// A started container. Dropping it ends it, as does the end of the thread that started it.
#[derive(Debug)]
pub struct Container {
    init: Spawned,
    control: Control,
    caught: Caught,
    awaited: bool,
}

/// Starts a container and waits for its command's end.
///
/// # Errors
/// Those of [`start`] and [`Container::wait`].
pub fn run(launch: Launch) -> Result<Exit, RuntimeError> {
    start(launch)?.wait()
}

/// Starts a container: when this returns, its init runs and puts the root together. What fails there is [`Container::wait`]'s error.
///
/// Only one container at a time can be started and awaited by one process, since signals are the process's.
///
/// # Errors
/// [`RuntimeError::Unsupported`], [`RuntimeError::Spec`] and [`RuntimeError::NotMapped`] before anything is done; [`RuntimeError::Setup`].
pub fn start(mut launch: Launch) -> Result<Container, RuntimeError> {
    let namespaces = supported::check(&launch.spec)?;
    let ids = Ids::of_this_process()?;
    ids.fit(&mut launch.spec)?;
    let request = hand_over(&launch, &ids)?;
    let exe = exe::protected()?;
    let (control, theirs) = Control::pair().at(|| Step::StartInit)?;
    let caught = Caught::new(&PASSED_ON).at(|| Step::StartInit)?;
    let argv = [CString::from(CHILD_ARG)];
    let mut fds: Vec<BorrowedFd<'_>> = vec![theirs.as_fd(), request.as_fd(), launch.root.as_fd()];
    fds.extend(launch.extra_mounts.iter().map(|(mount, _)| mount.as_fd()));
    let init = spawn(&Spawn { exe: exe.as_fd(), argv: &argv, namespaces, fds: &fds }).at(|| Step::StartInit)?;
    Ok(Container { init, control, caught, awaited: false })
}

/// Writes the request into a file in memory, from whose start init reads.
fn hand_over(launch: &Launch, ids: &Ids) -> Result<File, RuntimeError> {
    let terminal = (launch.stdio == Stdio::Tty).then(|| match window_size(std::io::stdin()) {
        Ok(size) => Terminal { rows: size.rows, columns: size.columns },
        Err(_) => Terminal { rows: 0, columns: 0 },
    });
    let extra_targets = launch.extra_mounts.iter().map(|(_, target)| target.as_os_str().as_bytes().to_vec()).collect();
    let request = Request { spec: launch.spec.clone(), terminal, extra_targets, set_groups: ids.set_groups };
    let bytes = serde_json::to_vec(&request).map_err(std::io::Error::from).at(|| Step::Request)?;
    let mut file = File::from(memory_file("mica-request").at(|| Step::Request)?);
    file.write_all(&bytes).at(|| Step::Request)?;
    file.rewind().at(|| Step::Request)?;
    Ok(file)
}

impl Container {
    /// The number of the container's init in the caller's pid namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.init.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Plays its terminal if it has one, passes signals on, and waits for the command's end. When this returns every
    /// process of the container is gone and its root is not mounted any more.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`] and [`RuntimeError::NotExecutable`] where the program could not be run; [`RuntimeError::Setup`] for a
    /// step before that.
    pub fn wait(mut self) -> Result<Exit, RuntimeError> {
        let told = self.supervise();
        if told.is_err() {
            // ignored: if it is gone already, the better.
            match send_signal_pidfd(&self.init.pidfd, Signal::KILL) {
                Ok(_) | Err(_) => {}
            }
        }
        self.awaited = true;
        let ended = wait_for(self.init.pid).at(|| Step::Supervise)?;
        match (told?, ended) {
            (Some(exit), _) => Ok(exit),
            (None, Ended::Signal(signal)) => Ok(Exit::Signal(signal)),
            (None, Ended::Code(code)) => {
                let cause = Cause::of(format!("it ended with code {code} and said nothing"));
                Err(RuntimeError::Setup { step: Step::Supervise, cause })
            }
        }
    }

    /// Goes on until init closes its end; says how the command ended, `None` when init did not.
    fn supervise(&self) -> Result<Option<Exit>, RuntimeError> {
        let mut relay: Option<Relay> = None;
        let mut exit = None;
        loop {
            let mut interests = vec![
                Interest { fd: self.control.as_fd(), read: true, write: false },
                Interest { fd: self.caught.as_fd(), read: true, write: false },
            ];
            interests.extend(relay.iter().flat_map(Relay::interests));
            let ready = poll(&interests).at(|| Step::Supervise)?;
            let [control, signals, terminal @ ..] = ready.as_slice() else { continue };
            if signals.read {
                while let Some(caught) = self.caught.next().at(|| Step::Supervise)? {
                    self.pass_on(caught, relay.as_mut())?;
                }
            }
            if let Some(relay) = relay.as_mut() {
                relay.carry(terminal);
            }
            if !control.read {
                continue;
            }
            let Some(packet) = self.control.receive().at(|| Step::Supervise)? else {
                if let Some(relay) = relay {
                    relay.finish();
                }
                return Ok(exit);
            };
            match understand(packet)? {
                Said::Terminal(master) => relay = Some(Relay::new(master).at(|| Step::Terminal)?),
                Said::Ended(end) => exit = Some(Exit::from(end)),
            }
        }
    }

    fn pass_on(&self, caught: CaughtSignal, relay: Option<&mut Relay>) -> Result<(), RuntimeError> {
        if let (Signal::WINCH, Some(relay)) = (caught.signal, relay) {
            relay.resize();
            return Ok(());
        }
        match self.control.send(&signal_packet(caught), None) {
            // It ended just now; its last words are in the socket.
            Err(error) if matches!(error.errno(), mica_sys::Errno::PIPE | mica_sys::Errno::CONNRESET) => Ok(()),
            done => done.at(|| Step::Supervise),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.awaited {
            return;
        }
        // ignored: a destructor has nobody to tell, and init dies with this thread at the latest.
        match send_signal_pidfd(&self.init.pidfd, Signal::KILL).and_then(|_| wait_for(self.init.pid)) {
            Ok(_) | Err(_) => {}
        }
    }
}

enum Said {
    Terminal(OwnedFd),
    Ended(End),
}

fn understand(packet: Packet) -> Result<Said, RuntimeError> {
    match serde_json::from_slice(&packet.bytes).map_err(RuntimeError::Protocol)? {
        Message::Failed(failure) => Err(failure.into()),
        Message::Ended(end) => Ok(Said::Ended(end)),
        Message::Terminal => {
            let master = packet.fd.ok_or_else(|| Cause::of("it was announced and did not come"));
            master.at(|| Step::Terminal).map(Said::Terminal)
        }
    }
}
