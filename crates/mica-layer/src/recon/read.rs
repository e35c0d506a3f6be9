//! Reading the streams of a `recon`.

use mica_sys::File;

use super::corrupt;
use super::format::{BLOCK_HEADER, BLOCK_MAX, END_MAGIC, FOOTER, HEADER, MAGIC, OPERATIONS, STORED, TABLE, VERSION};
use crate::{LayerError, Result};

/// An opened `recon`.
#[derive(Debug)]
pub(super) struct Recon<'a> {
    file: &'a File,
    /// Where blocks end.
    end: u64,
    pub(super) table_at: u64,
    pub(super) bodies: u64,
    pub(super) tar: u64,
}

impl<'a> Recon<'a> {
    pub(super) fn open(file: &'a File) -> Result<Self> {
        let size = file.metadata().map_err(LayerError::sys("reading recon"))?.size;
        let end = size.checked_sub(FOOTER).filter(|end| *end >= HEADER).ok_or(corrupt("it is cut off"))?;
        let mut header = [0; 16];
        read_exact(file, &mut header, 0)?;
        if header.first_chunk() != Some(MAGIC) {
            return Err(corrupt("it does not begin with its magic"));
        }
        if u32_at(&header, 8) != VERSION || u32_at(&header, 12) != 0 {
            return Err(corrupt("it is of a version that this program does not know"));
        }
        let mut footer = [0; 32];
        read_exact(file, &mut footer, end)?;
        if footer.last_chunk() != Some(END_MAGIC) {
            return Err(corrupt("it is cut off"));
        }
        let number = |offset: usize| {
            footer.get(offset..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        Ok(Self { file, end, table_at: number(0), bodies: number(8), tar: number(16) })
    }

    /// The stream that the block at `at` belongs to, as far as blocks before `end` carry it; blocks of other streams
    /// between are passed over.
    pub(super) fn stream(&self, stream: u8, at: u64) -> Stream<'a> {
        Stream { file: self.file, end: self.end, stream, next: at, bytes: Vec::new(), at: 0 }
    }
}

/// One of the streams, read forwards.
pub(super) struct Stream<'a> {
    file: &'a File,
    end: u64,
    stream: u8,
    next: u64,
    bytes: Vec<u8>,
    at: usize,
}

impl Stream<'_> {
    /// What is at hand of the stream, at least one byte unless it is at its end.
    pub(super) fn fill(&mut self) -> Result<&[u8]> {
        while self.at >= self.bytes.len() && self.next < self.end {
            self.block()?;
        }
        Ok(self.bytes.get(self.at..).unwrap_or_default())
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.at += count;
    }

    fn block(&mut self) -> Result<()> {
        let mut header = [0; BLOCK_HEADER];
        read_exact(self.file, &mut header, self.next)?;
        let (unpacked, packed) = (u32_at(&header, 4), u32_at(&header, 8));
        let begin = self.next + u64::try_from(BLOCK_HEADER).unwrap_or(0);
        self.next = begin + u64::from(packed);
        if self.next > self.end {
            return Err(corrupt("a block runs past its end"));
        }
        match header.first_chunk() {
            Some([stream, 0, 0, 0]) if *stream == self.stream => {}
            Some([OPERATIONS | STORED | TABLE, 0, 0, 0]) => return Ok(()),
            _ => return Err(corrupt("a block is of an unknown stream")),
        }
        let unpacked = usize::try_from(unpacked).ok().filter(|length| *length <= BLOCK_MAX);
        let unpacked = unpacked.ok_or(corrupt("a block is too long"))?;
        // Longer than this no packing of `BLOCK_MAX` bytes is.
        let packed = usize::try_from(packed).ok().filter(|length| *length <= 2 * BLOCK_MAX);
        let mut frame = vec![0; packed.ok_or(corrupt("a block is too long"))?];
        read_exact(self.file, &mut frame, begin)?;
        self.bytes = zstd::bulk::decompress(&frame, unpacked).map_err(|_| corrupt("a block does not unpack"))?;
        self.at = 0;
        if self.bytes.len() != unpacked {
            return Err(corrupt("a block does not unpack"));
        }
        Ok(())
    }

    /// The next byte; `None` at the end.
    pub(super) fn byte(&mut self) -> Result<Option<u8>> {
        let byte = self.fill()?.first().copied();
        self.consume(usize::from(byte.is_some()));
        Ok(byte)
    }

    pub(super) fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?.ok_or(corrupt("it is cut off"))?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(corrupt("a number is out of range"))
    }

    /// Hands the next `length` bytes on.
    pub(super) fn copy(&mut self, mut length: u64, mut to: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while length > 0 {
            let bytes = self.fill()?;
            let count = bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            to(bytes.get(..count).unwrap_or_default())?;
            if count == 0 {
                return Err(corrupt("it is cut off"));
            }
            self.consume(count);
            length -= u64::try_from(count).unwrap_or(0);
        }
        Ok(())
    }
}

fn read_exact(file: &File, mut into: &mut [u8], mut offset: u64) -> Result<()> {
    while !into.is_empty() {
        let read = file.read_at(into, offset).map_err(LayerError::sys("reading recon"))?;
        if read == 0 {
            return Err(corrupt("it is cut off"));
        }
        into = into.get_mut(read..).unwrap_or_default();
        offset += u64::try_from(read).unwrap_or(0);
    }
    Ok(())
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
