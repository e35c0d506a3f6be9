//! Writing `recon` while the tar passes by.

use std::io::Write;

use super::corrupt;
use super::format::{
    BLOCK_HEADER, BLOCK_MAX, BODY, BODY_RUNS, BODY_STORED, BODY_WHOLE, END_MAGIC, HEADER, LITERAL, MAGIC, OPERATIONS,
    STORED, TABLE, VERSION,
};
use crate::tar::sparse::Segment;
use crate::{LayerError, Result};

/// The level that blocks are packed with: headers shrink to a tenth at any, and this one is never what a load waits for.
const LEVEL: i32 = 1;

/// Where a body of the tar is when all is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyPlace<'a> {
    /// In the file of an index record.
    File {
        /// The record's number.
        record: u32,
        /// How long the body is.
        length: u64,
        /// Where in the file its bytes are; `None` for its first bytes.
        runs: Option<&'a [Segment]>,
    },
    /// In `recon`.
    Stored {
        /// What [`ReconWriter::store`] gave.
        offset: u64,
        /// How long the body is.
        length: u64,
    },
}

/// A `recon` in the making.
pub struct ReconWriter<W> {
    out: W,
    written: u64,
    operations: Vec<u8>,
    packer: zstd::bulk::Compressor<'static>,
    tar: u64,
}

impl<W> std::fmt::Debug for ReconWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReconWriter").field("written", &self.written).field("tar", &self.tar).finish_non_exhaustive()
    }
}

impl<W: Write> ReconWriter<W> {
    /// Begins one.
    ///
    /// # Errors
    /// [`LayerError::Write`].
    pub fn new(out: W) -> Result<Self> {
        let packer = zstd::bulk::Compressor::new(LEVEL).map_err(LayerError::Write)?;
        let mut this = Self { out, written: 0, operations: Vec::with_capacity(BLOCK_MAX), packer, tar: 0 };
        let header = [&MAGIC[..], &VERSION.to_le_bytes(), &[0; 4]].concat();
        debug_assert_eq!(HEADER, as_u64(header.len()));
        this.put(&header)?;
        Ok(this)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(LayerError::Write)?;
        self.written += as_u64(bytes.len());
        Ok(())
    }

    fn block(&mut self, stream: u8, bytes: &[u8]) -> Result<()> {
        let packed = self.packer.compress(bytes).map_err(LayerError::Write)?;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| corrupt("a block is too long"));
        let header = [&[stream, 0, 0, 0][..], &length(bytes)?.to_le_bytes(), &length(&packed)?.to_le_bytes()].concat();
        debug_assert_eq!(BLOCK_HEADER, header.len());
        self.put(&header)?;
        self.put(&packed)
    }

    fn make_room(&mut self, wanted: usize) -> Result<()> {
        if self.operations.len() + wanted > BLOCK_MAX && !self.operations.is_empty() {
            let operations = std::mem::take(&mut self.operations);
            self.block(OPERATIONS, &operations)?;
            self.operations = operations;
            self.operations.clear();
        }
        Ok(())
    }

    /// The next bytes of the tar are these.
    ///
    /// # Errors
    /// [`LayerError::Write`].
    pub fn literal(&mut self, bytes: &[u8]) -> Result<()> {
        for part in bytes.chunks(BLOCK_MAX / 2) {
            self.make_room(part.len() + 11)?;
            self.operations.push(LITERAL);
            varint(&mut self.operations, as_u64(part.len()));
            self.operations.extend_from_slice(part);
            self.tar += as_u64(part.len());
        }
        Ok(())
    }

    /// The next `length` bytes of the tar are a body, whose place [`ReconWriter::finish`] is told.
    ///
    /// # Errors
    /// [`LayerError::Write`].
    pub fn body(&mut self, length: u64) -> Result<()> {
        self.make_room(1)?;
        self.operations.push(BODY);
        self.tar += length;
        Ok(())
    }

    /// Keeps the bytes of a body that `diff/` is about to lose: what `next` gives until it gives nothing. Gives their
    /// place.
    ///
    /// # Errors
    /// [`LayerError::Write`], and those of `next`.
    pub fn store(&mut self, mut next: impl FnMut(&mut Vec<u8>) -> Result<()>) -> Result<u64> {
        let place = self.written;
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            next(&mut buffer)?;
            if buffer.is_empty() {
                return Ok(place);
            }
            for part in buffer.chunks(BLOCK_MAX) {
                self.block(STORED, part)?;
            }
        }
    }

    /// Writes the rest, with the places of all bodies in the order in which they came, and gives `out` back.
    ///
    /// # Errors
    /// [`LayerError::Write`].
    pub fn finish<'a>(mut self, bodies: impl IntoIterator<Item = BodyPlace<'a>>) -> Result<W> {
        let operations = std::mem::take(&mut self.operations);
        if !operations.is_empty() {
            self.block(OPERATIONS, &operations)?;
        }
        let (table_at, mut count) = (self.written, 0u64);
        let mut table = Vec::new();
        for body in bodies {
            count += 1;
            match body {
                BodyPlace::File { record, length, runs: None } => {
                    table.push(BODY_WHOLE);
                    varint(&mut table, u64::from(record));
                    varint(&mut table, length);
                }
                BodyPlace::File { record, runs: Some(runs), .. } => {
                    table.push(BODY_RUNS);
                    varint(&mut table, u64::from(record));
                    varint(&mut table, as_u64(runs.len()));
                    for run in runs {
                        varint(&mut table, run.offset);
                        varint(&mut table, run.length);
                    }
                }
                BodyPlace::Stored { offset, length } => {
                    table.push(BODY_STORED);
                    varint(&mut table, offset);
                    varint(&mut table, length);
                }
            }
            while table.len() >= BLOCK_MAX {
                let rest = table.split_off(BLOCK_MAX);
                self.block(TABLE, &table)?;
                table = rest;
            }
        }
        if !table.is_empty() {
            self.block(TABLE, &table)?;
        }
        let numbers = [table_at, count, self.tar].map(u64::to_le_bytes);
        self.put(&[numbers.as_flattened(), END_MAGIC].concat())?;
        Ok(self.out)
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while let [low, ..] = value.to_le_bytes()
        && value >= 0x80
    {
        out.push(low | 0x80);
        value >>= 7;
    }
    let [low, ..] = value.to_le_bytes();
    out.push(low);
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
