//! A reader that proves what it has read.

use std::io::{self, Read};

use mica_core::{BlobDigest, DigestHasher};

use crate::TransportError;
use crate::error::io_error;

/// Hashes what passes through and answers the end of the stream only when digest and size are the expected ones.
///
/// A wrong digest is an [`io::Error`] that carries [`TransportError::WrongDigest`]. A consumer that stops before the
/// end, as a decompressor may, calls [`finish`](Self::finish).
#[derive(Debug)]
pub struct Verified<R> {
    inner: R,
    hasher: DigestHasher,
    found: Option<BlobDigest>,
    what: String,
    expected: Option<BlobDigest>,
    size: u64,
    seen: u64,
}

impl<R: Read> Verified<R> {
    /// Wraps `inner`, of which exactly `size` bytes with the digest `expected` should come, or with any digest where none
    /// is known. `what` is for messages.
    pub fn new(inner: R, what: impl Into<String>, expected: impl Into<Option<BlobDigest>>, size: u64) -> Self {
        let expected = expected.into();
        Self { inner, hasher: DigestHasher::default(), found: None, what: what.into(), expected, size, seen: 0 }
    }

    /// Reads what is left and checks the whole.
    ///
    /// # Errors
    /// [`TransportError::WrongDigest`], [`TransportError::WrongSize`], or the error of the reader below.
    pub fn finish(mut self) -> Result<(), TransportError> {
        let what = self.what.clone();
        io::copy(&mut self, &mut io::sink()).map_err(|source| io_error(format!("read {what}"), source))?;
        Ok(())
    }

    fn check_end(&mut self) -> Result<(), TransportError> {
        if self.seen != self.size {
            return Err(self.wrong_size());
        }
        let Some(expected) = self.expected else { return Ok(()) };
        // Asked again after the end, the answer is the same: a bad end never turns into a good one.
        let found = match self.found {
            Some(found) => found,
            None => *self.found.insert(BlobDigest::from_sha256(std::mem::take(&mut self.hasher).finish())),
        };
        if found == expected {
            return Ok(());
        }
        Err(TransportError::WrongDigest { what: self.what.clone(), expected, found })
    }

    fn wrong_size(&self) -> TransportError {
        TransportError::WrongSize { what: self.what.clone(), expected: self.size, found: self.seen }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buf)?;
        if count == 0 {
            self.check_end().map_err(io::Error::other)?;
            return Ok(0);
        }
        self.seen = self.seen.saturating_add(count as u64);
        if self.seen > self.size {
            return Err(io::Error::other(self.wrong_size()));
        }
        if self.expected.is_some() {
            self.hasher.update(buf.get(..count).unwrap_or_default());
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], said: &[u8], size: u64) -> Result<(), TransportError> {
        Verified::new(bytes, "blob", BlobDigest::of(said), size).finish()
    }

    #[test]
    fn the_right_bytes_pass() {
        read(b"abc", b"abc", 3).unwrap();
        read(b"", b"", 0).unwrap();
    }

    #[test]
    fn other_bytes_are_named() {
        assert!(matches!(
            read(b"abd", b"abc", 3),
            Err(TransportError::WrongDigest { expected, found, .. })
                if expected == BlobDigest::of(b"abc") && found == BlobDigest::of(b"abd")
        ));
        assert!(matches!(read(b"ab", b"abc", 3), Err(TransportError::WrongSize { expected: 3, found: 2, .. })));
        assert!(matches!(read(b"abcd", b"abcd", 3), Err(TransportError::WrongSize { expected: 3, found: 4, .. })));
        assert!(matches!(read(b"", b"abc", 3), Err(TransportError::WrongSize { found: 0, .. })));
    }

    #[test]
    fn a_consumer_that_stops_early_still_learns_of_a_bad_tail() {
        let mut reader = Verified::new(&b"abcX"[..], "blob", BlobDigest::of(b"abcd"), 4);
        reader.read_exact(&mut [0; 3]).unwrap();
        assert!(matches!(reader.finish(), Err(TransportError::WrongDigest { .. })));
    }

    #[test]
    fn a_bad_end_stays_bad() {
        let mut reader = Verified::new(&b"abd"[..], "blob", BlobDigest::of(b"abc"), 3);
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
        assert!(reader.read(&mut [0; 8]).is_err());
        assert!(reader.finish().is_err());
    }

    #[test]
    fn an_empty_buffer_is_not_the_end() {
        let mut reader = Verified::new(&b"abc"[..], "blob", BlobDigest::of(b"abc"), 3);
        assert_eq!(reader.read(&mut []).unwrap(), 0);
        reader.finish().unwrap();
    }
}
