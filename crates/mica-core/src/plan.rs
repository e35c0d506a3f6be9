//! What must be written to an upper so that an operation on the union appears to have happened.
//!
//! [`plan`] decides and opens nothing: from an operation and what is known of the one or two places that it names, it gives the
//! steps in their order, or the errno with its reason. All that matters of a place is finite ([`Place`]), so the rules are held
//! against a plain tree in every case there is. Whoever carries plans out (the FUSE union, `flat`, a test) has its own way to the
//! facts: nodes in memory, or [`Union`] by path.
//!
//! # What shows
//!
//! Each directory of the upper has a *lower path*, at which the lowers, as a union of their own, may have more of it:
//!
//! ```text
//! the root           /                     with the mark opaque: none
//! `c` in `d`         lower(d)/c            opaque: none; redirect `/p`: /p; redirect `n`: lower(d)/n
//! ```
//!
//! Where the lowers show a directory there, it merges. A name that the upper does not speak of shows what the lowers have at the
//! lower path of its directory with that name. A file with the mark metacopy has its own attributes and size, and the content, up to that
//! size, of the lowers' file at its redirect or, without one, at its lower path. Marks and their reading are overlayfs'
//! (Documentation/filesystems/overlayfs.rst of Linux 6.18, "whiteouts and opaque directories", "Metadata only copy up").
//!
//! One mark is ours, *joining*: this file has been brought up from the lower file at that path, which has more names, and not all of
//! them may be links of it yet. A name of the lower file that still shows below and this file are one file. It stands only while
//! names are being linked, and after a crash until the next change of that file; and, *settled*, on a file whose names are not all
//! known, because a directory of the lowers can be passed through and not listed ([`Known::Some`]).
//!
//! # The rules
//!
//! 1. **One step shows.** All that can fail for want of space comes before it, and changes nothing that is seen: bringing up a
//!    directory, a file or its metadata; marks that say what holds already. What comes after it tidies.
//! 2. **Bring up, then change.** A lower file is brought up as it is, and then changed in the upper as any file. Except where that
//!    would copy what is thrown away: a file of one name that is cut is brought up cut.
//! 3. **Directories above come first,** outermost first, each complete with its attributes before it has its name.
//! 4. **Links.** Any change of a lower file of which several names show brings it up once, joining, links it at all of them,
//!    and then takes the mark off, or settles it. Removing one of the names is no change of the file: a whiteout is enough. But before
//!    a name of a joining file goes in the upper, that may be the last there, it is kept without one for those that show it below.
//! 5. **Removing** leaves a whiteout exactly where something below would show. A whiteout takes the place of what stands in one
//!    rename or exchange, and never stands where it hides nothing: in an opaque directory, or in one that is only the upper's.
//! 6. **Making over a whiteout** replaces it by a rename; a directory, which cannot replace a file, is exchanged with it. Where a
//!    directory is below, the new one is opaque.
//! 7. **Renaming a directory** that merges: it gets its lower path as a redirect (its name there, where it stays in its parent), then
//!    moves. One that is the upper's alone becomes opaque first, where a directory is below the new name. So what lies below the
//!    new name needs no thought: a moved directory has said what is below it.
//! 8. **Renaming or linking a file** without its content gives it its lower path as an absolute redirect first.
//! 9. **Renaming over an empty directory** that merges: it holds whiteouts, and no kernel renames over those. It is exchanged with an empty opaque
//!    directory like it, which shows the same, and the move replaces that one. (Marking it opaque and emptying it would do
//!    until a crash comes between: then overlayfs lists the whiteouts.)
//! 10. **Where both names need a whiteout's place**, old because something is below it and new because a whiteout stands there, the
//!     two are exchanged.
//! 11. **Content comes in place.** A metacopy is filled in its own inode, while the mark still leads below; the mark is taken off when
//!     all of it is on disk. One that is cut to nothing is cut first: then the mark says nothing any more.
//!
//! # What fails, and how
//!
//! A crash, or an error of a step, leaves the old tree until the step that shows, and then the new. After an error the temp is discarded, and what
//! has been brought up stays; facts are asked anew for the next operation. What a crash leaves in `work` is dropped at the next mount. The order of steps is
//! the order on disk where the file system keeps the order of its names (as ext4, xfs and btrfs do); content that was copied is
//! flushed before the file has a name, or a loss of power would leave zeros in the place of a lower's file.
//!
//! Two cases are less than old or new, since no system call changes two names so; the tests know them by name:
//!
//! * `RENAME_WHITEOUT` from inside of the union asks for a device 0:0 at the old name, which is stored as a stand-in. It comes after
//!   the move: a crash between leaves the file moved and nothing at the old name. (The other order would lose the file that is replaced.)
//! * A directory moved onto a whiteout, from where nothing is below, is exchanged with it; a crash before that whiteout is removed
//!   leaves one that hides nothing. The tree is the new one. Who looks whether a directory is empty drops such whiteouts.
//!
//! Under another reader of the marks two cases between steps look otherwise. Between the cut of a metacopy to nothing and the removal of its mark
//! overlayfs (Linux 6.18) reads the old content in a file of size 0; and while a file is joining, it shows the names that are linked and those that
//! are not as two files of equal content.
//!
//! # What is not here
//!
//! Permissions, limits of names and links, and the checks of a path on the way to a place belong to whoever has them: for FUSE, the kernel.
//! A union without an upper has no plans: `EROFS`. The root has no name to remove or move: `EBUSY`.

mod by_path;
mod facts;
mod marks;
mod refusal;
mod rules;
mod step;

pub use by_path::{Group, Links, Lowers, Shows, Standing, StandingKind, StandingLeaf, Union, Up, Upper};
pub use facts::{
    Below, Data, Features, Here, How, Joining, Known, LEAST_METACOPY, LeafKind, LowerLeaf, Merge, Names, Op, Parent,
    Place, Relation, Rename, UpperLeaf, XattrChange,
};
pub use marks::{JoiningMark, Redirect};
pub use refusal::{Errno, Refusal};
pub use rules::plan;
pub use step::{At, Content, Dress, Leaving, Mark, Plan, RedirectKind, Step};

#[cfg(test)]
mod tests;
