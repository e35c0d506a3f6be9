//! Cases that are about the stack as a whole: how deep, how often, how it is named.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use mica_core::RelPath;
use mica_layer::Marks;
use mica_union::{Driver, UnionDirs, UnionError, UpperDirs};

use super::{Bench, Step};
use crate::{Scratch, Snapshot, Tree};

type Shape = (&'static str, &'static str, fn(&dyn Driver, Marks));

/// Every case: name, why it is here, the case.
pub(super) const ALL: [Shape; 9] = [
    ("an_opaque_root_hides_all_below", "the kernel heeds the mark on every directory but the root", opaque_root),
    ("deep_stacks_show_every_layer", "https://github.com/moby/moby/issues/1171: 42 was the limit once", deep_stacks),
    ("one_layer_too_many_is_said", "a limit that is met must be named", too_deep),
    ("a_layer_that_stands_twice_counts_once", "an image may repeat a DiffID; the kernel says ELOOP", repeated),
    ("no_lowers_show_the_upper", "an image without layers", no_lowers),
    ("a_single_lower_is_shown_read_only", "its whiteouts and marks must not be seen", single_view),
    ("paths_may_hold_any_byte", "commas, colons and backslashes separate mount options", odd_paths),
    ("an_upper_that_is_not_there_is_named", "the message must say which directory", missing_directory),
    ("a_dropped_mount_is_gone", "nothing is left in the table of mounts", nothing_left),
];

fn deep_stacks(driver: &dyn Driver, marks: Marks) {
    for depth in [1, 2, 127, 128, 129, 500] {
        // Each layer adds a file, replaces `all`, and deletes the file of the layer below the one below.
        let lowers: Vec<Tree> = (0..depth)
            .rev()
            .map(|number: usize| {
                let mut layer = tree! { "all" = (number.to_string()) };
                layer.name(format!("f{number}")).end();
                if let Some(gone) = number.checked_sub(2) {
                    layer.name(format!("f{gone}")).whiteout().end();
                }
                layer
            })
            .collect();
        let mut shown = tree! { "all" = ((depth - 1).to_string()) };
        for number in depth.saturating_sub(2)..depth {
            shown.name(format!("f{number}")).end();
        }
        let bench = Bench::new(driver, marks, &lowers);
        shown.assert_is(&bench.show(&bench.dirs()), &format!("a stack of {depth}"));
        bench.assert_lowers_whole("mounting");
    }
}

fn too_deep(driver: &dyn Driver, marks: Marks) {
    let bench = Bench::new(driver, marks, &vec![Tree::new(); 503]);
    match driver.mount(&bench.dirs()) {
        Err(UnionError::TooManyLowers { count: 503, limit: 500, .. }) => {}
        // A driver may take more; then it shows them.
        Ok(mounted) => Tree::new().assert_is(&Tree::read_dir(&mounted.dir().unwrap()), "503 layers"),
        Err(other) => panic!("{other:?}"),
    }
}

fn repeated(driver: &dyn Driver, marks: Marks) {
    let bench =
        Bench::new(driver, marks, &[tree! { "a" = "top"; "b" whiteout }, tree! { "a" = "low"; "b" = ""; "c" = "" }]);
    let mut dirs = bench.dirs();
    // The second layer again at the top, by another spelling: it now hides the first.
    let again = bench.paths()[1].join("../lower1");
    dirs.lowers.insert(0, again);
    dirs.lowers.extend(bench.paths());
    let shown = tree! { "a" = "low"; "b" = ""; "c" = "" };
    shown.assert_is(&bench.show(&dirs), "a stack with repeated layers");
    let many = UnionDirs { lowers: vec![bench.paths()[1].clone(); 600], ..bench.dirs() };
    shown.assert_is(&bench.show(&many), "one layer, six hundred times");
}

fn opaque_root(driver: &dyn Driver, marks: Marks) {
    let mut middle = tree! { "b" = "middle" };
    middle.name("/").opaque().mode(0o711).end();
    let bench = Bench::new(driver, marks, &[tree! { "a" = "top" }, middle, tree! { "a" = "low"; "c" = "low" }]);
    tree! { "a" = "top"; "b" = "middle" }.assert_is(&bench.show(&bench.dirs()), "an opaque root in the middle");
    // The container's own root may be opaque too, when its upper was a layer that somebody unpacked.
    let mut upper = tree! { "x" = "upper" };
    upper.name("/").opaque().end();
    upper.write_layer(&bench.scratch.make("opaque"), marks);
    let own = UpperDirs { upper: bench.scratch.path().join("opaque"), ..bench.upper() };
    let dirs = UnionDirs { upper: Some(own), ..bench.dirs() };
    tree! { "x" = "upper" }.assert_is(&bench.show(&dirs), "an opaque upper");
}

