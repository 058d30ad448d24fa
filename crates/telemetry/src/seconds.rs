//! Seconds in files, integer nanoseconds in memory, and no rounding in between.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use stakeout_core::window::SECOND_NS;

use crate::TelemetryError;

/// A length of time that a file gives in seconds, as an exact number of nanoseconds.
///
/// A fraction is read as the decimal that was written (`0.1` is 100,000,000 ns); what does not fit nine decimals or
/// 64 bits is an error, never rounded.
///
/// ```
/// use stakeout_telemetry::Seconds;
/// assert_eq!(Seconds::from_f64(0.1)?.ns(), 100_000_000);
/// assert!(Seconds::from_f64(1.0 / 3.0).is_err());
/// # Ok::<(), stakeout_telemetry::TelemetryError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(i64);

impl Seconds {
    /// A length of time in nanoseconds.
    pub fn from_ns(ns: i64) -> Self {
        Self(ns)
    }

    /// The length in nanoseconds.
    pub fn ns(self) -> i64 {
        self.0
    }

    /// Seconds as a file gives them.
    ///
    /// # Errors
    /// [`TelemetryError::Invalid`] when the shortest decimal that denotes `seconds` has more than nine decimals, or
    /// the result does not fit 64 bits.
    pub fn from_f64(seconds: f64) -> Result<Self, TelemetryError> {
        decimal_ns(seconds).map(Self).ok_or_else(|| {
            TelemetryError::invalid(
                "length of time",
                &format!("{seconds} s"),
                "give seconds that are a whole number of nanoseconds and less than 292 years",
            )
        })
    }

    /// This length times a small whole number (60 for a file that speaks of minutes).
    ///
    /// # Errors
    /// [`TelemetryError::Invalid`] when the result does not fit 64 bits.
    pub fn times(self, factor: i64) -> Result<Self, TelemetryError> {
        self.0.checked_mul(factor).map(Self).ok_or_else(|| {
            TelemetryError::invalid("length of time", &format!("{factor} × {self} s"), "it must be less than 292 years")
        })
    }
}

/// `f64` to nanoseconds through its shortest decimal: what a human wrote, exactly.
fn decimal_ns(seconds: f64) -> Option<i64> {
    if !seconds.is_finite() {
        return None;
    }
    let text = seconds.to_string(); // `Display` of f64 never uses an exponent
    let (negative, text) = text.strip_prefix('-').map_or((false, text.as_str()), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let fraction: i64 = format!("{fraction:0<9}").parse().ok()?;
    let ns = whole.checked_mul(SECOND_NS)?.checked_add(fraction)?;
    Some(if negative { -ns } else { ns })
}

impl fmt::Display for Seconds {
    /// Decimal seconds without a trailing zero: `0.1`, `3600`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, rest) = (self.0.unsigned_abs() / 1_000_000_000, self.0.unsigned_abs() % 1_000_000_000);
        if rest == 0 {
            return write!(f, "{sign}{whole}");
        }
        let fraction = format!("{rest:09}");
        write!(f, "{sign}{whole}.{}", fraction.trim_end_matches('0'))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds")
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Seconds, E> {
                Seconds(seconds).times(SECOND_NS).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Seconds, E> {
                i64::try_from(seconds).map_err(E::custom).and_then(|seconds| self.visit_i64(seconds))
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Seconds, E> {
                Seconds::from_f64(seconds).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Seconds {
    /// A whole number where it is one; a fraction that reads back as the same nanoseconds otherwise.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % SECOND_NS == 0 {
            return serializer.serialize_i64(self.0 / SECOND_NS);
        }
        let seconds = self.0 as f64 / SECOND_NS as f64;
        if decimal_ns(seconds) != Some(self.0) {
            return Err(serde::ser::Error::custom(format!("{self} s has too many digits for a file")));
        }
        serializer.serialize_f64(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_are_read_as_written() {
        for (seconds, ns) in [(0.1, 100_000_000), (1.005, 1_005_000_000), (-2.5, -2_500_000_000), (3e8, 3e17 as i64)] {
            assert_eq!(Seconds::from_f64(seconds).unwrap().ns(), ns);
        }
        for bad in [f64::NAN, f64::INFINITY, 1e-10, 1e19, 0.123_456_789_1] {
            assert!(Seconds::from_f64(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn microseconds_of_a_year_survive_a_file(us in -31_557_600_000_000i64..31_557_600_000_000) {
            let there = Seconds::from_ns(us * 1000);
            let text = serde_json::to_string(&there).unwrap();
            prop_assert_eq!(serde_json::from_str::<Seconds>(&text).unwrap(), there);
            let shown: f64 = there.to_string().parse().unwrap();
            prop_assert_eq!(Seconds::from_f64(shown).unwrap(), there);
        }
    }
}
