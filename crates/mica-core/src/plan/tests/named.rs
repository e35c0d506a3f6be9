//! Cases that have a name: the paths that are hot, and what no pair of apart places can be.

use std::collections::BTreeMap;

use super::carrier::{Act, run};
use super::disk::{Body, Disk, Inode, rel};
use super::reader::{What, read, read_at};
use super::world::{Seen, check};
use crate::map_layer::MapLayer;
use crate::plan::{
    At, Below, Content, Data, Dress, Errno, Features, Here, How, Joining, LeafKind, Leaving, LowerLeaf, Lowers, Mark,
    Merge, Names, Op, Parent, Place, Refusal, Relation, Rename, Shows, StandingKind, Step, UpperLeaf, plan,
};
use crate::{Attrs, Kind, LayerEntry, Node, RelPath, Stack};

const HOWS: [How; 5] = [How::Replace, How::NoReplace, How::Exchange, How::Whiteout, How::WhiteoutNoReplace];

fn file(content: &str) -> Inode {
    Inode::new(4, Body::File(content.to_owned()))
}

fn rename(old: &str, new: &str) -> Act {
    Act::Rename(old.to_owned(), new.to_owned(), How::Replace)
}

fn done(disk: &mut Disk, acts: impl IntoIterator<Item = Act>) {
    for act in acts {
        let carried = run(disk, &act, Features::Full, |_| {});
        assert!(carried.is_ok(), "{act:?}: {carried:?}");
    }
}

fn mark_of(disk: &Disk, path: &str) -> Option<String> {
    disk.inodes[disk.at(disk.upper(), path).unwrap()].redirect.clone()
}

fn content(disk: &Disk, path: &str) -> String {
    match read_at(disk, path).unwrap_or_else(|| panic!("{path} does not show")).what {
        What::File(content) => content,
        what => panic!("{path}: {what:?}"),
    }
}

#[test]
fn what_is_only_in_the_upper_costs_one_or_two_steps() {
    let alone = Place { parent: Parent::Alone, here: Here::Nothing, below: Below::Nothing };
    let leaf = Here::Leaf(UpperLeaf { regular: true, data: Data::Whole, joining: Joining::No });
    let upper = Place { here: leaf, ..alone };
    let made = [Step::Dress(Dress::New { opaque: false }), Step::Place(At::New)];
    for parent in [Parent::Alone, Parent::Merged] {
        let (new, old) = (Place { parent, ..alone }, Place { parent, ..upper });
        assert_eq!(plan(Op::Make(new), Features::Full).unwrap()[..], made);
        assert_eq!(plan(Op::MakeDirectory(new), Features::Full).unwrap()[..], made);
        assert_eq!(plan(Op::Write(old), Features::Full).unwrap()[..], [Step::Change(At::Old)]);
        assert_eq!(plan(Op::Attributes(old), Features::Full).unwrap()[..], [Step::Change(At::Old)]);
        assert_eq!(plan(Op::Unlink(old), Features::Full).unwrap()[..], [Step::Remove(At::Old)]);
        let rename = Rename {
            old,
            new,
            how: How::Replace,
            relation: Relation::Apart,
            same_parent: true,
            same_file: false,
            new_is_empty: false,
        };
        assert_eq!(plan(Op::Rename(rename), Features::Full).unwrap()[..], [Step::Move(Leaving::Nothing)]);
        assert_eq!(plan(Op::Link { old, new }, Features::Full).unwrap()[..], [Step::Link]);
    }
}

#[test]
fn nothing_is_copied_or_made_that_is_thrown_away() {
    let metacopy = Here::Leaf(UpperLeaf { regular: true, data: Data::Below { redirect: true }, joining: Joining::No });
    let old = Place { parent: Parent::Alone, here: metacopy, below: Below::Nothing };
    let cut = plan(Op::Truncate { old, to_nothing: true }, Features::Full).unwrap();
    assert_eq!(cut[..], [Step::Change(At::Old), Step::Unmark(At::Old, Mark::Metacopy)]);
    let one = Here::LowerLeaf(LowerLeaf { kind: LeafKind::Regular { large: true }, names: Names::One });
    let old = Place { parent: Parent::Merged, here: one, below: Below::Leaf };
    let cut = plan(Op::Truncate { old, to_nothing: false }, Features::Full).unwrap();
    let dress = Dress::File { like: At::Old, content: Content::Cut, joining: false };
    assert_eq!(cut[..], [Step::Dress(dress), Step::Place(At::Old)]);
    // The whiteout that is needed where the file was stands where it goes.
    let leaf = Here::Leaf(UpperLeaf { regular: true, data: Data::Whole, joining: Joining::No });
    let old = Place { parent: Parent::Merged, here: leaf, below: Below::Leaf };
    let new = Place { here: Here::Whiteout, ..old };
    let rename = Rename {
        old,
        new,
        how: How::Replace,
        relation: Relation::Apart,
        same_parent: true,
        same_file: false,
        new_is_empty: false,
    };
    assert_eq!(plan(Op::Rename(rename), Features::Full).unwrap()[..], [Step::Exchange]);
}

