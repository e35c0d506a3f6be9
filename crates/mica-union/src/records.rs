//! A record: who owns a file and what its mode is, in an attribute of it, where the disk is to have the server's own for all files.
//!
//! ```text
//!   user.containers.override_stat = "33:33:0644"           owner, group, mode; what may follow (":file", the bits of the kind) says nothing more
//! ```
//!
//! containers/storage writes layers so with `force_mask`, and fuse-overlayfs shows and writes them with `xattr_permissions`. A store on a disk that keeps no
//! owners (NFS for a user who has many IDs) or that many users read is made of such files.
//!
//! * Where a file has a record, the record is shown. What the server makes is its own on disk, and of a mode that is for it alone.
//! * What cannot carry the attribute has none: `user.*` is for regular files and directories (xattr(7)). It shows as it stands.
//! * Who may write the attribute says who owns the file. So in the union no program is shown it, nor may set or remove it; and in lowers it counts only where the mount says
//!   that there are records: a layer is then trusted as far as whoever made it.
//! * Access control lists, which would speak of owners too, are neither shown nor kept.

use mica_sys::{Errno, FileKind, Metadata, SetXattr, Subject, SysError};

/// Where owners and modes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Records {
    /// In the files themselves.
    #[default]
    None,
    /// In `user.containers.override_stat`, which whoever owns a file on disk may write. What fuse-overlayfs has written counts too.
    User,
    /// In `security.fuseoverlayfs.override_stat`, which only root of the machine may write (`CAP_SYS_ADMIN`, xattr(7)), and on every kind of file.
    Security,
}

const CONTAINERS: &[u8] = b"user.containers.override_stat";
const FUSE_OVERLAYFS: &[u8] = b"user.fuseoverlayfs.override_stat";
const SECURITY: &[u8] = b"security.fuseoverlayfs.override_stat";

/// The mode of a directory that is its owner's alone.
const DIRECTORY: u32 = 0o700;
/// The bits of a mode that are permissions.
const PERMISSIONS: u32 = 0o7777;
const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const GROUP_EXECUTES: u32 = 0o0010;

impl Records {
    /// Whether there are any.
    pub(crate) const fn are_kept(self) -> bool {
        !matches!(self, Self::None)
    }

