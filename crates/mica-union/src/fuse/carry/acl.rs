//! A directory's default access control list, and what it gives to what is made in it.
//!
//! Where a file is made in its directory the kernel does this (`posix_acl_create`, Linux 6.18); one that is made in `work` gets it here. The bytes
//! are those of the attribute: `struct posix_acl_xattr_header` and entries of linux/posix_acl_xattr.h, in little endian.

use mica_core::Attrs;
use mica_sys::{Dir, SysError};

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const OWNING_GROUP: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHERS: u16 = 0x20;

/// A default access control list.
#[derive(Debug)]
pub(super) struct DefaultAcl(Vec<u8>);

impl DefaultAcl {
    /// That of a directory; `None` where it has none, or its file system has no such lists.
    ///
    /// # Errors
    /// `getxattr`'s.
    pub(super) fn of(directory: &Dir) -> Result<Option<Self>, SysError> {
        Ok(directory.get_own_xattr(DEFAULT)?.map(Self))
    }

    /// Gives a new file its lists, and a mode with no more than they allow; the program's mask does not count then.
    pub(super) fn inherit(self, is_directory: bool, attrs: &mut Attrs) {
        let mut access = self.0.clone();
        let entries = access.get_mut(4..).unwrap_or_default().as_chunks_mut::<8>().0;
        let mut mode = attrs.mode;
        let has_mask = entries.iter().any(|entry| tag(entry) == MASK);
        let mut says_more = false;
        for entry in entries {
            let shift = match tag(entry) {
                OWNER => 6,
                MASK => 3,
                OWNING_GROUP if !has_mask => 3,
                OTHERS => 0,
                USER | GROUP => {
                    says_more = true;
                    continue;
                }
                _ => continue,
            };
            says_more |= tag(entry) == MASK;
            let [_, _, perm, ..] = entry;
            // Bits of a permission that are none are the kernel's to refuse.
            let [asked, ..] = ((mode >> shift) & 7).to_le_bytes();
            *perm &= asked;
            mode &= !(7 << shift) | (u32::from(*perm) << shift);
        }
        attrs.mode = mode;
        if says_more {
            attrs.xattrs.insert(ACCESS.to_vec(), access);
        }
        if is_directory {
            attrs.xattrs.insert(DEFAULT.to_vec(), self.0);
        }
    }
}

const fn tag([low, high, ..]: &[u8; 8]) -> u16 {
    u16::from_le_bytes([*low, *high])
}
