//! Archives and layouts that are damaged, made to hurt, or for somebody else: one clear error each, and a store that is as it
//! was.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use mica_core::DiffId;
use mica_testkit::{in_mount_namespace, needs};
use serde_json::{Value, json};

use crate::archives::ByHand;
use crate::common::Mica;
use crate::peers_at_work::tool;
use crate::refusals::{refused, sum_header, tar};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layout of one image, whose manifest and config a test may spoil.
struct Spoilt {
    hand: ByHand,
    layer: Vec<u8>,
    config: Value,
    manifest: Value,
}

impl Spoilt {
    fn new(root: &Path) -> Self {
        if root.exists() {
            tool("rm", [Path::new("-r"), root]);
        }
        let hand = ByHand::new(root);
        let layer = tar(&[("file", b'0', b"content")]);
        let config = json!({"architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [DiffId::of(&layer)]}});
        let described = hand.blob(LAYER, &layer);
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": hand.document("config", &config), "layers": [described]});
        Self { hand, layer, config, manifest }
    }

    /// Ends it with the config and the manifest as they are now.
    fn finish(&mut self) -> Value {
        self.manifest["config"] = self.hand.document("config", &self.config);
        self.finish_manifest()
    }

    fn finish_manifest(&mut self) -> Value {
        let described = self.hand.document("manifest", &self.manifest);
        self.hand.finish(described.clone(), "docker.io/library/spoilt:1");
        described
    }

    fn blob(&self, described: &Value) -> std::path::PathBuf {
        let digest = described["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
        self.hand.root.join("blobs/sha256").join(digest)
    }
}

/// What is wrong, how a layout gets so, and the words of the error.
type Case = (&'static str, fn(&mut Spoilt), &'static [&'static str]);

/// The layout in a tar.
fn packed(mica: &Mica, layout: &Path) -> String {
    let archive = mica.path("packed.tar");
    let words = ["-cf", archive.to_str().unwrap(), "-C", layout.to_str().unwrap(), "."];
    tool("tar", words);
    archive.to_str().unwrap().to_owned()
}

#[test]
fn what_a_layout_lacks_or_has_wrong_is_named() {
    needs!(root, program "tar");
    let mica = Mica::new();
    mica.run(["images"]);
    let root = mica.path("layout");
    let cases: &[Case] = &[
        (
            "a layer is missing",
            |it| {
                it.finish();
                fs::remove_file(it.blob(&it.manifest["layers"][0])).unwrap();
            },
            &["layer 1 of 1", "is missing", "blobs/sha256/"],
        ),
        (
            "the config is missing",
            |it| {
                it.finish();
                fs::remove_file(it.blob(&it.manifest["config"])).unwrap();
            },
            &["config sha256:", "is missing"],
        ),
        (
            "the manifest is missing",
            |it| {
                let manifest = it.finish();
                fs::remove_file(it.blob(&manifest)).unwrap();
            },
            &["manifest sha256:", "is missing"],
        ),
        (
            "a layer has other bytes",
            |it| {
                it.finish();
                let mut other = it.layer.clone();
                other[513] ^= 1;
                fs::write(it.blob(&it.manifest["layers"][0]), other).unwrap();
            },
            &["layer", "sha256:"],
        ),
        (
            "a config has other bytes",
            |it| {
                it.finish();
                let path = it.blob(&it.manifest["config"]);
                let text = fs::read_to_string(&path).unwrap().replace("linux", "linuy");
                fs::write(path, text).unwrap();
            },
            &["config sha256:", "is corrupt: its digest is"],
        ),
        (
            "a layer has another size",
            |it| {
                it.manifest["layers"][0]["size"] = json!(7);
                it.finish();
            },
            &["layer 1 of 1", "is corrupt: it has 2048 bytes, not 7"],
        ),
        (
            "a layer is of no known kind",
            |it| {
                it.manifest["layers"][0]["mediaType"] = json!("application/vnd.example.squashfs");
                it.finish();
            },
            &["layer 1 of 1", "unsupported media type", "squashfs"],
        ),
        (
            "a layer is encrypted",
            |it| {
                it.manifest["layers"][0]["mediaType"] = json!(format!("{LAYER}+gzip+encrypted"));
                it.finish();
            },
            &["is encrypted", "decrypt"],
        ),
        (
            "a layer is only elsewhere",
            |it| {
                it.manifest["layers"][0]["urls"] = json!(["https://example.com/base"]);
                it.finish();
                fs::remove_file(it.blob(&it.manifest["layers"][0])).unwrap();
            },
            &["not in the archive", "https://example.com/base"],
        ),
        (
            "the config tells more layers",
            |it| {
                let twice = it.config["rootfs"]["diff_ids"][0].clone();
                it.config["rootfs"]["diff_ids"] = json!([twice, twice]);
                it.finish();
            },
            &["its config lists 2 layers, its manifest 1"],
        ),
        (
            "the config tells another layer",
            |it| {
                it.config["rootfs"]["diff_ids"] = json!([DiffId::of(b"other")]);
                it.finish();
            },
            &["layer", "sha256:"],
        ),
        (
            "a manifest lists a layer that it lists twice with one DiffID",
            |it| {
                let one = it.manifest["layers"][0].clone();
                it.manifest["layers"] = json!([one, one]);
                it.finish();
            },
            &["its config lists 1 layers, its manifest 2"],
        ),
        (
            "a document is too long",
            |it| {
                it.config["pad"] = json!(" ".repeat(5 << 20));
                it.finish();
            },
            &["config sha256:", "the limit is 4194304"],
        ),
        (
            "a document is too deep",
            |it| {
                let deep = "[".repeat(100_000) + &"]".repeat(100_000);
                let config = it.config.to_string().replacen('{', &format!("{{\"deep\":{deep},"), 1);
                it.manifest["config"] = it.hand.blob("application/vnd.oci.image.config.v1+json", config.as_bytes());
                it.finish_manifest();
            },
            &["config of image", "recursion limit"],
        ),
        (
            "a config has a time that is none",
            |it| {
                it.config["created"] = json!("yesterday");
                it.finish();
            },
            &["config of image", "cannot be understood"],
        ),
        (
            "a document is none",
            |it| {
                it.finish();
                fs::write(it.hand.root.join("index.json"), "{\"manifests\": [").unwrap();
            },
            &["index.json cannot be understood"],
        ),
        (
            "a digest is of another kind",
            |it| {
                it.manifest["layers"][0]["digest"] = json!("sha512:00");
                it.finish();
            },
            &["layer 1 of 1", "sha512"],
        ),
        (
            "a digest climbs",
            |it| {
                it.manifest["layers"][0]["digest"] = json!("sha256:../../../etc/passwd");
                it.finish();
            },
            &["layer 1 of 1", "etc/passwd"],
        ),
        (
            "indexes without end",
            |it| {
                let mut inner = it.finish();
                for at in 0..8 {
                    inner = it.hand.document("index", &json!({"schemaVersion": 2, "at": at, "manifests": [inner]}));
                }
                it.hand.finish(inner, "docker.io/library/spoilt:1");
            },
            &["nested deeper than 4"],
        ),
        (
            "a name is none",
            |it| {
                let mut described = it.finish();
                described["annotations"] = json!({"io.containerd.image.name": "Not A Name"});
                it.hand.write_index(&[described]);
            },
            &["names an image \"Not A Name\""],
        ),
        (
            "only an artifact, without a name",
            |it| {
                it.manifest["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
                let artifact = it.finish_manifest();
                it.hand.write_index(&[artifact]);
            },
            &["holds no image, only application/vnd.cncf.helm.config.v1+json"],
        ),
        ("nothing", |it| it.hand.write_index(&[]), &["holds no image"]),
        (
            "a newer layout",
            |it| {
                it.finish();
                fs::write(it.hand.root.join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
            },
            &["layout version \"2.0.0\""],
        ),
        (
            "no index.json",
            |it| {
                it.finish();
                fs::remove_file(it.hand.root.join("index.json")).unwrap();
            },
            &["there is no \"index.json\""],
        ),
        (
            "no oci-layout",
            |it| {
                it.finish();
                fs::remove_file(it.hand.root.join("oci-layout")).unwrap();
            },
            &["there is no \"oci-layout\""],
        ),
    ];
    for (what, spoil, words) in cases {
        let mut spoilt = Spoilt::new(&root);
        spoil(&mut spoilt);
        let both = [&["load ", "layout"], *words].concat();
        refused(&mica, &["load", "-q", "-i", root.to_str().unwrap()], &both, None);
        // The same in a tar, from a file.
        let archive = packed(&mica, &root);
        let words: Vec<&str> = match *what {
            "no index.json" => vec!["not an image archive"],
            _ => words.to_vec(),
        };
        refused(&mica, &["load", "-q", "-i", &archive], &words, None);
    }
    let mut whole = Spoilt::new(&root);
    whole.finish();
    assert_eq!(mica.run(["load", "-i", root.to_str().unwrap()]).out, "Loaded image: spoilt:1\n");
    mica.assert_whole();
}

#[test]
fn a_layer_may_stand_twice_and_unknown_fields_stay() {
    needs!(root);
    let mica = Mica::new();
    let mut twice = Spoilt::new(&mica.path("layout"));
    let (one, id) = (twice.manifest["layers"][0].clone(), twice.config["rootfs"]["diff_ids"][0].clone());
    twice.manifest["layers"] = json!([one, one]);
    twice.config["rootfs"]["diff_ids"] = json!([id, id]);
    twice.config["odd"] = json!({"kept": true});
    twice.manifest["annotations"] = json!({"also": "kept"});
    let manifest = twice.finish();
    mica.run(["load", "-q", "-i", twice.hand.root.to_str().unwrap()]);
    let layout = mica.path("again");
    mica.run(["save", "-q", "--format", "oci-dir", "-o", layout.to_str().unwrap(), "spoilt:1"]);
    let again = layout.join("blobs/sha256").join(twice.blob(&manifest).file_name().unwrap());
    assert_eq!(fs::read(again).unwrap(), twice.manifest.to_string().into_bytes());
    mica.assert_whole();
}

#[test]
fn an_index_without_our_platform_tells_which_there_are() {
    needs!(root);
    let mica = Mica::new();
    mica.run(["images"]);
    let hand = ByHand::new(&mica.path("layout"));
    let described: Vec<Value> = ["s390x", "ppc64le"].iter().map(|architecture| hand.image(architecture)).collect();
    hand.finish(hand.index(&described), "docker.io/library/many:1");
    let layout = hand.root.to_str().unwrap();
    let there = ["it is for linux/s390x, linux/ppc64le"];
    refused(&mica, &["load", "-i", layout], &there, Some("--platform linux/s390x"));
    refused(&mica, &["load", "-i", layout, "--platform", "linux/riscv64"], &there, Some("--platform linux/s390x"));
    refused(&mica, &["load", "-i", layout, "--platform", "what"], &["what"], None);
    let both = mica.refuses(["load", "-i", layout, "--platform", "linux/s390x", "--all-platforms"]);
    assert!(both.contains("--all-platforms"), "{both}");
    mica.assert_whole();
}

/// Members with the files of a Docker archive after them.
fn docker(layer: &str, tag: &str, members: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let content = tar(&[("file", b'0', b"content")]);
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [DiffId::of(&content)]}});
    let config = config.to_string();
    let manifest = json!([{"Config": "c.json", "RepoTags": [tag], "Layers": [layer]}]).to_string();
    let rest = [
        ("c.json", b'0', config.as_bytes()),
        ("l.tar", b'0', &content[..]),
        ("manifest.json", b'0', manifest.as_bytes()),
    ];
    tar(&[members, &rest].concat())
}

#[test]
fn archives_that_reach_outside_of_themselves() {
    needs!(root);
    let mica = Mica::new();
    mica.run(["images"]);
    let archive = mica.path("docker.tar");
    let load = ["load", "-q", "-i", archive.to_str().unwrap()];
    let refuse = |bytes: &[u8], words: &[&str]| {
        fs::write(&archive, bytes).unwrap();
        refused(&mica, &load, words, None);
    };
    for name in ["../l.tar", "/etc/passwd", "x/../../l.tar", "/proc/self/environ"] {
        refuse(&docker(name, "a:1", &[("../l.tar", b'0', b"x")]), &["layer 1 of 1", "is missing"]);
    }
    refuse(&linked(b'2', "../../../../etc/passwd"), &["layer 1 of 1", "is missing", "link"]);
    refuse(&linked(b'1', "/etc/passwd"), &["layer 1 of 1", "is missing", "link"]);
    refuse(&docker("l.tar", "a:1", &[("manifest.json", b'0', b"[]")]), &["holds \"manifest.json\" twice"]);
    refuse(&docker("l.tar", "No Reference", &[]), &["names an image \"No Reference\""]);
    refuse(&tar(&[("repositories", b'0', br#"{"a":{"1":"feed"}}"#)]), &["image ID \"feed\""]);
    let nowhere = json!({"a": {"1": "f".repeat(64)}}).to_string();
    refuse(&tar(&[("repositories", b'0', nowhere.as_bytes())]), &["image ffff", "is missing", "/json"]);
    mica.assert_whole();
}

/// The archive with a link to `target` as its first member.
fn linked(kind: u8, target: &str) -> Vec<u8> {
    let mut bytes = docker("link", "a:1", &[("link", kind, b"")]);
    bytes[157..157 + target.len()].copy_from_slice(target.as_bytes());
    sum_header(&mut bytes);
    bytes
}

#[test]
fn directories_that_lead_astray_or_change() {
    needs!(root);
    let mica = Mica::new();
    mica.run(["images"]);
    let root = mica.path("layout");
    let mut spoilt = Spoilt::new(&root);
    spoilt.finish();
    let load = ["load", "-q", "-i", root.to_str().unwrap()];
    let blob = spoilt.blob(&spoilt.manifest["layers"][0]);
    // What stands where a blob should be: nothing that is no file is opened, least of all a FIFO, which would block.
    fs::remove_file(&blob).unwrap();
    symlink("/dev/zero", &blob).unwrap();
    refused(&mica, &load, &["layer 1 of 1", "is missing"], None);
    fs::remove_file(&blob).unwrap();
    tool("mkfifo", [&blob]);
    refused(&mica, &load, &["layer 1 of 1", "is missing"], None);
    fs::remove_file(&blob).unwrap();
    symlink("/etc/passwd", &blob).unwrap();
    refused(&mica, &load, &["layer 1 of 1", "is corrupt"], None);
    fs::remove_file(&blob).unwrap();
    // One that changes between the look at its size and the reading of its end.
    let mut changed = spoilt.layer.clone();
    changed[600] = b'!';
    fs::write(&blob, changed).unwrap();
    refused(&mica, &load, &["sha256:"], None);
    let skopeo = mica.path("skopeo");
    fs::create_dir(&skopeo).unwrap();
    for name in ["version", "manifest.json"] {
        fs::write(skopeo.join(name), "Directory Transport Version: 1.1\n").unwrap();
    }
    refused(&mica, &["load", "-i", skopeo.to_str().unwrap()], &["skopeo's dir: form"], Some("skopeo copy dir:"));
    refused(&mica, &["load", "-i", mica.path("nothing").to_str().unwrap()], &["No such file"], None);
    mica.assert_whole();
}

#[test]
fn a_file_that_nobody_may_read_and_a_store_that_nobody_may_write() {
    needs!(root, program "mount");
    let mica = Mica::new();
    let root = mica.path("layout");
    Spoilt::new(&root).finish();
    mica.run(["load", "-q", "-i", root.to_str().unwrap()]);
    let before = mica.contents();
    in_mount_namespace(|| {
        let store = mica.root();
        tool("mount", [Path::new("--bind"), store, store]);
        tool("mount", [Path::new("-o"), Path::new("remount,bind,ro"), store]);
        let error = mica.refuses(["load", "-q", "-i", root.to_str().unwrap()]);
        assert!(error.to_lowercase().contains("read-only"), "{error}");
        tool("umount", [store]);
    });
    assert_eq!(mica.contents(), before);
    // Root reads every file but one that its mount gives errors for: a directory where a file should be.
    let error = mica.refuses(["load", "-q", "-i", "/proc/self/mem"]);
    assert!(error.contains("/proc/self/mem"), "{error}");
    mica.assert_whole();
}

#[test]
fn a_pipe_that_grows_without_end_is_bounded_by_what_it_holds() {
    needs!(root);
    let mica = Mica::new();
    mica.run(["images"]);
    // The beginning of a tar, and then nothing that ever ends it.
    let endless = [&tar(&[("a", b'0', b"x")])[..1024], &[7; 4 << 20]].concat();
    let said = mica.feed(["load", "-q"], &endless);
    assert_eq!((said.status, said.err.matches("mica: ").count()), (125, 1), "{said:?}");
    assert_eq!(fs::read_dir(mica.root().join("staging")).unwrap().count(), 0);
    mica.assert_whole();
}
