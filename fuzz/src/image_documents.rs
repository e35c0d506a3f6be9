//! The documents of images, and whole archives of them.

use std::io::{Read, Write};
use std::path::Path;

use mica_core::image::ImageConfig;
use mica_core::{BlobDigest, DiffId};
use mica_transport::{ImageSource, OpenOptions, open_archive_with, open_layout_dir};
use serde_json::json;

use crate::scratch::scratch;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The one layer of a made image: a tar without an entry.
const EMPTY_TAR: [u8; 1024] = [0; 1024];

fn options() -> OpenOptions {
    OpenOptions { json_max: 64 << 10, ..OpenOptions::default() }
}

fn read_all(source: &dyn ImageSource) {
    let Ok(images) = source.images() else { return };
    for image in images {
        for layer in &image.layers {
            if let Ok(bytes) = layer.open(source) {
                drop(std::io::copy(&mut bytes.take(1 << 20), &mut std::io::sink()));
            }
        }
    }
}

fn put(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().expect("it is below the root")).expect("folders can be made");
    std::fs::write(path, bytes).expect("files can be written");
}

fn put_blob(root: &Path, bytes: &[u8]) -> serde_json::Value {
    let digest = BlobDigest::of(bytes);
    put(root, &format!("blobs/sha256/{}", digest.hex()), bytes);
    json!({ "digest": digest, "size": bytes.len() })
}

fn described(mut descriptor: serde_json::Value, media_type: &str) -> serde_json::Value {
    descriptor["mediaType"] = media_type.into();
    descriptor
}

/// A layout in which one document is the stranger's, and the rest fits it: the first byte says which.
pub fn image(data: &[u8]) {
    let (which, document) = data.split_first().unwrap_or((&0, &[]));
    if let Ok(config) = ImageConfig::parse(document) {
        let bytes = config.to_bytes().expect("a config can be printed");
        assert_eq!(ImageConfig::parse(&bytes).expect("what was printed can be read"), config);
    }
    let (place, _) = scratch();
    let root = place.path();
    put(root, "oci-layout", if which % 5 == 4 { document } else { br#"{"imageLayoutVersion":"1.0.0"}"# });
    let layer = described(put_blob(root, &EMPTY_TAR), LAYER);
    let own = json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [DiffId::of(&EMPTY_TAR)]}
    });
    let own = own.to_string();
    let config = described(put_blob(root, if which % 5 == 0 { document } else { own.as_bytes() }), CONFIG);
    let own = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}).to_string();
    let manifest = put_blob(root, if which % 5 == 1 { document } else { own.as_bytes() });
    let own = json!({"schemaVersion": 2, "manifests": [described(manifest, MANIFEST)]}).to_string();
    match which % 5 {
        2 => put(root, "index.json", document),
        3 => {
            let nested = put_blob(root, document);
            let nested = described(nested, "application/vnd.oci.image.index.v1+json");
            put(root, "index.json", json!({"schemaVersion": 2, "manifests": [nested]}).to_string().as_bytes());
        }
        _ => put(root, "index.json", own.as_bytes()),
    }
    if let Ok(source) = open_layout_dir(root, options()) {
        read_all(&*source);
    }
}

/// An archive in a file, as `docker save` or an OCI tool would have written it.
pub fn archive(data: &[u8]) {
    let mut file = tempfile::tempfile().expect("a temporary file can be made");
    file.write_all(data).expect("it can be written");
    if let Ok(source) = open_archive_with(file, options()) {
        read_all(&*source);
    }
}
