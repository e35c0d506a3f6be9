//! Owners as the mount shows them, and as the directories have them.
//!
//! They are mapped at the edge, on the way in and on the way out, and nowhere else.

/// The ID that stands for one without a counterpart, where the kernel was not told another (`/proc/sys/kernel/overflowuid`).
pub const OVERFLOW: u32 = 65534;

/// One row of a map: the IDs from `shown` on are those from `stored` on in the directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdRow {
    /// First ID in the mount.
    pub shown: u32,
    /// First ID in the directories.
    pub stored: u32,
    /// How many.
    pub count: u32,
}

/// Owners that everything shows instead of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Squash {
    /// The user of everything.
    pub uid: Option<u32>,
    /// The group of everything.
    pub gid: Option<u32>,
}

/// How owners are mapped. The default maps nothing: all are shown as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ids {
    /// Of users; no rows: each is itself.
    pub uids: Vec<IdRow>,
    /// Of groups; no rows: each is itself.
    pub gids: Vec<IdRow>,
    /// What shows instead of any owner. What is made or given away is stored with its own owner all the same.
    pub squash: Squash,
}

impl Ids {
    /// The user that a stored one shows as; [`OVERFLOW`] for one without a counterpart.
    #[must_use]
    pub fn shown_uid(&self, stored: u32) -> u32 {
        self.squash.uid.unwrap_or_else(|| shown(&self.uids, stored).unwrap_or(OVERFLOW))
    }

    /// The group that a stored one shows as; [`OVERFLOW`] for one without a counterpart.
    #[must_use]
    pub fn shown_gid(&self, stored: u32) -> u32 {
        self.squash.gid.unwrap_or_else(|| shown(&self.gids, stored).unwrap_or(OVERFLOW))
    }

    /// The user that is stored for one of the mount; `None` for one without a counterpart.
    #[must_use]
    pub fn stored_uid(&self, shown: u32) -> Option<u32> {
        stored(&self.uids, shown)
    }

    /// The group that is stored for one of the mount; `None` for one without a counterpart.
    #[must_use]
    pub fn stored_gid(&self, shown: u32) -> Option<u32> {
        stored(&self.gids, shown)
    }

    /// The user that is stored for what one of the mount makes. One without a counterpart makes files of [`OVERFLOW`]: podman, as root of the
    /// machine, makes files in the tree of a container that knows no such user, and gives them away after.
    #[must_use]
    pub fn made_by_uid(&self, shown: u32) -> u32 {
        self.stored_uid(shown).unwrap_or(OVERFLOW)
    }

    /// The same for groups.
    #[must_use]
    pub fn made_by_gid(&self, shown: u32) -> u32 {
        self.stored_gid(shown).unwrap_or(OVERFLOW)
    }
}

fn shown(rows: &[IdRow], id: u32) -> Option<u32> {
    look(rows, id, |row| (row.stored, row.shown))
}

fn stored(rows: &[IdRow], id: u32) -> Option<u32> {
    look(rows, id, |row| (row.shown, row.stored))
}

fn look(rows: &[IdRow], id: u32, ends: impl Fn(&IdRow) -> (u32, u32)) -> Option<u32> {
    if rows.is_empty() {
        return Some(id);
    }
    rows.iter().find_map(|row| {
        let (from, to) = ends(row);
        let place = id.checked_sub(from).filter(|place| *place < row.count)?;
        to.checked_add(place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_rows_every_id_is_itself() {
        let ids = Ids::default();
        assert_eq!((ids.shown_uid(0), ids.stored_gid(u32::MAX)), (0, Some(u32::MAX)));
    }

    #[test]
    fn rows_lead_both_ways_and_no_further() {
        let rows = vec![IdRow { shown: 0, stored: 1000, count: 1 }, IdRow { shown: 1, stored: 100_000, count: 65535 }];
        let ids = Ids { uids: rows, ..Ids::default() };
        assert_eq!((ids.shown_uid(1000), ids.shown_uid(100_000), ids.shown_uid(165_534)), (0, 1, 65535));
        assert_eq!((ids.shown_uid(0), ids.shown_uid(165_535)), (OVERFLOW, OVERFLOW));
        assert_eq!((ids.stored_uid(0), ids.stored_uid(2), ids.stored_uid(65536)), (Some(1000), Some(100_001), None));
        assert_eq!((ids.made_by_uid(0), ids.made_by_uid(65536), ids.made_by_gid(7)), (1000, OVERFLOW, 7));
        assert_eq!(ids.shown_gid(5), 5);
    }

    #[test]
    fn a_row_at_the_end_of_the_numbers_does_not_wrap() {
        let ids = Ids { uids: vec![IdRow { shown: u32::MAX - 1, stored: 7, count: u32::MAX }], ..Ids::default() };
        assert_eq!((ids.stored_uid(u32::MAX), ids.shown_uid(8), ids.shown_uid(9)), (Some(8), u32::MAX, OVERFLOW));
    }

    #[test]
    fn squashed_owners_show_and_are_not_stored() {
        let ids = Ids { squash: Squash { uid: Some(0), gid: None }, ..Ids::default() };
        assert_eq!((ids.shown_uid(33), ids.shown_gid(33), ids.stored_uid(33)), (0, 33, Some(33)));
    }
}
