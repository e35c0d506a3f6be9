//! The stand-in: what stands on disk for what a layer says and its store's owner cannot make; and the way back.
//!
//! The index says what the layer says, always. The disk has as much of it as the [`Ability`] allows:
//!
//! * An owner or group that no file can have stands as 0, the store's owner. With it goes a file's set-uid or set-gid
//!   bit, which would lend the rights of somebody else.
//! * A device stands as an empty file of its mode with the mark [`Marks::device`](crate::Marks::device); a character
//!   device 0:0, which overlayfs reads as a whiteout, does so everywhere.
//! * An extended attribute that the kernel refuses stands in the index alone: `user.*` on what is neither a file nor a
//!   directory (for everyone, xattr(7)); `trusted.*`, `security.*` and access control lists that speak of IDs which no
//!   file can have, in a user namespace.
//! * `security.capability` stands as the kernel gives it back. Of version 3 with the root ID 0 that is version 2
//!   (`cap_inode_getsecurity`, Linux 4.14).
//!
//! The way back is for uppers. What the kernel copied up of a stand-in is a copy of the stand-in, and
//! [`restore`] makes of it what the layer below says, as far as nobody changed it since.

use std::borrow::Cow;

use mica_core::{Attrs, Kind, Node, Rdev};

use crate::Ability;

#[cfg(test)]
mod tests;

/// Bits of a mode that lend the rights of the owner and of the group.
const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;

const ACL: &[u8] = b"system.posix_acl_access";
const CAPABILITY: &[u8] = b"security.capability";
/// The capability's first four bytes are its version in the highest, and flags (`linux/capability.h`).
const CAPABILITY_VERSION_2: u8 = 2;
const CAPABILITY_VERSION_3: u8 = 3;
const CAPABILITY_SIZE_3: usize = 24;

/// Entries of an access control list that name an ID (`linux/posix_acl_xattr.h`).
const ACL_USER: u16 = 2;
const ACL_GROUP: u16 = 8;
/// Entries that the mode's bits are.
const ACL_OWNER: u16 = 1;
const ACL_OWNING_GROUP: u16 = 4;
const ACL_MASK: u16 = 16;
const ACL_OTHERS: u16 = 32;

/// What stands on disk for a node of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandIn<'a> {
    /// Whether it stands as an empty file with a mark that says which device it is; otherwise it is of its own kind.
    pub is_marked_file: bool,
    /// Its owner, mode, time and extended attributes there; these not escaped yet.
    pub attrs: Cow<'a, Attrs>,
}

/// What stands on disk for a node of this kind with these attributes.
#[must_use]
pub fn stand_in<'a>(kind: &Kind, attrs: &'a Attrs, ability: &Ability) -> StandIn<'a> {
    let is_marked_file = match kind {
        Kind::CharDevice(Rdev { major: 0, minor: 0 }) => true,
        Kind::CharDevice(_) | Kind::BlockDevice(_) => !ability.is_native(),
        _ => false,
    };
    let mut stands = Cow::Borrowed(attrs);
    let mut lent = 0;
    if !ability.users.has(attrs.uid) {
        stands.to_mut().uid = 0;
        lent |= SET_UID;
    }
    if !ability.groups.has(attrs.gid) {
        stands.to_mut().gid = 0;
        lent |= SET_GID;
    }
    if matches!(kind, Kind::File { .. }) && attrs.mode & lent != 0 {
        stands.to_mut().mode &= !lent;
    }
    for (name, value) in &attrs.xattrs {
        match stands_as(kind, name, value, ability) {
            Value::Same => {}
            Value::Other(other) => drop(stands.to_mut().xattrs.insert(name.clone(), other)),
            Value::Nothing => drop(stands.to_mut().xattrs.remove(name)),
        }
    }
    StandIn { is_marked_file, attrs: stands }
}

/// What an attribute's value is on disk.
enum Value {
    Same,
    Other(Vec<u8>),
    Nothing,
}

fn stands_as(kind: &Kind, name: &[u8], value: &[u8], ability: &Ability) -> Value {
    let only_if = |can: bool| if can { Value::Same } else { Value::Nothing };
    if name.starts_with(b"user.") {
        return only_if(matches!(kind, Kind::File { .. } | Kind::Directory { .. }));
    }
    match name {
        CAPABILITY => capability(value, ability),
        ACL | b"system.posix_acl_default" => only_if(acl_can_stand(value, ability)),
        _ if name.starts_with(b"trusted.") || name.starts_with(b"security.") => only_if(ability.is_native()),
        // What the kernel refuses of these it refuses to everyone.
        _ => Value::Same,
    }
}

