//! The paired difference of two models on the same windows.

use serde::{Deserialize, Serialize};
use stakeout_core::Side;

use crate::bootstrap::{self, Plan};
use crate::cells::{ClusterCounts, Outcomes};
use crate::estimate::{Estimate, Unit};
use crate::evaluation::{distinct, headline};
use crate::{EvalError, Predictions};

/// The difference b − a on the test side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Macro F1 of a.
    pub a: Option<f64>,
    /// Macro F1 of b.
    pub b: Option<f64>,
    /// Difference of macro F1 with the interval of the paired resamples.
    pub macro_f1: Estimate,
    /// Difference of accuracy.
    pub accuracy: Estimate,
    /// Test windows.
    pub n_windows: usize,
    /// Test hosts.
    pub n_hosts: usize,
    /// Whether the interval of macro F1 lies on one side of 0. `None` where the question cannot be answered for other
    /// devices: fewer than two hosts were held out, or there is no interval.
    pub differs: Option<bool>,
}

/// Compares two runs window by window: whole units are resampled for both at once.
///
/// # Errors
/// [`EvalError::Unpaired`] unless both have the same classes and test windows (episode, start, label), each once;
/// [`EvalError::Invalid`] for a plan out of range.
pub fn compare(a: &Predictions, b: &Predictions, plan: &Plan) -> Result<Comparison, EvalError> {
    plan.check()?;
    if a.classes() != b.classes() {
        return Err(EvalError::Unpaired("their class lists differ".into()));
    }
    let (rows_a, rows_b) = (in_window_order(a), in_window_order(b));
    if rows_a.len() != rows_b.len() {
        return Err(EvalError::Unpaired(format!("{} test windows against {}", rows_a.len(), rows_b.len())));
    }
    for (i, (&in_a, &in_b)) in rows_a.iter().zip(&rows_b).enumerate() {
        let (this, other) = (a.row(in_a), b.row(in_b));
        let at = || format!("{} at {} ns", stakeout_core::text::printable(this.episode, 64), this.t0_ns);
        if (this.episode, this.t0_ns, this.label, this.host) != (other.episode, other.t0_ns, other.label, other.host) {
            return Err(EvalError::Unpaired(format!("window {} is not the same in both", at())));
        }
        if i > 0 && window_key(a, rows_a[i - 1]) == window_key(a, in_a) {
            return Err(EvalError::Unpaired(format!("window {} stands twice: compare one fold and seed", at())));
        }
    }
    let (hosts, episodes) = (a.hosts.ranks(), a.episodes.ranks());
    let host: Vec<u32> = rows_a.iter().map(|&row| hosts[a.host[row] as usize]).collect();
    let n_hosts = distinct(&host);
    let unit = headline(n_hosts);
    let units = match unit {
        Unit::Host => host,
        _ => rows_a.iter().map(|&row| episodes[a.episode[row] as usize]).collect(),
    };
    let truth: Vec<u16> = rows_a.iter().map(|&row| a.label[row]).collect();
    let counts = |of: &Predictions, rows: &[usize]| {
        let predicted: Vec<u16> = rows.iter().map(|&row| of.predicted(row)).collect();
        ClusterCounts::new(of.classes().len(), None, &units, &truth, &predicted)
    };
    let (of_a, of_b) = (counts(a, &rows_a)?, counts(b, &rows_b)?);
    let differences = bootstrap::paired_clusters(&of_a, &of_b, plan)?;
    let scores = [&of_a, &of_b].map(|counts| {
        let mut outcomes = Outcomes::new();
        counts.cells.outcomes(counts.totals(), &mut outcomes);
        counts.cells.scores(&outcomes)
    });
    let [first, second] = scores;
    let difference = |a: Option<f64>, b: Option<f64>| b.zip(a).map(|(b, a)| b - a);
    let n = of_a.clusters();
    let point = difference(first.macro_f1, second.macro_f1);
    let macro_f1 = Estimate::new(point, &differences.macro_f1, unit, n, plan);
    let point = difference(first.accuracy, second.accuracy);
    let accuracy = Estimate::new(point, &differences.accuracy, unit, n, plan);
    Ok(Comparison {
        a: first.macro_f1,
        b: second.macro_f1,
        macro_f1,
        accuracy,
        n_windows: truth.len(),
        n_hosts,
        differs: macro_f1.lo.zip(macro_f1.hi).filter(|_| n_hosts >= 2).map(|(lo, hi)| lo > 0.0 || hi < 0.0),
    })
}

fn window_key(predictions: &Predictions, row: usize) -> (&str, i64) {
    (predictions.episodes.get(predictions.episode[row]), predictions.t0_ns[row])
}

fn in_window_order(predictions: &Predictions) -> Vec<usize> {
    let mut rows = predictions.rows_of(Side::Test);
    rows.sort_by_key(|&row| window_key(predictions, row));
    rows
}
