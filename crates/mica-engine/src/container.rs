//! Containers: what they are made of, and how one is made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mica_core::image::ContainerConfig;
use mica_core::{Attrs, DiffId};
use mica_layer::Marks;
use mica_store::{Container, ContainerId, ContainerName, Lifetime, NewContainer, StoreError};
use mica_union::{UnionDirs, UpperDirs};
use serde::{Deserialize, Serialize};

use crate::change::set_env;
use crate::drivers::OVERLAY;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::find::{FoundImage, nearest};
use crate::manifest::config_of;

mod list;
mod names;
mod owner;
mod remove;
mod scaffold;
mod spec;
mod start;
mod surroundings;

pub use list::{ContainerSummary, Life};
pub(crate) use names::with_free_name;
pub(crate) use spec::bind;
pub use start::Ended;
pub(crate) use start::{Tree, host_name};
pub(crate) use surroundings::host_file;

/// The network of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Only loopback.
    None,
    /// The machine's own.
    Host,
}

/// What a new container is to be.
#[derive(Debug, Clone)]
pub struct Create {
    /// A reference, an ID or its beginning, or `dir:PATH`.
    pub image: String,
    /// The command instead of the image's.
    pub command: Vec<String>,
    /// Its name; two words otherwise.
    pub name: Option<String>,
    /// `NAME=value`, over the image's.
    pub env: Vec<String>,
    /// Where the command starts.
    pub workdir: Option<String>,
    /// As whom.
    pub user: Option<String>,
    /// Its host name.
    pub hostname: Option<String>,
    /// Instead of the image's entrypoint; empty for none.
    pub entrypoint: Option<String>,
    /// Its network.
    pub network: Network,
    /// A terminal of its own.
    pub tty: bool,
    /// Its tree cannot be written.
    pub read_only: bool,
    /// How its stack is shown, one of [`DRIVERS`](crate::DRIVERS); without one, the first that works.
    pub driver: Option<String>,
    /// It is removed when it ends, and need not outlive the machine's uptime.
    pub remove: bool,
}

/// What the engine keeps in a container's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Settings {
    /// What it stands on.
    pub(crate) base: Base,
    /// What it runs: the image's config with what was asked for over it.
    #[serde(default)]
    pub(crate) config: ContainerConfig,
    pub(crate) hostname: Option<String>,
    pub(crate) network: Network,
    #[serde(default)]
    pub(crate) tty: bool,
    #[serde(default)]
    pub(crate) read_only: bool,
    #[serde(default)]
    pub(crate) remove: bool,
    /// What shows its stack; a container that was made before there was a choice has overlayfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) driver: Option<String>,
}

impl Settings {
    /// The name of its driver.
    pub(crate) fn driver(&self) -> &str {
        self.driver.as_deref().unwrap_or(OVERLAY)
    }
}

/// What a container stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub(crate) enum Base {
    /// An image. The first of the record's layers is the [`scaffold`].
    Image {
        /// The name it was asked for by.
        asked: String,
    },
    /// A live directory, over the [`scaffold`].
    Directory { path: PathBuf },
    /// This machine's own files.
    Machine { views: Vec<View> },
}

/// One file system of the machine in a `try`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct View {
    /// Where it is mounted.
    pub(crate) target: PathBuf,
    /// The directory in the container's own that has its `upper` and `work`; empty for the container's own.
    pub(crate) place: PathBuf,
    #[serde(default)]
    pub(crate) kind: ViewKind,
}

/// What of a file system a view shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ViewKind {
    /// A mount, without what is mounted in it.
    #[default]
    Mount,
    /// A directory in which nothing is mounted.
    Directory,
    /// The skeleton of a directory in which something is, kept beside its upper as `frame`.
    Frame,
    /// A directory with all that is mounted in it.
    Tree,
}

/// A container with its settings.
pub(crate) struct Known {
    pub(crate) container: Container,
    pub(crate) settings: Settings,
}

impl Known {
    pub(crate) fn read(container: Container) -> Result<Self> {
        let settings = serde_json::from_value(container.record().settings.clone()).map_err(|error| {
            Error::because(Kind::Corrupt, format!("settings of container {}", container.id().short()), error)
        })?;
        Ok(Self { container, settings })
    }

