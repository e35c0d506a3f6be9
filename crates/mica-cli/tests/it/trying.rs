//! `try` and `apply`: a command on a view of this machine, which stays as it is.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mica_testkit::{Scratch, Snapshot, in_mount_namespace, needs};

use crate::common::Mica;

const MOUNT: &str = "mount";

/// Part of this machine that a test may look at and try to harm: a directory beside the store, with a tmpfs mounted in it
/// and a file that is mounted by itself. To be made in a mount namespace of the test's own.
struct Machine {
    mica: Mica,
    place: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let mica = Mica::new();
        let place = mica.path("machine");
        for dir in ["a", "b/deep", "was", "tmp", "other", "shared"] {
            fs::create_dir_all(place.join(dir)).unwrap();
        }
        for file in
            ["a/file", "a/gone", "a/mode", "a/old", "a/linked", "a/owner", "b/deep/x", "was/x", "single", "source"]
        {
            fs::write(place.join(file), format!("{file}\n")).unwrap();
        }
        fs::hard_link(place.join("a/linked"), place.join("a/too")).unwrap();
        let machine = Self { mica, place };
        machine.mount(&["-t", "tmpfs", "tmpfs"], "tmp");
        machine.mount(&["-t", "tmpfs", "-o", "mode=755", "tmpfs"], "other");
        machine.mount(&["--bind", machine.place.join("source").to_str().unwrap()], "single");
        fs::write(machine.place.join("tmp/x"), "x\n").unwrap();
        fs::write(machine.place.join("tmp/y"), "y\n").unwrap();
        machine
    }

    fn mount(&self, what: &[&str], target: &str) {
        let mounted = std::process::Command::new(MOUNT).args(what).arg(self.place.join(target)).status().unwrap();
        assert!(mounted.success());
    }

    /// A script that stands in the place.
    fn script(&self, script: &str) -> [String; 3] {
        ["sh".to_owned(), "-c".to_owned(), format!("cd {} || exit 99\n{script}", self.place.display())]
    }

    fn with(&self, flags: &[&str], script: &str) -> Vec<String> {
        let mut args = vec!["try".to_owned()];
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        args.push("--".to_owned());
        args.extend(self.script(script));
        args
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.place.join(path)).unwrap()
    }

    /// The changes of this place and of `/etc` in a listing, with the place left out.
    fn changes(&self, listing: &str) -> Vec<String> {
        let place = format!("{}/", self.place.display());
        listing.lines().map(|line| line.replace(&place, "")).collect()
    }

    /// Nothing of a try is left: no record, no file, no mount.
    #[track_caller]
    fn assert_clean(&self) {
        assert_eq!(self.mica.run(["ps", "-aq"]).out, "");
        self.mica.assert_whole();
        let root = self.mica.root();
        // What was removed is deleted by a process that may outlive the command.
        let gone = |dir: &str| {
            (0..500).any(|_| {
                let empty = files_below(&root.join(dir)).is_empty();
                empty || {
                    std::thread::sleep(Duration::from_millis(20));
                    false
                }
            })
        };
        for dir in ["trash", "volatile", "containers", "container-names"] {
            assert!(gone(dir), "{dir} has {:?}", files_below(&root.join(dir)));
        }
        let files = files_below(&self.mica.run_root());
        assert_eq!(files, Vec::<PathBuf>::new(), "left in the run root");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = format!("{}/", root.parent().unwrap().display());
        let left: Vec<&str> =
            mounts.lines().filter(|line| line.contains(&ours) && !line.contains("/machine/")).collect();
        assert_eq!(left, Vec::<&str>::new(), "left mounted");
    }
}

