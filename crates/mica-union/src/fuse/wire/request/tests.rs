use super::*;
use crate::fuse::wire::abi::opcode;
use crate::fuse::wire::{InitFlags, SetTime};
use mica_sys::Errno;
use mica_sys::Time;
use proptest::prelude::*;

/// A message as the device gives it.
fn message(opcode: u32, node: u64, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u32::try_from(40 + body.len()).unwrap();
    let header: [&[u8]; 8] = [
        &length.to_ne_bytes(),
        &opcode.to_ne_bytes(),
        &17_u64.to_ne_bytes(),
        &node.to_ne_bytes(),
        &1000_u32.to_ne_bytes(),
        &100_u32.to_ne_bytes(),
        &4321_u32.to_ne_bytes(),
        &[0; 4],
    ];
    [header.concat(), body].concat()
}

const NEW: Dialect = Dialect { setxattr_ext: true };

#[track_caller]
fn parsed(bytes: &[u8]) -> Request<'_> {
    Message::of_device(bytes).unwrap().request(NEW).unwrap()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

#[test]
fn a_look_up_has_a_directory_a_name_and_a_caller() {
    let bytes = message(opcode::LOOKUP, 5, &[b"name\0"]);
    let message = Message::of_device(&bytes).unwrap();
    assert_eq!(message.caller(), Caller { unique: 17, uid: 1000, gid: 100, pid: 4321, supplementary: None });
    assert!(message.is_answered());
    let Ok(Request::Lookup { parent: 5, name: b"name" }) = message.request(NEW) else {
        panic!("{:?}", message.request(NEW));
    };
}

#[test]
fn names_are_whole() {
    for (opcode, head, tail) in [
        (opcode::LOOKUP, 0, &b"open"[..]),
        (opcode::LOOKUP, 0, b"a/b\0"),
        (opcode::LOOKUP, 0, b"\0"),
        (opcode::LOOKUP, 0, b""),
        (opcode::MKDIR, 8, b"dir"),
        (opcode::RENAME2, 16, b"old\0new"),
        (opcode::RENAME2, 16, b"old\0"),
        (opcode::RENAME, 8, b"old\0a/b\0"),
        (opcode::SYMLINK, 0, b"name\0target"),
        (opcode::CREATE, 16, b"a/b\0"),
    ] {
        let bytes = message(opcode, 1, &[&vec![0; head], tail]);
        let refused = Message::of_device(&bytes).unwrap().request(NEW).unwrap_err();
        assert_eq!((refused, refused.errno()), (Malformed::Body { opcode }, Errno::INVAL), "{opcode} {tail:?}");
    }
    let bytes = message(opcode::SYMLINK, 1, &[b"name\0../a//b\0"]);
    let Request::Symlink { name: b"name", target: b"../a//b", .. } = parsed(&bytes) else { panic!() };
}

#[test]
fn a_name_has_at_most_255_bytes() {
    let name = |length| [vec![b'n'; length], vec![0]].concat();
    let bytes = message(opcode::LOOKUP, 1, &[&name(255)]);
    let Request::Lookup { name: found, .. } = parsed(&bytes) else { panic!() };
    assert_eq!(found.len(), 255);
    let bytes = message(opcode::LOOKUP, 1, &[&name(256)]);
    let refused = Message::of_device(&bytes).unwrap().request(NEW).unwrap_err();
    assert_eq!(refused.errno(), Errno::NAMETOOLONG);
    let bytes = message(opcode::SYMLINK, 1, &[b"link\0", &name(4095)]);
    let Request::Symlink { target, .. } = parsed(&bytes) else { panic!() };
    assert_eq!(target.len(), 4095);
}

#[test]
fn a_rename_of_either_kind_has_two_places() {
    let bytes = message(opcode::RENAME2, 5, &[&6_u64.to_ne_bytes(), &words(&[2, 0]), b"a\0bc\0"]);
    let Request::Rename { parent: 5, name: b"a", new_parent: 6, new_name: b"bc", flags } = parsed(&bytes) else {
        panic!()
    };
    assert_eq!(flags, RenameFlags::EXCHANGE);
    let bytes = message(opcode::RENAME, 5, &[&6_u64.to_ne_bytes(), b"a\0bc\0"]);
    let Request::Rename { new_parent: 6, new_name: b"bc", flags, .. } = parsed(&bytes) else { panic!() };
    assert!(flags.is_empty());
}

#[test]
fn a_write_has_as_many_bytes_as_it_says() {
    let head = |size| [words(&[1, 0, 4096, 0]), words(&[size, 1 | 4, 9, 0]), words(&[2, 0])].concat();
    let bytes = message(opcode::WRITE, 3, &[&head(5), b"12345"]);
    let Request::Write { node: 3, handle: 1, offset: 4096, data: b"12345", flags: 2, write_flags, lock_owner: None } =
        parsed(&bytes)
    else {
        panic!()
    };
    assert_eq!(write_flags, WriteFlags::CACHE | WriteFlags::KILL_SUIDGID);
    for size in [6, u32::MAX] {
        let bytes = message(opcode::WRITE, 3, &[&head(size), b"12345"]);
        assert!(Message::of_device(&bytes).unwrap().request(NEW).is_err());
    }
}

