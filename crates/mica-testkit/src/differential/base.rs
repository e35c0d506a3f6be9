//! The lowers of a round: random changesets, and what they show one over the other.

use std::collections::BTreeMap;

use mica_core::{Name, Rdev, RelPath, Timestamp};
use mica_layer::{Ability, Ids};

use super::rng::Rng;
use crate::{Entry, Tree, What};

/// What the run may make on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// Everything.
    Root,
    /// Root of a user namespace in which one ID is mapped: no devices, no owners, no `trusted` attributes.
    OneId,
}

impl Privilege {
    /// The same, as the layer room is told.
    pub(super) fn ability(self) -> Ability {
        match self {
            Self::Root => Ability::native(),
            Self::OneId => Ability::namespaced(Ids::root_alone(), Ids::root_alone()),
        }
    }
}

/// Names that meet often, and a few odd ones.
pub(super) fn name(rng: &mut Rng) -> Name {
    let odd: [&[u8]; 6] = [&[b'n'; 255], b"\xff\xfe", b"new\nline", b".wh", b"a.wh.b", b"#1,:\\"];
    let plain: [&[u8]; 6] = [b"a", b"b", b"c", b"d", b"e", b"f"];
    let pool: &[&[u8]] = if rng.once_in(12) { &odd } else { &plain };
    let name: &&[u8] = rng.pick(pool);
    Name::new(name).unwrap()
}