/// All that is no directory.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn whatever_the_command_does_the_machine_stays_as_it_is() {
    needs!(root, overlay, program "mount");
    in_mount_namespace(|| {
        let machine = Machine::new();
        let etc = Snapshot::of(Path::new("/etc"));
        let place = Snapshot::of(&machine.place);
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let root = fs::metadata("/").unwrap().dev();
        let (major, minor) = (root >> 8 & 0xfff, root & 0xff);
        let script = format!(
            "exec 2>/dev/null
            echo changed > a/file; rm a/gone; chmod 600 a/mode; mv a/old a/new; chown 1:1 a/owner
            ln a/linked a/second; echo more >> a/second
            rm -r b; mkdir c; echo c > c/x; ln -s x c/l; mkfifo c/f
            rm -r was; mkdir was; echo other > was/y
            echo changed > tmp/x; rm tmp/y; echo new > tmp/z; chmod 700 other
            echo changed > single && echo BAD: a file that is mounted by itself
            mknod disk b {major} {minor} || echo BAD: a node is a file as any other
            head -c 1 disk && echo BAD: a disk
            mknod mem c 1 1; head -c 1 mem && echo BAD: memory
            mount -t tmpfs tmpfs c && echo BAD: a mount
            mount --bind a c && echo BAD: a bind mount
            umount tmp && echo BAD: an unmount
            mount -o remount,rw /sys && echo BAD: a remount
            (echo bad > /proc/sys/kernel/hostname) && echo BAD: /proc/sys
            (echo bad > /sys/kernel/mm/ksm/run) && echo BAD: /sys
            (echo h > /proc/sysrq-trigger) && echo BAD: sysrq
            rm /etc/passwd; echo new > /etc/mica-test-was-here
            exit 7"
        );
        let said = machine.mica.try_run(machine.with(&[], &script));
        assert_eq!(said.status, 7, "{said:#?}");
        etc.assert_unchanged(Path::new("/etc"), "a try");
        place.assert_unchanged(&machine.place, "a try");
        assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), hostname);
        assert_eq!(
            machine.changes(&said.out),
            [
                "C /etc",
                "A /etc/mica-test-was-here",
                "D /etc/passwd",
                &format!("C {}", machine.place.display()),
                "C a",
                "C a/file",
                "D a/gone",
                "C a/linked",
                "C a/mode",
                "A a/new",
                "D a/old",
                "C a/owner",
                "A a/second",
                "D b",
                "A c",
                "A c/f",
                "A c/l",
                "A c/x",
                "A disk",
                "A mem",
                "C other",
                "C tmp/x",
                "D tmp/y",
                "A tmp/z",
                "C was",
                "D was/x",
                "A was/y",
            ],
            "{said:#?}"
        );
        let single = machine.place.join("single");
        assert!(said.err.contains(&format!("mica: {} is shown read-only", single.display())), "{said:#?}");
        machine.assert_clean();
    });
}

#[test]
fn what_a_try_kept_is_shown_and_applied_after_a_yes() {
    needs!(root, overlay, program "mount");
    in_mount_namespace(|| {
        let machine = Machine::new();
        let mica = &machine.mica;
        let script = "echo changed > a/file; rm a/gone; chmod 600 a/mode; mv a/old a/new; chown 1:1 a/owner
            ln a/linked a/second; rm -r b; mkdir -m 700 c; echo c > c/x; ln -s x c/l
            rm -r was; mkdir was; echo other > was/y; rm tmp/y; echo new > tmp/z; echo one > made; ln made twin
            chmod 700 other";
        let said = mica.run(machine.with(&["--keep", "wild"], script));
        assert_eq!(mica.run(["diff", "wild"]).out, said.out, "diff says what try said");
        assert!(said.err.contains("mica apply wild"), "{said:#?}");

        // Nobody can be asked.
        let before = Snapshot::of(&machine.place);
        let error = mica.refuses(["apply", "wild"]);
        assert!(error.contains("hint: ") && error.contains("--yes"), "{error}");
        before.assert_unchanged(&machine.place, "an apply that nobody agreed to");

        std::thread::sleep(Duration::from_millis(20));
        fs::write(machine.place.join("a/mode"), "meanwhile\n").unwrap();
        fs::write(machine.place.join("was/x"), "meanwhile\n").unwrap();
        let applied = mica.run(["apply", "-y", "wild"]);
        let warned: Vec<&str> = applied.err.lines().filter(|line| line.contains("changed on this machine")).collect();
        assert!(warned.len() == 2 && warned[0].contains("/a/mode ") && warned[1].contains("/was/x "), "{applied:#?}");

        assert_eq!(machine.read("a/file"), "changed\n");
        for gone in ["a/gone", "a/old", "b", "was/x", "tmp/y"] {
            assert!(!machine.place.join(gone).exists(), "{gone} is still there");
        }
        assert_eq!(machine.read("a/new"), "a/old\n");
        assert_eq!((machine.read("c/x"), machine.read("c/l")), ("c\n".to_owned(), "c\n".to_owned()));
        assert_eq!((machine.read("was/y"), machine.read("tmp/z")), ("other\n".to_owned(), "new\n".to_owned()));
        let stat = |path: &str| fs::metadata(machine.place.join(path)).unwrap();
        assert_eq!(stat("a/mode").mode() & 0o7777, 0o600);
        assert_eq!(stat("c").mode() & 0o7777, 0o700);
        assert_eq!(stat("other").mode() & 0o7777, 0o700, "the root of a file system");
        assert_eq!(stat("tmp").mode() & 0o7777, 0o1777);
        assert_eq!((stat("a/owner").uid(), stat("a/owner").gid()), (1, 1));
        assert_eq!(machine.read("a/second"), "a/linked\n");
        assert_eq!(stat("a/linked").ino(), stat("a/second").ino(), "a new name of an old file is a name of it");
        assert_eq!((stat("made").ino(), stat("made").nlink()), (stat("twin").ino(), 2), "two names of a new file");
        assert_eq!(machine.read("single"), "source\n");

        // Kept until it is removed, and no container.
        let error = mica.refuses(["start", "-a", "wild"]);
        assert!(error.contains("mica apply wild"), "{error}");
        assert_eq!(mica.run(["ps", "-aq"]).out.lines().count(), 1);
        mica.run(["system", "prune", "-f"]);
        assert_eq!(mica.run(["ps", "-aq"]).out.lines().count(), 1, "a prune leaves what was kept on purpose");
        mica.run(["rm", "wild"]);
        machine.assert_clean();
    });
}

