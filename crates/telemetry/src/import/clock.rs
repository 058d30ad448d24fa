//! Times of a table to Unix nanoseconds, exactly: numbers are scaled as integers, text dates are read without a
//! floating-point number in between.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};
use stakeout_core::window::SECOND_NS;

/// The last instant that is accepted: a year before the 64-bit clock ends, so that adding a span cannot overflow.
pub(super) const LAST_NS: i64 = i64::MAX - 366 * 86_400 * SECOND_NS;

/// What the numbers of a time column count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
    /// Rows, a fixed step apart.
    Index,
    /// Text dates, or columns of a date type.
    Date,
}

/// Why a row has no usable time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fault {
    Missing,
    NotFinite,
    Negative,
    TooLarge,
    NotADate,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the time is missing",
            Self::NotFinite => "the time is not a finite number",
            Self::Negative => "the time is negative",
            Self::TooLarge => "the time is past the year 2261: is the unit right?",
            Self::NotADate => "the time does not follow the date format",
        })
    }
}

/// Nanoseconds of an integer time.
pub(super) fn from_integer(value: i64, scale_ns: i64) -> Result<i64, Fault> {
    in_range(i128::from(value) * i128::from(scale_ns))
}

/// Nanoseconds of a fractional time, through its shortest decimal: an epoch in seconds is what was written into the
/// table, to the last digit.
pub(super) fn from_float(value: f64, scale_ns: i64) -> Result<i64, Fault> {
    if value.is_nan() {
        return Err(Fault::Missing);
    }
    if value.is_infinite() {
        return Err(Fault::NotFinite);
    }
    if value.abs() > 1e19 {
        return Err(if value < 0.0 { Fault::Negative } else { Fault::TooLarge });
    }
    // `Display` of f64 never uses an exponent
    from_decimal(&value.to_string(), scale_ns).unwrap_or(Err(Fault::NotFinite))
}

/// Nanoseconds of a time that is written as a decimal number, rounded to the nearest; `None` when it is not one.
pub(super) fn from_decimal(text: &str, scale_ns: i64) -> Option<Result<i64, Fault>> {
    /// Digits after the point that can matter at any scale.
    const DIGITS: usize = 18;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let scale = i128::from(scale_ns);
    let Some(whole) = whole.parse::<i64>().ok().and_then(|whole| i128::from(whole).checked_mul(scale)) else {
        return Some(Err(if negative { Fault::Negative } else { Fault::TooLarge }));
    };
    let fraction = &fraction[..fraction.len().min(DIGITS)];
    let unit = 10_i128.pow(fraction.len() as u32);
    let digits: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let ns = whole + (digits * scale + unit / 2) / unit;
    Some(in_range(if negative { -ns } else { ns }))
}

fn in_range(ns: i128) -> Result<i64, Fault> {
    if ns < 0 {
        Err(Fault::Negative)
    } else if ns > i128::from(LAST_NS) {
        Err(Fault::TooLarge)
    } else {
        Ok(ns as i64)
    }
}

/// Moves an instant, keeping it in range.
pub(super) fn shift(ns: i64, by_ns: i64) -> Result<i64, Fault> {
    in_range(i128::from(ns) + i128::from(by_ns))
}

/// The form of a text date: `%Y %m %d %b %H %M %S`, `%F` = `%Y-%m-%d`, `%T` = `%H:%M:%S`, `%.f` an optional fraction
/// with its point, `%z` a zone (`Z`, `+01:00`, `+0100`); other characters stand for themselves, a space for any number
/// of blanks. Without a zone the text is read as UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateFormat(Vec<Item>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Literal(char),
    Year,
    Month,
    MonthName,
    Day,
    Hour,
    Minute,
    Second,
    Fraction,
    Zone,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

