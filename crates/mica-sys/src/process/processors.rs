//! On which processors threads run.

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::CpuSet;

use crate::error::{Result, SysError};

/// A thread, and the processors that it had when this was made. It must not be used when the thread has ended: its number may be another's.
#[derive(Debug)]
pub struct Affinity {
    thread: rustix::process::Pid,
    may: CpuSet,
}

impl Affinity {
    /// The calling thread.
    ///
    /// # Errors
    /// `EINVAL` on a machine of more than 1,024 processors.
    pub fn here() -> Result<Self> {
        let may =
            rustix::thread::sched_getaffinity(None).map_err(|errno| SysError::new("sched_getaffinity", "", errno))?;
        Ok(Self { thread: rustix::thread::gettid(), may })
    }

    /// On how many processors it may run.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.may.count()
    }

    /// Lets it run on one processor alone.
    ///
    /// # Errors
    /// `EINVAL` where that processor is not there or was not allowed.
    pub fn stay_on(&self, processor: u16) -> Result<()> {
        let index = usize::from(processor);
        if index >= CpuSet::MAX_CPU || !self.may.is_set(index) {
            return Err(refused(Errno::INVAL));
        }
        let mut one = CpuSet::new();
        one.set(index);
        rustix::thread::sched_setaffinity(Some(self.thread), &one).map_err(refused)
    }

    /// Lets it run wherever it might at first.
    ///
    /// # Errors
    /// `EINVAL` where none of those processors is allowed any more.
    pub fn roam(&self) -> Result<()> {
        rustix::thread::sched_setaffinity(Some(self.thread), &self.may).map_err(refused)
    }
}

fn refused(errno: Errno) -> SysError {
    SysError::new("sched_setaffinity", "", errno)
}

/// On which processor a thread of any process runs, or ran last (the 39th word of proc_pid_stat(5)).
///
/// # Errors
/// `ENOENT`, `ESRCH` where there is no such thread, or no `/proc`; `EACCES`; `EINVAL` for what does not look like that file.
pub fn processor_of(thread: u32) -> Result<u16> {
    let path = format!("/proc/{thread}/stat");
    let named = |call: &'static str, errno| SysError::new(call, &path, errno);
    let file = rustix::fs::openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let file = file.map_err(|errno| named("openat", errno))?;
    let mut room = [0; 1024];
    let length = rustix::io::read(&file, &mut room).map_err(|errno| named("read", errno))?;
    let line = room.get(..length).unwrap_or_default();
    processor_in(line).ok_or_else(|| named("read", Errno::INVAL))
}

/// The second word is a name in parentheses, in which anything may stand.
fn processor_in(line: &[u8]) -> Option<u16> {
    let after = line.iter().rposition(|byte| *byte == b')')? + 1;
    std::str::from_utf8(line.get(after..)?).ok()?.split_ascii_whitespace().nth(36)?.parse().ok()
}

/// Whether the numbers in `/proc` are those by which this process knows others.
#[must_use]
pub fn proc_is_ours() -> bool {
    let own = rustix::process::getpid().as_raw_nonzero().to_string();
    rustix::fs::readlinkat(CWD, "/proc/self", Vec::new()).is_ok_and(|link| link.to_bytes() == own.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_where_it_must_stay_and_roams_again() {
        std::thread::spawn(|| {
            let affinity = Affinity::here().unwrap();
            let own = u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            let mine = (0..1024_u16).filter(|index| affinity.may.is_set(usize::from(*index)));
            for processor in mine {
                affinity.stay_on(processor).unwrap();
                assert_eq!(processor_of(own).unwrap(), processor);
                assert_eq!(Affinity::here().unwrap().count(), 1);
            }
            affinity.roam().unwrap();
            assert_eq!(Affinity::here().unwrap().count(), affinity.count());
            assert_eq!(affinity.stay_on(u16::MAX).unwrap_err().errno(), Errno::INVAL);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_name_may_look_like_the_words_behind_it() {
        let words = |name: &str| {
            let numbers: Vec<String> = (4..=52).map(|word| word.to_string()).collect();
            processor_in(format!("17 ({name}) S {}\n", numbers.join(" ")).as_bytes())
        };
        assert_eq!(["cat", "a) S 1 2 (", "", "\u{1f600} )"].map(words), [Some(39); 4]);
        assert_eq!([&b""[..], b"1 (cat) S 2 3", b"1 (cat", &[0xff; 1024]].map(processor_in), [None; 4]);
    }

    #[test]
    fn who_is_not_there_is_on_no_processor() {
        assert!([Errno::NOENT, Errno::SRCH].contains(&processor_of(u32::MAX).unwrap_err().errno()));
        assert!(proc_is_ours());
    }
}
