//! Files that are made and opened at once: `CREATE`, `TMPFILE`.

use std::sync::Arc;
use std::time::Duration;

use mica_core::Kind;
use mica_sys::{Errno, FileKind};

use super::Server;
use super::names::Masked;
use super::open::How;
use crate::fuse::tree::{Flag, Node};
use crate::fuse::wire::{Caller, Out};

/// Of open(2) (asm-generic/fcntl.h).
const EXCLUSIVE: u32 = 0o200;

/// How long the attributes of a file that was just made are believed although the kernel writes it by itself: it looks at the mode before the
/// open ends, and would ask for it.
const JUST_MADE: Duration = Duration::from_millis(10);

impl Server {
    pub(super) fn create(
        &self,
        caller: &Caller,
        (parent, name): (u64, &[u8]),
        mode: Masked,
        (flags, kill_suidgid): (u32, bool),
        out: &mut Out<'_>,
    ) -> Result<(), Errno> {
        let how = How::of(flags);
        match self.make(caller, parent, name, Kind::File { size: 0, content: None }, mode) {
            Ok(made) => self.created(&made.node, made.file, how, out),
            // Somebody else has made it meanwhile.
            Err(Errno::EXIST) if flags & EXCLUSIVE == 0 => {
                let node = self.tree.lookup(&*self.node(parent)?, name)?.ok_or(Errno::STALE)?;
                // The kernel looks again, and opens what it finds.
                if node.kind != FileKind::File || !node.remember() {
                    return Err(Errno::STALE);
                }
                let ready = self.ready_to_open(&node, how, kill_suidgid);
                ready.inspect_err(|_| self.tree.forget(node.id, 1))?;
                self.created(&node, None, how, out)
            }
            Err(error) => Err(error),
        }
    }

    /// Answers with an open file that was counted as looked up.
    fn created(
        &self,
        node: &Arc<Node>,
        file: Option<mica_sys::File>,
        how: How,
        out: &mut Out<'_>,
    ) -> Result<(), Errno> {
        // Asked before it is handed to the kernel, after which nobody would believe what was read when it was made.
        let mut entry = self.entry_of_done(node);
        let opened = self.answer_open(node, file, how).inspect_err(|_| self.tree.forget(node.id, 1))?;
        if node.has(Flag::Behind) {
            entry.attr_valid = entry.attr_valid.min(JUST_MADE);
        }
        out.created(&entry, &opened).inspect_err(|_| {
            self.leave(node.id);
            self.tree.forget(node.id, 1);
        })
    }

    pub(super) fn tmpfile(
        &self,
        caller: &Caller,
        parent: u64,
        mode: Masked,
        flags: u32,
        out: &mut Out<'_>,
    ) -> Result<(), Errno> {
        let parent = self.node(parent)?;
        let new = self.new_file(caller, Kind::File { size: 0, content: None }, mode);
        let carrier = self.union.carrier()?;
        self.union.bring_up_directory(&parent)?;
        let dir = self.tree.upper_dir(&parent)?;
        let file = carrier.make_unnamed(&dir, &new).map_err(|error| error.errno())?;
        let kept = file.try_clone().map_err(|error| error.errno())?;
        let node = self.tree.unnamed(kept)?;
        if !node.remember() {
            return Err(Errno::STALE);
        }
        self.created(&node, Some(file), How::of(flags), out)
    }
}
