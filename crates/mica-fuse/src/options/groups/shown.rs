//! Options of what is shown: directories, owners, the tree.

use std::path::PathBuf;

use mica_union::{Marks, Records};

use super::super::{Known, Take, Value, id, map, one_of, switch, switch_or_on};
use crate::asked::Whiteouts;

pub(super) const DIRECTORIES: &[Known] = &[
    Known {
        names: &["lowerdir"],
        value: "=DIR[:DIR...]",
        help: "Directories that are shown and never written to, topmost first. Needed. May be given several times: later ones are below. \
               A colon in a path is written \\:, a comma \\, and a backslash \\\\.",
        take: Take::Value(|asked, value| {
            let paths = value.paths();
            if paths.iter().any(|path| path.as_os_str().is_empty()) {
                return Err("an empty path in the list, and layers of data alone (`::`) are not there".to_owned());
            }
            asked.lowers.extend(paths);
            Ok(())
        }),
    },
    Known {
        names: &["lowerdir+"],
        value: "=DIR",
        help: "One more lower below those before it; a colon stands for itself.",
        take: Take::Value(|asked, value| {
            asked.lowers.push(place(value)?);
            Ok(())
        }),
    },
    Known {
        names: &["upperdir"],
        value: "=DIR",
        help: "Where everything that changes is written. Without one, the union is read-only.",
        take: Take::Value(|asked, value| {
            asked.upper = Some(place(value)?);
            Ok(())
        }),
    },
    Known {
        names: &["workdir"],
        value: "=DIR",
        help: "A directory that the union works in, on the file system of the upper. Needed with an upper.",
        take: Take::Value(|asked, value| {
            asked.work = Some(place(value)?);
            Ok(())
        }),
    },
];

pub(super) const OWNERS: &[Known] = &[
    Known {
        names: &["uidmapping"],
        value: "=DISK:VIEW:COUNT[:...]",
        help: "Users from DISK on in the layers show as those from VIEW on, and what VIEW makes is DISK's in the upper. \
               A user of no range shows as the overflow id, and files that they make are the overflow id's; nothing can be given to them.",
        take: Take::Value(|asked, value| {
            asked.owners.ids.uids = map(value)?;
            Ok(())
        }),
    },
    Known {
        names: &["gidmapping"],
        value: "=DISK:VIEW:COUNT[:...]",
        help: "The same for groups.",
        take: Take::Value(|asked, value| {
            asked.owners.ids.gids = map(value)?;
            Ok(())
        }),
    },
    Known {
        names: &["squash_to_root"],
        value: "",
        help: "Everything shows as root's.",
        take: Take::Flag(|asked| asked.owners.squash_to_root = true),
    },
    Known {
        names: &["squash_to_uid"],
        value: "=UID",
        help: "Everything shows as this user's. Counts before `squash_to_root` and `uidmapping`.",
        take: Take::Value(|asked, value| {
            asked.owners.ids.squash.uid = Some(id(value)?);
            Ok(())
        }),
    },
    Known {
        names: &["squash_to_gid"],
        value: "=GID",
        help: "The same for the group.",
        take: Take::Value(|asked, value| {
            asked.owners.ids.squash.gid = Some(id(value)?);
            Ok(())
        }),
    },
    Known {
        names: &["xattr_permissions"],
        value: "=0|1|2",
        help: "0: owners and modes stand in the files themselves. 2: in the attribute `user.containers.override_stat` of each regular file and directory, as podman \
               writes layers with `force_mask`; on disk all are the server's. 1: in `security.fuseoverlayfs.override_stat`, which only root of the machine \
               can set. With either there are no access control lists.",
        take: Take::Value(|asked, value| {
            asked.view.records =
                one_of(value, &[("0", Records::None), ("1", Records::Security), ("2", Records::User)])?;
            Ok(())
        }),
    },
];

