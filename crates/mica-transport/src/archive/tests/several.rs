//! Indexes of which not everything is there, and all that is there of them.

use super::*;

fn read_all(bytes: &[u8]) -> Result<Vec<SourceImage>, TransportError> {
    let options = OpenOptions { platforms: Platforms::All, ..OpenOptions::default() };
    open_archive_with(file(bytes), options)?.images()
}

/// An index over images for these architectures, of which those in `absent` are not in the archive, with an inner index
/// and an attestation, under the name `a:1`.
fn index_of(here: &[&str], absent: &[&str]) -> Vec<u8> {
    let mut tar = TarBuilder::new();
    let mut items = vec![];
    for architecture in here.iter().chain(absent) {
        let layer = layer(architecture);
        let config = config(architecture, &[&layer]);
        let manifest = manifest(&config, &[(LAYER, &layer)]);
        let platform = json!({"platform": {"os": "linux", "architecture": architecture}});
        items.push(with(descriptor(MANIFEST, &manifest), platform));
        if here.contains(architecture) {
            tar = tar.blob(&layer).blob(&config).blob(&manifest);
        }
    }
    let inner = json!({"schemaVersion": 2, "manifests": items}).to_string().into_bytes();
    let (statement, empty) = (b"{\"predicate\":1}".to_vec(), b"{}".to_vec());
    let attestation = manifest(&empty, &[("application/vnd.in-toto+json", &statement)]);
    let unknown = json!({"platform": {"os": "unknown", "architecture": "unknown"}});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [
        descriptor(INDEX_TYPE, &inner),
        with(descriptor(MANIFEST, &attestation), unknown),
        descriptor(INDEX_TYPE, b"an index that is not there"),
    ]});
    let index = index.to_string().into_bytes();
    let tar = tar.blob(&inner).blob(&statement).blob(&empty).blob(&attestation).blob(&index);
    tar.oci(&[named(descriptor(INDEX_TYPE, &index), "a:1")]).bytes()
}

fn platforms_of(images: &[SourceImage]) -> Vec<String> {
    images.iter().map(|image| image.platform.to_string()).collect()
}

#[test]
fn all_platforms_come_with_what_stands_beside_them() {
    let images = read_all(&index_of(&["amd64", "arm64", "s390x"], &[])).unwrap();
    assert_eq!(platforms_of(&images), ["linux/amd64", "linux/arm64", "linux/s390x"]);
    for image in &images {
        assert_eq!(names(image), ["a:1"]);
        assert_eq!(image.index, images[0].index);
        // The inner index, the attestation, its config and its statement.
        assert_eq!(image.companions.len(), 4, "{:?}", image.companions);
    }
    // Whoever wants one platform takes what leads to it, and nothing else.
    let one = read_for(&index_of(&["amd64", "arm64"], &[]), "linux/arm64").unwrap();
    assert_eq!((platforms_of(&one), one[0].companions.len()), (vec!["linux/arm64".to_owned()], 1));
}

#[test]
fn a_platform_that_is_named_and_not_there_is_not_chosen() {
    let host = Platform::host().architecture;
    let bytes = index_of(&["s390x"], &[&host]);
    assert_eq!(platforms_of(&read(&bytes).unwrap()), ["linux/s390x"], "the only one that is there");
    assert_eq!(platforms_of(&read_all(&bytes).unwrap()), ["linux/s390x"]);
    let error = read_for(&bytes, &format!("linux/{host}")).unwrap_err();
    assert!(
        matches!(&error, TransportError::NoPlatform { available, .. } if available == &["linux/s390x"]),
        "{error:?}"
    );
    let error = read(&index_of(&["s390x", "ppc64le"], &[&host])).unwrap_err();
    assert!(error.hint().unwrap().contains("--platform linux/s390x"), "{error:?}");
    let none = read(&index_of(&[], &["s390x"])).unwrap_err();
    assert!(matches!(none, TransportError::MissingBlob { .. }), "{none:?}");
}

