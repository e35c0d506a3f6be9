//! What the flat driver makes of a tree, beyond what every driver must.

use std::os::unix::fs::MetadataExt;

use mica_core::RelPath;
use mica_layer::Marks;
use mica_sys::mount::{MountFlags, mount, mounts};
use mica_sys::{Dir, FileKind};
use mica_testkit::driver_suite::Step;
use mica_testkit::{Scratch, Snapshot, Tree, What, needs, tree};
use mica_union::{Driver, Flat, UnionDirs, UnionError, UpperDirs};

/// A lower, an upper and a work directory in `scratch`.
pub(crate) fn dirs(scratch: &Scratch, lower: &Tree) -> UnionDirs {
    lower.write_layer(&scratch.make("lower"), Marks::Trusted);
    let upper = UpperDirs { upper: scratch.make("upper"), work: scratch.make("work"), volatile: false };
    UnionDirs {
        lowers: vec![scratch.path().join("lower")],
        upper: Some(upper),
        marks: Marks::Trusted,
        ..UnionDirs::default()
    }
}

pub(crate) fn merged(dirs: &UnionDirs) -> Dir {
    let mounted = Flat::new().mount(dirs).unwrap_or_else(|error| panic!("{error:?}"));
    mounted.dir().unwrap()
}

fn settle(dirs: &UnionDirs) {
    Flat::new().settle(dirs).unwrap_or_else(|error| panic!("{error:?}"));
}

/// The upper's entries, without the root.
pub(crate) fn upper(dirs: &UnionDirs) -> Tree {
    let mut read = Tree::read_layer(&dirs.upper.as_ref().unwrap().upper, Marks::Trusted);
    read.put(RelPath::root(), Tree::new().get(&RelPath::root()).unwrap().clone());
    read
}

fn take(dirs: &UnionDirs, steps: &[Step]) {
    let merged = merged(dirs);
    steps.iter().for_each(|step| step.take(&merged));
}

#[test]
fn a_name_that_goes_is_no_change_of_the_file_s_other_names() {
    needs!(root);
    let scratch = Scratch::new();
    let dirs =
        dirs(&scratch, &tree! { "a" = "x" mode 0o640; "b" hard "a"; "c" = "x"; "d" hard "c"; "n" fifo; "o" hard "n" });
    take(&dirs, &[Step::Remove("a"), Step::Remove("c"), Step::Append("d", "y"), Step::Remove("n")]);
    settle(&dirs);
    // Of the first pair one name went; the second was written to as well; the third is no file.
    tree! { "a" whiteout; "c" whiteout; "d" = "xy"; "n" whiteout }.assert_is(&upper(&dirs), "the upper");
    tree! { "b" = "x" mode 0o640; "d" = "xy"; "o" fifo }.assert_is(&Tree::read_dir(&merged(&dirs)), "what shows");
}

#[test]
fn a_file_that_lost_a_name_and_was_written_back_in_time_is_a_change() {
    needs!(root);
    let scratch = Scratch::new();
    let dirs = dirs(&scratch, &tree! { "a" = "x" mtime 50; "b" hard "a"; "c" = "same" mtime 50; "d" hard "c" });
    take(&dirs, &[Step::WriteAt("b", 0, "y"), Step::SetTime("b", 50), Step::Remove("a")]);
    take(&dirs, &[Step::Chmod("d", 0o600), Step::Remove("c")]);
    settle(&dirs);
    tree! { "a" whiteout; "b" = "y" mtime 50; "c" whiteout; "d" = "same" mode 0o600 mtime 50 }
        .assert_is(&upper(&dirs), "the upper");
}

#[test]
fn names_of_one_lower_file_stay_one_file() {
    needs!(root);
    let scratch = Scratch::new();
    let dirs = dirs(&scratch, &tree! { "d/a" = "x"; "e/b" hard "d/a"; "e/other" = "x" });
    take(&dirs, &[Step::Append("d/a", "y"), Step::Link("e/b", "c")]);
    settle(&dirs);
    tree! { "c" = "xy"; "d/a" hard "c"; "e/b" hard "c" }.assert_is(&upper(&dirs), "the upper");
    tree! { "c" = "xy"; "d/a" hard "c"; "e/b" hard "c"; "e/other" = "x" }
        .assert_is(&Tree::read_dir(&merged(&dirs)), "what shows");
}

