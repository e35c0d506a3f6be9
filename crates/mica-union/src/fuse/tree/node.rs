//! A node: one file of the union, whatever it is made of and however many names it has.
//!
//! There is one for every file that the kernel knows, so each byte of it counts. An entry of a tree that somebody has looked at costs, with what the
//! allocator has for each piece:
//!
//! | bytes | of | what |
//! |------:|----|------|
//! | 144 | [`Node`] | header 8, counts of its [`Arc`] 16, numbers 16, kind and flags 2, look-ups 4, directory 8, lock 5, padding 5, and its state |
//! | *48* | *[`Kept`]* | attributes: size 8, inode 8, three times 24, owner 2, blocks 2, links 2, mode and kind 2 |
//! | *16* | *[`Shows`]* | what shows: how it stands in the upper, or where the lower file is |
//! | *16* | *[`Places`]* | its name: directory 8, cookie 6, whether it is the upper's |
//! | 9 | [`Table`](super::table) | its place |
//! | 22 | [`Entry`](super::names::Entry) | its name in its directory: number 8, cookie 6, where the bytes are 4, length, kind and part 4 |
//! | 3 to 7 | [`Names`] | the index of the name, where there are more than eight |
//!
//! and the bytes of the name. A directory costs about 400 more: its names, its part of each lower, and for a while a handle.

use std::ops::Deref;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use mica_core::RelPath;
use mica_core::plan::{Known, Redirect};
use mica_sys::{Errno, FileKind, Metadata};

use super::cookie::Cookie;
use super::kept::{Kept, Places};
use super::lowers::{LowerDir, LowerFile};
use super::names::Names;
use super::seen::Seen;

/// One file of the union.
#[derive(Debug)]
pub(crate) struct Node {
    /// What FUSE calls it. The high half is how often the low one was another's.
    pub(crate) id: u64,
    /// The inode number that shows, the same for as long as the file is.
    pub(crate) ino: u64,
    pub(crate) kind: FileKind,
    lookups: AtomicU32,
    flags: AtomicU8,
    state: Mutex<State>,
    pub(crate) directory: Option<Box<Directory>>,
}

/// What holds of a node for a while, whoever looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flag {
    /// The kernel writes it past us: attributes are never true for longer than they are read.
    Behind = 1,
    /// It was written past the page cache of the mount, which may have something older.
    OldPages = 2,
    /// It was brought up, and its name in the upper may not be on disk.
    NewName = 4,
    /// It has just lost its file capability, as the kernel takes it before a write.
    LostCapability = 8,
    /// It was made without a file capability, and none was set since. The kernel asks before each write(2).
    NoCapability = 16,
    /// It is joining, and stays in memory: a name of its lower file that is looked up later is one of it.
    Pinned = 32,
    /// The attributes in memory are to be read again.
    Stale = 64,
}

/// A number of look-ups by which a node says that it has left the table.
const LEFT: u32 = u32::MAX;

/// So many look-ups are not counted any more, and the node stays.
const MOST: u32 = LEFT - 1;

/// Where a name of a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    /// The directory's node.
    pub(crate) parent: u64,
    cookie: Cookie,
    /// It is a name in the upper, and not one that shows the lower file still while that is joining.
    pub(crate) up: bool,
}

impl At {
    pub(crate) const fn new(parent: u64, cookie: u64, up: bool) -> Self {
        Self { parent, cookie: Cookie::new(cookie), up }
    }

    /// The name's cookie in its directory.
    pub(crate) const fn cookie(self) -> u64 {
        self.cookie.get()
    }

    /// Whether it is the name with this cookie in a directory.
    pub(crate) fn is(self, dir: &Node, cookie: u64) -> bool {
        self.parent == dir.id && self.cookie() == cookie
    }
}

/// How a file stands in the upper.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// A directory with the mark.
    pub(crate) opaque: bool,
    pub(crate) redirect: Leads,
    /// A file whose content is below.
    pub(crate) metacopy: bool,
    /// The lower path of the file that it is joining.
    pub(crate) joining: Option<Box<RelPath>>,
}

