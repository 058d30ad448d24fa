//! `softmax(W ln p + b)` by the weighted log loss.

use stakeout_core::Calibration;

use super::minimise::minimise;
use super::{Sample, log_loss_and_softmax};
use crate::EvalError;

/// A map has classes · (classes + 1) parameters; more than these no validation side can fix.
const MAX_CLASSES: usize = 100;
/// The objective bends by at least 1 in every direction: with a gradient of this length no parameter is further than
/// this from its best, and the objective, in nats over all episodes, no further than half its square.
const SMALL: f64 = 1e-5;
/// As [`Calibration::check`] has it.
const MAX_WEIGHT: f64 = 1e6;

/// Minimises `Σ w (ln Σ_k exp s_k − s_y) + ½ Σ_{i≠j} W_ij² + ½ Σ_i (W_ii − 1)² + ½ Σ b_i²` with `s = W ln p + b`: the
/// off-diagonal and intercept penalty (ODIR) of Kull et al. 2019, section 3.2, at the fixed strength of a standard
/// normal prior instead of two searched ones (a validation side is too small to choose twice), and the diagonal drawn
/// to 1 likewise.
pub(super) fn fit(sample: &Sample) -> Result<Calibration, EvalError> {
    let classes = sample.classes;
    if classes > MAX_CLASSES {
        return Err(EvalError::invalid(
            "calibration",
            format!("dirichlet takes at most {MAX_CLASSES} classes, there are {classes}: use temperature"),
        ));
    }
    let logs = sample.logs();
    let mut start = identity(classes);
    start.resize(classes * (classes + 1), 0.0);
    let found = minimise(start, SMALL, |parameters, gradient| objective(sample, &logs, parameters, gradient));
    let bounded: Vec<f64> = found.iter().map(|w| w.clamp(-MAX_WEIGHT, MAX_WEIGHT)).collect();
    let (weights, bias) = bounded.split_at(classes * classes);
    Ok(Calibration::Dirichlet {
        weights: weights.chunks_exact(classes).map(<[f64]>::to_vec).collect(),
        bias: bias.to_vec(),
    })
}

/// The weights (row-major) of the map that changes nothing.
fn identity(classes: usize) -> Vec<f64> {
    (0..classes * classes).map(|i| if i % (classes + 1) == 0 { 1.0 } else { 0.0 }).collect()
}

fn objective(sample: &Sample, logs: &[f64], parameters: &[f64], gradient: &mut [f64]) -> f64 {
    let classes = sample.classes;
    let (weights, bias) = parameters.split_at(classes * classes);
    let mut value = 0.0;
    let home = identity(classes);
    for (i, (slot, w)) in gradient.iter_mut().zip(parameters).enumerate() {
        let away = w - home.get(i).copied().unwrap_or(0.0);
        *slot = away;
        value += away * away / 2.0;
    }
    let mut scores = vec![0.0; classes];
    for ((_, label, weight), z) in sample.rows().zip(logs.chunks_exact(classes)) {
        for ((score, row), bias) in scores.iter_mut().zip(weights.chunks_exact(classes)).zip(bias) {
            *score = row.iter().zip(z).map(|(w, z)| w * z).sum::<f64>() + bias;
        }
        value += log_loss_and_softmax(&mut scores, label, weight);
        let (by_weight, by_bias) = gradient.split_at_mut(classes * classes);
        for (class, (row, bias)) in by_weight.chunks_exact_mut(classes).zip(by_bias).enumerate() {
            let error = weight * (scores[class] - if class == label { 1.0 } else { 0.0 });
            *bias += error;
            for (slot, z) in row.iter_mut().zip(z) {
                *slot += error * z;
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::calibrate::tests::{overconfident, sample};

    fn parameters(map: &Calibration) -> Vec<f64> {
        match map {
            Calibration::Dirichlet { weights, bias } => weights.iter().flatten().chain(bias).copied().collect(),
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_gradient_is_the_slope_and_vanishes_at_the_minimum(sample in sample()) {
            let logs = sample.logs();
            let found = parameters(&fit(&sample).unwrap());
            let mut gradient = vec![0.0; found.len()];
            objective(&sample, &logs, &found, &mut gradient);
            // The objective bends by at least 1 in every direction: a small gradient is a small distance.
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            prop_assert!(norm < 2.0 * SMALL, "{norm}");

            let mut at: Vec<f64> = (0..found.len()).map(|i| ((i * 7919) % 13) as f64 / 13.0 - 0.4).collect();
            objective(&sample, &logs, &at, &mut gradient);
            let mut unused = vec![0.0; at.len()];
            for i in 0..at.len() {
                let (middle, h) = (at[i], 1e-5);
                at[i] = middle + h;
                let above = objective(&sample, &logs, &at, &mut unused);
                at[i] = middle - h;
                let below = objective(&sample, &logs, &at, &mut unused);
                at[i] = middle;
                let slope = (above - below) / (2.0 * h);
                prop_assert!((slope - gradient[i]).abs() < 1e-4 * slope.abs().max(1.0), "{slope} {}", gradient[i]);
            }
        }
    }

    #[test]
    fn it_repairs_what_one_temperature_would() {
        let sample = overconfident(5, 4000, 3, 2.0);
        let found = parameters(&fit(&sample).unwrap());
        for (i, w) in found.iter().enumerate() {
            // Half of every logarithm; a number added to a whole column changes nothing, and the penalty sets it to a
            // third of what the diagonal lacks to 1.
            let expected = match i {
                0 | 4 | 8 => 0.5 + 0.5 / 3.0,
                1..9 => 0.5 / 3.0,
                _ => 0.0,
            };
            assert!((w - expected).abs() < 0.1, "parameter {i} is {w}");
        }
    }

    #[test]
    fn too_many_classes_are_refused() {
        let classes = MAX_CLASSES + 1;
        let sample = Sample::new(classes, &vec![0.1; classes], &[0], &[1.0]).unwrap();
        assert!(fit(&sample).unwrap_err().to_string().contains("use temperature"));
    }
}
