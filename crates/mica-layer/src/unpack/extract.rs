//! Entry after entry: into the table, onto the disk, and what the disk cannot hold into `recon`.

use std::io::{BufWriter, Seek, SeekFrom};

use mica_core::{Attrs, Kind, Name, Rdev, RelPath, TarName, Xattrs};
use mica_sys::{Dir, File, FileKind, SysError, Time};

use super::directories::Directories;
use super::pipe::Chunks;
use super::resolve::{Step, Target, Walk, components, target};
use super::tree::{Body, FileId, PathId, Said, Tree};
use super::{Unpack, place};
use crate::error::lossy;
use crate::recon::ReconWriter;
use crate::tar::{Archive, Entry, EntryKind};
use crate::tree::HOST_LABEL;
use crate::{EntryError, LayerError, Result, stand_in};

/// Holes are hashed as the zeros they read as, which costs time though no space. A layer may have this many bytes of
/// them; what a file has beyond is left without a content hash.
const HASHED_HOLES: u64 = 8 << 30;

/// What an entry's own problem is; its number is added where it is returned from.
pub(super) type Outcome<T> = std::result::Result<T, Problem>;

/// A problem of the entry, or one of the whole.
#[derive(Debug)]
pub(super) enum Problem {
    Entry(EntryError),
    Layer(LayerError),
}

impl From<EntryError> for Problem {
    fn from(problem: EntryError) -> Self {
        Self::Entry(problem)
    }
}

impl From<LayerError> for Problem {
    fn from(problem: LayerError) -> Self {
        Self::Layer(problem)
    }
}

impl Problem {
    pub(super) fn of_entry(self, number: u64) -> LayerError {
        match self {
            Self::Entry(problem) => LayerError::Entry { number, problem },
            Self::Layer(problem) => problem,
        }
    }
}

/// A refused call, on whose behalf.
pub(super) fn refused(path: &[u8]) -> impl FnOnce(SysError) -> EntryError + '_ {
    move |source| EntryError::Make { path: lossy(path), source }
}

/// What the making of a layer leaves to be said.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) entries: u64,
    pub(super) content_size: u64,
    pub(super) implicit: u64,
    pub(super) needs_parent: u64,
}

/// A layer in the making.
pub(super) struct Extract<'a> {
    pub(super) how: &'a Unpack,
    pub(super) layer: &'a Dir,
    pub(super) tree: Tree,
    pub(super) directories: Directories,
    pub(super) recon: ReconWriter<BufWriter<File>>,
    /// Paths that had a hard link to nothing when they were met.
    pub(super) links: Vec<PathId>,
    /// Bytes that the tar had written, to `diff/` or to `recon`.
    total: u64,
    written: u64,
    metadata: u64,
    hashed_holes_left: u64,
    /// The entry that is being read.
    entries: u64,
}

impl<'a> Extract<'a> {
    pub(super) fn run(tar: Chunks, layer: &'a Dir, how: &'a Unpack) -> Result<Made> {
        let wrong = || LayerError::sys("making the layer's files");
        layer.mkdir(place::DIFF, 0o700).map_err(wrong())?;
        let diff = layer.open_dir(place::DIFF).map_err(wrong())?;
        let recon = BufWriter::new(layer.create_file(place::RECON, 0o644).map_err(wrong())?);
        let mut this = Extract {
            how,
            layer,
            tree: Tree::new(),
            directories: Directories::new(diff),
            recon: ReconWriter::new(recon)?,
            links: Vec::new(),
            total: 0,
            written: 0,
            metadata: 0,
            hashed_holes_left: HASHED_HOLES,
            entries: 0,
        };
        let mut archive = Archive::buffered(tar, &how.limits).with_framing();
        while let Some(entry) = archive.next_entry()? {
            let number = entry.number;
            this.entries = number;
            let counted = this.count_length(archive.announced(), &entry.path);
            counted.map_err(|problem| LayerError::Entry { number, problem })?;
            this.take_framing(&mut archive)?;
            this.entry(entry, &mut archive).map_err(|problem| problem.of_entry(number))?;
        }
        this.take_framing(&mut archive)?;
        while let Some(bytes) = archive.trailing()? {
            let counted = this.count(bytes, b"the bytes after the end");
            counted.map_err(|problem| LayerError::Entry { number: this.entries, problem })?;
            this.recon.literal(bytes)?;
        }
        this.finish()
    }

