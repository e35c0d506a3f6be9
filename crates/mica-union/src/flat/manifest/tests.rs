use proptest::prelude::*;

use super::*;

fn time() -> impl Strategy<Value = Time> {
    (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Time { secs, nanos })
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (any::<u64>(), proptest::option::of(time()), any::<u64>(), any::<u64>(), time(), time())
        .prop_map(|(ino, born, nlink, size, mtime, ctime)| Stamp { ino, born, nlink, size, mtime, ctime })
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        Just(Said::Nothing),
        Just(Said::Whiteout),
        any::<(bool, bool)>().prop_map(|(copied_up, opaque)| Said::Node { copied_up, opaque })
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let stamp = || proptest::option::of(stamp());
    (stamp(), any::<bool>(), said(), stamp(), any::<bool>()).prop_map(|(seen, late, said, upper, below)| Record {
        seen,
        late,
        said,
        upper,
        below,
    })
}

fn name() -> impl Strategy<Value = Name> {
    "[a-z\\PC]{1,4}".prop_filter_map("no name", |text| Name::new(text.as_bytes()).ok())
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let directory = (proptest::collection::vec(name(), 0..3), proptest::collection::btree_map(name(), record(), 0..4));
    let directories = proptest::collection::vec(directory, 0..4);
    (proptest::collection::vec(any::<u64>(), 0..4), any::<(u64, u64, u32, u32)>(), time(), record(), directories)
        .prop_map(|(lowers, (taken, ino, mode, uid), at, root, directories)| {
            let xattrs = [(b"user.a".to_vec(), vec![0, 255])].into();
            let mtime = Timestamp { secs: at.secs, nanos: at.nanos };
            let upper_root = UpperRoot { ino, attrs: Attrs { mode, uid, gid: uid, mtime, xattrs } };
            let path = |names: Vec<Name>| names.iter().fold(RelPath::root(), |at, name| at.join(name));
            let directories = directories.into_iter().map(|(names, records)| (path(names), records)).collect();
            Manifest { taken, lowers, upper_root, root, directories }
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read(manifest in manifest()) {
        let bytes = manifest.encode();
        prop_assert_eq!(Manifest::taken_of(&bytes[..BEGINNING]), Some(manifest.taken));
        prop_assert_eq!(Manifest::decode(&bytes), Some(manifest));
    }

    #[test]
    fn a_manifest_that_was_cut_is_none(manifest in manifest(), cut in any::<prop::sample::Index>()) {
        let bytes = manifest.encode();
        prop_assert_eq!(Manifest::decode(&bytes[..cut.index(bytes.len())]), None);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _read = Manifest::decode(&[MAGIC, &bytes].concat());
    }
}

#[test]
fn a_number_that_is_given_again_is_another_file() {
    let at = |secs| Time { secs, nanos: 0 };
    let first = Stamp { ino: 5, born: Some(at(1)), nlink: 2, size: 3, mtime: at(1), ctime: at(1) };
    assert!(first.is_same_file(&Stamp { size: 4, mtime: at(2), ctime: at(2), ..first }));
    assert!(!first.is_same_file(&Stamp { born: Some(at(2)), ..first }));
    let nameless = Stamp { born: None, ..first };
    assert!(nameless.is_same_file(&nameless));
    assert!(!nameless.is_same_file(&Stamp { ctime: at(2), ..nameless }), "without a birth, nobody knows");
    assert!(first.lost_only_names(&Stamp { nlink: 1, ctime: at(2), ..first }));
    assert!(!first.lost_only_names(&Stamp { nlink: 1, ctime: at(2), size: 4, ..first }));
    assert!(!first.lost_only_names(&Stamp { nlink: 3, ctime: at(2), ..first }));
}

#[test]
fn what_changed_when_it_was_looked_at_is_looked_at_again() {
    let at = |secs| Time { secs, nanos: 0 };
    let record = |ctime| Record {
        seen: Some(Stamp { ino: 1, born: None, nlink: 1, size: 0, mtime: at(0), ctime: at(ctime) }),
        late: true,
        ..Record::default()
    };
    let name = |text: &str| Name::new(text.as_bytes()).unwrap();
    let records = [(name("before"), record(9)), (name("now"), record(10)), (name("gone"), Record::default())];
    let directories = [(RelPath::root(), records.into())].into();
    let mut manifest = Manifest { root: record(11), directories, ..Manifest::default() };
    manifest.mark_late(at(10));
    let late = |manifest: &mut Manifest, path: &str| {
        manifest.record_mut(&RelPath::parse(path.as_bytes()).unwrap()).unwrap().late
    };
    assert!(manifest.root.late);
    assert_eq!(["before", "now", "gone"].map(|path| late(&mut manifest, path)), [false, true, false]);
}
