//! Every command as a real ordinary user: one to whom a range of ids belongs, and one with its own id alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use mica_testkit::{OrdinaryUser, in_mount_namespace};

use crate::common::{Mica, Said};

mod commands;
mod images;
mod trying;
mod whole;

/// Does `test` as each of the two, in a mount namespace of its own.
fn as_both(test: impl Fn(Mica) + Sync) {
    in_mount_namespace(|| {
        for (which, user) in
            [("with a range", OrdinaryUser::with_range()), ("with one id", OrdinaryUser::without_range())]
        {
            eprintln!("as a user {which}:");
            test(Mica::of(user));
        }
    });
}

/// Where a command that is not mica's own finds the program.
fn bring(mica: &Mica) -> PathBuf {
    let program = mica.path("program");
    std::fs::write(&program, "").unwrap();
    let bound = Command::new("mount").args(["--bind", env!("CARGO_BIN_EXE_mica")]).arg(&program).status();
    assert!(bound.unwrap().success());
    program
}

/// A shell's command line for a script that starts in `place`.
fn script_at(place: &Path, script: &str) -> [String; 3] {
    ["sh".to_owned(), "-c".to_owned(), format!("cd {} || exit 99\n{script}", place.display())]
}

/// Tries with these flags.
fn try_out(mica: &Mica, flags: &[&str], script: [String; 3]) -> Said {
    let flags = flags.iter().map(|flag| (*flag).to_owned());
    mica.try_run(["try".to_owned()].into_iter().chain(flags).chain(["--".to_owned()]).chain(script))
}

/// The lines of a listing that are below `place`.
fn below(listing: &str, place: &Path) -> Vec<String> {
    let place = format!("{}/", place.display());
    listing.lines().filter(|line| line.contains(&place)).map(|line| line.replace(&place, "")).collect()
}
