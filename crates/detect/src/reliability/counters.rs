//! Hits and false alarms as the parameters of a Beta distribution.

use serde::{Deserialize, Serialize};

/// What an analyst has said about one detector: `alpha` is 1 + confirmed hits, `beta` 1 + false alarms, the parameters of
/// the posterior Beta(α, β) of its precision under the uniform prior Beta(1, 1) (Gelman et al. 2013, section 2.4).
///
/// Both are whole, at least 1, and stay at [`u64::MAX`] once they are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Counters {
    pub(super) alpha: u64,
    pub(super) beta: u64,
}

/// What a file says, before it is looked at.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) alpha: u64,
    pub(super) beta: u64,
}

impl Raw {
    /// The counter that is 0, if one is.
    pub(super) fn zero(self) -> Option<&'static str> {
        [("alpha", self.alpha), ("beta", self.beta)]
            .into_iter()
            .find(|(_, counter)| *counter == 0)
            .map(|(name, _)| name)
    }
}

impl TryFrom<Raw> for Counters {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        match raw.zero() {
            Some(counter) => Err(format!("{counter} = 0; counters start at 1")),
            None => Ok(Self { alpha: raw.alpha, beta: raw.beta }),
        }
    }
}

impl Default for Counters {
    /// No history: Beta(1, 1).
    fn default() -> Self {
        Self { alpha: 1, beta: 1 }
    }
}

impl Counters {
    /// Counters after so many hits and false alarms.
    pub fn after(hits: u64, false_alarms: u64) -> Self {
        Self { alpha: hits.saturating_add(1), beta: false_alarms.saturating_add(1) }
    }

    /// 1 + hits.
    pub fn alpha(self) -> u64 {
        self.alpha
    }

    /// 1 + false alarms.
    pub fn beta(self) -> u64 {
        self.beta
    }

    /// Confirmed hits.
    pub fn hits(self) -> u64 {
        self.alpha - 1
    }

    /// False alarms.
    pub fn false_alarms(self) -> u64 {
        self.beta - 1
    }

    /// Whether anything was ever said.
    pub fn is_neutral(self) -> bool {
        self == Self::default()
    }

    /// The evidence of both; the prior is counted once.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { alpha: self.alpha.saturating_add(other.hits()), beta: self.beta.saturating_add(other.false_alarms()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_stay_at_the_largest_number() {
        let full = Counters::after(u64::MAX, u64::MAX);
        assert_eq!((full.alpha(), full.beta()), (u64::MAX, u64::MAX));
        assert_eq!(full.plus(Counters::after(1, 7)), full);
        assert_eq!(Counters::default().plus(full), full);
    }
}
