//! Fitting calibration maps: pure functions of probabilities, labels and weights.
//!
//! Every map is the identity until the data say otherwise. Temperature and Dirichlet maps minimise the weighted log
//! loss plus a penalty of the strength of one standard normal prior on each parameter's distance from the identity, so
//! that a validation side without a single mistake still has a minimum; isotonic levels stay inside what the rule of
//! succession allows. A window weighs 1 / (windows of its episode), so that the total weight, which is what a penalty
//! is held against, is the number of episodes.
//!
//! Rows are brought into one order first: the same rows give the same bits, whatever order they come in.

mod dirichlet;
mod isotonic;
mod minimise;
mod temperature;

use serde::{Deserialize, Serialize};
use stakeout_core::{Calibration, Side};

use crate::{EvalError, Predictions};

/// Which kind of map is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// One temperature.
    Temperature,
    /// A monotone curve a class.
    Isotonic,
    /// A linear map of the logarithms.
    Dirichlet,
}

impl Method {
    /// The name used in configuration and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Temperature => "temperature",
            Self::Isotonic => "isotonic",
            Self::Dirichlet => "dirichlet",
        }
    }
}

/// Probabilities with what happened, in an order that depends on the content alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    classes: usize,
    probabilities: Vec<f32>,
    labels: Vec<u16>,
    weights: Vec<f64>,
}

impl Sample {
    /// `probabilities` is rows × `classes`; each row has a label below `classes` and a positive weight.
    ///
    /// # Errors
    /// [`EvalError::Invalid`] when lengths differ, there is no row, or a value is out of range.
    pub fn new(classes: usize, probabilities: &[f32], labels: &[u16], weights: &[f64]) -> Result<Self, EvalError> {
        let refuse = |why: String| Err(EvalError::invalid("calibration", why));
        let n = labels.len();
        if n == 0 || classes < 2 {
            return refuse(format!("{n} windows of {classes} classes: there is nothing to fit a map to"));
        }
        if probabilities.len() != n * classes || weights.len() != n {
            return refuse(format!("{n} labels need as many weights and {classes} probabilities each"));
        }
        if let Some(label) = labels.iter().find(|label| usize::from(**label) >= classes) {
            return refuse(format!("label {label} with {classes} classes"));
        }
        if let Some(p) = probabilities.iter().find(|p| !p.is_finite() || **p < 0.0) {
            return refuse(format!("probability {p}: it must be finite and not negative"));
        }
        if let Some(w) = weights.iter().find(|w| !w.is_finite() || **w <= 0.0) {
            return refuse(format!("weight {w}: it must be finite and positive"));
        }
        let row = |i: usize| &probabilities[i * classes..(i + 1) * classes];
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_unstable_by(|&a, &b| {
            let rows = row(a).iter().zip(row(b)).map(|(a, b)| a.total_cmp(b));
            let first = rows.into_iter().find(|ordering| ordering.is_ne()).unwrap_or(std::cmp::Ordering::Equal);
            first.then(labels[a].cmp(&labels[b])).then(weights[a].total_cmp(&weights[b]))
        });
        Ok(Self {
            classes,
            probabilities: order.iter().flat_map(|&i| row(i)).copied().collect(),
            labels: order.iter().map(|&i| labels[i]).collect(),
            weights: order.iter().map(|&i| weights[i]).collect(),
        })
    }

    /// The rows of a side; a window weighs 1 / (windows of its episode on that side).
    ///
    /// # Errors
    /// [`EvalError::Invalid`] when the side has no row.
    pub fn of(predictions: &Predictions, side: Side) -> Result<Self, EvalError> {
        let rows = predictions.rows_of(side);
        let episodes: Vec<u32> = rows.iter().map(|&row| predictions.episode[row]).collect();
        let labels: Vec<u16> = rows.iter().map(|&row| predictions.label[row]).collect();
        let probabilities: Vec<f32> = rows.iter().flat_map(|&row| predictions.probabilities(row)).copied().collect();
        Self::new(predictions.classes().len(), &probabilities, &labels, &episode_weights(&episodes))
    }

    /// The classes that no row has.
    pub fn absent(&self) -> Vec<usize> {
        (0..self.classes).filter(|&class| self.labels.iter().all(|label| usize::from(*label) != class)).collect()
    }

    /// Number of episodes, where the weights are those of [`Sample::of`]: their sum.
    pub fn episodes(&self) -> usize {
        self.total().round() as usize
    }

    /// Sum of the weights: the number of episodes.
    fn total(&self) -> f64 {
        self.weights.iter().sum()
    }

    /// Each row: probabilities, label, weight.
    fn rows(&self) -> impl Iterator<Item = (&[f32], usize, f64)> {
        let labels = self.labels.iter().map(|label| usize::from(*label));
        self.probabilities.chunks_exact(self.classes).zip(labels).zip(&self.weights).map(|((p, y), w)| (p, y, *w))
    }

    /// `ln max(p, LEAST)` of every probability.
    fn logs(&self) -> Vec<f64> {
        self.probabilities.iter().map(|p| f64::from(p.max(stakeout_core::calibration::LEAST)).ln()).collect()
    }
}

/// The weight of each row: 1 / (rows of its episode).
pub(crate) fn episode_weights(episodes: &[u32]) -> Vec<f64> {
    let mut sizes = vec![0u32; episodes.iter().max().map_or(0, |most| *most as usize + 1)];
    for &episode in episodes {
        sizes[episode as usize] += 1;
    }
    episodes.iter().map(|&episode| 1.0 / f64::from(sizes[episode as usize])).collect()
}

