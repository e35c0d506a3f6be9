//! What each subject scores in each suite. `docs/conformance.md` says why of every failure of ours.

use super::Suite;

/// A row of the table.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) suite: Suite,
    pub(super) subject: &'static str,
    /// As an ordinary user, root of a user namespace.
    pub(super) user: bool,
    pub(super) passed: usize,
    pub(super) failing: Failing,
    pub(super) skipped: usize,
}

/// What fails.
#[derive(Debug, Clone, Copy)]
pub(super) enum Failing {
    /// So many; of what others made, where the names would fill pages.
    Count(usize),
    /// So many, and all of them make a device, which the kernel lets nobody do in a user namespace.
    Devices(usize),
    /// Exactly these.
    These(&'static [&'static str]),
}

use Failing::{Count, Devices, These};

impl Failing {
    /// Whether a test of pjdfstest makes a device other than 0:0.
    pub(super) fn makes_device(test: &str) -> bool {
        test.ends_with("::block") || ["mknod::changed_times_success::char", "mknod::device_files::char"].contains(&test)
    }
}

const fn root(suite: Suite, subject: &'static str, passed: usize, failing: Failing, skipped: usize) -> Expected {
    Expected { suite, subject, user: false, passed, failing, skipped }
}

const fn user(suite: Suite, subject: &'static str, passed: usize, failing: Failing, skipped: usize) -> Expected {
    Expected { suite, subject, user: true, passed, failing, skipped }
}

/// stress-ng 0.15's own `io-uring` stressor fails on every union.
const IO_URING: Failing = These(&["io-uring"]);

/// What the kernel itself refuses in a user namespace.
const NOT_A_USERS: Failing =
    These(&["trusted_overlay_xattr_passes", "file_handle_survives_copyup", "chattr_flags_on_upper"]);

/// The stressors that the second transport has time for: many threads, many names, mappings, locks, descriptors that are passed on.
pub(super) const FEW_STRESSORS: [&str; 14] = [
    "aio",
    "chmod",
    "copy-file",
    "dentry",
    "dir",
    "fallocate",
    "getdent",
    "hdd",
    "link",
    "locka",
    "mmap",
    "rename",
    "seek",
    "utime",
];

/// The table. Linux 6.18, ext4, pjdfstest 0.2.2, stress-ng 0.15.
pub(super) const ALL: &[Expected] = &[
    root(Suite::Pjd, "mica", 390, These(&[]), 8),
    root(Suite::Pjd, "mica-ring", 390, These(&[]), 8),
    root(Suite::Copyup, "mica", 45, These(&[]), 0),
    root(Suite::Copyup, "mica-ring", 45, These(&[]), 0),
    root(Suite::Stress, "mica", 51, IO_URING, 5),
    root(Suite::Stress, "mica-ring", 51, IO_URING, 5),
    user(Suite::Pjd, "mica", 346, Devices(44), 8),
    user(Suite::Pjd, "mica-ring", 346, Devices(44), 8),
    user(Suite::Copyup, "mica", 42, NOT_A_USERS, 0),
    user(Suite::Copyup, "mica-ring", 42, NOT_A_USERS, 0),
    root(Suite::Pjd, "ext4", 391, These(&[]), 7),
    root(Suite::Copyup, "ext4", 45, These(&[]), 0),
    // Its own whiteout is the character device that pjdfstest makes.
    root(Suite::Pjd, "overlay", 350, Count(40), 8),
    root(
        Suite::Copyup,
        "overlay",
        37,
        These(&[
            "ro_mmap_sees_later_write",
            "private_mmap_after_unlink",
            "hard_links_survive_copyup",
            "rename_lower_dir",
            "mknod_char_0_0",
            "atime_update_on_lower_read",
            "rename_whiteout",
            "file_handle_survives_copyup",
        ]),
        0,
    ),
    root(Suite::Stress, "overlay", 52, IO_URING, 4),
    root(Suite::Pjd, "overlay-full", 350, Count(40), 8),
    root(Suite::Copyup, "overlay-full", 39, Count(6), 0),
    user(Suite::Pjd, "overlay", 306, Count(84), 8),
    user(Suite::Copyup, "overlay", 35, Count(10), 0),
    root(Suite::Pjd, "fuse-overlayfs", 341, Count(49), 8),
    root(Suite::Copyup, "fuse-overlayfs", 34, Count(11), 0),
    root(Suite::Stress, "fuse-overlayfs", 50, IO_URING, 6),
    user(Suite::Pjd, "fuse-overlayfs", 296, Count(94), 8),
    user(Suite::Copyup, "fuse-overlayfs", 32, Count(13), 0),
];

/// What is expected; `None` where it was never measured.
pub(super) fn of(suite: Suite, subject: &str, user: bool) -> Option<&'static Expected> {
    ALL.iter().find(|row| row.suite == suite && row.subject == subject && row.user == user)
}
