//! The forms in which images come and go, and images for several platforms.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mica_core::image::Platform;
use mica_core::{BlobDigest, DiffId};
use mica_testkit::needs;
use serde_json::{Value, json};

use crate::common::{Mica, Said};
use crate::refusals::{sum_header, tar};

const OCI: &str = "application/vnd.oci.image";

/// A layout that is made by hand: blobs as they come, `index.json` at the end.
pub(crate) struct ByHand {
    pub(crate) root: PathBuf,
}

impl ByHand {
    pub(crate) fn new(root: &Path) -> Self {
        fs::create_dir_all(root.join("blobs/sha256")).unwrap();
        fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { root: root.to_owned() }
    }

    /// A blob, and its descriptor.
    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = BlobDigest::of(bytes);
        fs::write(self.root.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// A document of the type that OCI calls so.
    pub(crate) fn document(&self, kind: &str, value: &Value) -> Value {
        self.blob(&format!("{OCI}.{kind}.v1+json"), value.to_string().as_bytes())
    }

    /// An image of one layer with one file, for this architecture; its manifest's descriptor, with the platform.
    pub(crate) fn image(&self, architecture: &str) -> Value {
        let layer = tar(&[("arch", b'0', architecture.as_bytes())]);
        let config = self.document(
            "config",
            &json!({"architecture": architecture, "os": "linux", "config": {"Cmd": ["/arch"]},
            "rootfs": {"type": "layers", "diff_ids": [DiffId::of(&layer)]}}),
        );
        let layer = self.blob(&format!("{OCI}.layer.v1.tar"), &layer);
        let manifest = json!({"schemaVersion": 2, "mediaType": format!("{OCI}.manifest.v1+json"), "config": config, "layers": [layer]});
        let mut described = self.document("manifest", &manifest);
        described["platform"] = json!({"os": "linux", "architecture": architecture});
        described
    }

    pub(crate) fn index(&self, manifests: &[Value]) -> Value {
        self.document(
            "index",
            &json!({"schemaVersion": 2, "mediaType": format!("{OCI}.index.v1+json"), "manifests": manifests}),
        )
    }

    /// Ends it with a descriptor that has this name.
    pub(crate) fn finish(&self, mut described: Value, name: &str) {
        described["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        self.write_index(&[described]);
    }

    pub(crate) fn write_index(&self, manifests: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        fs::write(self.root.join("index.json"), index.to_string()).unwrap();
    }
}

/// An OCI archive, as we write it, of an image for these architectures, with an attestation, under `many:1`.
pub(crate) fn many(mica: &Mica, architectures: &[&str], layout: &Path) -> PathBuf {
    let hand = ByHand::new(layout);
    let mut manifests: Vec<Value> = architectures.iter().map(|architecture| hand.image(architecture)).collect();
    let statement = hand.blob("application/vnd.in-toto+json", b"{\"predicate\":{}}");
    let config =
        hand.blob(&format!("{OCI}.config.v1+json"), b"{\"architecture\":\"unknown\",\"os\":\"unknown\",\"rootfs\":{}}");
    let attestation = json!({"schemaVersion": 2, "mediaType": format!("{OCI}.manifest.v1+json"), "config": config, "layers": [statement]});
    let mut attestation = hand.document("manifest", &attestation);
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    manifests.push(attestation);
    hand.finish(hand.index(&manifests), "docker.io/library/many:1");
    let store = Mica::new();
    let said = store.run(["load", "--all-platforms", "-i", layout.to_str().unwrap()]);
    assert_eq!(said.out, "Loaded image: many:1\n");
    store.assert_whole();
    let archive = mica.path("many.tar");
    let said = store.run(["save", "--format", "oci-archive", "-o", archive.to_str().unwrap(), "many:1"]);
    assert!(!said.err.contains("index"), "nothing is left out: {said:?}");
    archive
}

#[track_caller]
fn save(mica: &Mica, flags: &[&str], to: &Path, name: &str) -> Said {
    mica.run(["save", "-o", to.to_str().unwrap()].iter().chain(flags).chain(&[name]))
}

#[track_caller]
fn load(mica: &Mica, flags: &[&str], from: &Path) -> Said {
    mica.run(["load", "-i", from.to_str().unwrap()].iter().chain(flags))
}

/// Every file below a directory with its bytes.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut next = vec![root.to_owned()];
    while let Some(dir) = next.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => next.push(path),
                false => {
                    found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
                }
            }
        }
    }
    found
}

