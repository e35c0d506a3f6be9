//! Open files: opening, reading, releasing.

use std::sync::Arc;

use mica_sys::{Access, Errno, FileKind};

use super::Server;
use crate::fuse::content::{Back, Handle, Opened, Way};
use crate::fuse::tree::Node;
use crate::fuse::wire::{self, OpenedFlags, Out};

/// The flags of open(2) that matter here (asm-generic/fcntl.h; the same on every architecture that we run on).
const ACCESS: u32 = 0o3;
const WRITE_ONLY: u32 = 0o1;
const READ_WRITE: u32 = 0o2;

impl Server {
    pub(super) fn open(&self, node: u64, flags: u32, out: &mut Out<'_>) -> Result<(), Errno> {
        let node = self.node(node)?;
        if node.kind != FileKind::File {
            return Err(Errno::IO);
        }
        let handle = Handle { writes: matches!(flags & ACCESS, WRITE_ONLY | READ_WRITE) };
        if handle.writes {
            return Err(Errno::ROFS);
        }
        let opened = self.content.enter(&node)?;
        let answer = self.answer_open(&node, &opened, handle).and_then(|answer| out.opened(&answer));
        if answer.is_err() {
            self.leave(node.id);
        }
        answer
    }

    fn answer_open(&self, node: &Arc<Node>, opened: &Opened, handle: Handle) -> Result<wire::Opened, Errno> {
        let mut state = opened.state();
        if state.back.is_none() {
            let found = self.tree.open_content(node, Access::Read)?;
            let is_upper = found.is_upper;
            state.back = Some(Back { file: Arc::new(found.file), writable: false, is_upper });
        }
        state.way.get_or_insert(Way::Cached);
        let flags = OpenedFlags::KEEP_CACHE | OpenedFlags::NOFLUSH;
        Ok(wire::Opened { handle: handle.number(), flags, backing: 0 })
    }

    fn leave(&self, node: u64) {
        drop(self.content.leave(node));
    }

    pub(super) fn release(&self, node: u64, out: &mut Out<'_>) -> Result<(), Errno> {
        self.leave(node);
        out.done()
    }

    /// The open file of a request.
    fn opened(&self, node: u64) -> Result<Arc<Opened>, Errno> {
        self.content.find(node).ok_or(Errno::BADF)
    }

    pub(super) fn read(&self, node: u64, offset: u64, size: u32, out: &mut Out<'_>) -> Result<(), Errno> {
        let back = self.opened(node)?.back()?;
        out.fill(size, |buffer| back.file.read_at(buffer, offset).map_err(|error| error.errno()))
    }
}
