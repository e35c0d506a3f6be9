//! Tars that are damaged, endless or meant to harm: one clear error each, never a panic.

use std::io::{self, Read};

use mica_layer::tar::{Archive, scan};
use mica_layer::{Index, LayerError, Limits, Unpack, rebuild, unpack};
use mica_testkit::{Scratch, needs};
use proptest::prelude::*;

use crate::build::{Made, dir, file, hard, other, pax_records, seal, symlink, tar};
use crate::unpacked::{chain, refusal, refusal_with, unpacked_bytes};

fn limited(change: impl FnOnce(&mut Limits)) -> Unpack {
    let mut how = Unpack::default();
    change(&mut how.limits);
    how
}

/// A bit of everything.
fn sample() -> Vec<Made> {
    vec![
        dir("./").mode(0o755),
        dir("etc"),
        file("etc/passwd", "root:x:0:0\n").pax(&[("SCHILY.xattr.user.a", b"1"), ("mtime", b"5.5")]),
        hard("etc/passwd-", "etc/passwd"),
        symlink("lib", "usr/lib"),
        file("lib/x", vec![7; 1500]),
        file("long", "l").long(b'L', "n".repeat(120).as_bytes()),
        other("etc/.wh.shadow", b'0'),
        file("GNUSparseFile.1/s", [&b"1\n1000\n2\n"[..], &[0; 503], b"ab"].concat()).pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.name", b"s"),
            ("GNU.sparse.realsize", b"5000"),
        ]),
        file("etc/passwd", "second"),
    ]
}

#[test]
fn a_tar_cut_anywhere_names_the_entry_and_the_path() {
    needs!(root);
    let whole = tar(&sample());
    for length in (0..whole.len()).step_by(89) {
        let scratch = Scratch::new();
        let error = match unpack(&mut &whole[..length], &scratch.dir(), &Unpack::default()) {
            Err(error) => chain(&error),
            // Between entries a tar may end, and so it may where nothing but padding is missing.
            Ok(_) => {
                let missing = &whole[length..length.next_multiple_of(512)];
                assert!(missing.iter().all(|byte| *byte == 0), "{length} bytes are a tar");
                continue;
            }
        };
        assert!(error.contains(&format!("the tar ends at byte {length}, within this entry")), "{error}");
    }
    let body = tar(&[file("a", "x"), file("etc/big", vec![1; 5000])]);
    assert_eq!(
        refusal_with(&body[..3000], &Unpack::default()),
        "entry 2: path \"etc/big\": the tar ends at byte 3000, within this entry"
    );
}

#[test]
fn limits_have_an_error_each() {
    needs!(root);
    let deep = ["d"; 12].join("/");
    let many: Vec<Made> = (0..20).map(|number| file(format!("f{number}"), "12345")).collect();
    let xattr = [file("a", "").pax(&[("SCHILY.xattr.user.big", &[1; 2000])])];
    let deep_link = [symlink("s", "a/b/c/d/e/f"), file("s/g/h/i/j/k", "")];
    for (entries, how, error) in [
        (
            &many[..],
            limited(|limits| limits.content_bytes = 42),
            "entry 9: path \"f8\": the layer's content exceeds the limit of 42 bytes",
        ),
        (
            &many,
            limited(|limits| limits.entries = 7),
            "entry 8: path \"f7\": the layer has more than the limit of 7 entries",
        ),
        (
            &[file(&deep, "")],
            limited(|limits| limits.entries = 7),
            "entry 1: path \"d/d/d/d/d/d/d/d/d/d/d/d\": the layer has more than the limit of 7 entries",
        ),
        (
            &[file(&deep, "")],
            limited(|limits| limits.depth = 11),
            "entry 1: path \"d/d/d/d/d/d/d/d/d/d/d/d\" is more than the limit of 11 directories deep",
        ),
        (
            &deep_link,
            limited(|limits| limits.depth = 8),
            "entry 2: path \"s/g/h/i/j/k\" is more than the limit of 8 directories deep",
        ),
        (
            &[hard("a", &deep)],
            limited(|limits| limits.depth = 11),
            "entry 1: path \"d/d/d/d/d/d/d/d/d/d/d/d\" is more than the limit of 11 directories deep",
        ),
        (
            &xattr,
            limited(|limits| limits.xattr_bytes = 2000),
            "entry 1: path \"a\": 2008 bytes of extended attributes, more than the limit of 2000",
        ),
        (
            &xattr,
            limited(|limits| limits.header_bytes = 1000),
            "entry 1: path \"PaxHeaders/x\": extended headers of 2028 bytes, more than the limit of 1000",
        ),
        (
            &many,
            limited(|limits| limits.metadata_bytes = 30),
            "entry 14: path \"f13\": the layer's names and attributes exceed the limit of 30 bytes",
        ),
    ] {
        assert_eq!(refusal_with(&tar(entries), &how), error);
    }
}

