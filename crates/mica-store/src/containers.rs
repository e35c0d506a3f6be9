//! Containers: a record, a stack and an upper.
//!
//! A container stands in `containers/`, or in `volatile/<boot id>/` when it need not outlive the machine's uptime: that
//! one is never flushed, and never looked at after a restart.

use std::fmt;
use std::path::{Path, PathBuf};

use mica_core::{Attrs, DiffId, ImageId, Kind};
use mica_layer::stand_in;
use mica_sys::{Dir, Lock, SysError, Time};
use serde::{Deserialize, Serialize};

use crate::claims::ContainerName;
use crate::error::{StoreError, What};
use crate::lease::{Kept, Lease};
use crate::records::{self, DIR_MODE, Draft, Flush, Unknown};
use crate::store::{Store, release};

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const STATE: &str = "state.json";

/// A container's ID: 64 hex digits, random.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// Takes 64 lower-case hex digits; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        hex.then(|| Self(text.to_owned()))
    }

    /// A new one.
    ///
    /// # Errors
    /// [`StoreError::Random`].
    pub fn random() -> Result<Self, StoreError> {
        records::random_hex::<32>().map(Self)
    }

    /// The 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, as listings show them and as the host name in the container.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ContainerId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("is not 64 lower-case hex digits")
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

/// How long a container lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifetime {
    /// Until it is removed.
    #[default]
    Kept,
    /// At most until the machine goes down (`--rm`, `try`).
    Volatile,
}

/// `config.json`: what a container is. Only its name changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// 1.
    pub version: u32,
    /// Its ID.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// The image that it was made from, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageId>,
    /// The layers that it stands on, base first.
    pub layers: Vec<DiffId>,
    /// When it was made (RFC 3339).
    pub created: String,
    /// What the engine keeps about it: command, environment, mounts. Not looked at here.
    #[serde(default)]
    pub settings: serde_json::Value,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub other: Unknown,
}

/// What a new container is to be.
#[derive(Debug, Clone)]
pub struct NewContainer {
    /// Its ID, where it has been told to somebody already; a random one otherwise.
    pub id: Option<ContainerId>,
    /// Its name.
    pub name: ContainerName,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// The image that it is made from.
    pub image: Option<ImageId>,
    /// The layers that it stands on, base first.
    pub layers: Vec<DiffId>,
    /// What its root directory looks like: [`Lowers::root`](crate::Lowers::root).
    pub root: Attrs,
    /// What the engine keeps about it.
    pub settings: serde_json::Value,
    /// It goes with whoever makes it, who answers for it from before it can be seen: [`OWNER`].
    pub is_answered_for: bool,
}

/// The file in a container's directory that is locked, shared, by who answers for the container: where it is there and nobody has it locked, whoever did was
/// killed, and the container is to go.
pub const OWNER: &[u8] = b"owner";

/// A container that is here.
#[derive(Debug)]
pub struct Container {
    record: ContainerRecord,
    dir: Dir,
    path: PathBuf,
    /// Held by who made it, where that one answers for it.
    _owner: Option<Lock>,
}

impl Container {
    /// Its ID.
    #[must_use]
    pub const fn id(&self) -> &ContainerId {
        &self.record.id
    }

    /// What it is.
    #[must_use]
    pub const fn record(&self) -> &ContainerRecord {
        &self.record
    }

    /// Its directory, for what the engine keeps beside the records.
    #[must_use]
    pub const fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The path of its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of its upper.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.path.join("upper")
    }

    /// The path of its upper's work directory.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.path.join("work")
    }
}

/// A container that nobody else changes while this is held.
#[derive(Debug)]
pub struct LockedContainer {
    pub(crate) container: Container,
    lock: Lock,
}

impl LockedContainer {
    /// The container.
    #[must_use]
    pub const fn container(&self) -> &Container {
        &self.container
    }
}

impl Store {
    /// Makes a container. Its image and layers must be here; gc leaves them from now on.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`]; [`StoreError::NotFound`] for the image or a layer; [`StoreError::ReadOnly`]; or of a
    /// system call. Nothing is left then.
    pub fn create_container(&self, lease: &Lease<'_>, new: NewContainer) -> Result<Container, StoreError> {
        let layers = new.layers.iter().map(|layer| Kept::Layer(*layer));
        lease.keep_present(&layers.chain(new.image.map(Kept::Image)).collect::<Vec<_>>())?;
        let NewContainer { id, name, lifetime, image, layers, root, settings, is_answered_for } = new;
        let id = id.map_or_else(ContainerId::random, Ok)?;
        let record = ContainerRecord {
            version: records::VERSION,
            id,
            name,
            lifetime,
            image,
            layers,
            created: records::now(),
            settings,
            other: Unknown::new(),
        };
        let lock = Lock::exclusive(&self.dirs.container_locks, record.id.as_str().as_bytes())?;
        if self.container(&record.id)?.is_some() {
            return Err(StoreError::NameTaken { name: record.id.to_string(), by: record.id.into() });
        }
        let made = self.create_locked(lease, record, &root, is_answered_for);
        drop(lock);
        made
    }

