//! Check: whether everything that can be seen is whole, and what can be done where it is not.
//!
//! A repair never guesses. What is damaged is taken out of sight, so that the next load or pull makes it anew; what only
//! points nowhere is removed.

mod tree;

use mica_core::{BlobDigest, DiffId};

use crate::ContainerName;
use crate::containers::ContainerId;
use crate::error::{ReadOnly, StoreError, What};
use crate::images::config_of;
use crate::layers::{self, SealedLayer};
use crate::names::NameRecord;
use crate::records::{self, DIR_MODE};
use crate::store::Store;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Records, and whether what they name is here.
    Records,
    /// Every byte as well: blobs are hashed, layers rebuilt and compared with their indexes.
    Content,
}

/// What is done about what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Nothing.
    Report,
    /// What is damaged is taken out of sight, what points nowhere is removed.
    Mend,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Its content is not what it must be.
    Damaged {
        /// What is wrong with it.
        why: String,
    },
    /// Something that it needs is not here. A load or a pull of the image brings it back.
    Lacks {
        /// What.
        what: What,
        /// Which.
        name: String,
    },
    /// Other users of the machine can reach it.
    Exposed {
        /// Its permission bits.
        mode: u32,
    },
    /// A name or a claim stands for nothing that is here.
    Dangling {
        /// For what.
        target: String,
    },
    /// Nobody keeps it: an operation was killed, or an image was removed. Not damage: [`Store::gc`] collects it.
    Orphan,
    /// A dead operation left it. Not damage: the next `open` sweeps it.
    Leftover,
}

impl Problem {
    /// Whether something that can be seen is not whole.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        !matches!(self, Self::Orphan | Self::Leftover)
    }
}

/// What was done about something that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Nothing: only looked.
    Nothing,
    /// It is mended or out of sight.
    Mended,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub what: What,
    /// Which.
    pub name: String,
    /// What is wrong with it.
    pub problem: Problem,
    /// What was done about it.
    pub done: Done,
}

/// What a check looked at, and what it found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// What was found.
    pub findings: Vec<Finding>,
    /// Blobs looked at.
    pub blobs: usize,
    /// Layers looked at.
    pub layers: usize,
    /// Images looked at.
    pub images: usize,
    /// Names looked at.
    pub names: usize,
    /// Containers looked at.
    pub containers: usize,
}

impl Checked {
    /// Whether everything that can be seen is whole. Orphans and leftovers are no damage.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.findings.iter().any(|finding| finding.problem.is_damage() && finding.done == Done::Nothing)
    }
}

/// A check under way.
struct Check<'a> {
    store: &'a Store,
    depth: Depth,
    repair: Repair,
    checked: Checked,
}

impl Store {
    /// Looks whether everything that can be seen is whole. Others may use the store meanwhile.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] for a repair; or of a system call that keeps from looking. What is damaged is a finding
    /// and no error.
    pub fn check(&self, depth: Depth, repair: Repair) -> Result<Checked, StoreError> {
        if repair == Repair::Mend {
            self.writable()?;
        }
        let mut check = Check { store: self, depth, repair, checked: Checked::default() };
        check.root()?;
        check.blobs()?;
        check.layers()?;
        check.images()?;
        check.names()?;
        check.containers()?;
        check.claims()?;
        check.leftovers()?;
        check.orphans()?;
        Ok(check.checked)
    }
}

