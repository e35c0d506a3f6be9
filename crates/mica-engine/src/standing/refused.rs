//! Why no user namespace could be entered, and what to try: which of the machine's switches is off.

use mica_sys::process::{EnterError, has_no_new_privs};
use mica_sys::{Errno, SysError};

use crate::error::{Error, Kind};

/// A setting of the kernel that keeps ordinary users from namespaces when it has this value.
struct Switch {
    name: &'static str,
    off: &'static str,
    on: &'static str,
}

const SWITCHES: [Switch; 4] = [
    Switch { name: "user.max_user_namespaces", off: "0", on: "15000" },
    Switch { name: "user.max_mnt_namespaces", off: "0", on: "15000" },
    // Debian's and Arch's kernels alone.
    Switch { name: "kernel.unprivileged_userns_clone", off: "0", on: "1" },
    // Ubuntu since 23.10: a namespace is made, and its root may do nothing.
    Switch { name: "kernel.apparmor_restrict_unprivileged_userns", off: "1", on: "0" },
];

/// What the kernel says of a setting, by its dotted name.
fn setting(name: &str) -> Option<String> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The error of a namespace that was not entered.
pub(super) fn explain(error: EnterError) -> Error {
    explain_with(error, setting, has_no_new_privs())
}

/// The error of a namespace whose root may not mount.
pub(super) fn powerless(error: SysError) -> Error {
    explain_with(EnterError::Sys(error), setting, has_no_new_privs())
}

fn explain_with(error: EnterError, setting: impl Fn(&str) -> Option<String>, no_new_privs: bool) -> Error {
    let errno = match &error {
        EnterError::NotMade(call) | EnterError::Sys(call) => Some(call.errno()),
        _ => None,
    };
    let off = SWITCHES.iter().find(|switch| setting(switch.name).as_deref() == Some(switch.off));
    let (kind, hint) = match (errno, off) {
        (Some(Errno::PERM | Errno::ACCESS | Errno::NOSPC | Errno::USERS), Some(Switch { name, off, on })) => {
            let hint = format!(
                "user namespaces are switched off here: {name} is {off}; an administrator allows them by `sysctl {name}={on}`, or runs mica as root"
            );
            (Kind::Denied, hint)
        }
        (Some(Errno::NOSPC | Errno::USERS), None) => {
            let hint =
                "there are as many user namespaces as user.max_user_namespaces allows, or 32 inside of each other";
            (Kind::Denied, hint.to_owned())
        }
        (Some(Errno::INVAL), None) => {
            (Kind::Unsupported, "this kernel has no user namespaces; run mica as root".to_owned())
        }
        (Some(Errno::AGAIN | Errno::NOMEM), _) => {
            let hint = "too much runs already: `ulimit -u` says how many processes this user may have";
            (Kind::System, hint.to_owned())
        }
        (Some(_), _) => {
            let hint = "what this runs in forbids user namespaces: a container's seccomp filter, a chroot, or a security \
                        module; allow them there, or run mica as root";
            (Kind::Denied, hint.to_owned())
        }
        (None, _) if no_new_privs => {
            let hint = "this process may not gain rights (no_new_privs, as a service or a sandbox has it), so no set-uid program \
                        can help; start it without";
            (Kind::Denied, hint.to_owned())
        }
        (None, _) => {
            let hint = "the ranges are this user's in /etc/subuid and /etc/subgid; newuidmap and newgidmap must be set-uid root \
                        (or have the file capabilities cap_setuid and cap_setgid), on a file system that is not mounted nosuid";
            (Kind::Denied, hint.to_owned())
        }
    };
    Error::caused(kind, error).while_("enter a user namespace").hinted(hint)
}

#[cfg(test)]
mod tests {
    use mica_sys::process::Ended;

    use super::*;

    fn explained(error: EnterError, settings: &[(&str, &str)], no_new_privs: bool) -> (Kind, String) {
        let setting =
            |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let error = explain_with(error, setting, no_new_privs);
        assert!(error.to_string().starts_with("enter a user namespace: "), "{error}");
        (error.kind(), error.hint().unwrap_or_default().to_owned())
    }

    fn not_made(errno: Errno) -> EnterError {
        EnterError::NotMade(SysError::new("unshare", "user,mount", errno))
    }

    fn refused() -> EnterError {
        let program = "/usr/bin/newuidmap".into();
        EnterError::Refused { program, asked: Vec::new(), status: Some(Ended::Code(1)), said: "no".to_owned() }
    }

    #[test]
    fn the_switch_that_is_off_is_named() {
        for switch in &SWITCHES {
            for errno in [Errno::PERM, Errno::NOSPC, Errno::ACCESS] {
                let (kind, hint) = explained(not_made(errno), &[(switch.name, switch.off)], false);
                assert_eq!(kind, Kind::Denied);
                assert!(hint.contains(&format!("{} is {}", switch.name, switch.off)), "{hint}");
                assert!(hint.contains(&format!("sysctl {}={}", switch.name, switch.on)), "{hint}");
            }
        }
        // As Ubuntu has it: the call succeeds, and the first use of a right is refused.
        let error = EnterError::Sys(SysError::new("mount_setattr", "/", Errno::ACCESS));
        let (_, hint) = explained(error, &[("kernel.apparmor_restrict_unprivileged_userns", "1")], false);
        assert!(hint.contains("apparmor_restrict_unprivileged_userns is 1"), "{hint}");
    }

    #[test]
    fn without_a_switch_the_hint_says_what_else_it_can_be() {
        let on: Vec<(&str, &str)> = SWITCHES.iter().map(|switch| (switch.name, switch.on)).collect();
        for (error, no_new_privs, kind, words) in [
            (not_made(Errno::NOSPC), false, Kind::Denied, "as many user namespaces as"),
            (not_made(Errno::PERM), false, Kind::Denied, "seccomp"),
            (EnterError::Sys(SysError::new("fork", "", Errno::AGAIN)), false, Kind::System, "ulimit -u"),
            (not_made(Errno::INVAL), false, Kind::Unsupported, "no user namespaces"),
            (refused(), false, Kind::Denied, "set-uid root"),
            (refused(), true, Kind::Denied, "no_new_privs"),
        ] {
            let (is, hint) = explained(error, &on, no_new_privs);
            assert_eq!(is, kind, "{hint}");
            assert!(hint.contains(words), "{hint}");
        }
    }
}
