//! The options, group by group: the table itself.

mod mount;
mod shown;

use mica_union::fuse::{Passthrough, Transport};

use super::{Known, Take, number, one_of, seconds, switch_or_on};
use mount::MOUNT;
use shown::{DIRECTORIES, OWNERS, TREE};

/// Options that belong together.
pub(crate) struct Group {
    /// Its heading in help and in the man page.
    pub(crate) title: &'static str,
    /// What is in it.
    pub(crate) options: &'static [Known],
}

/// Every option there is.
pub(crate) const GROUPS: &[Group] = &[
    Group { title: "Directories", options: DIRECTORIES },
    Group { title: "Owners", options: OWNERS },
    Group { title: "The tree", options: TREE },
    Group { title: "The mount", options: MOUNT },
    Group { title: "The server", options: SERVER },
    Group { title: "Known, and without meaning here", options: NOTHING },
    Group { title: "Refused", options: REFUSED },
];

const SERVER: &[Known] = &[
    Known {
        names: &["transport"],
        value: "=auto|device|ring",
        help: "How requests reach the server: by reading /dev/fuse, or by io_uring (Linux 6.14, where the machine has it on). `auto` takes what works.",
        take: Take::Value(|asked, value| {
            let words = [("auto", Transport::Auto), ("device", Transport::Device), ("ring", Transport::Ring)];
            asked.server.transport = one_of(value, &words)?;
            Ok(())
        }),
    },
    Known {
        names: &["passthrough"],
        value: "=auto|off",
        help: "`auto`: the kernel reads and writes files of the upper without the server where it may (Linux 6.9, as root of the machine).",
        take: Take::Value(|asked, value| {
            asked.server.passthrough = one_of(value, &[("auto", Passthrough::Auto), ("off", Passthrough::Off)])?;
            Ok(())
        }),
    },
    Known {
        names: &["writeback"],
        value: "=auto|0|1",
        help: "Whether the kernel gathers small writes. With it there is no passthrough.",
        take: Take::Value(|asked, value| {
            asked.server.writeback = one_of(
                value,
                &[("auto", None), ("0", Some(false)), ("1", Some(true)), ("off", Some(false)), ("on", Some(true))],
            )?;
            Ok(())
        }),
    },
    Known {
        names: &["timeout", "entry_timeout", "attr_timeout"],
        value: "=SECONDS",
        help: "How long the kernel keeps names and attributes before it asks again. If nothing is said, as long as nothing changes: the server \
               is the only one who writes. Say 0 to 1 where the directories are changed beside the mount.",
        take: Take::Value(|asked, value| {
            asked.server.timeout = Some(seconds(value)?);
            Ok(())
        }),
    },
    Known {
        names: &["threads", "max_threads"],
        value: "=N",
        help: "How many threads serve; one for each processor if nothing is said.",
        take: Take::Value(|asked, value| {
            let threads = number(value)?;
            if threads == 0 {
                return Err("a server has one thread at least".to_owned());
            }
            asked.server.threads = Some(threads);
            Ok(())
        }),
    },
    Known {
        names: &["threaded"],
        value: "[=0|1]",
        help: "`threaded=0` is `threads=1`.",
        take: Take::Either(|asked, value| {
            asked.server.threads = if switch_or_on(value)? { None } else { Some(1) };
            Ok(())
        }),
    },
    Known {
        names: &["debug"],
        value: "",
        help: "Stay in the foreground, and say on standard error what is agreed with the kernel.",
        take: Take::Flag(|asked| asked.server.is_debug = true),
    },
];

/// What mount(8), libfuse, fuse-overlayfs or overlayfs know and what is always so, or of no meaning, in this union.
const NOTHING: &[Known] = &[
    nothing(&["default_permissions"], "The kernel checks permissions, always."),
    nothing(&["xino"], "Inode numbers are stable, and unique in the mount, always."),
    nothing(&["index", "nfs_export"], "Hard links stay linked, and file handles stay valid, always."),
    nothing(
        &["uuid", "override_creds", "nooverride_creds", "fast_ino"],
        "They choose between ways that other unions have.",
    ),
    nothing(
        &[
            "clone_fd",
            "max_idle_threads",
            "idle_threads",
            "max_read",
            "max_background",
            "congestion_threshold",
            "big_writes",
            "splice_read",
            "splice_write",
            "splice_move",
        ],
        "The transport sees to it.",
    ),
    nothing(
        &[
            "kernel_cache",
            "auto_cache",
            "noauto_cache",
            "negative_timeout",
            "ac_attr_timeout",
            "use_ino",
            "readdir_ino",
            "hard_remove",
            "nonempty",
            "auto_unmount",
        ],
        "They are switches of libfuse for what is right here by itself. A server that ends takes its mount with it when it can.",
    ),
    nothing(
        &[
            "defaults",
            "auto",
            "noauto",
            "user",
            "nouser",
            "users",
            "nousers",
            "owner",
            "noowner",
            "group",
            "nogroup",
            "_netdev",
            "nofail",
            "comment",
            "helper",
            "uhelper",
            "silent",
            "loud",
            "mand",
            "nomand",
            "lazytime",
            "nolazytime",
            "iversion",
            "noiversion",
        ],
        "They are for mount(8), or for other file systems. What begins with `x-` or `X-` is passed over, too.",
    ),
    nothing(
        &["user_id", "group_id"],
        "They stand in the table of mounts, from where mount(8) has them when it remounts.",
    ),
];

const fn nothing(names: &'static [&'static str], help: &'static str) -> Known {
    Known { names, value: "", help, take: Take::Nothing }
}

const REFUSED: &[Known] = &[
    refused(&["plugins"], "there are no plugins; layers that a plugin would fetch have to be there as directories"),
    refused(&["datadir+"], "layers of data alone are not there"),
    Known {
        names: &["verity"],
        value: "=off",
        help: "digests of fs-verity are not checked",
        take: Take::Value(|_, value| {
            one_of(value, &[("off", ())]).map_err(|_| "digests of fs-verity are not checked".to_owned())
        }),
    },
    refused(&["bind", "rbind", "move"], "it is for mount(8) itself, not for a file system"),
    refused(&["fd", "rootmode"], "the mount is made by this program, not for it"),
    refused(
        &["uid", "gid", "umask", "modules", "subdir", "from_code", "to_code", "noforget", "intr", "direct_io"],
        "the union has its own way: see `squash_to_uid`, `squash_to_gid` and `timeout`",
    ),
];

const fn refused(names: &'static [&'static str], why: &'static str) -> Known {
    Known { names, value: "", help: why, take: Take::Refused(why) }
}
