//! An ordinary user of this machine, made for one test: a number that nobody has, a home, and `/etc/passwd`, `/etc/subuid` and the like
//! that only its commands see.
//!
//! A command of it runs in a mount namespace of its own, in which the test's files stand over the machine's, and then as the user: without any
//! capability, with no other groups. The set-uid programs `newuidmap` and `newgidmap` find the user there as they would find any other.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::gate::{self, Gate, find_program};
use crate::place::Scratch;

/// The user's number and its group's.
const ID: u32 = 790_001;

/// The first of the IDs that belong to it.
const FIRST: u32 = 790_100_000;

/// How many they are.
const COUNT: u32 = 65_536;

/// The user's name.
const NAME: &str = "mica-tester";

/// The machine's files that the user's commands see others in place of.
const FILES: [&str; 4] = ["passwd", "group", "subuid", "subgid"];

/// Devices that an ordinary user may open on most machines, and not on all.
const DEVICES: [(&str, &str, &str); 2] = [("/dev/fuse", "10", "229"), ("/dev/net/tun", "10", "200")];

/// In the user's namespace, before it is the user's: the test's folder, a program to bring in, programs to hide, then `--` and the command.
const ENTER: &str = r#"
set -e
here=$1 program=$2; shift 2
for file in passwd group subuid subgid; do mount --bind "$here/etc/$file" "/etc/$file"; done
for device in fuse net/tun; do
    if [ -e "$here/dev/${device#net/}" ] && [ -e "/dev/$device" ]; then mount --bind "$here/dev/${device#net/}" "/dev/$device"; fi
done
if [ -n "$program" ]; then mount --bind "$program" "$here/bin/${program##*/}"; fi
while [ "$1" != -- ]; do mount --bind /dev/null "$1"; shift; done
shift
cd "$here/home"
exec setpriv --reuid ID --regid ID --clear-groups --inh-caps=-all --ambient-caps=-all "$@"
"#;

/// A user, and the folder with all that is its own, which is gone when this is dropped.
#[derive(Debug)]
pub struct OrdinaryUser {
    scratch: Scratch,
    hidden: Vec<PathBuf>,
}

impl OrdinaryUser {
    /// One to whom 65536 more IDs belong. Needs `needs!(ordinary_user)`.
    #[must_use]
    pub fn with_range() -> Self {
        let line = format!("{NAME}:{FIRST}:{COUNT}\n");
        Self::made(&line)
    }

    /// One who has its own ID alone. Needs `needs!(ordinary_user)`.
    #[must_use]
    pub fn without_range() -> Self {
        Self::made("")
    }

    fn made(ranges: &str) -> Self {
        let user = Self { scratch: Scratch::new(), hidden: Vec::new() };
        // The folder of a test is closed to others, and the user is one of them.
        fs::set_permissions(user.scratch.path(), fs::Permissions::from_mode(0o711)).expect("the folder opens");
        for (own, mode) in [("home", 0o700), ("runtime", 0o700)] {
            let path = user.scratch.make(own);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
            user.give(&path);
        }
        for (device, major, minor) in DEVICES.iter().filter(|(device, ..)| Path::new(device).exists()) {
            let node = user.scratch.make("dev").join(Path::new(device).file_name().expect("a name"));
            let made = Command::new("mknod").args(["-m", "666"]).arg(node).args(["c", major, minor]).status();
            assert!(made.expect("mknod starts").success(), "{device} is made");
        }
        let etc = user.scratch.make("etc");
        let _bin = user.scratch.make("bin");
        let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
        let group = fs::read_to_string("/etc/group").expect("/etc/group");
        let home = user.home();
        let entry = format!("{NAME}:x:{ID}:{ID}::{}:/bin/sh\n", home.display());
        fs::write(etc.join("passwd"), passwd + &entry).expect("passwd");
        fs::write(etc.join("group"), group + &format!("{NAME}:x:{ID}:\n")).expect("group");
        user.set_ranges(ranges, ranges);
        user
    }

    /// Has `/etc/subuid` and `/etc/subgid` read so in commands from here on.
    pub fn set_ranges(&self, subuid: &str, subgid: &str) {
        fs::write(self.scratch.path().join("etc/subuid"), subuid).expect("subuid");
        fs::write(self.scratch.path().join("etc/subgid"), subgid).expect("subgid");
    }

    /// Has this program, of the machine's, be no program in commands from here on.
    pub fn hide(&mut self, program: &str) {
        self.hidden.extend(find_program(program));
    }

    /// Has `/dev/fuse` be there in commands from here on, and be root's alone.
    pub fn close_fuse(&self) {
        let node = self.scratch.path().join("dev/fuse");
        if node.exists() {
            fs::set_permissions(node, fs::Permissions::from_mode(0o600)).expect("its mode");
        }
    }

    /// The user's number, which is its group's, too.
    #[must_use]
    pub const fn uid(&self) -> u32 {
        ID
    }

