//! Percentile bootstrap of macro F1 and accuracy without a loop over rows.
//!
//! * Resampling n rows with replacement and counting their confusion cells is one multinomial draw over the cells
//!   ([`rows`], [`paired_rows`]).
//! * Resampling G clusters with replacement is a sum of the per-cluster matrices with multinomial weights
//!   ([`clusters`], [`paired_clusters`]).
//!
//! Both are exact: the distribution is that of the slow loop (Efron and Tibshirani 1993, chapters 13 and 8.5).
//! Resamples are made in fixed chunks, each with its own stream of one generator, so that results do not depend on
//! the number of threads.

mod binomial;
mod cluster;
mod multinomial;

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::cells::{Cells, Outcomes};

pub(crate) use cluster::{LANES, unit_draws};
pub use cluster::{clusters, mean, paired_clusters};
pub use multinomial::{paired_rows, rows};

/// Resamples of one generator stream.
const CHUNK: usize = 64;

/// How an interval is made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Number of resamples.
    pub resamples: usize,
    /// Level of the interval, inside (0, 1).
    pub level: f64,
    /// Seed of the generator.
    pub seed: u64,
}

impl Default for Plan {
    /// 2,000 resamples, 95 %, seed 0.
    fn default() -> Self {
        Self { resamples: 2000, level: 0.95, seed: 0 }
    }
}

impl Plan {
    /// Checks the ranges: 1 to 10 million resamples, level inside (0, 1).
    ///
    /// # Errors
    /// [`EvalError::Invalid`].
    pub fn check(&self) -> Result<(), EvalError> {
        if !(1..=10_000_000).contains(&self.resamples) {
            return Err(EvalError::invalid("resamples", format!("{}: use 1 to 10,000,000", self.resamples)));
        }
        if !(self.level > 0.0 && self.level < 1.0) {
            return Err(EvalError::invalid("level", format!("{}: use a share inside (0, 1), as 0.95", self.level)));
        }
        Ok(())
    }
}

/// The scores of all resamples. Empty where there was nothing to resample.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resamples {
    /// Macro F1 of each resample.
    pub macro_f1: Vec<f64>,
    /// Accuracy of each resample.
    pub accuracy: Vec<f64>,
    /// For each class, how many resamples left it out although the sample has it: no hit, no miss, no false alarm.
    pub left_out: Vec<usize>,
    /// How many resamples left any class out.
    pub any_left_out: usize,
}

/// The differences b − a of all resamples. Empty where there was nothing to resample.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Differences {
    /// Difference of macro F1 in each resample.
    pub macro_f1: Vec<f64>,
    /// Difference of accuracy in each resample.
    pub accuracy: Vec<f64>,
}

/// Percentile interval: the quantiles `(1 ± level) / 2` of the values by linear interpolation between order statistics
/// (type 7 of Hyndman and Fan 1996). `None` without values.
pub fn interval(values: &[f64], level: f64) -> Option<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let quantile = |p: f64| {
        let at = p * (sorted.len() - 1) as f64;
        let (below, part) = (at.floor() as usize, at.fract());
        let above = (below + 1).min(sorted.len() - 1);
        sorted[below] + part * (sorted[above] - sorted[below])
    };
    (!sorted.is_empty()).then(|| (quantile((1.0 - level) / 2.0), quantile(f64::midpoint(1.0, level))))
}

/// Runs `chunk` on each fixed chunk of resamples with that chunk's own generator stream; results in chunk order.
fn in_chunks<T: Send>(plan: &Plan, chunk: impl Fn(&mut Xoshiro256PlusPlus, usize) -> T + Sync) -> Vec<T> {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(plan.seed);
    let streams: Vec<(Xoshiro256PlusPlus, usize)> = (0..plan.resamples.div_ceil(CHUNK))
        .map(|i| {
            let stream = generator.clone();
            generator.jump();
            (stream, CHUNK.min(plan.resamples - i * CHUNK))
        })
        .collect();
    streams.into_par_iter().map(|(mut stream, resamples)| chunk(&mut stream, resamples)).collect()
}

