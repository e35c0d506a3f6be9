//! Callers that are root of a user namespace and nobody on the machine, as an ordinary user's command is after it entered one.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use mica_runtime::Network;
use mica_runtime::users::resolve;
use mica_sys::Dir;
use mica_sys::mount::{MountAttrFlags, MountFlags, Reach, SetAttrs, mount, set_attrs};
use mica_testkit::{in_mount_namespace, needs};
use oci_spec::runtime::{LinuxDeviceBuilder, LinuxDeviceType, Mount, PosixRlimitBuilder, PosixRlimitType};

use crate::subject::{Case, Rows, Running, USER, processes_with, wait_until};
use crate::terminal::Screen;

const BOTH: [Rows; 2] = [Rows::Range, Rows::Single];

fn sh(script: &str, rows: Rows) -> Case {
    Case::sh(script).by(rows)
}

pub(crate) fn a_container_runs_and_its_root_is_the_user() {
    needs!(root, program "busybox", program "setpriv", program "unshare");
    let script = "id -u; cat /proc/self/uid_map | wc -l; hostname; grep -E '^Cap(Eff|Prm|Bnd)' /proc/self/status; \
        grep CapEff /proc/1/status; touch /made; exit 7";
    for (rows, count) in [(Rows::Range, 2), (Rows::Single, 1)] {
        for network in [Network::None, Network::Host] {
            let mut case = Case::with(network, &["sh", "-c", script]).by(rows);
            case.spec.set_hostname(Some("a-container".to_owned()));
            let ran = case.run();
            let all = "00000000a80425fb";
            let expected = format!(
                "0\n{count}\na-container\nCapPrm:\t{all}\nCapEff:\t{all}\nCapBnd:\t{all}\nCapEff:\t0000000000000020\n"
            );
            assert_eq!(
                (ran.code, ran.err.as_str(), ran.out.as_str()),
                (7, "", expected.as_str()),
                "{rows:?} {network:?}"
            );
            assert_eq!(fs::metadata(case.root().join("made")).unwrap().uid(), USER);
        }
    }
}

pub(crate) fn ends_are_told_as_to_root() {
    needs!(root, program "busybox", program "setpriv", program "unshare");
    for (args, code, word) in [
        (&["no-such-program"][..], 127, "no such program in PATH"),
        (&["/etc/passwd"], 126, "may not be executed"),
        (&["sh", "-c", "kill -TERM $$; sleep 5"], 143, ""),
    ] {
        let ran = Case::new(args).by(Rows::Single).run();
        assert_eq!((ran.code, ran.err.contains(word)), (code, true), "{ran:?}");
    }
}

pub(crate) fn devices_are_the_machines_and_none_is_made() {
    needs!(root, program "busybox", program "setpriv", program "unshare");
    let script = "echo x >/dev/null; head -c 3 /dev/zero | od -An -tx1; head -c 8 /dev/urandom | wc -c; \
        (echo x >/dev/full) 2>&1; stat -c '%F %t %T' /dev/null /dev/tty; \
        for node in null zero; do chmod 600 /dev/$node 2>/dev/null && echo changed; done; \
        mknod /tmp/disk b 7 0 2>&1; ls /dev | wc -l";
    for rows in BOTH {
        let out = sh(script, rows).run().good();
        let lines: Vec<&str> = out.lines().map(str::trim).collect();
        assert_eq!(lines[..2], ["00 00 00", "8"], "{out}");
        assert!(lines[2].contains("No space left"), "{out}");
        assert_eq!(lines[3..5], ["character special file 1 3", "character special file 5 0"], "{out}");
        assert!(lines[5].contains("Operation not permitted"), "{out}");
        assert_eq!(lines[6..], ["15"], "{out}");
    }
}

