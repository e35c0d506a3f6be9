//! What is kept and by whom, and what goes.

use std::io::Cursor;
use std::time::Duration;

use mica_core::BlobDigest;
use mica_store::{Collected, Descriptor, Facts, Kept, Left, Limits, OnUse, StoreError};

use crate::common::{self, Image, NAME, Place};

#[test]
fn an_image_without_a_name_is_kept() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    let before = place.listing();
    assert_eq!(store.gc().unwrap(), Collected::default());
    assert_eq!(place.listing(), before);
}

#[test]
fn a_removed_image_goes_with_all_that_only_it_had() {
    let (place, one, two) = (Place::new(), Image::small(), Image::salted("other"));
    let store = place.open();
    let empty = place.listing();
    common::load(&store, &one, Some(NAME));
    let first = place.listing();
    common::load(&store, &two, None);
    store.lowers(&two.diff_ids()).unwrap();
    common::remove(&store, &two, OnUse::Refuse).unwrap();
    let collected = store.gc().unwrap();
    // The top layer is the same in both.
    assert_eq!((collected.layers, collected.blobs, collected.chains), (1, 3, 1));
    assert!(collected.bytes > 0);
    assert_eq!(place.listing(), first);
    common::remove(&store, &one, OnUse::Refuse).unwrap();
    store.gc().unwrap();
    assert_eq!(place.listing(), empty);
    common::reap(&store);
    assert_eq!(std::fs::read_dir(place.root().join("locks/digests")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(place.root().join("locks/names")).unwrap().count(), 0);
}

#[test]
fn a_container_keeps_its_layers_and_config_when_the_image_is_gone() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    common::create(&store, &image, "box", 'a').unwrap();
    store.remove_image(&image.id(), OnUse::Remove).unwrap();
    store.gc().unwrap();
    for layer in image.diff_ids() {
        store.require_layer(&layer).unwrap();
    }
    assert_eq!(store.blob_bytes(&mica_store::config_of(&image.id())).unwrap().unwrap(), image.config);
    assert!(store.lowers(&image.diff_ids()).is_ok());
    common::assert_clean(&store);
    store.remove_container(store.lock_container(&store.containers().unwrap()[0].id).unwrap()).unwrap();
    assert_eq!(store.gc().unwrap().layers, 2);
}

#[test]
fn a_name_keeps_an_index_and_all_of_it_that_is_here() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    let lease = store.lease().unwrap();
    let absent = BlobDigest::of(b"another platform's manifest");
    let artifact = store.put_blob(&lease, b"a signature").unwrap();
    let manifest = format!(r#"{{"schemaVersion":2,"artifactType":"x/y","layers":[{{"digest":"{artifact}"}}]}}"#);
    let manifest = store.put_blob(&lease, manifest.as_bytes()).unwrap();
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"{}"}},{{"digest":"{absent}"}},{{"digest":"{manifest}"}},{{"digest":"sha512:00"}}]}}"#,
        image.descriptor().digest
    );
    let index = store.put_blob(&lease, index.as_bytes()).unwrap();
    let target = Descriptor::new("application/vnd.oci.image.index.v1+json", index, 1);
    store.set_name(&lease, NAME, &target).unwrap();
    lease.finish();
    let before = place.listing();
    assert_eq!(store.gc().unwrap(), Collected::default());
    assert_eq!(place.listing(), before);
    assert_eq!(store.images_of(&target).unwrap().len(), 1);
    store.remove_name(NAME, None).unwrap();
    // The index, the artifact's manifest and the artifact; the image is here by itself.
    assert_eq!(store.gc().unwrap().blobs, 3);
}

#[test]
fn an_index_that_names_itself_ends() {
    // No bytes can hold their own digest, but a damaged disk can look as if they did.
    let place = Place::new();
    let store = place.open();
    let digest = BlobDigest::of(b"x");
    let blob = format!(r#"{{"manifests":[{{"digest":"{digest}"}}]}}"#);
    std::fs::write(place.root().join("blobs/sha256").join(digest.hex()), blob).unwrap();
    let lease = store.lease().unwrap();
    store.set_name(&lease, NAME, &Descriptor::new("x", digest, 1)).unwrap();
    assert_eq!(store.gc().unwrap(), Collected::default());
    assert!(store.images_of(&Descriptor::new("x", digest, 1)).unwrap().is_empty());
}

#[test]
fn a_living_operation_keeps_what_it_leased_and_a_dead_one_does_not() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    let lease = store.lease().unwrap();
    let batch = store.stage_layers(&lease, &image.diff_ids()).unwrap();
    for tar in &image.layers {
        batch.stage(&mica_core::DiffId::of(tar), &mut Cursor::new(tar), &Limits::default()).unwrap();
    }
    assert_eq!(place.open().gc().unwrap(), Collected::default());
    batch.seal().unwrap();
    assert_eq!(place.open().gc().unwrap(), Collected::default(), "sealed layers were taken from under a lease");
    assert_eq!(lease.keep(&[Kept::Layer(image.diff_ids()[0])]).unwrap(), [true]);
    drop(batch);
    lease.finish();
    assert_eq!(store.gc().unwrap().layers, 2);
}

