//! Open files: opening, releasing, and what backs them.

use std::sync::Arc;

use mica_sys::{Access, Errno, File, FileKind};

use super::Server;
use crate::fuse::content::{Back, Opened, State, Way, Writes};
use crate::fuse::tree::{Flag, Node};
use crate::fuse::wire::{self, OpenedFlags, Out};

/// The flags of open(2) that matter here (asm-generic/fcntl.h; the same on every architecture that we run on).
const ACCESS: u32 = 0o3;
const WRITE_ONLY: u32 = 0o1;
const READ_WRITE: u32 = 0o2;
const TRUNCATE: u32 = 0o1000;
const APPEND: u32 = 0o2000;

/// What an open asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub(super) writes: Writes,
    pub(super) cuts: bool,
}

impl How {
    pub(super) const fn of(flags: u32) -> Self {
        let writes = match flags & ACCESS {
            WRITE_ONLY | READ_WRITE if flags & APPEND != 0 => Writes::AtEnd,
            WRITE_ONLY | READ_WRITE => Writes::Anywhere,
            _ => Writes::No,
        };
        Self { writes, cuts: flags & TRUNCATE != 0 }
    }
}

impl Server {
    pub(super) fn open(&self, node: u64, flags: u32, kill_suidgid: bool, out: &mut Out<'_>) -> Result<(), Errno> {
        // Said once, and not asked again.
        if self.without_opens {
            return Err(Errno::NOSYS);
        }
        let node = self.node(node)?;
        if node.kind != FileKind::File {
            return Err(Errno::IO);
        }
        let how = How::of(flags);
        self.ready_to_open(&node, how, kill_suidgid)?;
        let answer = self.answer_open(&node, None, how)?;
        out.opened(&answer).inspect_err(|_| self.leave(node.id))
    }

    /// Writes what an open writes.
    pub(super) fn ready_to_open(&self, node: &Arc<Node>, how: How, kill_suidgid: bool) -> Result<(), Errno> {
        if how.cuts {
            self.cut_content(node, kill_suidgid)
        } else if how.writes != Writes::No {
            self.bring_up_content(node)
        } else {
            Ok(())
        }
    }

    /// Counts one more open of a file and says how the kernel shall treat it; `made` is the file, where the open has made it.
    pub(super) fn answer_open(&self, node: &Arc<Node>, made: Option<File>, how: How) -> Result<wire::Opened, Errno> {
        let opened = if self.without_opens { self.content.visit(node)? } else { self.content.enter(node)? };
        let mut state = opened.state();
        if let Some(file) = made {
            state.back = Some(Back { file: Arc::new(file), writes: Writes::Anywhere, is_upper: true });
        }
        let answer = self.provide(&opened.node, &mut state, how.writes).map(|()| self.treatment(node, &mut state, how));
        drop(state);
        answer.inspect_err(|_| self.leave(node.id))
    }

    /// Sees to it that what is asked for can be done with the file.
    fn provide(&self, node: &Node, state: &mut State, writes: Writes) -> Result<(), Errno> {
        if let Some(back) = &state.back {
            if writes != Writes::No && back.writes != Writes::Anywhere {
                // A lower's file is not opened for writing, not even to be told that it must not be.
                let again = back.is_upper.then(|| back.file.reopen(Access::ReadWrite));
                state.back = Some(match again {
                    Some(Ok(file)) => Back { file: Arc::new(file), writes: Writes::Anywhere, is_upper: true },
                    _ => self.open_upper(node, writes)?,
                });
            } else if state.guarded && !self.without_opens {
                // It is thrown away: that it may be opened is what is asked.
                let access = if writes == Writes::No { Access::Read } else { Access::ReadWrite };
                match back.file.reopen(access).map(drop).map_err(|error| error.errno()) {
                    Err(Errno::PERM) if writes == Writes::AtEnd => state.back = Some(self.open_upper(node, writes)?),
                    tried => tried?,
                }
            }
            return Ok(());
        }
        state.back = Some(if writes != Writes::No {
            self.open_upper(node, writes)?
        } else {
            let found = self.tree.open_content(node, Access::Read)?;
            Back { file: Arc::new(found.file), writes: Writes::No, is_upper: found.is_upper }
        });
        Ok(())
    }

    /// A file of the upper for reading and writing, as the kernel's page cache needs it to write parts of pages; for writing alone where its
    /// mode leaves this process no more; for writing at its end alone where that is all that is asked, and allowed.
    fn open_upper(&self, node: &Node, writes: Writes) -> Result<Back, Errno> {
        let (found, writes) = match self.tree.open_content(node, Access::ReadWrite) {
            Err(Errno::ACCESS) => (self.tree.open_content(node, Access::Write)?, Writes::Anywhere),
            Err(Errno::PERM) if writes == Writes::AtEnd => (self.tree.open_content(node, Access::ReadAppend)?, writes),
            opened => (opened?, Writes::Anywhere),
        };
        if !found.is_upper || found.metacopy {
            return Err(Errno::IO);
        }
        Ok(Back { file: Arc::new(found.file), writes, is_upper: true })
    }

