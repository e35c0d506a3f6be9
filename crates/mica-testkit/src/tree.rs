//! A directory tree, or the changeset of one, as a value.

use std::collections::BTreeMap;
use std::fmt;

use mica_core::{Rdev, RelPath, Timestamp, Xattrs};

#[macro_use]
mod literal;
mod layer;
mod read;
mod tar;
mod write;

/// What kind of file an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A directory; an opaque one hides what is below it.
    Dir {
        /// Whether it is opaque. Only in a changeset.
        opaque: bool,
    },
    /// A regular file with this content.
    File(Vec<u8>),
    /// A symlink to this.
    Symlink(Vec<u8>),
    /// A character device.
    Char(Rdev),
    /// A block device.
    Block(Rdev),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// Another name of the file at this path, which comes earlier in the order of paths when it was read from disk.
    Hard(RelPath),
    /// Nothing is here, though something is below. Only in a changeset.
    Whiteout,
}

/// One file of a [`Tree`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its kind and content.
    pub what: What,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change; `None` in a literal that does not say, which then agrees with any.
    pub mtime: Option<Timestamp>,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Entry {
    /// A file of this kind as root makes it: 0755 for directories, 0777 for symlinks, 0644 for the rest.
    #[must_use]
    pub fn new(what: What) -> Self {
        let mode = match what {
            What::Dir { .. } => 0o755,
            What::Symlink(_) => 0o777,
            _ => 0o644,
        };
        Self { what, mode, uid: 0, gid: 0, mtime: None, xattrs: Xattrs::new() }
    }

    /// Whether this is a directory.
    #[must_use]
    pub const fn is_dir(&self) -> bool {
        matches!(self.what, What::Dir { .. })
    }

    /// Whether the two agree in everything that both say.
    fn agrees_with(&self, other: &Self) -> bool {
        let both_say = self.mtime.is_some() && other.mtime.is_some();
        let meta =
            |entry: &Self| (entry.mode, entry.uid, entry.gid, entry.mtime.filter(|_| both_say), entry.xattrs.clone());
        match (&self.what, &other.what) {
            // The attributes are the other name's.
            (What::Hard(_), What::Hard(_)) | (What::Whiteout, What::Whiteout) => self.what == other.what,
            _ => self.what == other.what && meta(self) == meta(other),
        }
    }
}

/// One line: kind and content, then what is not usual.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Dir { opaque: false } => f.write_str("directory")?,
            What::Dir { opaque: true } => f.write_str("opaque directory")?,
            What::File(content) if content.len() <= 60 => write!(f, "file \"{}\"", content.escape_ascii())?,
            What::File(content) => {
                write!(f, "file of {} bytes \"{}…\"", content.len(), content[..40].escape_ascii())?;
            }
            What::Symlink(target) => write!(f, "-> \"{}\"", target.escape_ascii())?,
            What::Char(rdev) => write!(f, "char {}:{}", rdev.major, rdev.minor)?,
            What::Block(rdev) => write!(f, "block {}:{}", rdev.major, rdev.minor)?,
            What::Fifo => f.write_str("fifo")?,
            What::Socket => f.write_str("socket")?,
            What::Hard(path) => return write!(f, "hard link to {path}"),
            What::Whiteout => return f.write_str("whiteout"),
        }
        write!(f, " mode {:04o} owner {}:{}", self.mode, self.uid, self.gid)?;
        if let Some(mtime) = self.mtime {
            write!(f, " mtime {}.{:09}", mtime.secs, mtime.nanos)?;
        }
        self.xattrs
            .iter()
            .try_for_each(|(key, value)| write!(f, " {}=\"{}\"", key.escape_ascii(), value.escape_ascii()))
    }
}

/// Files by path. The root is always there.
#[derive(Clone, PartialEq, Eq)]
pub struct Tree {
    pub(crate) entries: BTreeMap<RelPath, Entry>,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// An empty directory.
    #[must_use]
    pub fn new() -> Self {
        Self { entries: BTreeMap::from([(RelPath::root(), Entry::new(What::Dir { opaque: false }))]) }
    }

    /// Puts an entry at `path`, in place of the one there; parents that are missing become directories.
    pub fn put(&mut self, path: RelPath, entry: Entry) {
        for parent in path.ancestors() {
            self.entries.entry(parent).or_insert_with(|| Entry::new(What::Dir { opaque: false }));
        }
        self.entries.insert(path, entry);
    }

    /// What is at `path`.
    #[must_use]
    pub fn get(&self, path: &RelPath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Takes out what is at and under `path`.
    pub fn remove(&mut self, path: &RelPath) {
        self.entries.retain(|at, _| !at.is_at_or_under(path));
    }

    /// All files in the order of [`RelPath`]: a directory before what is in it.
    pub fn iter(&self) -> impl Iterator<Item = (&RelPath, &Entry)> {
        self.entries.iter()
    }

    /// The same, where no entry says a time.
    #[must_use]
    pub fn without_times(mut self) -> Self {
        self.entries.values_mut().for_each(|entry| entry.mtime = None);
        self
    }

    /// One line for each path at which the two do not agree; times count only where both say one.
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let paths = self.entries.keys().chain(found.entries.keys().filter(|path| !self.entries.contains_key(*path)));
        paths
            .filter_map(|path| {
                let text = |entry: Option<&Entry>| entry.map_or_else(|| "(absent)".to_owned(), Entry::to_string);
                let (wanted, have) = (self.entries.get(path), found.entries.get(path));
                let agree = wanted.zip(have).is_some_and(|(wanted, have)| wanted.agrees_with(have));
                (!agree).then(|| format!("  {path}\n    wanted {}\n    found  {}", text(wanted), text(have)))
            })
            .collect()
    }

    /// Fails with every difference when `found` is not this tree.
    #[track_caller]
    pub fn assert_is(&self, found: &Self, of: &str) {
        let differences = self.differences(found);
        assert!(differences.is_empty(), "{of} is not as it should be:\n{}", differences.join("\n"));
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().try_for_each(|(path, entry)| writeln!(f, "{path}: {entry}"))
    }
}

#[cfg(test)]
mod tests;
