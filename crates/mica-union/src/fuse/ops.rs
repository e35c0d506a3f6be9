//! What each request does: the server of a mount, one function for each operation.
//!
//! An operation asks the [tree](super::tree) what is known of the places that it names, [`mica_core::plan`] what must be written, lets the
//! [carrier](super::carry) write it, and tells the tree what stands now.

mod attributes;
mod change;
mod content;
mod create;
mod descriptors;
mod doubt;
mod ioctl;
mod look;
mod names;
mod open;
#[cfg(test)]
mod tests;
mod xattrs;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use mica_sys::mount::file_system;
use mica_sys::process::{Caps, effective_caps, in_initial_user_namespace};
use mica_sys::{Errno, SysError};

use self::names::Masked;
use super::channel::{Notifier, Served};
use super::content::Content;
use super::tree::{Flag, Node, Tree};
use super::union::Union;
use super::wire::{Caller, Init, Out, Request, Wanted};
use super::{Ids, Options, Passthrough};
use crate::Records;

/// The server of one mount.
#[derive(Debug)]
pub(super) struct Server {
    union: Union,
    tree: Arc<Tree>,
    content: Content,
    ids: Ids,
    acls: bool,
    records: Records,
    xattrs: bool,
    static_links: bool,
    volatile: bool,
    writeback: bool,
    passthrough: Option<u32>,
    /// Nothing is asked of us when a file is opened.
    without_opens: bool,
    timeout: Duration,
    /// Held while names that came up are flushed: who finds none left has waited until they are on disk.
    flushing: Mutex<()>,
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
    pub(super) fn new(options: &Options, union: Union) -> Self {
        let volatile = options.dirs.upper.as_ref().is_some_and(|upper| upper.volatile);
        let passthrough = stacking(options, &union.tree);
        Self {
            passthrough,
            // With writeback the kernel has a say in sizes and times that begins at an open.
            without_opens: passthrough.is_none() && !options.writeback,
            tree: Arc::clone(&union.tree),
            union,
            content: Content::new(),
            ids: options.ids.clone(),
            // A list would speak of owners that the disk does not have.
            acls: options.acls && !options.dirs.records.are_kept(),
            records: options.dirs.records,
            xattrs: options.xattrs,
            static_links: options.static_links,
            volatile,
            writeback: options.writeback,
            timeout: options.timeout,
            flushing: Mutex::default(),
            kernel: OnceLock::new(),
        }
    }

    /// Says on disk, where that has to be said, that the upper is written to from here on.
    pub(super) fn begin(&self) -> Result<(), SysError> {
        self.union.begin()
    }

    /// Whether the kernel collects writes.
    const fn writeback(&self) -> bool {
        self.writeback
    }

    /// How long what is told of a node may be believed.
    fn valid(&self, node: &Node) -> Duration {
        if node.has(Flag::Behind) { Duration::ZERO } else { self.timeout }
    }

    /// The node of that number. The kernel looks a name up again when its node is stale.
    fn node(&self, id: u64) -> Result<Arc<Node>, Errno> {
        self.tree.node(id).ok_or(Errno::STALE)
    }
}

impl Served for Server {
    fn wants(&self) -> Wanted {
        Wanted {
            posix_acl: self.acls,
            writeback: self.writeback,
            passthrough: self.passthrough,
            atomic_truncate: !self.without_opens,
            ..Wanted::default()
        }
    }

    fn started(&self, init: &Init, notifier: &Notifier) {
        // ignored: it is called once.
        drop(self.kernel.set(Kernel { init: *init, notifier: notifier.clone() }));
    }

    fn answer(&self, caller: &Caller, request: Request<'_>, out: &mut Out<'_>) -> Result<(), Errno> {
        self.with_descriptors(&mut || self.act(caller, request, out)).inspect_err(|error| self.doubt(&request, *error))
    }

    fn forget(&self, node: u64, lookups: u64) {
        self.tree.forget(node, lookups);
        if self.tree.node(node).is_none() {
            self.content.drop_idle(node);
        }
    }
}

