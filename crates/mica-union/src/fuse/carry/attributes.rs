//! The attributes of what is made in `work`, set while it has no name that shows.

use mica_core::{Attrs, Kind};
use mica_layer::stand_in;
use mica_sys::{Dir, Errno, File, Metadata, SetTime, SysError, Time};

use super::{Carrier, Source};

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
        // An owner that cannot be is the server's own: root, and outside of a namespace the user itself.
        if !self.ability.users.has(node.attrs.uid) && stand.attrs.uid != self.ids.0 {
            stand.attrs.to_mut().uid = self.ids.0;
        }
        if !self.ability.groups.has(node.attrs.gid) && stand.attrs.gid != self.ids.1 {
            stand.attrs.to_mut().gid = self.ids.1;
        }
        self.put_owner_and_mode(temp, &node.kind, &stand.attrs)?;
        let mtime = node.attrs.mtime;
        let mtime = Time { secs: mtime.secs, nanos: mtime.nanos };
        temp.set_times(SetTime::To(source.atime), SetTime::To(mtime))
    }

    /// Owner, extended attributes and mode.
    pub(super) fn put_owner_and_mode(&self, temp: Temp<'_>, kind: &Kind, attrs: &Attrs) -> Result<(), SysError> {
        if (attrs.uid, attrs.gid) != self.given {
            temp.set_owner(attrs.uid, attrs.gid)?;
        }
        for (name, value) in &attrs.xattrs {
            temp.set_xattr(&self.marks.escape(name), value)?;
        }
        if !matches!(kind, Kind::Symlink { .. }) {
            temp.set_mode(attrs.mode)?;
        }
        Ok(())
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

/// Sets both times of a directory to what `stat` said.
pub(super) fn set_own_times(dir: &Dir, before: &Metadata) -> Result<(), SysError> {
    dir.set_own_times(SetTime::To(before.atime), SetTime::To(before.mtime))
}
