//! Statistics of windows.

use pulp::{Simd, WithSimd};
use stakeout_core::Statistic;

use super::block::Block;
use super::order::Order;
use super::ranges::{Parts, Rows, block_ns};
use super::{Place, StepMeans, dispatch};
use crate::grid::Grid;
use crate::samples::{LANES, Samples};

const HIGH: f64 = 0.95;

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
        assert_eq!(out.len(), statistics.len() * place.channels * grid.windows, "one row a window");
        self.parts.cut(grid, block_ns(grid, samples.rows()), samples.t_ns());
        if statistics.contains(&Statistic::P95) {
            let longest = (0..grid.windows).map(|window| self.parts.rows_of_window(window).len()).max();
            self.order.plan(HIGH, longest.unwrap_or(0));
        }
        for (number, values) in samples.groups().enumerate() {
            let summariser = &mut *self;
            let t_ns = samples.t_ns();
            dispatch(Group { summariser, grid, t_ns, means, statistics, place, number, values, out });
        }
    }
}

/// The statistics of one column group.
struct Group<'a> {
    summariser: &'a mut Summariser,
    grid: &'a Grid,
    t_ns: &'a [i64],
    means: &'a StepMeans,
    statistics: &'a [Statistic],
    place: &'a Place<'a>,
    number: usize,
    values: &'a [[f32; LANES]],
    out: &'a mut [f32],
}

impl WithSimd for Group<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { summariser, grid, t_ns, means, statistics, place, number, values, out } = self;
        let Summariser { parts, blocks: sums_of_blocks, order } = summariser;
        // A loop and not an adapter: the body of an adapter would be compiled apart, without the instruction set.
        sums_of_blocks.clear();
        for &rows in &parts.rows {
            sums_of_blocks.push(Block::of(values, t_ns, rows));
        }
        if statistics.contains(&Statistic::P95) {
            order.start();
            for &Rows { lo, hi } in &parts.rows {
                order.push(&values[lo..hi]);
            }
        }
        let width = statistics.len() * place.channels;
        for window in 0..grid.windows {
            let blocks = parts.of_window(window);
            let mut sums = sums_of_blocks[blocks.start];
            for later in &sums_of_blocks[blocks.start + 1..blocks.end] {
                sums.append(later);
            }
            let row = &mut out[window * width..][..width];
            for (statistic, row) in statistics.iter().zip(row.chunks_exact_mut(place.channels)) {
                let lanes = match statistic {
                    Statistic::Mean => sums.mean(),
                    Statistic::Std => sums.std(),
                    Statistic::P95 => {
                        let rows = &values[parts.rows_of_window(window)];
                        order.planned(HIGH, blocks.clone(), rows, &sums)
                    }
                    Statistic::Slope => sums.slope(),
                    Statistic::ZeroShare => *means.zero_share(grid.windows, number, window),
                    Statistic::Min => sums.observed(&sums.min),
                    Statistic::Max => sums.observed(&sums.max),
                    Statistic::Last => sums.last,
                    Statistic::Median => order.select(0.5, &values[parts.rows_of_window(window)]),
                };
                place.scatter(number, &lanes, row);
            }
        }
    }
}
