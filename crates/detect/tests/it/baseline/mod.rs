//! The outlier baseline.

mod faults;
mod file;
mod levels;
#[cfg(feature = "tables")]
mod real;
#[cfg(feature = "tables")]
mod tables;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use stakeout_detect::baseline::{Baseline, Rows, Settings};

/// Normal deviates (Box and Muller 1958).
pub(crate) struct Normal {
    rng: Xoshiro256PlusPlus,
    spare: Option<f64>,
}

impl Normal {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Xoshiro256PlusPlus::seed_from_u64(seed), spare: None }
    }

    pub(crate) fn next(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (u, v): (f64, f64) = (self.rng.random(), self.rng.random());
        let (r, angle) = ((-2.0 * (1.0 - u).ln()).sqrt(), std::f64::consts::TAU * v);
        self.spare = Some(r * angle.sin());
        r * angle.cos()
    }

    /// `n` vectors of `d` numbers around `mean`, each dimension at its own scale and place.
    pub(crate) fn vectors(&mut self, n: usize, d: usize, mean: f64) -> Vec<f32> {
        (0..n * d)
            .map(|i| {
                let dimension = (i % d) as f64;
                ((mean + self.next()) * (1.0 + dimension) + 10.0 * dimension) as f32
            })
            .collect()
    }
}

pub(crate) fn fit(values: &[f32], d: usize, settings: &Settings) -> Baseline {
    Baseline::fit(&Rows::new(values, d, &[]).unwrap(), settings).unwrap()
}