#[test]
fn manifests_of_one_name_without_an_index_come_all_and_one_has_the_name() {
    let mut tar = TarBuilder::new();
    let mut items = vec![];
    for architecture in ["s390x", &Platform::host().architecture] {
        let config = config(architecture, &[]);
        let manifest = manifest(&config, &[]);
        let platform = json!({"platform": {"os": "linux", "architecture": architecture}});
        items.push(named(with(descriptor(MANIFEST, &manifest), platform), "a:1"));
        tar = tar.blob(&config).blob(&manifest);
    }
    let images = read_all(&tar.oci(&items).bytes()).unwrap();
    assert_eq!(images.iter().map(names).collect::<Vec<_>>(), [vec![], vec!["a:1".to_owned()]]);
}

#[test]
fn a_layer_that_only_its_publisher_has_says_where() {
    let foreign = |media_type: &str, urls: Value| {
        let (base, top) = (layer("base"), layer("top"));
        let config = config("amd64", &[&base, &top]);
        let mut manifest: Value =
            serde_json::from_slice(&manifest(&config, &[(media_type, &base), (LAYER, &top)])).unwrap();
        manifest["layers"][0]["urls"] = urls;
        let manifest = manifest.to_string();
        TarBuilder::new()
            .oci(&[descriptor(MANIFEST, manifest.as_bytes())])
            .blob(&top)
            .blob(&config)
            .blob(&manifest)
            .blob_if(&base)
    };
    let windows = "application/vnd.docker.image.rootfs.foreign.diff.tar";
    let url = json!(["https://mcr.example/base"]);
    for (media_type, urls, said) in [
        (windows, url.clone(), "https://mcr.example/base"),
        (LAYER, url.clone(), "https://mcr.example/base"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", Value::Null, "does not tell"),
    ] {
        let (without, with) = foreign(media_type, urls);
        let error = read(&without).unwrap_err();
        assert!(matches!(error, TransportError::ForeignLayer { .. }), "{error:?}");
        assert!(error.to_string().contains(said) && error.hint().is_some(), "{error}");
        assert_eq!(read(&with).unwrap()[0].layers.len(), 2, "where it is there it is read");
    }
}

#[test]
fn a_copy_keeps_the_index_and_all_of_it() {
    let whole = index_of(&["amd64", "arm64"], &["s390x"]);
    let options = || OpenOptions { platforms: Platforms::All, ..OpenOptions::default() };
    let source = open_archive_with(file(&whole), options()).unwrap();
    let mut copied = Vec::new();
    crate::copy(&*source, &mut crate::OciArchiveWriter::new(&mut copied).unwrap()).unwrap();
    let again = open_archive_with(file(&copied), options()).unwrap();
    assert_eq!(again.images().unwrap(), source.images().unwrap());
    let companion = &again.images().unwrap()[0].companions[1];
    let mut bytes = Vec::new();
    again.blob(&BlobRef::Digest(companion.digest)).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(BlobDigest::of(&bytes), companion.digest);
}

/// eStargz is gzip of many members, zstd:chunked is zstd with skippable frames after it: other readers find a table in
/// what follows the tar.
#[test]
fn layers_with_a_table_after_their_end_are_layers() {
    let tar = layer("a");
    let stargz = [gzip(&tar[..512]), gzip(&tar[512..]), gzip(b"")].concat();
    let frame = |body: &[u8]| {
        let length = u32::try_from(body.len()).unwrap();
        [&0x184D_2A50_u32.to_le_bytes()[..], &length.to_le_bytes(), body].concat()
    };
    let chunked = [zstd(&tar), frame(&[7; 99]), frame(b"GNUlInUx")].concat();
    for (suffix, stored) in [("+gzip", stargz), ("+zstd", chunked)] {
        let config = config("amd64", &[&tar]);
        let manifest = manifest(&config, &[(&format!("{LAYER}{suffix}"), &stored)]);
        let bytes =
            TarBuilder::new().oci(&[descriptor(MANIFEST, &manifest)]).blob(&stored).blob(&config).blob(&manifest);
        let source = open_archive(file(&bytes.bytes())).unwrap();
        let layer = &source.images().unwrap()[0].layers[0];
        let (mut read, mut whole) = (Vec::new(), layer.open(&*source).unwrap());
        mica_layer::decoder(&mut whole).unwrap().read_to_end(&mut read).unwrap();
        whole.finish().unwrap();
        assert_eq!(DiffId::of(&read), layer.diff_id, "{suffix}");
    }
}
