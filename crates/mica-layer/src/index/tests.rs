use std::io::{Seek, SeekFrom};

use proptest::prelude::*;

use super::*;

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn directory(implicit: bool) -> LayerEntry {
    let kind = Kind::Directory { opaque: !implicit, implicit };
    LayerEntry::Node(Node { kind, attrs: Attrs { mode: 0o1777, ..Attrs::default() }, link_group: None })
}

fn file(size: u64) -> LayerEntry {
    let attrs = Attrs {
        mode: 0o4755,
        uid: 3_000_000_000,
        gid: 1 << 21,
        mtime: Timestamp { secs: -5, nanos: 999_999_999 },
        xattrs: [(b"user.a".to_vec(), b"\0=".to_vec()), (b"user.b".to_vec(), Vec::new())].into(),
    };
    LayerEntry::Node(Node { kind: Kind::File { size, content: Some([7; 32]) }, attrs, link_group: Some(4) })
}

fn node(kind: Kind) -> LayerEntry {
    LayerEntry::Node(Node { kind, attrs: Attrs::default(), link_group: None })
}

/// One of everything, in order.
fn sample() -> Vec<(RelPath, LayerEntry)> {
    vec![
        (RelPath::root(), directory(true)),
        (path("a"), directory(false)),
        (path("a/b"), directory(true)),
        (path("a/b/c"), file(1)),
        (path("a/b/d"), LayerEntry::Whiteout),
        (path("a/x"), node(Kind::Symlink { target: b"/../\xff".to_vec() })),
        (path("a-b"), node(Kind::CharDevice(Rdev { major: 5, minor: 0xffff_ffff }))),
        (path("a0"), node(Kind::BlockDevice(Rdev { major: 0, minor: 0 }))),
        (path("b"), node(Kind::Fifo)),
        (path("c"), node(Kind::LinkToParent { target: path("usr/bin/x") })),
        (path("d"), node(Kind::File { size: 0, content: None })),
        (path("e"), directory(false)),
    ]
}

/// A writer of a file that has no name.
fn writer(records: usize) -> (IndexWriter, File) {
    let place = tempfile::tempdir().unwrap();
    let file = mica_sys::Dir::open(place.path()).unwrap().create_file(b"index", 0o600).unwrap();
    let same = file.try_clone().unwrap();
    (IndexWriter::new(file, u32::try_from(records).unwrap()).unwrap(), same)
}

fn written(entries: &[(RelPath, LayerEntry)]) -> Vec<u8> {
    let (mut writer, mut file) = writer(entries.len());
    for (number, (path, entry)) in entries.iter().enumerate() {
        assert_eq!(writer.add(path, entry).unwrap() as usize, number);
    }
    writer.count_content(1);
    writer.finish().unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_all(u64::MAX).unwrap()
}

#[test]
fn what_is_written_is_read() {
    let index = Index::from_bytes(written(&sample())).unwrap();
    index.verify().unwrap();
    assert_eq!(index.entries().collect::<Result<Vec<_>>>().unwrap(), sample());
    let counts = [index.implicit(), index.needs_parent(), index.whiteouts(), index.content_size()];
    assert_eq!((index.len(), counts), (12, [1, 1, 1, 1]));
    for (path, entry) in sample() {
        assert_eq!(index.entry(&path).unwrap(), Some(entry), "{path}");
    }
    for absent in ["0", "a/a", "a/b/c/d", "a.", "zz"] {
        assert_eq!(index.entry(&path(absent)).unwrap(), None, "{absent}");
    }
}

/// Stores have indexes of this version for as long as it is read: the same says the same bytes.
#[test]
fn the_bytes_of_an_index_are_those_of_version_1() {
    let hash = blake3::hash(&written(&sample())).to_hex();
    assert_eq!(&*hash, "d2b0afd86f0b8c456ac7ab80f3d9ab8eee8542707ed9bfd1482fed800c70fbe2");
}

#[test]
fn children_are_listed_without_grandchildren() {
    let index = Index::from_bytes(written(&sample())).unwrap();
    for (directory, names) in [
        ("", &["a", "a-b", "a0", "b", "c", "d", "e"][..]),
        ("a", &["b", "x"]),
        ("a/b", &["c", "d"]),
        ("a/b/c", &[]),
        ("e", &[]),
        ("absent", &[]),
    ] {
        let names: Vec<_> = names.iter().map(|name| Name::new(name.as_bytes()).unwrap()).collect();
        assert_eq!(index.names(&path(directory)).unwrap(), names, "{directory}");
    }
    let c = index.find(&path("a/b/c")).unwrap().unwrap();
    assert_eq!(c.parent().unwrap().unwrap().path().unwrap(), path("a/b"));
}