    /// How the kernel shall treat a file that was opened so. The way is chosen at the first open, and stays.
    fn treatment(&self, node: &Node, state: &mut State, how: How) -> wire::Opened {
        let way = *state.way.get_or_insert_with(|| {
            let backing = if how.writes != Writes::No { self.give_to_kernel(node, state.back.as_ref()) } else { None };
            backing.map_or(Way::Cached, Way::Passthrough)
        });
        let mut flags = OpenedFlags::empty();
        let backing = match way {
            Way::Passthrough(backing) => {
                flags |= OpenedFlags::PASSTHROUGH;
                backing
            }
            Way::Cached => {
                if !node.unset(Flag::OldPages) {
                    flags |= OpenedFlags::KEEP_CACHE;
                }
                0
            }
        };
        // What is written by the page cache arrives at once; mapped pages do when they are unmapped.
        if !self.writeback() {
            flags |= OpenedFlags::NOFLUSH;
        }
        wire::Opened { handle: 0, flags, backing }
    }

    /// Hands a file of the upper to the kernel, where it takes it.
    fn give_to_kernel(&self, node: &Node, back: Option<&Back>) -> Option<i32> {
        /// Setuid, and setgid where the group may execute: who writes must be looked at, to clear them.
        const SETUID: u32 = 0o4000;
        const SETGID_EXECUTED: u32 = 0o2010;
        let kernel = self.kernel.get().filter(|kernel| kernel.init.has_passthrough())?;
        let back = back.filter(|back| back.is_upper && back.writes == Writes::Anywhere)?;
        let mode = node.state().kept.mode();
        if mode & SETUID != 0 || mode & SETGID_EXECUTED == SETGID_EXECUTED {
            return None;
        }
        // Refused, it goes by the page cache.
        let backing = kernel.notifier.backing_open(&*back.file).ok()?;
        node.set(Flag::Behind);
        node.set(Flag::OldPages);
        Some(backing)
    }

    /// Counts one open less; what was the last gives the file back.
    pub(super) fn leave(&self, node: u64) {
        let Some(last) = self.content.leave(node) else { return };
        let Some(Way::Passthrough(backing)) = last.state().way else { return };
        // What the kernel wrote is read at the next question.
        self.tree.stale(&last.node);
        last.node.unset(Flag::Behind);
        if let Some(kernel) = self.kernel.get() {
            // ignored: a kernel that does not know it has nothing to give back.
            kernel.notifier.backing_close(backing).ok();
        }
    }

    pub(super) fn release(&self, node: u64, out: &mut Out<'_>) -> Result<(), Errno> {
        self.leave(node);
        out.done()
    }

    /// The file of a request.
    pub(super) fn opened(&self, node: u64) -> Result<Arc<Opened>, Errno> {
        if self.without_opens {
            return self.content.visit(&self.node(node)?);
        }
        self.content.find(node).ok_or(Errno::BADF)
    }

    /// What backs a file now: the upper's file, if it came up since it was opened.
    pub(super) fn back_now(&self, opened: &Opened) -> Result<Back, Errno> {
        let mut state = opened.state();
        match &state.back {
            Some(back) if back.is_upper || !opened.node.has_own_content() => return Ok(back.clone()),
            _ => {}
        }
        // Of an open file, too, where descriptors ran out.
        let found = self.tree.open_content(&opened.node, Access::Read)?;
        let now = Back { file: Arc::new(found.file), writes: Writes::No, is_upper: found.is_upper };
        state.back = Some(now.clone());
        Ok(now)
    }

    /// The upper's file, to be changed.
    pub(super) fn back_to_change(&self, opened: &Opened) -> Result<Back, Errno> {
        if self.without_opens {
            self.bring_up_content(&opened.node)?;
            let mut state = opened.state();
            // It may have been found before it came up.
            if state.back.as_ref().is_some_and(|back| !back.is_upper) {
                state.back = None;
            }
            // What it was opened for was not said.
            self.provide(&opened.node, &mut state, Writes::AtEnd)?;
        } else {
            let mut state = opened.state();
            // Where descriptors ran out.
            if state.back.as_ref().is_none_or(|back| back.writes == Writes::No) {
                self.provide(&opened.node, &mut state, Writes::AtEnd)?;
            }
        }
        opened.back().and_then(|back| if back.writes == Writes::No { Err(Errno::BADF) } else { Ok(back) })
    }
}