impl DateFormat {
    /// Parses a format.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.replace("%F", "%Y-%m-%d").replace("%T", "%H:%M:%S").replace("%.f", "%f");
        let mut items = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            items.push(match c {
                '%' => match chars.next() {
                    Some('Y') => Item::Year,
                    Some('m') => Item::Month,
                    Some('b') => Item::MonthName,
                    Some('d') => Item::Day,
                    Some('H') => Item::Hour,
                    Some('M') => Item::Minute,
                    Some('S') => Item::Second,
                    Some('f') => Item::Fraction,
                    Some('z') => Item::Zone,
                    other => {
                        let other = other.map(String::from).unwrap_or_default();
                        return Err(format!(
                            "`%{other}` is not a date field: use %Y %m %b %d %H %M %S %.f %z, %F or %T"
                        ));
                    }
                },
                literal => Item::Literal(literal),
            });
        }
        let has = |item| items.contains(&item);
        if has(Item::Year) && has(Item::Day) && (has(Item::Month) || has(Item::MonthName)) {
            Ok(Self(items))
        } else {
            Err("a date format needs at least a year, a month and a day".into())
        }
    }

    /// Unix nanoseconds of a text date.
    pub(super) fn read(&self, text: &str) -> Result<i64, Fault> {
        self.fields(text).and_then(|fields| fields.ns()).ok_or(Fault::NotADate).and_then(in_range)
    }

    fn fields(&self, text: &str) -> Option<Fields> {
        let mut fields = Fields::default();
        let mut rest = text.trim();
        for item in &self.0 {
            match item {
                Item::Literal(' ') => rest = rest.trim_start(),
                Item::Literal(c) => rest = rest.strip_prefix(*c)?,
                Item::Year => fields.year = number(&mut rest, 4)?,
                Item::Month => fields.month = number(&mut rest, 2)?,
                Item::MonthName => {
                    let name = rest.get(..3)?.to_ascii_lowercase();
                    fields.month = MONTHS.iter().position(|month| *month == name)? as i64 + 1;
                    rest = &rest[3..];
                }
                Item::Day => fields.day = number(&mut rest, 2)?,
                Item::Hour => fields.hour = number(&mut rest, 2)?,
                Item::Minute => fields.minute = number(&mut rest, 2)?,
                Item::Second => fields.second = number(&mut rest, 2)?,
                Item::Fraction => {
                    if let Some(digits) = rest.strip_prefix('.') {
                        let count = digits.bytes().take_while(u8::is_ascii_digit).count();
                        let kept: i64 = digits[..count.min(9)].parse().ok()?;
                        fields.nanos = kept * 10_i64.pow(9 - count.min(9) as u32);
                        rest = &digits[count..];
                    }
                }
                Item::Zone => fields.zone_s = zone(&mut rest)?,
            }
        }
        rest.is_empty().then_some(fields)
    }
}

impl<'de> Deserialize<'de> for DateFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[derive(Default)]
struct Fields {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    nanos: i64,
    zone_s: i64,
}

impl Fields {
    fn ns(&self) -> Option<i128> {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let days = match self.month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        // second 60 is a leap second: the first of the next minute, as Unix time counts it
        if !(1..=days).contains(&self.day) || self.hour > 23 || self.minute > 59 || self.second > 60 {
            return None;
        }
        let seconds = days_since_1970(self.year, self.month, self.day) * 86_400
            + self.hour * 3_600
            + self.minute * 60
            + self.second
            - self.zone_s;
        Some(i128::from(seconds) * i128::from(SECOND_NS) + i128::from(self.nanos))
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar: the year is taken to start in March, so that the leap day
/// is its last, and months then follow a pattern of five (Richards, "Explanatory Supplement to the Astronomical
/// Almanac", 3rd ed., 15.11).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let y = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + day_of_year - 719_468
}

/// Takes up to `digits` digits, at least one.
fn number(rest: &mut &str, digits: usize) -> Option<i64> {
    let count = rest.bytes().take(digits).take_while(u8::is_ascii_digit).count();
    let (number, after) = rest.split_at(count);
    *rest = after;
    number.parse().ok()
}

fn zone(rest: &mut &str) -> Option<i64> {
    if let Some(after) = rest.strip_prefix('Z') {
        *rest = after;
        return Some(0);
    }
    let sign = match rest.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    *rest = &rest[1..];
    let hours = number(rest, 2)?;
    *rest = rest.strip_prefix(':').unwrap_or(rest);
    let minutes = number(rest, 2)?;
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        assert_eq!(from_float(1.546, SECOND_NS), Ok(1_546_000_000));
        assert_eq!(from_float(1_678_440_574.078_825, SECOND_NS), Ok(1_678_440_574_078_825_000));
        assert_eq!(from_float(1e-9 / 3.0, SECOND_NS), Ok(0));
        assert_eq!(from_float(0.05, 60 * SECOND_NS), Ok(3 * SECOND_NS));
        assert_eq!(from_decimal("1678444174.081", SECOND_NS), Some(Ok(1_678_444_174_081_000_000)));
        assert_eq!(from_decimal("99999999999999999999", 1), Some(Err(Fault::TooLarge)));
        for text in ["", ".5", "1e3", "+1", "1.2.3", "one", "--1"] {
            assert_eq!(from_decimal(text, SECOND_NS), None, "{text}");
        }
        assert_eq!(from_float(0.000_000_001, SECOND_NS), Ok(1));
        assert_eq!(from_integer(1_678_440_574, SECOND_NS), Ok(1_678_440_574_000_000_000));
        assert_eq!(from_integer(7, 1), Ok(7));
    }

