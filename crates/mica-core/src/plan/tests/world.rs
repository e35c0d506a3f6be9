//! Disks made from facts, and what is asserted of every operation on them.

use super::carrier::{Act, carry_out, leaves_device, op, place as carrier_place, run};
use super::disk::{Body, Disk, Inode};
use super::plain::Plain;
use super::reader::{Tree, read};
use crate::plan::{
    Below, Data, Features, Here, Joining, Known, LeafKind, LowerLeaf, Merge, Names, Op, Parent, Place, Refusal,
    UpperLeaf, plan,
};

/// Every place that there can be.
pub(super) fn every_place() -> Vec<Place> {
    let mut all = Vec::new();
    for parent in [Parent::Lower, Parent::Merged, Parent::Alone] {
        for below in [Below::Nothing, Below::Leaf, Below::Directory] {
            all.extend(
                every_here().into_iter().map(|here| Place { parent, here, below }).filter(|place| can_be(*place)),
            );
        }
    }
    all
}

fn every_here() -> Vec<Here> {
    let mut all = vec![Here::Nothing, Here::Whiteout, Here::LowerDirectory];
    let copied = [Data::Whole, Data::Below { redirect: true }, Data::Below { redirect: false }];
    for kind in [LeafKind::Other, LeafKind::Regular { large: false }, LeafKind::Regular { large: true }] {
        let joining = [Known::All, Known::Some].map(|known| copied.map(|data| Names::Joining(data, known)));
        all.extend(
            [Names::One, Names::Several(Known::All), Names::Several(Known::Some)]
                .into_iter()
                .chain(joining.into_iter().flatten())
                .map(|names| Here::LowerLeaf(LowerLeaf { kind, names })),
        );
    }
    for regular in [false, true] {
        for data in copied {
            let joining = [Joining::No, Joining::Names(Known::All), Joining::Names(Known::Some), Joining::Settled];
            all.extend(joining.map(|joining| Here::Leaf(UpperLeaf { regular, data, joining })));
        }
    }
    all.extend(
        [
            Merge::Alone { opaque: false },
            Merge::Alone { opaque: true },
            Merge::ByName,
            Merge::Redirected { absolute: true },
            Merge::Redirected { absolute: false },
        ]
        .map(Here::Directory),
    );
    all
}

/// Which facts go together; what is left out cannot be on a disk, or only by other marks than ours and the kernel's.
fn can_be(place: Place) -> bool {
    let Place { parent, here, below } = place;
    let large = LeafKind::Regular { large: true };
    let agrees = match here {
        Here::Nothing => below == Below::Nothing,
        Here::Whiteout => true,
        Here::LowerDirectory => below == Below::Directory,
        // Only a large file is brought up without its content, and a joining one with a redirect.
        Here::LowerLeaf(LowerLeaf { kind, names }) => {
            below == Below::Leaf
                && match names {
                    Names::Joining(Data::Below { redirect }, _) => redirect && kind == large,
                    _ => true,
                }
        }
        Here::Leaf(UpperLeaf { regular, data, joining }) => {
            let found = match data {
                Data::Whole => true,
                Data::Below { redirect: true } => regular,
                Data::Below { redirect: false } => regular && below == Below::Leaf && joining == Joining::No,
            };
            // Until its joining is settled, a joining file stands at names of the lower one.
            found && (matches!(joining, Joining::No | Joining::Settled) || below == Below::Leaf)
        }
        Here::Directory(Merge::Alone { opaque: false }) => below != Below::Directory,
        Here::Directory(Merge::ByName) => below == Below::Directory,
        Here::Directory(Merge::Redirected { absolute }) => absolute || parent == Parent::Merged,
        Here::Directory(Merge::Alone { opaque: true }) => true,
    };
    let stands = !matches!(here, Here::Nothing | Here::LowerDirectory | Here::LowerLeaf(_));
    agrees
        && match parent {
            Parent::Lower => !stands,
            Parent::Merged => true,
            // A whiteout that hides nothing is what a crash leaves.
            Parent::Alone => below == Below::Nothing,
        }
}

