//! The driver suite, once for each driver and kind of marks.

use mica_core::plan::Features;
use mica_layer::Marks;
use mica_testkit::driver_suite::{driver_suite, hand_over_suite};
use mica_testkit::{Scratch, needs};
use mica_union::fuse::{Fuse, Options, Passthrough};
use mica_union::{Flat, Overlay, UnionDirs};

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

#[test]
fn what_overlay_wrote_flat_reads_and_writes_on() {
    needs!(root, overlay);
    hand_over_suite(&Overlay::new(), &Flat::new(), Marks::Trusted);
}

#[test]
fn what_flat_wrote_overlay_reads_and_writes_on() {
    needs!(root, overlay);
    hand_over_suite(&Flat::new(), &Overlay::new(), Marks::Trusted);
}

#[test]
fn both_hand_over_with_user_marks() {
    needs!(root, userxattr);
    hand_over_suite(&Overlay::new(), &Flat::new(), Marks::User);
    hand_over_suite(&Flat::new(), &Overlay::new(), Marks::User);
}

/// Without redirects, which neither the overlay driver nor the flat one follows in an upper.
fn basic() -> Fuse {
    let options = Options { features: Features::Basic, ..Options::new(UnionDirs::default()) };
    Fuse::in_process().with_options(options)
}

/// Content by the page cache of the mount alone, as where nothing may be handed to the kernel.
fn cached() -> Fuse {
    let options = Options { passthrough: Passthrough::Off, ..Options::new(UnionDirs::default()) };
    Fuse::in_process().with_options(options)
}

#[test]
fn fuse_passes_with_trusted_marks() {
    needs!(root, fuse);
    driver_suite(&Fuse::in_process(), Marks::Trusted);
}

#[test]
fn fuse_passes_without_passthrough() {
    needs!(root, fuse);
    driver_suite(&cached(), Marks::Trusted);
}

#[test]
fn fuse_passes_with_user_marks() {
    needs!(root, fuse);
    driver_suite(&Fuse::in_process(), Marks::User);
}

#[test]
fn overlay_and_fuse_hand_over() {
    needs!(root, fuse, overlay);
    hand_over_suite(&Overlay::new(), &basic(), Marks::Trusted);
    hand_over_suite(&basic(), &Overlay::new(), Marks::Trusted);
}

#[test]
fn flat_and_fuse_hand_over() {
    needs!(root, fuse);
    hand_over_suite(&Flat::new(), &basic(), Marks::Trusted);
    hand_over_suite(&basic(), &Flat::new(), Marks::Trusted);
}
