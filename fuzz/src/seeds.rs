//! Seeds: small inputs of our own making, from which mutations start. `cargo run --example seeds` writes them.

use std::io::{self, Write};
use std::path::Path;

use mica_core::{BlobDigest, DiffId};
use mica_layer::{Compression, encoder};
use serde_json::json;

use crate::layer_forms::small_layer;
use crate::store_files::records;
use crate::tars::{device, dir, file, global, hard, other, symlink, tar};

/// A layer with each kind of entry.
pub(crate) fn kinds() -> Vec<u8> {
    tar(&[
        dir("./"),
        dir("etc/").mode(0o1750).owner(3_000_000, 70_000),
        file("etc/hosts", "127.0.0.1 localhost\n").pax(&[("mtime", b"1700000000.123456789")]),
        file("etc/cap", "x").mode(0o4755).pax(&[("SCHILY.xattr.user.a=b", b"c=\0d")]),
        symlink("etc/link", "hosts"),
        device("etc/null", b'3', 1, 3),
        device("etc/zero", b'3', 0, 0),
        device("etc/disk", b'4', 8, 0),
        other("etc/pipe", b'6'),
        file("implied/by/this", "a body"),
        file("etc/.wh.gone", ""),
        file("implied/.wh..wh..opq", ""),
    ])
}

/// A layer of hard links, one of them to a file of the layer below.
pub(crate) fn links() -> Vec<u8> {
    tar(&[
        hard("early", "late"),
        file("late", "shared"),
        hard("again", "late"),
        hard("from-below", "etc/hosts"),
        symlink("way", "target"),
        file("way/file", "through a link"),
        file("late", "replaced"),
    ])
}

fn names() -> Vec<u8> {
    let long = [b'n'; 180];
    tar(&[
        global(&[("uid", b"7"), ("mtime", b"-5.5")]),
        file("short", "").pax(&[("path", &long), ("gid", b"4000000000")]),
        file("x", "y").long(b'L', &long),
        symlink("l", "x").long(b'K', &long),
        file([0xff, 0xfe, b'/', 0x80], "not text"),
        file("a//./b/../c", "d").magic(b"ustar  \0"),
        file("old", "v7").magic(&[0; 8]),
    ])
}

fn sparse() -> Vec<u8> {
    let map_1_0 = [&b"2\n0\n3\n4096\n2\n"[..], &[0; 498], b"abcde"].concat();
    tar(&[
        file("f00", "abcde").pax(&[
            ("GNU.sparse.size", b"8192"),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.offset", b"0"),
            ("GNU.sparse.numbytes", b"3"),
            ("GNU.sparse.offset", b"4096"),
            ("GNU.sparse.numbytes", b"2"),
        ]),
        file("f01", "abcde").pax(&[("GNU.sparse.size", b"8192"), ("GNU.sparse.map", b"0,3,4096,2")]),
        file("f10", map_1_0).pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"sparse"),
            ("GNU.sparse.realsize", b"8192"),
        ]),
        file("f10", "lies").pax(&[("size", b"4")]),
    ])
}

fn old_sparse() -> Vec<u8> {
    let mut bytes = file("s", "abcd").magic(b"ustar  \0").bytes();
    bytes[156] = b'S';
    bytes[386..386 + 24].copy_from_slice(b"00000010000\x0000000000004\0");
    bytes[386 + 24..386 + 48].copy_from_slice(b"00000020000\x0000000000000\0");
    bytes[483..483 + 12].copy_from_slice(b"00000020000\0");
    crate::tars::seal(&mut bytes[..512]);
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// A byte before the rest: how a target takes it.
fn taken(how: u8, bytes: &[u8]) -> Vec<u8> {
    [&[how], bytes].concat()
}

fn compressed(bytes: &[u8], compression: Compression) -> io::Result<Vec<u8>> {
    let mut encoder = encoder(Vec::new(), compression).map_err(io::Error::other)?;
    encoder.write_all(bytes)?;
    encoder.finish().map_err(io::Error::other)
}

/// Config, manifest and index of an image whose only layer is an empty tar.
fn documents() -> [String; 3] {
    let layer = DiffId::of(&[0; 1024]);
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Env": ["A=b"], "Cmd": ["sh"], "ExposedPorts": {"80/tcp": {}}},
        "rootfs": {"type": "layers", "diff_ids": [layer]}, "history": [{"created_by": "x", "empty_layer": true}]
    });
    let config = config.to_string();
    let config_digest = BlobDigest::of(config.as_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": 1024}]
    });
    let manifest = manifest.to_string();
    let index = json!({
        "schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": BlobDigest::of(manifest.as_bytes()), "size": manifest.len(),
            "platform": {"os": "linux", "architecture": "amd64"},
            "annotations": {"org.opencontainers.image.ref.name": "docker.io/library/a:1"}
        }]
    });
    [config, manifest, index.to_string()]
}

