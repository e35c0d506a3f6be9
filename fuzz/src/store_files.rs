//! A store, one file of which is the stranger's.

use std::cell::OnceCell;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mica_core::image::Platform;
use mica_core::{BlobDigest, DiffId, ImageId};
use mica_layer::Limits;
use mica_store::{
    ContainerId, ContainerName, Depth, Descriptor, Facts, Flush, ImageRecord, Kept, Lifetime, NewContainer, Repair,
    Store, StoreError, StoreOptions,
};

use crate::seeds;

const NAME: &str = "docker.io/library/small:latest";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Folders of a store in which names say something.
const FOLDERS: [&str; 11] = [
    "blobs/sha256",
    "facts/sha256",
    "layers/sha256",
    "chains/sha256",
    "images/sha256",
    "names",
    "containers",
    "container-names",
    "staging",
    "leases",
    "trash",
];

struct Prepared {
    _place: tempfile::TempDir,
    options: StoreOptions,
    records: Vec<(PathBuf, Vec<u8>)>,
}

impl Prepared {
    /// A store with an image of two layers, its name, its facts, a chain with a fix, and a container.
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a temporary folder can be made");
        let options = StoreOptions::new(place.path().join("store"), place.path().join("run"));
        fill(&options).expect("a store can be made");
        let mut records = Vec::new();
        for path in files(&options.root) {
            let name = path.strip_prefix(&options.root).expect("it is in the store").to_owned();
            let is_record = !["locks", "staging", "trash", "leases"].iter().any(|place| name.starts_with(place));
            if is_record && !name.components().any(|part| part.as_os_str() == "diff" || part.as_os_str() == "fix") {
                records.push((name, std::fs::read(&path).expect("a record can be read")));
            }
        }
        records.sort();
        Self { _place: place, options, records }
    }
}

/// The files of the prepared store that the first byte of an input chooses from, with what stands in them.
pub(crate) fn records() -> Vec<(PathBuf, Vec<u8>)> {
    Prepared::new().records
}

fn files(at: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(at).expect("a folder can be read") {
        let path = entry.expect("a folder can be read").path();
        match path.symlink_metadata().expect("what is listed is there").file_type() {
            kind if kind.is_dir() => found.extend(files(&path)),
            kind if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}

fn fill(options: &StoreOptions) -> Result<(), StoreError> {
    let store = Store::open(options)?;
    let tars = [seeds::kinds(), seeds::links()];
    let layers = [DiffId::of(&tars[0]), DiffId::of(&tars[1])];
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}","{}"]}}}}"#,
        layers[0], layers[1]
    );
    let described =
        |media_type: &str, bytes: &[u8]| Descriptor::new(media_type, BlobDigest::of(bytes), bytes.len() as u64);
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "config": described("application/vnd.oci.image.config.v1+json", config.as_bytes()),
        "layers": [described(LAYER, &tars[0]), described(LAYER, &tars[1])],
    });
    let manifest = manifest.to_string();
    let lease = store.lease()?;
    let batch = store.stage_layers(&lease, &layers)?;
    batch.put_blob(config.as_bytes())?;
    batch.put_blob(manifest.as_bytes())?;
    for (layer, tar) in layers.iter().zip(&tars) {
        batch.stage(layer, &mut Cursor::new(tar), &Limits::default())?;
        let blob = BlobDigest::from_sha256(*layer.as_bytes());
        store.put_facts(&lease, &Facts::of_layer(blob, tar.len() as u64, LAYER, *layer))?;
    }
    batch.seal()?;
    drop(batch);
    let id = ImageId::of(config.as_bytes());
    let target = described("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
    store.put_image(&lease, &ImageRecord::new(id, target.clone(), Platform::host(), layers.to_vec()))?;
    store.set_name(&lease, NAME, &target)?;
    let container = store.create_container(
        &lease,
        NewContainer {
            id: ContainerId::parse(&"a".repeat(64)),
            name: ContainerName::new("fuzzed")?,
            lifetime: Lifetime::Kept,
            image: Some(id),
            layers: layers.to_vec(),
            root: store.lowers(&layers)?.root,
            settings: serde_json::json!({"command": ["sh"]}),
            is_answered_for: false,
        },
    )?;
    let locked = store.lock_container(container.id())?;
    let state = store.container_state(&container)?;
    store.update_state(&locked, &state, Flush::No)?;
    lease.finish();
    Ok(())
}

/// One record is replaced, or a name is put where names say something; then all that reads a store reads it.
pub fn store(data: &[u8]) {
    thread_local! {
        static PREPARED: OnceCell<Prepared> = const { OnceCell::new() };
    }
    let Some((which, bytes)) = data.split_first() else { return };
    PREPARED.with(|prepared| {
        let prepared = prepared.get_or_init(Prepared::new);
        let which = usize::from(*which);
        let root = &prepared.options.root;
        if which >= 128 {
            strange_name(prepared, FOLDERS[which % FOLDERS.len()], bytes);
        } else if which == 127 {
            strange_lease(prepared, bytes);
        } else if let Some((name, whole)) = prepared.records.get(which % prepared.records.len()) {
            std::fs::write(root.join(name), bytes).expect("a record can be replaced");
            read_all(&prepared.options);
            std::fs::write(root.join(name), whole).expect("a record can be put back");
        }
    });
}

fn strange_name(prepared: &Prepared, folder: &str, name: &[u8]) {
    if name.is_empty() || name.len() > 255 || name.contains(&b'/') || name.contains(&0) || name == b"." || name == b".."
    {
        return;
    }
    let path = prepared.options.root.join(folder).join(std::ffi::OsStr::from_bytes(name));
    if path.symlink_metadata().is_ok() {
        return;
    }
    let is_folder = name.first().is_some_and(|byte| byte % 2 == 0);
    if is_folder { std::fs::create_dir(&path) } else { std::fs::write(&path, b"{}") }.expect("a name can be made");
    read_all(&prepared.options);
    // An opening may have swept it away.
    drop(if is_folder { std::fs::remove_dir(&path) } else { std::fs::remove_file(&path) });
}

fn strange_lease(prepared: &Prepared, bytes: &[u8]) {
    let Ok(store) = Store::open(&prepared.options) else { return };
    let lease = store.lease().expect("a lease can be had");
    drop(lease.keep(&[Kept::Layer(DiffId::of(b""))]));
    for path in files(&prepared.options.root.join("leases")) {
        std::fs::write(path, bytes).expect("a lease can be damaged");
    }
    drop(store.gc());
    lease.finish();
}

fn read_all(options: &StoreOptions) {
    let Ok(store) = Store::open(options) else { return };
    drop((store.images(), store.names(), store.containers(), store.all_facts(), store.blobs(), store.usage()));
    drop((store.find_image("a"), store.find_container("fuzzed"), store.name(NAME)));
    drop(store.has_trash());
    if let Ok(Some(name)) = store.name(NAME) {
        drop(store.images_of(&name.target));
    }
    for layer in store.layers().unwrap_or_default() {
        let Ok(Some(layer)) = store.layer(&layer) else { continue };
        drop((layer.index(), layer.rebuild(&mut std::io::sink())));
    }
    for image in store.images().unwrap_or_default() {
        drop(store.lowers(&image.layers));
    }
    for id in store.container_ids().unwrap_or_default() {
        if let Ok(Some(container)) = store.container(&id) {
            drop((store.container_state(&container), mica_store::upper_size(&container)));
        }
    }
    drop(store.check(Depth::Content, Repair::Report));
}
