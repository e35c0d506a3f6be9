//! What is known of the places of an operation: few values, all of which are tested.

/// Files of fewer bytes are brought up whole, also when only their metadata changes: the empty ones. The content of the smallest file costs more than marks and a second
/// trip later, for it must be on disk before the file has a name.
pub const LEAST_METACOPY: u64 = 1;

/// The directory in which a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parent {
    /// It is not in the upper, and must come up before anything is written in it.
    Lower,
    /// It is in the upper, and lowers show through it.
    Merged,
    /// It is in the upper, and nothing shows through it.
    Alone,
}

/// What the lowers have at the name's lower path: what would show if the upper said nothing of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Below {
    /// Nothing.
    Nothing,
    /// A file that is no directory.
    Leaf,
    /// A directory.
    Directory,
}

/// Where the content of a file in the upper is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Data {
    /// In it.
    Whole,
    /// In the lowers: the mark metacopy is on it.
    Below {
        /// An absolute redirect leads there; else the lower path of its one name does.
        redirect: bool,
    },
}

/// What kind of file that is no directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeafKind {
    /// A regular file.
    Regular {
        /// It has [`LEAST_METACOPY`] bytes or more.
        large: bool,
    },
    /// A symlink, device, pipe or socket.
    Other,
}

/// Whether all names of a lower file are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Known {
    /// All are.
    All,
    /// There may be more: it has more links than were found, and a directory of the lower could not be listed.
    Some,
}

/// The names of a lower file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Names {
    /// No other name of it shows.
    One,
    /// Others show or may show, and all of them show the lower file.
    Several(Known),
    /// The file has been brought up at others, or has lost those, and is joining.
    Joining(Data, Known),
}

/// A lower file that is no directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LowerLeaf {
    /// What it is.
    pub kind: LeafKind,
    /// Its names.
    pub names: Names,
}

/// Which names of the lower file a file in the upper may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Joining {
    /// None: it is not joining.
    No,
    /// Names that are known.
    Names(Known),
    /// None that is known. There may be others ([`Known::Some`]), and it stays joining.
    Settled,
}

/// A file in the upper that is no directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UpperLeaf {
    /// Whether it is a regular file.
    pub regular: bool,
    /// Where its content is.
    pub data: Data,
    /// Names of the lower file that it was brought up from may still show that.
    pub joining: Joining,
}

/// What shows through a directory in the upper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Merge {
    /// Nothing: it is opaque, or no directory is at its lower path.
    Alone {
        /// It has the mark.
        opaque: bool,
    },
    /// The directory at its lower path, to which its name leads.
    ByName,
    /// The directory at its lower path, to which a redirect leads.
    Redirected {
        /// The redirect is absolute.
        absolute: bool,
    },
}

/// What stands in the upper at a name, or shows from the lowers where nothing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Here {
    /// Nothing stands and nothing is below.
    Nothing,
    /// A whiteout.
    Whiteout,
    /// Nothing stands, and a lower's file shows.
    LowerLeaf(LowerLeaf),
    /// Nothing stands, and a directory of lowers shows.
    LowerDirectory,
    /// A file that is no directory.
    Leaf(UpperLeaf),
    /// A directory.
    Directory(Merge),
}

/// All that matters of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The directory in which it is.
    pub parent: Parent,
    /// What it is.
    pub here: Here,
    /// What it hides, or would; [`Below::Nothing`] wherever the parent is [`Parent::Alone`].
    pub below: Below,
}

impl Place {
    /// Whether something shows at the name.
    #[must_use]
    pub const fn shows(self) -> bool {
        !matches!(self.here, Here::Nothing | Here::Whiteout)
    }

    /// Whether a directory shows at the name.
    #[must_use]
    pub const fn is_directory(self) -> bool {
        matches!(self.here, Here::LowerDirectory | Here::Directory(_))
    }
}

/// Which of two places is above the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// Neither.
    Apart,
    /// The new name is in the old one, or deeper.
    NewInOld,
    /// The old name is in the new one, or deeper.
    OldInNew,
}

/// The flags of renameat2(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// None: what is at the new name is replaced.
    Replace,
    /// `RENAME_NOREPLACE`.
    NoReplace,
    /// `RENAME_EXCHANGE`.
    Exchange,
    /// `RENAME_WHITEOUT`: a device 0:0 shows at the old name afterwards.
    Whiteout,
    /// `RENAME_WHITEOUT` and `RENAME_NOREPLACE`.
    WhiteoutNoReplace,
}

/// A rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rename {
    /// What is moved.
    pub old: Place,
    /// Where.
    pub new: Place,
    /// With what flags.
    pub how: How,
    /// Which of the two is above the other.
    pub relation: Relation,
    /// Both are names of one directory.
    pub same_parent: bool,
    /// Both are one name, or two names of one file.
    pub same_file: bool,
    /// The new name shows a directory that shows no names. Looked at only where a directory would be replaced.
    pub new_is_empty: bool,
}

/// What is done to an extended attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum XattrChange {
    /// Set, whether it is there or not.
    Set,
    /// `XATTR_CREATE`.
    Create,
    /// `XATTR_REPLACE`.
    Replace,
    /// Removed.
    Remove,
}

/// An operation on the union.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// A file that is no directory is made: open(2) with `O_CREAT`, mknod(2), symlink(2).
    Make(Place),
    /// A directory is made.
    MakeDirectory(Place),
    /// A file without a name gets one (`O_TMPFILE` and linkat(2)).
    Adopt(Place),
    /// A file gets one more name.
    Link {
        /// The file.
        old: Place,
        /// The name.
        new: Place,
    },
    /// A name of a file that is no directory is removed.
    Unlink(Place),
    /// A directory is removed.
    RemoveDirectory {
        /// It.
        old: Place,
        /// It shows no names.
        is_empty: bool,
    },
    /// A rename.
    Rename(Rename),
    /// A file is opened for writing, without `O_TRUNC`. What is no regular file needs nothing for it.
    Write(Place),
    /// The size is set: truncate(2), `O_TRUNC`.
    Truncate {
        /// Of what.
        old: Place,
        /// To 0.
        to_nothing: bool,
    },
    /// fallocate(2).
    Allocate(Place),
    /// chmod(2), chown(2), utimensat(2), `FS_IOC_SETFLAGS`.
    Attributes(Place),
    /// An extended attribute is set or removed; an ACL is one.
    Xattr {
        /// Of what.
        old: Place,
        /// What is done.
        change: XattrChange,
        /// The attribute is there.
        present: bool,
    },
}

/// Which marks may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Features {
    /// All.
    #[default]
    Full,
    /// Whiteouts and opaque alone (and joining, which passes): no redirect and no metacopy, so that overlayfs reads the upper with any
    /// options. Also for one operation, where the redirect that it needs is longer than the upper's file system keeps. Renaming a directory that
    /// merges is `EXDEV` then.
    Basic,
}
