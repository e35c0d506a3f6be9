//! The union in user space, mounted.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mica_sys::{Dir, Errno};
use mica_testkit::{Scratch, Snapshot, needs};
use mica_union::fuse::{Fuse, Options, Passthrough};
use mica_union::{Driver, UnionDirs, UpperDirs};

#[test]
fn a_read_only_union_shows_its_lowers() {
    needs!(root, fuse);
    let scratch = Scratch::new();
    let (top, base) = (scratch.make("top"), scratch.make("base"));
    fs::write(top.join("both"), "top").unwrap();
    fs::write(base.join("both"), "base").unwrap();
    fs::create_dir(base.join("dir")).unwrap();
    fs::write(base.join("dir/file"), "content").unwrap();
    let dirs = UnionDirs { lowers: vec![top, base], ..UnionDirs::default() };
    let mounted = Fuse::in_process().mount(&dirs).unwrap();
    let root = mounted.dir().unwrap();
    assert_eq!(root.read(b"both", 100).unwrap(), b"top");
    let dir = root.open_dir(b"dir").unwrap();
    assert_eq!(dir.read(b"file", 100).unwrap(), b"content");
    let mut names: Vec<_> = root.read_dir().unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    assert_eq!(names, [b"both".to_vec(), b"dir".to_vec()]);
}

/// `O_DIRECT`.
const DIRECT: i32 = rustix::fs::OFlags::DIRECT.bits().cast_signed();

/// A union with one lower and an upper, mounted; its files by paths.
struct Place {
    scratch: Scratch,
    root: Dir,
}

impl Place {
    fn new(driver: &Fuse) -> Self {
        let scratch = Scratch::new();
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| scratch.make(name));
        fs::write(upper.join("file"), "content").unwrap();
        fs::write(lower.join("below"), "content").unwrap();
        for (number, _) in PAIRS.enumerate() {
            fs::write(lower.join(number.to_string()), "content").unwrap();
        }
        let upper = UpperDirs { upper, work, volatile: false };
        let dirs = UnionDirs { lowers: vec![lower], upper: Some(upper), ..UnionDirs::default() };
        let root = driver.mount(&dirs).unwrap().dir().unwrap();
        Self { scratch, root }
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.root.as_fd().as_raw_fd())).join(name)
    }

    fn in_upper(&self, name: &str) -> Vec<u8> {
        fs::read(self.scratch.path().join("upper").join(name)).unwrap()
    }
}

fn cached() -> Fuse {
    let options = Options { passthrough: Passthrough::Off, ..Options::new(UnionDirs::default()) };
    Fuse::in_process().with_options(options)
}

fn each_way(test: impl Fn(&Place)) {
    for driver in [Fuse::in_process(), cached()] {
        test(&Place::new(&driver));
    }
}

#[test]
fn what_is_written_shows_at_once_by_every_way() {
    needs!(root, fuse);
    each_way(|place| {
        let path = place.path("file");
        assert_eq!(fs::read(&path).unwrap(), b"content");
        let mut before = fs::File::open(&path).unwrap();
        let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
        writer.write_all(b" and more").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 16);
        assert_eq!(fs::read(&path).unwrap(), b"content and more");
        let mut text = String::new();
        before.read_to_string(&mut text).unwrap();
        assert_eq!(text, "content and more");
        assert_eq!(place.in_upper("file"), b"content and more");
        drop((before, writer));
        // Now by the way that is chosen for one who writes first.
        let writer = OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
        writer.write_all_at(b"new", 0).unwrap();
        assert_eq!((fs::metadata(&path).unwrap().len(), fs::read(&path).unwrap()), (3, b"new".to_vec()));
        writer.write_all_at(b"N", 0).unwrap();
        writer.set_len(2).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 2);
        drop(writer);
        assert_eq!(fs::read(&path).unwrap(), b"Ne");
        assert_eq!(place.in_upper("file"), b"Ne");
    });
}

