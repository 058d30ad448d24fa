//! Random numbers of a fit. The seed, a purpose and a position name a generator, so that no generator has to be kept
//! between epochs: where a fit stands is enough to draw what an uninterrupted one would have drawn.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// What random numbers are drawn for; each purpose has its own stream.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// Initial weights.
    Weights = 1,
    /// The order of the windows in an epoch.
    Order = 2,
    /// Which activations are dropped.
    Dropout = 3,
    /// How a training batch is changed.
    Augment = 4,
}

/// The generator for a purpose at a position (an epoch, a shard of a step).
pub(crate) fn generator(seed: u64, purpose: Purpose, position: u64) -> Xoshiro256PlusPlus {
    // Golden-ratio steps (Steele, Lea and Flood 2014) keep neighbouring positions far apart before SplitMix64 spreads them.
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let stream = (purpose as u64).wrapping_mul(GOLDEN).rotate_left(32);
    Xoshiro256PlusPlus::seed_from_u64(seed ^ stream.wrapping_add(position.wrapping_mul(GOLDEN)))
}

/// A number in [0, 1) with 24 random bits.
pub(crate) fn unit(rng: &mut Xoshiro256PlusPlus) -> f32 {
    (rng.next_u64() >> 40) as f32 * (1.0 / 16_777_216.0)
}

/// Factors of which a share is 0 and the others make up for it, so that their mean is 1: four from each draw, of 16 bits each.
pub(crate) fn mask(len: usize, share: f32, rng: &mut Xoshiro256PlusPlus) -> Vec<f32> {
    const RANGE: f32 = 65_536.0;
    let below = (share * RANGE).round();
    let kept = RANGE / (RANGE - below);
    let mut mask = vec![0.0; len];
    for four in mask.chunks_mut(4) {
        let bits = rng.next_u64();
        for (at, factor) in four.iter_mut().enumerate() {
            let drawn = (bits >> (16 * at)) as u16;
            *factor = if f32::from(drawn) < below { 0.0 } else { kept };
        }
    }
    mask
}

/// A normal number of mean 0 and deviation 1 (Box and Muller 1958).
pub(crate) fn normal(rng: &mut Xoshiro256PlusPlus) -> f32 {
    let (radius, turn) = (1.0 - unit(rng), unit(rng));
    (-2.0 * radius.ln()).sqrt() * (std::f32::consts::TAU * turn).cos()
}

/// The numbers `0..n` in random order (Fisher and Yates; written out, so that no library version changes the order).
pub(crate) fn permutation(n: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        // The high half of a 128-bit product: uniform up to a bias of n / 2^64 (Lemire 2019).
        let j = (u128::from(rng.next_u64()) * (i as u128 + 1)) >> 64;
        order.swap(i, j as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_holds_every_number_once_and_moves_them() {
        let order = permutation(1000, &mut generator(1, Purpose::Order, 0));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        let fixed = order.iter().enumerate().filter(|(i, x)| i == *x).count();
        assert!(fixed < 10, "{fixed} numbers stayed in place");
    }

    #[test]
    fn a_mask_drops_its_share_and_keeps_the_mean() {
        for share in [0.1, 0.5, 0.9] {
            let mask = mask(100_003, share, &mut generator(4, Purpose::Dropout, 0));
            assert_eq!(mask.len(), 100_003);
            let dropped = mask.iter().filter(|factor| **factor == 0.0).count() as f32 / 100_003.0;
            assert!((dropped - share).abs() < 0.005, "{dropped} of {share}");
            let kept = 1.0 / (1.0 - share);
            assert!(mask.iter().all(|factor| *factor == 0.0 || (factor / kept - 1.0).abs() < 2e-4));
        }
    }

    #[test]
    fn streams_differ_by_seed_purpose_and_position() {
        let first = |seed, purpose, position| generator(seed, purpose, position).next_u64();
        let mut draws = vec![
            first(1, Purpose::Order, 0),
            first(2, Purpose::Order, 0),
            first(1, Purpose::Dropout, 0),
            first(1, Purpose::Weights, 0),
            first(1, Purpose::Order, 1),
        ];
        draws.sort_unstable();
        draws.dedup();
        assert_eq!(draws.len(), 5);
    }

    #[test]
    fn normal_numbers_have_their_moments() {
        let mut rng = generator(3, Purpose::Augment, 0);
        let draws: Vec<f64> = (0..20_000).map(|_| f64::from(normal(&mut rng))).collect();
        let moment = |k| draws.iter().map(|x| x.powi(k)).sum::<f64>() / 20_000.0;
        let [mean, variance, third, fourth] = [1, 2, 3, 4].map(moment);
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
        assert!(third.abs() < 0.1 && (fourth - 3.0).abs() < 0.25, "{third} {fourth}");
    }

    #[test]
    fn unit_numbers_fill_the_interval() {
        let mut rng = generator(3, Purpose::Weights, 0);
        let draws: Vec<f32> = (0..10_000).map(|_| unit(&mut rng)).collect();
        let mean = draws.iter().sum::<f32>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "mean {mean}");
        assert!(draws.iter().all(|x| (0.0..1.0).contains(x)));
    }
}
