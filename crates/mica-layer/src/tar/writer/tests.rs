use mica_core::{Timestamp, Xattrs};
use proptest::prelude::*;

use super::*;
use crate::Limits;
use crate::tar::{Archive, Entry, EntryKind};

fn attrs() -> Attrs {
    Attrs { mode: 0o644, mtime: Timestamp { secs: 7, nanos: 0 }, ..Attrs::default() }
}

fn written(member: &Member<'_>, content: &[u8]) -> Vec<u8> {
    let mut tar = Writer::new(Vec::new());
    tar.append(member, &mut &*content).unwrap();
    let size = tar.written();
    let tar = tar.finish().unwrap();
    assert_eq!(tar.len() as u64, size + END_SIZE);
    assert_eq!(tar.len() % BLOCK, 0);
    tar
}

fn parsed(tar: &[u8]) -> (Entry, Vec<u8>) {
    let mut archive = Archive::new(tar, &Limits::default());
    let entry = archive.next_entry().unwrap().expect("an entry");
    let mut content = Vec::new();
    while let Some(piece) = archive.next_piece().unwrap() {
        content.extend_from_slice(piece.bytes);
    }
    assert_eq!(archive.next_entry().unwrap(), None);
    (entry, content)
}

/// How many blocks come before the content: one, or more with a PAX header.
fn header_blocks(member: &Member<'_>) -> usize {
    header::encode(member).len() / BLOCK
}

fn file<'a>(path: &'a [u8], attrs: &'a Attrs) -> Member<'a> {
    Member { path, kind: MemberKind::File(0), attrs }
}

#[test]
fn a_plain_file_has_the_header_that_posix_describes() {
    let mut tar = Writer::new(Vec::new());
    tar.append_bytes(b"etc/motd", b"hello\n").unwrap();
    let tar = tar.finish().unwrap();
    let mut expected = vec![0; 4 * BLOCK];
    for (at, bytes) in [
        (0, &b"etc/motd"[..]),
        (100, b"0000644\0"),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, b"00000000006\0"),
        (136, b"00000000000\0"),
        (148, b"010642\0 "),
        (156, b"0"),
        (257, b"ustar\x0000"),
        (329, b"0000000\0"),
        (337, b"0000000\0"),
        (512, b"hello\n"),
    ] {
        expected[at..at + bytes.len()].copy_from_slice(bytes);
    }
    assert!(tar == expected, "{}", tar[..BLOCK].escape_ascii());
}

#[test]
fn pax_says_only_what_ustar_cannot() {
    let plain = attrs();
    let component = [b'n'; 100];
    let fits = [&[b'p'; 155][..], b"/", &component].concat();
    for path in [&b"a"[..], &component, &fits, b"\xc3\xa4", b"\xff"] {
        assert_eq!(header_blocks(&file(path, &plain)), 1, "{}", path.escape_ascii());
    }
    let too_long = [&[b'p'; 156][..], b"/", &component].concat();
    for path in [&[b'n'; 101][..], &too_long] {
        assert_eq!(header_blocks(&file(path, &plain)), 3, "{}", path.escape_ascii());
    }
    let limits = |uid, secs, nanos| Attrs { uid, mtime: Timestamp { secs, nanos }, ..attrs() };
    for (attrs, blocks) in [
        (limits(0o777_7777, 0o777_7777_7777, 0), 1),
        (limits(0o1000_0000, 0, 0), 3),
        (limits(0, 0o1_0000_0000_0000, 0), 3),
        (limits(0, -1, 0), 3),
        (limits(0, 0, 1), 3),
    ] {
        assert_eq!(header_blocks(&file(b"a", &attrs)), blocks, "{attrs:?}");
    }
    for (size, blocks) in [((8 << 30) - 1, 1), (8 << 30, 3)] {
        assert_eq!(header_blocks(&Member { path: b"a", kind: MemberKind::File(size), attrs: &plain }), blocks);
    }
    let target = [b't'; 101];
    for (target, blocks) in [(&target[..100], 1), (&target, 3)] {
        let member = Member { path: b"a", kind: MemberKind::Symlink(target), attrs: &plain };
        assert_eq!(header_blocks(&member), blocks);
    }
}

#[test]
fn records_are_sorted_and_count_their_own_length() {
    let mut attrs = Attrs { uid: 1 << 30, mtime: Timestamp { secs: -2, nanos: 750_000_000 }, ..attrs() };
    for (name, value) in [(&b"user.z"[..], &b"last\0="[..]), (b"user.a", b""), (b"user.e=f", b"\0\xff")] {
        attrs.xattrs.insert(name.to_vec(), value.to_vec());
    }
    let path = [b'\xff'; 101];
    let headers = header::encode(&file(&path, &attrs));
    let records: Vec<u8> = [
        &b"38 LIBARCHIVE.xattr.user.e%3Df=AP8\n"[..],
        b"24 SCHILY.xattr.user.a=\n",
        b"30 SCHILY.xattr.user.z=last\0=\n",
        b"21 hdrcharset=BINARY\n",
        b"15 mtime=-1.25\n",
        b"111 path=",
        &path,
        b"\n",
        b"18 uid=1073741824\n",
    ]
    .concat();
    let found = &headers[BLOCK..BLOCK + records.len()];
    // The first length is checked by arithmetic: a literal would only repeat what the code says.
    let first = b"LIBARCHIVE.xattr.user.e%3Df=AP8\n".len() + 3;
    let records = [format!("{first}").as_bytes(), &records[2..]].concat();
    assert!(found == records, "{}\n{}", found.escape_ascii(), records.escape_ascii());
}

