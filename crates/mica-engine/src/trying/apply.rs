//! The changes of a kept `try` come onto the machine.

use std::path::PathBuf;

use mica_core::{Change, ChangeKind, RelPath, Stack};
use mica_layer::{Apply, DirLayer, Mounts, Over, Reach, apply_onto, leads_below, spell_out};
use mica_store::Lease;
use mica_sys::Dir;

use crate::container::{Base, Known, View, ViewKind};
use crate::diff::one_mount;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::trying::changes::Lowered;
use crate::trying::machine;

/// What applying would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyPlan {
    /// All changes.
    pub changes: Vec<Change>,
    /// Those of their paths that changed on the machine since the try began.
    pub changed_since: Vec<RelPath>,
}

/// What was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// How many paths were made, changed or removed.
    pub changes: u64,
}

impl Engine {
    /// Says what applying the kept try `word` would do.
    ///
    /// # Errors
    /// No such try.
    pub fn plan_apply(&self, word: &str) -> Result<ApplyPlan> {
        let (known, views) = self.kept_try(word)?;
        let changes = self.diff_views(&known, &views)?;
        let made = known.container.record().created.parse::<jiff::Timestamp>();
        let made = made.map_err(|error| Error::because(Kind::Corrupt, "the record of the try has no time", error))?;
        let mut changed_since = Vec::new();
        for change in changes.iter().filter(|change| change.kind != ChangeKind::Added || is_there(&change.path)) {
            if changed_after(&change.path, made.as_nanosecond()) {
                changed_since.push(change.path.clone());
            }
        }
        Ok(ApplyPlan { changes, changed_since })
    }

    /// Brings the changes of the kept try `word` onto the machine. The try stays kept.
    ///
    /// # Errors
    /// A file system of the try that is not mounted any more, before anything is touched; a change that is refused,
    /// with what had been applied until then in the message.
    pub fn apply(&self, word: &str) -> Result<Applied> {
        let (known, views) = self.kept_try(word)?;
        let mounted = machine::visible(self.store.path(), self.store.run_root())?.views;
        let mut work: Vec<(&View, Dir, Dir)> = Vec::new();
        for view in &views {
            let Some(upper) = self.upper_of(&known, view)? else { continue };
            let there = match view.kind {
                ViewKind::Mount => mounted.iter().any(|here| here.target == view.target),
                ViewKind::Directory | ViewKind::Frame | ViewKind::Tree => view.target.is_dir(),
            };
            if !there {
                if upper.read_dir()?.is_empty() {
                    continue;
                }
                let what = format!("{word} changed files on {}, which is not mounted any more", view.target.display());
                return Err(Error::new(Kind::Conflict, what).hinted("mount it again; nothing was applied"));
            }
            let target = match view.kind {
                // One mount alone: nothing that is mounted below must be written through.
                ViewKind::Mount | ViewKind::Directory => one_mount(&view.target),
                // Its upper holds nothing of what is mounted in it: the places of that could be neither removed nor renamed.
                ViewKind::Frame => Dir::open(&view.target).map_err(Error::from),
                // Its upper holds what was changed in them too.
                ViewKind::Tree => Dir::open(&view.target).map_err(Error::from),
            };
            match target {
                Ok(target) => work.push((view, upper, target)),
                // It could not be shown either.
                Err(_) if upper.read_dir()?.is_empty() => {}
                Err(error) => return Err(error.while_(format_args!("apply to {}", view.target.display()))),
            }
        }
        let mut applied = Applied::default();
        let lease = self.store.lease()?;
        for (number, (view, upper, target)) in work.iter().enumerate() {
            let path = &view.target;
            let upper = &self.plain_upper(&known, view, upper, &lease, number)?;
            let root = if self.has_other_root(upper, target)? {
                Some(crate::container::own_attrs(target.open_dir(b"")?, self.store.marks())?)
            } else {
                None
            };
            let mounts = if view.kind == ViewKind::Tree { Mounts::Entered } else { Mounts::Refused };
            let how = Apply {
                marks: self.store.marks(),
                root,
                mounts,
                ability: self.store.ability().clone(),
                others: self.others(&known),
            };
            let done = apply_onto(upper, &how, target, &mut |_| {});
            let done = done.map_err(|error| Error::from(error).while_(format_args!("apply to {}", path.display())))?;
            applied.changes += done.changes;
        }
        lease.finish();
        Ok(applied)
    }

    /// A view's upper as one that can be brought onto what it stands on, while that changes: where its marks lead below, one that says all itself.
    fn plain_upper(&self, known: &Known, view: &View, upper: &Dir, lease: &Lease<'_>, number: usize) -> Result<Dir> {
        let marks = self.store.marks();
        if !leads_below(upper, marks)? {
            return Ok(upper.open_dir(b"")?);
        }
        let Lowered { dir, whole } = self.below_of(known, view)?;
        let below = Stack::new(vec![DirLayer::new(dir, marks)]);
        let over = Over { below: &below, ability: self.store.ability(), reach: Reach::CopiedUp };
        let place = Dir::open(&lease.staging_path()?)?.ensure_dir(format!("plain{number}").as_bytes(), 0o700)?;
        let plain = spell_out(upper, marks, over, &place)?;
        drop(whole);
        Ok(plain)
    }

    fn kept_try(&self, word: &str) -> Result<(Known, Vec<View>)> {
        let known = self.find_container(word)?;
        match &known.settings.base {
            Base::Machine { views } => {
                let views = views.clone();
                Ok((known, views))
            }
            _ => Err(Error::new(Kind::Usage, format!("{word} is a container, not a kept try"))
                .hinted(format!("`mica commit {word}` makes an image of its changes"))),
        }
    }
}

fn on_disk(path: &RelPath) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from("/").join(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

fn is_there(path: &RelPath) -> bool {
    std::fs::symlink_metadata(on_disk(path)).is_ok()
}

/// Whether a file's content or attributes changed after a moment; a directory changes with every name in it and is not asked.
fn changed_after(path: &RelPath, moment_ns: i128) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::symlink_metadata(on_disk(path)).is_ok_and(|metadata| {
        let changed_ns = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
        !metadata.is_dir() && changed_ns > moment_ns
    })
}
