//! Dressing: what is made in `work`, or at its place at once, with everything that it shall have.

use mica_core::plan::{At, Content, Dress, RedirectKind};
use mica_core::{Attrs, Kind, Rdev};
use mica_layer::stand_in;
use mica_sys::process::FsIds;
use mica_sys::{Dir, Errno, File, FileKind, SetTime, Subject, SysError};

use super::acl::DefaultAcl;
use super::attributes::Temp;
use super::mark::CAPABILITY;
use super::{Carrier, CarryError, Context, New, Run, Source, Stand};

/// What set-group-ID is in a mode.
const SET_GID: u32 = 0o2000;
/// A file nobody but the server can open until it is dressed.
const UNDRESSED: u32 = 0o600;

impl<C: Context> Run<'_, C> {
    pub(super) fn dress(&mut self, dress: Dress) -> Result<(), CarryError> {
        match dress {
            Dress::New { opaque } => {
                let new = self.context.new_file()?;
                self.dress_new(&new, opaque)?;
            }
            Dress::File { like, content, joining } => {
                let spot = self.context.spot(like)?;
                self.dress_file(&spot, content, joining)?;
            }
            Dress::Directory { like } => {
                let spot = self.context.spot(like)?;
                self.dress_directory(&spot)?;
            }
            Dress::Empty { like } => self.dress_empty(like)?,
            Dress::Whiteout => {
                let temp = self.begin();
                self.is_whiteout = true;
                self.carrier.make_whiteout_in_work(&temp)?;
            }
            Dress::DeviceZero => {
                let asked = self.context.new_file()?;
                let kind = Kind::CharDevice(Rdev::default());
                let temp = self.begin();
                self.carrier.make(&temp, &kind)?;
                let bare = New { kind, mode: 0, ..asked };
                let attrs = self.carrier.given(&self.stand(At::Old)?.dir, &bare)?;
                self.carrier.put_owner_and_mode(self.carrier.temp(&temp, None), &bare.kind, &attrs)?;
            }
        }
        Ok(())
    }

    /// Takes the name of the temp, so that it is discarded whatever happens to it.
    pub(super) fn begin(&mut self) -> Vec<u8> {
        let name = self.carrier.temporary();
        self.temp = Some(name.clone());
        self.is_whiteout = false;
        name
    }

    fn dress_file(&mut self, spot: &C::Spot, content: Content, joining: bool) -> Result<(), CarryError> {
        let mut source = self.context.source(spot)?;
        let cut = if content == Content::Cut { Some(self.context.cut()?) } else { None };
        if let Some(cut) = cut {
            let attrs = &mut source.node.attrs;
            attrs.mode = cut.mode(attrs.mode);
            attrs.xattrs.remove(CAPABILITY);
        }
        let later = content == Content::Later;
        let lower = if later || joining { Some(self.context.lower_path(spot)?) } else { None };
        let name = self.begin();
        let file = self.carrier.make(&name, &source.node.kind)?;
        let temp = self.carrier.temp(&name, file.as_ref());
        if let (Some(file), Kind::File { size, .. }) = (&file, &source.node.kind) {
            match cut {
                Some(cut) => self.put_start(spot, file, *size, cut.size)?,
                None => self.put_content(spot, file, *size, content)?,
            }
        }
        // The mode may take the right to set attributes away, even from whoever owns the file.
        self.put_marks(temp, &source)?;
        if let Some(lower) = lower {
            let (kind, marks) = (&source.node.kind, self.carrier.marks);
            if joining {
                self.carrier.say_joins()?;
                let value = [b"/", lower.as_bytes()].concat();
                self.carrier.set_mark_if_it_can(temp, kind, marks.joining(), &value)?;
            }
            if later {
                self.carrier.redirect(&self.carrier.work, &name, RedirectKind::Absolute, lower)?;
                temp.set_xattr(marks.metacopy(), b"")?;
            }
        }
        self.carrier.put_attributes(temp, &source)?;
        if cut.is_some() {
            temp.set_times(SetTime::Keep, SetTime::Now)?;
        }
        Ok(())
    }

    fn put_content(&mut self, spot: &C::Spot, file: &File, size: u64, content: Content) -> Result<(), CarryError> {
        if content == Content::Later {
            return Ok(file.set_len(size)?);
        }
        if size == 0 {
            return Ok(());
        }
        file.copy_from(&self.context.content(spot)?)?;
        Ok(self.flush(file)?)
    }

    /// The file as cutting leaves it.
    fn put_start(&mut self, spot: &C::Spot, file: &File, size: u64, wanted: u64) -> Result<(), CarryError> {
        file.set_len(wanted)?;
        if size.min(wanted) == 0 {
            return Ok(());
        }
        file.copy_start(&self.context.content(spot)?, size.min(wanted))?;
        Ok(self.flush(file)?)
    }

    fn flush(&self, file: &File) -> Result<(), SysError> {
        if self.carrier.volatile { Ok(()) } else { file.sync_content() }
    }

    fn put_marks(&self, temp: Temp<'_>, source: &Source) -> Result<(), SysError> {
        let (carrier, kind) = (self.carrier, &source.node.kind);
        carrier.set_mark_if_it_can(temp, kind, carrier.marks.origin(), b"")?;
        if let Some(number) = source.number {
            carrier.set_mark_if_it_can(temp, kind, carrier.marks.ino(), &number.to_le_bytes())?;
        }
        Ok(())
    }

    pub(super) fn dress_directory(&mut self, spot: &C::Spot) -> Result<(), CarryError> {
        let source = self.context.source(spot)?;
        let name = self.begin();
        self.carrier.make(&name, &source.node.kind)?;
        let temp = self.carrier.temp(&name, None);
        self.put_marks(temp, &source)?;
        Ok(self.carrier.put_attributes(temp, &source)?)
    }

    /// What stands there is a directory of the upper; of its attributes only those marks are left out that say where its names come from.
    fn dress_empty(&mut self, like: At) -> Result<(), CarryError> {
        let stand = self.stand(like)?;
        let (carrier, name) = (self.carrier, stand.name());
        let found = stand.dir.stat(name)?;
        let temp = self.begin();
        carrier.work.mkdir(&temp, 0o700)?;
        carrier.work.chown(&temp, found.uid, found.gid)?;
        for attribute in stand.dir.list_xattrs(name)? {
            let is_ours = carrier.marks.unescape(&attribute).is_some() || attribute == carrier.marks.ino();
            if is_ours && let Some(value) = stand.dir.get_xattr(name, &attribute)? {
                carrier.work.set_xattr(&temp, &attribute, &value)?;
            }
        }
        carrier.work.set_xattr(&temp, carrier.marks.opaque(), b"y")?;
        carrier.work.chmod(&temp, found.mode)?;
        Ok(carrier.work.set_times(&temp, SetTime::To(found.atime), SetTime::To(found.mtime))?)
    }

    /// Makes a new file in `work`, as its directory would have it.
    fn dress_new(&mut self, new: &New, opaque: bool) -> Result<(), CarryError> {
        let attrs = self.carrier.given(&self.stand(At::New)?.dir, new)?;
        let temp = self.begin();
        let file = self.carrier.make(&temp, &new.kind)?;
        self.carrier.put_owner_and_mode(self.carrier.temp(&temp, file.as_ref()), &new.kind, &attrs)?;
        if opaque {
            self.carrier.work.set_xattr(&temp, self.carrier.marks.opaque(), b"y")?;
        }
        self.carried.file = file;
        Ok(())
    }

    /// Makes a new file at its place, where one call gives it everything; `false` where not, and nothing is made then.
    pub(super) fn make_in_place(&mut self, at: At, new: &New) -> Result<bool, CarryError> {
        let carrier = self.carrier;
        let is_marked = stand_in(&new.kind, &Attrs::default(), &carrier.ability).is_marked_file;
        // A file without its record would be the server's.
        if carrier.records.are_kept() {
            return Ok(false);
        }
        // The kernel has looked whether the program may give the bit; what it would look at here are the server's groups.
        if is_marked || new.mode & SET_GID != 0 {
            return Ok(false);
        }
        let stand = self.stand(at)?;
        let masked = new.mode & new.umask != 0 && DefaultAcl::of(&stand.dir)?.is_none();
        let mode = if masked { new.mode & !new.umask } else { new.mode };
        if mode & carrier.umask != 0 {
            return Ok(false);
        }
        let made = if (new.uid, new.gid) == carrier.ids {
            make_at(&stand, &new.kind, mode)
        } else {
            let Some(_ids) = FsIds::take(new.uid, new.gid) else { return Ok(false) };
            make_at(&stand, &new.kind, mode)
        };
        match made {
            // What the program may do by a capability alone is done in `work`.
            Err(error) if error.is_denied() => Ok(false),
            made => {
                self.carried.file = made?;
                Ok(true)
            }
        }
    }
}