#[test]
fn changes_of_a_file_system_that_is_gone_are_not_applied_to_what_lies_under_it() {
    needs!(root, overlay, program "mount");
    in_mount_namespace(|| {
        let machine = Machine::new();
        machine.mica.run(machine.with(&["--keep", "k"], "echo new > tmp/z; echo new > a/z"));
        let unmounted = std::process::Command::new("umount").arg(machine.place.join("tmp")).status().unwrap();
        assert!(unmounted.success());
        let error = machine.mica.refuses(["apply", "-y", "k"]);
        assert!(error.contains("not mounted any more"), "{error}");
        assert!(!machine.place.join("a/z").exists() && !machine.place.join("tmp/z").exists(), "something was applied");
    });
}

#[test]
fn what_is_shared_is_changed_for_real() {
    needs!(root, overlay, program "mount");
    in_mount_namespace(|| {
        let machine = Machine::new();
        let shared = machine.place.join("shared");
        let said = machine
            .mica
            .run(machine.with(&["--share", shared.to_str().unwrap()], "echo real > shared/file; echo not > a/not"));
        assert_eq!(machine.read("shared/file"), "real\n");
        assert!(!machine.place.join("a/not").exists());
        assert_eq!(machine.changes(&said.out), ["C a", "A a/not"]);
        let told = said.err.lines().find(|line| line.contains("real, not a view")).unwrap_or_default();
        assert!(told.contains("the network") && told.contains(shared.to_str().unwrap()), "{said:#?}");
        machine.mica.refuses(["try", "--share", "/no/such/place", "--", "true"]);
        machine.assert_clean();
    });
}

#[test]
fn the_store_and_run_are_masked_and_names_are_resolved() {
    needs!(root, overlay, program "mount");
    in_mount_namespace(|| {
        let machine = Machine::new();
        let mica = &machine.mica;
        mica.run(["images"]);
        let root = mica.root().display();
        let script = format!(
            "ls -A {root}; (echo x > {root}/x) 2>/dev/null && echo BAD; ls -A /run; ls -A {}",
            mica.run_root().display()
        );
        assert_eq!(mica.run(["try", "-q", "--", "sh", "-c", &script]).out, "lock\n");

        // As systemd-resolved has it.
        let mount = |args: &[&str]| {
            assert!(std::process::Command::new(MOUNT).args(args).status().unwrap().success());
        };
        mount(&["-t", "tmpfs", "tmpfs", "/run"]);
        fs::create_dir(Path::new("/run/resolve")).unwrap();
        fs::write("/run/resolve/stub.conf", "nameserver 192.0.2.1\n").unwrap();
        mount(&["-t", "tmpfs", "tmpfs", "/etc"]);
        symlink("../run/resolve/stub.conf", "/etc/resolv.conf").unwrap();
        let said = mica.run(["try", "-q", "--", "sh", "-c", "cat /etc/resolv.conf; ls /run"]);
        assert_eq!(said.out, "nameserver 192.0.2.1\nlock\nresolve\n");
        machine.assert_clean();
    });
}

