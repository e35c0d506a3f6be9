//! The jobs, in the order in which they are run.

use super::job::{Kind, Step, Work};
use super::line::Line;

mod grow;
mod lists;
mod load;
mod remove;
mod rootless;
mod run;
mod union;

/// All of them.
pub(super) const ALL: &[Kind] = &[
    Kind { name: "load-gzip", about: "load of a compressed OCI archive", prepare: load::gzip },
    Kind { name: "load-plain", about: "load of a plain docker archive", prepare: load::plain },
    Kind { name: "run", about: "run --rm IMAGE true", prepare: run::as_root },
    Kind { name: "run-rootless", about: "run --rm IMAGE true as an ordinary user", prepare: rootless::prepare },
    Kind { name: "rmi", about: "removing an image of 40,000 entries", prepare: remove::prepare },
    Kind { name: "lists", about: "images and system df on a large store", prepare: lists::prepare },
    Kind { name: "grow-entries", about: "create, diff and commit as images grow", prepare: grow::entries },
    Kind { name: "grow-layers", about: "create and run as stacks grow", prepare: grow::layers },
    Kind { name: "grow-containers", about: "create, ps and run as containers get more", prepare: grow::containers },
    Kind { name: "union-find", about: "walking a union that was walked", prepare: union::find },
    Kind { name: "union-stat", about: "stat of everything in a union that was walked", prepare: union::stat },
    Kind { name: "union-first", about: "stat of everything right after the mount", prepare: union::first },
    Kind { name: "union-tar", about: "reading many small files of a union", prepare: union::archive },
    Kind { name: "union-open", about: "open and close in a union", prepare: union::open },
    Kind { name: "union-read", about: "reading a big file of a union", prepare: union::read },
    Kind { name: "union-read-first", about: "the first reading of a big file of a union", prepare: union::read_first },
    Kind { name: "union-pread", about: "reading pages of a big file of a union", prepare: union::pread },
    Kind { name: "union-write", about: "writing a big file in a union", prepare: union::write },
    Kind { name: "union-create", about: "making and removing files in a union", prepare: union::create },
    Kind { name: "union-cp", about: "cp -r in a union", prepare: union::copy },
    Kind { name: "union-rm", about: "rm -r in a union", prepare: union::remove },
    Kind { name: "union-chmod", about: "chmod -R in a union", prepare: union::chmod },
    Kind { name: "union-layers", about: "a union of 128 layers beside one of one", prepare: union::layers },
    Kind { name: "union-memory", about: "what the server of a union holds", prepare: union::memory },
];

/// The least that running any command takes here.
fn fork_and_exec() -> Work {
    Work { line: Line::new("/bin/true"), ..Work::default() }
}

/// The name of that floor.
const FORK_AND_EXEC: &str = "fork+exec";

/// Steps that bring a folder back to nothing, on disk too.
fn emptied(folder: std::path::PathBuf) -> Vec<Step> {
    vec![Step::Empty(folder), Step::Flush]
}
