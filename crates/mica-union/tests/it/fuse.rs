//! The union in user space, mounted.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use mica_sys::Dir;
use mica_testkit::{Scratch, needs};
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
