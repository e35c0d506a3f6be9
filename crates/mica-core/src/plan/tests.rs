//! The rules against a plain tree that never had layers.
//!
//! * [`disk`]: layers, an upper and `work` in memory, with the kernel's marks.
//! * [`carrier`]: carries plans out on it, one step at a time.
//! * [`reader`]: what shows, found as overlayfs finds it; it shares nothing with the rules or with [`super::Union`].
//! * [`plain`]: a tree with the operations of POSIX.
//! * [`every_place`], [`every_pair`]: all facts there are, all operations, a crash after each step.
//! * [`machine`]: random operations on random stacks, with commits, remounts and crashes.

mod carrier;
mod disk;
mod every_pair;
mod every_place;
mod machine;
mod named;
mod plain;
mod reader;
mod world;
