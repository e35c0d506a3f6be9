//! Names: given to what was made, taken from what stood, changed.

use mica_core::plan::{At, Leaving};
use mica_layer::make_whiteout;
use mica_sys::{Dir, Errno, FileKind, SysError};

use super::{Carrier, CarryError, Context, Run, Whiteouts};

/// The name in `work` of the whiteout that the others are links of. No temp has it: those are numbers.
pub(super) const SHARED: &[u8] = b"whiteout";

impl<C: Context> Run<'_, C> {
    /// The temp becomes one more name of a file.
    pub(super) fn stage(&mut self) -> Result<(), CarryError> {
        let carrier = self.carrier;
        let name = self.begin();
        match self.context.unnamed() {
            Some(file) => carrier.work.name_file(file, &name)?,
            None => {
                let old = self.stand(At::Old)?;
                old.dir.link(old.name(), &carrier.work, &name)?;
            }
        }
        Ok(())
    }

    pub(super) fn place(&mut self, at: At) -> Result<(), CarryError> {
        let stand = self.stand(at)?;
        self.carrier.work.rename_noreplace(self.temp()?, &stand.dir, stand.name())?;
        self.temp = None;
        Ok(())
    }

    pub(super) fn replace(&mut self, at: At) -> Result<(), CarryError> {
        let stand = self.stand(at)?;
        if self.is_whiteout {
            self.carrier.allow_whiteouts(&stand.dir)?;
        }
        self.carrier.work.rename(self.temp()?, &stand.dir, stand.name())?;
        self.temp = None;
        Ok(())
    }

    pub(super) fn swap(&mut self, at: At) -> Result<(), CarryError> {
        let stand = self.stand(at)?;
        if self.is_whiteout {
            self.carrier.allow_whiteouts(&stand.dir)?;
        }
        Ok(self.carrier.work.exchange(self.temp()?, &stand.dir, stand.name())?)
    }

    pub(super) fn take_out(&mut self, at: At) -> Result<(), CarryError> {
        let stand = self.stand(at)?;
        let name = self.begin();
        Ok(stand.dir.rename_noreplace(stand.name(), &self.carrier.work, &name)?)
    }

    pub(super) fn remove(&mut self, at: At) -> Result<(), CarryError> {
        let stand = self.stand(at)?;
        match stand.dir.unlink(stand.name()) {
            Err(error) if matches!(error.errno(), Errno::ISDIR | Errno::PERM) => {
                if stand.dir.stat(stand.name())?.kind != FileKind::Directory {
                    return Err(error.into());
                }
                Ok(stand.dir.rmdir(stand.name())?)
            }
            removed => Ok(removed?),
        }
    }

    pub(super) fn shift(&mut self, leaving: Leaving) -> Result<(), CarryError> {
        let (old, new) = (self.stand(At::Old)?, self.stand(At::New)?);
        let carrier = self.carrier;
        if leaving == Leaving::Nothing {
            return Ok(old.dir.rename(old.name(), &new.dir, new.name())?);
        }
        if carrier.whiteouts == Whiteouts::Devices {
            return Ok(old.dir.rename_leaving_whiteout(old.name(), &new.dir, new.name())?);
        }
        // No call leaves a whiteout there, so the names are exchanged first: a crash between shows the rename done, and at the old name what
        // was at the new one. The other order would show the file nowhere, or the lower one again.
        let whiteout = carrier.temporary();
        carrier.make_whiteout_in_work(&whiteout)?;
        let moved = carrier.allow_whiteouts(&old.dir).and_then(|()| {
            if new.dir.stat_if_there(new.name())?.is_none() {
                carrier.make_whiteout(&new.dir, new.name())?;
            }
            old.dir.exchange(old.name(), &new.dir, new.name())?;
            match carrier.work.rename(&whiteout, &old.dir, old.name()) {
                Err(error) if error.errno() == Errno::ISDIR => {
                    // An empty directory was replaced.
                    carrier.work.exchange(&whiteout, &old.dir, old.name())?;
                    carrier.discard(&whiteout);
                    Ok(())
                }
                renamed => renamed,
            }
        });
        if moved.is_err() {
            carrier.discard(&whiteout);
        }
        Ok(moved?)
    }
}

impl Carrier {
    /// Makes a whiteout at a name where nothing stands.
    pub(super) fn make_whiteout(&self, dir: &Dir, name: &[u8]) -> Result<(), SysError> {
        match self.whiteouts {
            Whiteouts::Devices => self.link_whiteout(dir, name),
            Whiteouts::Files => {
                // It has its mark when it gets its name.
                let temp = self.temporary();
                let placed = self
                    .make_whiteout_in_work(&temp)
                    .and_then(|()| self.allow_whiteouts(dir))
                    .and_then(|()| self.work.rename_noreplace(&temp, dir, name));
                if placed.is_err() {
                    self.discard(&temp);
                }
                placed
            }
        }
    }

    /// Makes a whiteout in `work`. Where it is a file, [`Self::allow_whiteouts`] comes before it is moved.
    pub(super) fn make_whiteout_in_work(&self, temp: &[u8]) -> Result<(), SysError> {
        match self.whiteouts {
            Whiteouts::Devices => self.link_whiteout(&self.work, temp),
            Whiteouts::Files => make_whiteout(&self.work, temp, self.marks),
        }
    }

    /// Gives a name to the one device of `work` that all whiteouts are, as overlayfs does: no file is made and none is written. It is made when it is first needed, and anew
    /// when it has all links that a file can have; where it cannot be linked, each name has a device of its own.
    ///
    /// Two links of one file are never renamed over each other here, which would do nothing (rename(2)): a whiteout takes no whiteout's place.
    fn link_whiteout(&self, dir: &Dir, name: &[u8]) -> Result<(), SysError> {
        let device = |dir: &Dir, name: &[u8]| dir.mknod(name, FileKind::CharDevice, 0, 0, 0);
        let link = || self.work.link(SHARED, dir, name);
        let linked = match link() {
            Err(error) if matches!(error.errno(), Errno::NOENT | Errno::MLINK) => {
                let temp = self.temporary();
                let made = device(&self.work, &temp).and_then(|()| self.work.rename(&temp, &self.work, SHARED));
                if made.is_err() {
                    self.discard(&temp);
                }
                made.and_then(|()| link())
            }
            linked => linked,
        };
        linked.or_else(|_| device(dir, name))
    }

    /// Says of a directory that files in it may be whiteouts, where they are.
    pub(super) fn allow_whiteouts(&self, dir: &Dir) -> Result<(), SysError> {
        if self.whiteouts == Whiteouts::Devices || dir.get_own_xattr(self.marks.opaque())?.is_some() {
            return Ok(());
        }
        dir.set_own_xattr(self.marks.opaque(), b"x")
    }
}
