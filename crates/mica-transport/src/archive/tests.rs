use std::io::Read;

use mica_core::{DiffId, ImageId};
use serde_json::{Value, json};

use super::*;
use crate::LooksLike;
use crate::Reference;
use crate::testing::*;

mod hostile;
mod legacy;
mod several;

fn read(bytes: &[u8]) -> Result<Vec<SourceImage>, TransportError> {
    open_archive(file(bytes))?.images()
}

fn read_for(bytes: &[u8], platform: &str) -> Result<Vec<SourceImage>, TransportError> {
    let options = OpenOptions { platforms: Platforms::One(platform.parse().unwrap()), ..OpenOptions::default() };
    open_archive_with(file(bytes), options)?.images()
}

fn names(image: &SourceImage) -> Vec<String> {
    image.names.iter().map(Reference::familiar).collect()
}

/// Reads every layer to its end, as whoever loads the image would.
fn read_layers(source: &dyn ImageSource, image: &SourceImage) -> Result<Vec<Vec<u8>>, TransportError> {
    let mut layers = Vec::new();
    for layer in &image.layers {
        let mut bytes = Vec::new();
        layer.open(source)?.read_to_end(&mut bytes).map_err(|error| io_error("read", error))?;
        layers.push(bytes);
    }
    Ok(layers)
}

/// An OCI archive of one image with a plain, a gzip and a zstd layer.
fn three_layers() -> Vec<u8> {
    let (a, b, c) = (layer("a"), layer("b"), layer("c"));
    let (b_gz, c_zst) = (gzip(&b), zstd(&c));
    let config = config("amd64", &[&a, &b, &c]);
    let manifest = manifest(
        &config,
        &[
            (LAYER, &a),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", &b_gz),
            ("application/vnd.oci.image.layer.v1.tar+zstd", &c_zst),
        ],
    );
    TarBuilder::new()
        .oci(&[named(descriptor(MANIFEST, &manifest), "quay.io/a/b:1")])
        .blob(&a)
        .blob(&b_gz)
        .blob(&c_zst)
        .blob(&config)
        .blob(&manifest)
        .bytes()
}

#[test]
fn an_oci_archive_is_read_whole() {
    let source = open_archive(file(&three_layers())).unwrap();
    let images = source.images().unwrap();
    let [image] = images.as_slice() else { panic!("{images:?}") };
    let plain = [layer("a"), layer("b"), layer("c")];
    let config = config("amd64", &plain.each_ref().map(Vec::as_slice));
    assert_eq!(names(image), ["quay.io/a/b:1"]);
    assert_eq!(image.config, config);
    assert_eq!(image.id, ImageId::of(&config));
    assert_eq!(image.platform.to_string(), "linux/amd64");
    assert_eq!(
        image.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>(),
        plain.each_ref().map(|l| DiffId::of(l))
    );
    let compressions: Vec<Compression> = image.layers.iter().map(|layer| layer.compression).collect();
    assert_eq!(compressions, [Compression::Plain, Compression::Gzip, Compression::Zstd]);
    let manifest = image.manifest.as_ref().unwrap();
    assert_eq!(BlobDigest::of(&manifest.bytes), manifest.digest);
    assert_eq!(read_layers(&*source, image).unwrap(), [plain[0].clone(), gzip(&plain[1]), zstd(&plain[2])]);
}

#[test]
fn layers_are_read_side_by_side() {
    let source = open_archive(file(&three_layers())).unwrap();
    let image = &source.images().unwrap()[0];
    let whole = read_layers(&*source, image).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // In small pieces, so that the threads interleave.
                for (layer, whole) in image.layers.iter().zip(&whole) {
                    let mut reader = source.blob(&layer.blob).unwrap();
                    let (mut read, mut piece) = (Vec::new(), [0; 7]);
                    while let count @ 1.. = reader.read(&mut piece).unwrap() {
                        read.extend_from_slice(&piece[..count]);
                    }
                    assert_eq!(&read, whole);
                }
            });
        }
    });
}

fn docker_item(config: &str, tags: &[&str], layers: &[&str]) -> Value {
    json!({"Config": config, "RepoTags": tags, "Layers": layers})
}

