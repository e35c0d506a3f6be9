//! A container's state: what became of it since it was made.

use serde::{Deserialize, Serialize};

use crate::containers::{Container, LockedContainer, STATE};
use crate::error::{StoreError, What};
use crate::records::{self, Draft, Flush, Unknown};
use crate::store::Store;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// Made and never started.
    #[default]
    Created,
    /// Its process runs, if [`ContainerState::process`] says who that is and it is alive.
    Running,
    /// Its process has ended.
    Exited,
    /// The machine went down before the state was on disk; nothing runs.
    Lost,
}

/// A process that cannot be mistaken for another with the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number in the first PID namespace that mica ran in.
    pub pid: i32,
    /// When it was started, in clock ticks since boot (`/proc/<pid>/stat`, field 22).
    pub start: u64,
    /// The kernel's ID of the uptime in which it runs.
    pub boot: String,
}

/// `state.json`: what became of a container. One without it was never started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// 1.
    pub version: u32,
    /// Where it is in its life.
    pub status: Status,
    /// Its first process, while that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessId>,
    /// The exit code of its first process; 128 and the signal's number for one that was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// When it was started last (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// When it ended last (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<String>,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub other: Unknown,
}

impl Default for ContainerState {
    fn default() -> Self {
        Self {
            version: records::VERSION,
            status: Status::Created,
            process: None,
            exit_code: None,
            started: None,
            finished: None,
            other: Unknown::new(),
        }
    }
}

impl Store {
    /// What became of a container.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], or of a system call. A record that cannot be read is [`Status::Lost`].
    pub fn container_state(&self, container: &Container) -> Result<ContainerState, StoreError> {
        match records::read(What::Container, container.dir(), STATE) {
            Ok(state) => Ok(state.unwrap_or_default()),
            Err(StoreError::Corrupt { .. }) => Ok(ContainerState { status: Status::Lost, ..ContainerState::default() }),
            Err(error) => Err(error),
        }
    }

    /// Records what became of a container. Without a flush a power cut may lose it, which is right for what a power cut
    /// ends anyway.
    ///
    /// # Errors
    /// Of a system call; the old state stands then.
    pub fn update_state(
        &self,
        locked: &LockedContainer,
        state: &ContainerState,
        flush: Flush,
    ) -> Result<(), StoreError> {
        let dir = locked.container().dir();
        let draft = Draft { dir, name: b"state.json.new" };
        Ok(records::put(&draft, dir, STATE, &records::encode(What::Container, state)?, flush)?)
    }
}
