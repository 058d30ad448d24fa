//! What a cut must be, written window by window and channel by channel in `f64`, straight from the definitions.

use stakeout_core::{ChannelKind, Partial, Schema, SourceRows, Statistic, Trace};

/// The windows of one episode.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) t0_ns: Vec<i64>,
    pub(crate) lengths: Vec<u32>,
    pub(crate) labels: Vec<Option<u16>>,
    pub(crate) observed: Vec<u32>,
    pub(crate) summary: Vec<f64>,
    /// What `f64` itself cannot tell from zero, for each number of the summary.
    pub(crate) noise: Vec<f64>,
    pub(crate) tensor: Vec<f64>,
    pub(crate) rows_used: u64,
    pub(crate) rows_outside_span: u64,
}

pub(crate) fn cut(trace: &Trace, schema: &Schema) -> Expected {
    let w = &schema.window;
    let (begin, end) = trace.episode.span;
    let mut expected = Expected::default();
    let mut t0 = begin.div_euclid(w.stride_ns) * w.stride_ns;
    let mut covered = i64::MIN;
    while t0 < end {
        let full = t0 >= begin && t0 + w.length_ns <= end;
        // A partial window is the first start after the full ones, if it sees time that they do not.
        let partial = t0 >= begin && !full && covered < end && w.partial == Partial::Mask;
        if full || partial {
            expected.t0_ns.push(t0);
            covered = t0 + w.length_ns;
        }
        t0 += w.stride_ns;
    }
    if w.max_per_episode > 0 {
        expected.t0_ns.truncate(w.max_per_episode as usize);
    }

    let series: Vec<Vec<(i64, f64)>> = (0..schema.channels.len()).map(|c| series_of(trace, schema, c)).collect();
    for &t0 in &expected.t0_ns {
        let t1 = (t0 + w.length_ns).min(end);
        expected.lengths.push((0..i64::from(w.steps)).filter(|s| t0 + s * w.step_ns() < end).count() as u32);
        let centre = t0 + w.length_ns / 2;
        expected.labels.push(trace.labels.iter().rev().find(|l| l.t_wall_ns <= centre).and_then(|l| l.class));
        let raw = |s: &SourceRows| {
            let mut n = 0;
            for (row, t) in s.t_wall_ns.iter().enumerate() {
                for column in 0..s.channels.len() {
                    n += u32::from(*t >= t0 && *t < t1 && s.values[row * s.channels.len() + column].is_finite());
                }
            }
            n
        };
        expected.observed.push(trace.sources.iter().map(raw).sum());
        let inside = |from: i64, to: i64, channel: usize| -> Vec<(f64, f64)> {
            let seconds = |t: i64| (t - t0) as f64 * 1e-9;
            series[channel]
                .iter()
                .filter(|(t, _)| *t >= from && *t < to.min(end))
                .map(|(t, v)| (seconds(*t), *v))
                .collect()
        };
        let mut steps = Vec::new();
        for channel in 0..schema.channels.len() {
            for step in 0..i64::from(w.steps) {
                let from = t0 + step * w.step_ns();
                let samples = inside(from, from + w.step_ns(), channel);
                steps.push(samples.iter().map(|s| s.1).sum::<f64>() / samples.len() as f64);
            }
        }
        for &statistic in &w.statistics {
            for channel in 0..schema.channels.len() {
                let steps = &steps[channel * w.steps as usize..][..w.steps as usize];
                let samples = inside(t0, t1, channel);
                expected.summary.push(statistic_of(statistic, &samples, steps));
                expected.noise.push(if statistic == Statistic::Slope { noise_of_slope(&samples) } else { 0.0 });
            }
        }
        expected.tensor.extend(steps);
    }
    for t in trace.sources.iter().flat_map(|s| &s.t_wall_ns) {
        let used = expected.t0_ns.iter().any(|t0| *t >= *t0 && *t < (*t0 + w.length_ns).min(end));
        expected.rows_used += u64::from(used);
        expected.rows_outside_span += u64::from(*t < begin || *t >= end);
    }
    expected
}

