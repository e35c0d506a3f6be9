//! A changeset on a live tree.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use mica_core::{Attrs, Change, Stack};
use mica_layer::{Ability, Applied, Apply, ApplyError, DirLayer, LayerError, Marks, apply_onto, diff_upper};
use mica_sys::{Dir, Time};
use mica_testkit::{Entry, Scratch, Snapshot, Tree, What, needs, tree};
use proptest::prelude::*;

use crate::support::{path, set_time, upper};

fn apply(upper: &Path, target: &Path) -> (Result<Applied, LayerError>, Vec<Change>) {
    let mut said = Vec::new();
    let done = apply_onto(&open(upper), &Apply::default(), &open(target), &mut |change| said.push(change.clone()));
    said.sort_by(|one, other| one.path.cmp(&other.path));
    (done, said)
}

fn open(place: &Path) -> Dir {
    Dir::open(place).unwrap()
}

fn written(scratch: &Scratch, name: &str, tree: &Tree) -> std::path::PathBuf {
    let place = scratch.make(name);
    tree.write_to(&place);
    place
}

/// Applies `changes` onto `below` on disk and holds the result, and what was reported, against the rules of core.
#[track_caller]
fn check(below: &Tree, changes: &Tree) {
    let scratch = Scratch::new();
    let target = written(&scratch, "target", below);
    let as_it_was = written(&scratch, "as it was", below);
    let upper = upper(&scratch, "upper", changes);
    let expected = diff_upper(
        &open(&upper),
        Marks::Trusted,
        &Stack::new(vec![DirLayer::new(open(&as_it_was), Marks::Trusted)]),
        &Ability::native(),
    )
    .unwrap();
    let before = Snapshot::of(&upper);
    let (applied, said) = apply(&upper, &target);
    let applied = applied.unwrap();
    let mut shown = Tree::of_stack(&[changes.clone(), below.clone()]);
    // The target's root stays as it is.
    let root = Tree::read(&target).get(&path("")).unwrap().clone();
    shown.put(path(""), root);
    shown.assert_is(&Tree::read(&target), "the target");
    assert_eq!(said, expected);
    assert_eq!(applied.changes, said.len() as u64);
    before.assert_unchanged(&upper, "being applied");
}

fn below() -> Tree {
    tree! {
        "etc/" mtime 1;
        "etc/hosts" = "old" mode 0o600 uid 5 mtime 2 xattr "user.old" = "1";
        "etc/motd" = "kept" mtime 3;
        "etc/dir/" mtime 4;
        "etc/dir/a" = "a" mtime 5;
        "etc/dir/b/c/d" = "d" mtime 6;
        "link" -> "etc" mtime 7;
        "file" = "file" mtime 8;
        "null" char (1, 3) mtime 9;
        "one" = "linked" mtime 10;
        "two" hard "one";
        "full/x/y" = "y" mtime 11;
    }
}

#[test]
fn every_kind_of_change_arrives_and_is_reported() {
    needs!(root);
    let mut changes = tree! {
        "etc/" mode 0o711 mtime 21 xattr "user.new" = "2";
        "etc/hosts" = "new" mode 0o4755 uid 6 gid 7 mtime 22 xattr "user.b" = "=\0";
        "etc/added" = "added" mtime 23;
        "etc/dir" whiteout;
        "never" whiteout;
        "new/deeper/file" = "x" mtime 24;
        "new/" mode 0o500 mtime 25;
        "pipe" fifo mode 0o640 mtime 26;
        "disk" block (8, 1) mtime 27;
        "one" = "one" mtime 28;
        "three" hard "one";
        "symlink" -> "nowhere" uid 9 mtime 29;
    };
    set_time(&mut changes, "etc/added", -7, 123_456_789);
    check(&below(), &changes);
}

#[test]
fn one_kind_takes_the_place_of_another() {
    needs!(root);
    check(
        &below(),
        &tree! {
            "etc" = "a file now" mtime 31;
            "link/" mode 0o700 mtime 32;
            "link/inside" = "" mtime 33;
            "file" -> "elsewhere" mtime 34;
            "null/" mtime 35;
            "full" fifo mtime 36;
            "one" char (1, 5) mtime 37;
        },
    );
}

#[test]
fn an_opaque_directory_loses_all_that_it_does_not_name() {
    needs!(root);
    check(
        &below(),
        &tree! { "etc/" opaque mtime 41; "etc/dir/" mtime 42; "etc/dir/b/" mtime 43; "etc/new" = "" mtime 44 },
    );
    check(&below(), &tree! { "full/" opaque mtime 45 });
    check(&below(), &tree! { "/" opaque; "full/x/" mtime 46 });
}