/// Scores resamples whose cell counts are made by `draw`.
fn score_draws(
    plan: &Plan,
    cells: &Cells,
    draw: impl Fn(&mut Xoshiro256PlusPlus, &mut Vec<u32>, &mut [u64]) + Sync,
) -> Resamples {
    let scored = cells.scored();
    let chunks = in_chunks(plan, |stream, resamples| {
        let mut part = Resamples { left_out: vec![0; scored.len()], ..Resamples::default() };
        let (mut counts, mut outcomes, mut drawn) = (vec![0; cells.len()], Outcomes::new(), Vec::new());
        for _ in 0..resamples {
            draw(stream, &mut drawn, &mut counts);
            cells.outcomes(&counts, &mut outcomes);
            let scores = cells.scores(&outcomes);
            part.macro_f1.extend(scores.macro_f1);
            part.accuracy.extend(scores.accuracy);
            let mut any = false;
            for ((class, left_out), scored) in outcomes.iter().zip(&mut part.left_out).zip(&scored) {
                let absent = *scored && class[1] + class[2] == 0;
                *left_out += usize::from(absent);
                any |= absent;
            }
            part.any_left_out += usize::from(any);
        }
        part
    });
    let mut all = Resamples { left_out: vec![0; scored.len()], ..Resamples::default() };
    for part in chunks {
        all.macro_f1.extend(part.macro_f1);
        all.accuracy.extend(part.accuracy);
        all.any_left_out += part.any_left_out;
        for (sum, n) in all.left_out.iter_mut().zip(part.left_out) {
            *sum += n;
        }
    }
    all
}

/// Scores pairs of resamples whose cell counts are made by `draw`.
fn score_pairs(
    plan: &Plan,
    [a, b]: [&Cells; 2],
    draw: impl Fn(&mut Xoshiro256PlusPlus, &mut Vec<u32>, &mut [u64], &mut [u64]) + Sync,
) -> Differences {
    let chunks = in_chunks(plan, |stream, resamples| {
        let mut part = Differences::default();
        let (mut of_a, mut of_b) = (vec![0; a.len()], vec![0; b.len()]);
        let (mut outcomes, mut drawn) = (Outcomes::new(), Vec::new());
        for _ in 0..resamples {
            draw(stream, &mut drawn, &mut of_a, &mut of_b);
            a.outcomes(&of_a, &mut outcomes);
            let first = a.scores(&outcomes);
            b.outcomes(&of_b, &mut outcomes);
            let second = b.scores(&outcomes);
            part.macro_f1.extend(second.macro_f1.zip(first.macro_f1).map(|(b, a)| b - a));
            part.accuracy.extend(second.accuracy.zip(first.accuracy).map(|(b, a)| b - a));
        }
        part
    });
    let mut all = Differences::default();
    for part in chunks {
        all.macro_f1.extend(part.macro_f1);
        all.accuracy.extend(part.accuracy);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_is_type_seven() {
        // R: quantile(1:5, c(.025, .975)) and quantile(c(3, 1), c(.25, .75))
        let (lo, hi) = interval(&[5.0, 1.0, 4.0, 2.0, 3.0], 0.95).unwrap();
        assert!((lo - 1.1).abs() < 1e-12 && (hi - 4.9).abs() < 1e-12, "{lo} {hi}");
        assert_eq!(interval(&[3.0, 1.0], 0.5), Some((1.5, 2.5)));
        assert_eq!(interval(&[0.25], 0.95), Some((0.25, 0.25)));
        assert_eq!(interval(&[], 0.95), None);
    }

    #[test]
    fn every_chunk_has_its_own_stream_and_the_last_one_is_short() {
        use rand::Rng;
        let plan = Plan { resamples: 2 * CHUNK + 3, level: 0.95, seed: 5 };
        let firsts = in_chunks(&plan, |stream, resamples| (stream.next_u64(), resamples));
        assert_eq!(firsts.iter().map(|first| first.1).collect::<Vec<_>>(), [CHUNK, CHUNK, 3]);
        assert!(firsts[0].0 != firsts[1].0 && firsts[1].0 != firsts[2].0);
    }

    #[test]
    fn plans_out_of_range_are_refused() {
        for (resamples, level) in [(0, 0.95), (10_000_001, 0.95), (10, 0.0), (10, 1.0), (10, f64::NAN)] {
            assert!(Plan { resamples, level, seed: 0 }.check().is_err());
        }
    }
}
