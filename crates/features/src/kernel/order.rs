//! Order statistics: percentiles of windows.
//!
//! Short blocks are sorted once, eight columns at a time, by a sorting network (Batcher's odd-even merge exchange,
//! Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M), and a window of one or two sorted blocks yields its
//! order statistics by merging from the nearer end. Whatever does not fit (missing values, long blocks, windows of
//! many blocks and many rows) is selected column by column.

use super::ranges::{Parts, Rows};
use crate::samples::LANES;

/// Longest run that the network sorts: beyond it, selection reads less memory.
const MAX_RUN: usize = 128;

type Lanes = [f32; LANES];

/// Scratch for order statistics of one column group.
#[derive(Debug, Clone, Default)]
pub(super) struct Order {
    /// The group's rows, each block sorted.
    sorted: Vec<Lanes>,
    /// One window's rows, or one column of them.
    run: Vec<Lanes>,
    column: Vec<f32>,
    blocks_are_sorted: bool,
}

impl Order {
    /// Prepares the order statistics of a group: sorts its blocks where windows are made of at most two short ones.
    #[inline(always)]
    pub(super) fn prepare(&mut self, values: &[Lanes], parts: &Parts) {
        let short = |rows: &Rows| rows.hi - rows.lo <= MAX_RUN;
        self.blocks_are_sorted = parts.per_window <= 2 && parts.per_stride > 0 && parts.rows.iter().all(short);
        // Parts that are not shared overlap each other's rows: sorting one in place would disturb the next.
        self.blocks_are_sorted &= parts.rows.windows(2).all(|pair| pair[0].hi <= pair[1].lo);
        if self.blocks_are_sorted {
            self.sorted.clear();
            self.sorted.extend_from_slice(values);
            for rows in &parts.rows {
                sort(&mut self.sorted[rows.lo..rows.hi]);
            }
        }
    }

    /// The quantile `q` of one window; `complete` when no value of these rows is missing.
    #[inline(always)]
    pub(super) fn quantile(&mut self, values: &[Lanes], blocks: &[Rows], complete: bool, q: f64) -> Lanes {
        let (lo, hi) = (blocks[0].lo, blocks[blocks.len() - 1].hi);
        if !complete || lo == hi || (!self.blocks_are_sorted && hi - lo > MAX_RUN) {
            return self.select(&values[lo..hi], q);
        }
        let (a, b) = if self.blocks_are_sorted {
            let middle = blocks[0].hi;
            (&self.sorted[lo..middle], &self.sorted[middle..hi])
        } else {
            self.run.clear();
            self.run.extend_from_slice(&values[lo..hi]);
            sort(&mut self.run);
            (self.run.as_slice(), &[][..])
        };
        let (rank, share) = rank(q, hi - lo);
        let lower = nth(a, b, rank);
        if share == 0.0 {
            return lower;
        }
        let upper = nth(a, b, rank + 1);
        std::array::from_fn(|l| between(lower[l], upper[l], share))
    }

    /// The quantile by selection, over the observed values of each column; NaN where there is none.
    fn select(&mut self, values: &[Lanes], q: f64) -> Lanes {
        std::array::from_fn(|lane| {
            self.column.clear();
            self.column.extend(values.iter().map(|row| row[lane]).filter(|value| value.is_finite()));
            if self.column.is_empty() {
                return f32::NAN;
            }
            let (rank, share) = rank(q, self.column.len());
            let (_, &mut lower, above) = self.column.select_nth_unstable_by(rank, f32::total_cmp);
            let upper = above.iter().copied().reduce(f32::min).unwrap_or(lower);
            between(lower, upper, share)
        })
    }
}

/// Rank (from 0, ascending) below the quantile `q` of `n` values, and the share of the way to the next rank
/// (Hyndman and Fan 1996, type 7).
fn rank(q: f64, n: usize) -> (usize, f64) {
    let h = q * (n - 1) as f64;
    (h as usize, h - h.floor())
}

