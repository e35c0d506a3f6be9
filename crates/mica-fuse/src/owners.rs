//! Owners: who owns on disk, and who shows as the owner.

use mica_union::fuse::{IdRow, Ids};

/// How owners are shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Owners {
    /// The maps, and whom all is squashed to.
    pub(crate) ids: Ids,
    /// Everything shows as root's, where no squashing of its own kind says otherwise.
    pub(crate) squash_to_root: bool,
}

/// Reads `DISK:VIEW:COUNT[:DISK:VIEW:COUNT…]`. A colon before the first number, which containers/storage writes, is passed over.
///
/// # Errors
/// What is wrong, as words that follow `uidmapping=…: `.
pub(crate) fn parse(text: &str) -> Result<Vec<IdRow>, String> {
    let text = text.strip_prefix(':').unwrap_or(text);
    let number = |word: &str| {
        // A sign is no digit of an id.
        let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| word.parse::<u32>().ok()).flatten().ok_or_else(|| format!("{word:?} is no id"))
    };
    let numbers = text.split(':').map(number).collect::<Result<Vec<u32>, String>>()?;
    let (rows, rest) = numbers.as_chunks::<3>();
    if !rest.is_empty() {
        return Err("not groups of three numbers, DISK:VIEW:COUNT".to_owned());
    }
    let rows: Vec<IdRow> = rows.iter().map(|&[disk, view, count]| IdRow { stored: disk, shown: view, count }).collect();
    for row in &rows {
        // 2³²-1 is no id: chown(2) reads it as "leave it as it is".
        if row.count == 0 || [row.stored, row.shown].iter().any(|first| u32::MAX - first < row.count) {
            return Err(format!("{}:{}:{} is no range of ids", row.stored, row.shown, row.count));
        }
    }
    overlapping(&rows, |row| row.stored)?;
    overlapping(&rows, |row| row.shown)?;
    Ok(rows)
}

/// Refuses a map by which one id would be two.
fn overlapping(rows: &[IdRow], first: impl Fn(&IdRow) -> u32) -> Result<(), String> {
    let mut ranges: Vec<(u32, u32)> = rows.iter().map(|row| (first(row), first(row) + (row.count - 1))).collect();
    ranges.sort_unstable();
    let mut pairs = ranges.iter().zip(ranges.iter().skip(1));
    match pairs.find(|(low, high)| high.0 <= low.1) {
        Some((_, high)) => Err(format!("{} stands in it twice", high.0)),
        None => Ok(()),
    }
}

impl Owners {
    /// The owners, with what `squash_to_root` says where nothing nearer does.
    pub(crate) fn settled(self) -> Ids {
        let mut ids = self.ids;
        if self.squash_to_root {
            ids.squash.uid.get_or_insert(0);
            ids.squash.gid.get_or_insert(0);
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use mica_union::fuse::Squash;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn maps_are_groups_of_three() {
        let row = |disk, view, count| IdRow { stored: disk, shown: view, count };
        assert_eq!(parse("0:1000:1").unwrap(), [row(0, 1000, 1)]);
        let two = [row(0, 1000, 1), row(1, 110_000, 65536)];
        assert_eq!(parse("0:1000:1:1:110000:65536").unwrap(), two);
        assert_eq!(parse(":0:1000:1:1:110000:65536").unwrap(), two, "as containers/storage writes it");
        assert_eq!(parse("0:0:4294967295").unwrap(), [row(0, 0, u32::MAX)]);
        for (text, wrong) in [
            ("", r#""" is no id"#),
            ("0:1", "not groups of three numbers, DISK:VIEW:COUNT"),
            ("0:1:2:3", "not groups of three numbers, DISK:VIEW:COUNT"),
            ("a:1:2", r#""a" is no id"#),
            ("+1:1:2", r#""+1" is no id"#),
            ("0:1:4294967296", r#""4294967296" is no id"#),
            ("0:1:0", "0:1:0 is no range of ids"),
            ("1:0:4294967295", "1:0:4294967295 is no range of ids"),
            ("0:4294967295:1", "0:4294967295:1 is no range of ids"),
            ("0:5:10:9:50:1", "9 stands in it twice"),
            ("0:5:10:20:14:1", "14 stands in it twice"),
        ] {
            assert_eq!(parse(text).unwrap_err(), wrong, "{text}");
        }
    }

    #[test]
    fn the_nearest_squashing_counts() {
        let squash = Squash { uid: Some(7), gid: None };
        let ids = Ids { squash, ..Ids::default() };
        let asked = Owners { ids: ids.clone(), squash_to_root: true };
        assert_eq!(asked.settled().squash, Squash { uid: Some(7), gid: Some(0) });
        assert_eq!(Owners { ids, squash_to_root: false }.settled().squash, squash);
    }

    proptest! {
        /// By a map that is taken, no two ids on disk show as one, and none shows as two.
        #[test]
        fn a_map_that_is_taken_is_one_to_one(numbers in prop::collection::vec(0_u32..12, 0..12)) {
            let text = numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(":");
            if let Ok(rows) = parse(&text) {
                prop_assert_eq!(rows.len() * 3, numbers.len());
                let all = |first: fn(&IdRow) -> u32| {
                    let mut ids: Vec<u32> = rows.iter().flat_map(|row| first(row)..first(row) + row.count).collect();
                    let count = ids.len();
                    ids.sort_unstable();
                    ids.dedup();
                    (count, ids.len())
                };
                let (disk, view) = (all(|row| row.stored), all(|row| row.shown));
                prop_assert_eq!(disk.0, disk.1);
                prop_assert_eq!(view.0, view.1);
            }
        }
    }
}
