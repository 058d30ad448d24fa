//! What a run must show: bounds, and what caps a verdict whatever the figures say.

use std::path::Path;

use serde::{Deserialize, Serialize};
use stakeout_core::files;
use stakeout_eval::Plan;
use stakeout_trainer::config::nearest;

use crate::EvidenceError;

/// The default policy, commented.
pub const DEFAULT: &str = include_str!("default.toml");
/// The version of policies, bundles and registries that this code writes.
pub const FORMAT: u32 = 1;

/// Fewest resamples of a policy: with fewer, an end of an interval is the luck of its seed.
const FEWEST_RESAMPLES: usize = 500;

/// Which end of an interval a bound is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The figure itself.
    #[default]
    Point,
    /// The lower end of its interval.
    Lower,
    /// The upper end of its interval.
    Upper,
}

/// What a run can be at most in spite of its figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cap {
    /// It is refused.
    Refuse,
    /// It is a candidate at most.
    Candidate,
    /// Nothing is taken away.
    Allow,
}

/// A figure that must not be larger.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtMost {
    /// The bound.
    pub max: f64,
    /// `point` or `upper`.
    #[serde(default)]
    pub by: By,
}

/// A figure that must not be smaller.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtLeast {
    /// The bound.
    pub min: f64,
    /// `point` or `lower`.
    #[serde(default)]
    pub by: By,
}

/// A paired difference of macro F1 the lower end of whose interval must lie above a bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gain {
    /// The bound; negative: how much may be lost.
    pub above: f64,
}

/// What must be found of classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recall {
    /// The recall of each must be greater than this.
    pub above: f64,
    /// The classes; none: every one of the class list.
    pub classes: Vec<String>,
}

impl Default for Recall {
    fn default() -> Self {
        Self { above: 0.0, classes: Vec::new() }
    }
}

/// What may be lost against the current model in the worst cell profile × host × phase. Every cell must hold: an
/// intersection–union test, which needs no correction for how many there are (Berger 1982, Technometrics 24, 295–300).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorstCell {
    /// How much recall may be lost.
    pub margin: f64,
    /// `point` or `lower`.
    #[serde(default)]
    pub by: By,
    /// Cells of fewer windows are not compared.
    #[serde(default = "twenty")]
    pub min_windows: usize,
    /// Cells of fewer episodes are not compared.
    #[serde(default = "three")]
    pub min_episodes: usize,
}

/// How long a window may take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyBound {
    /// 99th percentile of single windows, in milliseconds.
    pub p99_ms: f64,
}

/// A cell of the ledger that must have been tested. What is absent is any; `each` stands for every one that occurs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// Profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Test windows that it takes.
    #[serde(default = "twenty")]
    pub min_windows: usize,
    /// Test episodes that it takes.
    #[serde(default = "three")]
    pub min_episodes: usize,
}

fn twenty() -> usize {
    20
}

fn three() -> usize {
    3
}

/// What caps a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Caps {
    /// Nothing was scored again. Never `allow`.
    pub on_trust: Cap,
    /// The training data was simulated.
    pub simulated: Cap,
    /// Fewer than two hosts were tested.
    pub few_hosts: Cap,
}

impl Default for Caps {
    fn default() -> Self {
        Self { on_trust: Cap::Candidate, simulated: Cap::Candidate, few_hosts: Cap::Candidate }
    }
}

/// Everything that is asked of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Version of the format.
    pub format: u32,
    /// Whether the model is fitted again.
    pub fit_again: bool,
    /// How the gate's own intervals are made.
    pub intervals: Plan,
    /// Calibration error of the called class over 15 bins of equal width.
    pub calibration_error: AtMost,
    /// Calibration error without the part that noise adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debiased_calibration_error: Option<AtMost>,
    /// Share of windows called right.
    pub accuracy: AtLeast,
    /// Macro F1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macro_f1: Option<AtLeast>,
    /// Gain over the constant predictor.
    pub gain_over_constant: Gain,
    /// Gain over the current model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain_over_incumbent: Option<Gain>,
    /// What must be found of classes.
    pub recall: Recall,
    /// What may be lost in the worst cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_cell: Option<WorstCell>,
    /// How long a window may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyBound>,
    /// Cells that must have been tested.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub coverage: Vec<Coverage>,
    /// What caps a verdict.
    pub caps: Caps,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            format: FORMAT,
            fit_again: false,
            intervals: Plan::default(),
            calibration_error: AtMost { max: 0.08, by: By::Point },
            debiased_calibration_error: None,
            accuracy: AtLeast { min: 0.85, by: By::Point },
            macro_f1: None,
            gain_over_constant: Gain { above: 0.0 },
            gain_over_incumbent: None,
            recall: Recall::default(),
            worst_cell: None,
            latency: None,
            coverage: Vec::new(),
            caps: Caps::default(),
        }
    }
}

