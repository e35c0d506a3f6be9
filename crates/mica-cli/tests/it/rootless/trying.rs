//! `try` and `apply` of an ordinary user, over the kernel's overlayfs: what is the user's own is a view, and no file is touched.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_sys::Dir;
use mica_testkit::{Scratch, Snapshot, needs};

use super::{as_both, below, bring, script_at, try_out};
use crate::common::{Mica, Said};

/// A file system of this machine with a directory of the user's and one of somebody else's. To be made in a mount namespace of the test's own.
struct Machine {
    _scratch: Scratch,
    project: PathBuf,
    others: PathBuf,
}

impl Machine {
    fn new(mica: &Mica) -> Self {
        let scratch = Scratch::new();
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let place = scratch.tmpfs("machine", "size=4m,mode=755");
        let (project, others) = (place.join("project"), place.join("others"));
        for path in ["", "deep"] {
            fs::create_dir(project.join(path)).unwrap();
            mica.user().give(&project.join(path));
        }
        for name in ["kept", "changed", "gone", "deep/file"] {
            fs::write(project.join(name), format!("{name}\n")).unwrap();
            mica.user().give(&project.join(name));
        }
        fs::create_dir_all(others.join("in")).unwrap();
        fs::write(others.join("in/file"), "theirs\n").unwrap();
        Self { _scratch: scratch, project, others }
    }

    fn script(&self, script: &str) -> [String; 3] {
        script_at(&self.project, script)
    }
}

const CHANGES: &str = "id -u; echo new >changed; rm gone; mkdir -p made/er; chmod 600 deep/file; exit 7";

#[test]
fn changes_are_listed_and_no_file_is_touched() {
    needs!(ordinary_user, userxattr);
    as_both(|mica| {
        mica.user().close_fuse();
        let machine = Machine::new(&mica);
        mica.run(["images"]);
        let before = (Snapshot::of(&machine.project), Snapshot::of(&machine.others));
        let said = try_out(&mica, &[], machine.script(CHANGES));
        assert_eq!(said.status, 7, "{said:#?}");
        assert!(said.out.starts_with("0\n"), "{said:#?}");
        assert_eq!(below(&said.out, &machine.project), ["C changed", "C deep/file", "D gone", "A made", "A made/er"]);
        let note = "as an ordinary user: files of other users are shown, and cannot be changed";
        assert!(said.err.contains(note) && said.err.contains("changes, dropped; no file was touched"), "{said:#?}");
        let script =
            "cat ../others/in/file; echo x >../others/in/file; echo x >../others/in/new; ls -A $MICA_ROOT | wc -l";
        let said = try_out(&mica, &["-q"], machine.script(script));
        assert_eq!(said.out, "theirs\n0\n", "{said:#?}");
        assert_eq!(said.err.matches("Permission denied").count(), 2, "{said:#?}");
        before.0.assert_unchanged(&machine.project, "a try");
        before.1.assert_unchanged(&machine.others, "a try");
        assert_eq!(mica.run(["ps", "-aq"]).out, "");
        mica.assert_whole();
    });
}

#[test]
fn it_starts_where_the_user_stands() {
    needs!(ordinary_user, userxattr);
    as_both(|mica| {
        mica.user().close_fuse();
        let machine = Machine::new(&mica);
        mica.run(["images"]);
        let program = bring(&mica);
        // A file system of its own, and what is not shown.
        for (at, shown) in [(machine.project.as_path(), machine.project.as_path()), (mica.root(), Path::new("/"))] {
            let mut command = mica.user().command("sh");
            command.args(["-c", "cd \"$0\" && exec \"$@\""]).arg(at).arg(&program).args(["try", "-q", "pwd"]);
            command.env("MICA_ROOT", mica.root()).env("MICA_RUN_ROOT", mica.run_root());
            let said = Said::of(command.output().unwrap());
            assert_eq!((said.status, said.line()), (0, shown.display().to_string()), "{said:#?}");
        }
    });
}

#[test]
fn what_is_the_users_below_directories_of_others_is_changed() {
    needs!(ordinary_user, userxattr);
    as_both(|mica| {
        mica.user().close_fuse();
        let machine = Machine::new(&mica);
        let own = machine.others.join("in/own");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("file"), "mine\n").unwrap();
        [own.clone(), own.join("file")].iter().for_each(|path| mica.user().give(path));
        let program = bring(&mica);
        let script = "cd \"$0\" && exec \"$@\"";
        let change = "echo new >file; mkdir made; touch ../theirs 2>&1 | grep -c denied";
        let mut command = mica.user().command("sh");
        command.args(["-c", script]).arg(&own).arg(&program).args(["try", "--keep", "later", "--", "sh", "-c", change]);
        command.env("MICA_ROOT", mica.root()).env("MICA_RUN_ROOT", mica.run_root());
        let said = Said::of(command.output().unwrap());
        assert_eq!(below(&said.out, &own), ["C file", "A made"], "{said:#?}");
        assert!(said.out.starts_with("1\n"), "{said:#?}");
        assert_eq!(fs::read_to_string(own.join("file")).unwrap(), "mine\n");
        mica.run(["apply", "--yes", "later"]);
        assert_eq!(fs::read_to_string(own.join("file")).unwrap(), "new\n");
        assert!(own.join("made").is_dir());
        mica.run(["rm", "later"]);
        mica.assert_whole();
    });
}