    /// The image's layers, base first, without the scaffold.
    pub(crate) fn image_layers(&self) -> &[DiffId] {
        match self.settings.base {
            Base::Image { .. } => self.container.record().layers.get(1..).unwrap_or_default(),
            Base::Directory { .. } | Base::Machine { .. } => &[],
        }
    }
}

/// What a container will run, decided from the image and from what was asked for.
fn merge(image: &ContainerConfig, create: &Create) -> Result<ContainerConfig> {
    let mut config = image.clone();
    for item in &create.env {
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        if name.is_empty() {
            return Err(Error::new(Kind::Usage, format!("variable {item:?} has no name")).hinted("--env NAME=value"));
        }
        set_env(&mut config.env, name, value);
    }
    if let Some(entrypoint) = &create.entrypoint {
        config.entrypoint = (!entrypoint.is_empty()).then(|| vec![entrypoint.clone()]);
        config.cmd = None;
    }
    if !create.command.is_empty() {
        config.cmd = Some(create.command.clone());
    }
    if let Some(user) = &create.user {
        config.user.clone_from(user);
    }
    if let Some(workdir) = &create.workdir {
        if !workdir.starts_with('/') {
            return Err(Error::new(Kind::Usage, format!("working directory {workdir:?} is not absolute")));
        }
        config.working_dir.clone_from(workdir);
    }
    if arguments(&config).is_empty() {
        return Err(Error::new(Kind::Usage, format!("{} says no command to run", create.image))
            .hinted(format!("name one: mica run {} COMMAND", create.image)));
    }
    Ok(config)
}

/// An image that the driver could not show should not become a container that cannot start.
fn refuse_too_deep(image: &str, layers: &[DiffId], driver: &str) -> Result<()> {
    let (count, limit) = (layers.iter().collect::<BTreeSet<_>>().len(), mica_union::overlay::MAX_LOWERS);
    if driver != OVERLAY || count <= limit {
        return Ok(());
    }
    let message = format!("image {image} has {count} layers, the most that overlayfs shows is {limit}");
    Err(Error::new(Kind::Unsupported, message)
        .hinted("--driver fuse shows more, --driver flat any number as a copy; fewer layers start faster"))
}

/// The whole command line: entrypoint and command.
pub(crate) fn arguments(config: &ContainerConfig) -> Vec<String> {
    config.entrypoint.iter().chain(&config.cmd).flatten().cloned().collect()
}

impl Engine {
    /// Makes a container without starting it.
    ///
    /// # Errors
    /// No such image or directory; a name that is taken; nothing to run. Nothing is left then.
    pub fn create(&self, create: &Create) -> Result<ContainerId> {
        Ok(self.create_known(create, false)?.container.id().clone())
    }

    /// Makes a container. `runs_now`: this very command starts it, and removes it where that is asked for.
    pub(crate) fn create_known(&self, create: &Create, runs_now: bool) -> Result<Known> {
        self.sweep_volatile();
        let lease = self.store.lease()?;
        let (base, image, mut layers, root, defaults) = match create.image.strip_prefix("dir:") {
            Some(path) => {
                let (path, root) = live_directory(Path::new(path), self.store.marks())?;
                (Base::Directory { path }, None, Vec::new(), Some(root), ContainerConfig::default())
            }
            None => {
                let FoundImage { image, .. } = self.find_image(&create.image)?;
                let (_, config) = config_of(&self.store, &image.id)?;
                (Base::Image { asked: create.image.clone() }, Some(image.id), image.layers, None, config.config)
            }
        };
        let config = merge(&defaults, create)?;
        if let Some(hostname) = &create.hostname {
            check_hostname(hostname)?;
        }
        let name = create.name.as_deref().map(ContainerName::new).transpose()?;
        if let Some(name) = &name {
            self.check_free(name)?;
        }
        let driver = self.choose_driver(create.driver.as_deref())?;
        refuse_too_deep(&create.image, &layers, &driver)?;
        // Last, since the scaffold and what a chain needs are made where they are missing.
        layers.insert(0, self.scaffold(&lease)?);
        let root = match root {
            Some(root) => root,
            None => self.store.lowers(&layers)?.root,
        };
        let settings = Settings {
            base,
            config,
            hostname: create.hostname.clone(),
            network: create.network,
            tty: create.tty,
            read_only: create.read_only,
            remove: create.remove,
            driver: Some(driver),
        };
        let lifetime = if create.remove { Lifetime::Volatile } else { Lifetime::Kept };
        let new = |name| -> Result<NewContainer> {
            Ok(NewContainer {
                id: None,
                name,
                lifetime,
                image,
                layers: layers.clone(),
                root: root.clone(),
                settings: settings_value(&settings)?,
                is_answered_for: runs_now && create.remove,
            })
        };
        let container = match name {
            Some(name) => self.store.create_container(&lease, new(name)?)?,
            None => names::with_free_name(|name| Ok(self.store.create_container(&lease, new(name)?)?))?,
        };
        lease.finish();
        Ok(Known { container, settings })
    }