#[test]
fn a_docker_archive_is_read_through_its_links() {
    let (a, b) = (layer("a"), layer("b"));
    let config = config("amd64", &[&a, &b, &a, &a]);
    let bytes = TarBuilder::new()
        .dir("one")
        .file("one/layer.tar", &a)
        .file("./two/layer.tar", &b)
        .symlink("three/layer.tar", "../one/layer.tar")
        .hard_link("four/layer.tar", "./one/layer.tar")
        .file("config.json", &config)
        .json(
            "manifest.json",
            &json!([docker_item(
                "config.json",
                &["a:1", "docker.io/library/a:1", "quay.io/b:2", "<none>:<none>"],
                &["one/layer.tar", "two/layer.tar", "three/layer.tar", "four/layer.tar"]
            )]),
        )
        .bytes();
    let source = open_archive(file(&bytes)).unwrap();
    let images = source.images().unwrap();
    let [image] = images.as_slice() else { panic!("{images:?}") };
    assert_eq!(names(image), ["a:1", "quay.io/b:2"]);
    assert_eq!(image.manifest, None);
    assert_eq!(read_layers(&*source, image).unwrap(), [a.clone(), b, a.clone(), a]);
}

#[test]
fn a_docker_archive_may_hold_compressed_layers_and_no_names() {
    let (a, b) = (layer("a"), layer("b"));
    let bytes = TarBuilder::new()
        .file("a.tar", gzip(&a))
        .file("b.tar", zstd(&b))
        .file("c", config("amd64", &[&a, &b]))
        .file("manifest.json", r#"[{"Config":"c","RepoTags":null,"Layers":["a.tar","b.tar"]}]"#)
        .bytes();
    let image = &read(&bytes).unwrap()[0];
    assert!(image.names.is_empty());
    let media_types: Vec<&str> = image.layers.iter().map(|layer| layer.media_type.as_str()).collect();
    assert_eq!(
        media_types,
        ["application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd"]
    );
    assert_eq!(image.layers[0].compression, Compression::Gzip);
}

#[test]
fn an_image_without_layers_is_an_image() {
    let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":null}}"#;
    let bytes = TarBuilder::new()
        .file("c.json", config)
        .file("manifest.json", r#"[{"Config":"c.json","RepoTags":["empty"],"Layers":null}]"#)
        .bytes();
    assert!(read(&bytes).unwrap()[0].layers.is_empty());
}

#[test]
fn an_archive_that_is_both_is_read_as_oci_with_the_names_of_both() {
    let a = layer("a");
    let config = config("amd64", &[&a]);
    let manifest = manifest(&config, &[(LAYER, &a)]);
    let path = |bytes: &[u8]| format!("blobs/sha256/{}", BlobDigest::of(bytes).hex());
    let described = with(
        descriptor(MANIFEST, &manifest),
        json!({"annotations": {"io.containerd.image.name": "docker.io/library/a:1", "org.opencontainers.image.ref.name": "1"}}),
    );
    let bytes = TarBuilder::new()
        .oci(&[described])
        .blob(&a)
        .blob(&config)
        .blob(&manifest)
        .json("manifest.json", &json!([docker_item(&path(&config), &["a:1", "a:2"], &[&path(&a)])]))
        .bytes();
    let image = &read(&bytes).unwrap()[0];
    assert_eq!(names(image), ["a:1", "a:2"]);
    assert_eq!(image.manifest.as_ref().unwrap().bytes, manifest);
    assert!(image.labels.is_empty());
}

#[test]
fn a_name_that_was_changed_goes_before_one_that_was_copied() {
    let long = "docker.io/library/a:1";
    for (containerd, oci, expected) in [
        (Some(long), Some("1"), (vec!["a:1"], vec![])),
        (Some(long), None, (vec!["a:1"], vec![])),
        (
            Some("docker.io/library/a@sha256:9a2b9c2d9a2b9c2d9a2b9c2d9a2b9c2d9a2b9c2d9a2b9c2d9a2b9c2d9a2b9c2d"),
            Some("x"),
            (vec!["a@sha256:9a2b9c2d9a2b9c2d9a2b9c2d9a2b9c2d9a2b9c2d9a2b9c2d9a2b9c2d9a2b9c2d"], vec![]),
        ),
        (Some(long), Some("quay.io/b:2"), (vec!["quay.io/b:2"], vec![])),
        (Some(long), Some("2"), (vec![], vec!["2"])),
        (None, Some("2"), (vec![], vec!["2"])),
        (None, Some("Not: A Name"), (vec![], vec!["Not: A Name"])),
    ] {
        let Spoilt { layer, config, manifest } = Spoilt::new();
        let mut annotations = json!({});
        for (key, value) in [("io.containerd.image.name", containerd), ("org.opencontainers.image.ref.name", oci)] {
            if let Some(value) = value {
                annotations[key] = json!(value);
            }
        }
        let described = with(descriptor(MANIFEST, &manifest), json!({"annotations": annotations}));
        let image =
            &read(&TarBuilder::new().oci(&[described]).blob(&layer).blob(&config).blob(&manifest).bytes()).unwrap()[0];
        let labels: Vec<&str> = image.labels.iter().map(String::as_str).collect();
        assert_eq!((names(image).iter().map(String::as_str).collect(), labels), expected, "{containerd:?} {oci:?}");
    }
}

#[test]
fn one_image_under_several_names_comes_once_and_several_images_come_all() {
    let (a, b) = (layer("a"), layer("b"));
    let (ca, cb) = (config("amd64", &[&a]), config("amd64", &[&a, &b]));
    let (ma, mb) = (manifest(&ca, &[(LAYER, &a)]), manifest(&cb, &[(LAYER, &a), (LAYER, &b)]));
    let bytes = TarBuilder::new()
        .oci(&[
            named(descriptor(MANIFEST, &ma), "a:1"),
            named(descriptor(MANIFEST, &mb), "b:1"),
            named(descriptor(MANIFEST, &ma), "a:2"),
            named(descriptor(MANIFEST, &ma), "latest"),
        ])
        .blob(&a)
        .blob(&b)
        .blob(&ca)
        .blob(&cb)
        .blob(&ma)
        .blob(&mb)
        .bytes();
    let images = read(&bytes).unwrap();
    assert_eq!(images.iter().map(names).collect::<Vec<_>>(), [vec!["a:1", "a:2"], vec!["b:1"]]);
    assert_eq!(images[0].labels, ["latest"]);
}

/// An image per platform, in one index under one name.
fn platforms(list: &[(&str, Option<&str>)], described: bool) -> Vec<u8> {
    let a = layer("a");
    let mut tar = TarBuilder::new().blob(&a);
    let mut items = vec![];
    for (architecture, variant) in list {
        let mut config: Value = serde_json::from_slice(&config(architecture, &[&a])).unwrap();
        if let Some(variant) = variant {
            config["variant"] = json!(variant);
        }
        let config = config.to_string().into_bytes();
        let manifest = manifest(&config, &[(LAYER, &a)]);
        let platform = json!({"platform": {"os": "linux", "architecture": architecture, "variant": variant}});
        let item = descriptor(MANIFEST, &manifest);
        items.push(if described { with(item, platform) } else { item });
        tar = tar.blob(&config).blob(&manifest);
    }
    let attestation = json!({"platform": {"os": "unknown", "architecture": "unknown"}});
    items.push(with(descriptor(MANIFEST, b"not there"), attestation));
    let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": items}).to_string().into_bytes();
    tar.blob(&index).oci(&[named(descriptor(INDEX_TYPE, &index), "a:1")]).bytes()
}

#[test]
fn the_platform_is_chosen_from_an_index() {
    for described in [true, false] {
        let bytes =
            platforms(&[("arm64", Some("v8")), ("amd64", None), ("arm", Some("v6")), ("arm", Some("v7"))], described);
        for (wanted, chosen) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/arm64", "linux/arm64/v8"),
            ("linux/arm64/v9", "linux/arm64/v8"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v8", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
        ] {
            let images = read_for(&bytes, wanted).unwrap();
            assert_eq!(images[0].platform.to_string(), chosen, "{wanted}");
            assert_eq!(names(&images[0]), ["a:1"]);
            let index = images[0].index.as_ref().unwrap();
            assert_eq!((index.media_type.as_str(), BlobDigest::of(&index.bytes)), (INDEX_TYPE, index.digest));
        }
        for wanted in ["linux/s390x", "linux/arm/v5", "windows/amd64"] {
            let error = read_for(&bytes, wanted).unwrap_err();
            let TransportError::NoPlatform { available, .. } = &error else { panic!("{error:?}") };
            assert_eq!(available, &["linux/arm64/v8", "linux/amd64", "linux/arm/v6", "linux/arm/v7"]);
            assert_eq!(error.hint().unwrap(), "choose one with --platform linux/arm64/v8");
        }
    }
}

#[test]
fn the_only_platform_is_taken_unless_another_is_asked_for() {
    let bytes = platforms(&[("s390x", None)], true);
    assert_eq!(read(&bytes).unwrap()[0].platform.to_string(), "linux/s390x");
    assert!(matches!(read_for(&bytes, "linux/amd64"), Err(TransportError::NoPlatform { .. })));
}

#[test]
fn manifests_of_several_platforms_under_one_name_are_one_image() {
    let a = layer("a");
    let mut tar = TarBuilder::new().blob(&a);
    let mut items = vec![];
    for architecture in ["arm64", "amd64"] {
        let config = config(architecture, &[&a]);
        let manifest = manifest(&config, &[(LAYER, &a)]);
        let platform = json!({"platform": {"os": "linux", "architecture": architecture}});
        items.push(named(with(descriptor(MANIFEST, &manifest), platform), "a:1"));
        tar = tar.blob(&config).blob(&manifest);
    }
    let images = read_for(&tar.oci(&items).bytes(), "linux/amd64").unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].platform.to_string(), "linux/amd64");
}

