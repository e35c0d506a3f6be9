//! Every kind of damage is found and named, mended where that can be, and healed by loading again.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mica_store::{Checked, Depth, Done, Finding, Problem, Repair, Store, What};

use crate::common::{self, Image, NAME, Place};

fn look(store: &Store) -> Checked {
    store.check(Depth::Content, Repair::Report).unwrap()
}

struct Sick {
    place: Place,
    store: Store,
    image: Image,
}

fn healthy() -> Sick {
    let (place, image) = (Place::in_memory(), Image::small());
    let store = place.open();
    common::load(&store, &image, Some(NAME));
    common::create(&store, &image, "box", 'a').unwrap();
    common::assert_clean(&store);
    Sick { place, store, image }
}

impl Sick {
    fn layer(&self, path: &str) -> PathBuf {
        self.place.root().join("layers/sha256").join(self.image.diff_ids()[0].hex()).join(path)
    }

    fn blob(&self, hex: &str) -> PathBuf {
        self.place.root().join("blobs/sha256").join(hex)
    }

    /// The one thing that is wrong.
    fn only(&self) -> Finding {
        let damage: Vec<Finding> =
            look(&self.store).findings.into_iter().filter(|finding| finding.problem.is_damage()).collect();
        assert_eq!(damage.len(), 1, "{damage:#?}");
        damage.into_iter().next().unwrap()
    }

    /// Mends what can be mended, loads the image again, and is as new.
    fn heals(&self) {
        self.store.check(Depth::Content, Repair::Mend).unwrap();
        common::load(&self.store, &self.image, Some(NAME));
        common::assert_clean(&self.store);
        let mut back = Vec::new();
        for (layer, tar) in self.image.diff_ids().iter().zip(&self.image.layers) {
            back.clear();
            self.store.require_layer(layer).unwrap().rebuild(&mut back).unwrap();
            assert_eq!(&back, tar);
        }
    }
}

type Touch = fn(&Sick);

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_layer_that_was_touched_is_found_and_healed() {
    let touches: [(&str, &str, Touch); 10] = [
        ("content", "content", |sick| {
            let path = sick.layer("diff/etc/hosts");
            let times = std::fs::File::open(&path).unwrap().metadata().unwrap().modified().unwrap();
            flip(&path);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(times).unwrap();
        }),
        ("mode", "another mode", |sick| {
            std::fs::set_permissions(sick.layer("diff/var/old"), PermissionsExt::from_mode(0o666)).unwrap();
        }),
        ("time", "another time", |sick| {
            let file = std::fs::File::open(sick.layer("diff/etc")).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }),
        ("owner", "another owner", |sick| std::os::unix::fs::chown(sick.layer("diff/var/old"), Some(1), None).unwrap()),
        ("a stray file", "not in the index", |sick| {
            let dir = std::fs::File::open(sick.layer("diff/var")).unwrap();
            let before = dir.metadata().unwrap().modified().unwrap();
            std::fs::write(sick.layer("diff/var/stray"), "").unwrap();
            dir.set_modified(before).unwrap();
        }),
        ("a missing file", "", |sick| {
            let dir = std::fs::File::open(sick.layer("diff/var")).unwrap();
            let before = dir.metadata().unwrap().modified().unwrap();
            std::fs::remove_file(sick.layer("diff/var/old")).unwrap();
            dir.set_modified(before).unwrap();
        }),
        ("index", "its index is not as it was sealed", |sick| flip(&sick.layer("index"))),
        ("recon", "its recon is not as it was sealed", |sick| flip(&sick.layer("recon"))),
        ("seal", "missing field", |sick| std::fs::write(sick.layer("seal.json"), "{\"version\":1}").unwrap()),
        ("no seal", "no seal", |sick| std::fs::remove_file(sick.layer("seal.json")).unwrap()),
    ];
    for (touch, says, apply) in touches {
        let sick = healthy();
        apply(&sick);
        let found = look(&sick.store).findings;
        let layer = sick.image.diff_ids()[0].to_string();
        let named = found.iter().any(|finding| {
            let Problem::Damaged { why } = &finding.problem else { return false };
            finding.what == What::Layer && finding.name == layer && why.contains(says)
        });
        assert!(named, "{touch}: {found:#?}");
        sick.heals();
    }
}

#[test]
fn records_alone_are_looked_at_where_that_was_asked() {
    let sick = healthy();
    flip(&sick.layer("diff/etc/hosts"));
    assert!(sick.store.check(Depth::Records, Repair::Report).unwrap().is_clean());
    assert!(!look(&sick.store).is_clean());
}

#[test]
fn a_damaged_or_missing_blob_is_found_and_healed() {
    let sick = healthy();
    flip(&sick.blob(&sick.image.diff_ids()[0].hex()));
    assert!(matches!(sick.only(), Finding { what: What::Blob, problem: Problem::Damaged { .. }, .. }));
    sick.store.check(Depth::Content, Repair::Mend).unwrap();
    common::assert_clean(&sick.store);

    let sick = healthy();
    std::fs::remove_file(sick.blob(&sick.image.id().hex())).unwrap();
    let found = sick.only();
    assert!(
        matches!(&found.problem, Problem::Lacks { what: What::Blob, .. }) && found.what == What::Image,
        "{found:?}"
    );
    sick.heals();
}

