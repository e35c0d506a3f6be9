//! The structures of the protocol as they stand in memory: native byte order, no padding that is not named.
//!
//! Names and order are those of `linux/fuse.h`, protocol 7.31 (Linux 5.4) to 7.45 (Linux 6.18). What has no meaning any more is
//! called `unused`. Only [`request`](super::request), [`out`](super::out), [`init`](super::init) and [`notice`](super::notice) see them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The numbers of requests (`enum fuse_opcode`).
pub(super) mod opcode {
    pub(crate) const LOOKUP: u32 = 1;
    pub(crate) const FORGET: u32 = 2;
    pub(crate) const GETATTR: u32 = 3;
    pub(crate) const SETATTR: u32 = 4;
    pub(crate) const READLINK: u32 = 5;
    pub(crate) const SYMLINK: u32 = 6;
    pub(crate) const MKNOD: u32 = 8;
    pub(crate) const MKDIR: u32 = 9;
    pub(crate) const UNLINK: u32 = 10;
    pub(crate) const RMDIR: u32 = 11;
    pub(crate) const RENAME: u32 = 12;
    pub(crate) const LINK: u32 = 13;
    pub(crate) const OPEN: u32 = 14;
    pub(crate) const READ: u32 = 15;
    pub(crate) const WRITE: u32 = 16;
    pub(crate) const STATFS: u32 = 17;
    pub(crate) const RELEASE: u32 = 18;
    pub(crate) const FSYNC: u32 = 20;
    pub(crate) const SETXATTR: u32 = 21;
    pub(crate) const GETXATTR: u32 = 22;
    pub(crate) const LISTXATTR: u32 = 23;
    pub(crate) const REMOVEXATTR: u32 = 24;
    pub(crate) const FLUSH: u32 = 25;
    pub(crate) const INIT: u32 = 26;
    pub(crate) const OPENDIR: u32 = 27;
    pub(crate) const READDIR: u32 = 28;
    pub(crate) const RELEASEDIR: u32 = 29;
    pub(crate) const FSYNCDIR: u32 = 30;
    pub(crate) const GETLK: u32 = 31;
    pub(crate) const SETLK: u32 = 32;
    pub(crate) const SETLKW: u32 = 33;
    pub(crate) const ACCESS: u32 = 34;
    pub(crate) const CREATE: u32 = 35;
    pub(crate) const INTERRUPT: u32 = 36;
    pub(crate) const BMAP: u32 = 37;
    pub(crate) const DESTROY: u32 = 38;
    pub(crate) const IOCTL: u32 = 39;
    pub(crate) const POLL: u32 = 40;
    pub(crate) const NOTIFY_REPLY: u32 = 41;
    pub(crate) const BATCH_FORGET: u32 = 42;
    pub(crate) const FALLOCATE: u32 = 43;
    pub(crate) const READDIRPLUS: u32 = 44;
    pub(crate) const RENAME2: u32 = 45;
    pub(crate) const LSEEK: u32 = 46;
    pub(crate) const COPY_FILE_RANGE: u32 = 47;
    pub(crate) const SETUPMAPPING: u32 = 48;
    pub(crate) const REMOVEMAPPING: u32 = 49;
    pub(crate) const SYNCFS: u32 = 50;
    pub(crate) const TMPFILE: u32 = 51;
    pub(crate) const STATX: u32 = 52;
    pub(crate) const COPY_FILE_RANGE_64: u32 = 53;
}

/// The numbers of notices (`enum fuse_notify_code`); they stand where an answer has its error.
pub(super) mod notice {
    pub(crate) const POLL: i32 = 1;
    pub(crate) const INVAL_INODE: i32 = 2;
    pub(crate) const INVAL_ENTRY: i32 = 3;
    pub(crate) const STORE: i32 = 4;
    pub(crate) const RETRIEVE: i32 = 5;
    pub(crate) const DELETE: i32 = 6;
    pub(crate) const RESEND: i32 = 7;
    pub(crate) const INC_EPOCH: i32 = 8;
    pub(crate) const PRUNE: i32 = 9;
}

