//! Points in time as Docker shows them.

use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

/// How long ago something was: `3 days ago`, `Less than a second ago`. What a wrong clock puts into the future counts as now.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    format!("{} ago", lasting(then, now))
}

/// How long something has lasted: `About a minute`, as in `Up About a minute`. Coarser the longer it is, in Docker's steps.
pub(crate) fn lasting(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs();
    let minutes = seconds / MINUTE;
    // Docker rounds hours to the nearest and everything else down, except years, which it takes from whole hours.
    let hours = (seconds + HOUR / 2) / HOUR;
    let days = hours / 24;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < MINUTE => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 14 => format!("{days} days"),
        () if hours < 24 * 60 => format!("{} weeks", days / 7),
        () if hours < 24 * 730 => format!("{} months", days / 30),
        () => format!("{} years", seconds / HOUR / 24 / 365),
    }
}

/// A point in time as Docker's `CreatedAt` writes it: `2024-05-01 10:11:12 +0000 UTC`. Always in UTC, so that two machines print the same.
pub(crate) fn created_at(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    const DAY: i64 = 24 * HOUR;

    #[test]
    fn ages_read_as_dockers() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        for (seconds, shown) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (45, "45 seconds"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3 * MINUTE + 40, "3 minutes"),
            (59 * MINUTE + 59, "59 minutes"),
            (HOUR, "About an hour"),
            (HOUR + 29 * MINUTE, "About an hour"),
            (HOUR + 31 * MINUTE, "2 hours"),
            (3 * HOUR + 29 * MINUTE, "3 hours"),
            (3 * HOUR + 31 * MINUTE, "4 hours"),
            (24 * HOUR, "24 hours"),
            (36 * HOUR, "36 hours"),
            (2 * DAY, "2 days"),
            (2 * DAY + 12 * HOUR, "2 days"),
            (13 * DAY, "13 days"),
            (14 * DAY, "2 weeks"),
            (30 * DAY, "4 weeks"),
            (45 * DAY, "6 weeks"),
            (60 * DAY, "2 months"),
            (23 * 30 * DAY, "23 months"),
            (24 * 30 * DAY, "24 months"),
            (729 * DAY, "24 months"),
            (730 * DAY, "2 years"),
            (3 * 365 * DAY + 60 * DAY, "3 years"),
        ] {
            let then = now - SignedDuration::from_secs(seconds);
            assert_eq!(lasting(then, now), shown, "{seconds} s");
        }
    }

    #[test]
    fn half_a_second_is_less_than_one() {
        let now: Timestamp = "2026-03-01T12:00:00.45Z".parse().unwrap();
        assert_eq!(ago("2026-03-01T12:00:00Z".parse().unwrap(), now), "Less than a second ago");
        assert_eq!(ago("2026-02-26T12:00:00Z".parse().unwrap(), now), "3 days ago");
    }

    #[test]
    fn created_at_is_in_gos_form() {
        let at: Timestamp = "2024-05-01T10:11:12.345Z".parse().unwrap();
        assert_eq!(created_at(at), "2024-05-01 10:11:12 +0000 UTC");
    }
}
