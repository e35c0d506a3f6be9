//! Extended attributes, access control lists among them.
//!
//! What begins as marks do is kept escaped and shown without the escape ([`mica_layer::Marks`]): a union in this union has marks of its own. Which
//! names there can be on which kind of file, and who may set them, the kernel has looked at; sizes are the upper's file system's affair.

use std::sync::Arc;

use mica_core::plan::{Op, XattrChange};
use mica_sys::process::{Caps, initial_caps_of};
use mica_sys::{Errno, SetXattr, Subject};

use super::Server;
use crate::fuse::carry::CAPABILITY;
use crate::fuse::tree::{Flag, Node};
use crate::fuse::wire::{Caller, Out, XattrFlags};

/// What names of access control lists begin with.
const ACLS: &[u8] = b"system.posix_acl_";
const ACCESS: &[u8] = b"system.posix_acl_access";
/// Seen by those with `CAP_SYS_ADMIN` alone (xattr(7)).
const TRUSTED: &[u8] = b"trusted.";
const SET_GID: u32 = 0o2000;
/// The longest name of an attribute (`XATTR_NAME_MAX`).
const LONGEST: usize = 255;

/// Whether a caller is shown attributes of `trusted.`: what listing cannot ask of the kernel. One who is not to be found is; it reads none of them.
fn sees_trusted(caller: u32) -> bool {
    initial_caps_of(caller).map_or(true, |caps| caps.has(Caps::SYS_ADMIN))
}

impl Server {
    /// The name under which an attribute is stored. Who could write a record would say who owns the file.
    fn stored(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        if !self.xattrs || !self.acls && name.starts_with(ACLS) {
            return Err(Errno::OPNOTSUPP);
        }
        if self.records.has(name) {
            return Err(Errno::PERM);
        }
        let stored = self.tree.marks().escape(name);
        if stored.len() > LONGEST { Err(Errno::RANGE) } else { Ok(stored) }
    }

    pub(super) fn getxattr(&self, node: u64, name: &[u8], size: u32, out: &mut Out<'_>) -> Result<(), Errno> {
        let node = self.node(node)?;
        if self.records.has(name) {
            return Err(Errno::NODATA);
        }
        let stored = self.stored(name)?;
        if name == CAPABILITY && node.has(Flag::NoCapability) {
            return Err(Errno::NODATA);
        }
        let value = self.look_at(&node, &|subject| subject.xattr(&stored).map_err(|error| error.errno()))?;
        out.xattr(size, &value)
    }

    pub(super) fn listxattr(&self, caller: &Caller, node: u64, size: u32, out: &mut Out<'_>) -> Result<(), Errno> {
        let node = self.node(node)?;
        if !self.xattrs {
            return Err(Errno::OPNOTSUPP);
        }
        let names = match self.look_at(&node, &|subject| subject.xattrs().map_err(|error| error.errno())) {
            Err(Errno::OPNOTSUPP) => Vec::new(),
            names => names?,
        };
        let marks = self.tree.marks();
        let names: Vec<Vec<u8>> = names.iter().filter_map(|stored| marks.unescape(stored)).collect();
        let hides_trusted = names.iter().any(|name| name.starts_with(TRUSTED)) && !sees_trusted(caller.pid);
        let mut list = Vec::new();
        for name in &names {
            let hidden = !self.acls && name.starts_with(ACLS)
                || hides_trusted && name.starts_with(TRUSTED)
                || self.records.has(name);
            if !hidden {
                list.extend_from_slice(name);
                list.push(0);
            }
        }
        out.xattr(size, &list)
    }

    pub(super) fn setxattr(
        &self,
        node: u64,
        (name, value): (&[u8], &[u8]),
        flags: XattrFlags,
        kill_sgid: bool,
        out: &mut Out<'_>,
    ) -> Result<(), Errno> {
        let node = self.node(node)?;
        let stored = self.stored(name)?;
        let (change, how) = if flags.contains(XattrFlags::CREATE) {
            (XattrChange::Create, SetXattr::Create)
        } else if flags.contains(XattrFlags::REPLACE) {
            (XattrChange::Replace, SetXattr::Replace)
        } else {
            (XattrChange::Set, SetXattr::Any)
        };
        let present = change != XattrChange::Set && self.has_xattr(&node, &stored)?;
        if name == CAPABILITY {
            node.unset(Flag::NoCapability);
        }
        self.union.change(&node, &|old| Op::Xattr { old, change, present }, None, &mut |target| {
            let subject = target.subject();
            subject.set_xattr(&stored, value, how)?;
            if kill_sgid && name == ACCESS {
                let mode = subject.metadata()?.mode;
                if mode & SET_GID != 0 {
                    subject.set_mode(mode & !SET_GID)?;
                }
            }
            Ok(())
        })?;
        out.done()
    }

    pub(super) fn removexattr(&self, node: u64, name: &[u8], out: &mut Out<'_>) -> Result<(), Errno> {
        let node = self.node(node)?;
        let stored = self.stored(name)?;
        let present = self.has_xattr(&node, &stored)?;
        // A list that is not there is removed all the same (`vfs_remove_acl`, Linux 6.2).
        if !present && name.starts_with(ACLS) {
            return out.done();
        }
        let op = |old| Op::Xattr { old, change: XattrChange::Remove, present };
        self.union.change(&node, &op, None, &mut |target| target.subject().remove_xattr(&stored))?;
        if name == CAPABILITY {
            node.set(Flag::LostCapability);
        }
        out.done()
    }

    fn has_xattr(&self, node: &Arc<Node>, stored: &[u8]) -> Result<bool, Errno> {
        match self.look_at(node, &|subject| subject.xattr(stored).map_err(|error| error.errno())) {
            Ok(_) => Ok(true),
            Err(Errno::NODATA) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks what backs a file's attributes now.
    fn look_at<T>(&self, node: &Arc<Node>, ask: &dyn Fn(&Subject<'_>) -> Result<T, Errno>) -> Result<T, Errno> {
        // A union of no layers has a root that is nowhere.
        if self.tree.top().is_none() {
            return Err(Errno::OPNOTSUPP);
        }
        let mut last = Errno::STALE;
        for _ in 0..8 {
            match self.tree.at_attributes(node, ask) {
                // It came up, moved or lost its name between two looks.
                Err(error @ (Errno::NOENT | Errno::STALE)) => last = error,
                asked => return asked,
            }
        }
        Err(last)
    }
}