#[test]
fn the_first_open_for_writing_is_handed_to_the_kernel() {
    needs!(root, fuse);
    let place = Place::new(&Fuse::in_process());
    let path = place.path("file");
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let upper = place.scratch.path().join("upper/file");
    let mut text = [0; 7];
    file.read_exact_at(&mut text, 0).unwrap();
    assert_eq!(&text, b"content");
    // A page that the mount has would be shown again.
    fs::write(&upper, "changed").unwrap();
    file.read_exact_at(&mut text, 0).unwrap();
    assert_eq!(&text, b"changed");
    drop(file);
}

#[test]
fn a_lower_file_comes_up_when_it_is_opened_for_writing_or_written() {
    needs!(root, fuse);
    for (driver, at_the_open) in [(Fuse::in_process(), true), (cached(), false)] {
        let place = Place::new(&driver);
        let upper = place.scratch.path().join("upper/below");
        let writer = OpenOptions::new().read(true).write(true).open(place.path("below")).unwrap();
        assert_eq!(upper.exists(), at_the_open);
        writer.write_all_at(b"C", 0).unwrap();
        assert_eq!(fs::read(&upper).unwrap(), b"Content");
        assert_eq!(fs::read(place.path("below")).unwrap(), b"Content");
    }
}

/// Bytes of which no two pages are alike.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at ^ at >> 8 ^ at >> 16) & 0xff).unwrap()).collect()
}

#[test]
fn long_reads_give_what_the_file_has_wherever_they_begin_and_end() {
    needs!(root, fuse);
    const LENGTHS: [usize; 6] = [65_535, 65_536, 65_537, 131_072, 1_048_576, 3_000_001];
    let scratch = Scratch::new();
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| scratch.make(name));
    for length in LENGTHS {
        fs::write(lower.join(format!("below-{length}")), pattern(length)).unwrap();
        fs::write(upper.join(format!("above-{length}")), pattern(length)).unwrap();
    }
    let upper = UpperDirs { upper, work, volatile: false };
    let dirs = UnionDirs { lowers: vec![lower], upper: Some(upper), ..UnionDirs::default() };
    let root = cached().mount(&dirs).unwrap().dir().unwrap();
    let path = |name: &str| PathBuf::from(format!("/proc/self/fd/{}", root.as_fd().as_raw_fd())).join(name);
    for name in LENGTHS.into_iter().flat_map(|length| [format!("below-{length}"), format!("above-{length}")]) {
        let expected = pattern(name[6..].parse().unwrap());
        // Past the page cache each read is a request, or some.
        let file = OpenOptions::new().read(true).custom_flags(DIRECT).open(path(&name)).unwrap();
        for (offset, length) in
            [(0, 65_536), (0, 1 << 20), (0, 4 << 20), (512, 200_000), (65_000, 70_000), (999_999, 1 << 20)]
        {
            let mut seen = vec![0; length];
            let read = file.read_at(&mut seen, offset as u64).unwrap();
            let there = expected.get(offset..).unwrap_or_default();
            assert!(seen[..read] == there[..there.len().min(length)], "{length} bytes of {name} at {offset}");
        }
        assert!(fs::read(path(&name)).unwrap() == expected, "{name}");
        // It becomes longer and shorter by who knows and by who does not.
        let writer = OpenOptions::new().write(true).open(path(&name)).unwrap();
        writer.write_all_at(&expected, 2_000_000).unwrap();
        let mut seen = vec![0; expected.len()];
        file.read_exact_at(&mut seen, 2_000_000).unwrap();
        assert!(seen == expected, "{name}, written");
        fs::File::options()
            .write(true)
            .open(scratch.path().join("upper").join(&name))
            .unwrap()
            .set_len(100_000)
            .unwrap();
        // The kernel still believes the old length, and goes on with the pages that it has.
        let mut seen = vec![0; 1 << 20];
        let read = file.read_at(&mut seen, 0).unwrap();
        let left = &expected[..expected.len().min(100_000)];
        assert!(read >= 100_000 && seen[..left.len()] == *left, "{name}, cut");
    }
}

