//! What a container's tree is made of, and that none of it goes where it should not.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use mica_sys::mount::{Reach, bind, mounts};
use mica_testkit::{in_mount_namespace, needs};
use oci_spec::runtime::{Mount, Root};

use crate::subject::{Case, share};

fn spec_bind(source: &Path, target: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(target))
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(source.to_owned()))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

fn add(case: &mut Case, mount: Mount) {
    case.spec.mounts_mut().as_mut().unwrap().push(mount);
}

pub(crate) fn the_kernels_files_are_masked_and_read_only() {
    needs!(root, program "busybox");
    let mut case = Case::new(&[]);
    let linux = case.spec.linux().as_ref().unwrap();
    let there = |paths: &Option<Vec<String>>| -> Vec<String> {
        paths.iter().flatten().filter(|path| Path::new(path).exists()).cloned().collect()
    };
    let (masked, read_only) = (there(linux.masked_paths()), there(linux.readonly_paths()));
    assert!(masked.iter().any(|path| Path::new(path).is_dir()) && masked.iter().any(|path| Path::new(path).is_file()));
    let script = "for path; do if [ -d $path ]; then ls -A $path; (: >$path/x) 2>&1; else cat $path; fi; umount $path 2>&1; done; true";
    let args = ["sh", "-c", script, "sh"].into_iter().map(str::to_owned).chain(masked.iter().cloned());
    case.process().set_args(Some(args.collect()));
    for line in case.run().good().lines() {
        assert!(line.contains("x: Read-only file system") || line.contains("not permitted"), "{line}");
    }
    let script =
        "for path; do (: >$path/x) 2>&1; done; (echo x >/proc/sys/kernel/domainname) 2>&1; mkdir /sys/x 2>&1; true";
    let args = ["sh", "-c", script, "sh"].into_iter().map(str::to_owned).chain(read_only.iter().cloned());
    case.process().set_args(Some(args.collect()));
    let out = case.run().good();
    assert!(
        out.contains("domainname: Read-only file system") && out.contains("'/sys/x': Read-only file system"),
        "{out}"
    );
    assert!(out.lines().all(|line| ["Read-only", "nonexistent"].iter().any(|why| line.contains(why))), "{out}");
}

pub(crate) fn devices_work_and_others_cannot_be_opened() {
    needs!(root, program "busybox");
    let script = "echo x >/dev/null; head -c 3 /dev/zero | od -An -tx1; head -c 8 /dev/urandom | wc -c; head -c 8 /dev/random | wc -c; \
        (echo x >/dev/full) 2>&1; stat -c '%a %t %T' /dev/null; \
        for at in /dev /tmp /dev/shm; do rm -f $at/mine; mknod $at/mine c 1 3 && (cat <$at/mine) 2>&1; done; \
        mknod /dev/disk b 7 0; (head -c 1 </dev/disk) 2>&1; true";
    let out = Case::sh(script).run().good();
    let lines: Vec<&str> = out.lines().map(str::trim).collect();
    assert_eq!(lines[..3], ["00 00 00", "8", "8"], "{out}");
    assert!(lines[3].contains("No space left"), "{out}");
    assert_eq!(lines[4], "666 1 3", "{out}");
    assert_eq!(lines.len(), 9, "{out}");
    for line in &lines[5..] {
        assert!(line.contains("Permission denied"), "a node of the container's own was opened: {out}");
    }
}

