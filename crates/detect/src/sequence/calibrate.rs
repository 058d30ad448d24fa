//! From scores to probabilities that mean what they say, and to p-values.

use serde::{Deserialize, Serialize};

use crate::DetectError;

/// From this p-value on (1/e) the bound of [`Meaning::Tail`] is the prior, whatever the p-value.
pub(super) const TOLD_APART: f64 = 1.0 / std::f64::consts::E;

/// Most knots of a p-value table in a model.
const MAX_KNOTS: usize = 4096;

/// The map from a score to the probability of an anomaly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Meaning {
    /// Anomalies are known: isotonic regression on scores of sequences that the head was not fitted on (Zadrozny and
    /// Elkan 2002): neighbours whose order the labels do not bear out are pooled (Ayer et al. 1955) and mean the same;
    /// straight lines between the blocks.
    Isotonic {
        /// The lowest and the highest score of each block, ascending.
        scores: Vec<f64>,
        /// Share of anomalies at each score, never falling.
        levels: Vec<f64>,
    },
    /// Only normal sequences are known: a conformal p-value (Vovk, Gammerman and Shafer 2005, section 2.2), then the most
    /// that it can say for an anomaly (Sellke, Bayarri and Berger 2001, section 3): with a prior probability π
    ///
    /// ```text
    /// P(anomalous) ≤ 1 / (1 + (1 − π) / π · B),   B = −e p ln p for p < 1/e, else 1
    /// ```
    Tail {
        /// Scores of held-out normal sequences, ascending; at most 4,096 of them are kept.
        scores: Vec<f64>,
        /// Sessions with this score or more.
        at_least: Vec<f64>,
        /// Sessions in all.
        total: f64,
        /// Prior probability of an anomaly.
        prior: f64,
    },
}

impl Meaning {
    /// The probability of an anomaly; for [`Meaning::Tail`] the most that it can be.
    pub(super) fn probability(&self, score: f64) -> f64 {
        match self {
            Self::Isotonic { scores, levels } => {
                let right = scores.partition_point(|knot| *knot < score);
                if right == 0 {
                    levels[0]
                } else if right == scores.len() {
                    levels[right - 1]
                } else if scores[right] == score {
                    // Not by way of the line: what is pooled means the same to the last bit.
                    levels[right]
                } else {
                    let part = (score - scores[right - 1]) / (scores[right] - scores[right - 1]);
                    levels[right - 1] + part * (levels[right] - levels[right - 1])
                }
            }
            Self::Tail { prior, .. } => at_most(self.p_value(score).expect("a tail has p-values"), *prior),
        }
    }

    /// (1 + sessions with this score or more) / (1 + sessions): how unusual the score is among normal sessions, where
    /// that is what is known.
    pub(super) fn p_value(&self, score: f64) -> Option<f64> {
        let Self::Tail { scores, at_least, total, .. } = self else { return None };
        let at = scores.partition_point(|knot| *knot < score);
        Some((1.0 + at_least.get(at).copied().unwrap_or(0.0)) / (1.0 + total))
    }

    /// Refuses a threshold that every sequence reaches: that of one class is never below its prior.
    ///
    /// # Errors
    /// [`DetectError::Invalid`].
    pub(super) fn check_threshold(&self, threshold: f64) -> Result<(), DetectError> {
        match self {
            Self::Tail { prior, .. } if threshold <= *prior => Err(DetectError::Invalid {
                what: "threshold",
                why: format!(
                    "{threshold}: a model of one class gives every sequence at least its prior, {prior}, and would call all \
                     of them anomalous; take a larger threshold"
                ),
            }),
            _ => Ok(()),
        }
    }

