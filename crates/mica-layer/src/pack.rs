//! An upper, or a whole tree, as a layer tar: of an upper the changeset alone, the same bytes for the same tree.
//!
//! The upper is read, and the stack below, where that is given ([`Over`]), for the paths that the upper has and for what its marks lead to. Kernel marks become what a layer tar has (OCI image specification, "Whiteouts"), members come
//! sorted by path with `/` lowest, and nothing is written that depends on the machine, the order of its directories or
//! the time of packing. Sockets are left out, as they mean nothing without the process that made them. A sparse file is
//! written whole, unless that would be absurd ([`holes`]).

mod holes;

use std::collections::HashMap;
use std::io::{self, Read as _, Write};

use mica_core::{Attrs, DiffId, DigestHasher, Kind, LayerEntry, Name, Node, RelPath, WHITEOUT_PREFIX};
use mica_sys::{Dir, Metadata};

use holes::Runs;

use crate::expand::{Expander, FileId, Item, Spot};
use crate::ladder::Ladder;
use crate::tar::{Member, MemberKind, WriteError, Writer};
use crate::tree::reading;
use crate::{LayerError, Marks, Over, Reach};

/// The whiteout that makes its directory opaque.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// How an upper is packed; by default one of root's, as it is and without its root.
#[derive(Debug, Clone)]
pub struct Pack<'a> {
    /// The marks that it was written with; `None` for a tree as it is shown, in which nothing is a mark.
    pub marks: Option<Marks>,
    /// The attributes of the root below. An upper's root is only a copy of it, and is packed when its mode, owner or
    /// extended attributes are others; its time changes with every name made in it and is not asked. `None`: the root
    /// is never packed.
    pub root: Option<Attrs>,
    /// What the upper is read over; `None` where it is what it is.
    pub over: Option<Over<'a>>,
    /// An owner or group that is packed as 0: the one which a user namespace shows for those that it does not map.
    pub others: Option<u32>,
}

impl Default for Pack<'_> {
    fn default() -> Self {
        Self { marks: Some(Marks::Trusted), root: None, over: None, others: None }
    }
}

impl Pack<'_> {
    fn own(&self, attrs: &mut Attrs) {
        for id in [&mut attrs.uid, &mut attrs.gid] {
            if Some(*id) == self.others {
                *id = 0;
            }
        }
    }
}

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The digest of the tar.
    pub diff_id: DiffId,
    /// Bytes of the tar.
    pub tar_size: u64,
    /// Its members; 0 when the upper has no change.
    pub entries: u64,
    /// Sockets, which were left out.
    pub skipped: Vec<RelPath>,
}

/// Why an upper cannot be a layer tar.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// A layer tar has no way to say this name.
    #[error("{path} cannot be in a layer: a name that begins with \".wh.\" means that something is deleted")]
    WhiteoutName {
        /// The file, or what a whiteout hides.
        path: RelPath,
    },
    /// Somebody writes to the upper.
    #[error("{path} changed while it was read")]
    Changed {
        /// The file.
        path: RelPath,
    },
}

/// Writes the layer tar of `upper` to `out`.
///
/// # Errors
/// [`PackError`]; [`crate::TreeError`] when the upper cannot be read or has marks whose meaning is in the layers below;
/// [`WriteError`] when `out` takes no more. What was written until then is of no use.
pub fn pack(upper: &Dir, how: &Pack<'_>, out: &mut dyn Write) -> Result<Packed, LayerError> {
    let mut packer = Packer {
        tar: Writer::new(Hashing { out, hasher: DigestHasher::default() }),
        expander: Expander::new(upper, how.marks, how.over)?,
        over: how.over,
        entries: 0,
        skipped: Vec::new(),
        groups: HashMap::new(),
    };
    let (spot, merges) = packer.root(how)?;
    packer.tree(upper, how, spot, merges)?;
    let tar_size = packer.tar.written() + crate::tar::writer::END_SIZE;
    let hashing = packer.tar.finish()?;
    Ok(Packed {
        diff_id: DiffId::from_sha256(hashing.hasher.finish()),
        tar_size,
        entries: packer.entries,
        skipped: packer.skipped,
    })
}

