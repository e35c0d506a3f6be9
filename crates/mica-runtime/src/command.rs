//! The command's process, from fork to its program: what it has been until then falls away step by step.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use mica_sys::process::{
    CapSets, Limit, change_directory, clear_ambient, close_on_exec_from, drop_bounding, exec, give_pipe, give_terminal,
    make_controlling, new_session, open_inside, raise_ambient, redirect, reset_dispositions, set_caps, set_groups,
    set_ids, set_keep_caps, set_limit, set_no_new_privs, set_umask, unblock_all, working_directory,
};
use mica_sys::{Errno, SysError};
use oci_spec::runtime::{PosixRlimit, PosixRlimitType, Process};

use crate::caps;
use crate::error::{At, Cause, RuntimeError, Step};
use crate::wire::Request;

/// Becomes the spec's command. Returns only when that was not possible.
pub(crate) fn become_it(request: &Request, terminal: Option<OwnedFd>) -> RuntimeError {
    let Some(process) = request.spec.process() else {
        return RuntimeError::Spec { field: "process", problem: "is missing".to_owned() };
    };
    match prepare(process, request.set_groups, terminal) {
        Ok(()) => run(process),
        Err(error) => error,
    }
}

fn prepare(process: &Process, set_groups: bool, terminal: Option<OwnedFd>) -> Result<(), RuntimeError> {
    let user = process.user();
    new_session().at(|| Step::Prepare)?;
    match &terminal {
        Some(terminal) => {
            for stdio in 0..=2 {
                redirect(terminal, stdio).at(|| Step::Terminal)?;
            }
            make_controlling(terminal).at(|| Step::Terminal)?;
            give_terminal(terminal, user.uid()).at(|| Step::Terminal)?;
        }
        None => {
            for stdio in 0..=2 {
                match give_pipe(stdio, user.uid()) {
                    // Somebody's whom this user namespace does not know made it. By its descriptor it can be used all the same.
                    Err(error) if error.is_denied() => {}
                    done => done.at(|| Step::Prepare)?,
                }
            }
        }
    }
    drop(terminal);
    for limit in process.rlimits().iter().flatten() {
        set_limit(limit_of(limit), limit.soft(), limit.hard()).at(|| Step::Limit(limit.typ().to_string()))?;
    }
    // As root first: a user's working directory may be below one that it cannot pass. As the user where root cannot
    // (a network file system that trusts no root).
    let entered = enter_directory(process.cwd());
    become_user(process, set_groups)?;
    match entered {
        Err(error) if error.is_denied() => enter_directory(process.cwd()),
        done => done,
    }
    .at(|| Step::WorkingDirectory(process.cwd().clone()))?;
    check_directory(process)?;
    set_umask(user.umask().unwrap_or(0o022));
    reset_dispositions().at(|| Step::Prepare)?;
    // Whatever else was opened here, by whomever, is not the program's (CVE-2024-21626).
    close_on_exec_from(3).at(|| Step::Prepare)?;
    unblock_all().at(|| Step::Prepare)
}

/// Enters `cwd` by a way that has no magic links in it: `/proc/self/fd/N` would lead to whatever is still open.
fn enter_directory(cwd: &Path) -> Result<(), SysError> {
    let root = mica_sys::process::open_place(Path::new("/"))?;
    change_directory(open_inside(root, cwd.as_os_str().as_encoded_bytes())?)
}

/// The kernel's own word for where this is: `(unreachable)` comes first outside the root.
fn check_directory(process: &Process) -> Result<(), RuntimeError> {
    let step = || Step::WorkingDirectory(process.cwd().clone());
    if working_directory().at(step)?.starts_with(b"/") {
        return Ok(());
    }
    Err(Cause::of("it is outside the container's root")).at(step)
}

/// The order is the kernel's: what is left of the rights must suffice for the next step.
fn become_user(process: &Process, may_set_groups: bool) -> Result<(), RuntimeError> {
    let user = process.user();
    let sets = process.capabilities().as_ref();
    let bounding = caps::set(sets.and_then(|sets| sets.bounding().as_ref()));
    let effective = caps::set(sets.and_then(|sets| sets.effective().as_ref()));
    let permitted = caps::set(sets.and_then(|sets| sets.permitted().as_ref()));
    let inheritable = caps::set(sets.and_then(|sets| sets.inheritable().as_ref()));
    let ambient = caps::set(sets.and_then(|sets| sets.ambient().as_ref()));
    let step = || Step::User(format!("{}:{}", user.uid(), user.gid()));

    drop_bounding(bounding).at(|| Step::Capabilities)?;
    set_keep_caps(true).at(|| Step::Capabilities)?;
    if may_set_groups {
        set_groups(user.additional_gids().as_deref().unwrap_or_default()).at(step)?;
    }
    set_ids(user.uid(), user.gid()).at(step)?;
    set_keep_caps(false).at(|| Step::Capabilities)?;
    clear_ambient().at(|| Step::Capabilities)?;
    set_caps(CapSets { effective, permitted, inheritable }).at(|| Step::Capabilities)?;
    raise_ambient(ambient).at(|| Step::Capabilities)?;
    if process.no_new_privileges() == Some(true) {
        set_no_new_privs().at(|| Step::Prepare)?;
    }
    Ok(())
}