/// `FUSE_EXT_GROUPS`; types below are security contexts, which are not asked for.
pub(super) const EXT_GROUPS: u32 = 32;

macro_rules! structures {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty,)* })*) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $kind,)* })*
    };
}

structures! {
    /// Before every request. `total_extlen` counts 8 bytes each.
    InHeader { len: u32, opcode: u32, unique: u64, nodeid: u64, uid: u32, gid: u32, pid: u32, total_extlen: u16, unused: u16, }
    /// Before every answer and notice.
    OutHeader { len: u32, error: i32, unique: u64, }
    Attr {
        ino: u64, size: u64, blocks: u64, atime: u64, mtime: u64, ctime: u64, atimensec: u32, mtimensec: u32, ctimensec: u32,
        mode: u32, nlink: u32, uid: u32, gid: u32, rdev: u32, blksize: u32, flags: u32,
    }
    Kstatfs {
        blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64, bsize: u32, namelen: u32, frsize: u32, unused: [u32; 7],
    }
    FileLock { start: u64, end: u64, kind: u32, pid: u32, }
    EntryOut {
        nodeid: u64, generation: u64, entry_valid: u64, attr_valid: u64, entry_valid_nsec: u32, attr_valid_nsec: u32, attr: Attr,
    }
    ForgetIn { nlookup: u64, }
    ForgetOne { nodeid: u64, nlookup: u64, }
    BatchForgetIn { count: u32, unused: u32, }
    GetattrIn { flags: u32, unused: u32, fh: u64, }
    AttrOut { attr_valid: u64, attr_valid_nsec: u32, unused: u32, attr: Attr, }
    MknodIn { mode: u32, rdev: u32, umask: u32, unused: u32, }
    MkdirIn { mode: u32, umask: u32, }
    RenameIn { newdir: u64, }
    Rename2In { newdir: u64, flags: u32, unused: u32, }
    LinkIn { oldnodeid: u64, }
    SetattrIn {
        valid: u32, unused: u32, fh: u64, size: u64, lock_owner: u64, atime: u64, mtime: u64, ctime: u64, atimensec: u32,
        mtimensec: u32, ctimensec: u32, mode: u32, unused4: u32, uid: u32, gid: u32, unused5: u32,
    }
    OpenIn { flags: u32, open_flags: u32, }
    CreateIn { flags: u32, mode: u32, umask: u32, open_flags: u32, }
    /// `backing_id` is of Linux 6.9; padding before.
    OpenOut { fh: u64, open_flags: u32, backing_id: i32, }
    ReleaseIn { fh: u64, flags: u32, release_flags: u32, lock_owner: u64, }
    FlushIn { fh: u64, unused: u64, lock_owner: u64, }
    ReadIn { fh: u64, offset: u64, size: u32, read_flags: u32, lock_owner: u64, flags: u32, unused: u32, }
    WriteIn { fh: u64, offset: u64, size: u32, write_flags: u32, lock_owner: u64, flags: u32, unused: u32, }
    WriteOut { size: u32, unused: u32, }
    FsyncIn { fh: u64, fsync_flags: u32, unused: u32, }
    /// What stands here without `FUSE_SETXATTR_EXT`.
    SetxattrShortIn { size: u32, flags: u32, }
    SetxattrIn { size: u32, flags: u32, setxattr_flags: u32, unused: u32, }
    GetxattrIn { size: u32, unused: u32, }
    GetxattrOut { size: u32, unused: u32, }
    LkIn { fh: u64, owner: u64, lk: FileLock, lk_flags: u32, unused: u32, }
    AccessIn { mask: u32, unused: u32, }
    /// What every kernel sends; [`InitMoreIn`] follows with `FUSE_INIT_EXT`.
    InitIn { major: u32, minor: u32, max_readahead: u32, flags: u32, }
    InitMoreIn { flags2: u32, unused: [u32; 11], }
    InitOut {
        major: u32, minor: u32, max_readahead: u32, flags: u32, max_background: u16, congestion_threshold: u16, max_write: u32,
        time_gran: u32, max_pages: u16, map_alignment: u16, flags2: u32, max_stack_depth: u32, request_timeout: u16,
        unused: [u16; 11],
    }
    InterruptIn { unique: u64, }
    BmapIn { block: u64, blocksize: u32, unused: u32, }
    BmapOut { block: u64, }
    IoctlIn { fh: u64, flags: u32, cmd: u32, arg: u64, in_size: u32, out_size: u32, }
    IoctlOut { result: i32, flags: u32, in_iovs: u32, out_iovs: u32, }
    PollIn { fh: u64, kh: u64, flags: u32, events: u32, }
    PollOut { revents: u32, unused: u32, }
    FallocateIn { fh: u64, offset: u64, length: u64, mode: u32, unused: u32, }
    Dirent { ino: u64, off: u64, namelen: u32, kind: u32, }
    LseekIn { fh: u64, offset: u64, whence: u32, unused: u32, }
    LseekOut { offset: u64, }
    CopyFileRangeIn { fh_in: u64, off_in: u64, nodeid_out: u64, fh_out: u64, off_out: u64, len: u64, flags: u64, }
    CopyFileRangeOut { bytes_copied: u64, }
    SetupmappingIn { fh: u64, foffset: u64, len: u64, flags: u64, moffset: u64, }
    RemovemappingIn { count: u32, }
    RemovemappingOne { moffset: u64, len: u64, }
    SxTime { tv_sec: i64, tv_nsec: u32, unused: i32, }
    StatxIn { getattr_flags: u32, unused: u32, fh: u64, sx_flags: u32, sx_mask: u32, }
    Statx {
        mask: u32, blksize: u32, attributes: u64, nlink: u32, uid: u32, gid: u32, mode: u16, unused: u16, ino: u64, size: u64,
        blocks: u64, attributes_mask: u64, atime: SxTime, btime: SxTime, ctime: SxTime, mtime: SxTime, rdev_major: u32,
        rdev_minor: u32, dev_major: u32, dev_minor: u32, unused2: [u64; 14],
    }
    StatxOut { attr_valid: u64, attr_valid_nsec: u32, flags: u32, unused: [u64; 2], stat: Statx, }
    ExtHeader { size: u32, kind: u32, }
    /// Of a notice's reply (`NOTIFY_REPLY`); the bytes follow.
    RetrieveIn { unused: u64, offset: u64, size: u32, unused2: u32, unused3: [u64; 2], }
    PollWakeupOut { kh: u64, }
    InvalInodeOut { ino: u64, off: i64, len: i64, }
    InvalEntryOut { parent: u64, namelen: u32, flags: u32, }
    DeleteOut { parent: u64, child: u64, namelen: u32, unused: u32, }
    StoreOut { nodeid: u64, offset: u64, size: u32, unused: u32, }
    RetrieveOut { notify_unique: u64, nodeid: u64, offset: u64, size: u32, unused: u32, }
    PruneOut { count: u32, unused: u32, unused2: u64, }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_long_as_the_kernels() {
        let sizes = [
            (size_of::<InHeader>(), 40),
            (size_of::<OutHeader>(), 16),
            (size_of::<Attr>(), 88),
            (size_of::<Kstatfs>(), 80),
            (size_of::<EntryOut>(), 128),
            (size_of::<AttrOut>(), 104),
            (size_of::<SetattrIn>(), 88),
            (size_of::<ReadIn>(), 40),
            (size_of::<WriteIn>(), 40),
            (size_of::<InitIn>() + size_of::<InitMoreIn>(), 64),
            (size_of::<InitOut>(), 64),
            (size_of::<LkIn>(), 48),
            (size_of::<FlushIn>(), 24),
            (size_of::<IoctlIn>(), 32),
            (size_of::<Dirent>(), 24),
            (size_of::<CopyFileRangeIn>(), 56),
            (size_of::<SxTime>(), 16),
            (size_of::<Statx>(), 256),
            (size_of::<StatxIn>(), 24),
            (size_of::<StatxOut>(), 288),
            (size_of::<RetrieveIn>(), 40),
        ];
        for (at, (ours, kernels)) in sizes.into_iter().enumerate() {
            assert_eq!(ours, kernels, "the {at}th");
        }
    }
}
