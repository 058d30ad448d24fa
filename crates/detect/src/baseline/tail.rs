//! A threshold and p-values from held-out normal scores, with a guarantee for any distribution.
//!
//! Split-conformal (Vovk, Gammerman and Shafer 2005; Lei and others 2018), over blocks: hierarchical conformal prediction
//! (Lee, Barber and Willett 2023, "Distribution-free inference with hierarchical data", section 3). With `B` held-out
//! blocks,
//!
//! ```text
//! p(z) = (1 + Σ_b share of block b whose score is at least z) / (B + 1)
//! ```
//!
//! If the `B` blocks and a new one are exchangeable, the expected share of the new block's vectors with p ≤ α is at most
//! α, whatever the dependence inside a block and whatever the distribution. A p below 1 / (B + 1) cannot be had.

use serde::{Deserialize, Serialize};

use super::Refusal;

/// Scores that are kept one by one from the top; below them every n-th.
const KEPT: usize = 4096;

/// Held-out scores, ascending, each with p just above it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tail {
    scores: Vec<f64>,
    above: Vec<f64>,
    /// Held-out blocks.
    pub(super) blocks: usize,
}

impl Tail {
    /// From scores and the lengths of their blocks; an empty block does not count.
    pub(super) fn new(scores: &[f64], blocks: &[usize]) -> Self {
        let n = blocks.iter().filter(|&&block| block > 0).count();
        let mut weighted = Vec::with_capacity(scores.len());
        let mut rest = scores;
        for &block in blocks {
            let (own, after) = rest.split_at(block);
            weighted.extend(own.iter().map(|&score| (score, 1.0 / block as f64)));
            rest = after;
        }
        weighted.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (mut kept, mut mass, mut since): (Vec<(f64, f64)>, f64, usize) = (Vec::new(), 1.0, 0);
        let stride = weighted.len().saturating_sub(KEPT).div_ceil(KEPT).max(1);
        for run in weighted.chunk_by(|a, b| a.0 == b.0) {
            since += 1;
            if kept.len() < KEPT || since >= stride {
                // What is left out is never nearer to the top than what is kept: p is rounded up.
                kept.push((run[0].0, mass / (n as f64 + 1.0)));
                since = 0;
            }
            mass += run.iter().map(|(_, weight)| weight).sum::<f64>();
        }
        kept.reverse();
        let (scores, above) = kept.into_iter().unzip();
        Self { scores, above, blocks: n }
    }

    /// The p-value of a score: never below 1 / (B + 1).
    pub(super) fn p_value(&self, score: f64) -> f64 {
        match self.scores.partition_point(|&kept| kept < score) {
            0 => 1.0,
            below => self.above[below - 1].min(1.0),
        }
    }

    /// The score above which p is at most `budget`.
    ///
    /// # Errors
    /// [`Refusal`] when no p can be so small.
    pub(super) fn threshold(&self, budget: f64) -> Result<f64, Refusal> {
        let refused = Refusal { needed: needed(budget), have: self.blocks };
        if self.blocks < refused.needed {
            return Err(refused);
        }
        // Equal but for the last digits is equal: where so many blocks are enough, there is a threshold.
        let at = self.above.partition_point(|&above| above > budget * (1.0 + 1e-9));
        self.scores.get(at).copied().ok_or(refused)
    }

    /// What is wrong with stored numbers.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let orderly = self.scores.is_sorted_by(|a, b| a < b) && self.above.is_sorted_by(|a, b| a >= b);
        let finite = self.scores.iter().all(|score| score.is_finite() && *score >= 0.0);
        let shares = self.above.iter().all(|above| *above > 0.0 && *above <= 1.0 + 1e-9);
        if self.scores.is_empty() || self.scores.len() != self.above.len() || !(orderly && finite && shares) {
            return Err("the held-out scores are not ascending numbers with falling p-values");
        }
        Ok(())
    }
}

