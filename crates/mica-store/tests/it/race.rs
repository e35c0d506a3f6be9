//! Several processes on one store at once.

use std::process::Child;
use std::time::{Duration, Instant};

use mica_store::{Kept, StoreError};
use mica_sys::{Dir, Lock};

use crate::child::{self, End};
use crate::common::{self, Image, NAME, Place};

fn start(place: &Place, whats: &[&str]) -> Vec<Child> {
    let children = whats.iter().map(|what| child::start(place.path(), what, None)).collect();
    std::fs::write(place.path().join("go"), "").unwrap();
    children
}

fn all_done(children: Vec<Child>) -> Vec<String> {
    let ends: Vec<End> = children.into_iter().map(child::end).collect();
    ends.into_iter()
        .map(|end| match end {
            End::Done(out) => out,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn unpacked(place: &Place) -> Vec<String> {
    let mut lines: Vec<String> =
        std::fs::read_to_string(place.path().join("unpacked")).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn processes_that_load_the_same_image_unpack_each_layer_once() {
    for count in [2, 4] {
        let (place, image) = (Place::in_memory(), Image::small());
        drop(place.open());
        all_done(start(&place, &vec!["load-slowly"; count]));
        let mut each: Vec<String> = image.diff_ids().iter().map(ToString::to_string).collect();
        each.sort();
        assert_eq!(unpacked(&place), each, "{count} processes");
        let store = place.open();
        common::assert_clean(&store);
        assert!(store.name(NAME).unwrap().is_some());
        assert_eq!(place.listing().iter().filter(|path| path.starts_with("staging/")).count(), 0);
    }
}

#[test]
fn a_layer_whose_maker_dies_is_made_by_who_waited() {
    let (place, image) = (Place::in_memory(), Image::small());
    drop(place.open());
    let mut children = start(&place, &["load-slowly"]);
    let until = Instant::now() + Duration::from_secs(30);
    while !place.path().join("unpacked").exists() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(1));
    }
    // The first holds a layer's lock by now; the second gets the other layers and waits for that one.
    let second = child::start(place.path(), "load-slowly", None);
    std::thread::sleep(Duration::from_millis(50));
    children[0].kill().unwrap();
    children[0].wait().unwrap();
    all_done(vec![second]);
    assert!(unpacked(&place).len() > image.layers.len(), "the first had not begun");
    let store = place.open();
    common::assert_clean(&store);
    assert!(store.image(&image.id()).unwrap().is_some());
}

#[test]
fn one_process_waits_for_none_that_waits_for_it() {
    // Two batches over the same layers in the other order: with locks taken one after the other they would meet.
    let (place, image) = (Place::in_memory(), Image::small());
    let store = place.open();
    let mut ids = image.diff_ids();
    let lease = store.lease().unwrap();
    let first = store.stage_layers(&lease, &ids[..1]).unwrap();
    ids.reverse();
    let second = store.stage_layers(&lease, &ids).unwrap();
    assert_eq!(first.mine(), image.diff_ids()[..1]);
    assert_eq!(second.mine(), image.diff_ids()[1..]);
    let tar = |at: usize| std::io::Cursor::new(image.layers[at].clone());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            second.stage(&image.diff_ids()[1], &mut tar(1), &mica_store::Limits::default()).unwrap();
            second.seal().unwrap();
            second.take_over().unwrap()
        });
        std::thread::sleep(Duration::from_millis(20));
        first.stage(&image.diff_ids()[0], &mut tar(0), &mica_store::Limits::default()).unwrap();
        first.seal().unwrap();
        assert!(waiting.join().unwrap().is_empty(), "a layer that was made was to be made again");
    });
    assert!(first.take_over().unwrap().is_empty());
}

#[test]
fn loads_removals_and_collections_do_not_meet() {
    let place = Place::in_memory();
    drop(place.open());
    all_done(start(&place, &["load-and-gc"; 3]));
    let store = place.open();
    common::assert_clean(&store);
    store.gc().unwrap();
    common::reap(&store);
    assert!(store.images().unwrap().is_empty() && store.layers().unwrap().is_empty());
}

