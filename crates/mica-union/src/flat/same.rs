//! Whether a file of the tree is still what the lowers have.

use mica_core::{Kind, RelPath};
use mica_sys::{Dir, File, SysError};

use super::{NAME, lowers, make, reading};
use crate::{Role, UnionDirs, UnionError};

/// Compares the file at `path` of `tree` with what the lowers show there, content and attributes.
pub(super) fn is_below(path: &RelPath, tree: &Dir, dirs: &UnionDirs) -> Result<bool, UnionError> {
    let stack = lowers(dirs)?;
    let Some(below) = stack.resolve(path).map_err(reading(Role::Lower(1), path))? else { return Ok(false) };
    let (number, at) = &below.content;
    let Some(layer) = stack.layers().get(*number) else { return Ok(false) };
    let wrong = |source| UnionError::Settle { driver: NAME, path: path.clone(), source };
    let (Some((parent, name)), Some((below_parent, below_name))) = (path.split(), at.split()) else { return Ok(false) };
    let dir = make::open_below(tree, &parent).map_err(wrong)?;
    let Some(found) = dir.stat_if_there(name.as_bytes()).map_err(wrong)? else { return Ok(false) };
    let (kind, attrs) = make::look(&dir, name.as_bytes(), &found).map_err(wrong)?;
    if attrs != below.node.attrs {
        return Ok(false);
    }
    match (&kind, &below.node.kind) {
        (Kind::File { size, .. }, Kind::File { size: below_size, .. }) if size == below_size => {
            let one = dir.open_file(name.as_bytes()).map_err(wrong)?;
            let other = make::open_below(layer.dir(), &below_parent)
                .and_then(|dir| dir.open_file(below_name.as_bytes()))
                .map_err(wrong)?;
            is_same_content(&one, &other).map_err(wrong)
        }
        (Kind::File { .. }, _) => Ok(false),
        (kind, below) => Ok(kind == below),
    }
}

fn is_same_content(one: &File, other: &File) -> Result<bool, SysError> {
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut at = 0;
    loop {
        let read = one.read_at(&mut left, at)?;
        let Some(expected) = left.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(other.read_at(&mut right, at)? == 0);
        };
        let mut have = 0;
        while have < read {
            let Some(rest) = right.get_mut(have..read) else { return Ok(false) };
            match other.read_at(rest, at + u64::try_from(have).unwrap_or(0))? {
                0 => return Ok(false),
                more => have += more,
            }
        }
        if right.get(..read) != Some(expected) {
            return Ok(false);
        }
        at += u64::try_from(read).unwrap_or(0);
    }
}