/// The capability as it is read back. What is none of a known version is the kernel's to refuse.
fn capability(value: &[u8], ability: &Ability) -> Value {
    let Some((version_2, root)) = value.split_last_chunk::<4>() else { return Value::Same };
    let ([_, _, _, CAPABILITY_VERSION_3, ..], CAPABILITY_SIZE_3) = (value, value.len()) else { return Value::Same };
    match u32::from_le_bytes(*root) {
        0 => {
            let mut version_2 = version_2.to_vec();
            if let Some(version) = version_2.get_mut(3) {
                *version = CAPABILITY_VERSION_2;
            }
            Value::Other(version_2)
        }
        root if ability.users.has(root) => Value::Same,
        _ => Value::Nothing,
    }
}

/// Whether all IDs of an access control list can be had. One that is malformed is the kernel's to refuse.
fn acl_can_stand(value: &[u8], ability: &Ability) -> bool {
    let entries = value.get(4..).unwrap_or_default().as_chunks::<8>().0;
    entries.iter().all(|[tag_low, tag_high, _, _, id @ ..]| {
        let id = u32::from_le_bytes(*id);
        match u16::from_le_bytes([*tag_low, *tag_high]) {
            ACL_USER => ability.users.has(id),
            ACL_GROUP => ability.groups.has(id),
            _ => true,
        }
    })
}

/// What `found`, a copy of the stand-in of `below` that may have been changed since, says: where it still equals the
/// stand-in, what `below` says.
///
/// What nobody can tell from the outside is told in favour of the layer: an owner that was set to 0 where the stand-in
/// has 0, an attribute that was removed and never stood on disk.
#[must_use]
pub fn restore(mut found: Node, below: &Node, ability: &Ability) -> Node {
    let stand = stand_in(&below.kind, &below.attrs, ability);
    if stand.is_marked_file && matches!(found.kind, Kind::File { size: 0, .. }) {
        found.kind = below.kind.clone();
    }
    let (attrs, stood, said) = (&mut found.attrs, &stand.attrs, &below.attrs);
    let found_mode = attrs.mode;
    // A write takes capabilities away, and a change of owner does (`security_inode_killpriv`).
    let was_written = size_of(&found.kind) != size_of(&below.kind)
        || (attrs.mtime, attrs.uid, attrs.gid) != (stood.mtime, stood.uid, stood.gid);
    // A change of owner takes the bits away (chown(2)).
    if (attrs.uid, attrs.gid, attrs.mode) == (stood.uid, stood.gid, stood.mode) {
        attrs.mode = said.mode;
    }
    if attrs.uid == stood.uid {
        attrs.uid = said.uid;
    }
    if attrs.gid == stood.gid {
        attrs.gid = said.gid;
    }
    let is_other_mode = (found_mode ^ stood.mode) & 0o777 != 0;
    for (name, value) in &said.xattrs {
        let value = match (stood.xattrs.get(name), attrs.xattrs.get(name)) {
            (None, None) if name == CAPABILITY && was_written => continue,
            (None, None) if name == ACL && is_other_mode => acl_with_mode(value, found_mode),
            (None, None) => value.clone(),
            (Some(stood), Some(now)) if stood == now => value.clone(),
            _ => continue,
        };
        attrs.xattrs.insert(name.clone(), value);
    }
    found
}

const fn size_of(kind: &Kind) -> Option<u64> {
    match kind {
        Kind::File { size, .. } => Some(*size),
        _ => None,
    }
}

/// The access control list after a chmod (`posix_acl_chmod`): the mode's bits are those of its owner, its mask, or without
/// one its group, and its others.
fn acl_with_mode(value: &[u8], mode: u32) -> Vec<u8> {
    let mut changed = value.to_vec();
    let entries = changed.get_mut(4..).unwrap_or_default().as_chunks_mut::<8>().0;
    let tag = |[low, high, ..]: &[u8; 8]| u16::from_le_bytes([*low, *high]);
    let has_mask = entries.iter().any(|entry| tag(entry) == ACL_MASK);
    for entry in entries {
        let shift = match tag(entry) {
            ACL_OWNER => 6,
            ACL_MASK => 3,
            ACL_OWNING_GROUP if !has_mask => 3,
            ACL_OTHERS => 0,
            _ => continue,
        };
        let [bits, ..] = ((mode >> shift) & 7).to_le_bytes();
        let [_, _, perm, ..] = entry;
        *perm = bits;
    }
    changed
}
