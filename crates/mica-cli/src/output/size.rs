//! Sizes as Docker shows them: decimal units, three significant digits.

const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// A number of bytes as `0B`, `12kB`, `4.26MB` or `1.36GB`.
///
/// Docker writes `1e+03kB` for what lies between 999.5 kB and 1 MB; here it is `1MB`.
pub(crate) fn human(bytes: u64) -> String {
    let mut unit = 0_usize;
    let mut divisor = 1_u64;
    // From 999.5 on, three digits round to a thousand, which is 1 of the next unit.
    while unit + 1 < UNITS.len() && u128::from(bytes) * 2 >= u128::from(divisor) * 1999 {
        divisor *= 1000;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let value = bytes as f64 / divisor as f64;
    let decimals = match value {
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    let digits = format!("{value:.decimals$}");
    let digits = if decimals > 0 { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_dockers() {
        for (bytes, shown) in [
            (0, "0B"),
            (1, "1B"),
            (999, "999B"),
            (1000, "1kB"),
            (1024, "1.02kB"),
            (12_000, "12kB"),
            (12_288, "12.3kB"),
            (4_261_550, "4.26MB"),
            (72_800_000, "72.8MB"),
            (117_000_000, "117MB"),
            (100_000, "100kB"),
            (1_000_000, "1MB"),
            (1_048_576, "1.05MB"),
            (1_360_000_000, "1.36GB"),
            (1_099_511_627_776, "1.1TB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(human(bytes), shown, "{bytes}");
        }
    }

    #[test]
    fn rounding_carries_into_the_next_unit() {
        for (bytes, shown) in [
            (9_994, "9.99kB"),
            (9_996, "10kB"),
            (99_960, "100kB"),
            (999_499, "999kB"),
            (999_500, "1MB"),
            (999_999_999, "1GB"),
        ] {
            assert_eq!(human(bytes), shown, "{bytes}");
        }
    }
}