pub(crate) fn dev_has_the_links_that_programs_expect() {
    needs!(root, program "busybox");
    let script = "cd /dev; for link in fd stdin stdout stderr ptmx core; do readlink $link; done; ls | wc -l; \
        grep -E ' /dev(/(pts|shm|mqueue))? ' /proc/mounts | cut -d' ' -f2,3,4";
    let out = Case::sh(script).run().good();
    let links = "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n/proc/kcore\n15\n";
    assert!(out.starts_with(links), "{out}");
    for (mount, options) in [
        ("/dev tmpfs ", &["nosuid", "nodev", "mode=755", "size=65536k"][..]),
        ("/dev/pts devpts ", &["nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"]),
        ("/dev/shm tmpfs ", &["nosuid", "nodev", "noexec", "size=65536k"]),
        ("/dev/mqueue mqueue ", &["nosuid", "nodev", "noexec"]),
    ] {
        let line = out.lines().find(|line| line.starts_with(mount)).unwrap_or_else(|| panic!("no {mount}: {out}"));
        assert!(options.iter().all(|option| line.contains(option)), "{line}");
    }
}

pub(crate) fn control_groups_are_seen_read_only() {
    needs!(root, program "busybox");
    let hosts = fs::read_to_string("/proc/self/cgroup").unwrap();
    if hosts.is_empty() {
        return;
    }
    let script = "ls /sys/fs/cgroup; for dir in /sys/fs/cgroup /sys/fs/cgroup/*/; do \
        mkdir $dir/x 2>/dev/null && echo made $dir/x; (echo $$ >$dir/cgroup.procs) 2>/dev/null && echo moved $dir; done; true";
    let out = Case::sh(script).run().good();
    assert!(!out.is_empty(), "the host has them");
    assert!(!out.contains("made") && !out.contains("moved"), "{out}");
}

pub(crate) fn the_root_is_read_only_when_asked_for() {
    needs!(root, program "busybox");
    let script = "touch /tmp/x 2>&1; touch /dev/shm/x && echo shm; touch /x 2>&1; true";
    let mut case = Case::sh(script);
    assert_eq!(case.run().good(), "shm\n", "writable as it is");
    fs::remove_file(case.root().join("x")).unwrap();
    let mut root = Root::default();
    root.set_readonly(Some(true));
    case.spec.set_root(Some(root));
    let out = case.run().good();
    assert_eq!(out.matches("Read-only file system").count(), 2, "{out}");
    assert!(out.contains("shm\n") && !case.root().join("x").exists());
}

pub(crate) fn binds_take_their_options_and_missing_targets_are_made() {
    needs!(root, program "busybox");
    let mut case = Case::sh(
        "cat /a/b/c/file /one/file; touch /a/b/c/new && echo made; touch /ro/x 2>&1; /exec/true 2>&1 || echo 126; true",
    );
    let source = case.beside("source");
    fs::write(source.join("file"), "content\n").unwrap();
    fs::copy(case.root().join("bin/busybox"), source.join("true")).unwrap();
    add(&mut case, spec_bind(&source, "/a/b/c", &["rbind", "rw"]));
    add(&mut case, spec_bind(&source.join("file"), "/one/file", &["bind", "ro"]));
    add(&mut case, spec_bind(&source, "/ro", &["bind", "ro"]));
    add(&mut case, spec_bind(&source, "/exec", &["bind", "noexec"]));
    let out = case.run().good();
    assert!(out.starts_with("content\ncontent\nmade\n"), "{out}");
    assert!(out.contains("/ro/x: Read-only file system") && out.contains("/exec/true: Permission denied"), "{out}");
    assert!(source.join("new").exists(), "a bind is the host's directory");
    let missing = case.beside("source").join("missing");
    add(&mut case, spec_bind(&missing, "/x", &[]));
    let ran = case.run();
    assert!(ran.err.contains("cannot mount bind at /x: open ") && ran.err.contains("missing"), "{ran:?}");
}

pub(crate) fn further_mounts_are_attached_where_they_belong() {
    needs!(root, program "busybox");
    let mut case = Case::sh("cat /home/file; mknod /home/node c 1 3 && (: </home/node) 2>&1; ls /proc/self/status");
    let home = case.beside("home");
    fs::write(home.join("file"), "at home\n").unwrap();
    case.extra.push((home, PathBuf::from("/home")));
    let out = case.run();
    assert!(out.out.starts_with("at home\n") && out.out.contains("Permission denied"), "{out:?}");
}

