//! The attributes of what is made in `work`, set while it has no name that shows.

use mica_core::{Attrs, Kind};
use mica_layer::stand_in;
use mica_sys::{Dir, Errno, File, FileKind, Metadata, SetTime, Subject, SysError, Time};

use super::{Carrier, Source};
use crate::records::Record;

/// What was made in `work`. By a handle each call is cheaper, and those for attributes, which know no directory, much: they look up four names on the way to a name in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Temp<'a> {
    pub(super) work: &'a Dir,
    pub(super) name: &'a [u8],
    /// A regular file, which is open for writing.
    pub(super) file: Option<&'a File>,
}

impl Temp<'_> {
    pub(super) fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<(), SysError> {
        match self.file {
            Some(file) => file.set_xattr(name, value),
            None => self.work.set_xattr(self.name, name, value),
        }
    }

    pub(super) fn set_times(&self, access: SetTime, modification: SetTime) -> Result<(), SysError> {
        match self.file {
            Some(file) => file.set_times(access, modification),
            None => self.work.set_times(self.name, access, modification),
        }
    }

    fn subject(&self) -> Subject<'_> {
        self.file.map_or(Subject::Name(self.work, self.name), Subject::file)
    }

    fn set_owner(&self, uid: u32, gid: u32) -> Result<(), SysError> {
        match self.file {
            Some(file) => file.set_owner(uid, gid),
            None => self.work.chown(self.name, uid, gid),
        }
    }

    fn set_mode(&self, mode: u32) -> Result<(), SysError> {
        match self.file {
            Some(file) => file.set_mode(mode),
            None => self.work.chmod(self.name, mode),
        }
    }
}

impl Carrier {
    /// A temp, to be dressed.
    pub(super) const fn temp<'a>(&'a self, name: &'a [u8], file: Option<&'a File>) -> Temp<'a> {
        Temp { work: &self.work, name, file }
    }

    /// Gives a copy what its source has: owner first, since that takes set-user-ID bits and capabilities away; the mode after the access control
    /// list, of which it is a part; the times last.
    pub(super) fn put_attributes(&self, temp: Temp<'_>, source: &Source) -> Result<(), SysError> {
        let node = &source.node;
        let mut stand = stand_in(&node.kind, &node.attrs, &self.ability);
        if self.is_recorded(&node.kind) {
            let attrs = stand.attrs.to_mut();
            (attrs.uid, attrs.gid, attrs.mode) = (node.attrs.uid, node.attrs.gid, node.attrs.mode);
            self.put_owner_and_mode(temp, &node.kind, attrs)?;
            return self.put_times(temp, source);
        }
        // An owner that cannot be is the server's own: root, and outside of a namespace the user itself.
        if !self.ability.users.has(node.attrs.uid) && stand.attrs.uid != self.ids.0 {
            stand.attrs.to_mut().uid = self.ids.0;
        }
        if !self.ability.groups.has(node.attrs.gid) && stand.attrs.gid != self.ids.1 {
            stand.attrs.to_mut().gid = self.ids.1;
        }
        self.put_owner_and_mode(temp, &node.kind, &stand.attrs)?;
        self.put_times(temp, source)
    }

    fn put_times(&self, temp: Temp<'_>, source: &Source) -> Result<(), SysError> {
        let mtime = source.node.attrs.mtime;
        let mtime = Time { secs: mtime.secs, nanos: mtime.nanos };
        temp.set_times(SetTime::To(source.atime), SetTime::To(mtime))
    }

    /// Owner, extended attributes and mode.
    pub(super) fn put_owner_and_mode(&self, temp: Temp<'_>, kind: &Kind, attrs: &Attrs) -> Result<(), SysError> {
        let is_recorded = self.is_recorded(kind);
        if !is_recorded && (attrs.uid, attrs.gid) != self.given {
            match temp.set_owner(attrs.uid, attrs.gid) {
                // What can have no record keeps the server's own owner where the disk has no other.
                Err(error) if self.records.are_kept() && is_unknown_owner(&error) => {}
                set => set?,
            }
        }
        let has_lists = !self.records.are_kept();
        for (name, value) in attrs.xattrs.iter().filter(|(name, _)| has_lists || !name.starts_with(LISTS)) {
            temp.set_xattr(&self.marks.escape(name), value)?;
        }
        if is_recorded {
            return self.records.set(&temp.subject(), Record { uid: attrs.uid, gid: attrs.gid, mode: attrs.mode });
        }
        if !matches!(kind, Kind::Symlink { .. }) {
            temp.set_mode(attrs.mode)?;
        }
        Ok(())
    }

    /// Whether what is made of this kind has its owner and mode in a record.
    pub(super) fn is_recorded(&self, kind: &Kind) -> bool {
        let on_disk = match kind {
            Kind::Directory { .. } => FileKind::Directory,
            Kind::File { .. } => FileKind::File,
            _ if stand_in(kind, &Attrs::default(), &self.ability).is_marked_file => FileKind::File,
            // As good as any other of those that are neither.
            _ => FileKind::Symlink,
        };
        self.records.can_be_of(on_disk)
    }

    /// Sets a mark on something that may not be able to carry it: `user.*` is for files and directories alone (xattr(7)).
    pub(super) fn set_mark_if_it_can(
        &self,
        temp: Temp<'_>,
        kind: &Kind,
        mark: &[u8],
        value: &[u8],
    ) -> Result<(), SysError> {
        match temp.set_xattr(mark, value) {
            Err(error)
                if error.errno() == Errno::PERM && !matches!(kind, Kind::File { .. } | Kind::Directory { .. }) =>
            {
                Ok(())
            }
            set => set,
        }
    }
}

/// What begins the names of access control lists.
const LISTS: &[u8] = b"system.posix_acl_";

/// Whether a chown was refused for whom it was to be: this process may not, or the number is none in its user namespace.
pub(crate) fn is_unknown_owner(error: &SysError) -> bool {
    matches!(error.errno(), Errno::PERM | Errno::INVAL)
}

/// Sets both times of a directory to what `stat` said.
pub(super) fn set_own_times(dir: &Dir, before: &Metadata) -> Result<(), SysError> {
    dir.set_own_times(SetTime::To(before.atime), SetTime::To(before.mtime))
}
