//! The caller's keyboard and screen, played to a container's terminal.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use mica_sys::SysError;
use mica_sys::process::{Interest, RawMode, Ready, is_terminal, set_window_size, window_size};

/// How much of the keyboard's input waits for a program that does not read; then the keyboard waits.
const WAITING: usize = 4096;

/// What ends a terminal's input: the character `^D`.
const END_OF_INPUT: u8 = 4;

/// A copying in both directions, a step at a time.
#[derive(Debug)]
pub(crate) struct Relay {
    keyboard: Option<File>,
    screen: File,
    /// Gone once nobody looks at the screen: the container's terminal hangs up.
    master: Option<File>,
    waiting: Vec<u8>,
    /// Put back when the relay is dropped.
    _raw: Option<RawMode>,
}

impl Relay {
    /// Begins to play `master`; a terminal at descriptor 0 goes to raw mode.
    pub(crate) fn new(master: OwnedFd) -> Result<Self, SysError> {
        let keyboard = std::io::stdin();
        let raw = if is_terminal(&keyboard) { Some(RawMode::enter(&keyboard)?) } else { None };
        let duplicate = |fd: std::io::Result<OwnedFd>| {
            fd.map(File::from).map_err(|error| {
                let errno = mica_sys::Errno::from_io_error(&error).unwrap_or(mica_sys::Errno::IO);
                SysError::new("dup", "stdio", errno)
            })
        };
        Ok(Self {
            keyboard: Some(duplicate(keyboard.as_fd().try_clone_to_owned())?),
            screen: duplicate(std::io::stdout().as_fd().try_clone_to_owned())?,
            master: Some(File::from(master)),
            waiting: Vec::new(),
            _raw: raw,
        })
    }

    /// What to wait for: the keyboard first, then the container's terminal. Always two, or none after a hang-up.
    pub(crate) fn interests(&self) -> Vec<Interest<'_>> {
        let Some(master) = &self.master else { return Vec::new() };
        let keyboard = match &self.keyboard {
            Some(keyboard) => Interest { fd: keyboard.as_fd(), read: self.waiting.len() < WAITING, write: false },
            None => Interest { fd: master.as_fd(), read: false, write: false },
        };
        vec![keyboard, Interest { fd: master.as_fd(), read: true, write: !self.waiting.is_empty() }]
    }

    /// Carries what is ready, in the order of [`Relay::interests`].
    pub(crate) fn carry(&mut self, ready: &[Ready]) {
        let [keyboard, master] = ready else { return };
        if keyboard.read && self.keyboard.is_some() && self.waiting.len() < WAITING {
            self.read_keyboard();
        }
        if !self.waiting.is_empty() {
            self.type_in();
        }
        if master.read {
            self.show();
        }
    }

    /// Gives the container's terminal the size of the caller's.
    pub(crate) fn resize(&mut self) {
        let (Ok(size), Some(master)) = (window_size(std::io::stdin()), &self.master) else { return };
        match set_window_size(master, size) {
            // ignored: a size that cannot be set is a wrong picture, nothing that a command should end for.
            Ok(()) | Err(_) => {}
        }
    }

    /// Shows what is left on the screen, and puts the caller's terminal back.
    pub(crate) fn finish(mut self) {
        while self.show() {}
    }

    fn read_keyboard(&mut self) {
        let Some(keyboard) = &mut self.keyboard else { return };
        let mut bytes = [0; WAITING];
        match keyboard.read(&mut bytes) {
            Ok(0) | Err(_) => {
                self.keyboard = None;
                self.waiting.push(END_OF_INPUT);
            }
            Ok(read) => self.waiting.extend_from_slice(bytes.get(..read).unwrap_or_default()),
        }
    }

    fn type_in(&mut self) {
        let Some(master) = &mut self.master else { return };
        // The master does not block: what has no room stays.
        if let Ok(written) = master.write(&self.waiting) {
            self.waiting.drain(..written.min(self.waiting.len()));
        }
    }

    /// Shows a piece; `false` when nothing is there to be shown.
    fn show(&mut self) -> bool {
        let Some(master) = &mut self.master else { return false };
        let mut bytes = [0; 16 * 1024];
        match master.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            // EIO: nobody holds the container's side any more.
            Ok(0) | Err(_) => {
                self.master = None;
                false
            }
            Ok(read) => {
                let shown = self.screen.write_all(bytes.get(..read).unwrap_or_default());
                if shown.is_err() {
                    self.master = None;
                }
                shown.is_ok()
            }
        }
    }
}
