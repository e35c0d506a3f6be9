//! How containers end.

use std::os::unix::fs::PermissionsExt;

use mica_testkit::needs;
use oci_spec::runtime::LinuxSeccomp;

use crate::subject::{Case, processes_with, wait_until};

pub(crate) fn a_command_that_ends_ends_the_container_with_its_code() {
    needs!(root, program "busybox");
    for code in [0, 7, 255] {
        assert_eq!(Case::sh(&format!("exit {code}")).run().code, code);
    }
}

pub(crate) fn a_program_that_is_not_there_is_127_and_named() {
    needs!(root, program "busybox");
    for (args, reason) in [
        (["no-such-program"], "\"no-such-program\": no such program in PATH \"/usr/local/sbin:"),
        (["/no/such/file"], "\"/no/such/file\": no such file in the container"),
        (["/script"], "\"/script\": the interpreter that /script names is not there"),
        ([""], "\"\": no such program"),
    ] {
        let case = Case::new(&args);
        let script = case.root().join("script");
        std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let ran = case.run();
        assert_eq!((ran.code, ran.out.as_str()), (127, ""), "{ran:?}");
        assert!(ran.err.starts_with(reason), "{ran:?}");
    }
}

pub(crate) fn a_program_that_cannot_be_run_is_126_and_named() {
    needs!(root, program "busybox");
    for (args, reason) in [
        (["/etc/passwd"], "\"/etc/passwd\": /etc/passwd may not be executed"),
        (["/etc"], "\"/etc\": /etc is a directory"),
        (["/odd"], "\"/odd\": /odd has a format that this machine does not execute"),
        (["passwd-like"], "\"passwd-like\": /bin/passwd-like may not be executed"),
    ] {
        let case = Case::new(&args);
        std::fs::write(case.root().join("odd"), [1, 2, 3, 4]).unwrap();
        std::fs::set_permissions(case.root().join("odd"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(case.root().join("bin/passwd-like"), "").unwrap();
        let ran = case.run();
        assert_eq!(ran.code, 126, "{ran:?}");
        assert!(ran.err.starts_with(reason), "{ran:?}");
    }
}

pub(crate) fn a_command_that_dies_by_a_signal_is_128_and_the_signal() {
    needs!(root, program "busybox");
    for (name, number) in [("KILL", 9), ("TERM", 15), ("PIPE", 13), ("USR1", 10)] {
        assert_eq!(Case::sh(&format!("kill -{name} $$; sleep 5")).run().code, 128 + number, "{name}");
    }
}

pub(crate) fn what_the_command_leaves_running_ends_with_it() {
    needs!(root, program "busybox");
    let token = format!("1000000.{}", std::process::id());
    let ran = Case::sh(&format!("sleep {token} & sleep 0.1; exit 3")).run();
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(processes_with(&token), [] as [u32; 0], "the caller returned and one was left");
}

pub(crate) fn orphans_are_reaped() {
    needs!(root, program "busybox");
    let script = "for i in 1 2 3; do (sleep 0.2 &) ; done; sleep 0.6; grep -l '^State:.Z' /proc/[0-9]*/status | wc -l; \
        ls -d /proc/[0-9]* | wc -l";
    let out = Case::sh(script).run().good();
    let counts: Vec<u32> = out.split_whitespace().map(|count| count.parse().unwrap()).collect();
    assert_eq!(counts[0], 0, "zombies");
    // init, the shell, ls, wc
    assert!(counts[1] <= 4, "{out}");
}

pub(crate) fn a_killed_caller_takes_its_container_along() {
    needs!(root, program "busybox");
    let token = format!("2000000.{}", std::process::id());
    // One in the command's session, one that left it, one that ignores what can be ignored.
    let script =
        format!("sleep {token} & setsid sleep {token} & trap '' HUP TERM INT; echo ready; sleep {token}; echo $?");
    let mut running = Case::sh(&script).spawn();
    running.read_until("ready");
    wait_until("three sleep", || processes_with(&token).len() >= 3);
    running.signal("KILL");
    wait_until("none is left", || processes_with(&token).is_empty());
}

pub(crate) fn a_step_that_fails_is_named_with_its_cause() {
    needs!(root, program "busybox");
    let mut case = Case::new(&["true"]);
    let mounts = case.spec.mounts_mut().as_mut().unwrap();
    mounts[0].set_options(Some(vec!["no-such-option".to_owned()]));
    let ran = case.run();
    assert_eq!(ran.code, 125);
    assert!(ran.err.starts_with("cannot mount proc at /proc: fsconfig \"proc no-such-option\": "), "{ran:?}");

    let mut case = Case::new(&["true"]);
    case.process().set_cwd("/etc/passwd".into());
    let ran = case.run();
    assert_eq!((ran.code, ran.err.contains("cannot enter the working directory /etc/passwd")), (125, true), "{ran:?}");
}

pub(crate) fn what_is_not_supported_is_refused_before_anything_runs() {
    needs!(root, program "busybox");
    let mut case = Case::sh("touch /ran");
    case.spec.linux_mut().as_mut().unwrap().set_seccomp(Some(LinuxSeccomp::default()));
    let ran = case.run();
    assert_eq!((ran.code, ran.err.trim()), (125, "the runtime does not do linux.seccomp yet"));
    assert!(!case.root().join("ran").exists());
}