fn no_lowers(driver: &dyn Driver, marks: Marks) {
    let bench = Bench::new(driver, marks, &[]);
    let mounted = driver.mount(&bench.dirs()).unwrap();
    Step::Write("file", "x").take(&mounted.dir().unwrap());
    drop(mounted);
    tree! { "file" = "x" }.assert_is(&bench.show(&bench.dirs()), "an upper over nothing");
    let nothing = UnionDirs { lowers: Vec::new(), upper: None, marks, ..UnionDirs::default() };
    assert_eq!(bench.show(&nothing).iter().count(), 1, "nothing but a root");
}

fn single_view(driver: &dyn Driver, marks: Marks) {
    let layer = tree! { "d/" opaque uid 3; "d/f" = "x" xattr "user.a" = "b"; "gone" whiteout };
    let bench = Bench::new(driver, marks, &[layer]);
    let view = UnionDirs { upper: None, ..bench.dirs() };
    tree! { "d/" uid 3; "d/f" = "x" xattr "user.a" = "b" }.assert_is(&bench.show(&view), "a view of one layer");
    bench.assert_lowers_whole("a view");
}

fn odd_paths(driver: &dyn Driver, marks: Marks) {
    let long = "n".repeat(200);
    let names: [&[u8]; 8] = [
        b"a,b",
        b"a:b",
        b"a\\b",
        b"a\\:b",
        b"a b",
        b"a\nb",
        b"\xff\xfe",
        &[long.as_bytes(), b"/", long.as_bytes()].concat(),
    ];
    for name in names {
        let scratch = Scratch::new();
        let place = scratch.make(OsStr::from_bytes(name));
        let make = |name: &str| scratch.make(place.join(name));
        let lowers = vec![make("l,1"), make("l:2")];
        tree! { "a" = "1" }.write_layer(&lowers[0], marks);
        tree! { "b" = "2" }.write_layer(&lowers[1], marks);
        let before: Vec<Snapshot> = lowers.iter().map(|path| Snapshot::of(path)).collect();
        let upper = UpperDirs { upper: make("up,per=x"), work: make("work"), volatile: false };
        let dirs = UnionDirs { lowers, upper: Some(upper), marks, ..UnionDirs::default() };
        let mounted = driver.mount(&dirs).unwrap_or_else(|error| panic!("{}: {error:?}", name.escape_ascii()));
        let merged = mounted.dir().unwrap();
        Step::Append("a", "+").take(&merged);
        tree! { "a" = "1+"; "b" = "2" }.assert_is(&Tree::read_dir(&merged), "a union of odd paths");
        for (path, snapshot) in dirs.lowers.iter().zip(before) {
            snapshot.assert_unchanged(path, "a write");
        }
    }
}

fn missing_directory(driver: &dyn Driver, marks: Marks) {
    let bench = Bench::new(driver, marks, &[Tree::new()]);
    let missing = PathBuf::from("/nonexistent/place");
    let mut upperless = bench.dirs();
    upperless.upper = Some(UpperDirs { upper: missing.clone(), ..bench.upper() });
    let mut lowerless = bench.dirs();
    lowerless.lowers.push(missing);
    for dirs in [upperless, lowerless] {
        let refused = driver.mount(&dirs).unwrap_err();
        let mut text = refused.to_string();
        if let Some(source) = std::error::Error::source(&refused) {
            text = format!("{text}: {source}");
        }
        assert!(text.contains("/nonexistent/place"), "{text}");
        assert!(text.starts_with(driver.name()), "{text}");
    }
}

fn nothing_left(driver: &dyn Driver, marks: Marks) {
    let bench = Bench::new(driver, marks, &[tree! { "x" = "" }]);
    let place = bench.scratch.make("merged");
    let is_mounted = || mica_sys::mount::mounts().unwrap().iter().any(|mount| mount.target == place);
    drop(driver.mount(&bench.dirs()).unwrap());
    assert!(!is_mounted());
    driver.mount(&bench.dirs()).unwrap().attach(&place).unwrap();
    assert!(is_mounted());
    assert!(Tree::read(&place).get(&RelPath::parse(b"x").unwrap()).is_some());
    mica_sys::mount::unmount(&place, mica_sys::mount::UnmountFlags::empty()).unwrap();
    assert!(!is_mounted(), "and it comes off again");
}