impl Server {
    /// Does what is asked for. After `EMFILE` and `ENFILE` it can be asked for again.
    fn act(&self, caller: &Caller, request: Request<'_>, out: &mut Out<'_>) -> Result<(), Errno> {
        match request {
            Request::Lookup { parent, name } => self.lookup(parent, name, out),
            Request::Getattr { node, .. } => self.getattr(node, out),
            Request::Statx { node, .. } => self.statx(node, out),
            Request::Setattr { node, change } => self.setattr(node, &change, out),
            Request::Getxattr { node, name, size } => self.getxattr(node, name, size, out),
            Request::Listxattr { node, size } => self.listxattr(caller, node, size, out),
            Request::Setxattr { node, name, value, flags, kill_sgid } => {
                self.setxattr(node, (name, value), flags, kill_sgid, out)
            }
            Request::Removexattr { node, name } => self.removexattr(node, name, out),
            Request::Readlink { node } => self.readlink(node, out),
            Request::Readdir { node, offset, size, .. } | Request::Readdirplus { node, offset, size, .. } => {
                self.readdir(node, offset, size, out)
            }
            Request::Statfs { .. } => self.statfs(out),
            Request::Open { node, flags, kill_suidgid } => self.open(node, flags, kill_suidgid, out),
            Request::Create { parent, name, mode, umask, flags, kill_suidgid } => {
                self.create(caller, (parent, name), Masked { mode, umask }, (flags, kill_suidgid), out)
            }
            Request::Tmpfile { parent, mode, umask, flags } => {
                self.tmpfile(caller, parent, Masked { mode, umask }, flags, out)
            }
            Request::Read { node, offset, size, .. } => self.read(node, offset, size, out),
            Request::Write { node, offset, data, write_flags, .. } => self.write(node, offset, data, write_flags, out),
            Request::Release { node, .. } => self.release(node, out),
            Request::Fsync { node, data_only, .. } => self.fsync(node, data_only, out),
            Request::Fsyncdir { node, .. } => self.fsyncdir(node, out),
            Request::Fallocate { node, offset, length, mode, .. } => {
                self.fallocate(caller, node, (offset, length), mode, out)
            }
            Request::Lseek { node, offset, whence, .. } => self.lseek(node, offset, whence, out),
            Request::CopyFileRange { node, offset, out_node, out_offset, length, .. } => {
                self.copy_file_range(caller, (node, offset), (out_node, out_offset), length, out)
            }
            Request::Ioctl { node, command, input, out_size, .. } => self.ioctl(node, command, input, out_size, out),
            Request::Mknod { parent, name, mode, device, umask } => {
                self.mknod(caller, parent, name, (Masked { mode, umask }, device), out)
            }
            Request::Mkdir { parent, name, mode, umask } => {
                self.mkdir(caller, parent, name, Masked { mode, umask }, out)
            }
            Request::Symlink { parent, name, target } => self.symlink(caller, parent, name, target, out),
            Request::Link { node, new_parent, new_name } => self.link(node, new_parent, new_name, out),
            Request::Unlink { parent, name } => self.unlink(parent, name, out),
            Request::Rmdir { parent, name } => self.rmdir(parent, name, out),
            Request::Rename { parent, name, new_parent, new_name, flags } => {
                self.rename(caller, (parent, name), (new_parent, new_name), flags, out)
            }
            // Said once, and not asked again: FLUSH has nothing to do, locks and polling are the kernel's own affair.
            _ => Err(Errno::NOSYS),
        }
    }
}

/// On how many stacked file systems a file that is handed to the kernel may stand; `None` where none is handed over.
fn stacking(options: &Options, tree: &Tree) -> Option<u32> {
    let wanted = options.can_write() && options.passthrough == Passthrough::Auto && !options.writeback;
    let may =
        || effective_caps().is_ok_and(|caps| caps.has(Caps::SYS_ADMIN)) && in_initial_user_namespace().unwrap_or(false);
    let top = tree.top().filter(|_| wanted && may())?;
    // The mount counts as stacked that often itself, and the kernel stacks two at most: no more than needed, so that an overlay may stand on it.
    Some(if file_system(&**top).is_ok_and(|on| on.is_overlay()) { 2 } else { 1 })
}
