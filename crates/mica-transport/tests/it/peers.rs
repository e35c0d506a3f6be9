//! What umoci, skopeo and podman write is read here, and what is written here is read by them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_core::{DiffId, ImageId};
use mica_layer::Compression;
use mica_testkit::{Scratch, needs};
use mica_transport::{
    DockerArchiveWriter, ImageSource, OciArchiveWriter, OpenOptions, Platforms, RawManifest, Reference, SinkImage,
    SinkLayer, SourceImage, copy, open_archive, open_archive_with, open_layout_dir, spool, synthesize_manifest,
};
use serde_json::{Value, json};

/// Runs a program to its success and returns what it printed.
fn run<I: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = I>) -> String {
    let mut command = Command::new(program);
    command.args(args);
    let ran = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

fn skopeo(args: &[&str]) -> String {
    run("skopeo", args)
}

/// A place as skopeo calls it.
fn at(transport: &str, path: &Path, name: &str) -> String {
    let name = if name.is_empty() { String::new() } else { format!(":{name}") };
    format!("{transport}:{}{name}", path.display())
}

/// A layout made by umoci with two layers, the second with a whiteout, under the tag `two`.
fn umoci_layout(scratch: &Scratch) -> PathBuf {
    let layout = scratch.path().join("layout");
    let image = format!("{}:two", layout.display());
    let file = scratch.path().join("file");
    fs::write(&file, "content\n".repeat(1000)).unwrap();
    run("umoci", [OsStr::new("init"), OsStr::new("--layout"), layout.as_os_str()]);
    run("umoci", ["new", "--image", &image]);
    run("umoci", ["insert", "--rootless", "--image", &image, file.to_str().unwrap(), "/etc/file"]);
    run("umoci", ["insert", "--rootless", "--image", &image, "--whiteout", "/etc/file"]);
    layout
}

fn open(path: &Path) -> Box<dyn ImageSource + Send + Sync> {
    open_archive(File::open(path).unwrap()).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn only(source: &dyn ImageSource) -> SourceImage {
    let mut images = source.images().unwrap();
    assert_eq!(images.len(), 1);
    images.remove(0)
}

/// The plain tars of an image, after every digest was proved.
fn plain_layers(source: &dyn ImageSource, image: &SourceImage) -> Vec<Vec<u8>> {
    let mut layers = Vec::new();
    for layer in &image.layers {
        let mut stored = layer.open(source).unwrap();
        let mut plain = Vec::new();
        mica_layer::decoder(&mut stored).unwrap().read_to_end(&mut plain).unwrap();
        stored.finish().unwrap();
        assert_eq!(DiffId::of(&plain), layer.diff_id);
        layers.push(plain);
    }
    layers
}

fn names(image: &SourceImage) -> Vec<String> {
    image.names.iter().map(Reference::to_string).collect()
}

fn compressions(image: &SourceImage) -> Vec<Compression> {
    image.layers.iter().map(|layer| layer.compression).collect()
}

#[test]
fn one_image_reads_the_same_from_every_form_that_others_write() {
    needs!(program "umoci", program "skopeo");
    let scratch = Scratch::new();
    let layout = umoci_layout(&scratch);
    let source = open_layout_dir(&layout, OpenOptions::default()).unwrap();
    let image = only(&*source);
    let layers = plain_layers(&*source, &image);
    assert_eq!(layers.len(), 2);
    // umoci tells the tag, but not of which repository.
    assert_eq!((names(&image), image.labels.as_slice()), (vec![], ["two".to_owned()].as_slice()));

    let from = at("oci", &layout, "two");
    let forms: [(&str, &str, &[&str], Compression); 4] = [
        ("oci-archive", "gzip.tar", &[], Compression::Gzip),
        ("oci-archive", "zstd.tar", &["--dest-compress-format=zstd"], Compression::Zstd),
        ("docker-archive", "docker.tar", &[], Compression::Plain),
        ("oci", "copy", &[], Compression::Gzip),
    ];
    for (transport, file, flags, compression) in forms {
        let path = scratch.path().join(file);
        let to = at(transport, &path, "docker.io/library/two:v1");
        skopeo(&[&["copy", "-q"], flags, &[from.as_str(), to.as_str()]].concat());
        let source =
            if transport == "oci" { open_layout_dir(&path, OpenOptions::default()).unwrap() } else { open(&path) };
        let read = only(&*source);
        assert_eq!(read.id, image.id, "{file}");
        assert_eq!(read.config, image.config, "{file}");
        assert_eq!(names(&read), ["docker.io/library/two:v1"], "{file}");
        assert_eq!(compressions(&read), [compression; 2], "{file}");
        assert_eq!(plain_layers(&*source, &read), layers, "{file}");
        let digest = skopeo(&["inspect", "--format={{.Digest}}", &to]);
        if let Some(manifest) = &read.manifest {
            assert_eq!(digest.trim(), manifest.digest.to_string(), "{file}");
            let same = compression == image.layers[0].compression;
            assert_eq!(manifest == image.manifest.as_ref().unwrap(), same, "{file}");
        }
    }
}

#[test]
fn archives_compressed_by_other_programs_are_spooled() {
    needs!(program "umoci", program "skopeo", program "gzip", program "zstd");
    let scratch = Scratch::new();
    let layout = umoci_layout(&scratch);
    let path = scratch.path().join("a.tar");
    skopeo(&["copy", "-q", &at("oci", &layout, "two"), &at("docker-archive", &path, "two:v1")]);
    let image = only(&*open(&path));
    run("gzip", ["-k", "-1", path.to_str().unwrap()]);
    run("zstd", ["-q", "-k", path.to_str().unwrap()]);
    for compressed in ["a.tar.gz", "a.tar.zst"] {
        let mut spooled = tempfile::tempfile().unwrap();
        spool(File::open(scratch.path().join(compressed)).unwrap(), &mut spooled, u64::MAX).unwrap();
        assert_eq!(only(&*open_archive(spooled).unwrap()), image, "{compressed}");
    }
}

/// Two images, the second of which stands on the first, as archives in both forms.
struct Ours {
    scratch: Scratch,
    oci: PathBuf,
    docker: PathBuf,
    ids: [ImageId; 2],
}

fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = mica_layer::tar::Writer::new(Vec::new());
    for (name, content) in files {
        tar.append_bytes(name.as_bytes(), content.as_bytes()).unwrap();
    }
    tar.finish().unwrap()
}

fn config_of(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<DiffId> = layers.iter().map(|layer| DiffId::of(layer)).collect();
    let history: Vec<Value> = layers.iter().map(|_| json!({"created_by": "a test"})).collect();
    json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/a"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history
    })
    .to_string()
    .into_bytes()
}