    fn create_locked(
        &self,
        lease: &Lease<'_>,
        record: ContainerRecord,
        root: &Attrs,
        is_answered_for: bool,
    ) -> Result<Container, StoreError> {
        let (id, staging) = (record.id.as_str(), lease.staging()?);
        let flush = match record.lifetime {
            Lifetime::Kept => Flush::Yes,
            Lifetime::Volatile => Flush::No,
        };
        staging.mkdir(id.as_bytes(), DIR_MODE)?;
        let dir = staging.open_dir(id.as_bytes())?;
        dir.mkdir(b"upper", DIR_MODE)?;
        dir.mkdir(b"work", DIR_MODE)?;
        self.dress(&dir.open_dir(b"upper")?, root)?;
        let owner = if is_answered_for { Some(Lock::shared(&dir, OWNER)?) } else { None };
        records::write_file(&dir, CONFIG.as_bytes(), &records::encode(What::Container, &record)?, flush)?;
        let home = self.home(record.lifetime)?;
        if flush == Flush::Yes {
            dir.sync()?;
        }
        self.claim(staging, &record.name, &record.id, flush)?;
        if let Err(error) = staging.rename_noreplace(id.as_bytes(), &home, id.as_bytes()) {
            self.unclaim(&record.name, &record.id)?;
            return Err(error.into());
        }
        if flush == Flush::Yes
            && let Err(error) = home.sync()
        {
            // It stands, and must not after an error.
            self.discard(&home, id.as_bytes())?;
            self.unclaim(&record.name, &record.id)?;
            return Err(error.into());
        }
        let path = self.home_path(record.lifetime).join(id);
        Ok(Container { record, dir, path, _owner: owner })
    }

    /// A container; `None` when it is not here.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::NewerFormat`], or of a system call.
    pub fn container(&self, id: &ContainerId) -> Result<Option<Container>, StoreError> {
        for lifetime in [Lifetime::Kept, Lifetime::Volatile] {
            let Some(home) = self.home_if_there(lifetime)? else { continue };
            let Some(dir) = home.open_dir_if_there(id.as_str().as_bytes())? else { continue };
            let Some(record) = records::read::<ContainerRecord>(What::Container, &dir, CONFIG)? else { continue };
            if record.id != *id {
                return Err(StoreError::corrupt(What::Container, id, format_args!("its record is of {}", record.id)));
            }
            let path = self.home_path(lifetime).join(id.as_str());
            return Ok(Some(Container { record, dir, path, _owner: None }));
        }
        Ok(None)
    }

    /// The records of all containers, the one that was made last first.
    ///
    /// # Errors
    /// As [`Store::container`].
    pub fn containers(&self) -> Result<Vec<ContainerRecord>, StoreError> {
        let mut records = Vec::new();
        for id in self.container_ids()? {
            // One may be removed while they are read.
            records.extend(self.container(&id)?.map(|container| container.record));
        }
        records.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(records)
    }

    /// The IDs of all containers that are here, in no order.
    ///
    /// # Errors
    /// Of a system call.
    pub fn container_ids(&self) -> Result<Vec<ContainerId>, StoreError> {
        let mut ids = self.container_ids_of(Lifetime::Kept)?;
        ids.extend(self.container_ids_of(Lifetime::Volatile)?);
        Ok(ids)
    }

    /// The IDs of those that live so long, in no order.
    ///
    /// # Errors
    /// Of a system call.
    pub fn container_ids_of(&self, lifetime: Lifetime) -> Result<Vec<ContainerId>, StoreError> {
        let Some(home) = self.home_if_there(lifetime)? else { return Ok(Vec::new()) };
        let names = home.read_dir()?;
        Ok(names.iter().filter_map(|entry| ContainerId::parse(std::str::from_utf8(&entry.name).ok()?)).collect())
    }