/// Blocks that a budget needs: 1 / (B + 1) must not be above it.
pub(super) fn needed(budget: f64) -> usize {
    // A thousandth is not a binary number: 1 / 0.001 - 1 must be 999.
    (1.0 / budget - 1.0 - 1e-9).ceil().max(1.0) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    /// The formula of the module.
    fn slow(scores: &[f64], blocks: &[usize], z: f64) -> f64 {
        let (mut sum, mut start, mut n) = (1.0, 0, 0.0);
        for &block in blocks {
            if block > 0 {
                let own = &scores[start..start + block];
                sum += own.iter().filter(|&&score| score >= z).count() as f64 / block as f64;
                n += 1.0;
            }
            start += block;
        }
        sum / (n + 1.0)
    }

    proptest! {
        #[test]
        fn p_is_the_formula_and_the_threshold_its_budget(
            blocks in prop::collection::vec(0usize..6, 1..30), seed in 0u64..1000, ties in 1u32..40, probe in 0u32..50, budget in 1u32..100,
        ) {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let scores: Vec<f64> = (0..blocks.iter().sum()).map(|_| f64::from(rng.random::<u32>() % ties)).collect();
            let tail = Tail::new(&scores, &blocks);
            let z = f64::from(probe) / 1.5;
            prop_assert!((tail.p_value(z) - slow(&scores, &blocks, z)).abs() < 1e-12);
            let budget = f64::from(budget) / 100.0;
            match tail.threshold(budget) {
                Ok(threshold) => {
                    prop_assert!(slow(&scores, &blocks, threshold + 1e-9) <= budget + 1e-12);
                    prop_assert!(scores.contains(&threshold));
                    prop_assert_eq!(tail.p_value(z) <= budget, z > threshold);
                    prop_assert!(tail.check().is_ok());
                }
                Err(refused) => prop_assert!(1.0 / (tail.blocks as f64 + 1.0) > budget && refused.needed > tail.blocks),
            }
        }
    }

    #[test]
    fn a_budget_below_one_in_n_plus_one_is_refused_with_the_n_needed() {
        let scores: Vec<f64> = (0..998).map(f64::from).collect();
        let refused = Tail::new(&scores, &[1; 998]).threshold(0.001).unwrap_err();
        assert_eq!(refused, Refusal { needed: 999, have: 998 });
        let scores: Vec<f64> = (0..999).map(f64::from).collect();
        assert_eq!(Tail::new(&scores, &[1; 999]).threshold(0.001), Ok(998.0));
        assert_eq!((needed(0.01), needed(0.5), needed(0.3), needed(1.0)), (99, 1, 3, 1));
    }

    #[test]
    fn a_budget_that_was_written_with_few_digits_has_its_threshold() {
        // Slightly below 1 / 3, for which two blocks are enough.
        assert_eq!(Tail::new(&[1.0, 2.0], &[1, 1]).threshold(0.333_333_333_3), Ok(2.0));
        for blocks in 1..3000usize {
            let scores: Vec<f64> = (0..blocks).map(|i| i as f64).collect();
            let budget = 1.0 / (blocks as f64 + 1.0);
            assert_eq!(Tail::new(&scores, &vec![1; blocks]).threshold(budget), Ok(blocks as f64 - 1.0), "{blocks}");
        }
    }

    #[test]
    fn thinning_rounds_p_up_and_keeps_the_top() {
        let scores: Vec<f64> = (0..50_000).map(f64::from).collect();
        let tail = Tail::new(&scores, &vec![1; 50_000]);
        assert!(tail.scores.len() <= 2 * KEPT + 1);
        for z in [0.0, 10.0, 777.5, 20_000.0, 45_903.0, 48_000.5, 49_999.0, 60_000.0] {
            let exact = (1.0 + scores.iter().filter(|&&score| score >= z).count() as f64) / 50_001.0;
            let p = tail.p_value(z);
            assert!(p >= exact && p <= exact + 13.0 / 50_001.0, "{z}: {p} {exact}");
        }
        assert_eq!(tail.threshold(0.001), Ok(49_950.0));
    }

    /// Under the null p is uniform on 1/(n+1) .. 1: a chi-squared test over ten bins, many splits.
    #[test]
    fn p_values_are_uniform_under_the_null() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
        let (splits, n) = (4000, 99);
        let mut bins = [0u32; 10];
        for _ in 0..splits {
            let scores: Vec<f64> = (0..n).map(|_| rng.random::<f64>().powi(3)).collect();
            let p = Tail::new(&scores, &vec![1; n]).p_value(rng.random::<f64>().powi(3));
            bins[((p * 10.0 - 1e-9).floor() as usize).min(9)] += 1;
        }
        let expected = f64::from(splits) / 10.0;
        let chi: f64 = bins.iter().map(|&bin| (f64::from(bin) - expected).powi(2) / expected).sum();
        assert!(chi < 27.9, "chi-squared with 9 degrees of freedom, 0.1 %: {chi} {bins:?}");
    }

    /// Inside a block all values are near each other: blocks keep the guarantee that single values break.
    #[test]
    fn the_guarantee_holds_for_blocks_whose_values_are_alike() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
        let (trials, mut by_block, mut by_value) = (3000, 0.0, 0.0);
        for _ in 0..trials {
            let block = |rng: &mut Xoshiro256PlusPlus| {
                let level: f64 = rng.random::<f64>();
                (0..10).map(|_| level + 0.001 * rng.random::<f64>()).collect::<Vec<f64>>()
            };
            let scores: Vec<f64> = (0..19).flat_map(|_| block(&mut rng)).collect();
            let fresh = block(&mut rng);
            let (blocks, values) = (Tail::new(&scores, &[10; 19]), Tail::new(&scores, &[1; 190]));
            let share = |threshold: f64| fresh.iter().filter(|&&z| z > threshold).count() as f64 / 10.0;
            by_block += share(blocks.threshold(0.05).unwrap());
            assert!(blocks.threshold(0.01).is_err(), "19 blocks cannot vouch for one in a hundred");
            by_value += share(values.threshold(0.01).unwrap());
        }
        let (by_block, by_value) = (by_block / f64::from(trials), by_value / f64::from(trials));
        assert!(by_block <= 0.055, "{by_block}");
        assert!(by_value > 0.04, "a budget of 0.01, and {by_value}");
    }
}