/// A file of a live machine may go while its view is made.
pub(crate) fn a_further_mount_of_what_was_removed_is_left_out() {
    needs!(root, program "busybox");
    let mut case = Case::sh("cat /kept; test -s /gone || echo nothing");
    let place = case.beside("place");
    for name in ["kept", "gone"] {
        fs::write(place.join(name), format!("{name}\n")).unwrap();
        case.extra.push((place.join(name), Path::new("/").join(name)));
    }
    case.removed = Some(place.join("gone"));
    assert_eq!(case.run().good(), "kept\nnothing\n");
}

/// The image's own links stand where mount points are expected, and lead up and out.
pub(crate) fn symlinks_in_an_image_lead_no_mount_outside() {
    needs!(root, program "busybox");
    let mut case = Case::sh("grep ' /dev' /proc/mounts | wc -l; ls /inside /dev/ >/dev/null && cat /inside/bound");
    let outside = case.beside("outside");
    fs::remove_dir(case.root().join("dev")).unwrap();
    symlink("../../../../../../inside", case.root().join("dev")).unwrap();
    symlink(&outside, case.root().join("absolute")).unwrap();
    symlink("../../outside/dangling", case.root().join("up")).unwrap();
    let source = case.beside("source");
    fs::write(source.join("bound"), "bound\n").unwrap();
    add(&mut case, spec_bind(&source, "/absolute/deep", &["bind"]));
    add(&mut case, spec_bind(&source, "/up", &["bind"]));
    add(&mut case, spec_bind(&source.join("bound"), "/dev/bound", &["bind"]));
    let ran = case.run();
    assert!(ran.out.ends_with("bound\n"), "{ran:?}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was made outside");
    assert!(case.root().join(outside.strip_prefix("/").unwrap()).join("deep").exists(), "it was made inside");
    assert!(case.root().join("outside/dangling").exists());
}

/// CVE-2019-19921: a procfs where the setup does not look for it.
pub(crate) fn a_symlink_for_proc_is_refused() {
    needs!(root, program "busybox");
    for name in ["proc", "sys"] {
        let case = Case::new(&["true"]);
        fs::remove_dir(case.root().join(name)).unwrap();
        symlink("etc", case.root().join(name)).unwrap();
        let ran = case.run();
        assert_eq!(ran.code, 125, "{ran:?}");
        assert!(ran.err.contains(&format!("at /{name}: openat2 ")), "{ran:?}");
    }
}

fn table() -> Vec<String> {
    mounts().unwrap().iter().map(|mount| format!("{mount:?}")).collect()
}

pub(crate) fn the_hosts_mounts_are_as_before() {
    needs!(root, program "busybox");
    // In a namespace of its own, since other tests mount meanwhile.
    in_mount_namespace(|| {
        let mut case = Case::new(&["cat", "/proc/self/mounts"]);
        let source = case.beside("source");
        add(&mut case, spec_bind(&source, "/a/b/c", &["rbind"]));
        let before = table();
        let inside = case.run().good();
        assert_eq!(table(), before);
        assert!(inside.contains(" / ") && !inside.contains(case.root().to_str().unwrap()), "{inside}");
    });
}

pub(crate) fn a_shared_root_gets_nothing_of_the_containers_mounts() {
    needs!(root, program "busybox");
    in_mount_namespace(|| {
        let case = Case::new(&["cat", "/proc/self/mountinfo"]);
        let root = case.root();
        bind(&root, &root, Reach::One).unwrap();
        share(Path::new("/"));
        let before = table();
        // The subject's copy of a shared mount is its peer: what is mounted in one would come up in the other.
        let inside = case.run().good();
        assert!(!inside.contains("shared:"), "{inside}");
        assert_eq!(table(), before);
        assert_eq!(fs::read_dir(root.join("proc")).unwrap().count(), 0, "the container's /proc is seen on the host");
    });
}
