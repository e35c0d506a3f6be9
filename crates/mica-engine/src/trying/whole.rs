//! All of this machine's files as one directory, for a union that may go from one file system to another.
//!
//! An ordinary user's namespace can copy no mount without what is mounted in it (mount_namespaces(7), "locked"): so all of them are copied, read-only, and
//! what is no file of the machine (the kernel's interfaces, what the command gets anew, the store) is covered by empty directories.

use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
use std::path::{Path, PathBuf};

use mica_sys::Dir;
use mica_sys::mount::{
    FsContext, Mount, MountAttrFlags, MountError, Propagation, Reach, SetAttrs, UnmountFlags, unmount,
};

use super::machine::Seen;
use crate::error::{Error, Kind, Result};

/// The machine's files, mounted until this is dropped.
#[derive(Debug)]
pub(crate) struct Whole {
    path: PathBuf,
    /// What it is mounted at, locked.
    _place: Dir,
}

impl Whole {
    /// Mounts them at the directory `name` of `home`, which is made.
    pub(super) fn show(home: &Path, name: &str, seen: &Seen) -> Result<Self> {
        let attempt = |error: mica_sys::SysError| Error::from(error).while_("show the files of this machine");
        let machine = Mount::clone_of(Path::new("/"), Reach::Tree).map_err(attempt)?;
        let alone = SetAttrs { propagation: Some(Propagation::Private), ..SetAttrs::read_only() };
        machine.set_attrs(&alone, Reach::Tree).map_err(attempt)?;
        let dir = Dir::open(home.parent().unwrap_or(home))?
            .ensure_dir(home.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default(), 0o700)?;
        // Nobody takes a place away between its making and its lock.
        dir.lock()?;
        sweep(&dir)?;
        let place = dir.ensure_dir(name.as_bytes(), 0o700)?;
        place.try_lock()?;
        drop(dir);
        let path = home.join(name);
        machine.attach(&path).map_err(attempt)?;
        let whole = Self { path, _place: place };
        for hidden in &seen.covered {
            whole.cover(hidden)?;
        }
        Ok(whole)
    }

    /// Where they are.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Their root.
    pub(crate) fn dir(&self) -> Result<Dir> {
        Ok(Dir::open(&self.path)?)
    }

    fn cover(&self, hidden: &Path) -> Result<()> {
        let attempt = |error: mica_sys::SysError| Error::from(error).while_(format_args!("cover {}", hidden.display()));
        let place = self.path.join(hidden.strip_prefix("/").unwrap_or(hidden));
        match std::fs::symlink_metadata(&place) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Ok(()),
            // There is nothing to be covered, or what is above it is covered, or where the user cannot come.
            Err(error) if matches!(error.kind(), NotFound | NotADirectory | PermissionDenied) => return Ok(()),
            Err(error) => {
                let what = format!("look at {}, which is to be covered", hidden.display());
                return Err(Error::because(Kind::System, what, error));
            }
        }
        empty()
            .map_err(|error| Error::because(Kind::System, "make an empty directory", error))?
            .attach(&place)
            .map_err(attempt)
    }
}

/// Takes away what those left that were killed, below the directory `home`.
pub(crate) fn sweep_places(home: &Path) -> Result<()> {
    match Dir::open(home) {
        Ok(home) => {
            home.lock()?;
            sweep(&home)
        }
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The same for who has it locked: what the dead had mounted is gone with their namespaces, and nobody has the place locked.
fn sweep(home: &Dir) -> Result<()> {
    for entry in home.read_dir()? {
        // One on which this very namespace has something mounted is in use, as far as is known.
        let Ok(place) = home.open_dir_same_mount(&entry.name) else { continue };
        if place.try_lock()? {
            match home.rmdir(&entry.name) {
                // ignored: an empty directory is in nobody's way.
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}

fn empty() -> std::result::Result<Mount, MountError> {
    let empty = FsContext::open("tmpfs")?;
    empty.string("mode", b"0755")?;
    empty.create(MountAttrFlags::MOUNT_ATTR_RDONLY)
}

impl Drop for Whole {
    fn drop(&mut self) {
        let parent = self.path.parent().zip(self.path.file_name());
        // ignored: what stays ends with the namespace, and an empty directory is in nobody's way.
        match unmount(&self.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(_) => {}
        }
        if let Some((Ok(home), name)) = parent.map(|(home, name)| (Dir::open(home), name)) {
            match home.rmdir(name.as_encoded_bytes()) {
                Ok(()) | Err(_) => {}
            }
        }
    }
}
