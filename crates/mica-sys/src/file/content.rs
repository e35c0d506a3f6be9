//! What a file server does to the content of an open file, beyond what a program needs: parts, holes, ranges, flags.
//!
//! Each call is made once and says how much of it was done, as the caller's own caller must learn it.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::File;
use crate::error::Result;
use crate::fault::{door, look};

/// What lseek(2) looks for from an offset on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// The next byte that is not in a hole (`SEEK_DATA`).
    Data,
    /// The next hole; the end of the file is one (`SEEK_HOLE`).
    Hole,
}

/// How an open file is opened once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// For reading.
    Read,
    /// For reading and writing.
    ReadWrite,
    /// For writing alone.
    Write,
    /// For reading, and for writing at the end: what a file that may only be added to allows (`FS_APPEND_FL`).
    ReadAppend,
}

impl Access {
    pub(crate) const fn flags(self) -> OFlags {
        match self {
            Self::Read => OFlags::RDONLY,
            Self::ReadWrite => OFlags::RDWR,
            Self::Write => OFlags::WRONLY,
            Self::ReadAppend => OFlags::RDWR.union(OFlags::APPEND),
        }
    }
}

/// The flags of an inode as `FS_IOC_FSGETXATTR` has them: `struct fsxattr` of linux/fs.h.
pub type ExtendedFlags = [u8; 28];

impl File {
    /// Writes at an offset, in one call; says how many bytes were written.
    ///
    /// # Errors
    /// `pwrite`'s.
    pub fn write_part_at(&self, bytes: &[u8], offset: u64) -> Result<usize> {
        door("pwrite", &self.name)?;
        loop {
            match rustix::io::pwrite(&self.file, bytes, offset) {
                Err(Errno::INTR) => {}
                done => return done.map_err(|errno| self.wrong("pwrite", errno)),
            }
        }
    }

    /// Flushes content, and of the metadata what is needed to read it again.
    ///
    /// # Errors
    /// `fdatasync`'s.
    pub fn sync_content(&self) -> Result<()> {
        door("fdatasync", &self.name)?;
        rustix::fs::fdatasync(&self.file).map_err(|errno| self.wrong("fdatasync", errno))
    }

    /// fallocate(2): takes, frees or moves space. `mode` are its flags as programs give them.
    ///
    /// # Errors
    /// `fallocate`'s: `EOPNOTSUPP` for what the file system cannot.
    pub fn allocate(&self, mode: u32, offset: u64, length: u64) -> Result<()> {
        door("fallocate", &self.name)?;
        let mode = FallocateFlags::from_bits_retain(mode);
        loop {
            match rustix::fs::fallocate(&self.file, mode, offset, length) {
                Err(Errno::INTR) => {}
                done => return done.map_err(|errno| self.wrong("fallocate", errno)),
            }
        }
    }

    /// Where data or a hole is next, from `offset` on.
    ///
    /// # Errors
    /// `ENXIO` where there is none; `lseek`'s.
    pub fn look_for(&self, what: Looked, offset: u64) -> Result<u64> {
        let to = match what {
            Looked::Data => SeekFrom::Data(offset),
            Looked::Hole => SeekFrom::Hole(offset),
        };
        look("lseek", &self.name)?;
        rustix::fs::seek(&self.file, to).map_err(|errno| self.wrong("lseek", errno))
    }

    /// copy_file_range(2): copies a part of `from` into this file and says how many bytes were copied, 0 at the end of `from`.
    /// The kernel shares the blocks where it can.
    ///
    /// # Errors
    /// `copy_file_range`'s.
    pub fn copy_range(&self, from: &Self, source: u64, target: u64, length: usize) -> Result<usize> {
        door("copy_file_range", &self.name)?;
        loop {
            let (mut source, mut target) = (source, target);
            match rustix::fs::copy_file_range(&from.file, Some(&mut source), &self.file, Some(&mut target), length) {
                Err(Errno::INTR) => {}
                done => return done.map_err(|errno| self.wrong("copy_file_range", errno)),
            }
        }
    }

    /// Opens the same file once more, with a position and flags of its own; also one that has no name any more.
    ///
    /// # Errors
    /// `openat`'s; `ENOENT` where there is no `/proc`.
    pub fn reopen(&self, access: Access) -> Result<Self> {
        look("open", &self.name)?;
        let itself = format!("/proc/self/fd/{}", self.file.as_fd().as_raw_fd());
        let flags = access.flags() | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = rustix::fs::open(itself, flags, Mode::empty());
        opened.map(|fd| Self::from_fd(fd, &self.name)).map_err(|errno| self.wrong("open", errno))
    }

