//! Options of the mount: who may use it, what the kernel does with it, how it stands in the table of mounts.

use mica_sys::mount::{MountAttrFlags, Propagation};

use super::super::{Known, Take, Value};
use crate::asked::{Asked, OpenTo};

pub(super) const MOUNT: &[Known] = &[
    Known {
        names: &["allow_other"],
        value: "",
        help: "Every user may use the mount. It is so as root; an ordinary user may ask for it where /etc/fuse.conf has `user_allow_other`.",
        take: Take::Flag(|asked| asked.mount.open_to = OpenTo::Everyone),
    },
    Known {
        names: &["allow_root"],
        value: "",
        help: "As root: nobody else may use the mount.",
        take: Take::Flag(|asked| asked.mount.open_to = OpenTo::Root),
    },
    Known {
        names: &["fsname", "source"],
        value: "=NAME",
        help: "What the table of mounts names as the source; `mica` if nothing is said.",
        take: Take::Value(|asked, value| {
            asked.mount.name = Some(value.bytes());
            Ok(())
        }),
    },
    Known {
        names: &["subtype"],
        value: "=NAME",
        help: "The type in the table of mounts, after `fuse.`; `mica` if nothing is said.",
        take: Take::Value(|asked, value| {
            asked.mount.subtype = value.bytes();
            Ok(())
        }),
    },
    Known {
        names: &["dev"],
        value: "",
        help: "Device nodes can be opened.",
        take: Take::Flag(|asked| asked.mount.attrs -= MountAttrFlags::MOUNT_ATTR_NODEV),
    },
    Known {
        names: &["nodev"],
        value: "",
        help: "They cannot. It is so if nothing is said.",
        take: Take::Flag(|asked| asked.mount.attrs |= MountAttrFlags::MOUNT_ATTR_NODEV),
    },
    Known {
        names: &["suid"],
        value: "",
        help: "Set-uid and set-gid bits and file capabilities have effect.",
        take: Take::Flag(|asked| asked.mount.attrs -= MountAttrFlags::MOUNT_ATTR_NOSUID),
    },
    Known {
        names: &["nosuid"],
        value: "",
        help: "They have none.",
        take: Take::Flag(|asked| asked.mount.attrs |= MountAttrFlags::MOUNT_ATTR_NOSUID),
    },
    Known {
        names: &["exec"],
        value: "",
        help: "Programs can be executed.",
        take: Take::Flag(|asked| asked.mount.attrs -= MountAttrFlags::MOUNT_ATTR_NOEXEC),
    },
    Known {
        names: &["noexec"],
        value: "",
        help: "They cannot.",
        take: Take::Flag(|asked| asked.mount.attrs |= MountAttrFlags::MOUNT_ATTR_NOEXEC),
    },
    Known {
        names: &["symfollow"],
        value: "",
        help: "Symlinks are followed.",
        take: Take::Flag(|asked| asked.mount.attrs -= MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
    },
    Known {
        names: &["nosymfollow"],
        value: "",
        help: "They are not.",
        take: Take::Flag(|asked| asked.mount.attrs |= MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
    },
    Known {
        names: &["relatime", "atime", "norelatime", "nostrictatime"],
        value: "",
        help: "Access times are kept as mount(8) says.",
        take: Take::Flag(|asked| access_times(asked, MountAttrFlags::empty())),
    },
    Known {
        names: &["noatime"],
        value: "",
        help: "They are not kept.",
        take: Take::Flag(|asked| access_times(asked, MountAttrFlags::MOUNT_ATTR_NOATIME)),
    },
    Known {
        names: &["strictatime"],
        value: "",
        help: "They are kept at each access.",
        take: Take::Flag(|asked| access_times(asked, MountAttrFlags::MOUNT_ATTR_STRICTATIME)),
    },
    Known {
        names: &["nodiratime"],
        value: "",
        help: "They are not kept of directories.",
        take: Take::Flag(|asked| asked.mount.attrs |= MountAttrFlags::MOUNT_ATTR_NODIRATIME),
    },
    Known {
        names: &["diratime"],
        value: "",
        help: "They are.",
        take: Take::Flag(|asked| asked.mount.attrs -= MountAttrFlags::MOUNT_ATTR_NODIRATIME),
    },
    Known {
        names: &["sync"],
        value: "",
        help: "Every write is on disk when it returns.",
        take: Take::Flag(|asked| asked.mount.is_sync = true),
    },
    Known {
        names: &["async"],
        value: "",
        help: "The opposite.",
        take: Take::Flag(|asked| asked.mount.is_sync = false),
    },
    Known {
        names: &["dirsync"],
        value: "",
        help: "Every change of a directory is.",
        take: Take::Flag(|asked| asked.mount.is_dirsync = true),
    },
    Known {
        names: &["private"],
        value: "",
        help: "Mounts below it are seen in this namespace alone. Likewise `rprivate`, `shared`, `rshared`, `slave`, `rslave`, `unbindable` and `runbindable`.",
        take: Take::Flag(|asked| asked.mount.propagation = Some((Propagation::Private, false))),
    },
    Known {
        names: &["rprivate"],
        value: "",
        help: "",
        take: Take::Flag(|asked| asked.mount.propagation = Some((Propagation::Private, true))),
    },
    Known {
        names: &["shared"],
        value: "",
        help: "",
        take: Take::Flag(|asked| asked.mount.propagation = Some((Propagation::Shared, false))),
    },
    Known {
        names: &["rshared"],
        value: "",
        help: "",
        take: Take::Flag(|asked| asked.mount.propagation = Some((Propagation::Shared, true))),
    },
    Known {
        names: &["slave"],
        value: "",
        help: "",
        take: Take::Flag(|asked| asked.mount.propagation = Some((Propagation::Downstream, false))),
    },
    Known {
        names: &["rslave"],
        value: "",
        help: "",
        take: Take::Flag(|asked| asked.mount.propagation = Some((Propagation::Downstream, true))),
    },
    Known {
        names: &["unbindable"],
        value: "",
        help: "",
        take: Take::Flag(|asked| asked.mount.propagation = Some((Propagation::Unbindable, false))),
    },
    Known {
        names: &["runbindable"],
        value: "",
        help: "",
        take: Take::Flag(|asked| asked.mount.propagation = Some((Propagation::Unbindable, true))),
    },
    Known {
        names: &["context"],
        value: "=CONTEXT",
        help: "The SELinux context of everything; likewise `fscontext`, `defcontext` and `rootcontext`. Passed over where SELinux is off.",
        take: Take::Value(|asked, value| context(asked, "context", value)),
    },
    Known {
        names: &["fscontext"],
        value: "=CONTEXT",
        help: "",
        take: Take::Value(|asked, value| context(asked, "fscontext", value)),
    },
    Known {
        names: &["defcontext"],
        value: "=CONTEXT",
        help: "",
        take: Take::Value(|asked, value| context(asked, "defcontext", value)),
    },
    Known {
        names: &["rootcontext"],
        value: "=CONTEXT",
        help: "",
        take: Take::Value(|asked, value| context(asked, "rootcontext", value)),
    },
    Known {
        names: &["remount"],
        value: "",
        help: "Change the attributes of a mount that is there; its directories stay what they are.",
        take: Take::Flag(|asked| asked.mount.is_remount = true),
    },
];

/// Sets how access times are kept; those of directories are left as they were asked for.
fn access_times(asked: &mut Asked, how: MountAttrFlags) {
    asked.mount.attrs -= MountAttrFlags::MOUNT_ATTR__ATIME;
    asked.mount.attrs |= how;
}

fn context(asked: &mut Asked, name: &'static str, value: &Value) -> Result<(), String> {
    asked.mount.contexts.retain(|(other, _)| *other != name);
    asked.mount.contexts.push((name, value.bytes()));
    Ok(())
}