/// The observed values of one channel with their times, as a window sees them.
fn series_of(trace: &Trace, schema: &Schema, channel: usize) -> Vec<(i64, f64)> {
    let mut series = Vec::new();
    for source in &trace.sources {
        let Some(column) = source.channels.iter().position(|c| *c == channel) else { continue };
        let value = |row: usize| source.values[row * source.channels.len() + column];
        let rows: Vec<(i64, f64)> = source.t_wall_ns.iter().enumerate().map(|(row, t)| (*t, value(row))).collect();
        match schema.channels[channel].kind {
            ChannelKind::Level => series.extend(rows),
            ChannelKind::Counter => {
                let observed: Vec<_> = rows.into_iter().filter(|row| row.1.is_finite()).collect();
                for pair in observed.windows(2) {
                    let (gap, change) = (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1);
                    if change >= 0.0 && gap > 0 && gap <= schema.window.length_ns {
                        series.push((pair[1].0, change / (gap as f64 * 1e-9)));
                    }
                }
            }
            ChannelKind::Delta => {
                let bucket = source.bucket_ns;
                let mut buckets: Vec<(i64, f64)> = Vec::new();
                for (t, amount) in rows {
                    match buckets.last().copied() {
                        Some((last, _)) if t - last < bucket - bucket / 2 => {
                            buckets.last_mut().expect("there is a last one").1 += amount;
                        }
                        Some((last, _)) => {
                            let mut silent = last + bucket;
                            while t - silent >= bucket - bucket / 2 {
                                buckets.push((silent, 0.0));
                                silent += bucket;
                            }
                            buckets.push((t, amount));
                        }
                        None => buckets.push((t, amount)),
                    }
                }
                series.extend(buckets.into_iter().map(|(t, amount)| (t, amount / (bucket as f64 * 1e-9))));
            }
        }
    }
    series.into_iter().map(|(t, v)| (t, f64::from(v as f32))).filter(|(_, v)| v.is_finite()).collect()
}

fn statistic_of(statistic: Statistic, samples: &[(f64, f64)], steps: &[f64]) -> f64 {
    let n = samples.len() as f64;
    // Relative to the first value, so that equal values have exactly their mean.
    let first = samples.first().map_or(0.0, |s| s.1);
    let mean = first + samples.iter().map(|s| s.1 - first).sum::<f64>() / n;
    let mut sorted: Vec<f64> = samples.iter().map(|s| s.1).collect();
    sorted.sort_by(f64::total_cmp);
    let quantile = |q: f64| {
        let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
        let h = q * last as f64;
        let (low, high) = (sorted[h.floor() as usize], sorted[h.ceil() as usize]);
        low + (high - low) * (h - h.floor())
    };
    match statistic {
        Statistic::Mean => mean,
        Statistic::Std => (samples.iter().map(|s| (s.1 - mean).powi(2)).sum::<f64>() / n).sqrt(),
        Statistic::P95 => quantile(0.95),
        Statistic::Slope => {
            let centre = samples.iter().map(|s| s.0).sum::<f64>() / n;
            if samples.iter().all(|s| s.0 == samples[0].0) {
                return f64::NAN;
            }
            let covariance: f64 = samples.iter().map(|s| (s.0 - centre) * (s.1 - mean)).sum();
            covariance / samples.iter().map(|s| (s.0 - centre).powi(2)).sum::<f64>()
        }
        Statistic::ZeroShare => {
            let observed = steps.iter().filter(|s| !s.is_nan()).count() as f64;
            steps.iter().filter(|s| **s as f32 == 0.0).count() as f64 / observed
        }
        Statistic::Min => sorted.first().copied().unwrap_or(f64::NAN),
        Statistic::Max => sorted.last().copied().unwrap_or(f64::NAN),
        Statistic::Last => samples.last().map_or(f64::NAN, |s| s.1),
        Statistic::Median => quantile(0.5),
    }
}

/// Rounding of a least squares slope: a cancelled sum leaves about 1e-12 of its terms.
fn noise_of_slope(samples: &[(f64, f64)]) -> f64 {
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        high - low
    };
    let spread = range(&mut samples.iter().map(|s| s.0));
    if spread > 0.0 { 1e-12 * range(&mut samples.iter().map(|s| s.1)) / spread } else { 0.0 }
}
