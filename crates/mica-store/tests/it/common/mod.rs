//! What the tests share: a place for a store, small images to put in it, and a picture of all that stands there.

pub mod tar;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use mica_core::image::Platform;
use mica_core::{BlobDigest, DiffId, ImageId};
use mica_store::{
    Descriptor, Facts, ImageRecord, Lease, Limits, NewContainer, OnUse, Store, StoreError, StoreOptions, Tee,
};
use tempfile::TempDir;

/// A place for a store, gone with its value.
pub struct Place {
    dir: TempDir,
}

impl Place {
    /// On disk, where a flush costs what it costs.
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// In memory where the machine has that, for tests that make hundreds of stores and cut no power.
    pub fn in_memory() -> Self {
        match tempfile::tempdir_in("/dev/shm") {
            Ok(dir) => Self { dir },
            Err(_) => Self::new(),
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub fn options(&self) -> StoreOptions {
        StoreOptions::new(self.root(), self.dir.path().join("run"))
    }

    pub fn open(&self) -> Store {
        Store::open(&self.options()).unwrap()
    }

    pub fn listing(&self) -> BTreeSet<String> {
        listing(&self.root())
    }
}

/// Everything in a store but lock files and the trash: paths, and where symlinks point.
pub fn listing(root: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut next = vec![root.to_owned()];
    while let Some(dir) = next.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let skipped = ["locks/", "trash/"].iter().any(|place| name.starts_with(place));
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                next.push(path);
            } else if !skipped {
                let target = std::fs::read_link(&path).map(|target| format!(" -> {}", target.display()));
                all.insert(name + &target.unwrap_or_default());
                continue;
            }
            if !skipped {
                all.insert(name);
            }
        }
    }
    all
}

/// An image, as bytes.
#[derive(Clone)]
pub struct Image {
    pub layers: Vec<Vec<u8>>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

impl Image {
    /// An image of these layer tars, base first. `salt` makes one of the same layers another image.
    pub fn new(layers: Vec<Vec<u8>>, salt: &str) -> Self {
        let ids: Vec<String> = layers.iter().map(|tar| format!("\"{}\"", DiffId::of(tar))).collect();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","author":"{salt}","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            ids.join(",")
        );
        let described = |tar: &Vec<u8>| {
            let (digest, size) = (BlobDigest::of(tar), tar.len());
            format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":{size}}}"#)
        };
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{}]}}"#,
            BlobDigest::of(config.as_bytes()),
            config.len(),
            layers.iter().map(described).collect::<Vec<_>>().join(",")
        );
        Self { layers, config: config.into(), manifest: manifest.into() }
    }

    /// Two layers: a base, and a top with a whiteout, an implied directory and a hard link to the base.
    pub fn small() -> Self {
        Self::salted("")
    }

    pub fn salted(salt: &str) -> Self {
        let base = tar::Builder::new()
            .dir("./", 0o755)
            .dir("etc/", 0o750)
            .file("etc/hosts", "127.0.0.1 localhost\n")
            .file("etc/motd", salt)
            .dir("var/", 0o700)
            .file("var/old", "old");
        let top = tar::Builder::new().file("etc/.wh.motd", "").file("var/new", "new").link("copy", "etc/hosts");
        Self::new(vec![base.finish(), top.finish()], salt)
    }

    pub fn id(&self) -> ImageId {
        ImageId::of(&self.config)
    }

    pub fn diff_ids(&self) -> Vec<DiffId> {
        self.layers.iter().map(|tar| DiffId::of(tar)).collect()
    }

    pub fn descriptor(&self) -> Descriptor {
        let size = self.manifest.len().try_into().unwrap();
        Descriptor::new("application/vnd.oci.image.manifest.v1+json", BlobDigest::of(&self.manifest), size)
    }

    pub fn record(&self) -> ImageRecord {
        let platform = "linux/amd64".parse::<Platform>().unwrap();
        ImageRecord::new(self.id(), self.descriptor(), platform, self.diff_ids())
    }
}

