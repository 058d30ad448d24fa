//! From raw rows to series: what a channel's kind means.
//!
//! * A **level** stands as it is.
//! * A **counter** becomes the rate between two consecutive observed values, at the later one's time. A decrease is a
//!   reset: that rate is missing. So is a rate over more than one window length, because most of what it tells
//!   happened outside any window that holds it, and a rate between two rows of the same instant.
//! * A **delta** becomes amount / bucket. Between the source's first and last row, a bucket without a row is 0; a row
//!   that lacks the field is missing. Buckets follow their neighbour, not a fixed grid, so that a drifting clock cannot
//!   slip by one: a row less than half a bucket after the last one adds to it, and a longer gap holds as many silent
//!   buckets as fit, rounded to the nearest. A bucket belongs where it starts.
//!
//! Differences are taken in `f64`, because a counter needs more than the 24 bits of an `f32`.

use std::ops::Range;

use stakeout_core::{ChannelKind, SourceRows};

use crate::Samples;

/// Most samples that one source may have once its silent buckets are filled in: four days of 100 ms buckets.
pub const MAX_SAMPLES: usize = 1 << 22;

/// Samples with the input position of each column.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// The channel of each column.
    pub positions: Vec<usize>,
    /// The values that a window sees.
    pub samples: Samples,
}

/// Levels and counters of a source, at the rows before `end_ns`. Counters are not differenced over more than
/// `max_gap_ns`. Returns the number of counter resets.
pub fn readings(
    rows: &SourceRows,
    kind: impl Fn(usize) -> ChannelKind,
    end_ns: i64,
    max_gap_ns: i64,
    into: &mut Series,
) -> u64 {
    let columns = select(rows, into, |position| kind(position) != ChannelKind::Delta);
    let width = rows.channels.len();
    let kept = if columns.is_empty() { 0 } else { rows.t_wall_ns.partition_point(|t| *t < end_ns) };
    let t_ns = &rows.t_wall_ns[..kept];
    into.samples.reset(columns.len(), t_ns.iter().copied());
    let mut resets = 0;
    for (to, &from) in columns.iter().enumerate() {
        let raw = rows.values.iter().skip(from).step_by(width);
        let cells = into.samples.column_mut(to);
        if kind(rows.channels[from]) == ChannelKind::Level {
            for (cell, &value) in cells.zip(raw) {
                *cell = value as f32;
            }
            continue;
        }
        let mut counter = Counter::default();
        for ((cell, &value), &t) in cells.zip(raw).zip(t_ns) {
            *cell = counter.rate(t, value, max_gap_ns);
        }
        resets += counter.resets;
    }
    resets
}

/// A counter between two of its rows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counter {
    previous: Option<(i64, f64)>,
    /// Values that were smaller than the one before.
    pub(crate) resets: u64,
}

impl Counter {
    /// Forgets the last value; resets stay counted.
    pub(crate) fn restart(&mut self) {
        self.previous = None;
    }

    /// Takes the value of the next row. The rate since the last observed value, where there is one: NaN for what is not
    /// observed, after a reset, and over no time or more than `max_gap_ns`.
    pub(crate) fn rate(&mut self, t_ns: i64, value: f64, max_gap_ns: i64) -> f32 {
        if !value.is_finite() {
            return f32::NAN;
        }
        let Some((t_before, before)) = self.previous.replace((t_ns, value)) else { return f32::NAN };
        let gap = i128::from(t_ns) - i128::from(t_before);
        if value < before {
            self.resets += 1;
        } else if gap > 0 && gap <= i128::from(max_gap_ns) {
            return ((value - before) / (gap as f64 * 1e-9)) as f32;
        }
        f32::NAN
    }
}

/// Bucketed amounts of a source as rates, with the silent buckets inside `span` filled in.
///
/// # Errors
/// How many samples there would be, when they are more than [`MAX_SAMPLES`].
pub fn amounts(
    rows: &SourceRows,
    kind: impl Fn(usize) -> ChannelKind,
    span: (i64, i64),
    into: &mut Series,
) -> Result<(), u128> {
    let columns = select(rows, into, |position| kind(position) == ChannelKind::Delta);
    if columns.is_empty() {
        into.samples.reset(0, []);
        return Ok(());
    }
    let (t_ns, sample_of_row) = buckets(rows, span)?;
    let width = rows.channels.len();
    let mut sums = vec![0.0; t_ns.len()];
    into.samples.reset(columns.len(), t_ns);
    for (to, &from) in columns.iter().enumerate() {
        sums.fill(0.0);
        for (&value, &sample) in rows.values.iter().skip(from).step_by(width).zip(&sample_of_row) {
            sums[sample] += value;
        }
        for (cell, sum) in into.samples.column_mut(to).zip(&sums) {
            *cell = per_second(*sum, rows.bucket_ns);
        }
    }
    Ok(())
}

/// The rate of an amount in a bucket.
pub(crate) fn per_second(amount: f64, bucket_ns: i64) -> f32 {
    (amount / (bucket_ns as f64 * 1e-9)) as f32
}

/// The silent buckets between the bucket that starts at `previous` and a later row at `t`, numbered from the former;
/// `None` where the row adds to that bucket. Silence before the begin of the span or after its end is in no window.
pub(crate) fn silence(previous: i64, t: i64, bucket_ns: i64, span: (i64, i64)) -> Option<Range<i128>> {
    let (previous, bucket) = (i128::from(previous), i128::from(bucket_ns));
    let apart = (i128::from(t) - previous + bucket / 2) / bucket;
    let from = ((i128::from(span.0) - previous) / bucket).max(1);
    let to = apart.min((i128::from(span.1) - previous + bucket - 1).max(0) / bucket);
    (apart != 0).then_some(from..to)
}

/// Start of every bucket before the end of `span`, silent ones included, and the bucket of each row before that end.
fn buckets(rows: &SourceRows, span: (i64, i64)) -> Result<(Vec<i64>, Vec<usize>), u128> {
    let mut starts: Vec<i64> = Vec::with_capacity(rows.t_wall_ns.len());
    let mut of_row = Vec::with_capacity(rows.t_wall_ns.len());
    for &t in &rows.t_wall_ns {
        if let Some(&previous) = starts.last() {
            let Some(silent) = silence(previous, t, rows.bucket_ns, span) else {
                of_row.push(starts.len() - 1);
                continue;
            };
            let needed = starts.len() as u128 + (silent.end - silent.start).max(0) as u128;
            if needed > MAX_SAMPLES as u128 {
                return Err(needed);
            }
            starts.extend(silent.map(|k| (i128::from(previous) + k * i128::from(rows.bucket_ns)) as i64));
        }
        if t >= span.1 {
            break;
        }
        of_row.push(starts.len());
        starts.push(t);
    }
    Ok((starts, of_row))
}

/// Columns of a source whose channel is wanted; their positions go to `into`.
fn select(rows: &SourceRows, into: &mut Series, wanted: impl Fn(usize) -> bool) -> Vec<usize> {
    let columns: Vec<usize> = (0..rows.channels.len()).filter(|&c| wanted(rows.channels[c])).collect();
    into.positions.clear();
    into.positions.extend(columns.iter().map(|&c| rows.channels[c]));
    columns
}
