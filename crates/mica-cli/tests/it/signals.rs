//! Commands that signals meet at any moment of their lives, and containers whose server was killed: nothing is left mounted, no process lives on, what
//! was to go is gone with the next command, and every command says what is and does what can be done.
//!
//! `MICA_SIGNALS=500` gives each of the users as many rounds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mica_testkit::{OrdinaryUser, in_mount_namespace, needs};

use crate::common::{Mica, Said};

/// How long anything is waited for that has to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Signals that end a program that does not listen, and two that end none.
const SIGNALS: [&str; 11] = ["INT", "TERM", "HUP", "QUIT", "KILL", "USR1", "USR2", "ALRM", "PIPE", "STOP", "WINCH"];

/// Numbers that are as good as random.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    /// Mostly short: a command does most in its first tenth of a second.
    fn delay(&mut self) -> Duration {
        let most = [20, 100, 400, 1000][self.below(4)];
        Duration::from_millis(self.below(most) as u64)
    }
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn send(signal: &str, pid: impl std::fmt::Display) {
    // It may have ended meanwhile.
    drop(Command::new("kill").args(["-s", signal, "--", &pid.to_string()]).output().unwrap());
}

/// The processes of this store: those that have a file of its place open, stand there, or were told of it.
fn processes(place: &Path) -> Vec<(i32, String)> {
    let all =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok());
    all.filter_map(|pid| {
        let name = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).ok()?).replace('\0', " ");
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let holds = open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|open| open.starts_with(place));
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let told = String::from_utf8_lossy(&environment).contains(&*place.to_string_lossy());
        // What empties the trash may go on.
        ((holds || told) && !name.contains("__reap") && pid != std::process::id() as i32).then_some((pid, name))
    })
    .collect()
}

fn servers(mica: &Mica) -> Vec<i32> {
    let all = processes(mica.root()).into_iter();
    all.filter(|(_, name)| name.trim() == "mica-fuse-server").map(|(pid, _)| pid).collect()
}

fn names_in(dir: PathBuf) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// A store with an image, and beside it a place of the machine that a `try` changes.
struct Stage {
    mica: Mica,
    place: PathBuf,
}

impl Stage {
    fn new(mica: Mica, user: Option<u32>) -> Self {
        mica.busybox("box");
        let place = mica.root().parent().unwrap().join("place");
        fs::create_dir_all(place.join("d")).unwrap();
        fs::write(place.join("f"), "as it was\n").unwrap();
        if let Some(uid) = user {
            let owner = format!("{uid}:{uid}");
            assert!(Command::new("chown").args(["-R", &owner]).arg(&place).status().unwrap().success());
        }
        mica.run(["create", "--name", "kept", "--driver", "fuse", "box", "sh", "-c", "echo x >>/log; sleep 0.2"]);
        Self { mica, place }
    }

    /// A command in the midst of which a signal comes, and the container that it leaves behind.
    fn begin(&self, which: usize, round: usize) -> (Child, Option<String>) {
        let place = self.place.display();
        let on_machine = format!("echo x >{place}/f; rmdir {place}/d; sleep 0.2; echo y >{place}/g");
        let inside = "echo x >/new; rm /etc/passwd; mv /tmp /moved; sleep 0.2".to_owned();
        let name = format!("c{round}");
        let (words, script, left): (Vec<&str>, _, _) = match which {
            0 => (vec!["try", "-q", "--", "sh", "-c"], on_machine, None),
            1 => (vec!["try", "-q", "--keep", &name, "--", "sh", "-c"], on_machine, Some(name.clone())),
            2 => (vec!["run", "--rm", "--driver", "fuse", "box", "sh", "-c"], inside, None),
            3 => (vec!["run", "--name", &name, "--driver", "fuse", "box", "sh", "-c"], inside, Some(name.clone())),
            _ => (vec!["start", "-a", "kept"], String::new(), None),
        };
        let words = words.into_iter().chain((!script.is_empty()).then_some(&*script));
        let mut command = self.mica.command(words);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        (command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap(), left)
    }