#[test]
fn errnos_come_in_the_order_of_the_kernel() {
    let mut disk = Disk::new();
    let lower = disk.roots[1];
    disk.put(lower, "d/e/f", file("f"));
    disk.put(lower, "g", file("g"));
    let mut seen = Seen::default();
    let paths = ["d", "d/e", "d/e/f", "d/e/f2", "d/e/n", "g", "d/n", "none"];
    for from in ["d", "d/e", "d/e/f", "g", "none"] {
        for to in paths {
            for how in HOWS {
                check(&disk, &Act::Rename(from.to_owned(), to.to_owned(), how), Features::Full, &mut seen);
            }
            check(&disk, &Act::Link(from.to_owned(), to.to_owned()), Features::Full, &mut seen);
        }
    }
    let mut refused = |act: Act| run(&mut disk, &act, Features::Full, |_| {}).unwrap_err();
    assert_eq!(refused(rename("d", "d/e/n")), Errno::EINVAL);
    assert_eq!(refused(rename("d/e/f", "d")), Errno::ENOTEMPTY);
    assert_eq!(refused(rename("g", "d")), Errno::EISDIR);
    assert_eq!(refused(rename("d", "g")), Errno::ENOTDIR);
    assert_eq!(refused(Act::RemoveDirectory("d".to_owned())), Errno::ENOTEMPTY);
    assert_eq!(refused(Act::Link("d".to_owned(), "n".to_owned())), Errno::EPERM);
    assert_eq!(read(&disk).len(), 5, "a refusal writes nothing");
    assert_eq!(Refusal::Missing(At::New).to_string(), "nothing shows at the new name");
}

#[test]
fn two_names_of_one_file_are_not_renamed_over_each_other() {
    for up in [false, true] {
        let mut disk = Disk::new();
        let lower = disk.roots[1];
        let ino = disk.put(lower, "d/a", file("abcdef"));
        disk.put_ino(lower, "e/b", ino);
        disk.put_ino(lower, "c", ino);
        if up {
            done(&mut disk, [Act::Write("c".to_owned())]);
        }
        let mut seen = Seen::default();
        for (from, to) in [("d/a", "e/b"), ("d/a", "d/a"), ("c", "d/a")] {
            for how in HOWS {
                check(&disk, &Act::Rename(from.to_owned(), to.to_owned(), how), Features::Full, &mut seen);
            }
        }
        assert_eq!(seen.stops, 0, "nothing has to be written");
    }
}

#[test]
fn links_are_found_where_their_directories_have_gone() {
    let mut disk = Disk::new();
    let lower = disk.roots[1];
    let ino = disk.put(lower, "d/e/a", file("abcdef"));
    disk.put_ino(lower, "d/b", ino);
    disk.put_ino(lower, "f/c", ino);
    disk.put_ino(lower, "f/gone", ino);
    done(
        &mut disk,
        [
            Act::Unlink("f/gone".to_owned()),
            rename("d/e", "d/x"),
            rename("d", "f/d2"),
            rename("f/d2/x", "y"),
            Act::MakeDirectory("d".to_owned()),
        ],
    );
    assert_eq!(mark_of(&disk, "y").as_deref(), Some("/d/e"), "the lower path, wherever it has been");
    let mut seen = Seen::default();
    for first in ["y/a", "f/d2/b", "f/c"] {
        check(&disk, &Act::Attributes(first.to_owned()), Features::Full, &mut seen);
    }
    for act in [Act::Write("y/a".to_owned()), Act::Attributes("f/d2/b".to_owned()), rename("f/c", "d/c")] {
        check(&disk, &act, Features::Full, &mut seen);
        done(&mut disk, [act]);
    }
    for name in ["y/a", "f/d2/b", "d/c"] {
        assert_eq!(content(&disk, name), "abcdefwww");
    }
    let tree = read(&disk);
    let ids: Vec<usize> =
        tree.iter().filter(|(_, entry)| entry.what != What::Directory).map(|(_, entry)| entry.id).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| *id == ids[0]), "{tree:?}");
}

#[test]
fn a_file_changes_places_with_a_directory_that_holds_another_name_of_it() {
    let mut seen = Seen::default();
    for (file_path, directory) in [("f", "d"), ("e/f", "d"), ("f", "d/g"), ("d/f", "d/g")] {
        let mut disk = Disk::new();
        let lower = disk.roots[1];
        let ino = disk.put(lower, file_path, file("abcdef"));
        disk.put_ino(lower, "d/g/deep/a", ino);
        for (old, new) in [(file_path, directory), (directory, file_path)] {
            check(&disk, &Act::Rename(old.to_owned(), new.to_owned(), How::Exchange), Features::Full, &mut seen);
        }
    }
    assert!(seen.stops > 50, "{seen:?}");
}

