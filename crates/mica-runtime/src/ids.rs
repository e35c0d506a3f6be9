//! The ids that there are: all of them, or those that this process's user namespace maps (user_namespaces(7)).
//!
//! Docker's defaults suppose the first. Where fewer are mapped, what nothing depends on is left out of a spec, as rootless runtimes
//! agree on: the group of terminals, and supplementary groups. Who the command runs as is not: that is refused by name.

use std::fs;

use oci_spec::runtime::Spec;

use crate::error::{At, Cause, RuntimeError, Step};

/// Runs of ids, as numbered inside the namespace: the first and how many.
type Runs = Vec<(u32, u32)>;

/// What ids a container can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ids {
    users: Runs,
    groups: Runs,
    /// Whether supplementary groups can be set. Where a user mapped its own group alone they cannot: dropping one could give access.
    pub(crate) set_groups: bool,
}

impl Ids {
    /// Those of this process.
    pub(crate) fn of_this_process() -> Result<Self, RuntimeError> {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).at(|| Step::Ids);
        let set_groups = match fs::read_to_string("/proc/self/setgroups") {
            Ok(word) => word.trim() != "deny",
            // A kernel without user namespaces has no such file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::all()),
            Err(error) => return Err(error).at(|| Step::Ids),
        };
        let runs = |name: &str| -> Result<Runs, RuntimeError> {
            let text = read(name)?;
            runs(&text).ok_or_else(|| Cause::of(format!("/proc/self/{name} reads {text:?}"))).at(|| Step::Ids)
        };
        Ok(Self { users: runs("uid_map")?, groups: runs("gid_map")?, set_groups })
    }

    fn all() -> Self {
        Self { users: vec![(0, u32::MAX)], groups: vec![(0, u32::MAX)], set_groups: true }
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
        for (what, id, runs) in [("user", user.uid(), &self.users), ("group", user.gid(), &self.groups)] {
            if !has(runs, id) {
                return Err(RuntimeError::NotMapped { what, id, there_are: words(runs) });
            }
        }
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        groups.retain(|gid| self.set_groups && has(&self.groups, *gid));
        user.set_additional_gids((!groups.is_empty()).then_some(groups));
        Ok(())
    }

    /// Whether a mount option names a group that is not mapped.
    fn lacks_group(&self, option: &str) -> bool {
        let group = option.strip_prefix("gid=").and_then(|gid| gid.parse().ok());
        group.is_some_and(|gid: u32| !has(&self.groups, gid))
    }
}

fn has(runs: &Runs, id: u32) -> bool {
    runs.iter().any(|(first, count)| id.checked_sub(*first).is_some_and(|offset| offset < *count))
}

/// `0, 1000-65535`.
fn words(runs: &Runs) -> String {
    let run = |(first, count): &(u32, u32)| match count {
        1 => first.to_string(),
        _ => format!("{first}-{}", first.saturating_add(count.saturating_sub(1))),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(", ")
}

/// Reads the rows of `/proc/PID/uid_map`: inside, outside, count.
fn runs(text: &str) -> Option<Runs> {
    let row = |line: &str| {
        let mut fields = line.split_whitespace().map(str::parse);
        let (first, _outside, count) = (fields.next()?.ok()?, fields.next()?.ok()?, fields.next()?.ok()?);
        Some((first, count))
    };
    text.lines().map(row).collect()
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

    #[test]
    fn rows_are_runs_of_ids_and_anything_else_is_refused() {
        assert_eq!(
            runs("         0       1000          1\n         1     100000      65536\n"),
            Some(vec![(0, 1), (1, 65536)])
        );
        assert_eq!(runs(""), Some(vec![]));
        assert_eq!(runs("0 1000\n"), None);
        assert_eq!(words(&vec![(0, 1), (1000, 64536)]), "0, 1000-65535");
    }

    #[test]
    fn where_all_ids_are_mapped_nothing_is_left_out() {
        let spec = fitted(&Ids::all(), 1000, &[4, 27]).unwrap();
        assert_eq!(groups(&spec), [4, 27]);
        assert!(terminals(&spec).ends_with("gid=5"));
        let range = Ids { users: vec![(0, 1), (1, 65536)], groups: vec![(0, 1), (1, 65536)], set_groups: true };
        let spec = fitted(&range, 1000, &[4, 100_000]).unwrap();
        assert_eq!(groups(&spec), [4], "the other has no number here");
        assert!(terminals(&spec).ends_with("gid=5"));
        assert!(fitted(&range, 65536, &[]).is_ok());
        assert_eq!(fitted(&range, 65537, &[]).unwrap_err(), "user 65537 is not mapped here: there are 0, 1-65536");
    }

    #[test]
    fn one_id_is_root_alone() {
        let single = Ids { users: vec![(0, 1)], groups: vec![(0, 1)], set_groups: false };
        let spec = fitted(&single, 0, &[0, 4]).unwrap();
        assert_eq!(groups(&spec), [] as [u32; 0]);
        assert_eq!(terminals(&spec), "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620");
        assert_eq!(fitted(&single, 1000, &[]).unwrap_err(), "user 1000 is not mapped here: there are 0");
    }

    #[test]
    fn this_process_has_its_own_id() {
        let ids = Ids::of_this_process().unwrap();
        assert!(has(&ids.users, mica_sys::process::effective_uid()), "{ids:?}");
    }
}
