//! The plan of the house, as data, and the check that the code still stands by it.
//!
//! ARCHITECTURE.md says why each arrow and each absence is there. A change of the plan is a change of the tables here,
//! of that page, and of its reason, in one commit.

mod text;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::Findings;
use crate::workspace::{DependencyKind, Package, Workspace};

/// What every room's crate name starts with.
const PREFIX: &str = "mica-";

/// Every room, with the rooms it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("sys", &[]),
    ("layer", &["core", "sys"]),
    ("store", &["core", "layer", "sys"]),
    ("union", &["core", "layer", "sys"]),
    ("transport", &["core", "layer"]),
    ("runtime", &["core", "sys"]),
    ("engine", &["core", "sys", "layer", "store", "union", "transport", "runtime"]),
    ("build", &["core", "layer", "engine"]),
    ("cli", &["core", "engine", "build"]),
    ("fuse", &["core", "sys", "union"]),
    (TESTKIT, &["core", "layer", "store", "sys", "transport", "union"]),
];

/// The room that only tests may use; with it a test may reach the rooms that it shows.
const TESTKIT: &str = "testkit";

/// The room of all unsafe code and of the system calls.
const SYS: &str = "sys";

/// Members of the workspace that are no room: automation, which depends on no room and no room on it.
const OUTSIDE: &[&str] = &["xtask"];

/// Libraries that only some rooms may link.
const LIBRARIES: &[Library] = &[
    Library { names: &["libc", "rustix", "nix"], only: &[SYS, TESTKIT], reason: "system calls live in mica-sys" },
    Library {
        names: &["reqwest", "hyper", "tokio", "ureq", "rustls"],
        only: &["transport"],
        reason: "only mica-transport knows a network",
    },
    Library {
        names: &["clap", "anstream", "indicatif", "comfy-table"],
        only: &["cli", "fuse"],
        reason: "only a front end talks to a person",
    },
    Library {
        names: &["anyhow"],
        only: &["cli", "fuse"],
        reason: "a library's errors have types that a caller can match",
    },
];

/// Words that a room's code must not hold, its tests aside.
const ABSENCES: &[Absence] = &[
    Absence {
        rooms: Rooms::Only(&["core"]),
        words: &[
            "std::fs",
            "std::net",
            "std::process",
            "std::os::unix::net",
            "std::thread",
            "SystemTime::now",
            "Instant::now",
            "Timestamp::now",
            "Zoned::now",
        ],
        reason: "core opens no file and reads no clock: the rules are pure",
    },
    Absence {
        rooms: Rooms::Only(&["store", "union", "layer", "engine"]),
        words: &["std::net", "std::os::unix::net"],
        reason: "only mica-transport knows a network",
    },
    Absence {
        rooms: Rooms::Only(&["layer", "store"]),
        // create_dir_all is not here: the road to a root leads through directories that are not ours to fail on.
        words: &[
            "fs::write",
            "fs::copy",
            "fs::rename",
            "fs::hard_link",
            "fs::create_dir",
            "fs::remove_file",
            "fs::remove_dir",
            "fs::remove_dir_all",
            "fs::set_permissions",
            "fs::OpenOptions",
            "OpenOptions::new",
            "fs::File::create",
            "fs::File::options",
        ],
        reason: "what changes the disk passes the fault door of mica-sys",
    },
    Absence {
        rooms: Rooms::AllBut(&["cli", "fuse", TESTKIT]),
        words: &[
            "env::var",
            "env::var_os",
            "env::vars",
            "env::vars_os",
            "env::home_dir",
            "print!",
            "println!",
            "eprint!",
            "eprintln!",
            "process::exit",
        ],
        reason: "nothing below a front end prints, reads the environment or exits",
    },
    Absence { rooms: Rooms::AllBut(&[TESTKIT]), words: &["mica_testkit"], reason: "mica-testkit is for tests" },
];

/// Lines after which a file wants an argument, and after which none helps.
const LONG_FILE: usize = 600;
const LONGEST_FILE: usize = 1000;

/// Folders that hold no code of ours.
const NOT_OURS: &[&str] = &["target", "node_modules", "corpus", "artifacts"];

struct Library {
    names: &'static [&'static str],
    only: &'static [&'static str],
    reason: &'static str,
}

struct Absence {
    rooms: Rooms,
    words: &'static [&'static str],
    reason: &'static str,
}

enum Rooms {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

impl Rooms {
    fn hold(&self, room: &str) -> bool {
        match self {
            Self::Only(rooms) => rooms.contains(&room),
            Self::AllBut(rooms) => !rooms.contains(&room),
        }
    }
}

/// Holds the tree at `root` against the plan.
pub(crate) fn check(root: &Path) -> Result<Findings> {
    let mut found = Findings::default();
    for package in Workspace::members(root)?.packages {
        check_manifest(&package, &mut found);
        check_crate_roots(&package, &mut found)?;
        check_code(root, &package, &mut found)?;
    }
    check_sizes(root, &mut found)?;
    Ok(found)
}

/// The room that a package is, and `None` for what is no room of the plan.
fn room(package: &str) -> Option<&str> {
    let short = package.strip_prefix(PREFIX)?;
    ARROWS.iter().any(|(room, _)| *room == short).then_some(short)
}

/// The rooms that `room` points at.
fn arrows(room: &str) -> &'static [&'static str] {
    ARROWS.iter().find(|(from, _)| *from == room).map_or(&[], |(_, to)| *to)
}