/// An OCI archive of one image, each part of which the caller may spoil.
struct Spoilt {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Spoilt {
    fn new() -> Self {
        let layer = layer("a");
        let config = config("amd64", &[&layer]);
        let manifest = manifest(&config, &[(LAYER, &layer)]);
        Self { layer, config, manifest }
    }

    /// With `change` made to the manifest, whose digest is right again.
    fn manifest(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let whole = Self::new();
        let mut manifest = serde_json::from_slice(&whole.manifest).unwrap();
        change(&mut manifest);
        let manifest = manifest.to_string().into_bytes();
        let described = descriptor(MANIFEST, &manifest);
        Self { manifest, ..whole }.tar(TarBuilder::new().oci(&[described]))
    }

    fn tar(&self, tar: TarBuilder) -> Vec<u8> {
        tar.blob(&self.layer).blob(&self.config).blob(&self.manifest).bytes()
    }
}

fn name_of(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", BlobDigest::of(bytes).hex())
}

#[test]
fn a_layout_directory_is_a_source_too() {
    let dir = tempfile::tempdir().unwrap();
    let Spoilt { layer, config, manifest } = Spoilt::new();
    std::fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
    for blob in [&layer, &config, &manifest] {
        std::fs::write(dir.path().join(name_of(blob)), blob).unwrap();
    }
    let open = || open_layout_dir(dir.path(), OpenOptions::default());
    let looks = |like| move |error: TransportError| matches!(error, TransportError::NotAnArchive { looks_like } if looks_like == like);
    assert!(open().is_err_and(looks(LooksLike::Directory)));
    for name in ["version", "manifest.json"] {
        std::fs::write(dir.path().join(name), "Directory Transport Version: 1.1\n").unwrap();
    }
    assert!(open().is_err_and(looks(LooksLike::SkopeoDir)));
    std::fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    assert!(matches!(open(), Err(TransportError::MissingBlob { name, .. }) if name == "index.json"));
    std::fs::remove_file(dir.path().join("version")).unwrap();
    std::fs::remove_file(dir.path().join("manifest.json")).unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [descriptor(MANIFEST, &manifest)]});
    std::fs::write(dir.path().join("index.json"), index.to_string()).unwrap();
    let source = open().unwrap();
    let images = source.images().unwrap();
    assert_eq!(read_layers(&*source, &images[0]).unwrap(), std::slice::from_ref(&layer));
    // A directory in the place of a blob is not one.
    std::fs::remove_file(dir.path().join(name_of(&layer))).unwrap();
    std::fs::create_dir(dir.path().join(name_of(&layer))).unwrap();
    assert!(matches!(source.images(), Err(TransportError::MissingBlob { .. })));
    assert!(source.blob(&BlobRef::Entry("../x".to_owned())).is_err());
}

