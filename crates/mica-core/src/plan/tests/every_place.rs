//! Operations on one name: every place there is.

use super::carrier::Act;
use super::disk::Disk;
use super::world::{Fill, Seen, build, check, every_place};
use crate::plan::{Features, XattrChange};

#[test]
fn every_operation_on_every_place_shows_the_old_tree_or_the_new_after_each_step() {
    let path = || "p/x".to_owned();
    let acts = [
        Act::Make(path()),
        Act::MakeOther(path()),
        Act::MakeDirectory(path()),
        Act::Adopt(path()),
        Act::Unlink(path()),
        Act::RemoveDirectory(path()),
        Act::Write(path()),
        Act::Truncate(path(), 0),
        Act::Truncate(path(), 2),
        Act::Truncate(path(), 20),
        Act::Allocate(path()),
        Act::Attributes(path()),
        Act::Xattr(path(), XattrChange::Set),
        Act::Xattr(path(), XattrChange::Create),
        Act::Xattr(path(), XattrChange::Replace),
        Act::Xattr(path(), XattrChange::Remove),
    ];
    let mut seen = Seen::default();
    let places = every_place();
    for place in &places {
        for fill in [Fill::Names, Fill::Empty] {
            if fill == Fill::Empty && !place.is_directory() {
                continue;
            }
            let mut disk = Disk::new();
            build(&mut disk, "p", "x", *place, fill);
            for act in &acts {
                for features in [Features::Full, Features::Basic] {
                    check(&disk, act, features, &mut seen);
                }
            }
        }
    }
    println!("{} places, {} cases, {} stops", places.len(), seen.cases, seen.stops);
    assert_eq!((seen.device_missing, seen.idle_whiteouts), (0, 0), "an exception where none is named");
    assert_eq!(places.len(), 89, "a place was added or lost: are the rules still those of its prose?");
    assert!(seen.cases > 2_000 && seen.stops > 2_000, "{seen:?}");
}
