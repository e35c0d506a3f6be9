//! Carrying out: the steps of a [`core::plan`](mica_core::plan) done on the upper and its work directory.
//!
//! Who knows where places are is a [`Context`]: the tree of nodes, or in tests paths. It speaks in *spots*, each of which stands for a name in a
//! directory, and is asked only for what the steps at hand need.
//!
//! # What it keeps
//!
//! * Each step is one system call that shows, or several before one that does. Whatever is made for it is in `work` under a name that nobody else takes,
//!   so any number of threads may carry plans out at once; what they may not do at once is for the locks of the tree.
//! * A plan that fails shows the old tree, as its module says: what was made is discarded, and what was brought up stays.
//! * A copy has all that the lower file has: content with its holes, owner, mode, every attribute, both times. What cannot be kept is an error. Where the
//!   [`Ability`] does not reach, it has the stand-in that readers know ([`mica_layer::stand_in`]).
//! * Content is on disk before it has a name, unless the upper is volatile.
//! * Bringing up changes no time of a directory. (A crash between the rename and the setting of the times does; so it is with the kernel's.)
//!
//! # Marks
//!
//! What is brought up has `origin` with an empty value, which says "copied up" and no more (`ovl_set_origin_fh`, Linux 6.18), and `mica.ino` with its
//! number, where the file can carry the attribute. So overlayfs mounts the upper over the same lowers with `redirect_dir=on,metacopy=on,index=off`,
//! and shows the same, but for the names of a file that is joining.

mod acl;
mod adopt;
mod attributes;
mod discard;
mod dress;
mod keep;
mod mark;
mod open;
mod shift;
mod source;
#[cfg(test)]
mod tests;
mod unnamed;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mica_core::plan::{At, Dress, Features, Mark, Step};
use mica_core::{Kind, Name, RelPath};
use mica_layer::{Ability, Marks};
use mica_sys::{Dir, Errno, File, SysError};

use crate::Records;

pub(crate) use attributes::is_unknown_owner;
pub(crate) use keep::{KEPT, kept_name};
pub(crate) use mark::CAPABILITY;
pub(crate) use open::{Opening, ability_here};
pub(crate) use source::Source;

/// An upper that plans are carried out on.
#[derive(Debug)]
pub(crate) struct Carrier {
    upper: Dir,
    /// Kept open, and with it its lock.
    base: Dir,
    /// The driver's own work directory: on the mount of the upper, empty when it is opened.
    work: Dir,
    marks: Marks,
    ability: Ability,
    records: Records,
    features: Features,
    volatile: bool,
    whiteouts: Whiteouts,
    /// The mask of the process, which takes bits from what is made in place.
    umask: u32,
    /// The IDs by which it makes files.
    ids: (u32, u32),
    /// The owner that what it makes in `work` has.
    given: (u32, u32),
    serial: AtomicU64,
    /// The upper's root says that files may be joining.
    says_joins: AtomicBool,
    /// Files may be kept.
    keeps: AtomicBool,
}

/// How the upper keeps whiteouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whiteouts {
    /// As character devices 0:0.
    Devices,
    /// As empty files with an attribute: the upper is on overlayfs, which takes no such devices.
    Files,
}

/// Why a plan was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CarryError {
    /// The upper's file system keeps no attribute as long as the redirect that is needed. The operation is planned anew with [`Features::Basic`].
    #[error("the lower path is too long for a redirect")]
    RedirectTooLong(#[source] SysError),
    /// A call was refused.
    #[error(transparent)]
    Sys(#[from] SysError),
}

impl CarryError {
    /// What a program is told.
    pub(crate) const fn errno(&self) -> Errno {
        match self {
            Self::RedirectTooLong(_) => Errno::XDEV,
            Self::Sys(error) => error.errno(),
        }
    }
}

/// Where something stands, or shall stand, in the upper.
#[derive(Debug, Clone)]
pub(crate) struct Stand {
    /// The directory; it may be opened for its path alone (`O_PATH`).
    pub(crate) dir: Arc<Dir>,
    /// The name in it.
    pub(crate) name: Name,
}

impl Stand {
    fn name(&self) -> &[u8] {
        self.name.as_bytes()
    }
}

/// A file to be made. Owners are those to be stored.
#[derive(Debug, Clone)]
pub(crate) struct New {
    /// What it is; a size is not looked at.
    pub(crate) kind: Kind,
    /// Permission bits as the program asked for them, 0 to 0o7777.
    pub(crate) mode: u32,
    /// The program's mask, which counts where the directory has no default access control list.
    pub(crate) umask: u32,
    /// The program's user.
    pub(crate) uid: u32,
    /// The program's group; a directory with the set-group-ID bit gives its own.
    pub(crate) gid: u32,
}

/// A size that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// In bytes.
    pub(crate) size: u64,
    /// The bits that lend the rights of owner and group go (`FATTR_KILL_SUIDGID`).
    pub(crate) clears_rights: bool,
}