#[test]
fn nothing_to_apply_changes_nothing() {
    needs!(root);
    let scratch = Scratch::new();
    let target = written(&scratch, "target", &below());
    let before = Snapshot::of(&target);
    let (applied, said) = apply(&scratch.make("upper"), &target);
    assert_eq!((applied.unwrap().changes, said), (0, vec![]));
    before.assert_unchanged(&target, "an empty changeset");
}

fn small_tree(is_changeset: bool) -> impl Strategy<Value = Tree> {
    let name = prop::sample::select(vec!["a", "b", "a/a", "a/b", "b/a", "a/a/a", "a/a/b", "a/b/a", "b/a/a"]);
    let what = if is_changeset { 0..7 } else { 0..4 };
    let entry = (name, what, 0..3i64, prop::sample::select(vec![0o700u32, 0o755, 0o1777]));
    prop::collection::vec(entry, 0..9).prop_map(|entries| {
        let mut tree = Tree::new();
        for (name, what, mtime, mode) in entries {
            // A path below something that is no directory is none.
            let at = path(name);
            let is_below_file = at.ancestors().any(|up| tree.get(&up).is_some_and(|entry| !entry.is_dir()));
            if is_below_file {
                continue;
            }
            tree.remove(&at);
            let what = match what {
                0 => What::Dir { opaque: false },
                1 => What::File(name.as_bytes().to_vec()),
                2 => What::Symlink(b"a".to_vec()),
                3 => What::Fifo,
                4 | 5 => What::Whiteout,
                _ => What::Dir { opaque: true },
            };
            let entry = Entry::new(what);
            let mode = if matches!(entry.what, What::Symlink(_)) { entry.mode } else { mode };
            tree.put(at.clone(), Entry { mode, ..entry });
            set_time(&mut tree, name, mtime, 0);
        }
        let untimed: Vec<_> =
            tree.iter().filter(|(_, entry)| entry.mtime.is_none()).map(|(at, _)| at.clone()).collect();
        for at in untimed {
            let text = String::from_utf8(at.as_bytes().to_vec()).unwrap();
            set_time(&mut tree, &text, 5, 0);
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn applying_shows_what_the_stack_shows(below in small_tree(false), changes in small_tree(true)) {
        if mica_testkit::gate::root().is_ok() {
            check(&below, &changes);
        }
    }
}

#[test]
fn a_symlink_of_the_target_is_replaced_and_never_followed() {
    needs!(root);
    let scratch = Scratch::new();
    let outside = written(&scratch, "outside", &tree! { "motd" = "outside" });
    let target = scratch.make("target");
    std::os::unix::fs::symlink(&outside, target.join("etc")).unwrap();
    std::os::unix::fs::symlink(outside.join("motd"), target.join("motd")).unwrap();
    std::os::unix::fs::symlink(&outside, target.join("gone")).unwrap();
    let before = Snapshot::of(&outside);
    let changes = tree! { "etc/motd" = "inside"; "motd" = "inside"; "gone" whiteout };
    let (applied, _) = apply(&upper(&scratch, "upper", &changes), &target);
    applied.unwrap();
    before.assert_unchanged(&outside, "apply");
    tree! { "etc/motd" = "inside"; "motd" = "inside" }.without_times().assert_is(
        &{
            let mut found = Tree::read(&target).without_times();
            let root = Tree::new().get(&path("")).unwrap().clone();
            found.put(path(""), root);
            found
        },
        "the target",
    );
}

fn stopped(result: Result<Applied, LayerError>) -> (u64, LayerError) {
    match result {
        Err(LayerError::Apply(ApplyError::Stopped { applied, source })) => (applied, *source),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_mounted_in_the_target_is_not_touched() {
    needs!(root);
    for changes in [
        tree! { "a"; "mnt/file" = "new" },
        tree! { "a"; "mnt" whiteout },
        tree! { "a"; "mnt" = "a file" },
        tree! { "a"; "mnt/" opaque },
        tree! { "a"; "mnt/deep/" opaque },
        tree! { "a"; "mnt/deep" whiteout },
    ] {
        // Once on the directory itself, once deep in it.
        for place in ["target/mnt", "target/mnt/deep/er"] {
            let scratch = Scratch::new();
            let mounted = scratch.tmpfs(place, "size=1m");
            fs::write(mounted.join("file"), "mounted").unwrap();
            let before = Snapshot::of(&mounted);
            let (applied, said) = apply(&upper(&scratch, "upper", &changes), &scratch.path().join("target"));
            before.assert_unchanged(&mounted, "apply");
            if place == "target/mnt/deep/er" && changes.get(&path("mnt/file")).is_some() {
                applied.unwrap();
                continue;
            }
            let (done, source) = stopped(applied);
            assert!(matches!(source, LayerError::Apply(ApplyError::MountPoint { .. })), "{place}: {source:?}");
            assert_eq!((done, said.len()), (1, 1), "the change before it stays and was reported");
            let left: Vec<_> = fs::read_dir(scratch.path().join("target")).unwrap().collect();
            assert_eq!(left.len(), 2, "{left:?}");
        }
    }
}

#[test]
fn the_error_says_how_much_was_done() {
    needs!(root);
    let scratch = Scratch::new();
    let target = scratch.make("target");
    let place = upper(&scratch, "upper", &tree! { "a" = "1"; "b" = "2"; "c" = "3" });
    open(&place).set_xattr(b"c", b"trusted.overlay.metacopy", b"").unwrap();
    let (applied, said) = apply(&place, &target);
    let (done, _) = stopped(Err(applied.unwrap_err()));
    assert_eq!((done, said.len()), (2, 2));
    assert_eq!(
        ApplyError::Stopped { applied: 2, source: Box::new(LayerError::Thread) }.to_string(),
        "stopped after 2 changes, which stay"
    );
}

#[test]
fn a_program_keeps_the_file_that_it_has_open() {
    needs!(root);
    let scratch = Scratch::new();
    let target = written(&scratch, "target", &tree! { "program" = "old text" });
    let mut running = fs::File::open(target.join("program")).unwrap();
    apply(&upper(&scratch, "upper", &tree! { "program" = "new" }), &target).0.unwrap();
    let mut text = String::new();
    running.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old text");
    assert_eq!(fs::read_to_string(target.join("program")).unwrap(), "new");
}

#[test]
fn sockets_are_left_out_and_listed() {
    needs!(root);
    let scratch = Scratch::new();
    let mut changes = tree! { "f" = "x" };
    changes.put(path("socket"), Entry::new(What::Socket));
    let target = scratch.make("target");
    let (applied, said) = apply(&upper(&scratch, "upper", &changes), &target);
    assert_eq!(applied.unwrap(), Applied { changes: 1, skipped: vec![path("socket")] });
    assert_eq!(said.len(), 1);
}

#[test]
fn holes_stay_holes() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new();
    let (upper, target) = (scratch.make("upper"), scratch.make("target"));
    fs::File::create(upper.join("sparse")).unwrap().set_len(64 << 20).unwrap();
    apply(&upper, &target).0.unwrap();
    let found = fs::metadata(target.join("sparse")).unwrap();
    assert_eq!(found.len(), 64 << 20);
    assert!(found.blocks() < 100, "{} blocks", found.blocks());
}

/// A file made in a directory with a default ACL gets one that the changeset does not speak of.
#[test]
fn an_inherited_acl_is_taken_back() {
    needs!(root);
    let scratch = Scratch::new();
    let target = scratch.make("target");
    // Version 2; owner rwx, user 1000 rwx, group r-x, mask rwx, other r-x (Linux, include/uapi/linux/posix_acl_xattr.h).
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in
        [(1u16, 7u16, u32::MAX), (2, 7, 1000), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 5, u32::MAX)]
    {
        acl.extend([&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat());
    }
    open(&target).set_own_xattr(b"system.posix_acl_default", &acl).unwrap();
    let mut changes = tree! { "dir/file" = "x"; "with" = "y" };
    let mut with = changes.get(&path("with")).unwrap().clone();
    with.xattrs.insert(b"system.posix_acl_access".to_vec(), acl.clone());
    // With an ACL the bits of the group are the mask.
    with.mode = 0o775;
    changes.put(path("with"), with);
    apply(&upper(&scratch, "upper", &changes), &target).0.unwrap();
    assert_eq!(open(&target).list_xattrs(b"dir").unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(open(&target.join("dir")).list_xattrs(b"file").unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(open(&target).get_xattr(b"with", b"system.posix_acl_access").unwrap().unwrap(), acl);
    assert_eq!(open(&target).stat(b"with").unwrap().mode, 0o775);
    assert!(open(&target).get_own_xattr(b"system.posix_acl_default").unwrap().is_some(), "the target's own stays");
}

#[test]
fn the_root_is_touched_only_where_the_upper_changed_it() {
    needs!(root);
    let scratch = Scratch::new();
    let place = upper(&scratch, "upper", &tree! { "/" mode 0o711 uid 3 xattr "user.a" = "1"; "f" = "" });
    let below = Attrs { mode: 0o755, ..Attrs::default() };
    let same = Attrs { mode: 0o711, uid: 3, xattrs: [(b"user.a".to_vec(), b"1".to_vec())].into(), ..below.clone() };
    for (number, (root, mode)) in [(None, 0o700), (Some(same), 0o700), (Some(below), 0o711)].into_iter().enumerate() {
        let target = scratch.make(format!("target {number}"));
        open(&target).chmod_self(0o700).unwrap();
        open(&target).set_own_xattr(b"user.b", b"").unwrap();
        let how = Apply { root, ..Apply::default() };
        apply_onto(&open(&place), &how, &open(&target), &mut |_| ()).unwrap();
        let found = open(&target).metadata().unwrap();
        assert_eq!(found.mode, mode, "{number}");
        assert_eq!(found.uid, if mode == 0o711 { 3 } else { 0 });
        assert_eq!(open(&target).get_own_xattr(b"user.b").unwrap().is_some(), mode == 0o700);
    }
}

#[test]
fn what_the_host_wrote_on_a_directory_stays() {
    needs!(root);
    let scratch = Scratch::new();
    let target = written(&scratch, "target", &tree! { "d/" xattr "user.old" = "1" });
    let hosts = [&b"security.selinux"[..], b"trusted.overlay.origin"];
    for attribute in hosts {
        open(&target).set_xattr(b"d", attribute, b"host").unwrap();
    }
    apply(&upper(&scratch, "upper", &tree! { "d/" mode 0o700; "d/f" = "" }), &target).0.unwrap();
    for attribute in hosts {
        assert_eq!(open(&target).get_xattr(b"d", attribute).unwrap().as_deref(), Some(&b"host"[..]));
    }
    assert_eq!(open(&target).get_xattr(b"d", b"user.old").unwrap(), None);
}

#[test]
fn a_name_that_looks_temporary_is_kept() {
    needs!(root);
    let scratch = Scratch::new();
    let target = written(&scratch, "target", &tree! { ".mica-apply-0" = "mine"; "f" = "old"; "d/x" });
    open(&target).utimens(b"f", Time::default()).unwrap();
    apply(&upper(&scratch, "upper", &tree! { "d" whiteout; "f" = "new"; ".mica-apply-2" = "theirs" }), &target)
        .0
        .unwrap();
    for (name, content) in [(".mica-apply-0", "mine"), (".mica-apply-2", "theirs"), ("f", "new")] {
        assert_eq!(fs::read_to_string(target.join(name)).unwrap(), content);
    }
    assert_eq!(fs::read_dir(&target).unwrap().count(), 3);
}

/// A job in a container applies onto the container's own tree.
#[test]
fn directories_that_overlayfs_does_not_rename_are_removed() {
    needs!(root, overlay);
    let below = tree! { "gone/deep/file" = "below"; "gone/ours" = "x"; "replaced/file" = "below"; "stays" = "s" };
    let changes = tree! { "gone" whiteout; "replaced" = "a file" };
    mica_testkit::in_mount_namespace(|| {
        let scratch = Scratch::new();
        let lower = written(&scratch, "lower", &below);
        let [over, work, target] = ["over", "work", "target"].map(|name| scratch.make(name));
        let options = format!(
            "lowerdir={},upperdir={},workdir={},redirect_dir=off",
            lower.display(),
            over.display(),
            work.display()
        );
        let mounted = Command::new("mount").args(["-t", "overlay", "mica-test", "-o", &options]).arg(&target).status();
        assert!(mounted.unwrap().success());
        let (applied, said) = apply(&upper(&scratch, "upper", &changes), &target);
        assert_eq!(applied.unwrap().changes, 2);
        assert_eq!(said.len(), 2);
        let mut left: Vec<_> = fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["replaced", "stays"]);
        assert_eq!(fs::read_to_string(target.join("replaced")).unwrap(), "a file");
        assert!(Command::new("umount").arg(&target).status().unwrap().success());
    });
}
