//! `try` of an ordinary user over one union of all that the user can read of this machine.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_testkit::{OrdinaryUser, Scratch, Snapshot, in_mount_namespace, needs};

use super::{as_both, below, bring, script_at, try_out};
use crate::common::{Mica, Said};

/// Two file systems of this machine, one in the other: of the user, of others, and of both. To be made in a mount namespace of the test's own.
struct Machine {
    place: PathBuf,
}

impl Machine {
    fn new(mica: &Mica) -> Self {
        Self::at(mica, "/mnt", "mode=755,size=8m")
    }

    /// Below a directory of somebody else that the user can pass through and not list.
    fn passed_to(mica: &Mica) -> Self {
        Self::at(mica, "/mnt/passed/to", "mode=711,size=8m")
    }

    fn at(mica: &Mica, place: &str, options: &str) -> Self {
        let place = PathBuf::from(place);
        let outer = ["-t", "tmpfs", "-o", options, "tester", "/mnt"];
        assert!(Command::new("mount").args(outer).status().unwrap().success());
        fs::create_dir_all(&place).unwrap();
        for (path, mode) in
            [("own", 0o755), ("own/deep", 0o755), ("others", 0o755), ("closed", 0o700), ("own/inner", 0o755)]
        {
            fs::create_dir(place.join(path)).unwrap();
            fs::set_permissions(place.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        let inner = ["-t", "tmpfs", "-o", "mode=755,size=4m", "tester"];
        assert!(Command::new("mount").args(inner).arg(place.join("own/inner")).status().unwrap().success());
        for (path, mode) in [
            ("own/file", 0o644),
            ("own/deep/file", 0o644),
            ("own/inner/file", 0o644),
            ("others/file", 0o644),
            ("others/secret", 0o600),
            ("closed/file", 0o644),
        ] {
            fs::write(place.join(path), format!("{path}\n")).unwrap();
            fs::set_permissions(place.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::hard_link(place.join("others/file"), place.join("others/link")).unwrap();
        for path in ["own", "own/file", "own/deep", "own/deep/file", "own/inner", "own/inner/file"] {
            mica.user().give(&place.join(path));
        }
        Self { place }
    }

    fn script(&self, script: &str) -> [String; 3] {
        script_at(&self.place, script)
    }

    fn snapshots(&self) -> [(PathBuf, Snapshot); 2] {
        [self.place.clone(), self.place.join("own/inner")].map(|path| (path.clone(), Snapshot::of(&path)))
    }
}

#[test]
fn all_that_can_be_read_can_be_changed_and_no_file_is_touched() {
    needs!(ordinary_user, fuse);
    as_both(|mica| {
        let machine = Machine::new(&mica);
        mica.run(["images"]);
        let before = machine.snapshots();
        let script = "cat others/link; echo new >own/file; echo x >>others/file; cat others/link; mv own/deep others/moved; \
            cat others/moved/file; chmod 600 own/inner/file; rm others/secret; mkdir -p own/inner/made/er; cat closed/file; \
            stat -c '%u %n' own others; test $(stat -c %i own/inner) != $(stat -c %i .) && exit 7";
        let said = try_out(&mica, &[], machine.script(script));
        assert_eq!(said.status, 7, "{said:#?}");
        assert!(said.out.starts_with("others/file\nothers/file\nx\nown/deep/file\n0 own\n0 others\n"), "{said:#?}");
        assert!(said.err.contains("closed/file: Permission denied"), "{said:#?}");
        assert!(said.err.contains("the command is root of its view, and may change what you can read"), "{said:#?}");
        assert_eq!(
            below(&said.out, &machine.place),
            [
                "C others",
                "C others/file",
                "C others/link",
                "A others/moved",
                "A others/moved/file",
                "D others/secret",
                "C own",
                "D own/deep",
                "C own/file",
                "C own/inner",
                "C own/inner/file",
                "A own/inner/made",
                "A own/inner/made/er",
            ],
            "{said:#?}"
        );
        for (path, before) in &before {
            before.assert_unchanged(path, "a try");
        }
        assert_eq!(mica.run(["ps", "-aq"]).out, "");
        mica.assert_whole();
    });
}

#[test]
fn the_store_and_the_kernels_interfaces_are_not_in_it() {
    needs!(ordinary_user, fuse);
    as_both(|mica| {
        let machine = Machine::new(&mica);
        mica.run(["images"]);
        let script = "ls -A $MICA_ROOT | wc -l; ls -A $MICA_RUN_ROOT | wc -l; ls -A /run; cat /proc/self/comm; ls /dev/null; touch /proc/x";
        let said = try_out(&mica, &["-q"], machine.script(script));
        assert_eq!(said.out, "0\n0\nlock\ncat\n/dev/null\n", "{said:#?}");
        // What mounts them for the view is gone with it.
        let left = fs::read_dir(mica.run_root().join("machines")).unwrap().count();
        assert_eq!(left, 0);
    });
}

#[test]
fn kept_changes_are_shown_and_applied() {
    needs!(ordinary_user, fuse);
    as_both(|mica| {
        let machine = Machine::new(&mica);
        let script = "echo new >own/file; mv own/deep own/moved; chmod 600 own/inner/file; rm -f own/inner/none; \
            echo more >own/inner/more; echo in >own/moved/in";
        assert_eq!(try_out(&mica, &["--keep", "later"], machine.script(script)).status, 0);
        let expected = [
            "C own",
            "D own/deep",
            "C own/file",
            "C own/inner",
            "C own/inner/file",
            "A own/inner/more",
            "A own/moved",
            "A own/moved/file",
            "A own/moved/in",
        ];
        assert_eq!(below(&mica.run(["diff", "later"]).out, &machine.place), expected);
        mica.run(["commit", "-q", "later", "made"]);
        let layers = mica.run(["inspect", "made", "--format", "{{.RootFS.Layers}}"]).line();
        assert!(layers.contains("sha256:"), "{layers}");
        mica.run(["apply", "--yes", "later"]);
        let own = machine.place.join("own");
        let text = |path: &str| fs::read_to_string(own.join(path)).unwrap();
        assert_eq!(
            (text("file"), text("moved/file"), text("moved/in")),
            ("new\n".into(), "own/deep/file\n".into(), "in\n".into())
        );
        assert_eq!((text("inner/file"), text("inner/more")), ("own/inner/file\n".into(), "more\n".into()));
        assert!(!own.join("deep").exists());
        assert_eq!(fs::metadata(own.join("inner/file")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(own.join("moved")).unwrap().uid(), mica.user().uid());
        mica.run(["rm", "later"]);
        mica.assert_whole();
    });
}

/// Nobody can list all names of a file there. Those that somebody looks at are of one file, in the view, in what is said of it and on the machine.
#[test]
fn names_that_cannot_be_listed_are_of_one_file() {
    needs!(ordinary_user, fuse);
    as_both(|mica| {
        let machine = Machine::passed_to(&mica);
        fs::hard_link(machine.place.join("own/file"), machine.place.join("own/deep/link")).unwrap();
        let before = machine.snapshots();
        let script = "cat others/link; echo x >>others/file; cat others/link; stat -c %h others/link";
        let said = try_out(&mica, &[], machine.script(script));
        assert!(said.out.starts_with("others/file\nothers/file\nx\n2\n"), "{said:#?}");
        assert_eq!(below(&said.out, &machine.place), ["C others/file", "C others/link"], "{said:#?}");
        for (path, before) in &before {
            before.assert_unchanged(path, "a try");
        }
        let script = "cat own/deep/link; echo x >>own/file; cat own/deep/link; chmod 600 own/inner/file";
        let said = try_out(&mica, &["-q", "--keep", "later"], machine.script(script));
        assert_eq!(said.out, "own/file\nown/file\nx\n", "{said:#?}");
        let listed = below(&mica.run(["diff", "later"]).out, &machine.place);
        assert_eq!(listed, ["C own/deep/link", "C own/file", "C own/inner/file"]);
        mica.run(["commit", "-q", "later", "made"]);
        mica.run(["apply", "--yes", "later"]);
        let [one, other] = ["own/file", "own/deep/link"].map(|path| machine.place.join(path));
        assert_eq!(fs::read_to_string(&one).unwrap(), "own/file\nx\n");
        assert_eq!(fs::metadata(&one).unwrap().ino(), fs::metadata(&other).unwrap().ino());
        assert_eq!(fs::metadata(machine.place.join("own/inner/file")).unwrap().mode() & 0o777, 0o600);
        mica.run(["rm", "later"]);
        mica.assert_whole();
    });
}

#[test]
fn what_may_not_be_applied_is_refused() {
    needs!(ordinary_user, fuse);
    as_both(|mica| {
        assert_eq!(mica.try_run(["try", "-q", "--keep", "later", "--", "touch", "/usr/new"]).status, 0);
        assert_eq!(mica.run(["diff", "later"]).out, "C /usr\nA /usr/new\n");
        let said = mica.try_run(["apply", "--yes", "later"]);
        assert_eq!(said.status, 125, "{said:#?}");
        assert!(said.err.contains("mica: apply to /: ") && said.err.contains("ermission denied"), "{said:#?}");
        assert!(!Path::new("/usr/new").exists());
        mica.run(["rm", "later"]);
    });
}

/// What a package brings to the machine, brought to the view alone.
#[test]
fn a_package_is_installed_in_the_view_alone() {
    needs!(ordinary_user, fuse, program "dpkg-deb");
    in_mount_namespace(|| {
        // Programs that change to other users need a range.
        let mica = Mica::of(OrdinaryUser::with_range());
        let scratch = Scratch::new();
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let tree = scratch.make("tree");
        for dir in ["DEBIAN", "usr/share/mica-tester", "etc/mica-tester"] {
            fs::create_dir_all(tree.join(dir)).unwrap();
        }
        let control =
            "Package: mica-tester\nVersion: 1\nArchitecture: all\nMaintainer: t <t@example.org>\nDescription: a test\n";
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        let after =
            "#!/bin/sh\nset -e\nchown 33:33 /usr/share/mica-tester/file\nmv /etc/mica-tester /etc/mica-tested\n";
        fs::write(tree.join("DEBIAN/postinst"), after).unwrap();
        fs::set_permissions(tree.join("DEBIAN/postinst"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(tree.join("usr/share/mica-tester/file"), "packaged\n").unwrap();
        fs::write(tree.join("etc/mica-tester/setting"), "set\n").unwrap();
        let package = scratch.path().join("mica-tester.deb");
        let made =
            Command::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(&tree).arg(&package).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let script = format!(
            "dpkg --force-script-chrootless -i {} >/dev/null && dpkg -s mica-tester | grep ^Status; \
             stat -c %u:%g /usr/share/mica-tester/file; cat /etc/mica-tested/setting",
            package.display()
        );
        let said = mica.try_run(["try", "--keep", "later", "--", "sh", "-c", &script]);
        assert!(said.out.starts_with("Status: install ok installed\n33:33\nset\n"), "{said:#?}");
        let changes = mica.run(["diff", "later"]).out;
        for line in ["A /usr/share/mica-tester/file", "A /etc/mica-tested/setting", "C /var/lib/dpkg/status"] {
            assert!(changes.lines().any(|change| change == line), "{line}: {changes}");
        }
        assert!(!Path::new("/usr/share/mica-tester").exists() && !Path::new("/etc/mica-tested").exists());
        mica.run(["rm", "later"]);
    });
}

/// The view of a try is a union, and another stands on it.
#[test]
fn a_try_in_a_try_has_a_view_of_its_own() {
    needs!(ordinary_user, fuse);
    as_both(|mica| {
        let machine = Machine::new(&mica);
        let program = bring(&mica);
        let inner = format!(
            "mkdir inner && export MICA_ROOT=$PWD/inner/store MICA_RUN_ROOT=$PWD/inner/run && {} try -q -- \
             sh -c 'echo in >own/made; mv own/deep own/moved; cat own/moved/file'; ls own",
            program.display()
        );
        let said = try_out(&mica, &["-q"], machine.script(&inner));
        assert!(said.out.starts_with("own/deep/file\n"), "{said:#?}");
        assert!(said.out.ends_with("deep\nfile\ninner\n"), "{said:#?}");
        assert!(!machine.place.join("inner").exists());
    });
}

/// Files of others are root's in the view, and so in an image of what it changed. On the machine what is new is the user's.
#[test]
fn what_others_own_is_roots_in_an_image_and_nobodys_on_the_machine() {
    needs!(ordinary_user, fuse);
    as_both(|mica| {
        let machine = Machine::new(&mica);
        let open = machine.place.join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(open.join("file"), "theirs\n").unwrap();
        let script = "echo more >>open/file; stat -c %u:%g open/file; cp -p others/file open/copy; mkdir open/new; cp -a others open/deep 2>/dev/null";
        let said = try_out(&mica, &["--keep", "later"], machine.script(script));
        assert!(said.out.starts_with("0:0\n"), "{said:#?}");
        let expected = [
            "C open",
            "A open/copy",
            "A open/deep",
            "A open/deep/file",
            "A open/deep/link",
            "A open/deep/secret",
            "C open/file",
            "A open/new",
        ];
        assert_eq!(below(&said.out, &machine.place), expected, "{said:#?}");
        mica.run(["commit", "-q", "later", "made"]);
        let archive = mica.user().home().join("made.tar");
        mica.run(["save", "-q", "-o", archive.to_str().unwrap(), "made"]);
        let place = mica.path("listed");
        fs::create_dir(&place).unwrap();
        let list =
            "tar xf \"$0\" && for blob in $(find . -type f); do tar --numeric-owner -tvf $blob 2>/dev/null; done";
        let mut command = Command::new("sh");
        let listed = Said::of(command.args(["-c", list]).arg(&archive).current_dir(&place).output().unwrap());
        assert!(listed.out.lines().any(|line| line.contains("0/0") && line.ends_with("open/file")), "{listed:#?}");
        assert!(!listed.out.contains("65534"), "{listed:#?}");
        mica.run(["apply", "--yes", "later"]);
        for path in ["file", "copy", "new", "deep", "deep/file"] {
            let found = fs::metadata(open.join(path)).unwrap();
            assert_eq!((found.uid(), found.gid()), (mica.user().uid(), mica.user().uid()), "{path}");
        }
        let there = fs::metadata(&open).unwrap();
        assert_eq!((there.uid(), there.mode() & 0o777), (0, 0o777));
        assert_eq!(fs::read_to_string(open.join("file")).unwrap(), "theirs\nmore\n");
        mica.run(["rm", "later"]);
        mica.assert_whole();
    });
}
