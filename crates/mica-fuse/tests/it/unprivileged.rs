//! As an ordinary user: by fusermount3 on the machine itself, and by mount calls in a user namespace of one's own.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use mica_testkit::gate::find_program;
use mica_testkit::{OrdinaryUser, in_mount_namespace, needs};

use crate::common::{
    PROGRAM, Said, end_processes_at_home_in, end_servers_below, limited, quiet, said, servers_below, wait_until,
};

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
        end_processes_at_home_in(self.user.scratch().path());
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

/// Outside of a user namespace no owner can be given away: what others own below is the user's own when it comes up.
#[test]
fn files_of_others_come_up_as_the_users_own() {
    needs!(root, fuse, ordinary_user, program "fusermount3");
    in_mount_namespace(|| {
        let user = User::new(OrdinaryUser::without_range());
        let lower = user.user.home().join("lower");
        fs::write(lower.join("theirs"), "theirs").unwrap();
        fs::set_permissions(lower.join("theirs"), fs::Permissions::from_mode(0o4666)).unwrap();
        // Not even its owner may set attributes of it, and it has two names.
        user.run("chmod 0444 lower/d/b; ln lower/d/b lower/d/c");
        let script = "$M -o $O mnt; cd mnt; echo >>theirs; mv d e; touch -d @5 e/b; \
                      stat -c '%n %u %a %h' theirs e/b e/c | tr '\\n' ' '; cd ..; fusermount3 -u mnt";
        let id = user.user.uid();
        let wanted = format!("theirs {id} 666 1 e/b {id} 444 2 e/c {id} 444 2 ");
        assert_eq!(user.run(script), wanted);
        let below = fs::metadata(lower.join("theirs")).unwrap();
        assert_eq!((below.uid(), below.mode() & 0o7777, below.len()), (0, 0o4666, 6));
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

/// What podman does for a user, each line of which is what it would be with plain copies.
const ROOTLESS: &str = r#"
mkdir -p rootfs/bin rootfs/etc rootfs/proc rootfs/sys rootfs/dev rootfs/tmp rootfs/srv/d rootfs/srv/gone
cp $BUSYBOX rootfs/bin/busybox
for name in $(rootfs/bin/busybox --list); do [ -e rootfs/bin/$name ] || ln -s busybox rootfs/bin/$name; done
echo root:x:0:0:root:/root:/bin/sh > rootfs/etc/passwd; echo 1 > rootfs/srv/d/a; echo 2 > rootfs/srv/b; echo 3 > rootfs/srv/gone/c
tar -C rootfs --owner=0 --group=0 -cf base.tar .
printf '[containers]\ndefault_ulimits=["nofile=1024:1024","nproc=1024:1024"]\n' > containers.conf
export CONTAINERS_CONF=$HOME/containers.conf TMPDIR=$HOME
podman() {
    timeout -s KILL 90 podman --root $HOME/store --runroot /mnt/run --tmpdir $HOME/tmp --cgroup-manager cgroupfs --runtime runc $DRIVER "$@" 2>>said
}
podman import -q base.tar base >/dev/null
podman run --network none --name one base sh -ec \
    'id; rm /srv/b; mv /srv/d /srv/e; chown 5:6 /srv/e/a; rm -r /srv/gone; mkdir /srv/gone; echo 4 > /srv/gone/new; chmod 4755 /srv/gone/new'
podman diff one | sort
podman commit -q one two >/dev/null
podman run --rm --network none two sh -ec 'find /srv -exec stat -c "%n %f %u:%g" {} + | sort'
podman run --rm --network none --userns keep-id two sh -ec 'id -u; find /srv -exec stat -c "%n %u:%g" {} + | sort; touch /home/x || echo refused'
podman run --rm --network none --user 5:6 two sh -ec 'echo more >> /srv/e/a; cat /srv/e/a'
podman rm -a -f >/dev/null
"#;

/// The user's home, at `/mnt` too: podman takes no run root of more than 50 characters.
struct ShortPath;

impl ShortPath {
    fn to(user: &User) -> Self {
        quiet(limited("mount").arg("--bind").arg(user.user.home()).arg("/mnt"));
        Self
    }
}

impl Drop for ShortPath {
    fn drop(&mut self) {
        said(limited("umount").args(["-l", "/mnt"]));
    }
}

#[test]
fn podman_of_a_user_does_what_it_does_with_plain_copies() {
    needs!(root, fuse, ordinary_user, program "podman", program "runc", program "busybox");
    in_mount_namespace(|| {
        let busybox = find_program("busybox").unwrap();
        let work = |driver: &str| {
            let user = User::new(OrdinaryUser::with_range());
            let _short = ShortPath::to(&user);
            let driver = driver.replace("PROGRAM", user.program.to_str().unwrap());
            let said = user.said(&format!("BUSYBOX={}; DRIVER='{driver}'; {ROOTLESS}", busybox.display()));
            let log = fs::read_to_string(user.user.home().join("said")).unwrap_or_default();
            assert_eq!(said.code, Some(0), "{driver}: {}\n{log}", said.err);
            user.is_left_alone();
            said.out
        };
        let wanted = work("--storage-driver vfs");
        assert!(wanted.contains("A /srv/e/a\n") && wanted.contains("/srv/gone/new 89ed 0:0\n"), "{wanted}");
        assert_eq!(work("--storage-driver overlay --storage-opt overlay.mount_program=PROGRAM"), wanted);
    });
}

#[test]
fn podman_of_a_user_with_one_id_works_too() {
    needs!(root, fuse, ordinary_user, program "podman", program "runc", program "busybox");
    in_mount_namespace(|| {
        let busybox = find_program("busybox").unwrap();
        let work = |driver: &str| {
            let user = User::new(OrdinaryUser::without_range());
            let _short = ShortPath::to(&user);
            let driver = driver.replace("PROGRAM", user.program.to_str().unwrap());
            // Whoever has one ID runs as that one, and keeps no other.
            let script = ROOTLESS.split("podman run --rm --network none --userns").next().unwrap();
            let script = script.replace("chown 5:6", "chown 0:0");
            let said = user.said(&format!("BUSYBOX={}; DRIVER='{driver}'; {script}", busybox.display()));
            let log = fs::read_to_string(user.user.home().join("said")).unwrap_or_default();
            assert_eq!(said.code, Some(0), "{driver}: {}\n{log}", said.err);
            user.said("CONTAINERS_CONF=$HOME/containers.conf podman --root $HOME/store --runroot /mnt/run rm -fa");
            user.is_left_alone();
            said.out
        };
        let wanted = work("--storage-driver vfs --storage-opt vfs.ignore_chown_errors=true");
        assert!(wanted.contains("/srv/gone/new 89ed 0:0\n"), "{wanted}");
        let ours = "--storage-driver overlay --storage-opt overlay.mount_program=PROGRAM --storage-opt overlay.ignore_chown_errors=true";
        assert_eq!(work(ours), wanted);
    });
}

/// Nothing is given away on disk, so who may give no file away keeps owners all the same.
#[test]
fn owners_are_kept_in_attributes_without_privilege() {
    needs!(root, fuse, ordinary_user, program "fusermount3", program "setfattr");
    in_mount_namespace(|| {
        let user = User::new(OrdinaryUser::without_range());
        let record = "setfattr -n user.containers.override_stat -v";
        user.run(&format!("{record} 0:0:0777 lower/d; {record} 33:34:0666 lower/d/b; {record} 5:5:04755 lower/a"));
        let work =
            "mv mnt/d/b mnt/d/c; echo more >>mnt/d/c; touch mnt/d/new; chmod 4711 mnt/d/new; ln -s new mnt/d/link";
        let shown = "stat -c '%n %u:%g %a' mnt/a mnt/d mnt/d/c mnt/d/new mnt/d/link";
        let own = user.run("echo $(id -u):$(id -g)");
        let wanted = format!(
            "mnt/a 5:5 4755\nmnt/d 0:0 777\nmnt/d/c 33:34 666\nmnt/d/new {0} 4711\nmnt/d/link {0} 777\nb\nmore\n",
            own.trim()
        );
        let mounted = format!("$M -o $O,xattr_permissions=2 mnt; {work}; {shown}; cat mnt/d/c; fusermount3 -u mnt");
        assert_eq!(user.run(&mounted), wanted);
        user.is_left_alone();
        let again = format!("$M -o $O,xattr_permissions=2 mnt; {shown}; cat mnt/d/c; fusermount3 -u mnt");
        assert_eq!(user.run(&again), wanted, "at the next mount");
        user.is_left_alone();
        // On disk all is the user's, and nobody else's to read.
        let on_disk = user.run("find upper -type f -printf '%U:%G %m\\n' | sort -u");
        assert_eq!(on_disk, format!("{} 600\n", own.trim()));
        let refused = user.said("$M -o $O,xattr_permissions=1 mnt");
        assert!(refused.code != Some(0) && refused.err.contains("keeps no security.* attributes"), "{refused:?}");
    });
}
