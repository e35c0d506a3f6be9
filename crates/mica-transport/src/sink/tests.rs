use serde_json::json;

use super::*;
use crate::open_archive;
use crate::testing::{TarBuilder, config, file, gzip, layer, zstd};

fn refs(names: &[&str]) -> Vec<Reference> {
    names.iter().map(|name| Reference::parse(name).unwrap()).collect()
}

/// Two images of which the second stands on the first, with plain layers.
fn write(to: &mut dyn ImageSink) {
    let (a, b) = (layer("a"), layer("b"));
    let put: Vec<SinkLayer> =
        [&a, &b].into_iter().map(|bytes| SinkLayer::plain(DiffId::of(bytes), bytes.len() as u64)).collect();
    let images: [(&[&str], Vec<u8>, &[SinkLayer]); 2] = [
        (&["one", "quay.io/x/one:v1"], config("amd64", &[&a]), &put[..1]),
        (&["two"], config("amd64", &[&a, &b]), &put),
    ];
    for (names, config, layers) in images {
        for (layer, bytes) in layers.iter().zip([&a, &b]) {
            to.put_layer(layer, &mut bytes.as_slice()).unwrap();
        }
        let manifest = synthesize_manifest(&config, layers);
        let names = refs(names);
        to.put_image(&SinkImage { names: &names, manifest: &manifest, index: None, config: &config, layers }).unwrap();
    }
    to.finish().unwrap();
}

