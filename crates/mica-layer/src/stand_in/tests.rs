use mica_core::{Timestamp, Xattrs};
use proptest::prelude::*;

use super::*;
use crate::Ids;

const VERSION_2: &[u8] = b"\x01\0\0\x02pppp____pppp____";

fn version_3(root: u32) -> Vec<u8> {
    [b"\x01\0\0\x03", &VERSION_2[4..], &root.to_le_bytes()].concat()
}

/// `user::rwx`, one named user, one named group.
fn acl(user: u32, group: u32) -> Vec<u8> {
    let entries = [(1u16, u32::MAX), (2, user), (4, u32::MAX), (8, group), (16, u32::MAX), (32, u32::MAX)];
    let entries = entries.map(|(tag, id)| [&tag.to_le_bytes()[..], &[7, 0], &id.to_le_bytes()].concat());
    [&[2, 0, 0, 0], &entries.concat()[..]].concat()
}

/// Root; a range of users that is not that of groups; one ID.
fn abilities() -> [Ability; 3] {
    let ranges = |end| Ids::Mapped(vec![(0, 1), (1, end)]);
    [
        Ability::native(),
        Ability::namespaced(ranges(65536), ranges(1000)),
        Ability::namespaced(Ids::root_alone(), Ids::root_alone()),
    ]
}

fn rdev(major: u32, minor: u32) -> Rdev {
    Rdev { major, minor }
}

fn kinds() -> Vec<Kind> {
    vec![
        Kind::File { size: 0, content: None },
        Kind::File { size: 7, content: Some([1; 32]) },
        Kind::Directory { opaque: false, implicit: false },
        Kind::Directory { opaque: true, implicit: true },
        Kind::Symlink { target: b"there".to_vec() },
        Kind::CharDevice(rdev(1, 3)),
        Kind::CharDevice(rdev(0, 0)),
        Kind::BlockDevice(rdev(8, 0)),
        Kind::BlockDevice(rdev(0, 0)),
        Kind::Fifo,
    ]
}

fn attrs(mode: u32, uid: u32, gid: u32) -> Attrs {
    Attrs { mode, uid, gid, mtime: Timestamp { secs: 9, nanos: 1 }, xattrs: Xattrs::new() }
}

#[test]
fn owners_that_are_not_mapped_stand_as_the_stores_own() {
    let [native, mapped, single] = abilities();
    for (said, in_native, in_mapped, in_single) in [
        ((0, 0), (0, 0), (0, 0), (0, 0)),
        ((1, 1000), (1, 1000), (1, 1000), (0, 0)),
        ((1000, 1001), (1000, 1001), (1000, 0), (0, 0)),
        ((65537, 5), (65537, 5), (0, 5), (0, 0)),
        ((u32::MAX, u32::MAX), (0, 0), (0, 0), (0, 0)),
    ] {
        for (ability, wanted) in [(&native, in_native), (&mapped, in_mapped), (&single, in_single)] {
            for kind in kinds() {
                let said = attrs(0o755, said.0, said.1);
                let stands = stand_in(&kind, &said, ability).attrs;
                assert_eq!((stands.uid, stands.gid), wanted, "{kind:?} {said:?} {ability:?}");
                assert_eq!((stands.mode, stands.mtime, &stands.xattrs), (said.mode, said.mtime, &said.xattrs));
            }
        }
    }
}

#[test]
fn a_file_does_not_lend_rights_of_a_stand_in() {
    let [native, mapped, _] = abilities();
    let file = Kind::File { size: 7, content: None };
    for (uid, gid, mode, wanted) in
        [(1, 1, 0o6755, 0o6755), (70000, 1, 0o6755, 0o2755), (1, 70000, 0o7755, 0o5755), (70000, 70000, 0o7755, 0o1755)]
    {
        let said = attrs(mode, uid, gid);
        assert_eq!(stand_in(&file, &said, &mapped).attrs.mode, wanted);
        assert_eq!(stand_in(&file, &said, &native).attrs.mode, mode);
        // Of a directory the bits say what group new files get, and who may delete.
        assert_eq!(stand_in(&kinds()[2], &said, &mapped).attrs.mode, mode);
    }
}

#[test]
fn a_device_stands_as_a_marked_file_where_it_cannot_be_made() {
    let [native, mapped, single] = abilities();
    let said = attrs(0o660, 0, 0);
    let stands = |ability: &Ability| kinds().map_all(|kind| stand_in(kind, &said, ability).is_marked_file);
    let native = stands(&native);
    assert_eq!(native, [false, false, false, false, false, false, true, false, false, false]);
    for ability in [&mapped, &single] {
        assert_eq!(stands(ability), [false, false, false, false, false, true, true, true, true, false]);
    }
}

