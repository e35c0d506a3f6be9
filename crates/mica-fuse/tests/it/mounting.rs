//! Mounts: made, answered, seen in the table, ended by whom and how.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command};

use mica_testkit::{Scratch, Tree, in_mount_namespace, needs, tree};

use crate::common::{PROGRAM, Place, limited, quiet, said, wait_until};

fn lower() -> Tree {
    tree! {
        "a" = "a";
        "d/" mode 0o750;
        "d/b" = "b" mode 0o600 uid 5 gid 6;
        "d/l" -> "b";
    }
}

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // ignored: it may have ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn when_the_command_returns_the_mount_answers_and_when_it_is_gone_so_is_the_server() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let place = Place::new(&lower());
        place.mount("");
        assert_eq!(place.servers().len(), 1);
        lower().without_times().assert_is(&Tree::read(&place.path("mnt")).without_times(), "the union");
        place.unmount();
    });
}

#[test]
fn the_table_of_mounts_says_what_was_asked_for() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        for (options, fstype, source, attrs) in [
            ("", "fuse.mica", "mica", "rw,nodev,relatime"),
            ("ro,fsname=my tree", "fuse.mica", "my tree", "ro,nodev,relatime"),
            ("context=\"a:b:c1,c2\"", "fuse.mica", "mica", "rw,nodev,relatime"),
            ("nosuid,noexec,dev,noatime,subtype=other", "fuse.other", "mica", "rw,nosuid,noexec,noatime"),
        ] {
            let place = Place::new(&lower());
            place.mount(options);
            let line = place.line().expect("it is mounted");
            assert_eq!((line.fstype.as_str(), line.options.as_str()), (fstype, attrs), "{options}");
            assert_eq!(line.source.to_str(), Some(source), "{options}");
            assert!(String::from_utf8_lossy(&line.super_options).contains("default_permissions,allow_other"));
            place.unmount();
        }
        let place = Place::new(&lower());
        place.mount("sync,dirsync,rslave");
        let line = place.line().expect("it is mounted");
        assert!(line.super_options.starts_with(b"rw,sync,dirsync,"), "{line:?}");
        place.unmount();
        let place = Place::new(&lower());
        let lowers = format!("lowerdir={}", place.path("lower").display());
        quiet(&mut place.command(&["tree", "mnt", "-o", &lowers]));
        let line = place.line().expect("it is mounted");
        assert_eq!((line.source.to_str(), line.options.as_str()), (Some("tree"), "ro,nodev,relatime"));
    });
}

#[test]
fn in_the_foreground_the_command_is_the_server() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        for signal in ["", "-TERM", "-INT", "-HUP", "-QUIT"] {
            let place = Place::new(&lower());
            let mut command = Command::new(PROGRAM);
            command.args(["-f", "-o", &place.options("")]).arg(place.path("mnt"));
            let mut running = Running(command.spawn().unwrap());
            wait_until("it is mounted", || place.line().is_some());
            assert_eq!(fs::read_to_string(place.path("mnt/a")).unwrap(), "a");
            match signal {
                "" => quiet(limited("umount").arg(place.path("mnt"))),
                _ => quiet(limited("kill").arg(signal).arg(running.0.id().to_string())),
            };
            let ended = running.0.wait().unwrap();
            assert_eq!(ended.code(), Some(0), "{signal}");
            assert!(place.line().is_none(), "{signal}");
        }
    });
}

#[test]
fn a_server_that_is_asked_to_end_takes_its_mount_with_it() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let place = Place::new(&lower());
        place.mount("");
        quiet(limited("kill").args(["-TERM", &place.servers()[0].to_string()]));
        wait_until("the server ends", || place.servers().is_empty());
        assert!(place.line().is_none());
        assert!(fs::read_dir(place.path("mnt")).unwrap().next().is_none());
    });
}

/// Signals that mean something to another program, or to none, end no server: its mount would answer nobody.
#[test]
fn what_does_not_ask_a_server_to_end_does_not_end_it() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        for is_foreground in [false, true] {
            let place = Place::new(&lower());
            let mut command = Command::new(PROGRAM);
            command.args(is_foreground.then_some("-f")).args(["-o", &place.options("")]).arg(place.path("mnt"));
            let running = Running(command.spawn().unwrap());
            wait_until("it is mounted", || place.line().is_some());
            let server = if is_foreground { running.0.id() } else { place.servers()[0] };
            for signal in ["USR1", "USR2", "ALRM", "VTALRM", "PROF", "XCPU", "XFSZ", "PIPE", "WINCH", "STOP", "CONT"] {
                quiet(limited("kill").args(["-s", signal, &server.to_string()]));
            }
            assert_eq!(fs::read_to_string(place.path("mnt/a")).unwrap(), "a");
            quiet(limited("kill").args(["-s", "QUIT", &server.to_string()]));
            wait_until("the mount goes with the server", || place.line().is_none());
        }
    });
}