fn between(lower: f32, upper: f32, share: f64) -> f32 {
    let (lower, upper) = (f64::from(lower), f64::from(upper));
    (lower + (upper - lower) * share) as f32
}

#[inline(always)]
fn smaller(a: &Lanes, b: &Lanes) -> Lanes {
    std::array::from_fn(|l| if a[l] < b[l] { a[l] } else { b[l] })
}

#[inline(always)]
fn larger(a: &Lanes, b: &Lanes) -> Lanes {
    std::array::from_fn(|l| if a[l] < b[l] { b[l] } else { a[l] })
}

/// Sorts each lane, ascending.
#[inline(always)]
fn sort(run: &mut [Lanes]) {
    let n = run.len();
    if n < 2 {
        return;
    }
    let top = n.next_power_of_two() / 2;
    let mut p = top;
    while p > 0 {
        let (mut q, mut r, mut d) = (top, 0, p);
        loop {
            // Exchange i and i + d for every i with bit p equal to r.
            let mut base = r;
            while base + d < n {
                let end = (base + p).min(n - d);
                let (low, high) = run.split_at_mut(base + d);
                for (x, y) in low[base..end.min(base + d)].iter_mut().zip(high) {
                    (*x, *y) = (smaller(x, y), larger(x, y));
                }
                base += 2 * p;
            }
            if q == p {
                break;
            }
            d = q - p;
            q /= 2;
            r = p;
        }
        p /= 2;
    }
}

/// The value of a rank (from 0, ascending) in the union of two sorted runs. A prefix of the union takes `i` values of
/// one and the rest of the other; among all such choices the true one has the smallest maximum.
#[inline(always)]
fn nth(a: &[Lanes], b: &[Lanes], rank: usize) -> Lanes {
    let n = a.len() + b.len();
    if 2 * rank < n {
        let take = rank + 1;
        let mut best = [f32::INFINITY; LANES];
        for i in take.saturating_sub(b.len())..=take.min(a.len()) {
            let j = take - i;
            let worst = match (i, j) {
                (0, j) => b[j - 1],
                (i, 0) => a[i - 1],
                (i, j) => larger(&a[i - 1], &b[j - 1]),
            };
            best = smaller(&worst, &best);
        }
        best
    } else {
        let take = n - rank;
        let mut best = [f32::NEG_INFINITY; LANES];
        for i in take.saturating_sub(b.len())..=take.min(a.len()) {
            let j = take - i;
            let worst = match (i, j) {
                (0, j) => b[b.len() - j],
                (i, 0) => a[a.len() - i],
                (i, j) => smaller(&a[a.len() - i], &b[b.len() - j]),
            };
            best = larger(&best, &worst);
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_network_sorts_and_two_runs_merge(
            a in prop::collection::vec(prop::array::uniform8(-9i8..9), 0..140),
            b in prop::collection::vec(prop::array::uniform8(-9i8..9), 0..140),
        ) {
            let floats = |rows: &[[i8; LANES]]| rows.iter().map(|row| row.map(f32::from)).collect::<Vec<_>>();
            let (mut runs, mut union) = ([floats(&a), floats(&b)], floats(&[a.clone(), b.clone()].concat()));
            for lane in 0..LANES {
                let mut column: Vec<f32> = union.iter().map(|row| row[lane]).collect();
                column.sort_by(f32::total_cmp);
                for (row, value) in union.iter_mut().zip(column) {
                    row[lane] = value;
                }
            }
            for run in &mut runs {
                sort(run);
                prop_assert!(run.windows(2).all(|pair| (0..LANES).all(|l| pair[0][l] <= pair[1][l])));
            }
            for (rank, expected) in union.iter().enumerate() {
                prop_assert_eq!(&nth(&runs[0], &runs[1], rank), expected);
            }
        }
    }
}
