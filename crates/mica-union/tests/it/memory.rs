//! A file system in memory, for what a channel must carry.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use mica_sys::{Errno, FileKind, Time};
use mica_union::fuse::channel::{Notifier, Served};
use mica_union::fuse::wire::{
    Attr, Caller, Entry, Init, IoctlAnswer, Opened, OpenedFlags, Out, ROOT, RenameFlags, Request, SetAttr, SetTime,
    StatFs, Statx, XattrFlags,
};

const LONG: Duration = Duration::from_secs(3600);

/// Asks for a panic, where a name has it.
pub(crate) const PANIC: &[u8] = b"panic";

#[derive(Debug, Default)]
struct Node {
    attr: Attr,
    bytes: Vec<u8>,
    names: BTreeMap<Vec<u8>, u64>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    lookups: u64,
}

/// What there is, and what was asked.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    nodes: Mutex<BTreeMap<u64, Node>>,
    pub(crate) agreed: Mutex<Option<(Init, Notifier)>>,
    pub(crate) ended: AtomicUsize,
    pub(crate) asked: AtomicUsize,
    /// Of those, how many by a ring.
    pub(crate) by_ring: AtomicUsize,
    /// How long each look-up takes.
    pub(crate) slow: Duration,
}

fn now() -> Time {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Time { secs: now.as_secs().cast_signed(), nanos: now.subsec_nanos() }
}

fn kind(mode: u32) -> FileKind {
    match mode >> 12 {
        1 => FileKind::Fifo,
        2 => FileKind::CharDevice,
        4 => FileKind::Directory,
        6 => FileKind::BlockDevice,
        10 => FileKind::Symlink,
        12 => FileKind::Socket,
        _ => FileKind::File,
    }
}

fn entry(id: u64, attr: Attr) -> Entry {
    Entry { node: id, generation: 0, entry_valid: LONG, attr_valid: LONG, attr }
}

type Nodes = BTreeMap<u64, Node>;

fn node(nodes: &mut Nodes, id: u64) -> Result<&mut Node, Errno> {
    nodes.get_mut(&id).ok_or(Errno::STALE)
}

fn child(nodes: &mut Nodes, parent: u64, name: &[u8]) -> Result<u64, Errno> {
    node(nodes, parent)?.names.get(name).copied().ok_or(Errno::NOENT)
}

fn make(nodes: &mut Nodes, caller: &Caller, parent: u64, name: Option<&[u8]>, mode: u32) -> Result<Entry, Errno> {
    let id = nodes.keys().last().unwrap() + 1;
    let directory = node(nodes, parent)?;
    if let Some(name) = name {
        if directory.names.contains_key(name) {
            return Err(Errno::EXIST);
        }
        directory.names.insert(name.to_vec(), id);
    }
    let (now, nlink) = (now(), if name.is_none() { 0 } else { 1 + u32::from(kind(mode) == FileKind::Directory) });
    let attr = Attr {
        ino: id,
        mode,
        nlink,
        uid: caller.uid,
        gid: caller.gid,
        atime: now,
        mtime: now,
        ctime: now,
        block_size: 4096,
        ..Attr::default()
    };
    nodes.insert(id, Node { attr, lookups: 1, ..Node::default() });
    Ok(entry(id, attr))
}

fn put_bytes(node: &mut Node, offset: u64, data: &[u8]) {
    let at = usize::try_from(offset).unwrap();
    if node.bytes.len() < at + data.len() {
        node.bytes.resize(at + data.len(), 0);
    }
    node.bytes[at..at + data.len()].copy_from_slice(data);
    node.attr.size = node.bytes.len() as u64;
    node.attr.mtime = now();
}

fn part(node: &Node, offset: u64, length: usize) -> &[u8] {
    let at = usize::try_from(offset).unwrap().min(node.bytes.len());
    &node.bytes[at..node.bytes.len().min(at.saturating_add(length))]
}

