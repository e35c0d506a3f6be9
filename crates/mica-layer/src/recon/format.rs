//! `recon` on disk, version 1: the bytes of a layer's tar that `diff/` does not hold, and how to put all of it together.
//!
//! ```text
//! header   16 bytes: magic "MICARCON", u32 version 1, u32 zero
//! blocks   each: u8 stream, 3 zeros, u32 length unpacked (at most 1 MiB), u32 length packed, one zstd frame
//! footer   32 bytes: u64 offset of the first block of the body table, u64 bodies, u64 length of the tar,
//!          magic "RCONMICA"
//! ```
//!
//! All numbers are little-endian; `varint` is LEB128, at most ten bytes. The blocks carry three kinds of streams, each
//! of which runs on from block to block:
//!
//! * **Operations** (stream 1), which make the tar from its first byte to its last:
//!   `0`, varint length, bytes: these bytes; `1`: the next body of the table.
//! * **Stored bodies** (stream 2): the bytes of bodies whose file `diff/` does not have any more, since a later entry
//!   replaced it. The blocks of one body follow each other.
//! * **The body table** (stream 3), after all other blocks; for each body in the order of the tar:
//!   `0`, varint record, varint length: the first bytes of the file at this record of the index;
//!   `1`, varint record, varint count, then for each run varint offset and varint length: runs of that file;
//!   `2`, varint offset in `recon`, varint length: a stored body, whose first block stands there.
//!
//! A reader trusts nothing of it: lengths are checked, and what comes out is the layer only if it has the layer's
//! `DiffID`.

pub(super) const MAGIC: &[u8; 8] = b"MICARCON";
pub(super) const END_MAGIC: &[u8; 8] = b"RCONMICA";
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER: u64 = 16;
pub(super) const FOOTER: u64 = 32;
pub(super) const BLOCK_HEADER: usize = 12;
/// The most bytes that a block unpacks to.
pub(super) const BLOCK_MAX: usize = 1 << 20;

pub(super) const OPERATIONS: u8 = 1;
pub(super) const STORED: u8 = 2;
pub(super) const TABLE: u8 = 3;

pub(super) const LITERAL: u8 = 0;
pub(super) const BODY: u8 = 1;

pub(super) const BODY_WHOLE: u8 = 0;
pub(super) const BODY_RUNS: u8 = 1;
pub(super) const BODY_STORED: u8 = 2;