struct Packer<'a> {
    tar: Writer<Hashing<'a>>,
    expander: Expander<'a>,
    over: Option<Over<'a>>,
    entries: u64,
    skipped: Vec<RelPath>,
    /// The first path, in order, of each file that has several names, and what it was packed with.
    groups: HashMap<FileId, (RelPath, Attrs)>,
}

impl Packer<'_> {
    /// Writes the root, where it is a change; says whether what is below shows through it.
    fn root(&mut self, how: &Pack<'_>) -> Result<(Spot, bool), LayerError> {
        let (mut root, spot) = self.expander.root()?;
        let below = how.root.as_ref();
        if below.is_some_and(|below| Attrs { mtime: below.mtime, ..root.attrs.clone() } != *below) {
            how.own(&mut root.attrs);
            self.member(b".", MemberKind::Directory, &root.attrs)?;
        }
        Ok((spot, self.opaque(&RelPath::root(), &root, true)?))
    }

    fn tree(&mut self, upper: &Dir, how: &Pack<'_>, root: Spot, merges: bool) -> Result<(), LayerError> {
        let mut ladder = Ladder::new(upper, Dir::open_dir);
        let names = self.expander.names(Some(upper), &root)?.into_iter();
        let mut levels = vec![Level { spot: root, names, merges }];
        while let Some(Level { spot, names, merges }) = levels.last_mut() {
            let Some(name) = names.next() else {
                // What only the lowers have was gone through without a step.
                if spot.stands {
                    ladder.step_out();
                }
                levels.pop();
                continue;
            };
            let path = spot.path.join(&name);
            let dir = match spot.stands {
                true => Some(ladder.here().map_err(reading(&spot.path))?),
                false => None,
            };
            let Some(mut item) = self.expander.look(dir, spot, &name)? else {
                if spot.in_place {
                    return Err(PackError::Changed { path }.into());
                }
                continue;
            };
            if name.as_bytes().starts_with(WHITEOUT_PREFIX) {
                return Err(PackError::WhiteoutName { path }.into());
            }
            let merges = *merges;
            if let LayerEntry::Node(node) = &mut item.entry {
                how.own(&mut node.attrs);
            }
            self.entry(dir, &path, &item)?;
            if let Item { entry: LayerEntry::Node(node), spot: Some(inner), .. } = &item {
                let merges = self.opaque(&path, node, merges)?;
                let opened = match dir.filter(|_| inner.stands) {
                    Some(dir) => Some(dir.open_dir(name.as_bytes()).map_err(reading(&path))?),
                    None => None,
                };
                let names = self.expander.names(opened.as_ref(), inner)?.into_iter();
                if let Some(opened) = opened {
                    ladder.step_in(&path, opened);
                }
                levels.push(Level { spot: inner.clone(), names, merges });
            }
        }
        Ok(())
    }

    /// Writes one entry.
    fn entry(&mut self, dir: Option<&Dir>, path: &RelPath, item: &Item) -> Result<(), LayerError> {
        let LayerEntry::Node(node) = &item.entry else {
            let (parent, name) = path.split().unzip();
            let hidden = [WHITEOUT_PREFIX, name.as_ref().map_or(&[], Name::as_bytes)].concat();
            return self.mark(&parent.unwrap_or_default(), &hidden);
        };
        if let Some(file) = item.file.clone().filter(|_| !matches!(node.kind, Kind::Socket)) {
            if let Some((first, attrs)) = self.groups.get(&file).cloned() {
                return self.member(path.as_bytes(), MemberKind::HardLink(first.as_bytes()), &attrs);
            }
            self.groups.insert(file, (path.clone(), node.attrs.clone()));
        }
        let kind = match &node.kind {
            Kind::File { size, .. } => return self.file(dir, path, (*size, &node.attrs), item),
            Kind::Directory { .. } => MemberKind::Directory,
            Kind::Symlink { target } => MemberKind::Symlink(target),
            Kind::CharDevice(rdev) => MemberKind::CharDevice(*rdev),
            Kind::BlockDevice(rdev) => MemberKind::BlockDevice(*rdev),
            Kind::Fifo => MemberKind::Fifo,
            // A directory has no entry of the last kind: it is said by an index alone.
            _ => {
                self.skipped.push(path.clone());
                return Ok(());
            }
        };
        self.member(path.as_bytes(), kind, &node.attrs)
    }

    fn file(
        &mut self,
        dir: Option<&Dir>,
        path: &RelPath,
        (size, attrs): (u64, &Attrs),
        item: &Item,
    ) -> Result<(), LayerError> {
        let mut file = self.expander.open(dir, path, item)?;
        let changed = || LayerError::from(PackError::Changed { path: path.clone() });
        let found = file.metadata().map_err(reading(path))?;
        // The content of what was brought up without it may have been longer below.
        if item.was.as_ref().is_some_and(|was| key(&found) != key(was)) || found.size < size {
            return Err(changed());
        }
        let runs = holes::runs(&mut file, size)?;
        let kind = match &runs {
            Some(runs) => MemberKind::Sparse { size, runs },
            None => MemberKind::File(size),
        };
        let member = Member { path: path.as_bytes(), kind, attrs };
        let written = match &runs {
            Some(runs) => self.tar.append(&member, &mut Runs::new(&file, runs)),
            None if item.was.is_some() => self.tar.append(&member, &mut file),
            None => self.tar.append(&member, &mut (&mut file).take(size)),
        };
        match written {
            Err(LayerError::TarWrite(WriteError::Size { .. })) => return Err(changed()),
            written => written?,
        }
        self.entries += 1;
        let now = file.metadata().map_err(reading(path))?;
        if key(&now) == key(&found) { Ok(()) } else { Err(changed()) }
    }

    /// Writes that the directory is opaque, where it says so; `merges`: something below may show through its parent. Says
    /// whether something may show through it.
    ///
    /// overlayfs marks every directory that it makes in a merged one (`ovl_create_upper`, "just an optimization"), other
    /// drivers those that hide something. The layer is to be the same, so where the stack is known it says it of the
    /// latter alone.
    fn opaque(&mut self, path: &RelPath, node: &Node, merges: bool) -> Result<bool, LayerError> {
        let opaque = matches!(node.kind, Kind::Directory { opaque: true, .. });
        let Some(over) = self.over.filter(|over| over.reach == Reach::CopiedUp) else {
            if opaque {
                self.mark(path, OPAQUE)?;
            }
            return Ok(merges && !opaque);
        };
        if merges && opaque && over.below.shown(path)?.is_some_and(|below| below.node.kind.is_directory()) {
            self.mark(path, OPAQUE)?;
        }
        Ok(merges && !opaque)
    }

    /// An empty file that says something by its name. It has no time: the kernel keeps one device for all whiteouts of an
    /// upper, whose time is that of the first.
    fn mark(&mut self, parent: &RelPath, name: &[u8]) -> Result<(), LayerError> {
        let mut path = parent.as_bytes().to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        self.member(&path, MemberKind::File(0), &Attrs::default())
    }

    fn member(&mut self, path: &[u8], kind: MemberKind<'_>, attrs: &Attrs) -> Result<(), LayerError> {
        self.tar.append(&Member { path, kind, attrs }, &mut io::empty())?;
        self.entries += 1;
        Ok(())
    }
}

/// A directory of the walk.
struct Level {
    spot: Spot,
    names: std::vec::IntoIter<Name>,
    /// Something below may show through it.
    merges: bool,
}

/// What tells a file that was looked at from another, and from itself when it was written to since.
fn key(metadata: &Metadata) -> impl PartialEq + use<> {
    (metadata.dev, metadata.ino, metadata.size, metadata.mtime)
}

/// Hashes what goes through.
struct Hashing<'a> {
    out: &'a mut dyn Write,
    hasher: DigestHasher,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