#[test]
fn a_directory_that_stays_in_its_parent_has_a_name_for_a_redirect_and_keeps_it() {
    let mut disk = Disk::new();
    let lower = disk.roots[1];
    disk.put(lower, "d/e/f", file("f"));
    done(&mut disk, [rename("d/e", "d/x"), rename("d/x", "d/y")]);
    assert_eq!(mark_of(&disk, "d/y").as_deref(), Some("e"));
    done(&mut disk, [rename("d", "z"), rename("z/y", "y"), rename("y", "z/e")]);
    assert_eq!(mark_of(&disk, "z").as_deref(), Some("d"));
    assert_eq!(mark_of(&disk, "z/e").as_deref(), Some("/d/e"));
    assert_eq!(content(&disk, "z/e/f"), "f");
}

#[test]
fn redirects_of_lowers_are_followed_from_above() {
    let mut disk = Disk::new();
    let lower = disk.roots[1];
    disk.put(lower, "d/e/f", file("abcdef"));
    done(&mut disk, [rename("d/e", "x"), Act::Attributes("x/f".to_owned())]);
    disk.commit();
    done(&mut disk, [rename("x", "d/again"), rename("d/again/f", "g")]);
    disk.commit();
    done(&mut disk, [Act::Write("g".to_owned()), rename("d", "h"), Act::MakeDirectory("d".to_owned())]);
    assert_eq!(content(&disk, "g"), "abcdefwww");
    let paths: Vec<String> = read(&disk).into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["", "d", "g", "h", "h/again"]);
}

#[test]
fn without_redirects_a_directory_that_merges_is_not_moved_and_a_file_is_copied_whole() {
    let mut disk = Disk::new();
    let lower = disk.roots[1];
    disk.put(lower, "d/f", file("abcdef"));
    let moved = run(&mut disk, &rename("d", "e"), Features::Basic, |_| {});
    assert_eq!(moved.unwrap_err(), Errno::EXDEV);
    run(&mut disk, &Act::Attributes("d/f".to_owned()), Features::Basic, |_| {}).unwrap();
    let up = &disk.inodes[disk.at(disk.upper(), "d/f").unwrap()];
    assert!(!up.metacopy && up.redirect.is_none(), "{up:?}");
    let alone = Here::Directory(Merge::Alone { opaque: false });
    let old = Place { parent: Parent::Alone, here: alone, below: Below::Nothing };
    let new = Place { parent: Parent::Merged, here: Here::Whiteout, below: Below::Directory };
    let rename = Rename {
        old,
        new,
        how: How::Replace,
        relation: Relation::Apart,
        same_parent: false,
        same_file: false,
        new_is_empty: false,
    };
    let steps = plan(Op::Rename(rename), Features::Basic).unwrap();
    assert_eq!(steps[..], [Step::Mark(At::Old, Mark::Opaque), Step::Exchange, Step::Remove(At::Old)]);
}

#[test]
fn sealed_layers_are_lowers_with_their_links() {
    let node = |kind, link_group| LayerEntry::Node(Node { kind, attrs: Attrs::default(), link_group });
    let regular = |size| Kind::File { size, content: None };
    let layer = |entries: &[(&str, LayerEntry)]| {
        MapLayer(entries.iter().map(|(path, entry)| (rel(path), entry.clone())).collect::<BTreeMap<_, _>>())
    };
    let base = layer(&[
        ("d", node(Kind::Directory { opaque: false, implicit: false }, None)),
        ("d/a", node(regular(3), Some(1))),
        ("b", node(regular(3), Some(1))),
        ("c", node(regular(3), None)),
        ("gone", node(regular(3), Some(1))),
    ]);
    let top = layer(&[
        ("gone", LayerEntry::Whiteout),
        ("later", node(Kind::LinkToParent { target: rel("b") }, None)),
        ("mine", node(regular(9), Some(1))),
        ("other", node(Kind::LinkToParent { target: rel("c") }, None)),
        ("pipe", node(Kind::Fifo, None)),
    ]);
    let stack = Stack::new(vec![top, base]);
    let links = |path: &str| -> Vec<String> {
        let mut found: Vec<RelPath> = Lowers::links(&stack, &rel(path)).unwrap().paths;
        found.sort();
        found.iter().map(ToString::to_string).collect()
    };
    assert_eq!(links("b"), ["/b", "/d/a", "/later"]);
    assert_eq!(links("later"), ["/b", "/d/a", "/later"]);
    assert_eq!(links("c"), ["/c", "/other"]);
    assert_eq!(links("mine"), ["/mine"]);
    assert_eq!(links("gone"), [""; 0]);
    let shows = |path: &str| Lowers::shows(&stack, &rel(path)).unwrap();
    assert_eq!(shows("d"), Some(Shows::Directory));
    assert_eq!(shows("later"), Some(Shows::Leaf(StandingKind::Regular { size: 3 })));
    assert_eq!(shows("pipe"), Some(Shows::Leaf(StandingKind::Other)));
    assert_eq!(shows("gone"), None);
}