    /// The rule that a map from a file breaks.
    pub(super) fn broken(&self) -> Option<&'static str> {
        let rising = |values: &[f64]| values.is_sorted_by(|a, b| a < b) && values.iter().all(|v| v.abs() <= 1e300);
        match self {
            Self::Isotonic { scores, levels } => {
                let inside = levels.iter().all(|level| (0.0..=1.0).contains(level)) && levels.is_sorted();
                (scores.is_empty() || scores.len() != levels.len() || !rising(scores) || !inside)
                    .then_some("an isotonic map needs as many levels in [0, 1] that do not fall as rising scores")
            }
            Self::Tail { scores, at_least, total, prior } => {
                let falling =
                    at_least.is_sorted_by(|a, b| a > b) && at_least.iter().all(|n| (0.0..=*total).contains(n));
                let good = scores.len() == at_least.len() && rising(scores) && falling && *total <= 1e300;
                if !good || scores.len() > MAX_KNOTS {
                    Some("a tail needs rising scores and falling counts, at most 4096 of them")
                } else if !(*prior > 0.0 && *prior < 1.0) {
                    Some("a prior lies inside (0, 1)")
                } else {
                    None
                }
            }
        }
    }
}

/// The most that a p-value can make of a prior.
pub(super) fn at_most(p: f64, prior: f64) -> f64 {
    let bound = if p < TOLD_APART { -std::f64::consts::E * p * p.ln() } else { 1.0 };
    1.0 / (1.0 + (1.0 - prior) / prior * bound)
}

/// Fits an isotonic map to weighted scores. Levels stay inside what the rule of succession allows: no score makes an
/// anomaly certain or impossible. There is at least one score.
pub(super) fn isotonic(scores: &[f64], labels: &[bool], weights: &[f64]) -> Meaning {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
    let mut blocks: Vec<Block> = Vec::new();
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let weight = tied.iter().map(|&i| weights[i]).sum();
        let hits = tied.iter().filter(|&&i| labels[i]).map(|&i| weights[i]).sum();
        let mut block = Block { first: scores[tied[0]], last: scores[tied[0]], weight, hits };
        while let Some(before) = blocks.last().filter(|before| before.level() >= block.level()) {
            block = Block {
                first: before.first,
                last: block.last,
                weight: before.weight + block.weight,
                hits: before.hits + block.hits,
            };
            blocks.pop();
        }
        blocks.push(block);
    }
    let total: f64 = weights.iter().sum();
    let (mut knots, mut levels) = (Vec::new(), Vec::new());
    for block in blocks {
        let level = block.level().clamp(1.0 / (total + 2.0), (total + 1.0) / (total + 2.0));
        knots.push(block.first);
        levels.push(level);
        if block.last > block.first {
            knots.push(block.last);
            levels.push(level);
        }
    }
    Meaning::Isotonic { scores: knots, levels }
}

/// Neighbouring scores that mean the same.
#[derive(Debug, Clone, Copy)]
struct Block {
    first: f64,
    last: f64,
    weight: f64,
    hits: f64,
}

impl Block {
    fn level(&self) -> f64 {
        self.hits / self.weight
    }
}