    /// The attributes that are records, the one that counts most first: versions of fuse-overlayfs that knew two names changed the second alone.
    pub(crate) const fn names(self) -> &'static [&'static [u8]] {
        match self {
            Self::None => &[],
            Self::User => &[FUSE_OVERLAYFS, CONTAINERS],
            Self::Security => &[SECURITY],
        }
    }

    /// The attribute that is written.
    const fn written(self) -> Option<&'static [u8]> {
        match self {
            Self::None => None,
            Self::User => Some(CONTAINERS),
            Self::Security => Some(SECURITY),
        }
    }

    /// A record to be written for a trial, where there are any.
    pub(crate) const fn tried(self) -> Option<Record> {
        if self.are_kept() { Some(Record { uid: 0, gid: 0, mode: DIRECTORY }) } else { None }
    }

    /// Whether an attribute is a record, and so none that a program has to do with.
    pub(crate) fn has(self, attribute: &[u8]) -> bool {
        self.names().contains(&attribute)
    }

    /// Whether what stands on disk as this can have a record.
    pub(crate) const fn can_be_of(self, kind: FileKind) -> bool {
        match self {
            Self::None => false,
            Self::User => matches!(kind, FileKind::File | FileKind::Directory),
            Self::Security => true,
        }
    }

    /// The record of a file; `None` where it has none, or one that makes no sense.
    ///
    /// # Errors
    /// `getxattr`'s.
    pub(crate) fn of(self, subject: &Subject<'_>) -> Result<Option<Record>, SysError> {
        for name in self.names() {
            match subject.xattr(name) {
                Ok(value) => return Ok(Record::parse(&value)),
                Err(error) if matches!(error.errno(), Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// What shows of a file that is found so on disk.
    ///
    /// # Errors
    /// `getxattr`'s.
    pub(crate) fn show(self, found: &mut Metadata, subject: &Subject<'_>) -> Result<(), SysError> {
        if self.can_be_of(found.kind)
            && let Some(record) = self.of(subject)?
        {
            record.put(found);
        }
        Ok(())
    }

    /// Gives a file a record, instead of any that it has.
    ///
    /// # Errors
    /// `setxattr`'s.
    pub(crate) fn set(self, subject: &Subject<'_>, record: Record) -> Result<(), SysError> {
        let Some(written) = self.written() else { return Ok(()) };
        subject.set_xattr(written, &record.value(), SetXattr::Any)?;
        // Two that differ would be two owners.
        for other in self.names().iter().filter(|name| **name != written) {
            match subject.remove_xattr(other) {
                Err(error) if error.errno() != Errno::NODATA => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Changes what a file says of itself; `false` where it can have no record, and nothing is done.
    ///
    /// # Errors
    /// Those of reading and writing the attribute.
    pub(crate) fn change(
        self,
        subject: &Subject<'_>,
        change: impl FnOnce(&mut Record, FileKind),
    ) -> Result<bool, SysError> {
        if !self.are_kept() {
            return Ok(false);
        }
        let found = subject.metadata()?;
        if !self.can_be_of(found.kind) {
            return Ok(false);
        }
        let mut record = self.of(subject)?.unwrap_or_else(|| Record::stands(&found));
        change(&mut record, found.kind);
        self.set(subject, record)?;
        Ok(true)
    }
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// 0 to 0o7777.
    pub(crate) mode: u32,
}

impl Record {
    /// What the disk says.
    const fn stands(found: &Metadata) -> Self {
        Self { uid: found.uid, gid: found.gid, mode: found.mode & PERMISSIONS }
    }

    /// Reads a record; `None` where it is none.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(value).ok()?.split(':');
        let mut id = || number(parts.next()?, 10).filter(|id| *id != u32::MAX);
        let (uid, gid) = (id()?, id()?);
        Some(Self { uid, gid, mode: number(parts.next()?, 8)? & PERMISSIONS })
    }

    pub(crate) fn value(self) -> Vec<u8> {
        format!("{}:{}:{:04o}", self.uid, self.gid, self.mode).into_bytes()
    }

    pub(crate) const fn put(self, found: &mut Metadata) {
        (found.uid, found.gid, found.mode) = (self.uid, self.gid, self.mode);
    }

    /// What chown(2) does; also one of nobody takes the rights that owner and group lend (`setattr_should_drop_suidgid`, Linux 6.18).
    pub(crate) const fn own(&mut self, uid: Option<u32>, gid: Option<u32>, kind: FileKind) {
        if let Some(uid) = uid {
            self.uid = uid;
        }
        if let Some(gid) = gid {
            self.gid = gid;
        }
        if !matches!(kind, FileKind::Directory) {
            self.mode &= if self.mode & GROUP_EXECUTES == 0 { !SET_UID } else { !(SET_UID | SET_GID) };
        }
    }
}

/// A number without a sign.
fn number(text: &str, radix: u32) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    u32::from_str_radix(text, radix).ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_their_writers_write_them() {
        let record = |uid, gid, mode| Some(Record { uid, gid, mode });
        for (value, wanted) in [
            ("33:34:0644", record(33, 34, 0o644)),
            ("0:0:104600", record(0, 0, 0o4600)),
            ("0:0:40755", record(0, 0, 0o755)),
            ("1:2:0755:dir", record(1, 2, 0o755)),
            ("1:2:0600:char-1-3", record(1, 2, 0o600)),
            ("4294967294:0:0", record(4_294_967_294, 0, 0)),
            ("4294967295:0:0644", None),
            ("4294967296:0:0644", None),
            ("0:0", None),
            ("0:0:", None),
            ("0:0:8", None),
            ("+1:0:0644", None),
            ("-1:0:0644", None),
            (" 0:0:0644", None),
            ("", None),
        ] {
            assert_eq!(Record::parse(value.as_bytes()), wanted, "{value}");
        }
        assert_eq!(Record::parse(b"\xff:0:0"), None);
        assert_eq!(record(7, 8, 0o4711).unwrap().value(), b"7:8:4711");
        assert_eq!(record(0, 0, 0).unwrap().value(), b"0:0:0000");
    }

    #[test]
    fn a_change_of_owner_takes_the_rights_that_are_lent() {
        let after = |mode, kind| {
            let mut record = Record { uid: 1, gid: 2, mode };
            record.own(None, Some(5), kind);
            assert_eq!((record.uid, record.gid), (1, 5));
            record.mode
        };
        assert_eq!(after(0o6755, FileKind::File), 0o755);
        assert_eq!(after(0o6744, FileKind::File), 0o2744);
        assert_eq!(after(0o6755, FileKind::Directory), 0o6755);
    }
}
