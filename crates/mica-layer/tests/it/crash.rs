//! Apply, stopped at every call that changes the disk.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use mica_layer::{Apply, apply_onto};
use mica_sys::fault::{FaultPlan, arm};
use mica_sys::{Dir, FileKind};
use mica_testkit::{Scratch, Tree, needs, tree};

use crate::support::{path, upper};

const PLAN: &str = "MICA_LAYER_TEST_FAULT";
const PLACE: &str = "MICA_LAYER_TEST_PLACE";

/// The program of the tests below: the fault door is one for a whole process, so that each run has a process.
#[test]
fn child() {
    let (Ok(plan), Some(place)) = (std::env::var(PLAN), std::env::var_os(PLACE)) else { return };
    let open = |name| Dir::open(&Path::new(&place).join(name)).unwrap();
    let (upper, target) = (open("upper"), open("target"));
    arm(plan.parse::<FaultPlan>().unwrap());
    let done = apply_onto(&upper, &Apply::default(), &target, &mut |_| ());
    std::process::exit(i32::from(done.is_err()));
}

fn run(place: &Path, plan: &str) -> ExitStatus {
    let me = std::env::current_exe().unwrap();
    Command::new(me)
        .args(["--exact", "crash::child", "--quiet"])
        .env(PLAN, plan)
        .env(PLACE, place)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap()
}

fn below() -> Tree {
    tree! { "a" = "old a" mtime 1; "d/x" = "x" mtime 2; "d/y/z" = "z" mtime 3; "f" = "old f" mtime 4; "k" = "kept" mtime 5; "t" = "t" }
}

fn changes() -> Tree {
    tree! {
        "a" = "new a" mtime 11;
        "d" whiteout;
        "f" = "new f" mode 0o600 mtime 12 xattr "user.a" = "1";
        "n/m" = "new" mtime 13;
        "n/o" hard "n/m";
        "s" -> "a" mtime 14;
        "t/" mtime 15;
    }
}

fn prepared() -> Scratch {
    let scratch = Scratch::new();
    below().write_to(&scratch.make("target"));
    upper(&scratch, "upper", &changes());
    scratch
}

/// Takes what stands under a temporary name away and gives its content; a directory has none.
fn sweep(place: &Path) -> Vec<Option<Vec<u8>>> {
    let dir = Dir::open(place).unwrap();
    let mut swept = Vec::new();
    for entry in dir.read_dir().unwrap() {
        if entry.name.starts_with(b".mica-apply-") {
            swept.push(match entry.kind {
                FileKind::Directory => None,
                FileKind::File => Some(dir.read(&entry.name, 100).unwrap()),
                _ => Some(b"special".to_vec()),
            });
            dir.remove_tree(&entry.name).unwrap();
        } else if entry.kind == FileKind::Directory {
            let metadata = dir.stat(&entry.name).unwrap();
            swept.extend(sweep(&place.join(std::str::from_utf8(&entry.name).unwrap())));
            dir.utimens(&entry.name, metadata.mtime).unwrap();
        }
    }
    swept
}

/// Every name shows the old thing or the new, whole; one thing more may stand under a temporary name, and is returned.
fn assert_old_or_new(place: &Path, after: &str) -> Option<Option<Vec<u8>>> {
    let mut leftovers = sweep(&place.join("target"));
    assert!(leftovers.len() <= 1, "after {after}: {leftovers:?} under temporary names");
    let found = Tree::read(&place.join("target"));
    let new = Tree::of_stack(&[changes(), below()]);
    for (at, entry) in found.iter().filter(|(at, _)| !at.is_root()) {
        let is = |tree: &Tree| match tree.get(at) {
            // A directory gets its attributes when it is filled.
            Some(wanted) if entry.is_dir() => wanted.is_dir(),
            Some(wanted) => {
                let both_say = wanted.mtime.is_some();
                wanted.what == entry.what && wanted.mode == entry.mode && (!both_say || wanted.mtime == entry.mtime)
            }
            None => false,
        };
        assert!(is(&below()) || is(&new), "after {after}: {at} is {entry}");
    }
    for kept in ["a", "f", "k", "t"] {
        assert!(found.get(&path(kept)).is_some(), "after {after}: /{kept} is gone");
    }
    if found.get(&path("d")).is_some() {
        assert!(found.get(&path("d/y/z")).is_some() && found.get(&path("d/x")).is_some(), "after {after}: half of /d");
    }
    leftovers.pop()
}

#[test]
fn killed_at_any_change_each_file_is_old_or_new() {
    needs!(root);
    for nth in 1.. {
        let scratch = prepared();
        let plan = format!("kill@{nth}");
        let status = run(scratch.path(), &plan);
        assert_old_or_new(scratch.path(), &plan);
        if status.success() {
            assert!(nth > 30, "only {nth} changes were stopped at");
            break;
        }
        assert_eq!(status.signal(), Some(9), "{plan}");
        // What is there can be completed.
        assert!(run(scratch.path(), "trace").success());
        let found = Tree::read(&scratch.path().join("target"));
        let mut expected = Tree::of_stack(&[changes(), below()]);
        expected.put(path(""), found.get(&path("")).unwrap().clone());
        expected.assert_is(&found, &format!("the target after {plan} and a second run"));
    }
}

#[test]
fn refused_at_any_change_it_says_so_and_no_file_is_half() {
    needs!(root);
    let mut refused = 0;
    for nth in 1..60 {
        let scratch = prepared();
        let plan = format!("fail@{nth}:ENOSPC");
        let status = run(scratch.path(), &plan);
        if let Some(Some(content)) = assert_old_or_new(scratch.path(), &plan) {
            // What was made is removed again. What had the name before has lost it already when its removal is refused.
            assert_eq!(content, b"t", "{plan}");
        }
        if status.success() {
            // A reflink that is refused is answered by a copy: no error, and nothing is missing.
            assert_eq!(fs::read_to_string(scratch.path().join("target/f")).unwrap(), "new f", "{plan}");
        } else {
            assert_eq!(status.code(), Some(1), "{plan}");
            refused += 1;
        }
    }
    assert!(refused > 30, "only {refused} changes were refused");
}
