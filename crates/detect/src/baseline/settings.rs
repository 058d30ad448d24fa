//! How a baseline is learnt.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::DetectError;

/// How centre and spread are estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Mean and variance of each dimension; mergeable, quick.
    #[default]
    Diagonal,
    /// Median and MAD of each dimension: up to half of the vectors may be outliers.
    Robust,
    /// Mean and variance of each dimension without the 10 % at each end.
    Trimmed,
    /// The full covariance, shrunk after Ledoit and Wolf (2004): sees habits that hold between dimensions.
    Shrunk,
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 4] = [Self::Diagonal, Self::Robust, Self::Trimmed, Self::Shrunk];

    /// The lower-case name used in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Diagonal => "diagonal",
            Self::Robust => "robust",
            Self::Trimmed => "trimmed",
            Self::Shrunk => "shrunk",
        }
    }

    /// The share of training vectors that may be outliers, where the settings do not say: what is made to withstand
    /// outliers expects some, in the held-out vectors too.
    pub(super) fn contamination(self) -> f64 {
        match self {
            Self::Diagonal | Self::Shrunk => 0.0,
            Self::Robust | Self::Trimmed => 0.1,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = DetectError;

    fn from_str(s: &str) -> Result<Self, DetectError> {
        Self::ALL.into_iter().find(|method| method.name() == s).ok_or_else(|| DetectError::Invalid {
            what: "method",
            why: format!("`{s}` is unknown: use diagonal, robust, trimmed or shrunk"),
        })
    }
}

/// Where the threshold comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThresholdFrom {
    /// Held-out vectors where there are enough for the budget, else a distribution, marked as such.
    #[default]
    Auto,
    /// Held-out vectors, or an error with the number needed.
    Conformal,
    /// A distribution that knows the dimension and the number of vectors.
    Parametric,
}

/// How a baseline is learnt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How centre and spread are estimated.
    pub method: Method,
    /// The share of normal vectors that may be called outliers.
    pub budget: f64,
    /// A vector so many vectors old weighs half of the newest; `None`: all weigh the same.
    pub half_life: Option<f64>,
    /// Where the threshold comes from.
    pub threshold: ThresholdFrom,
    /// Neighbouring vectors that count as one observation; `None`: the autocorrelation time of the scores.
    pub block: Option<usize>,
    /// The largest share of the training vectors that is left out where it lies apart from all others; `None`: 0 for
    /// diagonal and shrunk, 0.1 for robust and trimmed.
    pub contamination: Option<f64>,
}

impl Default for Settings {
    /// Diagonal, one false alarm in a thousand normal vectors, nothing forgotten.
    fn default() -> Self {
        Self {
            method: Method::Diagonal,
            budget: 0.001,
            half_life: None,
            threshold: ThresholdFrom::Auto,
            block: None,
            contamination: None,
        }
    }
}

impl Settings {
    /// The share that may be left out.
    pub(super) fn contamination(&self) -> f64 {
        self.contamination.unwrap_or_else(|| self.method.contamination())
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] naming the setting.
    pub fn check(&self) -> Result<(), DetectError> {
        let invalid = |what, why: String| Err(DetectError::Invalid { what, why });
        if !(self.budget >= 1e-12 && self.budget <= 0.5) {
            return invalid("false-alarm budget", format!("{:?} is not between 1e-12 and 0.5", self.budget));
        }
        if let Some(half_life) = self.half_life.filter(|value| !(value.is_finite() && *value > 0.0)) {
            return invalid("half-life", format!("{half_life:?} is not a positive number of vectors"));
        }
        if self.block == Some(0) {
            return invalid("block", "a block holds at least one vector".into());
        }
        if let Some(share) = self.contamination.filter(|share| !(0.0..=0.4).contains(share)) {
            return invalid("contamination", format!("{share:?} is not between 0 and 0.4"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_ranges_are_checked() {
        for method in Method::ALL {
            assert_eq!(method.name().parse::<Method>().unwrap(), method);
        }
        assert!("mahalanobis".parse::<Method>().unwrap_err().to_string().contains("use diagonal, robust"));
        assert!(Settings::default().check().is_ok());
        let bad = |settings: Settings| settings.check().unwrap_err().to_string();
        for budget in [0.0, -1.0, 0.6, f64::NAN, 1e-13] {
            assert!(bad(Settings { budget, ..Settings::default() }).contains("false-alarm budget"));
        }
        assert!(bad(Settings { half_life: Some(0.0), ..Settings::default() }).contains("half-life"));
        assert!(bad(Settings { block: Some(0), ..Settings::default() }).contains("block"));
        assert!(bad(Settings { contamination: Some(0.5), ..Settings::default() }).contains("contamination"));
    }
}
