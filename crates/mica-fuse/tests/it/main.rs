//! The whole command, as podman, mount(8) and people run it, on this machine's kernel.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test panics; clippy knows tests by their attribute, not their helpers"
)]

mod bad_input;
mod command;
mod common;
mod crowd;
mod death;
mod effects;
mod faults;
mod hostile;
mod mounting;
mod podman;
mod programs;
mod served;
mod stage;
mod strangers;
mod unprivileged;

/// A file that is not named above would never run.
#[test]
fn no_file_is_forgotten() {
    mica_testkit::assert_no_test_file_is_forgotten(env!("CARGO_MANIFEST_DIR"));
}