#[test]
fn settling_writes_nothing_where_nothing_was_written() {
    needs!(root);
    let scratch = Scratch::new();
    let dirs = dirs(&scratch, &tree! { "a" = "x"; "d/b" = "y" });
    let place = dirs.upper.clone().unwrap().upper;
    let untouched = Snapshot::of(&place);
    settle(&dirs);
    drop(merged(&dirs));
    settle(&dirs);
    untouched.assert_unchanged(&place, "mounting");
    take(&dirs, &[Step::Append("a", "y"), Step::MkDir("new")]);
    untouched.assert_unchanged(&place, "writing, until it is settled");
    settle(&dirs);
    let written = Snapshot::of(&place);
    tree! { "a" = "xy"; "new/" }.assert_is(&upper(&dirs), "the upper");
    settle(&dirs);
    drop(merged(&dirs));
    written.assert_unchanged(&place, "settling again");
}

#[test]
fn a_write_within_the_same_tick_is_seen() {
    needs!(root);
    let scratch = Scratch::new();
    let dirs = dirs(&scratch, &tree! { "a" = "0000" mtime 50 });
    let merged = merged(&dirs);
    for content in ["1111", "2222", "3333", "4444", "5555", "6666", "7777", "8888"] {
        // The same size and mtime, and in no time.
        Step::WriteAt("a", 0, content).take(&merged);
        Step::SetTime("a", 50).take(&merged);
        settle(&dirs);
        let mut expected = Tree::new();
        expected.name("a").content(content).mtime(50).end();
        expected.assert_is(&upper(&dirs), content);
    }
}

#[test]
fn a_lower_directory_is_renamed_and_its_place_taken() {
    needs!(root);
    let scratch = Scratch::new();
    let dirs = dirs(&scratch, &tree! { "d/sub/a" = "x"; "d/b" = "y"; "e/old" = "" });
    take(
        &dirs,
        &[
            Step::Rename("d", "moved"),
            Step::MkDir("d"),
            Step::Write("d/new", ""),
            Step::Exchange("moved/sub", "e"),
            Step::RemoveAll("moved/sub"),
        ],
    );
    settle(&dirs);
    let shown = tree! { "d/new" = ""; "moved/b" = "y"; "e/a" = "x" };
    shown.assert_is(
        &Tree::of_stack(&[upper(&dirs), Tree::read_layer(&dirs.lowers[0], Marks::Trusted)]),
        "the changeset",
    );
    tree! { "d/" opaque; "d/new" = ""; "e/" opaque; "e/a" = "x"; "moved/b" = "y" }
        .assert_is(&upper(&dirs), "the upper");
    // A second session on top of it.
    take(&dirs, &[Step::RemoveAll("e"), Step::Rename("moved", "e")]);
    settle(&dirs);
    tree! { "d/" opaque; "d/new" = ""; "e/" opaque; "e/b" = "y" }.assert_is(&upper(&dirs), "the upper, again");
}

