//! The names of a directory, as far as they fit into an answer.

use mica_sys::FileKind;
use zerocopy::IntoBytes;

use super::abi;
use super::out::Entry;

/// What a listing says of each name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Its inode number and kind (`READDIR`).
    Plain,
    /// What a look-up says, too (`READDIRPLUS`).
    Plus,
}

/// Writes names one after the other, and says when it is full.
#[derive(Debug)]
pub struct Names<'a> {
    body: &'a mut [u8],
    length: &'a mut usize,
    listing: Listing,
}

impl<'a> Names<'a> {
    pub(super) const fn new(body: &'a mut [u8], length: &'a mut usize, listing: Listing) -> Self {
        Self { body, length, listing }
    }

    /// What is asked of each name.
    #[must_use]
    pub const fn listing(&self) -> Listing {
        self.listing
    }

    const fn head(&self) -> usize {
        match self.listing {
            Listing::Plain => size_of::<abi::Dirent>(),
            Listing::Plus => size_of::<abi::EntryOut>() + size_of::<abi::Dirent>(),
        }
    }

    /// Whether a name of so many bytes fits. A look-up that is counted for a name that does not fit would never be forgotten.
    #[must_use]
    pub fn fits(&self, name: usize) -> bool {
        self.end(name).is_some_and(|end| end <= self.body.len())
    }

    /// Where the entry of a name would end: entries begin at multiples of 8.
    fn end(&self, name: usize) -> Option<usize> {
        self.length.checked_add(self.head())?.checked_add(name)?.checked_next_multiple_of(8)
    }

    /// Puts a name; `false` when it does not fit, and nothing is put.
    ///
    /// `cookie` is where a listing goes on after this name. `entry` counts as a look-up of its node, unless it is `None`, as it is for
    /// `.` and `..`, or has the node 0; [`Listing::Plain`] leaves it out.
    #[must_use]
    pub fn put(&mut self, name: &[u8], cookie: u64, ino: u64, kind: FileKind, entry: Option<&Entry>) -> bool {
        let Some(end) = self.end(name.len()) else { return false };
        let Ok(namelen) = u32::try_from(name.len()) else { return false };
        let Some(mut room) = self.body.get_mut(*self.length..end) else { return false };
        let mut put = |bytes: &[u8]| {
            let whole = std::mem::take(&mut room);
            if let Some((here, rest)) = whole.split_at_mut_checked(bytes.len()) {
                here.copy_from_slice(bytes);
                room = rest;
            }
        };
        if self.listing == Listing::Plus {
            put(entry.map(Entry::raw).unwrap_or_default().as_bytes());
        }
        put(abi::Dirent { ino, off: cookie, namelen, kind: number(kind) }.as_bytes());
        put(name);
        room.fill(0);
        *self.length = end;
        true
    }
}

/// `DT_…`.
const fn number(kind: FileKind) -> u32 {
    match kind {
        FileKind::Fifo => 1,
        FileKind::CharDevice => 2,
        FileKind::Directory => 4,
        FileKind::BlockDevice => 6,
        FileKind::File => 8,
        FileKind::Symlink => 10,
        FileKind::Socket => 12,
    }
}