#[test]
fn the_command_has_the_callers_place_and_environment_and_the_network_it_asked_for() {
    needs!(root, overlay, program "mount");
    in_mount_namespace(|| {
        let machine = Machine::new();
        let mica = &machine.mica;
        let run = |here: &Path, args: &[&str]| {
            let output = mica.command(args).current_dir(here).env("A_WORD", "of mine").output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let place = machine.place.join("a");
        let said = run(&place, &["try", "-q", "--", "sh", "-c", "pwd; echo $A_WORD; id -u"]);
        assert_eq!(said, format!("{}\nof mine\n0\n", place.display()));
        // A place that the view does not have.
        mica.run(["images"]);
        assert_eq!(run(mica.root(), &["try", "-q", "--", "pwd"]), "/\n");
        let devices = run(&place, &["try", "-q", "--network", "none", "--", "tail", "-n", "+3", "/proc/net/dev"]);
        let names: Vec<&str> = devices.lines().filter_map(|line| line.split(':').next()).map(str::trim).collect();
        assert_eq!(names, ["lo"]);
        let said = mica.run(["try", "--network", "none", "--", "true"]);
        assert!(!said.err.contains("real") && said.err.ends_with("mica: nothing was changed\n"), "{said:#?}");
        let ended = mica.try_run(["try", "-q", "--", "no-such-command-anywhere"]);
        assert_eq!(ended.status, 127, "{ended:#?}");
        machine.assert_clean();
    });
}

#[test]
fn a_try_in_a_try_says_what_to_do() {
    needs!(root, overlay);
    in_mount_namespace(|| {
        let mica = Mica::new();
        let program = env!("CARGO_BIN_EXE_mica");
        let said = mica.try_run(["try", "-q", "--", program, "try", "--", "true"]);
        assert_eq!(said.status, 125);
        assert!(
            said.err.contains("mica: open the store") && said.err.contains("hint: inside of `mica try`"),
            "{said:#?}"
        );
    });
}

#[test]
fn without_root_there_is_one_error_that_says_so() {
    needs!(root);
    let mica = Mica::new();
    let home = mica.path("store").parent().unwrap().to_owned();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    let copy = home.join("mica");
    // By another process: a descriptor of ours that is open for writing would go into what other threads start.
    let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_mica")).arg(&copy).status().unwrap();
    assert!(copied.success());
    let output = std::process::Command::new(copy).args(["try", "--", "true"]).uid(65534).gid(65534).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125), "{error}");
    let lines: Vec<&str> = error.lines().collect();
    assert!(
        matches!(lines[..], [what, hint] if what.starts_with("mica: ") && what.contains("root") && hint.starts_with("hint: ")),
        "{error}"
    );
}

/// What [`begin`] changes.
const WRITTEN: [&str; 4] = ["C a", "C a/file", "D a/gone", "C was/x"];

/// A try that writes and then waits; its standard output is open as long as any process of it lives.
fn begin(machine: &Machine, flags: &[&str]) -> Child {
    let script = "echo changed > a/file; rm a/gone; chmod 600 was/x; echo ready; exec sleep 300";
    let mut command = machine.mica.command(machine.with(flags, script));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"ready\n");
    child
}

fn signal(child: &Child, name: &str) {
    let sent = std::process::Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// What it said, once nobody of it lives any more.
fn end(mut child: Child) -> (std::process::ExitStatus, String) {
    let begun = Instant::now();
    let status = child.wait().unwrap();
    let mut rest = String::new();
    child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(60), "the command outlived its try");
    (status, rest)
}