/// The limits of the shell that mounts are not those of who writes.
#[test]
fn a_server_lives_within_the_limits_of_its_starter() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let place = Place::new(&lower());
        let script =
            "ulimit -S -f 64 && ulimit $1 -f 64 && ulimit -S -t 1 && ulimit -S -n 64 && exec \"$2\" -o \"$3\" mnt";
        let write = |name| fs::write(place.path("mnt").join(name), vec![1; 256 << 10]);
        for (which, outcome) in [("-S", None), ("-H", Some(mica_sys::Errno::FBIG.raw_os_error()))] {
            let mut command = limited("sh");
            command.args(["-c", script, "sh", which, PROGRAM, &place.options("transport=device,passthrough=off")]);
            quiet(command.current_dir(place.scratch().path()));
            let written = write(which);
            assert_eq!(written.err().and_then(|error| error.raw_os_error()), outcome, "{which}");
            assert_eq!(fs::read_to_string(place.path("mnt/a")).unwrap(), "a", "{which}: it lives");
            place.unmount();
        }
    });
}

#[test]
fn a_server_that_is_killed_is_told_of_and_the_union_can_be_mounted_again() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let place = Place::new(&lower());
        place.mount("");
        quiet(limited("kill").args(["-KILL", &place.servers()[0].to_string()]));
        wait_until("the server ends", || place.servers().is_empty());
        // Who asks while it still dies has a request that is given up, by another error.
        wait_until("the mount says that it is gone", || {
            said(limited("cat").arg(place.path("mnt/a"))).err.contains("Transport endpoint is not connected")
        });
        let refused = said(&mut place.command(&["-o", &place.options(""), "mnt"]));
        assert!(
            refused.err.contains("hint: the server of what is mounted there has ended: `umount mnt`"),
            "{}",
            refused.err
        );
        quiet(limited("umount").arg(place.path("mnt")));
        place.mount("");
        assert_eq!(fs::read_to_string(place.path("mnt/a")).unwrap(), "a");
    });
}

#[test]
fn paths_may_have_colons_commas_and_backslashes() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let place = Place::new(&lower());
        for (number, name) in ["a:b", "c,d", r"e\f", "g\"h", "new\nline"].into_iter().enumerate() {
            let path = place.scratch().make(name);
            fs::write(path.join(format!("file{number}")), "").unwrap();
        }
        let options = "lowerdir=a\\:b:c\\,d:e\\\\f:g\"h:new\nline";
        quiet(&mut place.command(&["-o", options, "mnt"]));
        for number in 0..5 {
            assert!(place.path(&format!("mnt/file{number}")).exists(), "{number}");
        }
    });
}

#[test]
fn a_union_may_cover_its_own_lower() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let place = Place::new(&lower());
        quiet(&mut place.command(&["-o", &place.options(""), "lower"]));
        assert_eq!(fs::read_to_string(place.path("lower/d/b")).unwrap(), "b");
        quiet(limited("umount").arg(place.path("lower")));
        // And one inside of it: the lower is seen without what is mounted in it.
        quiet(&mut place.command(&["-o", &place.options(""), "lower/d"]));
        assert_eq!(fs::read_to_string(place.path("lower/d/d/b")).unwrap(), "b");
    });
}

#[test]
fn a_mount_can_be_made_read_only_and_writable_again() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let place = Place::new(&lower());
        place.mount("");
        let attrs = || place.line().unwrap().options;
        for (options, wanted) in
            [("remount,ro", "ro,nodev,relatime"), ("remount,rw,nosuid,noatime", "rw,nosuid,nodev,noatime")]
        {
            quiet(&mut place.command(&["-o", options, "mnt"]));
            assert_eq!(attrs(), wanted);
        }
        assert_eq!(place.servers().len(), 1, "it is one mount");
        place.unmount();
        // Whose type is another's is another's, until the type is said.
        place.mount("subtype=other");
        let refused = said(&mut place.command(&["-o", "remount,ro", "mnt"]));
        assert_eq!(refused.code, Some(1));
        assert!(refused.err.contains("no union of ours is mounted at"), "{}", refused.err);
        assert_eq!(attrs(), "rw,nodev,relatime");
        quiet(&mut place.command(&["-o", "remount,ro,subtype=other", "mnt"]));
        assert_eq!(attrs(), "ro,nodev,relatime");
    });
}

/// `/sbin` with the helper of mount(8) in it, in this mount namespace; `mount.fuse`, if it is there, finds the program by `PATH`.
fn install(scratch: &Scratch) {
    let (upper, work) = (scratch.make("sbin-upper"), scratch.make("sbin-work"));
    fs::copy(PROGRAM, upper.join("mica-fuse")).unwrap();
    symlink("mica-fuse", upper.join("mount.fuse.mica")).unwrap();
    // A symlink to usr/sbin where the two are merged.
    let sbin = Path::new("/").join(fs::read_link("/sbin").unwrap_or_else(|_| "sbin".into()));
    let sbin = sbin.display();
    let options = format!("lowerdir={sbin},upperdir={},workdir={}", upper.display(), work.display());
    quiet(limited("mount").args(["-t", "overlay", "-o", &options, "overlay", &sbin.to_string()]));
}