#[test]
fn marks_and_stand_ins_are_shown_as_what_they_are() {
    needs!(root);
    for marks in [Marks::Trusted, Marks::User] {
        let scratch = Scratch::new();
        let dirs = UnionDirs { marks, ..dirs(&scratch, &Tree::new()) };
        // As an unpacked layer has them on disk.
        let lower = scratch.dir().open_dir(b"lower").unwrap();
        lower.create_file(b"zero", 0o600).unwrap();
        lower.set_xattr(b"zero", marks.device_zero(), b"").unwrap();
        lower.create_file(b"escaped", 0o644).unwrap();
        lower.set_xattr(b"escaped", &marks.escape(marks.opaque()), b"its own").unwrap();
        let merged = merged(&dirs);
        assert!(merged.stat(b"zero").unwrap().is_whiteout_device(), "a device 0:0, and not what stands for it");
        assert_eq!(merged.list_xattrs(b"zero").unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(merged.get_xattr(b"escaped", marks.opaque()).unwrap().as_deref(), Some(b"its own".as_slice()));

        // And the way back: changed, and made by the container itself.
        merged.chmod(b"zero", 0o640).unwrap();
        merged.mknod(b"new-zero", FileKind::CharDevice, 0o600, 0, 0).unwrap();
        merged.chmod(b"escaped", 0o600).unwrap();
        settle(&dirs);
        let upper = scratch.dir().open_dir(b"upper").unwrap();
        for (name, mode) in [(b"zero".as_slice(), 0o640), (b"new-zero", 0o600)] {
            let found = upper.stat(name).unwrap();
            assert_eq!((found.kind, found.mode), (FileKind::File, mode));
            assert_eq!(upper.get_xattr(name, marks.device_zero()).unwrap().as_deref(), Some(b"".as_slice()));
        }
        let escaped = marks.escape(marks.opaque());
        assert_eq!(upper.get_xattr(b"escaped", &escaped).unwrap().as_deref(), Some(b"its own".as_slice()));
        assert_eq!(upper.get_xattr(b"escaped", marks.opaque()).unwrap(), None);
    }
}

#[test]
fn what_was_copied_up_carries_an_origin_and_what_is_new_does_not() {
    needs!(root);
    let scratch = Scratch::new();
    let dirs = dirs(&scratch, &tree! { "d/old" = "x"; "d/gone" = "x"; "d/replaced" = "x" });
    take(&dirs, &[Step::Chmod("d/old", 0o600), Step::Write("d/new", ""), Step::Remove("d/gone")]);
    take(&dirs, &[Step::Remove("d/replaced"), Step::Write("d/replaced", "y"), Step::MkDir("new")]);
    settle(&dirs);
    let upper = scratch.dir().open_dir(b"upper").unwrap();
    let marked = |path: &[u8]| {
        let (parent, name) = path.split_at(path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1));
        let parent = upper.open_dir(parent.strip_suffix(b"/").unwrap_or(parent)).unwrap();
        parent.get_xattr(name, Marks::Trusted.origin()).unwrap()
    };
    for copied_up in [b"d".as_slice(), b"d/old"] {
        assert_eq!(marked(copied_up).as_deref(), Some(b"".as_slice()), "{}", copied_up.escape_ascii());
    }
    for new in [b"d/new".as_slice(), b"d/replaced", b"new"] {
        assert_eq!(marked(new), None, "{}", new.escape_ascii());
    }
}

#[test]
fn a_lower_in_which_the_work_directory_lies_is_copied_without_it() {
    needs!(root);
    let scratch = Scratch::new();
    let mut dirs = dirs(&scratch, &tree! { "inner" = "x" });
    dirs.lowers = vec![scratch.path().to_owned()];
    let shown = Tree::read_dir(&merged(&dirs));
    assert!(shown.get(&RelPath::parse(b"lower/inner").unwrap()).is_some());
    let path = RelPath::parse(b"work/flat.new").unwrap();
    assert!(shown.get(&path).is_none(), "{shown:?}");
    assert!(shown.iter().count() < 8, "{shown:?}");
}

#[test]
fn what_is_mounted_in_a_lower_is_no_part_of_it() {
    needs!(root);
    let scratch = Scratch::new();
    let dirs = dirs(&scratch, &tree! { "place/below" = "x" });
    let place = scratch.path().join("lower/place");
    mount(std::path::Path::new("mica-test"), &place, "tmpfs", MountFlags::empty(), "").unwrap();
    std::fs::write(place.join("above"), "").unwrap();
    tree! { "place/below" = "x" }.assert_is(&Tree::read_dir(&merged(&dirs)), "the copy");
}

