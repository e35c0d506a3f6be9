//! [`tree!`]: how a tree is written down.

use mica_core::{Rdev, RelPath, Timestamp};

use super::{Entry, Tree, What};

/// A [`Tree`] as a literal: entries separated by `;`, each a path and what is said of it.
///
/// ```
/// use mica_testkit::tree;
/// let layer = tree! {
///     "/" mode 0o700;                      // the root; without this line it is 0755
///     "etc/";                              // a directory ends in a slash
///     "etc/hosts" = "a" mode 0o600 uid 1;  // a file with content; without `=` it is empty
///     "etc/link" -> "hosts";               // a symlink
///     "etc/other" hard "etc/hosts";        // a hard link
///     "tmp/" opaque;                       // only in a changeset
///     "gone" whiteout;                     // only in a changeset
///     "null" char (1, 3) mtime 12;
///     "pipe" fifo xattr "user.a" = "b";
/// };
/// assert_eq!(layer.iter().count(), 9);
/// ```
///
/// Paths and values are strings or byte strings; a value may be any expression in parentheses. Parents that no entry names
/// are directories as [`Entry::new`] makes them.
#[macro_export]
macro_rules! tree {
    (@next $tree:ident) => {};
    (@next $tree:ident ; $($rest:tt)*) => { $crate::tree!(@next $tree $($rest)*) };
    (@next $tree:ident $path:tt $($rest:tt)*) => { $crate::tree!(@say $tree $path {$tree.name($path)} $($rest)*) };
    (@say $tree:ident $path:tt {$($said:tt)*}) => { $($said)*.end() };
    (@say $tree:ident $path:tt {$($said:tt)*} ; $($rest:tt)*) => {
        $($said)*.end();
        $crate::tree!(@next $tree $($rest)*)
    };
    (@say $tree:ident $path:tt {$($said:tt)*} = $value:tt $($rest:tt)*) => {
        $crate::tree!(@say $tree $path {$($said)*.content($value)} $($rest)*)
    };
    (@say $tree:ident $path:tt {$($said:tt)*} -> $target:tt $($rest:tt)*) => {
        $crate::tree!(@say $tree $path {$($said)*.symlink($target)} $($rest)*)
    };
    (@say $tree:ident $path:tt {$($said:tt)*} xattr $key:tt = $value:tt $($rest:tt)*) => {
        $crate::tree!(@say $tree $path {$($said)*.xattr($key, $value)} $($rest)*)
    };
    (@say $tree:ident $path:tt {$($said:tt)*} char ($major:expr, $minor:expr) $($rest:tt)*) => {
        $crate::tree!(@say $tree $path {$($said)*.char($major, $minor)} $($rest)*)
    };
    (@say $tree:ident $path:tt {$($said:tt)*} block ($major:expr, $minor:expr) $($rest:tt)*) => {
        $crate::tree!(@say $tree $path {$($said)*.block($major, $minor)} $($rest)*)
    };
    (@say $tree:ident $path:tt {$($said:tt)*} opaque $($rest:tt)*) => {
        $crate::tree!(@say $tree $path {$($said)*.opaque()} $($rest)*)
    };
    (@say $tree:ident $path:tt {$($said:tt)*} whiteout $($rest:tt)*) => {
        $crate::tree!(@say $tree $path {$($said)*.whiteout()} $($rest)*)
    };
    (@say $tree:ident $path:tt {$($said:tt)*} fifo $($rest:tt)*) => {
        $crate::tree!(@say $tree $path {$($said)*.fifo()} $($rest)*)
    };
    (@say $tree:ident $path:tt {$($said:tt)*} $what:ident $value:tt $($rest:tt)*) => {
        $crate::tree!(@say $tree $path {$($said)*.$what($value)} $($rest)*)
    };
    ($($all:tt)*) => {{
        #[allow(unused_mut, reason = "an empty literal puts nothing")]
        let mut tree = $crate::Tree::new();
        $crate::tree!(@next tree $($all)*);
        tree
    }};
}

/// An entry of a literal, while it is being said.
#[derive(Debug)]
pub struct Saying<'a> {
    tree: &'a mut Tree,
    path: RelPath,
    entry: Entry,
}

impl Tree {
    /// Begins an entry, as [`tree!`] does: a directory when `path` ends in a slash, else an empty file.
    pub fn name(&mut self, path: impl AsRef<[u8]>) -> Saying<'_> {
        let path = path.as_ref();
        let what = if path.ends_with(b"/") { What::Dir { opaque: false } } else { What::File(Vec::new()) };
        Saying { tree: self, path: RelPath::parse_loose(path).expect("a path"), entry: Entry::new(what) }
    }
}

impl Saying<'_> {
    /// Puts the entry into the tree.
    pub fn end(self) {
        self.tree.put(self.path, self.entry);
    }

    fn kind(mut self, what: What) -> Self {
        self.entry = Entry::new(what);
        self
    }

    /// A file with this content.
    #[must_use]
    pub fn content(self, content: impl AsRef<[u8]>) -> Self {
        self.kind(What::File(content.as_ref().to_vec()))
    }

    /// A symlink.
    #[must_use]
    pub fn symlink(self, target: impl AsRef<[u8]>) -> Self {
        self.kind(What::Symlink(target.as_ref().to_vec()))
    }

    /// Another name of a file.
    #[must_use]
    pub fn hard(self, path: impl AsRef<[u8]>) -> Self {
        self.kind(What::Hard(RelPath::parse_loose(path.as_ref()).expect("a path")))
    }

    /// A character device.
    #[must_use]
    pub fn char(self, major: u32, minor: u32) -> Self {
        self.kind(What::Char(Rdev { major, minor }))
    }

    /// A block device.
    #[must_use]
    pub fn block(self, major: u32, minor: u32) -> Self {
        self.kind(What::Block(Rdev { major, minor }))
    }

    /// A named pipe.
    #[must_use]
    pub fn fifo(self) -> Self {
        self.kind(What::Fifo)
    }

    /// A whiteout.
    #[must_use]
    pub fn whiteout(self) -> Self {
        self.kind(What::Whiteout)
    }

    /// An opaque directory.
    #[must_use]
    pub fn opaque(self) -> Self {
        self.kind(What::Dir { opaque: true })
    }

    /// Permission bits.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.entry.mode = mode;
        self
    }

    /// Owner.
    #[must_use]
    pub fn uid(mut self, uid: u32) -> Self {
        self.entry.uid = uid;
        self
    }

    /// Group.
    #[must_use]
    pub fn gid(mut self, gid: u32) -> Self {
        self.entry.gid = gid;
        self
    }

    /// Time of the last change, in whole seconds.
    #[must_use]
    pub fn mtime(mut self, secs: i64) -> Self {
        self.entry.mtime = Some(Timestamp { secs, nanos: 0 });
        self
    }

    /// An extended attribute.
    #[must_use]
    pub fn xattr(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.entry.xattrs.insert(key.as_ref().to_vec(), value.as_ref().to_vec());
        self
    }
}
