//! Access and modification times, each set, kept or made the present.

use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use crate::dir::{Dir, component};
use crate::error::{Result, SysError};
use crate::fault::door;
use crate::file::File;
use crate::stat::Time;

/// What becomes of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SetTime {
    /// It stays as it is.
    Keep,
    /// It becomes the kernel's present.
    Now,
    /// It becomes this.
    To(Time),
}

impl SetTime {
    fn spec(self) -> Timespec {
        match self {
            Self::Keep => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            Self::Now => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
            Self::To(time) => Timespec { tv_sec: time.secs, tv_nsec: i64::from(time.nanos) },
        }
    }
}

pub(crate) fn both(access: SetTime, modification: SetTime) -> Timestamps {
    Timestamps { last_access: access.spec(), last_modification: modification.spec() }
}

impl Dir {
    /// Sets the times of `name` itself.
    ///
    /// # Errors
    /// `utimensat`'s.
    pub fn set_times(&self, name: &[u8], access: SetTime, modification: SetTime) -> Result<()> {
        component("utimensat", name)?;
        door("utimensat", name)?;
        rustix::fs::utimensat(self, name, &both(access, modification), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| SysError::new("utimensat", name, errno))
    }

    /// Sets the times of this directory, which may be opened for its path alone (`O_PATH`).
    ///
    /// # Errors
    /// `utimensat`'s.
    pub fn set_own_times(&self, access: SetTime, modification: SetTime) -> Result<()> {
        door("utimensat", b".")?;
        rustix::fs::utimensat(self, c".", &both(access, modification), AtFlags::empty())
            .map_err(|errno| SysError::new("utimensat", b".", errno))
    }
}

impl File {
    /// Sets the times.
    ///
    /// # Errors
    /// `futimens`'s.
    pub fn set_times(&self, access: SetTime, modification: SetTime) -> Result<()> {
        door("futimens", self.name())?;
        rustix::fs::futimens(self, &both(access, modification))
            .map_err(|errno| SysError::new("futimens", self.name(), errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_set_alone_and_the_other_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::open(scratch.path()).unwrap();
        let file = dir.create_file(b"f", 0o600).unwrap();
        let times = || dir.stat(b"f").map(|found| (found.atime, found.mtime)).unwrap();
        let (old, new) = (Time { secs: -5, nanos: 7 }, Time { secs: 9, nanos: 0 });
        file.set_times(SetTime::To(old), SetTime::To(new)).unwrap();
        assert_eq!(times(), (old, new));
        dir.set_times(b"f", SetTime::Keep, SetTime::To(old)).unwrap();
        assert_eq!(times(), (old, old));
        dir.set_times(b"f", SetTime::Now, SetTime::Keep).unwrap();
        assert!(times().0.secs > 1_000_000_000 && times().1 == old);
        dir.set_own_times(SetTime::To(new), SetTime::To(old)).unwrap();
        let own = dir.metadata().unwrap();
        assert_eq!((own.atime, own.mtime), (new, old));
    }
}
