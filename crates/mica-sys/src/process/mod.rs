//! Processes: how one is made in new namespaces, what it may do, and how it is told and awaited.
//!
//! Every function here is a mechanism. The order in which a container is put together, and what a refusal by the kernel means,
//! is `mica-runtime`'s. Pids are the kernel's numbers; where one could be reused a pidfd stands for the process.

mod exec;
mod fs_ids;
mod id_map;
mod identity;
mod inside;
mod namespace;
mod poll;
mod processors;
mod pty;
mod signals;
mod socket;
mod spawn;
mod user_namespace;
mod wait;

pub use exec::{Fork, close_on_exec_from, exec, exit_now, fork, memory_file, redirect, sealed_copy, take_inherited};
pub use fs_ids::FsIds;
pub use id_map::{IdMaps, IdRow, id_maps, in_initial_user_namespace};
pub use identity::{
    CapSets, Caps, Limit, clear_ambient, drop_bounding, effective_caps, effective_gid, effective_uid, give_pipe,
    give_terminal, initial_caps_of, join_new_session_keyring, open_files_limit, raise_ambient, raise_limit, set_caps,
    set_dumpable, set_groups, set_ids, set_keep_caps, set_limit, set_no_new_privs, set_parent_death_signal, set_umask,
    umask, user_name,
};
pub use inside::{Missing, device_of, make_inside, metadata_of, open_inside, open_inside_no_links, open_place};
pub use namespace::{
    Namespaces, change_directory, join_namespace, loopback_up, pivot_into, set_domain_name, set_host_name,
    working_directory,
};
pub use poll::{Interest, Ready, poll};
pub use processors::{Affinity, proc_is_ours, processor_of};
pub use pty::{
    Pty, RawMode, WindowSize, is_terminal, make_controlling, new_session, open_pty, set_window_size, window_size,
};
pub use signals::{
    Caught, CaughtSignal, Signal, SignalFd, SignalMask, block_all, ignore, reset_dispositions, restore_mask,
    unblock_all,
};
pub use socket::{Control, Packet};
pub use spawn::{FIRST_FD, Spawn, Spawned, spawn};
pub use user_namespace::{
    EnterError, MapPrograms, NewMap, enter_user_namespace, has_no_new_privs, owns_mount_namespace,
};
pub use wait::{Ended, Target, open_pidfd, reap_any, send_signal, send_signal_pidfd, wait_for};

pub use rustix::process::Pid;

use rustix::io::Errno;

use crate::SysError;

/// The error of `call` on `subject`, for `map_err`.
fn failed<'a>(call: &'static str, subject: impl AsRef<[u8]> + 'a) -> impl FnOnce(Errno) -> SysError + 'a {
    move |errno| SysError::new(call, subject.as_ref(), errno)
}

/// The error that libc's `errno` holds now.
fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