fn archives() -> [Vec<u8>; 2] {
    let layer = [0; 1024];
    let [config, manifest, index] = documents();
    let blob = |bytes: &[u8]| file(format!("blobs/sha256/{}", BlobDigest::of(bytes).hex()), bytes);
    let oci = tar(&[
        file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
        file("index.json", index),
        blob(config.as_bytes()),
        blob(manifest.as_bytes()),
        blob(&layer),
    ]);
    let items = json!([{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l/layer.tar"]}]);
    let docker = tar(&[
        file("c.json", config),
        file("real.tar", layer),
        symlink("l/layer.tar", "../real.tar"),
        file("manifest.json", items.to_string()),
    ]);
    [oci, docker]
}

/// Writes all seeds below `place`.
///
/// # Errors
/// Whatever keeps from writing.
pub fn write(place: &Path) -> io::Result<()> {
    let put = |target: &str, name: &str, bytes: Vec<u8>| {
        std::fs::create_dir_all(place.join(target))?;
        std::fs::write(place.join(target).join(name), bytes)
    };
    for (name, bytes) in [
        ("kinds", kinds()),
        ("links", links()),
        ("names", names()),
        ("sparse", sparse()),
        ("old-sparse", old_sparse()),
        ("empty", Vec::new()),
    ] {
        put("tar", name, taken(0, &bytes))?;
        put("unpack", name, taken(0, &bytes))?;
    }
    let read = |name: &[u8]| small_layer().read_if_there(name, 1 << 20).map_err(io::Error::other);
    let recon = read(b"recon")?.unwrap_or_default();
    put("recon", "whole", taken(0, &recon))?;
    put(
        "recon",
        "streams",
        taken(
            1,
            &[&[10, 0][..], &[0, 5], b"bytes", &[1, 1, 1], &[7; 64], &[0, 3, 4, 1, 3, 1, 0, 2, 2, 28, 9, 20]].concat(),
        ),
    )?;
    put("index", "whole", read(b"index")?.unwrap_or_default())?;
    for (number, (_, bytes)) in records().into_iter().enumerate() {
        let which = u8::try_from(number).unwrap_or(0);
        put("store", &format!("record-{number}"), taken(which, &bytes))?;
    }
    put("store", "lease", taken(127, b"{\"Layer\":\"sha256:0\"}\n"))?;
    for folder in 0..11 {
        put("store", &format!("name-{folder}"), taken(132 + folder, "a".repeat(64).as_bytes()))?;
    }
    for (name, text) in [
        (
            "reference",
            "registry.example:5000/team/app:1.2@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        ("digest", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("id", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("platform", "linux/arm64/v8"),
        ("short", "debian"),
        ("name", "brave_heron"),
        ("path", "usr//./lib/.wh.x"),
    ] {
        put("reference", name, text.as_bytes().to_vec())?;
    }
    let [config, manifest, index] = documents();
    for (which, (name, text)) in
        (0u8..).zip([("config", &config), ("manifest", &manifest), ("index", &index), ("nested", &index)])
    {
        put("image", name, taken(which, text.as_bytes()))?;
    }
    put("image", "layout", taken(4, br#"{"imageLayoutVersion":"1.0.0"}"#))?;
    let [oci, docker] = archives();
    put("archive", "oci", oci)?;
    put("archive", "docker", docker)?;
    let gzip = compressed(b"gzip of some text, some text", Compression::Gzip)?;
    let zstd = compressed(b"zstd of some text, some text", Compression::Zstd)?;
    put("compression", "members", [&gzip[..], &gzip, &[0; 8]].concat())?;
    put("compression", "frames", [&zstd[..], &[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2], &zstd].concat())?;
    put("compression", "plain", b"plain".to_vec())?;
    for (name, opcode, body) in messages() {
        put("fuse", name, [&[1], &message(opcode, body)[..]].concat())?;
    }
    put("fuse", "ring", [&[0x83], &message(8, [0; 32].to_vec())[..], b"null\0"].concat())
}

/// Operations by the shapes that their bodies have.
fn messages() -> [(&'static str, u32, Vec<u8>); 7] {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    [
        ("name", 1, b"name\0".to_vec()),
        ("two-names", 45, [words(&[2, 0, 1, 0]), b"old\0new\0".to_vec()].concat()),
        ("attributes", 4, words(&[0xfff; 22])),
        ("write", 16, [words(&[1, 0, 0, 0, 5, 2, 0, 0, 0, 0]), b"bytes".to_vec()].concat()),
        ("xattr", 21, [words(&[5, 1, 1, 0]), b"user.a\0value".to_vec()].concat()),
        ("forgets", 42, words(&[2, 0, 3, 0, 1, 0, 4, 0, 1, 0])),
        ("init", 26, words(&[&[7, 45, 131_072, u32::MAX, u32::MAX][..], &[0; 11]].concat())),
    ]
}

/// A message to a FUSE server; its length is made right where it is read.
fn message(opcode: u32, body: Vec<u8>) -> Vec<u8> {
    let mut header = vec![0; 40];
    header[4..8].copy_from_slice(&opcode.to_le_bytes());
    header[8..16].copy_from_slice(&1_u64.to_le_bytes());
    [header, body].concat()
}
