//! Descriptors that run out: what the server holds open for speed alone is closed, and what was asked for is done again.
//!
//! A process may have few descriptors, and clients open as many files as they like. Directories that are kept open, files that nobody has open any more, and what
//! backs an open file that is found again by its name are all of them dispensable. What is left is what requests need at the same moment, which passes; so it is waited for, too.

use std::time::Duration;

use mica_sys::Errno;

use super::Server;

/// How long is waited before each further attempt, in milliseconds.
const WAITS: [u64; 8] = [0, 1, 2, 4, 8, 16, 32, 64];

impl Server {
    /// Does something that changes nothing where it ends for want of a descriptor, again and again until there is one.
    ///
    /// # Errors
    /// `ENFILE` where there is none: it is not the caller's table that is full. What `act` says.
    pub(super) fn with_descriptors(&self, act: &mut dyn FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
        let lacks = |done: &Result<(), Errno>| matches!(done, Err(Errno::MFILE | Errno::NFILE));
        let mut done = act();
        for wait in WAITS {
            if !lacks(&done) {
                return done;
            }
            if wait > 0 {
                std::thread::sleep(Duration::from_millis(wait));
            }
            // Closing a file may be slow, and nothing is locked meanwhile.
            // A lower has its files still.
            self.content.let_go(|node| !node.is_up() || node.first_name().is_ok());
            self.tree.close_directories();
            done = act();
        }
        if lacks(&done) { Err(Errno::NFILE) } else { done }
    }
}