    /// The container of which `text` is the whole ID, the name, or the beginning of the ID, tried in this order; `None`
    /// when there is none.
    ///
    /// # Errors
    /// [`StoreError::Ambiguous`], or as [`Store::container`].
    pub fn find_container(&self, text: &str) -> Result<Option<Container>, StoreError> {
        if let Some(found) = ContainerId::parse(text).map(|id| self.container(&id)).transpose()?.flatten() {
            return Ok(Some(found));
        }
        if let Ok(name) = ContainerName::new(text)
            && let Some(found) = self.container_named(&name)?
        {
            return Ok(Some(found));
        }
        if text.is_empty() {
            return Ok(None);
        }
        let mut fits = self.container_ids()?;
        fits.retain(|id| id.as_str().starts_with(text));
        match &fits[..] {
            [] => Ok(None),
            [id] => self.container(id),
            _ => {
                fits.sort();
                let matches = fits.into_iter().map(String::from).collect();
                Err(StoreError::Ambiguous { what: What::Container, prefix: text.to_owned(), matches })
            }
        }
    }

    /// Waits until nobody else changes the container, and keeps others from it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is gone; [`StoreError::ReadOnly`]; or as [`Store::container`].
    pub fn lock_container(&self, id: &ContainerId) -> Result<LockedContainer, StoreError> {
        self.writable()?;
        let lock = Lock::exclusive(&self.dirs.container_locks, id.as_str().as_bytes())?;
        match self.container(id)? {
            Some(container) => Ok(LockedContainer { container, lock }),
            None => {
                release(lock);
                Err(StoreError::not_found(What::Container, id))
            }
        }
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`], or of a system call; it has its old name then, or, if only the last flush was refused,
    /// the new one.
    pub fn rename_container(
        &self,
        lease: &Lease<'_>,
        locked: &mut LockedContainer,
        name: ContainerName,
    ) -> Result<(), StoreError> {
        let container = &mut locked.container;
        if container.record.name == name {
            return Ok(());
        }
        self.claim(lease.staging()?, &name, container.id(), Flush::Yes)?;
        let record = ContainerRecord { name: name.clone(), ..container.record.clone() };
        let draft = Draft { dir: &container.dir, name: b"config.json.new" };
        let written = records::encode(What::Container, &record)
            .and_then(|bytes| Ok(records::put(&draft, &container.dir, CONFIG, &bytes, Flush::Yes)?));
        if let Err(error) = written {
            // Where only the last flush was refused, the new name stands.
            let stands = self.container(container.id())?.map(|container| container.record);
            let renamed = stands.is_some_and(|stands| stands.name == name);
            let lost = if renamed { container.record.name.clone() } else { name };
            self.unclaim(&lost, container.id())?;
            if renamed {
                container.record = record;
            }
            return Err(error);
        }
        let before = std::mem::replace(&mut container.record, record);
        self.give_up(&before.name, &before.id);
        Ok(())
    }

    /// Removes a container with its upper, by one rename. Whether it may be removed, running as it may be, is for the caller
    /// to know.
    ///
    /// # Errors
    /// Of a system call; the container is whole or gone.
    pub fn remove_container(&self, locked: LockedContainer) -> Result<(), StoreError> {
        let LockedContainer { container, lock } = locked;
        let lifetime = container.record.lifetime;
        let home = self.home(lifetime)?;
        self.discard(&home, container.id().as_str().as_bytes())?;
        self.give_up(&container.record.name, container.id());
        if lifetime == Lifetime::Kept {
            home.sync()?;
        }
        release(lock);
        Ok(())
    }

    pub(crate) fn home_if_there(&self, lifetime: Lifetime) -> Result<Option<Dir>, StoreError> {
        match lifetime {
            Lifetime::Kept => Ok(Some(self.dirs.containers.try_clone()?)),
            Lifetime::Volatile => Ok(self.dirs.volatile.open_dir_if_there(self.boot_id().as_bytes())?),
        }
    }

    fn home(&self, lifetime: Lifetime) -> Result<Dir, StoreError> {
        match lifetime {
            Lifetime::Kept => Ok(self.dirs.containers.try_clone()?),
            Lifetime::Volatile => Ok(self.dirs.volatile.ensure_dir(self.boot_id().as_bytes(), DIR_MODE)?),
        }
    }

    fn home_path(&self, lifetime: Lifetime) -> PathBuf {
        match lifetime {
            Lifetime::Kept => self.path().join("containers"),
            Lifetime::Volatile => self.path().join("volatile").join(self.boot_id()),
        }
    }

    /// Gives a directory the attributes that a layer states, or what stands in for them.
    fn dress(&self, dir: &Dir, attrs: &Attrs) -> Result<(), SysError> {
        let directory = Kind::Directory { opaque: false, implicit: false };
        let attrs = stand_in(&directory, attrs, self.ability()).attrs;
        dir.chown_self(attrs.uid, attrs.gid)?;
        dir.chmod_self(attrs.mode)?;
        for (name, value) in &attrs.xattrs {
            dir.set_own_xattr(&self.marks().escape(name), value)?;
        }
        dir.utimens_self(Time { secs: attrs.mtime.secs, nanos: attrs.mtime.nanos })
    }
}
