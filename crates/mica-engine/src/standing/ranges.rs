//! The ranges of IDs that belong to a user: `/etc/subuid` and `/etc/subgid` (subuid(5)), and the rows that they make.

use mica_sys::process::IdRow;

/// IDs of the machine that belong to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) count: u32,
}

impl Range {
    /// The first ID behind it.
    fn end(self) -> u64 {
        u64::from(self.first) + u64::from(self.count)
    }

    fn overlaps(self, other: Self) -> bool {
        u64::from(self.first) < other.end() && u64::from(other.first) < self.end()
    }
}

/// How many rows the kernel takes (`UID_GID_MAP_MAX_EXTENTS`, Linux 4.15).
const MAX_ROWS: usize = 340;

/// The name that `/etc/passwd` has for a user: the first one, as newuidmap takes it.
pub(super) fn name_of(passwd: &[u8], uid: u32) -> Option<&[u8]> {
    passwd.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (!name.is_empty() && parse(number) == Some(uid)).then_some(name)
    })
}

/// The ranges of a user, by name or by number, in the order of the file. Lines of any other form are passed over, as newuidmap does.
pub(super) fn of_user(text: &[u8], name: Option<&[u8]>, uid: u32) -> Vec<Range> {
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let (owner, first, count) = (fields.next()?, parse(fields.next()?)?, parse(fields.next()?)?);
        let whole = fields.next().is_none() && count > 0;
        let range = Range { first, count };
        // 2³²-1 is no ID, so a range ends below it.
        let fits = range.end() <= u64::from(u32::MAX);
        let ours = name == Some(owner) || parse(owner) == Some(uid);
        (whole && fits && ours).then_some(range)
    });
    lines.collect()
}

/// The rows of a map: the own ID as 0, then the ranges one after the other. A range that would overlap what is mapped already is left out, since the
/// kernel refuses the whole map for it; so is what goes beyond the number of rows or of IDs that there are.
pub(super) fn rows(own: u32, ranges: &[Range]) -> Vec<IdRow> {
    let mut taken = vec![Range { first: own, count: 1 }];
    let mut rows = vec![IdRow { inside: 0, outside: own, count: 1 }];
    let mut inside: u32 = 1;
    for range in ranges {
        if rows.len() >= MAX_ROWS || taken.iter().any(|other| other.overlaps(*range)) {
            continue;
        }
        let count = range.count.min(u32::MAX - inside);
        if count == 0 {
            break;
        }
        rows.push(IdRow { inside, outside: range.first, count });
        taken.push(*range);
        inside += count;
    }
    rows
}

fn parse(digits: &[u8]) -> Option<u32> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| all_digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn range(first: u32, count: u32) -> Range {
        Range { first, count }
    }

    const fn row(inside: u32, outside: u32, count: u32) -> IdRow {
        IdRow { inside, outside, count }
    }

    #[test]
    fn a_name_is_the_first_that_has_the_number() {
        let passwd =
            b"root:x:0:0::/root:/bin/sh\n\n:x:7:7::/:/\nalice:x:1000:100::/home/alice:/bin/sh\nalso:x:1000:1::/:/\n";
        assert_eq!(name_of(passwd, 1000), Some(&b"alice"[..]));
        assert_eq!(name_of(passwd, 0), Some(&b"root"[..]));
        assert_eq!(name_of(passwd, 7), None);
        assert_eq!(name_of(passwd, 100), None);
    }

    #[test]
    fn ranges_are_found_by_name_and_by_number_and_other_lines_are_passed_over() {
        let text = b"# alice:1:1\nbob:100000:65536\nalice:200000:10\n1000:300000:20\nalice:x:5\nalice:1:0\nalice:1\n\
                     alice:1:2:3\nalice:4294967290:6\nalice: 7:1\nalice:+7:1\nalic:9:9\nalice:4294967289:6";
        assert_eq!(
            of_user(text, Some(b"alice"), 1000),
            [range(200_000, 10), range(300_000, 20), range(4_294_967_289, 6)]
        );
        assert_eq!(of_user(text, None, 1000), [range(300_000, 20)]);
        assert_eq!(of_user(b"", Some(b"alice"), 1000), []);
        // A user whose name is another's number is not that other.
        assert_eq!(of_user(b"1000:5:5", Some(b"x"), 1), []);
    }

    #[test]
    fn each_range_is_a_row_behind_the_own_id() {
        assert_eq!(
            rows(1000, &[range(100_000, 65_536), range(300_000, 7)]),
            [row(0, 1000, 1), row(1, 100_000, 65_536), row(65_537, 300_000, 7)]
        );
        assert_eq!(rows(1000, &[]), [row(0, 1000, 1)]);
    }

    #[test]
    fn what_the_kernel_would_refuse_is_left_out() {
        // The same range by name and by number, one around the own ID, one that ends where another begins.
        let ranges = [range(500, 10), range(500, 10), range(1, 505), range(999, 2), range(510, 5), range(495, 5)];
        assert_eq!(rows(1000, &ranges), [row(0, 1000, 1), row(1, 500, 10), row(11, 510, 5), row(16, 495, 5)]);
        let many: Vec<Range> = (0..400).map(|n| range(2000 + 2 * n, 1)).collect();
        assert_eq!(rows(1000, &many).len(), MAX_ROWS);
        let huge = rows(0, &[range(1, u32::MAX - 2), range(u32::MAX - 1, 1)]);
        assert_eq!(huge.iter().map(|row| u64::from(row.count)).sum::<u64>(), u64::from(u32::MAX));
    }
}