    fn take_framing(&mut self, archive: &mut Archive<Chunks>) -> Result<()> {
        let framing = archive.framing();
        self.recon.literal(framing)?;
        framing.clear();
        Ok(())
    }

    fn entry(&mut self, entry: Entry, archive: &mut Archive<Chunks>) -> Outcome<()> {
        self.check_limits(&entry)?;
        if entry.kind == EntryKind::Label {
            return self.keep_body(&entry, archive);
        }
        let mut components = components(&entry.path, &self.how.limits)?;
        let Some(last) = components.pop() else {
            return self.root(&entry, archive);
        };
        let reserved = || EntryError::Whiteout { path: lossy(&entry.path) };
        let name = Name::new(last).map_err(|_| EntryError::Nul { path: lossy(&entry.path) })?;
        // A directory of such a name would be read as a whiteout by others.
        if components.iter().any(|component| component.starts_with(mica_core::WHITEOUT_PREFIX)) {
            return Err(reserved().into());
        }
        let directory = self.directory(&components, &entry)?;
        match TarName::of(&name) {
            TarName::Reserved => Err(reserved().into()),
            TarName::Opaque => {
                let place = self.tree.place_mut(directory);
                (place.is_opaque, place.entry) = (true, entry.number);
                self.keep_body(&entry, archive)
            }
            TarName::Whiteout(hidden) => {
                let id = self.child(directory, hidden.as_bytes(), &entry)?;
                self.tree.place_mut(id).is_hidden = true;
                self.keep_body(&entry, archive)
            }
            TarName::Plain(name) => {
                let id = self.child(directory, name.as_bytes(), &entry)?;
                self.tree.place_mut(id).entry = entry.number;
                self.plain(directory, id, &entry, archive)
            }
        }
    }

    fn check_limits(&mut self, entry: &Entry) -> Outcome<()> {
        let limits = &self.how.limits;
        if entry.number > limits.entries {
            return Err(EntryError::EntryLimit { path: lossy(&entry.path), limit: limits.entries }.into());
        }
        let xattrs: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let runs = entry.sparse.as_ref().map_or(0, |runs| runs.len() * 16);
        let bytes = u64::try_from(entry.path.len() + entry.link.len() + xattrs + runs).unwrap_or(u64::MAX);
        self.metadata = self.metadata.saturating_add(bytes);
        if self.metadata > limits.metadata_bytes {
            return Err(EntryError::MetadataLimit { path: lossy(&entry.path), limit: limits.metadata_bytes }.into());
        }
        Ok(())
    }

    fn root(&mut self, entry: &Entry, archive: &mut Archive<Chunks>) -> Outcome<()> {
        if entry.kind != EntryKind::Directory {
            return Err(EntryError::Root { path: lossy(&entry.path) }.into());
        }
        self.tree.place_mut(Tree::ROOT).entry = entry.number;
        self.state_directory(Tree::ROOT, entry)?;
        self.keep_body(entry, archive)
    }

    /// The directory that these components lead to, symlinks followed; what is missing is made, implicitly.
    fn directory(&mut self, components: &[&[u8]], entry: &Entry) -> Outcome<PathId> {
        let mut walk = Walk::new(components);
        while let Some(step) = walk.step(&self.tree) {
            match step {
                Step::At(_) => {}
                Step::Missing { directory, name } => {
                    let id = self.child(directory, &name, entry)?;
                    let parent = self.directories.get(&self.tree, directory).map_err(refused(&entry.path))?;
                    parent.mkdir(&name, 0o700).map_err(refused(&entry.path))?;
                    self.tree.place_mut(id).said = Said::Directory(None);
                    walk.enter(id);
                }
                Step::NoDirectory(at) => {
                    let parent = lossy(self.tree.path(at).as_bytes());
                    return Err(EntryError::BelowNonDirectory { path: lossy(&entry.path), parent }.into());
                }
                Step::Loop => return Err(EntryError::SymlinkLoop { path: lossy(&entry.path) }.into()),
            }
        }
        Ok(walk.at())
    }

