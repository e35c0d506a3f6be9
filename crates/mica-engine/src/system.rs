//! The store as a whole: what it takes, what may go, whether it is whole.

use std::time::Duration;

use mica_core::ImageId;
use mica_store::{Depth, Done, Finding, Left, OnUse, Problem, Repair, Usage};

use crate::container::{Known, Life};
use crate::drivers::Probed;
use crate::engine::Engine;
use crate::error::Result;
use crate::progress::{Outcome, Progress, Task};
use crate::standing::Standing;

/// What a prune would remove, or did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Ended containers, by name.
    pub containers: Vec<String>,
    /// Images.
    pub images: Vec<ImageId>,
    /// How many layers.
    pub layers: u64,
    /// How many blobs.
    pub blobs: u64,
    /// Bytes that are free again.
    pub bytes: u64,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// A sentence for each thing that is not whole.
    pub findings: Vec<String>,
    /// How many of them stand: not mended, or not to be mended.
    pub standing: usize,
    /// What was looked at.
    pub looked_at: String,
    /// Things that dead operations left and that nobody keeps: no damage, and collected by a prune.
    pub leftovers: usize,
}

/// What the engine found out about its store and this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The store's root.
    pub root: String,
    /// The run root.
    pub run_root: String,
    /// The store's ID.
    pub uuid: String,
    /// Where the commands on it stand.
    pub standing: Standing,
    /// Why the store can only be read, if so.
    pub read_only: Option<String>,
    /// How many images.
    pub images: usize,
    /// How many containers.
    pub containers: usize,
    /// How many of them run.
    pub running: usize,
    /// How many layers.
    pub layers: usize,
    /// Each driver, and whether it works here.
    pub drivers: Vec<Probed>,
    /// The kernel's release.
    pub kernel: String,
}

