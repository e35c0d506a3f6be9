//! An ability: what whoever owns a store can put on disk of what layers say.
//!
//! Root of the initial user namespace can put everything there that the kernel knows. Root of another one owns only the
//! IDs that are mapped into it, makes no device, and sets no attribute that needs privilege outside of it
//! (user_namespaces(7), "Effect of capabilities within a user namespace"). What it cannot make has a
//! [stand-in](crate::stand_in).

/// Which user or group IDs files can have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ids {
    /// All.
    #[default]
    All,
    /// Those of these ranges, each a first ID and how many follow, itself counted.
    Mapped(Vec<(u32, u32)>),
}

impl Ids {
    /// The one ID 0: whoever has no ranges maps their own to it.
    #[must_use]
    pub fn root_alone() -> Self {
        Self::Mapped(vec![(0, 1)])
    }

    /// Whether a file can have this owner or group. None can have 4,294,967,295, which is the kernel's word for no ID.
    #[must_use]
    pub fn has(&self, id: u32) -> bool {
        match self {
            _ if id == u32::MAX => false,
            Self::All => true,
            Self::Mapped(ranges) => {
                ranges.iter().any(|(first, count)| id.checked_sub(*first).is_some_and(|offset| offset < *count))
            }
        }
    }
}

/// Whether the kernel lets devices and privileged attributes be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Privilege {
    /// It does: root of the initial user namespace.
    #[default]
    Native,
    /// It does not: root of another one.
    Namespaced,
}

/// What can be put on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ability {
    /// Owners that files can have.
    pub users: Ids,
    /// Groups that files can have.
    pub groups: Ids,
    /// What else can be made.
    pub privilege: Privilege,
}

impl Ability {
    /// That of root of the initial user namespace.
    #[must_use]
    pub fn native() -> Self {
        Self::default()
    }

    /// That of root of another user namespace into which these IDs are mapped; 0 is among them.
    #[must_use]
    pub const fn namespaced(users: Ids, groups: Ids) -> Self {
        Self { users, groups, privilege: Privilege::Namespaced }
    }

    pub(crate) const fn is_native(&self) -> bool {
        matches!(self.privilege, Privilege::Native)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_ranges() {
        let ids = Ids::Mapped(vec![(0, 1), (10, 3), (u32::MAX - 1, 2)]);
        let there = [0, 1, 9, 10, 12, 13, u32::MAX - 2, u32::MAX - 1, u32::MAX].map(|id| ids.has(id));
        assert_eq!(there, [true, false, false, true, true, false, false, true, false]);
        assert!(Ids::root_alone().has(0) && !Ids::root_alone().has(1));
        assert!(Ids::All.has(0) && Ids::All.has(u32::MAX - 1) && !Ids::All.has(u32::MAX));
        assert!(!Ids::Mapped(Vec::new()).has(0));
    }
}
