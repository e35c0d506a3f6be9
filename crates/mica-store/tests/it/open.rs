//! Which stores are opened, and which are refused with what words.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use mica_store::{IdRow, Marks, Missing, Owners, ReadOnly, Store, StoreError, StoreOptions};

use crate::common::{self, Image, NAME, Place};

fn edit_format(place: &Place, from: &str, to: &str) {
    let path = place.root().join("format.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&path, text.replace(from, to)).unwrap();
}

fn refused(options: &StoreOptions) -> StoreError {
    Store::open(options).map(drop).unwrap_err()
}

#[test]
fn a_store_is_nobody_elses_to_reach() {
    let place = Place::new();
    std::fs::create_dir(place.root()).unwrap();
    std::fs::set_permissions(place.root(), PermissionsExt::from_mode(0o755)).unwrap();
    let store = place.open();
    common::load(&store, &Image::small(), Some(NAME));
    common::create(&store, &Image::small(), "box", 'a').unwrap();
    let mode = |path: &str| std::fs::metadata(place.root().join(path)).unwrap().mode() & 0o7777;
    assert_eq!(mode(""), 0o700);
    for dir in ["containers", "layers", "layers/sha256", "blobs/sha256", "volatile", "trash"] {
        assert_eq!(mode(dir), 0o700, "{dir}");
    }
    for file in ["format.json", &format!("blobs/sha256/{}", Image::small().id().hex())] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
}

#[test]
fn a_store_opens_again_as_the_same() {
    let place = Place::new();
    let uuid = place.open().uuid().to_owned();
    assert_eq!(uuid.len(), 36);
    assert_eq!(place.open().uuid(), uuid);
    assert_ne!(Place::new().open().uuid(), uuid);
}

#[test]
fn a_store_that_is_not_there_is_made_or_refused_as_asked() {
    let place = Place::new();
    let options = StoreOptions { missing: Missing::Refuse, ..place.options() };
    assert!(matches!(refused(&options), StoreError::NoStore { .. }));
    assert!(!place.root().exists());
    std::fs::create_dir(place.root()).unwrap();
    assert!(matches!(refused(&options), StoreError::NoStore { .. }));
    place.open();
    assert!(Store::open(&options).is_ok());
}

#[test]
fn somebodys_directory_is_not_made_a_store() {
    let place = Place::new();
    std::fs::create_dir(place.root()).unwrap();
    std::fs::write(place.root().join("thesis.tex"), "").unwrap();
    assert!(matches!(refused(&place.options()), StoreError::NotAStore { entry, .. } if entry == "thesis.tex"));
    assert_eq!(std::fs::read_dir(place.root()).unwrap().count(), 1);
}

#[test]
fn a_newer_store_is_refused_by_the_name_of_what_it_needs() {
    for (from, to, feature) in [
        (r#""format":1"#, r#""format":2"#, "store format 2"),
        (r#""incompat":[]"#, r#""incompat":["shared-diffs"]"#, r#"feature "shared-diffs""#),
    ] {
        let place = Place::new();
        drop(place.open());
        edit_format(&place, from, to);
        let error = refused(&place.options());
        assert!(matches!(&error, StoreError::NewerFormat { feature: named } if named == feature), "{error}");
    }
}

#[test]
fn a_feature_that_only_writers_must_know_leaves_reading() {
    let (place, image) = (Place::new(), Image::small());
    common::load(&place.open(), &image, Some(NAME));
    edit_format(&place, r#""ro_compat":[]"#, r#""ro_compat":["quota"]"#);
    let store = place.open();
    assert_eq!(store.read_only(), Some(&ReadOnly::Feature("quota".to_owned())));
    assert!(store.name(NAME).unwrap().is_some() && store.image(&image.id()).unwrap().is_some());
    common::assert_clean(&store);
    let before = place.listing();
    assert!(matches!(store.lease(), Err(StoreError::ReadOnly { .. })));
    assert!(matches!(store.gc(), Err(StoreError::ReadOnly { .. })));
    assert!(matches!(store.remove_name(NAME, None), Err(StoreError::ReadOnly { .. })));
    assert!(matches!(store.remove_image(&image.id(), mica_store::OnUse::Remove), Err(StoreError::ReadOnly { .. })));
    assert_eq!(place.listing(), before);
}

#[test]
fn a_feature_that_may_be_ignored_is() {
    let place = Place::new();
    drop(place.open());
    edit_format(&place, r#""compat":[]"#, r#""compat":["hints"],"later":1"#);
    assert_eq!(place.open().read_only(), None);
}

#[test]
fn other_marks_owners_or_maps_are_refused() {
    let place = Place::new();
    drop(place.open());
    let row = IdRow { container: 0, host: 100_000, size: 65_536 };
    for options in [
        StoreOptions { marks: Marks::User, ..place.options() },
        StoreOptions { owners: Owners::Single, ..place.options() },
        StoreOptions { idmap: vec![row], ..place.options() },
        StoreOptions { gidmap: vec![row], ..place.options() },
    ] {
        let error = refused(&options);
        assert!(matches!(error, StoreError::OtherOwnership { .. }), "{error}");
    }
}

#[test]
fn another_users_store_is_refused() {
    let place = Place::new();
    drop(place.open());
    if std::os::unix::fs::chown(place.root(), Some(4711), None).is_err() {
        eprintln!("SKIP another_users_store_is_refused: needs root");
        return;
    }
    assert!(matches!(refused(&place.options()), StoreError::OtherOwner { owner: Some(4711), user: 0, .. }));
}

#[test]
fn an_unreadable_format_is_damage_and_not_an_empty_store() {
    for text in ["", "{}", "[1]", "{\"format\":\"1\"}"] {
        let place = Place::new();
        drop(place.open());
        std::fs::write(place.root().join("format.json"), text).unwrap();
        let error = refused(&place.options());
        assert!(matches!(error, StoreError::Corrupt { .. }), "{text:?}: {error}");
    }
}

#[test]
fn what_a_dead_operation_staged_is_swept_and_what_a_living_one_stages_is_not() {
    let place = Place::new();
    let store = place.open();
    let lease = store.lease().unwrap();
    store
        .put_facts(
            &lease,
            &mica_store::Facts::of_layer(mica_core::BlobDigest::of(b"x"), 1, "x", mica_core::DiffId::of(b"y")),
        )
        .unwrap();
    let staging = place.root().join("staging");
    std::fs::create_dir_all(staging.join("0".repeat(32)).join("diff")).unwrap();
    std::fs::write(place.root().join("leases").join("1".repeat(32)), "").unwrap();
    let other = place.open();
    let names: Vec<_> = std::fs::read_dir(&staging).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_ne!(names[0].to_str().unwrap(), "0".repeat(32));
    assert_eq!(std::fs::read_dir(place.root().join("leases")).unwrap().count(), 1);
    assert!(other.has_trash().unwrap());
    common::reap(&other);
    assert!(!other.has_trash().unwrap());
    lease.finish();
    assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 0);
}
