//! The kernel as the judge of `core`: random stacks, written with the kernel's marks and mounted by overlayfs, show just
//! what `Stack::resolve` says.

use std::path::Path;

use mica_core::{Attrs, Name, RelPath};
use mica_layer::{Marks, Pack, Unpack, pack, unpack};
use mica_sys::Dir;
use mica_testkit::{Entry, Scratch, Snapshot, Tree, What, needs};
use mica_union::{Driver, Overlay, UnionDirs};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

/// What one layer may say of one path. Few names and few kinds, so that layers meet at the same paths.
#[derive(Debug, Clone, Copy)]
enum Say {
    Nothing,
    File,
    Symlink,
    Device,
    Whiteout,
    Dir,
    Opaque,
}

const SAYINGS: [Say; 7] = [Say::Nothing, Say::File, Say::Symlink, Say::Device, Say::Whiteout, Say::Dir, Say::Opaque];

/// Paths of a tree that is two names wide and three deep.
fn paths() -> Vec<RelPath> {
    let names = [b"a", b"b"].map(|name| Name::new(name).unwrap());
    let mut paths = vec![RelPath::root()];
    let mut level = paths.clone();
    for _ in 0..3 {
        level = level.iter().flat_map(|path| names.iter().map(|name| path.join(name))).collect();
        paths.extend(level.iter().cloned());
    }
    paths
}

/// A layer that says `sayings` of the paths, where its own directories leave room for it. Everything it has tells by its
/// content or attributes from which layer it is.
fn layer(number: usize, sayings: &[(Say, bool)]) -> Tree {
    let mut tree = Tree::new();
    let mark = u32::try_from(number).unwrap() + 1;
    for (path, (say, odd)) in paths().iter().zip(sayings) {
        let inside = path.parent().is_none_or(|parent| tree.get(&parent).is_some_and(Entry::is_dir));
        if !inside {
            continue;
        }
        let what = match say {
            // The root is a directory in any case.
            _ if path.is_root() => What::Dir { opaque: matches!(say, Say::Opaque) },
            Say::Nothing => continue,
            Say::File => What::File(format!("{path} of {number}").into_bytes()),
            Say::Symlink => What::Symlink(format!("to-{number}").into_bytes()),
            Say::Device => What::Char(mica_core::Rdev { major: 1, minor: mark }),
            Say::Whiteout => What::Whiteout,
            Say::Dir => What::Dir { opaque: false },
            Say::Opaque => What::Dir { opaque: true },
        };
        let mut entry = Entry::new(what);
        entry.uid = mark;
        entry.mtime = Some(mica_core::Timestamp { secs: i64::from(mark) * 1000, nanos: mark });
        if *odd && !matches!(entry.what, What::Symlink(_)) {
            entry.mode = 0o700 + mark % 8;
        }
        if *odd && matches!(entry.what, What::Dir { .. } | What::File(_)) {
            entry.xattrs.insert(b"user.layer".to_vec(), number.to_string().into_bytes());
        }
        tree.put(path.clone(), entry);
    }
    tree
}

fn stacks() -> impl Strategy<Value = Vec<Tree>> {
    let say = (proptest::sample::select(SAYINGS.to_vec()), any::<bool>());
    let sayings = proptest::collection::vec(say, paths().len());
    proptest::collection::vec(sayings, 1..6)
        .prop_map(|layers| layers.iter().enumerate().map(|(number, sayings)| layer(number, sayings)).collect())
}

/// How a literal becomes a layer on disk.
type Write = fn(&Tree, &Path, Marks);

/// By way of the tar of a layer, as an image brings it.
fn through_a_tar(tree: &Tree, layer: &Path, marks: Marks) {
    let packed = Scratch::new();
    tree.write_layer(packed.path(), marks);
    let mut tar = Vec::new();
    let how = Pack { marks: Some(marks), root: Some(Attrs::implicit_directory()), over: None, others: None };
    pack(&packed.dir(), &how, &mut tar).unwrap();
    let how = Unpack { marks, ..Unpack::default() };
    unpack(&mut &tar[..], &Dir::open(layer).unwrap(), &how).unwrap();
}

fn kernel_shows(lowers: &[Tree], marks: Marks, write: Write, inside: &str) -> Tree {
    let scratch = Scratch::new();
    let mut dirs = Vec::new();
    for (number, tree) in lowers.iter().enumerate() {
        let layer = scratch.make(number.to_string());
        write(tree, &layer, marks);
        dirs.push(layer.join(inside));
    }
    let before: Vec<_> = dirs.iter().map(|dir| Snapshot::of(dir)).collect();
    let mounted =
        Overlay::new().mount(&UnionDirs { lowers: dirs.clone(), upper: None, marks, ..UnionDirs::default() }).unwrap();
    let shown = Tree::read_dir(&mounted.dir().unwrap());
    for (dir, snapshot) in dirs.iter().zip(before) {
        snapshot.assert_unchanged(dir, "looking");
    }
    shown
}

fn judge(cases: u32, marks: Marks, write: Write, inside: &str) {
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let judged = runner.run(&stacks(), |lowers| {
        let shown = kernel_shows(&lowers, marks, write, inside);
        let differences = Tree::of_stack(&lowers).differences(&shown);
        prop_assert!(differences.is_empty(), "wanted by core, found in the kernel:\n{}", differences.join("\n"));
        Ok(())
    });
    if let Err(error) = judged {
        panic!("{error}");
    }
}

#[test]
fn layers_that_went_through_a_tar_show_the_same() {
    needs!(root, overlay);
    judge(150, Marks::Trusted, through_a_tar, "diff");
}

#[test]
fn core_says_what_the_kernel_shows_with_trusted_marks() {
    needs!(root, overlay);
    judge(300, Marks::Trusted, Tree::write_layer, "");
}

#[test]
fn core_says_what_the_kernel_shows_with_user_marks() {
    needs!(root, userxattr);
    judge(300, Marks::User, Tree::write_layer, "");
}

#[test]
fn the_stacks_judged_are_of_every_kind() {
    // A generator that made no opaque directory over a full one would prove nothing.
    let mut seen = std::collections::BTreeSet::new();
    let mut runner = TestRunner::deterministic();
    for _ in 0..200 {
        let lowers = stacks().new_tree(&mut runner).unwrap().current();
        for pair in lowers.windows(2) {
            for (path, above) in pair[0].iter().filter(|(path, _)| !path.is_root()) {
                if let Some(below) = pair[1].get(path) {
                    let kind = |entry: &Entry| entry.to_string().split(' ').next().unwrap_or_default().to_owned();
                    seen.insert((kind(above), kind(below)));
                }
            }
        }
    }
    // file, symlink, char, whiteout, directory, opaque: each over each.
    assert_eq!(seen.len(), 36, "{seen:?}");
}
