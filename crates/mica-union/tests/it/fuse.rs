//! The union in user space, mounted.

use std::fs;

use mica_testkit::{Scratch, needs};
use mica_union::fuse::Fuse;
use mica_union::{Driver, UnionDirs};

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
