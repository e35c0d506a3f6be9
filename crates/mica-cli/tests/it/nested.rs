//! A `try` in a `try`: root in root's, an ordinary user in root's, and in both a third; what each kept is shown, applied to the view around it, and then to the
//! machine. (A user in a user's stands with the other commands of users.)

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_testkit::{in_mount_namespace, needs};

use crate::common::{Mica, Said};

/// A file system of this machine with a directory, and the store of the outer try elsewhere. To be made in a mount namespace of the test's own.
struct Machine {
    mica: Mica,
    place: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let mica = Mica::new();
        let place = mica.path("machine");
        fs::create_dir_all(place.join("dir")).unwrap();
        for (file, owner) in [("dir/file", 0), ("changed", 0), ("owned", 1234)] {
            fs::write(place.join(file), format!("{file}\n")).unwrap();
            chown(place.join(file), Some(owner), Some(owner)).unwrap();
        }
        fs::set_permissions(place.join("owned"), fs::Permissions::from_mode(0o600)).unwrap();
        Self { mica, place }
    }

    /// Tries with these flags a script that stands in the place, where `$inner` is the command on a store of its own in the view.
    fn try_out(&self, flags: &[&str], script: &str) -> Said {
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        let script = format!(
            "cd {} || exit 99\ninner=\"{} --root $PWD/in/store --run-root $PWD/in/run\"; mkdir -p in\n{script}",
            self.place.display(),
            env!("CARGO_BIN_EXE_mica")
        );
        self.mica.try_run(["try".to_owned()].into_iter().chain(flags).chain([
            "--".to_owned(),
            "sh".into(),
            "-c".into(),
            script,
        ]))
    }

    /// The changes of the place alone, without the inner store.
    fn changes(&self, listing: &str) -> Vec<String> {
        let place = format!("{}/", self.place.display());
        let ours = listing.lines().filter(|line| line.contains(&place)).map(|line| line.replace(&place, ""));
        ours.filter(|line| !line.contains(" in/") && !line.ends_with(" in")).collect()
    }
}

#[test]
fn root_tries_in_a_try_of_roots() {
    needs!(root, overlay, fuse, userns);
    in_mount_namespace(|| {
        let machine = Machine::new();
        let script = "$inner try --keep k -- sh -c 'cd '$PWD'
                stat -c %u:%a owned; cat owned; id -u; cat /proc/$$/comm; echo more >>owned; mv dir moved; chown 7:8 moved/file; rm changed
                (echo bad >/proc/sys/kernel/hostname) 2>/dev/null && echo BAD: /proc/sys
                echo x >/proc/self/comm || echo BAD: /proc cannot be written'
            echo between; cat owned; ls; $inner diff k
            $inner apply --yes k >&2; $inner rm k; echo after; stat -c %u:%a:%n owned moved/file; cat owned; ls";
        let said = machine.try_out(&["-q", "--keep", "later"], script);
        let sections: Vec<&str> = said.out.split_inclusive("between\n").collect();
        let [inside, after] = sections[..] else { panic!("{said:#?}") };
        assert!(inside.starts_with("1234:600\nowned\n0\nsh\n"), "{said:#?}");
        assert!(!said.out.contains("BAD"), "{said:#?}");
        assert!(!said.err.contains("ordinary user"), "{said:#?}");
        let (between, after) = after.split_once("after\n").unwrap_or_else(|| panic!("{said:#?}"));
        let expected = ["D changed", "D dir", "A moved", "A moved/file", "C owned"];
        assert!(between.starts_with("owned\nchanged\ndir\nin\nowned\n"), "{said:#?}");
        assert_eq!(machine.changes(between), expected, "{said:#?}");
        assert_eq!(after, "1234:600:owned\n7:644:moved/file\nowned\nmore\nin\nmoved\nowned\n", "{said:#?}");
        // The outer one's changes are what the inner one applied, and come onto the machine.
        assert_eq!(fs::read_to_string(machine.place.join("owned")).unwrap(), "owned\n");
        assert_eq!(machine.changes(&machine.mica.run(["diff", "later"]).out), expected);
        machine.mica.run(["apply", "--yes", "later"]);
        let owned = fs::metadata(machine.place.join("owned")).unwrap();
        assert_eq!((owned.uid(), owned.mode() & 0o777, owned.len()), (1234, 0o600, 11));
        let moved = fs::metadata(machine.place.join("moved/file")).unwrap();
        assert_eq!((moved.uid(), moved.gid()), (7, 8));
        assert!(!machine.place.join("dir").exists() && !machine.place.join("changed").exists());
        machine.mica.run(["rm", "later"]);
        machine.mica.assert_whole();
    });
}

