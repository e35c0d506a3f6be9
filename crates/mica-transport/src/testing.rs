//! Small archives for tests.

use std::fs::File;
use std::io::Write;

use mica_core::{Attrs, BlobDigest, DiffId};
use mica_layer::tar::{Member, MemberKind, Writer};
use serde_json::{Value, json};

/// A tar that is built entry by entry.
pub(crate) struct TarBuilder(Writer<Vec<u8>>);

impl TarBuilder {
    pub(crate) fn new() -> Self {
        Self(Writer::new(Vec::new()))
    }

    pub(crate) fn file(mut self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.0.append_bytes(name.as_bytes(), bytes.as_ref()).unwrap();
        self
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.member(name, MemberKind::Symlink(target.as_bytes()))
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.member(name, MemberKind::HardLink(target.as_bytes()))
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.member(name, MemberKind::Directory)
    }

    fn member(mut self, name: &str, kind: MemberKind<'_>) -> Self {
        let attrs = Attrs { mode: 0o755, ..Attrs::default() };
        self.0.append(&Member { path: name.as_bytes(), kind, attrs: &attrs }, &mut std::io::empty()).unwrap();
        self
    }

    pub(crate) fn json(self, name: &str, value: &Value) -> Self {
        self.file(name, value.to_string())
    }

    /// A blob under its digest.
    pub(crate) fn blob(self, bytes: impl AsRef<[u8]>) -> Self {
        let name = format!("blobs/sha256/{}", BlobDigest::of(bytes.as_ref()).hex());
        self.file(&name, bytes)
    }

    /// The archive without this blob, and with it.
    pub(crate) fn blob_if(self, bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let without = self.bytes();
        let mut with = without[..without.len() - 1024].to_vec();
        with.extend(Self::new().blob(bytes).bytes());
        (without, with)
    }

    pub(crate) fn oci(self, descriptors: &[Value]) -> Self {
        self.json("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))
            .json("index.json", &json!({"schemaVersion": 2, "manifests": descriptors}))
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.finish().unwrap()
    }
}

/// The tar of a layer with one file.
pub(crate) fn layer(content: &str) -> Vec<u8> {
    TarBuilder::new().file("file", content).bytes()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = mica_layer::encoder(Vec::new(), mica_layer::Compression::Gzip).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = mica_layer::encoder(Vec::new(), mica_layer::Compression::Zstd).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A config for `architecture` with these layers, uncompressed.
pub(crate) fn config(architecture: &str, layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<DiffId> = layers.iter().map(|layer| DiffId::of(layer)).collect();
    json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}})
        .to_string()
        .into_bytes()
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": BlobDigest::of(bytes), "size": bytes.len()})
}

/// `descriptor` with more fields.
pub(crate) fn with(mut descriptor: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        descriptor[key] = value.clone();
    }
    descriptor
}

pub(crate) fn named(descriptor: Value, name: &str) -> Value {
    with(descriptor, json!({"annotations": {"org.opencontainers.image.ref.name": name}}))
}

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A manifest of a config and of stored layers with their media types.
pub(crate) fn manifest(config: &[u8], layers: &[(&str, &[u8])]) -> Vec<u8> {
    let layers: Vec<Value> = layers.iter().map(|(media_type, bytes)| descriptor(media_type, bytes)).collect();
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, config), "layers": layers})
        .to_string()
        .into_bytes()
}

/// A file with these bytes, open for reading.
pub(crate) fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}
