//! The differential test, with every driver.
//!
//! `MICA_DIFFERENTIAL=1000000` plays so many operations instead of those that continuous integration has time for, and
//! `MICA_DIFFERENTIAL_SEED=7` others than the usual.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use mica_layer::Marks;
use mica_sys::{Dir, FileKind};
use mica_testkit::differential::{Coverage, Plan, Privilege, Row};
use mica_testkit::{OrdinaryUser, needs};
use mica_union::fuse::Fuse;
use mica_union::{Driver, Flat, Mounted, Overlay, Support, UnionDirs, UnionError};

/// What continuous integration plays: a minute and a half of one processor.
const OPERATIONS: u64 = 100_000;

/// What it has for the runs beside the main one.
const FEWER: u64 = 2_000;

/// Says to the copy of this program that an ordinary user runs that it is one.
const INSIDE: &str = "MICA_DIFFERENTIAL_INSIDE";

/// Every driver that can show a stack; the differential test is for all of them.
fn drivers() -> Vec<Box<dyn Driver>> {
    vec![Box::new(Overlay::new()), Box::new(Flat::new()), Box::new(Fuse::in_process())]
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn play(drivers: &[Box<dyn Driver>], marks: Marks, privilege: Privilege, operations: u64) -> Vec<Coverage> {
    let drivers = drivers.iter().map(Box::as_ref).collect();
    let seed = number("MICA_DIFFERENTIAL_SEED").unwrap_or(3);
    Plan { drivers, marks, privilege, seed, operations }.run()
}

#[track_caller]
fn assert_full(tables: &[Coverage], least: u64, marks: Marks, can: impl Fn(Row) -> bool) {
    for table in tables {
        let thin = table.thin(least, marks, &can);
        assert!(thin.is_empty(), "{}: met less than {least} times:\n{}", table.driver, thin.join("\n"));
    }
}

#[test]
fn random_operations_cannot_tell_a_union_from_a_plain_directory() {
    needs!(root, overlay);
    let operations = number("MICA_DIFFERENTIAL").unwrap_or(OPERATIONS);
    let tables = play(&drivers(), Marks::Trusted, Privilege::Root, operations);
    assert_full(&tables, operations / 14_000, Marks::Trusted, |_| true);
}

#[test]
fn nor_can_they_with_a_users_marks() {
    needs!(root, overlay, userxattr);
    play(&drivers(), Marks::User, Privilege::Root, FEWER);
}

/// The same in the user namespace of a real ordinary user: this program again, with that test alone.
#[test]
fn nor_can_an_ordinary_users() {
    needs!(ordinary_user);
    let user = OrdinaryUser::without_range();
    let mut command = user.command("unshare");
    let this = std::env::current_exe().unwrap();
    let inner = user.scratch().path().join("differential");
    std::fs::copy(this, &inner).unwrap();
    command.args(["--user", "--mount", "--map-root-user"]).arg(&inner);
    command.args(["--exact", "differential::an_ordinary_user_plays", "--nocapture"]);
    command.env(INSIDE, "1").env("TMPDIR", user.home());
    for variable in ["MICA_DIFFERENTIAL", "MICA_DIFFERENTIAL_SEED"] {
        command.envs(std::env::var_os(variable).map(|value| (variable, value)));
    }
    let played = command.output().unwrap();
    let said = String::from_utf8_lossy(&[played.stdout, played.stderr].concat()).into_owned();
    eprintln!("{said}");
    assert!(played.status.success() && said.contains("known divergence"), "the ordinary user's run failed");
}

/// A part of the test above; by itself it has nothing to play in.
#[test]
fn an_ordinary_user_plays() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let operations = number("MICA_DIFFERENTIAL").unwrap_or(FEWER);
    let tables = play(&drivers(), Marks::User, Privilege::OneId, operations);
    assert_full(&tables, operations / 40_000, Marks::User, |row| row != Row::MakeDevice);
}