pub const NAME: &str = "docker.io/library/small:latest";

/// Brings an image into a store the way the engine does. `tar` gives a layer's bytes and is called once for each that is
/// unpacked here.
pub fn load_through<'t>(
    store: &Store,
    image: &Image,
    name: Option<&str>,
    tar: &dyn Fn(&DiffId) -> Box<dyn Read + 't>,
) -> Result<(), StoreError> {
    let lease = store.lease()?;
    bring(store, &lease, image, tar)?;
    store.put_image(&lease, &image.record())?;
    if let Some(name) = name {
        store.set_name(&lease, name, &image.descriptor())?;
    }
    lease.finish();
    Ok(())
}

fn bring<'t>(
    store: &Store,
    lease: &Lease<'_>,
    image: &Image,
    tar: &dyn Fn(&DiffId) -> Box<dyn Read + 't>,
) -> Result<(), StoreError> {
    let batch = store.stage_layers(lease, &image.diff_ids())?;
    batch.put_blob(&image.config)?;
    batch.put_blob(&image.manifest)?;
    let mut mine = batch.mine();
    loop {
        for layer in mine {
            // These layers are plain, so the blob's digest is the DiffID's bytes; the tar is kept as it came.
            let blob = BlobDigest::from_sha256(*layer.as_bytes());
            let mut tee = Tee::new(tar(&layer), batch.blob_writer(&blob, None)?);
            let unpacked = batch.stage(&layer, &mut tee, &Limits::default())?;
            batch.keep_blob(tee.finish()?)?;
            store.put_facts(
                lease,
                &Facts::of_layer(blob, unpacked.tar_size, "application/vnd.oci.image.layer.v1.tar", layer),
            )?;
        }
        batch.seal()?;
        mine = batch.take_over()?;
        if mine.is_empty() {
            return Ok(());
        }
    }
}

pub fn try_load(store: &Store, image: &Image, name: Option<&str>) -> Result<(), StoreError> {
    load_through(store, image, name, &|layer| {
        let tar = image.layers.iter().find(|tar| DiffId::of(tar) == *layer).unwrap().clone();
        Box::new(std::io::Cursor::new(tar))
    })
}

pub fn load(store: &Store, image: &Image, name: Option<&str>) {
    try_load(store, image, name).unwrap();
}

/// A container to be made of an image, with the ID `digit` repeated.
pub fn container_of(store: &Store, image: &Image, name: &str, digit: char) -> Result<NewContainer, StoreError> {
    Ok(NewContainer {
        id: mica_store::ContainerId::parse(&digit.to_string().repeat(64)),
        name: mica_store::ContainerName::new(name)?,
        lifetime: mica_store::Lifetime::Kept,
        image: Some(image.id()),
        layers: image.diff_ids(),
        root: store.lowers(&image.diff_ids())?.root,
        settings: serde_json::json!({ "command": ["sh"] }),
        is_answered_for: false,
    })
}

pub fn create(store: &Store, image: &Image, name: &str, digit: char) -> Result<(), StoreError> {
    let new = container_of(store, image, name, digit)?;
    let lease = store.lease()?;
    store.create_container(&lease, new)?;
    lease.finish();
    Ok(())
}

/// Removes an image as `rmi` does: its names, then its record.
pub fn remove(store: &Store, image: &Image, on_use: OnUse) -> Result<(), StoreError> {
    for name in store.names()? {
        if name.target.digest == image.descriptor().digest {
            store.remove_name(&name.reference, Some(&name.target.digest))?;
        }
    }
    store.remove_image(&image.id(), on_use)
}

/// Everything that a check finds, for messages.
pub fn assert_clean(store: &Store) {
    let checked = store.check(mica_store::Depth::Content, mica_store::Repair::Report).unwrap();
    assert!(checked.is_clean(), "{:#?}", checked.findings);
}

pub fn reap(store: &Store) {
    store.reap(std::time::Duration::from_secs(60)).unwrap();
}
