//! A number with its interval and the number of independent units behind it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::bootstrap::{self, Plan, Resamples};
use crate::cells::{ClusterCounts, Outcomes};

/// Hosts are the unit of the headline interval from this number on, and have no interval at all below it. With n hosts
/// there are C(2n − 1, n) different resamples: 35 for four, fewer than the 40 that it takes to tell 2.5 % from 0; 126
/// for five.
pub const HOSTS_FOR_INTERVAL: usize = 5;

/// What is resampled as a whole. Never a window: windows overlap and share an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// One run of one sample on one host.
    Episode,
    /// A device.
    Host,
    /// A program.
    Sample,
    /// What a fold holds out, where it is neither hosts nor programs.
    Fold,
}

impl Unit {
    /// The lower-case name used in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Episode => "episode",
            Self::Host => "host",
            Self::Sample => "sample",
            Self::Fold => "fold",
        }
    }

    /// How many of this unit it takes for an interval: what was held out stands for what was not, and takes
    /// [`HOSTS_FOR_INTERVAL`]; the spread of episodes is seen from two on.
    pub fn for_interval(self) -> usize {
        match self {
            Self::Episode => 2,
            Self::Host | Self::Sample | Self::Fold => HOSTS_FOR_INTERVAL,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A score with its percentile interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The score on the whole sample; `None` where it is not defined.
    pub point: Option<f64>,
    /// Lower end of the interval; `None` with fewer units than [`Unit::for_interval`].
    pub lo: Option<f64>,
    /// Upper end of the interval.
    pub hi: Option<f64>,
    /// What was resampled.
    pub unit: Unit,
    /// How many independent units there are.
    pub n_units: usize,
}

impl Estimate {
    /// A score with the interval of its resampled values; without one for too few units.
    pub(crate) fn new(point: Option<f64>, values: &[f64], unit: Unit, n_units: usize, plan: &Plan) -> Self {
        let interval = if n_units < unit.for_interval() { None } else { bootstrap::interval(values, plan.level) };
        Self { point, lo: interval.map(|i| i.0), hi: interval.map(|i| i.1), unit, n_units }
    }
}

/// Macro F1 and accuracy with intervals by one unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitScores {
    /// Unweighted mean of the F1 of the scored classes.
    pub macro_f1: Estimate,
    /// Share of windows called right.
    pub accuracy: Estimate,
    /// Share of resamples in which a scored class neither occurred nor was predicted and was left out.
    pub left_out: Option<f64>,
}

/// Scores the clusters of one unit; also returns the resamples, for the shares by class.
pub(crate) fn unit_scores(
    unit: Unit,
    counts: &ClusterCounts,
    plan: &Plan,
) -> Result<(UnitScores, Resamples), EvalError> {
    let n = counts.clusters();
    let mut outcomes = Outcomes::new();
    counts.cells.outcomes(counts.totals(), &mut outcomes);
    let point = counts.cells.scores(&outcomes);
    let enough = n >= unit.for_interval();
    let resamples = if enough { bootstrap::clusters(counts, plan)? } else { Resamples::default() };
    let scores = UnitScores {
        macro_f1: Estimate::new(point.macro_f1, &resamples.macro_f1, unit, n, plan),
        accuracy: Estimate::new(point.accuracy, &resamples.accuracy, unit, n, plan),
        left_out: enough.then(|| resamples.any_left_out as f64 / plan.resamples as f64),
    };
    Ok((scores, resamples))
}