fn same_file(one: &Path, other: &Path) -> bool {
    fs::read(one).unwrap() == fs::read(other).unwrap()
}

#[test]
fn a_layout_directory_goes_out_and_comes_in_the_same() {
    needs!(root, program "busybox");
    let mica = Mica::new();
    let id = mica.busybox("quay.io/ours/tiny:v1");
    mica.run(["tag", "quay.io/ours/tiny:v1", "tiny"]);
    let names = ["quay.io/ours/tiny:v1", "tiny"];
    let save_all = |mica: &Mica, format: &str, to: &str| {
        let to = mica.path(to);
        mica.run(["save", "-q", "--format", format, "-o", to.to_str().unwrap()].iter().chain(&names));
        to
    };
    let first = save_all(&mica, "oci-dir", "layout");
    let second = Mica::new();
    assert_eq!(load(&second, &[], &first).out, "Loaded image: quay.io/ours/tiny:v1\nLoaded image: tiny:latest\n");
    assert_eq!(second.run(["inspect", "-f", "{{.Id}}", "tiny"]).line(), id);
    let again = save_all(&second, "oci-dir", "layout");
    assert_eq!(files(&first), files(&again));
    // Saved into the same directory once more it stays as it is.
    let before = files(&first);
    save_all(&mica, "oci-dir", "layout");
    assert_eq!(files(&first), before);
    // Between the forms every digest is kept: a round through all of them ends where it began.
    let mut from = first;
    for (number, format) in ["oci-archive", "docker-archive", "oci-archive", "oci-dir"].iter().enumerate() {
        let next = Mica::new();
        load(&next, &[], &from);
        let to = next.path(&format!("form-{number}"));
        next.run(["save", "-q", "--format", format, "-o", to.to_str().unwrap()].iter().chain(&names));
        from = mica.path(&format!("form-{number}"));
        match to.is_dir() {
            true => assert_eq!(files(&to), before, "{format}"),
            false => drop(fs::copy(&to, &from).unwrap()),
        }
        next.assert_whole();
    }
}

#[test]
fn a_layout_directory_is_added_to_and_never_left_half() {
    needs!(root, program "busybox");
    let mica = Mica::new();
    mica.busybox("one");
    mica.run(["create", "--name", "box", "one", "true"]);
    mica.run(["commit", "-q", "box", "two"]);
    let layout = mica.path("layout");
    save(&mica, &["--format", "oci-dir"], &layout, "one");
    save(&mica, &["--format", "oci-dir"], &layout, "two");
    assert_eq!(load(&Mica::new(), &[], &layout).out, "Loaded image: one:latest\nLoaded image: two:latest\n");
    let before = files(&layout);
    let path = layout.to_str().unwrap();
    mica.refuses(["save", "-q", "--format", "oci-dir", "-o", path, "one", "none"]);
    assert_eq!(files(&layout), before);
    // Into a directory with anything else in it nothing is put, and into a new one nothing but a whole layout.
    let other = mica.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("precious"), "x").unwrap();
    let error = mica.refuses(["save", "-q", "--format", "oci-dir", "-o", other.to_str().unwrap(), "one"]);
    assert!(error.contains("not empty") && error.contains("hint: "), "{error}");
    assert_eq!(files(&other).len(), 1);
    for (args, words) in [
        (vec!["save", "--format", "oci-dir", "one"], ["standard output", "-o DIR"]),
        (vec!["save", "-o", path, "one"], ["is a directory", "--format oci-dir"]),
        (vec!["save", "--format", "oci-dir", "-o", "/no/such/place", "one"], ["/no/such/place", "No such file"]),
    ] {
        let error = mica.refuses(&args);
        assert!(words.iter().all(|word| error.contains(word)), "{args:?}: {error}");
    }
    mica.assert_whole();
}

