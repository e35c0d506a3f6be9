use std::io::Write as _;
use std::os::unix::fs::symlink;

use std::time::Instant;

use super::names::temporary_name;
use super::*;
use crate::stat::Time;

struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = temporary_name(b"mica-sys").unwrap();
        let path = std::env::temp_dir().join(String::from_utf8(name).unwrap());
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn dir(&self) -> Dir {
        Dir::open(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    #[expect(clippy::disallowed_methods, reason = "cleans up after the code that the ban points to")]
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn a_name_that_is_a_path_is_refused_before_any_call() {
    let scratch = Scratch::new();
    let dir = scratch.dir();
    for bad in [&b""[..], b".", b"..", b"a/b", b"../x", b"/etc", b"a\0"] {
        let refused = [
            dir.create_file(bad, 0o600).err(),
            dir.mkdir(bad, 0o700).err(),
            dir.unlink(bad).err(),
            dir.stat(bad).err(),
            dir.symlink(b"x", bad).err(),
            dir.chmod(bad, 0o600).err(),
            dir.set_xattr(bad, b"user.a", b"").err(),
            dir.rename(bad, &dir, b"ok").err(),
            dir.rename(b"ok", &dir, bad).err(),
            dir.remove_tree(bad).err(),
        ];
        for error in refused {
            assert_eq!(error.map(|error| error.errno()), Some(Errno::INVAL), "{bad:?}");
        }
    }
}

#[test]
fn a_path_cannot_leave_through_dots_or_links() {
    let scratch = Scratch::new();
    let dir = scratch.dir();
    dir.mkdir(b"inside", 0o755).unwrap();
    symlink("/etc", scratch.0.join("out")).unwrap();
    symlink("inside", scratch.0.join("in")).unwrap();
    symlink("/inside", scratch.0.join("rooted")).unwrap();
    assert_eq!(dir.open_dir(b"..").unwrap_err().errno(), Errno::XDEV);
    assert_eq!(dir.open_dir(b"/etc").unwrap_err().errno(), Errno::XDEV);
    for link in [&b"out"[..], b"in", b"rooted"] {
        assert_eq!(dir.open_dir(link).unwrap_err().errno(), Errno::LOOP);
    }
    // As if the directory were the root: `/etc` is not there, `/inside` is.
    assert!(dir.open_dir_in_root(b"out").unwrap_err().is_not_found());
    let inside = dir.open_dir(b"inside").unwrap().metadata().unwrap().ino;
    for path in [&b"in"[..], b"rooted", b"../inside", b"/inside", b"inside/../../inside"] {
        assert_eq!(dir.open_dir_in_root(path).unwrap().metadata().unwrap().ino, inside, "{path:?}");
    }
}

#[test]
fn what_is_renamed_away_is_not_there() {
    let scratch = Scratch::new();
    let dir = scratch.dir();
    for name in [&b"inside"[..], b"outside"] {
        dir.mkdir(name, 0o755).unwrap();
    }
    let (inside, outside) = (dir.open_dir(b"inside").unwrap(), dir.open_dir(b"outside").unwrap());
    inside.mkdir(b"x", 0o755).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                inside.rename(b"x", &outside, b"x").unwrap();
                outside.rename(b"x", &inside, b"x").unwrap();
            }
        });
        let until = Instant::now() + std::time::Duration::from_millis(500);
        let mut wrong = Vec::new();
        while Instant::now() < until {
            wrong.extend(inside.open_dir(b"x").err().filter(|error| !error.is_not_found()));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(wrong, []);
    });
}

#[test]
fn the_last_component_is_never_followed() {
    let scratch = Scratch::new();
    let dir = scratch.dir();
    dir.create_file(b"target", 0o600).unwrap();
    dir.symlink(b"target", b"link").unwrap();
    assert_eq!(dir.stat(b"link").unwrap().kind, FileKind::Symlink);
    assert_eq!(dir.open_file(b"link").unwrap_err().errno(), Errno::LOOP);
    assert!(dir.create_file(b"link", 0o600).unwrap_err().is_exists());
    assert_eq!(dir.chmod(b"link", 0o777).unwrap_err().errno(), Errno::OPNOTSUPP);
    dir.utimens(b"link", Time { secs: -5, nanos: 7 }).unwrap();
    assert_eq!(dir.stat(b"link").unwrap().mtime, Time { secs: -5, nanos: 7 });
    assert!(dir.stat(b"target").unwrap().mtime.secs > 0);
    assert!(dir.set_xattr(b"link", b"user.a", b"1").is_err(), "user attributes are not for symlinks");
    dir.link(b"link", &dir, b"hard").unwrap();
    assert_eq!(dir.stat(b"hard").unwrap().kind, FileKind::Symlink);
    dir.unlink(b"link").unwrap();
    assert_eq!(dir.read_link(b"hard").unwrap(), b"target");
    assert_eq!(dir.stat(b"target").unwrap().mode, 0o600);
}