fn ours() -> Ours {
    let scratch = Scratch::new();
    let (a, b) = (tar_of(&[("a", "first")]), tar_of(&[("b", "second")]));
    let put: Vec<SinkLayer> =
        [&a, &b].into_iter().map(|layer| SinkLayer::plain(DiffId::of(layer), layer.len() as u64)).collect();
    let (oci, docker) = (scratch.path().join("oci.tar"), scratch.path().join("docker.tar"));
    let mut file = File::create(&oci).unwrap();
    let mut out = OciArchiveWriter::new(&mut file).unwrap();
    let mut ids = Vec::new();
    for (name, layers) in [("quay.io/ours/one:v1", &[&a][..]), ("two:v2", &[&a, &b])] {
        let config = config_of(&layers.iter().map(|layer| layer.as_slice()).collect::<Vec<_>>());
        let put = &put[..layers.len()];
        for (described, body) in put.iter().zip(layers) {
            mica_transport::ImageSink::put_layer(&mut out, described, &mut body.as_slice()).unwrap();
        }
        let names = [Reference::parse(name).unwrap()];
        let manifest = synthesize_manifest(&config, put);
        let image = SinkImage { names: &names, manifest: &manifest, index: None, config: &config, layers: put };
        mica_transport::ImageSink::put_image(&mut out, &image).unwrap();
        ids.push(ImageId::of(&config));
    }
    mica_transport::ImageSink::finish(&mut out).unwrap();
    copy(&*open(&oci), &mut DockerArchiveWriter::new(&mut File::create(&docker).unwrap())).unwrap();
    Ours { scratch, oci, docker, ids: [ids[0], ids[1]] }
}

