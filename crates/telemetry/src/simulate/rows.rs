//! Rows: what each source reports of a run, on its own clock, with what gets lost on the way.

use stakeout_core::channels::{BUILT_IN, NETFLOW_BUCKET_NS};
use stakeout_core::{ChannelKind, Source};

use super::draw::Draw;
use super::hosts::SourceClock;
use super::machine::{CHANNELS, STEPS_PER_SECOND, Step};
use crate::TelemetryError;

/// Share of rows lost one by one.
const LOSS: f64 = 0.01;
/// Share of (episode, source) pairs with one longer gap.
const GAPS: f64 = 0.2;
/// Standard deviation of the sampling instant.
const JITTER_NS: f64 = 15e6;
const STEP_NS: i64 = 1_000_000_000 / STEPS_PER_SECOND as i64;

/// Rows a second of a polled source.
fn rate(source: Source) -> i64 {
    match source {
        Source::Proc => 4,
        _ => 2,
    }
}

/// A run with its counters summed up: the value of every channel at the end of every step.
pub(super) struct Timeline {
    /// Counter values before the first step.
    start: Step,
    /// Levels as they are, counters cumulative, deltas as they are.
    steps: Vec<Step>,
}

impl Timeline {
    /// Sums the counters of `steps` from `start` on.
    pub(super) fn new(start: &Step, mut steps: Vec<Step>) -> Self {
        let mut sums = *start;
        for step in &mut steps {
            for ((value, sum), channel) in step.iter_mut().zip(&mut sums).zip(&BUILT_IN) {
                if channel.kind == ChannelKind::Counter {
                    *sum += *value;
                    *value = *sum;
                }
            }
        }
        Self { start: *start, steps }
    }

    /// The value of a channel at an instant of the run; a counter grows evenly within a step.
    fn at(&self, channel: usize, t_ns: i64) -> f64 {
        let step = ((t_ns / STEP_NS) as usize).min(self.steps.len() - 1);
        let after = self.steps[step][channel];
        if BUILT_IN[channel].kind != ChannelKind::Counter {
            return after;
        }
        let before = if step == 0 { self.start[channel] } else { self.steps[step - 1][channel] };
        before + (after - before) * ((t_ns - step as i64 * STEP_NS) as f64 / STEP_NS as f64)
    }
}

/// Hands every row that a source reports of a run to `write`: monotonic clock, wall clock, one value a channel.
/// `restart_ns` is when the agent that counts starts again from zero, where it does.
pub(super) fn report(
    source: Source,
    clock: &SourceClock,
    span: (i64, i64),
    timeline: &Timeline,
    restart_ns: Option<i64>,
    draw: &mut Draw,
    mut write: impl FnMut(i64, i64, &[f64]) -> Result<(), TelemetryError>,
) -> Result<(), TelemetryError> {
    let (start_ns, end_ns) = span;
    let length_ns = end_ns - start_ns;
    let gap = draw.chance(GAPS).then(|| {
        let from = (length_ns as f64 * draw.between(0.05, 0.9)) as i64;
        from..from + draw.between(0.5e9, 1.5e9) as i64
    });
    let lost = |t_ns: i64, draw: &mut Draw| draw.chance(LOSS) || gap.as_ref().is_some_and(|gap| gap.contains(&t_ns));
    let channels: Vec<usize> = (0..CHANNELS).filter(|channel| BUILT_IN[*channel].source == source).collect();
    let mut values = vec![0.0; channels.len()];
    if source == Source::Netflow {
        // The exporter's buckets lie on the grid of its own clock, and it is silent about empty ones.
        let (mono, wall) = clock.read(start_ns, 0);
        let first = wall.div_euclid(NETFLOW_BUCKET_NS) * NETFLOW_BUCKET_NS;
        for (i, step) in timeline.steps.iter().enumerate() {
            let since = i as i64 * NETFLOW_BUCKET_NS;
            let lost = lost(since, draw);
            let bucket = first + since;
            if lost || bucket < start_ns || bucket + NETFLOW_BUCKET_NS > end_ns {
                continue;
            }
            for (value, channel) in values.iter_mut().zip(&channels) {
                *value = step[*channel].floor();
            }
            if values.iter().any(|value| *value > 0.0) {
                write(mono + since, bucket, &values)?;
            }
        }
        return Ok(());
    }
    let period_ns = 1_000_000_000 / rate(source);
    for k in 0..length_ns / period_ns {
        let jitter = (JITTER_NS * draw.normal()).clamp(-60e6, 60e6) as i64;
        let t_ns = k * period_ns + period_ns / 2 + jitter;
        if lost(t_ns, draw) {
            continue;
        }
        for (value, &channel) in values.iter_mut().zip(&channels) {
            let spec = &BUILT_IN[channel];
            let mut now = timeline.at(channel, t_ns);
            if let Some(restart) = restart_ns.filter(|restart| spec.kind == ChannelKind::Counter && t_ns >= *restart) {
                now -= timeline.at(channel, restart);
            }
            // /proc/loadavg has two decimals; everything else here is a whole number.
            *value = if spec.field == "load1" { (100.0 * now).round() / 100.0 } else { now.floor() };
        }
        let (mono, wall) = clock.read(start_ns, t_ns);
        write(mono, wall, &values)?;
    }
    Ok(())
}

/// What the counters of a host show at the start of an episode: `rates` a second since boot. They go on at that rate
/// between two runs; a store is read one episode at a time, so nothing depends on their joining up exactly.
pub(super) fn since_boot(rates: &Step, seconds: f64) -> Step {
    let mut start = [0.0; CHANNELS];
    for ((start, rate), channel) in start.iter_mut().zip(rates).zip(&BUILT_IN) {
        if channel.kind == ChannelKind::Counter {
            *start = (rate * seconds).floor();
        }
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_sums_counters_and_leaves_levels() {
        let mut start = [0.0; CHANNELS];
        let counter = BUILT_IN.iter().position(|c| c.kind == ChannelKind::Counter).unwrap();
        let level = BUILT_IN.iter().position(|c| c.kind == ChannelKind::Level).unwrap();
        start[counter] = 100.0;
        let timeline = Timeline::new(&start, vec![[10.0; CHANNELS]; 3]);
        assert_eq!(
            [0, 50_000_000, 150_000_000, 299_999_999].map(|t| timeline.at(counter, t).round()),
            [100.0, 105.0, 115.0, 130.0]
        );
        assert_eq!(timeline.at(level, 250_000_000), 10.0);
    }
}