/// Whether a directory that is put into a world shows names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fill {
    Names,
    Empty,
}

/// Where names of lower files are that nobody finds who does not ask for them.
const UNLISTED: &str = "unlisted";

/// Puts a place into a disk as `directory/name`; `directory` and names that begin with `name` are not used for anything else.
pub(super) fn build(disk: &mut Disk, directory: &str, name: &str, place: Place, fill: Fill) {
    let (upper, lower) = (disk.roots[0], disk.roots[1]);
    disk.unlisted = Some(UNLISTED);
    let path = format!("{directory}/{name}");
    let file = |content: &str| Inode::new(4, Body::File(content.to_owned()));
    let folder = || Inode::new(3, Body::default());
    for root in match place.parent {
        Parent::Lower => vec![lower],
        // What an opaque directory hides must never show.
        Parent::Alone | Parent::Merged => vec![lower, upper],
    } {
        if disk.at(root, directory).is_none() {
            let ino = disk.put(root, directory, folder());
            disk.inodes[ino].opaque = place.parent == Parent::Alone && root == upper;
        }
    }
    if place.parent == Parent::Alone {
        disk.put(lower, &format!("{path}/hidden"), file("hidden"));
    }
    // What is below, unless that is a file which matters.
    match place.below {
        Below::Directory if !matches!(place.here, Here::LowerDirectory | Here::Directory(Merge::ByName)) => {
            disk.put(lower, &format!("{path}/decoy"), file("decoy"));
        }
        Below::Leaf if !matches!(place.here, Here::LowerLeaf(_)) => {
            disk.put(lower, &path, file("beneath"));
        }
        _ => {}
    }
    match place.here {
        Here::Nothing => {}
        Here::Whiteout => {
            disk.put(upper, &path, Inode::new(0, Body::Whiteout));
        }
        Here::LowerLeaf(leaf) => build_lower_leaf(disk, &path, name, leaf),
        Here::Leaf(leaf) => build_upper_leaf(disk, &path, name, place.below, leaf),
        Here::LowerDirectory => {
            disk.put(lower, &path, folder());
            if fill == Fill::Names {
                disk.put(lower, &format!("{path}/c"), file("c"));
            }
        }
        Here::Directory(merge) => build_directory(disk, directory, name, merge, fill),
    }
    assert_eq!(carrier_place(disk, &path), place, "{path}");
}

fn build_lower_leaf(disk: &mut Disk, path: &str, name: &str, leaf: LowerLeaf) {
    let (upper, lower) = (disk.roots[0], disk.roots[1]);
    let body = match leaf.kind {
        LeafKind::Other => Body::Other("target".to_owned()),
        LeafKind::Regular { large: false } => Body::File("abc".to_owned()),
        LeafKind::Regular { large: true } => Body::File("abcdefg".to_owned()),
    };
    let ino = disk.put(lower, path, Inode::new(4 | 16, body.clone()));
    if leaf.names == Names::One {
        // A name that does not show is none.
        disk.put_ino(lower, &format!("gone/{name}"), ino);
        disk.put(upper, &format!("gone/{name}"), Inode::new(0, Body::Whiteout));
        return;
    }
    for other in ["1", "2", "3"] {
        disk.put_ino(lower, &format!("links/{name}{other}"), ino);
    }
    let (Names::Several(known) | Names::Joining(_, known)) = leaf.names else { return };
    if known == Known::Some {
        disk.put_ino(lower, &format!("{UNLISTED}/{name}"), ino);
    }
    let Names::Joining(data, _) = leaf.names else { return };
    let from = format!("links/{name}1");
    let mut up = Inode { joining: Some(from.clone()), ..Inode::new(4 | 16, body) };
    if let Data::Below { redirect: true } = data {
        up = Inode { metacopy: true, redirect: Some(format!("/{from}")), body: Body::File("0000000".to_owned()), ..up };
    }
    disk.put(upper, &from, up);
    disk.put(upper, &format!("links/{name}3"), Inode::new(0, Body::Whiteout));
}

