//! Stopped at every step: after each, the store is whole, the old state or the new stands, and the same again succeeds.

use std::collections::BTreeSet;

use mica_store::{OnUse, Store};

use crate::child::{self, End};
use crate::common::{self, Image, NAME, Place};

/// What must have been done before an action makes sense.
fn prepare(what: &str) -> Place {
    let place = Place::in_memory();
    if what == "open" {
        return place;
    }
    let (store, image) = (place.open(), Image::small());
    if what != "load" {
        common::load(&store, &image, Some(NAME));
    }
    match what {
        "create" | "create-volatile" => drop(store.lowers(&image.diff_ids()).unwrap()),
        "rename" | "remove" => common::create(&store, &image, "box", 'a').unwrap(),
        "gc" => common::remove(&store, &image, OnUse::Refuse).unwrap(),
        _ => {}
    }
    common::reap(&store);
    place
}

/// The state after an action that nothing disturbed.
fn undisturbed(what: &str) -> BTreeSet<String> {
    let place = prepare(what);
    child::act(place.path(), what).unwrap();
    settle(&place.open());
    place.listing()
}

/// What is nobody's goes, so that states can be compared.
fn settle(store: &Store) {
    store.gc().unwrap();
    common::reap(store);
}

/// Stops `what` before each of its changes in turn. At least `least` of them, or the fault door is not in the way.
fn stop_everywhere(what: &str, least: u64) {
    let after = undisturbed(what);
    for step in 1.. {
        let place = prepare(what);
        let ended = child::run(&place, what, Some(&format!("kill@{step}")));
        if let End::Failed(error) = &ended {
            panic!("{what} stopped at {step} failed instead: {error}");
        }
        let store = place.open();
        common::assert_clean(&store);
        assert_eq!(std::fs::read_dir(place.root().join("staging")).unwrap().count(), 0, "{what} at {step}: staging");
        old_or_new(&store, what, step);
        again(&place, what);
        let store = place.open();
        common::assert_clean(&store);
        settle(&store);
        assert_eq!(place.listing(), after, "{what} stopped at {step} and done again");
        if matches!(ended, End::Done(_)) {
            assert!(step > least, "{what} makes only {step} changes");
            return;
        }
    }
}

/// Does an interrupted action again; what was done already is not there to be done.
fn again(place: &Place, what: &str) {
    match child::act(place.path(), what) {
        Err(mica_store::StoreError::NotFound { .. }) if matches!(what, "remove" | "rmi") => {}
        Err(mica_store::StoreError::NameTaken { .. }) if what.starts_with("create") => {}
        Err(mica_store::StoreError::Sys(error)) if error.is_exists() && what.starts_with("create") => {}
        done => done.unwrap(),
    }
}

fn old_or_new(store: &Store, what: &str, step: u64) {
    let image = Image::small();
    let containers = store.containers().unwrap();
    match what {
        "load" => {
            if let Some(name) = store.name(NAME).unwrap() {
                assert_eq!(
                    store.images_of(&name.target).unwrap().len(),
                    1,
                    "{what} at {step}: a name without its image"
                );
            }
            if store.image(&image.id()).unwrap().is_some() {
                for layer in image.diff_ids() {
                    assert!(store.has_layer(&layer).unwrap(), "{what} at {step}: an image without its layer");
                }
            }
        }
        "create" | "create-volatile" | "remove" => assert!(containers.len() <= 1),
        "rename" => {
            let name = containers[0].name.as_str();
            let found = store.find_container(name).unwrap();
            assert!(matches!(name, "box" | "other") && found.is_some(), "{what} at {step}: named {name}");
        }
        _ => {}
    }
}

/// Fails each change of `what` in turn as a full disk does: one error that says so, and nothing of it is left.
fn fail_everywhere(what: &str, least: u64) {
    let after = undisturbed(what);
    let mut failed = 0;
    for step in 1.. {
        let place = prepare(what);
        let before = place.listing();
        let ended = child::run(&place, what, Some(&format!("fail@{step}:ENOSPC")));
        // What a failed operation leaves, its own cleaning and the next open have to take away: nobody collects here.
        let store = place.open();
        let now = place.listing();
        common::assert_clean(&store);
        match ended {
            End::Killed => panic!("{what} failing at {step} was killed"),
            End::Failed(error) => {
                assert!(error.contains("full=true"), "{what} failing at {step} says something else: {error}");
                failed += 1;
                let (now, before) = (rest(&now), rest(&before));
                // Removing and collecting are done thing by thing; each is there or gone.
                let partly = matches!(what, "rmi" | "gc") && now.is_subset(&before);
                // Where only the last flush is refused, what was renamed stands; a container does not even then.
                let whole = !what.starts_with("create") && now == rest(&after);
                assert!(
                    partly || whole || now == before,
                    "{what} failing at {step} left {:#?} and took {:#?}",
                    now.difference(&before).collect::<Vec<_>>(),
                    before.difference(&now).collect::<Vec<_>>(),
                );
                again(&place, what);
            }
            // A refused cleaning is no failure of what was asked for.
            End::Done(_) => {}
        }
        let store = place.open();
        settle(&store);
        assert_eq!(place.listing(), after, "{what} failing at {step} and done again");
        if never_came(what, step) {
            assert!(failed >= least, "only {failed} changes of {what} could fail");
            return;
        }
    }
}

/// Whether an action that is to fail at `step` never came that far.
fn never_came(what: &str, step: u64) -> bool {
    let place = prepare(what);
    matches!(child::run(&place, what, Some(&format!("kill@{step}"))), End::Done(_))
}

/// Facts are a cache and not taken back.
fn rest(listing: &BTreeSet<String>) -> BTreeSet<String> {
    listing.iter().filter(|path| !path.starts_with("facts/sha256/")).cloned().collect()
}

macro_rules! everywhere {
    ($($(#[$doc:meta])* $stop:ident $fail:ident $what:literal $stops:literal $fails:literal;)*) => {$(
        $(#[$doc])*
        #[test]
        fn $stop() {
            stop_everywhere($what, $stops);
        }

        $(#[$doc])*
        #[test]
        fn $fail() {
            fail_everywhere($what, $fails);
        }
    )*};
}

everywhere! {
    a_load_stopped_anywhere_leaves_the_old_or_the_new a_load_on_a_full_disk_leaves_nothing "load" 60 50;
    a_store_half_made_is_made_by_the_next a_store_on_a_full_disk_is_made_by_the_next "open" 20 20;
    a_container_half_made_is_no_container a_container_on_a_full_disk_is_no_container "create" 14 10;
    a_volatile_container_half_made_is_none a_volatile_container_on_a_full_disk_is_none "create-volatile" 10 8;
    a_rename_is_one_name_or_the_other a_rename_on_a_full_disk_keeps_the_name "rename" 8 5;
    a_removal_takes_all_or_nothing a_removal_that_fails_takes_nothing "remove" 3 2;
    an_image_removal_takes_name_and_record an_image_removal_that_fails_keeps_the_record "rmi" 4 3;
    a_collection_stopped_anywhere_goes_on a_collection_that_fails_goes_on "gc" 6 5;
    a_fix_half_made_is_made_again a_fix_on_a_full_disk_is_not_there "lowers" 20 15;
}
