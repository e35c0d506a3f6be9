//! What is done to the content of open files: reading, writing, space, holes, copies, flushing.

use std::sync::{Arc, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mica_sys::process::{in_initial_user_namespace, initial_caps_of};
use mica_sys::{Errno, File, Looked, Time};

use super::Server;
use crate::Records;
use crate::fuse::carry::CAPABILITY;
use crate::fuse::content::{Back, Writes};
use crate::fuse::tree::{Flag, Node};
use crate::fuse::wire::{Caller, Out, WriteFlags};

/// `lseek(2)`'s (linux/fs.h).
const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

/// Setuid and setgid bits, and that the group may execute.
const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const GROUP_EXECUTES: u32 = 0o0010;

/// `CAP_FSETID` (linux/capability.h).
const FSETID: u32 = 4;

impl Server {
    pub(super) fn read(&self, node: u64, offset: u64, size: u32, out: &mut Out<'_>) -> Result<(), Errno> {
        let opened = self.opened(node)?;
        let back = self.back_now(&opened)?;
        was_read(&opened.node);
        out.content(&back.file, offset, size)
    }

    pub(super) fn write(
        &self,
        node: u64,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        out: &mut Out<'_>,
    ) -> Result<(), Errno> {
        let opened = self.opened(node)?;
        let back = self.back_to_change(&opened)?;
        if flags.contains(WriteFlags::KILL_SUIDGID) {
            self.clear_suidgid(&opened.node, &back.file)?;
        }
        // What comes from the page cache comes without the lock of the inode, so that attributes may be set meanwhile.
        let held = flags.contains(WriteFlags::CACHE).then(|| self.tree.hold(&opened.node, &opened.node));
        let rights = Rights::taken_by_a_write(&opened.node, &back.file, flags, self.records);
        let written = may_write(&back, offset).and_then(|()| write_whole(&back.file, data, offset));
        rights.put_back(&back.file);
        drop(held);
        // A write that finds no room sets the times.
        self.tree.stale(&opened.node);
        out.written(u32::try_from(written?).unwrap_or(u32::MAX))
    }

    /// What the kernel does at a write by somebody without `CAP_FSETID` (`setattr_should_drop_suidgid`, Linux 6.18).
    pub(super) fn clear_suidgid(&self, node: &Node, file: &File) -> Result<(), Errno> {
        let mode = node.state().kept.mode();
        if mode & (SETUID | SETGID) == 0 {
            return Ok(());
        }
        let mut cleared = mode & !SETUID;
        if mode & GROUP_EXECUTES != 0 {
            cleared &= !SETGID;
        }
        if cleared != mode {
            self.set_mode(file, cleared).map_err(|error| error.errno())?;
            node.state().kept.change(|metadata| metadata.mode = cleared);
            self.tree.stale(node);
        }
        Ok(())
    }

    pub(super) fn fsync(&self, node: u64, data_only: bool, out: &mut Out<'_>) -> Result<(), Errno> {
        let opened = self.opened(node)?;
        if self.volatile {
            return out.done();
        }
        // What is not in the upper has nothing that could be lost.
        let back = self.back_now(&opened)?;
        if back.is_upper {
            let synced = if data_only { back.file.sync_content() } else { back.file.sync() };
            synced.map_err(|error| error.errno())?;
        } else if opened.node.is_up() {
            self.sync_attributes(&opened.node)?;
        }
        self.sync_names(&opened.node)?;
        out.done()
    }

    /// Flushes what the upper has of a file whose content is below: its attributes.
    fn sync_attributes(&self, node: &Node) -> Result<(), Errno> {
        let synced = self.tree.at_upper(node, |dir, name| {
            let synced = match dir.open_file(name) {
                // Who serves without privilege may not open what its owner closed to himself.
                Err(error) if error.errno() == Errno::ACCESS => dir.syncfs(),
                opened => opened.and_then(|file| file.sync()),
            };
            synced.map_err(|error| error.errno())
        });
        match synced {
            // It has no name any more, and nothing of it comes back after a crash.
            Err(Errno::NOENT | Errno::STALE) => Ok(()),
            synced => synced,
        }
    }

    pub(super) fn fsyncdir(&self, node: u64, out: &mut Out<'_>) -> Result<(), Errno> {
        let node = self.node(node)?;
        if self.volatile || !node.is_up() {
            return out.done();
        }
        match self.tree.upper_dir(&node).and_then(|dir| dir.sync().map_err(|error| error.errno())) {
            // A directory that was removed has no names to lose.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        self.sync_names(&node)?;
        out.done()
    }

    /// Flushes the names that a copy-up made on the way to a node: until they are on disk, a loss of power shows the lower's file again.
    fn sync_names(&self, node: &Arc<Node>) -> Result<(), Errno> {
        let _flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = Arc::clone(node);
        while at.unset(Flag::NewName) {
            let synced = self.tree.above(&at).and_then(|above| {
                self.tree.upper_dir(&above)?.sync().map_err(|error| error.errno())?;
                Ok(above)
            });
            match synced {
                Ok(above) => at = above,
                // It has no name any more.
                Err(Errno::NOENT | Errno::STALE) => return Ok(()),
                Err(error) => {
                    at.set(Flag::NewName);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    pub(super) fn fallocate(
        &self,
        caller: &Caller,
        node: u64,
        (offset, length): (u64, u64),
        mode: u32,
        out: &mut Out<'_>,
    ) -> Result<(), Errno> {
        let opened = self.opened(node)?;
        let back = self.back_to_change(&opened)?;
        if !keeps_rights(&opened.node, caller) {
            self.clear_suidgid(&opened.node, &back.file)?;
        }
        let done = back.file.allocate(mode, offset, length);
        self.tree.stale(&opened.node);
        done.map_err(|error| error.errno())?;
        out.done()
    }

    pub(super) fn lseek(&self, node: u64, offset: u64, whence: u32, out: &mut Out<'_>) -> Result<(), Errno> {
        let what = match whence {
            SEEK_DATA => Looked::Data,
            SEEK_HOLE => Looked::Hole,
            _ => return Err(Errno::INVAL),
        };
        let opened = self.opened(node)?;
        let back = self.back_now(&opened)?;
        out.position(back.file.look_for(what, offset).map_err(|error| error.errno())?)
    }

    pub(super) fn copy_file_range(
        &self,
        caller: &Caller,
        from: (u64, u64),
        to: (u64, u64),
        length: u64,
        out: &mut Out<'_>,
    ) -> Result<(), Errno> {
        let source = self.back_now(&*self.opened(from.0)?)?;
        let opened = self.opened(to.0)?;
        let target = self.back_to_change(&opened)?;
        if !keeps_rights(&opened.node, caller) {
            self.clear_suidgid(&opened.node, &target.file)?;
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(MOST_COPIED);
        let copied = target.file.copy_range(&source.file, from.1, to.1, length);
        self.tree.stale(&opened.node);
        out.copied(u64::try_from(copied.map_err(|error| error.errno())?).unwrap_or(u64::MAX))
    }
}

fn is_initial() -> bool {
    in_initial_user_namespace().unwrap_or(true)
}

/// Whether the caller changes content without taking setuid and setgid bits away. The request does not say: where mounts map IDs, it does not even
/// name the user (Linux 6.12).
fn keeps_rights(node: &Node, caller: &Caller) -> bool {
    node.state().kept.mode() & (SETUID | SETGID) == 0 || initial_caps_of(caller.pid).is_ok_and(|caps| caps.has(FSETID))
}

/// What may only be added to is written at its end and nowhere else: there a write would go to the end all the same.
fn may_write(back: &Back, offset: u64) -> Result<(), Errno> {
    match back.writes {
        Writes::AtEnd if back.file.metadata().map_err(|error| error.errno())?.size != offset => Err(Errno::PERM),
        _ => Ok(()),
    }
}

/// Writes what there is room for.
fn write_whole(file: &File, data: &[u8], offset: u64) -> Result<usize, Errno> {
    let mut done: usize = 0;
    while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
        let at = u64::try_from(done).ok().and_then(|done| offset.checked_add(done)).ok_or(Errno::FBIG)?;
        match file.write_part_at(rest, at) {
            Ok(0) => break,
            Ok(written) => done += written,
            // What was written is told, and the next write meets the error.
            Err(_) if done > 0 => break,
            Err(error) => return Err(error.errno()),
        }
    }
    Ok(done)
}

/// What a file loses by a write of this process, and not by that of the program whose bytes they are.
///
/// Where the server dies between the write and [`Self::put_back`], the file has fewer rights than it should.
#[derive(Debug)]
struct Rights {
    mode: Option<u32>,
    capability: Option<Vec<u8>>,
}

impl Rights {
    fn taken_by_a_write(node: &Node, file: &File, flags: WriteFlags, records: Records) -> Self {
        // A server in a user namespace takes the bits itself by writing, also where nobody's write is to take them: who may keep them, and mapped pages.
        let mode = node.state().kept.mode();
        // From a record nothing is taken.
        let keeps = mode & (SETUID | SETGID) != 0
            && !records.are_kept()
            && !flags.contains(WriteFlags::KILL_SUIDGID)
            && !is_initial();
        // Of a write(2) the kernel has taken the capability away before it sends what is written; what is mapped takes none.
        let keeps_capability = flags.contains(WriteFlags::CACHE);
        Self {
            mode: keeps.then_some(mode),
            capability: if keeps_capability { file.get_xattr(CAPABILITY).ok().flatten() } else { None },
        }
    }

    fn put_back(self, file: &File) {
        if let Some(mode) = self.mode {
            // ignored: the bytes are written, and a file with fewer rights is no danger.
            file.set_mode(mode).ok();
        }
        if let Some(capability) = self.capability {
            // ignored: as above.
            file.set_xattr(CAPABILITY, &capability).ok();
        }
    }
}

/// A day, in seconds.
const DAY: i64 = 24 * 60 * 60;

/// Moves the time of the last read as a mount with `relatime` does (`relatime_need_update`, Linux 6.18). What is below keeps its own, and the upper's file
/// gets one by being read.
fn was_read(node: &Node) {
    let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else { return };
    let now = Time { secs: i64::try_from(now.as_secs()).unwrap_or(i64::MAX), nanos: now.subsec_nanos() };
    let mut state = node.state();
    let times = state.kept.metadata();
    if times.atime <= times.mtime || times.atime <= times.ctime || now.secs - DAY >= times.atime.secs {
        state.kept.change(|times| times.atime = now);
    }
}

/// The most that one request copies, so that none takes much longer than others: who copies asks again.
const MOST_COPIED: usize = 1 << 30;