impl Engine {
    /// What takes how much. Of a container it is what was written, and what its driver keeps beside that.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = self.store.usage()?;
        for container in &mut usage.containers {
            let Some(found) = self.store.container(&container.id)? else { continue };
            container.size += self.taken_by_driver(&Known::read(found)?)?;
        }
        Ok(usage)
    }

    /// What [`Engine::prune`] would remove of containers and images.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn plan_prune(&self, all: bool) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        let mut used = Vec::new();
        for record in self.store.containers()? {
            let Some(container) = self.store.container(&record.id)? else { continue };
            let known = Known::read(container)?;
            if self.sweep(&known)? {
                continue;
            }
            let ended = matches!(self.container_summary(&known)?.life, Life::Exited { .. });
            // A kept try has ended as well, and was kept on purpose.
            let is_try = matches!(known.settings.base, crate::container::Base::Machine { .. });
            if ended && !is_try && self.mounted_at(known.container.id())?.is_none() {
                pruned.containers.push(record.name.as_str().to_owned());
            } else {
                used.extend(record.image);
            }
        }
        let names = self.names_by_image()?;
        for image in self.store.images()? {
            let named = names.get(&image.id).is_some_and(|names| !names.is_empty());
            if !used.contains(&image.id) && (all || !named) {
                pruned.images.push(image.id);
            }
        }
        Ok(pruned)
    }

    /// Removes what `plan` names, and then all that nobody keeps. What became used since the plan stays.
    ///
    /// # Errors
    /// Of the first removal that fails; what was removed until then stays removed.
    pub fn prune(&self, plan: &Pruned, progress: &dyn Progress) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        for name in &plan.containers {
            match self.remove_container(name, false) {
                Ok(_) => pruned.containers.push(name.clone()),
                Err(error) if matches!(error.kind(), crate::Kind::Conflict | crate::Kind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let names = self.names_by_image()?;
        for image in &plan.images {
            match self.store.remove_image(image, OnUse::Refuse) {
                Ok(()) => pruned.images.push(*image),
                Err(mica_store::StoreError::InUse { .. } | mica_store::StoreError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
            for name in names.get(image).into_iter().flatten() {
                // The others of an index keep the name that they have in common.
                if self.store.name(&name.reference)?.is_some() && self.store.images_of(&name.target)?.is_empty() {
                    self.store.remove_name(&name.reference, None)?;
                }
            }
        }
        let collected = self.store.gc()?;
        let id = progress.begin(&Task { what: "deleting".to_owned(), total: None });
        let reaped = self.store.reap(Duration::from_secs(u64::from(u32::MAX)));
        progress.finish(id, if reaped.is_ok() { Outcome::Done } else { Outcome::Failed });
        reaped?;
        Ok(Pruned { layers: collected.layers, blobs: collected.blobs, bytes: collected.bytes, ..pruned })
    }

    /// Collects what a removal left without a user. The trash is emptied by [`Engine::reap`].
    ///
    /// # Errors
    /// A record that cannot be read; nothing is collected then.
    pub fn collect(&self) -> Result<()> {
        self.store.gc()?;
        Ok(())
    }

    /// Whether something waits to be deleted.
    ///
    /// # Errors
    /// Of a system call.
    pub fn has_trash(&self) -> Result<bool> {
        Ok(self.store.has_trash()?)
    }

    /// Deletes what was removed, for at most this long. Says whether something is left that nobody else is about to delete.
    ///
    /// # Errors
    /// Of a system call.
    pub fn reap(&self, budget: Duration) -> Result<bool> {
        Ok(self.store.reap(budget)?.left == Left::Some)
    }

    /// Proves that all that can be seen is whole: every blob against its digest, every layer rebuilt against its DiffID.
    ///
    /// # Errors
    /// What keeps from looking. What is damaged is a finding and no error.
    pub fn check(&self, repair: bool, progress: &dyn Progress) -> Result<CheckReport> {
        let id = progress.begin(&Task { what: "checking".to_owned(), total: None });
        let checked = self.store.check(Depth::Content, if repair { Repair::Mend } else { Repair::Report });
        progress.finish(id, if checked.is_ok() { Outcome::Done } else { Outcome::Failed });
        let checked = checked?;
        let damage = || checked.findings.iter().filter(|finding| finding.problem.is_damage());
        Ok(CheckReport {
            findings: damage().map(sentence).collect(),
            standing: damage().filter(|finding| finding.done == Done::Nothing).count(),
            looked_at: format!(
                "{} blobs, {} layers, {} images, {} names and {} containers are whole",
                checked.blobs, checked.layers, checked.images, checked.names, checked.containers
            ),
            leftovers: checked.findings.len() - damage().count(),
        })
    }

    /// Where things are, and what works here.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn info(&self) -> Result<Info> {
        let containers = self.containers(true)?;
        let running = containers.iter().filter(|container| matches!(container.life, Life::Running { .. })).count();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(Info {
            root: self.store.path().display().to_string(),
            run_root: self.store.run_root().display().to_string(),
            uuid: self.store.uuid().to_owned(),
            standing: self.standing.clone(),
            read_only: self.store.read_only().map(ToString::to_string),
            images: self.store.image_ids()?.len(),
            containers: containers.len(),
            running,
            layers: self.store.layers()?.len(),
            drivers: self.probe_drivers()?,
            kernel: kernel.trim().to_owned(),
        })
    }
}

fn sentence(finding: &Finding) -> String {
    let problem = match &finding.problem {
        Problem::Damaged { why } => format!("is damaged: {why}"),
        Problem::Lacks { what, name } => format!("lacks {what} {name}"),
        Problem::Exposed { mode } => format!("can be reached by other users (mode {mode:o})"),
        Problem::Dangling { target } => format!("stands for {target}, which is not here"),
        _ => "is left over".to_owned(),
    };
    let done = match finding.done {
        Done::Nothing => "",
        Done::Mended => " (mended)",
    };
    format!("{} {} {problem}{done}", finding.what, finding.name)
}
