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
mod hostile;
mod kernel;
mod links;
mod pack;
mod peers;
mod shown;
mod support;
mod unpack;
mod unpacked;
mod writers;

#[test]
fn no_test_file_is_forgotten() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let main = std::fs::read_to_string(here.join("main.rs")).unwrap();
    for file in std::fs::read_dir(here).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(module == "main" || main.contains(&format!("mod {module};")), "{name} is in no `mod` of main.rs");
    }
}
