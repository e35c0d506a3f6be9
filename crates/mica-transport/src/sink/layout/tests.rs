use serde_json::json;

use super::*;
use crate::testing::{config, layer};
use crate::{ImageSink, OpenOptions, Reference, SinkImage, SinkLayer, open_layout_dir, synthesize_manifest};
use mica_core::DiffId;

fn put(to: &mut OciLayoutWriter, names: &[&str], content: &str) -> Result<(), TransportError> {
    let bytes = layer(content);
    let layers = [SinkLayer::plain(DiffId::of(&bytes), bytes.len() as u64)];
    if !to.has_layer(&layers[0]) {
        to.put_layer(&layers[0], &mut bytes.as_slice())?;
    }
    let config = config("amd64", &[&bytes]);
    let manifest = synthesize_manifest(&config, &layers);
    let names: Vec<Reference> = names.iter().map(|name| Reference::parse(name).unwrap()).collect();
    to.put_image(&SinkImage { names: &names, manifest: &manifest, index: None, config: &config, layers: &layers })
}

fn save(root: &Path, names: &[&str], content: &str) {
    let mut to = OciLayoutWriter::open(root).unwrap();
    put(&mut to, names, content).unwrap();
    to.finish().unwrap();
}

fn listed(root: &Path) -> Vec<(Vec<String>, String)> {
    let images = open_layout_dir(root, OpenOptions::default()).unwrap().images().unwrap();
    let names = |image: &crate::SourceImage| image.names.iter().map(Reference::familiar).collect();
    images.iter().map(|image| (names(image), image.id.to_string())).collect()
}

/// Every file with its bytes.
fn files(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}

#[test]
fn a_layout_is_made_and_added_to() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("layout");
    save(&root, &["a:1"], "a");
    save(&root, &["b:1", "b:2"], "b");
    let names: Vec<_> = listed(&root).into_iter().map(|(names, _)| names).collect();
    assert_eq!(names, [vec!["a:1"], vec!["b:1", "b:2"]]);
    let before = files(&root);
    save(&root, &["a:1"], "a");
    assert_eq!(files(&root), before, "what is there is not written twice");
    // The name moves, in its place; a nameless image is added once.
    save(&root, &["a:1"], "c");
    save(&root, &[], "d");
    save(&root, &[], "d");
    let index: Value = serde_json::from_slice(&fs::read(root.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 4, "{index}");
    let listed = listed(&root);
    let names: Vec<_> = listed.iter().map(|(names, _)| names.as_slice()).collect();
    assert_eq!(names, [&["a:1".to_owned()][..], &["b:1".to_owned(), "b:2".to_owned()], &[]]);
    assert!(files(&root).iter().all(|(path, _)| !path.to_string_lossy().ends_with(".part")));
}

#[test]
fn what_others_put_into_a_layout_stays() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = json!({"schemaVersion": 2, "annotations": {"who": "umoci"}, "manifests": [
        {"mediaType": "application/x", "digest": "sha512:00", "size": 1, "annotations": {"org.opencontainers.image.ref.name": "x"}, "odd": true}
    ]});
    fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    fs::write(dir.path().join("index.json"), theirs.to_string()).unwrap();
    save(dir.path(), &["a:1"], "a");
    let now: Value = serde_json::from_slice(&fs::read(dir.path().join("index.json")).unwrap()).unwrap();
    assert_eq!(now["annotations"], theirs["annotations"]);
    assert_eq!(now["manifests"][0], theirs["manifests"][0]);
    assert_eq!(now["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(fs::read(dir.path().join("oci-layout")).unwrap(), br#"{"imageLayoutVersion": "1.0.0"}"#);
}

#[test]
fn a_writer_that_gives_up_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("layout");
    let mut to = OciLayoutWriter::open(&root).unwrap();
    put(&mut to, &["a:1"], "a").unwrap();
    drop(to);
    assert!(!root.exists());

    save(&root, &["a:1"], "a");
    let before = files(&root);
    let mut to = OciLayoutWriter::open(&root).unwrap();
    put(&mut to, &["b:1"], "b").unwrap();
    let short = SinkLayer::plain(DiffId::of(b"long"), 4);
    assert!(matches!(to.put_layer(&short, &mut &b"lon"[..]), Err(TransportError::WrongSize { .. })));
    assert!(matches!(to.put_layer(&short, &mut &b"wrng"[..]), Err(TransportError::WrongDigest { .. })));
    drop(to);
    assert_eq!(files(&root), before);
}

#[test]
fn a_crash_before_the_end_leaves_the_layout_that_was() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("layout");
    save(&root, &["a:1"], "a");
    let index = fs::read(root.join("index.json")).unwrap();
    let mut to = OciLayoutWriter::open(&root).unwrap();
    put(&mut to, &["a:1"], "b").unwrap();
    // Whoever is killed cleans nothing up, and the kernel lets go of the lock.
    let lock = to.place().lock.try_clone().unwrap();
    std::mem::forget(to);
    lock.unlock().unwrap();
    assert_eq!(fs::read(root.join("index.json")).unwrap(), index);
    assert_eq!(listed(&root).len(), 1);
    save(&root, &["a:1"], "b");
    assert_eq!(listed(&root).len(), 1);
    // One that was killed before there was an index is taken up again.
    fs::remove_file(root.join("index.json")).unwrap();
    save(&root, &["c:1"], "c");
    assert_eq!(listed(&root).len(), 1);
}

#[test]
fn anything_else_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |path: &Path| match OciLayoutWriter::open(path) {
        Err(error) => error,
        Ok(_) => panic!("{path:?} was taken"),
    };
    fs::write(dir.path().join("precious"), "x").unwrap();
    assert!(matches!(refused(dir.path()), TransportError::NotALayout { .. }));
    assert!(matches!(refused(&dir.path().join("precious")), TransportError::NotALayout { .. }));
    assert!(matches!(refused(&dir.path().join("no/such")), TransportError::Io { .. }));
    assert_eq!(files(dir.path()).len(), 1);
    for (layout, index) in [
        (r#"{"imageLayoutVersion":"2.0.0"}"#, "{}"),
        (r#"{"imageLayoutVersion":"1.0.0"}"#, "{"),
        (r#"{"imageLayoutVersion":"1.0.0"}"#, "[]"),
        (r#"{"imageLayoutVersion":"1.0.0"}"#, r#"{"manifests": 3}"#),
    ] {
        fs::write(dir.path().join("oci-layout"), layout).unwrap();
        fs::write(dir.path().join("index.json"), index).unwrap();
        let before = files(dir.path());
        refused(dir.path());
        assert_eq!(files(dir.path()), before, "{layout} {index}");
    }
}

#[test]
fn writers_wait_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("layout");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let root = &root;
            scope.spawn(move || save(root, &[&format!("a:{number}")], &number.to_string()));
        }
    });
    assert_eq!(listed(&root).len(), 8, "nobody's name was lost");
}