trait MapAll<T> {
    fn map_all<U>(&self, map: impl Fn(&T) -> U) -> Vec<U>;
}

impl<T> MapAll<T> for Vec<T> {
    fn map_all<U>(&self, map: impl Fn(&T) -> U) -> Vec<U> {
        self.iter().map(map).collect()
    }
}

#[test]
fn attributes_stand_where_the_kernel_takes_them() {
    let [native, mapped, single] = abilities();
    let same = |value: &[u8]| Some(value.to_vec());
    let (file, symlink) = (&kinds()[1], &kinds()[4]);
    for (kind, name, value, in_native, in_mapped, in_single) in [
        (file, "user.x", b"1".to_vec(), same(b"1"), same(b"1"), same(b"1")),
        (symlink, "user.x", b"1".to_vec(), None, None, None),
        (file, "trusted.x", b"1".to_vec(), same(b"1"), None, None),
        (symlink, "trusted.x", b"1".to_vec(), same(b"1"), None, None),
        (file, "security.ima", b"1".to_vec(), same(b"1"), None, None),
        (file, "security.capability", VERSION_2.to_vec(), same(VERSION_2), same(VERSION_2), same(VERSION_2)),
        (symlink, "security.capability", VERSION_2.to_vec(), same(VERSION_2), same(VERSION_2), same(VERSION_2)),
        (file, "security.capability", version_3(0), same(VERSION_2), same(VERSION_2), same(VERSION_2)),
        (file, "security.capability", version_3(5), same(&version_3(5)), same(&version_3(5)), None),
        (file, "security.capability", version_3(70000), same(&version_3(70000)), None, None),
        // The kernel refuses these to everyone, and so says what is wrong with the layer.
        (file, "security.capability", b"".to_vec(), same(b""), same(b""), same(b"")),
        (
            file,
            "security.capability",
            b"\0\0\0\x03".to_vec(),
            same(b"\0\0\0\x03"),
            same(b"\0\0\0\x03"),
            same(b"\0\0\0\x03"),
        ),
        (file, "system.posix_acl_access", acl(1, 2), same(&acl(1, 2)), same(&acl(1, 2)), None),
        (file, "system.posix_acl_access", acl(1, 2000), same(&acl(1, 2000)), None, None),
        (file, "system.posix_acl_default", acl(70000, 2), same(&acl(70000, 2)), None, None),
        (file, "system.posix_acl_access", acl(0, 0), same(&acl(0, 0)), same(&acl(0, 0)), same(&acl(0, 0))),
        (file, "system.posix_acl_access", b"\x02".to_vec(), same(b"\x02"), same(b"\x02"), same(b"\x02")),
    ] {
        let name = name.as_bytes().to_vec();
        let said = Attrs { xattrs: [(name.clone(), value)].into(), ..attrs(0o644, 0, 0) };
        for (ability, wanted) in [(&native, in_native), (&mapped, in_mapped), (&single, in_single)] {
            let stands = stand_in(kind, &said, ability).attrs;
            let label = name.escape_ascii();
            assert_eq!(stands.xattrs.get(&name), wanted.as_ref(), "{kind:?} {label} {ability:?}");
        }
    }
}

/// A copy of what stands on disk, as it is found in an upper.
fn copy_of(said: &Node, ability: &Ability) -> Node {
    let stands = stand_in(&said.kind, &said.attrs, ability);
    let kind = if stands.is_marked_file { Kind::File { size: 0, content: None } } else { said.kind.clone() };
    Node { kind, attrs: stands.attrs.into_owned(), link_group: None }
}

fn any_node() -> impl Strategy<Value = Node> {
    let ids = || prop::sample::select(vec![0, 1, 999, 1000, 1001, 65536, 65537, 70000, u32::MAX - 1]);
    let xattr = prop::sample::select(vec![
        ("user.a", b"1".to_vec()),
        ("user.overlay.opaque", b"y".to_vec()),
        ("trusted.a", b"2".to_vec()),
        ("security.ima", b"3".to_vec()),
        ("security.capability", VERSION_2.to_vec()),
        ("security.capability", version_3(0)),
        ("security.capability", version_3(70000)),
        ("system.posix_acl_access", acl(1, 70000)),
    ]);
    let xattrs = prop::collection::vec(xattr, 0..3);
    (prop::sample::select(kinds()), 0..0o10000u32, ids(), ids(), xattrs).prop_map(|(kind, mode, uid, gid, xattrs)| {
        let xattrs = xattrs.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value)).collect();
        Node { kind, attrs: Attrs { xattrs, ..attrs(mode, uid, gid) }, link_group: None }
    })
}

