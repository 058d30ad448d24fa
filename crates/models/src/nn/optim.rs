//! The optimiser: decoupled weight decay, a warm-up with a cosine after it, and one norm over all gradients.

use super::weights::WeightSpec;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f32 = 1e-8;

/// `AdamW` (Loshchilov and Hutter 2019, algorithm 2) over one flat slice of weights.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AdamW {
    /// First moment of each gradient.
    pub(crate) first: Vec<f32>,
    /// Second moment of each gradient.
    pub(crate) second: Vec<f32>,
    /// Steps made.
    pub(crate) step: u64,
}

impl AdamW {
    /// An optimiser of `n` weights that has seen no gradient.
    pub(crate) fn new(n: usize) -> Self {
        Self { first: vec![0.0; n], second: vec![0.0; n], step: 0 }
    }

    /// One step against the gradient. Biases (weights of one dimension) are not decayed.
    pub(crate) fn update(
        &mut self,
        specs: &[WeightSpec],
        weights: &mut [f32],
        gradient: &[f32],
        rate: f64,
        weight_decay: f64,
    ) {
        self.step += 1;
        let steps = self.step as f64;
        let (unbias1, unbias2) = (1.0 - BETA1.powf(steps), 1.0 - BETA2.powf(steps));
        let (beta1, beta2) = (BETA1 as f32, BETA2 as f32);
        let (rate1, root2) = ((rate / unbias1) as f32, unbias2.sqrt() as f32);
        let mut at = 0;
        for spec in specs {
            let keep = if spec.shape.len() > 1 { (1.0 - rate * weight_decay) as f32 } else { 1.0 };
            let range = at..at + spec.len();
            at = range.end;
            let moments = self.first[range.clone()].iter_mut().zip(&mut self.second[range.clone()]);
            for ((weight, gradient), (first, second)) in
                weights[range.clone()].iter_mut().zip(&gradient[range]).zip(moments)
            {
                *first = beta1 * *first + (1.0 - beta1) * gradient;
                *second = beta2 * *second + (1.0 - beta2) * gradient * gradient;
                *weight = keep * *weight - rate1 * *first / (second.sqrt() / root2 + EPSILON);
            }
        }
    }
}

/// Scales a gradient down to the given Euclidean norm over *all* its numbers, when it is longer (Pascanu, Mikolov and
/// Bengio 2013). Returns the norm before. Summed in a fixed order, in double precision: the same on any number of threads.
pub(crate) fn clip_global_norm(gradient: &mut [f32], limit: f64) -> f64 {
    const LANES: usize = 16; // sums that do not wait for one another
    let mut sums = [0.0f64; LANES];
    let (whole, rest) = gradient.as_chunks::<LANES>();
    for row in whole.iter().map(<[f32; LANES]>::as_slice).chain([rest]) {
        sums.iter_mut().zip(row).for_each(|(sum, g)| *sum += f64::from(*g) * f64::from(*g));
    }
    let norm = sums.iter().sum::<f64>().sqrt();
    if norm > limit {
        let scale = (limit / norm) as f32;
        for g in gradient {
            *g *= scale;
        }
    }
    norm
}

/// The learning rate of a step (from 0): a linear rise over the first `warmup` steps, then half a cosine down to zero
/// at `total` (Loshchilov and Hutter 2017).
pub(crate) fn learning_rate(peak: f64, step: u64, warmup: u64, total: u64) -> f64 {
    if step < warmup {
        return peak * (step + 1) as f64 / warmup as f64;
    }
    let progress = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
    peak * 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::weights::Init;

    #[test]
    fn the_first_step_has_the_length_of_the_rate() {
        // With bias correction the first step is rate · sign(gradient), whatever the gradient's size.
        let specs = [WeightSpec::new("b", &[3], Init::Zero)];
        let mut weights = vec![1.0, 1.0, 1.0];
        AdamW::new(3).update(&specs, &mut weights, &[1e-3, -50.0, 0.0], 0.1, 0.5);
        for (weight, expected) in weights.iter().zip([0.9, 1.1, 1.0]) {
            assert!((weight - expected).abs() < 1e-4, "{weights:?}");
        }
    }

    #[test]
    fn two_steps_by_hand() {
        let specs = [WeightSpec::new("w", &[1, 1], Init::Zero)];
        let (rate, decay, gradients) = (0.01, 0.1, [0.5, -0.25]);
        let (mut m, mut v, mut expected) = (0.0f64, 0.0f64, 2.0f64);
        for (t, g) in (1..).zip(gradients) {
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (m_hat, v_hat) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
            expected -= rate * (m_hat / (v_hat.sqrt() + 1e-8) + decay * expected);
        }
        let (mut optimiser, mut weights) = (AdamW::new(1), vec![2.0]);
        for g in gradients {
            optimiser.update(&specs, &mut weights, &[g as f32], rate, decay);
        }
        assert!((f64::from(weights[0]) - expected).abs() < 1e-6, "{} and {expected}", weights[0]);
    }

    #[test]
    fn the_norm_is_over_everything_at_once() {
        let mut gradient = vec![3.0, 4.0, 12.0];
        assert_eq!(clip_global_norm(&mut gradient, 1.3), 13.0);
        for (g, expected) in gradient.iter().zip([0.3, 0.4, 1.2]) {
            assert!((g - expected).abs() < 1e-6, "{gradient:?}");
        }
        let mut short = vec![0.3, 0.4];
        assert!((clip_global_norm(&mut short, 1.0) - 0.5).abs() < 1e-7);
        assert_eq!(short, [0.3, 0.4]);
    }

    #[test]
    fn the_rate_rises_to_its_peak_and_falls_to_zero() {
        let rates: Vec<f64> = (0..=100).map(|step| learning_rate(1.0, step, 10, 100)).collect();
        assert!((rates[0] - 0.1).abs() < 1e-12 && rates[9] == 1.0 && rates[10] == 1.0);
        assert!(rates[..10].windows(2).all(|pair| pair[0] < pair[1]));
        assert!(rates[10..].windows(2).all(|pair| pair[0] > pair[1]));
        assert!((rates[55] - 0.5).abs() < 1e-12 && rates[100].abs() < 1e-12);
        assert_eq!(learning_rate(1.0, 0, 0, 1), 1.0);
    }
}
