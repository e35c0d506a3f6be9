//! Where a command stands: as root of this machine, or as root of a user namespace, which it enters where it is in none.
//!
//! | process | marks | owners | mounts |
//! |---|---|---|---|
//! | root of this machine | `trusted` | `native` | stay |
//! | root of another user namespace, with its rights (a container, `mica unshare`) | `user` | by its map | stay while somebody is in it |
//! | anyone else: enters one | `user` | by the map that is made | end with the command |
//!
//! Root that may not mount, as in a container or in a `try`, is anyone else, and its map is all that is mapped where it stands. Root of this machine
//! stays what it is where it can enter none, or where the store is root's already.
//!
//! A namespace that is entered maps the user's own ID to 0, and behind it the ranges that `/etc/subuid` and `/etc/subgid` give. Where there are
//! none, or nobody to write such a map, the own ID is all, owners stand in the layers' indexes alone, and [`Shortage`] says why.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use mica_layer::Marks;
use mica_store::Owners;
use mica_sys::SysError;
use mica_sys::mount::{Propagation, Reach, SetAttrs, set_attrs, unshare_mounts};
use mica_sys::process::{
    Caps, EnterError, IdMaps, IdRow, MapPrograms, NewMap, effective_caps, effective_gid, effective_uid,
    enter_user_namespace, id_maps, in_initial_user_namespace, owns_mount_namespace, user_name,
};

use crate::error::{Error, Kind, Result};

mod ranges;
mod refused;

/// Those by which all IDs can be mapped into a new namespace: `CAP_SETGID`, `CAP_SETUID`, and for 0 `CAP_SETFCAP`.
const MAPPING: [u32; 3] = [6, 7, 31];

/// Where the programs that write maps stand when the search path does not lead to them.
const PLACES: [&str; 5] = ["/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin", "/run/wrappers/bin"];

/// Where this process stands, found once and for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    place: Place,
    maps: IdMaps,
    shortage: Option<Shortage>,
}

/// The rows of the table above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Machine,
    /// A namespace that was there before this command, with mounts of its own.
    Namespace,
    /// One that ends with this command, or a mount namespace that does.
    OwnNamespace,
}

/// Why a namespace that was entered maps one ID only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shortage {
    /// No range of IDs belongs to this user.
    NoRange {
        /// In which files there is none.
        files: Vec<&'static str>,
        /// The user's name, or the number where there is no name.
        user: String,
    },
    /// A program that writes maps is not installed.
    NoProgram {
        /// Which.
        name: &'static str,
    },
}

impl Shortage {
    /// What an administrator can do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::NoRange { user, .. } => {
                format!(
                    "`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}`, with numbers that are free"
                )
            }
            Self::NoProgram { .. } => "install it: Debian's package is uidmap, Fedora's shadow-utils".to_owned(),
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRange { files, user } => {
                let have = if files.len() > 1 { "have" } else { "has" };
                write!(f, "{} {have} no range for {user}", files.join(" and "))
            }
            Self::NoProgram { name } => write!(f, "{name} is not installed"),
        }
    }
}

impl Standing {
    /// Finds out where this process stands, and enters a user namespace where that is the table's answer. To be called before the process has a
    /// second thread. `search` are the directories to look for `newuidmap` in, as `PATH` has them; `keeps_root` is asked whether the store
    /// that will be opened needs root of this machine.
    ///
    /// # Errors
    /// Where no namespace can be made or its map is refused: what forbids it, by name. The process is to end.
    pub fn take(search: &OsStr, keeps_root: impl FnOnce() -> bool) -> Result<Self> {
        let (uid, caps) = (effective_uid(), effective_caps()?);
        let machine = Self { place: Place::Machine, maps: IdMaps::default(), shortage: None };
        match place(in_initial_user_namespace()?, uid, caps) {
            Place::Machine if caps.has(Caps::SYS_ADMIN) || !may_map(uid, caps) || keeps_root() => Ok(machine),
            Place::Machine => match enter_user_namespace(NewMap::All) {
                Ok(()) => entered(None),
                // What root can do there without mounting goes on to be done.
                Err(EnterError::NotMade(_)) => Ok(machine),
                Err(error) => Err(refused::explain(error)),
            },
            Place::Namespace => {
                let place = if owns_mount_namespace()? {
                    Place::Namespace
                } else {
                    // `unshare -r` without -m: its root may mount in a mount namespace of its own only.
                    unshare_mounts()?;
                    Place::OwnNamespace
                };
                Ok(Self { place, maps: id_maps()?, shortage: None })
            }
            Place::OwnNamespace if may_map(uid, caps) && !id_maps()?.is_single() => {
                enter_user_namespace(NewMap::All).map_err(refused::explain)?;
                entered(None)
            }
            Place::OwnNamespace => enter(search),
        }
    }

