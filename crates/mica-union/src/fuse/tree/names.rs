//! The names of a directory: found by name and by cookie, kept once and in little room.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use mica_sys::FileKind;

use super::by_name::ByName;
use super::cookie::{self, Cookie};

/// What is known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// It shows, and this node is it.
    Node(u64),
    /// It shows, and nobody has looked at it. `part` is where its topmost statement stands: 0 the upper, else the lower part with this number, counted from 1.
    Unseen {
        /// Which part.
        part: u16,
    },
    /// It does not show: the upper says so with a whiteout.
    Whiteout,
}

/// A name as it is listed. Packed, since there is one for each file of the tree: 22 bytes.
#[derive(Debug, Clone, Copy)]
#[repr(Rust, packed(2))]
pub(crate) struct Entry {
    cookie: Cookie,
    /// Of a name with a node, the node's number; else an inode number.
    number: u64,
    start: u32,
    /// The part of one that nobody has looked at, [`NODE`] or [`WHITEOUT`].
    part: u16,
    pub(crate) kind: FileKind,
    length: u8,
}

const NODE: u16 = u16::MAX;
const WHITEOUT: u16 = u16::MAX - 1;

impl Entry {
    /// Its number in the directory, never given to another name.
    pub(crate) const fn cookie(&self) -> u64 {
        self.cookie.get()
    }

    pub(crate) const fn what(&self) -> What {
        match self.part {
            NODE => What::Node(self.number),
            WHITEOUT => What::Whiteout,
            part => What::Unseen { part },
        }
    }

    /// The inode number that shows; 0 where the node knows it, or nobody does before the name is looked at.
    pub(crate) const fn ino(&self) -> u64 {
        if self.part == NODE { 0 } else { self.number }
    }

    const fn be(&mut self, what: What, ino: u64) {
        (self.part, self.number) = match what {
            What::Node(id) => (NODE, id),
            What::Whiteout => (WHITEOUT, ino),
            // There are fewer parts than layers may be; the upper's look-up finds what is in any.
            What::Unseen { part } => (if part < WHITEOUT { part } else { 0 }, ino),
        };
    }
}

/// Cookies of `.` and `..` come before.
const FIRST_COOKIE: u64 = 3;

/// The longest name that any file system of Linux has (`NAME_MAX`).
pub(crate) const LONGEST: usize = 255;

#[derive(Debug)]
pub(crate) struct Names {
    text: Vec<u8>,
    /// By cookie. A removed one has length 0.
    entries: Vec<Entry>,
    by_name: ByName,
    /// How many of the entries are of names that were removed.
    removed: u32,
    next: u64,
    /// Every name that shows is here.
    pub(crate) complete: bool,
    /// The directory was removed.
    pub(crate) gone: bool,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            entries: Vec::new(),
            by_name: ByName::default(),
            removed: 0,
            next: FIRST_COOKIE,
            complete: false,
            gone: false,
        }
    }
}

/// Another number in each process, so that nobody can make many names with the same.
pub(super) fn hash(name: &[u8]) -> u64 {
    static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    HASHER.hash_one(name)
}

fn text_of<'a>(text: &'a [u8], entry: &Entry) -> &'a [u8] {
    let start = usize::try_from(entry.start).unwrap_or(usize::MAX);
    text.get(start..).and_then(|text| text.get(..usize::from(entry.length))).unwrap_or_default()
}

/// The name of the entry with this index, if it was not removed.
fn named<'a>(entries: &[Entry], text: &'a [u8], index: u32) -> Option<&'a [u8]> {
    entries.get(usize::try_from(index).ok()?).filter(|entry| entry.length > 0).map(|entry| text_of(text, entry))
}

/// Room for `more`: an eighth of what there is, since most directories never get another name.
fn grow<T>(items: &mut Vec<T>, more: usize) {
    if items.capacity().saturating_sub(items.len()) < more {
        items.reserve_exact(more.max(items.len() / 8).max(4));
    }
}

