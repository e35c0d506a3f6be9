//! A container's tree at a path of this machine.

use std::path::{Path, PathBuf};

use mica_store::ContainerId;
use mica_sys::Dir;
use mica_sys::mount::{UnmountFlags, mounts, space, unmount};
use mica_sys::process::open_place;
use mica_union::overlay::is_upper_in_use;

use crate::container::{Base, Known};
use crate::drivers::OVERLAY;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::standing::mounts_end;

impl Engine {
    /// Mounts a container's tree and gives the path. One that is mounted stays where it is.
    ///
    /// # Errors
    /// No such container; one that runs, whose tree is at `/proc/PID/root`; where mounts end with this command.
    pub fn mount(&self, word: &str) -> Result<PathBuf> {
        if !self.standing.keeps_mounts() {
            return Err(mounts_end(&format!("mount {word}"), &format!("mica unshare sh -c 'ls $(mica mount {word})'")));
        }
        let known = self.find_container(word)?;
        if let Base::Machine { .. } = known.settings.base {
            return Err(Error::new(Kind::Usage, format!("{word} holds the changes of a try, which are no tree"))
                .hinted(format!("`mica diff {word}` shows them")));
        }
        let locked = self.store.lock_container(known.container.id())?;
        if let Some(path) = self.answering_at(known.container.id())? {
            return Ok(path);
        }
        let state = self.store.container_state(&known.container)?;
        if let Some(process) = state.process.as_ref().filter(|_| self.is_alive(&state)) {
            return Err(Error::new(Kind::Conflict, format!("container {} is running", known.container.record().name))
                .hinted(format!("its tree is at /proc/{}/root", process.pid)));
        }
        self.refuse_mounted_elsewhere(&known)?;
        let path = self.place(known.container.id());
        let home = Dir::open(self.store.run_root())?.ensure_dir(b"mounts", 0o700)?;
        home.ensure_dir(known.container.id().as_str().as_bytes(), 0o700)?;
        self.show_tree(&known, &self.union_dirs(&known)?)?.attach(&path)?;
        drop(locked);
        Ok(path)
    }

    /// Refuses a container whose upper is mounted out of this namespace's sight: the kernel would let a second mount write to it, too.
    pub(crate) fn refuse_mounted_elsewhere(&self, known: &Known) -> Result<()> {
        // A copy may be mounted any number of times: it is one directory.
        if known.settings.driver() == OVERLAY && is_upper_in_use(&known.container.upper(), self.store.marks())? {
            let name = &known.container.record().name;
            let what = format!("container {name} is mounted in another mount namespace");
            return Err(Error::new(Kind::Conflict, what)
                .hinted(format!("`mica umount {name}` there, in the `mica unshare` that mounted it, or end that")));
        }
        Ok(())
    }

    /// Unmounts what [`Engine::mount`] mounted.
    ///
    /// # Errors
    /// No such container; one that is not mounted, or is in use.
    pub fn unmount(&self, word: &str) -> Result<()> {
        let known = self.find_container(word)?;
        let locked = self.store.lock_container(known.container.id())?;
        let Some(path) = self.mounted_at(known.container.id())? else {
            return Err(Error::new(
                Kind::Conflict,
                format!("container {} is not mounted", known.container.record().name),
            ));
        };
        self.unmount_at(&path, false)?;
        self.settle(&known)?;
        drop(locked);
        Ok(())
    }

    /// All containers that are mounted, by name, and where.
    ///
    /// # Errors
    /// When the mounts of this machine cannot be read.
    pub fn mounted(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut mounted = Vec::new();
        for record in self.store.containers()? {
            let Some(container) = self.store.container(&record.id)? else { continue };
            let known = Known::read(container)?;
            if let Some(path) = self.mounted_at(known.container.id())? {
                mounted.push((record.name.as_str().to_owned(), path));
            }
        }
        Ok(mounted)
    }

    fn place(&self, id: &ContainerId) -> PathBuf {
        self.store.run_root().join("mounts").join(id.as_str())
    }

    /// Where a container's tree is mounted, if it is.
    pub(crate) fn mounted_at(&self, id: &ContainerId) -> Result<Option<PathBuf>> {
        let path = self.place(id);
        // Looking at one directory is cheaper than at all mounts, and most containers have none. Its server is not asked: it may have ended, or be stopped.
        if open_place(&path).is_err_and(|error| error.is_not_found()) {
            return Ok(None);
        }
        let mounts =
            mounts().map_err(|error| Error::because(Kind::System, "read the mounts of this machine", error))?;
        Ok(mounts.iter().any(|mount| mount.target == path).then_some(path))
    }

    /// Where a container's tree is mounted and shown. A mount whose server has ended is taken away: it shows nothing to anybody, and what was written by
    /// it stands in the upper. The caller holds the container's lock.
    pub(crate) fn answering_at(&self, id: &ContainerId) -> Result<Option<PathBuf>> {
        let Some(path) = self.mounted_at(id)? else { return Ok(None) };
        // What else is wrong with it is for those to tell who use it.
        if open_place(&path).and_then(space).is_err_and(|error| error.is_disconnected()) {
            self.unmount_at(&path, true)?;
            return Ok(None);
        }
        Ok(Some(path))
    }

    pub(crate) fn unmount_at(&self, path: &Path, detach: bool) -> Result<()> {
        let flags = if detach { UnmountFlags::DETACH } else { UnmountFlags::empty() };
        unmount(path, flags | UnmountFlags::NOFOLLOW).map_err(|error| match error.errno() {
            mica_sys::Errno::BUSY => {
                Error::from(error).hinted("some process has a file in it open, or its working directory there")
            }
            _ => Error::from(error),
        })?;
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            Dir::open(parent)?.rmdir(name.as_encoded_bytes())?;
        }
        Ok(())
    }
}