    /// Whether this is the root user of this machine.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        matches!(self.place, Place::Machine)
    }

    /// Whether root here is root of this machine, or may be: the namespace around this one has it as root too.
    #[must_use]
    pub fn is_outer_root(&self) -> bool {
        self.is_root() || self.maps.uids.iter().any(|row| row.inside == 0 && row.outside == 0)
    }

    /// Whether every ID of the machine is mapped here, each as itself.
    #[must_use]
    pub fn knows_everyone(&self) -> bool {
        let all = |rows: &[IdRow]| *rows == [IdRow { inside: 0, outside: 0, count: u32::MAX }];
        self.is_root() || (all(&self.maps.uids) && all(&self.maps.gids))
    }

    /// Whether what is mounted by this command is there when it has ended.
    #[must_use]
    pub const fn keeps_mounts(&self) -> bool {
        !matches!(self.place, Place::OwnNamespace)
    }

    /// The IDs that are mapped here; no rows for root of this machine.
    #[must_use]
    pub const fn maps(&self) -> &IdMaps {
        &self.maps
    }

    /// Why one ID is all, where it is and need not be.
    #[must_use]
    pub const fn shortage(&self) -> Option<&Shortage> {
        self.shortage.as_ref()
    }

    /// Whose extended attributes overlayfs' marks are here.
    #[must_use]
    pub const fn marks(&self) -> Marks {
        if self.is_root() { Marks::Trusted } else { Marks::User }
    }

    /// How owners stand on disk here.
    #[must_use]
    pub fn owners(&self) -> Owners {
        if self.is_root() {
            Owners::Native
        } else if self.maps.is_single() {
            Owners::Single
        } else {
            Owners::Mapped
        }
    }
}

/// The table's answer. Root without its rights, as a container has it by default, stands like anyone else.
fn place(initial: bool, uid: u32, caps: Caps) -> Place {
    match (uid, initial) {
        (0, true) => Place::Machine,
        (0, false) if caps.has(Caps::SYS_ADMIN) => Place::Namespace,
        _ => Place::OwnNamespace,
    }
}

fn may_map(uid: u32, caps: Caps) -> bool {
    uid == 0 && MAPPING.iter().all(|cap| caps.has(*cap))
}

fn enter(search: &OsStr) -> Result<Standing> {
    let (uid, gid) = (effective_uid(), effective_gid());
    let (map, shortage) = match wanted(search, uid, gid)? {
        Wanted::Ranges(programs, maps) => (Some((programs, maps)), None),
        Wanted::Single(shortage) => (None, Some(shortage)),
    };
    let new = map.as_ref().map_or(NewMap::Own, |(programs, maps)| NewMap::By(programs, maps));
    enter_user_namespace(new).map_err(refused::explain)?;
    entered(shortage)
}

/// Stands in the namespace that was entered just now.
fn entered(shortage: Option<Shortage>) -> Result<Standing> {
    // The kernel has made the tree a slave already. Asking for it proves that mounting is allowed: some security modules let a namespace be made
    // and then deny its root every right.
    set_attrs(Path::new("/"), &SetAttrs::propagation(Propagation::Downstream), Reach::Tree)
        .map_err(refused::powerless)?;
    Ok(Standing { place: Place::OwnNamespace, maps: id_maps()?, shortage })
}

/// The map that this user can have.
enum Wanted {
    Ranges(MapPrograms, IdMaps),
    Single(Shortage),
}

fn wanted(search: &OsStr, uid: u32, gid: u32) -> Result<Wanted> {
    let passwd = read("/etc/passwd")?;
    let name = match ranges::name_of(&passwd, uid) {
        Some(name) => Some(name.to_vec()),
        // A user of a directory service.
        None => user_name(uid)?,
    };
    let own = |path| Ok::<_, Error>(ranges::of_user(&read(path)?, name.as_deref(), uid));
    let (uids, gids) = (own("/etc/subuid")?, own("/etc/subgid")?);
    let none = [("/etc/subuid", &uids), ("/etc/subgid", &gids)];
    let files: Vec<_> = none.into_iter().filter(|(_, ranges)| ranges.is_empty()).map(|(path, _)| path).collect();
    if !files.is_empty() {
        let user = name.map_or_else(|| uid.to_string(), |name| String::from_utf8_lossy(&name).into_owned());
        return Ok(Wanted::Single(Shortage::NoRange { files, user }));
    }
    let find = |name| find_program(search, name).ok_or(Shortage::NoProgram { name });
    match (find("newuidmap"), find("newgidmap")) {
        (Ok(uids_by), Ok(gids_by)) => {
            let maps = IdMaps { uids: ranges::rows(uid, &uids), gids: ranges::rows(gid, &gids) };
            Ok(Wanted::Ranges(MapPrograms { uids: uids_by, gids: gids_by }, maps))
        }
        (Err(missing), _) | (_, Err(missing)) => Ok(Wanted::Single(missing)),
    }
}

