//! Row ranges of blocks and steps.

use std::ops::Range;

use crate::grid::Grid;

/// Rows `lo..hi` of a block or a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) lo: usize,
    pub(super) hi: usize,
}

/// Consecutive parts of windows: window `w` is made of `per_window` parts from part `w * per_stride` on.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    pub(super) rows: Vec<Rows>,
    pub(super) per_stride: usize,
    pub(super) per_window: usize,
}

impl Parts {
    /// Cuts windows into parts of `part_ns`, which divides their length. Parts are shared between overlapping windows
    /// where it divides the stride too.
    pub(super) fn cut(&mut self, grid: &Grid, part_ns: i64, t_ns: &[i64]) {
        self.rows.clear();
        self.per_window = (grid.length_ns / part_ns) as usize;
        let shared = grid.stride_ns <= grid.length_ns && grid.stride_ns % part_ns == 0;
        if grid.windows == 0 {
            self.per_stride = self.per_window;
        } else if shared {
            self.per_stride = (grid.stride_ns / part_ns) as usize;
            let parts = (grid.windows - 1) * self.per_stride + self.per_window;
            walk(grid.first_ns, part_ns, parts, t_ns, 0, &mut self.rows);
        } else {
            self.per_stride = self.per_window;
            let mut from = 0;
            for window in 0..grid.windows {
                walk(grid.start(window), part_ns, self.per_window, t_ns, from, &mut self.rows);
                // Later windows start later: none needs the rows before this one.
                from = self.rows[window * self.per_window].lo;
            }
        }
    }

    /// The parts of one window.
    pub(super) fn of_window(&self, window: usize) -> Range<usize> {
        let first = window * self.per_stride;
        first..first + self.per_window
    }

    /// The rows of one window.
    pub(super) fn rows_of_window(&self, window: usize) -> Range<usize> {
        let parts = self.of_window(window);
        self.rows[parts.start].lo..self.rows[parts.end - 1].hi
    }
}

/// Ranges of `parts` consecutive parts from `start_ns` on; rows before `from` are known to be earlier.
fn walk(start_ns: i64, part_ns: i64, parts: usize, t_ns: &[i64], from: usize, into: &mut Vec<Rows>) {
    let advance = |mut row: usize, edge: i64| {
        while row < t_ns.len() && t_ns[row] < edge {
            row += 1;
        }
        row
    };
    let mut lo = advance(from, start_ns);
    let mut edge = start_ns;
    into.reserve(parts);
    for _ in 0..parts {
        edge += part_ns;
        let hi = advance(lo, edge);
        into.push(Rows { lo, hi });
        lo = hi;
    }
}

/// The block length for a grid over `rows` rows: the greatest common divisor of stride and length, or the length
/// itself where merging blocks would cost more than reading rows again.
pub(super) fn block_ns(grid: &Grid, rows: usize) -> i64 {
    if grid.stride_ns >= grid.length_ns || grid.windows == 0 {
        return grid.length_ns;
    }
    let block = gcd(grid.stride_ns, grid.length_ns);
    let merges = (grid.length_ns / block) as u128 * grid.windows as u128;
    let overlap = (grid.length_ns / grid.stride_ns) as u128;
    if merges <= overlap * rows as u128 { block } else { grid.length_ns }
}

fn gcd(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
