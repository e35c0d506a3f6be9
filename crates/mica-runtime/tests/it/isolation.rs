//! What a container does not share, and cannot reach.

use std::fs;

use mica_runtime::Network;
use mica_testkit::needs;
use oci_spec::runtime::Capability;

use crate::subject::Case;

const NAMESPACES: [&str; 6] = ["mnt", "pid", "uts", "ipc", "net", "cgroup"];

fn namespaces(network: Network) -> Vec<String> {
    let names = NAMESPACES.map(|name| format!("/proc/self/ns/{name}"));
    let args: Vec<&str> = ["sh", "-c", "for ns; do readlink $ns; done", "sh"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    Case::with(network, &args).run().good().lines().map(str::to_owned).collect()
}

fn ours() -> Vec<String> {
    NAMESPACES
        .map(|name| fs::read_link(format!("/proc/self/ns/{name}")).unwrap().into_os_string().into_string().unwrap())
        .into()
}

pub(crate) fn process_1_is_our_init_and_the_command_its_child() {
    needs!(root, program "busybox");
    let out = Case::sh(
        "tr '\\0' ' ' </proc/1/cmdline; echo; echo $PPID; grep -E '^(CapEff|CapPrm|NoNewPrivs)' /proc/1/status",
    )
    .run()
    .good();
    let lines: Vec<&str> = out.split_whitespace().collect();
    let kill = "0000000000000020";
    assert_eq!(lines, ["mica-init", "1", "CapPrm:", kill, "CapEff:", kill, "NoNewPrivs:", "1"]);
}

pub(crate) fn every_namespace_is_the_containers_own() {
    needs!(root, program "busybox");
    for (inside, outside) in namespaces(Network::None).iter().zip(ours()) {
        assert_ne!(*inside, outside);
    }
}

pub(crate) fn the_host_network_is_shared_when_asked_for() {
    needs!(root, program "busybox");
    for ((inside, outside), name) in namespaces(Network::Host).iter().zip(ours()).zip(NAMESPACES) {
        assert_eq!(*inside == outside, name == "net", "{name}: {inside} {outside}");
    }
}

pub(crate) fn loopback_is_up_without_a_network() {
    needs!(root, program "busybox");
    let out = Case::sh("ls /sys/class/net; ip addr show lo; ping -c 1 -W 2 127.0.0.1 >/dev/null && echo answered")
        .run()
        .good();
    assert!(out.starts_with("lo\n") && out.contains("LOOPBACK,UP") && out.contains("127.0.0.1"), "{out}");
    assert!(out.ends_with("answered\n"), "{out}");
}

pub(crate) fn the_host_name_is_set_inside_alone() {
    needs!(root, program "busybox");
    let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let mut case = Case::new(&["hostname"]);
    case.spec.set_hostname(Some("a-container".to_owned()));
    assert_eq!(case.run().good(), "a-container\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
}

/// CVE-2019-5736: the runtime's binary overwritten through `/proc/1/exe`.
pub(crate) fn init_and_the_callers_binary_are_out_of_reach() {
    needs!(root, program "busybox");
    let out = Case::sh("readlink /proc/1/exe || echo no; readlink /proc/1/fd/0 /proc/1/fd/3 || echo no; readlink /proc/1/cwd || echo no").run();
    assert!(out.out == "no\nno\nno\n", "{out:?}");

    // Not dumpable is one lock. With the right to trace it does not hold, and the read-only mount does.
    let before = fs::metadata(std::env::current_exe().unwrap()).unwrap();
    let mut case = Case::sh(
        "cmp -n 4 /proc/1/exe /elf && echo read; (: >>/proc/1/exe) 2>/dev/null || echo busy; chmod 777 /proc/1/exe || echo refused",
    );
    fs::write(case.root().join("elf"), b"\x7fELF").unwrap();
    let mut sets = case.process().capabilities().clone().unwrap();
    let mut all = sets.bounding().clone().unwrap();
    all.insert(Capability::SysPtrace);
    sets.set_bounding(Some(all.clone())).set_effective(Some(all.clone())).set_permitted(Some(all));
    case.process().set_capabilities(Some(sets));
    let ran = case.run();
    assert_eq!(ran.out, "read\nbusy\nrefused\n", "{ran:?}");
    assert!(ran.err.contains("Read-only file system"), "{ran:?}");
    let after = fs::metadata(std::env::current_exe().unwrap()).unwrap();
    assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
}

/// CVE-2024-21626, its first half.
pub(crate) fn no_descriptor_of_the_caller_is_inherited() {
    needs!(root, program "busybox");
    let case = Case::sh("ls /proc/self/fd; ls -l /proc/self/fd /proc/$$/fd | grep -c /etc/hostname");
    // A shell that leaves descriptors open over its exec, as a careless caller would.
    let mut command = case.command_after("exec 7</etc/hostname 9</");
    let ran = crate::subject::Ran::from(command.stdin(std::process::Stdio::null()).output().unwrap());
    assert_eq!(ran.out, "0\n1\n2\n3\n0\n", "3 is the directory that ls reads: {ran:?}");
}

/// CVE-2024-21626, its second half.
pub(crate) fn a_working_directory_by_a_magic_link_is_refused() {
    needs!(root, program "busybox");
    // The first leads to whatever is open; the last would stay inside, and shows that it is the kind of link that is refused.
    for path in ["/proc/self/fd/5", "/proc/self/fd/7", "/proc/self/cwd"] {
        let mut case = Case::new(&["pwd"]);
        case.process().set_cwd(path.into());
        let ran = case.run();
        assert_eq!((ran.code, ran.out.as_str()), (125, ""), "{ran:?}");
        assert!(ran.err.contains(&format!("cannot enter the working directory {path}: openat2 ")), "{ran:?}");
    }
    let mut case = Case::new(&["pwd"]);
    case.process().set_cwd("/proc/self/cwd".into());
    assert!(case.run().err.contains("Too many levels of symbolic links"));
}
