//! The compression around a layer's tar: recognised by content when it is read, deterministic when it is written.
//!
//! A blob says what it is by its first bytes; media types and file names are not asked, since both lie in the field.
//! Gzip may have several members (as pigz and eStargz write) and zeros after the last one (as tapes leave); zstd may
//! have several frames and skippable ones (as zstd:chunked writes). Whatever else follows is an error, as a second
//! half that is silently dropped would be.

use std::fmt;
use std::io::{self, Read, Write};

use flate2::GzBuilder;

use crate::{LayerError, Limits};

mod gunzip;
mod input;
#[cfg(test)]
mod tests;
mod unzstd;

use input::Input;

/// The level that gzip is written with; gzip's own default.
const GZIP_LEVEL: u32 = 6;

/// The level that zstd is written with; zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// "Unknown" in RFC 1952's list of operating systems: the bytes must not tell which machine wrote them.
const GZIP_OS_UNKNOWN: u8 = 255;

/// How the bytes of a layer's tar are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Compression {
    /// As they are.
    #[default]
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// `plain`, `gzip`, `zstd`
impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Why compressed bytes cannot be read or written. Where a [`Decoder`] is read, it is what the [`io::Error`] holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompressionError {
    /// A format that layers do not come in.
    #[error("compressed with {name}, which is not read here; decompress it first: {command}")]
    Unsupported {
        /// What the first bytes say.
        name: &'static str,
        /// A command that turns it into something that is read.
        command: &'static str,
    },
    /// The input ends where more must follow.
    #[error("{compression} data is cut off after {read} bytes")]
    Truncated {
        /// What was being read.
        compression: Compression,
        /// Compressed bytes that were there.
        read: u64,
    },
    /// The input is not what its first bytes said, or a checksum differs.
    #[error("{compression} data is corrupt, {read} bytes in or shortly before")]
    Corrupt {
        /// What was being read.
        compression: Compression,
        /// Compressed bytes that were looked at.
        read: u64,
        /// What the decoder said.
        source: io::Error,
    },
    /// Something else follows the last gzip member.
    #[error("the gzip data is followed by something else, {read} bytes in")]
    TrailingData {
        /// Compressed bytes before it.
        read: u64,
    },
    /// A zstd frame asks for more memory than [`Limits::window_bytes`] allows.
    #[error(
        "the zstd data needs a window above the limit of {limit} bytes; zstd -19 or less, without --long, makes smaller ones"
    )]
    Window {
        /// The limit.
        limit: u64,
    },
    /// The input could not be read at all.
    #[error("cannot read the first bytes")]
    Read {
        /// Why.
        source: io::Error,
    },
    /// The compressed bytes could not be written.
    #[error("cannot write {compression} data")]
    Write {
        /// What was being written.
        compression: Compression,
        /// Why.
        source: io::Error,
    },
}

/// First bytes of formats that people try and that layers do not come in.
const UNSUPPORTED: &[(&[u8], &str, &str)] = &[
    (b"\xfd7zXZ\0", "xz", "xz -d"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4 -d"),
    (b"LZIP\x01", "lzip", "lzip -d"),
    (b"\x89LZO\0\r\n\x1a\n", "lzop", "lzop -d"),
    (b"\x1f\x9d", "compress", "uncompress"),
    (b"PK\x03\x04", "zip", "unzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z", "7z x"),
];

/// What `head`, the first [`Input::HEAD`] bytes or all there are, begins.
fn recognise(head: &[u8]) -> Result<Compression, CompressionError> {
    if head.starts_with(b"\x1f\x8b\x08") {
        return Ok(Compression::Gzip);
    }
    match head {
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => return Ok(Compression::Zstd),
        // A tar may well begin with a file named "BZh1": the block's magic (pi, or its root for an empty file) decides.
        [b'B', b'Z', b'h', b'1'..=b'9', b'1' | 0x17, b'A' | b'r', b'Y' | b'E', ..] => {
            return Err(CompressionError::Unsupported { name: "bzip2", command: "bzip2 -d" });
        }
        _ => {}
    }
    match UNSUPPORTED.iter().find(|(magic, _, _)| head.starts_with(magic)) {
        Some((_, name, command)) => Err(CompressionError::Unsupported { name, command }),
        None => Ok(Compression::Plain),
    }
}

/// The bytes of a tar, whatever its compression.
///
/// An error of the input comes out as it is; what is wrong with the compressed bytes comes out as an [`io::Error`]
/// that holds a [`CompressionError`].
pub struct Decoder<'a>(State<'a>);

enum State<'a> {
    Plain(Input<'a>),
    Gzip(gunzip::Gunzip<'a>),
    Zstd(unzstd::Unzstd<'a>),
}

/// As [`decoder_within`] the default limits.
///
/// # Errors
/// As of [`decoder_within`].
pub fn decoder<'a>(input: impl Read + Send + 'a) -> Result<Decoder<'a>, LayerError> {
    decoder_within(input, &Limits::default())
}

