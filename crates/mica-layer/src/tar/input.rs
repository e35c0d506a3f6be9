//! The bytes of an archive in their order, with one block of foresight.

use std::io::{self, BufRead};

use super::BLOCK;

/// A stream and how far it has been read.
#[derive(Debug)]
pub(super) struct Input<R> {
    pub(super) inner: R,
    /// A block that was looked at and not yet taken: `held[held_from..held_to]`.
    held: [u8; BLOCK],
    held_from: usize,
    held_to: usize,
    pub(super) position: u64,
}

/// What stands where a block was asked for.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is matched where it is made and never kept")]
pub(super) enum Block {
    /// A block.
    Whole([u8; BLOCK]),
    /// Nothing: the stream ends here.
    End,
    /// The stream ends within the block. Those bytes have been taken.
    Cut,
}

impl<R: BufRead> Input<R> {
    pub(super) const fn new(inner: R) -> Self {
        Self { inner, held: [0; BLOCK], held_from: 0, held_to: 0, position: 0 }
    }

    /// The next bytes, at least one unless the stream is at its end; [`Input::consume`] takes them.
    pub(super) fn fill(&mut self) -> io::Result<&[u8]> {
        if self.held_from < self.held_to {
            return Ok(self.held.get(self.held_from..self.held_to).unwrap_or_default());
        }
        // A buffer that was filled is handed out again at no cost; asked twice because a borrow cannot leave the loop.
        while let Err(error) = self.inner.fill_buf() {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        self.inner.fill_buf()
    }

    pub(super) fn consume(&mut self, count: usize) {
        if self.held_from < self.held_to {
            self.held_from = self.held_to.min(self.held_from + count);
        } else {
            self.inner.consume(count);
        }
        self.position += as_u64(count);
    }

    /// Takes one block.
    pub(super) fn block(&mut self) -> io::Result<Block> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            let bytes = self.fill()?;
            let count = bytes.len().min(BLOCK - have);
            let (Some(into), Some(from)) = (block.get_mut(have..have + count), bytes.get(..count)) else { break };
            into.copy_from_slice(from);
            if count == 0 {
                return Ok(if have == 0 { Block::End } else { Block::Cut });
            }
            self.consume(count);
            have += count;
        }
        Ok(Block::Whole(block))
    }

    /// Shows the next block without taking it; `None` where the stream ends before it is whole.
    pub(super) fn peek(&mut self) -> io::Result<Option<&[u8; BLOCK]>> {
        let position = self.position;
        let mut have = 0;
        while have < BLOCK {
            let bytes = self.inner.fill_buf()?;
            let count = bytes.len().min(BLOCK - have);
            let (Some(into), Some(from)) = (self.held.get_mut(have..have + count), bytes.get(..count)) else { break };
            into.copy_from_slice(from);
            if count == 0 {
                break;
            }
            self.inner.consume(count);
            have += count;
        }
        (self.held_from, self.held_to, self.position) = (0, have, position);
        Ok((have == BLOCK).then_some(&self.held))
    }
}

impl<R: std::io::Read + io::Seek> Input<io::BufReader<R>> {
    /// Passes over `count` bytes, which the caller knows to be there.
    pub(super) fn seek_over(&mut self, count: u64) -> io::Result<()> {
        let held = count.min(as_u64(self.held_to - self.held_from));
        self.held_from += usize::try_from(held).unwrap_or(0);
        self.position += count;
        self.inner.seek_relative(i64::try_from(count - held).unwrap_or(i64::MAX))
    }
}

pub(super) fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