/// The tail of weighted scores of normal sequences. Thinned out to [`MAX_KNOTS`], a p-value is never smaller than that
/// of the whole table.
pub(super) fn tail(scores: &[f64], weights: &[f64], prior: f64) -> Meaning {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let (mut knots, mut at_least, mut total) = (Vec::new(), Vec::new(), 0.0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        total += tied.iter().map(|&i| weights[i]).sum::<f64>();
        knots.push(scores[tied[0]]);
        at_least.push(total);
    }
    if knots.len() > MAX_KNOTS {
        // The highest scores are kept one by one, since small p-values are what decides.
        let every = (knots.len() - MAX_KNOTS / 2).div_ceil(MAX_KNOTS / 2);
        let kept = |i: &usize| *i < MAX_KNOTS / 2 || (i - MAX_KNOTS / 2) % every == every - 1 || *i + 1 == knots.len();
        let kept: Vec<usize> = (0..knots.len()).filter(kept).collect();
        // Where a score between two kept ones asks, the lower one answers with its larger count.
        let highest: Vec<f64> =
            kept.iter().enumerate().map(|(k, &i)| if k == 0 { knots[i] } else { knots[kept[k - 1] + 1] }).collect();
        at_least = kept.iter().map(|&i| at_least[i]).collect();
        knots = highest;
    }
    knots.reverse();
    at_least.reverse();
    Meaning::Tail { scores: knots, at_least, total, prior }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_isotonic_map_is_the_min_max_formula_and_rises(
            rows in prop::collection::vec((-20i32..20, any::<bool>(), 1u8..5), 1..60)
        ) {
            let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0) / 3.0).collect();
            let labels: Vec<bool> = rows.iter().map(|row| row.1).collect();
            let weights: Vec<f64> = rows.iter().map(|row| f64::from(row.2)).collect();
            let map = isotonic(&scores, &labels, &weights);
            prop_assert_eq!(map.broken(), None);
            let Meaning::Isotonic { scores: knots, levels } = &map else { panic!("isotonic") };
            // The level of each score by the min-max formula of isotonic regression (Barlow et al. 1972, equation 1.9).
            let mut sorted = scores.clone();
            sorted.sort_by(f64::total_cmp);
            sorted.dedup();
            let mean = |from: f64, to: f64| {
                let inside = || (0..rows.len()).filter(|&i| from <= scores[i] && scores[i] <= to);
                let hits: f64 = inside().filter(|&i| labels[i]).map(|i| weights[i]).sum();
                hits / inside().map(|i| weights[i]).sum::<f64>()
            };
            let slow: Vec<f64> = (0..sorted.len()).map(|at| {
                let over_ends = |start: usize| {
                    (at..sorted.len()).map(|end| mean(sorted[start], sorted[end])).fold(f64::INFINITY, f64::min)
                };
                (0..=at).map(over_ends).fold(f64::NEG_INFINITY, f64::max)
            }).collect();
            let total: f64 = weights.iter().sum();
            for (score, slow) in sorted.iter().zip(&slow) {
                let slow = slow.clamp(1.0 / (total + 2.0), (total + 1.0) / (total + 2.0));
                prop_assert!((map.probability(*score) - slow).abs() < 1e-9);
            }
            prop_assert!(knots.iter().zip(levels).all(|(knot, level)| map.probability(*knot) == *level));
            let between: Vec<f64> = (-100..100).map(|i| map.probability(f64::from(i) / 10.0)).collect();
            prop_assert!(between.is_sorted());
        }

        #[test]
        fn a_tail_counts_what_is_at_least_as_far(
            rows in prop::collection::vec((0i32..9000, 1u8..4), 1..400), asked in -5i32..9005, repeat in 1usize..30,
        ) {
            let rows: Vec<(i32, u8)> =
                (0..repeat).flat_map(|k| rows.iter().map(move |r| (r.0 * 31 + k as i32, r.1))).collect();
            let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
            let weights: Vec<f64> = rows.iter().map(|row| f64::from(row.1)).collect();
            let map = tail(&scores, &weights, 0.05);
            prop_assert_eq!(map.broken(), None);
            let asked = f64::from(asked * 31);
            let far: f64 = (0..rows.len()).filter(|&i| scores[i] >= asked).map(|i| weights[i]).sum();
            let exact = (1.0 + far) / (1.0 + weights.iter().sum::<f64>());
            let p = map.p_value(asked).unwrap();
            prop_assert!(p >= exact - 1e-12, "{} {}", p, exact);
            let mut distinct = scores.clone();
            distinct.sort_by(f64::total_cmp);
            distinct.dedup();
            if distinct.len() <= MAX_KNOTS {
                prop_assert!((p - exact).abs() < 1e-12);
            } else {
                prop_assert!(p - exact < 0.01);
            }
        }
    }

    #[test]
    fn a_p_value_of_one_percent_is_at_most_thirty_percent_of_an_anomaly() {
        // 19 · e · 0.01 · ln 100 = 2.378...
        assert!((at_most(0.01, 0.05) - 1.0 / 3.378_5).abs() < 1e-3, "{}", at_most(0.01, 0.05));
        assert!((at_most(0.5, 0.05) - 0.05).abs() < 1e-12 && (at_most(1.0, 0.3) - 0.3).abs() < 1e-12);
        let falling: Vec<f64> = (1..100).map(|i| at_most(f64::from(i) / 100.0, 0.1)).collect();
        assert!(falling.is_sorted_by(|a, b| a >= b));
    }
}
