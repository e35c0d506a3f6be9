//! The check on made-up trees, each with one fault, and on the real one.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A workspace on disk: (path, text) of each file.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n");
    for (path, text) in files {
        write(dir.path(), path, text);
    }
    dir
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A manifest of `name` with lines of dependency tables.
fn manifest(name: &str, tables: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{tables}")
}

const SAFE: &str = "//! A room.\n#![forbid(unsafe_code)]\n";

/// What the check says of a tree with the rooms core, layer, union, testkit and one more file.
fn problems_with(manifests: &[(&str, &str)], extra: &[(&str, &str)]) -> Vec<String> {
    let dir = tree(&[]);
    for room in ["core", "sys", "layer", "union", "testkit"] {
        let name = format!("mica-{room}");
        let tables = manifests.iter().find(|(of, _)| *of == room).map_or("", |(_, tables)| *tables);
        write(dir.path(), &format!("crates/{name}/Cargo.toml"), &manifest(&name, tables));
        write(dir.path(), &format!("crates/{name}/src/lib.rs"), SAFE);
    }
    for (path, text) in extra {
        write(dir.path(), path, text);
    }
    check(dir.path()).unwrap().problems
}

#[test]
fn the_real_tree_stands_by_the_plan() {
    let root = crate::workspace::root().unwrap();
    let found = check(&root).unwrap();
    assert_eq!(found.problems, Vec::<String>::new());
}

#[test]
fn the_arrows_of_the_plan_are_accepted() {
    let layer = "[dependencies]\nmica-core = { path = \"../mica-core\" }\nmica-sys = { path = \"../mica-sys\" }\n\
                 [dev-dependencies]\nmica-testkit = { path = \"../mica-testkit\" }\nmica-union = { path = \"../mica-union\" }\n";
    assert_eq!(problems_with(&[("layer", layer)], &[]), Vec::<String>::new());
}

#[test]
fn an_arrow_that_the_plan_lacks_is_rejected() {
    for (room, table, to, said) in [
        ("core", "dependencies", "layer", "mica-core -> mica-layer: no such arrow in the plan"),
        ("union", "build-dependencies", "testkit", "mica-union -> mica-testkit (build): no such arrow in the plan"),
        ("union", "dependencies", "testkit", "mica-union -> mica-testkit: no such arrow in the plan"),
        ("layer", "target.'cfg(unix)'.dependencies", "union", "mica-layer -> mica-union: no such arrow in the plan"),
    ] {
        let tables = format!("[{table}]\nmica-{to} = {{ path = \"../mica-{to}\" }}\n");
        assert_eq!(problems_with(&[(room, &tables)], &[]), [said]);
    }
}

#[test]
fn a_renamed_arrow_is_still_an_arrow() {
    let tables = "[dependencies]\ninnocent = { package = \"mica-layer\", path = \"../mica-layer\" }\n";
    assert_eq!(problems_with(&[("core", tables)], &[]), ["mica-core -> mica-layer: no such arrow in the plan"]);
}

#[test]
fn a_test_may_not_reach_above_what_the_testkit_shows() {
    let engine = manifest("mica-engine", "");
    let tables = "[dev-dependencies]\nmica-engine = { path = \"../mica-engine\" }\n";
    let extra = [("crates/mica-engine/Cargo.toml", engine.as_str()), ("crates/mica-engine/src/lib.rs", SAFE)];
    assert_eq!(
        problems_with(&[("layer", tables)], &extra),
        ["mica-layer -> mica-engine (dev): no such arrow in the plan"]
    );
}

#[test]
fn a_room_that_the_plan_lacks_is_rejected() {
    let attic = manifest("mica-attic", "");
    let extra = [("crates/mica-attic/Cargo.toml", attic.as_str()), ("crates/mica-attic/src/lib.rs", SAFE)];
    assert_eq!(problems_with(&[], &extra), ["mica-attic is no room of the plan"]);
}

