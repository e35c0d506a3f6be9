//! Operations that change nothing: look-up, attributes, listings.

use mica_sys::mount::space;
use mica_sys::{Errno, FileKind, Metadata};

use super::Server;
use crate::fuse::tree::Node;
use crate::fuse::wire::{Attr, Device, Entry, Listing, Out, StatFs, Statx};

/// The size of I/O that does well (`st_blksize`).
const BLOCK: u32 = 4096;

/// `STATX_BASIC_STATS` and `STATX_BTIME` of linux/stat.h.
const BASIC_STATS: u32 = 0x7ff;
const BTIME: u32 = 0x800;

impl Server {
    pub(super) fn lookup(&self, parent: u64, name: &[u8], out: &mut Out<'_>) -> Result<(), Errno> {
        let parent = self.node(parent)?;
        // A node that leaves the table at this very moment is found anew.
        for _ in 0..64 {
            let found = match name {
                // A file handle that outlived the kernel's memory of the node.
                b"." => Some(parent.clone()),
                b".." => Some(self.tree.above(&parent)?),
                name => self.tree.lookup(&parent, name)?,
            };
            let Some(node) = found else { return out.nothing(self.timeout) };
            if node.remember() {
                return self
                    .entry(&node)
                    .and_then(|entry| out.entry(&entry))
                    .inspect_err(|_| self.tree.forget(node.id, 1));
            }
        }
        Err(Errno::STALE)
    }

    /// What a look-up of a node says. The caller has counted it.
    pub(super) fn entry(&self, node: &Node) -> Result<Entry, Errno> {
        Ok(Entry {
            node: node.id,
            generation: 0,
            entry_valid: self.timeout,
            attr_valid: self.valid(node),
            attr: self.attr(&self.tree.attributes(node)?),
        })
    }

    /// Attributes as the mount shows them.
    pub(super) fn attr(&self, found: &Metadata) -> Attr {
        Attr {
            ino: found.ino,
            size: found.size,
            blocks: found.blocks,
            atime: found.atime,
            mtime: found.mtime,
            ctime: found.ctime,
            mode: kind_bits(found.kind) | found.mode,
            nlink: match found.kind {
                FileKind::Directory if self.static_links => 1,
                _ => u32::try_from(found.nlink).unwrap_or(u32::MAX),
            },
            uid: self.ids.shown_uid(found.uid),
            gid: self.ids.shown_gid(found.gid),
            device: Device { major: found.rdev_major, minor: found.rdev_minor },
            block_size: BLOCK,
        }
    }

    pub(super) fn getattr(&self, node: u64, out: &mut Out<'_>) -> Result<(), Errno> {
        let node = self.node(node)?;
        let attributes = self.tree.attributes(&node)?;
        out.attr(&self.attr(&attributes), self.valid(&node))
    }

    pub(super) fn statx(&self, node: u64, out: &mut Out<'_>) -> Result<(), Errno> {
        let node = self.node(node)?;
        let attributes = self.tree.attributes(&node)?;
        let born = self.tree.born(&node);
        let mask = BASIC_STATS | if born.is_some() { BTIME } else { 0 };
        let btime = born.unwrap_or_default();
        out.statx(&Statx { mask, attr: self.attr(&attributes), btime, ..Statx::default() }, self.valid(&node))
    }

    pub(super) fn readlink(&self, node: u64, out: &mut Out<'_>) -> Result<(), Errno> {
        out.bytes(&self.tree.read_link(&*self.node(node)?)?)
    }

    pub(super) fn readdir(&self, node: u64, offset: u64, size: u32, out: &mut Out<'_>) -> Result<(), Errno> {
        let node = self.node(node)?;
        let mut names = out.names(size);
        let plus = names.listing() == Listing::Plus;
        let mut any = false;
        let listed = self.tree.list(&node, offset, plus, &mut |listed| {
            let Some(node) = listed.node.filter(|_| plus) else {
                let fits = names.put(listed.name, listed.cookie, listed.ino, listed.kind, None);
                any |= fits;
                return fits;
            };
            if !names.fits(listed.name.len()) {
                return false;
            }
            any = true;
            // Without a look-up that can be counted the kernel asks when it needs to know.
            let entry = if node.remember() {
                self.entry(node).inspect_err(|_| self.tree.forget(node.id, 1)).ok()
            } else {
                None
            };
            names.put(listed.name, listed.cookie, listed.ino, listed.kind, entry.as_ref())
        });
        // What was listed was counted as looked up; who asks for what follows is told.
        listed.or_else(|error| if any { Ok(()) } else { Err(error) })
    }

    pub(super) fn statfs(&self, out: &mut Out<'_>) -> Result<(), Errno> {
        // A union of no layers is on no file system.
        let Some(top) = self.tree.top() else { return out.statfs(&StatFs::default()) };
        let found = space(&**top).map_err(|error| error.errno())?;
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        out.statfs(&StatFs {
            blocks: found.blocks,
            free: found.free,
            available: found.available,
            files: found.files,
            files_free: found.files_free,
            block_size: small(found.block_size),
            name_max: small(found.name_max),
            fragment_size: small(found.unit),
        })
    }
}

/// The bits of `st_mode` that say what a file is.
pub(super) const fn kind_bits(kind: FileKind) -> u32 {
    match kind {
        FileKind::Fifo => 0o010_000,
        FileKind::CharDevice => 0o020_000,
        FileKind::Directory => 0o040_000,
        FileKind::BlockDevice => 0o060_000,
        FileKind::File => 0o100_000,
        FileKind::Symlink => 0o120_000,
        FileKind::Socket => 0o140_000,
    }
}