impl Carrier {
    /// Makes the temp of its kind, empty and undressed; or the empty file that stands for it. A regular file is given open.
    fn make(&self, temp: &[u8], kind: &Kind) -> Result<Option<File>, SysError> {
        let work = &self.work;
        let node = |kind, rdev: &Rdev| work.mknod(temp, kind, UNDRESSED, rdev.major, rdev.minor);
        if stand_in(kind, &Attrs::default(), &self.ability).is_marked_file
            && let Some((mark, value)) = self.marks.of_device(kind)
        {
            drop(work.create_file(temp, UNDRESSED)?);
            work.set_xattr(temp, mark, &value)?;
            return Ok(None);
        }
        match kind {
            Kind::File { .. } => return work.create_file(temp, UNDRESSED).map(Some),
            Kind::Directory { .. } => work.mkdir(temp, 0o700)?,
            Kind::Symlink { target } => work.symlink(target, temp)?,
            Kind::CharDevice(rdev) => node(FileKind::CharDevice, rdev)?,
            Kind::BlockDevice(rdev) => node(FileKind::BlockDevice, rdev)?,
            Kind::Fifo => node(FileKind::Fifo, &Rdev::default())?,
            Kind::Socket => node(FileKind::Socket, &Rdev::default())?,
            // A link to a parent layer's file shows as that file; a kind that does not exist yet shows as nothing.
            _ => return Err(SysError::new("mknodat", temp, Errno::INVAL)),
        }
        Ok(None)
    }

