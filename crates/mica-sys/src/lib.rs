//! The kernel, behind types that cannot be misused; and the fault door.
//!
//! This is the only room with `unsafe` in it. A wrapper is mechanism: it names the call and what it was asked of in every
//! error, takes and gives owned or borrowed descriptors, and leaves it to the caller what `EPERM` means. Every call that
//! changes the disk passes [`fault`] first, so that tests can stop the program at each.

pub mod dir;
pub mod error;
pub mod fault;
pub mod file;
pub mod fuse;
pub mod heap;
pub mod lock;
pub mod mmap;
pub mod mount;
pub mod process;
mod raw;
pub mod stat;
mod subject;
mod times;
mod xattr;

pub use dir::{Dir, DirEntry};
pub use error::SysError;
pub use file::{Access, ExtendedFlags, File, Looked};
pub use lock::Lock;
pub use mmap::Mapping;
pub use rustix::io::Errno;
pub use stat::{FileKind, Metadata, Time};
pub use subject::Subject;
pub use times::SetTime;
pub use xattr::SetXattr;