    #[test]
    fn unusable_times_have_a_reason() {
        assert_eq!(from_float(f64::NAN, 1), Err(Fault::Missing));
        assert_eq!(from_float(f64::INFINITY, 1), Err(Fault::NotFinite));
        assert_eq!(from_float(-0.5, SECOND_NS), Err(Fault::Negative));
        assert_eq!(from_float(-1e300, 1), Err(Fault::Negative));
        assert_eq!(from_float(1e300, 1), Err(Fault::TooLarge));
        assert_eq!(from_integer(i64::MAX, SECOND_NS), Err(Fault::TooLarge));
        assert_eq!(from_integer(i64::MIN, SECOND_NS), Err(Fault::Negative));
        assert_eq!(shift(5, -6), Err(Fault::Negative));
    }

    fn date(format: &str, text: &str) -> Result<i64, Fault> {
        DateFormat::parse(format).unwrap().read(text)
    }

    #[test]
    fn dates_read_as_the_calendar_says() {
        let s = |seconds: i64| Ok(seconds * SECOND_NS);
        assert_eq!(date("%F %T", "1970-01-01 00:00:00"), s(0));
        assert_eq!(date("%F", "2000-02-29"), s(951_782_400));
        assert_eq!(date("%Y-%m-%d %H:%M:%S%.f", "2023-03-10 10:29:34.081"), Ok(1_678_444_174_081_000_000));
        assert_eq!(date("%Y-%m-%d %H:%M:%S%.f", "2023-03-10 10:29:34"), s(1_678_444_174));
        assert_eq!(date("%FT%T%z", "2023-03-10T10:29:34+01:00"), s(1_678_440_574));
        assert_eq!(date("%FT%T%.f%z", "2023-03-10T10:29:34.5Z"), Ok(1_678_444_174_500_000_000));
        assert_eq!(date("%d %b %Y %T", "10 Mar 2023 10:29:34"), s(1_678_444_174));
        assert_eq!(date("%F %T", "2016-12-31 23:59:60"), s(1_483_228_800));
    }

    #[test]
    fn days_count_on_through_a_whole_calendar_cycle() {
        let mut expected = days_since_1970(1970, 1, 1);
        assert_eq!(expected, 0);
        for year in 1970..2370 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let lengths = [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, days) in (1..).zip(lengths) {
                for day in 1..=days {
                    assert_eq!(days_since_1970(year, month, day), expected);
                    expected += 1;
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_date_is_refused() {
        for text in ["", "2023-13-01", "2023-02-29", "2023-01-32", "2023-1", "x", "2023-01-01x", "ü023-01-01"] {
            assert_eq!(date("%F", text), Err(Fault::NotADate), "{text}");
        }
        assert_eq!(date("%F", "1969-12-31"), Err(Fault::Negative));
        assert_eq!(date("%F %T", "2023-01-01 24:00:00"), Err(Fault::NotADate));
        assert_eq!(date("%F %T%.f", "2023-01-01 00:00:00."), Err(Fault::NotADate));
        assert!(DateFormat::parse("%Q").unwrap_err().contains("%Q"));
        assert!(DateFormat::parse("%H:%M").unwrap_err().contains("at least a year"));
    }
}
