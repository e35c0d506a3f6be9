//! Claims: how a container's name is had by one container alone.
//!
//! A claim is a symlink `container-names/<name>` whose target is the container's ID. The kernel makes a symlink in one
//! step or says that the name is taken, so that nobody has to look through all containers. The truth is the container's
//! own record: a claim whose container is gone, or has another name, was left by somebody who died between the two.

use std::fmt;

use mica_sys::{Dir, Lock};
use serde::{Deserialize, Serialize};

use crate::check::Repair;
use crate::containers::ContainerId;
use crate::error::{ReadOnly, StoreError};
use crate::records::{self, Flush};
use crate::store::{Store, release};

/// The longest name of a container.
const LONGEST: usize = 128;

/// A container's name, as Docker takes them: a letter or digit, then letters, digits, `_`, `.` and `-`; at most 128.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(String);

impl ContainerName {
    /// Takes a name.
    ///
    /// # Errors
    /// [`StoreError::BadName`].
    pub fn new(name: &str) -> Result<Self, StoreError> {
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
        if first && rest && name.len() <= LONGEST {
            Ok(Self(name.to_owned()))
        } else {
            Err(StoreError::BadName { name: name.to_owned() })
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ContainerName {
    type Error = StoreError;

    fn try_from(name: String) -> Result<Self, StoreError> {
        Self::new(&name)
    }
}

impl From<ContainerName> for String {
    fn from(name: ContainerName) -> Self {
        name.0
    }
}

impl Store {
    /// The container that has this name; `None` when there is none.
    ///
    /// # Errors
    /// As [`Store::container`].
    pub fn container_named(&self, name: &ContainerName) -> Result<Option<crate::Container>, StoreError> {
        let Some(id) = self.claimed_by(name)? else { return Ok(None) };
        let found = self.container(&id)?;
        Ok(found.filter(|container| container.record().name == *name))
    }

    /// Claims a name for a container whose lock the caller holds.
    pub(crate) fn claim(
        &self,
        staging: &Dir,
        name: &ContainerName,
        id: &ContainerId,
        flush: Flush,
    ) -> Result<(), StoreError> {
        let claims = &self.dirs.claims;
        loop {
            match claims.symlink(id.as_str().as_bytes(), name.as_str().as_bytes()) {
                Ok(()) => break,
                Err(error) if error.is_exists() => {}
                Err(error) => return Err(error.into()),
            }
            let Some(holder) = self.claimed_by(name)? else {
                self.discard_nonsense(name)?;
                continue;
            };
            if holder == *id {
                break;
            }
            // Whoever makes or renames the holder has its lock, so that a claim whose lock is free is settled.
            let Some(lock) = Lock::try_exclusive(&self.dirs.container_locks, holder.as_str().as_bytes())? else {
                return Err(StoreError::NameTaken { name: name.to_string(), by: holder.into() });
            };
            if self.claimed_by(name)?.as_ref() != Some(&holder) {
                continue;
            }
            if self.container(&holder)?.is_some_and(|container| container.record().name == *name) {
                return Err(StoreError::NameTaken { name: name.to_string(), by: holder.into() });
            }
            // The dead holder's lock keeps others from replacing the same leftover.
            let draft = records::random_name()?;
            staging.symlink(id.as_str().as_bytes(), draft.as_bytes())?;
            staging.rename(draft.as_bytes(), claims, name.as_str().as_bytes())?;
            drop(lock);
            break;
        }
        if flush == Flush::Yes
            && let Err(error) = claims.sync()
        {
            self.unclaim(name, id)?;
            return Err(error.into());
        }
        Ok(())
    }

    /// Gives a name up, if the container has it. The caller holds the container's lock.
    pub(crate) fn unclaim(&self, name: &ContainerName, id: &ContainerId) -> Result<(), StoreError> {
        if self.claimed_by(name)?.as_ref() == Some(id) {
            records::unlink_if_there(&self.dirs.claims, name.as_str().as_bytes())?;
        }
        Ok(())
    }

    /// As [`Store::unclaim`], after the container has the name no more: whoever wants it replaces a claim that stays, and gc
    /// removes it.
    pub(crate) fn give_up(&self, name: &ContainerName, id: &ContainerId) {
        // ignored: what was asked for is done, and the claim that is left stands for nothing.
        drop(self.unclaim(name, id));
    }

    /// Claims that stand for nothing: their container is gone or has another name. With `mend` they are removed. A claim
    /// whose container is being made or changed is passed over.
    pub(crate) fn stale_claims(&self, mend: Repair) -> Result<Vec<ContainerName>, StoreError> {
        let mut stale = Vec::new();
        for entry in self.dirs.claims.read_dir()? {
            let name = std::str::from_utf8(&entry.name).ok().and_then(|name| ContainerName::new(name).ok());
            let Some(name) = name else { continue };
            let Some(id) = self.claimed_by(&name)? else { continue };
            let lock = match self.read_only() {
                // There a lock cannot be made, and nobody makes or changes a container.
                Some(ReadOnly::FileSystem) => None,
                _ => match Lock::try_exclusive(&self.dirs.container_locks, id.as_str().as_bytes())? {
                    Some(lock) => Some(lock),
                    None => continue,
                },
            };
            // One whose record cannot be read may have the name.
            let gone = match self.container(&id) {
                Ok(found) => found.is_none_or(|container| container.record().name != name),
                Err(StoreError::Corrupt { .. }) => false,
                Err(error) => return Err(error),
            };
            if gone && self.claimed_by(&name)?.as_ref() == Some(&id) {
                if mend == Repair::Mend {
                    self.unclaim(&name, &id)?;
                }
                stale.push(name);
                if let Some(lock) = lock {
                    release(lock);
                }
            }
        }
        Ok(stale)
    }

    /// Removes a claim that names no container ID, which no program of ours makes.
    fn discard_nonsense(&self, name: &ContainerName) -> Result<(), StoreError> {
        match self.dirs.claims.read_link(name.as_str().as_bytes()) {
            Ok(target) if std::str::from_utf8(&target).ok().and_then(ContainerId::parse).is_none() => {
                self.discard(&self.dirs.claims, name.as_str().as_bytes())
            }
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Whose claim stands at `name`; `None` when there is none, or one that is no container ID.
    pub(crate) fn claimed_by(&self, name: &ContainerName) -> Result<Option<ContainerId>, StoreError> {
        match self.dirs.claims.read_link(name.as_str().as_bytes()) {
            Ok(target) => Ok(std::str::from_utf8(&target).ok().and_then(ContainerId::parse)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_or_flags_are_refused() {
        for bad in ["", ".", "..", "-a", "_a", ".a", "a/b", "a b", "a\0", "ä", &"a".repeat(129)] {
            assert!(ContainerName::new(bad).is_err(), "{bad:?} was taken");
        }
        for good in ["a", "9", "a..", "silent_otter", "A-1.b", &"a".repeat(128)] {
            assert!(ContainerName::new(good).is_ok(), "{good:?} was refused");
        }
        assert!(serde_json::from_str::<ContainerName>(r#""../x""#).is_err());
        assert!(serde_json::from_str::<ContainerId>(r#""../x""#).is_err());
    }
}
