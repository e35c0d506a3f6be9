//! Who the command is and what it may do.

use std::fs;

use mica_runtime::set_user;
use mica_runtime::users::resolve;
use mica_sys::Dir;
use mica_testkit::needs;
use oci_spec::runtime::{PosixRlimitBuilder, PosixRlimitType};

use crate::subject::Case;

const STATUS: &str = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs)' /proc/self/status; umask; echo $HOME";

fn status(out: &str, name: &str) -> String {
    let line =
        out.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap_or_else(|| panic!("no {name}: {out}"));
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

pub(crate) fn capabilities_are_dockers_for_root() {
    needs!(root, program "busybox");
    let out = Case::sh(STATUS).run().good();
    for (set, expected) in [
        ("CapEff", "00000000a80425fb"),
        ("CapPrm", "00000000a80425fb"),
        ("CapBnd", "00000000a80425fb"),
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "0"),
        ("Uid", "0 0 0 0"),
        ("Groups", ""),
    ] {
        assert_eq!(status(&out, set), expected, "{set}");
    }
    assert!(out.contains("\n0022\n"), "{out}");
}

pub(crate) fn another_user_has_its_ids_and_no_capabilities() {
    needs!(root, program "busybox");
    let mut case = Case::sh(&format!("{STATUS}; (cat /root/secret || echo kept) 2>&1"));
    fs::write(case.root().join("root/secret"), "").unwrap();
    fs::write(case.root().join("etc/passwd"), "a:x:1000:1001::/home/a:/bin/sh\n").unwrap();
    fs::write(case.root().join("etc/group"), "g:x:50:a\nh:x:60:b\n").unwrap();
    let user = resolve(&Dir::open(&case.root()).unwrap(), "a").unwrap();
    set_user(&mut case.spec, &user);
    let out = case.run().good();
    for (name, expected) in [
        ("Uid", "1000 1000 1000 1000"),
        ("Gid", "1001 1001 1001 1001"),
        ("Groups", "50"),
        ("CapEff", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapBnd", "00000000a80425fb"),
    ] {
        assert_eq!(status(&out, name), expected, "{name}");
    }
    assert!(out.contains("/home/a\n") && out.contains("Permission denied") && out.ends_with("kept\n"), "{out}");
}

pub(crate) fn no_new_privileges_when_asked_for() {
    needs!(root, program "busybox");
    let mut case = Case::sh(STATUS);
    case.process().set_no_new_privileges(Some(true));
    assert_eq!(status(&case.run().good(), "NoNewPrivs"), "1");
}

pub(crate) fn limits_change_only_when_asked_for() {
    needs!(root, program "busybox");
    let limits = |text: &str| -> Vec<String> {
        text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let ours = limits(&fs::read_to_string("/proc/self/limits").unwrap());
    let mut case = Case::new(&["cat", "/proc/self/limits"]);
    assert_eq!(limits(&case.run().good()), ours);
    let limit =
        PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile).soft(100_u64).hard(200_u64).build().unwrap();
    case.process().set_rlimits(Some(vec![limit]));
    let lowered = limits(&case.run().good());
    assert!(lowered.contains(&"Max open files 100 200 files".to_owned()), "{lowered:?}");
    assert_eq!(lowered.iter().zip(&ours).filter(|(one, other)| one != other).count(), 1);
}

pub(crate) fn a_missing_working_directory_is_made() {
    needs!(root, program "busybox");
    let mut case = Case::sh("pwd; stat -c '%a %u' .");
    case.process().set_cwd("/srv/deep/down".into());
    assert_eq!(case.run().good(), "/srv/deep/down\n755 0\n");
    let mut case = Case::new(&["pwd"]);
    std::os::unix::fs::symlink("../../etc", case.root().join("link")).unwrap();
    case.process().set_cwd("/link".into());
    assert_eq!(case.run().good(), "/etc\n", "a link inside the root is followed there");
}
