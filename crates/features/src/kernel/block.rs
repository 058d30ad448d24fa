//! Mergeable sums of a block of rows, eight columns at a time.

use super::ranges::Rows;
use crate::samples::LANES;

/// Sums of one block for eight columns. Lane by lane, values are relative to `base`, the first one observed, and times to
/// `origin_ns` plus `offset`, the time of that value. A lane without a value has `n = 0` and zero sums.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// Number of rows, observed or not.
    rows: usize,
    /// Time of the first row.
    origin_ns: i64,
    /// Seconds from there to the first observed value.
    offset: [f64; LANES],
    /// Number of observed values.
    pub(super) n: [f64; LANES],
    /// First observed value.
    base: [f64; LANES],
    /// Sum of values.
    s: [f64; LANES],
    /// Sum of squared values.
    ss: [f64; LANES],
    /// Sum of times in seconds.
    t: [f64; LANES],
    /// Sum of squared times.
    tt: [f64; LANES],
    /// Sum of time × value.
    ts: [f64; LANES],
    /// Smallest value.
    pub(super) min: [f32; LANES],
    /// Largest value.
    pub(super) max: [f32; LANES],
    /// Last observed value.
    pub(super) last: [f32; LANES],
}

impl Block {
    const EMPTY: Self = Self {
        rows: 0,
        origin_ns: 0,
        offset: [0.0; LANES],
        n: [0.0; LANES],
        base: [0.0; LANES],
        s: [0.0; LANES],
        ss: [0.0; LANES],
        t: [0.0; LANES],
        tt: [0.0; LANES],
        ts: [0.0; LANES],
        min: [f32::INFINITY; LANES],
        max: [f32::NEG_INFINITY; LANES],
        last: [f32::NAN; LANES],
    };

    /// Accumulates some rows.
    #[inline(always)]
    pub(super) fn of(values: &[[f32; LANES]], t_ns: &[i64], rows: Rows) -> Self {
        let (values, t_ns) = (&values[rows.lo..rows.hi], &t_ns[rows.lo..rows.hi]);
        if values.is_empty() {
            return Self::EMPTY;
        }
        let block = Self::complete(values, t_ns);
        // A NaN or an infinity anywhere in a lane makes its sum NaN or infinite.
        if all_finite(&block.s) { block } else { Self::with_gaps(values, t_ns) }
    }

    /// The rows' sums if every value is observed.
    #[inline(always)]
    fn complete(values: &[[f32; LANES]], t_ns: &[i64]) -> Self {
        let (first, origin) = (values[0], t_ns[0]);
        let base = first.map(f64::from);
        let (mut s, mut ss, mut ts) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        let (mut min, mut max) = (first, first);
        let (mut t, mut tt) = (0.0, 0.0);
        for (row, &time) in values.iter().zip(t_ns) {
            let u = (time - origin) as f64 * 1e-9;
            t += u;
            tt += u * u;
            for l in 0..LANES {
                let d = f64::from(row[l]) - base[l];
                s[l] += d;
                ss[l] += d * d;
                ts[l] += u * d;
                min[l] = if row[l] < min[l] { row[l] } else { min[l] };
                max[l] = if row[l] > max[l] { row[l] } else { max[l] };
            }
        }
        Self {
            rows: values.len(),
            origin_ns: origin,
            offset: [0.0; LANES],
            n: [values.len() as f64; LANES],
            base,
            s,
            ss,
            t: [t; LANES],
            tt: [tt; LANES],
            ts,
            min,
            max,
            last: values[values.len() - 1],
        }
    }

    /// The rows' sums, each lane over its observed values. Selections instead of branches, so that it is vectorised too.
    #[inline(always)]
    fn with_gaps(values: &[[f32; LANES]], t_ns: &[i64]) -> Self {
        let mut block = Self { rows: values.len(), origin_ns: t_ns[0], ..Self::EMPTY };
        for (row, &time) in values.iter().zip(t_ns) {
            let at = (time - block.origin_ns) as f64 * 1e-9;
            for l in 0..LANES {
                let value = f64::from(row[l]);
                let seen = value.abs() < f64::INFINITY;
                let first = seen && block.n[l] == 0.0;
                let base = if first { value } else { block.base[l] };
                let offset = if first { at } else { block.offset[l] };
                let d = if seen { value - base } else { 0.0 };
                let u = if seen { at - offset } else { 0.0 };
                block.base[l] = base;
                block.offset[l] = offset;
                block.n[l] += if seen { 1.0 } else { 0.0 };
                block.s[l] += d;
                block.ss[l] += d * d;
                block.t[l] += u;
                block.tt[l] += u * u;
                block.ts[l] += u * d;
            }
            for l in 0..LANES {
                let value = row[l];
                let seen = value.abs() < f32::INFINITY;
                block.min[l] = if seen && value < block.min[l] { value } else { block.min[l] };
                block.max[l] = if seen && value > block.max[l] { value } else { block.max[l] };
                block.last[l] = if seen { value } else { block.last[l] };
            }
        }
        block
    }

