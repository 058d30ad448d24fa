//! Random draws. One generator for each (seed, purpose, number), so that no episode depends on another or on a thread.

use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A seeded source of draws.
pub(super) struct Draw(Xoshiro256PlusPlus);

impl Draw {
    /// The generator of the `number`th thing of one purpose. Hashing, not adding, keeps neighbours independent.
    pub(super) fn new(seed: u64, purpose: &str, number: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("stakeout simulate 1");
        hasher.update(&seed.to_le_bytes()).update(&number.to_le_bytes()).update(purpose.as_bytes());
        Self(Xoshiro256PlusPlus::from_seed(*hasher.finalize().as_bytes()))
    }

    /// Uniform in `[0, 1)`.
    pub(super) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `[low, high)`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True with probability `p`.
    pub(super) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// An index below `n` (`n` > 0).
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n - 1)
    }

    /// Standard normal.
    pub(super) fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// A factor around 1: the exponential of a normal with deviation `sigma`.
    pub(super) fn factor(&mut self, sigma: f64) -> f64 {
        (sigma * self.normal()).exp()
    }

    /// Poisson with mean `lambda`: products of uniforms (Knuth, The Art of Computer Programming 2, 3.4.1) while that
    /// is short, a rounded normal where the two can no longer be told apart here.
    pub(super) fn poisson(&mut self, lambda: f64) -> u64 {
        if lambda <= 0.0 {
            return 0;
        }
        if lambda > 20.0 {
            return (lambda + lambda.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let floor = (-lambda).exp();
        let mut product = self.unit();
        let mut count = 0;
        while product > floor {
            product *= self.unit();
            count += 1;
        }
        count
    }

    /// Shuffles in place (Fisher and Yates).
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generators_differ_by_seed_purpose_and_number_and_repeat() {
        let first = |seed, purpose, number| Draw::new(seed, purpose, number).unit().to_bits();
        let all = [first(1, "a", 1), first(2, "a", 1), first(1, "b", 1), first(1, "a", 2)];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
        assert_eq!(first(1, "a", 1), all[0]);
    }

    #[test]
    fn poisson_has_its_mean_and_variance_on_both_branches() {
        for lambda in [0.3, 4.0, 19.0, 60.0] {
            let mut draw = Draw::new(7, "poisson", 0);
            let n = 20_000;
            let counts: Vec<f64> = (0..n).map(|_| draw.poisson(lambda) as f64).collect();
            let mean = counts.iter().sum::<f64>() / f64::from(n);
            let variance = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / f64::from(n);
            let error = (lambda / f64::from(n)).sqrt();
            assert!((mean - lambda).abs() < 5.0 * error, "mean {mean} of {lambda}");
            assert!((variance / lambda - 1.0).abs() < 0.1, "variance {variance} of {lambda}");
        }
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..50).collect();
        Draw::new(1, "shuffle", 0).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
