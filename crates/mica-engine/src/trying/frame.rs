//! What an ordinary user's view is made of, since the kernel copies no mount there without what is mounted in it.
//!
//! A mount that came from outside of a user namespace hides what is below it for good (mount_namespaces(7), "locked"), so a directory with
//! something mounted in it cannot be a lower of overlayfs by itself: `/` never can. It is shown as a *frame*: an empty skeleton with the
//! places of what is in it. Each directory in which nothing is mounted has a union of its own there; one with mounts is a frame again; links
//! are copied; other files are shown as they are.
//!
//! ```text
//! /             frame
//! /bin -> usr/bin    a link in the skeleton
//! /usr /home /tmp    a union each
//! /var               frame: /var/lib/mnt is mounted
//! /var/cache …       a union each
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use mica_sys::{Dir, FileKind, SysError};

use super::machine::Seen;
use crate::container::{View, ViewKind};
use crate::error::Result;

/// The most entries of a directory that are shown one by one; each costs a mount.
const MOST: usize = 256;

/// What the skeleton of one view holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Frame {
    /// Frames in the frame, the outer before the inner.
    inner: Vec<PathBuf>,
    /// Directories that something is mounted on, or that are frames.
    places: Vec<PathBuf>,
    /// Symlinks and where they point.
    links: Vec<(PathBuf, Vec<u8>)>,
    /// Other files, shown as they are.
    pub(crate) files: Vec<PathBuf>,
}

/// All frames, by the view that each is shown by, and what is shown by no union.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Frames {
    pub(crate) frames: BTreeMap<PathBuf, Frame>,
    /// Directories that are shown as they are, and why.
    pub(crate) whole: Vec<(PathBuf, &'static str)>,
}

/// An entry of a directory of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    name: Vec<u8>,
    kind: FileKind,
    /// Of a symlink: where it points.
    target: Vec<u8>,
}

/// The entries of a directory of the machine; `None` where they cannot be read.
pub(crate) fn entries(path: &Path) -> Option<Vec<Entry>> {
    let read = || -> std::result::Result<_, SysError> {
        let dir = Dir::open(path)?;
        let mut entries = Vec::new();
        for entry in dir.read_dir()? {
            let kind = dir.stat(&entry.name)?.kind;
            let target = if kind == FileKind::Symlink { dir.read_link(&entry.name)? } else { Vec::new() };
            entries.push(Entry { name: entry.name, kind, target });
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    };
    read().ok()
}

/// Replaces each view with mounts in it by a frame and views of the directories in that. `mounted` is every place that has a mount.
pub(crate) fn split(seen: &mut Seen, mounted: &[PathBuf], entries: &impl Fn(&Path) -> Option<Vec<Entry>>) -> Frames {
    let mut split = Split { mounted, entries, whole: Vec::new(), views: Vec::new(), next: seen.views.len() };
    let mut frames = BTreeMap::new();
    for view in std::mem::take(&mut seen.views) {
        if !split.has_mounts(&view.target) {
            split.views.push(view);
            continue;
        }
        let mut frame = Frame::default();
        if split.look(&view.target, &mut frame) {
            frames.insert(view.target.clone(), frame);
            split.views.push(View { kind: ViewKind::Frame, ..view });
        }
    }
    seen.views = split.views;
    seen.views.sort_by(|one, other| one.target.cmp(&other.target));
    Frames { frames, whole: split.whole }
}

struct Split<'a, E> {
    mounted: &'a [PathBuf],
    entries: &'a E,
    whole: Vec<(PathBuf, &'static str)>,
    views: Vec<View>,
    next: usize,
}

impl<E: Fn(&Path) -> Option<Vec<Entry>>> Split<'_, E> {
    fn has_mounts(&self, path: &Path) -> bool {
        self.mounted.iter().any(|mounted| mounted != path && mounted.starts_with(path))
    }

    /// Takes what is in `path` into the frame; says whether that could be done.
    fn look(&mut self, path: &Path, frame: &mut Frame) -> bool {
        let why = match (self.entries)(path) {
            None => "something is mounted in it, and it cannot be listed",
            Some(entries) if entries.len() > MOST => "something is mounted in it, and it has many entries",
            Some(entries) => {
                for entry in entries {
                    self.take(path.join(OsStr::from_bytes(&entry.name)), entry, frame);
                }
                return true;
            }
        };
        self.whole.push((path.to_owned(), why));
        false
    }

    fn take(&mut self, at: PathBuf, entry: Entry, frame: &mut Frame) {
        match entry.kind {
            FileKind::Symlink => frame.links.push((at, entry.target)),
            FileKind::Directory => {
                frame.places.push(at.clone());
                if self.mounted.contains(&at) {
                    // It has a view of its own, or is nothing that a view covers.
                } else if self.has_mounts(&at) {
                    frame.inner.push(at.clone());
                    if !self.look(&at, frame) {
                        frame.inner.retain(|inner| *inner != at);
                    }
                } else {
                    let place = PathBuf::from(format!("views/{}", self.next));
                    self.next += 1;
                    self.views.push(View { target: at, place, kind: ViewKind::Directory });
                }
            }
            _ => frame.files.push(at),
        }
    }
}

