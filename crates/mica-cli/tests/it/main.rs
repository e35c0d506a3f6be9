//! The whole command, as a user runs it: the binary, on a store of its own, on this machine's kernel.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test panics; clippy knows tests by their attribute, not their helpers"
)]

mod archives;
mod archives_refused;
#[allow(dead_code, reason = "the tests of mica-layer use all of it")]
#[path = "../../../mica-layer/tests/it/build.rs"]
mod build;
mod common;
mod containers;
mod crash;
mod daemons;
mod debian;
mod full_disk;
mod fuse;
mod guide;
mod hostile;
mod limits;
mod mounting;
mod nested;
mod output;
mod peers;
mod peers_at_work;
mod peers_daemons;
mod places;
mod progress;
mod race;
mod refusals;
mod rootless;
mod signals;
mod stacks;
mod standing;
mod trying;

/// A file that is not named above would never run.
#[test]
fn no_file_is_forgotten() {
    mica_testkit::assert_no_test_file_is_forgotten(env!("CARGO_MANIFEST_DIR"));
}
