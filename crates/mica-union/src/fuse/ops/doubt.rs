//! What the kernel believes after a disk has failed in the midst of an operation.
//!
//! What failed may have been done in part, or wholly: a size that grew before there was no room, a name that is there though nobody could read what it is. The server
//! looks again, but the kernel is told of an error, and goes on believing what it knew before; for ever, where it is to believe that long. So it is told to ask again.

use std::time::Duration;

use mica_sys::Errno;

use super::Server;
use crate::fuse::channel::Notifier;
use crate::fuse::tree::Node;
use crate::fuse::wire::{Entry, Notice, Request};

/// The first minor version in which a name that is to be asked for again keeps what is mounted below it (`FUSE_EXPIRE_ONLY`, Linux 6.2).
const EXPIRES: u32 = 38;

/// Whether an error is one of a disk, and not of what was asked for.
fn is_of_a_disk(errno: Errno) -> bool {
    [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::FBIG, Errno::NFILE, Errno::NOMEM].contains(&errno)
}

impl Server {
    /// What a look-up of a node says after the operation that it answers is done: that attributes cannot be read now makes it no failure.
    pub(super) fn entry_of_done(&self, node: &Node) -> Entry {
        self.entry(node).unwrap_or_else(|_| Entry {
            node: node.id,
            generation: 0,
            entry_valid: self.timeout,
            attr_valid: Duration::ZERO,
            attr: self.attr(&self.tree.known_attributes(node)),
        })
    }

    /// Has the kernel ask again for what a request that failed may have changed.
    pub(super) fn doubt(&self, request: &Request<'_>, errno: Errno) {
        let Some(kernel) = self.kernel.get().filter(|_| is_of_a_disk(errno)) else { return };
        match *request {
            Request::Setattr { node, .. }
            | Request::Fallocate { node, .. }
            | Request::Write { node, .. }
            | Request::CopyFileRange { out_node: node, .. }
            | Request::Setxattr { node, .. }
            | Request::Removexattr { node, .. } => {
                // ignored: a kernel that does not know the node believes nothing of it.
                kernel.notifier.inval_inode(node, -1, 0).ok();
            }
            Request::Create { parent, name, .. }
            | Request::Mknod { parent, name, .. }
            | Request::Mkdir { parent, name, .. }
            | Request::Symlink { parent, name, .. }
            | Request::Link { new_parent: parent, new_name: name, .. }
            | Request::Unlink { parent, name }
            | Request::Rmdir { parent, name } => self.doubt_names(&[(parent, name)]),
            Request::Rename { parent, name, new_parent, new_name, .. } => {
                self.doubt_names(&[(parent, name), (new_parent, new_name)]);
            }
            _ => {}
        }
    }

    /// The kernel holds the directories while it waits for the answer, and would hold up who tells it now.
    fn doubt_names(&self, names: &[(u64, &[u8])]) {
        let Some(kernel) = self.kernel.get().filter(|kernel| kernel.init.minor >= EXPIRES) else { return };
        let names: Vec<(u64, Vec<u8>)> = names.iter().map(|(parent, name)| (*parent, name.to_vec())).collect();
        let notifier: Notifier = kernel.notifier.clone();
        let told = std::thread::Builder::new().name("mica-fuse-doubt".to_owned()).spawn(move || {
            for (parent, name) in names {
                // ignored: a kernel that does not know the name believes nothing of it.
                notifier.send(&Notice::InvalEntry { parent, name: &name, expire_only: true }).ok();
            }
        });
        // ignored: without a thread the kernel believes what it did.
        drop(told);
    }
}
