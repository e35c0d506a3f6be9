//! Containers: made, found, renamed, removed, and their state.

use std::os::unix::fs::MetadataExt;

use mica_store::{ContainerName, ContainerState, Flush, Lifetime, NewContainer, Status, StoreError};

use crate::common::{self, Image, Place, tar};

fn name(text: &str) -> ContainerName {
    ContainerName::new(text).unwrap()
}

#[test]
fn a_container_is_found_by_id_name_and_prefix() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    common::create(&store, &image, "abba", 'b').unwrap();
    common::create(&store, &image, "box", 'a').unwrap();
    for (text, id) in [("box", 'a'), ("aa", 'a'), ("b", 'b'), ("abba", 'b'), (&"a".repeat(64), 'a')] {
        let found = store.find_container(text).unwrap().unwrap();
        assert_eq!(found.id().as_str(), id.to_string().repeat(64), "{text}");
    }
    for text in ["", "c", "boxx", "../box", "A"] {
        assert!(store.find_container(text).unwrap().is_none(), "{text}");
    }
    let newest: Vec<String> = store.containers().unwrap().iter().map(|record| record.name.to_string()).collect();
    assert_eq!(newest, ["box", "abba"]);
    common::create(&store, &image, "third", 'a').unwrap_err();
    common::assert_clean(&store);
}

#[test]
fn a_prefix_of_two_is_ambiguous_unless_it_is_a_name() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    let create = |id: &str, called: &str| {
        let mut new = common::container_of(&store, &image, called, 'a').unwrap();
        new.id = mica_store::ContainerId::parse(id);
        let lease = store.lease().unwrap();
        store.create_container(&lease, new).unwrap();
        lease.finish();
    };
    create(&"ab".repeat(32), "one");
    create(&"ac".repeat(32), "two");
    assert!(matches!(store.find_container("a"), Err(StoreError::Ambiguous { matches, .. }) if matches.len() == 2));
    create(&"cc".repeat(32), "a");
    assert_eq!(store.find_container("a").unwrap().unwrap().id().as_str(), "cc".repeat(32));
}

#[test]
fn an_upper_begins_as_the_chains_root() {
    let place = Place::new();
    let store = place.open();
    let base = tar::Builder::new().owner(7, 8).xattr("user.note", "x").dir("./", 0o1751).file("a", "a");
    let image = Image::new(vec![base.finish()], "");
    common::load(&store, &image, None);
    common::create(&store, &image, "box", 'a').unwrap();
    let upper = store.find_container("box").unwrap().unwrap().upper();
    let metadata = std::fs::metadata(upper).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o1751, 7, 8));
    assert_eq!(metadata.mtime(), 1_700_000_000);
}

#[test]
fn a_taken_name_says_by_whom_and_leaves_nothing() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    common::create(&store, &image, "box", 'a').unwrap();
    store.lowers(&image.diff_ids()).unwrap();
    let before = place.listing();
    for digit in ['a', 'b'] {
        let error = common::create(&store, &image, "box", digit).unwrap_err();
        assert!(matches!(&error, StoreError::NameTaken { by, .. } if *by == "a".repeat(64)), "{error}");
        assert_eq!(place.listing(), before);
    }
    assert!(store.find_container("box").unwrap().is_some());
}

#[test]
fn a_name_is_free_when_its_container_is_gone_however_it_went() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    common::create(&store, &image, "box", 'a').unwrap();
    // As a kill between the rename and the claim's removal leaves it.
    std::fs::rename(place.root().join("containers").join("a".repeat(64)), place.root().join("trash/x")).unwrap();
    assert!(place.root().join("container-names/box").is_symlink());
    assert!(store.find_container("box").unwrap().is_none());
    common::create(&store, &image, "box", 'b').unwrap();
    assert_eq!(store.find_container("box").unwrap().unwrap().id().short(), "bbbbbbbbbbbb");
    // A claim that no program of ours made.
    std::os::unix::fs::symlink("nonsense", place.root().join("container-names/odd")).unwrap();
    common::create(&store, &image, "odd", 'c').unwrap();
    common::assert_clean(&store);
}

#[test]
fn a_name_whose_container_is_being_made_is_taken() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    // As another process stands between its claim and its container.
    let locks = mica_sys::Dir::open(&place.root().join("locks/containers")).unwrap();
    let maker = mica_sys::Lock::exclusive(&locks, "a".repeat(64).as_bytes()).unwrap();
    std::os::unix::fs::symlink("a".repeat(64), place.root().join("container-names/box")).unwrap();
    let error = common::create(&store, &image, "box", 'b').unwrap_err();
    assert!(matches!(&error, StoreError::NameTaken { by, .. } if *by == "a".repeat(64)), "{error}");
    store.gc().unwrap();
    assert!(place.root().join("container-names/box").is_symlink(), "the claim was taken from under its maker");
    drop(maker);
    common::create(&store, &image, "box", 'b').unwrap();
}

