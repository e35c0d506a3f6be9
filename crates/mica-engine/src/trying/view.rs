//! The view: the machine's file systems as the command sees them, and what else it is given.

use std::path::{Path, PathBuf};

use mica_layer::Marks;
use mica_runtime::{Launch, Stdio, default_spec};
use mica_store::Container;
use mica_sys::Dir;
use mica_sys::mount::{Mount as DetachedMount, Reach, SetAttrs};
use mica_union::{Driver, Overlay, UnionDirs, UpperDirs};
use oci_spec::runtime::{Mount, Spec};

use super::{Prepared, Try, machine};
use crate::container::{Tree, View, bind, host_file, host_name};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};

impl Engine {
    pub(super) fn launch(&self, asked: &Try, seen: &machine::Seen, prepared: &mut Prepared) -> Result<Launch> {
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
            wear(&upper, &view.target, self.store.marks())?;
            let path = container.path().join(&view.place);
            UpperDirs { upper: path.join("upper"), work: path.join("work"), volatile }
        };
        let dirs = UnionDirs { lowers: vec![view.target.clone()], upper: Some(dirs), marks: self.store.marks() };
        Ok(DetachedMount::from(Overlay::default().mount(&dirs)?.into_fd()))
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
fn wear(upper: &Dir, target: &Path, marks: Marks) -> Result<()> {
    let attrs = crate::container::own_attrs(Dir::open(target)?, marks)?;
    upper.chown_self(attrs.uid, attrs.gid)?;
    upper.chmod_self(attrs.mode)?;
    for (name, value) in &attrs.xattrs {
        upper.set_own_xattr(name, value)?;
    }
    upper.utimens_self(mica_sys::Time { secs: attrs.mtime.secs, nanos: attrs.mtime.nanos })?;
    Ok(())
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
