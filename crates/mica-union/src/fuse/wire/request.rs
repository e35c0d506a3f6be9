//! What the kernel asks, one variant an operation.

mod args;
mod message;
mod parse;

use zerocopy::FromBytes;

use super::abi;
use super::flags::{IoctlFlags, ReleaseFlags, RenameFlags, WriteFlags, XattrFlags};
use super::init::InitOffer;
use super::out::Device;
use super::setattr::SetAttr;

pub use message::{Caller, Dialect, Malformed, Message, NAME_MAX};

/// A lock of fcntl(2) or flock(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
    /// `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
    pub kind: u32,
    /// Who holds it.
    pub pid: u32,
}

/// A request. Names are bytes without NUL, and, but for targets of symlinks and names of attributes, without `/`, not empty and at most [`NAME_MAX`] bytes.
///
/// `node` is what it is about, `parent` the directory of `name`. Flags of open(2) are the numbers of the kernel's architecture.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields are those of the system calls that the variants are named for")]
pub enum Request<'a> {
    /// What stands at a name; `.` and `..` too, after [`InitFlags::EXPORT_SUPPORT`](super::InitFlags::EXPORT_SUPPORT).
    Lookup {
        parent: u64,
        name: &'a [u8],
    },
    /// The kernel forgets that many look-ups. Not answered.
    Forget {
        node: u64,
        lookups: u64,
    },
    /// Several at once. Not answered.
    BatchForget {
        forgets: Forgets<'a>,
    },
    Getattr {
        node: u64,
        handle: Option<u64>,
    },
    Setattr {
        node: u64,
        change: SetAttr,
    },
    Readlink {
        node: u64,
    },
    Symlink {
        parent: u64,
        name: &'a [u8],
        target: &'a [u8],
    },
    Mknod {
        parent: u64,
        name: &'a [u8],
        mode: u32,
        device: Device,
        umask: u32,
    },
    Mkdir {
        parent: u64,
        name: &'a [u8],
        mode: u32,
        umask: u32,
    },
    Unlink {
        parent: u64,
        name: &'a [u8],
    },
    Rmdir {
        parent: u64,
        name: &'a [u8],
    },
    /// `RENAME` and `RENAME2`.
    Rename {
        parent: u64,
        name: &'a [u8],
        new_parent: u64,
        new_name: &'a [u8],
        flags: RenameFlags,
    },
    /// One more name for a node.
    Link {
        node: u64,
        new_parent: u64,
        new_name: &'a [u8],
    },
    /// `kill_suidgid`: it is cut, and setuid and setgid bits are to be cleared.
    Open {
        node: u64,
        flags: u32,
        kill_suidgid: bool,
    },
    Read {
        node: u64,
        handle: u64,
        offset: u64,
        size: u32,
        flags: u32,
        lock_owner: Option<u64>,
    },
    Write {
        node: u64,
        handle: u64,
        offset: u64,
        data: &'a [u8],
        flags: u32,
        write_flags: WriteFlags,
        lock_owner: Option<u64>,
    },
    Statfs {
        node: u64,
    },
    Release {
        node: u64,
        handle: u64,
        flags: u32,
        release_flags: ReleaseFlags,
        lock_owner: u64,
    },
    Fsync {
        node: u64,
        handle: u64,
        data_only: bool,
    },
    /// `kill_sgid`: an ACL is set by one who is not of the file's group.
    Setxattr {
        node: u64,
        name: &'a [u8],
        value: &'a [u8],
        flags: XattrFlags,
        kill_sgid: bool,
    },
    /// A `size` of 0 asks for the length.
    Getxattr {
        node: u64,
        name: &'a [u8],
        size: u32,
    },
    /// A `size` of 0 asks for the length. The answer is names, each ended by a NUL.
    Listxattr {
        node: u64,
        size: u32,
    },
    Removexattr {
        node: u64,
        name: &'a [u8],
    },
    Flush {
        node: u64,
        handle: u64,
        lock_owner: u64,
    },
    Init(InitOffer),
    Opendir {
        node: u64,
        flags: u32,
    },
    Readdir {
        node: u64,
        handle: u64,
        offset: u64,
        size: u32,
    },
    Readdirplus {
        node: u64,
        handle: u64,
        offset: u64,
        size: u32,
    },
    Releasedir {
        node: u64,
        handle: u64,
        flags: u32,
    },
    Fsyncdir {
        node: u64,
        handle: u64,
        data_only: bool,
    },
    Getlk {
        node: u64,
        handle: u64,
        owner: u64,
        lock: Lock,
        flock: bool,
    },
    /// `SETLK` and, with `wait`, `SETLKW`.
    Setlk {
        node: u64,
        handle: u64,
        owner: u64,
        lock: Lock,
        flock: bool,
        wait: bool,
    },
    Access {
        node: u64,
        mask: u32,
    },
    Create {
        parent: u64,
        name: &'a [u8],
        mode: u32,
        umask: u32,
        flags: u32,
        kill_suidgid: bool,
    },
    /// A file without a name (`O_TMPFILE`).
    Tmpfile {
        parent: u64,
        mode: u32,
        umask: u32,
        flags: u32,
    },
    /// The request `unique` is not waited for any more: it should end soon, with `EINTR`. Not answered.
    Interrupt {
        unique: u64,
    },
    Bmap {
        node: u64,
        block: u64,
        block_size: u32,
    },
    /// The mount goes.
    Destroy,
    Ioctl {
        node: u64,
        handle: u64,
        flags: IoctlFlags,
        command: u32,
        argument: u64,
        input: &'a [u8],
        out_size: u32,
    },
    /// `wake`: who polls wants a notice by `poll_handle`.
    Poll {
        node: u64,
        handle: u64,
        poll_handle: u64,
        wake: bool,
        events: u32,
    },
    /// What a notice asked for. Not answered.
    NotifyReply {
        node: u64,
        unique: u64,
        offset: u64,
        data: &'a [u8],
    },
    Fallocate {
        node: u64,
        handle: u64,
        offset: u64,
        length: u64,
        mode: u32,
    },
    Lseek {
        node: u64,
        handle: u64,
        offset: u64,
        whence: u32,
    },
    /// `COPY_FILE_RANGE` and `COPY_FILE_RANGE_64`; [`Out::copied`](super::Out::copied) knows which.
    CopyFileRange {
        node: u64,
        handle: u64,
        offset: u64,
        out_node: u64,
        out_handle: u64,
        out_offset: u64,
        length: u64,
        flags: u64,
    },
    /// A DAX window, which is never offered.
    Setupmapping {
        node: u64,
        handle: u64,
        offset: u64,
        length: u64,
        flags: u64,
        window_offset: u64,
    },
    Removemapping {
        node: u64,
        mappings: Mappings<'a>,
    },
    Syncfs {
        node: u64,
    },
    /// Everything that was written to `node` through the fields of statx(2).
    Statx {
        node: u64,
        handle: Option<u64>,
        flags: u32,
        mask: u32,
    },
}

/// The nodes of a `BATCH_FORGET`, with how many look-ups each.
#[derive(Debug, Clone, Copy)]
pub struct Forgets<'a>(&'a [u8]);

impl Iterator for Forgets<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        let (one, rest) = abi::ForgetOne::read_from_prefix(self.0).ok()?;
        self.0 = rest;
        Some((one.nodeid, one.nlookup))
    }
}

/// The ranges of a `REMOVEMAPPING`: offset in the window, length.
#[derive(Debug, Clone, Copy)]
pub struct Mappings<'a>(&'a [u8]);

impl Iterator for Mappings<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        let (one, rest) = abi::RemovemappingOne::read_from_prefix(self.0).ok()?;
        self.0 = rest;
        Some((one.moffset, one.len))
    }
}

#[cfg(test)]
mod tests;
