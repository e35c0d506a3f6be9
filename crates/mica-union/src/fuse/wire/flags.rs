//! The bits of the protocol, by their meaning.

use bitflags::bitflags;

bitflags! {
    /// What a kernel offers and a server takes in `INIT` (`FUSE_…`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct InitFlags: u64 {
        /// Several reads of one file at a time.
        const ASYNC_READ = 1;
        /// Locks of fcntl(2) are asked of the server; without it the kernel keeps them.
        const POSIX_LOCKS = 1 << 1;
        /// `O_TRUNC` comes with `OPEN`, and no `SETATTR` before it.
        const ATOMIC_O_TRUNC = 1 << 3;
        /// Look-ups of `.` and `..`, by which file handles outlive the kernel's memory of a node.
        const EXPORT_SUPPORT = 1 << 4;
        /// Writes of more than a page.
        const BIG_WRITES = 1 << 5;
        /// The umask is the server's to apply (it is not, where a directory has a default ACL).
        const DONT_MASK = 1 << 6;
        /// The device takes answers by splice(2).
        const SPLICE_WRITE = 1 << 7;
        /// … and takes their pages.
        const SPLICE_MOVE = 1 << 8;
        /// The device gives requests by splice(2).
        const SPLICE_READ = 1 << 9;
        /// Locks of flock(2) are asked of the server.
        const FLOCK_LOCKS = 1 << 10;
        /// `IOCTL` on directories.
        const HAS_IOCTL_DIR = 1 << 11;
        /// Cached pages are dropped when the times or the size are seen to have changed.
        const AUTO_INVAL_DATA = 1 << 12;
        /// `READDIRPLUS`.
        const DO_READDIRPLUS = 1 << 13;
        /// … only where look-ups follow a listing.
        const READDIRPLUS_AUTO = 1 << 14;
        /// Direct I/O in several requests at a time.
        const ASYNC_DIO = 1 << 15;
        /// Writes are kept by the kernel and sent later. Excludes passthrough.
        const WRITEBACK_CACHE = 1 << 16;
        /// `ENOSYS` to `OPEN` means that there is nothing to open.
        const NO_OPEN_SUPPORT = 1 << 17;
        /// Look-ups and listings of one directory at a time.
        const PARALLEL_DIROPS = 1 << 18;
        /// The server clears setuid, setgid and capabilities at each write, change of owner and cut.
        const HANDLE_KILLPRIV = 1 << 19;
        /// ACLs: the server keeps them as attributes, the kernel applies them.
        const POSIX_ACL = 1 << 20;
        /// A device whose mount was aborted says `ECONNABORTED`.
        const ABORT_ERROR = 1 << 21;
        /// The answer says how many pages a request may have.
        const MAX_PAGES = 1 << 22;
        /// Targets of symlinks are kept.
        const CACHE_SYMLINKS = 1 << 23;
        /// `ENOSYS` to `OPENDIR` means that directories have no handles, and that the kernel keeps listings.
        const NO_OPENDIR_SUPPORT = 1 << 24;
        /// Cached pages are dropped by notices alone.
        const EXPLICIT_INVAL_DATA = 1 << 25;
        /// The alignment of DAX mappings.
        const MAP_ALIGNMENT = 1 << 26;
        /// Mounts within the file system.
        const SUBMOUNTS = 1 << 27;
        /// As [`Self::HANDLE_KILLPRIV`], and the request says when (Linux 5.12).
        const HANDLE_KILLPRIV_V2 = 1 << 28;
        /// `SETXATTR` has flags of its own (Linux 5.13).
        const SETXATTR_EXT = 1 << 29;
        /// There are 64 of these bits (Linux 5.17).
        const INIT_EXT = 1 << 30;
        /// What is made comes with its security context.
        const SECURITY_CTX = 1 << 32;
        /// DAX by inode.
        const HAS_INODE_DAX = 1 << 33;
        /// What is made comes with the supplementary group that the parent directory gives it (Linux 6.3).
        const CREATE_SUPP_GROUP = 1 << 34;
        /// A notice may let a name expire without dropping what is below it.
        const HAS_EXPIRE_ONLY = 1 << 35;
        /// Files of direct I/O can be mapped shared (Linux 6.6).
        const DIRECT_IO_ALLOW_MMAP = 1 << 36;
        /// Files of the server's choice are read and written by the kernel alone (Linux 6.9).
        const PASSTHROUGH = 1 << 37;
        /// No file handles.
        const NO_EXPORT_SUPPORT = 1 << 38;
        /// Requests that were read and not answered can be asked for again (Linux 6.9).
        const HAS_RESEND = 1 << 39;
        /// Mounts with mapped IDs (Linux 6.12). Needs `default_permissions`.
        const ALLOW_IDMAP = 1 << 40;
        /// Requests by io_uring (Linux 6.14).
        const OVER_IO_URING = 1 << 41;
        /// The answer says after how long the kernel gives the server up (Linux 6.15).
        const REQUEST_TIMEOUT = 1 << 42;
    }

    /// How an opened file is to be treated (`FOPEN_…`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct OpenedFlags: u32 {
        /// Without the page cache.
        const DIRECT_IO = 1;
        /// Pages that are cached stay.
        const KEEP_CACHE = 1 << 1;
        /// No position can be set.
        const NONSEEKABLE = 1 << 2;
        /// The listing is kept.
        const CACHE_DIR = 1 << 3;
        /// There are no positions.
        const STREAM = 1 << 4;
        /// No `FLUSH` at close(2).
        const NOFLUSH = 1 << 5;
        /// Direct writes of one inode at a time.
        const PARALLEL_DIRECT_WRITES = 1 << 6;
        /// By the backing file that the answer names.
        const PASSTHROUGH = 1 << 7;
    }

    /// Of `WRITE` (`FUSE_WRITE_…`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct WriteFlags: u32 {
        /// From the page cache: the handle is one of those that may write the file, the caller is not the writer.
        const CACHE = 1;
        /// The lock owner is one.
        const LOCKOWNER = 1 << 1;
        /// The writer lacks `CAP_FSETID`: setuid and setgid bits are to be cleared.
        const KILL_SUIDGID = 1 << 2;
    }

    /// Of `RELEASE` (`FUSE_RELEASE_…`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct ReleaseFlags: u32 {
        /// Flush too.
        const FLUSH = 1;
        /// Let go of the flock(2) lock.
        const FLOCK_UNLOCK = 1 << 1;
    }

    /// Of `RENAME2`, those of renameat2(2).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct RenameFlags: u32 {
        /// The new name must be free.
        const NOREPLACE = 1;
        /// Both names must be taken and change places.
        const EXCHANGE = 1 << 1;
        /// A whiteout is left at the old name.
        const WHITEOUT = 1 << 2;
        const _ = !0;
    }

    /// Of `SETXATTR`, those of setxattr(2).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct XattrFlags: u32 {
        /// It must not be there.
        const CREATE = 1;
        /// It must be there.
        const REPLACE = 1 << 1;
        const _ = !0;
    }

    /// Of `IOCTL` (`FUSE_IOCTL_…`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct IoctlFlags: u32 {
        /// A 32-bit program on a 64-bit kernel.
        const COMPAT = 1;
        /// The server may say which memory it wants. Only of character devices.
        const UNRESTRICTED = 1 << 1;
        /// In an answer: try again, with this memory.
        const RETRY = 1 << 2;
        /// A 32-bit command.
        const IS_32BIT = 1 << 3;
        /// Of a directory.
        const DIR = 1 << 4;
        /// x32.
        const COMPAT_X32 = 1 << 5;
    }
}