#[test]
fn a_room_in_a_folder_of_another_name_is_rejected() {
    let store = manifest("mica-store", "");
    let extra = [("crates/cellar/Cargo.toml", store.as_str()), ("crates/cellar/src/lib.rs", SAFE)];
    let problems = problems_with(&[], &extra);
    assert!(matches!(problems.as_slice(), [one] if one.ends_with("not in a folder of its name")), "{problems:?}");
}

#[test]
fn a_library_stays_in_its_rooms() {
    // --no-deps resolves nothing, so no registry is asked for it.
    assert_eq!(
        problems_with(&[("union", "[dependencies]\nlibc = \"0.2\"\n")], &[]),
        ["mica-union -> libc: system calls live in mica-sys"]
    );
    assert_eq!(problems_with(&[("union", "[dev-dependencies]\nlibc = \"0.2\"\n")], &[]), Vec::<String>::new());
}

#[test]
fn a_file_of_a_thousand_lines_is_warned_of_and_one_more_is_rejected() {
    for (lines, problems, warnings) in [(600, 0, 0), (601, 0, 1), (1000, 0, 1), (1001, 1, 0)] {
        let dir = tree(&[
            ("crates/mica-core/Cargo.toml", &manifest("mica-core", "")),
            ("crates/mica-core/src/lib.rs", SAFE),
            ("crates/mica-core/tests/it/main.rs", &"//\n".repeat(lines)),
        ]);
        let found = check(dir.path()).unwrap();
        assert_eq!((found.problems.len(), found.warnings.len()), (problems, warnings), "{lines} lines: {found:?}");
    }
}

#[test]
fn unsafe_code_is_rejected_in_every_room_but_sys() {
    let code = format!("{SAFE}fn f() {{\n    unsafe {{}}\n}}\n");
    assert_eq!(
        problems_with(&[], &[("crates/mica-core/src/lib.rs", &code)]),
        ["crates/mica-core/src/lib.rs:4: unsafe: unsafe code lives in mica-sys"]
    );
    let code = "//! Calls.\nfn f() {\n    unsafe {}\n}\n";
    assert_eq!(problems_with(&[], &[("crates/mica-sys/src/lib.rs", code)]), Vec::<String>::new());
}

#[test]
fn a_crate_that_does_not_forbid_unsafe_code_is_rejected() {
    let said = "//! A room, with the words in prose: `#![forbid(unsafe_code)]`.\n";
    assert_eq!(
        problems_with(&[], &[("crates/mica-core/src/lib.rs", said)]),
        ["mica-core/src/lib.rs lacks #![forbid(unsafe_code)]"]
    );
}

#[test]
fn each_absence_is_seen_in_code_and_not_in_tests_or_prose() {
    for absence in ABSENCES {
        let room = match absence.rooms {
            Rooms::Only([room, ..]) => *room,
            _ => "union",
        };
        let name = format!("mica-{room}");
        let path = format!("crates/{name}/src/part.rs");
        let own = manifest(&name, "");
        for word in absence.words {
            let code = format!(
                "// {word}\nfn f() {{ g(\"{word}\", {word}(1)); }}\n#[cfg(test)]\nmod tests {{ use {word}; }}\n"
            );
            let extra = [
                (format!("crates/{name}/Cargo.toml"), own.clone()),
                (format!("crates/{name}/src/lib.rs"), SAFE.to_owned()),
                (format!("crates/{name}/tests/it/main.rs"), code.clone()),
                (format!("crates/{name}/src/part/tests.rs"), code.clone()),
                (path.clone(), code),
            ];
            let extra: Vec<(&str, &str)> = extra.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
            let said = format!("{path}:2: {word}: {}", absence.reason);
            let problems = problems_with(&[], &extra);
            assert!(problems.contains(&said), "{word}: {problems:?}");
            assert!(problems.iter().all(|problem| problem.starts_with(&format!("{path}:2:"))), "{word}: {problems:?}");
        }
    }
}

#[test]
fn every_arrow_of_the_plan_points_at_a_room_and_none_leads_back() {
    for (from, to) in ARROWS {
        for to in *to {
            assert!(ARROWS.iter().any(|(room, _)| room == to), "{from} -> {to}");
            assert!(!arrows(to).contains(from), "{from} <-> {to}");
            assert_ne!(from, to);
        }
    }
}
