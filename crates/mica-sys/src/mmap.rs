//! A file's bytes as memory: read-only, or written through for the length of one call.
#![allow(unsafe_code, reason = "mmap gives a pointer, and munmap takes it back")]

use std::fmt;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags};

use crate::error::{Result, SysError};
use crate::fault::door;
use crate::file::File;

/// A whole file, mapped read-only.
///
/// Only for sealed files: those that no process changes any more, but only removes. The bytes of a file that is written
/// to would change under a reference, and those of one that is cut would end the process with `SIGBUS`. A removed file
/// stays readable while it is mapped.
pub struct Mapping {
    /// `None` for an empty file, which cannot be mapped.
    bytes: Option<NonNull<[u8]>>,
}

impl Mapping {
    /// Maps the whole of a sealed file.
    ///
    /// # Errors
    /// `fstat`'s and `mmap`'s; `EFBIG` where the file does not fit into memory.
    pub fn of_sealed(file: &File) -> Result<Self> {
        let wrong = |errno| SysError::new("mmap", file.name(), errno);
        let size = file.metadata()?.size;
        let length = usize::try_from(size).ok().filter(|length| isize::try_from(*length).is_ok());
        let length = length.ok_or_else(|| wrong(Errno::FBIG))?;
        if length == 0 {
            return Ok(Self { bytes: None });
        }
        // SAFETY: a null address lets the kernel choose one where nothing of ours is; the descriptor is open and the
        // length is not zero.
        let mapped = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::PRIVATE, file.as_fd(), 0)
        };
        let start = NonNull::new(mapped.map_err(wrong)?.cast::<u8>()).ok_or_else(|| wrong(Errno::NOMEM))?;
        Ok(Self { bytes: Some(NonNull::slice_from_raw_parts(start, length)) })
    }
}

/// Writes `bytes` at `offset` through a shared mapping of `file`, as a program does that maps its files, and waits until the
/// file system has them. Nothing is written where they would reach beyond the end of the file.
///
/// The caller sees to it that nobody cuts the file meanwhile, which would end the process with `SIGBUS`.
///
/// # Errors
/// `EINVAL` where the file is shorter; `mmap`'s (`ENODEV` of what cannot be mapped) and `msync`'s.
pub fn write_shared(file: &File, offset: usize, bytes: &[u8]) -> Result<()> {
    let wrong = |errno| SysError::new("mmap", file.name(), errno);
    door("mmap", file.name())?;
    let size = usize::try_from(file.metadata()?.size).map_err(|_| wrong(Errno::FBIG))?;
    let end = offset.checked_add(bytes.len()).filter(|end| *end <= size).ok_or_else(|| wrong(Errno::INVAL))?;
    // An empty range cannot be mapped; that a file has no pages is for the kernel to say.
    let length = end.max(1);
    // SAFETY: a null address lets the kernel choose one where nothing of ours is; the length is not zero.
    let mapped = unsafe {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        rustix::mm::mmap(std::ptr::null_mut(), length, access, MapFlags::SHARED, file.as_fd(), 0)
    };
    let start = mapped.map_err(wrong)?;
    // SAFETY: `offset` is inside of the mapping, or at its end when there is nothing to write.
    let target = unsafe { start.cast::<u8>().add(offset) };
    // SAFETY: the range is inside of the mapping and of the file, is writable, and `bytes` is memory of somebody else's.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
    // SAFETY: the range is what `mmap` gave.
    let synced = unsafe { rustix::mm::msync(start, length, MsyncFlags::SYNC) };
    // SAFETY: as above, and nothing points into it after.
    let unmapped = unsafe { rustix::mm::munmap(start, length) };
    synced.and(unmapped).map_err(|errno| SysError::new("msync", file.name(), errno))
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.bytes {
            // SAFETY: the range is mapped readable until `drop`, is not longer than `isize::MAX`, and nothing writes to it:
            // not this process, which has it read-only, and not another, since the file is sealed.
            Some(bytes) => unsafe { bytes.as_ref() },
            None => &[],
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let Some(bytes) = self.bytes else { return };
        // SAFETY: the range is what `mmap` gave, is unmapped once, and every borrow of it has ended with `self`.
        let unmapped = unsafe { rustix::mm::munmap(bytes.as_ptr().cast(), bytes.len()) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", self.len())
    }
}

// SAFETY: the mapping belongs to the process and not to a thread; it can be unmapped from any.
unsafe impl Send for Mapping {}
// SAFETY: shared references only read, and nothing writes.
unsafe impl Sync for Mapping {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dir;

    #[test]
    fn a_mapping_is_the_files_bytes_also_when_the_name_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let mut file = dir.create_file(b"sealed", 0o600).unwrap();
        assert!(Mapping::of_sealed(&file).unwrap().is_empty());
        file.write_whole(b"bytes").unwrap();
        let mapping = Mapping::of_sealed(&dir.open_file(b"sealed").unwrap()).unwrap();
        dir.unlink(b"sealed").unwrap();
        assert_eq!(&mapping[..], b"bytes");
        assert_eq!(std::thread::spawn(move || mapping.len()).join().unwrap(), 5);
    }

    #[test]
    fn what_is_written_through_a_mapping_is_in_the_file() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let mut file = dir.create_file(b"mapped", 0o600).unwrap();
        file.write_whole(b"0123456789").unwrap();
        write_shared(&file, 8, b"ab").unwrap();
        assert_eq!(dir.read(b"mapped", 100).unwrap(), b"01234567ab");
        assert_eq!(write_shared(&file, 9, b"ab").unwrap_err().errno(), Errno::INVAL);
        assert_eq!(write_shared(&file, usize::MAX, b"ab").unwrap_err().errno(), Errno::INVAL);
        assert_eq!(dir.read(b"mapped", 100).unwrap(), b"01234567ab");
    }

    #[test]
    fn a_directory_is_not_mapped() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let itself = File::from_fd(dir.try_clone().unwrap().as_fd().try_clone_to_owned().unwrap(), b"directory");
        assert_eq!(Mapping::of_sealed(&itself).unwrap_err().call(), "mmap");
    }
}
