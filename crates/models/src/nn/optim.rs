//! The optimiser: decoupled weight decay, a warm-up with a cosine after it, and one norm over all gradients.

use rayon::prelude::*;
use stakeout_kernels::adamw;
use stakeout_kernels::simd::Level;

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

    /// One step against `scale` times the gradient. Biases (weights of one dimension) are not decayed.
    pub(crate) fn update(
        &mut self,
        specs: &[WeightSpec],
        weights: &mut [f32],
        (gradient, scale): (&[f32], f32),
        rate: f64,
        weight_decay: f64,
    ) {
        self.step += 1;
        let steps = self.step as f64;
        let (unbias1, unbias2) = (1.0 - BETA1.powf(steps), 1.0 - BETA2.powf(steps));
        let step = adamw::Step {
            scale,
            beta1: BETA1 as f32,
            beta2: BETA2 as f32,
            rate: (rate / unbias1) as f32,
            root: unbias2.sqrt().recip() as f32,
            epsilon: EPSILON,
            keep: 1.0,
        };
        let decayed = adamw::Step { keep: (1.0 - rate * weight_decay) as f32, ..step };
        let mut pieces = Vec::new();
        let mut rest = (weights, gradient, &mut self.first[..], &mut self.second[..]);
        for spec in specs {
            let step = if spec.shape.len() > 1 { decayed } else { step };
            let mut left = spec.len();
            while left > 0 {
                let len = left.min(PIECE);
                let (weights, gradient, first, second) = rest;
                let (weights, gradient) = (weights.split_at_mut(len), gradient.split_at(len));
                let (first, second) = (first.split_at_mut(len), second.split_at_mut(len));
                pieces.push((step, gradient.0, weights.0, first.0, second.0));
                rest = (weights.1, gradient.1, first.1, second.1);
                left -= len;
            }
        }
        let level = Level::best();
        in_parallel(pieces, |(step, gradient, weights, first, second)| {
            adamw::update(level, step, gradient, weights, first, second);
        });
    }
}

/// Numbers that a thread works on at once.
const PIECE: usize = 1 << 14;

/// Works on pieces in parallel, where there are enough to be worth it.
fn in_parallel<T: Send>(pieces: Vec<T>, work: impl Fn(T) + Send + Sync) {
    if pieces.len() > 3 { pieces.into_par_iter().for_each(work) } else { pieces.into_iter().for_each(work) }
}

/// The sum of some gradients in their order, and its Euclidean norm over *all* its numbers (Pascanu, Mikolov and Bengio
/// 2013). The norm is summed in a fixed order, in double precision: both are the same on any number of threads.
pub(crate) fn sum(gradients: Vec<Vec<f32>>) -> (Vec<f32>, f64) {
    let mut gradients = gradients.into_iter();
    let mut sum = gradients.next().unwrap_or_default();
    let others: Vec<Vec<f32>> = gradients.collect();
    let mut squares = vec![0.0; sum.len().div_ceil(PIECE)];
    let pieces = sum.chunks_mut(PIECE).zip(&mut squares).enumerate().collect();
    in_parallel(pieces, |(at, (sum, squares)): (usize, (&mut [f32], &mut f64))| {
        for other in &others {
            sum.iter_mut().zip(&other[at * PIECE..]).for_each(|(sum, g)| *sum += g);
        }
        *squares = squared(sum);
    });
    (sum, squares.iter().sum::<f64>().sqrt())
}

/// The sum of the squares.
fn squared(values: &[f32]) -> f64 {
    const LANES: usize = 16; // sums that do not wait for one another
    let mut sums = [0.0f64; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for row in whole.iter().map(<[f32; LANES]>::as_slice).chain([rest]) {
        sums.iter_mut().zip(row).for_each(|(sum, g)| *sum += f64::from(*g) * f64::from(*g));
    }
    sums.iter().sum()
}

/// What a gradient is multiplied by, so that its norm is `limit` at most.
pub(crate) fn clip(norm: f64, limit: f64) -> f32 {
    if norm > limit { (limit / norm) as f32 } else { 1.0 }
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
        AdamW::new(3).update(&specs, &mut weights, (&[1e-3, -50.0, 0.0], 1.0), 0.1, 0.5);
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
            optimiser.update(&specs, &mut weights, (&[2.0 * g as f32], 0.5), rate, decay);
        }
        assert!((f64::from(weights[0]) - expected).abs() < 1e-6, "{} and {expected}", weights[0]);
    }

    #[test]
    fn the_norm_is_over_everything_at_once() {
        let (sum, norm) = sum(vec![vec![1.0, 4.0, 10.0], vec![2.0, 0.0, 2.0]]);
        assert_eq!((sum, norm), (vec![3.0, 4.0, 12.0], 13.0));
        assert!((clip(norm, 1.3) - 0.1).abs() < 1e-7);
        assert_eq!(clip(0.5, 1.0), 1.0);
    }

    #[test]
    fn pieces_and_threads_change_nothing() {
        let n = 5 * PIECE + 77;
        let specs = [WeightSpec::new("w", &[5, PIECE], Init::Zero), WeightSpec::new("b", &[77], Init::Zero)];
        let numbers = |seed: f32| (0..n).map(|i| (i as f32 * seed).sin()).collect::<Vec<f32>>();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (gradient, norm) = sum(vec![numbers(0.1), numbers(0.2), numbers(0.3)]);
                let (mut optimiser, mut weights) = (AdamW::new(n), numbers(0.4));
                optimiser.update(&specs, &mut weights, (&gradient, clip(norm, 1.0)), 0.01, 0.1);
                (gradient, norm, optimiser, weights)
            })
        };
        let (gradient, norm, optimiser, weights) = run(1);
        let exact = |i: usize| [0.1, 0.2, 0.3].iter().map(|seed| f64::from((i as f32 * seed).sin())).sum::<f64>();
        assert!(gradient.iter().enumerate().all(|(i, g)| (f64::from(*g) - exact(i)).abs() < 1e-6));
        assert!((norm - (0..n).map(|i| exact(i).powi(2)).sum::<f64>().sqrt()).abs() < 1e-3);
        assert!(run(3) == (gradient, norm, optimiser, weights));
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
