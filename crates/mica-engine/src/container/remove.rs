//! A container's end: only its own layer goes.

use std::time::{Duration, Instant};

use mica_store::ContainerId;
use mica_sys::process::{Signal, open_pidfd, send_signal_pidfd};

use crate::container::start::start_time;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};

impl Engine {
    /// Removes a container. A running or mounted one only by `force`, which kills and unmounts it.
    ///
    /// # Errors
    /// No such container; one that runs or is mounted.
    pub fn remove_container(&self, word: &str, force: bool) -> Result<ContainerId> {
        let known = self.find_container(word)?;
        let id = known.container.id().clone();
        let locked = self.store.lock_container(&id)?;
        let state = self.store.container_state(&known.container)?;
        if let Some(process) = state.process.as_ref().filter(|_| self.is_alive(&state)) {
            if !force {
                return Err(Error::new(
                    Kind::Conflict,
                    format!("container {} is running", known.container.record().name),
                )
                .hinted("end it first, or use --force"));
            }
            kill(process.pid, process.start)?;
        }
        if force {
            // Without asking a server that may be stopped.
            if let Some(path) = self.mounted_at(&id)? {
                self.unmount_at(&path, true)?;
            }
        } else if let Some(path) = self.answering_at(&id)? {
            let name = &known.container.record().name;
            return Err(Error::new(Kind::Conflict, format!("container {name} is mounted at {}", path.display()))
                .hinted(format!("`mica umount {word}` first, or use --force")));
        }
        self.store.remove_container(locked)?;
        self.forget_run(&id)?;
        Ok(id)
    }
}

/// Kills a container by its init, and waits until it is gone.
fn kill(pid: i32, start: u64) -> Result<()> {
    let failed = |error| Error::from(error).while_("kill the container");
    let Some(init) = open_pidfd(pid).map_err(failed)? else { return Ok(()) };
    // The number may have passed to another process until the descriptor was had; from here on it cannot.
    if start_time(pid) != Some(start) {
        return Ok(());
    }
    send_signal_pidfd(&init, Signal::KILL).map_err(failed)?;
    let given_up = Instant::now() + Duration::from_secs(10);
    while start_time(pid) == Some(start) {
        if Instant::now() > given_up {
            return Err(Error::new(Kind::Conflict, format!("process {pid} was killed and does not end"))
                .hinted("it may wait for a device or a network file system"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