/// Keys and values of extended attributes; of some, the kernel takes one form alone.
pub(super) fn xattr(rng: &mut Rng, privilege: Privilege) -> (Vec<u8>, Vec<u8>) {
    let keys: &[&[u8]] = match privilege {
        Privilege::Root => &[
            b"user.a",
            b"user.b",
            b"trusted.c",
            b"security.capability",
            b"trusted.overlay.opaque",
            b"trusted.overlay.overlay.x",
            b"user.overlay.y",
            b"system.posix_acl_access",
            b"system.posix_acl_default",
        ],
        Privilege::OneId => &[b"user.a", b"user.b", b"user.overlay.opaque", b"trusted.c", b"system.posix_acl_access"],
    };
    let key = rng.pick(keys);
    let value = match *key {
        // VFS_CAP_REVISION_2, effective: permitted and inheritable, two words each.
        b"security.capability" => {
            [&[1, 0, 0, 2][..], &[0, u8::try_from(rng.below(256)).unwrap(), 0, 0], &[0; 12]].concat()
        }
        // Version 2: user::rw-, user:1000 (or root):r--, group::r--, mask::r--, other::---; each a tag, a mode and an ID.
        b"system.posix_acl_access" | b"system.posix_acl_default" => {
            let entry = |tag: u16, mode: u16, id: u32| {
                [&tag.to_le_bytes()[..], &mode.to_le_bytes()[..], &id.to_le_bytes()[..]].concat()
            };
            let group = u16::try_from(rng.below(8)).unwrap();
            let id = if privilege == Privilege::Root { 1000 } else { 0 };
            let all = [(1, 6, u32::MAX), (2, 4, id), (4, group, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
            let entries: Vec<u8> = all.into_iter().flat_map(|(tag, mode, id)| entry(tag, mode, id)).collect();
            [&2_u32.to_le_bytes()[..], &entries].concat()
        }
        b"trusted.overlay.opaque" | b"user.overlay.opaque" => b"y".to_vec(),
        _ => vec![b'0' + u8::try_from(rng.below(10)).unwrap(); usize::try_from(rng.below(30)).unwrap()],
    };
    (key.to_vec(), value)
}

/// Modes with and without setuid, setgid and sticky.
pub(super) fn mode(rng: &mut Rng) -> u32 {
    *rng.pick(&[0o755, 0o700, 0o644, 0o600, 0o555, 0o4755, 0o2755, 0o1777, 0o2770, 0o000])
}

fn dressed(rng: &mut Rng, what: What, privilege: Privilege) -> Entry {
    let mut entry = Entry::new(what);
    let secs = match rng.below(20) {
        0 => -5,
        1 => 4_000_000_000,
        _ => 1_000_000_000 + i64::try_from(rng.below(100_000_000)).unwrap(),
    };
    entry.mtime = Some(Timestamp { secs, nanos: u32::try_from(rng.below(1_000_000_000)).unwrap() });
    if privilege == Privilege::Root && rng.once_in(3) {
        (entry.uid, entry.gid) = (*rng.pick(&[0, 1, 1000, 100_000]), *rng.pick(&[0, 5, 3_000_000_000]));
    }
    let can_user = matches!(entry.what, What::File(_) | What::Dir { .. });
    if can_user && rng.once_in(2) {
        entry.mode = mode(rng);
    }
    if can_user && rng.once_in(3) {
        let (key, value) = xattr(rng, privilege);
        // Access control lists are a part of the mode, which the literal says already; the operations have them.
        let trusted = key.starts_with(b"trusted.") && privilege == Privilege::OneId;
        if !key.starts_with(b"system.") && !trusted && (key != b"security.capability" || !entry.is_dir()) {
            entry.xattrs.insert(key, value);
        }
    }
    entry
}

/// What a layer says of a name, if anything.
fn say(rng: &mut Rng, bottom: bool, privilege: Privilege) -> Option<What> {
    let file = |rng: &mut Rng| {
        let length = *rng.pick(&[0, 1, 100, 5000, 20_000]);
        Some(What::File(vec![b'A' + u8::try_from(rng.below(26)).unwrap(); length]))
    };
    let device = |major, minor| What::Char(Rdev { major, minor });
    match rng.below(if bottom { 14 } else { 26 }) {
        0..=5 => Some(What::Dir { opaque: false }),
        6..=10 => file(rng),
        11 => Some(What::Symlink(rng.pick(&[&b"a"[..], b"/b", b"../c", b"nowhere", b"."]).to_vec())),
        12 if privilege == Privilege::Root && rng.once_in(2) => Some(match rng.once_in(2) {
            true => device(1, 5),
            false => What::Block(Rdev { major: 240, minor: 7 }),
        }),
        12 => Some(What::Fifo),
        13 => file(rng),
        14 | 15 => Some(What::Dir { opaque: true }),
        16..=18 => Some(What::Whiteout),
        _ => None,
    }
}

/// One changeset.
fn layer(rng: &mut Rng, bottom: bool, privilege: Privilege) -> Tree {
    let mut tree = Tree::new();
    let alone = !bottom && rng.once_in(10);
    tree.put(RelPath::root(), Entry::new(What::Dir { opaque: alone }));
    let mut level = vec![(RelPath::root(), alone)];
    for names in [14, 7, 4] {
        let mut next = Vec::new();
        for (dir, hides) in level {
            for _ in 0..rng.below(names + 1).max(u64::from(dir.is_root()) * 12) {
                let path = dir.join(&name(rng));
                if tree.get(&path).is_some() {
                    continue;
                }
                match say(rng, bottom, privilege) {
                    // Where nothing below shows, a layer says nothing of what it hides.
                    None | Some(What::Whiteout) if hides => {}
                    None => {}
                    Some(what) => {
                        if let What::Dir { opaque } = what {
                            next.push((path.clone(), hides || opaque));
                        }
                        let entry = match what {
                            What::Whiteout => Entry::new(what),
                            _ => dressed(rng, what, privilege),
                        };
                        tree.put(path, entry);
                    }
                }
            }
        }
        level = next;
    }
    link_some(rng, &mut tree, &[RelPath::root()]);
    tree
}

/// Gives some of the layer's files more names.
fn link_some(rng: &mut Rng, tree: &mut Tree, more: &[RelPath]) {
    let files: Vec<_> = tree.iter().filter(|(_, entry)| matches!(entry.what, What::File(_))).collect();
    let files: Vec<_> = files.into_iter().map(|(path, _)| path.clone()).collect();
    let dirs = tree.iter().filter(|(_, entry)| entry.is_dir()).map(|(path, _)| path.clone());
    let dirs: Vec<_> = dirs.chain(more.iter().cloned()).collect();
    for _ in 0..if files.is_empty() { 0 } else { 5 + rng.below(9) } {
        let (target, link) = (rng.pick(&files).clone(), rng.pick(&dirs).join(&name(rng)));
        // The file comes first in the order of paths, as a tree that is read has it.
        if tree.get(&link).is_none() && target < link {
            let entry = tree.get(&target).unwrap().clone();
            tree.put(link, Entry { what: What::Hard(target), ..entry });
        }
    }
}

/// Lowers, topmost first.
pub(super) fn lowers(rng: &mut Rng, privilege: Privilege) -> Vec<Tree> {
    let count = *rng.pick(&[1, 1, 2, 3, 4, 5]);
    (0..count).map(|number| layer(rng, number + 1 == count, privilege)).collect()
}

/// What is seen where changesets lie on each other, brought on one after the other as `tar -x` would: the oracle of this
/// test. It asks neither the rules of `core` nor a driver.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    pub(super) tree: Tree,
    /// Of how many layers each directory is.
    pub(super) layers: BTreeMap<RelPath, usize>,
}

impl Shown {
    /// Brings `layer` on top.
    pub(super) fn apply(&mut self, layer: &Tree) {
        let clear = |shown: &mut Self, path: &RelPath, itself: bool| {
            shown.keep_names(&|at: &RelPath| at.is_at_or_under(path) && (itself || at != path));
            shown.layers.retain(|at, _| !at.is_at_or_under(path) || (!itself && at == path));
        };
        // What is hidden goes first, wherever the layer says so.
        for (path, entry) in layer.iter() {
            match &entry.what {
                What::Whiteout => clear(self, path, true),
                What::Dir { opaque: true } if self.tree.get(path).is_some_and(Entry::is_dir) => {
                    clear(self, path, false);
                    self.layers.remove(path);
                }
                What::Dir { .. } if self.tree.get(path).is_none_or(Entry::is_dir) => {}
                _ => clear(self, path, true),
            }
        }
        for (path, entry) in layer.iter().filter(|(_, entry)| entry.what != What::Whiteout) {
            let mut entry = entry.clone();
            if entry.is_dir() {
                entry.what = What::Dir { opaque: false };
                *self.layers.entry(path.clone()).or_default() += 1;
            }
            self.tree.put(path.clone(), entry);
        }
    }

    /// Takes out what `gone` says; a file that loses its first name keeps its others.
    fn keep_names(&mut self, gone: &dyn Fn(&RelPath) -> bool) {
        let leaving: Vec<RelPath> = self.tree.iter().map(|(path, _)| path.clone()).filter(|path| gone(path)).collect();
        for path in leaving.iter().filter(|path| !path.is_root()) {
            let others = |tree: &Tree| {
                let shares = |(_, entry): &(&RelPath, &Entry)| entry.what == What::Hard(path.clone());
                tree.iter().filter(shares).map(|(at, _)| at.clone()).collect::<Vec<_>>()
            };
            let mut others = others(&self.tree).into_iter().filter(|other| !gone(other));
            let Some(entry) = self.tree.get(path).cloned() else { continue };
            self.tree.entries.remove(path);
            if let Some(first) = others.next() {
                self.tree.put(first.clone(), entry);
                for other in others {
                    let entry = Entry { what: What::Hard(first.clone()), ..self.tree.get(&other).unwrap().clone() };
                    self.tree.put(other, entry);
                }
            }
        }
    }
}