#[test]
fn all_platforms_of_an_image_come_in_and_go_out_with_every_byte() {
    needs!(root);
    let host = Platform::host().architecture;
    let mica = Mica::new();
    let archive = many(&mica, &["s390x", "arm64", &host, "ppc64le"], &mica.path("layout"));
    let said = load(&mica, &["--all-platforms"], &archive);
    assert_eq!((said.out.as_str(), said.err.contains("was the name")), ("Loaded image: many:1\n", false), "{said:?}");
    let listed = mica.run(["images"]).out;
    assert!(listed.lines().next().unwrap().ends_with("PLATFORM"), "{listed}");
    for architecture in ["s390x", "arm64", &host, "ppc64le"] {
        let rows =
            listed.lines().filter(|line| line.starts_with("many") && line.ends_with(&format!("linux/{architecture}")));
        assert_eq!(rows.count(), 1, "{architecture}: {listed}");
    }
    // What runs here is what the name means here.
    assert_eq!(mica.run(["inspect", "-f", "{{.Os}}/{{.Architecture}}", "many:1"]).line(), format!("linux/{host}"));
    let again = mica.path("again.tar");
    save(&mica, &["--format", "oci-archive"], &again, "many:1");
    assert!(same_file(&again, &archive));
    // The layout that was made by hand comes back too, blob by blob.
    let layout = mica.path("layout-again");
    save(&mica, &["--format", "oci-dir"], &layout, "many:1");
    let (mut ours, mut theirs) = (files(&layout), files(&mica.path("layout")));
    assert!(ours.remove(Path::new("index.json")).is_some() && theirs.remove(Path::new("index.json")).is_some());
    assert_eq!(ours, theirs);

    // A name that is given to an index is one of all of its images too, and goes alone.
    mica.run(["tag", "many:1", "many:2"]);
    assert_eq!(mica.run(["rmi", "many:1"]).out, "Untagged: many:1\n");
    // By ID one platform goes, and the name stays with the others.
    let arm = mica.run(["images", "--no-trunc", "--format", "{{.ID}} {{.Platform}}"]).out;
    let arm = arm.lines().find_map(|line| line.strip_suffix(" linux/arm64")).unwrap().to_owned();
    assert_eq!(mica.run(["rmi", &arm]).out, format!("Deleted: {arm}\n"));
    assert_eq!(mica.run(["images", "-q"]).out.lines().count(), 3);
    mica.assert_whole();
    let out = mica.run(["rmi", "many:2"]).out;
    assert_eq!((out.lines().count(), out.matches("Deleted: ").count()), (4, 3), "{out}");
    assert_eq!(mica.run(["images", "-q"]).out, "");
    assert_eq!(fs::read_dir(mica.root().join("blobs/sha256")).unwrap().count(), 0, "no blob is left");
    mica.assert_whole();
}

#[test]
fn of_an_index_what_is_here_is_saved_and_the_rest_is_named() {
    needs!(root);
    let mica = Mica::new();
    let archive = many(&mica, &["s390x", "arm64", "riscv64"], &mica.path("layout"));
    load(&mica, &["--platform", "linux/arm64"], &archive);
    load(&mica, &["--platform", "linux/riscv64"], &archive);
    let partial = mica.path("partial.tar");
    let said = save(&mica, &["--format", "oci-archive"], &partial, "many:1");
    let note = said.err.lines().find(|line| line.contains("index")).unwrap_or_else(|| panic!("{said:?}"));
    assert!(note.contains("linux/arm64, linux/riscv64; not linux/s390x"), "{note}");
    // It comes in again as what it is, and goes out with the same bytes.
    let second = Mica::new();
    load(&second, &["--all-platforms"], &partial);
    assert_eq!(second.run(["images", "-q"]).out.lines().count(), 2);
    let again = mica.path("again.tar");
    save(&second, &["--format", "oci-archive"], &again, "many:1");
    assert!(same_file(&again, &partial));
    // Nothing of this is for this machine, and two are there.
    let error = Mica::new().refuses(["load", "-i", partial.to_str().unwrap()]);
    assert!(error.contains("linux/arm64, linux/riscv64") && error.contains("--platform linux/arm64"), "{error}");

    let one = mica.path("one.tar");
    let said = save(&mica, &["--format", "oci-archive", "--platform", "linux/riscv64"], &one, "many:1");
    assert!(!said.err.contains("index"), "it is what was asked for: {said:?}");
    let third = Mica::new();
    load(&third, &[], &one);
    assert_eq!(third.run(["images", "--format", "{{.Repository}} {{.Platform}}"]).line(), "many linux/riscv64");
    let error = mica.refuses(["save", "--platform", "linux/s390x", "many:1"]);
    assert!(error.contains("linux/s390x") && error.contains("linux/arm64, linux/riscv64"), "{error}");
    let said = save(&mica, &[], &mica.path("docker.tar"), "many:1");
    assert!(said.err.contains("a docker archive has none"), "{said:?}");
    mica.assert_whole();
}