    fn child(&mut self, directory: PathId, name: &[u8], entry: &Entry) -> Outcome<PathId> {
        let limits = &self.how.limits;
        let child = self.tree.child_or_new(directory, name, entry.number);
        let child = child.ok_or_else(|| self.too_many(&entry.path))?;
        // The root is no entry.
        if self.tree.len() - 1 > limits.entries {
            return Err(self.too_many(&entry.path).into());
        }
        if self.tree.depth(child) > limits.depth {
            return Err(EntryError::DepthLimit { path: lossy(&entry.path), limit: limits.depth }.into());
        }
        Ok(child)
    }

    /// An entry that makes something of its own name.
    fn plain(&mut self, directory: PathId, id: PathId, entry: &Entry, archive: &mut Archive<Chunks>) -> Outcome<()> {
        let device = |kind: fn(Rdev) -> Kind| kind(entry.device);
        let kind = match entry.kind {
            EntryKind::Directory => {
                self.make_directory(directory, id, entry)?;
                return self.keep_body(entry, archive);
            }
            EntryKind::Link => {
                self.link(directory, id, entry)?;
                return self.keep_body(entry, archive);
            }
            EntryKind::File => return self.file(directory, id, entry, archive),
            EntryKind::Symlink => Kind::Symlink { target: entry.link.clone() },
            EntryKind::CharDevice => device(Kind::CharDevice),
            EntryKind::BlockDevice => device(Kind::BlockDevice),
            EntryKind::Fifo => Kind::Fifo,
            EntryKind::Label => return Ok(()),
            EntryKind::Other(typeflag) => {
                let typeflag = char::from(typeflag);
                return Err(EntryError::Type { path: lossy(&entry.path), typeflag }.into());
            }
        };
        if matches!(&kind, Kind::Symlink { target } if target.is_empty() || target.contains(&0)) {
            return Err(EntryError::LinkTarget { path: lossy(&entry.path) }.into());
        }
        self.clear(id, &entry.path)?;
        let parent = self.directories.get(&self.tree, directory).map_err(refused(&entry.path))?;
        let mut attrs = attrs(entry);
        if entry.kind == EntryKind::Symlink {
            // Linux has no mode of symlinks, and shows this one.
            attrs.mode = 0o777;
        }
        make_special(parent, self.tree.name(id), &kind, &attrs, self.how).map_err(refused(&entry.path))?;
        self.says_file(id, kind, &attrs, Body::None, entry)?;
        self.keep_body(entry, archive)
    }

    /// The table has no more numbers for entries and their names.
    fn too_many(&self, path: &[u8]) -> EntryError {
        EntryError::EntryLimit { path: lossy(path), limit: self.how.limits.entries }
    }

    fn state_directory(&mut self, id: PathId, entry: &Entry) -> Outcome<()> {
        let stated = self.tree.state_directory(id, &attrs(entry));
        Ok(stated.ok_or_else(|| self.too_many(&entry.path))?)
    }

    pub(super) fn say_link(&mut self, id: PathId, target: &RelPath, path: &[u8]) -> Outcome<()> {
        let said = self.tree.say_link(id, target);
        Ok(said.ok_or_else(|| self.too_many(path))?)
    }

    fn says_file(&mut self, id: PathId, kind: Kind, attrs: &Attrs, body: Body, entry: &Entry) -> Outcome<FileId> {
        let file = self.tree.add_file(kind, attrs, body).ok_or_else(|| self.too_many(&entry.path))?;
        self.tree.place_mut(id).said = Said::File(file);
        Ok(file)
    }

    fn make_directory(&mut self, directory: PathId, id: PathId, entry: &Entry) -> Outcome<()> {
        if !matches!(self.tree.place(id).said, Said::Directory(_)) {
            self.clear(id, &entry.path)?;
            let parent = self.directories.get(&self.tree, directory).map_err(refused(&entry.path))?;
            parent.mkdir(self.tree.name(id), 0o700).map_err(refused(&entry.path))?;
        }
        self.state_directory(id, entry)
    }