#[test]
fn a_rename_frees_the_old_name_and_keeps_fields_of_the_future() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    common::create(&store, &image, "box", 'a').unwrap();
    common::create(&store, &image, "taken", 'b').unwrap();
    let config = place.root().join("containers").join("a".repeat(64)).join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replacen('{', r#"{"later":[1],"#, 1)).unwrap();
    let lease = store.lease().unwrap();
    let id = store.find_container("box").unwrap().unwrap().id().clone();
    let mut locked = store.lock_container(&id).unwrap();
    let error = store.rename_container(&lease, &mut locked, name("taken")).unwrap_err();
    assert!(matches!(error, StoreError::NameTaken { .. }), "{error}");
    store.rename_container(&lease, &mut locked, name("crate")).unwrap();
    drop(locked);
    assert!(store.find_container("box").unwrap().is_none());
    assert_eq!(*store.find_container("crate").unwrap().unwrap().id(), id);
    assert!(std::fs::read_to_string(&config).unwrap().contains(r#""later":[1]"#));
    common::create(&store, &image, "box", 'c').unwrap();
    common::assert_clean(&store);
}

#[test]
fn a_removed_container_is_gone_with_its_upper_and_its_name() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    store.lowers(&image.diff_ids()).unwrap();
    let before = place.listing();
    common::create(&store, &image, "box", 'a').unwrap();
    let container = store.find_container("box").unwrap().unwrap();
    std::fs::write(container.upper().join("work"), "mine").unwrap();
    store.remove_container(store.lock_container(container.id()).unwrap()).unwrap();
    assert_eq!(place.listing(), before);
    assert!(matches!(store.lock_container(container.id()), Err(StoreError::NotFound { .. })));
    common::reap(&store);
    assert_eq!(std::fs::read_dir(place.root().join("trash")).unwrap().count(), 0);
}

#[test]
fn a_state_is_what_was_recorded_last() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    common::create(&store, &image, "box", 'a').unwrap();
    let container = store.find_container("box").unwrap().unwrap();
    assert_eq!(store.container_state(&container).unwrap(), ContainerState::default());
    let locked = store.lock_container(container.id()).unwrap();
    let state = ContainerState { status: Status::Exited, exit_code: Some(137), ..ContainerState::default() };
    for flush in [Flush::No, Flush::Yes] {
        store.update_state(&locked, &state, flush).unwrap();
        assert_eq!(store.container_state(&container).unwrap(), state);
    }
    // As a power cut leaves a file that was renamed and not flushed.
    std::fs::write(container.path().join("state.json"), "").unwrap();
    assert_eq!(store.container_state(&container).unwrap().status, Status::Lost);
}

#[test]
fn a_volatile_container_does_not_outlive_the_boot() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    let new = common::container_of(&store, &image, "box", 'a').unwrap();
    let lease = store.lease().unwrap();
    store.create_container(&lease, NewContainer { lifetime: Lifetime::Volatile, ..new }).unwrap();
    lease.finish();
    let found = store.find_container("box").unwrap().unwrap();
    assert_eq!(found.record().lifetime, Lifetime::Volatile);
    assert!(found.upper().is_dir());
    assert!(place.open().find_container("box").unwrap().is_some(), "opening swept a container of this boot");
    // As the store is found after a restart: with the boot ID of before, and the record torn.
    std::fs::write(found.path().join("config.json"), "").unwrap();
    let volatile = place.root().join("volatile");
    std::fs::rename(volatile.join(store.boot_id()), volatile.join("0b00")).unwrap();
    let store = place.open();
    assert!(!volatile.join("0b00").exists());
    assert!(store.find_container("box").unwrap().is_none());
    common::create(&store, &image, "box", 'b').unwrap();
    common::assert_clean(&store);
}

#[test]
fn a_container_needs_its_image_and_its_layers() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    let new = common::container_of(&store, &image, "box", 'a').unwrap();
    let lease = store.lease().unwrap();
    let missing = mica_core::DiffId::of(b"missing");
    let error = store.create_container(&lease, NewContainer { layers: vec![missing], ..new.clone() }).unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: mica_store::What::Layer, .. }), "{error}");
    let image = Some(mica_core::ImageId::of(b"missing"));
    let error = store.create_container(&lease, NewContainer { image, ..new }).unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: mica_store::What::Image, .. }), "{error}");
    assert!(store.containers().unwrap().is_empty());
}