fn oci(fill: impl FnOnce(&mut OciArchiveWriter<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    fill(&mut OciArchiveWriter::new(&mut bytes).unwrap());
    bytes
}

fn docker(fill: impl FnOnce(&mut DockerArchiveWriter<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    fill(&mut DockerArchiveWriter::new(&mut bytes));
    bytes
}

fn names_and_ids(bytes: &[u8]) -> Vec<(Vec<Reference>, ImageId, Vec<DiffId>)> {
    let images = open_archive(file(bytes)).unwrap().images().unwrap();
    images
        .into_iter()
        .map(|image| (image.names, image.id, image.layers.iter().map(|layer| layer.diff_id).collect()))
        .collect()
}

#[test]
fn what_is_written_is_read_back() {
    let (a, b) = (layer("a"), layer("b"));
    let expected = vec![
        (refs(&["one", "quay.io/x/one:v1"]), ImageId::of(&config("amd64", &[&a])), vec![DiffId::of(&a)]),
        (refs(&["two"]), ImageId::of(&config("amd64", &[&a, &b])), vec![DiffId::of(&a), DiffId::of(&b)]),
    ];
    for bytes in [oci(|to| write(to)), docker(|to| write(to))] {
        assert_eq!(names_and_ids(&bytes), expected);
        // Shared layers stand there once.
        let body = b"a\0\0\0";
        assert_eq!(bytes.windows(512).filter(|at| at.starts_with(body) && at[4..].iter().all(|b| *b == 0)).count(), 1);
    }
}

#[test]
fn the_same_images_give_the_same_bytes() {
    assert_eq!(oci(|to| write(to)), oci(|to| write(to)));
    assert_eq!(docker(|to| write(to)), docker(|to| write(to)));
}

#[test]
fn an_archive_that_is_copied_stays_the_same() {
    let (from_oci, from_docker) = (oci(|to| write(to)), docker(|to| write(to)));
    let open = |bytes: &[u8]| open_archive(file(bytes)).unwrap();
    assert_eq!(oci(|to| copy(&*open(&from_oci), to).unwrap()), from_oci);
    assert_eq!(docker(|to| copy(&*open(&from_docker), to).unwrap()), from_docker);
    // The layers are plain, so that nothing is lost between the forms either.
    assert_eq!(oci(|to| copy(&*open(&from_docker), to).unwrap()), from_oci);
    assert_eq!(docker(|to| copy(&*open(&from_oci), to).unwrap()), from_docker);
}

#[test]
fn compressed_layers_keep_their_digests_or_become_plain() {
    let (a, b) = (layer("a"), layer("b"));
    let bytes = TarBuilder::new()
        .file("a.tar", gzip(&a))
        .file("b.tar", zstd(&b))
        .file("c.json", config("amd64", &[&a, &b]))
        .json("manifest.json", &json!([{"Config": "c.json", "RepoTags": ["x"], "Layers": ["a.tar", "b.tar"]}]))
        .bytes();
    let source = open_archive(file(&bytes)).unwrap();

    let kept = oci(|to| copy(&*source, to).unwrap());
    let image = open_archive(file(&kept)).unwrap().images().unwrap().remove(0);
    let digests: Vec<_> = image.layers.iter().map(|layer| layer.digest).collect();
    assert_eq!(digests, [Some(BlobDigest::of(&gzip(&a))), Some(BlobDigest::of(&zstd(&b)))]);

    let plain = docker(|to| copy(&*source, to).unwrap());
    let again = open_archive(file(&plain)).unwrap();
    let image = again.images().unwrap().remove(0);
    for (layer, bytes) in image.layers.iter().zip([a, b]) {
        let mut read = Vec::new();
        layer.open(&*again).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, bytes);
    }
    assert_eq!(docker(|to| copy(&*open_archive(file(&kept)).unwrap(), to).unwrap()), plain);
}

#[test]
fn a_manifest_that_was_read_is_written_as_it_was() {
    let a = layer("a");
    let config = config("amd64", &[&a]);
    let put = [SinkLayer::plain(DiffId::of(&a), a.len() as u64)];
    let made = synthesize_manifest(&config, &put);
    // Another program's spelling of the same manifest.
    let spelt = RawManifest::new([&b" "[..], &made.bytes, b"\n"].concat(), made.media_type.clone());
    let bytes = oci(|to| {
        to.put_layer(&put[0], &mut a.as_slice()).unwrap();
        to.put_image(&SinkImage { names: &[], manifest: &spelt, index: None, config: &config, layers: &put }).unwrap();
        to.finish().unwrap();
    });
    let copied = oci(|to| copy(&*open_archive(file(&bytes)).unwrap(), to).unwrap());
    assert_eq!(copied, bytes);
    assert_eq!(open_archive(file(&copied)).unwrap().images().unwrap()[0].manifest.as_ref(), Some(&spelt));
}

#[test]
fn a_kept_index_is_what_the_name_refers_to() {
    let a = layer("a");
    let config = config("amd64", &[&a]);
    let put = [SinkLayer::plain(DiffId::of(&a), a.len() as u64)];
    let manifest = synthesize_manifest(&config, &put);
    let absent = json!({"mediaType": media::OCI_MANIFEST, "digest": BlobDigest::of(b"absent"), "size": 6,
        "platform": {"os": "linux", "architecture": "s390x"}});
    let here = json!({"mediaType": media::OCI_MANIFEST, "digest": manifest.digest, "size": manifest.bytes.len(),
        "platform": {"os": "linux", "architecture": "amd64"}});
    let index = json!({"schemaVersion": 2, "manifests": [absent, here]}).to_string().into_bytes();
    let index = RawManifest::new(index, media::OCI_INDEX);
    let names = refs(&["one"]);
    let bytes = oci(|to| {
        to.put_layer(&put[0], &mut a.as_slice()).unwrap();
        to.put_image(&SinkImage {
            names: &names,
            manifest: &manifest,
            index: Some(&index),
            config: &config,
            layers: &put,
        })
        .unwrap();
        to.finish().unwrap();
    });
    let options =
        crate::OpenOptions { platforms: crate::Platforms::One("linux/amd64".parse().unwrap()), ..Default::default() };
    let image = crate::open_archive_with(file(&bytes), options).unwrap().images().unwrap().remove(0);
    assert_eq!(image.index, Some(index));
    assert_eq!(image.manifest, Some(manifest));
    assert_eq!(image.names, names);
}

#[test]
fn a_synthesized_manifest_is_stable() {
    let layer = SinkLayer::plain(DiffId::of(b"layer"), 5);
    let manifest = synthesize_manifest(b"{}", &[layer]);
    assert_eq!(
        std::str::from_utf8(&manifest.bytes).unwrap(),
        concat!(
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
            r#""config":{"mediaType":"application/vnd.oci.image.config.v1+json","#,
            r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"#,
            r#""layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","#,
            r#""digest":"sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85","size":5}]}"#
        )
    );
}

#[test]
fn layers_that_lie_are_refused() {
    let a = layer("a");
    let honest = SinkLayer::plain(DiffId::of(&a), a.len() as u64);
    let mut spoilt = a.clone();
    spoilt[0] ^= 1;
    let longer = [a.as_slice(), b"x"].concat();
    type Put = fn(&mut Vec<u8>, &SinkLayer, &[u8]) -> Result<(), TransportError>;
    let both: [Put; 2] = [
        |out, layer, mut body| OciArchiveWriter::new(out)?.put_layer(layer, &mut body),
        |out, layer, mut body| DockerArchiveWriter::new(out).put_layer(layer, &mut body),
    ];
    for put in both {
        let mut out = Vec::new();
        put(&mut out, &honest, &a).unwrap();
        assert!(matches!(put(&mut out, &honest, &spoilt), Err(TransportError::WrongDigest { .. })));
        assert!(matches!(put(&mut out, &honest, &a[1..]), Err(TransportError::WrongSize { .. })));
        assert!(matches!(put(&mut out, &honest, &longer), Err(TransportError::WrongSize { .. })));
    }
    let compressed = SinkLayer { media_type: format!("{}+gzip", media::OCI_LAYER), ..honest };
    let error = DockerArchiveWriter::new(&mut Vec::new()).put_layer(&compressed, &mut a.as_slice()).unwrap_err();
    assert!(matches!(error, TransportError::NotPlain { .. }));
}

#[test]
fn images_that_do_not_fit_their_layers_are_refused() {
    let a = layer("a");
    let config = config("amd64", &[&a]);
    let put = [SinkLayer::plain(DiffId::of(&a), a.len() as u64)];
    let manifest = synthesize_manifest(&config, &put);
    let other = synthesize_manifest(&config, &[]);
    let image = SinkImage { names: &[], manifest: &manifest, index: None, config: &config, layers: &put };
    let mut out = Vec::new();
    let mut to = OciArchiveWriter::new(&mut out).unwrap();
    assert!(matches!(to.put_image(&image), Err(TransportError::LayerNotWritten { .. })));
    to.put_layer(&put[0], &mut a.as_slice()).unwrap();
    assert!(matches!(to.put_image(&SinkImage { layers: &[], ..image }), Err(TransportError::LayerCount { .. })));
    assert!(matches!(to.put_image(&SinkImage { manifest: &other, ..image }), Err(TransportError::Mismatch { .. })));
    to.put_image(&image).unwrap();
    to.finish().unwrap();
    assert!(matches!(to.finish(), Err(TransportError::Finished)));
    assert!(matches!(
        to.put_layer(&SinkLayer::plain(DiffId::of(b""), 0), &mut &b""[..]),
        Err(TransportError::Finished)
    ));
}

#[test]
fn a_full_output_is_an_error() {
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let from = open_archive(file(&oci(|to| write(to)))).unwrap();
    let mut full = Full(2000);
    let result = OciArchiveWriter::new(&mut full).and_then(|mut to| copy(&*from, &mut to));
    assert!(result.is_err());
}

#[test]
fn an_image_that_is_put_twice_is_written_once_under_both_names() {
    let config = config("amd64", &[]);
    let manifest = synthesize_manifest(&config, &[]);
    let (one, two) = (refs(&["one"]), refs(&["two", "one"]));
    let image = |names| SinkImage { names, manifest: &manifest, index: None, config: &config, layers: &[] };
    let put = |to: &mut dyn ImageSink| {
        to.put_image(&image(&one)).unwrap();
        to.put_image(&image(&two)).unwrap();
        to.finish().unwrap();
    };
    for bytes in [oci(|to| put(to)), docker(|to| put(to))] {
        assert_eq!(bytes.windows(config.len()).filter(|at| *at == config).count(), 1);
        let (names, _, _) = names_and_ids(&bytes).remove(0);
        assert_eq!(names, refs(&["one", "two"]));
    }
}

#[test]
fn a_docker_archive_has_no_tag_for_a_pinned_name() {
    let config = config("amd64", &[]);
    let manifest = synthesize_manifest(&config, &[]);
    let digest = manifest.digest.to_string();
    let names = refs(&[&format!("one@{digest}"), &format!("one:v1@{digest}"), "one:v2"]);
    let bytes = docker(|to| {
        let image = SinkImage { names: &names, manifest: &manifest, index: None, config: &config, layers: &[] };
        to.put_image(&image).unwrap();
        to.finish().unwrap();
    });
    assert_eq!(names_and_ids(&bytes)[0].0, refs(&["one:v2"]));
}

/// A sink that remembers what it was given.
struct Recording {
    form: LayerForm,
    layers: Vec<(SinkLayer, Vec<u8>)>,
    manifests: Vec<RawManifest>,
}

impl ImageSink for Recording {
    fn layers(&self) -> LayerForm {
        self.form
    }
    fn has_layer(&self, layer: &SinkLayer) -> bool {
        self.layers.iter().any(|(known, _)| known == layer)
    }
    fn put_layer(&mut self, layer: &SinkLayer, body: &mut dyn Read) -> Result<(), TransportError> {
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes).unwrap();
        self.layers.push((layer.clone(), bytes));
        Ok(())
    }
    fn put_artifact(&mut self, _: &[Reference], _: &RawManifest) -> Result<(), TransportError> {
        Ok(())
    }
    fn put_companion(&mut self, _: &Companion, _: &mut dyn Read) -> Result<(), TransportError> {
        Ok(())
    }
    fn put_image(&mut self, image: &SinkImage<'_>) -> Result<(), TransportError> {
        self.manifests.push(image.manifest.clone());
        Ok(())
    }
    fn finish(&mut self) -> Result<(), TransportError> {
        Ok(())
    }
}

