//! From an open file to the union: bringing content up, cutting, flags.

use std::sync::Arc;

use mica_sys::{Access, Errno, File, FileKind};

use super::Server;
use crate::fuse::tree::Node;

impl Server {
    /// Makes all content of a file stand in the upper.
    pub(super) fn bring_up_content(&self, node: &Arc<Node>) -> Result<(), Errno> {
        if !self.tree.is_writable() || !node.has_own_content() {
            return Err(Errno::ROFS);
        }
        Ok(())
    }

    /// Cuts a file to nothing.
    pub(super) fn cut_content(&self, node: &Arc<Node>, kill_suidgid: bool) -> Result<(), Errno> {
        self.bring_up_content(node)?;
        let file = self.tree.open_content(node, Access::ReadWrite)?.file;
        if kill_suidgid {
            self.clear_suidgid(node, &file)?;
        }
        file.set_len(0).map_err(|error| error.errno())?;
        self.tree.stale(node);
        Ok(())
    }

    /// Sets flags of a file or directory by a handle of it.
    pub(super) fn set_flags(&self, node: &Arc<Node>, set: impl Fn(&File) -> Result<(), Errno>) -> Result<(), Errno> {
        self.bring_up_content(node)?;
        set(&*self.any_file(node)?)?;
        self.tree.stale(node);
        // What it forbids now is tried at each open.
        if let Some(opened) = self.content.find(node.id) {
            opened.state().guarded = true;
        }
        Ok(())
    }

    /// A handle of what shows, for reading.
    pub(super) fn any_file(&self, node: &Arc<Node>) -> Result<Arc<File>, Errno> {
        if let Some(opened) = self.content.find(node.id) {
            return self.back_now(&opened).map(|back| back.file);
        }
        match node.kind {
            FileKind::File => self.tree.open_content(node, Access::Read).map(|found| Arc::new(found.file)),
            _ => Err(Errno::NOTTY),
        }
    }
}
