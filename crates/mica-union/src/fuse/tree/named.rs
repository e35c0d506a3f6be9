//! Whiteouts by name: what a layer says by files called `.wh.NAME`, as layer tars and aufs do.
//!
//! containers/storage unpacks layers so where a mount program is to show them, since it may be unable to make the kernel's marks. A file `.wh.NAME`
//! hides NAME below, and `.wh..wh..opq` all that is below its directory; fuse-overlayfs writes `.wh..opq` besides. Other names that begin with
//! `.wh..wh.` are aufs' own business. None of them shows.

use mica_sys::{Dir, Errno, FileKind};

use super::errno;
use super::seen::{Seen, plain};

/// What a whiteout's name begins with.
const PREFIX: &[u8] = b".wh.";

/// The names that make their directory opaque.
const OPAQUE: [&[u8]; 2] = [b".wh..wh..opq", b".wh..opq"];

/// The attribute by which fuse-overlayfs says the same where it may not set the kernel's mark; its value is `y`.
const OPAQUE_ATTRIBUTE: &[u8] = b"user.fuseoverlayfs.opaque";

/// What is aufs' own.
const OWN: &[u8] = b".wh..wh.";

/// The longest name of a file.
const LONGEST: usize = 255;

/// Whether a name says something instead of naming something.
pub(crate) fn is_said(name: &[u8]) -> bool {
    name.starts_with(PREFIX)
}

/// The name that one which [`is_said`] hides.
pub(crate) fn hidden_by(name: &[u8]) -> Option<&[u8]> {
    let hidden = name.strip_prefix(PREFIX).filter(|hidden| !hidden.is_empty());
    hidden.filter(|_| !name.starts_with(OWN) && !OPAQUE.contains(&name))
}

/// Whether an open directory says by a name, or as fuse-overlayfs does, that nothing below it shows.
pub(crate) fn is_opaque(dir: &Dir) -> Result<bool, Errno> {
    for name in OPAQUE {
        if dir.stat_if_there(name).map_err(errno)?.is_some() {
            return Ok(true);
        }
    }
    Ok(dir.get_own_xattr(OPAQUE_ATTRIBUTE).map_err(errno)?.is_some_and(|value| value == b"y"))
}

/// What stands at `name`, of which `seen` is what the kernel's marks say, by names besides.
pub(crate) fn by_names(dir: &Dir, name: &[u8], seen: Option<Seen>) -> Result<Option<Seen>, Errno> {
    if is_said(name) {
        return Ok(None);
    }
    // A file hides what is below by itself.
    if seen.as_ref().is_some_and(|seen| seen.whiteout || !seen.is_directory()) {
        return Ok(seen);
    }
    let said = [PREFIX, name].concat();
    let whiteout = if said.len() <= LONGEST { dir.stat_if_there(&said).map_err(errno)? } else { None };
    let whiteout = whiteout.filter(|whiteout| whiteout.kind == FileKind::File);
    Ok(match (seen, whiteout) {
        (None, Some(whiteout)) => Some(Seen { whiteout: true, ..plain(whiteout) }),
        // A directory that was deleted and made again.
        (Some(seen), Some(_)) => Some(Seen { opaque: true, ..seen }),
        (Some(mut seen), None) => {
            if !seen.opaque {
                seen.opaque = match &seen.open {
                    Some(open) => is_opaque(open)?,
                    None => is_opaque(&dir.open_dir(name).map_err(errno)?)?,
                };
            }
            Some(seen)
        }
        (None, None) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_or_names() {
        for (name, said, hidden) in [
            ("x", false, None),
            (".wh", false, None),
            (".wh.", true, None),
            (".wh.x", true, Some("x")),
            (".wh..x", true, Some(".x")),
            (".wh..wh..opq", true, None),
            (".wh..opq", true, None),
            (".wh..wh.plnk", true, None),
        ] {
            assert_eq!(is_said(name.as_bytes()), said, "{name}");
            assert_eq!(hidden_by(name.as_bytes()), hidden.map(str::as_bytes), "{name}");
        }
    }
}