    /// The flags that chattr(1) shows (`FS_IOC_GETFLAGS`).
    ///
    /// # Errors
    /// `ENOTTY` where the file system has none.
    pub fn inode_flags(&self) -> Result<u32> {
        rustix::fs::ioctl_getflags(&self.file)
            .map(|flags| flags.bits())
            .map_err(|errno| self.wrong("ioctl FS_IOC_GETFLAGS", errno))
    }

    /// Sets the flags that chattr(1) sets (`FS_IOC_SETFLAGS`).
    ///
    /// # Errors
    /// `EPERM` without the privilege, `EOPNOTSUPP` for flags that the file system does not have.
    pub fn set_inode_flags(&self, flags: u32) -> Result<()> {
        door("ioctl FS_IOC_SETFLAGS", &self.name)?;
        rustix::fs::ioctl_setflags(&self.file, rustix::fs::IFlags::from_bits_retain(flags))
            .map_err(|errno| self.wrong("ioctl FS_IOC_SETFLAGS", errno))
    }

    /// The flags, project and hints of the inode (`FS_IOC_FSGETXATTR`).
    ///
    /// # Errors
    /// `ENOTTY` where the file system has none.
    pub fn extended_flags(&self) -> Result<ExtendedFlags> {
        crate::raw::get_extended_flags(self.file.as_fd()).map_err(|errno| self.wrong("ioctl FS_IOC_FSGETXATTR", errno))
    }

    /// Sets the flags, project and hints of the inode (`FS_IOC_FSSETXATTR`).
    ///
    /// # Errors
    /// `EPERM` without the privilege, `EOPNOTSUPP` for what the file system does not have.
    pub fn set_extended_flags(&self, flags: &ExtendedFlags) -> Result<()> {
        door("ioctl FS_IOC_FSSETXATTR", &self.name)?;
        crate::raw::set_extended_flags(self.file.as_fd(), flags)
            .map_err(|errno| self.wrong("ioctl FS_IOC_FSSETXATTR", errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dir;

    fn file() -> (tempfile::TempDir, File) {
        let scratch = tempfile::tempdir().unwrap();
        let file = Dir::open(scratch.path()).unwrap().create_file(b"file", 0o644).unwrap();
        (scratch, file)
    }

    #[test]
    fn holes_are_punched_and_found() {
        let (_scratch, file) = file();
        file.write_at(&[1; 65536], 0).unwrap();
        file.allocate(libc::FALLOC_FL_PUNCH_HOLE.unsigned_abs() | libc::FALLOC_FL_KEEP_SIZE.unsigned_abs(), 8192, 8192)
            .unwrap();
        assert_eq!(file.look_for(Looked::Hole, 0).unwrap(), 8192);
        assert_eq!(file.look_for(Looked::Data, 8192).unwrap(), 16384);
        assert_eq!(file.look_for(Looked::Data, 65536).unwrap_err().errno(), Errno::NXIO);
    }

    #[test]
    fn a_file_is_opened_again_as_asked_also_without_a_name() {
        let (scratch, file) = file();
        file.write_at(b"one", 0).unwrap();
        Dir::open(scratch.path()).unwrap().unlink(b"file").unwrap();
        let reader = file.reopen(Access::Read).unwrap();
        assert_eq!(reader.write_part_at(b"two", 0).unwrap_err().errno(), Errno::BADF);
        let writer = file.reopen(Access::ReadWrite).unwrap();
        assert_eq!(writer.write_part_at(b"two", 3).unwrap(), 3);
        let mut both = [0; 6];
        assert_eq!(reader.read_at(&mut both, 0).unwrap(), 6);
        assert_eq!(&both, b"onetwo");
    }

    #[test]
    fn ranges_are_copied_between_offsets() {
        let (scratch, file) = file();
        file.write_at(b"abcdef", 0).unwrap();
        let other = Dir::open(scratch.path()).unwrap().create_file(b"other", 0o644).unwrap();
        assert_eq!(other.copy_range(&file, 2, 1, 100).unwrap(), 4);
        let mut read = [9; 8];
        assert_eq!(other.read_at(&mut read, 0).unwrap(), 5);
        assert_eq!(&read[..5], b"\0cdef");
        assert_eq!(other.copy_range(&file, 6, 0, 100).unwrap(), 0);
    }
}
