//! Every command as a real ordinary user: one to whom a range of ids belongs, and one with its own id alone.

use mica_testkit::{OrdinaryUser, in_mount_namespace};

use crate::common::Mica;

mod trying;

/// Does `test` as each of the two, in a mount namespace of its own.
fn as_both(test: impl Fn(Mica) + Sync) {
    in_mount_namespace(|| {
        for (which, user) in
            [("with a range", OrdinaryUser::with_range()), ("with one id", OrdinaryUser::without_range())]
        {
            eprintln!("as a user {which}:");
            test(Mica::of(user));
        }
    });
}