#[test]
fn a_try_that_is_asked_to_end_ends_with_its_command() {
    needs!(root, overlay, program "mount");
    in_mount_namespace(|| {
        let machine = Machine::new();
        let child = begin(&machine, &[]);
        // Somebody else is at work meanwhile, in a directory that the command wrote in.
        fs::write(machine.place.join("was/new"), "new\n").unwrap();
        let before = Snapshot::of(&machine.place);
        signal(&child, "TERM");
        let (status, said) = end(child);
        assert_eq!(status.code(), Some(143));
        assert_eq!(machine.changes(&said), WRITTEN);
        before.assert_unchanged(&machine.place, "a try that was ended");
        machine.assert_clean();
    });
}

#[test]
fn a_try_that_is_killed_takes_its_command_with_it_and_is_swept() {
    needs!(root, overlay, program "mount");
    in_mount_namespace(|| {
        let machine = Machine::new();
        let before = Snapshot::of(&machine.place);
        let living = begin(&machine, &[]);
        let killed = begin(&machine, &[]);
        assert_eq!(machine.mica.run(["ps", "-q"]).out.lines().count(), 2);
        signal(&killed, "KILL");
        end(killed);
        before.assert_unchanged(&machine.place, "a try that was killed");
        // Its processes are dead before the kernel is done with them.
        let left = || machine.mica.run(["ps", "-aq"]).out.lines().count();
        let swept = (0..200).any(|_| {
            left() == 1 || {
                std::thread::sleep(Duration::from_millis(20));
                false
            }
        });
        assert!(swept, "the one that was killed is still there");
        signal(&living, "TERM");
        assert_eq!(machine.changes(&end(living).1), WRITTEN, "the other had its changes");
        machine.assert_clean();

        // What was to be kept is kept.
        let kept = begin(&machine, &["--keep", "k"]);
        signal(&kept, "KILL");
        end(kept);
        let ended = (0..500).any(|_| {
            machine.mica.run(["ps", "-q"]).out.is_empty() || {
                std::thread::sleep(Duration::from_millis(20));
                false
            }
        });
        assert!(ended, "the one that was killed still runs");
        assert_eq!(machine.changes(&machine.mica.run(["diff", "k"]).out), WRITTEN);
        machine.mica.run(["rm", "k"]);
        machine.assert_clean();
    });
}

/// Where the kernel lays no overlayfs over another: the store of a try in a try, or of a job in a container.
#[test]
fn a_store_on_overlayfs_tries_too() {
    needs!(root, overlay, fuse, program "mount");
    in_mount_namespace(store_on_overlayfs);
}

fn store_on_overlayfs() {
    let scratch = Scratch::new();
    let at = |name: &str| scratch.make(name).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
    let place = scratch.make("merged");
    let mounted = Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&place).status();
    assert!(mounted.unwrap().success());
    let mica = Mica::at(place.join("store"));
    let tree = scratch.make("tree");
    fs::create_dir(tree.join("dir")).unwrap();
    fs::write(tree.join("dir/file"), "file\n").unwrap();
    let script = format!("cd {}; mv dir moved; echo more >>moved/file; cat moved/file; chmod 700 .", tree.display());
    let said = mica.run(["try", "--keep", "later", "--", "sh", "-c", &script]);
    assert!(said.out.starts_with("file\nmore\n"), "{said:#?}");
    assert!(!said.err.contains("read-only"), "{said:#?}");
    assert_eq!(fs::read_to_string(tree.join("dir/file")).unwrap(), "file\n");
    let tree = tree.display().to_string();
    let expected =
        [format!("C {tree}"), format!("D {tree}/dir"), format!("A {tree}/moved"), format!("A {tree}/moved/file")];
    let changes = mica.run(["diff", "later"]).out;
    let changes: Vec<&str> = changes.lines().filter(|line| line.contains(&tree)).collect();
    assert_eq!(changes, expected);
    mica.run(["commit", "-q", "later", "made"]);
    mica.run(["apply", "--yes", "later"]);
    assert_eq!(fs::read_to_string(Path::new(&tree).join("moved/file")).unwrap(), "file\nmore\n");
    assert!(!Path::new(&tree).join("dir").exists());
    mica.run(["rm", "later"]);
    mica.assert_whole();
}
