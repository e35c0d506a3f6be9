//! Opcode and arguments to [`Request`]: a table with one arm an operation.

use zerocopy::FromBytes;

use super::args::{Args, Wrong};
use super::{Dialect, Forgets, Lock, Mappings, Request};
use crate::fuse::wire::abi::{self, opcode};
use crate::fuse::wire::flags::{IoctlFlags, ReleaseFlags, RenameFlags, WriteFlags, XattrFlags};
use crate::fuse::wire::init::InitOffer;
use crate::fuse::wire::out::Device;
use crate::fuse::wire::setattr::SetAttr;

/// `None` for an operation that is not known.
#[allow(clippy::too_many_lines, reason = "a table: one arm an operation")]
pub(super) fn parse(
    opcode: u32,
    node: u64,
    unique: u64,
    mut args: Args<'_>,
    dialect: Dialect,
) -> Result<Option<Request<'_>>, Wrong> {
    let parent = node;
    Ok(Some(match opcode {
        opcode::LOOKUP => Request::Lookup { parent, name: args.name()? },
        opcode::FORGET => {
            let raw: abi::ForgetIn = args.structure()?;
            Request::Forget { node, lookups: raw.nlookup }
        }
        opcode::BATCH_FORGET => {
            let raw: abi::BatchForgetIn = args.structure()?;
            Request::BatchForget { forgets: Forgets(args.many(raw.count, size_of::<abi::ForgetOne>())?) }
        }
        opcode::GETATTR => {
            let raw: abi::GetattrIn = args.structure()?;
            Request::Getattr { node, handle: (raw.flags & 1 != 0).then_some(raw.fh) }
        }
        opcode::SETATTR => Request::Setattr { node, change: SetAttr::of(&args.structure()?) },
        opcode::READLINK => Request::Readlink { node },
        opcode::SYMLINK => Request::Symlink { parent, name: args.name()?, target: args.text()? },
        opcode::MKNOD => {
            let raw: abi::MknodIn = args.structure()?;
            let device = Device::of_wire(raw.rdev);
            Request::Mknod { parent, name: args.name()?, mode: raw.mode, device, umask: raw.umask }
        }
        opcode::MKDIR => {
            let raw: abi::MkdirIn = args.structure()?;
            Request::Mkdir { parent, name: args.name()?, mode: raw.mode, umask: raw.umask }
        }
        opcode::UNLINK => Request::Unlink { parent, name: args.name()? },
        opcode::RMDIR => Request::Rmdir { parent, name: args.name()? },
        opcode::RENAME => {
            let raw: abi::RenameIn = args.structure()?;
            let (name, new_name) = (args.name()?, args.name()?);
            Request::Rename { parent, name, new_parent: raw.newdir, new_name, flags: RenameFlags::empty() }
        }
        opcode::RENAME2 => {
            let raw: abi::Rename2In = args.structure()?;
            let (name, new_name) = (args.name()?, args.name()?);
            let flags = RenameFlags::from_bits_retain(raw.flags);
            Request::Rename { parent, name, new_parent: raw.newdir, new_name, flags }
        }
        opcode::LINK => {
            let raw: abi::LinkIn = args.structure()?;
            Request::Link { node: raw.oldnodeid, new_parent: parent, new_name: args.name()? }
        }
        opcode::OPEN => {
            let raw: abi::OpenIn = args.structure()?;
            Request::Open { node, flags: raw.flags, kill_suidgid: raw.open_flags & 1 != 0 }
        }
        opcode::OPENDIR => {
            let raw: abi::OpenIn = args.structure()?;
            Request::Opendir { node, flags: raw.flags }
        }
        opcode::READ => {
            let raw: abi::ReadIn = args.structure()?;
            let lock_owner = (raw.read_flags & 2 != 0).then_some(raw.lock_owner);
            Request::Read { node, handle: raw.fh, offset: raw.offset, size: raw.size, flags: raw.flags, lock_owner }
        }
        opcode::READDIR => {
            let raw: abi::ReadIn = args.structure()?;
            Request::Readdir { node, handle: raw.fh, offset: raw.offset, size: raw.size }
        }
        opcode::READDIRPLUS => {
            let raw: abi::ReadIn = args.structure()?;
            Request::Readdirplus { node, handle: raw.fh, offset: raw.offset, size: raw.size }
        }
        opcode::WRITE => {
            let raw: abi::WriteIn = args.structure()?;
            let write_flags = WriteFlags::from_bits_truncate(raw.write_flags);
            let lock_owner = write_flags.contains(WriteFlags::LOCKOWNER).then_some(raw.lock_owner);
            let data = args.bytes(raw.size)?;
            Request::Write { node, handle: raw.fh, offset: raw.offset, data, flags: raw.flags, write_flags, lock_owner }
        }
        opcode::STATFS => Request::Statfs { node },
        opcode::RELEASE => {
            let raw: abi::ReleaseIn = args.structure()?;
            let release_flags = ReleaseFlags::from_bits_truncate(raw.release_flags);
            Request::Release { node, handle: raw.fh, flags: raw.flags, release_flags, lock_owner: raw.lock_owner }
        }
        opcode::RELEASEDIR => {
            let raw: abi::ReleaseIn = args.structure()?;
            Request::Releasedir { node, handle: raw.fh, flags: raw.flags }
        }
        opcode::FSYNC => {
            let raw: abi::FsyncIn = args.structure()?;
            Request::Fsync { node, handle: raw.fh, data_only: raw.fsync_flags & 1 != 0 }
        }
        opcode::FSYNCDIR => {
            let raw: abi::FsyncIn = args.structure()?;
            Request::Fsyncdir { node, handle: raw.fh, data_only: raw.fsync_flags & 1 != 0 }
        }
        opcode::SETXATTR => setxattr(node, &mut args, dialect)?,
        opcode::GETXATTR => {
            let raw: abi::GetxattrIn = args.structure()?;
            Request::Getxattr { node, name: args.text()?, size: raw.size }
        }
        opcode::LISTXATTR => {
            let raw: abi::GetxattrIn = args.structure()?;
            Request::Listxattr { node, size: raw.size }
        }
        opcode::REMOVEXATTR => Request::Removexattr { node, name: args.text()? },
        opcode::FLUSH => {
            let raw: abi::FlushIn = args.structure()?;
            Request::Flush { node, handle: raw.fh, lock_owner: raw.lock_owner }
        }
        opcode::INIT => init(&mut args)?,
        opcode::GETLK | opcode::SETLK | opcode::SETLKW => lock(opcode, node, &args.structure()?),
        opcode::ACCESS => {
            let raw: abi::AccessIn = args.structure()?;
            Request::Access { node, mask: raw.mask }
        }
        opcode::CREATE => {
            let raw: abi::CreateIn = args.structure()?;
            let kill_suidgid = raw.open_flags & 1 != 0;
            let name = args.name()?;
            Request::Create { parent, name, mode: raw.mode, umask: raw.umask, flags: raw.flags, kill_suidgid }
        }
        opcode::TMPFILE => {
            // The kernel sends a name that nobody has chosen.
            let raw: abi::CreateIn = args.structure()?;
            Request::Tmpfile { parent, mode: raw.mode, umask: raw.umask, flags: raw.flags }
        }
        opcode::INTERRUPT => {
            let raw: abi::InterruptIn = args.structure()?;
            Request::Interrupt { unique: raw.unique }
        }
        opcode::BMAP => {
            let raw: abi::BmapIn = args.structure()?;
            Request::Bmap { node, block: raw.block, block_size: raw.blocksize }
        }
        opcode::DESTROY => Request::Destroy,
        opcode::IOCTL => {
            let raw: abi::IoctlIn = args.structure()?;
            Request::Ioctl {
                node,
                handle: raw.fh,
                flags: IoctlFlags::from_bits_truncate(raw.flags),
                command: raw.cmd,
                argument: raw.arg,
                input: args.bytes(raw.in_size)?,
                out_size: raw.out_size,
            }
        }
        opcode::POLL => {
            let raw: abi::PollIn = args.structure()?;
            let wake = raw.flags & 1 != 0;
            Request::Poll { node, handle: raw.fh, poll_handle: raw.kh, wake, events: raw.events }
        }
        opcode::NOTIFY_REPLY => {
            let raw: abi::RetrieveIn = args.structure()?;
            Request::NotifyReply { node, unique, offset: raw.offset, data: args.bytes(raw.size)? }
        }
        opcode::FALLOCATE => {
            let raw: abi::FallocateIn = args.structure()?;
            Request::Fallocate { node, handle: raw.fh, offset: raw.offset, length: raw.length, mode: raw.mode }
        }
        opcode::LSEEK => {
            let raw: abi::LseekIn = args.structure()?;
            Request::Lseek { node, handle: raw.fh, offset: raw.offset, whence: raw.whence }
        }
        opcode::COPY_FILE_RANGE | opcode::COPY_FILE_RANGE_64 => copy_file_range(opcode, node, &args.structure()?),
        opcode::SETUPMAPPING => {
            let raw: abi::SetupmappingIn = args.structure()?;
            let (offset, window_offset) = (raw.foffset, raw.moffset);
            Request::Setupmapping { node, handle: raw.fh, offset, length: raw.len, flags: raw.flags, window_offset }
        }
        opcode::REMOVEMAPPING => {
            let raw: abi::RemovemappingIn = args.structure()?;
            Request::Removemapping {
                node,
                mappings: Mappings(args.many(raw.count, size_of::<abi::RemovemappingOne>())?),
            }
        }
        opcode::SYNCFS => Request::Syncfs { node },
        opcode::STATX => {
            let raw: abi::StatxIn = args.structure()?;
            let handle = (raw.getattr_flags & 1 != 0).then_some(raw.fh);
            Request::Statx { node, handle, flags: raw.sx_flags, mask: raw.sx_mask }
        }
        _ => return Ok(None),
    }))
}