impl Frame {
    /// Makes in `skeleton` what is shown of `top`: places for what is mounted there, and links. `wear` gives a directory the look of
    /// the machine's.
    pub(crate) fn build(&self, top: &Path, skeleton: &Dir, wear: impl Fn(&Dir, &Path) -> Result<()>) -> Result<()> {
        for place in &self.places {
            let (dir, name) = parent(top, skeleton, place)?;
            dir.mkdir(&name, 0o755)?;
        }
        for (link, target) in &self.links {
            let (dir, name) = parent(top, skeleton, link)?;
            dir.symlink(target, &name)?;
        }
        for file in &self.files {
            let (dir, name) = parent(top, skeleton, file)?;
            drop(dir.create_file(&name, 0o644)?);
        }
        for inner in &self.inner {
            let (dir, name) = parent(top, skeleton, inner)?;
            match wear(&dir.open_dir(&name)?, inner) {
                // It was removed since it was listed; its place stays empty.
                Err(_) if !inner.exists() => {}
                done => done?,
            }
        }
        wear(skeleton, top)
    }

    /// The directories of which some files are shown as they are.
    pub(crate) fn with_files(&self) -> BTreeSet<PathBuf> {
        self.files.iter().filter_map(|file| Some(file.parent()?.to_owned())).collect()
    }
}

/// Where in the skeleton of `top` a path's name stands.
fn parent(top: &Path, skeleton: &Dir, path: &Path) -> Result<(Dir, Vec<u8>)> {
    let inside = path.strip_prefix(top).unwrap_or(path);
    let above = inside.parent().unwrap_or(Path::new(""));
    let name = inside.file_name().unwrap_or_default().as_bytes().to_vec();
    Ok((skeleton.open_dir(above.as_os_str().as_bytes())?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(name: &str) -> Entry {
        Entry { name: name.into(), kind: FileKind::Directory, target: Vec::new() }
    }

    fn machine(path: &Path) -> Option<Vec<Entry>> {
        let link = Entry { name: b"bin".into(), kind: FileKind::Symlink, target: b"usr/bin".into() };
        let file = |name: &str| Entry { name: name.into(), kind: FileKind::File, target: Vec::new() };
        match path.to_str().unwrap() {
            "/" => Some(vec![
                link,
                dir("etc"),
                dir("home"),
                dir("many"),
                dir("proc"),
                file("swap"),
                dir("usr"),
                dir("var"),
            ]),
            "/home" => Some(vec![dir("a"), dir("b")]),
            "/home/a" => Some(vec![file(".profile"), dir("mnt"), dir("work")]),
            "/many" => Some((0..300).map(|number| dir(&number.to_string())).collect()),
            _ => None,
        }
    }

    fn view(target: &str, place: &str, kind: ViewKind) -> View {
        View { target: target.into(), place: place.into(), kind }
    }

    #[test]
    fn directories_with_mounts_are_frames_and_the_others_views() {
        let mut seen = Seen {
            views: vec![view("/", "", ViewKind::Mount), view("/home/a/mnt", "views/1", ViewKind::Mount)],
            ..Seen::default()
        };
        let mounted = ["/", "/proc", "/home/a/mnt", "/many/7", "/var/x"].map(PathBuf::from);
        let frames = split(&mut seen, &mounted, &machine);
        let expected = [
            view("/", "", ViewKind::Frame),
            view("/etc", "views/2", ViewKind::Directory),
            view("/home/a/mnt", "views/1", ViewKind::Mount),
            view("/home/a/work", "views/3", ViewKind::Directory),
            view("/home/b", "views/4", ViewKind::Directory),
            view("/usr", "views/5", ViewKind::Directory),
        ];
        assert_eq!(seen.views, expected);
        let [(top, frame)] = frames.frames.iter().collect::<Vec<_>>()[..] else { panic!("{frames:?}") };
        assert_eq!((top.as_path(), frame.inner.clone()), (Path::new("/"), vec!["/home".into(), "/home/a".into()]));
        assert_eq!(frame.files, ["/home/a/.profile", "/swap"].map(PathBuf::from));
        assert_eq!(frame.links, [(PathBuf::from("/bin"), b"usr/bin".to_vec())]);
        let whole: Vec<_> =
            frames.whole.iter().map(|(path, why)| (path.to_str().unwrap(), why.contains("many"))).collect();
        assert_eq!(whole, [("/many", true), ("/var", false)]);
    }

    #[test]
    fn a_view_without_mounts_stays_one() {
        let mut seen = Seen { views: vec![view("/", "", ViewKind::Mount)], ..Seen::default() };
        let before = seen.clone();
        assert_eq!(split(&mut seen, &["/".into()], &machine), Frames::default());
        assert_eq!(seen, before);
    }
}