impl Cut {
    /// The mode after it.
    pub(crate) const fn mode(self, mode: u32) -> u32 {
        match mode {
            _ if !self.clears_rights => mode,
            // Without the group's right to execute the second bit lends nothing (inode(7)).
            _ if mode & 0o010 == 0 => mode & !0o4000,
            _ => mode & !0o6000,
        }
    }
}

/// The names of a lower file that is joining.
#[derive(Debug, Clone)]
pub(crate) struct Joins<S> {
    /// Where the file that has been brought up stands, or is kept.
    pub(crate) up: Stand,
    /// The names that show the lower file still.
    pub(crate) lower: Vec<S>,
}

/// Who knows where places are.
pub(crate) trait Context {
    /// A name in a directory of the union.
    type Spot: Clone + fmt::Debug;

    /// The operation's place.
    fn spot(&mut self, at: At) -> Result<Self::Spot, SysError>;

    /// The directories above that are not in the upper, outermost first.
    fn missing_above(&mut self, spot: &Self::Spot) -> Result<Vec<Self::Spot>, SysError>;

    /// Where the spot is in the upper, which has its directory.
    fn stand(&mut self, spot: &Self::Spot) -> Result<Stand, SysError>;

    /// What shows from the lowers there.
    fn source(&mut self, spot: &Self::Spot) -> Result<Source, SysError>;

    /// The lowers' content of the regular file that shows there, or stands there as a metacopy, opened for reading.
    fn content(&mut self, spot: &Self::Spot) -> Result<File, SysError>;

    /// Where the lowers have what shows there: what an absolute redirect says.
    fn lower_path(&mut self, spot: &Self::Spot) -> Result<RelPath, SysError>;

    /// The names of the lower file there, which has been brought up and is joining.
    fn joins(&mut self, spot: &Self::Spot) -> Result<Joins<Self::Spot>, SysError>;

    /// Whether the file that stands there stands at another name too.
    fn stands_elsewhere(&mut self, _spot: &Self::Spot) -> bool {
        false
    }

    /// What the operation makes. For [`Dress::DeviceZero`] only the owner counts.
    fn new_file(&mut self) -> Result<New, SysError> {
        Err(unasked("new"))
    }

    /// The file without a name that gets one; `None` where a file gets one more.
    fn unnamed(&mut self) -> Option<&File> {
        None
    }

    /// What the operation makes of the size, where the file is brought up cut.
    fn cut(&mut self) -> Result<Cut, SysError> {
        Err(unasked("cut"))
    }

    /// Does the operation on what stands in the upper: [`Step::Change`].
    fn change(&mut self, _stand: &Stand) -> Result<(), SysError> {
        Err(unasked("change"))
    }

    /// Is told that what showed from the lowers stands in the upper now, at this name.
    fn came_up(&mut self, spot: &Self::Spot);
}

/// A context was asked for what its operation has not: a plan of another operation.
fn unasked(what: &'static str) -> SysError {
    SysError::new("plan", what, Errno::INVAL)
}

/// What was made by the way.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// The regular file that the operation made, open for reading and writing.
    pub(crate) file: Option<File>,
}

impl Carrier {
    /// Which marks may be written.
    pub(crate) const fn features(&self) -> Features {
        self.features
    }

    /// Carries out the steps of a plan in their order.
    ///
    /// # Errors
    /// The first refusal; what shows then is told by [`mica_core::plan`].
    pub(crate) fn carry<C: Context>(&self, steps: &[Step], context: &mut C) -> Result<Carried, CarryError> {
        let mut run = Run { carrier: self, context, temp: None, is_whiteout: false, carried: Carried::default() };
        let done = run.all(steps);
        if let Some(temp) = run.temp.take() {
            self.discard(&temp);
        }
        done.map(|()| run.carried)
    }

    /// A name in `work` that is nobody else's.
    fn temporary(&self) -> Vec<u8> {
        format!("{:x}", self.serial.fetch_add(1, Ordering::Relaxed)).into_bytes()
    }
}

/// A plan on its way.
struct Run<'a, C: Context> {
    carrier: &'a Carrier,
    context: &'a mut C,
    /// The name in `work` of the plan's one temporary file.
    temp: Option<Vec<u8>>,
    /// It is a whiteout.
    is_whiteout: bool,
    carried: Carried,
}