#[test]
fn skopeo_reads_and_proves_what_is_written_here() {
    needs!(program "skopeo");
    let ours = ours();
    let manifests: Vec<String> = open(&ours.oci)
        .images()
        .unwrap()
        .iter()
        .map(|image| image.manifest.as_ref().unwrap().digest.to_string())
        .collect();
    for (transport, path) in [("oci-archive", &ours.oci), ("docker-archive", &ours.docker)] {
        for (at_image, name, layers) in [(0, "quay.io/ours/one:v1", 1), (1, "docker.io/library/two:v2", 2)] {
            let from = at(transport, path, name);
            let seen: Value = serde_json::from_str(&skopeo(&["inspect", &from])).unwrap();
            assert_eq!(seen["Layers"].as_array().unwrap().len(), layers, "{from}");
            if transport == "oci-archive" {
                assert_eq!(seen["Digest"], manifests[at_image], "{from}");
            }
            // A copy reads every blob and checks its digest, and the config's as the image ID.
            let to = ours.scratch.make(format!("{transport}-{at_image}"));
            skopeo(&["copy", "-q", &from, &at("dir", &to, "")]);
            let manifest: Value = serde_json::from_slice(&fs::read(to.join("manifest.json")).unwrap()).unwrap();
            assert_eq!(manifest["config"]["digest"], ours.ids[at_image].to_string(), "{from}");
        }
    }
}

