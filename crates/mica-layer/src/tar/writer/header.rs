//! The headers of one member: a ustar block, preceded by a PAX member where the block cannot say everything.

use mica_core::Rdev;

use super::pax::Records;
use super::{BLOCK, Member, MemberKind, padding, sparse};

/// The largest number in an octal field of twelve bytes: 8 GiB less one.
const OCTAL_11: u64 = 0o777_7777_7777;
/// The largest number in an octal field of eight bytes.
const OCTAL_7: u64 = 0o777_7777;

/// Header blocks of `member`, its content not included.
pub(super) fn encode(member: &Member<'_>) -> Vec<u8> {
    let mut records = Records::default();
    let mut block = Block::new();
    let attrs = member.attrs;

    let path = match member.kind {
        MemberKind::Directory => [member.path, b"/"].concat(),
        _ => member.path.to_vec(),
    };
    if let MemberKind::Sparse { size, .. } = member.kind {
        // GNU tar's form 1.0, which names the file in a record of its own: who knows no sparse files makes one of another name.
        records.name("GNU.sparse.name", &path);
        for (key, value) in [("GNU.sparse.major", 1), ("GNU.sparse.minor", 0), ("GNU.sparse.realsize", size)] {
            records.number(key, value);
        }
        block.path(&sparse_path(&path));
    } else if !block.path(&path) {
        records.name("path", &path);
    }
    let (kind, link, device) = match member.kind {
        MemberKind::File(_) | MemberKind::Sparse { .. } => (b'0', None, None),
        MemberKind::HardLink(target) => (b'1', Some(target), None),
        MemberKind::Symlink(target) => (b'2', Some(target), None),
        MemberKind::CharDevice(rdev) => (b'3', None, Some(rdev)),
        MemberKind::BlockDevice(rdev) => (b'4', None, Some(rdev)),
        MemberKind::Directory => (b'5', None, None),
        MemberKind::Fifo => (b'6', None, None),
    };
    block.kind(kind);
    if let Some(target) = link
        && !block.link(target)
    {
        records.name("linkpath", target);
    }
    block.device(device.unwrap_or_default());

    block.octal(MODE, u64::from(attrs.mode & 0o7777));
    for (key, field, value) in [("uid", UID, attrs.uid), ("gid", GID, attrs.gid)] {
        if !block.octal_if_it_fits(field, u64::from(value), OCTAL_7) {
            records.number(key, u64::from(value));
        }
    }
    let size = match member.kind {
        MemberKind::File(size) => size,
        MemberKind::Sparse { size, runs } => {
            let map = sparse::encode(size, runs).len() as u64;
            runs.iter().fold(map, |sum, run| sum.saturating_add(run.length))
        }
        _ => 0,
    };
    if !block.octal_if_it_fits(SIZE, size, OCTAL_11) {
        records.number("size", size);
    }
    let seconds = u64::try_from(attrs.mtime.secs).ok().filter(|seconds| *seconds <= OCTAL_11);
    block.octal(MTIME, seconds.unwrap_or(0));
    if seconds.is_none() || attrs.mtime.nanos != 0 {
        records.time("mtime", attrs.mtime);
    }
    if !matches!(member.kind, MemberKind::HardLink(_)) {
        for (name, value) in &attrs.xattrs {
            records.xattr(name, value);
        }
    }

    let block = block.finish();
    if records.is_empty() {
        return block.to_vec();
    }
    let records = records.encode();
    let mut extended = Block::new();
    extended.path(b"././@PaxHeader");
    extended.kind(b'x');
    extended.device(Rdev::default());
    for (field, value) in [(MODE, 0o644), (UID, 0), (GID, 0), (SIZE, records.len() as u64), (MTIME, 0)] {
        extended.octal(field, value);
    }
    [&extended.finish()[..], &records, padding(records.len() as u64), &block].concat()
}

/// As GNU tar spells the path of a sparse member, without the number of its process.
fn sparse_path(path: &[u8]) -> Vec<u8> {
    let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (parent, name) = path.split_at(name);
    [parent, b"GNUSparseFile.0/", name].concat()
}

/// Offset and length of a field.
type Field = (usize, usize);
const NAME: Field = (0, 100);
const MODE: Field = (100, 8);
const UID: Field = (108, 8);
const GID: Field = (116, 8);
const SIZE: Field = (124, 12);
const MTIME: Field = (136, 12);
const CHECKSUM: Field = (148, 8);
const TYPEFLAG: Field = (156, 1);
const LINKNAME: Field = (157, 100);
const MAGIC: Field = (257, 8);
const DEVMAJOR: Field = (329, 8);
const DEVMINOR: Field = (337, 8);
const PREFIX: Field = (345, 155);

struct Block([u8; BLOCK]);

impl Block {
    fn new() -> Self {
        let mut block = Self([0; BLOCK]);
        block.put(MAGIC, b"ustar\x0000");
        block
    }

    /// Puts `value` at the start of `field`; what is too long is cut.
    fn put(&mut self, field: Field, value: &[u8]) {
        let (offset, length) = field;
        for (to, from) in self.0.iter_mut().skip(offset).take(length).zip(value) {
            *to = *from;
        }
    }

    fn kind(&mut self, flag: u8) {
        self.put(TYPEFLAG, &[flag]);
    }

    /// Whether the path fits. If not, its beginning is put there: an old reader makes something of it.
    fn path(&mut self, path: &[u8]) -> bool {
        if path.len() <= NAME.1 {
            self.put(NAME, path);
            return true;
        }
        // Neither part may be empty, and the slash between them is not written.
        let split = (1..path.len().saturating_sub(1))
            .filter(|at| path.get(*at) == Some(&b'/') && *at <= PREFIX.1)
            .find(|at| path.len() - at - 1 <= NAME.1);
        let Some((prefix, name)) = split.and_then(|at| Some((path.get(..at)?, path.get(at + 1..)?))) else {
            // A cut after a slash would read as a directory.
            let cut = path.get(..NAME.1).unwrap_or_default();
            let kept = cut.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
            self.put(NAME, cut.get(..kept).unwrap_or_default());
            return false;
        };
        self.put(PREFIX, prefix);
        self.put(NAME, name);
        true
    }

    fn link(&mut self, target: &[u8]) -> bool {
        self.put(LINKNAME, target);
        target.len() <= LINKNAME.1
    }

    fn octal(&mut self, field: Field, value: u64) {
        let digits = field.1 - 1;
        self.put(field, format!("{value:0digits$o}").as_bytes());
    }

    /// A number above `most` is left to PAX, and zero here.
    fn octal_if_it_fits(&mut self, field: Field, value: u64, most: u64) -> bool {
        let fits = value <= most;
        self.octal(field, if fits { value } else { 0 });
        fits
    }

    fn device(&mut self, device: Rdev) {
        for (field, value) in [(DEVMAJOR, device.major), (DEVMINOR, device.minor)] {
            if u64::from(value) <= OCTAL_7 {
                self.octal(field, u64::from(value));
            } else {
                // PAX has no key for it; GNU's base-256 is what readers know.
                let [a, b, c, d] = value.to_be_bytes();
                self.put(field, &[0x80, 0, 0, 0, a, b, c, d]);
            }
        }
    }

    fn finish(mut self) -> [u8; BLOCK] {
        self.put(CHECKSUM, b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.put(CHECKSUM, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}