#[test]
fn attributes_are_set_read_and_absent() {
    let scratch = Scratch::new();
    let dir = scratch.dir();
    let file = dir.create_file(b"f", 0o600).unwrap();
    let long = vec![b'x'; 3000];
    file.set_xattr(b"user.long", &long).unwrap();
    dir.set_xattr(b"f", b"user.nul", b"a\0=b").unwrap();
    assert_eq!(dir.get_xattr(b"f", b"user.long").unwrap(), Some(long));
    assert_eq!(file.get_xattr(b"user.nul").unwrap(), Some(b"a\0=b".to_vec()));
    assert_eq!(dir.get_xattr(b"f", b"user.none").unwrap(), None);
    assert_eq!(dir.list_xattrs(b"f").unwrap().len(), 2);
    dir.remove_xattr(b"f", b"user.nul").unwrap();
    assert_eq!(file.list_xattrs().unwrap(), [b"user.long".to_vec()]);
}

#[test]
fn a_deep_tree_is_removed_and_links_out_of_it_are_not_followed() {
    let scratch = Scratch::new();
    let dir = scratch.dir();
    dir.mkdir(b"outside", 0o755).unwrap();
    dir.open_dir(b"outside").unwrap().create_file(b"kept", 0o600).unwrap();
    dir.mkdir(b"tree", 0o755).unwrap();
    let mut at = dir.open_dir(b"tree").unwrap();
    at.symlink(b"../outside", b"link").unwrap();
    // Longer than PATH_MAX and deeper than the limit of open files would allow one descriptor each.
    let name = [b'd'; 200];
    for _ in 0..3000 {
        at.mkdir(&name, 0o755).unwrap();
        at.create_file(b"f", 0o600).unwrap();
        at = at.open_dir(&name).unwrap();
    }
    dir.remove_tree(b"tree").unwrap();
    assert_eq!(dir.stat_if_there(b"tree").unwrap(), None);
    assert!(dir.open_dir(b"outside").unwrap().stat(b"kept").is_ok());
    dir.remove_tree(b"never there").unwrap();
}

#[test]
fn a_wide_tree_is_removed() {
    let scratch = Scratch::new();
    let dir = scratch.dir();
    dir.mkdir(b"tree", 0o755).unwrap();
    let tree = dir.open_dir(b"tree").unwrap();
    for one in ["a", "b", "c"] {
        tree.mkdir(one.as_bytes(), 0o755).unwrap();
        let inner = tree.open_dir(one.as_bytes()).unwrap();
        for two in ["x", "y", "z"] {
            inner.mkdir(two.as_bytes(), 0o755).unwrap();
            inner.open_dir(two.as_bytes()).unwrap().create_file(b"f", 0o600).unwrap();
        }
    }
    dir.remove_tree(b"tree").unwrap();
    assert_eq!(dir.read_dir().unwrap(), []);
}

#[test]
fn a_removal_stops_when_its_time_is_over_and_goes_on_later() {
    let scratch = Scratch::new();
    let dir = scratch.dir();
    dir.mkdir(b"tree", 0o755).unwrap();
    let tree = dir.open_dir(b"tree").unwrap();
    for name in 0..100 {
        tree.create_file(format!("{name}").as_bytes(), 0o600).unwrap();
    }
    assert!(!dir.remove_tree_until(b"tree", Some(std::time::Instant::now())).unwrap());
    assert_eq!(tree.read_dir().unwrap().len(), 100);
    let later = std::time::Instant::now() + std::time::Duration::from_secs(60);
    assert!(dir.remove_tree_until(b"tree", Some(later)).unwrap());
    assert_eq!(dir.stat_if_there(b"tree").unwrap(), None);
}

