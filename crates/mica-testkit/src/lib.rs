//! What tests of every room share: trees as literals, proofs that nothing changed, gates, scratch places, suites.
//!
//! * [`tree!`] and [`Tree`]: a directory or a changeset as a value, compared whole.
//! * [`Snapshot`]: everything that stat(2) and the content say, to prove that a lower never changes.
//! * [`needs!`]: skips a test aloud where the machine cannot run it.
//! * [`Scratch`], [`LoopFs`], [`in_mount_namespace`]: places that clean up after themselves, mounts included.
//! * [`OrdinaryUser`]: somebody who is not root, for one test.
//! * [`debian_tar`], [`busybox_rootfs`]: what containers hold.
//! * [`FuseRings`]: FUSE over io_uring, turned on for one test.
//! * [`assert_no_test_file_is_forgotten`]: a file of tests that no `mod` names would never run.
//! * [`driver_suite`]: what every [`mica_union::Driver`] must show.
//! * [`differential`]: random operations, in every driver's union and in a plain directory.
//!
//! Everything here panics with the reason: a test that cannot go on has failed.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "this crate is linked into tests alone, where a panic is the way to fail"
)]

#[macro_use]
mod tree;

mod debian;
pub mod differential;
pub mod driver_suite;
pub mod gate;
mod ordinary_user;
mod place;
mod rings;
mod rootfs;
mod snapshot;
mod suite_files;

pub use debian::debian_tar;
pub use ordinary_user::OrdinaryUser;
pub use place::{LoopFs, Scratch, in_mount_namespace};
pub use rings::FuseRings;
pub use rootfs::busybox_rootfs;
pub use snapshot::Snapshot;
pub use suite_files::assert_no_test_file_is_forgotten;
pub use tree::{Entry, Tree, What};