impl<C: Context> Run<'_, C> {
    fn all(&mut self, steps: &[Step]) -> Result<(), CarryError> {
        let mut steps = steps.iter().copied().peekable();
        while let Some(step) = steps.next() {
            match (step, steps.peek()) {
                (Step::Dress(Dress::New { opaque: false }), Some(Step::Place(at))) => {
                    let (at, new) = (*at, self.context.new_file()?);
                    if self.make_in_place(at, &new)? {
                        steps.next();
                    } else {
                        self.step(step)?;
                    }
                }
                (Step::Dress(Dress::File { .. } | Dress::Directory { .. }), Some(Step::Place(at))) => {
                    let at = *at;
                    self.step(step)?;
                    steps.next();
                    let spot = self.context.spot(at)?;
                    self.bring(&spot)?;
                }
                _ => self.step(step)?,
            }
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), CarryError> {
        match step {
            Step::Parents(at) => {
                let spot = self.context.spot(at)?;
                self.parents(&spot)
            }
            Step::Keep(at) => {
                let spot = self.context.spot(at)?;
                if !self.context.stands_elsewhere(&spot) {
                    self.carrier.keep(&self.context.stand(&spot)?)?;
                }
                Ok(())
            }
            Step::Dress(dress) => self.dress(dress),
            Step::Stage => self.stage(),
            Step::Place(at) => self.place(at),
            Step::Replace(at) => self.replace(at),
            Step::Swap(at) => self.swap(at),
            Step::TakeOut(at) => self.take_out(at),
            Step::Discard => {
                if let Some(temp) = self.temp.take() {
                    self.carrier.discard(&temp);
                }
                Ok(())
            }
            Step::Whiteout(at) => {
                let stand = self.stand(at)?;
                self.carrier.make_whiteout(&stand.dir, stand.name()).map_err(Into::into)
            }
            Step::Remove(at) => self.remove(at),
            Step::Link => {
                let (old, new) = (self.stand(At::Old)?, self.stand(At::New)?);
                old.dir.link(old.name(), &new.dir, new.name()).map_err(Into::into)
            }
            Step::Move(leaving) => self.shift(leaving),
            Step::Exchange => {
                let (old, new) = (self.stand(At::Old)?, self.stand(At::New)?);
                old.dir.exchange(old.name(), &new.dir, new.name()).map_err(Into::into)
            }
            Step::Join(at) => self.join(at),
            Step::Mark(at, mark) => self.mark(at, mark),
            Step::Unmark(at, mark) => {
                let stand = self.stand(at)?;
                self.carrier.unmark(&stand, mark).map_err(Into::into)
            }
            Step::Fill(at) => self.fill(at),
            Step::Change(at) => {
                let stand = self.stand(at)?;
                self.context.change(&stand).map_err(Into::into)
            }
        }
    }

    fn stand(&mut self, at: At) -> Result<Stand, SysError> {
        let spot = self.context.spot(at)?;
        self.context.stand(&spot)
    }

    /// The temporary file, which is no longer the plan's to remove once it has a name that shows.
    fn temp(&self) -> Result<&[u8], SysError> {
        self.temp.as_deref().ok_or_else(|| unasked("temp"))
    }

    fn parents(&mut self, spot: &C::Spot) -> Result<(), CarryError> {
        for missing in self.context.missing_above(spot)? {
            self.dress_directory(&missing)?;
            self.bring(&missing)?;
        }
        Ok(())
    }

    /// Gives what was brought up its name; the times of the directory stay.
    fn bring(&mut self, spot: &C::Spot) -> Result<(), CarryError> {
        let stand = self.context.stand(spot)?;
        let temp = self.temp()?;
        let before = stand.dir.metadata()?;
        self.carrier.work.rename_noreplace(temp, &stand.dir, stand.name())?;
        self.temp = None;
        // It stands from here on, whether or not the directory gets its times back.
        self.context.came_up(spot);
        Ok(attributes::set_own_times(&stand.dir, &before)?)
    }

    fn join(&mut self, at: At) -> Result<(), CarryError> {
        let spot = self.context.spot(at)?;
        let Joins { up, lower } = self.context.joins(&spot)?;
        for other in lower {
            self.parents(&other)?;
            let stand = self.context.stand(&other)?;
            let before = stand.dir.metadata()?;
            up.dir.link(up.name(), &stand.dir, stand.name())?;
            self.context.came_up(&other);
            attributes::set_own_times(&stand.dir, &before)?;
        }
        Ok(())
    }

    fn fill(&mut self, at: At) -> Result<(), CarryError> {
        let spot = self.context.spot(at)?;
        let (stand, from) = (self.context.stand(&spot)?, self.context.content(&spot)?);
        self.carrier.fill(&stand, &from).map_err(Into::into)
    }

    fn mark(&mut self, at: At, mark: Mark) -> Result<(), CarryError> {
        let spot = self.context.spot(at)?;
        let stand = self.context.stand(&spot)?;
        match mark {
            Mark::Opaque => self.carrier.set_mark(&stand.dir, stand.name(), self.carrier.marks.opaque(), b"y")?,
            Mark::Redirect(kind) => {
                let lower = self.context.lower_path(&spot)?;
                self.carrier.redirect(&stand.dir, stand.name(), kind, lower)?;
            }
            Mark::Settled => self.carrier.settle(&stand)?,
            Mark::Metacopy | Mark::Joining => return Err(unasked("mark").into()),
        }
        Ok(())
    }
}