#[test]
fn umoci_unpacks_what_is_written_here() {
    needs!(program "umoci", program "bsdtar");
    let ours = ours();
    let layout = ours.scratch.make("unpacked");
    run("bsdtar", ["-xf", ours.oci.to_str().unwrap(), "-C", layout.to_str().unwrap()]);
    let image = format!("{}:docker.io/library/two:v2", layout.display());
    // umoci takes only its own short tags from a command line, so the one in the index becomes such a one.
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    let tagged = index.replace("docker.io/library/two:v2", "two");
    assert_ne!(index, tagged, "{image}");
    fs::write(layout.join("index.json"), tagged).unwrap();
    let bundle = ours.scratch.path().join("bundle");
    run("umoci", ["unpack", "--rootless", "--image", &format!("{}:two", layout.display()), bundle.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(bundle.join("rootfs/a")).unwrap(), "first");
    assert_eq!(fs::read_to_string(bundle.join("rootfs/b")).unwrap(), "second");
}

/// podman with a store of its own. It refuses a runroot of more than 50 characters, so the names are short.
fn podman(scratch: &Scratch, args: &[&str]) -> String {
    let place = |name: &str| scratch.path().join(name).display().to_string();
    let own = ["--root", &place("p"), "--runroot", &place("r"), "--tmpdir", &place("t"), "--storage-driver", "vfs"];
    run("podman", own.iter().chain(args))
}

#[test]
fn podman_loads_what_is_written_here_and_what_it_saves_is_read() {
    needs!(root, program "podman");
    let ours = ours();
    let scratch = &ours.scratch;
    podman(scratch, &["load", "-q", "-i", ours.docker.to_str().unwrap()]);
    let inspect = |name: &str| podman(scratch, &["image", "inspect", "--format={{.Id}}", name]).trim().to_owned();
    assert_eq!(inspect("quay.io/ours/one:v1"), ours.ids[0].hex());
    assert_eq!(inspect("docker.io/library/two:v2"), ours.ids[1].hex());

    let saved = scratch.path().join("saved.tar");
    podman(scratch, &["save", "-q", "-m", "-o", saved.to_str().unwrap(), "quay.io/ours/one:v1", "two:v2"]);
    let source = open(&saved);
    let images = source.images().unwrap();
    let mut seen: Vec<_> = images.iter().map(|image| (names(image), image.layers.len())).collect();
    seen.sort();
    assert_eq!(seen, [(vec!["docker.io/library/two:v2".to_owned()], 2), (vec!["quay.io/ours/one:v1".to_owned()], 1)]);
    for image in &images {
        assert!(ours.ids.contains(&image.id));
        plain_layers(&*source, image);
    }

    let saved = scratch.path().join("saved-oci.tar");
    podman(scratch, &["save", "-q", "--format=oci-archive", "-o", saved.to_str().unwrap(), "two:v2"]);
    let source = open(&saved);
    let image = only(&*source);
    assert_eq!(names(&image), ["docker.io/library/two:v2"]);
    assert_eq!(plain_layers(&*source, &image).len(), 2);

    // A second store, filled from the OCI form.
    let second = Scratch::new();
    let one = second.path().join("one.tar");
    let mut file = File::create(&one).unwrap();
    copy(&*source, &mut OciArchiveWriter::new(&mut file).unwrap()).unwrap();
    podman(&second, &["load", "-q", "-i", one.to_str().unwrap()]);
    let found = podman(&second, &["image", "inspect", "--format={{.Id}}", "two:v2"]);
    assert_eq!(found.trim(), image.id.hex());
}

#[test]
fn skopeo_reads_a_kept_index_of_which_one_platform_is_there() {
    needs!(program "skopeo");
    let scratch = Scratch::new();
    let layer = tar_of(&[("a", "first")]);
    let config = config_of(&[&layer]);
    let put = [SinkLayer::plain(DiffId::of(&layer), layer.len() as u64)];
    let manifest = synthesize_manifest(&config, &put);
    let described = |digest: String, size: usize, architecture: &str| {
        json!({"mediaType": manifest.media_type, "digest": digest, "size": size,
            "platform": {"os": "linux", "architecture": architecture}})
    };
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        described(ImageId::of(b"absent").to_string(), 6, "s390x"),
        described(manifest.digest.to_string(), manifest.bytes.len(), "amd64"),
    ]});
    let index = RawManifest::new(index.to_string().into_bytes(), "application/vnd.oci.image.index.v1+json");
    let path = scratch.path().join("index.tar");
    let mut file = File::create(&path).unwrap();
    let mut out = OciArchiveWriter::new(&mut file).unwrap();
    mica_transport::ImageSink::put_layer(&mut out, &put[0], &mut layer.as_slice()).unwrap();
    let names = [Reference::parse("one").unwrap()];
    let image = SinkImage { names: &names, manifest: &manifest, index: Some(&index), config: &config, layers: &put };
    mica_transport::ImageSink::put_image(&mut out, &image).unwrap();
    mica_transport::ImageSink::finish(&mut out).unwrap();

    let from = at("oci-archive", &path, "docker.io/library/one:latest");
    let raw = skopeo(&["inspect", "--raw", &from]);
    assert_eq!(raw.as_bytes(), index.bytes);
    let to = scratch.make("copy");
    skopeo(&["--override-arch=amd64", "copy", "-q", &from, &at("dir", &to, "")]);
    assert_eq!(fs::read(to.join("manifest.json")).unwrap(), manifest.bytes);
    let options = OpenOptions { platforms: Platforms::One("linux/amd64".parse().unwrap()), ..OpenOptions::default() };
    let read = only(&*open_archive_with(File::open(&path).unwrap(), options).unwrap());
    assert_eq!((read.index, read.manifest), (Some(index), Some(manifest)));
}

#[test]
fn an_archive_of_another_tool_that_is_copied_keeps_its_digests() {
    needs!(program "umoci", program "skopeo");
    let scratch = Scratch::new();
    let layout = umoci_layout(&scratch);
    let theirs = scratch.path().join("theirs.tar");
    skopeo(&["copy", "-q", &at("oci", &layout, "two"), &at("oci-archive", &theirs, "quay.io/x/two:v1")]);
    let mut bytes = Vec::new();
    copy(&*open(&theirs), &mut OciArchiveWriter::new(&mut bytes).unwrap()).unwrap();
    let ours = scratch.path().join("ours.tar");
    io::copy(&mut bytes.as_slice(), &mut File::create(&ours).unwrap()).unwrap();
    let digest =
        |path: &Path| skopeo(&["inspect", "--format={{.Digest}}", &at("oci-archive", path, "quay.io/x/two:v1")]);
    assert_eq!(digest(&ours), digest(&theirs));
    let image = only(&*open(&ours));
    assert_eq!(image, only(&*open(&theirs)));
    assert_eq!(compressions(&image), [Compression::Gzip; 2]);
}
