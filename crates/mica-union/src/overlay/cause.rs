//! What is wrong with a stack that overlayfs refuses.
//!
//! The kernel writes most of its reasons to its own log and answers `EINVAL`; what it checks is checked here again,
//! after the fact, so that the user hears of it.

use mica_sys::Errno;
use mica_sys::mount::{FileSystem, MountError, file_system, mount_id};
use mica_sys::process::{Caps, effective_caps, effective_uid, in_initial_user_namespace};

use super::layers::{Layer, Layers};

/// A known reason for a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The process may not mount.
    NotPermitted,
    /// The process is root of the machine without the right to mount, and so in no user namespace where it had that.
    RootWithoutRights,
    /// The kernel has no overlayfs.
    NoOverlayfs,
    /// The kernel's overlayfs does not take layers one by one.
    OldKernel,
    /// The upper is on overlayfs, or on another file system that cannot be one.
    UpperOnOverlay,
    /// The upper is on a file system that is mounted read-only.
    UpperReadOnly,
    /// The work directory is not on the upper's mount.
    WorkElsewhere,
    /// The work directory lies in the upper or the upper in it.
    WorkOverlaps,
    /// The upper was mounted `volatile` before.
    WasVolatile,
    /// One layer lies inside another.
    LayersOverlap,
    /// The upper or work directory is in use by another union.
    InUse,
    /// A lower is itself an overlay of overlays.
    TooDeep,
    /// A lower is on a file system that overlayfs does not take.
    LowerUnsuitable,
}

impl Cause {
    /// What to tell the user.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::NotPermitted => "mounting needs root, or a user namespace (Linux 5.11)",
            Self::RootWithoutRights => {
                "this root has no right to mount (CAP_SYS_ADMIN), and works on a store of root's; with a store of its own, named by --root, it enters a user namespace"
            }
            Self::NoOverlayfs => "this kernel has no overlayfs; try `modprobe overlay`",
            Self::OldKernel => "taking layers one by one needs Linux 6.8",
            Self::UpperOnOverlay => {
                "overlayfs cannot write to a directory that is on overlayfs itself; keep the store on another file system"
            }
            Self::UpperReadOnly => "the file system of the upper directory is mounted read-only",
            Self::WorkElsewhere => "the upper and the work directory must be on the same mount",
            Self::WorkOverlaps => "the upper and the work directory must not be inside each other",
            Self::WasVolatile => {
                "the upper was mounted without syncing before; its content may be incomplete and must be thrown away"
            }
            Self::LayersOverlap => "one of the layers lies inside another",
            Self::InUse => "the upper or work directory is in use by another union",
            Self::TooDeep => "overlayfs can be stacked on itself only once",
            Self::LowerUnsuitable => "overlayfs cannot show a directory of this file system",
        }
    }
}

/// A reason that the call alone tells.
pub(super) fn of_call(refused: &MountError) -> Option<Cause> {
    let error = refused.error();
    match (error.call(), error.errno()) {
        (_, Errno::PERM | Errno::ACCESS) if is_root_without_rights() => Some(Cause::RootWithoutRights),
        (_, Errno::PERM | Errno::ACCESS) => Some(Cause::NotPermitted),
        ("fsopen", Errno::NODEV) => Some(Cause::NoOverlayfs),
        (_, Errno::LOOP) => Some(Cause::LayersOverlap),
        (_, Errno::BUSY) => Some(Cause::InUse),
        _ => None,
    }
}

fn is_root_without_rights() -> bool {
    effective_uid() == 0
        && in_initial_user_namespace().unwrap_or(false)
        && effective_caps().is_ok_and(|caps| !caps.has(Caps::SYS_ADMIN))
}

/// Why a layer by itself was not taken.
pub(super) fn of_layer(layer: &Layer, refused: &MountError) -> Option<Cause> {
    let unknown = refused.said().iter().any(|line| line.contains("Unknown parameter"));
    if unknown && refused.error().subject().ends_with(b"lowerdir+") {
        return Some(Cause::OldKernel);
    }
    let said_unsuitable = refused.said().iter().any(|line| line.contains("not supported"));
    match layer.role {
        crate::Role::Upper | crate::Role::Work => of_upper(layer).or_else(|| of_call(refused)),
        _ if said_unsuitable => Some(Cause::LowerUnsuitable),
        _ => of_call(refused),
    }
}

/// Why the layers together were not taken.
pub(super) fn of_stack(layers: &Layers, refused: &MountError) -> Option<Cause> {
    if let Some(cause) = of_call(refused) {
        return Some(cause);
    }
    if let Some((upper, work)) = &layers.upper
        && let Some(cause) = of_upper(upper).or_else(|| of_work(upper, work))
    {
        return Some(cause);
    }
    let found: Vec<FileSystem> = layers.lowers.iter().filter_map(|layer| file_system(&layer.dir).ok()).collect();
    if found.iter().any(|on| on.magic == PROC) {
        Some(Cause::LowerUnsuitable)
    } else {
        found.iter().any(|on| on.is_overlay()).then_some(Cause::TooDeep)
    }
}

/// The type of procfs, on which nothing may be stacked.
const PROC: u64 = 0x9fa0;

fn of_upper(upper: &Layer) -> Option<Cause> {
    let on = file_system(&upper.dir).ok()?;
    if on.is_overlay() {
        Some(Cause::UpperOnOverlay)
    } else if on.read_only {
        Some(Cause::UpperReadOnly)
    } else {
        None
    }
}

fn of_work(upper: &Layer, work: &Layer) -> Option<Cause> {
    if work.dir.open_dir_if_there(b"work/incompat/volatile").ok()?.is_some() {
        return Some(Cause::WasVolatile);
    }
    let paths = (upper.path.as_path(), work.path.as_path());
    if paths.1.starts_with(paths.0) || paths.0.starts_with(paths.1) {
        return Some(Cause::WorkOverlaps);
    }
    let mounts = (mount_id(&upper.dir).ok()?, mount_id(&work.dir).ok()?);
    (mounts.0 != mounts.1).then_some(Cause::WorkElsewhere)
}
