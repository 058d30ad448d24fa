//! One temperature by the weighted log loss: convex in `b = 1 / t`.

use stakeout_core::Calibration;

use super::Sample;

/// Where `b` is looked for: temperatures from 1/1000 to 1000, as [`Calibration::check`] has them.
const BRACKET: (f64, f64) = (1e-3, 1e3);
const STEPS: usize = 200;

/// Newton's method on `F(b) = Σ w (ln Σ_k exp(b z_k) − b z_y) + (b − 1)² / 2` with `z = ln p`, inside a bracket that
/// shrinks with the sign of the derivative `F'(b) = Σ w (E_q[z] − z_y) + b − 1`; `F'' = Σ w Var_q[z] + 1 ≥ 1`.
pub(super) fn fit(sample: &Sample) -> Calibration {
    let logs = sample.logs();
    let (mut low, mut high) = BRACKET;
    let mut b = 1.0;
    for _ in 0..STEPS {
        let (slope, curvature) = derivatives(sample, &logs, b);
        if slope > 0.0 {
            high = b;
        } else {
            low = b;
        }
        let newton = b - slope / curvature;
        let next = if low < newton && newton < high { newton } else { (low * high).sqrt() };
        let step = (next - b).abs();
        b = next;
        if step <= 1e-12 * b {
            break;
        }
    }
    let (low, high) = BRACKET;
    Calibration::Temperature { t: 1.0 / b.clamp(low, high) }
}

fn derivatives(sample: &Sample, logs: &[f64], b: f64) -> (f64, f64) {
    let (mut slope, mut curvature) = (b - 1.0, 1.0);
    for ((_, label, weight), z) in sample.rows().zip(logs.chunks_exact(sample.classes)) {
        let most = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
        for z in z {
            // Moments around the largest: nothing cancels.
            let (q, d) = ((b * (z - most)).exp(), z - most);
            sum += q;
            first += q * d;
            second += q * d * d;
        }
        let mean = first / sum;
        slope += weight * (mean - (z[label] - most));
        curvature += weight * (second / sum - mean * mean).max(0.0);
    }
    (slope, curvature)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::calibrate::log_loss_and_softmax;
    use crate::calibrate::tests::{overconfident, sample};

    fn t(map: &Calibration) -> f64 {
        match map {
            Calibration::Temperature { t } => *t,
            other => panic!("{other:?}"),
        }
    }

    /// The objective straight from its definition.
    fn objective(sample: &Sample, b: f64) -> f64 {
        let logs = sample.logs();
        let loss = sample.rows().zip(logs.chunks_exact(sample.classes)).map(|((_, label, weight), z)| {
            let mut scores: Vec<f64> = z.iter().map(|z| b * z).collect();
            log_loss_and_softmax(&mut scores, label, weight)
        });
        loss.sum::<f64>() + (b - 1.0).powi(2) / 2.0
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_temperature_of_a_fine_grid_does_better(sample in sample()) {
            let b = 1.0 / t(&fit(&sample));
            let least = objective(&sample, b);
            for i in 0..=4000 {
                let other = (f64::from(i) / 4000.0 * (1e3f64 / 1e-3).ln()).exp() * 1e-3;
                prop_assert!(least <= objective(&sample, other) + 1e-9 * least.abs().max(1.0), "{b} against {other}");
            }
        }
    }

    #[test]
    fn a_known_temperature_is_found_again() {
        const STREAMS: u64 = 8;
        for known in [0.5, 1.0, 2.5] {
            // True chances are softmax(z); the model says softmax(known · z): it needs the temperature `known`. One
            // stream of 6000 windows gives it within 2 % (standard error), eight within 1 %.
            let found = |seed| 1.0 / t(&fit(&overconfident(seed, 6000, 4, known)));
            let mean = (0..STREAMS).map(found).sum::<f64>() / STREAMS as f64;
            assert!((mean * known - 1.0).abs() < 0.03, "1 / {mean} for {known}");
        }
    }

    #[test]
    fn a_side_without_a_mistake_still_has_a_temperature() {
        let rows = 30;
        let probabilities: Vec<f32> =
            (0..rows).flat_map(|i| if i % 2 == 0 { [0.9, 0.1] } else { [0.2, 0.8] }).collect();
        let labels: Vec<u16> = (0..rows).map(|i| i % 2).collect();
        let sample = Sample::new(2, &probabilities, &labels, &vec![1.0; rows as usize]).unwrap();
        let found = t(&fit(&sample));
        assert!(0.2 < found && found < 1.0, "{found}");
    }
}