/// Fits a map.
///
/// # Errors
/// [`EvalError::Invalid`] for a Dirichlet map of more than 100 classes.
pub fn fit(method: Method, sample: &Sample) -> Result<Calibration, EvalError> {
    match method {
        Method::Temperature => Ok(temperature::fit(sample)),
        Method::Isotonic => Ok(isotonic::fit(sample)),
        Method::Dirichlet => dirichlet::fit(sample),
    }
}

/// Adds one row's `w · (ln Σ exp s − s_y)` and turns the scores `s` into their softmax.
fn log_loss_and_softmax(scores: &mut [f64], label: usize, weight: f64) -> f64 {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let own = scores[label];
    let mut sum = 0.0;
    for score in &mut *scores {
        *score = (*score - most).exp();
        sum += *score;
    }
    for score in scores {
        *score /= sum;
    }
    weight * (sum.ln() + most - own)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    /// Rows of counts over 16 and weights of 1 / n, certainties and zeros among them.
    pub(super) fn sample() -> impl Strategy<Value = Sample> {
        rows().prop_map(|(classes, rows)| made(classes, &rows))
    }

    type Row = (Vec<u8>, u16, u8);

    fn rows() -> impl Strategy<Value = (usize, Vec<Row>)> {
        (2usize..5).prop_flat_map(|classes| {
            let row = (prop::collection::vec(0u8..16, classes), 0..classes as u16, 1u8..9);
            (Just(classes), prop::collection::vec(row, 1..40))
        })
    }

    fn made(classes: usize, rows: &[Row]) -> Sample {
        let mut probabilities = Vec::new();
        for (counts, ..) in rows {
            let sum: f32 = counts.iter().map(|n| f32::from(*n)).sum();
            probabilities.extend(counts.iter().map(|n| if sum > 0.0 { f32::from(*n) / sum } else { 0.0 }));
        }
        let labels: Vec<u16> = rows.iter().map(|row| row.1).collect();
        let weights: Vec<f64> = rows.iter().map(|row| 1.0 / f64::from(row.2)).collect();
        Sample::new(classes, &probabilities, &labels, &weights).unwrap()
    }

    /// Labels drawn from softmax(z), rows that say softmax(known · z).
    pub(super) fn overconfident(seed: u64, rows: usize, classes: usize, known: f64) -> Sample {
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut unit = || (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let (mut probabilities, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let z: Vec<f64> = (0..classes).map(|_| 3.0 * unit()).collect();
            let softmax = |factor: f64| {
                let sum: f64 = z.iter().map(|z| (factor * z).exp()).sum();
                z.iter().map(|z| (factor * z).exp() / sum).collect::<Vec<f64>>()
            };
            let (mut left, mut label) = (unit(), 0);
            for (class, p) in softmax(1.0).into_iter().enumerate() {
                label = class;
                left -= p;
                if left < 0.0 {
                    break;
                }
            }
            labels.push(label as u16);
            probabilities.extend(softmax(known).into_iter().map(|p| p as f32));
        }
        Sample::new(classes, &probabilities, &labels, &vec![1.0; rows]).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_map_does_not_depend_on_the_order_of_rows((classes, rows) in rows(), turn in 0usize..40) {
            let (mut other, turn) = (rows.clone(), turn % rows.len());
            other.rotate_left(turn);
            other[turn..].reverse();
            for method in [Method::Temperature, Method::Isotonic, Method::Dirichlet] {
                let map = fit(method, &made(classes, &rows)).unwrap();
                prop_assert_eq!(&map, &fit(method, &made(classes, &other)).unwrap());
                prop_assert!(map.check().is_ok() && map.check_classes(classes).is_ok());
            }
        }

        #[test]
        fn on_its_own_rows_a_map_does_no_harm(sample in sample()) {
            for method in [Method::Temperature, Method::Dirichlet] {
                let map = fit(method, &sample).unwrap();
                let loss = |map: Option<&Calibration>| {
                    let of = |(p, label, weight): (&[f32], usize, f64)| {
                        let mut row: Vec<f32> = p.iter().map(|p| p.max(f32::EPSILON)).collect();
                        let sum: f32 = row.iter().sum();
                        row.iter_mut().for_each(|p| *p /= sum);
                        if let Some(map) = map {
                            map.apply(&mut row);
                        }
                        -weight * f64::from(row[label].max(f32::EPSILON)).ln()
                    };
                    sample.rows().map(of).sum::<f64>()
                };
                let (before, after) = (loss(None), loss(Some(&map)));
                prop_assert!(after <= before + 1e-3 * before.max(1.0), "{method:?}: {before} to {after}");
            }
        }
    }

    #[test]
    fn samples_outside_the_rules_are_refused() {
        assert!(Sample::new(2, &[], &[], &[]).is_err());
        assert!(Sample::new(2, &[0.5, 0.5], &[2], &[1.0]).is_err());
        assert!(Sample::new(2, &[0.5], &[0], &[1.0]).is_err());
        assert!(Sample::new(2, &[0.5, f32::NAN], &[0], &[1.0]).is_err());
        assert!(Sample::new(2, &[0.5, 0.5], &[0], &[0.0]).is_err());
        assert!(Sample::new(2, &[0.5, 0.5], &[0], &[]).is_err());
    }

    #[test]
    fn an_episode_weighs_one() {
        assert_eq!(episode_weights(&[3, 0, 3, 3, 3, 0]), [0.25, 0.5, 0.25, 0.25, 0.25, 0.5]);
    }
}
