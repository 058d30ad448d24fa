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
        let mut previous: Option<(i64, f64)> = None;
        for ((cell, &value), &t) in cells.zip(raw).zip(t_ns) {
            if !value.is_finite() {
                continue;
            }
            if let Some((t_before, before)) = previous {
                let gap = i128::from(t) - i128::from(t_before);
                if value < before {
                    resets += 1;
                } else if gap > 0 && gap <= i128::from(max_gap_ns) {
                    *cell = ((value - before) / (gap as f64 * 1e-9)) as f32;
                }
            }
            previous = Some((t, value));
        }
    }
    resets
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
            *cell = (sum / (rows.bucket_ns as f64 * 1e-9)) as f32;
        }
    }
    Ok(())
}

/// Start of every bucket before the end of `span`, silent ones included, and the bucket of each row before that end.
fn buckets(rows: &SourceRows, span: (i64, i64)) -> Result<(Vec<i64>, Vec<usize>), u128> {
    let bucket = i128::from(rows.bucket_ns);
    let (begin, end) = (i128::from(span.0), i128::from(span.1));
    let mut starts: Vec<i64> = Vec::with_capacity(rows.t_wall_ns.len());
    let mut of_row = Vec::with_capacity(rows.t_wall_ns.len());
    for &t in &rows.t_wall_ns {
        if let Some(&previous) = starts.last() {
            let previous = i128::from(previous);
            let apart = (i128::from(t) - previous + bucket / 2) / bucket;
            if apart == 0 {
                of_row.push(starts.len() - 1);
                continue;
            }
            // Silence before the span or after it is in no window.
            let from = ((begin - previous) / bucket).max(1);
            let to = apart.min((end - previous + bucket - 1).max(0) / bucket);
            let needed = starts.len() as u128 + (to - from).max(0) as u128;
            if needed > MAX_SAMPLES as u128 {
                return Err(needed);
            }
            starts.extend((from..to).map(|k| (previous + k * bucket) as i64));
        }
        if i128::from(t) >= end {
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
