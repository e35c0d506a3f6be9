//! The very tar back.

use std::io::Write;

use mica_core::{DiffId, DigestHasher, RelPath};
use mica_sys::{Dir, File};

use super::corrupt;
use super::format::{BODY, BODY_RUNS, BODY_STORED, BODY_WHOLE, HEADER, LITERAL, OPERATIONS, STORED, TABLE};
use super::read::{Recon, Stream};
use crate::index::Index;
use crate::ladder::open_path;
use crate::unpack::place;
use crate::{LayerError, Result};

const BUFFER: usize = 256 * 1024;

/// Writes the tar that the layer in `layer` was unpacked from, and gives its digest. The caller compares this with the
/// layer's: a `diff/` that was changed, or a damaged `recon`, makes another tar or an error.
///
/// # Errors
/// [`LayerError::Recon`] and [`LayerError::Index`] for damage, [`LayerError::Sys`] when a file cannot be read,
/// [`LayerError::Write`] from `out`, which then has the tar's beginning.
pub fn rebuild(layer: &Dir, out: &mut dyn Write) -> Result<DiffId> {
    let open = |name, what| layer.open_file(name).map_err(LayerError::sys(what));
    let index = Index::open(&open(place::INDEX, "opening the index")?)?;
    let file = open(place::RECON, "opening recon")?;
    let recon = Recon::open(&file)?;
    let diff = layer.open_dir(place::DIFF).map_err(LayerError::sys("opening diff"))?;
    let mut rebuild = Rebuild {
        out: Out { out, hasher: DigestHasher::default(), written: 0 },
        bodies: Bodies { diff, index, directory: None, buffer: vec![0; BUFFER] },
        table: recon.stream(TABLE, recon.table_at),
        left: recon.bodies,
        recon: &recon,
    };
    rebuild.run()?;
    if rebuild.left > 0 {
        return Err(corrupt("it has more bodies than it uses"));
    }
    let Out { hasher, written, .. } = rebuild.out;
    if written != recon.tar {
        return Err(corrupt("it does not make a tar of the length that it states"));
    }
    Ok(DiffId::from_sha256(hasher.finish()))
}

struct Out<'a> {
    out: &'a mut dyn Write,
    hasher: DigestHasher,
    written: u64,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.written += u64::try_from(bytes.len()).unwrap_or(0);
        self.out.write_all(bytes).map_err(LayerError::Write)
    }
}

struct Rebuild<'a> {
    recon: &'a Recon<'a>,
    table: Stream<'a>,
    left: u64,
    bodies: Bodies,
    out: Out<'a>,
}

impl Rebuild<'_> {
    fn run(&mut self) -> Result<()> {
        let mut operations = self.recon.stream(OPERATIONS, HEADER);
        while let Some(operation) = operations.byte()? {
            match operation {
                LITERAL => {
                    let length = operations.varint()?;
                    operations.copy(length, |bytes| self.out.put(bytes))?;
                }
                BODY => self.body()?,
                _ => return Err(corrupt("an operation is unknown")),
            }
            // A damaged one must not fill a disk before it is found out.
            if self.out.written > self.recon.tar {
                return Err(corrupt("it does not make a tar of the length that it states"));
            }
        }
        Ok(())
    }

    fn body(&mut self) -> Result<()> {
        self.left = self.left.checked_sub(1).ok_or(corrupt("it has fewer bodies than it uses"))?;
        let how = self.table.byte()?.ok_or(corrupt("its table of bodies is cut off"))?;
        let place = self.table.varint()?;
        match how {
            BODY_WHOLE => {
                let length = self.table.varint()?;
                let file = self.bodies.open(place)?;
                self.bodies.copy(&file, 0, length, &mut self.out)
            }
            BODY_RUNS => {
                let file = self.bodies.open(place)?;
                for _ in 0..self.table.varint()? {
                    let (offset, length) = (self.table.varint()?, self.table.varint()?);
                    self.bodies.copy(&file, offset, length, &mut self.out)?;
                }
                Ok(())
            }
            BODY_STORED => {
                let length = self.table.varint()?;
                self.recon.stream(STORED, place).copy(length, |bytes| self.out.put(bytes))
            }
            _ => Err(corrupt("a body is of an unknown kind")),
        }
    }
}

/// The files of `diff/`, by their records.
struct Bodies {
    diff: Dir,
    index: Index,
    /// The directory that the last one was in: neighbours in a tar often share it.
    directory: Option<(RelPath, Dir)>,
    buffer: Vec<u8>,
}

impl Bodies {
    fn open(&mut self, record: u64) -> Result<File> {
        let record = u32::try_from(record).map_err(|_| corrupt("a body is of a record that the index has not"))?;
        let path = self.index.record(record)?.path()?;
        let (parent, name) = path.split().ok_or(corrupt("a body is that of the root"))?;
        let wrong = LayerError::sys("reading diff");
        let directory = match self.directory.take_if(|(path, _)| *path == parent) {
            Some((_, directory)) => directory,
            None => match open_path(&self.diff, &parent, Dir::open_dir) {
                Ok(directory) => directory,
                Err(error) => return Err(wrong(error)),
            },
        };
        let file = directory.open_file(name.as_bytes());
        self.directory = Some((parent, directory));
        file.map_err(wrong)
    }

    fn copy(&mut self, file: &File, mut offset: u64, mut length: u64, out: &mut Out<'_>) -> Result<()> {
        while length > 0 {
            let wanted = usize::try_from(length).unwrap_or(usize::MAX).min(self.buffer.len());
            let into = self.buffer.get_mut(..wanted).unwrap_or_default();
            let read = file.read_at(into, offset).map_err(LayerError::sys("reading diff"))?;
            if read == 0 {
                return Err(corrupt("a file in diff is shorter than it was"));
            }
            out.put(into.get(..read).unwrap_or_default())?;
            let read = u64::try_from(read).unwrap_or(0);
            offset = offset.checked_add(read).ok_or(corrupt("a run is out of range"))?;
            length -= read;
        }
        Ok(())
    }
}
