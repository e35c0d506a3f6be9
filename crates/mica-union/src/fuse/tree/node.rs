//! A node: one file of the union, whatever it is made of and however many names it has.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use mica_core::RelPath;
use mica_core::plan::{Known, Redirect};
use mica_sys::{Errno, FileKind};

use super::kept::{Kept, Maybe, Places};
use super::lowers::{LowerDir, LowerFile};
use super::names::Names;
use super::seen::{Attributes, Seen};

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
    /// The name's cookie in it.
    pub(crate) cookie: u64,
    /// It is a name in the upper, and not one that shows the lower file still while that is joining.
    pub(crate) up: bool,
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

/// Where the lower file is that shows.
#[derive(Debug, Clone)]
pub(crate) enum Lower {
    /// None does.
    No,
    /// At the node's name, in the part of its directory that this layer has.
    AtName(u16),
    /// Elsewhere.
    At(Box<LowerFile>),
}

/// What changes of a node.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) kept: Kept,
    /// The attributes are to be read again.
    pub(crate) stale: bool,
    /// In the upper, or not.
    pub(crate) upper: Option<Standing>,
    pub(crate) lower: Lower,
    pub(crate) at: Places,
    /// How many names show, where that is not what the disk says. There are more than in `at`, where a layer could not be listed all over and the file has more
    /// links than were found in it.
    pub(crate) names: Maybe,
}

impl State {
    pub(crate) fn new(attributes: Attributes, upper: Option<Standing>, lower: Lower, at: Option<At>) -> Self {
        let at = at.map_or(Places::None, Places::One);
        Self { kept: attributes.into(), stale: false, upper, lower, at, names: Maybe::NONE }
    }

    /// Whether names that nobody has found may show it.
    pub(crate) fn known(&self) -> Known {
        let found = u32::try_from(self.at.len()).unwrap_or(u32::MAX);
        if self.names.get().is_some_and(|names| names > found) { Known::Some } else { Known::All }
    }

    /// Whether its names are to be looked for before anybody is told of them.
    pub(crate) fn has_unknown_names(&self) -> bool {
        self.names.is_none() && (self.is_joining() || self.upper.is_none() && self.kept.nlink() > 1)
    }

    pub(crate) fn is_joining(&self) -> bool {
        self.upper.as_ref().is_some_and(|standing| standing.joining.is_some())
    }

    /// Whether it may lack names of its lower file that are known.
    pub(crate) fn lacks_names(&self) -> bool {
        self.is_joining() && (self.names.is_none() || self.known() == Known::All || self.at.iter().any(|at| !at.up))
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
    pub(crate) parts: Box<[Arc<LowerDir>]>,
    /// Which part states the attributes.
    pub(crate) stated: u16,
    /// Where the lowers have it, if the topmost part does not say that.
    pub(crate) lower: Option<RelPath>,
    names: RwLock<Names>,
}

impl Directory {
    pub(crate) fn new(parts: Vec<Arc<LowerDir>>, stated: usize, lower: Option<RelPath>) -> Self {
        let stated = u16::try_from(stated).unwrap_or(0);
        Self { parts: parts.into(), stated, lower, names: RwLock::default() }
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
        let up = state.upper.is_some();
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
        self.state().upper.is_some()
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
        self.state().upper.as_ref().is_some_and(|standing| !standing.metacopy)
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
