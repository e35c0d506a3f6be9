//! The mica command: what the user typed, handed to the engine, and what came of it, printed.
//!
//! Data goes to standard output and nothing else does. Errors, notes and progress go to standard error.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod failure;
mod generate;
mod output;
mod roots;

use std::process::ExitCode;

use clap::Parser as _;

use args::Cli;

fn main() -> ExitCode {
    // The runtime starts this very program as a container's init; nothing else may happen in that process.
    if mica_engine::is_child() {
        return mica_engine::child_main();
    }
    // And as the server of a mount.
    if mica_engine::is_server() {
        return mica_engine::server_main();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    if let Err(error) = arm_faults() {
        return failure::report(&error);
    }
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}

/// `MICA_FAULT` stops or fails this process at a chosen change of the disk, for tests ([`mica_engine::fault`]).
fn arm_faults() -> anyhow::Result<()> {
    if let Some(plan) = std::env::var_os("MICA_FAULT") {
        mica_engine::fault::arm(plan.to_string_lossy().parse()?);
    }
    Ok(())
}
