//! Holes: of which files the zeros are not worth writing.
//!
//! A sparse member is a liability: the OCI image specification advises against them ("File Attributes": tar programs do not
//! agree on them), and tar-split, by which Docker and podman give a layer's tar back, cannot say one, so that they cannot
//! push such a layer on (podman issue 25270). A file with little that is missing is therefore written whole. But a file of a
//! terabyte of nothing, as `/var/log/lastlog` is where users have large IDs, would cost a terabyte of disk: from
//! [`WORTH`] on its zeros are left out.
//!
//! What decides is the content alone, in units of [`UNIT`], and not where the file system keeps holes: a copy without them
//! packs to the same bytes.

use std::io::Seek;

use mica_sys::{File, SysError};

use crate::LayerError;
use crate::tar::sparse::Segment;

/// How many zeros are looked for at once; shorter runs of them are content.
const UNIT: u64 = 1 << 20;

/// Zeros that are worth a sparse member, in all.
const WORTH: u64 = 1 << 30;

/// Where the content of a file of `size` bytes is; `None` when it is to be written whole. The file is read from its start
/// afterwards.
pub(super) fn runs(file: &mut File, size: u64) -> Result<Option<Vec<Segment>>, LayerError> {
    let wrong = || LayerError::sys("looking for holes");
    let runs = runs_by(file, size, UNIT, WORTH).map_err(wrong())?;
    if size >= WORTH {
        file.rewind().map_err(LayerError::Read)?;
    }
    Ok(runs)
}

fn runs_by(file: &File, size: u64, unit: u64, worth: u64) -> Result<Option<Vec<Segment>>, SysError> {
    if size < worth {
        return Ok(None);
    }
    let mut runs: Vec<Segment> = Vec::new();
    let (mut at, mut zeros) = (0, 0);
    while at < size {
        // Holes read as zeros, and a file may have more of them than anybody could read.
        let data = file.next_data(at)?.unwrap_or(size).min(size);
        let from = if data == size { size } else { at.max(data - data % unit) };
        zeros += from - at;
        at = from;
        let length = unit.min(size - at);
        if is_zero(file, at, length)? {
            zeros += length;
        } else {
            match runs.last_mut().filter(|last| last.offset + last.length == at) {
                Some(last) => last.length += length,
                None => runs.push(Segment { offset: at, length }),
            }
        }
        at += length;
    }
    Ok((zeros >= worth).then_some(runs))
}

/// Whether there are nothing but zeros. A file that became shorter has something: it is found out when it is read.
fn is_zero(file: &File, at: u64, length: u64) -> Result<bool, SysError> {
    let mut buffer = [0; 4096];
    let mut left = length;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), at + (length - left))?;
        if read == 0 || buffer.iter().take(read).any(|byte| *byte != 0) {
            return Ok(false);
        }
        left -= u64::try_from(read).unwrap_or(0);
    }
    Ok(true)
}

/// Reads the runs of a file, one after the other.
pub(super) struct Runs<'a> {
    file: &'a File,
    left: std::slice::Iter<'a, Segment>,
    now: Segment,
}

impl<'a> Runs<'a> {
    pub(super) fn new(file: &'a File, runs: &'a [Segment]) -> Self {
        Self { file, left: runs.iter(), now: Segment { offset: 0, length: 0 } }
    }
}

impl std::io::Read for Runs<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.now.length == 0 {
            let Some(next) = self.left.next() else { return Ok(0) };
            self.now = *next;
        }
        let wanted = usize::try_from(self.now.length).unwrap_or(usize::MAX).min(buffer.len());
        let into = buffer.get_mut(..wanted).unwrap_or_default();
        let read = self.file.read_at(into, self.now.offset).map_err(std::io::Error::other)?;
        let count = u64::try_from(read).unwrap_or(0);
        (self.now.offset, self.now.length) = (self.now.offset + count, self.now.length - count);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::FileExt;

    use mica_sys::Dir;

    use super::*;

    const KIB: u64 = 1 << 10;

    /// A file of 64 KiB with bytes at these places; what lies between is a hole, or zeros that were written.
    fn file(place: &std::path::Path, name: &str, bytes: &[u64], has_holes: bool) -> File {
        let made = std::fs::File::create(place.join(name)).unwrap();
        if has_holes {
            made.set_len(64 * KIB).unwrap();
        } else {
            made.write_all_at(&[0; 64 << 10], 0).unwrap();
        }
        bytes.iter().for_each(|at| made.write_all_at(b"x", *at).unwrap());
        Dir::open(place).unwrap().open_file(name.as_bytes()).unwrap()
    }

    #[test]
    fn the_content_decides_and_not_where_the_disk_has_holes() {
        let place = tempfile::tempdir().unwrap();
        let segment = |from, to| Segment { offset: from * KIB, length: (to - from) * KIB };
        for (number, (bytes, runs)) in [
            (&[][..], Some(vec![])),
            (&[0], Some(vec![segment(0, 8)])),
            (&[64 * KIB - 1], Some(vec![segment(56, 64)])),
            (&[9 * KIB, 20 * KIB, 40 * KIB], Some(vec![segment(8, 24), segment(40, 48)])),
            // Less than 32 KiB of zeros in whole units is not worth it.
            (&[0, 8 * KIB, 16 * KIB, 24 * KIB, 33 * KIB], None),
        ]
        .into_iter()
        .enumerate()
        {
            for has_holes in [true, false] {
                let file = file(place.path(), &format!("{number}-{has_holes}"), bytes, has_holes);
                assert_eq!(runs_by(&file, 64 * KIB, 8 * KIB, 32 * KIB).unwrap(), runs, "{bytes:?} {has_holes}");
            }
        }
        let file = file(place.path(), "small", &[], true);
        assert_eq!(runs_by(&file, 64 * KIB, 8 * KIB, 65 * KIB).unwrap(), None);
    }

    #[test]
    fn runs_are_read_one_after_the_other() {
        let place = tempfile::tempdir().unwrap();
        let file = file(place.path(), "f", &[KIB, 2 * KIB], true);
        let runs = [Segment { offset: KIB, length: 1 }, Segment { offset: 2 * KIB, length: 2 }];
        let mut read = Vec::new();
        Runs::new(&file, &runs).read_to_end(&mut read).unwrap();
        assert_eq!(read, b"xx\0");
    }
}
