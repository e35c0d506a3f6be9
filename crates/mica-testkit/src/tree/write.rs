//! Trees to disk.

use std::path::Path;

use mica_core::{Rdev, RelPath};
use mica_layer::Marks;
use mica_sys::{Dir, FileKind, SysError, Time};

use super::{Entry, Tree, What};

/// When a literal does not say.
const SOME_DAY: Time = Time { secs: 1_000_000_000, nanos: 0 };

impl Tree {
    /// Writes the tree into an empty directory, which gets the root's attributes. Times that are not said become one fixed
    /// day.
    pub fn write_to(&self, directory: &Path) {
        write(self, &Dir::open(directory).expect("the directory opens"), None);
    }

    /// [`Tree::write_to`] for an open directory.
    pub fn write_into(&self, directory: &Dir) {
        write(self, directory, None);
    }

    /// Writes the tree as a changeset for the kernel's overlayfs and for us.
    pub fn write_layer(&self, directory: &Path, marks: Marks) {
        write(self, &Dir::open(directory).expect("the directory opens"), Some(marks));
    }
}

fn write(tree: &Tree, root: &Dir, marks: Option<Marks>) {
    let check = |path: &RelPath, done: Result<(), SysError>| done.unwrap_or_else(|error| panic!("{path}: {error}"));
    for (path, entry) in tree.iter().filter(|(_, entry)| !matches!(entry.what, What::Hard(_))) {
        if let Some((parent, name)) = path.split() {
            let parent = root.open_dir(parent.as_bytes()).unwrap();
            check(path, make(&parent, name.as_bytes(), entry, marks));
        }
    }
    for (path, entry) in tree.iter() {
        if let (What::Hard(target), Some((parent, name))) = (&entry.what, path.split()) {
            let (from, old) = target.split().expect("a hard link to a file");
            let from = root.open_dir(from.as_bytes()).unwrap();
            let to = root.open_dir(parent.as_bytes()).unwrap();
            check(path, from.link(old.as_bytes(), &to, name.as_bytes()));
        }
    }
    // What is in a directory comes before its time, and before a mode that root alone could pass.
    for (path, entry) in tree.entries.iter().rev() {
        match path.split() {
            Some((parent, name)) => {
                check(path, dress(&root.open_dir(parent.as_bytes()).unwrap(), name.as_bytes(), entry, marks));
            }
            None => check(path, dress_root(root, entry, marks)),
        }
    }
}

fn make(dir: &Dir, name: &[u8], entry: &Entry, marks: Option<Marks>) -> Result<(), SysError> {
    let device = |kind, rdev: &Rdev| dir.mknod(name, kind, 0o600, rdev.major, rdev.minor);
    match &entry.what {
        What::Dir { opaque } => {
            assert!(!opaque || marks.is_some(), "only a changeset has opaque directories");
            dir.mkdir(name, 0o700)
        }
        What::File(content) => dir.create_file(name, 0o600)?.write_whole(content),
        What::Symlink(target) => dir.symlink(target, name),
        What::Char(rdev) => match marks {
            Some(marks) if *rdev == Rdev::default() => {
                dir.create_file(name, 0o600)?;
                dir.set_xattr(name, marks.device_zero(), b"")
            }
            _ => device(FileKind::CharDevice, rdev),
        },
        What::Block(rdev) => device(FileKind::BlockDevice, rdev),
        What::Fifo => device(FileKind::Fifo, &Rdev::default()),
        What::Socket => device(FileKind::Socket, &Rdev::default()),
        What::Whiteout => {
            assert!(marks.is_some(), "only a changeset has whiteouts");
            device(FileKind::CharDevice, &Rdev::default())
        }
        What::Hard(_) => Ok(()),
    }
}

fn dress(dir: &Dir, name: &[u8], entry: &Entry, marks: Option<Marks>) -> Result<(), SysError> {
    if matches!(entry.what, What::Hard(_) | What::Whiteout) {
        return Ok(());
    }
    dir.chown(name, entry.uid, entry.gid)?;
    if !matches!(entry.what, What::Symlink(_)) {
        dir.chmod(name, entry.mode)?;
    }
    for (key, value) in marked(entry, marks) {
        dir.set_xattr(name, &key, &value)?;
    }
    if let (Some(marks), What::Dir { .. }) = (marks, &entry.what) {
        let inside = dir.open_dir(name)?;
        let mut whiteout = false;
        for found in inside.read_dir()? {
            whiteout |= inside.stat(&found.name)?.is_whiteout_device();
        }
        if whiteout {
            dir.set_xattr(name, marks.origin(), b"")?;
        }
    }
    dir.utimens(name, time(entry))
}

fn dress_root(dir: &Dir, entry: &Entry, marks: Option<Marks>) -> Result<(), SysError> {
    dir.chown_self(entry.uid, entry.gid)?;
    dir.chmod_self(entry.mode)?;
    for (key, value) in marked(entry, marks) {
        dir.set_own_xattr(&key, &value)?;
    }
    dir.utimens_self(time(entry))
}

fn marked(entry: &Entry, marks: Option<Marks>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Some(marks) = marks else {
        return entry.xattrs.clone().into_iter().collect();
    };
    let own = entry.xattrs.iter().map(|(key, value)| (marks.escape(key), value.clone()));
    let opaque = matches!(entry.what, What::Dir { opaque: true });
    own.chain(opaque.then(|| (marks.opaque().to_vec(), b"y".to_vec()))).collect()
}

fn time(entry: &Entry) -> Time {
    entry.mtime.map_or(SOME_DAY, |mtime| Time { secs: mtime.secs, nanos: mtime.nanos })
}
