//! ioctl(2): the flags of an inode. The kernel answers what it knows by itself (`FIGETBSZ`, `FIONREAD`), checks who may set flags, and asks for
//! each by a file that it opens for that alone.
//!
//! Not here: `FICLONE` and `FICLONERANGE`, for which FUSE has no request (the caller gets `EOPNOTSUPP`, and copies by copy_file_range(2), which shares blocks too), and
//! `FS_IOC_FIEMAP`.

use mica_sys::{Errno, ExtendedFlags};

use super::Server;
use crate::fuse::wire::{IoctlAnswer, Out};

/// The numbers of linux/fs.h. Those of `FS_IOC_GETFLAGS` and `FS_IOC_SETFLAGS` name a `long`, and are about an `int`.
const GET_FLAGS: u32 = 0x8008_6601;
const SET_FLAGS: u32 = 0x4008_6602;
const GET_FLAGS_32: u32 = 0x8004_6601;
const SET_FLAGS_32: u32 = 0x4004_6602;
const GET_EXTENDED: u32 = 0x801c_581f;
const SET_EXTENDED: u32 = 0x401c_5820;

impl Server {
    pub(super) fn ioctl(
        &self,
        node: u64,
        command: u32,
        input: &[u8],
        out_size: u32,
        out: &mut Out<'_>,
    ) -> Result<(), Errno> {
        let node = self.node(node)?;
        let answer = |bytes: &[u8], out: &mut Out<'_>| {
            let room = usize::try_from(out_size).unwrap_or(usize::MAX);
            out.ioctl(&IoctlAnswer { result: 0, bytes: bytes.get(..room).unwrap_or(bytes) })
        };
        match command {
            GET_FLAGS | GET_FLAGS_32 => {
                let flags = self.any_file(&node)?.inode_flags().map_err(|error| error.errno())?;
                answer(&flags.to_ne_bytes(), out)
            }
            GET_EXTENDED => {
                let flags = self.any_file(&node)?.extended_flags().map_err(|error| error.errno())?;
                answer(&flags, out)
            }
            SET_FLAGS | SET_FLAGS_32 => {
                let flags = input.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes)).ok_or(Errno::INVAL)?;
                self.set_flags(&node, |file| file.set_inode_flags(flags))?;
                answer(&[], out)
            }
            SET_EXTENDED => {
                let flags: ExtendedFlags = *input.first_chunk().ok_or(Errno::INVAL)?;
                self.set_flags(&node, |file| file.set_extended_flags(&flags))?;
                answer(&[], out)
            }
            _ => Err(Errno::NOTTY),
        }
    }
}