fn any_ability() -> impl Strategy<Value = Ability> {
    prop::sample::select(abilities().to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_was_only_copied_up_is_what_is_below(said in any_node(), ability in any_ability()) {
        prop_assert_eq!(restore(copy_of(&said, &ability), &said, &ability), said);
    }

    #[test]
    fn a_stand_in_stands_for_itself(said in any_node(), ability in any_ability()) {
        let once = copy_of(&said, &ability);
        let twice = stand_in(&once.kind, &once.attrs, &ability);
        prop_assert_eq!(&*twice.attrs, &once.attrs);
        prop_assert!(!twice.is_marked_file);
    }

    /// Whoever changed something finds it changed as root would, and nothing else. What has another time was written to.
    #[test]
    fn a_change_says_what_it_would_say_of_the_layers_own(
        said in any_node(),
        ability in any_ability(),
        change in 0..5usize,
    ) {
        let changed = |mut node: Node| {
            let attrs = &mut node.attrs;
            let is_other_mode = attrs.mode & 0o777 != 0o531;
            match change {
                0 => attrs.mode = 0o1531,
                1 => (attrs.uid, attrs.mode) = (500, attrs.mode & 0o1777),
                2 => (attrs.gid, attrs.mode) = (600, attrs.mode & 0o1777),
                3 => attrs.mtime.secs = 77,
                _ => drop(attrs.xattrs.insert(b"user.new".to_vec(), b"n".to_vec())),
            }
            if matches!(change, 1..=3) {
                attrs.xattrs.remove(CAPABILITY);
            }
            // A list that says other than the mode stands on no disk. Where it does not stand, and the permissions stay, nobody can tell a chmod.
            if change == 0 && is_other_mode && let Some(acl) = attrs.xattrs.get_mut(ACL) {
                // 0531 by hand: the owner 5, the mask 3, others 1; named ones and the owning group as they were.
                for (number, perm) in [(0, 5), (4, 3), (5, 1)] {
                    acl[4 + 8 * number + 2] = perm;
                }
            }
            node
        };
        // An owner can only be set to one that is mapped, and one that there is already is no change.
        prop_assume!(ability != abilities()[2] || !matches!(change, 1 | 2));
        prop_assume!(copy_of(&said, &ability).attrs.mode != 0o1531 || change != 0);
        let found = restore(changed(copy_of(&said, &ability)), &said, &ability);
        prop_assert_eq!(found, changed(said));
    }
}

/// A layer may say of a directory a mode and a list that disagree. Bits beside the permissions go by a chown and a write, too: who changes no more has said nothing of the list.
#[test]
fn a_list_that_is_not_on_disk_follows_the_permissions_and_no_other_bits() {
    let [_, _, single] = abilities();
    let list = acl(1, 70000);
    let said = Attrs { xattrs: [(ACL.to_vec(), list.clone())].into(), ..attrs(0o531, 0, 0) };
    let said = Node { kind: Kind::Directory { opaque: false, implicit: false }, attrs: said, link_group: None };
    let after = |mode| {
        let mut found = copy_of(&said, &single);
        assert_eq!(found.attrs.xattrs.get(ACL), None);
        found.attrs.mode = mode;
        let restored = restore(found, &said, &single).attrs;
        assert_eq!(restored.mode, mode);
        restored.xattrs.get(ACL).cloned()
    };
    for mode in [0o531, 0o1531, 0o2531] {
        assert_eq!(after(mode), Some(list.clone()), "{mode:o}");
    }
    assert_ne!(after(0o530), Some(list));
}

#[test]
fn a_written_stand_in_of_a_device_is_a_file() {
    let [_, _, single] = abilities();
    let said = Node { kind: Kind::CharDevice(rdev(1, 3)), attrs: attrs(0o666, 0, 5), link_group: None };
    let mut found = copy_of(&said, &single);
    found.kind = Kind::File { size: 3, content: None };
    assert_eq!(restore(found.clone(), &said, &single).kind, found.kind);
}

#[test]
fn an_attribute_that_was_removed_or_changed_stays_so() {
    let [_, _, single] = abilities();
    let xattrs = |value: &[u8]| Xattrs::from([(CAPABILITY.to_vec(), value.to_vec())]);
    let said = Attrs { xattrs: xattrs(&version_3(0)), ..attrs(0o755, 3, 3) };
    let said = Node { kind: kinds()[1].clone(), attrs: said, link_group: None };
    for now in [Xattrs::new(), xattrs(b"\0\0\0\x02pppp____pppp____")] {
        let mut found = copy_of(&said, &single);
        found.attrs.xattrs = now.clone();
        assert_eq!(restore(found, &said, &single).attrs, Attrs { xattrs: now, ..said.attrs.clone() });
    }
}