#[test]
fn a_container_never_loses_its_layers_to_a_removal() {
    let (place, image) = (Place::in_memory(), Image::small());
    common::load(&place.open(), &image, Some(NAME));
    let mut makers = start(&place, &["create-and-remove", "create-and-remove", "rmi-and-load"]);
    let remover = makers.pop().unwrap();
    // However long it takes: they count what they did, and the remover goes on until they have.
    let made: Vec<End> = makers.into_iter().map(child::end).collect();
    std::fs::write(place.path().join("stop"), "").unwrap();
    all_done(vec![remover]);
    assert!(made.iter().all(|end| matches!(end, End::Done(_))), "{made:?}");
    common::assert_clean(&place.open());
}

#[test]
fn of_two_containers_that_want_one_name_one_gets_it() {
    for _ in 0..5 {
        let (place, image) = (Place::in_memory(), Image::small());
        let store = place.open();
        common::load(&store, &image, Some(NAME));
        let outs = all_done(start(&place, &["create-any"; 4]));
        let won: Vec<&str> = outs.iter().filter_map(|out| out.split_once("WON ")).map(|(_, id)| &id[..64]).collect();
        assert_eq!(won.len(), 1);
        assert_eq!(store.container_ids().unwrap().len(), 1);
        assert_eq!(store.find_container("box").unwrap().unwrap().id().as_str(), won[0]);
        common::assert_clean(&store);
    }
}

#[test]
fn of_threads_that_want_one_name_one_gets_it() {
    let (place, image) = (Place::in_memory(), Image::small());
    let store = place.open();
    common::load(&store, &image, None);
    let won = std::thread::scope(|scope| {
        let threads: Vec<_> = ['a', 'b', 'c', 'd']
            .map(|digit| {
                scope.spawn({
                    let (store, image) = (&store, &image);
                    move || common::create(store, image, "box", digit)
                })
            })
            .into();
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(ends.iter().all(|end| matches!(end, Ok(()) | Err(StoreError::NameTaken { .. }))), "{ends:?}");
        ends.iter().filter(|end| end.is_ok()).count()
    });
    assert_eq!(won, 1);
    assert_eq!(store.container_ids().unwrap().len(), 1);
}

/// gc reads leases and then decides: a lease that is written meanwhile, or looked at when gc's lock is free again, keeps nothing.
#[test]
fn a_lease_is_written_and_what_it_keeps_looked_for_under_the_lock_of_gc() {
    let (place, image) = (Place::in_memory(), Image::small());
    let store = place.open();
    common::load(&store, &image, Some(NAME));
    let locks = Dir::open(&place.root().join("locks")).unwrap();
    let leases = Dir::open(&place.root().join("leases")).unwrap();
    let kept = || Kept::Layer(image.diff_ids()[0]);
    let written =
        || leases.read_dir().unwrap().iter().any(|lease| leases.stat(&lease.name).is_ok_and(|found| found.size > 0));

    // While gc decides, nobody is told that something stays.
    let lease = store.lease().unwrap();
    let gc = Lock::exclusive(&locks, b"gc").unwrap();
    std::thread::scope(|scope| {
        let keeping = scope.spawn(|| lease.keep(&[kept()]).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        assert!(!written() && !keeping.is_finished(), "a lease was written while gc decided");
        drop(gc);
        assert_eq!(keeping.join().unwrap(), [true]);
    });
    lease.finish();

    // From when it is written until what it keeps was looked for, gc waits. A keeper that holds no lock is met by no round.
    let many = vec![kept(); 20_000];
    let waits = (0..50).any(|_| {
        let lease = store.lease().unwrap();
        std::thread::scope(|scope| {
            let keeping = scope.spawn(|| lease.keep(&many).unwrap());
            while !written() && !keeping.is_finished() {
                std::thread::yield_now();
            }
            Lock::try_exclusive(&locks, b"gc").unwrap().is_none()
        })
    });
    assert!(waits, "gc may decide between a lease and the look at what it keeps");
}