fn set(node: &mut Node, change: &SetAttr) -> Attr {
    let when = |time| match time {
        SetTime::Now => now(),
        SetTime::At(time) => time,
    };
    if let Some(size) = change.size {
        node.bytes.resize(usize::try_from(size).unwrap(), 0);
    }
    let attr = &mut node.attr;
    attr.mode = change.mode.map_or(attr.mode, |mode| attr.mode & 0o170_000 | mode & 0o7777);
    attr.uid = change.uid.unwrap_or(attr.uid);
    attr.gid = change.gid.unwrap_or(attr.gid);
    attr.size = change.size.unwrap_or(attr.size);
    attr.atime = change.atime.map_or(attr.atime, when);
    attr.mtime = change.mtime.map_or(attr.mtime, when);
    attr.ctime = now();
    *attr
}

impl Memory {
    pub(crate) fn new() -> Self {
        let memory = Self::default();
        let attr = Attr { ino: ROOT, mode: 0o040_755, nlink: 2, block_size: 4096, ..Attr::default() };
        memory.nodes().insert(ROOT, Node { attr, lookups: 1, ..Node::default() });
        memory
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// How many look-ups the kernel has not forgotten, but for the root's.
    pub(crate) fn lookups(&self) -> u64 {
        self.nodes().iter().filter(|(id, _)| **id != ROOT).map(|(_, node)| node.lookups).sum()
    }

    /// Changes a file behind the kernel's back.
    pub(crate) fn overwrite(&self, name: &[u8], bytes: &[u8]) -> u64 {
        let mut nodes = self.nodes();
        let id = child(&mut nodes, ROOT, name).unwrap();
        put_bytes(nodes.get_mut(&id).unwrap(), 0, bytes);
        id
    }

    fn names(&self, id: u64, offset: u64, size: u32, out: &mut Out<'_>) -> Result<(), Errno> {
        let mut nodes = self.nodes();
        let names = node(&mut nodes, id)?.names.clone();
        let mut put = out.names(size);
        let plus = put.listing() == mica_union::fuse::wire::Listing::Plus;
        for (at, name) in [&b"."[..], b".."].into_iter().enumerate().skip(usize::try_from(offset).unwrap()) {
            if !put.put(name, at as u64 + 1, id, FileKind::Directory, None) {
                return Ok(());
            }
        }
        let after = offset.saturating_sub(2);
        let mut order: Vec<(u64, &Vec<u8>)> = names.iter().map(|(name, id)| (*id, name)).collect();
        order.sort_unstable();
        let from = order.partition_point(|(id, _)| *id <= after);
        for (id, name) in &order[from..] {
            let node = node(&mut nodes, *id)?;
            if !put.put(name, id + 2, *id, kind(node.attr.mode), Some(&entry(*id, node.attr))) {
                break;
            }
            node.lookups += u64::from(plus);
        }
        Ok(())
    }

    fn rename(&self, from: (u64, &[u8]), to: (u64, &[u8]), flags: RenameFlags) -> Result<(), Errno> {
        let mut nodes = self.nodes();
        let moved = child(&mut nodes, from.0, from.1)?;
        let there = child(&mut nodes, to.0, to.1).ok();
        match (there, flags) {
            (Some(_), RenameFlags::NOREPLACE) => return Err(Errno::EXIST),
            (Some(there), RenameFlags::EXCHANGE) => _ = node(&mut nodes, from.0)?.names.insert(from.1.to_vec(), there),
            (None, RenameFlags::EXCHANGE) => return Err(Errno::NOENT),
            (there, _) => {
                if let Some(there) = there {
                    node(&mut nodes, there)?.attr.nlink = 0;
                }
                node(&mut nodes, from.0)?.names.remove(from.1);
            }
        }
        node(&mut nodes, to.0)?.names.insert(to.1.to_vec(), moved);
        Ok(())
    }

    fn remove(&self, parent: u64, name: &[u8], directory: bool) -> Result<(), Errno> {
        let mut nodes = self.nodes();
        let id = child(&mut nodes, parent, name)?;
        let gone = node(&mut nodes, id)?;
        if directory && !gone.names.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        gone.attr.nlink -= if directory { 2 } else { 1 };
        node(&mut nodes, parent)?.names.remove(name);
        Ok(())
    }

    fn copy(&self, from: (u64, u64), to: (u64, u64), length: u64, out: &mut Out<'_>) -> Result<(), Errno> {
        let mut nodes = self.nodes();
        let data = part(node(&mut nodes, from.0)?, from.1, usize::try_from(length).unwrap()).to_vec();
        put_bytes(node(&mut nodes, to.0)?, to.1, &data);
        out.copied(data.len() as u64)
    }

    fn statx(&self, id: u64, out: &mut Out<'_>) -> Result<(), Errno> {
        let attr = node(&mut self.nodes(), id)?.attr;
        let btime = Time { secs: 12345, nanos: 6 };
        out.statx(&Statx { mask: 0xfff, attr, btime, ..Statx::default() }, LONG)
    }

    fn set_xattr(&self, id: u64, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
        let mut nodes = self.nodes();
        let xattrs = &mut node(&mut nodes, id)?.xattrs;
        match (xattrs.contains_key(name), flags) {
            (true, XattrFlags::CREATE) => Err(Errno::EXIST),
            (false, XattrFlags::REPLACE) => Err(Errno::NODATA),
            _ => {
                xattrs.insert(name.to_vec(), value.to_vec());
                Ok(())
            }
        }
    }
}

impl Served for Memory {
    fn started(&self, init: &Init, notifier: &Notifier) {
        *self.agreed.lock().unwrap() = Some((*init, notifier.clone()));
    }

