//! Who stands where: an ordinary user's store, what it records, and who is refused it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use mica_testkit::{OrdinaryUser, needs};

use crate::common::{Mica, Said};

/// The words of the error and of its one hint.
#[track_caller]
fn refused(said: &Said, words: &[&str], hint: &str) {
    assert_eq!(said.status, 125, "{said:#?}");
    let lines: Vec<&str> = said.err.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("mica: ") && lines[1].starts_with("hint: "), "{said:#?}");
    for word in words {
        assert!(lines[0].contains(word), "no {word:?} in {said:#?}");
    }
    assert!(lines[1].contains(hint), "no {hint:?} in {said:#?}");
    assert_eq!(said.out, "");
}

fn format_of(mica: &Mica) -> serde_json::Value {
    serde_json::from_slice(&fs::read(mica.root().join("format.json")).unwrap()).unwrap()
}

#[test]
fn a_store_is_the_users_and_records_the_map() {
    needs!(ordinary_user);
    let mica = Mica::of(OrdinaryUser::with_range());
    let said = mica.run(["images"]);
    assert_eq!(said.err, "", "nothing to be told of");
    let (uid, (first, count)) = (mica.user().uid(), mica.user().range());
    assert_eq!(fs::metadata(mica.root()).unwrap().uid(), uid);
    let format = format_of(&mica);
    let rows = serde_json::json!([
        {"container": 0, "host": uid, "size": 1},
        {"container": 1, "host": first, "size": count},
    ]);
    assert_eq!((&format["marks"], &format["owners"]), (&"user".into(), &"mapped".into()));
    assert_eq!((&format["idmap"], &format["gidmap"]), (&rows, &rows));
}
