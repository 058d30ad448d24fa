//! How good probabilities are: proper scores with their parts, calibration errors, a reliability table.
//!
//! A window weighs 1 / (windows of its episode), so that a long episode says no more than a short one. All figures of
//! a set of rows depend on a resample through sums a cluster and a bin only (`sums`), so that no resample loops over
//! rows; bins, groups and the classes that count are fixed before anything is resampled, and all figures share the
//! same resamples. Rows are brought into one order first: the same rows give the same bits.
//!
//! * **Brier score** `Σ_k (p_k − y_k)²`, 0 to 2 (Brier 1950); **log loss** `−ln max(p_y, ε)`, ε = 2⁻²³.
//! * Both are split as `reliability − resolution + uncertainty` over groups of similar forecasts (Murphy 1973, for
//!   vectors of probabilities; Bröcker 2009 for any proper score). Groups are the called class × the fifth of the
//!   confidence. What forecasts differ inside a group counts with the resolution (Stephenson, Coelho and Jolliffe
//!   2008), so that the parts sum up exactly.
//! * **ECE** is the mean gap between confidence (the largest probability) and accuracy over 15 bins of equal width
//!   (Naeini et al. 2015; Guo et al. 2017) or of equal weight (Nixon et al. 2019). **Classwise** it is taken for each
//!   class against the rest, and averaged over the classes that occur or are called (Kull et al. 2019).
//! * A gap that is only noise is still a gap: the plain errors above are too large on few episodes. **Debiased** is the
//!   squared gap over bins of equal weight without its noise (Kumar, Liang and Ma 2019, section 5), written for
//!   episodes: per bin `Σ_{g≠h} d_g d_h / Σ_{g≠h} w_g w_h` over pairs of different units g, h with weights w and
//!   summed gaps d. With one window of equal weight a unit this is Kumar's estimate with the sample variance of the
//!   gaps. Its root is shown, 0 where it is negative.
//!
//! Intervals are percentiles over resampled units. A bootstrap adds the noise of resampling to whatever measures
//! noise: the values of errors and parts are moved so that their mean is the figure itself (the bootstrap estimate of
//! bias, Efron and Tibshirani 1993, chapter 10), and end at 0 where a figure cannot be negative.

mod layout;
mod score;
mod sums;

use serde::{Deserialize, Serialize};

use crate::bootstrap::{self, LANES, Plan};
use crate::calibrate::episode_weights;
use crate::{Estimate, EvalError, Unit};
use layout::Layout;
use score::{FIGURES, Figure, figures};
use sums::ClusterSums;

/// Bins of equal width or weight.
pub const BINS: usize = 15;

/// How good the probabilities of some rows are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbabilityScores {
    /// Brier score and its parts.
    pub brier: Parts,
    /// Log loss in nats and its parts.
    pub log_loss: Parts,
    /// Calibration errors.
    pub ece: CalibrationErrors,
    /// Reliability by confidence, bins of equal width that hold a window, ascending.
    pub reliability: Vec<ReliabilityBin>,
}

/// A proper score: `score = reliability − resolution + uncertainty`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    /// The score; smaller is better.
    pub score: Estimate,
    /// How far forecasts are from what follows them; 0 is best.
    pub reliability: Estimate,
    /// How much forecasts tell apart; larger is better.
    pub resolution: Estimate,
    /// What a forecast of the mean frequencies would score: a property of the rows alone.
    pub uncertainty: Estimate,
}

/// Calibration errors of the largest probability; classwise of every one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationErrors {
    /// Mean gap over bins of equal width.
    pub equal_width: Estimate,
    /// Mean gap over bins of equal weight.
    pub equal_mass: Estimate,
    /// Mean over classes of the mean gap over bins of equal width.
    pub classwise: Estimate,
    /// Root of `debiased_squared`, 0 where that is negative.
    pub debiased: Estimate,
    /// Mean squared gap over bins of equal weight without the part that noise adds; `None` where no bin holds two
    /// units.
    pub debiased_squared: Estimate,
}

/// Windows of similar confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Least confidence.
    pub from: f64,
    /// Confidence below which a window belongs here; the last bin holds 1 too.
    pub to: f64,
    /// Mean confidence.
    pub confidence: f64,
    /// Share called right.
    pub accuracy: Estimate,
    /// Share of the whole weight.
    pub weight: f64,
    /// Windows.
    pub n_windows: usize,
    /// Episodes.
    pub n_episodes: usize,
}

/// Rows with their probabilities. Episodes and clusters are ranks, so that nothing depends on the order of rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cases<'a> {
    pub(crate) classes: usize,
    /// Rows × classes.
    pub(crate) probabilities: &'a [f32],
    pub(crate) truth: &'a [u16],
    pub(crate) episode: &'a [u32],
    /// What is resampled as a whole: a union of episodes.
    pub(crate) cluster: &'a [u32],
    pub(crate) unit: Unit,
}

impl Cases<'_> {
    fn row(&self, row: usize) -> &[f32] {
        &self.probabilities[row * self.classes..(row + 1) * self.classes]
    }

    /// Rows cluster by cluster, in an order that depends on their content alone.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.truth.len()).collect();
        order.sort_unstable_by(|&a, &b| {
            let key = |row: usize| (self.cluster[row], self.episode[row], self.truth[row]);
            let rows = || self.row(a).iter().zip(self.row(b)).map(|(a, b)| a.total_cmp(b));
            key(a).cmp(&key(b)).then_with(|| rows().find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal))
        });
        order
    }
}

