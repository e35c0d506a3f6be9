//! The protocol of `/dev/fuse`: bytes to [`Request`], [`Out`] to bytes.
//!
//! A message of the kernel is a header, one structure of the operation, names and bytes. [`Message`] finds these parts, wherever
//! they came from; [`Message::request`] makes a [`Request`] of them, whose names and data are borrowed. What does not hold together
//! is [`Malformed`] and gets an error as its answer: no bytes make this module panic, allocate, or read beyond what came.
//!
//! An answer is a header and what the operation asks for. [`Out`] writes the latter to where it is sent from.
//!
//! Spoken are versions 7.31 (Linux 5.4) to 7.45 (Linux 6.18); a newer kernel speaks 7.45 with us.

mod abi;
mod flags;
mod init;
mod names;
mod notice;
mod out;
mod piped;
mod request;
mod setattr;

pub use flags::{InitFlags, IoctlFlags, OpenedFlags, ReleaseFlags, RenameFlags, WriteFlags, XattrFlags};
pub use init::{Init, InitOffer, Wanted};
pub use names::{Listing, Names};
pub use notice::{Notice, NoticeHead};
pub use out::{Attr, Device, Entry, IoctlAnswer, Opened, Out, Reply, StatFs, Statx};
pub use piped::Piped;
pub use request::{Caller, Dialect, Forgets, Lock, Malformed, Mappings, Message, NAME_MAX, Request};
pub use setattr::{SetAttr, SetTime};

/// The node that is always there: the root.
pub const ROOT: u64 = 1;

/// The major version of the protocol.
pub const MAJOR: u32 = 7;

/// The newest minor version that is spoken.
pub const MINOR: u32 = 45;

/// The oldest minor version that is spoken: Linux 5.4.
pub const OLDEST_MINOR: u32 = 31;

/// Bytes before the body of a message from the device.
pub const IN_HEADER: usize = size_of::<abi::InHeader>();

/// Bytes before the body of an answer.
pub const OUT_HEADER: usize = size_of::<abi::OutHeader>();
