//! What this room does on a real disk, judged by other tools and by the kernel.
// `tree!` takes one step for each word of a literal.
#![recursion_limit = "256"]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::exit,
    clippy::indexing_slicing,
    reason = "all of this crate is tests, and a test that cannot go on has failed"
)]

mod apply;
mod build;
mod crash;
mod dir_layer;
mod expand;
mod hostile;
mod kernel;
mod links;
mod owners;
mod pack;
mod peers;
mod renaming;
mod shown;
mod support;
mod unpack;
mod unpacked;
mod writers;

#[test]
fn no_file_is_forgotten() {
    mica_testkit::assert_no_test_file_is_forgotten(env!("CARGO_MANIFEST_DIR"));
}