#[test]
fn what_is_replaced_or_passed_over_counts_as_content_too() {
    needs!(root);
    let how = limited(|limits| limits.content_bytes = 1000);
    let again: Vec<Made> = (0..11).map(|_| file("same", [1; 100])).collect();
    assert!(refusal_with(&tar(&again), &how).starts_with("entry 11: path \"same\": the layer's content"));
    let whiteout = [other(".wh.x", b'0').body([1; 1001])];
    assert!(refusal_with(&tar(&whiteout), &how).starts_with("entry 1: path \".wh.x\": the layer's content"));
    let extended = [file("a", "").pax(&[("comment", &[b'x'; 1000])])];
    assert!(refusal_with(&tar(&extended), &how).starts_with("entry 1: path \"a\": the layer's content"));
    let trailing = [&tar(&[file("a", "")])[..], &[1; 2000]].concat();
    assert!(refusal_with(&trailing, &how).contains("the layer's content exceeds"));
}

/// What stands before one entry is held in memory until the entry comes, which a stream of such headers never lets it.
#[test]
fn headers_without_an_end_are_refused_before_they_fill_the_memory() {
    needs!(root);
    struct Endless {
        block: Vec<u8>,
        given: u64,
    }
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let at = usize::try_from(self.given).unwrap() % self.block.len();
            let count = (self.block.len() - at).min(buffer.len());
            buffer[..count].copy_from_slice(&self.block[at..at + count]);
            self.given += count as u64;
            Ok(count)
        }
    }
    let text = |typeflag| other("long", typeflag).body([b'n'; 4096]).bytes();
    let pax = |typeflag| other("pax", typeflag).body(pax_records(&[("comment", &[b'c'; 4000])])).bytes();
    let empty = other("empty", b'g').bytes();
    for block in [text(b'L'), text(b'K'), pax(b'x'), pax(b'g'), empty] {
        let mut endless = Endless { block, given: 0 };
        let scratch = Scratch::new();
        let error = chain(&unpack(&mut endless, &scratch.dir(), &Unpack::default()).unwrap_err());
        assert!(
            error.contains("extended headers of 83") && error.ends_with("more than the limit of 8388608"),
            "{error}"
        );
        // An empty one takes a block and is counted as one.
        assert!(endless.given < 32 << 20, "{} bytes were read", endless.given);
    }
}

#[test]
fn holes_are_free() {
    needs!(root);
    let size = (1u64 << 40).to_string();
    let sparse = |name: &str| {
        file(name, "ab").pax(&[
            ("GNU.sparse.size", size.as_bytes()),
            ("GNU.sparse.map", b"1000,1,2000,1"),
            ("GNU.sparse.name", name.as_bytes()),
        ])
    };
    // Twice, so that the first is taken from disk again.
    let bytes = tar(&[sparse("s"), sparse("s")]);
    let scratch = Scratch::new();
    // Two bodies of two bytes, what says where they belong, and the second block of zeros at the end.
    let how = limited(|limits| limits.content_bytes = 2 * (2 + 512) + 512);
    assert_eq!(unpack(&mut &bytes[..], &scratch.dir(), &how).unwrap().content_size, 2);
    let mut again = Vec::new();
    rebuild(&scratch.dir(), &mut again).unwrap();
    assert!(again == bytes);
}