/// A device of the spec is the machine's at the same path, if it is that device.
pub(crate) fn further_devices_are_the_machines_too() {
    needs!(root, program "busybox", program "setpriv", program "unshare");
    for (minor, good) in [(3, true), (5, false)] {
        let mut case = sh("stat -c '%F %t:%T' $NODE; echo x >$NODE && echo wrote", Rows::Single);
        // Device nodes can be opened on no temporary directory that is mounted without them.
        let place = case.tmpfs("nodes");
        let node = place.join("node");
        Dir::open(&place).unwrap().mknod(b"node", mica_sys::FileKind::CharDevice, 0o666, 1, 3).unwrap();
        fs::set_permissions(&node, fs::Permissions::from_mode(0o666)).unwrap();
        let device = LinuxDeviceBuilder::default().path(&node).typ(LinuxDeviceType::C).major(1).minor(minor);
        case.spec.linux_mut().as_mut().unwrap().set_devices(Some(vec![device.build().unwrap()]));
        case.process().env_mut().as_mut().unwrap().push(format!("NODE={}", node.display()));
        let ran = case.run();
        if good {
            assert_eq!(ran.good(), "character special file 1:3\nwrote\n");
        } else {
            assert_eq!((ran.code, ran.err.contains("is not device 1:5")), (125, true), "{ran:?}");
        }
    }
}

pub(crate) fn a_terminal_is_the_containers_own_too() {
    needs!(root, program "busybox", program "setpriv", program "unshare", program "setsid");
    for (rows, group) in [(Rows::Range, "5"), (Rows::Single, "0")] {
        let script = "tty; stat -c 'of %u:%g' /dev/pts/0; echo to-tty >/dev/tty; echo to-console >/dev/console; stty size; exit 4";
        let mut case = sh(script, rows);
        case.tty = true;
        let (code, seen) = Screen::of(&case, case.command_with_terminal()).end();
        assert_eq!(code, 4, "{seen}");
        let owner = format!("of 0:{group}\r\n");
        for expected in ["/dev/pts/0\r\n", &owner, "to-tty\r\n", "to-console\r\n", "30 90\r\n"] {
            assert!(seen.contains(expected), "{rows:?} {expected:?}: {seen}");
        }
    }
}

pub(crate) fn the_machines_sys_is_shown_where_a_new_one_is_refused() {
    needs!(root, program "busybox", program "setpriv", program "unshare");
    let script = "ls /sys/class/net | tr '\\n' ' '; echo; ls -A /sys/firmware | wc -l; \
        for at in /sys /sys/kernel /sys/fs/cgroup /sys/fs/cgroup/*/; do mkdir $at/x 2>/dev/null && echo made $at/x; done; \
        (echo 1 >/sys/kernel/profiling) 2>&1; grep -E ' /sys(/|,| )' /proc/mounts | grep -v ' ro,' | wc -l";
    let check = |network, expected: &str| {
        for rows in BOTH {
            let ran = Case::with(network, &["sh", "-c", script]).by(rows).run();
            let lines: Vec<&str> = ran.out.lines().map(str::trim).collect();
            assert_eq!((lines[0], lines[1], lines.len()), (expected, "0", 4), "{ran:?}");
            assert!(lines[2].contains("Read-only file system") && lines[3] == "0", "{ran:?}");
        }
    };
    let mut interfaces: Vec<String> = fs::read_dir("/sys/class/net")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    interfaces.sort();
    check(Network::Host, interfaces.join(" ").as_str());
    check(Network::None, "lo");
    // The machine's is partly covered, as it is in a container: that is how it is shown then.
    in_mount_namespace(|| {
        mount(Path::new("cover"), Path::new("/sys/kernel"), "tmpfs", MountFlags::empty(), "").unwrap();
        let ran = Case::sh("ls -A /sys/kernel | wc -l; mkdir /sys/kernel/x 2>&1").by(Rows::Single).run();
        assert!(ran.out.starts_with("0\n") && ran.out.contains("Read-only"), "{ran:?}");
    });
}

pub(crate) fn a_covered_proc_is_an_error_that_says_why() {
    needs!(root, program "busybox", program "setpriv", program "unshare");
    in_mount_namespace(|| {
        mount(Path::new("cover"), Path::new("/proc/fs"), "tmpfs", MountFlags::empty(), "").unwrap();
        let ran = sh("echo ran", Rows::Range).run();
        assert_eq!((ran.code, ran.out.as_str()), (125, ""), "{ran:?}");
        assert!(ran.err.starts_with("cannot mount proc at /proc: fsmount "), "{ran:?}");
        assert!(ran.err.contains("\nhint: ") && ran.err.contains("covered"), "{ran:?}");
    });
}