impl Standing {
    /// How what was seen in the upper stands.
    pub(crate) fn of(seen: &Seen) -> Self {
        let redirect = match &seen.redirect {
            None => Leads::ByName,
            Some(Redirect::Relative(_)) => Leads::Relative,
            Some(Redirect::Absolute(_)) => Leads::Absolute,
        };
        let joining = seen.joining.as_ref().map(|mark| Box::new(mark.from.clone()));
        Self { opaque: seen.opaque, redirect, metacopy: seen.metacopy, joining }
    }
}

/// Whether a redirect stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Leads {
    #[default]
    ByName,
    Relative,
    Absolute,
}

/// What shows as a node.
#[derive(Debug, Clone)]
pub(crate) enum Shows {
    /// A directory of lowers alone, which knows its parts.
    Parts,
    /// The lower file at the node's name, in the part of its directory that this layer has.
    AtName(u16),
    /// A lower file that is elsewhere.
    At(Box<LowerFile>),
    /// What stands in the upper.
    Upper(Standing),
}

/// What changes of a node.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) kept: Kept,
    pub(crate) shows: Shows,
    /// Its names. More may show ([`Places::shown`]), where a layer could not be listed all over and the file has more links than were found in it.
    pub(crate) at: Places,
}

impl State {
    pub(crate) fn new(attributes: Metadata, shows: Shows, at: Option<At>) -> Self {
        Self { kept: attributes.into(), shows, at: at.map_or(Places::None, Places::One) }
    }

    /// How it stands in the upper, if it does.
    pub(crate) const fn upper(&self) -> Option<&Standing> {
        match &self.shows {
            Shows::Upper(standing) => Some(standing),
            _ => None,
        }
    }

    pub(crate) const fn upper_mut(&mut self) -> Option<&mut Standing> {
        match &mut self.shows {
            Shows::Upper(standing) => Some(standing),
            _ => None,
        }
    }

    pub(crate) const fn is_up(&self) -> bool {
        matches!(self.shows, Shows::Upper(_))
    }

    /// Whether names that nobody has found may show it.
    pub(crate) fn known(&self) -> Known {
        let found = u32::try_from(self.at.len()).unwrap_or(u32::MAX);
        if self.at.shown().is_some_and(|names| names > found) { Known::Some } else { Known::All }
    }

    /// Whether its names are to be looked for before anybody is told of them.
    pub(crate) fn has_unknown_names(&self) -> bool {
        self.at.shown().is_none() && (self.is_joining() || !self.is_up() && self.kept.nlink() > 1)
    }

    pub(crate) fn is_joining(&self) -> bool {
        self.upper().is_some_and(|standing| standing.joining.is_some())
    }

    /// Whether it may lack names of its lower file that are known.
    pub(crate) fn lacks_names(&self) -> bool {
        self.is_joining()
            && (self.at.shown().is_none() || self.known() == Known::All || self.at.iter().any(|at| !at.up))
    }

    /// Whether it stands at a name in the upper.
    pub(crate) fn stands(&self) -> bool {
        self.at.iter().any(|at| at.up)
    }
}

/// What only directories have.
#[derive(Debug)]
pub(crate) struct Directory {
    /// What lowers contribute, topmost first.
    pub(crate) parts: Parts,
    /// Which part states the attributes.
    pub(crate) stated: u16,
    /// Where the lowers have it, if the topmost part does not say that.
    pub(crate) lower: Option<Box<RelPath>>,
    names: RwLock<Names>,
}

/// What lowers contribute to a directory: mostly one thing.
#[derive(Debug)]
pub(crate) enum Parts {
    One(Arc<LowerDir>),
    Several(Box<[Arc<LowerDir>]>),
}

impl From<Vec<Arc<LowerDir>>> for Parts {
    fn from(parts: Vec<Arc<LowerDir>>) -> Self {
        match <[_; 1]>::try_from(parts) {
            Ok([one]) => Self::One(one),
            Err(parts) => Self::Several(parts.into()),
        }
    }
}

impl Deref for Parts {
    type Target = [Arc<LowerDir>];

    fn deref(&self) -> &[Arc<LowerDir>] {
        match self {
            Self::One(part) => std::slice::from_ref(part),
            Self::Several(parts) => parts,
        }
    }
}

