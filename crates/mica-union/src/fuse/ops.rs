//! What each request does: the server of a mount, one function for each operation.
//!
//! An operation asks the [tree](super::tree) what is known of the places that it names, [`mica_core::plan`] what must be written, lets the
//! [carrier](super::carry) write it, and tells the tree what stands now.

mod look;
mod open;

use std::sync::OnceLock;
use std::time::Duration;

use mica_sys::Errno;

use super::channel::{Notifier, Served};
use super::content::Content;
use super::tree::{Node, Tree};
use super::wire::{Caller, Init, Out, Request, Wanted};
use super::{Ids, Options};
use std::sync::Arc;

/// The server of one mount.
#[derive(Debug)]
pub(super) struct Server {
    tree: Tree,
    content: Content,
    ids: Ids,
    acls: bool,
    timeout: Duration,
    kernel: OnceLock<Kernel>,
}

/// What is known of the kernel once it has spoken.
#[derive(Debug)]
struct Kernel {
    init: Init,
    notifier: Notifier,
}

impl Server {
    /// A server of what these options name.
    pub(super) fn new(options: &Options, tree: Tree) -> Self {
        Self {
            tree,
            content: Content::new(),
            ids: options.ids.clone(),
            acls: options.acls,
            timeout: options.timeout,
            kernel: OnceLock::new(),
        }
    }

    /// The node of that number. The kernel looks a name up again when its node is stale.
    fn node(&self, id: u64) -> Result<Arc<Node>, Errno> {
        self.tree.node(id).ok_or(Errno::STALE)
    }
}

impl Served for Server {
    fn wants(&self) -> Wanted {
        Wanted { posix_acl: self.acls, ..Wanted::default() }
    }

    fn started(&self, init: &Init, notifier: &Notifier) {
        // ignored: it is called once.
        drop(self.kernel.set(Kernel { init: *init, notifier: notifier.clone() }));
    }

    fn answer(&self, _caller: &Caller, request: Request<'_>, out: &mut Out<'_>) -> Result<(), Errno> {
        match request {
            Request::Lookup { parent, name } => self.lookup(parent, name, out),
            Request::Getattr { node, .. } => self.getattr(node, out),
            Request::Statx { node, .. } => self.statx(node, out),
            Request::Readlink { node } => self.readlink(node, out),
            Request::Readdir { node, offset, size, .. } | Request::Readdirplus { node, offset, size, .. } => {
                self.readdir(node, offset, size, out)
            }
            Request::Statfs { .. } => self.statfs(out),
            Request::Open { node, flags, .. } => self.open(node, flags, out),
            Request::Read { node, offset, size, .. } => self.read(node, offset, size, out),
            Request::Release { node, .. } => self.release(node, out),
            _ => Err(Errno::NOSYS),
        }
    }

    fn forget(&self, node: u64, lookups: u64) {
        self.tree.forget(node, lookups);
    }
}
