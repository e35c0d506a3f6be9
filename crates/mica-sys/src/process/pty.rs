//! Terminals: a pair of them made from a given devpts, and the state of one.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::failed;
use crate::SysError;

/// The two ends of a pseudo-terminal.
#[derive(Debug)]
pub struct Pty {
    /// The end that plays the keyboard and the screen. Does not block.
    pub master: OwnedFd,
    /// The end that a program sees as its terminal.
    pub slave: OwnedFd,
}

/// Opens a new pair from the devpts instance whose root `devpts` is. Neither becomes a controlling terminal. Linux 4.13 (`TIOCGPTPEER`).
pub fn open_pty(devpts: impl AsFd) -> Result<Pty, SysError> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let master = openat(devpts, "ptmx", flags, Mode::empty()).map_err(failed("openat", "ptmx"))?;
    unlockpt(&master).map_err(failed("ioctl TIOCSPTLCK", ""))?;
    // By the master, not by a name: no path can be put in the way.
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .map_err(failed("ioctl TIOCGPTPEER", ""))?;
    Ok(Pty { master, slave })
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Whether `fd` is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    rustix::termios::isatty(fd)
}

/// The size of the terminal `fd`.
pub fn window_size(fd: impl AsFd) -> Result<WindowSize, SysError> {
    let size = tcgetwinsize(fd).map_err(failed("ioctl TIOCGWINSZ", ""))?;
    Ok(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Sets it. Its foreground process group gets `SIGWINCH` when it differs.
pub fn set_window_size(fd: impl AsFd, size: WindowSize) -> Result<(), SysError> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(fd, size).map_err(failed("ioctl TIOCSWINSZ", ""))
}

/// Makes this process the leader of a new session without a terminal. It must not lead a process group.
pub fn new_session() -> Result<(), SysError> {
    rustix::process::setsid().map(drop).map_err(failed("setsid", ""))
}

/// Makes `fd` the controlling terminal of the session that this process leads, with its process group in the foreground.
pub fn make_controlling(fd: impl AsFd) -> Result<(), SysError> {
    rustix::process::ioctl_tiocsctty(fd).map_err(failed("ioctl TIOCSCTTY", ""))
}

/// A terminal in raw mode: bytes pass unchanged, `^C` too. Dropping it puts the terminal back.
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl std::fmt::Debug for RawMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawMode").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl RawMode {
    /// Sets `terminal` to raw mode.
    pub fn enter(terminal: impl AsFd) -> Result<Self, SysError> {
        let terminal =
            terminal.as_fd().try_clone_to_owned().map_err(|_| failed("dup", "terminal")(super::last_errno()))?;
        let before = tcgetattr(&terminal).map_err(failed("tcgetattr", ""))?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &raw).map_err(failed("tcsetattr", ""))?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        match tcsetattr(&self.terminal, OptionalActions::Now, &self.before) {
            // ignored: a terminal that went away needs no state, and a destructor has nobody to tell.
            Ok(()) | Err(_) => {}
        }
    }
}
