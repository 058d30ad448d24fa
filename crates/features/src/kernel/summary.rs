//! Statistics of windows.

use stakeout_core::Statistic;

use super::block::Block;
use super::order::Order;
use super::ranges::{Parts, block_ns};
use super::{Place, StepMeans};
use crate::grid::Grid;
use crate::samples::{LANES, Samples};

/// Computes the statistics of windows; keeps its buffers between episodes.
#[derive(Debug, Clone, Default)]
pub struct Summariser {
    parts: Parts,
    blocks: Vec<Block>,
    order: Order,
}

impl Summariser {
    /// Writes `statistics` of every window and column to `out` (windows × statistics × channels). A column without a
    /// sample in a window gets NaN; a slope needs two distinct times. `means` are the step means of the same samples;
    /// only [`Statistic::ZeroShare`] reads them.
    ///
    /// # Panics
    /// When `place` or `out` does not fit, or `means` were computed for another grid.
    pub fn write(
        &mut self,
        grid: &Grid,
        samples: &Samples,
        means: &StepMeans,
        statistics: &[Statistic],
        place: &Place<'_>,
        out: &mut [f32],
    ) {
        assert_eq!(place.positions.len(), samples.columns(), "one place a column");
        let width = statistics.len() * place.channels;
        assert_eq!(out.len(), width * grid.windows, "one row a window");
        self.parts.cut(grid, block_ns(grid, samples.rows()), samples.t_ns());
        let task = Task { grid, t_ns: samples.t_ns(), means, statistics, place };
        for (group, values) in samples.groups().enumerate() {
            pulp::Arch::new().dispatch(
                #[inline(always)]
                || self.group(&task, group, values, out),
            );
        }
    }

    #[inline(always)]
    fn group(&mut self, task: &Task<'_>, group: usize, values: &[[f32; LANES]], out: &mut [f32]) {
        let Task { grid, t_ns, means, statistics, place } = *task;
        self.blocks.clear();
        self.blocks.extend(self.parts.rows.iter().map(|&rows| Block::of(values, t_ns, rows)));
        if statistics.iter().any(|s| matches!(s, Statistic::P95 | Statistic::Median)) {
            self.order.prepare(values, &self.parts);
        }
        for window in 0..grid.windows {
            let range = self.parts.of_window(window);
            let rows = &self.parts.rows[range.clone()];
            let (first, rest) = (range.start, range.start + 1..range.end);
            let mut sums = self.blocks[first];
            for later in &self.blocks[rest] {
                sums.append(later);
            }
            let all = (rows[rows.len() - 1].hi - rows[0].lo) as f64;
            let complete = sums.n.iter().all(|n| *n == all);
            let row = &mut out[window * statistics.len() * place.channels..][..statistics.len() * place.channels];
            for (statistic, row) in statistics.iter().zip(row.chunks_exact_mut(place.channels)) {
                let lanes = match statistic {
                    Statistic::Mean => sums.mean(),
                    Statistic::Std => sums.std(),
                    Statistic::P95 => self.order.quantile(values, rows, complete, 0.95),
                    Statistic::Slope => sums.slope(),
                    Statistic::ZeroShare => *means.zero_share(grid.windows, group, window),
                    Statistic::Min => sums.observed(&sums.min),
                    Statistic::Max => sums.observed(&sums.max),
                    Statistic::Last => sums.last,
                    Statistic::Median => self.order.quantile(values, rows, complete, 0.5),
                };
                place.scatter(group, &lanes, row);
            }
        }
    }
}

/// What does not change from one column group to the next.
#[derive(Clone, Copy)]
struct Task<'a> {
    grid: &'a Grid,
    t_ns: &'a [i64],
    means: &'a StepMeans,
    statistics: &'a [Statistic],
    place: &'a Place<'a>,
}