#[test]
fn a_name_that_stands_for_nothing_is_removed() {
    let sick = healthy();
    std::fs::remove_file(sick.blob(&sick.image.descriptor().digest.hex())).unwrap();
    let findings = look(&sick.store).findings;
    assert!(findings.iter().any(|finding| {
        finding.what == What::Name && finding.name == NAME && matches!(finding.problem, Problem::Dangling { .. })
    }));
    sick.store.check(Depth::Records, Repair::Mend).unwrap();
    assert!(sick.store.name(NAME).unwrap().is_none());
    sick.heals();
}

#[test]
fn a_record_in_the_wrong_place_is_found() {
    let sick = healthy();
    let names = sick.place.root().join("names");
    std::fs::write(names.join(format!("{}.json", "0".repeat(64))), "{").unwrap();
    let found = sick.only();
    assert!(found.what == What::Name && matches!(found.problem, Problem::Damaged { .. }), "{found:?}");
    sick.heals();

    let sick = healthy();
    let id = sick.image.id().hex();
    let path = sick.place.root().join(format!("images/sha256/{id}.json"));
    let text = std::fs::read_to_string(&path).unwrap();
    let (one, two) = (sick.image.diff_ids()[0].to_string(), sick.image.diff_ids()[1].to_string());
    std::fs::write(&path, text.replace(&format!("\"{one}\",\"{two}\""), &format!("\"{two}\",\"{one}\""))).unwrap();
    let found = sick.only();
    assert!(found.what == What::Image && matches!(&found.problem, Problem::Damaged { why } if why.contains("config")));
    sick.heals();
}

#[test]
fn a_containers_lost_claim_is_made_again() {
    let sick = healthy();
    std::fs::remove_file(sick.place.root().join("container-names/box")).unwrap();
    let found = sick.only();
    assert!(found.what == What::Container && found.name == "a".repeat(64), "{found:?}");
    let mended = sick.store.check(Depth::Records, Repair::Mend).unwrap();
    assert!(mended.is_clean() && mended.findings[0].done == Done::Mended);
    assert!(sick.store.find_container("box").unwrap().is_some());
}

#[test]
fn a_container_with_a_torn_record_keeps_its_upper() {
    let sick = healthy();
    let container = sick.store.find_container("box").unwrap().unwrap();
    std::fs::write(container.upper().join("work"), "mine").unwrap();
    std::fs::write(container.path().join("config.json"), "{").unwrap();
    let mended = sick.store.check(Depth::Records, Repair::Mend).unwrap();
    assert!(!mended.is_clean());
    assert!(container.upper().join("work").exists());
}

#[test]
fn orphans_and_leftovers_are_told_and_are_no_damage() {
    let sick = healthy();
    let lease = sick.store.lease().unwrap();
    let orphan = sick.store.put_blob(&lease, b"nobody's").unwrap();
    lease.finish();
    std::fs::create_dir(sick.place.root().join("staging").join("0".repeat(32))).unwrap();
    std::os::unix::fs::symlink("f".repeat(64), sick.place.root().join("container-names/gone")).unwrap();
    let checked = look(&sick.store);
    assert!(checked.is_clean());
    let mut told: Vec<(String, bool)> =
        checked.findings.iter().map(|finding| (finding.name.clone(), finding.problem == Problem::Orphan)).collect();
    told.sort();
    let mut expected = vec![(orphan.to_string(), true), ("0".repeat(32), false), ("gone".to_owned(), false)];
    expected.sort();
    assert_eq!(told, expected);
    sick.store.check(Depth::Records, Repair::Mend).unwrap();
    assert!(!sick.place.root().join("container-names/gone").is_symlink());
    assert_eq!(std::fs::read_dir(sick.place.root().join("staging")).unwrap().count(), 0);
}

#[test]
fn a_store_that_others_can_reach_is_closed() {
    let sick = healthy();
    std::fs::set_permissions(sick.place.root(), PermissionsExt::from_mode(0o755)).unwrap();
    assert!(matches!(sick.only().problem, Problem::Exposed { mode: 0o755 }));
    sick.store.check(Depth::Records, Repair::Mend).unwrap();
    common::assert_clean(&sick.store);
}

#[test]
fn an_unsealed_layer_that_nobody_uses_is_taken_away() {
    let (place, image) = (Place::in_memory(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    let layer = place.root().join("layers/sha256").join(image.diff_ids()[0].hex());
    std::fs::remove_file(layer.join("seal.json")).unwrap();
    assert!(store.layer(&image.diff_ids()[0]).unwrap().is_none());
    store.check(Depth::Records, Repair::Mend).unwrap();
    assert!(!layer.exists());
    common::load(&store, &image, None);
    common::assert_clean(&store);
}
