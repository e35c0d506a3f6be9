//! A walk through all of an upper, names in order.

use std::ops::ControlFlow;

use mica_core::{LayerEntry, RelPath};
use mica_sys::{Dir, FileKind};

use crate::ladder::Ladder;
use crate::tree::{Seen, look_led, reading, sorted_names};
use crate::{LayerError, Marks};

/// Shows everything in `upper` but whiteouts to `each`, a directory before what is in it, until that breaks.
pub(super) fn walk(
    upper: &Dir,
    marks: Marks,
    mut each: impl FnMut(&RelPath, &Seen) -> ControlFlow<()>,
) -> Result<(), LayerError> {
    let mut ladder = Ladder::new(upper, Dir::open_dir);
    let mut levels = vec![(RelPath::root(), sorted_names(upper, &RelPath::root())?.into_iter())];
    while let Some((parent, names)) = levels.last_mut() {
        let Some(name) = names.next() else {
            levels.pop();
            ladder.step_out();
            continue;
        };
        let path = parent.join(&name);
        let dir = ladder.here().map_err(reading(parent))?;
        let Some(seen) = look_led(dir, name.as_bytes(), &path, Some(marks))? else { continue };
        if seen.entry == LayerEntry::Whiteout {
            continue;
        }
        if each(&path, &seen).is_break() {
            break;
        }
        if seen.metadata.kind == FileKind::Directory {
            let inner = dir.open_dir(name.as_bytes()).map_err(reading(&path))?;
            let names = sorted_names(&inner, &path)?;
            ladder.step_in(&path, inner);
            levels.push((path, names.into_iter()));
        }
    }
    Ok(())
}
