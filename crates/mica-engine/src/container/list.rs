//! Containers as users list them.

use mica_core::ImageId;
use mica_store::{ContainerId, Status};

use crate::container::{Base, Known, Network, arguments};
use crate::engine::Engine;
use crate::error::Result;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Never started.
    Created,
    /// Its process runs.
    Running {
        /// The number of its init, in this PID namespace.
        pid: i32,
    },
    /// Its process ended.
    Exited {
        /// With this status; `None` when nobody was there to see it.
        status: Option<u8>,
    },
}

/// A container as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// Its ID.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// What it stands on, in the user's words.
    pub image: String,
    /// The image, where it is one.
    pub image_id: Option<ImageId>,
    /// What it runs.
    pub command: Vec<String>,
    /// When it was made (RFC 3339).
    pub created: String,
    /// When it was started last (RFC 3339).
    pub started: Option<String>,
    /// When it ended last (RFC 3339).
    pub finished: Option<String>,
    /// Where it is in its life.
    pub life: Life,
    /// Its network.
    pub network: Network,
}

impl Engine {
    /// All containers, the newest first; only those that run unless `all`. Those that were to go with a command that was
    /// killed are removed.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn containers(&self, all: bool) -> Result<Vec<ContainerSummary>> {
        let mut summaries = Vec::new();
        for record in self.store.containers()? {
            let Some(container) = self.store.container(&record.id)? else { continue };
            let known = Known::read(container)?;
            if self.sweep(&known)? {
                continue;
            }
            let summary = self.container_summary(&known)?;
            if all || matches!(summary.life, Life::Running { .. }) {
                summaries.push(summary);
            }
        }
        Ok(summaries)
    }

    pub(crate) fn container_summary(&self, known: &Known) -> Result<ContainerSummary> {
        let record = known.container.record();
        let state = self.store.container_state(&known.container)?;
        let image = match &known.settings.base {
            Base::Image { asked } => asked.clone(),
            Base::Directory { path } => format!("dir:{}", path.display()),
            Base::Machine { .. } => "try".to_owned(),
        };
        let life = match (&state.process, state.status) {
            (Some(process), Status::Running) if self.is_alive(&state) => Life::Running { pid: process.pid },
            (_, Status::Created) => Life::Created,
            _ => Life::Exited { status: state.exit_code },
        };
        Ok(ContainerSummary {
            id: record.id.clone(),
            name: record.name.as_str().to_owned(),
            image,
            image_id: record.image,
            command: arguments(&known.settings.config),
            created: record.created.clone(),
            started: state.started,
            finished: state.finished,
            life,
            network: known.settings.network,
        })
    }
}
