//! Operations on two names: every pair of places there is.

use super::carrier::{Act, op};
use super::disk::Disk;
use super::reader::read;
use super::world::{Fill, Seen, build, check, every_place};
use crate::plan::{Features, How, Place, plan};

/// All operations on one pair. What only repeats a case is left out: the names in a directory that is moved matter once, features
/// only where they make another plan, and `RENAME_NOREPLACE` where nothing would be replaced.
fn check_pair(old: Place, new: Place, directory: &str, seen: &mut Seen) {
    for fill in [Fill::Names, Fill::Empty] {
        if fill == Fill::Empty && !new.is_directory() {
            continue;
        }
        let mut disk = Disk::new();
        build(&mut disk, "p", "x", old, Fill::Names);
        build(&mut disk, directory, "y", new, fill);
        let (from, to) = ("p/x".to_owned(), format!("{directory}/y"));
        let tree = read(&disk);
        let facts = |act: &Act| op(&disk, &tree, act);
        let mut acts = vec![Act::Link(from.clone(), to.clone())];
        for (how, no_replace) in
            [(How::Replace, Some(How::NoReplace)), (How::Whiteout, Some(How::WhiteoutNoReplace)), (How::Exchange, None)]
        {
            let act = Act::Rename(from.clone(), to.clone(), how);
            if let Some(how) = no_replace {
                let careful = Act::Rename(from.clone(), to.clone(), how);
                if new.shows() {
                    acts.push(careful);
                } else {
                    assert_eq!(plan(facts(&careful), Features::Full), plan(facts(&act), Features::Full));
                }
            }
            acts.push(act);
        }
        for act in acts {
            check(&disk, &act, Features::Full, seen);
            if plan(facts(&act), Features::Basic) != plan(facts(&act), Features::Full) {
                check(&disk, &act, Features::Basic, seen);
            }
        }
    }
}

fn check_pairs(directory: &str, are_pairs: impl Fn(Place, Place) -> bool) {
    let mut seen = Seen::default();
    let places = every_place();
    for old in &places {
        for new in places.iter().filter(|new| are_pairs(*old, **new)) {
            check_pair(*old, *new, directory, &mut seen);
        }
    }
    println!("{seen:?}");
    assert!(seen.device_missing > 0 && seen.idle_whiteouts > 0, "an exception that is named and is none: {seen:?}");
    assert!(seen.stops > seen.cases, "{seen:?}");
}

#[test]
fn every_rename_and_link_between_two_directories_shows_the_old_tree_or_the_new_after_each_step() {
    check_pairs("q", |_, _| true);
}

#[test]
fn every_rename_and_link_in_one_directory_shows_the_old_tree_or_the_new_after_each_step() {
    check_pairs("p", |old, new| old.parent == new.parent);
}
