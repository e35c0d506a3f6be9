//! Archives that go between this room and the tools of the field.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test panics; clippy knows tests by their attribute, not their helpers"
)]

mod peers;

#[test]
fn no_file_is_forgotten() {
    mica_testkit::assert_no_test_file_is_forgotten(env!("CARGO_MANIFEST_DIR"));
}