/// Reads the first bytes of `input` and finds what decompresses it, with the memory that `limits` allow. An empty input is
/// plain.
///
/// # Errors
/// [`CompressionError::Unsupported`] for a compression that is recognised and not read; the error of `input`.
pub fn decoder_within<'a>(input: impl Read + Send + 'a, limits: &Limits) -> Result<Decoder<'a>, LayerError> {
    let input = Input::new(Box::new(input)).map_err(|source| CompressionError::Read { source })?;
    Ok(Decoder(match recognise(input.head())? {
        Compression::Plain => State::Plain(input),
        Compression::Gzip => State::Gzip(gunzip::Gunzip::new(input)),
        Compression::Zstd => {
            let unzstd = unzstd::Unzstd::new(input, limits.window_bytes);
            State::Zstd(unzstd.map_err(|source| CompressionError::Read { source })?)
        }
    }))
}

impl Decoder<'_> {
    /// Which compression was found.
    #[must_use]
    pub const fn compression(&self) -> Compression {
        match self.0 {
            State::Plain(_) => Compression::Plain,
            State::Gzip(_) => Compression::Gzip,
            State::Zstd(_) => Compression::Zstd,
        }
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            State::Plain(input) => input.read(buf),
            State::Gzip(gunzip) => gunzip.read(buf),
            State::Zstd(unzstd) => unzstd.read(buf),
        }
    }
}

impl fmt::Debug for Decoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Decoder").field(&self.compression()).finish()
    }
}

/// Compresses what is written to it. The same bytes give the same bytes, however they are cut into writes: no time, no
/// name, no machine.
pub struct Encoder<W: Write> {
    sink: Sink<W>,
    /// What waits to be a whole [`PIECE`]: what deflate makes of a stream depends on how it is cut.
    held: Vec<u8>,
}

/// What the compressors are given at once.
const PIECE: usize = 128 << 10;

enum Sink<W: Write> {
    Plain(W),
    Gzip(flate2::write::GzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

/// An encoder that writes `compression` to `out`. It must be finished.
///
/// # Errors
/// [`CompressionError::Write`] when the compressor has no memory.
pub fn encoder<W: Write>(out: W, compression: Compression) -> Result<Encoder<W>, LayerError> {
    let sink = match compression {
        Compression::Plain => Sink::Plain(out),
        Compression::Gzip => Sink::Gzip(
            GzBuilder::new()
                .mtime(0)
                .operating_system(GZIP_OS_UNKNOWN)
                .write(out, flate2::Compression::new(GZIP_LEVEL)),
        ),
        Compression::Zstd => Sink::Zstd(
            zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)
                .and_then(|mut encoder| encoder.include_checksum(true).map(|()| encoder))
                .map_err(|source| CompressionError::Write { compression, source })?,
        ),
    };
    Ok(Encoder { sink, held: Vec::new() })
}

impl<W: Write> Sink<W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Gzip(gzip) => gzip.write_all(bytes),
            Self::Zstd(zstd) => zstd.write_all(bytes),
        }
    }
}

impl<W: Write> Encoder<W> {
    /// Which compression is written.
    #[must_use]
    pub const fn compression(&self) -> Compression {
        match self.sink {
            Sink::Plain(_) => Compression::Plain,
            Sink::Gzip(_) => Compression::Gzip,
            Sink::Zstd(_) => Compression::Zstd,
        }
    }

    /// Writes the end of the stream and gives the output back. Without this the output is cut off.
    ///
    /// # Errors
    /// [`CompressionError::Write`] when the output takes no more.
    pub fn finish(mut self) -> Result<W, LayerError> {
        let compression = self.compression();
        let out = self.sink.write_all(&self.held).and_then(|()| match self.sink {
            Sink::Plain(mut out) => out.flush().map(|()| out),
            Sink::Gzip(gzip) => gzip.finish(),
            Sink::Zstd(zstd) => zstd.finish(),
        });
        Ok(out.map_err(|source| CompressionError::Write { compression, source })?)
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if let Sink::Plain(out) = &mut self.sink {
            return out.write(buf);
        }
        if self.held.len() == PIECE {
            self.sink.write_all(&self.held)?;
            self.held.clear();
        }
        let taken = buf.len().min(PIECE - self.held.len());
        self.held.extend_from_slice(buf.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    /// Flushes a plain output. A compressed stream has no place to stop before its end: what is flushed into it would
    /// change its bytes.
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Plain(out) => out.flush(),
            Sink::Gzip(_) | Sink::Zstd(_) => Ok(()),
        }
    }
}

impl<W: Write> fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Encoder").field(&self.compression()).finish()
    }
}