#[test]
fn an_operation_that_does_not_finish_takes_back_what_it_made_and_only_that() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    let empty = place.listing();
    let put = |lease: &mica_store::Lease<'_>| {
        let batch = store.stage_layers(lease, &image.diff_ids()).unwrap();
        for layer in batch.mine() {
            let tar = image.layers.iter().find(|tar| mica_core::DiffId::of(tar) == layer).unwrap();
            batch.stage(&layer, &mut Cursor::new(tar), &Limits::default()).unwrap();
        }
        batch.put_blob(&image.config).unwrap();
        batch.put_blob(&image.manifest).unwrap();
        batch.seal().unwrap();
        store.put_image(lease, &image.record()).unwrap();
    };
    let lease = store.lease().unwrap();
    put(&lease);
    drop(lease);
    assert_eq!(place.listing(), empty);
    // Another operation that puts the same image meanwhile keeps it.
    let (first, second) = (store.lease().unwrap(), store.lease().unwrap());
    put(&first);
    put(&second);
    second.finish();
    drop(first);
    assert_eq!(store.images().unwrap().len(), 1);
    common::assert_clean(&store);
}

#[test]
fn facts_outlive_their_blob_while_they_speak_of_a_layer_that_is_here() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    let lease = store.lease().unwrap();
    let (gone, other) = (BlobDigest::of(b"gzipped"), BlobDigest::of(b"of nothing here"));
    store.put_facts(&lease, &Facts::of_layer(gone, 7, "x", image.diff_ids()[0])).unwrap();
    store.put_facts(&lease, &Facts::of_layer(other, 7, "x", mica_core::DiffId::of(b"nothing"))).unwrap();
    lease.finish();
    store.gc().unwrap();
    assert!(store.facts(&gone).unwrap().is_some());
    assert!(store.facts(&other).unwrap().is_none());
    std::fs::write(place.root().join(format!("facts/sha256/{}.json", gone.hex())), "{").unwrap();
    assert!(store.facts(&gone).unwrap().is_none(), "a torn fact is none");
}

#[test]
fn nothing_is_collected_while_a_record_cannot_be_read() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    store.remove_image(&image.id(), OnUse::Refuse).unwrap();
    std::fs::write(place.root().join(format!("images/sha256/{}.json", image.id().hex())), "{").unwrap();
    assert!(matches!(store.gc(), Err(StoreError::Corrupt { .. })));
    assert!(store.has_layer(&image.diff_ids()[0]).unwrap());
}

#[test]
fn a_reaper_stops_in_time_and_does_not_wait_for_another() {
    let place = Place::new();
    let store = place.open();
    for number in 0..3 {
        std::fs::create_dir_all(place.root().join(format!("trash/{number}/deep/er"))).unwrap();
    }
    let none = store.reap(Duration::ZERO).unwrap();
    assert_eq!((none.deleted, none.left), (0, Left::Some));
    let lock =
        mica_sys::Lock::exclusive(&mica_sys::Dir::open(&place.root().join("locks")).unwrap(), b"reaper").unwrap();
    assert_eq!(store.reap(Duration::from_secs(9)).unwrap().left, Left::ToAnother);
    drop(lock);
    let all = store.reap(Duration::from_secs(9)).unwrap();
    assert_eq!((all.deleted, all.left), (3, Left::Nothing));
}

/// Who removes something while another reaps finds the lock held and leaves it to that one, which may have listed the trash before.
#[test]
fn what_is_left_to_another_reaper_is_deleted_by_it() {
    let place = Place::new();
    let trash = place.root().join("trash");
    let (one, other) = (place.open(), place.open());
    for round in 0..30 {
        for number in 0..20 {
            std::fs::create_dir_all(trash.join(format!("{round}-{number}/deep/er"))).unwrap();
        }
        let mut left_to_it = false;
        std::thread::scope(|scope| {
            let reaping = scope.spawn(|| one.reap(Duration::from_secs(60)).unwrap());
            while !left_to_it && !reaping.is_finished() {
                std::fs::create_dir(trash.join("late")).unwrap();
                left_to_it = other.reap(Duration::from_secs(60)).unwrap().left == Left::ToAnother;
            }
        });
        assert!(!one.has_trash().unwrap(), "round {round}");
    }
}

#[test]
fn usage_adds_up_what_the_records_say() {
    let (place, one, two) = (Place::new(), Image::small(), Image::salted("other"));
    let store = place.open();
    common::load(&store, &one, None);
    common::load(&store, &two, None);
    common::create(&store, &one, "box", 'a').unwrap();
    let upper = store.find_container("box").unwrap().unwrap().upper();
    std::fs::write(upper.join("big"), vec![1; 100_000]).unwrap();
    std::fs::hard_link(upper.join("big"), upper.join("same")).unwrap();
    let usage = store.usage().unwrap();
    assert_eq!((usage.images.len(), usage.layers.len(), usage.garbage), (2, 3, 0));
    let of_one = usage.images.iter().find(|image| image.id == one.id()).unwrap();
    let its: Vec<_> = usage.layers.iter().filter(|layer| one.diff_ids().contains(&layer.layer)).collect();
    assert_eq!(of_one.size, its.iter().map(|layer| layer.size).sum::<u64>());
    assert_eq!(of_one.shared, its.iter().find(|layer| layer.images == 2).unwrap().size);
    assert_eq!(of_one.containers, 1);
    assert!((100_000..200_000).contains(&usage.containers[0].size), "{:?}", usage.containers);
    // A try has an upper for each file system.
    let another = upper.with_file_name("views").join("3/upper");
    std::fs::create_dir_all(&another).unwrap();
    std::fs::write(another.join("more"), vec![1; 100_000]).unwrap();
    let size = store.usage().unwrap().containers[0].size;
    assert!((200_000..300_000).contains(&size), "{size}");
    common::remove(&store, &two, OnUse::Refuse).unwrap();
    let garbage = store.usage().unwrap().garbage;
    assert_eq!(garbage, store.gc().unwrap().bytes);
}
