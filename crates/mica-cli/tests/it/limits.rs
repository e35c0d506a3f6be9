//! What is too much is refused by the name of the limit, and taken when the limit is raised.

use std::io::Write as _;

use mica_layer::{Compression, encoder};
use mica_testkit::needs;

use crate::build::{Made, dir, file as entry, other, pax_records, tar};
use crate::common::Mica;
use crate::refusals::{archive, file, import, refused};

/// A tar, what it exceeds, and what the error says of it.
struct Case {
    name: &'static str,
    tar: Vec<u8>,
    limit: u64,
    words: &'static [&'static str],
}

fn cases() -> Vec<Case> {
    let many: Vec<Made> = (0..9).map(|number| entry(format!("f{number}"), "")).collect();
    let comment = |length| entry("a", "").pax(&[("comment", &vec![b'c'; length])]);
    let xattr = entry("a", "").pax(&[("SCHILY.xattr.user.big", &[1; 400])]);
    vec![
        Case {
            name: "content",
            tar: tar(&[entry("a", [1; 5000])]),
            limit: 4999,
            words: &["\"a\"", "limit of 4999 bytes"],
        },
        Case { name: "entries", tar: tar(&many), limit: 8, words: &["\"f8\"", "limit of 8 entries"] },
        Case { name: "depth", tar: tar(&[dir("a/b/c/d")]), limit: 3, words: &["a/b/c/d", "limit of 3 directories"] },
        Case { name: "header", tar: tar(&[comment(3000)]), limit: 2999, words: &["extended headers", "limit of 2999"] },
        Case { name: "xattrs", tar: tar(&[xattr]), limit: 400, words: &["extended attributes", "limit of 400"] },
        Case { name: "metadata", tar: tar(&many), limit: 17, words: &["names and attributes", "limit of 17 bytes"] },
        Case { name: "window", tar: windowed(), limit: 1 << 20, words: &["window", "limit of 1048576 bytes"] },
    ]
}

/// A tar in one frame of zstd with a window of 8 MiB: a raw block (RFC 8878, 3.1.1.1 and 3.1.1.2).
fn windowed() -> Vec<u8> {
    let tar = tar(&[entry("a", "")]);
    let block = u32::try_from(tar.len()).unwrap() << 3 | 1;
    [&[0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3][..], &block.to_le_bytes()[..3], &tar].concat()
}

#[test]
fn each_limit_is_named_and_can_be_raised() {
    needs!(root);
    let mica = Mica::new();
    import(&mica, "here", "");
    for Case { name, tar, limit, words } in cases() {
        let path = file(&mica, name, &tar);
        let lowered = format!("{name}={limit}");
        let hint = format!("--limit {name}=");
        refused(
            &mica,
            &["import", "-q", "--limit", &lowered, &path, "x"],
            &[&["import "], words].concat(),
            Some(&hint),
        );
        // As much as was suggested is enough, and so is what stands by itself.
        let said = mica.refuses(["import", "-q", "--limit", &lowered, &path, "x"]);
        let raised = said.split("--limit ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        if name != "window" {
            mica.run(["import", "-q", "--limit", raised, &path, "x"]);
            mica.run(["rmi", "x"]);
        }
        mica.run(["import", "-q", &path, "x"]);
        mica.run(["rmi", "x"]);
    }
    mica.assert_whole();
}

#[test]
fn a_manifest_that_is_too_large_is_a_limit_too() {
    needs!(root);
    let mica = Mica::new();
    import(&mica, "here", "");
    let path = file(&mica, "packed.tar", &archive(&mica, "oci-archive"));
    refused(&mica, &["load", "--limit", "json=100", "-i", &path], &["load ", "limit is 100"], Some("--limit json=200"));
    let environment =
        |limits: &str| mica.command(["load", "-q", "-i", &path]).env("MICA_LIMITS", limits).output().unwrap();
    assert_eq!(environment("depth=9,json=100").status.code(), Some(125));
    assert_eq!(environment("depth=9,json=1M").status.code(), Some(0));
}

#[test]
fn a_limit_that_is_none_is_refused_before_anything_is_made() {
    let mica = Mica::new();
    for limit in ["content", "content=much", "colour=1"] {
        let error = mica.refuses(["import", "--limit", limit, "/dev/null", "x"]);
        assert!(error.contains(&format!("{:?}", limit.split('=').next().unwrap())) || error.contains(limit), "{error}");
        assert!(error.contains("hint: limits are content, entries,"), "{error}");
    }
    assert!(!mica.root().exists(), "a store was made for nothing");
}

/// CVE-2017-14992: Docker Engine took a layer whose expansion filled the machine.
#[test]
fn cve_2017_14992_a_layer_that_expands_without_end_stops_at_the_limit() {
    needs!(root);
    let mica = Mica::new();
    import(&mica, "here", "");
    let zeros = vec![0u8; 1 << 20];
    let header = entry("zeros", "").size(1 << 33).bytes();
    let bombs: [(&str, Vec<u8>); 3] = [
        // In a file, after the end of the tar, and in headers that say nothing.
        ("body", header[..512].to_vec()),
        ("trailing", tar(&[])),
        ("headers", other("pax", b'g').body(pax_records(&[("comment", &[b' '; 4000])])).bytes()),
    ];
    for (name, start) in bombs {
        let mut bytes = encoder(Vec::new(), Compression::Gzip).unwrap();
        bytes.write_all(&start).unwrap();
        for _ in 0..32 {
            match name {
                "headers" => (0..200).for_each(|_| bytes.write_all(&start).unwrap()),
                _ => bytes.write_all(&zeros).unwrap(),
            }
        }
        let path = file(&mica, name, &bytes.finish().unwrap());
        let (limit, hint) = match name {
            "headers" => ("header=1M", "--limit header=2M"),
            _ => ("content=16M", "--limit content=32M"),
        };
        refused(&mica, &["import", "-q", "--limit", limit, &path, "bomb"], &["import ", "limit of"], Some(hint));
    }
    mica.assert_whole();
}
