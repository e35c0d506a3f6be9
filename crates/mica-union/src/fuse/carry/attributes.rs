//! The attributes of what is made in `work`, set while it has no name that shows.

use mica_core::{Attrs, Kind};
use mica_layer::stand_in;
use mica_sys::{Dir, Errno, Metadata, SetTime, SysError, Time};

use super::{Carrier, Source};

impl Carrier {
    /// Gives a copy what its source has: owner first, since that takes set-user-ID bits and capabilities away; the mode after the access control
    /// list, of which it is a part; the times last.
    pub(super) fn put_attributes(&self, temp: &[u8], source: &Source) -> Result<(), SysError> {
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
        self.work.set_times(temp, SetTime::To(source.atime), SetTime::To(mtime))
    }

    /// Owner, extended attributes and mode.
    pub(super) fn put_owner_and_mode(&self, temp: &[u8], kind: &Kind, attrs: &Attrs) -> Result<(), SysError> {
        self.work.chown(temp, attrs.uid, attrs.gid)?;
        for (name, value) in &attrs.xattrs {
            self.work.set_xattr(temp, &self.marks.escape(name), value)?;
        }
        if !matches!(kind, Kind::Symlink { .. }) {
            self.work.chmod(temp, attrs.mode)?;
        }
        Ok(())
    }

    /// Sets a mark on something that may not be able to carry it: `user.*` is for files and directories alone (xattr(7)).
    pub(super) fn set_mark_if_it_can(
        &self,
        temp: &[u8],
        kind: &Kind,
        mark: &[u8],
        value: &[u8],
    ) -> Result<(), SysError> {
        match self.work.set_xattr(temp, mark, value) {
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
