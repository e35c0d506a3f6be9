//! Archives that are damaged, made to hurt, or something else.

use super::*;
use crate::spool;

#[test]
fn indexes_that_multiply_are_opened_once() {
    let a = layer("a");
    let config = config("amd64", &[&a]);
    let manifest = manifest(&config, &[(LAYER, &a)]);
    let mut tar = TarBuilder::new().blob(&a).blob(&config).blob(&manifest);
    let mut inner = descriptor(MANIFEST, &manifest);
    for _ in 0..4 {
        let index = json!({"schemaVersion": 2, "manifests": vec![inner; 2000]}).to_string().into_bytes();
        inner = descriptor(INDEX_TYPE, &index);
        tar = tar.blob(&index);
    }
    assert_eq!(read(&tar.oci(std::slice::from_ref(&inner)).bytes()).unwrap().len(), 1);

    let mut tar = TarBuilder::new();
    for at in 0..6 {
        let index = json!({"schemaVersion": 2, "at": at, "manifests": [inner]}).to_string().into_bytes();
        inner = descriptor(INDEX_TYPE, &index);
        tar = tar.blob(&index);
    }
    assert!(matches!(read(&tar.oci(&[inner]).bytes()), Err(TransportError::TooDeep { .. })));
}

#[test]
fn a_missing_blob_is_named() {
    let Spoilt { layer, config, manifest } = Spoilt::new();
    let oci = || TarBuilder::new().oci(&[descriptor(MANIFEST, &manifest)]);
    for (bytes, missing, what) in [
        (oci().blob(&config).blob(&manifest).bytes(), &layer, "layer 1 of 1"),
        (oci().blob(&layer).blob(&manifest).bytes(), &config, "config sha256:"),
        (oci().blob(&layer).blob(&config).bytes(), &manifest, "manifest sha256:"),
    ] {
        let error = read(&bytes).unwrap_err();
        assert!(matches!(&error, TransportError::MissingBlob { name, .. } if *name == name_of(missing)), "{error:?}");
        assert!(error.to_string().starts_with(what), "{error}");
        assert!(error.is_corrupt());
    }
}

#[test]
fn a_blob_with_other_bytes_is_corrupt() {
    let whole = Spoilt::new();
    for victim in [&whole.layer, &whole.config, &whole.manifest] {
        let mut other = victim.clone();
        // A letter inside a string of the JSON, or inside the file of the layer.
        let byte = other.iter().rposition(u8::is_ascii_alphabetic).unwrap();
        other[byte] ^= 1;
        // The right blob is followed by the wrong one under its name: the last counts.
        let bytes = TarBuilder::new()
            .oci(&[descriptor(MANIFEST, &whole.manifest)])
            .blob(&whole.layer)
            .blob(&whole.config)
            .blob(&whole.manifest)
            .file(&name_of(victim), &other)
            .bytes();
        let source = open_archive(file(&bytes)).unwrap();
        let result = source.images().and_then(|images| read_layers(&*source, &images[0]));
        assert!(
            matches!(&result, Err(TransportError::WrongDigest { expected, .. }) if *expected == BlobDigest::of(victim)),
            "{result:?}"
        );
    }
}

#[test]
fn a_blob_with_another_size_is_corrupt() {
    let whole = Spoilt::new();
    for victim in [&whole.layer, &whole.config, &whole.manifest] {
        for size in [victim.len() - 1, victim.len() + 1] {
            let mut other = victim.clone();
            other.resize(size, 0);
            let bytes = TarBuilder::new()
                .oci(&[descriptor(MANIFEST, &whole.manifest)])
                .blob(&whole.layer)
                .blob(&whole.config)
                .blob(&whole.manifest)
                .file(&name_of(victim), other)
                .bytes();
            assert!(matches!(read(&bytes), Err(TransportError::WrongSize { found, .. }) if found == size as u64));
        }
    }
}

#[test]
fn what_a_manifest_must_not_say() {
    let says = |change: fn(&mut Value)| read(&Spoilt::manifest(change)).unwrap_err();
    let error = says(|m| m["layers"] = json!([]));
    assert!(matches!(error, TransportError::LayerCount { diff_ids: 1, layers: 0, .. }), "{error:?}");
    let error = says(|m| m["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip+encrypted"));
    assert!(matches!(error, TransportError::EncryptedLayer { .. }), "{error:?}");
    let error = says(|m| m["layers"][0]["mediaType"] = json!("application/vnd.in-toto+json"));
    assert!(matches!(error, TransportError::UnsupportedLayer { .. }), "{error:?}");
    let error = says(|m| m["layers"][0]["digest"] = json!("sha512:00"));
    assert!(matches!(error, TransportError::BadDigest { .. }), "{error:?}");
    let error = says(|m| m["layers"][0]["digest"] = json!("sha256:../../../etc/passwd"));
    assert!(matches!(error, TransportError::BadDigest { .. }), "{error:?}");
    let error = says(|m| m["layers"][0]["size"] = json!(-1));
    assert!(matches!(error, TransportError::BadJson { .. }), "{error:?}");
    let error = says(|m| m["manifests"] = json!([]));
    assert!(matches!(error, TransportError::Ambiguous { .. }), "{error:?}");
    let error = says(|m| m["mediaType"] = json!(INDEX_TYPE));
    assert!(matches!(error, TransportError::Ambiguous { .. }), "{error:?}");
    let error = says(|m| m["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json"));
    assert!(
        matches!(&error, TransportError::OnlyArtifacts { media_types } if media_types[0].contains("helm")),
        "{error:?}"
    );
    let error = says(|m| m["config"]["size"] = json!(u64::MAX));
    assert!(matches!(error, TransportError::WrongSize { .. }), "{error:?}");
}