impl Names {
    fn index(&self, name: &[u8]) -> Option<usize> {
        let same = |index| named(&self.entries, &self.text, index) == Some(name);
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        usize::try_from(self.by_name.find(count, || hash(name), same)?).ok()
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<&Entry> {
        self.entries.get(self.index(name)?)
    }

    fn index_of_cookie(&self, cookie: u64) -> Option<usize> {
        let index = self.entries.binary_search_by_key(&cookie, |entry| entry.cookie()).ok()?;
        self.entries.get(index).filter(|entry| entry.length > 0).map(|_| index)
    }

    /// The entry with this cookie, and its name.
    pub(crate) fn by_cookie(&self, cookie: u64) -> Option<(&Entry, &[u8])> {
        let entry = self.entries.get(self.index_of_cookie(cookie)?)?;
        Some((entry, text_of(&self.text, entry)))
    }

    /// What comes after this cookie, hidden names too.
    pub(crate) fn after(&self, cookie: u64) -> impl Iterator<Item = (&Entry, &[u8])> {
        let start = self.entries.partition_point(|entry| entry.cookie() <= cookie);
        let rest = self.entries.get(start..).unwrap_or_default();
        rest.iter().filter(|entry| entry.length > 0).map(|entry| (entry, text_of(&self.text, entry)))
    }

    /// What was before the name with this cookie, hidden names too, the newest first.
    pub(crate) fn before(&self, cookie: u64) -> impl Iterator<Item = (&Entry, &[u8])> {
        let end = self.entries.partition_point(|entry| entry.cookie() < cookie);
        let rest = self.entries.get(..end).unwrap_or_default();
        rest.iter().rev().filter(|entry| entry.length > 0).map(|entry| (entry, text_of(&self.text, entry)))
    }

    /// The nodes that names lead to.
    pub(crate) fn shown(&self) -> impl Iterator<Item = (&Entry, &[u8])> {
        self.after(0).filter(|(entry, _)| entry.what() != What::Whiteout)
    }

    /// Adds a name or changes what is known of it; a name that shows again after it did not is a new one. Says its cookie.
    pub(crate) fn set(&mut self, name: &[u8], what: What, kind: FileKind, ino: u64) -> u64 {
        if let Some(index) = self.index(name)
            && let Some(entry) = self.entries.get_mut(index)
        {
            entry.kind = kind;
            entry.be(what, ino);
            return entry.cookie();
        }
        self.tidy();
        let (Ok(length), Ok(start), Ok(index), cookie @ ..cookie::MOST) =
            (u8::try_from(name.len()), u32::try_from(self.text.len()), u32::try_from(self.entries.len()), self.next)
        else {
            // Four thousand million bytes of names, or a name that none can be: it is found on disk each time.
            self.complete = false;
            return 0;
        };
        self.next += 1;
        grow(&mut self.text, name.len());
        grow(&mut self.entries, 1);
        self.text.extend_from_slice(name);
        let mut entry = Entry { cookie: Cookie::new(cookie), number: 0, start, part: 0, kind, length };
        entry.be(what, ino);
        self.entries.push(entry);
        let Self { by_name, entries, text, .. } = self;
        by_name.add(index, &|index| named(entries, text, index).map(hash));
        cookie
    }

    /// So many names are about to come.
    pub(super) fn expect(&mut self, count: usize) {
        let Self { by_name, entries, text, .. } = self;
        entries.reserve_exact(count);
        let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
        let (known, all) = (number(entries.len()), number(entries.len().saturating_add(count)));
        by_name.expect(known, all, &|index| named(entries, text, index).map(hash));
    }

    /// Every name that shows is here now.
    pub(crate) fn is_complete(&mut self) {
        self.complete = true;
        self.text.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    /// Changes what the entry with this cookie is known to be, if it is `from`; `ino` is the inode number that it shows with.
    pub(crate) fn replace(&mut self, cookie: u64, from: What, to: What, ino: u64) {
        if let Some(index) = self.index_of_cookie(cookie)
            && let Some(entry) = self.entries.get_mut(index)
            && entry.what() == from
        {
            entry.be(to, ino);
        }
    }

    /// Forgets a name.
    pub(crate) fn remove(&mut self, name: &[u8]) {
        let Some(index) = self.index(name) else { return };
        if let Ok(index) = u32::try_from(index) {
            self.by_name.remove(index, hash(name));
        }
        self.removed = self.removed.saturating_add(1);
        if let Some(entry) = self.entries.get_mut(index) {
            entry.length = 0;
        }
    }

    /// Drops what was removed, when it is most of what there is. Cookies stay.
    fn tidy(&mut self) {
        let removed = usize::try_from(self.removed).unwrap_or(usize::MAX);
        if self.entries.len() < 64 || removed < self.entries.len() / 2 {
            return;
        }
        let left = self.entries.len().saturating_sub(removed);
        let mut kept = Self { entries: Vec::with_capacity(left), ..Self::default() };
        for entry in self.entries.iter().filter(|entry| entry.length > 0) {
            let (Ok(start), Ok(index)) = (u32::try_from(kept.text.len()), u32::try_from(kept.entries.len())) else {
                return;
            };
            kept.text.extend_from_slice(text_of(&self.text, entry));
            kept.entries.push(Entry { start, ..*entry });
            let Self { by_name, entries, text, .. } = &mut kept;
            by_name.add(index, &|index| named(entries, text, index).map(hash));
        }
        (self.text, self.entries, self.by_name, self.removed) = (kept.text, kept.entries, kept.by_name, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn unseen(part: u16) -> What {
        What::Unseen { part }
    }

    fn listed(names: &Names) -> Vec<(u64, Vec<u8>)> {
        names.after(0).map(|(entry, name)| (entry.cookie(), name.to_vec())).collect()
    }

    #[test]
    fn a_name_keeps_its_cookie_and_no_other_gets_it() {
        let mut names = Names::default();
        let unseen = What::Unseen { part: 1 };
        for name in [b"a", b"b", b"c"] {
            names.set(name, unseen, FileKind::File, 7);
        }
        assert_eq!(names.set(b"b", What::Node(9), FileKind::File, 8), 4);
        names.remove(b"b");
        assert!(names.find(b"b").is_none() && names.by_cookie(4).is_none());
        assert_eq!(names.set(b"b", unseen, FileKind::File, 7), 6);
        assert_eq!(listed(&names), [(3, b"a".to_vec()), (5, b"c".to_vec()), (6, b"b".to_vec())]);
        assert_eq!(names.after(5).map(|(_, name)| name.to_vec()).collect::<Vec<_>>(), [b"b".to_vec()]);
        assert_eq!(names.by_cookie(5).unwrap().1, b"c");
    }

    #[test]
    fn a_name_is_found_among_few_and_among_very_many() {
        let (mut names, mut expected) = (Names::default(), Names::default());
        let name = |number: u32| format!("{number:x}").into_bytes();
        expected.expect(140_000);
        for number in 0..140_000u32 {
            let cookie = names.set(&name(number), unseen(1), FileKind::File, u64::from(number));
            assert_eq!(expected.set(&name(number), unseen(1), FileKind::File, u64::from(number)), cookie);
            // Also where the table changes its form.
            for other in [number, number / 2, number.saturating_sub(7)] {
                let gone = other % 3 == 0 && other + 5 < number;
                let found = names.find(&name(other)).map(Entry::ino);
                assert_eq!(found, (!gone).then_some(u64::from(other)), "{other:x} of {number:x}");
            }
            assert!(names.find(&name(number + 1)).is_none() && names.find(b"").is_none());
            if number >= 5 && (number - 5) % 3 == 0 {
                names.remove(&name(number - 5));
            }
        }
        assert_eq!(names.shown().count() + 46_665, 140_000);
        assert!((0..140_000).all(|number| expected.find(&name(number)).is_some()));
    }

    #[test]
    fn many_come_and_go_and_the_room_is_used_again() {
        let mut names = Names::default();
        names.set(b"stays", What::Node(1), FileKind::Directory, 1);
        for number in 0..10_000u32 {
            let name = format!("name {number}").into_bytes();
            names.set(&name, What::Node(2), FileKind::File, 2);
            assert_eq!(names.find(&name).unwrap().what(), What::Node(2));
            names.remove(&name);
        }
        assert!(names.entries.len() < 200 && names.text.len() < 4096);
        assert!(names.entries.capacity() < 400 && names.text.capacity() < 8192);
        assert_eq!(listed(&names), [(3, b"stays".to_vec())]);
        assert_eq!(names.set(b"last", What::Whiteout, FileKind::File, 0), 10_004);
        assert_eq!(names.shown().count(), 1);
        names.replace(10_004, What::Whiteout, What::Node(3), 0);
        names.replace(10_004, What::Whiteout, What::Node(4), 0);
        assert_eq!(names.find(b"last").unwrap().what(), What::Node(3));
        names.replace(10_004, What::Node(3), unseen(7), 33);
        let last = names.find(b"last").unwrap();
        assert_eq!((last.what(), last.ino()), (unseen(7), 33));
        assert_eq!(size_of::<Entry>(), 22);
    }
}
