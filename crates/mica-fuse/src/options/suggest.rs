//! A suggestion: the known word that somebody most likely meant.

/// The word of `known` that is nearest to `word`, where it is near: one slip in a short word, two in a longer one.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = if word.chars().count() < 5 { 1 } else { 2 };
    let rated = known.into_iter().map(|candidate| (distance(word, candidate), candidate));
    rated.filter(|(slips, _)| *slips <= near).min_by_key(|(slips, _)| *slips).map(|(_, candidate)| candidate)
}

/// How many characters must be put in, left out, replaced or swapped with their neighbour to make `b` of `a`, each place changed
/// once (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (row, x) in a.chars().enumerate() {
        let mut now = vec![row + 1];
        for (column, &y) in b.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&last, column) + usize::from(x != y);
            let mut best = replaced.min(at(&last, column + 1) + 1).min(at(&now, column) + 1);
            let crossed = column.checked_sub(1).and_then(|left| b.get(left).map(|&y| (left, y)));
            if let Some((left, left_y)) = crossed
                && previous == Some(y)
                && x == left_y
            {
                best = best.min(at(&before, left) + 1);
            }
            now.push(best);
        }
        before = std::mem::replace(&mut last, now);
        previous = Some(x);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        for (a, b, slips) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("noacl", "noacl", 0),
            ("noalc", "noacl", 1),
            ("lowerdirs", "lowerdir", 1),
            ("lowrdir", "lowerdir", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), slips, "{a} {b}");
            assert_eq!(distance(b, a), slips, "{b} {a}");
        }
    }

    #[test]
    fn what_is_near_is_meant_and_nothing_else() {
        let known = ["lowerdir", "upperdir", "ro", "rw", "volatile"];
        assert_eq!(nearest("lowerdr", known), Some("lowerdir"));
        assert_eq!(nearest("uperrdir", known), Some("upperdir"));
        assert_eq!(nearest("rp", known), Some("ro"));
        assert_eq!(nearest("x", known), None);
        assert_eq!(nearest("redirect", known), None);
    }
}