    fn link(&mut self, directory: PathId, id: PathId, entry: &Entry) -> Outcome<()> {
        let limits = &self.how.limits;
        if entry.link.is_empty() {
            return Err(EntryError::LinkTarget { path: lossy(&entry.path) }.into());
        }
        let file_at = |tree: &Tree, id: PathId| match tree.place(id).said {
            Said::File(file) => Some(file),
            _ => None,
        };
        if let Target::Here(there) = target(&self.tree, &entry.link, limits)?
            && let (Some(one), Some(other)) = (file_at(&self.tree, there), file_at(&self.tree, id))
            && one == other
        {
            return Ok(());
        }
        self.clear(id, &entry.path)?;
        // Asked again: the target may have been under what was cleared away.
        let path = match target(&self.tree, &entry.link, limits)? {
            Target::Here(there) => match self.tree.place(there).said {
                Said::File(file) => {
                    self.make_link(there, directory, id, &entry.path)?;
                    self.tree.file_mut(file).names += 1;
                    self.tree.place_mut(id).said = Said::File(file);
                    return Ok(());
                }
                Said::Directory(_) => {
                    let (path, target) = (lossy(&entry.path), lossy(&entry.link));
                    return Err(EntryError::LinkToDirectory { path, target }.into());
                }
                Said::Link(_) | Said::Nothing => self.tree.path(there),
            },
            Target::Absent(path) => path,
        };
        self.say_link(id, &path, &entry.path)?;
        self.links.push(id);
        Ok(())
    }

    /// Makes the path `id` in `directory` one more name of what stands at `there`.
    pub(super) fn make_link(&mut self, there: PathId, directory: PathId, id: PathId, path: &[u8]) -> Outcome<()> {
        let from = self.directories.get(&self.tree, self.tree.place(there).parent).map_err(refused(path))?;
        // Both must be open at once, and the second may close the first.
        let from = from.try_clone().map_err(refused(path))?;
        let to = self.directories.get(&self.tree, directory).map_err(refused(path))?;
        from.link(self.tree.name(there), to, self.tree.name(id)).map_err(refused(path))?;
        Ok(())
    }

    fn file(&mut self, directory: PathId, id: PathId, entry: &Entry, archive: &mut Archive<Chunks>) -> Outcome<()> {
        self.clear(id, &entry.path)?;
        let parent = self.directories.get(&self.tree, directory).map_err(refused(&entry.path))?;
        let mut file = parent.create_file(self.tree.name(id), 0o600).map_err(refused(&entry.path))?;
        let content = self.content(&mut file, entry, archive)?;
        let (kind, attrs) = (Kind::File { size: entry.size, content }, attrs(entry));
        settle(&file, &stand_in(&kind, &attrs, &self.how.ability).attrs, self.how).map_err(refused(&entry.path))?;
        let body = if entry.stored > 0 { Body::Here } else { Body::None };
        if body == Body::Here {
            self.recon.body(entry.stored)?;
        }
        let file = self.says_file(id, kind, &attrs, body, entry)?;
        if let Some(runs) = &entry.sparse {
            self.tree.set_runs(file, runs.clone().into_boxed_slice());
        }
        Ok(())
    }

    /// Writes the body where it belongs, and gives the hash of the whole.
    fn content(&mut self, file: &mut File, entry: &Entry, archive: &mut Archive<Chunks>) -> Outcome<Option<[u8; 32]>> {
        let refused = |source| EntryError::Make { path: lossy(&entry.path), source };
        let holes = entry.size.saturating_sub(entry.stored);
        let left = self.hashed_holes_left.checked_sub(holes);
        self.hashed_holes_left = left.unwrap_or(self.hashed_holes_left);
        let mut hasher = left.map(|_| blake3::Hasher::new());
        let mut end = 0;
        while let Some(piece) = archive.next_piece().map_err(Problem::Layer)? {
            let length = self.count(piece.bytes, &entry.path)?;
            self.written += length;
            if piece.offset != end {
                hash_zeros(hasher.as_mut(), piece.offset - end);
                file.seek(SeekFrom::Start(piece.offset)).map_err(LayerError::Write)?;
            }
            file.write_whole(piece.bytes).map_err(refused)?;
            if let Some(hasher) = &mut hasher {
                hasher.update(piece.bytes);
            }
            end = piece.offset + length;
        }
        if end < entry.size {
            hash_zeros(hasher.as_mut(), entry.size - end);
            file.set_len(entry.size).map_err(refused)?;
        }
        Ok(hasher.map(|hasher| *hasher.finalize().as_bytes()))
    }