    fn answer(&self, caller: &Caller, request: Request<'_>, out: &mut Out<'_>) -> Result<(), Errno> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let by_ring = std::thread::current().name() == Some("mica-fuse-ring");
        self.by_ring.fetch_add(usize::from(by_ring), Ordering::Relaxed);
        let opened = Opened { handle: 9, flags: OpenedFlags::KEEP_CACHE, backing: 0 };
        match request {
            Request::Lookup { name: PANIC, .. } => panic!("as asked"),
            Request::Lookup { parent, name } => {
                std::thread::sleep(self.slow);
                let mut nodes = self.nodes();
                let id = child(&mut nodes, parent, name)?;
                let found = node(&mut nodes, id)?;
                found.lookups += 1;
                out.entry(&entry(id, found.attr))
            }
            Request::Getattr { node: id, .. } => out.attr(&node(&mut self.nodes(), id)?.attr, LONG),
            Request::Setattr { node: id, change } => out.attr(&set(node(&mut self.nodes(), id)?, &change), LONG),
            Request::Statx { node, .. } => self.statx(node, out),
            Request::Mkdir { parent, name, mode, umask } => {
                out.entry(&make(&mut self.nodes(), caller, parent, Some(name), 0o040_000 | mode & !umask)?)
            }
            Request::Mknod { parent, name, mode, device, umask } => {
                let mut nodes = self.nodes();
                let mut made = make(&mut nodes, caller, parent, Some(name), mode & !umask)?;
                made.attr.device = device;
                node(&mut nodes, made.node)?.attr.device = device;
                out.entry(&made)
            }
            Request::Symlink { parent, name, target } => {
                let mut nodes = self.nodes();
                let mut made = make(&mut nodes, caller, parent, Some(name), 0o120_777)?;
                let link = node(&mut nodes, made.node)?;
                put_bytes(link, 0, target);
                made.attr = link.attr;
                out.entry(&made)
            }
            Request::Link { node: id, new_parent, new_name } => {
                let mut nodes = self.nodes();
                if child(&mut nodes, new_parent, new_name).is_ok() {
                    return Err(Errno::EXIST);
                }
                node(&mut nodes, new_parent)?.names.insert(new_name.to_vec(), id);
                let linked = node(&mut nodes, id)?;
                linked.attr.nlink += 1;
                linked.lookups += 1;
                out.entry(&entry(id, linked.attr))
            }
            Request::Create { parent, name, mode, umask, .. } => {
                out.created(&make(&mut self.nodes(), caller, parent, Some(name), mode & !umask)?, &opened)
            }
            Request::Tmpfile { parent, mode, umask, .. } => {
                out.created(&make(&mut self.nodes(), caller, parent, None, mode & !umask)?, &opened)
            }
            Request::Unlink { parent, name } => self.remove(parent, name, false),
            Request::Rmdir { parent, name } => self.remove(parent, name, true),
            Request::Rename { parent, name, new_parent, new_name, flags } => {
                self.rename((parent, name), (new_parent, new_name), flags)
            }
            Request::Readlink { node: id } => out.bytes(&node(&mut self.nodes(), id)?.bytes),
            Request::Open { .. } => out.opened(&opened),
            Request::Read { node: id, offset, size, .. } => out.fill(size, |room| {
                let mut nodes = self.nodes();
                let bytes = part(node(&mut nodes, id)?, offset, room.len());
                room[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }),
            Request::Write { node: id, offset, data, .. } => {
                put_bytes(node(&mut self.nodes(), id)?, offset, data);
                out.written(u32::try_from(data.len()).unwrap())
            }
            Request::CopyFileRange { node, offset, out_node, out_offset, length, .. } => {
                self.copy((node, offset), (out_node, out_offset), length, out)
            }
            Request::Readdir { node, offset, size, .. } | Request::Readdirplus { node, offset, size, .. } => {
                self.names(node, offset, size, out)
            }
            Request::Statfs { .. } => out.statfs(&StatFs {
                blocks: 1000,
                free: 500,
                name_max: 255,
                block_size: 4096,
                fragment_size: 4096,
                ..StatFs::default()
            }),
            Request::Setxattr { node, name, value, flags, .. } => self.set_xattr(node, name, value, flags),
            Request::Getxattr { node: id, name, size } => {
                out.xattr(size, node(&mut self.nodes(), id)?.xattrs.get(name).ok_or(Errno::NODATA)?)
            }
            Request::Listxattr { node: id, size } => {
                let mut nodes = self.nodes();
                let names = node(&mut nodes, id)?.xattrs.keys().flat_map(|name| [name.as_slice(), &[0]]);
                let names: Vec<u8> = names.flatten().copied().collect();
                out.xattr(size, &names)
            }
            Request::Removexattr { node: id, name } => {
                node(&mut self.nodes(), id)?.xattrs.remove(name).map(drop).ok_or(Errno::NODATA)
            }
            Request::Lseek { node: id, offset, whence, .. } => {
                let size = node(&mut self.nodes(), id)?.attr.size;
                let data = whence == 3;
                if offset >= size { Err(Errno::NXIO) } else { out.position(if data { offset } else { size }) }
            }
            Request::Ioctl { command: 0x8008_6601, .. } => {
                out.ioctl(&IoctlAnswer { result: 0, bytes: &16_u32.to_ne_bytes() })
            }
            Request::Ioctl { .. } => Err(Errno::NOTTY),
            Request::Fsync { .. } | Request::Flush { .. } | Request::Release { .. } | Request::Fsyncdir { .. } => {
                out.done()
            }
            _ => Err(Errno::NOSYS),
        }
    }

    fn forget(&self, id: u64, lookups: u64) {
        let mut nodes = self.nodes();
        // Sent too often, it would be seen as a number below zero.
        let found = nodes.get_mut(&id).unwrap();
        found.lookups = found.lookups.checked_sub(lookups).unwrap_or(u64::MAX);
    }

    fn ended(&self) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}
