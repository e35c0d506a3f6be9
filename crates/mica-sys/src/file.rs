//! An open file whose changes pass the fault door.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, StatxFlags};
use rustix::io::Errno;

use crate::error::{Result, SysError};
use crate::fault::{door, look};
use crate::stat::{Metadata, Time};

mod content;

pub use content::{Access, ExtendedFlags, Looked};

/// An open file. It remembers the name that it was opened by, for errors.
#[derive(Debug)]
pub struct File {
    file: std::fs::File,
    name: Box<[u8]>,
}

/// Room for a record of the store as they are.
const RECORD: usize = 4096;

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl File {
    /// Takes a descriptor; `name` is what errors call it.
    #[must_use]
    pub fn from_fd(fd: OwnedFd, name: &[u8]) -> Self {
        Self { file: fd.into(), name: name.into() }
    }

    fn wrong(&self, call: &'static str, errno: Errno) -> SysError {
        SysError::new(call, &self.name, errno)
    }

    /// The name that it was opened by.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// What `fstat` says.
    ///
    /// # Errors
    /// `fstat`'s.
    pub fn metadata(&self) -> Result<Metadata> {
        look("fstat", &self.name)?;
        rustix::fs::fstat(&self.file).map(|stat| Metadata::from_stat(&stat)).map_err(|errno| self.wrong("fstat", errno))
    }

    /// What `statx` says, with the time at which it was made, where the file system keeps that. Also of a file that is opened for its path alone.
    ///
    /// # Errors
    /// `statx`'s.
    pub fn metadata_born(&self) -> Result<(Metadata, Option<Time>)> {
        look("statx", &self.name)?;
        let asked = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        rustix::fs::statx(&self.file, c"", AtFlags::EMPTY_PATH, asked)
            .map(|stat| Metadata::from_statx(&stat))
            .map_err(|errno| self.wrong("statx", errno))
    }

    /// All that is left to read, at most `cap` bytes.
    ///
    /// # Errors
    /// `EFBIG` when there is more; `read`'s.
    pub fn read_all(&mut self, cap: u64) -> Result<Vec<u8>> {
        look("read", &self.name)?;
        // Most records fit: one read, and one that finds the end.
        let mut bytes = Vec::with_capacity(RECORD);
        let read = (&mut self.file).take(cap.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| self.wrong("read", errno(&error)))?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > cap {
            return Err(self.wrong("read", Errno::FBIG));
        }
        Ok(bytes)
    }

    /// Reads at an offset without moving the position; 0 at the end.
    ///
    /// # Errors
    /// `pread`'s.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        look("pread", &self.name)?;
        loop {
            match rustix::io::pread(&self.file, &mut *buffer, offset) {
                Err(Errno::INTR) => {}
                done => return done.map_err(|errno| self.wrong("pread", errno)),
            }
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// `write`'s.
    pub fn write_whole(&mut self, bytes: &[u8]) -> Result<()> {
        door("write", &self.name)?;
        self.file.write_all(bytes).map_err(|error| self.wrong("write", errno(&error)))
    }

    /// Writes all of `bytes` at an offset without moving the position.
    ///
    /// # Errors
    /// `pwrite`'s.
    pub fn write_at(&self, mut bytes: &[u8], mut offset: u64) -> Result<()> {
        while !bytes.is_empty() {
            door("pwrite", &self.name)?;
            match rustix::io::pwrite(&self.file, bytes, offset) {
                Ok(0) => return Err(self.wrong("pwrite", Errno::IO)),
                Ok(written) => {
                    offset += u64::try_from(written).unwrap_or(0);
                    bytes = bytes.get(written..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.wrong("pwrite", errno)),
            }
        }
        Ok(())
    }

    /// Cuts the file, or grows it with a hole.
    ///
    /// # Errors
    /// `ftruncate`'s.
    pub fn set_len(&self, size: u64) -> Result<()> {
        door("ftruncate", &self.name)?;
        rustix::fs::ftruncate(&self.file, size).map_err(|errno| self.wrong("ftruncate", errno))
    }

    /// Sets the permission bits (0 to 0o7777).
    ///
    /// # Errors
    /// `fchmod`'s.
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        door("fchmod", &self.name)?;
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode)).map_err(|errno| self.wrong("fchmod", errno))
    }

    /// Sets owner and group. Clears setuid, setgid and file capabilities, so it comes before them.
    ///
    /// # Errors
    /// `fchown`'s.
    pub fn set_owner(&self, uid: u32, gid: u32) -> Result<()> {
        door("fchown", &self.name)?;
        rustix::fs::fchown(&self.file, crate::stat::uid(uid), crate::stat::gid(gid))
            .map_err(|errno| self.wrong("fchown", errno))
    }

    /// Sets the modification time, and the access time to the same.
    ///
    /// # Errors
    /// `futimens`'s.
    pub fn set_mtime(&self, mtime: Time) -> Result<()> {
        door("futimens", &self.name)?;
        rustix::fs::futimens(&self.file, &crate::dir::file_times(mtime)).map_err(|errno| self.wrong("futimens", errno))
    }

    /// Flushes content and metadata to disk.
    ///
    /// # Errors
    /// `fsync`'s.
    pub fn sync(&self) -> Result<()> {
        door("fsync", &self.name)?;
        rustix::fs::fsync(&self.file).map_err(|errno| self.wrong("fsync", errno))
    }

    /// Copies the whole content of `from` here, at the same offsets: by reflink where the file system can, else by
    /// `copy_file_range` from data to data, holes kept. This file must be empty.
    ///
    /// # Errors
    /// Of the call that was refused; part of the content may be there.
    pub fn copy_from(&self, from: &Self) -> Result<()> {
        door("ioctl FICLONE", &self.name)?;
        if rustix::fs::ioctl_ficlone(&self.file, &from.file).is_ok() {
            return Ok(());
        }
        let size = from.metadata()?.size;
        self.set_len(size)?;
        self.copy_start(from, size)
    }

    /// Copies the first `length` bytes of `from` here, or all where it has fewer, from data to data: what is a hole there is left as it
    /// is here, so this file must hold nothing but holes. Its size is at least `length` already.
    ///
    /// # Errors
    /// Of the call that was refused; part of the content may be there.
    pub fn copy_start(&self, from: &Self, length: u64) -> Result<()> {
        let mut at = 0;
        while at < length {
            let Some(data) = from.next_data(at)?.filter(|data| *data < length) else { return Ok(()) };
            let hole = rustix::fs::seek(&from.file, rustix::fs::SeekFrom::Hole(data));
            let hole = hole.map_err(|errno| from.wrong("lseek", errno))?.min(length);
            self.copy_run(from, data, hole)?;
            at = hole;
        }
        Ok(())
    }

    /// Where content stands next, from `at` on: a hole is passed over, and nothing but zeros is lost. `None` when only a hole is
    /// left. A file system that knows no holes says `at`.
    ///
    /// # Errors
    /// Of `lseek`.
    pub fn next_data(&self, at: u64) -> Result<Option<u64>> {
        look("lseek", &self.name)?;
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => Ok(Some(data)),
            Err(Errno::NXIO) => Ok(None),
            Err(errno) => Err(self.wrong("lseek", errno)),
        }
    }

    fn copy_run(&self, from: &Self, mut at: u64, end: u64) -> Result<()> {
        while at < end {
            door("copy_file_range", &self.name)?;
            let (mut source, mut target) = (at, at);
            let length = usize::try_from(end - at).unwrap_or(usize::MAX);
            match rustix::fs::copy_file_range(&from.file, Some(&mut source), &self.file, Some(&mut target), length) {
                // The file became shorter while it was copied.
                Ok(0) => return Ok(()),
                Ok(copied) => at += u64::try_from(copied).unwrap_or(0),
                Err(Errno::INTR) => {}
                // Between some file systems, and from some (procfs, FUSE), the kernel does not copy.
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    return self.copy_by_hand(from, at, end);
                }
                Err(errno) => return Err(self.wrong("copy_file_range", errno)),
            }
        }
        Ok(())
    }

    fn copy_by_hand(&self, from: &Self, mut at: u64, end: u64) -> Result<()> {
        let mut buffer = vec![0; 256 * 1024];
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let Some(into) = buffer.get_mut(..length) else { return Ok(()) };
            let read = from.read_at(into, at)?;
            let Some(bytes) = into.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
            self.write_at(bytes, at)?;
            at += u64::try_from(read).unwrap_or(0);
        }
        Ok(())
    }

    /// The descriptor.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.file.into()
    }

    /// Another handle that shares the position.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn try_clone(&self) -> Result<Self> {
        let file = self.file.try_clone().map_err(|error| self.wrong("dup", errno(&error)))?;
        Ok(Self { file, name: self.name.clone() })
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        door("write", &self.name)?;
        self.file.write(bytes).map_err(|error| self.wrong("write", errno(&error)).into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