    /// The first ID that belongs to it, where some do, and how many.
    #[must_use]
    pub const fn range(&self) -> (u32, u32) {
        (FIRST, COUNT)
    }

    /// The user's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        NAME
    }

    /// The folder of this test, which the user may pass through and not change.
    #[must_use]
    pub const fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The user's home, 0700, empty at first.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.scratch.path().join("home")
    }

    /// The user's `XDG_RUNTIME_DIR`, 0700.
    #[must_use]
    pub fn runtime_dir(&self) -> PathBuf {
        self.scratch.path().join("runtime")
    }

    /// Makes the user the owner of the file or directory at `path`, not of what is in it.
    pub fn give(&self, path: &Path) {
        chown(path, Some(ID), Some(ID)).expect("it is the user's");
    }

    /// A command of the user, in its home, not started. Its environment has `HOME`, `USER`, `PATH` and `XDG_RUNTIME_DIR`, and standard input is
    /// empty. A program that is named by its path may stand where the user could not reach it. The process that is started becomes the program:
    /// its number and its end are the program's.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref();
        let (bring, run) = match program.file_name().filter(|_| program.is_absolute()) {
            Some(name) => {
                let place = self.scratch.path().join("bin").join(name);
                fs::OpenOptions::new().append(true).create(true).open(&place).expect("a place for the program");
                (program.as_os_str(), place)
            }
            None => (OsStr::new(""), program.to_owned()),
        };
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            &ENTER.replace("ID", &ID.to_string()),
            "enter",
        ]);
        command.arg(self.scratch.path()).arg(bring).args(&self.hidden).arg("--").arg(run);
        command.env_clear().stdin(Stdio::null());
        command.env("HOME", self.home()).env("USER", NAME).env("XDG_RUNTIME_DIR", self.runtime_dir());
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }
}

/// An [`OrdinaryUser`] can be made and can enter a user namespace with a range.
pub(crate) fn possible() -> Gate {
    gate::root()?;
    for program in ["unshare", "setpriv", "mknod", "newuidmap", "newgidmap"] {
        gate::program(program)?;
    }
    if let Some(file) = FILES.iter().map(|name| Path::new("/etc").join(name)).find(|file| !file.exists()) {
        return Err(format!("there is no {} to stand another over", file.display()));
    }
    let user = OrdinaryUser::with_range();
    let entered = user.command("unshare").args(["--user", "--mount", "--map-root-user", "--map-auto", "true"]).output();
    let entered = entered.map_err(|error| format!("no command of an ordinary user: {error}"))?;
    if entered.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&entered.stderr).trim().to_owned();
    Err(format!("an ordinary user enters no user namespace from {}: {said}", user.home().display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::needs;

    fn said(command: &mut Command) -> String {
        let output = command.output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned()
    }

    #[test]
    fn its_commands_have_its_ids_and_no_right_of_root() {
        needs!(ordinary_user);
        let user = OrdinaryUser::with_range();
        assert_eq!(said(user.command("id").arg("-un")), NAME);
        let script =
            "id -u; id -g; id -G; grep -h CapPrm /proc/self/status; pwd; cat /etc/subuid; cat /etc/shadow 2>&1 | wc -w";
        let lines: Vec<String> = said(user.command("sh").args(["-c", script])).lines().map(str::to_owned).collect();
        let (id, home) = (ID.to_string(), user.home().display().to_string());
        assert_eq!(lines[..3], [id.clone(), id.clone(), id]);
        assert_eq!(lines[3].split_whitespace().last(), Some("0000000000000000"));
        assert_eq!(lines[4..6], [home, format!("{NAME}:{FIRST}:{COUNT}")]);
        assert!(!fs::read_to_string("/etc/passwd").unwrap().contains(NAME), "the machine's own is as it was");
        assert!(said(user.command("cat").arg("/etc/shadow")).contains("denied"));
    }

    #[test]
    fn a_program_is_brought_in_and_another_is_hidden() {
        needs!(ordinary_user);
        let mut user = OrdinaryUser::without_range();
        let far = Scratch::new();
        let program = far.path().join("far");
        fs::copy("/bin/sh", &program).unwrap();
        assert_eq!(said(user.command(&program).args(["-c", "echo ran; exit 3"])), "ran");
        assert_eq!(user.command(&program).args(["-c", "exit 3"]).status().unwrap().code(), Some(3));
        user.hide("newuidmap");
        assert!(!said(user.command("sh").args(["-c", "command -v newuidmap || echo none"])).contains("/newuidmap"));
        assert!(gate::program("newuidmap").is_ok());
    }

    #[test]
    fn what_is_left_in_its_home_is_gone_with_it() {
        needs!(ordinary_user);
        let user = OrdinaryUser::with_range();
        let script = "mkdir -m 0 closed; touch own; unshare --user --map-root-user --map-auto chown 5:5 own";
        assert_eq!(said(user.command("sh").args(["-c", script])), "");
        let path = user.scratch().path().to_owned();
        drop(user);
        assert!(!path.exists());
    }
}
