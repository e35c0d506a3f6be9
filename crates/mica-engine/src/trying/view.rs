//! The view: the machine's file systems as the command sees them, and what else it is given.

use std::path::{Path, PathBuf};

use mica_runtime::{Launch, Stdio, default_spec};
use mica_store::Container;
use mica_sys::Dir;
use mica_sys::mount::{Mount as DetachedMount, Reach, SetAttrs};
use mica_union::fuse::{IdRow, Ids, OVERFLOW, Options};
use mica_union::{Driver, Overlay, UnionDirs, UpperDirs};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount, Spec};

use super::frame::{Frame, Frames};
use super::whole::Whole;
use super::{Prepared, Try, machine};
use crate::container::{Tree, View, ViewKind, bind, host_file, host_name};
use crate::drivers::FUSE;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};

impl Engine {
    pub(super) fn launch(
        &self,
        asked: &Try,
        seen: &machine::Seen,
        frames: &Frames,
        prepared: &mut Prepared,
    ) -> Result<Launch> {
        let Some(container) = &prepared.container else {
            return Err(Error::new(Kind::System, "the try has no container"));
        };
        let volatile = asked.keep.is_none();
        if seen.views.iter().any(|view| view.kind == ViewKind::Tree) {
            prepared.whole = Some(self.whole(container.id().as_str(), seen)?);
        }
        let whole = prepared.whole.as_ref().map(Whole::path);
        let mut root = None;
        let mut extra_mounts = Vec::new();
        let mut as_they_are = Vec::new();
        let real = &mut prepared.real;
        for view in &seen.views {
            match self.show(container, view, (frames, whole), volatile) {
                Ok(mount) if view.target == Path::new("/") => root = Some(mount),
                Ok(mount) => extra_mounts.push((mount.into_fd(), view.target.clone())),
                Err(error) if view.target == Path::new("/") => return Err(error.while_("show /")),
                Err(error) => {
                    // Of what the user may not look into there is nothing to be told.
                    if view.target.exists() && (self.standing.is_root() || error.kind() != Kind::Denied) {
                        real.read_only.push((view.target.clone(), error.to_string()));
                    }
                    as_they_are.push(&view.target);
                }
            }
        }
        real.read_only.extend(seen.single.iter().map(|path| (path.clone(), "it is mounted by itself".to_owned())));
        real.read_only.extend(frames.whole.iter().map(|(path, why)| (path.clone(), (*why).to_owned())));
        real.frames.extend(frames.frames.values().flat_map(Frame::with_files));
        as_they_are.extend(seen.single.iter().chain(frames.whole.iter().map(|(path, _)| path)));
        as_they_are.extend(frames.frames.values().flat_map(|frame| &frame.files));
        for path in as_they_are {
            match self.as_it_is(path) {
                Ok(mount) => extra_mounts.push((mount.into_fd(), path.clone())),
                // It went since it was seen, or is where the user cannot come.
                Err(_) if !path.exists() => {}
                Err(error) => return Err(error.while_(format_args!("show {}", path.display()))),
            }
        }
        // What lies in another comes after it.
        extra_mounts.sort_by(|(_, one), (_, other)| one.cmp(other));
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
        drop(tree.dir);
        let spec = self.spec_of(asked, seen, &prepared.files)?;
        let stdio = if asked.tty { Stdio::Tty } else { Stdio::Inherit };
        Ok(Launch { spec, root: tree.root, stdio, extra_mounts })
    }

    /// A part of the machine's files as a union.
    fn show(
        &self,
        container: &Container,
        view: &View,
        (frames, whole): (&Frames, Option<&Path>),
        volatile: bool,
    ) -> Result<DetachedMount> {
        let home = if view.place.as_os_str().is_empty() {
            container.dir().open_dir(b"")?
        } else {
            let views = container.dir().ensure_dir(b"views", 0o700)?;
            let name = view.place.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
            let home = views.ensure_dir(name, 0o700)?;
            let upper = home.ensure_dir(b"upper", 0o755)?;
            home.ensure_dir(b"work", 0o700)?;
            self.wear(&upper, &view.target)?;
            home
        };
        let path = container.path().join(&view.place);
        let lower = match frames.frames.get(&view.target) {
            Some(frame) => {
                home.mkdir(b"frame", 0o755)?;
                let wear = |dir: &Dir, path: &Path| self.wear(dir, path);
                frame.build(&view.target, &home.open_dir(b"frame")?, wear)?;
                path.join("frame")
            }
            None => whole.filter(|_| view.kind == ViewKind::Tree).unwrap_or(&view.target).to_owned(),
        };
        let upper = UpperDirs { upper: path.join("upper"), work: path.join("work"), volatile };
        let dirs =
            UnionDirs { lowers: vec![lower], upper: Some(upper), marks: self.store.marks(), ..UnionDirs::default() };
        if view.kind == ViewKind::Tree {
            return Ok(DetachedMount::from(self.fuse()?.with_options(as_root()).mount(&dirs)?.into_fd()));
        }
        let shown = Overlay::default().mount(&dirs);
        let refused = match shown {
            Ok(shown) => return Ok(DetachedMount::from(shown.into_fd())),
            Err(refused) => refused,
        };
        // A user's frame is a lower of a kind that overlayfs takes; what it refuses there is the user's in no union either.
        if self.standing.is_root()
            && self.choose_driver(Some(FUSE)).is_ok()
            && let Ok(shown) = self.fuse()?.mount(&dirs)
        {
            return Ok(DetachedMount::from(shown.into_fd()));
        }
        let error = Error::from(refused);
        if self.standing.is_root() || self.choose_driver(Some(FUSE)).is_ok() {
            return Err(error);
        }
        let other = "let this user open /dev/fuse, whose mode is usually 0666: our own union is shown by it";
        let hint = error.hint().map_or_else(|| other.to_owned(), |hint| format!("{hint}; or {other}"));
        Err(error.hinted(hint))
    }

