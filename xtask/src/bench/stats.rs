//! Numbers of a few runs, and what is said of them: the median, and how far apart they lie.

/// What is said of the runs of one command. All in the unit that the runs were in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// From the first quartile to the third: half of the runs lie within.
    pub(super) spread: f64,
}

impl Summary {
    /// `None` of no runs.
    pub(super) fn of(runs: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut runs: Vec<f64> = runs.into_iter().collect();
        runs.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&runs, 0.5)?,
            min: *runs.first()?,
            max: *runs.last()?,
            spread: quantile(&runs, 0.75)? - quantile(&runs, 0.25)?,
        })
    }

    /// Whether `other` is more than this by no more than noise: the wider of the two spreads, or a tenth.
    pub(super) fn equals(&self, other: &Self) -> bool {
        other.median - self.median <= self.noise(other)
    }

    /// By how much two medians may differ and still be called equal.
    pub(super) fn noise(&self, other: &Self) -> f64 {
        self.spread.max(other.spread).max(self.median / 10.0)
    }
}

/// The value below which `part` of the sorted numbers lie, between two of them by a straight line.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_precision_loss, reason = "a few runs")]
    let place = last as f64 * part;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a few runs")]
    let below = place.floor() as usize;
    let (low, high) = (*sorted.get(below)?, *sorted.get((below + 1).min(last))?);
    Some((high - low).mul_add(place.fract(), low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_one_slow_run_moves_it_little() {
        let summary = Summary::of([5.0, 1.0, 100.0, 2.0, 3.0]).unwrap();
        assert_eq!(summary, Summary { median: 3.0, min: 1.0, max: 100.0, spread: 3.0 });
        assert_eq!(Summary::of([4.0, 2.0]).unwrap().median, 3.0);
        assert_eq!(Summary::of([7.0]).unwrap(), Summary { median: 7.0, min: 7.0, max: 7.0, spread: 0.0 });
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn equal_is_within_the_wider_spread_or_a_tenth() {
        let of = |median: f64, spread: f64| Summary { median, min: 0.0, max: 0.0, spread };
        assert!(of(10.0, 0.0).equals(&of(10.9, 0.0)));
        assert!(!of(10.0, 0.0).equals(&of(11.1, 0.0)));
        assert!(of(10.0, 0.0).equals(&of(13.0, 3.0)));
        assert!(of(10.0, 0.0).equals(&of(1.0, 0.0)), "less is no growth");
    }
}
