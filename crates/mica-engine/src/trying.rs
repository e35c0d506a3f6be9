//! `try`: a command on a copy-on-write view of this machine's files, and what becomes of its changes.
//!
//! Every file system that the machine shows is shown to the command through a union of its own, with a place in the store
//! for what is written. What cannot be a lower (a single file that is mounted, a file system without the features that
//! overlayfs asks for) is shown read-only. The command has its own `/proc`, `/sys`, `/dev` and an empty `/run`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mica_core::image::ContainerConfig;
use mica_core::{Attrs, Change, ChangeKind, Layer as _, LayerEntry, RelPath, Stack};
use mica_layer::{DirLayer, Marks};
use mica_runtime::{Launch, Stdio, default_spec};
use mica_store::{Container, ContainerName, Lifetime, NewContainer};
use mica_sys::mount::{Mount as DetachedMount, Reach, SetAttrs};
use mica_sys::{Dir, Lock};
use mica_union::{Driver, Overlay, UnionDirs, UpperDirs};
use oci_spec::runtime::{Mount, Spec};

use crate::container::{Base, Known, Network, Settings, Tree, bind, host_file, host_name, settings_value};
use crate::diff::one_mount;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};

mod apply;
mod machine;

pub(crate) use crate::container::View;
pub use apply::{Applied, ApplyPlan};

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
    /// Paths that are not shown.
    pub masked: Vec<PathBuf>,
}

