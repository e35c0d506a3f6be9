//! The flat driver stopped before each change of the disk, and refused each.

use std::path::Path;
use std::process::{Command, Stdio};

use mica_layer::Marks;
use mica_sys::fault;
use mica_testkit::driver_suite::Step;
use mica_testkit::{Scratch, Tree, needs, tree};
use mica_union::{Driver, Flat, UnionDirs, UpperDirs};

use crate::flat::{dirs, merged, upper};

const WHAT: &str = "MICA_UNION_TEST_CHILD";
const PLACE: &str = "MICA_UNION_TEST_PLACE";
const PLAN: &str = "MICA_UNION_TEST_PLAN";

/// This very test program, started again by [`run`] to do one thing under a fault plan.
#[test]
fn child() {
    let Ok(what) = std::env::var(WHAT) else { return };
    let place = std::env::var(PLACE).unwrap();
    let at = |name| Path::new(&place).join(name);
    let upper = UpperDirs { upper: at("upper"), work: at("work"), volatile: false };
    let dirs =
        UnionDirs { lowers: vec![at("lower")], upper: Some(upper), marks: Marks::Trusted, ..UnionDirs::default() };
    fault::arm(std::env::var(PLAN).unwrap().parse().unwrap());
    let done = match what.as_str() {
        "mount" => Flat::new().mount(&dirs).map(drop),
        _ => Flat::new().settle(&dirs),
    };
    if let Err(error) = done {
        panic!("{error:?}");
    }
}

/// Whether the child came to its end without an error; panics where it ended otherwise than its plan says.
fn run(scratch: &Scratch, what: &str, plan: &str) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "flat_crash::child", "--nocapture", "--test-threads=1"]);
    command.env(WHAT, what).env(PLACE, scratch.path()).env(PLAN, plan).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => true,
        Some(_) => {
            assert!(plan.starts_with("fail") && said.contains("StorageFull"), "{plan}: {said}");
            false
        }
        None => {
            assert!(plan.starts_with("kill"), "{plan}: {said}");
            false
        }
    }
}

fn lower() -> Tree {
    tree! { "a" = "x"; "b" hard "a"; "d/c" = "y"; "d/e" = "z"; "gone/" ; "gone/in" = ""; "link" -> "a" }
}

fn change(dirs: &UnionDirs) {
    let merged = merged(dirs);
    let steps = [
        Step::Append("d/c", "more"),
        Step::RemoveAll("gone"),
        Step::MkDir("gone"),
        Step::Write("gone/new", "1"),
        Step::Remove("d/e"),
        Step::Append("a", "+"),
    ];
    steps.iter().for_each(|step| step.take(&merged));
}

fn settled() -> Tree {
    tree! {
        "a" = "x+"; "b" hard "a"; "d/c" = "ymore"; "d/e" whiteout; "gone/" opaque; "gone/new" = "1"
    }
}

fn shown() -> Tree {
    tree! { "a" = "x+"; "b" hard "a"; "d/c" = "ymore"; "gone/new" = "1"; "link" -> "a" }
}

/// What is left in the work directory.
fn left(scratch: &Scratch, place: &str) -> Vec<String> {
    let found = std::fs::read_dir(scratch.path().join(place)).unwrap();
    let mut names: Vec<String> = found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn copying(kind: &str, step: usize) {
    for nth in (1..).step_by(step) {
        let scratch = Scratch::in_memory();
        let dirs = dirs(&scratch, &lower());
        tree! { "d/" mode 0o700; "d/upper" = "u" }.write_layer(&scratch.path().join("upper"), Marks::Trusted);
        let before = upper(&dirs);
        let done = run(&scratch, "mount", &kind.replace("@N", &format!("@{nth}")));
        before.assert_is(&upper(&dirs), "the upper");
        let mut expected = lower();
        expected.put(path("d"), before.get(&path("d")).unwrap().clone());
        expected.name("d/upper").content("u").end();
        expected.assert_is(&Tree::read_dir(&merged(&dirs)), &format!("mounted after {kind} at {nth}"));
        assert_eq!(left(&scratch, "work"), ["flat"]);
        if done {
            assert!(nth > 20, "the plan met {nth} changes");
            return;
        }
    }
}

fn path(text: &str) -> mica_core::RelPath {
    mica_core::RelPath::parse(text.as_bytes()).unwrap()
}

fn settling(kind: &str, step: usize) {
    for nth in (1..).step_by(step) {
        let scratch = Scratch::in_memory();
        let dirs = dirs(&scratch, &lower());
        change(&dirs);
        let plan = kind.replace("@N", &format!("@{nth}"));
        let done = run(&scratch, "settle", &plan);
        let now = upper(&dirs);
        if now.iter().count() > 1 || done {
            settled().assert_is(&now, &format!("the new upper after {plan}"));
        }
        shown().assert_is(&Tree::read_dir(&merged(&dirs)), &format!("mounted after {plan}"));
        Flat::new().settle(&dirs).unwrap_or_else(|error| panic!("{plan}: {error:?}"));
        settled().assert_is(&upper(&dirs), &format!("settled again after {plan}"));
        shown().assert_is(&Tree::read_dir(&merged(&dirs)), &format!("mounted again after {plan}"));
        assert_eq!(left(&scratch, "work/flat"), ["manifest", "tree"], "{plan}");
        if done {
            assert!(nth > 20, "the plan met {nth} changes");
            return;
        }
    }
}

#[test]
fn a_copy_that_is_cut_off_is_never_taken_for_a_whole_one() {
    needs!(root);
    copying("kill@N", 1);
}

#[test]
fn a_copy_that_is_refused_anything_is_made_the_next_time() {
    needs!(root);
    copying("fail@N:ENOSPC", 1);
    copying("fail@N+:ENOSPC", 7);
}

#[test]
fn a_settling_that_is_cut_off_leaves_the_old_upper_or_the_new() {
    needs!(root);
    settling("kill@N", 1);
}

#[test]
fn a_settling_that_is_refused_anything_loses_nothing() {
    needs!(root);
    settling("fail@N:ENOSPC", 1);
    settling("fail@N+:ENOSPC", 7);
}