fn limit_of(limit: &PosixRlimit) -> Limit {
    match limit.typ() {
        PosixRlimitType::RlimitCpu => Limit::Cpu,
        PosixRlimitType::RlimitFsize => Limit::FileSize,
        PosixRlimitType::RlimitData => Limit::Data,
        PosixRlimitType::RlimitStack => Limit::Stack,
        PosixRlimitType::RlimitCore => Limit::Core,
        PosixRlimitType::RlimitRss => Limit::ResidentSet,
        PosixRlimitType::RlimitNproc => Limit::Processes,
        PosixRlimitType::RlimitNofile => Limit::OpenFiles,
        PosixRlimitType::RlimitMemlock => Limit::LockedMemory,
        PosixRlimitType::RlimitAs => Limit::AddressSpace,
        PosixRlimitType::RlimitLocks => Limit::Locks,
        PosixRlimitType::RlimitSigpending => Limit::PendingSignals,
        PosixRlimitType::RlimitMsgqueue => Limit::MessageQueues,
        PosixRlimitType::RlimitNice => Limit::Nice,
        PosixRlimitType::RlimitRtprio => Limit::RealTimePriority,
        PosixRlimitType::RlimitRttime => Limit::RealTime,
    }
}

/// Where `program` might be, in the order of execvp(3): itself if it has a slash, else below each directory of `path`.
fn candidates(program: &str, path: &str) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    path.split(':')
        .map(|dir| if dir.is_empty() { format!("./{program}") } else { format!("{dir}/{program}") })
        .collect()
}

fn run(process: &Process) -> RuntimeError {
    let args = process.args().as_deref().unwrap_or_default();
    let env = process.env().as_deref().unwrap_or_default();
    let Some(program) = args.first() else {
        return RuntimeError::Spec { field: "process.args", problem: "is empty".to_owned() };
    };
    let (Some(argv), Some(environment)) = (c_strings(args), c_strings(env)) else {
        return RuntimeError::Spec { field: "process.args", problem: "or process.env holds a NUL byte".to_owned() };
    };
    let path = env.iter().find_map(|var| var.strip_prefix("PATH=")).unwrap_or(crate::spec::DEFAULT_PATH);
    let not_executable = |reason: String| RuntimeError::NotExecutable { program: program.clone(), reason };
    let mut denied = None;
    for candidate in candidates(program, path) {
        let Ok(file) = CString::new(candidate.as_str()) else { continue };
        if program.is_empty() {
            break;
        }
        let error = exec(&file, &argv, &environment);
        match error.errno() {
            // The file is there, so what is missing is the program that its first line or its header names.
            Errno::NOENT if Path::new(&candidate).exists() => {
                let reason = format!("the interpreter that {candidate} names is not there");
                return RuntimeError::NotFound { program: program.clone(), reason };
            }
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS if Path::new(&candidate).is_dir() => {
                denied.get_or_insert(format!("{candidate} is a directory"));
            }
            Errno::ACCESS => {
                denied.get_or_insert(format!("{candidate} may not be executed: permission denied"));
            }
            Errno::NOEXEC => {
                return not_executable(format!("{candidate} has a format that this machine does not execute"));
            }
            _ if error.is_disconnected() => {
                return RuntimeError::Setup { step: Step::Execute(candidate), cause: error.into() };
            }
            _ => return not_executable(error.to_string()),
        }
    }
    match denied {
        Some(reason) => not_executable(reason),
        None if program.contains('/') => {
            RuntimeError::NotFound { program: program.clone(), reason: "no such file in the container".to_owned() }
        }
        None => {
            RuntimeError::NotFound { program: program.clone(), reason: format!("no such program in PATH {path:?}") }
        }
    }
}

fn c_strings(list: &[String]) -> Option<Vec<CString>> {
    list.iter().map(|text| CString::new(text.as_str()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_along_the_path_and_a_path_is_not() {
        assert_eq!(candidates("sh", "/bin:/usr/bin"), ["/bin/sh", "/usr/bin/sh"]);
        assert_eq!(candidates("sh", ":/bin"), ["./sh", "/bin/sh"]);
        assert_eq!(candidates("./sh", "/bin"), ["./sh"]);
        assert_eq!(candidates("bin/sh", "/bin"), ["bin/sh"]);
    }
}
