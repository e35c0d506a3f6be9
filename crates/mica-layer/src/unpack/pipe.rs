//! A stream handed to two threads in large chunks, none of them copied.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// A multiple of a tar's block, so that headers rarely lie across two.
const CHUNK: usize = 256 * 1024;

/// How many chunks may wait: 2 MiB that both threads share, enough to bridge a slow system call.
const WAITING: usize = 8;

type Chunk = Arc<Vec<u8>>;

/// Where chunks go in.
pub(super) struct Feed(SyncSender<Option<Chunk>>);

/// Where they come out.
pub(super) struct Chunks {
    from: Receiver<Option<Chunk>>,
    now: Chunk,
    at: usize,
    ended: bool,
}

pub(super) fn pipe() -> (Feed, Chunks) {
    let (to, from) = sync_channel(WAITING);
    (Feed(to), Chunks { from, now: Chunk::default(), at: 0, ended: false })
}

/// Reads `input` to its end into both. Stops when either will have no more, which is no error here: it has one itself.
pub(super) fn feed(input: &mut dyn Read, one: Feed, other: Feed) -> io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let limit = u64::try_from(CHUNK).unwrap_or(u64::MAX);
        let read = (&mut *input).take(limit).read_to_end(&mut chunk)?;
        let chunk = (read > 0).then(|| Arc::new(chunk));
        let is_end = chunk.is_none();
        if one.0.send(chunk.clone()).is_err() || other.0.send(chunk).is_err() || is_end {
            return Ok(());
        }
    }
}

impl Chunks {
    /// All chunks, one after the other.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Chunk> + '_ {
        std::iter::from_fn(|| self.from.recv().ok().flatten())
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.now.len() && !self.ended {
            match self.from.recv() {
                Ok(Some(chunk)) => (self.now, self.at) = (chunk, 0),
                Ok(None) => self.ended = true,
                // Whoever reads the stream met an error. An end here would look like that of the tar.
                Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(self.now.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}