#[test]
fn a_store_that_is_mounted_without_set_uid_shows_trees_with_it() {
    needs!(root);
    let scratch = Scratch::new();
    let place = scratch.make("place");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(std::path::Path::new("mica-test"), &place, "tmpfs", flags, "size=1m").unwrap();
    for name in ["place/lower", "place/upper", "place/work"] {
        drop(scratch.make(name));
    }
    let at = |name| place.join(name);
    let upper = UpperDirs { upper: at("upper"), work: at("work"), volatile: true };
    let dirs =
        UnionDirs { lowers: vec![at("lower")], upper: Some(upper), marks: Marks::Trusted, ..UnionDirs::default() };
    let shown = scratch.make("shown");
    Flat::new().mount(&dirs).unwrap().attach(&shown).unwrap();
    let table = mounts().unwrap();
    let options = &table.iter().find(|mount| mount.target == shown).unwrap().options;
    assert!(!options.contains("nosuid") && !options.contains("nodev") && !options.contains("noexec"), "{options}");
}

#[test]
fn an_upper_that_another_wrote_is_shown_unless_something_would_be_lost() {
    needs!(root);
    let scratch = Scratch::new();
    let dirs = dirs(&scratch, &tree! { "a" = "x"; "d/b" = "x" });
    take(&dirs, &[Step::Write("d/c", "mine")]);
    settle(&dirs);
    // Somebody writes to the upper as overlayfs would: in place, times given back.
    let other = scratch.path().join("upper");
    let times = std::fs::metadata(&other).unwrap();
    std::fs::write(other.join("theirs"), "").unwrap();
    let mtime = mica_sys::Time { secs: times.mtime(), nanos: u32::try_from(times.mtime_nsec()).unwrap() };
    Dir::open(&other).unwrap().utimens_self(mtime).unwrap();
    let now = merged(&dirs);
    tree! { "a" = "x"; "d/b" = "x"; "d/c" = "mine"; "theirs" = "" }.assert_is(&Tree::read_dir(&now), "both");

    // Again, while the tree has what the upper lacks.
    Step::Write("d/c", "unsettled").take(&now);
    std::fs::write(other.join("d/theirs"), "").unwrap();
    drop(now);
    let kept = Snapshot::of(scratch.path());
    for refused in [Flat::new().mount(&dirs).map(drop), Flat::new().settle(&dirs)] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, UnionError::Diverged { .. }), "{refused:?}");
        assert!(refused.hint().unwrap().contains("`flat`"), "{refused:?}");
    }
    let tree = Tree::read(&scratch.path().join("work/flat/tree"));
    assert_eq!(tree.get(&RelPath::parse(b"d/c").unwrap()).unwrap().what, What::File(b"unsettled".to_vec()));
    drop(kept);
}

#[test]
fn a_manifest_that_is_not_understood_is_refused_and_nothing_thrown_away() {
    needs!(root);
    let scratch = Scratch::new();
    let dirs = dirs(&scratch, &tree! { "a" = "x" });
    take(&dirs, &[Step::Append("a", "y")]);
    std::fs::write(scratch.path().join("work/flat/manifest"), "mica flat manifest 2\n").unwrap();
    let tree = scratch.path().join("work/flat/tree");
    let kept = Snapshot::of(&tree);
    for refused in [Flat::new().mount(&dirs).map(drop), Flat::new().settle(&dirs)] {
        assert!(matches!(refused.unwrap_err(), UnionError::Manifest { .. }));
    }
    kept.assert_unchanged(&tree, "two refusals");
}

#[test]
fn another_stack_under_the_same_upper_is_copied_anew() {
    needs!(root);
    let scratch = Scratch::new();
    let dirs = dirs(&scratch, &tree! { "a" = "x" });
    drop(merged(&dirs));
    tree! { "b" = "y" }.write_layer(&scratch.make("other"), Marks::Trusted);
    let other = UnionDirs { lowers: vec![scratch.path().join("other")], ..dirs };
    tree! { "b" = "y" }.assert_is(&Tree::read_dir(&merged(&other)), "the other stack");
}
