//! The command of the FUSE union: what fuse-overlayfs' users type, read into what [`mica_union`] mounts and serves.
//!
//! ```text
//! words --args--> Call --options--> Asked --places--> directories --mounting--> a mount that answers
//! ```
//!
//! By the name `mount.fuse.mica` it is the helper that mount(8) calls. It prints nothing when all is well.
#![forbid(unsafe_code)]

mod args;
mod asked;
mod failure;
mod generate;
mod mounting;
mod options;
mod owners;
mod places;

use std::io::Write as _;
use std::process::ExitCode;

use args::{Call, Wanted};
use asked::Asked;
use failure::Failure;

fn main() -> ExitCode {
    // The mount's server is this very program; nothing else may happen in that process.
    if mounting::is_server() {
        return mounting::serve_inherited();
    }
    if let Err(error) = arm_faults() {
        failure::say(&format!("mica-fuse: MICA_FAULT: {error}"));
        return ExitCode::FAILURE;
    }
    let wanted = match args::read(std::env::args_os()) {
        Ok(wanted) => wanted,
        Err(error) => return failure::usage(&error),
    };
    let done = match wanted {
        Wanted::Mount(call) => run(&call),
        Wanted::Version => return version(),
        Wanted::Generated(directory) => generate::all(&directory).map_err(Failure::Generate),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// `MICA_FAULT` stops or fails a server in the foreground at a chosen change of the disk, for tests ([`mica_sys::fault`]).
fn arm_faults() -> Result<(), mica_sys::fault::FaultPlanError> {
    if let Some(plan) = std::env::var_os("MICA_FAULT") {
        mica_sys::fault::arm(plan.to_string_lossy().parse()?);
    }
    Ok(())
}

/// Does what was asked for.
fn run(call: &Call) -> Result<(), Failure> {
    let asked = asked(call)?;
    if asked.mount.is_remount {
        return mounting::change(&asked, &call.mountpoint, call.is_trial);
    }
    let places = places::find(&asked, &call.mountpoint)?;
    if call.is_trial {
        return Ok(());
    }
    mounting::mount(&asked, &places, call.is_foreground || asked.server.is_debug)
}

/// The meaning of all words together.
fn asked(call: &Call) -> Result<Asked, Failure> {
    let mut asked = Asked::default();
    if let Some(source) = &call.source {
        asked.mount.name = Some(source.as_encoded_bytes().to_vec());
    }
    for options in &call.options {
        options::read(options.as_encoded_bytes(), call.is_sloppy, &mut asked)?;
    }
    if call.is_single {
        asked.server.threads = Some(1);
    }
    asked.server.is_debug |= call.is_debug;
    Ok(asked)
}

/// podman shows it as the version of its mount program.
fn version() -> ExitCode {
    match writeln!(std::io::stdout().lock(), "mica-fuse {}", env!("CARGO_PKG_VERSION")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
