//! Layers, blobs, images and names: how they come, how they are found, and what is refused.

use std::io::{Cursor, Write};

use mica_core::{BlobDigest, DiffId, ImageId};
use mica_store::{Kept, Limits, OnUse, StoreError, Tee};

use crate::common::{self, Image, NAME, Place, tar};

#[test]
fn an_image_that_was_loaded_is_found_in_every_way() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, Some(NAME));
    let record = store.image(&image.id()).unwrap().unwrap();
    assert_eq!(record.layers, image.diff_ids());
    assert_eq!(store.images().unwrap(), std::slice::from_ref(&record));
    assert_eq!(store.find_image(&image.id().to_string()).unwrap(), Some(record.clone()));
    assert_eq!(store.find_image(&image.id().short()).unwrap(), Some(record.clone()));
    assert_eq!(store.find_image(NAME).unwrap(), None);
    let name = store.name(NAME).unwrap().unwrap();
    assert_eq!(name.target, image.descriptor());
    assert_eq!(store.images_of(&name.target).unwrap(), [record]);
    assert_eq!(store.blob_bytes(&name.target.digest).unwrap().unwrap(), image.manifest);
    common::assert_clean(&store);
}

#[test]
fn a_layer_comes_back_bit_for_bit() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    for tar in &image.layers {
        let layer = store.require_layer(&DiffId::of(tar)).unwrap();
        let mut back = Vec::new();
        layer.rebuild(&mut back).unwrap();
        assert_eq!(&back, tar);
        assert_eq!(layer.seal().tar_size, u64::try_from(tar.len()).unwrap());
        assert_eq!(store.blob_size(&BlobDigest::of(tar)).unwrap(), Some(layer.seal().tar_size));
    }
}

#[test]
fn an_ambiguous_prefix_names_all_that_fit() {
    let place = Place::new();
    let store = place.open();
    let images: Vec<Image> = (0..17).map(|salt| Image::new(Vec::new(), &salt.to_string())).collect();
    for image in &images {
        common::load(&store, image, None);
    }
    // Of seventeen IDs two begin with the same digit.
    let digit = |image: &Image| image.id().hex().remove(0);
    let twice =
        images.iter().map(digit).find(|d| images.iter().filter(|image| digit(image) == *d).count() > 1).unwrap();
    let error = store.find_image(&twice.to_string()).unwrap_err();
    assert!(matches!(&error, StoreError::Ambiguous { matches, .. } if matches.len() > 1), "{error}");
    assert_eq!(store.find_image("").unwrap(), None);
    assert_eq!(store.find_image("zz").unwrap(), None);
}

#[test]
fn a_tar_with_another_diff_id_is_refused_and_can_come_again() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    let before = place.listing();
    let lease = store.lease().unwrap();
    let ids = image.diff_ids();
    let batch = store.stage_layers(&lease, &ids).unwrap();
    let other = &mut Cursor::new(tar::Builder::new().file("x", "y").finish());
    let error = batch.stage(&ids[0], other, &Limits::default()).unwrap_err();
    assert!(matches!(error, StoreError::WrongDiffId { expected, .. } if expected == ids[0]), "{error}");
    batch.stage(&ids[0], &mut Cursor::new(&image.layers[0]), &Limits::default()).unwrap();
    let error = batch.stage(&ids[0], &mut Cursor::new(&image.layers[0]), &Limits::default()).unwrap_err();
    assert!(matches!(error, StoreError::NotMine { .. }), "{error}");
    drop(batch);
    drop(lease);
    assert_eq!(place.listing(), before);
}

#[test]
fn a_tar_that_is_cut_or_climbs_out_leaves_nothing() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    let before = place.listing();
    let cut = image.layers[0][..700].to_vec();
    let climbs = tar::Builder::new().file("../../etc/passwd", "root::0:0").finish();
    for tar in [cut, climbs] {
        let error = common::try_load(&store, &Image::new(vec![tar], ""), Some(NAME)).unwrap_err();
        assert!(matches!(error, StoreError::Layer { .. }), "{error}");
        assert_eq!(place.listing(), before);
    }
}

#[test]
fn a_blob_with_other_bytes_than_its_descriptor_says_is_refused() {
    let place = Place::new();
    let store = place.open();
    let before = place.listing();
    let lease = store.lease().unwrap();
    let batch = store.stage_layers(&lease, &[]).unwrap();
    let digest = BlobDigest::of(b"hello");
    let write = |size, bytes: &[u8]| {
        let mut writer = batch.blob_writer(&digest, size).unwrap();
        writer.write_all(bytes).map(|()| writer)
    };
    assert!(matches!(batch.keep_blob(write(None, b"hellx").unwrap()), Err(StoreError::WrongDigest { .. })));
    assert!(matches!(
        batch.keep_blob(write(Some(5), b"hell").unwrap()),
        Err(StoreError::WrongSize { expected: 5, actual: 4, .. })
    ));
    assert!(write(Some(5), b"hello and so on for ever").is_err(), "a blob that is too long was written to its end");
    batch.keep_blob(write(Some(5), b"hello").unwrap()).unwrap();
    assert_eq!(store.blob_bytes(&digest).unwrap(), None, "seen before it was sealed");
    batch.seal().unwrap();
    assert_eq!(store.blob_bytes(&digest).unwrap().unwrap(), b"hello");
    drop(batch);
    drop(lease);
    assert_eq!(place.listing(), before, "nobody kept it");
}

