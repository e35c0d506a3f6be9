//! Containers that the FUSE union shows: what its server does, and what becomes of an upper that it wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mica_sys::Dir;
use mica_testkit::{OrdinaryUser, Scratch, Snapshot, in_mount_namespace, needs};

use crate::common::Mica;

/// The servers that have a file below `place` open, by their process ids.
fn servers(place: &Path) -> Vec<i32> {
    let is_server = |pid: i32| {
        let name = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        name == b"mica-fuse-server\0"
            && open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|open| open.starts_with(place))
    };
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    all.filter(|pid| is_server(*pid)).collect()
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(pid: i32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// A container's command that is running; killed when this is dropped.
struct Running(Child);

impl Running {
    fn start(mica: &Mica, args: &[&str]) -> Self {
        let mut command = mica.command(args);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn end(mut self) -> String {
        drop(self.0.stdin.take());
        let mut said = String::new();
        for mut out in
            [self.0.stdout.take().map(into_reader), self.0.stderr.take().map(into_reader)].into_iter().flatten()
        {
            std::io::Read::read_to_string(&mut out, &mut said).unwrap();
        }
        self.0.wait().unwrap();
        said
    }
}

fn into_reader(out: impl std::io::Read + 'static) -> Box<dyn std::io::Read> {
    Box::new(out)
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_server_lives_as_long_as_its_mount() {
    needs!(root, fuse, program "busybox");
    let mica = Mica::new();
    mica.busybox("box");
    let place = mica.root();
    let running = Running::start(&mica, &["run", "--name", "c", "--driver", "fuse", "box", "sh", "-c", "echo up; cat"]);
    until("a server starts", || servers(place).len() == 1);
    assert_eq!(running.end(), "up\n");
    until("the server ends with the container", || servers(place).is_empty());

    let merged = PathBuf::from(mica.run(["mount", "c"]).line());
    assert_eq!(servers(place).len(), 1, "the command that mounted has ended, and its mount answers");
    fs::write(merged.join("by-mount"), "x").unwrap();
    assert_eq!(mica.run(["mount", "c"]).line(), merged.display().to_string());
    assert_eq!(servers(place).len(), 1, "a mount that is there is shared");
    assert_eq!(mica.run(["start", "-a", "c"]).out, "up\n", "by the container, too");
    mica.run(["umount", "c"]);
    until("the server ends with the mount", || servers(place).is_empty());
    assert_eq!(mica.run(["diff", "c"]).out, "A /by-mount\n");

    mica.run(["mount", "c"]);
    mica.run(["rm", "-f", "c"]);
    until("the server ends with the container", || servers(place).is_empty());
    mica.assert_whole();
}

#[test]
fn started_again_at_once_a_container_has_what_it_wrote() {
    needs!(root, fuse, program "busybox");
    let mica = Mica::new();
    mica.busybox("box");
    mica.run(["create", "--name", "c", "--driver", "fuse", "box", "sh", "-c", "echo x >>/log; wc -l </log"]);
    for number in 1..=10 {
        assert_eq!(mica.run(["start", "-a", "c"]).line(), number.to_string());
    }
}

#[test]
fn a_server_that_is_killed_loses_nothing_that_was_written() {
    needs!(root, fuse, program "busybox");
    let mica = Mica::new();
    mica.busybox("box");
    let script =
        "echo one >/file; mv /var /moved; chmod 600 /etc/passwd; sync; echo done; cat >/dev/null; cat /file; echo $?";
    let mut running = Running::start(&mica, &["run", "--name", "c", "--driver", "fuse", "box", "sh", "-c", script]);
    let mut line = [0; 5];
    std::io::Read::read_exact(running.0.stdout.as_mut().unwrap(), &mut line).unwrap();
    for pid in servers(mica.root()) {
        signal(pid, "-KILL");
    }
    until("the server is gone", || servers(mica.root()).is_empty());
    drop(running.end());
    assert_eq!(mica.run(["diff", "c"]).out, "C /etc/passwd\nA /file\nA /moved\nD /var\n");
    assert_eq!(mica.run(["commit", "-q", "c", "made"]).status, 0);
    let look = "cat /file; ls -d /moved; stat -c %a /etc/passwd";
    for driver in ["fuse", "flat"] {
        assert_eq!(mica.run(["run", "--rm", "--driver", driver, "made", "sh", "-c", look]).out, "one\n/moved\n600\n");
    }
    mica.run(["rm", "c"]);
    mica.assert_whole();
}

/// What is done in a container, so that nothing in it depends on the time.
const WORK: &str = "mv /usr/share /moved && chmod 700 /moved/in/file && ln /moved/in/file /moved/again && rm /moved/in/gone \
    && mv /moved/in /in && echo more >>/big && chown 3:4 /etc/passwd && rm -r /var && mkdir -m 750 /var && truncate -s 3 /small \
    && touch -d @7 /usr /moved /moved/in /in /big /etc /var /small /moved/again 2>/dev/null; touch -d @7 /moved /in /in/file /usr /";

#[test]
fn the_same_work_is_committed_as_the_same_layer_by_every_driver() {
    needs!(root, overlay, fuse, program "busybox");
    let mica = Mica::new();
    let tree = mica.path("tree");
    fs::create_dir(&tree).unwrap();
    mica_testkit::busybox_rootfs(&tree);
    fs::create_dir_all(tree.join("usr/share/in")).unwrap();
    for (name, content) in [
        ("usr/share/in/file", "file\n"),
        ("usr/share/in/gone", ""),
        ("big", "big\n"),
        ("small", "small\n"),
        ("var/x", ""),
    ] {
        fs::create_dir_all(tree.join(name).parent().unwrap()).unwrap();
        fs::write(tree.join(name), content).unwrap();
    }
    mica.run(["import", "-q", tree.to_str().unwrap(), "box"]);
    let mut made = Vec::new();
    for driver in ["overlay", "fuse", "flat"] {
        mica.run(["run", "--name", driver, "--driver", driver, "box", "sh", "-c", WORK]);
        let changes = mica.run(["diff", driver]).out;
        let image = format!("by-{driver}");
        mica.run(["commit", "-q", driver, &image]);
        let layer = mica.run(["inspect", &image, "--format", "{{.RootFS.Layers}}"]).line();
        made.push((driver, changes, layer));
        // Of the upper of the union ours is the one that says nothing twice.
        let upper = Dir::open(&upper_of(&mica, driver)).unwrap();
        let leads = mica_layer::leads_below(&upper, mica_layer::Marks::Trusted).unwrap();
        assert_eq!(leads, driver == "fuse", "{driver}");
    }
    let [(_, changes, layer), others @ ..] = &made[..] else { panic!() };
    for (driver, other_changes, other_layer) in others {
        assert_eq!(changes, other_changes, "{driver}");
        assert_eq!(layer, other_layer, "{driver}");
    }
    mica.assert_whole();
}

/// The upper of a container.
fn upper_of(mica: &Mica, name: &str) -> PathBuf {
    let id = mica.run(["inspect", name, "--format", "{{.Id}}"]).line();
    mica.root().join("containers").join(id).join("upper")
}

#[test]
fn an_exported_tree_is_the_one_that_shows() {
    needs!(root, fuse, program "busybox", program "tar");
    let mica = Mica::new();
    mica.busybox("box");
    mica.run(["run", "--name", "c", "--driver", "fuse", "box", "sh", "-c", "mv /etc /moved; chmod 600 /bin/busybox"]);
    let tar = mica.path("c.tar");
    mica.run(["export", "-o", tar.to_str().unwrap(), "c"]);
    let listed = Command::new("tar").arg("-tvf").arg(&tar).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().any(|line| line.ends_with(" moved/passwd")), "{listed}");
    assert!(listed.lines().any(|line| line.starts_with("-rw------- ") && line.ends_with(" bin/busybox")), "{listed}");
    assert!(!listed.contains(" etc/passwd"), "{listed}");
}

#[test]
fn a_live_directory_is_a_lower_and_stays_as_it_is() {
    needs!(root, fuse, program "busybox");
    let mica = Mica::new();
    let scratch = Scratch::new();
    let tree = scratch.make("tree");
    mica_testkit::busybox_rootfs(&tree);
    let before = Snapshot::of(&tree);
    let from = format!("dir:{}", tree.display());
    let script = "mv /bin /programs; /programs/busybox chmod 711 /etc; /programs/busybox rm /etc/group";
    mica.run(["run", "--name", "c", "--driver", "fuse", &from, "/bin/sh", "-c", script]);
    before.assert_unchanged(&tree, "a container");
    let changes = mica.run(["diff", "c"]).out;
    assert!(changes.contains("D /bin\n") && changes.contains("A /programs/busybox\n"), "{changes}");
    mica.run(["commit", "-q", "c", "made"]);
    mica.assert_whole();
}

/// An ordinary user's server is in the user's namespace and ends with the command.
#[test]
fn a_users_server_ends_with_the_command() {
    needs!(ordinary_user, fuse, program "busybox");
    in_mount_namespace(|| {
        for user in [OrdinaryUser::with_range(), OrdinaryUser::without_range()] {
            let mica = Mica::of(user);
            let root = mica.path("busybox");
            fs::create_dir(&root).unwrap();
            mica_testkit::busybox_rootfs(&root);
            for name in ["", "root", "etc", "etc/passwd", "etc/group", "bin", "bin/busybox", "tmp", "var"] {
                mica.user().give(&root.join(name));
            }
            mica.run(["import", "-q", root.to_str().unwrap(), "box"]);
            let script = "mv /etc /moved; chown 1:1 /bin; ls -d /moved; cat";
            let running = Running::start(&mica, &["run", "--name", "c", "--driver", "fuse", "box", "sh", "-c", script]);
            until("a server starts", || servers(mica.root()).len() == 1);
            let said = running.end();
            assert!(said.starts_with("/moved\n"), "{said}");
            until("the server ends with the container", || servers(mica.root()).is_empty());
            let changes = mica.run(["diff", "c"]).out;
            assert!(changes.contains("D /etc\n") && changes.contains("A /moved/passwd\n"), "{changes}");
            mica.run(["commit", "-q", "c", "made"]);
            assert_eq!(mica.run(["run", "--rm", "--driver", "flat", "made", "cat", "/moved/passwd"]).out, {
                fs::read_to_string(root.join("etc/passwd")).unwrap()
            });
            mica.assert_whole();
        }
    });
}
