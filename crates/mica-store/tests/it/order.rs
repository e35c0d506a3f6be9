//! The order in which things get on disk, read from the fault door's record of every change.

use crate::child::{self, End};
use crate::common::{Image, NAME, Place};

/// Every change that `what` makes, as `call subject`.
fn changes(place: &Place, what: &str) -> Vec<String> {
    let End::Done(out) = child::run(place, what, Some("trace")) else { panic!("{what} did not end well") };
    out.lines().filter_map(|line| line.split_once("TRACE ")).map(|(_, change)| change.to_owned()).collect()
}

/// Where a change stands; it must stand there once.
fn at(changes: &[String], change: &str) -> usize {
    let places: Vec<usize> = (0..changes.len()).filter(|at| changes[*at] == change).collect();
    assert_eq!(places.len(), 1, "{change}: {changes:#?}");
    places[0]
}

#[test]
fn a_load_flushes_once_then_seals_then_shows_then_names() {
    let (place, image) = (Place::in_memory(), Image::small());
    drop(place.open());
    let changes = changes(&place, "load");
    let synced = at(&changes, "syncfs .");
    let image_record = at(&changes, &format!("renameat2 {}.json", image.id().hex()));
    let name = mica_core::BlobDigest::of(NAME.as_bytes()).hex();
    let named = at(&changes, &format!("renameat2 {name}.json"));
    let mut last_seal = 0;
    let seals: Vec<usize> = (0..changes.len()).filter(|at| changes[*at] == "fsync seal.json").collect();
    assert_eq!(seals.len(), image.layers.len());
    for seal in seals {
        assert!(synced < seal, "a seal before the flush");
        assert_eq!(changes[seal + 1], "fsync .", "the directory of a seal is flushed with it");
        last_seal = seal + 1;
    }
    // A kept blob has the same digits as its layer here, so each name is renamed to twice: blobs first.
    for layer in image.diff_ids() {
        let placed: Vec<usize> =
            (0..changes.len()).filter(|at| changes[*at] == format!("renameat2 {}", layer.hex())).collect();
        assert_eq!(placed.len(), 2);
        for placed in placed {
            assert!(last_seal < placed && placed < image_record, "{changes:#?}");
        }
    }
    for blob in [image.id().hex(), image.descriptor().digest.hex()] {
        let placed = at(&changes, &format!("renameat2 {blob}"));
        assert!(synced < placed && placed < image_record);
    }
    let flushed_before = |at: usize| changes[..at].iter().rposition(|change| change.starts_with("fsync"));
    assert!(image_record < named);
    assert!(flushed_before(named).is_some_and(|flushed| flushed > image_record), "a name before its image is on disk");
    assert_eq!(changes[named + 1], "fsync .");
    // Nothing of a layer is written after the flush.
    let late = changes[synced..].iter().filter(|change| {
        let record = change.contains("seal.json") || change.contains(".json");
        change.starts_with("write") && !record && change.split(' ').nth(1).is_none_or(|name| name.len() != 32)
    });
    assert_eq!(late.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn a_load_never_flushes_file_by_file() {
    let place = Place::in_memory();
    drop(place.open());
    let changes = changes(&place, "load");
    let flushed: Vec<&String> = changes.iter().filter(|change| change.starts_with("fsync")).collect();
    // Two seals with their directories, blobs, layers, the image record and the name with theirs.
    assert_eq!(flushed.len(), 10, "{flushed:#?}");
}

#[test]
fn removals_are_one_rename() {
    let (place, image) = (Place::in_memory(), Image::small());
    crate::common::load(&place.open(), &image, Some(NAME));
    crate::common::create(&place.open(), &image, "box", 'a').unwrap();
    let renames = |what: &str| changes(&place, what).iter().filter(|change| change.starts_with("renameat2")).count();
    assert_eq!(renames("remove"), 1);
    assert_eq!(renames("rmi"), 2, "the name's and the record's");
}

#[test]
fn a_volatile_container_is_never_flushed() {
    let (place, image) = (Place::in_memory(), Image::small());
    let store = place.open();
    crate::common::load(&store, &image, Some(NAME));
    store.lowers(&image.diff_ids()).unwrap();
    let changes = changes(&place, "create-volatile");
    assert!(!changes.iter().any(|change| change.starts_with("fsync") || change.starts_with("syncfs")), "{changes:#?}");
}
