//! `unshare`: a command in the namespace that an ordinary user's store is worked on in.

use clap::Args;

/// Run a command, or a shell, in a user namespace where you are root of your own files.
///
/// An ordinary user may not mount, nor touch files of other owners. So every mica command of one first enters a user namespace: it is root
/// there, its user ID stands as 0, and the ranges that /etc/subuid and /etc/subgid give it stand behind that. What such a command mounts
/// ends with it. `unshare` runs one command in such a namespace, so that mounts stay and files keep the owners they have in
/// containers, for as long as it runs; other mica commands inside of it work in the same namespace.
///
/// Without a command it is $SHELL. Nothing outside becomes yours by this: on other people's files you are who you were.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mica unshare                                a shell; exit leaves the namespace\n  \
                        mica unshare sh -c 'ls $(mica mount box)'   look into a container's tree\n  \
                        mica unshare cat /proc/self/uid_map         which IDs stand as which\n  \
                        mica unshare rm -rf ~/.local/share/mica     remove a store, whosever files are in it\n\n\
                        Exit status: the command's own; 126 when it cannot be invoked, 127 when it is not found."
)]
pub(crate) struct UnshareArgs {
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) command: Vec<std::ffi::OsString>,
}