    /// Nothing of a command that ended is left but what was to be kept.
    fn assert_clean(&self, what: &str, left: Option<String>) {
        until(&format!("{what}: still there: {:?}", processes(self.mica.root())), || {
            processes(self.mica.root()).is_empty()
        });
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = self.mica.root().parent().unwrap().display().to_string();
        assert_eq!(mounts.lines().find(|line| line.contains(&format!("{here}/"))), None, "{what}: mounted");
        assert_eq!(fs::read_to_string(self.place.join("f")).unwrap(), "as it was\n", "{what}");
        assert!(self.place.join("d").is_dir() && !self.place.join("g").exists(), "{what}");
        let kept: Vec<String> = self.names().into_iter().filter(|name| name != "kept").collect();
        assert!(kept.iter().all(|name| Some(name) == left.as_ref()), "{what}: {kept:?}");
        for name in kept {
            self.mica.run(["diff", &name]);
            self.mica.run(["rm", &name]);
        }
        let root = self.mica.root();
        until(&format!("{what}: trash"), || names_in(root.join("trash")).is_empty());
        for dir in ["staging", "leases"] {
            assert_eq!(names_in(root.join(dir)), Vec::<String>::new(), "{what}: {dir}");
        }
        let volatile =
            names_in(root.join("volatile")).into_iter().flat_map(|boot| names_in(root.join("volatile").join(boot)));
        assert_eq!(volatile.collect::<Vec<_>>(), Vec::<String>::new(), "{what}: volatile");
        // A claim of one that never came to be is anybody's.
        for name in names_in(root.join("container-names")).into_iter().filter(|name| name != "kept") {
            self.mica.run(["create", "--name", &name, "box", "true"]);
            self.mica.run(["rm", &name]);
        }
        assert_eq!(names_in(root.join("container-names")), ["kept"], "{what}");
        for dir in ["containers", "tries", "machines", "mounts"] {
            let mut names = names_in(self.mica.run_root().join(dir));
            // Of one that stays, they are written anew when it is started again.
            names.retain(|name| !self.mica.root().join("containers").join(name).exists());
            assert_eq!(names, Vec::<String>::new(), "{what}: {dir} of the run root");
        }
    }

    fn names(&self) -> Vec<String> {
        let said = self.mica.run(["ps", "-a", "--format", "{{.Names}}"]);
        said.out.lines().map(str::to_owned).collect()
    }

    fn play(&self, seed: u64) {
        let rounds = std::env::var("MICA_SIGNALS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(14);
        let mut chance = Chance(seed);
        for round in 0..rounds {
            let (mut command, left) = self.begin(chance.below(5), round);
            std::thread::sleep(chance.delay());
            let signal = SIGNALS[chance.below(SIGNALS.len())];
            let (target, pids) = match chance.below(4) {
                0 => ("servers", servers(&self.mica).iter().map(ToString::to_string).collect()),
                1 => ("group", vec![format!("-{}", command.id())]),
                _ => ("command", vec![command.id().to_string()]),
            };
            for pid in &pids {
                send(signal, pid);
            }
            if signal == "STOP" {
                std::thread::sleep(chance.delay() / 4);
                pids.iter().for_each(|pid| send("CONT", pid));
            }
            let what = format!("round {round}: {signal} to the {target} of {left:?}");
            until(&format!("{what}: it does not end"), || command.try_wait().unwrap().is_some());
            let said = Said::of(command.wait_with_output().unwrap());
            // By a signal: as it is, or as the command's end told so; or a command that could not go on, in a line.
            let is_told = said.status == 0 || said.status > 128 || !said.err.is_empty();
            assert!(is_told, "{what}: {said:?}");
            self.assert_clean(&what, left);
        }
        self.mica.assert_whole();
    }
}

#[test]
fn whenever_a_signal_comes_to_roots_command_nothing_is_left() {
    needs!(root, fuse, overlay, program "busybox");
    in_mount_namespace(|| Stage::new(Mica::new(), None).play(1));
}

#[test]
fn whenever_a_signal_comes_to_a_users_command_nothing_is_left() {
    needs!(ordinary_user, fuse, program "busybox");
    in_mount_namespace(|| {
        for (seed, user) in [(2, OrdinaryUser::with_range()), (3, OrdinaryUser::without_range())] {
            let uid = user.uid();
            Stage::new(Mica::of(user), Some(uid)).play(seed);
        }
    });
}

/// A mount whose server was killed shows nothing to anybody, and keeps nobody from anything.
#[test]
fn a_container_whose_server_was_killed_is_as_any_other() {
    needs!(root, fuse, program "busybox");
    in_mount_namespace(|| {
        let mica = Mica::new();
        mica.busybox("box");
        let tar = mica.path("c.tar");
        let export: &[&str] = &["export", "-o", tar.to_str().unwrap(), "c"];
        for words in [
            &["rm", "c"][..],
            &["rm", "-f", "c"],
            &["umount", "c"],
            &["mount", "c"],
            &["start", "-a", "c"],
            &["diff", "c"],
            &["commit", "-q", "c", "made"],
            export,
            &["ps", "-a"],
            &["system", "prune", "-f"],
        ] {
            mica.run(["create", "--name", "c", "--driver", "fuse", "box", "cat", "/new"]);
            let merged = PathBuf::from(mica.run(["mount", "c"]).line());
            fs::write(merged.join("new"), "written").unwrap();
            servers(&mica).into_iter().for_each(|pid| send("KILL", pid));
            until("the server is gone", || servers(&mica).is_empty());
            let said = mica.run(words);
            match words[0] {
                "start" => assert_eq!(said.out, "written"),
                "diff" => assert_eq!(said.out, "A /new\n"),
                "mount" => assert_eq!(fs::read_to_string(merged.join("new")).unwrap(), "written"),
                _ => {}
            }
            if words[0] != "rm" {
                mica.run(["rm", "-f", "c"]);
            }
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!mounts.contains(&mica.run_root().display().to_string()), "{words:?} leaves {mounts}");
            until("the server ends with the container", || servers(&mica).is_empty());
        }
        mica.assert_whole();
    });
}
