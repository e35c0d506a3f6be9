//! Zstd, frame after frame, within a bounded window.

use std::io::{self, BufReader, Read};

use zstd::stream::read::Decoder;

use super::{Compression, CompressionError, Input};

/// Compressed bytes read at once: libzstd's own advice, a block and its header.
const BUFFER: usize = (128 << 10) + 3;

/// The windows that libzstd can be told of on all machines (`ZSTD_WINDOWLOG_MIN`, `ZSTD_WINDOWLOG_MAX_32`), as powers of two.
const WINDOW_LOGS: std::ops::RangeInclusive<u32> = 10..=30;

pub(super) struct Unzstd<'a> {
    decoder: Decoder<'static, BufReader<Input<'a>>>,
    window_limit: u64,
}

impl<'a> Unzstd<'a> {
    pub(super) fn new(input: Input<'a>, window_limit: u64) -> io::Result<Self> {
        let mut decoder = Decoder::with_buffer(BufReader::with_capacity(BUFFER, input))?;
        let log = window_limit.checked_ilog2().unwrap_or(0);
        decoder.window_log_max(log.clamp(*WINDOW_LOGS.start(), *WINDOW_LOGS.end()))?;
        Ok(Self { decoder, window_limit })
    }

    fn explain(&self, error: io::Error) -> io::Error {
        let compression = Compression::Zstd;
        let input = self.decoder.get_ref();
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
                io::Error::new(io::ErrorKind::InvalidData, CompressionError::Window { limit: self.window_limit })
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
        self.decoder.read(buf).map_err(|error| self.explain(error))
    }
}