impl Policy {
    /// Reads a policy file of at most 1 MiB.
    ///
    /// # Errors
    /// [`EvidenceError::Policy`] naming file and line or key; [`EvidenceError::Core`] when it cannot be read.
    pub fn read(path: &Path) -> Result<Self, EvidenceError> {
        const CAP: u64 = 1 << 20;
        let bytes = files::read_regular(path, CAP).map_err(|e| EvidenceError::io("reading", path, e))?;
        let place = path.display().to_string();
        let text = String::from_utf8(bytes).map_err(|_| EvidenceError::policy(&place, "it is not UTF-8 text"))?;
        Self::parse(&text, &place)
    }

    /// A policy from its text; `place` is what messages name.
    ///
    /// # Errors
    /// [`EvidenceError::Policy`].
    pub fn parse(text: &str, place: &str) -> Result<Self, EvidenceError> {
        let policy: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
            let place = line.map_or_else(|| place.to_owned(), |line| format!("{place}:{line}"));
            EvidenceError::policy(place, with_nearest(error.message()))
        })?;
        policy.check().map_err(|(key, why)| EvidenceError::policy(format!("{place}, {key}"), why))?;
        Ok(policy)
    }

    /// Whether a verdict depends on the model that is deployed now.
    pub fn needs_incumbent(&self) -> bool {
        self.gain_over_incumbent.is_some() || self.worst_cell.is_some()
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        match self.format {
            FORMAT => {}
            newer if newer > FORMAT => {
                return Err(("format", format!("{newer} is newer than {FORMAT}: use a newer stakeout")));
            }
            older => return Err(("format", format!("{older} was never written: use {FORMAT}"))),
        }
        self.intervals.check().map_err(|error| ("intervals", error.to_string()))?;
        if self.intervals.resamples < FEWEST_RESAMPLES || self.intervals.level < 0.8 {
            return Err(("intervals", format!("use {FEWEST_RESAMPLES} resamples or more and a level of 0.8 or more")));
        }
        let share = |key, value: f64| {
            if (0.0..=1.0).contains(&value) { Ok(()) } else { Err((key, format!("{value}: use a share from 0 to 1"))) }
        };
        let signed = |key, value: f64| {
            if (-1.0..1.0).contains(&value) {
                Ok(())
            } else {
                Err((key, format!("{value}: use a difference from -1 to 1")))
            }
        };
        let end = |key, by: By, not: By| {
            const WHY: &str =
                "an upper bound is held against `point` or `upper`, a lower one against `point` or `lower`";
            if by == not { Err((key, WHY.to_owned())) } else { Ok(()) }
        };
        let some = |key, windows: usize, episodes: usize| {
            if windows > 0 && episodes > 0 {
                return Ok(());
            }
            Err((
                key,
                "min_windows and min_episodes must be 1 or more: what nothing is needed for is always there".to_owned(),
            ))
        };
        for (key, bound) in [
            ("calibration_error", Some(self.calibration_error)),
            ("debiased_calibration_error", self.debiased_calibration_error),
        ] {
            if let Some(bound) = bound {
                share(key, bound.max)?;
                end(key, bound.by, By::Lower)?;
            }
        }
        for (key, bound) in [("accuracy", Some(self.accuracy)), ("macro_f1", self.macro_f1)] {
            if let Some(bound) = bound {
                share(key, bound.min)?;
                end(key, bound.by, By::Upper)?;
            }
        }
        signed("gain_over_constant", self.gain_over_constant.above)?;
        if let Some(gain) = self.gain_over_incumbent {
            signed("gain_over_incumbent", gain.above)?;
        }
        share("recall", self.recall.above)?;
        if let Some(cell) = self.worst_cell {
            share("worst_cell", cell.margin)?;
            end("worst_cell", cell.by, By::Upper)?;
            some("worst_cell", cell.min_windows, cell.min_episodes)?;
        }
        for cell in &self.coverage {
            some("coverage", cell.min_windows, cell.min_episodes)?;
        }
        if let Some(LatencyBound { p99_ms }) = self.latency
            && !(p99_ms > 0.0 && p99_ms.is_finite())
        {
            return Err(("latency", format!("{p99_ms}: use a number of milliseconds above 0")));
        }
        if self.caps.on_trust == Cap::Allow {
            return Err(("caps.on_trust", "predictions taken on trust deploy nothing: use refuse or candidate".into()));
        }
        Ok(())
    }
}