#[test]
fn mount_and_fstab_know_it() {
    needs!(root, fuse, overlay, program "mount");
    in_mount_namespace(|| {
        let place = Place::new(&lower());
        install(place.scratch());
        let mount = |words: &[&str]| quiet(limited("mount").args(words).arg(place.path("mnt")));
        let seen = || {
            let line = place.line().expect("it is mounted");
            (line.source.to_str().unwrap().to_owned(), line.fstype, line.options)
        };
        let wanted = |attrs: &str| ("tree".to_owned(), "fuse.mica".to_owned(), attrs.to_owned());
        mount(&["-t", "fuse.mica", "-o", &place.options("noexec"), "tree"]);
        assert_eq!(seen(), wanted("rw,nodev,noexec,relatime"));
        assert_eq!(fs::read_to_string(place.path("mnt/a")).unwrap(), "a");
        mount(&["-o", "remount,ro"]);
        assert!(seen().2.starts_with("ro,"), "{:?}", seen());
        place.unmount();

        let table = place.path("fstab");
        let options = place.options("nofail,x-systemd.requires=/srv,_netdev,comment=mine");
        fs::write(&table, format!("tree {} fuse.mica {options} 0 0\n", place.path("mnt").display())).unwrap();
        let table = table.to_str().unwrap();
        mount(&["-T", table]);
        assert_eq!(seen(), wanted("rw,nodev,relatime"));
        // What is there is left alone.
        let again = said(limited("mount").args(["-T", table, "-a"]));
        assert_eq!((again.code, place.servers().len()), (Some(0), 1), "{}", again.err);
        place.unmount();

        let wrong = said(limited("mount").args(["-t", "fuse.mica", "-o", "lowerdr=x", "tree"]).arg(place.path("mnt")));
        assert_eq!(wrong.code, Some(1));
        assert!(wrong.err.contains("did you mean `lowerdir`?"), "{}", wrong.err);
        // mount -s and mount -f.
        let sloppy = place.options("bogus");
        mount(&["-s", "-t", "fuse.mica", "-o", &sloppy, "tree"]);
        place.unmount();
        mount(&["-f", "-t", "fuse.mica", "-o", &place.options(""), "tree"]);
        assert!(place.line().is_none());
        if Path::new("/sbin/mount.fuse").exists() {
            mount(&["-t", "fuse.mica-fuse", "-o", &place.options(""), "tree"]);
            assert_eq!(fs::read_to_string(place.path("mnt/a")).unwrap(), "a");
        }
    });
}

#[test]
fn an_upper_can_be_mounted_again_at_once() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let place = Place::new(&lower());
        // The server of a mount that is gone holds the upper for a moment longer.
        for options in ["", "", "", "fsync=0"] {
            place.mount(options);
            assert_eq!(fs::read_to_string(place.path("mnt/a")).unwrap(), "a");
            quiet(limited("umount").arg(place.path("mnt")));
        }
        // As overlayfs does, and as containers/storage expects and prepares for.
        let wrong = said(&mut place.command(&["-o", &place.options(""), "mnt"]));
        assert_eq!(wrong.code, Some(32));
        assert!(wrong.err.contains("was mounted volatile"), "{}", wrong.err);
        fs::remove_dir(place.path("work/work/incompat/volatile")).unwrap();
        place.mount("volatile");
    });
}
#[test]
fn a_mount_that_is_refused_leaves_nothing() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let place = Place::new(&lower());
        place.mount("");
        // The upper is another mount's.
        let other = place.scratch().make("other");
        let wrong = said(&mut place.command(&["-o", &place.options(""), other.to_str().unwrap()]));
        assert_eq!(wrong.code, Some(32), "{}", wrong.err);
        assert!(wrong.err.starts_with("mica-fuse: ") && wrong.err.contains("upper"), "{}", wrong.err);
        assert_eq!(place.servers().len(), 1);
        assert!(mica_sys::mount::mounts().unwrap().iter().all(|mount| mount.target != other));
    });
}

/// The snapshotter of containerd for fuse-overlayfs mounts so (`fuse3.fuse-overlayfs`): a link of that name is enough.
#[test]
fn it_stands_in_by_the_name_of_fuse_overlayfs() {
    needs!(root, fuse, program "fusermount3");
    in_mount_namespace(|| {
        let place = Place::new(&lower());
        let bin = place.scratch().make("bin");
        symlink(PROGRAM, bin.join("fuse-overlayfs")).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut helper = limited("/sbin/mount.fuse3");
        helper.env("PATH", path).arg("overlay").arg(place.path("mnt"));
        quiet(helper.args(["-o", &place.options(""), "-t", "fuse-overlayfs"]));
        fs::write(place.path("mnt/d/new"), "new").unwrap();
        assert_eq!(place.line().unwrap().fstype, "fuse.mica");
        assert!(place.path("upper/d/new").exists());
        place.unmount();
    });
}
