//! The driver suite, once for each driver and kind of marks.

use mica_layer::Marks;
use mica_testkit::driver_suite::driver_suite;
use mica_testkit::{Scratch, needs};
use mica_union::{Flat, Overlay};

#[test]
fn overlay_passes_with_trusted_marks() {
    needs!(root, overlay);
    driver_suite(&Overlay::new(), Marks::Trusted);
}

#[test]
fn overlay_passes_with_user_marks() {
    needs!(root, userxattr);
    driver_suite(&Overlay::new(), Marks::User);
}

#[test]
fn overlay_passes_with_an_empty_directory_of_the_callers() {
    needs!(root, overlay);
    let scratch = Scratch::new();
    driver_suite(&Overlay::new().with_empty_dir(scratch.make("empty")), Marks::Trusted);
}

#[test]
fn flat_passes_with_trusted_marks() {
    needs!(root);
    driver_suite(&Flat::new(), Marks::Trusted);
}

#[test]
fn flat_passes_with_user_marks() {
    needs!(root);
    driver_suite(&Flat::new(), Marks::User);
}
