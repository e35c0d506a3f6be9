//! A new upper made from what a tree says.

use std::collections::HashMap;

use mica_core::{Kind, Name, Rdev, RelPath};
use mica_layer::{Marks, make_whiteout};
use mica_sys::{Dir, FileKind, SysError};

use super::manifest::{Said, Stamp, UpperRoot};
use super::scan::Scanned;
use super::{NAME, make};
use crate::UnionError;

/// Makes the changeset that `scanned` tells in the empty directory `upper`, from `tree`; then the manifest is that of
/// both.
///
/// # Errors
/// [`UnionError::Changing`] where the tree is not any more as it was scanned.
pub(super) fn build(scanned: &mut Scanned, tree: &Dir, upper: &Dir, marks: Marks) -> Result<(), UnionError> {
    let mut builder = Builder { tree, upper, marks, groups: HashMap::new() };
    builder.files(scanned)?;
    builder.directories(scanned)?;
    builder.stamps(scanned)
}

fn settling(path: &RelPath) -> impl Fn(SysError) -> UnionError + '_ {
    |source| UnionError::Settle { driver: NAME, path: path.clone(), source }
}

struct Builder<'a> {
    tree: &'a Dir,
    upper: &'a Dir,
    marks: Marks,
    /// The first name, in the new upper, of each file of the tree that has several.
    groups: HashMap<u64, (RelPath, Name)>,
}

impl Builder<'_> {
    /// Makes all but the attributes of directories.
    fn files(&mut self, scanned: &mut Scanned) -> Result<(), UnionError> {
        let mut here: Option<(RelPath, Dir, Dir)> = None;
        for path in &scanned.spoken {
            let Some((parent, name)) = path.split() else { continue };
            let said = scanned.manifest.record_mut(path).map(|record| record.said).unwrap_or_default();
            let (from, to) = match &here {
                Some((at, from, to)) if *at == parent => (from, to),
                _ => {
                    let from = make::open_below(self.tree, &parent).map_err(gone_or(&parent))?;
                    let to = make::open_below(self.upper, &parent).map_err(settling(&parent))?;
                    let (_, from, to) = here.insert((parent.clone(), from, to));
                    (&*from, &*to)
                }
            };
            match said {
                Said::Whiteout => {
                    make_whiteout(to, name.as_bytes(), self.marks).map_err(settling(path))?;
                }
                Said::Node { copied_up, .. } => self.node((from, to), (path, &parent, &name), copied_up)?,
                Said::Nothing => {}
            }
        }
        Ok(())
    }

    fn node(
        &mut self,
        (from, to): (&Dir, &Dir),
        (path, parent, name): (&RelPath, &RelPath, &Name),
        copied_up: bool,
    ) -> Result<(), UnionError> {
        let wrong = settling(path);
        let bytes = name.as_bytes();
        let Some(found) = from.stat_if_there(bytes).map_err(&wrong)? else { return Err(changing(path)) };
        if found.kind == FileKind::Directory {
            return to.mkdir(bytes, 0o700).map_err(wrong);
        }
        if found.nlink > 1 {
            if let Some((parent, first)) = self.groups.get(&found.ino) {
                let parent = make::open_below(self.upper, parent).map_err(&wrong)?;
                return parent.link(first.as_bytes(), to, bytes).map_err(wrong);
            }
            self.groups.insert(found.ino, (parent.clone(), name.clone()));
        }
        let (kind, attrs) = make::look(from, bytes, &found).map_err(gone_or(path))?;
        if kind == Kind::CharDevice(Rdev::default()) {
            let attrs = make::marked(attrs, self.marks, &[(self.marks.device_zero(), b"")]);
            return make::make_device_zero(to, bytes, &attrs).map_err(wrong);
        }
        // Of other kinds not every file system and namespace keeps a mark.
        let origin: &[(&[u8], &[u8])] = match kind {
            Kind::File { .. } if copied_up => &[(self.marks.origin(), b"")],
            _ => &[],
        };
        let attrs = make::marked(attrs, self.marks, origin);
        make::make((from, bytes), (to, bytes), &kind, &attrs).map_err(gone_or(path))
    }

    /// Gives directories their attributes and marks, the innermost first.
    fn directories(&self, scanned: &mut Scanned) -> Result<(), UnionError> {
        let root = RelPath::root();
        for path in scanned.spoken.iter().rev().chain([&root]) {
            let Some(record) = scanned.manifest.record_mut(path) else { continue };
            let Said::Node { copied_up, opaque } = record.said else { continue };
            let made = match path.split() {
                Some((parent, name)) => {
                    let parent = make::open_below(self.upper, &parent).map_err(settling(path))?;
                    match parent.stat(name.as_bytes()).map_err(settling(path))?.kind {
                        FileKind::Directory => parent.open_dir(name.as_bytes()).map_err(settling(path))?,
                        _ => continue,
                    }
                }
                None => make::open_below(self.upper, path).map_err(settling(path))?,
            };
            let from = make::open_below(self.tree, path).map_err(gone_or(path))?;
            let attrs = make::look_at_self(&from).map_err(gone_or(path))?;
            let mut also: Vec<(&[u8], &[u8])> = Vec::new();
            if opaque {
                also.push((self.marks.opaque(), b"y"));
            }
            if copied_up && !path.is_root() {
                also.push((self.marks.origin(), b""));
            }
            make::dress_self(&made, &make::marked(attrs, self.marks, &also)).map_err(settling(path))?;
        }
        Ok(())
    }

    /// Writes down what was made.
    fn stamps(&self, scanned: &mut Scanned) -> Result<(), UnionError> {
        let all = scanned.manifest.directories.values_mut().flat_map(std::collections::BTreeMap::values_mut);
        all.for_each(|record| record.upper = None);
        let mut here: Option<(RelPath, Dir)> = None;
        for path in &scanned.spoken {
            let Some((parent, name)) = path.split() else { continue };
            let dir = match &here {
                Some((at, dir)) if *at == parent => dir,
                _ => {
                    let dir = make::open_below(self.upper, &parent).map_err(settling(&parent))?;
                    &here.insert((parent, dir)).1
                }
            };
            let found = dir.stat_born(name.as_bytes()).map_err(settling(path))?;
            if let Some(record) = scanned.manifest.record_mut(path) {
                record.upper = found.as_ref().map(Stamp::of);
            }
        }
        let ino = self.upper.metadata().map_err(settling(&RelPath::root()))?.ino;
        let attrs = super::layers::root_of(self.upper, self.marks)?;
        scanned.manifest.upper_root = UpperRoot { ino, attrs };
        Ok(())
    }
}

fn changing(path: &RelPath) -> UnionError {
    UnionError::Changing { driver: NAME, path: path.clone() }
}

/// What went, or became of another kind, since it was scanned is no failure of the disk.
fn gone_or(path: &RelPath) -> impl Fn(SysError) -> UnionError + '_ {
    |error| match error.errno() {
        mica_sys::Errno::NOENT | mica_sys::Errno::NOTDIR | mica_sys::Errno::LOOP | mica_sys::Errno::INVAL => {
            changing(path)
        }
        _ => settling(path)(error),
    }
}
