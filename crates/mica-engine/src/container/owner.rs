//! Who answers for a container that is to go when its command ends.
//!
//! The command that runs it holds the file `owner` in the container's directory under a shared lock, from before the container can be seen, which the kernel
//! releases when that command is killed. The next command that looks at containers finds it free and removes what it
//! stood for. A process that ended is no proof by itself: its owner may be about to tell what was changed.

use std::time::Duration;

use mica_store::{Container, ContainerId, Lifetime, OWNER, StoreError};
use mica_sys::{Dir, Lock};

use crate::container::Known;
use crate::engine::Engine;
use crate::error::Result;
use crate::trying::sweep_places;

/// What lives in the run root for a container while it runs.
const SURROUNDINGS: [&str; 2] = ["containers", "tries"];

impl Engine {
    /// Removes all that was to go with commands that were killed. To be called by those that make such: a machine on which nobody asks for a list
    /// must not fill up either. What cannot be removed is in nobody's way here, and told by a list.
    pub(crate) fn sweep_volatile(&self) {
        for id in self.store.container_ids_of(Lifetime::Volatile).unwrap_or_default() {
            let Ok(Some(container)) = self.store.container(&id) else { continue };
            match Known::read(container).and_then(|known| self.sweep(&known)) {
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Answers for `container` until the lock is dropped.
    pub(crate) fn answer_for(container: &Container) -> Result<Lock> {
        Ok(Lock::shared(container.dir(), OWNER)?)
    }

    /// Removes from the run root what stood there while a container ran; where its command was killed, it is there still.
    pub(crate) fn forget_run(&self, id: &ContainerId) -> Result<()> {
        for place in SURROUNDINGS {
            match Dir::open(&self.store.run_root().join(place)) {
                Ok(place) => place.remove_tree(id.as_str().as_bytes())?,
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Removes a container that was to go with its command, where whoever answered for it was killed. Says whether it is
    /// gone.
    pub(crate) fn sweep(&self, known: &Known) -> Result<bool> {
        match self.sweep_there(known) {
            // Another command swept it away meanwhile.
            Err(_) if self.store.container(known.container.id())?.is_none() => Ok(true),
            swept => swept,
        }
    }

    fn sweep_there(&self, known: &Known) -> Result<bool> {
        let container = &known.container;
        if container.record().lifetime != Lifetime::Volatile || self.store.read_only().is_some() {
            return Ok(false);
        }
        // One that nobody ever answered for was only created, and waits for its start.
        if container.dir().stat_if_there(OWNER)?.is_none() {
            return Ok(false);
        }
        let Some(owner) = Lock::try_exclusive(container.dir(), OWNER)? else { return Ok(false) };
        if self.is_alive(&self.store.container_state(container)?) || self.mounted_at(known.container.id())?.is_some() {
            return Ok(false);
        }
        match self.store.lock_container(container.id()) {
            Ok(locked) => self.store.remove_container(locked)?,
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        drop(owner);
        self.forget_run(container.id())?;
        sweep_places(&self.machines())?;
        self.store.reap(Duration::from_millis(20))?;
        Ok(true)
    }
}
