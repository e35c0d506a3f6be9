//! The next operation: aimed at the cell of the table that was met least, else at any.

use mica_core::RelPath;
use mica_sys::FileKind;

use super::base::{self, Privilege};
use super::coverage::Coverage;
use super::model::{Model, Origin};
use super::op::{Fill, How, Node, Op, Row};
use super::rng::Rng;

/// Paths that a tree should not grow beyond: checks cost what the tree has.
const MANY: usize = 110;

/// Picks an operation.
pub(super) fn operation(rng: &mut Rng, model: &Model, met: &Coverage, privilege: Privilege) -> Op {
    let crowded = model.names().count() > MANY;
    for _ in 0..20 {
        let (row, origin) = cell(rng, met);
        if crowded && (row.makes() || row == Row::Overwrite) && !rng.once_in(4) {
            continue;
        }
        if row == Row::RemoveTree && !crowded && !rng.once_in(3) {
            continue;
        }
        if let Some(path) = path(rng, model, row, Some(origin)) {
            return build(rng, model, row, path, privilege);
        }
    }
    let (row, _) = cell(rng, met);
    let path = path(rng, model, row, None).unwrap_or_else(|| RelPath::root().join(&base::name(rng)));
    build(rng, model, row, path, privilege)
}

fn cell(rng: &mut Rng, met: &Coverage) -> (Row, Origin) {
    let any = |rng: &mut Rng| (*rng.pick(Row::ALL), *rng.pick(Origin::ALL));
    // The least of some: all cells fill, and the order stays random.
    let some: Vec<_> = (0..1 + rng.below(24)).map(|_| any(rng)).collect();
    let filled = |(row, origin): &(Row, Origin)| {
        let count = met.cell(*row, *origin);
        if origin.allows(*row) { count.done } else { count.tried * 4 }
    };
    some.into_iter().min_by_key(filled).unwrap()
}

/// A path of the origin at which the row's operation means something, where there is one.
fn path(rng: &mut Rng, model: &Model, row: Row, origin: Option<Origin>) -> Option<RelPath> {
    if origin == Some(Origin::ThroughSymlink) {
        return through_symlink(rng, model, row);
    }
    let fits = |path: &RelPath| origin.is_none_or(|origin| model.origin(path) == Some(origin));
    let fresh = row.makes() || row.makes_or_replaces() && rng.once_in(2);
    let mut spelled: Vec<RelPath> = match fresh {
        true => {
            let dirs = model.known().filter(|path| model.is_dir(path)).cloned().chain([RelPath::root()]);
            let deleted = model.known().filter(|path| model.get(path).is_none()).cloned();
            let named = dirs.map(|dir| dir.join(&base::name(rng))).collect::<Vec<_>>();
            named.into_iter().chain(deleted).filter(|path| model.get(path).is_none() && path.depth() < 6).collect()
        }
        false => Vec::new(),
    };
    spelled.retain(fits);
    if spelled.is_empty() || rng.once_in(6) {
        let known: Vec<RelPath> = model.known().filter(|path| fits(path)).cloned().collect();
        let fit: Vec<RelPath> = known.iter().filter(|path| suits(rng, model, row, path)).cloned().collect();
        spelled = if fit.is_empty() || rng.once_in(12) { known } else { fit };
    }
    (!spelled.is_empty()).then(|| rng.pick(&spelled).clone())
}

/// Whether the operation would do something to what is at the path.
fn suits(rng: &mut Rng, model: &Model, row: Row, path: &RelPath) -> bool {
    let kind = model.get(path).map(|file| file.kind);
    match row {
        _ if row.wants_content() => kind == Some(FileKind::File),
        Row::List => kind == Some(FileKind::Directory),
        Row::RemoveDir => model.is_empty_dir(path),
        Row::RenameOnto | Row::WhiteoutOnto => kind != Some(FileKind::Directory) || model.is_empty_dir(path),
        Row::Unlink | Row::LinkFrom => kind != Some(FileKind::Directory),
        // What a directory at the top holds is most of the tree.
        Row::RemoveTree | Row::MoveFrom => path.depth() > 1 || kind != Some(FileKind::Directory) || rng.once_in(8),
        Row::Chmod | Row::SetXattr => kind != Some(FileKind::Symlink),
        _ => true,
    }
}