impl Check<'_> {
    fn found(
        &mut self,
        what: What,
        name: impl std::fmt::Display,
        problem: Problem,
        mend: impl FnOnce(&Store) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let done = match self.repair {
            Repair::Report => Done::Nothing,
            Repair::Mend => {
                mend(self.store)?;
                Done::Mended
            }
        };
        self.checked.findings.push(Finding { what, name: name.to_string(), problem, done });
        Ok(())
    }

    /// Something that no repair can bring back.
    fn lost(&mut self, what: What, name: impl std::fmt::Display, problem: Problem) {
        self.checked.findings.push(Finding { what, name: name.to_string(), problem, done: Done::Nothing });
    }

    fn root(&mut self) -> Result<(), StoreError> {
        let mode = self.store.dirs.root.metadata()?.mode;
        if mode & 0o077 != 0 {
            let path = self.store.path().display().to_string();
            self.found(What::Format, path, Problem::Exposed { mode }, |store| {
                Ok(store.dirs.root.chmod_self(DIR_MODE)?)
            })?;
        }
        Ok(())
    }

    fn blobs(&mut self) -> Result<(), StoreError> {
        for blob in self.store.blobs()? {
            self.checked.blobs += 1;
            if self.depth == Depth::Records {
                continue;
            }
            // One may be collected while the others are read.
            let Some(file) = self.store.blob(&blob)? else { continue };
            let (actual, _) = layers::hash(&file)?;
            if actual != blob {
                let why = format!("its content has the digest {actual}");
                self.found(What::Blob, blob, Problem::Damaged { why }, |store| {
                    store.discard(&store.dirs.blobs, blob.hex().as_bytes())
                })?;
            }
        }
        Ok(())
    }

    fn layers(&mut self) -> Result<(), StoreError> {
        for layer in self.store.layers()? {
            self.checked.layers += 1;
            let sealed = match self.store.layer(&layer) {
                Ok(Some(sealed)) => sealed,
                Ok(None) => {
                    self.unsealed(layer)?;
                    continue;
                }
                Err(StoreError::Corrupt { why, .. }) => {
                    self.broken_layer(layer, why)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if self.depth == Depth::Content
                && let Some(why) = look_into(&sealed, self.store)?
            {
                self.broken_layer(layer, why)?;
            }
        }
        Ok(())
    }

    /// A layer that others may have mounted is not taken away but loses its seal: it does not exist any more, and the
    /// next load replaces it.
    fn broken_layer(&mut self, layer: DiffId, why: String) -> Result<(), StoreError> {
        self.found(What::Layer, layer, Problem::Damaged { why }, |store| {
            let dir = store.dirs.layers.open_dir(layer.hex().as_bytes())?;
            store.discard(&dir, layers::SEAL.as_bytes())
        })
    }

    fn unsealed(&mut self, layer: DiffId) -> Result<(), StoreError> {
        if self.store.dirs.layers.stat_if_there(layer.hex().as_bytes())?.is_none() {
            return Ok(());
        }
        let used = self.store.containers()?.iter().any(|container| container.layers.contains(&layer));
        let problem = Problem::Damaged { why: "it has no seal".to_owned() };
        if used {
            self.lost(What::Layer, layer, problem);
            return Ok(());
        }
        self.found(What::Layer, layer, problem, |store| store.discard(&store.dirs.layers, layer.hex().as_bytes()))
    }

    fn images(&mut self) -> Result<(), StoreError> {
        for id in self.store.image_ids()? {
            self.checked.images += 1;
            let image = match self.store.image(&id) {
                Ok(Some(image)) => image,
                Ok(None) => continue,
                Err(StoreError::Corrupt { why, .. }) => {
                    self.found(What::Image, id, Problem::Damaged { why }, |store| {
                        store.discard(&store.dirs.images, crate::images::file_name(&id).as_bytes())
                    })?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.needs_layers(What::Image, &id, &image.layers)?;
            for blob in [config_of(&id), image.manifest.digest] {
                self.needs_blob(What::Image, &id, blob)?;
            }
            self.config_says(&image)?;
        }
        Ok(())
    }

    /// The config's own list of layers is the truth that the record repeats.
    fn config_says(&mut self, image: &crate::ImageRecord) -> Result<(), StoreError> {
        // A damaged config is a finding of its own, at full depth.
        let Ok(Some(bytes)) = self.store.blob_bytes(&config_of(&image.id)) else { return Ok(()) };
        let said = serde_json::from_slice::<mica_core::image::ImageConfig>(&bytes).map(|config| config.rootfs.diff_ids);
        if said.is_ok_and(|said| said != image.layers) {
            let why = "its record names other layers than its config".to_owned();
            self.found(What::Image, image.id, Problem::Damaged { why }, |store| {
                store.discard(&store.dirs.images, crate::images::file_name(&image.id).as_bytes())
            })?;
        }
        Ok(())
    }

    fn needs_layers(&mut self, what: What, name: &impl std::fmt::Display, stack: &[DiffId]) -> Result<(), StoreError> {
        for layer in stack {
            if !self.store.has_layer(layer)? {
                self.lost(what, name, Problem::Lacks { what: What::Layer, name: layer.to_string() });
            }
        }
        Ok(())
    }

    fn needs_blob(&mut self, what: What, name: &impl std::fmt::Display, blob: BlobDigest) -> Result<(), StoreError> {
        if !self.store.has_blob(&blob)? {
            self.lost(what, name, Problem::Lacks { what: What::Blob, name: blob.to_string() });
        }
        Ok(())
    }

    fn names(&mut self) -> Result<(), StoreError> {
        for file in self.store.name_files()? {
            self.checked.names += 1;
            let record = match records::read::<NameRecord>(What::Name, &self.store.dirs.names, &file) {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(StoreError::Corrupt { why, .. }) => {
                    self.bad_name(&file, &file, Problem::Damaged { why })?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if Store::name_file(&record.reference) != file {
                let why = format!("its file is {file}, which is another name's");
                self.bad_name(&file, &record.reference, Problem::Damaged { why })?;
            } else if !self.store.has_blob(&record.target.digest)? {
                let target = record.target.digest.to_string();
                self.bad_name(&file, &record.reference, Problem::Dangling { target })?;
            }
        }
        Ok(())
    }

    fn bad_name(&mut self, file: &str, name: &str, problem: Problem) -> Result<(), StoreError> {
        self.found(What::Name, name, problem, |store| store.discard(&store.dirs.names, file.as_bytes()))
    }

    fn containers(&mut self) -> Result<(), StoreError> {
        for id in self.store.container_ids()? {
            self.checked.containers += 1;
            let container = match self.store.container(&id) {
                Ok(Some(container)) => container,
                Ok(None) => {
                    self.no_record(&id)?;
                    continue;
                }
                // Its upper may be all that somebody has of their work: nothing is taken away here.
                Err(StoreError::Corrupt { why, .. }) => {
                    self.lost(What::Container, &id, Problem::Damaged { why });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let record = container.record();
            self.needs_layers(What::Container, &id, &record.layers)?;
            if self.store.claimed_by(&record.name)?.as_ref() != Some(&id) {
                self.unclaimed(&id, &record.name)?;
            }
        }
        Ok(())
    }

    /// A container that was removed meanwhile has none; one that stands without is damaged.
    fn no_record(&mut self, id: &ContainerId) -> Result<(), StoreError> {
        if self.store.container_ids()?.contains(id) {
            self.lost(What::Container, id, Problem::Damaged { why: "it has no record".to_owned() });
        }
        Ok(())
    }

    fn unclaimed(&mut self, id: &ContainerId, name: &ContainerName) -> Result<(), StoreError> {
        let problem = Problem::Damaged { why: format!("its name {name} is not claimed for it") };
        self.found(What::Container, id, problem, |store| {
            let lease = store.lease()?;
            let locked = store.lock_container(id)?;
            store.claim(lease.staging()?, &locked.container().record().name, id, records::Flush::Yes)?;
            lease.finish();
            Ok(())
        })
    }

    fn claims(&mut self) -> Result<(), StoreError> {
        for name in self.store.stale_claims(self.repair)? {
            self.found(What::Container, &name, Problem::Leftover, |_| Ok(()))?;
        }
        Ok(())
    }

    fn leftovers(&mut self) -> Result<(), StoreError> {
        for entry in self.store.dirs.staging.read_dir()? {
            if self.store.dirs.leases.stat_if_there(&entry.name)?.is_none()
                && self.store.dirs.staging.stat_if_there(&entry.name)?.is_some()
            {
                let name = String::from_utf8_lossy(&entry.name).into_owned();
                self.found(What::Lease, name, Problem::Leftover, Store::sweep)?;
            }
        }
        Ok(())
    }

    fn orphans(&mut self) -> Result<(), StoreError> {
        // With a record that cannot be read nobody knows what is an orphan.
        if self
            .checked
            .findings
            .iter()
            .any(|finding| finding.done == Done::Nothing && matches!(finding.problem, Problem::Damaged { .. }))
        {
            return Ok(());
        }
        let gc = match self.store.read_only() {
            // There a lock cannot be made, and nobody has to be kept out.
            Some(ReadOnly::FileSystem) => None,
            _ => Some(self.store.gc_exclusive()?),
        };
        let marked = self.store.mark()?;
        let layers = self.store.layers()?.into_iter().filter(|layer| !marked.layers.contains(layer));
        let layers: Vec<(What, String)> = layers.map(|layer| (What::Layer, layer.to_string())).collect();
        let blobs = self.store.blobs()?.into_iter().filter(|blob| !marked.blobs.contains(blob));
        let blobs: Vec<(What, String)> = blobs.map(|blob| (What::Blob, blob.to_string())).collect();
        drop(gc);
        for (what, name) in layers.into_iter().chain(blobs) {
            self.lost(what, name, Problem::Orphan);
        }
        Ok(())
    }
}

/// Looks at every byte of a layer; the first thing that is wrong.
fn look_into(layer: &SealedLayer, store: &Store) -> Result<Option<String>, StoreError> {
    let seal = layer.seal();
    for (name, sealed) in [(layers::INDEX, &seal.index), (layers::RECON, &seal.recon)] {
        match layers::sealed_file(layer.dir(), name) {
            Ok(now) if (now.digest, now.size) == (sealed.digest, sealed.size) => {}
            Ok(_) => return Ok(Some(format!("its {name} is not as it was sealed"))),
            Err(error) => return Ok(Some(format!("its {name} cannot be read: {error}"))),
        }
    }
    let index = match layer.index() {
        Ok(index) => index,
        Err(error) => return Ok(Some(chain_of(&error))),
    };
    if let Err(error) = index.verify() {
        return Ok(Some(chain_of(&error)));
    }
    let counts = (u64::from(index.len()), index.implicit(), index.needs_parent());
    if counts != (seal.entries, seal.implicit, seal.needs_parent) {
        return Ok(Some("its seal counts other entries than its index".to_owned()));
    }
    if let Err(error) = layer.rebuild(&mut std::io::sink()) {
        return Ok(Some(chain_of(&error)));
    }
    let diff = layer.dir().open_dir(layers::DIFF.as_bytes())?;
    match tree::differs(&index, diff, store.marks(), store.ability()) {
        Ok(difference) => Ok(difference),
        Err(error) => Ok(Some(chain_of(&error))),
    }
}

/// An error with all of its sources, as people read it.
fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
