//! Every command as a real ordinary user: one to whom a range of ids belongs, and one with its own id alone.

use std::path::PathBuf;
use std::process::Command;

use mica_testkit::{OrdinaryUser, in_mount_namespace};

use crate::common::Mica;

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
