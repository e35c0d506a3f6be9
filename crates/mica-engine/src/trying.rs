//! `try`: a command on a copy-on-write view of this machine's files, and what becomes of its changes.
//!
//! Under root every file system that the machine shows is shown to the command through a union of its own, with a place in the store
//! for what is written: the kernel's overlayfs, and where that refuses the FUSE union. What cannot be a lower (a single file that is mounted) is shown
//! read-only. An ordinary user has one FUSE union of all of them, and where that does not work unions of parts ([`frame`], [`own`]). The command
//! has its own `/proc`, `/sys`, `/dev` and an empty `/run`.

use std::path::{Path, PathBuf};

use mica_core::image::ContainerConfig;
use mica_core::{Attrs, Change};
use mica_runtime::Launch;
use mica_store::{Container, ContainerName, Lifetime, NewContainer};
use mica_sys::Dir;

use crate::container::{Base, Known, Network, Settings, View, ViewKind, settings_value};
use crate::drivers::FUSE;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::trying::frame::Frames;
use crate::trying::whole::Whole;

mod apply;
mod changes;
mod frame;
mod machine;
mod own;
mod view;
mod whole;

pub use apply::{Applied, ApplyPlan};
pub(crate) use whole::sweep_places;

/// What to try.
#[derive(Debug, Clone)]
pub struct Try {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Its whole environment, `NAME=value`.
    pub env: Vec<String>,
    /// Where it starts; `/` where the view does not have it.
    pub workdir: PathBuf,
    /// Paths that it may change for real.
    pub share: Vec<PathBuf>,
    /// Its network.
    pub network: Network,
    /// A terminal of its own.
    pub tty: bool,
    /// The name under which its changes are kept.
    pub keep: Option<String>,
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The command's exit status.
    pub status: u8,
    /// What it changed.
    pub changes: Vec<Change>,
}

/// What a view does not cover, to be told before the command runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Real {
    /// The network is the machine's.
    pub network: bool,
    /// Paths that are changed for real.
    pub shared: Vec<PathBuf>,
    /// Paths that are shown as they are and cannot be changed, and why.
    pub read_only: Vec<(PathBuf, String)>,
    /// Directories whose own files, not those deeper, are shown as they are and cannot be changed: something is mounted in them.
    pub frames: Vec<PathBuf>,
    /// Paths that are not shown.
    pub masked: Vec<PathBuf>,
    /// Files of others than the user are shown and cannot be changed.
    pub own_files_alone: bool,
    /// Files of others than the user show as root's, which the command is in its view: it may change what the user may read.
    pub as_root: bool,
}

/// A try that is ready to run.
#[derive(Debug)]
pub struct Prepared {
    container: Option<Container>,
    settings: Settings,
    launch: Option<Launch>,
    /// What its one union stands on.
    whole: Option<Whole>,
    /// What it does not cover.
    pub real: Real,
    files: PathBuf,
}

