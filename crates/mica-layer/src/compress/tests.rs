use std::io::{Cursor, Read as _, Write as _};

use super::*;

/// Hands out one byte at a time, as a slow pipe does.
struct Dribble<R>(R);

impl<R: Read> Read for Dribble<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = buf.len().min(1);
        self.0.read(&mut buf[..most])
    }
}

fn text() -> Vec<u8> {
    (0..60_000_u32).flat_map(|n| format!("{n} is {}\n", n.wrapping_mul(2_654_435_761)).into_bytes()).collect()
}

fn compressed(bytes: &[u8], compression: Compression) -> Vec<u8> {
    let mut encoder = encoder(Vec::new(), compression).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    decoder(bytes).map_err(io::Error::other)?.read_to_end(&mut out)?;
    Ok(out)
}

fn complaint(bytes: &[u8]) -> CompressionError {
    let error = read(bytes).unwrap_err();
    *error.into_inner().expect("an error of ours").downcast::<CompressionError>().expect("a CompressionError")
}

fn skippable(content: &[u8]) -> Vec<u8> {
    [&[0x5a, 0x2a, 0x4d, 0x18], &u32::try_from(content.len()).unwrap().to_le_bytes()[..], content].concat()
}

const ALL: [Compression; 3] = [Compression::Plain, Compression::Gzip, Compression::Zstd];

#[test]
fn what_is_written_is_recognised_and_read() {
    for compression in ALL {
        for bytes in [Vec::new(), b"a".to_vec(), text()] {
            let stored = compressed(&bytes, compression);
            let mut reading = decoder(Dribble(Cursor::new(stored))).unwrap();
            assert_eq!(reading.compression(), compression);
            let mut back = Vec::new();
            reading.read_to_end(&mut back).unwrap();
            assert!(back == bytes, "{compression}: {} bytes became {}", bytes.len(), back.len());
        }
    }
}

#[test]
fn the_same_bytes_compress_to_the_same_bytes() {
    for compression in ALL {
        let mut pieces = encoder(Vec::new(), compression).unwrap();
        for piece in text().chunks(777) {
            pieces.write_all(piece).unwrap();
            pieces.flush().unwrap();
        }
        assert!(pieces.finish().unwrap() == compressed(&text(), compression), "{compression}");
    }
    // RFC 1952: deflate, no flags, no time, no hint of the level, unknown system.
    assert_eq!(compressed(b"x", Compression::Gzip)[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
}

#[test]
fn gzip_members_follow_each_other_and_zeros_may_end_them() {
    let member = compressed(b"one ", Compression::Gzip);
    let empty = compressed(b"", Compression::Gzip);
    let two = [&member[..], &empty, &member, &empty].concat();
    assert_eq!(read(&two).unwrap(), b"one one ");
    assert_eq!(read(&[&two[..], &[0; 300_000]].concat()).unwrap(), b"one one ");
}

#[test]
fn what_follows_the_last_gzip_member_is_not_dropped_silently() {
    let member = compressed(b"one", Compression::Gzip);
    let length = member.len() as u64;
    for (tail, after) in [(&b"garbage"[..], 0), (b"\0\0garbage", 2), (&[&[0][..], &member].concat(), 1)] {
        match complaint(&[&member[..], tail].concat()) {
            CompressionError::TrailingData { read } => assert_eq!(read, length + after),
            other => panic!("{other:?}"),
        }
    }
    let half = [&member[..], &member[..5]].concat();
    assert!(matches!(complaint(&half), CompressionError::Truncated { .. }));
}

#[test]
fn zstd_frames_follow_each_other_with_skippable_ones_between() {
    let frame = compressed(b"one ", Compression::Zstd);
    for frames in [
        [&frame[..], &frame].concat(),
        [&skippable(b"first"), &frame[..], &skippable(&[7; 200_000]), &frame].concat(),
        [&frame[..], &skippable(b""), &frame, &skippable(b"table of contents")].concat(),
    ] {
        assert_eq!(decoder(&frames[..]).unwrap().compression(), Compression::Zstd);
        assert_eq!(read(&frames).unwrap(), b"one one ");
    }
    assert_eq!(read(&skippable(b"nothing else")).unwrap(), b"");
}

#[test]
fn every_cut_is_called_one() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let whole = compressed(&text(), compression);
        let ends = [4, 11, 17, whole.len() / 2, whole.len() - 9, whole.len() - 5, whole.len() - 1];
        for end in ends {
            match complaint(&whole[..end]) {
                CompressionError::Truncated { compression: found, read } => {
                    assert_eq!((found, read), (compression, end as u64));
                }
                other => panic!("{compression} cut at {end}: {other:?}"),
            }
        }
    }
    let cut_skippable = &skippable(b"0123456789")[..12];
    assert!(matches!(complaint(cut_skippable), CompressionError::Truncated { .. }));
    assert_eq!(
        complaint(&compressed(b"x", Compression::Gzip)[..15]).to_string(),
        "gzip data is cut off after 15 bytes"
    );
}