pub(super) const TREE: &[Known] = &[
    Known {
        names: &["ro"],
        value: "",
        help: "Nothing can be written.",
        take: Take::Flag(|asked| asked.view.is_read_only = true),
    },
    Known {
        names: &["rw"],
        value: "",
        help: "The opposite.",
        take: Take::Flag(|asked| asked.view.is_read_only = false),
    },
    Known {
        names: &["noacl"],
        value: "",
        help: "Access control lists are neither shown nor obeyed.",
        take: Take::Flag(|asked| asked.view.has_acls = false),
    },
    Known { names: &["acl"], value: "", help: "They are.", take: Take::Flag(|asked| asked.view.has_acls = true) },
    Known {
        names: &["noxattrs"],
        value: "[=0|1]",
        help: "No extended attribute is shown or can be set.",
        take: Take::Either(|asked, value| {
            asked.view.has_xattrs = !switch_or_on(value)?;
            Ok(())
        }),
    },
    Known {
        names: &["static_nlink"],
        value: "",
        help: "Every directory has one link, so that nothing needs to be counted.",
        take: Take::Flag(|asked| asked.view.has_static_links = true),
    },
    Known {
        names: &["volatile"],
        value: "",
        help: "No sync reaches the disk: for what is thrown away in the end.",
        take: Take::Flag(|asked| asked.view.is_volatile = true),
    },
    Known {
        names: &["fsync"],
        value: "=0|1",
        help: "`fsync=0` is `volatile`.",
        take: Take::Value(|asked, value| {
            asked.view.is_volatile = !one_of(
                value,
                &[
                    ("0", false),
                    ("1", true),
                    ("off", false),
                    ("on", true),
                    ("volatile", false),
                    ("strict", true),
                    ("auto", true),
                ],
            )?;
            Ok(())
        }),
    },
    Known {
        names: &["redirect_dir"],
        value: "=on|off|follow|nofollow",
        help: "`on`: a directory of a lower is renamed by a note in the upper. Otherwise that is EXDEV, which mv(1) answers by copying, and \
               the upper can be read by fuse-overlayfs and by any overlayfs. Notes that are there are followed always.",
        take: Take::Value(|asked, value| {
            asked.view.writes_redirects =
                one_of(value, &[("on", true), ("off", false), ("follow", false), ("nofollow", false)])?;
            Ok(())
        }),
    },
    Known {
        names: &["metacopy"],
        value: "=on|off",
        help: "`on`: chmod and chown of a file of a lower do not copy what is in it. An upper with such files leads below as one with notes of directories \
               does: `off` for one of `metacopy` and `redirect_dir` is `off` for both.",
        take: Take::Value(|asked, value| {
            asked.view.writes_metacopies = switch(value)?;
            Ok(())
        }),
    },
    Known {
        names: &["marks"],
        value: "=auto|trusted|user",
        help: "Whether what the upper says of itself stands in attributes `trusted.overlay.*`, which only root of the machine can have, or in \
               `user.overlay.*`. `auto` is `trusted` where that can be.",
        take: Take::Value(|asked, value| {
            asked.view.marks =
                one_of(value, &[("auto", None), ("trusted", Some(Marks::Trusted)), ("user", Some(Marks::User))])?;
            Ok(())
        }),
    },
    Known {
        names: &["userxattr"],
        value: "",
        help: "`marks=user`, as the kernel's overlayfs calls it.",
        take: Take::Flag(|asked| asked.view.marks = Some(Marks::User)),
    },
    Known {
        names: &["whiteouts"],
        value: "=both|kernel",
        help: "`both`: in lowers, a file `.wh.NAME` says that NAME is gone, as podman writes it for a mount program, besides the \
               kernel's character device 0:0; and an upper that fuse-overlayfs wrote is taken over at its first mount. `kernel`: such a name is a name as \
               any other. In an upper of ours it always is.",
        take: Take::Value(|asked, value| {
            asked.view.whiteouts = one_of(value, &[("both", Whiteouts::Both), ("kernel", Whiteouts::Kernel)])?;
            Ok(())
        }),
    },
];

/// A path that is not empty.
fn place(value: &Value) -> Result<PathBuf, String> {
    let path = value.path();
    if path.as_os_str().is_empty() { Err("a path is missing".to_owned()) } else { Ok(path) }
}