#[test]
fn damaged_headers_say_what_is_wrong_with_them() {
    needs!(root);
    let broken = |at: usize, bytes: &[u8]| {
        let mut made = file("a", "x").bytes();
        made[at..at + bytes.len()].copy_from_slice(bytes);
        seal(&mut made[..512]);
        refusal_with(&made, &Unpack::default())
    };
    for (at, bytes, field) in [
        (100, &b"rw-r--r-"[..], "mode"),
        (108, b"nobody\0\0", "uid"),
        (116, b"\xff\xff\xff\xff\xff\xff\xff\xff", "gid"),
        (124, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "size"),
        (124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", "size"),
        (136, b"now         ", "mtime"),
    ] {
        let said = broken(at, bytes);
        let huge = "the tar ends";
        assert!(
            said == format!("entry 1: path \"a\": field {field:?} is no valid number") || said.contains(huge),
            "{said}"
        );
    }
    let mut unsealed = tar(&[file("a", "x"), file("b", "y")]);
    unsealed[1024] = b'c';
    assert_eq!(refusal_with(&unsealed, &Unpack::default()), "entry 2: the header at byte 1024 has a wrong checksum");
    assert_eq!(refusal_with(&[b'x'; 600], &Unpack::default()), "entry 1: the header at byte 0 has a wrong checksum");
    assert_eq!(
        refusal(&[other("x", b'x').body("no records"), file("a", "")]),
        "entry 1: path \"x\": malformed extended header"
    );
    assert_eq!(
        refusal(&[file("a", "").pax(&[("uid", b"-1")])]),
        "entry 1: path \"PaxHeaders/x\": field \"uid\" is no valid number"
    );
    let all = file("a", "").owner(0xffff_ffff, 0);
    assert_eq!(refusal(&[all]), "entry 1: path \"a\": field \"uid\" is no valid number");
    let dangling = other("x", b'x').bytes();
    assert!(refusal_with(&dangling, &Unpack::default()).contains("within this entry"));
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    needs!(root);
    let sparse = |map: &[u8], size: &[u8]| {
        refusal(&[file("s", "abcd").pax(&[("GNU.sparse.size", size), ("GNU.sparse.map", map)])])
    };
    for (map, size) in
        [("0,3", "10"), ("0,2,1,2", "10"), ("8,4", "10"), ("0,4,4", "10"), ("18446744073709551615,4", "10")]
    {
        assert_eq!(sparse(map.as_bytes(), size.as_bytes()), "entry 1: path \"s\": malformed sparse map");
    }
    let endless = file("s", vec![b'1'; 600]).pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"5")]);
    assert_eq!(refusal(&[endless]), "entry 1: path \"s\": malformed sparse map");
    let smaller_than_its_map = file("s", "0\n").pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"5")]);
    assert_eq!(refusal(&[smaller_than_its_map]), "entry 1: path \"s\": malformed sparse map");
    // Empty extensions of an old map that follow each other for ever.
    let mut old = other("s", b'S').magic(b"ustar  \0").bytes();
    old[482] = 1;
    seal(&mut old);
    let mut extension = [0; 512];
    extension[504] = 1;
    old.extend_from_slice(&extension.repeat(9));
    assert_eq!(
        refusal_with(&old, &limited(|limits| limits.header_bytes = 4096)),
        "entry 1: path \"s\": extended headers of 4608 bytes, more than the limit of 4096"
    );
}

#[test]
fn a_scan_finds_what_reading_finds_without_the_bodies() {
    let bytes = [
        &b"before"[..],
        &tar(&[&[file("f", ""), hard("h", "f").size(7)][..], &sample(), &[file("last", "body")]].concat()),
    ]
    .concat();
    let mut file = io::Cursor::new(&bytes);
    file.set_position(6);
    let found = scan(&mut file, &Limits::default()).unwrap();
    let mut archive = Archive::new(&bytes[6..], &Limits::default());
    for entry in &found {
        assert_eq!(archive.next_entry().unwrap().as_ref(), Some(entry));
    }
    assert_eq!(archive.next_entry().unwrap(), None);
    let last = found.last().unwrap();
    let at = usize::try_from(last.offset).unwrap() + 6;
    assert_eq!((&last.path[..], &bytes[at..at + 4]), (&b"last"[..], &b"body"[..]));
    let cut = &bytes[6..at + 2];
    let error = chain(&scan(io::Cursor::new(cut), &Limits::default()).unwrap_err());
    assert!(error.contains("path \"last\": the tar ends at byte"), "{error}");
    let error = chain(&scan(io::Cursor::new(&bytes[6..]), &limited(|limits| limits.entries = 3).limits).unwrap_err());
    assert!(error.starts_with("entry 4: ") && error.ends_with("more than the limit of 3 entries"), "{error}");
}

#[test]
fn an_error_of_the_stream_is_the_one_that_is_told() {
    needs!(root);
    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("the line went dead"));
            }
            let count = self.0.min(buffer.len());
            self.0 -= count;
            buffer[..count].fill(0);
            Ok(count)
        }
    }
    for length in [0, 100, 512, 5_000_000] {
        let scratch = Scratch::new();
        let error = unpack(&mut Broken(length), &scratch.dir(), &Unpack::default()).unwrap_err();
        assert_eq!(chain(&error), "reading the layer: the line went dead");
    }
}

