//! Order statistics of windows.
//!
//! A high percentile of a short window needs only its few largest values: the 95th of 100 rows the six largest. So each
//! block keeps its [`Top`] largest values, sorted, eight columns at a time, and a window merges those of its blocks.
//! A missing value counts as minus infinity and falls off the end. A longer window, and the median, is selected
//! column by column.

use std::ops::Range;

use super::block::Block;
use crate::samples::LANES;

type Lanes = [f32; LANES];

/// The `K` largest values of some rows, descending; minus infinity where there are fewer.
#[derive(Debug, Clone, Copy)]
struct Top<const K: usize>([Lanes; K]);

impl<const K: usize> Top<K> {
    const EMPTY: Self = Self([[f32::NEG_INFINITY; LANES]; K]);

    /// Moves each value down to its place: every level keeps the larger of two and passes the smaller on.
    #[inline(always)]
    fn insert(&mut self, mut values: Lanes) {
        for level in &mut self.0 {
            for l in 0..LANES {
                let (kept, value) = (level[l], values[l]);
                level[l] = if value > kept { value } else { kept };
                values[l] = if kept < value { kept } else { value };
            }
        }
    }
}

/// How many of the largest values each block keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kept {
    /// None: quantiles are selected.
    #[default]
    None,
    Four,
    Eight,
    Sixteen,
}

/// Scratch for the order statistics of one column group.
#[derive(Debug, Clone, Default)]
pub(super) struct Order {
    kept: Kept,
    /// Largest values of every block, one block after the other.
    tops: Vec<Lanes>,
    column: Vec<f32>,
}

impl Order {
    /// Chooses how many of the largest values to keep, for the quantile `q` of windows of at most `longest` rows.
    pub(super) fn plan(&mut self, q: f64, longest: usize) {
        self.kept = match longest.checked_sub(1).map_or(0, |_| rank(q, longest).from_top) {
            0..=4 => Kept::Four,
            5..=8 => Kept::Eight,
            9..=16 => Kept::Sixteen,
            _ => Kept::None,
        };
    }

    /// Forgets the blocks of the group before.
    pub(super) fn start(&mut self) {
        self.tops.clear();
    }

    /// Keeps the largest values of the next block.
    #[inline(always)]
    pub(super) fn push(&mut self, values: &[Lanes]) {
        match self.kept {
            Kept::None => {}
            Kept::Four => self.push_top::<4>(values),
            Kept::Eight => self.push_top::<8>(values),
            Kept::Sixteen => self.push_top::<16>(values),
        }
    }

    #[inline(always)]
    fn push_top<const K: usize>(&mut self, values: &[Lanes]) {
        let mut top = Top::<K>::EMPTY;
        for row in values {
            let mut observed = *row;
            for value in &mut observed {
                // NaN and infinity are not observed; minus infinity needs no care.
                *value = if *value < f32::INFINITY { *value } else { f32::NEG_INFINITY };
            }
            top.insert(observed);
        }
        self.tops.extend_from_slice(&top.0);
    }

    /// The planned quantile of the window made of `blocks`, whose rows are `values` and whose sums are `sums`.
    #[inline(always)]
    pub(super) fn planned(&mut self, q: f64, blocks: Range<usize>, values: &[Lanes], sums: &Block) -> Lanes {
        match self.kept {
            Kept::None => self.select(q, values),
            Kept::Four => self.merged::<4>(q, blocks, sums),
            Kept::Eight => self.merged::<8>(q, blocks, sums),
            Kept::Sixteen => self.merged::<16>(q, blocks, sums),
        }
    }

    #[inline(always)]
    fn merged<const K: usize>(&self, q: f64, blocks: Range<usize>, sums: &Block) -> Lanes {
        let (tops, _) = self.tops.as_chunks::<K>();
        let mut top = Top(tops[blocks.start]);
        for later in &tops[blocks.start + 1..blocks.end] {
            for values in later {
                top.insert(*values);
            }
        }
        let mut quantile = [f32::NAN; LANES];
        for l in 0..LANES {
            if sums.n[l] > 0.0 {
                let Rank { from_top, share } = rank(q, sums.n[l] as usize);
                let lower = top.0[from_top - 1][l];
                let upper = top.0[from_top.max(2) - 2][l];
                quantile[l] = between(lower, upper, share);
            }
        }
        quantile
    }

    /// A quantile by selection, over the observed values of each column; NaN where there is none.
    pub(super) fn select(&mut self, q: f64, values: &[Lanes]) -> Lanes {
        std::array::from_fn(|lane| {
            self.column.clear();
            self.column.extend(values.iter().map(|row| row[lane]).filter(|value| value.is_finite()));
            let n = self.column.len();
            if n == 0 {
                return f32::NAN;
            }
            let Rank { from_top, share } = rank(q, n);
            let (_, &mut lower, above) = self.column.select_nth_unstable_by(n - from_top, f32::total_cmp);
            let upper = above.iter().copied().reduce(f32::min).unwrap_or(lower);
            between(lower, upper, share)
        })
    }
}

/// Where a quantile lies among sorted values.
struct Rank {
    /// The value below it is the `from_top`-th largest, counted from 1.
    from_top: usize,
    /// Share of the way from there to the next larger value.
    share: f64,
}

/// The rank of quantile `q` among `n` values, `n` at least 1 (Hyndman and Fan 1996, type 7).
#[inline(always)]
fn rank(q: f64, n: usize) -> Rank {
    let h = q * (n - 1) as f64;
    let below = h as usize;
    Rank { from_top: n - below, share: h - below as f64 }
}

#[inline(always)]
fn between(lower: f32, upper: f32, share: f64) -> f32 {
    let (lower, upper) = (f64::from(lower), f64::from(upper));
    (lower + (upper - lower) * share) as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::ranges::Rows;

    proptest! {
        #[test]
        fn kept_values_give_the_quantile_that_selection_gives(
            rows in prop::collection::vec(prop::array::uniform8(prop_oneof![
                9 => (-9i8..9).prop_map(f32::from),
                1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY]),
            ]), 1..300),
            cut in any::<prop::sample::Index>(),
        ) {
            let middle = cut.index(rows.len());
            let mut order = Order::default();
            order.plan(0.95, rows.len());
            prop_assert!(order.kept != Kept::None);
            order.push(&rows[..middle]);
            order.push(&rows[middle..]);
            let t_ns: Vec<i64> = (0..rows.len() as i64).collect();
            let sums = Block::of(&rows, &t_ns, Rows { lo: 0, hi: rows.len() });
            let kept = order.planned(0.95, 0..2, &rows, &sums).map(f32::to_bits);
            prop_assert_eq!(kept, order.select(0.95, &rows).map(f32::to_bits));
        }
    }
}