    /// Puts a body that makes no file into `recon`.
    fn keep_body(&mut self, entry: &Entry, archive: &mut Archive<Chunks>) -> Outcome<()> {
        while let Some(piece) = archive.next_piece().map_err(Problem::Layer)? {
            self.count(piece.bytes, &entry.path)?;
            self.recon.literal(piece.bytes)?;
        }
        Ok(())
    }

    /// Counts bytes that are about to be written, and gives their number.
    fn count(&mut self, bytes: &[u8], path: &[u8]) -> std::result::Result<u64, EntryError> {
        self.count_length(u64::try_from(bytes.len()).unwrap_or(u64::MAX), path)
    }

    fn count_length(&mut self, length: u64, path: &[u8]) -> std::result::Result<u64, EntryError> {
        self.total = self.total.saturating_add(length);
        let limit = self.how.limits.content_bytes;
        if self.total > limit {
            return Err(EntryError::ContentLimit { path: lossy(path), limit });
        }
        Ok(length)
    }

    /// Bytes of content that stand in `diff/`.
    pub(super) const fn written(&mut self) -> &mut u64 {
        &mut self.written
    }
}

fn hash_zeros(hasher: Option<&mut blake3::Hasher>, mut count: u64) {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let Some(hasher) = hasher else { return };
    while count > 0 {
        let part = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
        hasher.update(ZEROS.get(..part).unwrap_or_default());
        count -= u64::try_from(part).unwrap_or(0);
    }
}

fn attrs(entry: &Entry) -> Attrs {
    let Entry { mode, uid, gid, mtime, .. } = *entry;
    let mut xattrs = entry.xattrs.clone();
    // The label of the machine that wrote the tar: an upper has that of its own, and packing leaves both out.
    xattrs.remove(HOST_LABEL);
    Attrs { mode, uid, gid, mtime, xattrs }
}

pub(super) const fn time(attrs: &Attrs) -> Time {
    Time { secs: attrs.mtime.secs, nanos: attrs.mtime.nanos }
}

/// Attributes as they stand on disk.
pub(super) fn escaped<'a>(xattrs: &'a Xattrs, how: &Unpack) -> impl Iterator<Item = (Vec<u8>, &'a [u8])> {
    let marks = how.marks;
    xattrs.iter().map(move |(name, value)| (marks.escape(name), &value[..]))
}

/// Owner, then mode, since a change of owner takes setuid away; then attributes, since it takes capabilities away too,
/// and since an access control list speaks of the group's bits; times last.
fn settle(file: &File, attrs: &Attrs, how: &Unpack) -> std::result::Result<(), SysError> {
    file.set_owner(attrs.uid, attrs.gid)?;
    file.set_mode(attrs.mode)?;
    for (name, value) in escaped(&attrs.xattrs, how) {
        file.set_xattr(&name, value)?;
    }
    file.set_mtime(time(attrs))
}

/// A symlink, device or FIFO, or what stands in for it.
fn make_special(at: &Dir, name: &[u8], kind: &Kind, attrs: &Attrs, how: &Unpack) -> std::result::Result<(), SysError> {
    let stands = stand_in(kind, attrs, &how.ability);
    let attrs = &*stands.attrs;
    if let Some((mark, value)) = how.marks.of_device(kind).filter(|_| stands.is_marked_file) {
        let file = at.create_file(name, 0o600)?;
        file.set_xattr(mark, &value)?;
        return settle(&file, attrs, how);
    }
    match kind {
        Kind::Symlink { target } => {
            at.symlink(target, name)?;
            at.chown(name, attrs.uid, attrs.gid)?;
        }
        _ => {
            let (kind, rdev) = match kind {
                Kind::CharDevice(rdev) => (FileKind::CharDevice, *rdev),
                Kind::BlockDevice(rdev) => (FileKind::BlockDevice, *rdev),
                _ => (FileKind::Fifo, Rdev::default()),
            };
            at.mknod(name, kind, 0o600, rdev.major, rdev.minor)?;
            at.chown(name, attrs.uid, attrs.gid)?;
            at.chmod(name, attrs.mode)?;
        }
    }
    for (attribute, value) in escaped(&attrs.xattrs, how) {
        at.set_xattr(name, &attribute, value)?;
    }
    at.utimens(name, time(attrs))
}
