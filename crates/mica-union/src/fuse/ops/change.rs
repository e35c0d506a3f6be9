//! From an open file to the union: bringing content up, cutting, flags.

use std::os::fd::AsFd;
use std::sync::Arc;

use mica_core::plan::Op;
use mica_sys::{Access, Dir, Errno, File, FileKind, Subject, SysError};

use super::Server;
use crate::fuse::carry::Cut;
use crate::fuse::tree::Node;
use crate::fuse::union::{Need, Target};

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
            let mut found = file.metadata()?;
            self.records.show(&mut found, &Subject::file(&file))?;
            if cut.mode(found.mode) != found.mode {
                self.set_mode(&file, cut.mode(found.mode))?;
            }
            file.set_len(cut.size)
        })
    }

    /// Sets the mode of a file, where it stands.
    pub(super) fn set_mode(&self, file: &File, mode: u32) -> Result<(), SysError> {
        if self.records.change(&Subject::file(file), |record, _| record.mode = mode)? {
            Ok(())
        } else {
            file.set_mode(mode)
        }
    }

    /// Sets flags of a file or directory by a handle of it. A file has all of its content in the upper first: the flags are asked of what has the content, and what
    /// may only be added to, or not be changed, could not be filled.
    pub(super) fn set_flags(&self, node: &Arc<Node>, set: impl Fn(&File) -> Result<(), SysError>) -> Result<(), Errno> {
        if node.kind == FileKind::File {
            self.bring_up_content(node)?;
        }
        self.union.change(node, &Op::Attributes, None, &mut |target| match target {
            Target::Root(dir) => set(&as_file(dir)?),
            Target::Named(stand) if node.is_directory() => set(&as_file(&stand.dir.open_dir(stand.name.as_bytes())?)?),
            other => set(&other.subject().open(Access::Read)?),
        })?;
        self.tree.stale(node);
        // What it forbids now is tried at each open, and where there is none, when the file is used next.
        if let Some(opened) = self.content.find(node.id) {
            let mut state = opened.state();
            state.guarded = true;
            if self.without_opens {
                state.back = None;
            }
        }
        Ok(())
    }

    /// A handle of what shows, for reading.
    pub(super) fn any_file(&self, node: &Arc<Node>) -> Result<Arc<File>, Errno> {
        if let Some(back) = self.content.find(node.id).and_then(|opened| self.back_now(&opened).ok()) {
            return Ok(back.file);
        }
        if let Ok(directory) = node.directory() {
            let dir = match self.tree.upper_dir_of(node)? {
                Some(dir) => dir,
                None => self.tree.lower_dir(directory.parts.first().ok_or(Errno::NOENT)?)?,
            };
            return as_file(&dir).map(Arc::new).map_err(|error| error.errno());
        }
        match node.kind {
            FileKind::File => self.tree.open_content(node, Access::Read).map(|found| Arc::new(found.file)),
            _ => Err(Errno::NOTTY),
        }
    }
}

fn as_file(dir: &Dir) -> Result<File, SysError> {
    let fd = dir.as_fd().try_clone_to_owned();
    let fd = fd.map_err(|error| SysError::new("dup", ".", Errno::from_io_error(&error).unwrap_or(Errno::MFILE)))?;
    Ok(File::from_fd(fd, b"."))
}