fn through_symlink(rng: &mut Rng, model: &Model, row: Row) -> Option<RelPath> {
    let links: Vec<(RelPath, RelPath)> = model
        .names()
        .filter(|(_, kind)| *kind == FileKind::Symlink)
        .filter_map(|(path, _)| Some((path.clone(), model.resolve(path, true)?)))
        .filter(|(path, target)| {
            model.is_dir(target) && !path.is_at_or_under(target) || target.is_root() && path.depth() == 1
        })
        .collect();
    if links.is_empty() {
        return None;
    }
    let (link, target) = rng.pick(&links).clone();
    for _ in 0..8 {
        let real = if row.makes() || rng.once_in(4) {
            target.join(&base::name(rng))
        } else {
            let inside: Vec<_> =
                model.known().filter(|path| path.is_at_or_under(&target) && **path != target).cloned().collect();
            let fit: Vec<_> = inside.iter().filter(|path| suits(rng, model, row, path)).cloned().collect();
            let inside = if fit.is_empty() { inside } else { fit };
            if inside.is_empty() {
                continue;
            }
            rng.pick(&inside).clone()
        };
        let below = RelPath::parse_loose(&real.as_bytes()[target.as_bytes().len()..]).unwrap();
        return Some(link.join_path(&below));
    }
    None
}

/// The second path of an operation on two: any origin, and of a kind that goes with the first.
fn other(rng: &mut Rng, model: &Model, row: Row, first: &RelPath) -> RelPath {
    let dir = model.resolve(first, false).is_some_and(|path| model.is_dir(&path));
    let absent = model.resolve(first, false).is_none_or(|path| model.get(&path).is_none());
    let mut found = RelPath::root().join(&base::name(rng));
    for _ in 0..12 {
        let origin = (!rng.once_in(3)).then(|| *rng.pick(Origin::ALL));
        let Some(path) = path(rng, model, row, origin) else { continue };
        let real = model.resolve(&path, false);
        let same_kind = real.as_ref().is_some_and(|path| model.get(path).is_some() && model.is_dir(path) == dir);
        let free = real.as_ref().is_some_and(|path| model.get(path).is_none());
        // A directory does not go into itself.
        let inside = real.as_ref().is_some_and(|path| path.is_at_or_under(first));
        found = path;
        let good = match row {
            Row::RenameOnto | Row::WhiteoutOnto => free || same_kind,
            Row::RenameFrom | Row::WhiteoutFrom => absent || same_kind,
            _ => true,
        };
        if good && !inside {
            break;
        }
    }
    found
}

fn fill(rng: &mut Rng) -> Fill {
    let length = *rng.pick(&[0, 1, 7, 100, 600, 4096, 9000]);
    Fill { seed: u8::try_from(rng.below(26)).unwrap(), length }
}

