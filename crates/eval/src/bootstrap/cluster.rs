//! The clustered bootstrap: whole episodes, hosts or groups are drawn, and all their rows move together.

use rand::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{Differences, Plan, Resamples, in_chunks, score_draws, score_pairs};
use crate::EvalError;
use crate::cells::ClusterCounts;

/// Resamples clusters.
///
/// # Errors
/// [`EvalError::Invalid`] for a plan out of range.
pub fn clusters(counts: &ClusterCounts, plan: &Plan) -> Result<Resamples, EvalError> {
    plan.check()?;
    if counts.clusters() == 0 {
        return Ok(Resamples { left_out: vec![0; counts.cells.scored().len()], ..Resamples::default() });
    }
    Ok(score_draws(plan, &counts.cells, |stream, drawn, into| {
        draw_units(stream, counts.clusters(), drawn);
        counts.sum(drawn, into);
    }))
}

/// Resamples clusters that two models scored, for the difference b − a. Cluster i of `a` and of `b` must be the same
/// one; that holds for counts over the same rows.
///
/// # Errors
/// [`EvalError::Invalid`] for a plan out of range, [`EvalError::Unpaired`] for different numbers of clusters.
pub fn paired_clusters(a: &ClusterCounts, b: &ClusterCounts, plan: &Plan) -> Result<Differences, EvalError> {
    plan.check()?;
    if a.clusters() != b.clusters() {
        return Err(EvalError::Unpaired(format!("{} units against {}", a.clusters(), b.clusters())));
    }
    if a.clusters() == 0 {
        return Ok(Differences::default());
    }
    Ok(score_pairs(plan, [&a.cells, &b.cells], |stream, drawn, counts_a, counts_b| {
        draw_units(stream, a.clusters(), drawn);
        a.sum(drawn, counts_a);
        b.sum(drawn, counts_b);
    }))
}

/// Means of resamples of `values`, drawn with replacement: one value a host, say.
///
/// # Errors
/// [`EvalError::Invalid`] for a plan out of range.
pub fn mean(values: &[f64], plan: &Plan) -> Result<Vec<f64>, EvalError> {
    plan.check()?;
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let chunks = in_chunks(plan, |stream, resamples| {
        let mut drawn = Vec::new();
        let one = |_| {
            draw_units(stream, values.len(), &mut drawn);
            drawn.iter().map(|&unit| values[unit as usize]).sum::<f64>() / values.len() as f64
        };
        (0..resamples).map(one).collect::<Vec<f64>>()
    });
    Ok(chunks.concat())
}

/// Resamples that are summed in one pass over the units.
pub(crate) const LANES: usize = 8;

/// Resamples of units, as how many times each unit was drawn.
pub(crate) struct UnitDraws<'a> {
    stream: &'a mut Xoshiro256PlusPlus,
    units: usize,
    resamples: usize,
}

impl UnitDraws<'_> {
    /// Calls `take` with the multiplicities of [`LANES`] resamples at a time, unit by unit, and with how many of the
    /// lanes hold one.
    pub(crate) fn each(self, mut take: impl FnMut(&[[f64; LANES]], usize)) {
        let (mut drawn, mut times) = (Vec::new(), vec![[0.0; LANES]; self.units]);
        let mut left = self.resamples;
        while left > 0 {
            let lanes = left.min(LANES);
            times.fill([0.0; LANES]);
            #[allow(clippy::needless_range_loop)] // the lane is the inner index
            for lane in 0..lanes {
                draw_units(self.stream, self.units, &mut drawn);
                drawn.iter().for_each(|&unit| times[unit as usize][lane] += 1.0);
            }
            take(&times, lanes);
            left -= lanes;
        }
    }
}

/// Runs `chunk` on each fixed chunk of resamples of `units` units: the draws of [`clusters`] for the same plan.
pub(crate) fn unit_draws<T: Send>(plan: &Plan, units: usize, chunk: impl Fn(UnitDraws<'_>) -> T + Sync) -> Vec<T> {
    in_chunks(plan, |stream, resamples| chunk(UnitDraws { stream, units, resamples }))
}

/// Draws `units` of `units` with replacement. Each is uniform without bias (Lemire 2019: the upper half of a 64-bit
/// product, with the few draws rejected that would favour some units).
fn draw_units(stream: &mut Xoshiro256PlusPlus, units: usize, drawn: &mut Vec<u32>) {
    let n = units as u64;
    let reject_below = u64::from(u32::MAX) + 1;
    let reject_below = reject_below % n;
    drawn.clear();
    drawn.extend((0..units).map(|_| {
        loop {
            let product = (stream.next_u64() >> 32) * n;
            if product & u64::from(u32::MAX) >= reject_below {
                return (product >> 32) as u32;
            }
        }
    }));
}