    /// The machine's files as one directory, for the container of this ID.
    pub(super) fn whole(&self, id: &str, seen: &machine::Seen) -> Result<Whole> {
        let name = format!("{id}-{}", std::process::id());
        Whole::show(&self.machines(), &name, seen)
    }

    /// Where [`Engine::whole`] mounts.
    pub(crate) fn machines(&self) -> PathBuf {
        self.store.run_root().join("machines")
    }

    /// Gives a directory of ours the look of the one that it will stand for. What an ordinary user makes is the user's own.
    fn wear(&self, dir: &Dir, target: &Path) -> Result<()> {
        let attrs = crate::container::own_attrs(Dir::open(target)?, self.store.marks())?;
        if self.standing.is_root() {
            dir.chown_self(attrs.uid, attrs.gid)?;
        }
        dir.chmod_self(attrs.mode)?;
        if self.standing.is_root() {
            for (name, value) in &attrs.xattrs {
                dir.set_own_xattr(name, value)?;
            }
        }
        Ok(dir.utimens_self(mica_sys::Time { secs: attrs.mtime.secs, nanos: attrs.mtime.nanos })?)
    }

    /// What is at `path` without a way to change it. In a user namespace it comes with all that is mounted below it.
    fn as_it_is(&self, path: &Path) -> Result<DetachedMount> {
        let reach = if self.standing.is_root() { Reach::One } else { Reach::Tree };
        let mount = DetachedMount::clone_of(path, reach)?;
        mount.set_attrs(&SetAttrs::read_only(), reach)?;
        Ok(mount)
    }

    fn spec_of(&self, asked: &Try, seen: &machine::Seen, files: &Path) -> Result<Spec> {
        let mut spec = default_spec(asked.network.into());
        spec.set_hostname(host_name());
        let mounts = spec.mounts_mut().get_or_insert_default();
        if self.standing.is_outer_root() {
            // Root may write in /proc whatever namespace it is in, so parts of it are covered; and the kernel mounts none for a try in this try
            // where none is whole ("VFS: Mount too revealing"). One is, where nobody comes to it: what is mounted next lies over it.
            mounts.push(tmpfs("/run", "mode=700"));
            mounts.push(whole_proc("/run/proc"));
        }
        // An empty /run with what programs expect to find there.
        mounts.push(tmpfs("/run", "mode=755"));
        mounts.push(tmpfs("/run/lock", "mode=1777"));
        for path in seen.masked.iter().filter(|path| !path.starts_with("/run")) {
            mounts.push(tmpfs(&path.to_string_lossy(), "mode=700,ro"));
        }
        if let Some(mount) = resolver(files)? {
            mounts.push(mount);
        }
        if let Some(linux) = spec.linux_mut() {
            linux.devices_mut().get_or_insert_default().extend(fuse_device());
            if !self.standing.is_outer_root() {
                // The user has no other rights there than outside, and a try in this try needs a whole /proc.
                linux.set_masked_paths(None).set_readonly_paths(None);
            }
        }
        if let Some(process) = spec.process_mut() {
            process.set_args(Some(asked.command.clone()));
            process.set_env(Some(asked.env.clone()));
            let hidden = seen.masked.iter().map(PathBuf::as_path).chain(machine::OWN.map(Path::new));
            let shown = asked.workdir.is_dir() && !hidden.into_iter().any(|path| asked.workdir.starts_with(path));
            process.set_cwd(if shown { asked.workdir.clone() } else { PathBuf::from("/") });
        }
        Ok(spec)
    }
}

/// Shows what the user's namespace cannot name the owner of as root's, which the command is; that is what most of it is.
fn as_root() -> Options {
    let rows = || {
        let same = |from: u32, count: u32| IdRow { shown: from, stored: from, count };
        let others = IdRow { shown: 0, stored: OVERFLOW, count: 1 };
        vec![same(0, OVERFLOW), same(OVERFLOW + 1, u32::MAX - OVERFLOW - 1), others]
    };
    let ids = Ids { uids: rows(), gids: rows(), ..Ids::default() };
    Options { ids, ..Options::new(UnionDirs::default()) }
}

/// The machine's `/dev/fuse`, by which a try in a try has a union of its own.
fn fuse_device() -> Option<LinuxDevice> {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let path = Path::new("/dev/fuse");
    let found = std::fs::symlink_metadata(path).ok().filter(|found| found.file_type().is_char_device())?;
    let mut device = LinuxDevice::default();
    device
        .set_path(path.to_owned())
        .set_typ(LinuxDeviceType::C)
        .set_major(10)
        .set_minor(229)
        .set_file_mode(Some(found.mode() & 0o777));
    Some(device)
}

fn whole_proc(target: &str) -> Mount {
    let mut mount = Mount::default();
    let options = ["nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
    mount
        .set_destination(PathBuf::from(target))
        .set_typ(Some("proc".to_owned()))
        .set_source(Some(PathBuf::from("proc")))
        .set_options(Some(options));
    mount
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