#[test]
fn a_writer_takes_paths_in_their_order_only() {
    for paths in [&["a"][..], &["", "b", "a"], &["", "a", "a"], &["", "a/b"], &["", "f", "f/x"], &["", ""]] {
        let (mut writer, _file) = writer(3);
        let added = paths.iter().try_for_each(|text| {
            let entry = if *text == "f" { file(0) } else { directory(true) };
            writer.add(&path(text), &entry).map(drop)
        });
        assert!(matches!(added, Err(LayerError::Index { .. })), "{paths:?}");
    }
    assert!(matches!(writer(0).0.finish(), Err(LayerError::Index { .. })));
}

#[test]
fn a_writer_takes_as_many_records_as_were_announced() {
    let root = (RelPath::root(), directory(true));
    let (mut few, _file) = writer(2);
    few.add(&root.0, &root.1).unwrap();
    assert!(matches!(few.finish(), Err(LayerError::Index { .. })));
    let (mut many, _file) = writer(1);
    many.add(&root.0, &root.1).unwrap();
    assert!(matches!(many.add(&path("a"), &file(0)), Err(LayerError::Index { .. })));
    many.finish().unwrap();
}

#[test]
fn an_index_larger_than_what_is_held_of_it_is_whole() {
    let mut entries = vec![(RelPath::root(), directory(true)), (path("d"), directory(false))];
    for number in 0..3_000 {
        entries.push((path(&format!("d/{number:04}-{}", "x".repeat(90))), file(number)));
    }
    entries.push((path("e"), directory(true)));
    let index = Index::from_bytes(written(&entries)).unwrap();
    index.verify().unwrap();
    assert_eq!(index.entries().collect::<Result<Vec<_>>>().unwrap(), entries);
    let ends = [0, 1, 2, 3_002].map(|number| index.record(number).unwrap().end().unwrap());
    assert_eq!(ends, [3_003, 3_002, 3, 3_003]);
}

#[test]
fn every_changed_byte_is_found_by_verify_or_before() {
    let whole = written(&sample());
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        assert!(Index::from_bytes(bytes).and_then(|index| index.verify()).is_err(), "byte {at}");
    }
}

#[test]
fn a_cut_index_is_refused() {
    let whole = written(&sample());
    for length in 0..whole.len() {
        assert!(Index::from_bytes(whole[..length].to_vec()).is_err(), "{length} bytes");
    }
}

/// Asks everything; whatever the bytes, it must come to an end.
fn ask_all(index: &Index) {
    for number in 0..index.len() {
        let Ok(record) = index.record(number) else { return };
        let children = record.children().take(1000).count();
        assert!(children < 1000);
        drop((record.path(), record.name(), record.entry()));
        let mut climbed = 0;
        let mut at = record;
        while let Ok(Some(parent)) = at.parent() {
            climbed += 1;
            assert!(climbed < 1000);
            at = parent;
        }
    }
    for (path, _) in sample() {
        drop((index.entry(&path), index.names(&path)));
    }
}

#[test]
fn a_record_that_is_its_own_parent_or_end_is_refused() {
    for (field, number) in [(at::PARENT, 2u32), (at::END, 2), (at::END, 1), (at::END, 13)] {
        let mut bytes = written(&sample());
        let place = HEADER + 2 * RECORD + field;
        bytes[place..place + 4].copy_from_slice(&number.to_le_bytes());
        let index = Index::from_bytes(bytes).unwrap();
        ask_all(&index);
        let record = index.record(2).unwrap();
        assert!(record.parent().is_err() || record.children().any(|child| child.is_err()), "{field} {number}");
    }
}

proptest! {
    #[test]
    fn a_hostile_index_never_panics_or_loops(changes in prop::collection::vec((0usize..1500, any::<u8>()), 1..40)) {
        let mut bytes = written(&sample());
        let length = bytes.len();
        for (at, value) in changes {
            bytes[at % length] = value;
        }
        if let Ok(index) = Index::from_bytes(bytes) {
            ask_all(&index);
        }
    }

    #[test]
    fn the_order_of_bytes_is_that_of_paths(one in "[a./-]{0,6}", other in "[a./-]{0,6}") {
        if let (Ok(a), Ok(b)) = (RelPath::parse(one.as_bytes()), RelPath::parse(other.as_bytes())) {
            prop_assert_eq!(compare(one.as_bytes(), other.as_bytes()), a.cmp(&b));
        }
    }
}
