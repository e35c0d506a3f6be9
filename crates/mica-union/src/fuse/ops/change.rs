//! From an open file to the union: bringing content up, cutting, flags.

use std::sync::Arc;

use mica_core::plan::Op;
use mica_sys::{Access, Errno, File, FileKind};

use super::Server;
use crate::fuse::carry::Cut;
use crate::fuse::tree::Node;
use crate::fuse::union::Need;

impl Server {
    /// Makes all content of a file stand in the upper.
    pub(super) fn bring_up_content(&self, node: &Arc<Node>) -> Result<(), Errno> {
        self.union.bring_up(node, Need::Content)
    }

    /// Cuts a file to nothing.
    pub(super) fn cut_content(&self, node: &Arc<Node>, kill_suidgid: bool) -> Result<(), Errno> {
        self.cut(node, Cut { size: 0, clears_rights: kill_suidgid })
    }

    /// Gives a file another size.
    pub(super) fn cut(&self, node: &Arc<Node>, cut: Cut) -> Result<(), Errno> {
        let op = |old| Op::Truncate { old, to_nothing: cut.size == 0 };
        self.union.change(node, &op, Some(cut), &mut |target| {
            let file = target.subject().open(Access::Write)?;
            let mode = file.metadata()?.mode;
            if cut.mode(mode) != mode {
                file.set_mode(cut.mode(mode))?;
            }
            file.set_len(cut.size)
        })
    }

    /// Sets flags of a file or directory by a handle of it.
    pub(super) fn set_flags(&self, node: &Arc<Node>, set: impl Fn(&File) -> Result<(), Errno>) -> Result<(), Errno> {
        let need = if node.is_directory() { Need::Metadata } else { Need::Content };
        self.union.bring_up(node, need)?;
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
