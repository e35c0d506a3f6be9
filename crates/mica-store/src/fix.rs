//! The fix of a chain: which paths the kernel would show wrongly, and a directory that shows them rightly.

use std::collections::BTreeMap;

use mica_core::{Kind, Layer, LayerEntry, RelPath, Stack};
use mica_layer::{Index, LayerError, Marks};
use mica_sys::{Dir, File, FileKind, SysError};

use crate::error::StoreError;
use crate::layers::{DIFF, SealedLayer};
use crate::records::DIR_MODE;

/// What a path of a fix is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FixEntry {
    /// A directory with the attributes that it has in this layer, counted from the top.
    Directory(usize),
    /// The file that stands in this layer at this path.
    File(usize, RelPath),
    /// Nothing shows here: a hard link whose target is nowhere.
    Gone,
}

/// The paths that must be in a chain's fix; none for most chains. A directory stands before what is in it.
pub(crate) fn needed(stack: &Stack<Index>) -> Result<BTreeMap<RelPath, FixEntry>, LayerError> {
    let mut fix = BTreeMap::new();
    for (number, layer) in stack.layers().iter().enumerate() {
        if layer.implicit() == 0 && layer.needs_parent() == 0 {
            continue;
        }
        for entry in layer.entries() {
            let (path, LayerEntry::Node(node)) = entry? else { continue };
            match node.kind {
                Kind::Directory { implicit: true, .. } if !path.is_root() => {
                    let shown = stack.resolve(&path)?.filter(|shown| shown.node.kind.is_directory());
                    if let Some(shown) = shown.filter(|shown| shown.layer == number && shown.attrs_layer != number) {
                        fix.insert(path, FixEntry::Directory(shown.attrs_layer));
                    }
                }
                Kind::LinkToParent { .. } => link(stack, number, &path, &mut fix)?,
                _ => {}
            }
        }
    }
    let inside: Vec<RelPath> = fix.keys().flat_map(|path| path.ancestors().collect::<Vec<_>>()).collect();
    for path in inside {
        if let Some(shown) = stack.resolve(&path)? {
            fix.entry(path).or_insert(FixEntry::Directory(shown.attrs_layer));
        }
    }
    Ok(fix)
}

/// A hard link whose file is in a layer below: the fix has the file, at all of its names that show.
fn link(
    stack: &Stack<Index>,
    number: usize,
    path: &RelPath,
    fix: &mut BTreeMap<RelPath, FixEntry>,
) -> Result<(), LayerError> {
    let Some(shown) = stack.resolve(path)? else {
        let parent = path.parent().map(|parent| stack.resolve(&parent)).transpose()?.flatten();
        if parent.is_some_and(|parent| parent.node.kind.is_directory()) {
            fix.insert(path.clone(), FixEntry::Gone);
        }
        return Ok(());
    };
    if shown.layer != number {
        return Ok(());
    }
    let (at, target) = shown.content;
    for name in names_of(stack, at, &target)?.into_iter().chain([path.clone()]) {
        let same = stack
            .resolve(&name)?
            .is_some_and(|shown| shown.content.0 == at && (shown.content.1 == target || shown.content.1 == name));
        if same {
            fix.insert(name, FixEntry::File(at, target.clone()));
        }
    }
    Ok(())
}

/// All names that a file has in its own layer.
fn names_of(stack: &Stack<Index>, at: usize, file: &RelPath) -> Result<Vec<RelPath>, LayerError> {
    let Some(layer) = stack.layers().get(at) else { return Ok(Vec::new()) };
    let Some(LayerEntry::Node(node)) = layer.entry(file)? else { return Ok(Vec::new()) };
    let Some(group) = node.link_group else { return Ok(vec![file.clone()]) };
    let mut names = Vec::new();
    for entry in layer.entries() {
        let (path, entry) = entry?;
        if entry.node().is_some_and(|node| node.link_group == Some(group)) {
            names.push(path);
        }
    }
    Ok(names)
}