pub(crate) fn the_kernels_files_are_masked_there_too() {
    needs!(root, program "busybox", program "setpriv", program "unshare");
    let script = "(echo x >/proc/sys/kernel/domainname) 2>&1; cat /proc/timer_list /proc/keys /proc/interrupts 2>/dev/null | wc -c; \
        umount /proc/sys 2>&1; umount /proc/keys 2>&1; umount /sys/firmware 2>&1; true";
    for rows in BOTH {
        let out = sh(script, rows).run().good();
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[0].contains("Read-only file system") && lines[1] == "0", "{out}");
        assert!(lines[2..].iter().all(|line| line.contains("not permitted")), "{out}");
    }
}

fn as_a(case: &mut Case) {
    fs::write(case.root().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\na:x:1000:1001::/home/a:/bin/sh\n").unwrap();
    fs::write(case.root().join("etc/group"), "g:x:50:a,root\nfar:x:100000:a,root\n").unwrap();
}

pub(crate) fn users_that_are_mapped_run_and_others_are_refused_by_name() {
    needs!(root, program "busybox", program "setpriv", program "unshare");
    let script = "grep -E '^(Uid|Gid|Groups|CapEff)' /proc/self/status; echo x >/dev/stdout; ls /root 2>&1; touch /tmp/mine; stat -c %u:%g /tmp/mine";
    let case_of = |who: &str, rows| {
        let mut case = Case::sh(script);
        as_a(&mut case);
        let mut case = case.by(rows);
        let user = resolve(&Dir::open(&case.root()).unwrap(), who).unwrap();
        mica_runtime::set_user(&mut case.spec, &user);
        case
    };
    // The pipe is the machine's root's here, which the user could not hand on.
    let out = case_of("a", Rows::Range).run();
    assert_eq!(out.code, 0, "{out:?}");
    for expected in [
        "Uid:\t1000\t1000",
        "Gid:\t1001\t1001",
        "Groups:\t50 \n",
        "CapEff:\t0000000000000000",
        "Permission denied",
        "1000:1001",
    ] {
        assert!(out.out.contains(expected), "{expected:?}: {out:?}");
    }
    let ran = case_of("a", Rows::Single).run();
    assert_eq!((ran.code, ran.out.as_str()), (125, ""));
    assert!(ran.err.starts_with("user 1000 is not mapped here: there are 0\nhint: "), "{ran:?}");
    assert!(ran.err.contains("/etc/subuid"), "{ran:?}");
    let ran = case_of("70000", Rows::Range).run();
    assert!(ran.err.starts_with("user 70000 is not mapped here: there are 0, 1-65535\n"), "{ran:?}");
    let ran = case_of("0:7", Rows::Single).run();
    assert!(ran.err.starts_with("group 7 is not mapped here: there are 0\n"), "{ran:?}");
    // Root in groups of its image (Alpine's is in nine): those that cannot be had are left out.
    let ran = case_of("root", Rows::Single).run();
    assert_eq!((ran.code, ran.out.contains("0:0")), (0, true), "{ran:?}");
    assert!(case_of("root", Rows::Range).run().out.contains("Groups:\t50 \n"));
}

pub(crate) fn pipes_of_the_users_own_are_given_to_who_runs() {
    needs!(root, program "busybox", program "setpriv", program "unshare");
    let mut case = sh("echo by-name >/dev/stdout", Rows::Range);
    case.process().user_mut().set_uid(1000);
    // `cat` is started in the namespace, by its shell: the pipe between is the user's.
    let mut command = case.command_piped_to_cat();
    let child = case.started(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "by-name\n", "{}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn limits_go_down_and_not_up() {
    needs!(root, program "busybox", program "setpriv", program "unshare");
    let limit = |soft: u64, hard: u64| {
        PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile).soft(soft).hard(hard).build().unwrap()
    };
    let mut case = sh("ulimit -n", Rows::Range);
    case.process().set_rlimits(Some(vec![limit(100, 200)]));
    assert_eq!(case.run().good(), "100\n");
    case.process().set_rlimits(Some(vec![limit(100, u64::from(u32::MAX))]));
    let ran = case.run();
    assert_eq!(ran.code, 125, "{ran:?}");
    assert!(ran.err.starts_with("cannot set the limit RLIMIT_NOFILE: setrlimit "), "{ran:?}");
}

/// What a mount of the machine forbids stays forbidden in a copy of it: the kernel locks it.
pub(crate) fn binds_keep_what_the_machine_forbids() {
    needs!(root, program "busybox", program "setpriv", program "unshare");
    in_mount_namespace(|| {
        let mut case = sh("grep ' /bound ' /proc/mounts; touch /bound/x 2>&1; /bound/true 2>&1; true", Rows::Range);
        let place = case.tmpfs("place");
        fs::copy(case.root().join("bin/busybox"), place.join("true")).unwrap();
        let strict = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOEXEC
            | MountAttrFlags::MOUNT_ATTR_NOATIME
            | MountAttrFlags::MOUNT_ATTR_NODEV;
        let change = SetAttrs { set: strict, clear: MountAttrFlags::MOUNT_ATTR__ATIME, ..SetAttrs::default() };
        set_attrs(&place, &change, Reach::One).unwrap();
        let bound = |options: &[&str]| {
            let mut mount = Mount::default();
            let options = options.iter().map(|option| (*option).to_owned()).collect();
            mount.set_destination(PathBuf::from("/bound")).set_typ(Some("bind".to_owned()));
            mount.set_source(Some(place.clone())).set_options(Some(options));
            mount
        };
        let mounts = case.spec.mounts().clone().unwrap();
        case.spec.set_mounts(Some(mounts.iter().cloned().chain([bound(&["rbind", "ro"])]).collect()));
        let out = case.run().good();
        for option in ["ro,", "nosuid,", "nodev,", "noexec,", "noatime"] {
            assert!(out.lines().next().unwrap().contains(option), "{option}: {out}");
        }
        assert!(out.contains("Read-only file system") && out.contains("/bound/true: Permission denied"), "{out}");
        case.spec.set_mounts(Some(mounts.iter().cloned().chain([bound(&["rbind", "exec"])]).collect()));
        let ran = case.run();
        assert_eq!(ran.code, 125, "{ran:?}");
        assert!(ran.err.starts_with("cannot mount bind at /bound: mount_setattr"), "{ran:?}");
    });
}

pub(crate) fn a_killed_caller_of_a_user_takes_its_container_along() {
    needs!(root, program "busybox", program "setpriv", program "unshare");
    let token = format!("3000000.{}", std::process::id());
    let mut running =
        sh(&format!("sleep {token} & setsid sleep {token} & echo ready; sleep {token}"), Rows::Range).spawn();
    running.read_until("ready");
    wait_until("three sleep", || processes_with(&token).len() >= 3);
    running.signal("KILL");
    wait_until("none is left", || processes_with(&token).is_empty());
}

pub(crate) fn signals_reach_a_users_command() {
    needs!(root, program "busybox", program "setpriv", program "unshare");
    let mut running =
        sh("trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.05; done", Rows::Single).spawn();
    running.read_until("ready");
    running.signal("TERM");
    assert_eq!(running.wait(), (9, "\ntold\n".to_owned()));
}

/// The binary that init runs: by a read-only mount of its file where it has a name, else a copy in memory, which is sealed.
pub(crate) fn init_runs_a_binary_that_cannot_be_written() {
    needs!(root, program "busybox", program "setpriv", program "unshare");
    for removed in [false, true] {
        let case = sh("echo ready; sleep 100", Rows::Range);
        let mut command = if removed { case.command_of_a_removed_binary() } else { case.command() };
        let child = case.started(command.stdin(Stdio::null()).stdout(Stdio::piped()));
        let mut running = Running { child, _case: Some(case) };
        running.read_until("ready");
        let caller = running.child.id();
        let init = fs::read_to_string(format!("/proc/{caller}/task/{caller}/children")).unwrap();
        let exe = PathBuf::from(format!("/proc/{}/exe", init.trim()));
        let name = fs::read_link(&exe).unwrap();
        if removed {
            assert_eq!(name, Path::new("/memfd:mica-init (deleted)"));
        } else {
            assert_eq!(name, Path::new("/"), "the root of a mount of its own");
            // Not even by the machine's root, on the way that init has.
            let refused = fs::set_permissions(&exe, fs::Permissions::from_mode(0o777)).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        }
    }
}
