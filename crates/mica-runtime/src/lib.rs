//! A process in a root file system of its own: what `run` and `start` need of the kernel, and nothing of images or stores.
//!
//! The caller hands over a runtime-spec [`Spec`](oci_spec::runtime::Spec) and the root as a detached mount. Three processes
//! take part:
//!
//! ```text
//! caller ──clone, exec /proc/self/exe──► init (process 1 of the container) ──fork──► command
//!    ▲                                     puts the root together, then forwards       becomes the program
//!    └────── control socket: failures, ──── signals, reaps, and reports the end
//!            terminal, end
//! ```
//!
//! The caller's binary is its own init: `main` must ask [`is_child`] before anything else and return what [`child_main`] returns.
//!
//! What holds:
//! - Nothing is mounted in the caller's namespace, and nothing in the container's leaks into it: every mount there is private.
//! - The container does not outlive the caller. Init dies with the thread that started it, and with init, all.
//! - No path inside the root is followed out of it: each is resolved by `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)`.
//! - No device node that the container makes can be opened. There is no device control group yet, so every mount is `nodev`,
//!   save single mounts of the nodes that the container was given, unless a mount's options say `dev`.
//! - The caller's binary cannot be written from inside (CVE-2019-5736): init runs it through a read-only mount of that one file, and is
//!   not dumpable.
//! - What a spec asks for and this does not do yet is refused by name, never passed over ([`RuntimeError::Unsupported`]).
//!
//! The caller may be root of a user namespace of its own, as an ordinary user's commands are. The kernel grants less there, and this stands
//! in for what every container expects:
//! - device nodes cannot be made: the machine's are mounted one by one;
//! - a new sysfs wants a network namespace of the same owner: otherwise the machine's `/sys` is shown, read-only;
//! - a group of terminals and supplementary groups that are not mapped are left out; a user that is not mapped is refused
//!   ([`RuntimeError::NotMapped`]);
//! - a control group hierarchy that cannot be mounted is left out.
#![forbid(unsafe_code)]

mod caps;
mod cgroup;
mod child;
mod command;
mod devices;
mod error;
mod exe;
mod ids;
mod init;
mod launch;
mod masks;
mod mounts;
mod options;
mod relay;
mod root;
mod rootfs;
mod spec;
mod supported;
pub mod users;
mod wire;

pub use child::{CHILD_ARG, child_main, is_child};
pub use error::{Cause, RuntimeError, Step};
pub use launch::{Container, Exit, Launch, Stdio, run, start};
pub use spec::{DEFAULT_PATH, Network, default_spec, set_user};