#[test]
fn a_third_is_tried_in_the_second() {
    needs!(root, overlay, fuse, userns);
    in_mount_namespace(|| {
        let machine = Machine::new();
        let script = "$inner try -q -- sh -c 'cd '$PWD'; echo second >changed
                third=\"$0 --root $PWD/third/store --run-root $PWD/third/run\"; mkdir third
                $third try -- sh -c \"cat $PWD/changed; echo third >$PWD/changed; rm -r $PWD/dir\"
                cat changed; ls dir' ${inner%% *}; cat changed";
        let said = machine.try_out(&["-q"], script);
        let lines = machine.changes(&said.out);
        assert_eq!(lines, ["C changed", "D dir"], "{said:#?}");
        assert!(said.out.starts_with("second\n") && said.out.ends_with("second\nfile\nchanged\n"), "{said:#?}");
    });
}

/// What is shown to none but the kernel is reached by no way.
#[test]
fn the_whole_proc_of_a_try_is_reached_by_nobody() {
    needs!(root, overlay, fuse, userns);
    in_mount_namespace(|| {
        let machine = Machine::new();
        let script = "ls -A /run; cd /run/.. && ls -d run/proc 2>&1 | grep -c 'No such'
            for fd in /proc/self/fd/*; do ls -d $fd/proc 2>/dev/null; done
            unshare -Urm sh -c 'umount -l /run; ls -d /run/proc' 2>&1 | grep -c 'No such'";
        let said = machine.try_out(&["-q"], script);
        assert_eq!(said.out, "lock\n1\n1\n", "{said:#?}");
    });
}

#[test]
fn a_user_tries_in_a_try_of_roots() {
    needs!(root, overlay, fuse, userns, program "setpriv");
    in_mount_namespace(|| {
        let machine = Machine::new();
        // The command's own device is as open as the machine's.
        let node = machine.mica.path("fuse");
        let made = Command::new("mknod").args(["-m", "666"]).arg(&node).args(["c", "10", "229"]).status().unwrap();
        assert!(made.success());
        assert!(Command::new("mount").arg("--bind").arg(&node).arg("/dev/fuse").status().unwrap().success());
        let user = 790_002;
        fs::set_permissions(machine.place.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
        for path in ["", "dir", "dir/file", "changed"] {
            chown(machine.place.join(path), Some(user), Some(user)).unwrap();
        }
        let program = machine.mica.path("program");
        fs::copy(env!("CARGO_BIN_EXE_mica"), &program).unwrap();
        let script = format!(
            "chown {user}:{user} in; export HOME=$PWD/in; inner=\"{} --root $PWD/in/store --run-root $PWD/in/run\"
            user='setpriv --reuid {user} --regid {user} --clear-groups --inh-caps=-all'
            $user $inner try -q --keep k -- sh -c 'cd '$PWD'
                id -u; cat changed; echo new >changed; mv dir moved; cat owned'
            echo between; cat changed; $user $inner diff k; $user $inner apply --yes k >&2
            cat changed; stat -c %u moved",
            program.display()
        );
        let said = machine.try_out(&["-q"], &script);
        assert!(said.out.starts_with("0\nchanged\n"), "{said:#?}");
        assert!(said.err.contains("owned: Permission denied"), "{said:#?}");
        assert!(machine.changes(&said.out).contains(&"C changed".to_owned()), "{said:#?}");
        assert!(said.out.ends_with(&format!("new\n{user}\n")), "{said:#?}");
        assert_eq!(fs::read_to_string(machine.place.join("changed")).unwrap(), "changed\n");
        assert!(machine.place.join("dir/file").exists());
        // overlayfs has no upper on overlayfs, and without the device nobody else shows anything.
        fs::set_permissions(&node, fs::Permissions::from_mode(0o600)).unwrap();
        let script = format!(
            "chown {user}:{user} in; export HOME=$PWD/in
            setpriv --reuid {user} --regid {user} --clear-groups --inh-caps=-all {} --root $PWD/in/store --run-root $PWD/in/run try -- true; echo $?",
            program.display()
        );
        let said = machine.try_out(&["-q"], &script);
        assert!(said.out.ends_with("125\n") && said.err.contains("or let this user open /dev/fuse"), "{said:#?}");
        machine.mica.assert_whole();
    });
}

/// Root that may not mount can still work on the store of root that may.
#[test]
fn roots_store_stays_roots_without_rights() {
    needs!(root, overlay, userns, program "setpriv");
    let mica = Mica::new();
    mica.run(["images"]);
    let without = |root: &Path, args: &[&str]| {
        let rights = ["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"];
        let mut command = Command::new("setpriv");
        command.args(rights).arg(env!("CARGO_BIN_EXE_mica"));
        command.arg("--root").arg(root).arg("--run-root").arg(mica.run_root()).args(args);
        Said::of(command.output().unwrap())
    };
    let said = without(mica.root(), &["system", "info"]);
    assert!(said.status == 0 && said.out.contains("Rootless:   no\nOwners:     native"), "{said:#?}");
    // Nothing can be mounted for it: it is told what would help.
    let said = without(mica.root(), &["try", "--", "true"]);
    assert!(said.status != 0 && said.err.contains("CAP_SYS_ADMIN") && said.err.contains("--root"), "{said:#?}");
    let said = without(&mica.path("other"), &["system", "info"]);
    assert!(said.status == 0 && said.out.contains("Rootless:   yes\nOwners:     mapped"), "{said:#?}");
}