#[test]
fn a_handle_that_is_read_by_begins_anew_each_time() {
    let scratch = Scratch::new();
    let dir = scratch.dir();
    dir.mkdir(b"many", 0o755).unwrap();
    let mut many = dir.open_dir(b"many").unwrap();
    // More than are asked for at once.
    let mut wanted: Vec<Vec<u8>> = (0..600).map(|number| format!("{number:0>200}").into_bytes()).collect();
    for name in &wanted {
        drop(many.create_file(name, 0o600).unwrap());
    }
    wanted.sort();
    let sorted = |entries: Vec<DirEntry>| {
        let mut names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
        names.sort();
        names
    };
    for _ in 0..2 {
        assert_eq!(sorted(many.read_dir_here().unwrap()), wanted);
        assert_eq!(sorted(many.read_dir().unwrap()), wanted);
    }
    dir.remove_tree(b"many").unwrap();
    assert_eq!(many.read_dir_here().unwrap(), []);
}

#[test]
fn an_atomic_write_replaces_and_leaves_nothing_else() {
    let scratch = Scratch::new();
    let dir = scratch.dir();
    dir.write_atomic(b"record", b"old", 0o600).unwrap();
    dir.write_atomic(b"record", b"new", 0o640).unwrap();
    assert_eq!(dir.read(b"record", 10).unwrap(), b"new");
    assert_eq!(dir.read(b"record", 2).unwrap_err().errno(), Errno::FBIG);
    assert_eq!(dir.stat(b"record").unwrap().mode, 0o640);
    assert_eq!(dir.read_dir().unwrap().len(), 1);
    dir.mkdir(b"directory", 0o755).unwrap();
    dir.open_dir(b"directory").unwrap().create_file(b"f", 0o600).unwrap();
    assert!(dir.write_atomic(b"directory", b"x", 0o600).is_err());
    assert_eq!(dir.read_dir().unwrap().len(), 2, "the temporary name is gone");
}

#[test]
fn a_copy_has_the_content_and_the_holes() {
    let scratch = Scratch::new();
    let dir = scratch.dir();
    let mut from = dir.create_file(b"from", 0o600).unwrap();
    from.write_all(b"head").unwrap();
    from.seek(SeekFrom::Start(8 << 20)).unwrap();
    from.write_all(b"tail").unwrap();
    from.set_len(16 << 20).unwrap();
    let to = dir.create_file(b"to", 0o600).unwrap();
    to.copy_from(&from).unwrap();
    assert_eq!(dir.read(b"from", 1 << 30).unwrap(), dir.read(b"to", 1 << 30).unwrap());
    assert!(to.metadata().unwrap().blocks * 512 < 1 << 20, "holes were filled");
}
use std::io::{Seek as _, SeekFrom};

#[test]
fn a_lock_excludes_and_a_removed_one_begins_anew() {
    use crate::Lock;
    let scratch = Scratch::new();
    let dir = scratch.dir();
    let held = Lock::exclusive(&dir, b"lock").unwrap();
    assert!(Lock::try_exclusive(&dir, b"lock").unwrap().is_none());
    assert!(Lock::try_shared(&dir, b"lock").unwrap().is_none());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Lock::exclusive(&dir, b"lock").unwrap());
        std::thread::sleep(std::time::Duration::from_millis(20));
        held.remove().unwrap();
        let next = waiting.join().unwrap();
        assert!(Lock::try_exclusive(&dir, b"lock").unwrap().is_none(), "the new file is the one that is locked");
        drop(next);
    });
    let one = Lock::shared(&dir, b"lock").unwrap();
    assert!(Lock::try_shared(&dir, b"lock").unwrap().is_some());
    assert!(Lock::try_exclusive(&dir, b"lock").unwrap().is_none());
    drop(one);
    assert!(Lock::try_exclusive(&dir, b"lock").unwrap().is_some());
}

#[test]
fn a_file_that_was_made_again_has_another_birth() {
    let scratch = Scratch::new();
    let dir = scratch.dir();
    dir.mkdir(b"d", 0o755).unwrap();
    let (metadata, born) = dir.stat_born(b"d").unwrap().unwrap();
    assert_eq!(metadata, dir.stat(b"d").unwrap(), "statx says what stat says");
    assert_eq!(dir.open_dir(b"d").unwrap().metadata_born().unwrap(), (metadata.clone(), born));
    let born = born.expect("the file systems that tests run on keep it");
    let mut again = born;
    while again == born {
        dir.rmdir(b"d").unwrap();
        dir.mkdir(b"d", 0o755).unwrap();
        again = dir.stat_born(b"d").unwrap().unwrap().1.unwrap();
    }
    assert!(again > born);
    assert_eq!(dir.stat_born(b"never").unwrap(), None);
}
