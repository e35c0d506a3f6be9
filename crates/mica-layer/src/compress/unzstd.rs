//! Zstd, frame after frame, within a bounded window.

use std::io::{self, BufReader, Read};

use zstd::stream::read::Decoder;

use super::{Compression, CompressionError, Input, ZSTD_WINDOW_LOG_MAX};

/// Compressed bytes read at once: libzstd's own advice, a block and its header.
const BUFFER: usize = (128 << 10) + 3;

pub(super) struct Unzstd<'a>(Decoder<'static, BufReader<Input<'a>>>);

impl<'a> Unzstd<'a> {
    pub(super) fn new(input: Input<'a>) -> io::Result<Self> {
        let mut decoder = Decoder::with_buffer(BufReader::with_capacity(BUFFER, input))?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        Ok(Self(decoder))
    }

    fn explain(&self, error: io::Error) -> io::Error {
        let compression = Compression::Zstd;
        let input = self.0.get_ref();
        if input.get_ref().broke() {
            return error;
        }
        let read = input.get_ref().count().saturating_sub(input.buffer().len() as u64);
        match error.kind() {
            kind @ io::ErrorKind::UnexpectedEof => {
                io::Error::new(kind, CompressionError::Truncated { compression, read })
            }
            // The binding hands over libzstd's name of the error, not its number (ZSTD_error_frameParameter_windowTooLarge).
            _ if error.to_string().contains("requires too much memory") => {
                io::Error::new(io::ErrorKind::InvalidData, CompressionError::Window)
            }
            _ => io::Error::new(
                io::ErrorKind::InvalidData,
                CompressionError::Corrupt { compression, read, source: error },
            ),
        }
    }
}

impl Read for Unzstd<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).map_err(|error| self.explain(error))
    }
}