fn check_manifest(package: &Package, found: &mut Findings) {
    let name = package.name.as_str();
    let Some(from) = room(name) else {
        if !OUTSIDE.contains(&name) {
            found.problem(format!("{name} is no room of the plan"));
        }
        for dependency in package.dependencies.iter().filter(|d| d.name.starts_with(PREFIX)) {
            found.problem(format!(
                "{name} -> {}: {name} depends on no room, so that it builds when a room does not",
                dependency.name
            ));
        }
        return;
    };
    if package.dir().file_name().is_none_or(|folder| folder != name) {
        found.problem(format!("{name} stands in {}, not in a folder of its name", package.dir().display()));
    }
    for dependency in &package.dependencies {
        let to = dependency.name.as_str();
        if OUTSIDE.contains(&to) {
            found.problem(format!("{name} -> {to}: no room depends on automation"));
        } else if let Some(short) = to.strip_prefix(PREFIX) {
            if room(to).is_none() {
                found.problem(format!("{name} -> {to}: {to} is no room of the plan"));
            } else if !may_point(from, short, dependency.kind) {
                let note = match dependency.kind {
                    Some(DependencyKind::Dev) => " (dev)",
                    Some(DependencyKind::Build) => " (build)",
                    None => "",
                };
                found.problem(format!("{name} -> {to}{note}: no such arrow in the plan"));
            }
        } else if dependency.kind != Some(DependencyKind::Dev)
            && let Some(library) = LIBRARIES.iter().find(|library| library.names.contains(&to))
            && !library.only.contains(&from)
        {
            found.problem(format!("{name} -> {to}: {}", library.reason));
        }
    }
}

/// Whether the plan has the arrow. A test may use the testkit, and any room that the testkit shows it.
fn may_point(from: &str, to: &str, kind: Option<DependencyKind>) -> bool {
    arrows(from).contains(&to)
        || (kind == Some(DependencyKind::Dev) && (to == TESTKIT || arrows(TESTKIT).contains(&to)))
}

/// Every library and program but `sys` forbids unsafe code for good: a `deny` could be allowed again further down.
fn check_crate_roots(package: &Package, found: &mut Findings) -> Result<()> {
    if room(&package.name) == Some(SYS) {
        return Ok(());
    }
    for target in &package.targets {
        let shipped = target.kind.iter().any(|kind| matches!(kind.as_str(), "lib" | "bin" | "proc-macro"));
        if shipped && !text::code(&read(&target.src_path)?).contains("#![forbid(unsafe_code)]") {
            found.problem(format!("{} lacks #![forbid(unsafe_code)]", in_package(package, &target.src_path)));
        }
    }
    Ok(())
}

/// Reads the code of one package for words that must not be there.
fn check_code(root: &Path, package: &Package, found: &mut Findings) -> Result<()> {
    let Some(room) = room(&package.name) else { return Ok(()) };
    for path in rust_files(package.dir())? {
        let code = text::code(&read(&path)?);
        let shown = path.strip_prefix(root).unwrap_or(&path).display();
        if room != SYS {
            for line in text::lines_with(&code, "unsafe") {
                found.problem(format!("{shown}:{line}: unsafe: unsafe code lives in mica-sys"));
            }
        }
        if is_test_file(package.dir(), &path) {
            continue;
        }
        let code = text::without_tests(&code);
        for absence in ABSENCES.iter().filter(|absence| absence.rooms.hold(room)) {
            for word in absence.words {
                for line in text::lines_with(&code, word) {
                    found.problem(format!("{shown}:{line}: {word}: {}", absence.reason));
                }
            }
        }
    }
    Ok(())
}

fn check_sizes(root: &Path, found: &mut Findings) -> Result<()> {
    for path in rust_files(root)? {
        let lines = read(&path)?.lines().count();
        let shown = path.strip_prefix(root).unwrap_or(&path).display();
        if lines > LONGEST_FILE {
            found.problem(format!("{shown}: {lines} lines, and none may have more than {LONGEST_FILE}"));
        } else if lines > LONG_FILE {
            found.warning(format!("{shown}: {lines} lines; above {LONG_FILE} it wants an argument"));
        }
    }
    Ok(())
}

/// Whether a file of the package at `dir` holds tests only.
fn is_test_file(dir: &Path, path: &Path) -> bool {
    let inside = path.strip_prefix(dir).unwrap_or(path);
    inside.ends_with("tests.rs")
        || inside.parent().is_some_and(|folder| {
            folder.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "benches")))
        })
}

fn in_package(package: &Package, path: &Path) -> String {
    let inside = path.strip_prefix(package.dir()).unwrap_or(path);
    format!("{}/{}", package.name, inside.display())
}

/// Every Rust source below `dir`, sorted.
pub(crate) fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            let name = entry.file_name();
            let hidden = name.as_encoded_bytes().starts_with(b".");
            let kind = entry.file_type().with_context(|| format!("cannot stat {}", entry.path().display()))?;
            if kind.is_dir() && !hidden && !NOT_OURS.iter().any(|other| name == *other) {
                folders.push(entry.path());
            } else if kind.is_file() && entry.path().extension().is_some_and(|extension| extension == "rs") {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
