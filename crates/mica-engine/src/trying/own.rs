//! What is the user's own below directories of others, which gets a view of its own.
//!
//! The first write below a directory has overlayfs copy the directory up with its owner, and an owner that the user's namespace does not map
//! cannot be given: `EOVERFLOW`. The first directory of a view is not copied, since it is made by us. So where the way from there to what is
//! the user's leads through a directory of somebody else (`/data` is a view, `/data/people` is the machine's, `/data/people/ann` is Ann's),
//! the user's part is a view by itself. Only the ways to where the user is at home and stands are looked at: a whole tree would cost a walk.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use mica_sys::Dir;

use super::Try;
use super::machine::Seen;
use crate::container::{View, ViewKind, path_of};

/// What stands for every ID that a user namespace does not map (`/proc/sys/kernel/overflowuid` and `overflowgid`, which nobody changes).
const UNMAPPED: u32 = 65_534;

/// Whose a directory is, as far as the user's namespace can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Owner and group are mapped: it can be copied up.
    Ours,
    /// The owner is mapped and the group is not.
    OurGroupOfOthers,
    /// The owner is not mapped.
    Others,
}

impl Whose {
    /// What the machine says of a directory. One that cannot be looked at is left alone, as one of ours is.
    pub(crate) fn of(path: &Path) -> Self {
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.uid() == UNMAPPED => Self::Others,
            Ok(found) if found.gid() == UNMAPPED => Self::OurGroupOfOthers,
            _ => Self::Ours,
        }
    }
}

/// Where the user is at home and stands, without symlinks.
pub(crate) fn places(asked: &Try) -> Vec<PathBuf> {
    let home = asked.env.iter().find_map(|line| line.strip_prefix("HOME=")).map(Path::new);
    [Some(asked.workdir.as_path()), home]
        .into_iter()
        .flatten()
        .filter(|path| path.is_absolute())
        .filter_map(|path| path_of(&Dir::open(path).ok()?).ok())
        .collect()
}

/// Adds a view wherever the way to one of `places` leads through directories that cannot be copied up.
pub(crate) fn split(seen: &mut Seen, places: &[PathBuf], whose: &impl Fn(&Path) -> Whose) {
    for (number, place) in places.iter().enumerate() {
        if let Some(target) = below_others(seen, place, whose) {
            let place = PathBuf::from(format!("views/own{number}"));
            seen.views.push(View { target, place, kind: ViewKind::Directory });
            seen.views.sort_by(|one, other| one.target.cmp(&other.target));
        }
    }
}

/// The first directory on the way to `place` that the user may write to, below the last that cannot be copied up.
fn below_others(seen: &Seen, place: &Path, whose: &impl Fn(&Path) -> Whose) -> Option<PathBuf> {
    if seen.masked.iter().any(|path| place.starts_with(path)) {
        return None;
    }
    let around = seen.views.iter().filter(|view| place.starts_with(&view.target));
    let view = around.max_by_key(|view| view.target.components().count())?;
    if view.kind == ViewKind::Frame {
        return None;
    }
    let mut below = None;
    for path in place.ancestors().take_while(|path| *path != view.target) {
        match whose(path) {
            Whose::Ours => below = Some(path),
            Whose::OurGroupOfOthers => return Some(path.to_owned()),
            Whose::Others => return below.map(Path::to_owned),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(target: &str, kind: ViewKind) -> View {
        View { target: target.into(), place: target.trim_start_matches('/').into(), kind }
    }

    fn own(place: &str) -> Option<String> {
        let mut seen = Seen {
            views: vec![view("/", ViewKind::Frame), view("/data", ViewKind::Directory), view("/home", ViewKind::Mount)],
            masked: vec!["/data/people/ann/store".into()],
            ..Seen::default()
        };
        let before = seen.views.clone();
        split(&mut seen, &[place.into()], &|path| match path.to_str().unwrap() {
            "/" | "/data" | "/data/people" | "/home" => Whose::Others,
            "/home/ann/shared" => Whose::OurGroupOfOthers,
            _ => Whose::Ours,
        });
        let added = seen.views.into_iter().filter(|view| !before.contains(view)).collect::<Vec<_>>();
        assert!(added.iter().all(|view| view.kind == ViewKind::Directory && view.place == Path::new("views/own0")));
        added.first().map(|view| view.target.display().to_string())
    }

    #[test]
    fn what_is_the_users_below_directories_of_others_is_a_view() {
        assert_eq!(own("/data/people/ann/project/src").as_deref(), Some("/data/people/ann"));
        assert_eq!(own("/home/ann/shared/src").as_deref(), Some("/home/ann/shared"), "its group cannot be given");
        // The first directory of a view is made by us, and a frame has no way that is copied.
        for place in ["/home/ann/project", "/home", "/data/ann", "/data/people", "/root", "/data/people/ann/store/x"] {
            assert_eq!(own(place), None, "{place}");
        }
    }

    #[test]
    fn two_ways_to_one_view_make_it_once() {
        let mut seen = Seen { views: vec![view("/data", ViewKind::Directory)], ..Seen::default() };
        let places = ["/data/people/ann/project", "/data/people/ann"].map(PathBuf::from);
        split(&mut seen, &places, &|path| if path.ends_with("people") { Whose::Others } else { Whose::Ours });
        let targets: Vec<_> = seen.views.iter().map(|view| view.target.to_str().unwrap()).collect();
        assert_eq!(targets, ["/data", "/data/people/ann"]);
    }
}