#[test]
fn an_index_with_layers_is_ambiguous() {
    let bytes = TarBuilder::new()
        .json("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))
        .json("index.json", &json!({"schemaVersion": 2, "manifests": [], "layers": []}))
        .bytes();
    assert!(matches!(read(&bytes), Err(TransportError::Ambiguous { .. })));
}

#[test]
fn archives_without_images_say_so() {
    assert!(matches!(read(&TarBuilder::new().oci(&[]).bytes()), Err(TransportError::NoImages)));
    let none = TarBuilder::new().file("manifest.json", "[]").bytes();
    assert!(matches!(read(&none), Err(TransportError::NoImages)));
    let schema_1 =
        json!({"mediaType": "application/vnd.docker.distribution.manifest.v1+json", "digest": "sha256:0", "size": 1});
    let old = TarBuilder::new().oci(&[schema_1]).bytes();
    assert!(matches!(read(&old), Err(TransportError::OnlyArtifacts { .. })));
    let newer =
        TarBuilder::new().file("oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#).file("index.json", "{}").bytes();
    assert!(matches!(read(&newer), Err(TransportError::LayoutVersion { version }) if version == "2.0.0"));
}

#[test]
fn a_config_under_another_digest_is_corrupt() {
    let config = config("amd64", &[]);
    let wrong = BlobDigest::of(b"other");
    for name in [format!("{}.json", wrong.hex()), format!("sha256:{}", wrong.hex()), name_of(b"other")] {
        let bytes = TarBuilder::new()
            .file(&name, &config)
            .json("manifest.json", &json!([docker_item(&name, &[], &[])]))
            .bytes();
        assert!(matches!(read(&bytes), Err(TransportError::WrongDigest { expected, .. }) if expected == wrong));
    }
}

#[test]
fn bad_names_in_a_docker_archive_are_refused() {
    let bytes = TarBuilder::new()
        .file("c.json", config("amd64", &[]))
        .json("manifest.json", &json!([docker_item("c.json", &["../../A"], &[])]))
        .bytes();
    assert!(matches!(read(&bytes), Err(TransportError::BadName { name, .. }) if name == "../../A"));
}

#[test]
fn names_that_climb_are_found_nowhere() {
    let a = layer("a");
    for name in ["../a.tar", "x/../a.tar", "/../a.tar", "/proc/self/environ", "../../../../etc/passwd"] {
        let bytes = TarBuilder::new()
            .file("a.tar", &a)
            .file("../a.tar", &a)
            .file("c.json", config("amd64", &[&a]))
            .json("manifest.json", &json!([docker_item("c.json", &[], &[name])]))
            .bytes();
        assert!(matches!(read(&bytes), Err(TransportError::MissingBlob { .. })), "{name}");
    }
    let bytes = TarBuilder::new()
        .symlink("a.tar", "../../../../../../etc/hostname")
        .file("c.json", config("amd64", &[&a]))
        .json("manifest.json", &json!([docker_item("c.json", &[], &["a.tar"])]))
        .bytes();
    assert!(matches!(read(&bytes), Err(TransportError::MissingBlob { .. })));
}

#[test]
fn documents_that_decide_may_stand_once_only() {
    for name in ["manifest.json", "./manifest.json", "index.json", "oci-layout"] {
        let bytes = TarBuilder::new().oci(&[]).file("manifest.json", "[]").file(name, "[]").bytes();
        assert!(matches!(read(&bytes), Err(TransportError::DuplicateEntry { .. })), "{name}");
    }
}

#[test]
fn metadata_is_limited_one_by_one_and_together() {
    let big = " ".repeat(5 << 20);
    let bytes = TarBuilder::new().file("manifest.json", big).bytes();
    assert!(matches!(read(&bytes), Err(TransportError::TooLarge { size: 5242880, max: 4194304, .. })));

    let config = config("amd64", &[]);
    let bytes = TarBuilder::new()
        .file("c.json", &config)
        .json("manifest.json", &Value::from(vec![docker_item("c.json", &[], &[]); 20]))
        .bytes();
    let options = OpenOptions { metadata_max: 20 * config.len() as u64, ..OpenOptions::default() };
    let error = open_archive_with(file(&bytes), options).unwrap().images().unwrap_err();
    assert!(error.to_string().starts_with("the metadata of the archive has"), "{error}");

    let options = OpenOptions { entries_max: 1, ..OpenOptions::default() };
    let error = open_archive_with(file(&bytes), options).err().unwrap();
    assert!(matches!(error, TransportError::TooManyEntries { max: 1 }));
}

#[test]
fn an_archive_cut_at_any_block_is_an_error() {
    let docker = {
        let a = layer("a");
        let config = config("amd64", &[&a]);
        TarBuilder::new()
            .file("a.tar", &a)
            .file("c.json", &config)
            .json("manifest.json", &json!([docker_item("c.json", &["a"], &["a.tar"])]))
            .bytes()
    };
    for whole in [three_layers(), docker] {
        assert!(read(&whole).is_ok());
        // The last block is the second of the end marker, of which one is enough.
        for cut in (0..whole.len() - 512).step_by(512).flat_map(|at| [at, at + 1, at + 511]) {
            let part = &whole[..cut];
            let Err(error) = read(part) else { panic!("{cut} of {} bytes were enough", whole.len()) };
            let said = matches!(error, TransportError::Truncated { .. })
                || cut < 512 && matches!(error, TransportError::NotAnArchive { .. });
            assert!(said, "{cut} of {}: {error:?}", whole.len());
        }
    }
}

#[test]
fn other_inputs_are_told_what_they_look_like() {
    let root_fs = TarBuilder::new().dir("./bin").dir("./etc").file("./etc/hosts", "").dir("usr").bytes();
    let other_tar = TarBuilder::new().file("a", "").bytes();
    for (bytes, looks) in [
        (&b""[..], LooksLike::Empty),
        (b"PK\x03\x04abc", LooksLike::Kind("a zip archive")),
        (b"{\"a\":1}", LooksLike::Kind("JSON")),
        (b"\x7fELF\x02", LooksLike::Kind("a program")),
        (b"\xfd7zXZ\0\0", LooksLike::Compressed("xz")),
        (b"hello", LooksLike::Unknown),
        (&[7; 4096], LooksLike::Unknown),
        (&root_fs, LooksLike::RootFs),
        (&other_tar, LooksLike::OtherTar),
    ] {
        let error = open_archive(file(bytes)).err().unwrap();
        assert!(
            matches!(error, TransportError::NotAnArchive { looks_like } if looks_like == looks),
            "{looks}: {error:?}"
        );
        let hint = error.hint().is_some_and(|hint| hint.contains("mica import"));
        assert_eq!(hint, looks == LooksLike::RootFs);
    }
}

#[test]
fn a_compressed_archive_is_spooled_first() {
    let plain = three_layers();
    for stored in [plain.clone(), gzip(&plain), zstd(&plain), [gzip(&plain[..1000]), gzip(&plain[1000..])].concat()] {
        if stored != plain {
            assert!(matches!(open_archive(file(&stored)), Err(TransportError::Compressed { .. })));
        }
        let mut into = Vec::new();
        assert_eq!(spool(stored.as_slice(), &mut into, u64::MAX).unwrap(), plain.len() as u64);
        assert_eq!(into, plain);
    }
}

#[test]
fn what_cannot_become_an_archive_is_not_spooled() {
    let mut into = Vec::new();
    let refused = |bytes: &[u8], into: &mut Vec<u8>| spool(bytes, into, u64::MAX).unwrap_err();
    assert!(matches!(refused(b"", &mut into), TransportError::NotAnArchive { looks_like: LooksLike::Empty }));
    assert!(matches!(refused(&gzip(b"hello"), &mut into), TransportError::NotAnArchive { .. }));
    let twice = gzip(&gzip(&three_layers()));
    assert!(matches!(
        refused(&twice, &mut into),
        TransportError::NotAnArchive { looks_like: LooksLike::Compressed("gzip") }
    ));
    assert!(into.is_empty());
    let whole = gzip(&three_layers());
    for bad in [whole[..whole.len() - 9].to_vec(), [whole.as_slice(), b"more"].concat()] {
        let error = spool(bad.as_slice(), &mut into, u64::MAX).unwrap_err();
        assert!(error.is_corrupt(), "{error:?}");
    }
    let full = spool(whole.as_slice(), &mut &mut [0u8; 100][..], u64::MAX).unwrap_err();
    assert!(!full.is_corrupt(), "{full:?}");
}

#[test]
fn a_docker_archive_with_more_layers_than_its_config_is_refused() {
    let a = layer("a");
    for layers in [&["a.tar"; 1][..], &["a.tar"; 3]] {
        let bytes = TarBuilder::new()
            .file("a.tar", &a)
            .file("c.json", config("amd64", &[&a, &a]))
            .json("manifest.json", &json!([docker_item("c.json", &[], layers)]))
            .bytes();
        let count = layers.len();
        assert!(
            matches!(read(&bytes), Err(TransportError::LayerCount { diff_ids: 2, layers, .. }) if layers == count),
            "{count}"
        );
    }
}
