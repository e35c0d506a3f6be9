//! What an input is, by its first bytes, and how it becomes a file that can be read in place.

use std::io::{self, Read, Write};

use mica_layer::tar::header::Header;

use crate::TransportError;
use crate::error::{LooksLike, io_error};

/// Bytes that [`sniff`] wants to see; fewer are enough if the input has no more.
pub const SNIFF_LEN: usize = 512;

/// The outermost form of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveForm {
    /// A tar that [`open_archive`](crate::open_archive) reads in place.
    Tar,
    /// gzip: [`spool`] first.
    Gzip,
    /// zstd: [`spool`] first.
    Zstd,
    /// Nothing that is read here.
    Other(LooksLike),
}

/// Tells the form of an input from its first [`SNIFF_LEN`] bytes.
#[must_use]
pub fn sniff(prefix: &[u8]) -> ArchiveForm {
    const MAGICS: [(&[u8], ArchiveForm); 9] = [
        (b"\x1f\x8b", ArchiveForm::Gzip),
        (b"\x28\xb5\x2f\xfd", ArchiveForm::Zstd),
        (b"\xfd7zXZ\0", ArchiveForm::Other(LooksLike::Compressed("xz"))),
        (b"BZh", ArchiveForm::Other(LooksLike::Compressed("bzip2"))),
        (b"PK\x03\x04", ArchiveForm::Other(LooksLike::Kind("a zip archive"))),
        (b"\x7fELF", ArchiveForm::Other(LooksLike::Kind("a program"))),
        (b"hsqs", ArchiveForm::Other(LooksLike::Kind("a squashfs image"))),
        (b"QFI\xfb", ArchiveForm::Other(LooksLike::Kind("a qcow2 disk image"))),
        (b"#!", ArchiveForm::Other(LooksLike::Kind("a script"))),
    ];
    if prefix.is_empty() {
        return ArchiveForm::Other(LooksLike::Empty);
    }
    // A tar is told first by its checksum: the name of its first entry could begin like anything.
    if prefix.first_chunk().map(Header::new).is_some_and(|header| header.is_zero() || header.checksum_is_right()) {
        return ArchiveForm::Tar;
    }
    if let Some((_, form)) = MAGICS.iter().find(|(magic, _)| prefix.starts_with(magic)) {
        return *form;
    }
    // Skippable frames (0x184D2A50 to 0x184D2A5F) may come before the first zstd frame (RFC 8878, 3.1.2).
    if let [first, 0x2a, 0x4d, 0x18, ..] = prefix
        && first & 0xf0 == 0x50
    {
        return ArchiveForm::Zstd;
    }
    ArchiveForm::Other(match prefix.trim_ascii_start().first() {
        Some(b'{' | b'[') => LooksLike::Kind("JSON"),
        _ => LooksLike::Unknown,
    })
}

/// Decompresses an input of any form into `into` and returns the bytes written, `max` at most. Reading stops at an input
/// whose form cannot become an archive.
///
/// # Errors
/// [`TransportError::NotAnArchive`] for what is no tar, [`TransportError::Layer`] for bad compressed data,
/// [`TransportError::TooLarge`] for more than `max` bytes.
pub fn spool(input: impl Read + Send, into: &mut dyn Write, max: u64) -> Result<u64, TransportError> {
    let reading = |source| io_error("read the archive", source);
    let (prefix, input) = with_prefix(input).map_err(reading)?;
    if let ArchiveForm::Other(looks_like) = sniff(&prefix) {
        return Err(TransportError::NotAnArchive { looks_like });
    }
    // The end of a tar where its beginning should be: nothing is in it, and what follows may never end (/dev/zero).
    if prefix.first_chunk().map(Header::new).is_some_and(|header| header.is_zero()) {
        return Err(TransportError::NotAnArchive { looks_like: LooksLike::Empty });
    }
    let bad = |source| TransportError::Layer { what: "archive".to_owned(), source };
    let plain = mica_layer::decoder(input).map_err(bad)?;
    // What is inside is looked at again: a gzip of a disk image should not be written out for nothing.
    let (prefix, plain) = with_prefix(plain).map_err(reading)?;
    match sniff(&prefix) {
        ArchiveForm::Tar => {}
        ArchiveForm::Gzip => return Err(compressed_twice("gzip")),
        ArchiveForm::Zstd => return Err(compressed_twice("zstd")),
        ArchiveForm::Other(looks_like) => return Err(TransportError::NotAnArchive { looks_like }),
    }
    let size = io::copy(&mut plain.take(max.saturating_add(1)), into)
        .map_err(|source| io_error("decompress the archive", source))?;
    match size > max {
        true => Err(TransportError::TooLarge { what: "the archive".to_owned(), size, max }),
        false => Ok(size),
    }
}

fn compressed_twice(form: &'static str) -> TransportError {
    TransportError::NotAnArchive { looks_like: LooksLike::Compressed(form) }
}

/// An input whose first bytes were looked at, whole again.
type Rewound<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

fn with_prefix<R: Read>(mut input: R) -> io::Result<(Vec<u8>, Rewound<R>)> {
    let mut prefix = Vec::new();
    input.by_ref().take(SNIFF_LEN as u64).read_to_end(&mut prefix)?;
    Ok((prefix.clone(), io::Cursor::new(prefix).chain(input)))
}