#[test]
fn the_compressed_layers_of_a_docker_archive_are_kept_as_plain_ones() {
    needs!(root, program "gzip");
    let mica = Mica::new();
    let layer = tar(&[("file", b'0', "content ".repeat(999).as_bytes())]);
    let file = mica.path("layer");
    fs::write(&file, &layer).unwrap();
    crate::peers_at_work::tool("gzip", ["-k", file.to_str().unwrap()]);
    let packed = fs::read(mica.path("layer.gz")).unwrap();
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [DiffId::of(&layer)]}});
    let manifest = json!([{"Config": "c.json", "RepoTags": ["packed:1"], "Layers": ["l.tar.gz"]}]).to_string();
    let archive = mica.path("docker.tar");
    let config = config.to_string();
    let members = [
        ("c.json", b'0', config.as_bytes()),
        ("l.tar.gz", b'0', &packed[..]),
        ("manifest.json", b'0', manifest.as_bytes()),
    ];
    fs::write(&archive, tar(&members)).unwrap();
    load(&mica, &[], &archive);
    mica.assert_whole();
    for format in ["oci-archive", "docker-archive"] {
        let saved = mica.path(format);
        let said = save(&mica, &["--format", format], &saved, "packed:1");
        assert!(!said.err.contains("manifest"), "{said:?}");
        let second = Mica::new();
        load(&second, &[], &saved);
        assert_eq!(second.run(["images", "--digests"]).out, mica.run(["images", "--digests"]).out, "{format}");
        second.assert_whole();
    }
}

#[test]
fn a_form_that_cannot_keep_a_digest_says_so() {
    needs!(root);
    let mica = Mica::new();
    let hand = ByHand::new(&mica.path("layout"));
    let described = hand.image("amd64");
    let path = hand.root.join("blobs/sha256").join(described["digest"].as_str().unwrap().trim_start_matches("sha256:"));
    let mut manifest: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    manifest["annotations"] = json!({"what": "nobody else would write"});
    hand.finish(hand.document("manifest", &manifest), "docker.io/library/theirs:1");
    load(&mica, &[], &hand.root);
    let digest = mica.run(["images", "--digests", "--format", "{{.Digest}}"]).line();
    let said = save(&mica, &[], &mica.path("docker.tar"), "theirs:1");
    let note = said.err.lines().find(|line| line.contains("no manifest")).unwrap_or_else(|| panic!("{said:?}"));
    assert!(note.contains(&digest) && note.contains("oci-archive"), "{note}");
    let said = save(&mica, &["--format", "oci-archive"], &mica.path("oci.tar"), "theirs:1");
    assert!(!said.err.contains(&digest), "it keeps it: {said:?}");
}

#[test]
fn what_has_a_tag_and_no_repository_is_found_by_its_id_and_said() {
    needs!(root);
    let mica = Mica::new();
    let hand = ByHand::new(&mica.path("layout"));
    hand.finish(hand.image("amd64"), "latest");
    let said = load(&mica, &[], &hand.root);
    let id = mica.run(["images", "-q", "--no-trunc"]).line();
    assert_eq!(said.out, format!("Loaded image ID: {id}\n"));
    assert!(said.err.contains("\"latest\"") && said.err.contains("mica tag"), "{said:?}");
    assert!(!load(&mica, &["-q"], &hand.root).err.contains("mica tag"));
}