#[test]
fn lengths_around_a_power_of_ten_count_themselves() {
    for value in [89, 90, 91, 92, 93, 988, 989, 990, 991, 992] {
        let attrs = Attrs { xattrs: Xattrs::from([(b"a".to_vec(), vec![b'v'; value])]), ..attrs() };
        let (entry, _) = parsed(&written(&file(b"f", &attrs), b""));
        assert_eq!(entry.xattrs, attrs.xattrs, "{value}");
    }
}

#[test]
fn what_was_announced_is_what_must_come() {
    for (announced, there, more) in [(3, 4, true), (4, 3, false), (0, 1, true), (PIECE as u64, 1, false)] {
        let mut tar = Writer::new(Vec::new());
        match tar.append_file(b"f", announced, &mut &vec![7; there][..]) {
            Err(LayerError::TarWrite(WriteError::Size { path, size, more: found })) => {
                assert_eq!((&path[..], size, found), ("f", announced, more));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        WriteError::Size { path: "f".to_owned(), size: 3, more: true }.to_string(),
        "\"f\" has more than the 3 bytes that were announced"
    );
}

#[test]
fn what_cannot_be_read_or_written_is_an_error() {
    #[derive(Debug)]
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let read = Writer::new(Vec::new()).append_file(b"f", 3, &mut Broken);
    assert!(matches!(read, Err(LayerError::TarWrite(WriteError::Content { .. }))), "{read:?}");
    let mut full = Writer::new(Broken);
    let written = full.append_bytes(b"f", &vec![0; 1 << 20]);
    assert!(matches!(written, Err(LayerError::TarWrite(WriteError::Output { .. }))), "{written:?}");
    assert!(matches!(full.finish(), Err(LayerError::TarWrite(WriteError::Output { .. }))));
}

/// Paths around every limit of ustar, of bytes that make up names.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![8 => b'a'..=b'z', 1 => 1u8..=255].prop_map(|byte| if byte == b'/' { b'_' } else { byte });
    let name = prop::collection::vec(byte, 1..130);
    prop::collection::vec(name, 1..4).prop_map(|names| names.join(&b'/'))
}

fn any_attrs() -> impl Strategy<Value = Attrs> {
    let number = prop_oneof![0..10u32, 2_097_150..2_097_154u32, 0..u32::MAX];
    let secs = prop_oneof![-3..3i64, (1i64 << 33) - 2..(1i64 << 33) + 2, -(1i64 << 60)..1i64 << 60];
    let nanos = prop_oneof![Just(0), Just(1), Just(999_999_999), 0..1_000_000_000u32];
    let name = prop_oneof!["user\\.[a-z=%D0-9]{1,12}", "security\\.capability"].prop_map(String::into_bytes);
    let xattrs = prop::collection::btree_map(name, prop::collection::vec(any::<u8>(), 0..80), 0..3);
    (0..=0o7777u32, number.clone(), number, secs, nanos, xattrs).prop_map(|(mode, uid, gid, secs, nanos, xattrs)| {
        Attrs { mode, uid, gid, mtime: Timestamp { secs, nanos }, xattrs }
    })
}

proptest! {
    #[test]
    fn our_parser_reads_back_what_was_written(
        path in path(),
        target in path(),
        attrs in any_attrs(),
        content in prop::collection::vec(any::<u8>(), 0..1200),
        rdev in (any::<u32>(), any::<u32>()),
        which in 0..7usize,
    ) {
        let rdev = Rdev { major: rdev.0, minor: rdev.1 };
        let (kind, expected) = [
            (MemberKind::File(content.len() as u64), EntryKind::File),
            (MemberKind::Directory, EntryKind::Directory),
            (MemberKind::Symlink(&target), EntryKind::Symlink),
            (MemberKind::HardLink(&target), EntryKind::Link),
            (MemberKind::CharDevice(rdev), EntryKind::CharDevice),
            (MemberKind::BlockDevice(rdev), EntryKind::BlockDevice),
            (MemberKind::Fifo, EntryKind::Fifo),
        ][which];
        let tar = written(&Member { path: &path, kind, attrs: &attrs }, &content);
        let (entry, body) = parsed(&tar);
        prop_assert_eq!(entry.kind, expected);
        let slash = if expected == EntryKind::Directory { &b"/"[..] } else { b"" };
        prop_assert_eq!(entry.path, [&path[..], slash].concat());
        prop_assert_eq!((entry.mode, entry.uid, entry.gid), (attrs.mode, attrs.uid, attrs.gid));
        prop_assert_eq!(entry.mtime, attrs.mtime);
        match expected {
            EntryKind::File => prop_assert_eq!(body, content),
            EntryKind::Symlink => prop_assert_eq!(entry.link, target),
            EntryKind::Link => {
                prop_assert_eq!(entry.link, target);
                prop_assert_eq!(&entry.xattrs, &Xattrs::new());
            }
            EntryKind::CharDevice | EntryKind::BlockDevice => prop_assert_eq!(entry.device, rdev),
            _ => {}
        }
        if expected != EntryKind::Link {
            prop_assert_eq!(entry.xattrs, attrs.xattrs);
        }
    }
}