/// Scores the probabilities of some rows; `None` without rows.
pub(crate) fn probability_scores(cases: &Cases<'_>, plan: &Plan) -> Result<Option<ProbabilityScores>, EvalError> {
    plan.check()?;
    if cases.truth.is_empty() {
        return Ok(None);
    }
    let weights = episode_weights(cases.episode);
    let order = cases.order();
    let layout = Layout::new(cases, &order, &weights);
    let sums = ClusterSums::new(cases, &order, &weights, &layout);
    let whole = sums.whole();
    let point = figures(&layout, &whole);
    let n = sums.clusters();
    let resampled = if n < 2 { Resampled::default() } else { resample(&layout, &sums, plan) };

    let estimate = |figure: Figure| {
        let point = point[figure as usize];
        let values = resampled.figures.get(figure as usize).map_or(&[][..], Vec::as_slice);
        figure.estimate(point, values, cases.unit, n, plan)
    };
    let squared = estimate(Figure::DebiasedSquared);
    let root = |value: Option<f64>| value.map(|value| value.max(0.0).sqrt());
    Ok(Some(ProbabilityScores {
        brier: Parts {
            score: estimate(Figure::Brier),
            reliability: estimate(Figure::BrierReliability),
            resolution: estimate(Figure::BrierResolution),
            uncertainty: estimate(Figure::BrierUncertainty),
        },
        log_loss: Parts {
            score: estimate(Figure::LogLoss),
            reliability: estimate(Figure::LogReliability),
            resolution: estimate(Figure::LogResolution),
            uncertainty: estimate(Figure::LogUncertainty),
        },
        ece: CalibrationErrors {
            equal_width: estimate(Figure::EqualWidth),
            equal_mass: estimate(Figure::EqualMass),
            classwise: estimate(Figure::Classwise),
            debiased: Estimate { point: root(squared.point), lo: root(squared.lo), hi: root(squared.hi), ..squared },
            debiased_squared: squared,
        },
        reliability: reliability(cases, &layout, &sums, &whole, &resampled, plan),
    }))
}

/// The reliability table: bins of equal width.
fn reliability(
    cases: &Cases<'_>,
    layout: &Layout,
    sums: &ClusterSums,
    whole: &[f64],
    resampled: &Resampled,
    plan: &Plan,
) -> Vec<ReliabilityBin> {
    let mut windows = [0; BINS];
    let mut episodes = vec![Vec::new(); BINS];
    for row in 0..cases.truth.len() {
        let bin = layout.width_of[row];
        windows[bin] += 1;
        episodes[bin].push(cases.episode[row]);
    }
    let bins = layout.width.used().map(|(bin, slot)| {
        let [weight, confidence, hits] = [0, 1, 2].map(|part| whole[slot + part]);
        let values = resampled.accuracy.get(bin).map_or(&[][..], Vec::as_slice);
        ReliabilityBin {
            from: bin as f64 / BINS as f64,
            to: (bin + 1) as f64 / BINS as f64,
            confidence: confidence / weight,
            accuracy: Estimate::new(Some(hits / weight), values, cases.unit, sums.holding(slot), plan),
            weight: weight / whole[0],
            n_windows: windows[bin],
            n_episodes: crate::evaluation::distinct(&episodes[bin]),
        }
    });
    bins.collect()
}

/// The figures of all resamples, and the accuracy of each bin of equal width; undefined ones are left out.
#[derive(Default)]
struct Resampled {
    figures: Vec<Vec<f64>>,
    accuracy: Vec<Vec<f64>>,
}

impl Resampled {
    fn room() -> Self {
        Self { figures: vec![Vec::new(); FIGURES], accuracy: vec![Vec::new(); BINS] }
    }

    fn take(&mut self, other: Self) {
        let into = self.figures.iter_mut().chain(&mut self.accuracy);
        for (into, from) in into.zip(other.figures.into_iter().chain(other.accuracy)) {
            into.extend(from);
        }
    }
}

fn resample(layout: &Layout, sums: &ClusterSums, plan: &Plan) -> Resampled {
    let chunks = bootstrap::unit_draws(plan, sums.clusters(), |draws| {
        let mut part = Resampled::room();
        let mut sums_of_lanes = vec![[0.0; LANES]; layout.slots];
        let mut total = vec![0.0; layout.slots];
        draws.each(|times, lanes| {
            sums.sum(times, &mut sums_of_lanes);
            for lane in 0..lanes {
                total.iter_mut().zip(&sums_of_lanes).for_each(|(total, sums)| *total = sums[lane]);
                for (into, figure) in part.figures.iter_mut().zip(figures(layout, &total)) {
                    into.extend(figure);
                }
                for (bin, slot) in layout.width.used().filter(|(_, slot)| total[*slot] > 0.0) {
                    part.accuracy[bin].push(total[slot + 2] / total[slot]);
                }
            }
        });
        part
    });
    let mut all = Resampled::room();
    chunks.into_iter().for_each(|chunk| all.take(chunk));
    all
}

#[cfg(test)]
mod tests;
