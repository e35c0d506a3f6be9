//! Containers of an ordinary user, from `create` to `rm`.

use std::fs;
use std::process::Stdio;

use mica_testkit::{OrdinaryUser, in_mount_namespace, needs};

use super::{as_both, bring};
use crate::common::{Mica, Said};

/// What the command's processes are known by, so that one that is left can be found.
fn processes_with(word: &str) -> usize {
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.unwrap().path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(word)).count()
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    assert!(
        (0..2000).any(|_| {
            so() || {
                std::thread::sleep(std::time::Duration::from_millis(10));
                false
            }
        }),
        "it is still not so that {what}"
    );
}

#[test]
fn a_command_runs_and_its_status_is_ours() {
    needs!(ordinary_user, userxattr, program "busybox");
    as_both(|mica| {
        mica.busybox("tiny");
        for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
            assert_eq!(mica.try_run(["run", "--rm", "tiny", "sh", "-c", script]).status, status, "{script}");
        }
        assert_eq!(mica.try_run(["run", "--rm", "tiny", "nothing-like-this"]).status, 127);
        assert_eq!(mica.try_run(["run", "--rm", "tiny", "/etc/passwd"]).status, 126);
        let said = mica.run([
            "run",
            "--rm",
            "--hostname",
            "box",
            "tiny",
            "sh",
            "-c",
            "id -u; hostname; cat /etc/hostname; ls /sys/class/net",
        ]);
        assert_eq!(said.out, "0\nbox\nbox\nlo\n");
        let said = mica.run([
            "run",
            "--rm",
            "--network",
            "host",
            "tiny",
            "cat",
            "/etc/resolv.conf",
            "/proc/sys/kernel/hostname",
        ]);
        assert!(said.out.starts_with(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default()), "{said:#?}");
        assert_eq!(mica.feed(["run", "--rm", "tiny", "cat"], b"through").out, "through");
        let read_only = mica.try_run(["run", "--rm", "--read-only", "tiny", "touch", "/new"]);
        assert!(read_only.status == 1 && read_only.err.contains("Read-only"), "{read_only:#?}");
        assert_eq!(mica.run(["ps", "-aq"]).out, "", "--rm leaves nothing");
        mica.assert_whole();
    });
}

#[test]
fn users_of_the_image_run_where_they_are_mapped() {
    needs!(ordinary_user, userxattr, program "busybox");
    in_mount_namespace(|| {
        let script = "id -u; id -g; touch /tmp/mine && stat -c %u:%g /tmp/mine; touch /etc/mine 2>&1; true";
        let mica = Mica::of(OrdinaryUser::with_range());
        mica.busybox("tiny");
        for (who, ids) in [("nobody", "65534\n65534\n65534:65534\n"), ("1000:50", "1000\n50\n1000:50\n")] {
            let said = mica.run(["run", "--rm", "--user", who, "tiny", "sh", "-c", script]);
            assert!(said.out.starts_with(ids) && said.out.ends_with("Permission denied\n"), "{said:#?}");
        }
        // A pipe of the user's own is given to who runs, and can be opened by name.
        let mut piped = mica.user().command("sh");
        let line = "\"$0\" run --rm --user nobody tiny sh -c 'echo by-name >/dev/stdout' | cat";
        piped.args(["-c", line]).arg(bring(&mica)).env("MICA_ROOT", mica.root()).env("MICA_RUN_ROOT", mica.run_root());
        assert_eq!(Said::of(piped.output().unwrap()).out, "by-name\n");
        let error = mica.refuses(["run", "--rm", "--user", "70000", "tiny", "true"]);
        assert!(error.starts_with("mica: user 70000 is not mapped here: there are 0, 1-65536\nhint: "), "{error}");

        let mica = Mica::of(OrdinaryUser::without_range());
        mica.busybox("tiny");
        let error = mica.refuses(["run", "--rm", "--user", "1000", "tiny", "true"]);
        assert!(error.starts_with("mica: user 1000 is not mapped here: there are 0\nhint: "), "{error}");
        assert!(error.contains("/etc/subuid"), "{error}");
        // The image's own wish as much as the user's.
        mica.run(["create", "--name", "box", "tiny", "true"]);
        mica.run(["commit", "-q", "-c", "USER nobody", "box", "asks"]);
        assert!(mica.refuses(["run", "--rm", "asks", "true"]).contains("user 65534 is not mapped"));
        assert_eq!(mica.run(["run", "--rm", "--user", "0", "asks", "id", "-u"]).out, "0\n");
        assert_eq!(mica.run(["ps", "-aq"]).out.lines().count(), 1, "the failed ones are gone");
        mica.assert_whole();
    });
}