#[test]
fn an_image_for_another_machine_says_so_when_its_command_cannot_be_run() {
    needs!(root, overlay);
    let mica = Mica::new();
    let hand = ByHand::new(&mica.path("layout"));
    let foreign = if Platform::host().architecture == "s390x" { "amd64" } else { "s390x" };
    let (header, text) = (&b"\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0\0\x02\0\x16\0\0\0\x01"[..], [0; 64]);
    let program = [header, &text].concat();
    let mut layer = tar(&[("arch", b'0', &program)]);
    // May be executed.
    layer[100..108].copy_from_slice(b"0000755\0");
    sum_header(&mut layer);
    let config = hand.document(
        "config",
        &json!({"architecture": foreign, "os": "linux", "config": {"Cmd": ["/arch"]},
        "rootfs": {"type": "layers", "diff_ids": [DiffId::of(&layer)]}}),
    );
    let layer = hand.blob(&format!("{OCI}.layer.v1.tar"), &layer);
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    hand.finish(hand.document("manifest", &manifest), "docker.io/library/foreign:1");
    load(&mica, &[], &hand.root);
    let said = mica.try_run(["run", "--rm", "--network", "none", "foreign:1"]);
    assert_eq!(said.status, 126, "{said:?}");
    assert!(said.err.contains(&format!("linux/{foreign}")) && said.err.contains("hint: "), "{said:?}");
    mica.assert_whole();
}

#[test]
fn an_artifact_is_kept_and_passed_on_and_not_run() {
    needs!(root);
    let mica = Mica::new();
    let hand = ByHand::new(&mica.path("layout"));
    let empty = hand.blob("application/vnd.oci.empty.v1+json", b"{}");
    let chart = hand.blob("application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"no tar at all");
    let manifest = json!({"schemaVersion": 2, "mediaType": format!("{OCI}.manifest.v1+json"), "artifactType": "application/vnd.example.chart",
        "config": empty, "layers": [chart]});
    let mut artifact = hand.document("manifest", &manifest);
    artifact["annotations"] = json!({"org.opencontainers.image.ref.name": "quay.io/charts/site:1"});
    let mut image = hand.image("amd64");
    image["annotations"] = json!({"org.opencontainers.image.ref.name": "docker.io/library/site:1"});
    hand.write_index(&[image, artifact.clone()]);
    assert_eq!(load(&mica, &[], &hand.root).out, "Loaded image: site:1\nLoaded artifact: quay.io/charts/site:1\n");
    let listed = mica.run(["images"]).out;
    assert!(
        listed.lines().any(|line| line.starts_with("quay.io/charts/site") && line.contains("<artifact>")),
        "{listed}"
    );
    assert_eq!(mica.run(["images", "-q"]).out.lines().count(), 1);
    for words in [&["run", "--rm", "quay.io/charts/site:1", "true"][..], &["history", "quay.io/charts/site:1"]] {
        let error = mica.refuses(words);
        assert!(error.contains("is an artifact (application/vnd.example.chart)"), "{words:?}: {error}");
    }
    let error = mica.refuses(["save", "-o", mica.path("no.tar").to_str().unwrap(), "quay.io/charts/site:1"]);
    assert!(error.contains("images only") && error.contains("oci-archive") && !mica.path("no.tar").exists(), "{error}");
    mica.run(["system", "prune", "--force"]);
    let again = mica.path("again");
    mica.run(["save", "--format", "oci-dir", "-o", again.to_str().unwrap(), "site:1", "quay.io/charts/site:1"]);
    let (mut ours, mut theirs) = (files(&again), files(&hand.root));
    assert!(ours.remove(Path::new("index.json")).is_some() && theirs.remove(Path::new("index.json")).is_some());
    assert_eq!(ours, theirs, "every blob came back");
    mica.assert_whole();
    // Alone, it comes in as well; without a name it could not be found again.
    hand.write_index(&[artifact.clone()]);
    let second = Mica::new();
    assert_eq!(load(&second, &[], &hand.root).out, "Loaded artifact: quay.io/charts/site:1\n");
    assert_eq!(second.run(["rmi", "quay.io/charts/site:1"]).out, "Untagged: quay.io/charts/site:1\n");
    assert_eq!(fs::read_dir(second.root().join("blobs/sha256")).unwrap().count(), 0);
    artifact.as_object_mut().unwrap().remove("annotations");
    hand.write_index(&[artifact.clone()]);
    assert!(
        second.refuses(["load", "-i", hand.root.to_str().unwrap()]).contains("only application/vnd.oci.empty.v1+json")
    );
    hand.write_index(&[artifact, hand.image("amd64")]);
    let said = load(&second, &[], &hand.root);
    assert!(said.err.contains("an artifact without a name is left out"), "{said:?}");
    second.assert_whole();
}