#[allow(clippy::too_many_lines, reason = "one line or two for each operation")]
fn build(rng: &mut Rng, model: &Model, row: Row, path: RelPath, privilege: Privilege) -> Op {
    let eighths = u8::try_from(rng.below(9)).unwrap();
    let by = *rng.pick(&[1, 100, 4096, 10_000]);
    let mut second = |row, first: &RelPath| other(rng, model, row, first);
    match row {
        Row::LinkFrom => Op::Link { to: second(Row::LinkTo, &path), from: path },
        Row::LinkTo => Op::Link { from: second(Row::LinkFrom, &path), to: path },
        Row::RenameFrom => Op::Rename { to: second(Row::RenameOnto, &path), from: path, how: How::Replace },
        Row::RenameOnto => Op::Rename { from: second(Row::RenameFrom, &path), to: path, how: How::Replace },
        Row::NoReplaceFrom => Op::Rename { to: second(Row::NoReplaceOnto, &path), from: path, how: How::NoReplace },
        Row::NoReplaceOnto => Op::Rename { from: second(Row::NoReplaceFrom, &path), to: path, how: How::NoReplace },
        Row::ExchangeFrom => Op::Rename { to: second(Row::ExchangeWith, &path), from: path, how: How::Exchange },
        Row::ExchangeWith => Op::Rename { from: second(Row::ExchangeFrom, &path), to: path, how: How::Exchange },
        Row::WhiteoutFrom => Op::Rename { to: second(Row::WhiteoutOnto, &path), from: path, how: How::Whiteout },
        Row::WhiteoutOnto => Op::Rename { from: second(Row::WhiteoutFrom, &path), to: path, how: How::Whiteout },
        Row::WriteRenamed => {
            let to = second(Row::RenameOnto, &path);
            Op::WriteRenamed { from: path, to, fill: fill(rng) }
        }
        Row::MoveFrom => Op::Move { to: second(Row::MoveTo, &path), from: path },
        Row::MoveTo => Op::Move { from: second(Row::MoveFrom, &path), to: path },
        Row::Create => Op::Create { path, mode: base::mode(rng), fill: fill(rng) },
        Row::Overwrite => Op::Overwrite { path, fill: fill(rng) },
        Row::WriteAt => Op::WriteAt { path, eighths, fill: fill(rng) },
        Row::WriteBeyond => Op::WriteBeyond { path, gap: by, fill: fill(rng) },
        Row::Append => Op::Append { path, fill: fill(rng) },
        Row::Shrink => Op::Shrink { path, eighths },
        Row::Grow => Op::Grow { path, by },
        Row::Allocate => Op::Allocate { path, by },
        Row::Punch => Op::Punch { path, eighths },
        Row::MapWrite => Op::MapWrite { path, fill: fill(rng) },
        Row::ReadHeld => Op::ReadHeld { path, fill: fill(rng) },
        Row::WriteUnlinked => Op::WriteUnlinked { path, fill: fill(rng) },
        Row::Touch => Op::Touch { path },
        Row::Read => Op::Read { path },
        Row::Stat => Op::Stat { path },
        Row::List => Op::List { path },
        Row::MakeDir => Op::MakeDir { path, mode: base::mode(rng) },
        Row::MakeFifo => Op::MakeNode { path, node: Node::Fifo },
        Row::MakeDevice => Op::MakeNode { path, node: *rng.pick(&[Node::Char, Node::Block]) },
        Row::MakeDeviceZero => Op::MakeNode { path, node: Node::DeviceZero },
        Row::Symlink => {
            let dirs: Vec<_> = model.known().filter(|path| model.is_dir(path)).collect();
            let target = match dirs.is_empty() || rng.once_in(4) {
                true => rng.pick(&[&b"a"[..], b"../b", b"nowhere", b"/", b".."]).to_vec(),
                false => [b"/", rng.pick(&dirs).as_bytes()].concat(),
            };
            Op::Symlink { path, target }
        }
        Row::LinkUnnamed => Op::LinkUnnamed { path, fill: fill(rng) },
        Row::Unlink => Op::Unlink { path },
        Row::RemoveDir => Op::RemoveDir { path },
        Row::RemoveTree => Op::RemoveTree { path },
        Row::Chmod => Op::Chmod { path, mode: base::mode(rng) },
        Row::Chown => {
            let ids: &[u32] = if privilege == Privilege::Root { &[0, 1, 1000, 3_000_000_000] } else { &[0, 0, 0, 7] };
            Op::Chown { path, uid: *rng.pick(ids), gid: *rng.pick(ids) }
        }
        Row::SetTime => {
            let secs = *rng.pick(&[0, -1, 1, 1_234_567_890, 5_000_000_000]);
            Op::SetTime { path, secs, nanos: u32::try_from(rng.below(1_000_000_000)).unwrap() }
        }
        Row::SetXattr => {
            let (key, value) = base::xattr(rng, privilege);
            Op::SetXattr { path, key, value }
        }
        Row::RemoveXattr => Op::RemoveXattr { path, key: base::xattr(rng, privilege).0 },
    }
}