/// Names the key that was probably meant, out of those that the message expects.
fn with_nearest(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else { return message.to_owned() };
    let mut names = rest.split('`').step_by(2);
    let key = names.next().unwrap_or_default();
    match nearest(key, names) {
        Some(known) => format!("{message}; did you mean `{known}`?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commented_default_is_the_default_and_its_comments_are_keys() {
        assert_eq!(Policy::parse(DEFAULT, "x").unwrap(), Policy::default());
        let (head, rest) = DEFAULT.split_once("by default:\n").unwrap();
        let asked: String =
            rest.lines().map(|line| line.trim_start_matches("# ").trim_start_matches('#').to_owned() + "\n").collect();
        // `fit_again` is a key of the top level: it stands before all sections.
        let policy = Policy::parse(&asked, "x").unwrap_or_else(|error| panic!("{error}\n{asked}\n{head}"));
        assert!(policy.fit_again && policy.worst_cell.is_some() && policy.latency.is_some());
        assert_eq!(policy.coverage.len(), 1);
        let again = Policy::parse(&toml::to_string(&policy).unwrap(), "x").unwrap();
        assert_eq!(policy, again);
    }

    #[test]
    fn what_is_out_of_range_or_unknown_is_refused_with_its_place() {
        for (text, needle) in [
            ("[accuracy]\nmin = nan", "accuracy"),
            ("[accuracy]\nmin = 1.5", "accuracy"),
            ("[accuracy]\nmin = 0.5\nby = \"upper\"", "accuracy"),
            ("[calibration_error]\nmax = -inf", "calibration_error"),
            ("[calibration_error]\nmax = 0.1\nby = \"lower\"", "calibration_error"),
            ("[gain_over_constant]\nabove = -2.0", "gain_over_constant"),
            ("[latency]\np99_ms = 0.0", "latency"),
            ("[caps]\non_trust = \"allow\"", "on_trust"),
            ("[intervals]\nresamples = 1\nlevel = 0.95\nseed = 0", "intervals"),
            ("[intervals]\nresamples = 2000\nlevel = 0.01\nseed = 0", "intervals"),
            ("format = 2", "newer"),
            ("format = 0", "never written"),
            ("\nacuracy = 1", "x:2: unknown field `acuracy`"),
            ("acuracy = 1", "did you mean `accuracy`"),
            ("[caps]\nsimulated = \"maybe\"", "maybe"),
            ("[[coverage]]\nmin_windows = 0\nmin_episodes = 0", "coverage"),
            ("[[coverage]]\nmin_episodes = 0", "always there"),
            ("[worst_cell]\nmargin = 0.1\nmin_windows = 0", "worst_cell"),
            ("[worst_cell]\nmargin = nan", "worst_cell"),
            ("[gain_over_incumbent]\nabove = nan", "gain_over_incumbent"),
            ("[recall]\nabove = inf", "recall"),
            ("[latency]\np99_ms = inf", "latency"),
            ("[accuracy]\nmni = 0.9", "x:2: unknown field `mni`"),
            ("[accuracy]\nmni = 0.9", "did you mean `min`?"),
            ("[worst_cell]\nmargin = 0.1\nmin_window = 2", "did you mean `min_windows`?"),
        ] {
            let error = Policy::parse(text, "x").unwrap_err().to_string();
            assert!(error.contains(needle), "{text}: {error}");
        }
    }
}