impl Directory {
    pub(crate) fn new(parts: Vec<Arc<LowerDir>>, stated: usize, lower: Option<RelPath>) -> Self {
        let stated = u16::try_from(stated).unwrap_or(0);
        Self { parts: parts.into(), stated, lower: lower.map(Box::new), names: RwLock::default() }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    pub(crate) fn new(id: u64, ino: u64, state: State, directory: Option<Directory>) -> Self {
        Self {
            id,
            ino,
            kind: state.kept.kind(),
            lookups: AtomicU32::new(0),
            flags: AtomicU8::new(0),
            state: Mutex::new(state),
            directory: directory.map(Box::new),
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.directory.is_some()
    }

    /// # Errors
    /// `ENOTDIR` for what is none.
    pub(crate) fn directory(&self) -> Result<&Directory, Errno> {
        self.directory.as_deref().ok_or(Errno::NOTDIR)
    }

    /// Locks what changes of it. No other lock is taken while it is held.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name by which what backs it now is found.
    ///
    /// # Errors
    /// `ENOENT` where it has none any more.
    pub(crate) fn first_name(&self) -> Result<At, Errno> {
        let state = self.state();
        let up = state.is_up();
        state.at.iter().find(|at| at.up == up).copied().ok_or(Errno::NOENT)
    }

    /// The same, or, where it stands in the upper without a name, a name that shows it.
    ///
    /// # Errors
    /// `ENOENT` where it has none any more.
    pub(crate) fn any_name(&self) -> Result<At, Errno> {
        self.first_name().or_else(|errno| self.state().at.iter().next().copied().ok_or(errno))
    }

    /// Whether it stands in the upper.
    pub(crate) fn is_up(&self) -> bool {
        self.state().is_up()
    }

    pub(crate) fn has(&self, flag: Flag) -> bool {
        self.flags.load(Ordering::Acquire) & flag as u8 != 0
    }

    pub(crate) fn set(&self, flag: Flag) {
        self.flags.fetch_or(flag as u8, Ordering::AcqRel);
    }

    /// Takes a flag off, and says whether it was on.
    pub(crate) fn unset(&self, flag: Flag) -> bool {
        self.flags.fetch_and(!(flag as u8), Ordering::AcqRel) & flag as u8 != 0
    }

    /// Whether all of its content is in the upper.
    pub(crate) fn has_own_content(&self) -> bool {
        self.state().upper().is_some_and(|standing| !standing.metacopy)
    }

    /// Counts a look-up; `false` when the node has left the table, and must be found anew.
    pub(crate) fn remember(&self) -> bool {
        let more = |lookups: u32| (lookups != LEFT).then_some(lookups.saturating_add(1).min(MOST));
        self.lookups.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// Keeps it in memory until [`Node::unpin`].
    pub(crate) fn pin(&self) {
        let before = self.flags.fetch_or(Flag::Pinned as u8, Ordering::AcqRel);
        if before & Flag::Pinned as u8 == 0 {
            self.remember();
        }
    }

    /// It is dropped in its time.
    pub(crate) fn unpin(&self) {
        if self.unset(Flag::Pinned) {
            self.forget(1);
        }
    }

    /// Takes look-ups back; `true` when none are left.
    pub(crate) fn forget(&self, lookups: u64) -> bool {
        let given = u32::try_from(lookups).unwrap_or(LEFT);
        let less = |known: u32| (known < MOST).then_some(known.saturating_sub(given));
        let before = self.lookups.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        before.is_ok_and(|before| before <= given)
    }

    /// How many look-ups the kernel has not given back.
    pub(crate) fn lookups(&self) -> u64 {
        match self.lookups.load(Ordering::Acquire) {
            LEFT => 0,
            lookups => u64::from(lookups),
        }
    }

    /// Marks it as one that leaves the table; `false` where somebody looked it up meanwhile, or it is leaving already.
    pub(crate) fn leave(&self) -> bool {
        self.lookups.compare_exchange(0, LEFT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(crate) fn has_left(&self) -> bool {
        self.lookups.load(Ordering::Acquire) == LEFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the two counts of its `Arc` a node fills 136 bytes, which malloc gives 144 for.
    #[test]
    fn a_node_is_as_small_as_the_table_says() {
        let sizes = (size_of::<Node>(), size_of::<State>(), size_of::<Kept>(), size_of::<Shows>(), size_of::<Places>());
        assert_eq!(sizes, (120, 80, 48, 16, 16));
        assert!(size_of::<Directory>() <= 152);
    }
}
