//! Marks: set on what stands or is made, and taken off.

use std::sync::atomic::Ordering;

use mica_core::RelPath;
use mica_core::plan::{JoiningMark, Mark, Redirect, RedirectKind};
use mica_sys::{Dir, Errno, SetTime, SysError};

use super::{Carrier, CarryError, Stand, unasked};

/// Redirects up to here are kept by every file system that can be an upper; overlayfs writes none that is longer (`ovl_redirect_max`, Linux 6.18).
const SURE: usize = 256;

/// The attribute that a write takes off a file.
pub(crate) const CAPABILITY: &[u8] = b"security.capability";

impl Carrier {
    pub(super) fn set_mark(&self, dir: &Dir, name: &[u8], mark: &[u8], value: &[u8]) -> Result<(), SysError> {
        despite_mode(dir, name, || dir.set_xattr(name, mark, value))
    }

    /// Has the upper's root say that files may be joining, before the first of them is made: who reads the upper looks for them only then.
    pub(super) fn say_joins(&self) -> Result<(), SysError> {
        if !self.says_joins.load(Ordering::Relaxed) {
            self.upper.set_own_xattr(self.marks.joins(), b"")?;
            self.says_joins.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Sets a redirect to `lower`.
    pub(super) fn redirect(
        &self,
        dir: &Dir,
        name: &[u8],
        kind: RedirectKind,
        lower: RelPath,
    ) -> Result<(), CarryError> {
        let redirect = match kind {
            RedirectKind::Absolute => Redirect::Absolute(lower),
            RedirectKind::Relative => Redirect::Relative(lower.name().ok_or_else(|| unasked("redirect"))?),
        };
        let value = redirect.value();
        self.set_mark(dir, name, self.marks.redirect(), &value).map_err(|error| match error.errno() {
            // What ext4 says of a value that is larger than its block is that the disk is full.
            Errno::NOSPC | Errno::RANGE | Errno::TOOBIG | Errno::NAMETOOLONG if value.len() > SURE => {
                CarryError::RedirectTooLong(error)
            }
            _ => error.into(),
        })
    }

    /// Says of a joining file that it has all names that are known.
    pub(super) fn settle(&self, stand: &Stand) -> Result<(), SysError> {
        let (dir, name, mark) = (&stand.dir, stand.name(), self.marks.joining());
        // What cannot carry the mark has none.
        let Some(value) = dir.get_xattr(name, mark)? else { return Ok(()) };
        match JoiningMark::parse(&value) {
            Some(JoiningMark { from, settled: false }) => {
                self.set_mark(dir, name, mark, &JoiningMark { from, settled: true }.value())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn unmark(&self, stand: &Stand, mark: Mark) -> Result<(), SysError> {
        let (dir, name) = (&stand.dir, stand.name());
        let remove = |mark| match despite_mode(dir, name, || dir.remove_xattr(name, mark)) {
            Err(error) if error.errno() == Errno::NODATA => Ok(()),
            removed => removed,
        };
        match mark {
            // Without the first the second says nothing.
            Mark::Metacopy => {
                remove(self.marks.metacopy())?;
                remove(self.marks.redirect())
            }
            // What cannot carry the mark has none.
            Mark::Joining => {
                match remove(self.marks.joining()) {
                    Err(error) if error.errno() == Errno::PERM => {}
                    removed => removed?,
                }
                self.keep_no_more(stand)
            }
            Mark::Opaque | Mark::Redirect(_) | Mark::Settled => Err(unasked("unmark")),
        }
    }

    /// Copies the content of `from` into the metacopy that stands, as much as its size says, and keeps what writing changes: both times, the bits
    /// that lend rights, and the capability.
    pub(super) fn fill(&self, stand: &Stand, from: &mica_sys::File) -> Result<(), SysError> {
        let file = despite_mode(&stand.dir, stand.name(), || stand.dir.open_file_to_write(stand.name()))?;
        let before = file.metadata()?;
        let capability = file.get_xattr(CAPABILITY)?;
        let times = |file: &mica_sys::File| file.set_times(SetTime::To(before.atime), SetTime::To(before.mtime));
        let copied = match from.metadata()?.size == before.size {
            true => file.copy_from(from),
            false => file.copy_start(from, before.size),
        };
        if let Err(error) = copied {
            // The content shows from below still, and nothing else shall show that it was tried.
            return Err(times(&file).err().unwrap_or(error));
        }
        if let Some(capability) = capability {
            file.set_xattr(CAPABILITY, &capability)?;
        }
        if file.metadata()?.mode != before.mode {
            file.set_mode(before.mode)?;
        }
        times(&file)?;
        if self.volatile { Ok(()) } else { file.sync_content() }
    }
}

/// Does something with what the server owns where a mode without the owner's bits keeps even it from that: root never needs it. A crash on the way leaves those
/// bits set.
fn despite_mode<T>(dir: &Dir, name: &[u8], act: impl Fn() -> Result<T, SysError>) -> Result<T, SysError> {
    /// To read and to write, for the owner.
    const OWNER: u32 = 0o600;
    match act() {
        Err(error) if error.errno() == Errno::ACCESS => {
            let mode = dir.stat(name)?.mode;
            dir.chmod(name, mode | OWNER)?;
            let done = act();
            dir.chmod(name, mode).and(done)
        }
        done => done,
    }
}
