//! Where an archive goes: a file that is whole as soon as it has its name, or a stream.
//!
//! What is cut short by an error or a signal leaves nothing behind: the bytes go into a file without a name, and only when all of them are there
//! it gets one. Where the file system knows no such files they go into `NAME.PID.part`, which a kill leaves.

use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use mica_sys::{Dir, SysError};

use crate::error::{Error, Kind, Result};

/// What is written at once.
const BUFFER: usize = 256 << 10;

/// Writes to a stream, which `what` names in errors.
///
/// # Errors
/// `write`'s, and the stream's.
pub fn write_stream(
    stream: &mut dyn Write,
    what: impl Display,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, Noticing { inner: stream, full: false });
    let written = write(&mut out).and_then(|()| {
        out.flush().map_err(|error| {
            let kind = if is_full(&error) { Kind::NoSpace } else { Kind::System };
            // As text: half an archive is a failure, unlike half a listing, also where its reader went away.
            Error::caused(kind, error).while_(format_args!("write {what}"))
        })
    });
    // What is still in the buffer of an attempt that went wrong is wanted by nobody.
    let (stream, _) = out.into_parts();
    match written {
        Err(error) if stream.full => Err(error.hinted(format!("make room where {what} is, or write to another place"))),
        written => written,
    }
}

/// Writes a file that is complete when it has its name. What had the name before is replaced; what is no file, as a device, is written to.
///
/// # Errors
/// `write`'s, and what keeps the file from being written. No file, or the old one, is there then.
pub fn write_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let what = format!("{path:?}");
    let attempt = |error: SysError| Error::from(error).while_(format_args!("write {what}"));
    // A device or a pipe cannot be replaced.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let opened = std::fs::File::options().write(true).open(path);
        let mut file = opened.map_err(|error| Error::because(Kind::System, format!("write {what}"), error))?;
        return write_stream(&mut file, what, write);
    }
    let name = path.file_name().ok_or_else(|| Error::new(Kind::Usage, format!("{what} names no file")))?;
    let name = name.as_encoded_bytes();
    let dir = Dir::open(path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")));
    let dir = dir.map_err(attempt)?;
    let part = [name, format!(".{}.part", std::process::id()).as_bytes()].concat();
    let (mut file, mut named) = match dir.create_unnamed(0o666) {
        Ok(file) => (file, false),
        Err(_) => (dir.create_file(&part, 0o666).map_err(attempt)?, true),
    };
    let complete = || {
        write_stream(&mut file, &what, write)?;
        if !named {
            match dir.name_file(&file, name) {
                // A name can be given or replaced, and not both at once.
                Err(error) if error.is_exists() => dir.name_file(&file, &part).map_err(attempt)?,
                given => return given.map_err(attempt),
            }
            named = true;
        }
        dir.rename(&part, &dir, name).map_err(attempt)
    };
    let written = complete();
    if written.is_err() && named {
        // ignored: the error that is returned is the one that matters.
        match dir.unlink(&part) {
            Ok(()) | Err(_) => {}
        }
    }
    written
}

/// Remembers whether what is written to had no room, as the error that comes of it may speak of somewhere else.
struct Noticing<'a> {
    inner: &'a mut dyn Write,
    full: bool,
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

impl Write for Noticing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes);
        self.full |= written.as_ref().is_err_and(is_full);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.inner.flush();
        self.full |= flushed.as_ref().is_err_and(is_full);
        flushed
    }
}