#[test]
fn a_terminal_is_given_and_put_back() {
    needs!(ordinary_user, userxattr, program "busybox", program "script");
    as_both(|mica| {
        mica.busybox("tiny");
        let program = bring(&mica);
        let inside = "tty; [ -t 0 ] && echo in; echo to-tty >/dev/tty; stat -c %u /dev/pts/0; exit 5";
        let line = format!(
            "stty rows 33 cols 99; {} run -t --rm tiny sh -c '{inside}; '; echo ended $?; stty -a",
            program.display()
        );
        let mut command = mica.user().command("script");
        command.args(["-qec", &line, "/dev/null"]).env("MICA_ROOT", mica.root()).env("MICA_RUN_ROOT", mica.run_root());
        let said = Said::of(command.output().unwrap());
        for word in ["/dev/pts/0\r\n", "in\r\n", "to-tty\r\n", "\n0\r\n", "ended 5\r\n", " icanon", "rows 33"] {
            assert!(said.out.contains(word), "{word:?}: {said:#?}");
        }
    });
}

#[test]
fn what_a_container_changed_becomes_the_next_layer() {
    needs!(ordinary_user, userxattr, program "busybox");
    as_both(|mica| {
        mica.busybox("tiny");
        let changes = "echo one > /etc/new; rm /etc/group; mkdir /srv; chmod 711 /root; ln /etc/new /etc/too; mv /var /war; \
            mkfifo /srv/pipe; ln -s new /etc/link; mknod /srv/disk b 7 0 2>&1; chown 7:8 /srv 2>&1; true";
        let id = mica.run(["create", "--name", "box", "tiny", "sh", "-c", changes]).line();
        let said = mica.run(["start", "-a", "box"]);
        assert!(said.out.contains("Operation not permitted"), "mknod: {said:#?}");
        let mapped = mica.run(["system", "info"]).out.contains("mapped");
        assert_eq!(said.out.contains("Invalid argument"), !mapped, "chown: {said:#?}");
        let expected = "C /etc D /etc/group A /etc/link A /etc/new A /etc/too C /root A /srv A /srv/pipe D /var A /war";
        assert_eq!(mica.run(["diff", "box"]).out.lines().collect::<Vec<_>>().join(" "), expected);
        assert_eq!(mica.run(["ps", "-aq", "--no-trunc"]).line(), id);

        let before = mica.run(["layers", "-q", "--no-trunc", "tiny"]).out;
        let image =
            mica.run(["commit", "-q", "-m", "a change", "-c", "CMD [\"cat\", \"/etc/too\"]", "box", "tiny:2"]).line();
        let after = mica.run(["layers", "-q", "--no-trunc", "tiny:2"]).out;
        assert!(
            after.ends_with(&before) && after.lines().count() == before.lines().count() + 1,
            "{after} over {before}"
        );
        assert_eq!(mica.run(["run", "--rm", "tiny:2"]).out, "one\n");
        assert_eq!(mica.try_run(["run", "--rm", "tiny:2", "test", "-e", "/etc/group"]).status, 1);
        let owner = mica.run(["run", "--rm", "tiny:2", "stat", "-c", "%u:%g %h", "/srv", "/etc/new"]).out;
        assert_eq!(owner, if mapped { "7:8 2\n0:0 2\n" } else { "0:0 2\n0:0 2\n" });
        assert!(mica.run(["history", "--no-trunc", "tiny:2"]).out.contains("a change"));
        assert!(mica.run(["inspect", "tiny:2"]).out.contains(&image));
        mica.run(["tag", "tiny:2", "other"]);
        mica.run(["rmi", "tiny:2"]);
        assert!(mica.run(["images", "--format", "{{.Repository}}"]).out.contains("other"));

        // What it mounts ends with the command; where mounts stay it is seen.
        let error = mica.refuses(["mount", "box"]);
        assert!(error.contains("mica unshare"), "{error}");
        let inside =
            "cat $(\"$0\" mount box)/etc/new; \"$0\" mount; \"$0\" umount box >/dev/null; ls \"$MICA_RUN_ROOT/mounts\"";
        let said = mica.run(["unshare", "sh", "-c", inside, mica.path("bin/mica").to_str().unwrap()]);
        assert!(said.out.starts_with("one\nbox /") && said.out.lines().count() == 2, "{said:#?}");
        let exported = mica.path("home/exported.tar");
        mica.run(["export", "-o", exported.to_str().unwrap(), "box"]);
        assert!(fs::metadata(&exported).unwrap().len() > 0);

        mica.run(["rm", "box"]);
        mica.run(["system", "df"]);
        assert!(mica.refuses(["rm", "box"]).contains("no such container"));
        mica.run(["rmi", "tiny"]);
        mica.run(["rmi", "other"]);
        mica.run(["system", "prune", "-f"]);
        assert_eq!(mica.run(["images", "-q"]).out, "");
        mica.assert_whole();
    });
}

