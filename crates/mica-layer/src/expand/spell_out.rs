//! An upper whose marks lead below, made into one that says the same without them.

use std::io::Seek as _;
use std::ops::ControlFlow;

use mica_sys::{Dir, SysError};

use super::walk::walk;
use crate::{LayerError, Limits, Marks, Over, Pack, Unpack, pack, unpack};

/// Where the layer is kept between.
const TAR: &[u8] = b"tar";

/// Whether an upper has marks that only what is below explains: redirects, metacopies, files that are joining. Goes through all of it until
/// it finds one.
///
/// # Errors
/// When it cannot be read.
pub fn leads_below(upper: &Dir, marks: Marks) -> Result<bool, LayerError> {
    let mut leads = false;
    walk(upper, marks, |path, seen| match seen.leads.refuse(seen.metadata.kind, path) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => {
            leads = true;
            ControlFlow::Break(())
        }
    })?;
    Ok(leads)
}

/// Says in full in a new upper what `upper` says: gives that upper, `diff` in the empty directory `place`, which holds other files too after.
/// What is below is read, so that it may be changed by the new upper afterwards. Sockets are left out.
///
/// # Errors
/// As [`pack`] and [`unpack`]; what is in `place` is of no use then.
pub fn spell_out(upper: &Dir, marks: Marks, over: Over<'_>, place: &Dir) -> Result<Dir, LayerError> {
    let wrong = || LayerError::sys("spelling out an upper");
    // Not without a name, which not every file system can.
    let mut tar = place.create_file(TAR, 0o600).map_err(wrong())?;
    pack(upper, &Pack { marks: Some(marks), root: None, over: Some(over), others: None }, &mut tar)?;
    tar.rewind().map_err(LayerError::Read)?;
    // It is no stranger's: what stands in the upper and below can stand again.
    let mut limits = Limits::default();
    Limits::NAMES.iter().for_each(|name| limits.set(name, u64::MAX).unwrap_or_default());
    unpack(&mut tar, place, &Unpack { marks, ability: over.ability.clone(), limits })?;
    place.unlink(TAR).map_err(wrong())?;
    let made = place.open_dir(b"diff").map_err(wrong())?;
    dress_root(upper, &made).map_err(wrong())?;
    Ok(made)
}

/// Gives the root of the new upper the attributes of the old, marks and all.
fn dress_root(old: &Dir, new: &Dir) -> Result<(), SysError> {
    let metadata = old.metadata()?;
    new.chown_self(metadata.uid, metadata.gid)?;
    for name in old.list_own_xattrs()? {
        if let Some(value) = old.get_own_xattr(&name)? {
            new.set_own_xattr(&name, &value)?;
        }
    }
    new.chmod_self(metadata.mode)?;
    new.utimens_self(metadata.mtime)
}