    /// Copies a lower file that has lost its names to one without a name in the upper; `content` is that of a regular file. The handle is for its
    /// path alone.
    ///
    /// # Errors
    /// Of the first call that was refused; nothing is left then.
    pub(crate) fn copy_unnamed(&self, source: &Source, content: Option<&File>) -> Result<File, SysError> {
        let temp = self.temporary();
        let copied = self.make(&temp, &source.node.kind).and_then(|file| {
            if let (Some(file), Some(content)) = (&file, content) {
                file.copy_from(content)?;
            }
            self.put_attributes(self.temp(&temp, file.as_ref()), source)?;
            self.work.open_path(&temp)
        });
        self.discard(&temp);
        copied
    }

    /// What a new file has in a directory: the group, the set-group-ID bit and the access control lists that it gives.
    pub(super) fn given(&self, parent: &Dir, new: &New) -> Result<Attrs, SysError> {
        let mut directory = parent.metadata()?;
        self.records.show(&mut directory, &Subject::dir(parent))?;
        let is_directory = new.kind.is_directory();
        let mut attrs = Attrs { mode: new.mode, uid: new.uid, gid: new.gid, ..Attrs::default() };
        if directory.mode & SET_GID != 0 {
            attrs.gid = directory.gid;
            if is_directory {
                attrs.mode |= SET_GID;
            }
        }
        if !matches!(new.kind, Kind::Symlink { .. }) {
            match DefaultAcl::of(parent)?.filter(|_| !self.records.are_kept()) {
                Some(acl) => acl.inherit(is_directory, &mut attrs),
                None => attrs.mode &= !new.umask,
            }
        }
        Ok(attrs)
    }
}

fn make_at(stand: &Stand, kind: &Kind, mode: u32) -> Result<Option<File>, SysError> {
    let (dir, name): (&Dir, _) = (&stand.dir, stand.name());
    let node = |kind, rdev: &Rdev| dir.mknod(name, kind, mode, rdev.major, rdev.minor);
    match kind {
        Kind::File { .. } => return dir.create_file(name, mode).map(Some),
        Kind::Directory { .. } => dir.mkdir(name, mode)?,
        Kind::Symlink { target } => dir.symlink(target, name)?,
        Kind::CharDevice(rdev) => node(FileKind::CharDevice, rdev)?,
        Kind::BlockDevice(rdev) => node(FileKind::BlockDevice, rdev)?,
        Kind::Fifo => node(FileKind::Fifo, &Rdev::default())?,
        Kind::Socket => node(FileKind::Socket, &Rdev::default())?,
        _ => return Err(SysError::new("mknodat", name, Errno::INVAL)),
    }
    Ok(None)
}
