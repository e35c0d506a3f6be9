//! Attributes set: mode, owner, size, times.
//!
//! Who may set them is the kernel's to know (`default_permissions`). What setting one does to others is the upper's file system's: a change of owner takes
//! setuid and setgid bits away, one of the mode changes the access control list. Only where the server is more than the caller, it does by hand what would
//! have been done to that one.

use std::sync::Arc;

use mica_core::plan::Op;
use mica_sys::{Errno, FileKind, SetTime, Subject, SysError};

use super::Server;
use crate::fuse::carry::Cut;
use crate::fuse::tree::{Flag, Node};
use crate::fuse::wire::{self, Out, SetAttr};

/// The bits of a mode that are permissions.
const PERMISSIONS: u32 = 0o7777;

impl Server {
    pub(super) fn setattr(&self, node: u64, change: &SetAttr, out: &mut Out<'_>) -> Result<(), Errno> {
        let node = self.node(node)?;
        if let Some(size) = change.size {
            self.set_size(&node, Cut { size, clears_rights: change.kill_suidgid })?;
        }
        let rest = self.rest(change)?;
        // Before a write the kernel takes a capability away, and then changes nothing (`__remove_privs`, Linux 6.18). A chown(2) of nobody does the
        // same to a file with a capability, and nothing tells them apart: writes are meant.
        let is_write = !rest.is_any() && node.unset(Flag::LostCapability);
        if rest.is_any() || change.size.is_none() && !is_write {
            self.union.change(&node, &Op::Attributes, None, &mut |target| rest.set(&target.subject()))?;
        }
        out.attr(&self.attr(&self.tree.attributes(&node)?), self.valid(&node))
    }

    /// What remains to be set when the size is, owners as they are stored.
    fn rest(&self, change: &SetAttr) -> Result<Rest, Errno> {
        let stored = |id: Option<u32>, stored: &dyn Fn(u32) -> Option<u32>| match id.map(stored) {
            // An ID that the map does not have has no place to be kept.
            Some(None) => Err(Errno::OVERFLOW),
            Some(id) => Ok(id),
            None => Ok(None),
        };
        Ok(Rest {
            uid: stored(change.uid, &|id| self.ids.stored_uid(id))?,
            gid: stored(change.gid, &|id| self.ids.stored_gid(id))?,
            mode: change.mode.map(|mode| mode & PERMISSIONS),
            atime: time(change.atime),
            mtime: time(change.mtime),
        })
    }

    fn set_size(&self, node: &Arc<Node>, cut: Cut) -> Result<(), Errno> {
        if node.kind != FileKind::File {
            return Err(if node.is_directory() { Errno::ISDIR } else { Errno::INVAL });
        }
        self.cut(node, cut)
    }
}

const fn time(set: Option<wire::SetTime>) -> SetTime {
    match set {
        None => SetTime::Keep,
        Some(wire::SetTime::Now) => SetTime::Now,
        Some(wire::SetTime::At(time)) => SetTime::To(time),
    }
}

/// What is set on the file that stands.
#[derive(Debug)]
struct Rest {
    uid: Option<u32>,
    gid: Option<u32>,
    mode: Option<u32>,
    atime: SetTime,
    mtime: SetTime,
}

impl Rest {
    fn sets_times(&self) -> bool {
        (self.atime, self.mtime) != (SetTime::Keep, SetTime::Keep)
    }

    fn is_any(&self) -> bool {
        self.uid.is_some() || self.gid.is_some() || self.mode.is_some() || self.sets_times()
    }

    /// The owner first: it takes bits of the mode away.
    fn set(&self, subject: &Subject<'_>) -> Result<(), SysError> {
        // A chown(2) of nobody arrives as a change of nothing, and takes those bits all the same.
        if self.uid.is_some() || self.gid.is_some() || !self.is_any() {
            subject.set_owner(self.uid, self.gid)?;
        }
        if let Some(mode) = self.mode {
            subject.set_mode(mode)?;
        }
        if self.sets_times() {
            subject.set_times(self.atime, self.mtime)?;
        }
        Ok(())
    }
}