fn build_upper_leaf(disk: &mut Disk, path: &str, name: &str, below: Below, leaf: UpperLeaf) {
    let (upper, lower) = (disk.roots[0], disk.roots[1]);
    let content = if leaf.regular { Body::File("upper".to_owned()) } else { Body::Other("upper".to_owned()) };
    let mut up = Inode::new(2, content);
    // Where the lowers have it.
    let mut from = format!("store/{name}");
    if leaf.joining != Joining::No {
        // It stands at one name and has been changed; others show the lower file.
        let old = if leaf.regular { Body::File("lower".to_owned()) } else { Body::Other("lower".to_owned()) };
        let ino = if below == Below::Leaf {
            from = path.to_owned();
            disk.at(lower, path).unwrap()
        } else {
            // It has been renamed.
            disk.put(upper, &from, Inode::new(0, Body::Whiteout));
            disk.put(lower, &from, Inode::default())
        };
        up.joining = Some(from.clone());
        disk.inodes[ino] = Inode::new(4, old);
        if leaf.joining != Joining::Settled {
            disk.put_ino(lower, &format!("links/{name}"), ino);
        }
        if leaf.joining != Joining::Names(Known::All) {
            disk.put_ino(lower, &format!("{UNLISTED}/{name}"), ino);
        }
    }
    if let Data::Below { redirect } = leaf.data {
        up.metacopy = true;
        up.body = Body::File("00000".to_owned());
        if redirect {
            up.redirect = Some(format!("/{from}"));
            if leaf.joining == Joining::No {
                disk.put(lower, &from, Inode::new(2, Body::File("stored".to_owned())));
                disk.put(upper, &from, Inode::new(0, Body::Whiteout));
            }
        } else {
            assert_eq!(below, Below::Leaf);
        }
    }
    disk.put(upper, path, up);
}

fn build_directory(disk: &mut Disk, directory: &str, name: &str, merge: Merge, fill: Fill) {
    let (upper, lower) = (disk.roots[0], disk.roots[1]);
    let path = format!("{directory}/{name}");
    let file = |content: &str| Inode::new(4, Body::File(content.to_owned()));
    let mut here = Inode::new(1, Body::default());
    let from = match merge {
        Merge::Alone { opaque } => {
            disk.put(upper, &path, Inode { opaque, ..here });
            if fill == Fill::Names {
                disk.put(upper, &format!("{path}/c"), file("c"));
            }
            return;
        }
        Merge::ByName => path.clone(),
        Merge::Redirected { absolute: true } => format!("store/{name}"),
        Merge::Redirected { absolute: false } => format!("{directory}/{name}r"),
    };
    disk.put(lower, &format!("{from}/w"), file("w"));
    if fill == Fill::Names {
        disk.put(lower, &format!("{from}/c"), file("c"));
    }
    if let Merge::Redirected { absolute } = merge {
        disk.put(upper, &from, Inode::new(0, Body::Whiteout));
        here.redirect = Some(if absolute { format!("/{from}") } else { format!("{name}r") });
    }
    disk.put(upper, &path, here);
    disk.put(upper, &format!("{path}/w"), Inode::new(0, Body::Whiteout));
}

/// What was seen while something was checked.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Operations that were carried out or refused.
    pub(super) cases: usize,
    /// Stops after a step.
    pub(super) stops: usize,
    /// The exceptions by name, and how often.
    pub(super) device_missing: usize,
    pub(super) idle_whiteouts: usize,
}