#[test]
fn what_has_no_name_any_more_is_read_and_written() {
    needs!(root, fuse);
    each_way(|place| {
        // Of the last the attributes alone have come up when it is removed.
        fs::set_permissions(place.path("0"), Permissions::from_mode(0o600)).unwrap();
        for name in ["file", "below", "0"] {
            let read_only = fs::File::open(place.path(name)).unwrap();
            let both = OpenOptions::new().read(true).write(true).open(place.path(name)).unwrap();
            fs::remove_file(place.path(name)).unwrap();
            both.write_all_at(b"CONT", 0).unwrap();
            both.set_len(6).unwrap();
            let mut text = [0; 6];
            read_only.read_exact_at(&mut text, 0).unwrap();
            assert_eq!(&text, b"CONTen", "{name}");
            assert_eq!((read_only.metadata().unwrap().len(), read_only.metadata().unwrap().nlink()), (6, 0));
            // By the link in /proc it is opened once more.
            let again = format!("/proc/self/fd/{}", read_only.as_raw_fd());
            OpenOptions::new().write(true).open(again).unwrap().write_all_at(b"c", 0).unwrap();
            read_only.read_exact_at(&mut text, 0).unwrap();
            assert_eq!(&text, b"cONTen", "{name}");
            assert!(!place.path(name).exists());
        }
    });
}

#[test]
fn flags_set_on_a_lowers_file_are_those_that_show_and_its_content_can_still_be_added_to() {
    needs!(root, fuse);
    /// `FS_APPEND_FL` and `FS_NODUMP_FL` (linux/fs.h).
    const APPEND: u32 = 0x20;
    const NODUMP: u32 = 0x40;
    each_way(|place| {
        let root = &place.root;
        let before = root.open_file(b"below").unwrap().inode_flags().unwrap();
        for flags in [NODUMP, NODUMP | APPEND] {
            root.open_file(b"below").unwrap().set_inode_flags(before | flags).unwrap();
            assert_eq!(root.open_file(b"below").unwrap().inode_flags().unwrap(), before | flags);
        }
        let over = |path| OpenOptions::new().write(true).open(path)?.write_all_at(b"C", 0);
        for refused in [fs::write(place.path("below"), "anew"), over(place.path("below"))] {
            assert_eq!(refused.unwrap_err().raw_os_error(), Some(Errno::PERM.raw_os_error()));
        }
        OpenOptions::new().append(true).open(place.path("below")).unwrap().write_all(b", more").unwrap();
        root.open_file(b"below").unwrap().set_inode_flags(before).unwrap();
        over(place.path("below")).unwrap();
        assert_eq!(place.in_upper("below"), b"Content, more");
        let lower = fs::File::open(place.scratch.path().join("lower/below")).unwrap();
        assert_eq!((rustix::fs::ioctl_getflags(&lower).unwrap().bits(), lower.metadata().unwrap().len()), (before, 7));
    });
}

/// Each two of [`ACTS`], twice: a number for each.
const PAIRS: std::ops::Range<usize> = 0..72;

/// What a client may do to a file that it has found in a lower.
type Act = fn(&Path) -> std::io::Result<()>;

const ACTS: [(&str, Act); 6] = [
    ("read", |path| fs::read(path).map(drop)),
    ("write", |path| OpenOptions::new().write(true).open(path)?.write_all_at(b"w", 0)),
    ("write and read", |path| {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        file.read_at(&mut [0; 3], 0)?;
        file.write_all_at(b"x", 1)
    }),
    ("append", |path| OpenOptions::new().append(true).open(path)?.write_all(b"more")),
    ("truncate", |path| OpenOptions::new().write(true).truncate(true).open(path)?.write_all(b"all new")),
    ("change", |path| fs::set_permissions(path, Permissions::from_mode(0o600))),
];