#[test]
fn kept_changes_are_shown_and_applied() {
    needs!(ordinary_user, userxattr);
    as_both(|mica| {
        mica.user().close_fuse();
        let machine = Machine::new(&mica);
        let place = &machine.project;
        let before = Snapshot::of(place);
        assert_eq!(try_out(&mica, &["--keep", "later"], machine.script(CHANGES)).status, 7);
        before.assert_unchanged(place, "a kept try");
        let expected = ["C changed", "C deep/file", "D gone", "A made", "A made/er"];
        assert_eq!(below(&mica.run(["diff", "later"]).out, place), expected);
        mica.run(["apply", "--yes", "later"]);
        assert_eq!(fs::read_to_string(place.join("changed")).unwrap(), "new\n");
        assert!(!place.join("gone").exists() && place.join("made/er").is_dir());
        assert_eq!(fs::metadata(place.join("made")).unwrap().uid(), mica.user().uid());
        assert_eq!(fs::metadata(place.join("deep/file")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(place.join("kept")).unwrap(), "kept\n");
        mica.run(["rm", "later"]);
        mica.assert_whole();
    });
}

/// The marks of an ordinary user's view are others than root's; read as root's they would say nothing, and come onto the machine.
#[test]
fn a_directory_that_was_made_again_hides_what_was_in_it() {
    needs!(ordinary_user, userxattr);
    as_both(|mica| {
        mica.user().close_fuse();
        let machine = Machine::new(&mica);
        let place = &machine.project;
        let script = "rm -r deep && mkdir deep && echo now >deep/now && echo more >>kept";
        for name in ["forgotten", "later"] {
            let said = try_out(&mica, &["--keep", name], machine.script(script));
            assert_eq!(said.status, 0, "{said:#?}");
            let expected = ["C deep", "D deep/file", "A deep/now", "C kept"];
            assert_eq!(below(&said.out, place), expected, "{said:#?}");
            assert_eq!(below(&mica.run(["diff", name]).out, place), expected);
        }
        let before = Snapshot::of(place);
        mica.run(["rm", "forgotten"]);
        before.assert_unchanged(place, "a try that was forgotten");
        mica.run(["apply", "--yes", "later"]);
        assert!(!place.join("deep/file").exists());
        assert_eq!(fs::read_to_string(place.join("deep/now")).unwrap(), "now\n");
        for (parent, name) in [("..", "project"), (".", "deep"), ("deep", "now"), (".", "kept")] {
            let attributes = Dir::open(&place.join(parent)).unwrap().list_xattrs(name.as_bytes()).unwrap();
            assert!(!attributes.iter().any(|found| found.starts_with(b"user.overlay.")), "{name}: {attributes:?}");
        }
        mica.run(["rm", "later"]);
        mica.assert_whole();
    });
}

#[test]
fn what_may_not_be_applied_is_refused_and_nothing_is() {
    needs!(ordinary_user, userxattr);
    as_both(|mica| {
        mica.user().close_fuse();
        // The first directory of a view is the user's in it.
        assert_eq!(mica.try_run(["try", "-q", "--keep", "later", "--", "touch", "/usr/new"]).status, 0);
        assert_eq!(mica.run(["diff", "later"]).out, "A /usr/new\n");
        let said = mica.try_run(["apply", "--yes", "later"]);
        assert_eq!(said.status, 125, "{said:#?}");
        assert!(said.err.contains("mica: apply to /usr: ") && said.err.contains("ermission denied"), "{said:#?}");
        assert!(!Path::new("/usr/new").exists());
        mica.run(["rm", "later"]);
    });
}

/// A directory with something mounted in it is shown in parts.
#[test]
fn mounts_of_the_machine_are_views_of_their_own() {
    needs!(ordinary_user, userxattr);
    as_both(|mica| {
        mica.user().close_fuse();
        let machine = Machine::new(&mica);
        let place = &machine.project;
        let mounted = place.join("deep/mounted");
        for path in [&mounted, &place.join("beside")] {
            fs::create_dir(path).unwrap();
            mica.user().give(path);
        }
        let tmpfs = ["-t", "tmpfs", "-o", "mode=777", "tester"];
        assert!(Command::new("mount").args(tmpfs).arg(&mounted).status().unwrap().success());
        fs::write(mounted.join("x"), "x\n").unwrap();
        mica.user().give(&mounted.join("x"));
        symlink("deep/mounted/x", place.join("link")).unwrap();
        let before = (Snapshot::of(place), Snapshot::of(&mounted));
        let script = "cat link; cat kept; echo y >deep/mounted/x; touch beside/new new; echo no >kept; rm deep/file; \
            rmdir beside; chmod 711 beside; readlink link";
        let said = try_out(&mica, &["--keep", "later"], machine.script(script));
        assert!(said.out.starts_with("x\nkept\ndeep/mounted/x\n"), "{said:#?}");
        assert_eq!(below(&said.out, place), ["C beside", "A beside/new", "C deep/mounted/x", "A new"], "{said:#?}");
        for word in ["kept: Read-only file system", "busy", &format!("{}/deep: files there", place.display())] {
            assert!(said.err.contains(word), "{word}: {said:#?}");
        }
        before.0.assert_unchanged(place, "a try");
        before.1.assert_unchanged(&mounted, "a try");
        mica.run(["apply", "--yes", "later"]);
        assert_eq!(fs::read_to_string(mounted.join("x")).unwrap(), "y\n");
        assert_eq!(fs::metadata(place.join("beside")).unwrap().permissions().mode() & 0o777, 0o711);
        assert!(["new", "beside/new", "kept", "deep/file"].iter().all(|path| place.join(path).exists()));
        mica.run(["rm", "later"]);
    });
}