    /// Says early that a name is taken; whether it is free is decided when it is claimed.
    fn check_free(&self, name: &ContainerName) -> Result<()> {
        match self.store.find_container(name.as_str()) {
            Ok(Some(owner)) if owner.record().name == *name => {
                Err(StoreError::NameTaken { name: name.as_str().to_owned(), by: owner.id().to_string() }.into())
            }
            _ => Ok(()),
        }
    }

    /// The container that `word` names: a name, an ID or the beginning of one.
    pub(crate) fn find_container(&self, word: &str) -> Result<Known> {
        match self.store.find_container(word)? {
            Some(container) => Known::read(container),
            None => {
                let error = Error::new(Kind::NotFound, format!("no such container: {word}"));
                let names = self.store.containers()?.into_iter().map(|record| record.name.as_str().to_owned());
                Err(match nearest(word, names) {
                    Some(near) => error.hinted(format!("did you mean {near}?")),
                    None => error.hinted("`mica ps -a` lists those that are here"),
                })
            }
        }
    }

    /// The directories of a container's union, whose upper reaches the disk when asked to.
    pub(crate) fn union_dirs(&self, known: &Known) -> Result<UnionDirs> {
        let lowers = self.store.lowers(&known.container.record().layers)?;
        let (mut lowers, indexes) = (lowers.dirs, lowers.indexes);
        if let Base::Directory { path } = &known.settings.base {
            // overlayfs refuses a lower inside of another: a directory that the store lies in does without the scaffold.
            lowers.retain(|lower| !lower.starts_with(path));
            lowers.insert(0, path.clone());
        }
        Ok(UnionDirs {
            lowers,
            upper: Some(UpperDirs { upper: known.container.upper(), work: known.container.work(), volatile: false }),
            marks: self.store.marks(),
            indexes,
            ..UnionDirs::default()
        })
    }
}

pub(crate) fn settings_value(settings: &Settings) -> Result<serde_json::Value> {
    serde_json::to_value(settings)
        .map_err(|error| Error::because(Kind::System, "write the container's settings", error))
}

/// The path of a live directory, absolute and without symlinks, and what its root looks like.
fn live_directory(path: &Path, marks: Marks) -> Result<(PathBuf, Attrs)> {
    let attempt = || format!("use the directory {path:?} as an image");
    let dir = mica_sys::Dir::open(path).map_err(|error| Error::from(error).while_(attempt()))?;
    let absolute = path_of(&dir).map_err(|error| Error::because(Kind::System, attempt(), error))?;
    if absolute.to_str().is_none() {
        return Err(Error::new(Kind::Usage, format!("{}: its path is not UTF-8", attempt())));
    }
    Ok((absolute, own_attrs(dir, marks)?))
}

/// Where a directory is, absolute and without symlinks.
pub(crate) fn path_of(dir: &mica_sys::Dir) -> std::io::Result<PathBuf> {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    std::fs::read_link(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()))
}

/// The attributes of a live directory, as a layer would state them.
pub(crate) fn own_attrs(dir: mica_sys::Dir, marks: Marks) -> Result<Attrs> {
    use mica_core::{Layer as _, RelPath};
    let layer = mica_layer::DirLayer::new(dir, marks);
    let root = layer.entry(&RelPath::root())?;
    Ok(root.and_then(|entry| entry.node().map(|node| node.attrs.clone())).unwrap_or_else(Attrs::implicit_directory))
}

fn check_hostname(name: &str) -> Result<()> {
    let fits = (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        && !name.starts_with('-');
    if fits {
        Ok(())
    } else {
        Err(Error::new(Kind::Usage, format!("{name:?} is no host name: 1 to 63 of a-z A-Z 0-9 . -")))
    }
}

#[cfg(test)]
mod tests;
