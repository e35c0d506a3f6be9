//! Plans carried out on real directories, and what shows then.
//!
//! * [`disk`]: an upper and lowers, read by path with [`core::plan::Union`](mica_core::plan::Union).
//! * [`seen`]: what shows, as a value; of a union, or of a plain directory, which the kernel's overlayfs may be mounted on.
//! * [`act`]: operations by path, done on a plain directory or planned and carried out.
//! * [`named`], [`opening`]: one promise each.
//! * [`machine`]: random operations, stopped at each change of the disk, judged by a plain directory and by overlayfs.

mod act;
mod disk;
mod machine;
mod named;
mod opening;
mod seen;