/// A try that is ready to run.
#[derive(Debug)]
pub struct Prepared {
    container: Option<Container>,
    /// Held while the try is not kept, so that it is swept should this process be killed.
    owner: Option<Lock>,
    settings: Settings,
    launch: Option<Launch>,
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
        let lease = self.store.lease()?;
        let seen = machine::visible(self.store.path(), self.store.run_root())?;
        let settings = Settings {
            base: Base::Machine { views: seen.views.clone() },
            config: ContainerConfig { cmd: Some(asked.command.clone()), ..ContainerConfig::default() },
            hostname: None,
            network: asked.network,
            tty: asked.tty,
            read_only: false,
            remove: asked.keep.is_none(),
        };
        let root = crate::container::own_attrs(Dir::open(Path::new("/"))?)?;
        let new = |name| -> Result<NewContainer> {
            Ok(NewContainer {
                id: None,
                name,
                lifetime: if asked.keep.is_some() { Lifetime::Kept } else { Lifetime::Volatile },
                image: None,
                layers: Vec::new(),
                root: root.clone(),
                settings: settings_value(&settings)?,
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
            owner: None,
            settings,
            launch: None,
            real: Real { network: asked.network == Network::Host, masked: seen.masked.clone(), ..Real::default() },
        };
        let launch = Self::own(&mut prepared).and_then(|()| self.launch(asked, &seen, &mut prepared));
        match launch {
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

    fn own(prepared: &mut Prepared) -> Result<()> {
        if let Some(container) = prepared.container.as_ref().filter(|_| prepared.settings.remove) {
            prepared.owner = Some(Self::answer_for(container)?);
        }
        Ok(())
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

    fn launch(&self, asked: &Try, seen: &machine::Seen, prepared: &mut Prepared) -> Result<Launch> {
        let Some(container) = &prepared.container else {
            return Err(Error::new(Kind::System, "the try has no container"));
        };
        let volatile = asked.keep.is_none();
        let mut root = None;
        let mut extra_mounts = Vec::new();
        for view in &seen.views {
            match self.show(container, view, volatile) {
                Ok(mount) if view.target == Path::new("/") => root = Some(mount),
                Ok(mount) => extra_mounts.push((mount.into_fd(), view.target.clone())),
                Err(error) if view.target == Path::new("/") => return Err(error.while_("show /")),
                // It was unmounted, and its place removed, since the machine's mounts were read.
                Err(_) if !view.target.exists() => {}
                Err(error) => {
                    prepared.real.read_only.push((view.target.clone(), error.to_string()));
                    extra_mounts.push((as_it_is(&view.target)?.into_fd(), view.target.clone()));
                }
            }
        }
        for path in &seen.single {
            prepared.real.read_only.push((path.clone(), "it is mounted by itself".to_owned()));
            extra_mounts.push((as_it_is(path)?.into_fd(), path.clone()));
        }
        let root = root.ok_or_else(|| Error::new(Kind::System, "this machine shows no /"))?;
        let tree = Tree::of(root)?;
        for path in &asked.share {
            let path = std::path::absolute(path)
                .map_err(|error| Error::because(Kind::Usage, format!("share {path:?}"), error))?;
            let mount = DetachedMount::clone_of(&path, Reach::Tree)
                .map_err(|error| Error::from(error).while_(format_args!("share {path:?}")))?;
            extra_mounts.push((mount.into_fd(), path.clone()));
            prepared.real.shared.push(path);
        }
        let spec = self.spec_of(asked, seen, &prepared.files, &tree.dir)?;
        drop(tree.dir);
        let stdio = if asked.tty { Stdio::Tty } else { Stdio::Inherit };
        Ok(Launch { spec, root: tree.root, stdio, extra_mounts })
    }

    /// One file system of the machine as a union.
    fn show(&self, container: &Container, view: &View, volatile: bool) -> Result<DetachedMount> {
        let dirs = if view.place.as_os_str().is_empty() {
            UpperDirs { upper: container.upper(), work: container.work(), volatile }
        } else {
            let views = container.dir().ensure_dir(b"views", 0o700)?;
            let name = view.place.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
            let home = views.ensure_dir(name, 0o700)?;
            let upper = home.ensure_dir(b"upper", 0o755)?;
            home.ensure_dir(b"work", 0o700)?;
            wear(&upper, &view.target)?;
            let path = container.path().join(&view.place);
            UpperDirs { upper: path.join("upper"), work: path.join("work"), volatile }
        };
        let dirs = UnionDirs { lowers: vec![view.target.clone()], upper: Some(dirs), marks: Marks::Trusted };
        Ok(DetachedMount::from(Overlay::default().mount(&dirs)?.into_fd()))
    }

    /// What each view's upper changed, with the paths that the machine has.
    pub(crate) fn diff_views(&self, known: &Known, views: &[View]) -> Result<Vec<Change>> {
        let mut all = Vec::new();
        for view in views {
            let Some(upper) = self.upper_of(known, view)? else { continue };
            let target = match one_mount(&view.target) {
                Ok(target) => target,
                // It was unmounted meanwhile, and nothing was written there.
                Err(_) if upper.read_dir()?.is_empty() => continue,
                Err(error) => return Err(error.while_(format_args!("compare with {}", view.target.display()))),
            };
            let prefix = RelPath::parse_loose(view.target.as_os_str().as_encoded_bytes())
                .map_err(|error| Error::because(Kind::System, "a mount has no usable path", error))?;
            if has_other_root(&upper, &target)? {
                all.push(Change { path: prefix.clone(), kind: ChangeKind::Changed });
            }
            let below = Stack::new(vec![DirLayer::new(target, Marks::Trusted)]);
            let upper = DirLayer::new(upper, Marks::Trusted);
            let changes = without_the_machines_own(mica_core::changes(&upper, &below)?, &upper, &below)?;
            all.extend(changes.into_iter().map(|change| Change { path: prefix.join_path(&change.path), ..change }));
        }
        all.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(all)
    }

    /// A view's upper; `None` for one that could not be shown.
    pub(crate) fn upper_of(&self, known: &Known, view: &View) -> Result<Option<Dir>> {
        if view.place.as_os_str().is_empty() {
            return Ok(Some(Dir::open(&known.container.upper())?));
        }
        Ok(known.container.dir().open_dir_if_there(&[view.place.as_os_str().as_encoded_bytes(), b"/upper"].concat())?)
    }

    fn spec_of(&self, asked: &Try, seen: &machine::Seen, files: &Path, root: &Dir) -> Result<Spec> {
        let mut spec = default_spec(asked.network.into());
        spec.set_hostname(host_name());
        let mounts = spec.mounts_mut().get_or_insert_default();
        // An empty /run with what programs expect to find there.
        mounts.push(tmpfs("/run", "mode=755"));
        mounts.push(tmpfs("/run/lock", "mode=1777"));
        for path in seen.masked.iter().filter(|path| !path.starts_with("/run")) {
            mounts.push(tmpfs(&path.to_string_lossy(), "mode=700,ro"));
        }
        if let Some(mount) = resolver(files)? {
            mounts.push(mount);
        }
        if let Some(process) = spec.process_mut() {
            process.set_args(Some(asked.command.clone()));
            process.set_env(Some(asked.env.clone()));
            let inside = asked.workdir.strip_prefix("/").unwrap_or(&asked.workdir);
            let shown = root.open_dir_in_root(inside.as_os_str().as_encoded_bytes()).is_ok();
            let hidden = seen.masked.iter().any(|path| asked.workdir.starts_with(path));
            process.set_cwd(if shown && !hidden { asked.workdir.clone() } else { PathBuf::from("/") });
        }
        Ok(spec)
    }
}

/// Gives an upper the look of the directory that it will stand over.
fn wear(upper: &Dir, target: &Path) -> Result<()> {
    let attrs = crate::container::own_attrs(Dir::open(target)?)?;
    upper.chown_self(attrs.uid, attrs.gid)?;
    upper.chmod_self(attrs.mode)?;
    for (name, value) in &attrs.xattrs {
        upper.set_own_xattr(name, value)?;
    }
    upper.utimens_self(mica_sys::Time { secs: attrs.mtime.secs, nanos: attrs.mtime.nanos })?;
    Ok(())
}

/// Drops what may be the machine's own doing, which goes on meanwhile: a directory that the upper has for the sake of
/// something inside it, in which nothing came or went, and of which the time alone differs.
fn without_the_machines_own(changes: Vec<Change>, upper: &DirLayer, below: &Stack<DirLayer>) -> Result<Vec<Change>> {
    let came_or_went: BTreeSet<RelPath> = changes
        .iter()
        .filter(|change| change.kind != ChangeKind::Changed)
        .filter_map(|change| change.path.parent())
        .collect();
    let mut kept = Vec::with_capacity(changes.len());
    for change in changes {
        let doubtful = change.kind == ChangeKind::Changed && !came_or_went.contains(&change.path);
        if !(doubtful && differs_in_time_alone(&change.path, upper, below)?) {
            kept.push(change);
        }
    }
    Ok(kept)
}

fn differs_in_time_alone(path: &RelPath, upper: &DirLayer, below: &Stack<DirLayer>) -> Result<bool> {
    let (Some(LayerEntry::Node(now)), Some(then)) = (upper.entry(path)?, below.resolve(path)?) else {
        return Ok(false);
    };
    let then = then.node;
    let both = now.kind.is_directory() && then.kind.is_directory();
    Ok(both && Attrs { mtime: then.attrs.mtime, ..now.attrs } == then.attrs)
}

/// Whether the directory that an upper stands for was changed itself, and not only what is in it.
fn has_other_root(upper: &Dir, target: &Dir) -> Result<bool> {
    let now = crate::container::own_attrs(upper.open_dir(b"")?)?;
    let then = crate::container::own_attrs(target.open_dir(b"")?)?;
    Ok(Attrs { mtime: then.mtime, ..now } != then)
}

/// What is at `path`, with all that is mounted below it, without a way to change it.
fn as_it_is(path: &Path) -> Result<DetachedMount> {
    let mount = DetachedMount::clone_of(path, Reach::One)?;
    mount.set_attrs(&SetAttrs::read_only(), Reach::One)?;
    Ok(mount)
}

fn tmpfs(target: &str, options: &str) -> Mount {
    let mut mount = Mount::default();
    let options = ["nosuid", "nodev"].into_iter().chain(options.split(',')).map(str::to_owned).collect();
    mount
        .set_destination(PathBuf::from(target))
        .set_typ(Some("tmpfs".to_owned()))
        .set_source(Some(PathBuf::from("tmpfs")))
        .set_options(Some(options));
    mount
}

/// Where `/etc/resolv.conf` leads into `/run`, which is masked, a copy of it is mounted at the same place.
fn resolver(files: &Path) -> Result<Option<Mount>> {
    let Ok(target) = std::fs::read_link("/etc/resolv.conf") else { return Ok(None) };
    let target = Path::new("/etc").join(target);
    let target = PathBuf::from(crate::change::directory("/", &target.to_string_lossy()));
    let in_run = target.starts_with("/run") || target.starts_with("/var/run");
    let Some(text) = host_file("/etc/resolv.conf").filter(|_| in_run) else { return Ok(None) };
    let parent = files.parent().unwrap_or(files);
    let home = Dir::open(parent.parent().unwrap_or(parent))?.ensure_dir(b"tries", 0o700)?;
    let name = files.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
    let mut file = home.ensure_dir(name, 0o700)?.create_file(b"resolv.conf", 0o644)?;
    file.write_whole(text.as_bytes())?;
    file.set_mode(0o644)?;
    Ok(Some(bind(files.join("resolv.conf"), target, &["bind", "ro"])))
}

fn remove_files(files: &Path) -> Result<()> {
    let name = files.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
    match files.parent().map(Dir::open) {
        Some(Ok(home)) => Ok(home.remove_tree(name)?),
        Some(Err(error)) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}
