//! As an ordinary user: by fusermount3 on the machine itself, and by mount calls in a user namespace of one's own.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use mica_testkit::{OrdinaryUser, in_mount_namespace, needs};

use crate::common::{PROGRAM, Said, end_servers_below, limited, quiet, said, servers_below, wait_until};

/// A user with a tree `lower` and directories `upper`, `work` and `mnt`, all its own, and the program.
struct User {
    user: OrdinaryUser,
    program: PathBuf,
}

impl User {
    fn new(user: OrdinaryUser) -> Self {
        let program = user.scratch().path().join("mica-fuse");
        fs::write(&program, "").unwrap();
        quiet(limited("mount").args(["--bind", PROGRAM]).arg(&program));
        let user = Self { user, program };
        user.run("mkdir lower upper work mnt lower/d; echo a > lower/a; echo b > lower/d/b; chmod 600 lower/a");
        user
    }

    /// What a script of the user says, in which `$M` is the program and `$O` its options for the directories.
    fn said(&self, script: &str) -> Said {
        let home = self.user.home();
        let home = home.display();
        let mut command = self.user.command("sh");
        command.env("M", &self.program);
        command.env("O", format!("lowerdir={home}/lower,upperdir={home}/upper,workdir={home}/work"));
        said(command.args(["-euc", script]))
    }

    /// What a script of the user prints, that must do well.
    #[track_caller]
    fn run(&self, script: &str) -> String {
        let said = self.said(script);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{script}: {}", said.out);
        said.out
    }

    fn servers(&self) -> Vec<u32> {
        servers_below(self.user.scratch().path())
    }

    fn is_left_alone(&self) {
        wait_until("the server ends", || self.servers().is_empty());
    }
}

impl Drop for User {
    fn drop(&mut self) {
        end_servers_below(self.user.scratch().path());
    }
}

#[test]
fn fusermount_mounts_for_who_may_not() {
    needs!(root, fuse, ordinary_user, program "fusermount3");
    in_mount_namespace(|| {
        let user = User::new(OrdinaryUser::without_range());
        let script =
            "$M -o $O,fsname=tree mnt; cat mnt/a mnt/d/b; grep $HOME/mnt /proc/self/mounts; fusermount3 -u mnt; ls mnt";
        let out = user.run(script);
        let mut lines = out.lines();
        assert_eq!((lines.next(), lines.next()), (Some("a"), Some("b")));
        let line = lines.next().unwrap();
        assert!(line.starts_with("tree /"), "{line}");
        assert!(
            line.contains("fuse.mica rw,nosuid,nodev,relatime,user_id=") && line.contains("default_permissions"),
            "{line}"
        );
        assert!(!line.contains("allow_other"), "{line}");
        assert_eq!(lines.next(), None);
        user.is_left_alone();
        // Asked to end, the server has the helper take the mount down.
        let script = "$M -f -o $O mnt & while ! grep -q $HOME/mnt /proc/self/mounts; do sleep 0.01; done; kill $!; wait $!; \
                      ! grep $HOME/mnt /proc/self/mounts";
        user.run(script);
        let refused = user.said("$M -o $O,allow_other mnt");
        assert_eq!(refused.code, Some(32), "{}", refused.err);
        assert!(refused.err.contains("user_allow_other"), "{}", refused.err);
        let refused = user.said("$M -o $O,allow_root mnt");
        assert_eq!(refused.code, Some(1), "{}", refused.err);
        // Without a view of its own, the server would find itself there.
        let refused = user.said("$M -o $O lower/d");
        assert_eq!(refused.code, Some(1), "{}", refused.err);
        assert!(refused.err.contains("is inside of the lower directory"), "{}", refused.err);
        user.is_left_alone();
    });
}

#[test]
fn without_the_helper_the_way_is_told() {
    needs!(root, fuse, ordinary_user, program "fusermount3");
    in_mount_namespace(|| {
        let mut other = OrdinaryUser::without_range();
        other.hide("fusermount3");
        let user = User::new(other);
        let refused = user.said("$M -o $O mnt");
        assert_eq!(refused.code, Some(32), "{}", refused.err);
        assert!(refused.err.contains("hint: install fuse3"), "{}", refused.err);
        user.is_left_alone();
    });
}

#[test]
fn root_of_a_user_namespace_mounts_for_itself() {
    needs!(root, fuse, ordinary_user);
    in_mount_namespace(|| {
        for (user, map) in [(OrdinaryUser::without_range(), ""), (OrdinaryUser::with_range(), "--map-auto")] {
            let user = User::new(user);
            let script = format!(
                "unshare --user --mount --map-root-user {map} sh -euc \
                 '$M -o $O mnt; cat mnt/a; grep $HOME/mnt /proc/self/mounts; echo >mnt/new; umount mnt'"
            );
            let out = user.run(&script);
            assert!(
                out.starts_with("a\n")
                    && out.contains("fuse.mica rw,nodev,relatime,user_id=0,group_id=0,default_permissions,allow_other"),
                "{out}"
            );
            user.is_left_alone();
            let new = fs::metadata(user.user.home().join("upper/new")).unwrap();
            assert_eq!(new.uid(), user.user.uid());
        }
    });
}

#[test]
fn a_device_that_is_closed_is_named() {
    needs!(root, fuse, ordinary_user);
    in_mount_namespace(|| {
        let user = User::new(OrdinaryUser::without_range());
        // The user's own /dev/fuse is open to all; over it stands one that nobody can open.
        let closed = user.user.scratch().path().join("closed");
        quiet(limited("mknod").args(["-m", "0"]).arg(&closed).args(["c", "10", "229"]));
        let device = user.user.scratch().path().join("dev/fuse");
        if device.exists() {
            quiet(limited("mount").arg("--bind").arg(&closed).arg(Path::new(&device)));
        }
        let refused = user.said("$M -o $O mnt");
        assert_eq!(refused.code, Some(32), "{}", refused.err);
        assert!(refused.err.contains("hint: /dev/fuse has to be open to you"), "{}", refused.err);
    });
}