/// Carries an operation out and asserts that it appears to have happened, and at every stop either that or nothing.
///
/// From every stop that shows the old tree the operation is tried again after a mount, and must succeed.
pub(super) fn check(disk: &Disk, act: &Act, features: Features, seen: &mut Seen) {
    let old = read(disk);
    let facts = op(disk, &old, act);
    let mut plain = Plain::of(&old);
    let wanted = plain.act(act);
    seen.cases += 1;
    let steps = match plan(facts, features) {
        Ok(steps) => steps,
        Err(Refusal::NeedsRedirect) => {
            assert_eq!((wanted, features), (Ok(()), Features::Basic), "{act:?} on {facts:?}");
            return;
        }
        Err(refusal) => {
            assert_eq!(wanted, Err(refusal.errno()), "{act:?} on {facts:?}");
            return;
        }
    };
    assert_eq!(wanted, Ok(()), "{act:?} on {facts:?}: {steps:?}");
    let new = plain.tree();
    let context = || format!("{act:?} on {facts:?}: {steps:?}");
    let lowers = disk.lower_inodes();
    let was_tidy = disk.idle_whiteout().is_none();
    let mut disk = disk.clone();
    let mut shown = false;
    carry_out(&mut disk, act, &steps, |stopped| {
        seen.stops += 1;
        let mounted = stopped.mounted();
        let now = read(&mounted);
        if now == new {
            shown = true;
            // A crash after the step that shows may leave a whiteout that hides nothing: only where that is named.
            if was_tidy && mounted.idle_whiteout().is_some() {
                assert!(is_directory_onto_whiteout(facts), "{}", context());
                seen.idle_whiteouts += 1;
            }
        } else if !shown && now == old {
            assert!(!was_tidy || mounted.idle_whiteout().is_none(), "{}", context());
            again(mounted, act, features, &new);
        } else {
            assert!(
                leaves_device(act) && without_device(act, &new) == now,
                "{}\nold {old:?}\nnew {new:?}\nnow {now:?}",
                context()
            );
            shown = true;
            seen.device_missing += 1;
        }
    });
    assert_eq!(read(&disk), new, "{}", context());
    assert!(!was_tidy || disk.idle_whiteout().is_none(), "{}", context());
    assert_eq!(disk.lower_inodes(), lowers, "{}", context());
    if matches!(act, Act::Write(_) | Act::Truncate(..) | Act::Allocate(_)) && !steps.is_empty() {
        let file = &disk.inodes[disk.at(disk.upper(), act.paths().0.unwrap()).unwrap()];
        assert!(!file.metacopy && file.redirect.is_none(), "the content is still below: {}", context());
    }
    if let (Some(old), None) = act.paths()
        && !steps.is_empty()
        && let Ok(Some(place)) = disk.union().place(&super::disk::rel(old))
        && let Here::Leaf(UpperLeaf { joining: Joining::Names(_), .. }) = place.here
    {
        panic!("names are left to be linked: {}", context());
    }
}

fn again(mut mounted: Disk, act: &Act, features: Features, new: &Tree) {
    let tried = run(&mut mounted, act, features, |_| {});
    assert!(tried.is_ok(), "{act:?} a second time: {tried:?}");
    assert_eq!(read(&mounted), *new, "{act:?} a second time: {tried:?}");
}

/// The second exception: a directory exchanged with a whiteout, from where nothing is below.
fn is_directory_onto_whiteout(facts: Op) -> bool {
    matches!(facts, Op::Rename(rename)
        if rename.old.is_directory() && rename.new.here == Here::Whiteout && rename.old.below == Below::Nothing)
}

/// The first exception: the file has moved, and the device 0:0 that shall stand at its old name is not there yet.
fn without_device(act: &Act, new: &Tree) -> Tree {
    let (Some(old), _) = act.paths() else { panic!("{act:?} has no old name") };
    let mut plain = Plain::of(new);
    assert_eq!(plain.act(&Act::Unlink(old.to_owned())), Ok(()));
    plain.tree()
}
