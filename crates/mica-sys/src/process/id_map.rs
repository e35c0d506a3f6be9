//! The ID maps of a user namespace, as the kernel shows those of this process.

use std::fmt;
use std::path::Path;

use rustix::io::Errno;

use crate::SysError;

/// The kernel's number of the namespace that the machine starts with (`USER_NS_INIT_INO` of `linux/nsfs.h`; the same since 3.8).
const INITIAL: u64 = 0xEFFF_FFFD;

/// One row of a map: the IDs from `inside` on are those from `outside` on in the parent namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdRow {
    /// First ID inside.
    pub inside: u32,
    /// First ID outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl fmt::Display for IdRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.inside, self.outside, self.count)
    }
}

/// The maps of users and of groups, in the order of the IDs inside. No rows: nothing is mapped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMaps {
    /// Of users.
    pub uids: Vec<IdRow>,
    /// Of groups.
    pub gids: Vec<IdRow>,
}

impl IdMaps {
    /// One user and one group, each as 0.
    #[must_use]
    pub fn single(uid: u32, gid: u32) -> Self {
        let row = |outside| vec![IdRow { inside: 0, outside, count: 1 }];
        Self { uids: row(uid), gids: row(gid) }
    }

    /// Whether at most one user and one group are mapped.
    #[must_use]
    pub fn is_single(&self) -> bool {
        [&self.uids, &self.gids].iter().all(|rows| rows.iter().map(|row| u64::from(row.count)).sum::<u64>() <= 1)
    }
}

/// The maps of this process's user namespace, outside being its parent.
///
/// # Errors
/// Of reading `/proc/self/uid_map` or `gid_map`; `EINVAL` for what is no map.
pub fn id_maps() -> Result<IdMaps, SysError> {
    Ok(IdMaps { uids: read("/proc/self/uid_map")?, gids: read("/proc/self/gid_map")? })
}

/// Whether this process is in the user namespace that the machine started with, or on a kernel without such namespaces.
///
/// # Errors
/// Of `stat`.
pub fn in_initial_user_namespace() -> Result<bool, SysError> {
    is_initial(Path::new("/proc/self"))
}

/// Whether that thread is.
///
/// # Errors
/// Of `stat`: `EACCES` where this process may not look at it.
pub(super) fn in_initial_user_namespace_of(thread: u32) -> Result<bool, SysError> {
    is_initial(&Path::new("/proc").join(thread.to_string()))
}

fn is_initial(process: &Path) -> Result<bool, SysError> {
    let path = process.join("ns/user");
    match rustix::fs::stat(&path) {
        Ok(stat) => Ok(stat.st_ino == INITIAL),
        Err(Errno::NOENT) if process.exists() => Ok(true),
        Err(errno) => Err(super::failed("stat", path.as_os_str().as_encoded_bytes())(errno)),
    }
}

fn read(path: &str) -> Result<Vec<IdRow>, SysError> {
    let wrong = |errno| super::failed("read", path)(errno);
    let text =
        std::fs::read_to_string(path).map_err(|error| wrong(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    text.lines().map(|line| row(line).ok_or(Errno::INVAL)).collect::<Result<_, _>>().map_err(wrong)
}

fn row(line: &str) -> Option<IdRow> {
    let mut numbers = line.split_ascii_whitespace().map(|word| word.parse().ok());
    let row = IdRow { inside: numbers.next()??, outside: numbers.next()??, count: numbers.next()?? };
    numbers.next().is_none().then_some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_the_kernel_pads_them() {
        assert_eq!(row("         0     790001          1"), Some(IdRow { inside: 0, outside: 790_001, count: 1 }));
        assert_eq!(row("0 0 4294967295").unwrap().count, u32::MAX);
        for bad in ["", "0 0", "0 0 1 1", "a 0 1", "0 0 4294967296"] {
            assert_eq!(row(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn one_user_and_one_group_are_a_single_map() {
        let mut maps = IdMaps::single(1000, 100);
        assert!(maps.is_single());
        maps.gids.push(IdRow { inside: 1, outside: 5, count: 1 });
        assert!(!maps.is_single());
    }

    #[test]
    fn this_process_has_a_map() {
        let maps = id_maps().unwrap();
        assert!(maps.uids.iter().chain(&maps.gids).any(|row| row.count > 0));
        // Not an equivalence: a namespace further in may map all as well.
        if in_initial_user_namespace().unwrap() {
            assert_eq!(maps.uids, [IdRow { inside: 0, outside: 0, count: u32::MAX }]);
        }
    }
}