/// A fix to be made on disk.
pub(crate) struct Fix<'a> {
    pub(crate) entries: &'a BTreeMap<RelPath, FixEntry>,
    /// The chain's layers, topmost first.
    pub(crate) layers: &'a [SealedLayer],
    pub(crate) marks: Marks,
}

impl Fix<'_> {
    /// Makes everything in the empty directory `fix`.
    pub(crate) fn make(&self, fix: &Dir) -> Result<(), StoreError> {
        let mut made: BTreeMap<(usize, &RelPath), &RelPath> = BTreeMap::new();
        for (path, entry) in self.entries {
            let Some((parent, name)) = path.split() else { continue };
            let (parent, name) = (fix.open_dir(parent.as_bytes())?, name.as_bytes());
            match entry {
                FixEntry::Directory(_) => parent.mkdir(name, DIR_MODE)?,
                FixEntry::Gone => mica_layer::make_whiteout(&parent, name, self.marks)?,
                FixEntry::File(layer, target) => match made.get(&(*layer, target)) {
                    Some(first) => {
                        let (from, old) = open_parent(fix, first)?;
                        from.link(&old, &parent, name)?;
                    }
                    None => {
                        let (from, old) = open_parent(&self.diff(*layer)?, target)?;
                        self.copy(&from, &old, &parent, name)?;
                        made.insert((*layer, target), path);
                    }
                },
            }
        }
        // The deepest first: one that its owner may not search is closed after all that is in it.
        for (path, entry) in self.entries.iter().rev() {
            if let FixEntry::Directory(layer) = entry {
                let like = self.diff(*layer)?.open_dir(path.as_bytes())?;
                self.dress(&fix.open_dir(path.as_bytes())?, &like)?;
            }
        }
        Ok(())
    }

    fn diff(&self, layer: usize) -> Result<Dir, StoreError> {
        let layer = self.layers.get(layer).ok_or_else(|| StoreError::not_found(crate::What::Layer, layer))?;
        Ok(layer.dir().open_dir(DIFF.as_bytes())?)
    }

    /// Attributes are copied as they stand on disk, where they are escaped already; only the marks stay behind: an opaque
    /// directory of one layer must not hide the layers below it in the fix.
    fn dress(&self, dir: &Dir, like: &Dir) -> Result<(), SysError> {
        let metadata = like.metadata()?;
        dir.chown_self(metadata.uid, metadata.gid)?;
        dir.chmod_self(metadata.mode)?;
        for name in like.list_own_xattrs()? {
            if self.marks.unescape(&name).is_some()
                && let Some(value) = like.get_own_xattr(&name)?
            {
                dir.set_own_xattr(&name, &value)?;
            }
        }
        dir.utimens_self(metadata.mtime)
    }

    /// Copies a file of any kind with all that overlayfs would show of it; marks are part of that, since a device 0:0
    /// stands as a marked file.
    fn copy(&self, from: &Dir, old: &[u8], to: &Dir, new: &[u8]) -> Result<(), StoreError> {
        let metadata = from.stat(old)?;
        match metadata.kind {
            FileKind::File => {
                let copy: File = to.create_file(new, 0o600)?;
                copy.copy_from(&from.open_file(old)?)?;
            }
            FileKind::Symlink => to.symlink(&from.read_link(old)?, new)?,
            kind => to.mknod(new, kind, 0o600, metadata.rdev_major, metadata.rdev_minor)?,
        }
        to.chown(new, metadata.uid, metadata.gid)?;
        if metadata.kind != FileKind::Symlink {
            to.chmod(new, metadata.mode)?;
        }
        for name in from.list_xattrs(old)? {
            if let Some(value) = from.get_xattr(old, &name)? {
                to.set_xattr(new, &name, &value)?;
            }
        }
        Ok(to.utimens(new, metadata.mtime)?)
    }
}

/// The opened parent of a path below the root, and its last name.
fn open_parent(dir: &Dir, path: &RelPath) -> Result<(Dir, Vec<u8>), SysError> {
    let (parent, name) = path.split().ok_or_else(|| SysError::new("openat2", b"", mica_sys::Errno::INVAL))?;
    Ok((dir.open_dir(parent.as_bytes())?, name.as_bytes().to_vec()))
}
