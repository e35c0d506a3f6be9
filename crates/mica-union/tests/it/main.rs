//! The drivers, held against the suite, against the rules of `core`, and against what goes wrong.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test panics; clippy knows tests by their attribute, not their helpers"
)]

mod channel;
mod differential;
mod flat;
mod flat_crash;
mod flat_places;
mod fuse;
mod fuse_attributes;
mod fuse_stores;
mod memory;
mod oracle;
mod overlay;
mod refusals;
mod suite;

/// A file that is not named above would never run.
#[test]
fn no_file_is_forgotten() {
    mica_testkit::assert_no_test_file_is_forgotten(env!("CARGO_MANIFEST_DIR"));
}
