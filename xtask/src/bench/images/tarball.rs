//! A layer's tar, written entry by entry: ustar, with GNU's long names where a path is longer than a header takes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// A tar's block.
pub(super) const BLOCK: usize = 512;

/// A tar in the making. It must be closed.
#[derive(Debug)]
pub(super) struct Tarball {
    out: BufWriter<File>,
}

impl Tarball {
    pub(super) fn create(file: &Path) -> Result<Self> {
        let out = File::create(file).with_context(|| format!("cannot make {}", file.display()))?;
        Ok(Self { out: BufWriter::with_capacity(1 << 20, out) })
    }

    pub(super) fn directory(&mut self, path: &str) -> Result<()> {
        self.header(&format!("{path}/"), b'5', 0o755, 0, "")
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.header(path, b'0', mode, content.len(), "")?;
        self.raw(content)?;
        self.pad(content.len())
    }

    /// One more name of a file that came before.
    pub(super) fn link(&mut self, path: &str, to: &str) -> Result<()> {
        self.header(path, b'1', 0o755, 0, to)
    }

    /// Bytes as they are: entries of another tar.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).context("cannot write a tar")
    }

    /// Writes the end.
    pub(super) fn close(mut self) -> Result<()> {
        self.raw(&[0; 2 * BLOCK])?;
        self.out.flush().context("cannot write a tar")
    }

    fn pad(&mut self, length: usize) -> Result<()> {
        let rest = length.next_multiple_of(BLOCK) - length;
        self.raw([0; BLOCK].get(..rest).unwrap_or_default())
    }

    fn header(&mut self, path: &str, kind: u8, mode: u32, size: usize, link: &str) -> Result<()> {
        if path.len() > 100 {
            let name = [path.as_bytes(), b"\0"].concat();
            self.raw(&block("././@LongLink", b'L', 0, name.len(), ""))?;
            self.raw(&name)?;
            self.pad(name.len())?;
        }
        self.raw(&block(path, kind, mode, size, link))
    }
}

/// One header. What does not fit a field is cut.
fn block(path: &str, kind: u8, mode: u32, size: usize, link: &str) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, room: usize, bytes: &[u8]| {
        for (to, from) in block.iter_mut().skip(at).zip(bytes.iter().take(room)) {
            *to = *from;
        }
    };
    put(0, 100, path.as_bytes());
    put(100, 8, format!("{mode:07o}").as_bytes());
    put(108, 8, b"0000000");
    put(116, 8, b"0000000");
    put(124, 12, format!("{size:011o}").as_bytes());
    put(136, 12, format!("{:011o}", super::EPOCH).as_bytes());
    put(148, 8, b"        ");
    put(156, 1, &[kind]);
    put(157, 100, link.as_bytes());
    put(257, 8, b"ustar  ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    for (to, from) in block.iter_mut().skip(148).zip(format!("{sum:06o}\0").bytes()) {
        *to = from;
    }
    block
}

/// One entry of a tar as its bytes: what comes before a header and belongs to it, the header, and the padded body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

/// The entries of a whole tar, up to its end or to what is no header.
pub(super) fn entries(tar: &[u8]) -> Vec<Raw<'_>> {
    let mut found = Vec::new();
    let (mut begin, mut at) = (0, 0);
    while let Some(header) = tar.get(at..at + BLOCK)
        && header.first().is_some_and(|byte| *byte != 0)
    {
        let digits = header.get(124..135).unwrap_or_default();
        let size = std::str::from_utf8(digits).ok().and_then(|text| usize::from_str_radix(text.trim(), 8).ok());
        let Some(size) = size else { break };
        at += BLOCK + size.next_multiple_of(BLOCK);
        // Long names, and attributes of the entry that follows.
        if !matches!(header.get(156), Some(b'L' | b'K' | b'x')) {
            found.extend(tar.get(begin..at).map(Raw));
            begin = at;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::line::Line;

    #[test]
    fn another_tar_reads_what_is_written_and_entries_keep_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.tar");
        let long = format!("{}/file", "d".repeat(120));
        let mut tar = Tarball::create(&file).unwrap();
        tar.directory("bin").unwrap();
        tar.file("bin/sh", 0o755, b"#!").unwrap();
        tar.link("bin/true", "bin/sh").unwrap();
        tar.file(&long, 0o644, &[7; 1000]).unwrap();
        tar.close().unwrap();
        let listed = Line::new("tar").arg("-tvf").path(&file).env("TZ", "UTC").run().unwrap();
        let lines: Vec<&str> = listed.lines().collect();
        assert_eq!(lines[0], "drwxr-xr-x 0/0               0 2023-11-14 22:13 bin/");
        assert!(lines[1].ends_with("2 2023-11-14 22:13 bin/sh"));
        assert!(lines[2].ends_with("bin/true link to bin/sh"));
        assert!(lines[3].starts_with("-rw-r--r-- 0/0            1000") && lines[3].ends_with(&long), "{}", lines[3]);
        let bytes = std::fs::read(&file).unwrap();
        let lengths: Vec<usize> = entries(&bytes).iter().map(|entry| entry.0.len()).collect();
        assert_eq!(lengths, [512, 1024, 512, 512 * 3 + 1024]);
    }
}
