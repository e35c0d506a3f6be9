//! The ids that there are: all of them, or those that this process's user namespace maps (user_namespaces(7)).
//!
//! Docker's defaults suppose the first. Where fewer are mapped, what nothing depends on is left out of a spec, as rootless runtimes
//! agree on: the group of terminals, and supplementary groups. Who the command runs as is not: that is refused by name.

use std::fs;

use mica_sys::process::{IdMaps, IdRow, id_maps};
use oci_spec::runtime::Spec;

use crate::error::{At, RuntimeError, Step};

/// What ids a container can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ids {
    maps: IdMaps,
    /// Whether supplementary groups can be set. Where a user mapped its own group alone they cannot: dropping one could give access.
    pub(crate) set_groups: bool,
}

impl Ids {
    /// Those of this process.
    pub(crate) fn of_this_process() -> Result<Self, RuntimeError> {
        match fs::read_to_string("/proc/self/setgroups") {
            Ok(word) => Ok(Self { maps: id_maps().at(|| Step::Ids)?, set_groups: word.trim() != "deny" }),
            // A kernel without user namespaces has no such file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::all()),
            Err(error) => Err(error).at(|| Step::Ids),
        }
    }

    fn all() -> Self {
        let rows = || vec![IdRow { inside: 0, outside: 0, count: u32::MAX }];
        Self { maps: IdMaps { uids: rows(), gids: rows() }, set_groups: true }
    }

    /// Takes out of `spec` what these ids do not allow and nothing depends on.
    ///
    /// # Errors
    /// [`RuntimeError::NotMapped`] for the user or the group that the command is to run as.
    pub(crate) fn fit(&self, spec: &mut Spec) -> Result<(), RuntimeError> {
        for mount in spec.mounts_mut().iter_mut().flatten().filter(|mount| mount.typ().as_deref() == Some("devpts")) {
            let mut options = mount.options().clone();
            options.iter_mut().for_each(|list| list.retain(|option| !self.lacks_group(option)));
            mount.set_options(options);
        }
        let Some(process) = spec.process_mut() else { return Ok(()) };
        let user = process.user_mut();
        for (what, id, rows) in [("user", user.uid(), &self.maps.uids), ("group", user.gid(), &self.maps.gids)] {
            if !has(rows, id) {
                return Err(RuntimeError::NotMapped { what, id, there_are: words(rows) });
            }
        }
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        groups.retain(|gid| self.set_groups && has(&self.maps.gids, *gid));
        user.set_additional_gids((!groups.is_empty()).then_some(groups));
        Ok(())
    }

    /// Whether a mount option names a group that is not mapped.
    fn lacks_group(&self, option: &str) -> bool {
        let group = option.strip_prefix("gid=").and_then(|gid| gid.parse().ok());
        group.is_some_and(|gid: u32| !has(&self.maps.gids, gid))
    }
}

fn has(rows: &[IdRow], id: u32) -> bool {
    rows.iter().any(|row| id.checked_sub(row.inside).is_some_and(|offset| offset < row.count))
}

/// `0, 1000-65535`.
fn words(rows: &[IdRow]) -> String {
    let run = |row: &IdRow| match row.count {
        1 => row.inside.to_string(),
        count => format!("{}-{}", row.inside, row.inside.saturating_add(count.saturating_sub(1))),
    };
    rows.iter().map(run).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Network, default_spec, set_user};
    use crate::users::User;

    fn fitted(ids: &Ids, uid: u32, groups: &[u32]) -> Result<Spec, String> {
        let mut spec = default_spec(Network::None);
        set_user(&mut spec, &User { uid, gid: uid, groups: groups.to_vec(), home: "/".to_owned() });
        ids.fit(&mut spec).map_err(|error| error.to_string())?;
        Ok(spec)
    }

    fn groups(spec: &Spec) -> Vec<u32> {
        spec.process().as_ref().unwrap().user().additional_gids().clone().unwrap_or_default()
    }

    fn terminals(spec: &Spec) -> String {
        let mounts = spec.mounts().as_ref().unwrap();
        mounts
            .iter()
            .find(|mount| mount.typ().as_deref() == Some("devpts"))
            .unwrap()
            .options()
            .clone()
            .unwrap()
            .join(",")
    }

    fn rows(counts: &[u32]) -> Vec<IdRow> {
        let mut inside = 0;
        let row = |count: &u32| {
            inside += count;
            IdRow { inside: inside - count, outside: 1000 * inside, count: *count }
        };
        counts.iter().map(row).collect()
    }

    #[test]
    fn where_all_ids_are_mapped_nothing_is_left_out() {
        let spec = fitted(&Ids::all(), 1000, &[4, 27]).unwrap();
        assert_eq!(groups(&spec), [4, 27]);
        assert!(terminals(&spec).ends_with("gid=5"));
        let maps = IdMaps { uids: rows(&[1, 65536]), gids: rows(&[1, 65536]) };
        let range = Ids { maps, set_groups: true };
        let spec = fitted(&range, 1000, &[4, 100_000]).unwrap();
        assert_eq!(groups(&spec), [4], "the other has no number here");
        assert!(terminals(&spec).ends_with("gid=5"));
        assert!(fitted(&range, 65536, &[]).is_ok());
        assert_eq!(fitted(&range, 65537, &[]).unwrap_err(), "user 65537 is not mapped here: there are 0, 1-65536");
    }

    #[test]
    fn one_id_is_root_alone() {
        let single = Ids { maps: IdMaps::single(1000, 1000), set_groups: false };
        let spec = fitted(&single, 0, &[0, 4]).unwrap();
        assert_eq!(groups(&spec), [] as [u32; 0]);
        assert_eq!(terminals(&spec), "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620");
        assert_eq!(fitted(&single, 1000, &[]).unwrap_err(), "user 1000 is not mapped here: there are 0");
    }

    #[test]
    fn this_process_has_its_own_id() {
        let ids = Ids::of_this_process().unwrap();
        assert!(has(&ids.maps.uids, mica_sys::process::effective_uid()), "{ids:?}");
    }
}
