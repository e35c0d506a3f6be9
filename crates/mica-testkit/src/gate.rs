//! Gates: what a test needs of the machine, and a loud skip where it is not there.
//!
//! A skipped test passes, says so on stderr, and adds the line `test name: reason` to the file that the variable
//! `MICA_TEST_SKIPS` names; `cargo xtask test` reads it, and CI turns it into a failure.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use mica_layer::Marks;
use mica_union::{Driver, Overlay, Support};

/// Skips the test that it stands in, aloud, where one of the things named is not there.
///
/// `needs!(root, overlay, program "podman");` — each word is a function of [`gate`](crate::gate).
#[macro_export]
macro_rules! needs {
    ($($gate:ident $($detail:literal)?),+ $(,)?) => {
        $(
            if let Err(reason) = $crate::gate::$gate($($detail)?) {
                fn here() {}
                $crate::gate::skip(::std::any::type_name_of_val(&here), &reason);
                return;
            }
        )+
    };
}

/// What a gate finds: nothing missing, or what is.
pub type Gate = Result<(), String>;

/// Says that the test of which `here` is an inner function is skipped.
pub fn skip(here: &str, reason: &str) {
    let line = format!("{}: {}", here.strip_suffix("::here").unwrap_or(here), reason.replace('\n', " "));
    eprintln!("SKIPPED {line}");
    if let Some(list) = std::env::var_os("MICA_TEST_SKIPS") {
        write_down(Path::new(&list), &line);
    }
}

/// One write at the end of the file, so that tests of several processes do not mix their lines.
fn write_down(list: &Path, line: &str) {
    let mut list = OpenOptions::new().append(true).create(true).open(list).expect("the list of skips opens");
    list.write_all(format!("{line}\n").as_bytes()).expect("a skip is written down");
}

fn missing(there: bool, reason: &str) -> Gate {
    if there { Ok(()) } else { Err(reason.to_owned()) }
}

/// The effective user is root.
///
/// # Errors
/// Where it is not.
pub fn root() -> Gate {
    missing(rustix::process::geteuid().is_root(), "not root")
}

fn overlay_with(marks: Marks) -> Gate {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    match Overlay::new().probing(marks).probe(scratch.path()) {
        Support::Yes => Ok(()),
        Support::No { why } => Err(format!("no overlayfs in {:?}: {why}", scratch.path())),
    }
}

/// overlayfs shows stacks in the temporary directory, with root's marks.
///
/// # Errors
/// Where it does not.
pub fn overlay() -> Gate {
    static FOUND: OnceLock<Gate> = OnceLock::new();
    FOUND.get_or_init(|| overlay_with(Marks::Trusted)).clone()
}

/// overlayfs shows stacks in the temporary directory, with a user's marks.
///
/// # Errors
/// Where it does not.
pub fn userxattr() -> Gate {
    static FOUND: OnceLock<Gate> = OnceLock::new();
    FOUND.get_or_init(|| overlay_with(Marks::User)).clone()
}

/// `/dev/fuse` can be opened.
///
/// # Errors
/// Where it cannot.
pub fn fuse() -> Gate {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    opened.map(drop).map_err(|error| format!("/dev/fuse: {error}"))
}

/// FUSE over io_uring is in the kernel, and root may turn it on: [`FuseRings`](crate::FuseRings).
///
/// # Errors
/// Where not.
pub fn rings() -> Gate {
    fuse()?;
    crate::rings::possible()
}

/// Loop devices can be made.
///
/// # Errors
/// Where they cannot.
pub fn loop_devices() -> Gate {
    root()?;
    program("mkfs.ext4")?;
    missing(Path::new("/dev/loop-control").exists(), "no /dev/loop-control")
}

/// A user may make user namespaces.
///
/// # Errors
/// Where none may.
pub fn userns() -> Gate {
    program("unshare")?;
    let unshared = Command::new("unshare").args(["-U", "true"]).stderr(Stdio::null()).status();
    missing(unshared.is_ok_and(|status| status.success()), "no user namespaces")
}

/// An [`OrdinaryUser`](crate::OrdinaryUser) can be made, and enters a user namespace with a range of IDs.
///
/// # Errors
/// Where not: what is missing, or what `unshare` said.
pub fn ordinary_user() -> Gate {
    static FOUND: OnceLock<Gate> = OnceLock::new();
    FOUND.get_or_init(crate::ordinary_user::possible).clone()
}

/// A program is installed.
///
/// # Errors
/// Where it is not.
pub fn program(name: &str) -> Gate {
    missing(find_program(name).is_some(), &format!("{name} is not installed"))
}

/// Where a program is; the places for root are searched also when they are not in `PATH`.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|place| place.join(name)).find(|file| {
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_one_more_line() {
        let scratch = crate::Scratch::new();
        let list = scratch.path().join("skips");
        write_down(&list, "a::b: not root");
        write_down(&list, "c::d: no /dev/fuse");
        assert_eq!(std::fs::read_to_string(list).unwrap(), "a::b: not root\nc::d: no /dev/fuse\n");
    }

    #[test]
    fn a_missing_program_skips_the_test_and_one_that_is_there_does_not() {
        assert_eq!(program("no-such-program-anywhere"), Err("no-such-program-anywhere is not installed".to_owned()));
        assert_eq!(program("sh"), Ok(()));
        // The macro returns from the function that it stands in.
        let went_on = std::cell::Cell::new(false);
        let body = || {
            crate::needs!(program "sh");
            went_on.set(true);
        };
        body();
        assert!(went_on.get());
    }
}
