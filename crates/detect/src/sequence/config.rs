//! Settings of a fit.

use serde::{Deserialize, Serialize};

use super::counts::MAX_N;
use crate::DetectError;

/// What is learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Two classes where at least [`ENOUGH`] different sequences were anomalous, else one.
    #[default]
    Auto,
    /// Normal sequences alone; labelled anomalies are left out.
    OneClass,
    /// Normal and anomalous sequences.
    TwoClass,
}

/// How the probability from which a sequence is called anomalous is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Threshold {
    /// A number inside (0, 1].
    At(f64),
    /// The best F1 of the anomalous class on training sequences, each judged by a model that did not see it.
    BestF1,
    /// At most this share of normal training sessions called anomalous, each judged by a model that did not see it.
    FalseAlarms(f64),
}

/// This many different anomalous sequences make two classes.
pub const ENOUGH: usize = 10;
/// This many different normal sequences are the least to learn from.
pub const FEWEST: usize = 10;

/// Settings of a fit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Length of an n-gram, 1 to 5.
    pub n: usize,
    /// How the threshold is chosen.
    pub threshold: Threshold,
    /// What is learnt from.
    pub mode: Mode,
    /// Parts of the cross-fit, 2 to 100.
    pub folds: usize,
    /// Most passes over the data of the logistic head's fit, 1 to 10,000.
    pub epochs: usize,
    /// Prior probability of an anomaly where only normal sequences are known, inside (0, 1).
    pub prior: f64,
    /// Seed of the folds.
    pub seed: u64,
}

impl Default for Config {
    /// n = 3, threshold 0.3, ten folds, 100 epochs, prior 0.05, seed 1.
    fn default() -> Self {
        Self { n: 3, threshold: Threshold::At(0.3), mode: Mode::Auto, folds: 10, epochs: 100, prior: 0.05, seed: 1 }
    }
}

impl Config {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] naming the setting and its rule.
    pub fn check(&self) -> Result<(), DetectError> {
        let refuse = |what, why| Err(DetectError::Invalid { what, why });
        let share = |v: f64| v > 0.0 && v < 1.0;
        if !(1..=MAX_N).contains(&self.n) {
            return refuse("n", format!("{}: n-grams have 1 to {MAX_N} actions", self.n));
        }
        match self.threshold {
            Threshold::At(p) if !(p > 0.0 && p <= 1.0) => {
                return refuse("threshold", format!("{p:?}: it is a probability above 0 and at most 1, as 0.3"));
            }
            Threshold::FalseAlarms(share) if !(share > 0.0 && share < 1.0) => {
                return refuse("false-alarm rate", format!("{share:?}: it is a share inside (0, 1), as 0.01"));
            }
            _ => {}
        }
        if !(2..=100).contains(&self.folds) {
            return refuse("folds", format!("{}: 2 to 100", self.folds));
        }
        if !(1..=10_000).contains(&self.epochs) {
            return refuse("epochs", format!("{}: 1 to 10,000", self.epochs));
        }
        if !share(self.prior) {
            return refuse("prior", format!("{:?}: it is a probability inside (0, 1), as 0.05", self.prior));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        let default = Config::default();
        assert!(default.check().is_ok() && default.n == 3 && default.threshold == Threshold::At(0.3));
        for (bad, what) in [
            (Config { n: 0, ..default }, "n:"),
            (Config { n: 6, ..default }, "n:"),
            (Config { threshold: Threshold::At(f64::NAN), ..default }, "threshold"),
            (Config { threshold: Threshold::At(0.0), ..default }, "threshold"),
            (Config { threshold: Threshold::FalseAlarms(1.0), ..default }, "false-alarm"),
            (Config { folds: 1, ..default }, "folds"),
            (Config { epochs: 0, ..default }, "epochs"),
            (Config { prior: f64::INFINITY, ..default }, "prior"),
        ] {
            assert!(bad.check().unwrap_err().to_string().starts_with(what), "{bad:?}");
        }
    }
}