#[test]
fn a_live_directory_is_a_lower_unless_something_is_mounted_in_it() {
    needs!(ordinary_user, userxattr, program "busybox");
    as_both(|mica| {
        mica.busybox("tiny");
        let live = mica.path("busybox");
        let image = format!("dir:{}", live.display());
        mica.run(["run", "--name", "box", &image, "sh", "-c", "echo x >/etc/new; rm /etc/group"]);
        assert_eq!(mica.run(["diff", "box"]).out, "C /etc\nD /etc/group\nA /etc/new\n");
        assert!(!live.join("etc/new").exists() && live.join("etc/group").exists());
        let inner = live.join("run");
        let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "tester"]).arg(&inner).status();
        assert!(mounted.unwrap().success());
        for rm in ["--rm", "--name=kept"] {
            let error = mica.refuses(["run", rm, &image, "true"]);
            let word = format!("as an image: {} is mounted in it\nhint: ", inner.display());
            assert!(error.contains(&word), "{error}");
        }
    });
}

#[test]
fn commands_of_one_user_work_side_by_side() {
    needs!(ordinary_user, userxattr, program "busybox");
    as_both(|mica| {
        mica.busybox("tiny");
        let mut all: Vec<_> = (0..4)
            .map(|number| {
                let script = format!("echo {number} >/own; cat /own");
                mica.command(["run", "--rm", "tiny", "sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let busybox = mica.path("busybox");
        all.push(
            mica.command(["import", "-q", busybox.to_str().unwrap(), "again"]).stdout(Stdio::piped()).spawn().unwrap(),
        );
        all.push(mica.command(["images", "-q"]).stdout(Stdio::piped()).spawn().unwrap());
        for (number, child) in all.into_iter().enumerate() {
            let said = Said::of(child.wait_with_output().unwrap());
            assert_eq!(said.status, 0, "{said:#?}");
            assert!(number > 3 || said.out == format!("{number}\n"), "{said:#?}");
        }
        assert_eq!(mica.run(["images", "--format", "{{.Repository}}"]).out.lines().count(), 2);
        mica.assert_whole();
    });
}

#[test]
fn a_killed_command_leaves_nothing_that_the_next_does_not_clear() {
    needs!(ordinary_user, userxattr, program "busybox");
    as_both(|mica| {
        mica.busybox("tiny");
        let token = format!("4000000.{}", std::process::id());
        let token = token.as_str();
        for rm in [true, false] {
            let mut args = vec!["run", "--name", "box", "tiny", "sleep", token];
            if rm {
                args.insert(1, "--rm");
            }
            let mut running = mica.command(args).spawn().unwrap();
            until("it runs", || !mica.run(["ps", "-q"]).out.is_empty() && processes_with(token) >= 2);
            // Another shell of the user's sees it, and looks into it.
            assert!(mica.refuses(["rm", "box"]).contains("running"));
            running.kill().unwrap();
            running.wait().unwrap();
            until("its processes are gone", || processes_with(token) == 0);
            let left = mica.run(["ps", "-aq"]).out;
            assert_eq!(left.is_empty(), rm, "{left}");
        }
        mica.run(["rm", "box"]);
        let mut importing =
            mica.command(["import", "-q", mica.path("busybox").to_str().unwrap(), "killed"]).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(60));
        importing.kill().unwrap();
        importing.wait().unwrap();
        mica.run(["system", "prune", "-f"]);
        mica.assert_whole();
        assert_eq!(mica.run(["run", "--rm", "tiny", "echo", "well"]).out, "well\n");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains("overlay mica"), "{mounts}");
    });
}