#[test]
fn only_what_changes_is_said_to_change() {
    let time = words(&[u32::MAX, u32::MAX]);
    // valid, unused, fh, size, lock_owner, atime, mtime, ctime, nanoseconds, mode, unused, uid, gid, unused
    let body = |valid: u32| {
        let head = words(&[valid, 0, 7, 0, 8, 0, 9, 0]);
        [head, time.clone(), time.clone(), time.clone(), words(&[1, 2, 1_000_000_000, 0o644, 0, 10, 11, 0])].concat()
    };
    let of = |valid| {
        let bytes = message(opcode::SETATTR, 3, &[&body(valid)]);
        let Request::Setattr { node: 3, change } = parsed(&bytes) else { panic!() };
        change
    };
    assert_eq!(of(0), SetAttr::default());
    assert_eq!(of(1), SetAttr { mode: Some(0o644), ..SetAttr::default() });
    assert_eq!(of(2 | 4), SetAttr { uid: Some(10), gid: Some(11), ..SetAttr::default() });
    let cut = SetAttr { size: Some(8), handle: Some(7), lock_owner: Some(9), kill_suidgid: true, ..SetAttr::default() };
    assert_eq!(of(8 | 64 | 512 | 2048), cut);
    let before_1970 = Some(SetTime::At(Time { secs: -1, nanos: 1 }));
    assert_eq!(of(16 | 32 | 256), SetAttr { atime: before_1970, mtime: Some(SetTime::Now), ..SetAttr::default() });
    assert_eq!(of(1024).ctime, Some(Time { secs: -1, nanos: 0 }), "nanoseconds that are none");
}

#[test]
fn attributes_are_set_in_either_dialect() {
    let bytes = message(opcode::SETXATTR, 3, &[&words(&[2, 1, 1, 0]), b"user.a\0vw"]);
    let Request::Setxattr { name: b"user.a", value: b"vw", flags, kill_sgid: true, .. } = parsed(&bytes) else {
        panic!()
    };
    assert_eq!(flags, XattrFlags::CREATE);
    let bytes = message(opcode::SETXATTR, 3, &[&words(&[2, 2]), b"user.a\0vw"]);
    let old = Message::of_device(&bytes).unwrap().request(Dialect::default()).unwrap();
    let Request::Setxattr { name: b"user.a", value: b"vw", flags: XattrFlags::REPLACE, kill_sgid: false, .. } = old
    else {
        panic!("{old:?}")
    };
}

#[test]
fn a_forget_of_many_names_each_and_no_more_than_came() {
    let pairs: Vec<u8> = [1_u64, 2, 3, 4].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let bytes = message(opcode::BATCH_FORGET, 0, &[&words(&[2, 0]), &pairs]);
    let Request::BatchForget { forgets } = parsed(&bytes) else { panic!() };
    assert_eq!(forgets.collect::<Vec<_>>(), [(1, 2), (3, 4)]);
    assert!(!Message::of_device(&bytes).unwrap().is_answered());
    let bytes = message(opcode::BATCH_FORGET, 0, &[&words(&[3, 0]), &pairs]);
    assert!(Message::of_device(&bytes).unwrap().request(NEW).is_err());
}

fn message_of_open_name() -> Vec<u8> {
    message(opcode::MKDIR, 1, &[&words(&[0o755, 0]), b"d", &words(&[8, 3, 16, 32, 1, 50])])
}

#[test]
fn a_group_that_comes_with_what_is_made_is_the_callers() {
    let mut bytes = message(opcode::MKDIR, 1, &[&words(&[0o755, 0]), b"d\0", &words(&[8, 3, 16, 32, 1, 50])]);
    bytes[36..38].copy_from_slice(&3_u16.to_ne_bytes());
    let message = Message::of_device(&bytes).unwrap();
    assert_eq!(message.caller().supplementary, Some(50));
    let Ok(Request::Mkdir { name: b"d", .. }) = message.request(NEW) else { panic!() };
    // A name that is not ended within its part must not go on in the extensions.
    let mut open = message_of_open_name();
    open[36..38].copy_from_slice(&3_u16.to_ne_bytes());
    assert!(Message::of_device(&open).unwrap().request(NEW).is_err());
    for (at, wrong) in
        [(36, 200_u16), (bytes.len() - 16, 0), (bytes.len() - 16, 7), (bytes.len() - 16, 99), (bytes.len() - 8, 0)]
    {
        let mut bytes = bytes.clone();
        bytes[at..at + 2].copy_from_slice(&wrong.to_ne_bytes());
        assert_eq!(Message::of_device(&bytes).unwrap().caller().supplementary, None, "{at}");
    }
}

