//! Gzip, member after member.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use super::{Compression, CompressionError, Input};

/// Compressed bytes read at once.
const BUFFER: usize = 128 << 10;

pub(super) struct Gunzip<'a>(State<'a>);

enum State<'a> {
    Member(Box<GzDecoder<BufReader<Input<'a>>>>),
    /// The end, or an error after which nothing more can be read.
    Over,
}

impl<'a> Gunzip<'a> {
    pub(super) fn new(input: Input<'a>) -> Self {
        Self(State::Member(Box::new(GzDecoder::new(BufReader::with_capacity(BUFFER, input)))))
    }

    /// Goes from the end of one member to the next; false at the end of all.
    fn next_member(&mut self) -> io::Result<bool> {
        let State::Member(ended) = std::mem::replace(&mut self.0, State::Over) else {
            return Ok(false);
        };
        let mut input = ended.into_inner();
        let mut padded = false;
        loop {
            let ahead = match input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                ahead => ahead?,
            };
            match ahead.first() {
                None => return Ok(false),
                Some(0) => {
                    let zeros = ahead.iter().take_while(|byte| **byte == 0).count();
                    input.consume(zeros);
                    padded = true;
                }
                Some(0x1f) if !padded => {
                    self.0 = State::Member(Box::new(GzDecoder::new(input)));
                    return Ok(true);
                }
                Some(_) => {
                    let read = consumed(&input);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, CompressionError::TrailingData { read }));
                }
            }
        }
    }
}

/// Bytes that the decoder has taken, those that are only buffered left out.
fn consumed(input: &BufReader<Input<'_>>) -> u64 {
    input.get_ref().count().saturating_sub(input.buffer().len() as u64)
}

fn explain(error: io::Error, input: &BufReader<Input<'_>>) -> io::Error {
    let compression = Compression::Gzip;
    if input.get_ref().broke() {
        return error;
    }
    let read = consumed(input);
    match error.kind() {
        kind @ io::ErrorKind::UnexpectedEof => io::Error::new(kind, CompressionError::Truncated { compression, read }),
        _ => io::Error::new(io::ErrorKind::InvalidData, CompressionError::Corrupt { compression, read, source: error }),
    }
}

impl Read for Gunzip<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let State::Member(member) = &mut self.0 else { return Ok(0) };
            match member.read(buf) {
                Ok(0) => {
                    if !self.next_member()? {
                        return Ok(0);
                    }
                }
                Ok(got) => return Ok(got),
                Err(error) => return Err(explain(error, member.get_ref())),
            }
        }
    }
}