/// A file that a machine may do without.
fn read(path: &str) -> Result<Vec<u8>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|error| {
            let errno = mica_sys::Errno::from_io_error(&error).unwrap_or(mica_sys::Errno::IO);
            Error::from(SysError::new("read", path, errno)).while_("find the IDs of this user")
        }),
    }
}

fn find_program(search: &OsStr, name: &str) -> Option<PathBuf> {
    let places = std::env::split_paths(search).filter(|place| place.is_absolute());
    places.chain(PLACES.map(PathBuf::from)).map(|place| place.join(name)).find(|path| {
        use std::os::unix::fs::PermissionsExt as _;
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

/// The error of what needs mounts that stay, where they do not.
pub(crate) fn mounts_end(what: &str, inside: &str) -> Error {
    Error::new(Kind::Unsupported, format!("{what}: what an ordinary user's command mounts ends with the command"))
        .hinted(format!("ask for it inside of a namespace that stays while you are in it: `{inside}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_who_stands_where() {
        let all = Caps(u64::MAX);
        for (initial, uid, caps, stands) in [
            (true, 0, all, Place::Machine),
            // Root in a container without a user namespace: the machine's, though it may do little.
            (true, 0, Caps(0), Place::Machine),
            (false, 0, all, Place::Namespace),
            (false, 0, Caps(0), Place::OwnNamespace),
            (true, 1000, Caps(0), Place::OwnNamespace),
            (true, 1000, all, Place::OwnNamespace),
            (false, 1000, all, Place::OwnNamespace),
        ] {
            assert_eq!(place(initial, uid, caps), stands, "initial {initial}, uid {uid}, {caps:?}");
        }
    }

    #[test]
    fn who_maps_all_and_whose_root_it_is() {
        assert!(may_map(0, Caps(0xa804_25fb)), "what a container's root has");
        assert!(!may_map(1000, Caps(u64::MAX)) && MAPPING.iter().all(|cap| !may_map(0, Caps(!(1 << cap)))));
        let standing = |rows: Vec<IdRow>| Standing {
            place: Place::OwnNamespace,
            maps: IdMaps { uids: rows.clone(), gids: rows },
            shortage: None,
        };
        for (inside, outside, count, outer_root, everyone) in [
            (0, 0, u32::MAX, true, true),
            (0, 0, 65_536, true, false),
            (0, 1000, 1, false, false),
            (1, 0, 1, false, false),
        ] {
            let standing = standing(vec![IdRow { inside, outside, count }]);
            assert_eq!((standing.is_outer_root(), standing.knows_everyone()), (outer_root, everyone), "{inside}");
        }
    }

    #[test]
    fn owners_follow_from_the_map() {
        let standing = |place, maps| Standing { place, maps, shortage: None };
        let root = standing(Place::Machine, IdMaps::default());
        assert_eq!((root.owners(), root.marks(), root.keeps_mounts()), (Owners::Native, Marks::Trusted, true));
        let single = standing(Place::OwnNamespace, IdMaps::single(1000, 1000));
        assert_eq!((single.owners(), single.marks(), single.keeps_mounts()), (Owners::Single, Marks::User, false));
        let rows = ranges::rows(1000, &[ranges::Range { first: 100_000, count: 65_536 }]);
        let inside = standing(Place::Namespace, IdMaps { uids: rows.clone(), gids: rows });
        assert_eq!((inside.owners(), inside.marks(), inside.keeps_mounts()), (Owners::Mapped, Marks::User, true));
    }

    #[test]
    fn programs_are_looked_for_in_absolute_places_only() {
        assert_eq!(find_program(OsStr::new("/nowhere:/bin"), "sh"), Some("/bin/sh".into()));
        assert_eq!(find_program(OsStr::new(""), "no-such-program-anywhere"), None);
        assert_eq!(find_program(OsStr::new("src"), "lib.rs"), None);
    }
}