#[test]
fn a_changed_diff_or_recon_does_not_pass_for_the_layer() {
    needs!(root);
    let bytes = tar(&sample());
    let layer = unpacked_bytes(&bytes);
    std::fs::write(layer.diff_path().join("usr/lib/x"), vec![8; 1500]).unwrap();
    assert_ne!(rebuild(&layer.scratch.dir(), &mut io::sink()).unwrap(), layer.said.diff_id);
    std::fs::write(layer.diff_path().join("usr/lib/x"), vec![7; 10]).unwrap();
    let error = rebuild(&layer.scratch.dir(), &mut io::sink()).unwrap_err();
    assert_eq!(error.to_string(), "recon: a file in diff is shorter than it was");
    std::fs::write(layer.diff_path().join("usr/lib/x"), vec![7; 1500]).unwrap();
    let recon = layer.scratch.path().join("recon");
    let whole = std::fs::read(&recon).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        std::fs::write(&recon, &bytes).unwrap();
        // Some bits of a zstd frame say nothing.
        let said = rebuild(&layer.scratch.dir(), &mut io::sink());
        let is_same = said.is_ok_and(|diff_id| diff_id == layer.said.diff_id);
        assert!(!is_same || in_frame(&whole, at), "byte {at}");
    }
    // A table of lengths that lies must not fill a disk before it is found out.
    let mut short = whole.clone();
    let stated = whole.len() - 16;
    short[stated..stated + 8].copy_from_slice(&1u64.to_le_bytes());
    std::fs::write(&recon, &short).unwrap();
    let mut written = Vec::new();
    let error = rebuild(&layer.scratch.dir(), &mut written).unwrap_err();
    assert_eq!(error.to_string(), "recon: it does not make a tar of the length that it states");
    assert!(written.len() < bytes.len() / 2, "{} bytes were written", written.len());
    for length in (0..whole.len()).step_by(7) {
        std::fs::write(&recon, &whole[..length]).unwrap();
        assert!(matches!(rebuild(&layer.scratch.dir(), &mut io::sink()), Err(LayerError::Recon { .. })), "{length}");
    }
}

/// Whether a byte of `recon` is in a block's packed bytes.
fn in_frame(recon: &[u8], at: usize) -> bool {
    let mut block = 16;
    while block + 32 < recon.len() {
        let packed = u32::from_le_bytes(recon[block + 8..block + 12].try_into().unwrap()) as usize;
        if (block + 12..block + 12 + packed).contains(&at) {
            return true;
        }
        block += 12 + packed;
    }
    false
}

/// Reads all of an archive, as a tool would that only looks.
fn read_all(bytes: &[u8]) {
    let mut archive = Archive::new(bytes, &Limits::default()).with_framing();
    let mut again = Vec::new();
    let whole = loop {
        match archive.next_entry() {
            Ok(Some(_)) => again.append(archive.framing()),
            Ok(None) => break true,
            Err(_) => break false,
        }
        loop {
            match archive.next_piece() {
                Ok(Some(piece)) => again.extend_from_slice(piece.bytes),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    };
    if whole {
        again.append(archive.framing());
        while let Ok(Some(bytes)) = archive.trailing() {
            again.extend_from_slice(bytes);
        }
        assert!(again == bytes, "framing and bodies make another stream");
    }
}

/// Changes some bytes, with checksums that are right again, so that the damage is read.
fn mutated(changes: &[(usize, u8)], seals: bool) -> Vec<u8> {
    let mut bytes = tar(&sample());
    let whole = bytes.clone();
    let length = bytes.len();
    for (at, value) in changes {
        bytes[at % length] = *value;
    }
    if seals {
        for at in (0..length).step_by(512) {
            if whole[at + 257..].starts_with(b"ustar") && bytes[at..at + 512] != whole[at..at + 512] {
                seal(&mut bytes[at..at + 512]);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_tar_never_panics_and_comes_back_when_it_is_taken(
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..12),
        seals in prop::bool::weighted(0.9),
    ) {
        let bytes = mutated(&changes, seals);
        read_all(&bytes);
        drop(scan(io::Cursor::new(&bytes), &Limits::default()));
        let scratch = Scratch::new();
        let how = limited(|limits| limits.content_bytes = 1 << 20);
        if mica_testkit::gate::root().is_ok() && let Ok(said) = unpack(&mut &bytes[..], &scratch.dir(), &how) {
            let mut again = Vec::new();
            prop_assert_eq!(rebuild(&scratch.dir(), &mut again).unwrap(), said.diff_id);
            prop_assert!(again == bytes);
            let index = Index::open(&scratch.dir().open_file(b"index").unwrap()).unwrap();
            prop_assert!(index.entries().all(|entry| entry.is_ok()));
        }
    }

    #[test]
    fn arbitrary_blocks_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        read_all(&bytes);
    }
}