#[test]
fn a_docker_archive_with_an_item_for_each_tag_holds_one_image() {
    let bytes = TarBuilder::new()
        .file("c.json", config("amd64", &[]))
        .json(
            "manifest.json",
            &json!([docker_item("c.json", &["a:1"], &[]), docker_item("c.json", &["a:2", "a:1"], &[])]),
        )
        .bytes();
    assert_eq!(read(&bytes).unwrap().iter().map(names).collect::<Vec<_>>(), [["a:1", "a:2"]]);
}

#[test]
fn a_docker_archive_for_another_platform_than_asked_for_says_so() {
    let bytes = TarBuilder::new()
        .file("c.json", config("s390x", &[]))
        .json("manifest.json", &json!([docker_item("c.json", &[], &[])]))
        .bytes();
    assert_eq!(read_for(&bytes, "linux/s390x").unwrap().len(), 1);
    assert!(read(&bytes).is_ok());
    let error = read_for(&bytes, "linux/amd64").unwrap_err();
    assert!(
        matches!(&error, TransportError::NoPlatform { available, .. } if available == &["linux/s390x"]),
        "{error:?}"
    );
}

#[test]
fn attestations_are_no_images() {
    let Spoilt { layer, config, manifest } = Spoilt::new();
    let attestation = with(
        descriptor(MANIFEST, b"not there"),
        json!({"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}),
    );
    let bytes = TarBuilder::new()
        .oci(&[attestation, descriptor(MANIFEST, &manifest)])
        .blob(&layer)
        .blob(&config)
        .blob(&manifest)
        .bytes();
    assert_eq!(read(&bytes).unwrap().len(), 1);
}