impl Engine {
    /// Makes the view and the empty layer of a try.
    ///
    /// # Errors
    /// A name that is taken; a shared path that is not there; what keeps a file system of the machine from being shown.
    /// Nothing is left then.
    pub fn prepare_try(&self, asked: &Try) -> Result<Prepared> {
        self.sweep_volatile();
        let lease = self.store.lease()?;
        let mut seen = machine::visible(self.store.path(), self.store.run_root())?;
        let one_union = !self.standing.is_root() && self.choose_driver(Some(FUSE)).is_ok();
        let frames = if one_union {
            seen.views = vec![View { target: "/".into(), place: PathBuf::new(), kind: ViewKind::Tree }];
            seen.single.clear();
            Frames::default()
        } else if self.standing.is_root() {
            Frames::default()
        } else {
            let frames = frame::split(&mut seen, &machine::mounted()?, &frame::entries);
            own::split(&mut seen, &own::places(asked), &own::Whose::of);
            frames
        };
        let settings = Settings {
            base: Base::Machine { views: seen.views.clone() },
            config: ContainerConfig { cmd: Some(asked.command.clone()), ..ContainerConfig::default() },
            hostname: None,
            network: asked.network,
            tty: asked.tty,
            read_only: false,
            remove: asked.keep.is_none(),
            driver: None,
        };
        let mut root = crate::container::own_attrs(Dir::open(Path::new("/"))?, self.store.marks())?;
        if !self.standing.is_root() {
            root = Attrs { uid: 0, gid: 0, xattrs: Default::default(), ..root };
        }
        let new = |name| -> Result<NewContainer> {
            Ok(NewContainer {
                id: None,
                name,
                lifetime: if asked.keep.is_some() { Lifetime::Kept } else { Lifetime::Volatile },
                image: None,
                layers: Vec::new(),
                root: root.clone(),
                settings: settings_value(&settings)?,
                // It is swept should this process be killed.
                is_answered_for: asked.keep.is_none(),
            })
        };
        let container = match &asked.keep {
            Some(name) => self.store.create_container(&lease, new(ContainerName::new(name)?)?)?,
            None => crate::container::with_free_name(|name| Ok(self.store.create_container(&lease, new(name)?)?))?,
        };
        lease.finish();
        let mut prepared = Prepared {
            files: self.store.run_root().join("tries").join(container.id().as_str()),
            container: Some(container),
            settings,
            launch: None,
            whole: None,
            real: Real {
                network: asked.network == Network::Host,
                masked: seen.masked.clone(),
                own_files_alone: !self.standing.is_root() && !one_union,
                as_root: one_union && !self.standing.knows_everyone(),
                ..Real::default()
            },
        };
        match self.launch(asked, &seen, &frames, &mut prepared) {
            Ok(launch) => {
                prepared.launch = Some(launch);
                Ok(prepared)
            }
            Err(error) => {
                // ignored: why there is no try says more than why its empty layer could not be removed.
                match self.forget(&mut prepared) {
                    Ok(()) | Err(_) => Err(error),
                }
            }
        }
    }

    /// Runs the command of a prepared try to its end, tells what it changed, and drops the changes unless they are kept.
    ///
    /// # Errors
    /// What keeps the command from being run; nothing is kept then, unless there is something to be kept.
    pub fn run_try(&self, mut prepared: Prepared) -> Result<Tried> {
        let tried = self.run_prepared(&mut prepared);
        if prepared.settings.remove || (tried.is_err() && self.is_untouched(&prepared)?) {
            let forgotten = self.forget(&mut prepared);
            return tried.and_then(|tried| forgotten.map(|()| tried));
        }
        tried
    }

    /// Whether nothing was written through any view.
    fn is_untouched(&self, prepared: &Prepared) -> Result<bool> {
        let (Some(container), Base::Machine { views }) = (&prepared.container, &prepared.settings.base) else {
            return Ok(true);
        };
        let Some(container) = self.store.container(container.id())? else { return Ok(true) };
        let known = Known::read(container)?;
        for view in views {
            if let Some(upper) = self.upper_of(&known, view)?
                && !upper.read_dir()?.is_empty()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn run_prepared(&self, prepared: &mut Prepared) -> Result<Tried> {
        let (Some(container), Some(launch)) = (&prepared.container, prepared.launch.take()) else {
            return Err(Error::new(Kind::System, "this try was run before"));
        };
        let locked = self.store.lock_container(container.id())?;
        let ended = self.watch(locked, launch);
        remove_files(&prepared.files)?;
        let known = match self.store.container(container.id())? {
            Some(container) => Known::read(container)?,
            None => return Err(Error::new(Kind::Conflict, "the try was removed while it ran")),
        };
        let status = ended?.status;
        let Base::Machine { views } = &known.settings.base else {
            return Err(Error::new(Kind::Corrupt, "the record of the try is not one of a try"));
        };
        Ok(Tried { status, changes: self.diff_views(&known, views)? })
    }

    fn forget(&self, prepared: &mut Prepared) -> Result<()> {
        prepared.launch = None;
        remove_files(&prepared.files)?;
        match prepared.container.take() {
            Some(container) => self.discard(container.id()),
            None => Ok(()),
        }
    }
}

fn remove_files(files: &Path) -> Result<()> {
    let name = files.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
    match files.parent().map(Dir::open) {
        Some(Ok(home)) => Ok(home.remove_tree(name)?),
        Some(Err(error)) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}
