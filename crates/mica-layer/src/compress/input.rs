//! The compressed bytes: counted, with the first of them looked at ahead.

use std::io::{self, Read};

/// An input whose first bytes are known. It remembers whether an error was its own, so that a broken connection is
/// not taken for a broken file.
pub(super) struct Input<'a> {
    inner: Box<dyn Read + Send + 'a>,
    head: Vec<u8>,
    /// Bytes of the head that were handed out already.
    given: usize,
    /// All bytes that were handed out.
    read: u64,
    broke: bool,
}

impl<'a> Input<'a> {
    /// How many bytes are looked at ahead; enough for every magic number.
    pub(super) const HEAD: usize = 10;

    pub(super) fn new(mut inner: Box<dyn Read + Send + 'a>) -> io::Result<Self> {
        let mut head = Vec::with_capacity(Self::HEAD);
        // A pipe may hand out one byte at a time.
        inner.by_ref().take(Self::HEAD as u64).read_to_end(&mut head)?;
        Ok(Self { inner, head, given: 0, read: 0, broke: false })
    }

    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Bytes handed out so far.
    pub(super) const fn count(&self) -> u64 {
        self.read
    }

    /// Whether the last read ended in an error of the input itself.
    pub(super) const fn broke(&self) -> bool {
        self.broke
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let ahead = self.head.get(self.given..).unwrap_or_default();
        let got = if ahead.is_empty() {
            let got = self.inner.read(buf);
            self.broke = got.is_err();
            got?
        } else {
            let mut ahead = ahead;
            let got = ahead.read(buf)?;
            self.given += got;
            got
        };
        self.read += got as u64;
        Ok(got)
    }
}