#[test]
fn a_copy_opens_each_layer_once_and_tells_the_manifest_of_what_it_puts() {
    let a = layer("a");
    let stored = gzip(&a);
    let config = config("amd64", &[&a, &a]);
    let gzipped = SinkLayer {
        diff_id: DiffId::of(&a),
        digest: BlobDigest::of(&stored),
        size: stored.len() as u64,
        media_type: format!("{}+gzip", media::OCI_LAYER),
    };
    let twice = [gzipped.clone(), gzipped.clone()];
    let original =
        RawManifest::new([synthesize_manifest(&config, &twice).bytes.as_slice(), b"\n"].concat(), media::OCI_MANIFEST);
    let bytes = oci(|to| {
        to.put_layer(&gzipped, &mut stored.as_slice()).unwrap();
        let image = SinkImage { names: &[], manifest: &original, index: None, config: &config, layers: &twice };
        to.put_image(&image).unwrap();
        to.finish().unwrap();
    });
    let source = open_archive(file(&bytes)).unwrap();
    let plain = SinkLayer::plain(DiffId::of(&a), a.len() as u64);
    let made = synthesize_manifest(&config, &[plain.clone(), plain.clone()]);
    for (form, layer, body, manifest) in
        [(LayerForm::Any, gzipped, &stored, original), (LayerForm::Plain, plain, &a, made)]
    {
        let mut to = Recording { form, layers: Vec::new(), manifests: Vec::new() };
        copy(&*source, &mut to).unwrap();
        assert_eq!(to.layers, [(layer, body.clone())], "{form:?}");
        assert_eq!(to.manifests, [manifest], "{form:?}");
    }
}