#[test]
fn a_tee_keeps_what_the_unpacking_did_not_read() {
    let place = Place::new();
    let store = place.open();
    let lease = store.lease().unwrap();
    let batch = store.stage_layers(&lease, &[]).unwrap();
    let bytes = b"compressed and then a trailer";
    let mut tee = Tee::new(&bytes[..], batch.blob_writer(&BlobDigest::of(bytes), Some(29)).unwrap());
    std::io::Read::read_exact(&mut tee, &mut [0; 10]).unwrap();
    batch.keep_blob(tee.finish().unwrap()).unwrap();
    batch.seal().unwrap();
    assert_eq!(store.blob_bytes(&BlobDigest::of(bytes)).unwrap().unwrap(), bytes);
    drop(batch);
    lease.finish();
}

#[test]
fn a_new_layer_is_named_by_what_came_and_an_equal_one_is_used() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    let stage = |tar: &[u8]| {
        let lease = store.lease().unwrap();
        let batch = store.stage_layers(&lease, &[]).unwrap();
        let layer = batch.stage_new(&mut Cursor::new(tar), &Limits::default()).unwrap().diff_id;
        batch.seal().unwrap();
        drop(batch);
        lease.finish();
        layer
    };
    let layer = stage(&image.layers[0]);
    assert_eq!(layer, image.diff_ids()[0]);
    let sealed = store.require_layer(&layer).unwrap().seal().clone();
    assert_eq!(stage(&image.layers[0]), layer);
    assert_eq!(*store.require_layer(&layer).unwrap().seal(), sealed, "the layer that was there was replaced");
    assert_eq!(std::fs::read_dir(place.root().join("staging")).unwrap().count(), 0);
}

#[test]
fn an_image_needs_its_layers_and_a_name_its_target() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    let lease = store.lease().unwrap();
    assert!(matches!(store.put_image(&lease, &image.record()), Err(StoreError::NotFound { .. })));
    assert!(matches!(store.set_name(&lease, NAME, &image.descriptor()), Err(StoreError::NotFound { .. })));
    assert!(store.images().unwrap().is_empty() && store.names().unwrap().is_empty());
}

#[test]
fn a_name_moves_and_says_what_it_was() {
    let (place, one, two) = (Place::new(), Image::salted("1"), Image::salted("2"));
    let store = place.open();
    common::load(&store, &one, Some(NAME));
    common::load(&store, &two, None);
    let lease = store.lease().unwrap();
    assert_eq!(store.set_name(&lease, NAME, &two.descriptor()).unwrap(), Some(one.descriptor()));
    assert_eq!(store.name(NAME).unwrap().unwrap().target, two.descriptor());
    let stale = store.remove_name(NAME, Some(&one.descriptor().digest)).unwrap_err();
    assert!(matches!(stale, StoreError::NotFound { .. }), "{stale}");
    store.remove_name(NAME, Some(&two.descriptor().digest)).unwrap();
    assert!(matches!(store.remove_name(NAME, None), Err(StoreError::NotFound { .. })));
    assert_eq!(store.images().unwrap().len(), 2, "an image without a name stays");
}

#[test]
fn a_record_of_another_thing_is_damage() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, Some(NAME));
    let images = place.root().join("images/sha256");
    let other = ImageId::of(b"other");
    std::fs::copy(images.join(format!("{}.json", image.id().hex())), images.join(format!("{}.json", other.hex())))
        .unwrap();
    assert!(matches!(store.image(&other), Err(StoreError::Corrupt { .. })));
}

#[test]
fn an_image_in_use_says_who_uses_it() {
    let (place, image) = (Place::new(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    common::create(&store, &image, "box", 'a').unwrap();
    let lease = store.lease().unwrap();
    lease.keep(&[Kept::Image(image.id())]).unwrap();
    let error = store.remove_image(&image.id(), OnUse::Refuse).unwrap_err();
    assert!(
        matches!(&error, StoreError::InUse { by, .. } if *by == ["a running operation", "container box"]),
        "{error}"
    );
    store.remove_image(&image.id(), OnUse::Remove).unwrap();
    assert!(matches!(store.remove_image(&image.id(), OnUse::Remove), Err(StoreError::NotFound { .. })));
}