#[test]
fn a_lower_never_changes_in_whatever_order_its_file_is_opened() {
    needs!(root, fuse);
    each_way(|place| {
        let lower = place.scratch.path().join("lower");
        let before = Snapshot::of(&lower);
        for (number, pair) in PAIRS.enumerate() {
            let ((first, one), (second, other)) = (ACTS[pair % 6], ACTS[pair / 6 % 6]);
            let path = place.path(&number.to_string());
            // Each with the file open for reading by somebody else all the while, and not.
            let reader = (pair >= 36).then(|| fs::File::open(&path).unwrap());
            one(&path).unwrap();
            other(&path).unwrap();
            let shown = fs::read(&path).unwrap();
            if let Some(reader) = reader {
                let mut seen = vec![0; shown.len() + 1];
                let length = reader.read_at(&mut seen, 0).unwrap();
                assert_eq!(seen[..length], shown, "{first}, then {second}");
            }
            before.assert_unchanged(&lower, &format!("{first}, then {second}"));
        }
    });
}

#[test]
fn an_fsync_flushes_the_attributes_of_a_file_without_content_of_its_own() {
    needs!(root, fuse);
    let scratch = Scratch::new();
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| scratch.make(name));
    // Large enough to come up without its content, and with a name that no other test has.
    fs::write(lower.join("mode-alone"), vec![7; 1 << 20]).unwrap();
    let upper = UpperDirs { upper, work, volatile: false };
    let dirs = UnionDirs { lowers: vec![lower], upper: Some(upper), ..UnionDirs::default() };
    let root = Fuse::in_process().mount(&dirs).unwrap().dir().unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", root.as_fd().as_raw_fd())).join("mode-alone");
    let file = fs::File::open(&path).unwrap();
    file.set_permissions(Permissions::from_mode(0o640)).unwrap();
    let blocks = fs::metadata(scratch.path().join("upper/mode-alone")).unwrap().blocks();
    assert!(blocks < 100, "it came up with its content: {blocks} blocks");
    mica_sys::fault::arm(mica_sys::fault::FaultPlan::Trace);
    let synced = file.sync_all();
    mica_sys::fault::disarm();
    synced.unwrap();
    let flushed = mica_sys::fault::trace();
    assert!(flushed.iter().any(|(call, name)| *call == "fsync" && name == b"mode-alone"), "{flushed:?}");
}

/// Where the kernel asks at no open, nobody is told of a copy-up: it is the next read that finds where the content is.
#[test]
fn who_opened_a_file_before_it_came_up_reads_what_came_up() {
    needs!(root, fuse);
    const LENGTH: u64 = 4 << 20;
    each_way(|place| {
        fs::write(place.scratch.path().join("lower/large"), vec![b'l'; usize::try_from(LENGTH).unwrap()]).unwrap();
        let path = place.path("large");
        let reader = fs::File::open(&path).unwrap();
        reader.read_exact_at(&mut [0; 10], 0).unwrap();
        for size in [LENGTH / 2, LENGTH] {
            OpenOptions::new().write(true).open(&path).unwrap().set_len(size).unwrap();
        }
        let mut end = [1; 4096];
        reader.read_exact_at(&mut end, LENGTH - 4096).unwrap();
        assert!(end == [0; 4096], "the lower's content is read still");
        assert_eq!(place.in_upper("large").len(), usize::try_from(LENGTH).unwrap());
    });
}

/// What is made while a directory is read is not read in turn, or who renames all that he finds never ends (CVE-2024-46701 was the same on tmpfs).
#[test]
fn who_renames_each_name_that_he_reads_comes_to_an_end() {
    needs!(root, fuse);
    const NAMES: usize = 3000;
    let place = Place::new(&Fuse::in_process());
    let directory = place.path("many");
    fs::create_dir(&directory).unwrap();
    for number in 0..NAMES {
        fs::write(directory.join(number.to_string()), "").unwrap();
    }
    let mut read = 0;
    for entry in fs::read_dir(&directory).unwrap().take(NAMES + 1) {
        fs::rename(entry.unwrap().path(), directory.join(format!("new{read}"))).unwrap();
        read += 1;
    }
    assert_eq!((read, fs::read_dir(&directory).unwrap().count()), (NAMES, NAMES));
    assert!(
        fs::read_dir(&directory).unwrap().all(|entry| entry
            .unwrap()
            .file_name()
            .as_encoded_bytes()
            .starts_with(b"new"))
    );
}
