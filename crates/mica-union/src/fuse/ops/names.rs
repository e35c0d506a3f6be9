//! Operations on names: made, linked, removed, moved.

use std::sync::Arc;

use mica_core::plan::How;
use mica_core::{Kind, Rdev};
use mica_sys::Errno;

use super::Server;
use crate::fuse::carry::New;
use crate::fuse::tree::Node;
use crate::fuse::union::{Made, Move};
use crate::fuse::wire::{Caller, Device, Out, RenameFlags};

/// The permission bits of a mode.
const PERMISSIONS: u32 = 0o7777;
/// The bits of a mode that say what a file is, and their values (inode(7)).
const KIND: u32 = 0o170_000;
const FIFO: u32 = 0o010_000;
const CHAR_DEVICE: u32 = 0o020_000;
const BLOCK_DEVICE: u32 = 0o060_000;
const FILE: u32 = 0o100_000;
const SOCKET: u32 = 0o140_000;

/// A mode and the mask of the program that asks for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Masked {
    pub(super) mode: u32,
    pub(super) umask: u32,
}

impl Server {
    /// What a program makes, with owners as they are stored.
    pub(super) fn new_file(&self, caller: &Caller, kind: Kind, Masked { mode, umask }: Masked) -> New {
        let (uid, gid) = (self.ids.made_by_uid(caller.uid), self.ids.made_by_gid(caller.gid));
        New { kind, mode: mode & PERMISSIONS, umask, uid, gid }
    }

    /// Makes a file for a program, and counts it as looked up.
    pub(super) fn make(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        kind: Kind,
        mode: Masked,
    ) -> Result<Made, Errno> {
        let made = self.union.make(&self.node(parent)?, name, &self.new_file(caller, kind, mode))?;
        if made.node.remember() { Ok(made) } else { Err(Errno::STALE) }
    }

    /// Answers with a node that was counted as looked up.
    fn answer_entry(&self, node: &Arc<Node>, out: &mut Out<'_>) -> Result<(), Errno> {
        out.entry(&self.entry_of_done(node)).inspect_err(|_| self.tree.forget(node.id, 1))
    }

    pub(super) fn mknod(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        (mode, device): (Masked, Device),
        out: &mut Out<'_>,
    ) -> Result<(), Errno> {
        let rdev = Rdev { major: device.major, minor: device.minor };
        let kind = match mode.mode & KIND {
            FILE | 0 => Kind::File { size: 0, content: None },
            FIFO => Kind::Fifo,
            SOCKET => Kind::Socket,
            CHAR_DEVICE => Kind::CharDevice(rdev),
            BLOCK_DEVICE => Kind::BlockDevice(rdev),
            _ => return Err(Errno::INVAL),
        };
        self.answer_entry(&self.make(caller, parent, name, kind, mode)?.node, out)
    }

    pub(super) fn mkdir(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        mode: Masked,
        out: &mut Out<'_>,
    ) -> Result<(), Errno> {
        let kind = Kind::Directory { opaque: false, implicit: false };
        self.answer_entry(&self.make(caller, parent, name, kind, mode)?.node, out)
    }

    pub(super) fn symlink(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        target: &[u8],
        out: &mut Out<'_>,
    ) -> Result<(), Errno> {
        let kind = Kind::Symlink { target: target.to_vec() };
        let mode = Masked { mode: 0o777, umask: 0 };
        self.answer_entry(&self.make(caller, parent, name, kind, mode)?.node, out)
    }

    pub(super) fn link(&self, node: u64, parent: u64, name: &[u8], out: &mut Out<'_>) -> Result<(), Errno> {
        let (node, parent) = (self.node(node)?, self.node(parent)?);
        match self.tree.orphan(&node) {
            // `O_TMPFILE`: what has lost its name the kernel links to nothing.
            Some(file) => self.union.adopt(&node, &file, &parent, name)?,
            None => self.union.link(&node, &parent, name)?,
        }
        if !node.remember() {
            return Err(Errno::STALE);
        }
        self.answer_entry(&node, out)
    }

    pub(super) fn unlink(&self, parent: u64, name: &[u8], out: &mut Out<'_>) -> Result<(), Errno> {
        let parent = self.node(parent)?;
        self.fill_what_goes(&parent, name);
        self.union.unlink(&parent, name)?;
        out.done()
    }

    /// A file that has its content below, loses a name and is open gets the content first: without a name nothing says where that is, and it
    /// can still be opened for writing by /proc/self/fd.
    fn fill_what_goes(&self, parent: &Arc<Node>, name: &[u8]) {
        let Ok(Some(node)) = self.union.tree.lookup(parent, name) else { return };
        let is_metacopy = node.state().upper().is_some_and(|standing| standing.metacopy);
        // Where opens are not told, each may be open.
        if is_metacopy && (self.without_opens || self.content.find(node.id).is_some()) {
            // ignored: a disk that is full must not keep anybody from removing a file. What was open is still read.
            self.bring_up_content(&node).ok();
        }
    }

    pub(super) fn rmdir(&self, parent: u64, name: &[u8], out: &mut Out<'_>) -> Result<(), Errno> {
        self.union.remove_directory(&self.node(parent)?, name)?;
        out.done()
    }

    pub(super) fn rename(
        &self,
        caller: &Caller,
        (parent, name): (u64, &[u8]),
        (new_parent, new_name): (u64, &[u8]),
        flags: RenameFlags,
        out: &mut Out<'_>,
    ) -> Result<(), Errno> {
        let how = match flags {
            RenameFlags::NOREPLACE => How::NoReplace,
            RenameFlags::EXCHANGE => How::Exchange,
            RenameFlags::WHITEOUT => How::Whiteout,
            flags if flags == RenameFlags::WHITEOUT | RenameFlags::NOREPLACE => How::WhiteoutNoReplace,
            flags if flags.is_empty() => How::Replace,
            _ => return Err(Errno::INVAL),
        };
        let owner = match how {
            How::Whiteout | How::WhiteoutNoReplace => {
                let new = self.new_file(caller, Kind::Fifo, Masked { mode: 0, umask: 0 });
                (new.uid, new.gid)
            }
            _ => (0, 0),
        };
        let (from, to) = (self.node(parent)?, self.node(new_parent)?);
        if matches!(how, How::Replace | How::Whiteout) {
            self.fill_what_goes(&to, new_name);
        }
        self.union.rename(&Move { from: &from, name, to: &to, new_name, how, owner })?;
        out.done()
    }
}