fn setxattr<'a>(node: u64, args: &mut Args<'a>, dialect: Dialect) -> Result<Request<'a>, Wrong> {
    let (size, flags, more) = if dialect.setxattr_ext {
        let raw: abi::SetxattrIn = args.structure()?;
        (raw.size, raw.flags, raw.setxattr_flags)
    } else {
        let raw: abi::SetxattrShortIn = args.structure()?;
        (raw.size, raw.flags, 0)
    };
    let (name, value) = (args.text()?, args.bytes(size)?);
    Ok(Request::Setxattr { node, name, value, flags: XattrFlags::from_bits_retain(flags), kill_sgid: more & 1 != 0 })
}

fn init<'a>(args: &mut Args<'a>) -> Result<Request<'a>, Wrong> {
    let raw: abi::InitIn = args.structure()?;
    // Shorter before Linux 5.17.
    let more = abi::InitMoreIn::read_from_prefix(args.rest).map(|(more, _)| more).unwrap_or_default();
    Ok(Request::Init(InitOffer::of(&raw, &more)))
}

fn lock(opcode: u32, node: u64, raw: &abi::LkIn) -> Request<'static> {
    let lock = Lock { start: raw.lk.start, end: raw.lk.end, kind: raw.lk.kind, pid: raw.lk.pid };
    let (handle, owner, flock) = (raw.fh, raw.owner, raw.lk_flags & 1 != 0);
    match opcode {
        opcode::GETLK => Request::Getlk { node, handle, owner, lock, flock },
        _ => Request::Setlk { node, handle, owner, lock, flock, wait: opcode == opcode::SETLKW },
    }
}

fn copy_file_range(opcode: u32, node: u64, raw: &abi::CopyFileRangeIn) -> Request<'static> {
    // The older answer has 32 bits; the kernel asks for whole pages.
    let most = if opcode == opcode::COPY_FILE_RANGE { 0xffff_f000 } else { u64::MAX };
    Request::CopyFileRange {
        node,
        handle: raw.fh_in,
        offset: raw.off_in,
        out_node: raw.nodeid_out,
        out_handle: raw.fh_out,
        out_offset: raw.off_out,
        length: raw.len.min(most),
        flags: raw.flags,
    }
}