#[test]
fn a_name_that_no_layer_can_say_shows_and_is_not_packed() {
    needs!(root, overlay);
    for driver in drivers() {
        let scratch = mica_testkit::Scratch::new();
        let upper = mica_union::UpperDirs { upper: scratch.make("upper"), work: scratch.make("work"), volatile: false };
        let lower = scratch.make("lower");
        std::fs::write(lower.join("x"), "").unwrap();
        let dirs = UnionDirs {
            lowers: vec![lower],
            upper: Some(upper.clone()),
            marks: Marks::Trusted,
            ..UnionDirs::default()
        };
        let mounted = driver.mount(&dirs).unwrap();
        let root = mounted.dir().unwrap();
        root.create_file(b".wh.x", 0o644).unwrap();
        for name in [&[b'n'; 255][..], &[b'n'; 256]] {
            let refused = root.create_file(name, 0o644).err().map(|error| error.errno());
            assert_eq!(refused, (name.len() > 255).then_some(mica_sys::Errno::NAMETOOLONG), "{}", driver.name());
            let found = root.stat(name).err().map(|error| error.errno());
            assert_eq!(found, refused);
        }
        let mut names: Vec<_> = root.read_dir().unwrap().into_iter().map(|entry| entry.name).collect();
        names.sort();
        assert_eq!(names, [b".wh.x".to_vec(), vec![b'n'; 255], b"x".to_vec()], "{}", driver.name());
        driver.settle(&dirs).unwrap();
        let packed = mica_layer::pack(&Dir::open(&upper.upper).unwrap(), &mica_layer::Pack::default(), &mut Vec::new());
        assert!(packed.unwrap_err().to_string().starts_with("/.wh.x cannot be in a layer"), "{}", driver.name());
    }
}

/// Spoils something about a name in a directory, which is of this kind; says whether it did.
type Spoil = fn(&Dir, &[u8], FileKind) -> bool;

/// overlayfs with a flaw: something is not in the upper any more when it is read.
struct Flawed {
    overlay: Overlay,
    spoil: Spoil,
}

impl Driver for Flawed {
    fn name(&self) -> &'static str {
        self.overlay.name()
    }

    fn probe(&self, scratch: &Path) -> Support {
        self.overlay.probe(scratch)
    }

    fn mount(&self, dirs: &UnionDirs) -> Result<Mounted, UnionError> {
        self.overlay.mount(dirs)
    }

    fn settle(&self, dirs: &UnionDirs) -> Result<(), UnionError> {
        fn once(dir: &Dir, spoil: Spoil) -> bool {
            dir.read_dir().unwrap().into_iter().any(|entry| {
                spoil(dir, &entry.name, entry.kind)
                    || entry.kind == FileKind::Directory && once(&dir.open_dir(&entry.name).unwrap(), spoil)
            })
        }
        if let Some(upper) = &dirs.upper {
            once(&Dir::open(&upper.upper).unwrap(), self.spoil);
        }
        Ok(())
    }
}

#[test]
fn a_driver_with_a_flaw_is_found_out() {
    needs!(root, overlay);
    let removes_mark = |dir: &Dir, name: &[u8], kind: FileKind| {
        kind == FileKind::Directory && dir.remove_xattr(name, Marks::Trusted.opaque()).is_ok()
    };
    let removes_whiteout = |dir: &Dir, name: &[u8], _: FileKind| {
        dir.stat(name).is_ok_and(|found| found.is_whiteout_device()) && dir.unlink(name).is_ok()
    };
    let removes_attribute = |dir: &Dir, name: &[u8], _: FileKind| dir.remove_xattr(name, b"user.a").is_ok();
    let parts_link = |dir: &Dir, name: &[u8], kind: FileKind| {
        let linked = kind == FileKind::File && dir.stat(name).is_ok_and(|found| found.nlink > 1);
        linked && {
            let (found, content) = (dir.stat(name).unwrap(), dir.read(name, u64::MAX).unwrap());
            dir.unlink(name).unwrap();
            dir.create_file(name, found.mode).unwrap().write_whole(&content).unwrap();
            dir.chown(name, found.uid, found.gid).unwrap();
            dir.utimens(name, found.mtime).is_ok()
        }
    };
    let cuts_file = |dir: &Dir, name: &[u8], kind: FileKind| {
        let found = dir.stat(name).unwrap();
        kind == FileKind::File && found.size > 4096 && {
            let path = format!("/proc/self/fd/{}/", std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(dir)));
            let path = Path::new(&path).join(std::ffi::OsStr::new(std::str::from_utf8(name).unwrap_or("?")));
            std::fs::OpenOptions::new().write(true).open(path).is_ok_and(|file| {
                file.set_len(4096).unwrap();
                dir.utimens(name, found.mtime).is_ok()
            })
        }
    };
    let flaws: [(&str, Spoil); 5] = [
        ("an opaque mark", removes_mark),
        ("a whiteout", removes_whiteout),
        ("an attribute", removes_attribute),
        ("a link", parts_link),
        ("content", cuts_file),
    ];
    for (what, spoil) in flaws {
        let drivers: Vec<Box<dyn Driver>> = vec![Box::new(Flawed { overlay: Overlay::new(), spoil })];
        let played = catch_unwind(AssertUnwindSafe(|| play(&drivers, Marks::Trusted, Privilege::Root, FEWER)));
        let said = played.err().and_then(|panic| panic.downcast::<String>().ok());
        let said = said.unwrap_or_else(|| panic!("a driver that forgets {what} passes"));
        assert!(said.contains("the shortest script found"), "{said}");
    }
}
