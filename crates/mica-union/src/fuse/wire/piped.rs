//! Answers whose body is a part of a file that nobody has read: a pipe holds it, with the header before it.

use mica_sys::fuse::{Device, Pipe};
use mica_sys::{Errno, File};

use super::OUT_HEADER;
use super::out::Reply;

/// Parts of files are read as ever where they are shorter. With a page cache that has everything, three calls of a pipe cost as much as two with one copy more at 16 to
/// 64 KiB; at 128 KiB they cost the server a fifth less.
const SHORTEST: usize = 64 * 1024;

/// The pipe of a thread, made when it is wanted first.
#[derive(Debug, Default)]
pub struct Piped {
    pipe: Option<Pipe>,
    /// Bytes of the answer in it, with its header.
    held: usize,
    /// No pipe is to be had.
    never: bool,
}

impl Piped {
    /// Lets the pipe hold `size` bytes of a file, or what there is of them, as the answer to `unique`. `None`: it does not, and the part is to be read.
    pub(super) fn hold(&mut self, unique: u64, file: &File, offset: u64, size: usize) -> Option<usize> {
        if size < SHORTEST || self.never {
            return None;
        }
        // The header comes first and says how much follows. A file that changes meanwhile is caught below.
        let there = file.metadata().ok()?.size.saturating_sub(offset);
        let length = usize::try_from(there).unwrap_or(usize::MAX).min(size);
        if length < SHORTEST {
            return None;
        }
        self.empty();
        if self.pipe.is_none() {
            self.pipe = Pipe::new().ok();
            self.never = !self.pipe.as_ref().is_some_and(|pipe| pipe.holds(SHORTEST));
        }
        let pipe = self.pipe.as_mut().filter(|pipe| pipe.holds(length))?;
        let header = Reply::new(unique, Ok(length)).header();
        self.held = OUT_HEADER + length;
        if pipe.put(&header, file, offset, length) == Ok(true) {
            return Some(length);
        }
        // What is wrong with the file, reading it tells.
        self.empty();
        None
    }

    /// Sends what it holds.
    ///
    /// # Errors
    /// As [`Device::write`].
    pub fn send(&mut self, device: &Device) -> Result<(), Errno> {
        let sent = self.pipe.as_mut().map_or(Err(Errno::IO), |pipe| pipe.send(device, self.held));
        if sent.is_ok() {
            self.held = 0;
        }
        sent
    }

    /// A pipe in which something was left is of no use any more.
    fn empty(&mut self) {
        if std::mem::take(&mut self.held) > 0 {
            self.pipe = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use mica_sys::Dir;

    use super::*;

    #[test]
    fn long_parts_are_held_and_short_ones_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("file"), vec![1; 200_000]).unwrap();
        let file = Dir::open(scratch.path()).unwrap().open_file(b"file").unwrap();
        let mut piped = Piped::default();
        for (offset, size, held) in [
            (0, SHORTEST - 1, None),
            (0, SHORTEST, Some(SHORTEST)),
            (0, 1 << 20, Some(200_000)),
            (1, 131_072, Some(131_072)),
            (100_000, 131_072, Some(100_000)),
            (190_000, 131_072, None),
            (300_000, 131_072, None),
            (u64::MAX, 131_072, None),
        ] {
            assert_eq!(piped.hold(7, &file, offset, size), held, "{size} bytes at {offset}");
        }
    }
}