#[test]
fn a_changed_byte_is_corruption() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let whole = compressed(&text(), compression);
        // In the middle, and in the checksum at the end (the last four bytes of gzip are the length).
        for at in [whole.len() / 2, whole.len() - 2] {
            let mut changed = whole.clone();
            changed[at] ^= 0x40;
            assert!(
                matches!(complaint(&changed), CompressionError::Corrupt { .. }),
                "{compression} changed at {at} of {}",
                whole.len()
            );
        }
    }
    assert!(matches!(
        complaint(&[&compressed(b"x", Compression::Zstd)[..], b"garbage"].concat()),
        CompressionError::Corrupt { .. } | CompressionError::Truncated { .. }
    ));
}

#[test]
fn a_frame_with_a_huge_window_is_refused_by_name() {
    let windowed = |log: u32| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.long_distance_matching(true).unwrap();
        encoder.window_log(log).unwrap();
        encoder.write_all(b"x").unwrap();
        // Without it the frame is a single segment, whose window is its content.
        encoder.flush().unwrap();
        encoder.finish().unwrap()
    };
    assert_eq!(read(&windowed(25)).unwrap(), b"x");
    let refused = complaint(&windowed(26));
    assert!(matches!(refused, CompressionError::Window { limit: 0x200_0000 }));
    assert_eq!(
        refused.to_string(),
        "the zstd data needs a window above the limit of 33554432 bytes; zstd -19 or less, without --long, makes smaller ones"
    );
    let more = Limits { window_bytes: 64 << 20, ..Limits::default() };
    let mut bytes = Vec::new();
    decoder_within(&windowed(26)[..], &more).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"x");
    let less = Limits { window_bytes: 1, ..Limits::default() };
    assert!(decoder_within(&windowed(25)[..], &less).unwrap().read_to_end(&mut bytes).is_err());
}

#[test]
fn other_compressions_are_named_with_what_to_do() {
    for (magic, name) in [
        (&b"\xfd7zXZ\0\0\x04"[..], "xz"),
        (b"BZh91AY&SY", "bzip2"),
        (b"BZh9\x17rE8P\x90", "bzip2"),
        (b"\x04\x22\x4d\x18\x64\x40", "lz4"),
        (b"LZIP\x01", "lzip"),
        (b"PK\x03\x04\x14\0", "zip"),
    ] {
        let error = decoder(magic).unwrap_err();
        match error {
            LayerError::Compression(CompressionError::Unsupported { name: found, .. }) => assert_eq!(found, name),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        decoder(&b"\xfd7zXZ\0\0\x04"[..]).unwrap_err().to_string(),
        "compressed with xz, which is not read here; decompress it first: xz -d"
    );
    for plain in [&b""[..], b"B", b"BZh9", b"BZh9 is the name of a file", b"\x1f\x8b", b"\x28\xb5\x2f", b"PK"] {
        assert_eq!(decoder(plain).unwrap().compression(), Compression::Plain, "{plain:?}");
        assert_eq!(read(plain).unwrap(), plain);
    }
}

#[test]
fn a_broken_connection_is_not_called_a_broken_file() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "peer went away"))
        }
    }
    for compression in ALL {
        let stored = compressed(&text(), compression);
        let mut reading = decoder(Cursor::new(stored[..50_000].to_vec()).chain(Broken)).unwrap();
        let error = reading.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "peer went away", "{compression}");
    }
    assert!(matches!(decoder(Broken), Err(LayerError::Compression(CompressionError::Read { .. }))));
}

#[test]
fn a_full_disk_is_an_error_of_the_encoder() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for compression in [Compression::Gzip, Compression::Zstd] {
        let mut encoder = encoder(Full, compression).unwrap();
        let refused = encoder.write_all(&text().repeat(4)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        match encoder.finish() {
            Err(LayerError::Compression(CompressionError::Write { compression: named, .. })) => {
                assert_eq!(named, compression);
            }
            _ => panic!("{compression} was finished on a full disk"),
        }
    }
}
