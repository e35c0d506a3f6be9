//! Attributes set: mode, owner, size, times.
//!
//! Who may set them is the kernel's to know (`default_permissions`). What setting one does to others is the upper's file system's: a change of owner takes
//! setuid and setgid bits away, one of the mode changes the access control list. Only where the server is more than the caller, it does by hand what would
//! have been done to that one.

use std::sync::Arc;

use mica_core::plan::Op;
use mica_sys::{Errno, FileKind, SetTime, Subject, SysError};

use super::Server;
use crate::Records;
use crate::fuse::carry::{CAPABILITY, Cut, is_unknown_owner};
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
            self.union.change(&node, &Op::Attributes, None, &mut |target| rest.set(&target.subject(), self.records))?;
        }
        let entry = self.entry_of_done(&node);
        out.attr(&entry.attr, entry.attr_valid)
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

fn remove_capability(subject: &Subject<'_>) -> Result<(), SysError> {
    match subject.remove_xattr(CAPABILITY) {
        Err(error) if !matches!(error.errno(), Errno::NODATA | Errno::OPNOTSUPP) => Err(error),
        _ => Ok(()),
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
    fn set(&self, subject: &Subject<'_>, records: Records) -> Result<(), SysError> {
        // A chown(2) of nobody arrives as a change of nothing, and takes those bits all the same.
        let gives = self.uid.is_some() || self.gid.is_some() || !self.is_any();
        let mut takes_capability = false;
        let is_recorded = (gives || self.mode.is_some())
            && records.change(subject, |record, kind| {
                if gives {
                    // On disk a change of owner does it, to all but directories.
                    takes_capability = kind != FileKind::Directory;
                    record.own(self.uid, self.gid, kind);
                }
                record.mode = self.mode.unwrap_or(record.mode);
            })?;
        if is_recorded {
            if takes_capability {
                remove_capability(subject)?;
            }
        } else {
            self.set_on_disk(subject, gives, records)?;
        }
        if self.sets_times() {
            subject.set_times(self.atime, self.mtime)?;
        }
        Ok(())
    }

    fn set_on_disk(&self, subject: &Subject<'_>, gives: bool, records: Records) -> Result<(), SysError> {
        if gives {
            match subject.set_owner(self.uid, self.gid) {
                // What can have no record keeps the server's own owner where the disk has no other.
                Err(error) if records.are_kept() && is_unknown_owner(&error) => {}
                set => set?,
            }
        }
        if let Some(mode) = self.mode {
            subject.set_mode(mode)?;
        }
        Ok(())
    }
}
