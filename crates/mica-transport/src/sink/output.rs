//! The tar under an archive that is being written.

use std::io::{self, Read, Write};

use mica_layer::LayerError;
use mica_layer::tar::Writer;

use crate::TransportError;
use crate::error::io_error;

/// A tar of files and directories that all look the same: root's, 1970.
pub(super) struct Output<'a> {
    /// `None` once it is finished.
    tar: Option<Writer<&'a mut dyn Write>>,
}

impl<'a> Output<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { tar: Some(Writer::new(out)) }
    }

    /// A directory; `name` without a slash at the end.
    pub(super) fn dir(&mut self, name: &str) -> Result<(), TransportError> {
        self.tar()?.append_directory(name.as_bytes()).map_err(writing(name))
    }

    /// A file that is in memory.
    pub(super) fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), TransportError> {
        self.tar()?.append_bytes(name.as_bytes(), bytes).map_err(writing(name))
    }

    /// A file of exactly `size` bytes; `what` is for messages.
    pub(super) fn body(
        &mut self,
        name: &str,
        size: u64,
        body: &mut dyn Read,
        what: &str,
    ) -> Result<(), TransportError> {
        let mut body = Kept { inner: body, error: None };
        let result = self.tar()?.append_file(name.as_bytes(), size, &mut body);
        match body.error {
            Some(error) => Err(io_error(format!("read {what}"), error)),
            None => result.map_err(writing(name)),
        }
    }

    /// The end marker.
    pub(super) fn finish(&mut self) -> Result<(), TransportError> {
        let tar = self.tar.take().ok_or(TransportError::Finished)?;
        tar.finish().map(drop).map_err(writing("the end"))
    }

    fn tar(&mut self) -> Result<&mut Writer<&'a mut dyn Write>, TransportError> {
        self.tar.as_mut().ok_or(TransportError::Finished)
    }
}

fn writing(name: &str) -> impl FnOnce(LayerError) -> TransportError {
    let what = format!("write {name} of the archive");
    |source| TransportError::Layer { what, source }
}

/// A reader that keeps its error, which the tar writer would wrap in its own.
struct Kept<'a> {
    inner: &'a mut dyn Read,
    error: Option<io::Error>,
}

impl Read for Kept<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buf).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            kind => {
                self.error = Some(error);
                io::Error::from(kind)
            }
        })
    }
}
