//! A pipe by which the content of a file goes to the device: its pages are copied where they are wanted, and not into the memory of the server before.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};

use super::{Device, page_size};
use crate::File;

/// The most that an ordinary user may have in one pipe, where nobody has changed it (`/proc/sys/fs/pipe-max-size`).
const MOST: usize = 1 << 20;

/// Where an answer waits to be sent: its header, and behind it a part of a file. It is sent whole or not at all: what went wrong in between leaves
/// bytes behind, and the pipe must be dropped.
#[derive(Debug)]
pub struct Pipe {
    write: OwnedFd,
    read: OwnedFd,
    page: usize,
    /// How many pages it holds, or parts of pages.
    room: usize,
}

impl Pipe {
    /// A pipe with as much room as the kernel gives.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn new() -> Result<Self, Errno> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let page = usize::try_from(page_size()).map_err(|_| Errno::INVAL)?;
        // Refused where it is more than one pipe may have, or where the user has much in pipes already (`/proc/sys/fs/pipe-user-pages-soft`).
        let bytes = match fcntl_setpipe_size(&write, MOST) {
            Ok(bytes) => bytes,
            Err(_) => fcntl_getpipe_size(&write)?,
        };
        Ok(Self { write, read, page, room: bytes / page })
    }

    /// Whether a header and a part of a file of so many bytes fit.
    #[must_use]
    pub const fn holds(&self, length: usize) -> bool {
        // One for the header, and one more for a part that does not begin at a page.
        length.div_ceil(self.page).saturating_add(2) <= self.room
    }

    /// Puts a header and `length` bytes of a file. `false`: the file ends before.
    ///
    /// # Errors
    /// `splice`'s: `EINVAL` for a file system that has no pages to give; what reading gets.
    pub fn put(&mut self, header: &[u8], file: &File, offset: u64, length: usize) -> Result<bool, Errno> {
        if rustix::io::write(&self.write, header)? != header.len() {
            return Err(Errno::IO);
        }
        let mut offset = offset;
        let mut left = length;
        while left > 0 {
            // It would never be emptied: who puts does not wait.
            match splice(file, Some(&mut offset), &self.write, None, left, SpliceFlags::NONBLOCK) {
                Ok(0) => return Ok(false),
                Ok(came) => left = left.saturating_sub(came),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(true)
    }

    /// Sends what was put, `length` bytes with the header. The pages are copied: asked to move them (`SPLICE_F_MOVE`), the kernel would take them out of
    /// the file's own cache.
    ///
    /// # Errors
    /// As [`Device::write`].
    pub fn send(&mut self, device: &Device, length: usize) -> Result<(), Errno> {
        let sent = retry_on_intr(|| splice(&self.read, None, device.as_fd(), None, length, SpliceFlags::empty()))?;
        if sent == length { Ok(()) } else { Err(Errno::IO) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dir;

    /// A file with these bytes.
    fn file(bytes: &[u8]) -> (tempfile::TempDir, File) {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("file"), bytes).unwrap();
        let file = Dir::open(scratch.path()).unwrap().open_file(b"file").unwrap();
        (scratch, file)
    }

    fn taken(pipe: &Pipe) -> Vec<u8> {
        let mut bytes = vec![0; MOST];
        let mut length = 0;
        while let Ok(more) = rustix::io::read(&pipe.read, &mut bytes[length..]) {
            length += more;
        }
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn a_header_and_any_part_of_a_file_come_out_as_they_were_put() {
        let content: Vec<u8> = (0..300_001_u32).map(|number| (number % 251) as u8).collect();
        let (_scratch, file) = file(&content);
        let mut pipe = Pipe::new().unwrap();
        for (offset, length) in [(0, 131_072), (4096, 65_536), (1, 200_000), (299_990, 11), (8191, 2)] {
            assert!(pipe.holds(length));
            assert_eq!(pipe.put(b"header", &file, offset as u64, length), Ok(true));
            let expected = [b"header", &content[offset..offset + length]].concat();
            assert!(taken(&pipe) == expected, "{length} bytes at {offset}");
        }
    }

    #[test]
    fn where_the_file_ends_before_it_says_so() {
        let (_scratch, file) = file(&[7; 10_000]);
        for (offset, length) in [(0, 10_001), (9_999, 2), (10_000, 1), (20_000, 5)] {
            assert_eq!(Pipe::new().unwrap().put(b"header", &file, offset, length), Ok(false));
        }
    }

    #[test]
    fn what_holds_fits_and_more_is_refused() {
        let (_scratch, file) = file(&vec![1; 2 << 20]);
        let mut pipe = Pipe::new().unwrap();
        let most = (pipe.room - 2) * pipe.page;
        assert!(pipe.holds(most) && !pipe.holds(most + 1));
        assert_eq!(pipe.put(b"header", &file, 1, most), Ok(true));
        assert_eq!(Pipe::new().unwrap().put(b"header", &file, 0, 2 << 20), Err(Errno::AGAIN));
    }
}
