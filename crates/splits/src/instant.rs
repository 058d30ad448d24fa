//! Instants as people write them: UTC dates after RFC 3339, to the nanosecond where it matters.

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400;

/// An instant in Unix nanoseconds as RFC 3339 text in UTC: `2026-01-01T00:00:00Z`, with as many decimals of a second as
/// it has. The proleptic Gregorian calendar, without leap seconds, as Unix time itself.
///
/// ```
/// # use stakeout_splits::instant;
/// assert_eq!(instant(1_767_225_600_000_000_000), "2026-01-01T00:00:00Z");
/// assert_eq!(instant(-500_000_000), "1969-12-31T23:59:59.5Z");
/// ```
pub fn instant(t_ns: i64) -> String {
    let (seconds, ns) = (t_ns.div_euclid(SECOND), t_ns.rem_euclid(SECOND));
    let (day, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = date(day);
    let fraction = if ns == 0 { String::new() } else { format!(".{}", format!("{ns:09}").trim_end_matches('0')) };
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}{fraction}Z", second % 60)
}

/// [`instant`] as part of a fold's name, which is lower case and has no colon: `2026-01-01t00-00-00z`.
pub(crate) fn file_instant(t_ns: i64) -> String {
    instant(t_ns).replace(':', "-").to_lowercase()
}

/// Year, month and day of a day since 1970-01-01. Years are counted from March, so that a leap day ends its year, and
/// in eras of 400 years, which all have the same number of days (Richards, Explanatory Supplement to the Astronomical
/// Almanac, 3rd ed., section 15.11).
fn date(day: i64) -> (i64, i64, i64) {
    /// Days from 0000-03-01 to 1970-01-01.
    const EPOCH: i64 = 719_468;
    const ERA: i64 = 146_097;
    let (era, of_era) = ((day + EPOCH).div_euclid(ERA), (day + EPOCH).rem_euclid(ERA));
    // Years of 365 days, after the leap days before it are taken away: one in 4 years, none in 100, one in 400.
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    // From March on, five months have 153 days: 31, 30, 31, 30, 31.
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (400 * era + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks every day that nanoseconds in 64 bits can name, from 1677 to 2262.
    #[test]
    fn dates_follow_the_calendar_day_by_day() {
        let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = |year: i64, month: i64| match month {
            2 => 28 + i64::from(leap(year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let (first, last) = (i64::MIN.div_euclid(SECOND * DAY), i64::MAX.div_euclid(SECOND * DAY));
        let mut expected = date(first);
        assert_eq!(expected, (1677, 9, 21));
        for day in first..=last {
            assert_eq!(date(day), expected);
            let (year, month, of_month) = expected;
            expected = match (month, of_month == length(year, month)) {
                (_, false) => (year, month, of_month + 1),
                (12, true) => (year + 1, 1, 1),
                (_, true) => (year, month + 1, 1),
            };
        }
        assert_eq!(date(last), (2262, 4, 11));
        assert_eq!(date(0), (1970, 1, 1));
    }

    #[test]
    fn an_instant_is_exact_at_both_ends() {
        assert_eq!(instant(0), "1970-01-01T00:00:00Z");
        assert_eq!(instant(1), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(instant(i64::MIN), "1677-09-21T00:12:43.145224192Z");
        assert_eq!(instant(i64::MAX), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(file_instant(1_709_251_199_120_000_000), "2024-02-29t23-59-59.12z");
    }
}
