//! The store as its users meet it: through its API, from several processes, and stopped at every step.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "these are tests, whose helpers clippy does not know as such"
)]

mod check;
mod child;
mod common;
mod containers;
mod crash;
mod gc;
mod images;
mod lowers;
mod open;
mod order;
mod owners;
mod race;

/// A test file that is not listed above would be skipped in silence.
#[test]
fn every_file_is_listed() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let main = include_str!("main.rs");
    for entry in std::fs::read_dir(here).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(name == "main" || main.contains(&format!("\nmod {name};\n")), "{name} is not listed in main.rs");
    }
}
