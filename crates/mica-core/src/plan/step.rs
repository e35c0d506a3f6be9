//! A plan: steps in their order, small enough to be returned by value.

use std::fmt;
use std::ops::Deref;

/// One of the two places of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// What there is: the file that is changed, removed, linked or moved.
    Old,
    /// Where something shall be: the name that is made, linked or moved to.
    New,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Old => "old",
            Self::New => "new",
        })
    }
}

/// How much of a file's content is brought up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// All of it (reflink, else a copy that keeps holes), or the target of a symlink, or a device's number.
    Whole,
    /// None: a sparse file of the same size with the marks metacopy and absolute redirect.
    Later,
    /// As the operation leaves it: up to the new size, with a hole where that is larger.
    Cut,
}

/// What is made in `work`, complete with owner, mode, times, attributes and ACLs before it has a name that shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dress {
    /// What the operation makes.
    New {
        /// A directory that hides what is below.
        opaque: bool,
    },
    /// The lower file that shows at a place.
    File {
        /// Where.
        like: At,
        /// With what content.
        content: Content,
        /// With the mark joining, which is the file's lower path.
        joining: bool,
    },
    /// The lower directory that shows at a place, without the names in it; it will merge with it.
    Directory {
        /// Where.
        like: At,
    },
    /// An empty opaque directory with the attributes of the one at a place.
    Empty {
        /// Where.
        like: At,
    },
    /// A whiteout.
    Whiteout,
    /// What stands for a device 0:0 that shows in the union.
    DeviceZero,
}

/// How a redirect names the lower path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RedirectKind {
    /// The whole lower path, with a leading slash.
    Absolute,
    /// The last name of the lower path; what goes before is the lower path of the directory in which it stands.
    Relative,
}

/// A mark of an upper's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// Nothing below the directory shows.
    Opaque,
    /// The file or directory has its lower path on it. Where one is on it already, the new one takes its place.
    Redirect(RedirectKind),
    /// The content is below. Its removal removes the file's redirect too.
    Metacopy,
    /// Names of the lower file may not be linked yet.
    Joining,
    /// In the place of joining: those that are known are, and there may be others.
    Settled,
}

/// What a move leaves at the old name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leaving {
    /// Nothing: nothing is below.
    Nothing,
    /// A whiteout (`RENAME_WHITEOUT`).
    Whiteout,
}

/// One thing to do: a system call, or several of which one shows. `work` holds at most one thing of a plan at a time, *the temp*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Every directory above the place that is not in the upper, outermost first: [`Dress::Directory`] and [`Step::Place`] for
    /// each.
    Parents(At),
    /// What stands gets one more link, where no name shows it, if it has none there yet: a name of its lower file that turns up later is one of
    /// it, also when it has no other name any more.
    Keep(At),
    /// The temp is made. Followed by [`Step::Place`] it may be made at its place at once, where one call gives it everything.
    Dress(Dress),
    /// The temp is one more name of the file: of the one at [`At::Old`], or of the one without a name that is linked (`O_TMPFILE`).
    Stage,
    /// The temp gets its name, where nothing stands (`RENAME_NOREPLACE`, or `linkat`).
    Place(At),
    /// The temp is renamed over the whiteout or file that stands.
    Replace(At),
    /// The temp and what stands change places (`RENAME_EXCHANGE`).
    Swap(At),
    /// What stands becomes the temp.
    TakeOut(At),
    /// The temp is removed, with the whiteouts in it.
    Discard,
    /// A whiteout is made where nothing stands (`mknod`).
    Whiteout(At),
    /// What stands is removed (`unlink`, `rmdir`).
    Remove(At),
    /// The file at [`At::Old`] gets the new name too, where nothing stands (`linkat`).
    Link,
    /// What stands at the old name moves to the new one, over a file, a whiteout or an empty directory, in one `renameat2`.
    Move(Leaving),
    /// What stands at the two names changes places (`RENAME_EXCHANGE`).
    Exchange,
    /// The file that has been brought up is linked at each name of the lower file that still shows below, the directories above each first. Each
    /// link may be the last before a crash.
    Join(At),
    /// A mark is set.
    Mark(At, Mark),
    /// A mark is taken off. Before that of metacopy goes, the content is flushed.
    Unmark(At, Mark),
    /// The content is copied into the file that stands.
    Fill(At),
    /// The operation is done on what stands now in the upper, as if there were no union.
    Change(At),
}

/// The longest plan: two lower files of several names are brought up and exchanged, or one replaces the other.
const LONGEST: usize = 16;

/// The steps of an operation in their order; none, where nothing needs to be written.
#[derive(Clone, Copy)]
pub struct Plan {
    steps: [Step; LONGEST],
    len: usize,
}

impl Plan {
    pub(super) const fn new() -> Self {
        Self { steps: [Step::Discard; LONGEST], len: 0 }
    }

    /// Adds a step. One too many is lost and seen as such by the tests, which carry out every plan there is.
    pub(super) fn push(&mut self, step: Step) {
        if let Some(slot) = self.steps.get_mut(self.len) {
            *slot = step;
            self.len += 1;
        }
    }
}

impl Deref for Plan {
    type Target = [Step];

    fn deref(&self) -> &[Step] {
        self.steps.get(..self.len).unwrap_or_default()
    }
}

/// The steps.
impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Plan {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl Eq for Plan {}