#[test]
fn a_ring_has_the_structure_apart() {
    let header = message(opcode::MKNOD, 4, &[]);
    let mut structure = words(&[0o020_600, 0x0103, 0o22, 0]);
    structure.resize(128, 0xff);
    let whole = Message::of_ring(&header, &structure, b"null\0").unwrap();
    let Ok(Request::Mknod { parent: 4, name: b"null", mode: 0o020_600, device, umask: 0o22 }) = whole.request(NEW)
    else {
        panic!("{:?}", whole.request(NEW));
    };
    assert_eq!(device, Device { major: 1, minor: 3 });
    let header = message(opcode::LOOKUP, 4, &[]);
    let Ok(Request::Lookup { name: b"n", .. }) = Message::of_ring(&header, &[0; 128], b"n\0").unwrap().request(NEW)
    else {
        panic!()
    };
    assert!(Message::of_ring(&header[..39], &[], b"n\0").is_err());
}

#[test]
fn init_has_its_high_flags_only_when_it_says_so() {
    let init = |flags: u32, more: &[u8]| {
        let bytes = message(opcode::INIT, 0, &[&words(&[7, 45, 131_072, flags]), more]);
        let Request::Init(offer) = parsed(&bytes) else { panic!() };
        offer
    };
    let more = [words(&[1 << 5]), vec![0; 44]].concat();
    assert_eq!(init(1 << 30 | 1, &more).flags, InitFlags::ASYNC_READ | InitFlags::INIT_EXT | InitFlags::PASSTHROUGH);
    assert_eq!(init(1, &more).flags, InitFlags::ASYNC_READ);
    assert_eq!((init(1 << 30, &[]).minor, init(1 << 30, &[]).max_readahead), (45, 131_072));
}

#[test]
fn what_is_not_known_or_no_message_is_told_apart() {
    for opcode in [0, 7, 19, 54, 4096, u32::MAX] {
        let bytes = message(opcode, 1, &[b"x"]);
        let refused = Message::of_device(&bytes).unwrap().request(NEW).unwrap_err();
        assert_eq!((refused, refused.errno()), (Malformed::Unknown { opcode }, Errno::NOSYS));
    }
    let bytes = message(opcode::GETATTR, 1, &[&[0; 16]]);
    assert_eq!(Message::of_device(&bytes[..39]).unwrap_err(), Malformed::Header { length: 39 });
    assert!(Message::of_device(&bytes[..55]).is_err(), "shorter than it says");
}

#[test]
fn every_operation_is_parsed_from_enough_zeros_and_refused_from_none() {
    let no_body = [opcode::READLINK, opcode::STATFS, opcode::DESTROY, opcode::SYNCFS];
    let names_alone = [opcode::LOOKUP, opcode::UNLINK, opcode::RMDIR, opcode::SYMLINK];
    for opcode in (1..=53).filter(|opcode| ![7, 19].contains(opcode)) {
        let empty = message(opcode, 1, &[]);
        let of_nothing = Message::of_device(&empty).unwrap().request(NEW);
        assert_eq!(of_nothing.is_ok(), no_body.contains(&opcode), "{opcode}");
        // Names stand after structures; each structure's size is even to 8, so that one of these offsets is right.
        let names = b"a\0b\0";
        let found = (0..=96).step_by(4).any(|head| {
            let bytes = message(opcode, 1, &[&vec![0; head], names]);
            Message::of_device(&bytes).unwrap().request(NEW).is_ok()
        });
        assert!(found || names_alone.contains(&opcode), "{opcode}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]

    #[test]
    fn no_bytes_make_it_panic(
        opcode in 0_u32..60,
        extensions in prop_oneof![Just(0_u16), 0_u16..9, any::<u16>()],
        body in proptest::collection::vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..300),
        apart in proptest::collection::vec(any::<u8>(), 0..129),
        setxattr_ext: bool,
    ) {
        let mut bytes = message(opcode, 1, &[&body]);
        bytes[36..38].copy_from_slice(&extensions.to_ne_bytes());
        let dialect = Dialect { setxattr_ext };
        for message in [Message::of_device(&bytes), Message::of_ring(&bytes, &apart, &body)] {
            let message = message.unwrap();
            let _caller = message.caller();
            if let Ok(request) = message.request(dialect) {
                // Iterators end, and nothing that is borrowed is longer than what came.
                if let Request::BatchForget { forgets } = request {
                    prop_assert!(forgets.count() <= body.len() / 16);
                }
                let shown = format!("{request:?}");
                prop_assert!(!shown.is_empty());
            }
        }
        prop_assert!(Message::of_device(&body).is_err() || body.len() >= 40);
    }
}
