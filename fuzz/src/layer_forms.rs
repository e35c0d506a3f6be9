//! A layer as tar, as directory, index and `recon`, and compressed.

use std::io::{Cursor, Read, Write};
use std::sync::OnceLock;

use mica_core::Layer;
use mica_layer::tar::{Archive, BLOCK, scan};
use mica_layer::{Compression, Index, LayerError, Limits, Pack, Unpack, decoder, encoder, pack, rebuild};
use mica_sys::Dir;

use crate::scratch::scratch;
use crate::seeds;

/// Limits that a run of a thousandth of a second stays within.
fn limits() -> Limits {
    Limits {
        content_bytes: 1 << 20,
        entries: 200,
        depth: 40,
        header_bytes: 64 << 10,
        xattr_bytes: 4 << 10,
        metadata_bytes: 256 << 10,
        ..Limits::default()
    }
}

/// The bytes with the checksum of each header made right, unless the first one asks for them as they are: a sum of the block
/// is nothing that mutations find.
fn sealed(data: &[u8]) -> Vec<u8> {
    let (how, bytes) = data.split_first().unwrap_or((&0, &[]));
    let mut bytes = bytes.to_vec();
    if how % 8 == 7 {
        return bytes;
    }
    for block in bytes.chunks_exact_mut(BLOCK) {
        let is_header = block[257..].starts_with(b"ustar") || (block[0] != 0 && block[148..156].contains(&0));
        if is_header {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    bytes
}

/// An archive: what is handed out makes it again, and a listing without the bodies agrees with a reading.
pub fn tar(data: &[u8]) {
    let bytes = sealed(data);
    let mut archive = Archive::new(&bytes[..], &limits()).with_framing();
    let (mut entries, mut again) = (Vec::new(), Vec::new());
    loop {
        let Ok(entry) = archive.next_entry() else { return };
        again.append(archive.framing());
        let Some(entry) = entry else { break };
        let (mut end, mut stored) = (0, 0);
        loop {
            let Ok(piece) = archive.next_piece() else { return };
            let Some(piece) = piece else { break };
            assert!(piece.offset >= end, "a file is written backwards");
            end = piece.offset + piece.bytes.len() as u64;
            stored += piece.bytes.len() as u64;
            again.extend_from_slice(piece.bytes);
        }
        assert!(end <= entry.size && stored == entry.stored, "a body is not as long as its entry says");
        entries.push(entry);
    }
    while let Ok(Some(bytes)) = archive.trailing() {
        again.extend_from_slice(bytes);
    }
    assert!(again == bytes, "framing and bodies make another archive");
    if let Ok(listed) = scan(Cursor::new(&bytes), &limits()) {
        assert!(listed == entries, "a listing differs from a reading");
    }
}

/// A layer: refused, or unpacked to what gives the very tar again; and what is packed of it is packed the same once more.
pub fn unpack(data: &[u8]) {
    let tar = sealed(data);
    let (_place, layer) = scratch();
    if !comes_back(&tar, &layer) {
        return;
    }
    // A file with holes is packed whole, which is more than fits here.
    let index = Index::open(&layer.open_file(b"index").expect("it was just read")).expect("it was just read");
    if index.content_size() > limits().content_bytes {
        return;
    }
    // What the disk has is no longer the stranger's spelling: it can be said and read again without a loss.
    let Some(packed) = packed(&layer) else { return };
    let (_place, again) = scratch();
    assert!(comes_back(&packed, &again), "what was packed is refused");
    assert!(self::packed(&again).as_deref() == Some(&packed[..]), "it is packed as another");
}

/// Unpacks; where that is done, the tar and the index must hold.
fn comes_back(tar: &[u8], layer: &Dir) -> bool {
    let how = Unpack { limits: limits(), ..Unpack::default() };
    let Ok(said) = mica_layer::unpack(&mut &tar[..], layer, &how) else { return false };
    let mut again = Vec::new();
    let diff_id = rebuild(layer, &mut again).expect("a layer that was made can be rebuilt");
    assert!(diff_id == said.diff_id && again == tar, "another tar comes back");
    let index = Index::open(&layer.open_file(b"index").expect("the index is there")).expect("the index can be read");
    index.verify().expect("the index is whole");
    assert!(index.entries().count() as u64 == said.entries, "the index has another count");
    true
}

/// The tar of what `diff/` has; `None` for names that no tar can say.
fn packed(layer: &Dir) -> Option<Vec<u8>> {
    let diff = layer.open_dir(b"diff").expect("diff is there");
    let mut tar = Vec::new();
    match pack(&diff, &Pack::default(), &mut tar) {
        Ok(_) => Some(tar),
        Err(LayerError::Pack(_) | LayerError::Tree(_)) => None,
        Err(other) => panic!("{other:?}"),
    }
}

/// A layer of each kind of entry, whose `recon` and index are what those targets damage.
pub(crate) fn small_layer() -> &'static Dir {
    static LAYER: OnceLock<(tempfile::TempDir, Dir)> = OnceLock::new();
    let (_, dir) = LAYER.get_or_init(|| {
        let (place, dir) = scratch();
        let tar = [&seeds::kinds()[..], b"what follows the end"].concat();
        mica_layer::unpack(&mut &tar[..], &dir, &Unpack::default()).expect("the seed is a layer");
        (place, dir)
    });
    dir
}

/// A `recon`: as it is, or its streams alone, packed into blocks here, which mutations would not find their way through.
pub fn recon(data: &[u8]) {
    let (how, bytes) = data.split_first().unwrap_or((&0, &[]));
    let file = match how % 2 {
        0 => bytes.to_vec(),
        _ => framed(bytes),
    };
    let layer = small_layer();
    if layer.unlink(b"recon").is_ok() {
        let mut out = layer.create_file(b"recon", 0o600).expect("recon can be made");
        out.write_all(&file).expect("recon can be written");
    }
    let mut tar = Bounded(0);
    if rebuild(layer, &mut tar).is_ok() {
        let stated = file.last_chunk::<32>().and_then(|footer| footer[16..24].first_chunk().copied());
        assert_eq!(stated.map(u64::from_le_bytes), Some(tar.0), "the tar is not as long as stated");
    }
}

/// `recon::format` around streams: two bytes for the length of the operations, these, stored bodies of 64 bytes, the table.
fn framed(bytes: &[u8]) -> Vec<u8> {
    let (length, rest) = bytes.split_at_checked(2).unwrap_or((&[0, 0], &[]));
    let length = usize::from(u16::from_le_bytes([length[0], length[1]])).min(rest.len());
    let (operations, rest) = rest.split_at(length);
    let (stored, table) = rest.split_at(rest.len().min(64));
    let mut file = [&b"MICARCON"[..], &1u32.to_le_bytes(), &[0; 4]].concat();
    let mut table_at = 0;
    for (stream, bytes) in [(1u8, operations), (2, stored), (3, table)] {
        table_at = file.len() as u64;
        let packed = zstd::bulk::compress(bytes, 1).expect("bytes can be compressed");
        file.extend_from_slice(&[stream, 0, 0, 0]);
        file.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
        file.extend_from_slice(&u32::try_from(packed.len()).unwrap_or(0).to_le_bytes());
        file.extend_from_slice(&packed);
    }
    // As many bodies as operations ask for, and as long a tar as they make, so that both ends can be reached.
    let bodies = operations.iter().filter(|byte| **byte == 1).count() as u64;
    let tar = u64::from(table.last().copied().unwrap_or(0));
    for number in [table_at, bodies, tar] {
        file.extend_from_slice(&number.to_le_bytes());
    }
    file.extend_from_slice(b"RCONMICA");
    file
}

/// Takes a megabyte and no more: how long a damaged tar may become is what its `recon` states.
struct Bounded(u64);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        if self.0 > 1 << 20 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An index: each entry can be read or is refused, and a whole one is in order and finds what it lists.
pub fn index(data: &[u8]) {
    let Ok(index) = Index::from_bytes(data.to_vec()) else { return };
    let is_whole = index.verify().is_ok();
    let numbers = [index.implicit(), index.needs_parent(), index.whiteouts(), index.content_size()];
    assert!(numbers.len() == 4 && u64::from(index.len()) <= data.len() as u64, "more entries than bytes");
    let mut last = None;
    for entry in index.entries().take(10_000) {
        let Ok((path, entry)) = entry else { continue };
        let found = index.find(&path);
        if is_whole {
            assert!(last.as_ref().is_none_or(|last| *last < path), "the index is out of order");
            let found = found.expect("a listed path can be looked for").expect("a listed path is found");
            assert_eq!(found.entry().expect("it can be read"), entry);
        }
        drop(index.names(&path));
        last = Some(path);
    }
    for number in 0..index.len().min(1_000) {
        let Ok(record) = index.record(number) else { continue };
        drop((record.parent(), record.end()));
        assert!(record.children().take(1_000).count() <= 1_000);
    }
}

/// A compressed blob, read as far as a megabyte; and the same bytes compressed here.
pub fn compression(data: &[u8]) {
    let mut bytes = Vec::new();
    if let Ok(decoder) = decoder(data) {
        drop(decoder.take(1 << 20).read_to_end(&mut bytes));
    }
    for compression in [Compression::Gzip, Compression::Zstd] {
        let mut encoder = encoder(Vec::new(), compression).expect("there is memory");
        encoder.write_all(data).expect("memory takes all");
        let packed = encoder.finish().expect("memory takes all");
        let mut again = Vec::new();
        let mut decoder = decoder(&packed[..]).expect("what was compressed is recognised");
        assert_eq!(decoder.compression(), compression);
        decoder.read_to_end(&mut again).expect("what was compressed can be read");
        assert!(again == data, "{compression} gives other bytes back");
    }
}
