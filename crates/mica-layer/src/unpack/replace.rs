//! What an entry does to what an earlier one made at its path.

use super::extract::{Extract, Outcome, refused};
use super::tree::{FileId, PathId, Said};
use crate::LayerError;
use crate::recon::BodyPlace;
use crate::tar::sparse::Segment;

/// How much of a body is held in memory while it moves.
const PART: u64 = 1 << 20;

impl Extract<'_> {
    /// Makes the path free: whatever the layer had there is gone from the disk and from the table, with all that was under
    /// it. Bodies that are lost with it go to `recon`. Marks of the path itself stay.
    pub(super) fn clear(&mut self, id: PathId, spelling: &[u8]) -> Outcome<()> {
        match self.tree.place(id).said {
            Said::Nothing => return Ok(()),
            // Nothing of it is on the disk.
            Said::Link(_) => {
                self.tree.place_mut(id).said = Said::Nothing;
                return Ok(());
            }
            Said::File(_) | Said::Directory(_) => {}
        }
        for gone in self.tree.under(id).into_iter().rev() {
            self.forget(gone, spelling)?;
        }
        self.tree.forget_under(id);
        let parent = self.directories.get(&self.tree, self.tree.place(id).parent).map_err(refused(spelling))?;
        parent.remove_tree(self.tree.name(id)).map_err(refused(spelling))?;
        Ok(())
    }

    /// Takes one path out of the table, before it goes from the disk.
    fn forget(&mut self, id: PathId, spelling: &[u8]) -> Outcome<()> {
        match std::mem::replace(&mut self.tree.place_mut(id).said, Said::Nothing) {
            Said::File(file) => {
                self.tree.file_mut(file).names -= 1;
                if self.tree.file(file).names == 0 {
                    self.rescue(id, file, spelling)?;
                }
            }
            Said::Directory(_) => self.directories.forget(id),
            Said::Nothing | Said::Link(_) => {}
        }
        Ok(())
    }

    /// Moves the body of a file whose last name goes into `recon`.
    fn rescue(&mut self, id: PathId, file: FileId, spelling: &[u8]) -> Outcome<()> {
        let Some(BodyPlace::File { length, runs, .. }) = self.tree.body(file) else { return Ok(()) };
        let mut runs = runs.map_or_else(|| vec![Segment { offset: 0, length }], <[Segment]>::to_vec);
        runs.reverse();
        let parent = self.directories.get(&self.tree, self.tree.place(id).parent).map_err(refused(spelling))?;
        let from = parent.open_file(self.tree.name(id)).map_err(refused(spelling))?;
        let offset = self.recon.store(|part| {
            let Some(run) = runs.last_mut() else { return Ok(()) };
            let wanted = run.length.min(PART);
            part.resize(usize::try_from(wanted).unwrap_or(0), 0);
            let read = from.read_at(part, run.offset).map_err(LayerError::sys("reading a replaced file"))?;
            part.truncate(read);
            let read = u64::try_from(read).unwrap_or(0);
            (run.offset, run.length) = (run.offset + read, run.length - read);
            if run.length == 0 {
                runs.pop();
            }
            Ok(())
        })?;
        self.tree.store_body(file, offset);
        let written = self.written();
        *written = written.saturating_sub(length);
        Ok(())
    }
}