    /// Adds a later block: its sums are moved to this block's base and origin first.
    #[inline(always)]
    pub(super) fn append(&mut self, later: &Self) {
        if later.rows == 0 {
            return;
        }
        if self.rows == 0 {
            *self = *later;
            return;
        }
        self.rows += later.rows;
        let apart = (later.origin_ns - self.origin_ns) as f64 * 1e-9;
        for l in 0..LANES {
            let empty = self.n[l] == 0.0;
            let later_offset = apart + later.offset[l];
            let base = if empty { later.base[l] } else { self.base[l] };
            let offset = if empty { later_offset } else { self.offset[l] };
            // Without a later value both mean nothing, and multiply zeros.
            let (shift, delay) = (later.base[l] - base, later_offset - offset);
            let n = later.n[l];
            self.ss[l] += later.ss[l] + 2.0 * shift * later.s[l] + n * shift * shift;
            self.ts[l] += later.ts[l] + shift * later.t[l] + delay * later.s[l] + n * delay * shift;
            self.tt[l] += later.tt[l] + 2.0 * delay * later.t[l] + n * delay * delay;
            self.s[l] += later.s[l] + n * shift;
            self.t[l] += later.t[l] + n * delay;
            self.n[l] += n;
            self.base[l] = base;
            self.offset[l] = offset;
        }
        for l in 0..LANES {
            let (min, max, last) = (later.min[l], later.max[l], later.last[l]);
            self.min[l] = if min < self.min[l] { min } else { self.min[l] };
            self.max[l] = if max > self.max[l] { max } else { self.max[l] };
            self.last[l] = if last.is_nan() { self.last[l] } else { last };
        }
    }

    /// Mean; NaN without a value.
    #[inline(always)]
    pub(super) fn mean(&self) -> [f32; LANES] {
        std::array::from_fn(|l| (self.base[l] + self.s[l] / self.n[l]) as f32)
    }

    /// Population standard deviation; NaN without a value, 0 for one.
    #[inline(always)]
    pub(super) fn std(&self) -> [f32; LANES] {
        std::array::from_fn(|l| {
            let variance = (self.ss[l] - self.s[l] * self.s[l] / self.n[l]) / self.n[l];
            // Not `max`, which would turn the NaN of an empty lane into 0.
            (if variance < 0.0 { 0.0 } else { variance }).sqrt() as f32
        })
    }

    /// Least squares slope per second; NaN with fewer than two distinct times.
    #[inline(always)]
    pub(super) fn slope(&self) -> [f32; LANES] {
        std::array::from_fn(|l| {
            let spread = self.tt[l] - self.t[l] * self.t[l] / self.n[l];
            let slope = (self.ts[l] - self.t[l] * self.s[l] / self.n[l]) / spread;
            (if spread > 0.0 { slope } else { f64::NAN }) as f32
        })
    }

    /// `values` where a lane is observed, NaN elsewhere.
    #[inline(always)]
    pub(super) fn observed(&self, values: &[f32; LANES]) -> [f32; LANES] {
        std::array::from_fn(|l| if self.n[l] == 0.0 { f32::NAN } else { values[l] })
    }
}

/// Whether no lane is NaN or infinite: such a lane times zero is NaN, and so is every sum with it.
#[inline(always)]
pub(super) fn all_finite(lanes: &[f64; LANES]) -> bool {
    let zeros = lanes.map(|lane| lane * 0.0);
    let quarter: [f64; 4] = std::array::from_fn(|l| zeros[l] + zeros[l + 4]);
    let pair: [f64; 2] = std::array::from_fn(|l| quarter[l] + quarter[l + 2]);
    !(pair[0] + pair[1]).is_nan()
}
